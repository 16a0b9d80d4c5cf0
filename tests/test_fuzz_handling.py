"""Promise: whatever people do to parameters, groups and state between steps, an optimizer goes on
as its twin in torch.

Each example is a random sequence of actions and steps, done to a genopt optimizer and to torch's.
They agree after each step; or genopt refuses with one of the sentences below, and nothing has
changed; or torch itself raises. Far more:

    GENOPT_FUZZ=2000 python -m pytest tests/test_fuzz_handling.py -n 0 [--hypothesis-seed=1]
"""
import random
import re

import genopt
import pytest
import torch
from fuzzing import assert_near, bits, fuzz, is_sentence
from genopt.twins import twin
from handling import ACTIONS, World, step
from helpers import engines
from hypothesis import given
from hypothesis import strategies as st
from torch import nn, optim

CASES = [(genopt.SGD, dict(lr=.05)), (genopt.SGD, dict(lr=.05, momentum=.9)),
         (genopt.SGD, dict(lr=.05, momentum=.9, nesterov=True, weight_decay=.1)),
         (genopt.SGD, dict(lr=.05, momentum=.8, dampening=.5)), (genopt.Adam, dict()),
         (genopt.Adam, dict(lr=.01, amsgrad=True, weight_decay=.1)), (genopt.AdamW, dict(lr=.01)),
         (genopt.RMSprop, dict(centered=True)), (genopt.RMSprop, dict(momentum=.9)),
         (genopt.RMSprop, dict(alpha=.9)),
         (genopt.Adagrad, dict(lr=.05, lr_decay=.01)), (genopt.NAdam, dict()),
         (genopt.Adamax, dict(lr=.01)),
         (genopt.RAdam, dict(lr=.01)), (genopt.Adadelta, dict(lr=.5)),
         (genopt.Rprop, dict()), (genopt.ASGD, dict())]
TOL = {genopt.NAdam: 1e-5, genopt.ASGD: 1e-5}  # torch keeps a number in float32 there
REFUSALS = 'begin in the middle of a run', 'undampened buffer'


def agree(ours, theirs):
    tol = TOL.get(ours.recipe, 1e-9)
    for i, (p, q) in enumerate(zip(ours.params, theirs.params, strict=True)):
        assert_near(p, q, tol, f'parameter {i}')
        mine, other = ours.state(p), theirs.state(q)
        for k, v in other.items():
            n = k if k in mine else ours.key(k)
            if n in mine and isinstance(v, torch.Tensor) and v.shape == q.shape:
                assert_near(mine[n].double(), v.double(), tol, n)


def both_do(action, seed, ours, theirs):
    "True if both have done it. False if torch has raised, or genopt has refused with a sentence."
    theirs.notes = None
    try: action(theirs, random.Random(seed))
    except Exception as e: error = e
    else: error = None
    before = bits([ours.opt.state, ours.opt.param_groups])
    ours.notes = theirs.notes
    try: action(ours, random.Random(seed))
    except Exception as e:
        if not error:
            is_known = is_sentence(e) and any(re.search(r, str(e)) for r in REFUSALS)
            assert is_known, f'{action.__name__}: {e!r}'
            assert bits([ours.opt.state, ours.opt.param_groups]) == before, f'after {e!r}'
        else: assert is_sentence(e), f'{action.__name__}: {e!r}, where torch has {error!r}'
        return False
    return not error


def run(case, seed, rounds, compile):
    recipe, kwargs = case
    dtype, count = torch.get_default_dtype(), torch.get_num_threads()
    cls = twin(recipe).cls
    try:
        theirs = World(lambda g, **kw: cls(g, foreach=False, **kw),
                       recipe, kwargs, random.Random(seed), False)
        ours = World(lambda g, **kw: recipe(g, compile=compile, **kw),
                     recipe, kwargs, random.Random(seed), True)
        ours.other = theirs
        for action, seed in rounds:
            if not both_do(action, seed, ours, theirs): return
            if seed % 4 == 0: continue  # several actions in a row
            if not both_do(step, seed, ours, theirs): return
            agree(ours, theirs)
    finally:
        torch.set_default_dtype(dtype); torch.set_num_threads(count)


SEEDS = st.integers(0, 10**6)
ROUNDS = st.lists(st.tuples(st.sampled_from(ACTIONS), SEEDS), min_size=2, max_size=14)


@engines
def test_goes_on_as_torch_does(compile):
    @fuzz(12)
    @given(st.sampled_from(CASES), SEEDS, ROUNDS)
    def check(case, seed, rounds): run(case, seed, rounds, compile)
    check()


# -- what it has found -----------------------------------------------------------------------------

@pytest.mark.parametrize('threads', [1, 2, 3, 5, 8])
def test_no_element_is_left_over_when_threads_share_them(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for n in (64 * threads * 300 + i for i in (-1, 0, 1, 2, threads - 1, threads, 63, 64, 65)):
            p = nn.Parameter(torch.zeros(n)); p.grad = torch.ones(n)
            genopt.SGD([p], lr=1., compile=True).step()
            assert (p.detach() == -1).all(), n
    finally: torch.set_num_threads(before)


@engines
@pytest.mark.parametrize('n', [10, 10_000])
def test_a_gradient_that_is_another_parameter_is_read_as_in_torch(n, compile):
    "After that parameter has moved, whether small tensors are gathered or not."
    def run(make, **kwargs):
        a, b = (nn.Parameter(torch.ones(n)) for _ in 'ab')
        opt = make([a, b], lr=.1, **kwargs)
        a.grad, b.grad = torch.ones(n), a.data
        opt.step()
        return b.detach()
    torch.testing.assert_close(run(genopt.SGD, compile=compile), run(optim.SGD, foreach=False))
