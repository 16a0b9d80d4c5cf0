"""Promise: what torch asks of all its optimizers holds for every recipe.

That is `TestOptimRenewed` in torch's test/test_optim.py, read as a list of promises.
"""
import copy
import re
from functools import partial

import genopt
import pytest
import torch
from helpers import copiers, each_recipe, random, random_param, through_a_file
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, LinearLR, ReduceLROnPlateau


def matrices(dtype=torch.float64):
    return [random_param(i, s, dtype) for i, s in enumerate([(4, 3), (3, 3)])]


def loss_of(params):
    x = random(5, (16, params[0].shape[0]), params[0].real.dtype).to(params[0].dtype)
    return (x @ params[0] @ params[1] - 1).abs().square().mean()


def descend(opt, params, steps):
    for _ in range(steps): opt.zero_grad(); loss_of(params).backward(); opt.step()


def everything(opt, params): return copy.deepcopy((params, [dict(opt.state[p]) for p in params]))


def equal(a, b):
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(equal, a, b))
    return a == b


@each_recipe
def test_a_rate_that_is_a_tensor_does_what_a_number_does(recipe):
    ps, qs = matrices(), matrices()
    descend(recipe(ps, lr=.01), ps, 10)
    descend(recipe(qs, lr=torch.tensor(.01, dtype=torch.float64)), qs, 10)
    torch.testing.assert_close(qs, ps, rtol=1e-12, atol=1e-15)
    assert not equal(ps, matrices())


@each_recipe
@pytest.mark.parametrize('sched', [lambda o: ExponentialLR(o, .9), lambda o: LinearLR(o, .5),
                                   lambda o: ReduceLROnPlateau(o, patience=0)],
                         ids=['exponential', 'linear', 'plateau'])
def test_a_scheduler_does_what_rates_written_by_hand_do(recipe, sched):
    "The rates that it gives one of torch's optimizers, in two groups."
    def groups(ps): return [dict(params=[ps[0]]), dict(params=[ps[1]], lr=.02)]
    ps, qs, dummies = matrices(), matrices(), matrices()
    opt, by_hand = recipe(groups(ps), lr=.01), recipe(groups(qs), lr=.01)
    torchs = torch.optim.SGD(groups(dummies), lr=.01)
    scheds = sched(opt), sched(torchs)
    seen = []
    for _ in range(6):
        for mine, its in zip(by_hand.param_groups, torchs.param_groups): mine['lr'] = its['lr']
        descend(opt, ps, 1); descend(by_hand, qs, 1); torchs.step()
        for s in scheds: s.step(*[1.] if isinstance(s, ReduceLROnPlateau) else [])
        seen.append(opt.param_groups[1]['lr'])
    assert equal(ps, qs) and len({*seen}) > 2


@each_recipe
def test_a_complex_parameter_moves_as_pairs_of_real_ones(recipe):
    ps = matrices(torch.complex128)
    if any(p.needs for p in recipe.parts()):
        with pytest.raises(ValueError, match='takes no complex numbers'): recipe(ps)
        return
    qs = [nn.Parameter(torch.view_as_real(p.detach()).clone()) for p in ps]
    opt, real = recipe(ps, lr=.01), recipe(qs, lr=.01)
    for _ in range(10):
        opt.zero_grad(); loss_of(ps).backward()
        for p, q in zip(ps, qs): q.grad = torch.view_as_real(p.grad)
        opt.step(); real.step()
    torch.testing.assert_close([torch.view_as_real(p.detach()) for p in ps],
                               [q.detach() for q in qs], rtol=1e-10, atol=1e-12)


@pytest.mark.exhaustive(3)
@each_recipe
def test_the_demands_of_training_loops(recipe):
    "Those of `genopt.check`, on the plain engine."
    found = genopt.check(partial(recipe, compile=False))
    # its `lr` is only where its step sizes begin
    ignored = [d.why for d in found.unmet if recipe is genopt.Rprop and '`lr`' in d.why]
    assert [d.why for d in found.unmet] == ignored and len(ignored) == (recipe is genopt.Rprop)


@each_recipe
def test_an_empty_gradient(recipe):
    "First in the list; or last for a rule whose random numbers depend on the place in it."
    ps, qs = [matrices(torch.float32) for _ in range(2)]
    at = len(ps) if recipe.rule().composition.reads_place else 0
    ps.insert(at, nn.Parameter(torch.empty(0, 3)))
    opt, without = recipe(ps), recipe(qs)
    for p in (*ps, *qs): p.grad = torch.ones_like(p)
    for o in (opt, without): o.step(); o.step()
    assert ps.pop(at).shape == (0, 3) and equal(ps, qs)


def begun(saved): return {k: v for k, v in saved['state'].items() if v}  # plain SGD's is empty


@each_recipe
def test_a_state_dict_in_all_its_variations(recipe):
    ps = matrices(); opt = recipe(ps); descend(opt, ps, 5)
    saved = opt.state_dict()
    assert {*saved} == {'state', 'param_groups'} and saved['param_groups'][0]['params'] == [0, 1]
    loaded = through_a_file(saved)
    assert equal(loaded, saved)
    named = [(f'w{i}', p) for i, p in enumerate(copy.deepcopy(ps))]
    qs = [copy.deepcopy(ps), [p for _, p in named], copy.deepcopy(ps)]
    others = [recipe(qs[0], lr=.9), recipe(named, lr=.9), copy.deepcopy(recipe(qs[2], lr=.9))]
    qs[2] = others[2].param_groups[0]['params']
    for other, params in zip(others, qs):
        other.load_state_dict(loaded)
        assert other.param_groups[0]['lr'] == opt.param_groups[0]['lr']
        assert equal(begun(other.state_dict()), begun(saved))
        assert not any(a is b for p, q in zip(ps, params) for a in opt.state[p].values()
                       for b in other.state[q].values() if isinstance(a, torch.Tensor))
    descend(opt, ps, 3)
    for other, params in zip(others, qs):
        descend(other, params, 3)
        assert equal([*params], [*ps])
    unnamed = recipe(copy.deepcopy(ps)); unnamed.load_state_dict(others[1].state_dict())
    assert unnamed.param_groups[0]['param_names'] == [n for n, _ in named]  # as torch does


@each_recipe
def test_a_state_dict_is_the_same_from_the_same_run(recipe):
    runs = []
    for _ in range(2):
        ps = matrices(); opt = recipe(ps); descend(opt, ps, 4)
        runs.append(opt.state_dict())
    assert equal(*runs)


@each_recipe
@copiers
def test_copies(recipe, copier):
    ps = matrices(); opt = recipe(ps)
    assert not copier(opt).state
    descend(opt, ps, 3)
    copied = copier(opt); qs = copied.param_groups[0]['params']
    said = [[line for line in repr(o).split('\n') if not re.match(' +(kernel|engine|`)', line)]
            for o in (copied, opt)]  # a copy has not stepped yet
    assert said[0] == said[1] and equal(copied.state_dict(), opt.state_dict())
    descend(copied, qs, 2)
    assert not equal(qs, ps)
    descend(opt, ps, 2)
    assert equal(qs, ps)


@each_recipe
def test_a_group_added_later(recipe):
    a, b = matrices(); opt = recipe([('a', a)])
    a.grad = torch.ones_like(a); opt.step()
    opt.add_param_group(dict(params=[('b', b)], lr=.5))
    descend(opt, [a, b], 1)
    assert opt.param_groups[1]['lr'] == .5
    assert [g['param_names'] for g in opt.param_groups] == [['a'], ['b']]
    assert {*opt.param_groups[0]} == {*opt.param_groups[1]}
    assert opt.state[a].keys() == opt.state[b].keys()
    with pytest.raises(ValueError, match='all groups should be given with names, or all without'):
        opt.add_param_group(dict(params=[nn.Parameter(torch.zeros(2, 2))]))
    with pytest.raises(ValueError, match='given twice'):
        opt.add_param_group(dict(params=[('again', a)]))


@pytest.mark.exhaustive(3)
@each_recipe
def test_a_state_of_its_own_for_each_dtype(recipe):
    dtypes = torch.float64, torch.float32, torch.bfloat16, torch.float16
    ps = [random_param(i, (3, 3), d) for i, d in enumerate(dtypes)]
    opt = recipe(ps)
    for _ in range(2):
        for p in ps: p.grad = torch.ones_like(p)
        opt.step()
    assert all(p.isfinite().all() for p in ps)
    for p in ps:
        for v in opt.state[p].values():
            assert v.dtype in ((p.dtype, torch.float32) if v.dim() else
                               (p.dtype, torch.float32, torch.int64, torch.float64))


@each_recipe
def test_what_is_wrong_is_refused(recipe):
    for params, error in ((torch.ones(2, 2), TypeError),
                          ([], ValueError), ([1], TypeError), (None, TypeError)):
        with pytest.raises(error): recipe(params)
    for wrong in (dict(lr=-1.), dict(lr='a'), dict(lr=float('nan')), dict(nothing=1.)):
        with pytest.raises((ValueError, TypeError)): recipe(matrices(), **wrong)
