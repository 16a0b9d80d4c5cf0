"""Promise: what torch asks of all its optimizers holds for every recipe.

That is `TestOptimRenewed` in torch's test/test_optim.py, read as a list of promises.
"""
import copy
import io
import pickle

import genopt
import pytest
import torch
from helpers import random
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, LinearLR, ReduceLROnPlateau

RECIPES = [genopt.recipe(n) for n in genopt.zoo.__all__]
each_recipe = pytest.mark.parametrize('recipe', RECIPES, ids=lambda r: r.__name__)
RATES = {'Adadelta': 1., 'Rprop': 1e-3, 'LARS': 1., 'SGD': 1e-2, 'LAMB': 1e-2, 'Adafactor': 1e-2}


def matrices(dtype=torch.float64):
    return [nn.Parameter(random(i, s, dtype)) for i, s in enumerate([(4, 3), (3, 3)])]


def make(recipe, params, **kwargs):
    return recipe(params, **{'lr': RATES.get(recipe.__name__, 1e-3), **kwargs})


def loss_of(params):
    x = random(5, (16, params[0].shape[0]), params[0].real.dtype).to(params[0].dtype)
    return (x @ params[0] @ params[1] - 1).abs().square().mean()


def train(opt, params, steps, sched=None):
    for _ in range(steps):
        opt.zero_grad(); loss_of(params).backward(); opt.step()
        if sched: sched.step(*[1.] if isinstance(sched, ReduceLROnPlateau) else [])
    return loss_of(params).item()


def everything(opt, params): return copy.deepcopy((params, [dict(opt.state[p]) for p in params]))


def equal(a, b):
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(equal, a, b))
    return a == b


@each_recipe
@pytest.mark.parametrize('as_tensor', [False, True], ids=['number', 'tensor'])
def test_goes_in_the_right_direction(recipe, as_tensor):
    ps = matrices(); lr = RATES.get(recipe.__name__, 1e-3)
    opt = recipe(ps, lr=torch.tensor(lr, dtype=torch.float64) if as_tensor else lr)
    before = loss_of(ps).item()
    assert train(opt, ps, 60) < before


@each_recipe
@pytest.mark.parametrize('sched', [lambda o: ExponentialLR(o, .99), lambda o: LinearLR(o, .5),
                                   ReduceLROnPlateau], ids=['exponential', 'linear', 'plateau'])
def test_two_groups_with_a_scheduler(recipe, sched):
    ps = matrices(); opt = make(recipe, [dict(params=[ps[0]]), dict(params=[ps[1]], lr=1e-3)])
    before = loss_of(ps).item()
    assert train(opt, ps, 60, sched(opt)) < before


@each_recipe
def test_complex(recipe):
    ps = matrices(torch.complex128)
    if any(p.needs for p in recipe.parts()):
        with pytest.raises(ValueError, match='takes no complex numbers'): make(recipe, ps)
        return
    opt = make(recipe, ps); before = loss_of(ps).item()
    assert train(opt, ps, 60) < before


@each_recipe
def test_no_gradient_no_step(recipe):
    ps = matrices(); opt = make(recipe, ps); before = everything(opt, ps)
    opt.step()
    assert equal(everything(opt, ps), before)
    opt.zero_grad(); opt.step(lambda: None)
    assert equal(everything(opt, ps), before)


@each_recipe
def test_zero_gradients_without_decay_move_nothing(recipe):
    off = {k: 0. for k in ('wd', 'lambd') if k in recipe.__signature__.parameters}
    ps = matrices(); opt = make(recipe, ps, **off); before = copy.deepcopy(ps)
    for _ in range(3):
        for p in ps: p.grad = torch.zeros_like(p)
        opt.step()
    assert all(torch.allclose(p, q, atol=1e-14) for p, q in zip(ps, before))
    assert all(p.isfinite().all() for p in ps)


@each_recipe
def test_an_empty_gradient(recipe):
    ps = [nn.Parameter(torch.empty(0, 3)), *matrices(torch.float32)]
    opt = make(recipe, ps)
    for p in ps: p.grad = torch.ones_like(p)
    opt.step(); opt.step()
    assert ps[0].shape == (0, 3) and all(p.isfinite().all() for p in ps)


def begun(saved): return {k: v for k, v in saved['state'].items() if v}  # plain SGD's is empty


@each_recipe
def test_a_state_dict_in_all_its_variations(recipe):
    ps = matrices(); opt = make(recipe, ps); train(opt, ps, 5)
    saved = opt.state_dict()
    assert {*saved} == {'state', 'param_groups'} and saved['param_groups'][0]['params'] == [0, 1]
    file = io.BytesIO(); torch.save(saved, file); file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert equal(loaded, saved)
    named = [(f'w{i}', p) for i, p in enumerate(copy.deepcopy(ps))]
    qs = [copy.deepcopy(ps), [p for _, p in named], copy.deepcopy(ps)]
    others = [make(recipe, qs[0], lr=.9), make(recipe, named, lr=.9),
              copy.deepcopy(make(recipe, qs[2], lr=.9))]
    qs[2] = others[2].param_groups[0]['params']
    for other, params in zip(others, qs):
        other.load_state_dict(loaded)
        assert other.param_groups[0]['lr'] == opt.param_groups[0]['lr']
        assert equal(begun(other.state_dict()), begun(saved))
        assert not any(a is b for p, q in zip(ps, params) for a in opt.state[p].values()
                       for b in other.state[q].values() if isinstance(a, torch.Tensor))
    train(opt, ps, 3)
    for other, params in zip(others, qs):
        train(other, params, 3)
        assert equal([*params], [*ps])
    unnamed = make(recipe, copy.deepcopy(ps)); unnamed.load_state_dict(others[1].state_dict())
    assert unnamed.param_groups[0]['param_names'] == [n for n, _ in named]  # as torch does


@each_recipe
def test_a_state_dict_is_the_same_from_the_same_run(recipe):
    runs = []
    for _ in range(2):
        ps = matrices(); opt = make(recipe, ps); train(opt, ps, 4)
        runs.append(opt.state_dict())
    assert equal(*runs)


@each_recipe
def test_copies(recipe):
    ps = matrices(); opt = make(recipe, ps); train(opt, ps, 3)
    for copied in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        qs = copied.param_groups[0]['params']
        assert repr(copied) == repr(opt) and equal(copied.state_dict(), opt.state_dict())
        train(copied, qs, 2)
        assert not equal(qs, ps)
    empty = copy.deepcopy(make(recipe, matrices())); assert not empty.state


@each_recipe
def test_a_closure_is_called_once_and_its_loss_returned(recipe):
    ps = matrices(); opt = make(recipe, ps); calls = []
    def closure():
        calls.append(1); opt.zero_grad(); loss = loss_of(ps); loss.backward()
        return loss
    first = loss_of(ps).item()
    assert opt.step(closure).item() == first and len(calls) == 1 and opt.step() is None


@each_recipe
def test_a_group_added_later(recipe):
    a, b = matrices(); opt = make(recipe, [('a', a)]); train_one(opt, a)
    opt.add_param_group(dict(params=[('b', b)], lr=.5))
    train(opt, [a, b], 1)
    assert opt.param_groups[1]['lr'] == .5
    assert [g['param_names'] for g in opt.param_groups] == [['a'], ['b']]
    assert {*opt.param_groups[0]} == {*opt.param_groups[1]}
    assert opt.state[a].keys() == opt.state[b].keys()
    with pytest.raises(ValueError, match='all groups should be given with names, or all without'):
        opt.add_param_group(dict(params=[nn.Parameter(torch.zeros(2, 2))]))
    with pytest.raises(ValueError, match='given twice'):
        opt.add_param_group(dict(params=[('again', a)]))


def train_one(opt, p): p.grad = torch.ones_like(p); opt.step(); opt.zero_grad()


@each_recipe
def test_a_state_of_its_own_for_each_dtype(recipe):
    ps = [nn.Parameter(random(i, (3, 3), torch.float32).to(d)) for i, d in enumerate(
        (torch.float64, torch.float32, torch.bfloat16, torch.float16))]
    opt = make(recipe, ps)
    for _ in range(2):
        for p in ps: p.grad = torch.ones_like(p)
        opt.step()
    assert all(p.isfinite().all() for p in ps)
    for p in ps:
        dtypes = {v.dtype for v in opt.state[p].values() if isinstance(v, torch.Tensor)}
        # numbers are of these two
        assert dtypes <= {p.dtype, torch.float32, torch.int64, torch.float64}
        assert all(v.dtype in (p.dtype, torch.float32) for v in opt.state[p].values() if v.dim())


@each_recipe
def test_what_is_wrong_is_refused(recipe):
    for params, error in ((torch.ones(2, 2), TypeError),
                          ([], ValueError), ([1], TypeError), (None, TypeError)):
        with pytest.raises(error): recipe(params)
    for wrong in (dict(lr=-1.), dict(lr='a'), dict(lr=float('nan')), dict(nothing=1.)):
        with pytest.raises((ValueError, TypeError)): recipe(matrices(), **wrong)
