"""Promise: whatever was done to tensors between two steps, a step does what torch does then; and no
kernel reads or writes memory that is not its tensors'.

Tensors lie in a `Field` (`tales.py`): what is read beyond a tensor's end shows in the result, and
what is written there shows in the field.
"""
import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import genopt
import pytest
import torch
from helpers import random
from tales import assert_alike, in_every_engine, tale
from three_engines import (ENGINES, RULES, SMALL, each_engine, each_rule, each_rule_and_engine,
                           make_rule, run_by, tensors)
from ways import BEYOND_TORCH, FIRST, WAYS, half_as_long, of_all, of_param, of_state, replaced

LARGE = 366, 360  # cut into blocks by the eager engine


# -- whatever happens to a parameter, its state and its group --------------------------------------

@cache
def torchs_tale(rule, way): return tale(make_rule(rule, 'torch'), WAYS[way], SMALL)


@pytest.mark.exhaustive(4)
@pytest.mark.parametrize('way', WAYS)
@each_rule_and_engine
def test_whatever_happens_between_two_steps(way, rule, engine):
    assert_alike(tale(make_rule(rule, engine), WAYS[way], SMALL), torchs_tale(rule, way))


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('way', [way for way in WAYS if way != 'rows are picked'])
def test_and_where_states_have_shapes_of_their_own(way):
    "Adafactor's averages of rows and of columns. The plain engine says what is right."
    want, *others = [tale(partial(run_by, engine, genopt.Adafactor, lr=.1), WAYS[way], SMALL)
                     for engine in ENGINES]
    for got in others: assert_alike(got, want)


LARGE_TOO = ('rows are cut', 'columns are cut', 'grown', 'turned', 'turned in memory alone',
             'the state alone is turned in memory', 'viewed to another shape',
             'a state with other strides', 'tied')


@pytest.mark.exhaustive(8)
@pytest.mark.parametrize('way', LARGE_TOO)
@pytest.mark.parametrize('rule', ['elementwise', 'total'])
def test_and_to_a_large_one(way, rule, two_threads):
    "The threads share its elements."
    want = tale(make_rule(rule, 'torch'), WAYS[way], LARGE)
    for engine in ENGINES: assert_alike(tale(make_rule(rule, engine), WAYS[way], LARGE), want)


@pytest.mark.parametrize('way', BEYOND_TORCH)
@each_rule
def test_what_torch_refuses(way, rule):
    in_every_engine(rule, BEYOND_TORCH[way], SMALL)
    in_torch = tale(partial(torch.optim.AdamW, foreach=False), BEYOND_TORCH[way], SMALL)
    assert isinstance(in_torch, Exception)


@pytest.mark.parametrize('of', [of_all, of_param, of_state])
@each_rule
def test_another_dtype_at_the_same_address(of, rule):
    in_every_engine(rule, of(half_as_long), SMALL, torch.float64)


# -- a gradient of another shape than its parameter's ----------------------------------------------

def with_state(fn):
    "The parameter and its state are changed, and the gradient stays."
    def change(p, opt):
        for t in (p, *(tensors(opt, p) if p in opt.state else ())): fn(t)
    return change


def to_data(fn):
    def put(t): t.data = fn(t.data)
    return with_state(put)


def of_grad(fn):
    def change(p, opt): fn(p.grad)
    return change


def cut_in_a_slice(grad): grad.data = grad.data[:5]
def broadcast(grad): grad.data = grad.data[:1]


def sparse(p, opt):
    p.grad = p.grad.to_sparse(1)
    to_data(lambda x: x[:5].clone())(p, opt)


MISMATCHES = {
    'other data of fewer rows': to_data(lambda x: x[:5].clone()),
    'other data of more rows': to_data(lambda x: torch.cat([x, x, x])),
    'other data of as many elements': to_data(lambda x: x.t().contiguous()),
    'other data of one dimension more': to_data(lambda x: x[None].clone()),
    'resized to fewer rows': with_state(lambda t: t.requires_grad_(False).resize_(5, 30)),
    'resized to more rows': with_state(
        lambda t: t.requires_grad_(False).resize_(90, 30).fill_(.5)),
    'set to other memory': with_state(lambda t: t.set_(torch.full((90, 30), .5))),
    'a gradient that is resized': of_grad(lambda g: g.resize_(5, 30)),
    'a gradient that is cut': of_grad(cut_in_a_slice),
    'a gradient of one row': of_grad(broadcast),
    'a gradient that is set': of_grad(lambda g: g.set_(torch.ones(90, 30))),
    'a sparse gradient': sparse,
}


@pytest.mark.parametrize('way', MISMATCHES)
@pytest.mark.parametrize('rule', RULES)
@each_engine
def test_a_gradient_of_another_shape_is_refused_and_nothing_has_moved(way, rule, engine):
    "On a first step, on a later one, and where a parameter with gaps in its memory has no kernel."
    for steps, gaps in ((0, False), (2, False), (2, True)):
        ps = [torch.nn.Parameter(random(i, SMALL, torch.float32)) for i in range(3)]
        if gaps: ps[1].data = torch.stack([ps[1].data] * 2, -1)[..., 0]
        opt = make_rule(rule, engine)(ps)
        for i in range(steps + 1):
            if i: opt.step()
            for j, p in enumerate(ps): p.grad = random(9 + j, p.shape, torch.float32)
        with torch.no_grad(): MISMATCHES[way](ps[1], opt)
        before = [t.detach().clone() for p in ps for t in (p, *map(torch.as_tensor,
                  opt.state[p].values() if p in opt.state else ()))]
        with pytest.raises(RuntimeError, match=r'^parameter 1 of group 0 .* has a gradient of '
                           r'shape \(.*\): it came from a graph made before'): opt.step()
        after = [t for p in ps for t in (p, *map(torch.as_tensor, opt.state[p].values()))]
        if steps: assert all(map(torch.equal, before, after))
        else: assert all(map(torch.equal, before, ps))
        ps[1].grad = torch.ones_like(ps[1]); opt.step()  # and goes on


# -- in any order of dimensions --------------------------------------------------------------------

def channels_last(x): return x.to(memory_format=torch.channels_last)


ORDERS = {'channels last': channels_last, 'contiguous': torch.Tensor.contiguous,
          'turned': lambda x: x.transpose(2, 3), 'turned in front': lambda x: x.transpose(0, 1),
          'all turned': lambda x: x.permute(3, 2, 1, 0),
          'cut': lambda x: x[:, :, 1:], 'viewed': lambda x: x.view(3, 4, 6, 6)}


@pytest.mark.exhaustive(4)
@pytest.mark.parametrize('begin, order', [
    ('contiguous', order) for order in ORDERS if order != 'contiguous'] + [
    ('channels last', order) for order in ORDERS if order not in ('channels last', 'viewed')])
@pytest.mark.parametrize('of', [of_all, of_param, of_state])
@each_rule
def test_four_dimensions_in_any_order(begin, of, order, rule):
    def told(engine):
        return tale(make_rule(rule, engine), of(ORDERS[order]), (4, 3, 6, 6), begin=ORDERS[begin])
    want = told('torch')
    for engine in ENGINES: assert_alike(told(engine), want)


# -- a parameter's numbers may be pairs ------------------------------------------------------------

NO_PAIRS = {
    'a real state': replaced(lambda v: v.real.clone(), FIRST),
    'a real state that is a view': replaced(lambda v: v.real, FIRST),
    'real states': replaced(lambda v: v.abs()),
    'rows are cut': of_all(lambda x: x[:5]),
    'conjugate': of_param(lambda x: x.conj()),
    'a conjugate state': replaced(lambda v: v.conj(), FIRST),
}


@pytest.mark.parametrize('way', NO_PAIRS)
@each_rule_and_engine
def test_complex_numbers_beside_real_ones(way, rule, engine):
    want = tale(make_rule(rule, 'torch'), NO_PAIRS[way], SMALL, torch.complex64)
    assert_alike(tale(make_rule(rule, engine), NO_PAIRS[way], SMALL, torch.complex64), want)


@each_rule
@each_engine
def test_a_complex_state_of_real_numbers(rule, engine):
    change = replaced(lambda v: v.to(torch.complex64), FIRST)
    assert isinstance(tale(make_rule(rule, engine), change, SMALL), genopt.PartError)


# -- storages that are too small -------------------------------------------------------------------

CUTS = """
import faulthandler, os, signal, sys, torch
sys.path.insert(0, {tests!r})
from three_engines import RULES, SMALL, half_params, make_rule, tensors

storages = dict(parameter=lambda p, opt: p, state=lambda p, opt: tensors(opt, p)[1],
                gradient=lambda p, opt: p.grad)

def says(rule, of, share):
    "0 if a process says that its storage is too small; else how it ended."
    if child := os.fork(): return os.waitpid(child, 0)[1]
    faulthandler.disable(); signal.alarm(20)
    ps = half_params(3, SMALL); opt = make_rule(rule, 'compiled')(ps)
    for p in ps: p.grad = torch.ones_like(p)
    opt.step()
    storage = storages[of](ps[1], opt).untyped_storage()
    storage.resize_(int(storage.nbytes() * share))
    try: opt.step()
    except RuntimeError as e: os._exit('storage' not in str(e))
    os._exit(1)

cuts = ('parameter', 0), ('parameter', .5), ('state', 0), ('state', .5), ('gradient', 0)
for rule in RULES:
    for cut in cuts: assert not (end := says(rule, *cut)), (rule, *cut, end)
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no fork')
def test_a_storage_that_is_too_small_is_an_error():
    "Torch writes where nothing is its own, and so ends the process, or not."
    code = CUTS.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert not done.returncode, done.stderr
