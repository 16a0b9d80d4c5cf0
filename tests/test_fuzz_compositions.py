"""Promise: whatever parts are put together, the engines do what the parts do by hand; or a sentence
says what is wrong.

Each example is a random list of the parts in `vocabulary.py`, or a recipe with random modifiers.
The plain and the eager engine do what the parts do by hand, bit for bit; but the eager engine
stacks matrices of one shape, and torch rounds the products of stacks otherwise: those, to rounding.
Kernels, by default and with compile=True, agree with the plain engine to 1e-12 in double precision.
Far more of them, and other ones each time:

    GENOPT_FUZZ=200 python -m pytest tests/test_fuzz_compositions.py -n 0 [--hypothesis-seed=1]
"""
import random
import warnings

import genopt
import pytest
import torch
from fuzzing import assert_near, fuzz, is_sentence
from genopt import Optimizer
from genopt.contract import REQUIRED
from genopt.engines import plain
from genopt.engines.work import Work
from genopt.numbers import read
from helpers import random as noise
from hypothesis import given
from hypothesis import strategies as st
from three_engines import run_by
from torch import nn
from vocabulary import composed, modified

SEEDS = st.integers(0, 2**30)
SMALL = [(), (1,), (7,), (5, 4), (1, 6), (6, 1), (3, 2, 2, 2), (2, 1, 5), (1, 1), (4, 3, 3), (7,)]
MATRICES = [(5, 4), (4, 6), (3, 3), (5, 4), (1, 2), (7, 1)]
LARGE = [(400, 350), (200_000,), (3, 50_000), (50_000, 3), (70, 30, 8, 8), (1, 140_000)]
GAPS = [lambda x: torch.stack([x, x], -1)[..., 0], lambda x: x.transpose(0, -1).clone()
        .transpose(0, -1), lambda x: x.to(memory_format=torch.channels_last)]


# -- a random example ------------------------------------------------------------------------------

class Example:
    "A composition, or a recipe, and what it is tried on. `made` is None if genopt refuses it."
    def __init__(self, seed, dtype, large=0.):
        self.rng = rng = random.Random(seed)
        self.dtype = dtype
        self.made = attempt(lambda: modified(rng) if rng.random() < .3
                            else genopt.Composition(composed(rng)))
        if self.made is None: return
        is_list = isinstance(self.made, genopt.Composition)
        self.composition = c = self.made if is_list else self.made.rule().composition
        self.hypers = {k: rng.choice([.05, .3]) for k, v in c.hypers.items() if v is REQUIRED}
        is_matrix = any(p.needs == 'matrix' for p in c.ordered) or rng.random() < .2
        self.shapes = rng.choices(MATRICES if is_matrix else SMALL, k=5)
        if rng.random() < large:
            self.shapes += [s for s in rng.choices(LARGE, k=1) if len(s) == 2 or not is_matrix]
        if c.elementwise: self.shapes.append((0, 3))
        self.order = rng.randrange(1000)

    def params(self):
        "Some are not contiguous."
        xs = [noise(i, s, self.dtype) for i, s in enumerate(self.shapes)]
        rng = random.Random(self.order)
        for i in rng.sample(range(len(xs)), 2):
            order = GAPS[rng.randrange(3) if xs[i].dim() == 4 else rng.randrange(2)]
            if xs[i].dim(): xs[i] = order(xs[i])
        return [nn.Parameter(x) for x in xs]

    def set_grads(self, ps, t, all_of_them=True):
        "In the first step, one may be missing."
        for i, p in enumerate(ps):
            is_missing = not all_of_them and not t and i == self.order % len(ps)
            p.grad = None if is_missing else noise(100 * t + i, p.shape, self.dtype)


def attempt(make):
    "What `make` returns; or None, if genopt refuses with a sentence."
    try: return make()
    except (TypeError, ValueError, genopt.PartError) as e:
        assert is_sentence(e), repr(e)
        return None


def failure(do):
    "The error, if there is one."
    try: do()
    except Exception as e: return e
    return None


# -- by hand ---------------------------------------------------------------------------------------

def by_hand(c, hypers, ps, states):
    """One step of all parameters, as ARCHITECTURE.md has it: totals first, then each parameter in
    its own shape."""
    rows, given = [], dict(hypers)
    for i, (p, s) in enumerate(zip(ps, states)):
        dtypes = {t.dtype for t in (p, *s.values()) if isinstance(t, torch.Tensor)}
        wide = torch.float64 if torch.float64 in dtypes else torch.float32
        cast = {k: v.to(wide) if isinstance(v, torch.Tensor) and v.is_floating_point() else v
                for k, v in s.items()}
        rows.append((i, p.detach().to(wide), p.grad.to(wide), cast))
    waiting = [*c.totals]
    while waiting:
        k = next(k for k in waiting
                 if not any(q.kind == 'total' and q.out in waiting for q in c.before[k]))
        waiting.remove(k)
        shares = []
        for i, param, grad, cast in rows:
            numbers = c.numbers(cast, {**given, **c.numbers_of(param, i)}, c.totals[k])
            if c.happening(numbers) is c:
                shares.append(c.total(c.totals[k], param, grad, cast, {**numbers, 'place': i}))
        given[k] = torch.stack(shares).double().sum().item() if shares else 0
    grads = [p.grad for p in ps]
    work = Work(c, dict(hypers), ps, grads, states, str, places=range(len(ps))).gather()
    with torch.no_grad(): plain.run([work])
    for k in c.totals: assert work.hypers[k] == pytest.approx(given[k], rel=1e-12, nan_ok=True)
    for s in states: s.update({k: read(s[k]) for k in c.number_stats})


def check_by_hand(seed, engine, dtype):
    "Three steps."
    x = Example(seed, dtype)
    if x.made is None: return
    ps, qs, c = x.params(), x.params(), x.composition
    opt = attempt(lambda: run_by(engine, Optimizer, ps, parts=x.made, **x.hypers))
    if opt is None: return
    values = opt.param_groups[0].hypers()
    states = [c.init(q, values) for q in qs]
    for t in range(3):
        x.set_grads(ps, t); x.set_grads(qs, t)
        failed, e = failure(lambda: by_hand(c, values, qs, states)), failure(opt.step)
        assert bool(failed) == bool(e), f'{c}: {e!r}, and by hand {failed!r}'
        if e:
            assert is_sentence(e), f'{c}: {e!r}'
            return
        stacks = engine == 'eager' and any(part.stacked for part in c.ordered)
        for p, q, s in zip(ps, qs, states): assert_as_by_hand(c, opt, p, q, s, stacks)


def by_table(c):
    "True if it has a function whose last bit depends on where in a vector an element stands."
    return any(p.__name__ in ('madgrad_step', 'squashed') for p in c.parts)


TOL = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: .05}
STACKED = {torch.float64: 1e-10, torch.float32: .02, torch.bfloat16: .05}  # some are in bfloat16


def assert_as_by_hand(c, opt, p, q, state, stacks):
    "The next step of stacks begins where the one by hand did, as eigenvectors magnify rounding."
    assert {*opt.state[p]} == {*state}
    exact = not c.totals and not by_table(c) and not stacks
    for k, a, b in [('param', p, q), *[(k, opt.state[p][k], v) for k, v in state.items()]]:
        what = f'{c}: {k} of {tuple(p.shape)}'
        if isinstance(b, torch.Tensor):
            tol, least = (STACKED[p.dtype], .01) if stacks else (TOL[p.dtype], 0.)
            assert_near(a, b, 0 if exact else tol, what, least)
            if stacks: a.detach().copy_(b.detach())
        else:
            near = abs(a.item() - b) <= 1e-12 * abs(b) and c.totals
            assert a.item() == b or near or b != b, f'{what}: {a} and {b}'


@pytest.mark.parametrize('engine', ['plain', 'eager'])
def test_parts_are_run_as_by_hand(engine):
    @fuzz(50)
    @given(SEEDS, st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    def check(seed, dtype): check_by_hand(seed, engine, dtype)
    check()


# -- kernels ---------------------------------------------------------------------------------------

def two_groups(ps): return [{'params': ps[:2], 'maximize': True}, {'params': ps[2:]}]


def check_kernels(seed, dtype):
    """Three steps by the plain engine, and by kernels, by default and with compile=True.

    Each step of a kernel begins where the plain one was, so that only its own rounding is seen.
    """
    x = Example(seed, dtype, large=.2)
    if x.made is None: return
    def make(compile):
        return Optimizer(two_groups(x.params()), x.made, compile=compile, **x.hypers)
    first = attempt(lambda: make(False))
    opts = [first, *(attempt(lambda c=c: make(c)) for c in (None, True))]
    if first is None:
        assert opts == [None] * 3, f'{x.composition}: refused by one engine alone'
        return
    assert opts[1] is not None, f'{x.composition}: not taken by default'
    opts = [opt for opt in opts if opt]  # a part may have no C
    for t in range(3):
        for opt in opts: x.set_grads(params_of(opt), t, all_of_them=False)
        errors = [failure(opt.step) for opt in opts]
        if any(errors):
            assert all(errors) and all(map(is_sentence, errors)), f'{x.composition}: {errors!r}'
            return
        for opt in opts[1:]: assert_as_plain(x, opt, first)


def params_of(opt): return [p for g in opt.param_groups for p in g['params']]


def assert_as_plain(x, opt, first):
    for i, (p, q) in enumerate(zip(params_of(opt), params_of(first))):
        assert {*opt.state[p]} == {*first.state[q]}
        for k, a, b in [('param', p, q), *[(k, opt.state[p][k], v)
                                           for k, v in first.state[q].items()]]:
            what = f'{x.composition} with compile={opt.compile}: {k} of {i} {tuple(p.shape)}'
            assert_near(a, b, TOL[x.dtype], what, least=.01)
            a.detach().copy_(b.detach())


def by_kernels(few, dtypes):
    @fuzz(few)
    @given(SEEDS, st.sampled_from(dtypes))
    def check(seed, dtype):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)  # it may say that it is not compiled
            check_kernels(seed, dtype)
    check()


def test_kernels_agree_with_the_plain_engine_to_1e_12(two_threads): by_kernels(12, [torch.float64])


def test_and_in_lower_precision_to_its_own(): by_kernels(10, [torch.float32, torch.bfloat16])
