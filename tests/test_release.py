"""Promise: a backward pass that makes the step does what `step()` after it does, and keeps no
gradient."""
import gc
import warnings
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import genopt
from genopt import Optimizer, clip_by_last_norm, stat, step
from helpers import RECIPES, by_engines, dtypes, name_of, pickled, random, through_a_file

F64, F32 = torch.float64, torch.float32
engines = by_engines('plain', 'compiled')


class Net(nn.Module):
    "Used twice, tied, frozen, at times without a gradient: as parameters are in graphs."
    def __init__(self, dtype=F64):
        super().__init__()
        for i, (name, shape) in enumerate(dict(twice=(6, 6), out=(6, 4), also=(6, 4), rare=(6, 6),
                                               frozen=(6, 6)).items()):
            setattr(self, name, nn.Parameter(random(i, shape, dtype) / 2))
        self.frozen.requires_grad_(False)
        self.tied = self.twice

    def forward(self, x, i):
        x = torch.tanh(x @ self.twice) @ self.frozen
        if i % 3 == 1: x = x @ self.rare
        return torch.tanh(x @ self.tied) @ (self.out + self.also)


def loss(net, i):
    x = random(1000 + i, (8, 6), net.out.dtype)
    return net(x, i).square().mean()


def train(net, opt, steps=5, passes=1, released=False):
    for i in range(steps * passes):
        loss(net, i).backward()
        if released: assert all(p.grad is None for p in net.parameters())
        elif (i + 1) % passes == 0: opt.step(); opt.zero_grad()


def both(make, dtype=F64, passes=1, steps=5):
    "Two runs: by `step`, and by the backward pass."
    nets = Net(dtype), Net(dtype)
    opts = [make(net.parameters()) for net in nets]
    train(nets[0], opts[0], steps, passes)
    with opts[1].release(passes): train(nets[1], opts[1], steps, passes, released=True)
    return nets, opts


def assert_same(nets, opts, tol=0.):
    for a, b in zip(*[net.parameters() for net in nets]):
        torch.testing.assert_close(a, b, rtol=tol, atol=tol)
        mine, theirs = opts[0].state.get(a, {}), opts[1].state.get(b, {})
        assert {*mine} == {*theirs}
        for k in mine: torch.testing.assert_close(mine[k], theirs[k], rtol=tol, atol=tol)


# -- the same results ------------------------------------------------------------------------------

@pytest.mark.parametrize('recipe', RECIPES, ids=name_of)
def test_every_recipe_is_the_same_bit_for_bit_or_refused(recipe):
    make = lambda ps: recipe(ps, compile=False)
    if recipe.__name__ in ('Prodigy', 'DAdaptSGD', 'DoG'):
        with pytest.raises(ValueError, match=r'^release\(\): `\S.*` reads `\w+`, a sum over all'):
            make(Net().parameters()).release()
    else:  # the totals of DAdaptAdam are for the next step
        assert_same(*both(make), tol=1e-12 * (recipe.__name__ == 'DAdaptAdam'))


@engines
@dtypes(F64, F32)
def test_elementwise_rules_are_the_same_bit_for_bit(compile, dtype):
    assert_same(*both(lambda ps: genopt.AdamW(ps, lr=.01, compile=compile, maximize=True), dtype))


@dtypes(F64, F32)
def test_rules_of_whole_tensors_with_a_kernel(dtype):
    assert_same(*both(lambda ps: (genopt.SGD + genopt.clip_by_norm)(ps, lr=.1), dtype))


def test_groups_of_several_rules_and_views():
    def make(ps):
        ps = [*ps]
        return Optimizer([{'params': ps[:2], 'parts': genopt.Adam, 'lr': .01},
                          {'params': ps[2:3], 'parts': genopt.Lion, 'lr': .001},
                          {'params': ps[3:], 'parts': genopt.SGD, 'mom': .9, 'lr': .1}],
                         compile=False)
    assert_same(*both(make))


def test_a_view_cuts_parameters_into_pieces():
    def make(ps):
        rule = genopt.Muon + clip_by_last_norm
        return rule(ps, lr=.1, max_norm=.01, view='(n=2 d) i -> n d i', compile=False)
    assert_same(*both(make), tol=1e-12)


def test_a_number_that_all_share_goes_on_once_in_a_pass():
    @stat(init=0, shared=True)
    def turns(turns): return turns + 1
    @step
    def turning_step(grad, turns, *, lr): return -lr / turns * grad
    nets, opts = both(lambda ps: Optimizer(ps, [turns, turning_step], lr=.1, compile=False))
    assert_same(nets, opts)
    assert opts[1].state[nets[1].out]['turns'] == 5


# -- a loop ----------------------------------------------------------------------------------------

def test_step_moves_only_what_has_a_gradient():
    net = Net()
    opt = genopt.SGD(net.parameters(), lr=.1)
    opt.release()
    loss(net, 0).backward()
    before = [p.clone() for p in net.parameters()]
    opt.step(); opt.zero_grad()
    assert all(map(torch.equal, before, net.parameters()))
    net.out.grad = torch.ones_like(net.out)
    opt.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, net.parameters())]
    assert moved == [False, True, False, False, False] and net.out.grad is None
    torch.testing.assert_close(net.out, before[1] - .1)
    with pytest.raises(RuntimeError, match=r'^step\(closure\): the backward pass makes the steps'):
        opt.step(lambda: 0.)


def test_the_handle_is_torchs():
    net = Net()
    opt = genopt.SGD(net.parameters(), lr=.1)
    with opt.release() as handle:
        with pytest.raises(RuntimeError, match='are let go already'): opt.release()
    handle.remove(); handle.remove()
    loss(net, 0).backward()
    assert net.out.grad is not None
    opt.release().remove()
    with pytest.raises(ValueError, match=r'^accumulate = 0: give a whole number'): opt.release(0)


def scheduled(is_released, keeps_step):
    "What hooks see in a run with two schedules, and where the parameters are at its end."
    net, seen = Net(), []
    opt = genopt.SGD(net.parameters(), lr=.1, mom=.9)
    genopt.Schedule(opt, 5, mom=genopt.linear(.9, .5))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, .5)
    opt.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]['mom']))
    opt.register_step_post_hook(lambda *_: seen.append(net.twice.sum().item()))
    if is_released: opt.release()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for i in range(4):
            loss(net, i).backward()
            if keeps_step or not is_released: opt.step(); opt.zero_grad()
            scheduler.step()
    return seen, [p.tolist() for p in net.parameters()]


@pytest.mark.parametrize('keeps_step', [False, True])
def test_schedules_and_hooks_see_a_step_for_each_pass(keeps_step):
    assert scheduled(True, keeps_step) == scheduled(False, True)


def test_parameters_that_come_later_or_thaw():
    nets = Net(), Net()
    opts = [genopt.Adam([net.out], lr=.01) for net in nets]
    opts[1].release()
    for net, opt, released in zip(nets, opts, (False, True)):
        for p in net.parameters():
            if p is not net.out: p.grad = None
        opt.add_param_group({'params': [net.also, net.frozen]})
        net.frozen.requires_grad_(True)
        for i in range(3):
            loss(net, i).backward()
            assert (net.frozen.grad is None) == (net.also.grad is None) == released
            opt.step()
            net.zero_grad()
    assert_same(nets, opts)
    with pytest.raises(ValueError, match='`clip_by_global_norm`'):
        opts[1].add_param_group({'params': [nets[1].rare],
                                 'parts': genopt.SGD + genopt.clip_by_global_norm})
    assert len(opts[1].param_groups) == 2


def test_checkpoints_and_copies():
    nets, opts = both(lambda ps: genopt.AdamW(ps, lr=.01, compile=False), steps=3)
    opts[1].release()
    saved = through_a_file(opts[1].state_dict())
    copied = pickled(opts[1])
    assert copied.released is None
    opts[1].load_state_dict(saved)
    train(nets[0], opts[0])
    train(nets[1], opts[1], released=True)
    assert_same(nets, opts)


def test_while_averages_are_in_place_nothing_moves():
    net = Net()
    opt = (genopt.SGD + genopt.average_param)(net.parameters(), lr=.1)
    opt.release()
    loss(net, 0).backward()
    with opt.swapped(), pytest.raises(RuntimeError, match='swapped with their averages'):
        loss(net, 0).backward()


def test_a_pass_that_fails_leaves_the_next_one_whole():
    net = Net()
    opt = genopt.SGD(net.parameters(), lr=.1)
    opt.release()
    def fail(grad): raise KeyError('on purpose')
    before = net.out.detach().clone()
    handle = net.twice.register_hook(fail)
    with pytest.raises(KeyError): loss(net, 0).backward()
    handle.remove(); net.zero_grad()
    with torch.no_grad(): net.out.copy_(before); net.also.copy_(Net().also)
    other = Net()
    train(other, genopt.SGD(other.parameters(), lr=.1), 2)
    train(net, opt, 2, released=True)
    for a, b in zip(net.parameters(), other.parameters()): torch.testing.assert_close(a, b)


def test_a_scaler_says_that_it_has_nothing_to_scale():
    net = Net(F32)
    opt = genopt.SGD(net.parameters(), lr=.1)
    opt.release()
    scaler = torch.amp.GradScaler('cpu')
    scaler.scale(loss(net, 0)).backward()
    with pytest.raises(AssertionError, match='No inf checks'): scaler.step(opt)


# -- what needs all gradients ----------------------------------------------------------------------

@pytest.mark.parametrize('recipe, part', [
    (genopt.SGD + genopt.clip_by_global_norm, '`clip_by_global_norm` reads `sqr_grad_norm`'),
    (genopt.SGD + genopt.skip_nonfinite, '`finite_only` reads `nonfinite_count`'),
    (genopt.SGD + genopt.sam, '`at_top` asks for a second gradient'),
    (genopt.recipe('Sophia'), '`hess` is fed'),
    (genopt.recipe('Prodigy'), 'a sum over all parameters')], ids=str)
def test_what_needs_all_gradients_is_refused(recipe, part):
    net = Net()
    opt = recipe([net.out])
    with pytest.raises(ValueError) as e: opt.release()
    assert part in str(e.value) and str(e.value).endswith('(group 0)')
    loss(net, 0).backward()
    assert net.out.grad is not None and opt.released is None


def test_a_recorder_is_refused():
    opt = genopt.SGD(Net().parameters(), lr=.1)
    with opt.watch(), pytest.raises(RuntimeError, match='a recorder looks at all'): opt.release()
    with opt.release(), pytest.raises(RuntimeError, match='no such moment'): opt.watch()


def by_last_norm(params, grads, lr, limit):
    "SGD, clipped by the norm of the step before, in NumPy."
    last = None
    for each in grads:
        share = 1. if not last else min(limit / (last + 1e-6), 1.)
        params = [p - lr * share * g for p, g in zip(params, each)]
        last = np.sqrt(sum((g**2).sum() for g in each))
    return params, last


@pytest.mark.parametrize('released', [False, True])
@engines
def test_clipped_by_the_norm_of_the_last_step(released, compile):
    params = [nn.Parameter(random(i, (4, 3), F64)) for i in range(3)]
    begin = [p.detach().numpy().copy() for p in params]
    grads = [[random(10 * n + i, (4, 3), F64) for i in range(3)] for n in range(6)]
    opt = (genopt.SGD + clip_by_last_norm)(params, lr=.1, max_norm=3., compile=compile)
    if released: opt.release()
    for each in grads:
        sum((p * g).sum() for p, g in zip(params, each)).backward()
        opt.step(); opt.zero_grad()
    wanted, last = by_last_norm(begin, [[g.numpy() for g in each] for each in grads], .1, 3.)
    for p, x in zip(params, wanted): np.testing.assert_allclose(p.detach(), x, rtol=1e-13)
    for p in params:
        np.testing.assert_allclose(opt.state[p]['last_sqr_norm'], last**2, rtol=1e-13)


# -- several passes for a step ---------------------------------------------------------------------

def adama(param, passes, k, lr, mom, sqr_mom, eps, wd):
    "AdamW that adds up gᵢ and gᵢ² in its averages, in NumPy (arXiv:2305.19982, algorithm 1)."
    m, v = np.zeros_like(param), np.zeros_like(param)
    for t in range(1, len(passes) // k + 1):
        m, v = mom * m, sqr_mom * v
        for g in passes[k * (t - 1):k * t]:
            m, v = m + (1 - mom) * g, v + (1 - sqr_mom) * g**2
        step = m / (1 - mom**t) / (np.sqrt(v / (1 - sqr_mom**t)) + eps)
        param = param - lr * step - lr * wd * param
    return param, m, v


@engines
def test_several_gradients_go_into_adams_averages(compile):
    p = nn.Parameter(random(0, (5, 3), F64))
    begin, grads = p.detach().numpy().copy(), [random(9 + i, (5, 3), F64) for i in range(12)]
    opt = genopt.AdamW([p], lr=.1, betas=(.8, .9), eps=1e-3, wd=.1, compile=compile)
    opt.release(accumulate=4)
    for i, g in enumerate(grads):
        before = p.detach().clone()
        (p * g).sum().backward()
        assert p.grad is None and torch.equal(p, before) == ((i + 1) % 4 != 0)
    wanted, m, v = adama(begin, [g.numpy() for g in grads], 4, .1, .8, .9, 1e-3, .1)
    state = opt.state[p]
    for found, x in ((p.detach(), wanted), (state['grad_avg'], m), (state['sqr_avg'], v)):
        np.testing.assert_allclose(found, x, rtol=1e-12)
    assert state['count'] == 3


@engines
@pytest.mark.parametrize('options', [dict(), dict(wd=.1), dict(dampening=.3)], ids=str)
def test_what_is_linear_in_the_gradient_is_as_with_the_sum(options, compile):
    make = lambda ps: genopt.Momentum(ps, lr=.05, compile=compile, **options)
    assert_same(*both(make, passes=3), tol=1e-13)  # `rare` has a gradient in one of three passes


def test_what_follows_the_stats_happens_once_in_a_step():
    def make(ps):
        rule = genopt.Momentum + genopt.average_param + genopt.lookahead
        return rule(ps, lr=.05, sync_every=2, compile=False)
    nets, opts = both(make, passes=3)
    assert_same(nets, opts, tol=1e-13)
    assert opts[1].state[nets[1].out]['count'] == 5


def test_each_pass_is_rounded_by_bits_of_its_own():
    p = nn.Parameter(random(0, (64, 64), torch.float32))
    opt = genopt.AdamW([p], state='8bit')
    opt.release(accumulate=3)
    for i in range(1, 7):
        (p * random(i, p.shape, p.dtype)).sum().backward()
        assert opt.state[p]['param.drawn'] == i and opt.state[p]['count'] == i // 3


def test_hooks_see_one_step_for_several_passes():
    net, seen = Net(), []
    opt = genopt.Momentum(net.parameters(), lr=.05)
    opt.register_step_post_hook(lambda *_: seen.append(i))
    opt.release(accumulate=2)
    for i in range(5):
        loss(net, i).backward()
        opt.step(); opt.zero_grad()
    assert seen == [1, 3]


@pytest.mark.parametrize('recipe, part', [
    (genopt.SGD, '`sgd_step` reads the gradient itself'),
    (genopt.recipe('Lion'), 'reads `prev_grad_avg`, which changes'),
    (genopt.recipe('NAdam'), '`nadam_step` reads the gradient itself'),
    (genopt.Momentum + clip_by_last_norm, '`sqr_grad_norm` is a @total'),
    (genopt.recipe('Yogi'), '`average_sqr_grad_by_sign` does not add'),
    (genopt.recipe('AdaBelief'), '`average_sqr_surprise` reads `grad_avg`'),
    (partial(genopt.Adam, wd=.1), '`average_sqr_grad` does not add')], ids=str)
def test_what_has_nowhere_to_gather_is_refused(recipe, part):
    with pytest.raises(ValueError) as e: recipe([Net().out]).release(accumulate=2)
    assert part in str(e.value) and 'four parts in docs/parts.md' in str(e.value)


# -- memory ----------------------------------------------------------------------------------------

@pytest.mark.parametrize('passes', [1, 4])
def test_few_gradients_are_alive_at_once(passes):
    layers = nn.Sequential(*[nn.Linear(512, 512, bias=False) for _ in range(6)])
    opt = genopt.AdamW(layers.parameters(), lr=1e-3, compile=False)
    alive, most = weakref.WeakSet(), 0
    def count(p):
        nonlocal most
        alive.add(p.grad)
        most = max(most, len(alive))
    for p in layers.parameters(): p.register_post_accumulate_grad_hook(count)
    x = torch.randn(2, 512)
    with opt.release(passes):
        for _ in range(passes): layers(x).sum().backward()
        gc.collect()
        assert most <= 2 and len(alive) == 0
    layers(x).sum().backward()
    assert most == 6


def test_a_dropped_optimizer_is_not_kept_alive():
    net = Net()
    opt = genopt.SGD(net.parameters(), lr=.1)
    opt.release()
    gone = weakref.ref(opt)
    del opt, net
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize('kept', [dict(state='8bit'), dict(state='8bit', master=24),
                                  dict(rounding='kahan'), dict(rounding='stochastic')], ids=str)
def test_what_formats_keep_is_what_step_would_make(kept):
    "Bit for bit, random bits too."
    runs = []
    for is_released in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 64)).bfloat16()
        opt = genopt.AdamW(model.parameters(), lr=.01, **kept)
        if is_released: opt.release()
        for t in range(4):
            opt.zero_grad()
            x = torch.randn(8, 64, generator=torch.Generator().manual_seed(t)).bfloat16()
            model(x).float().square().mean().backward()
            opt.step()
        runs.append([{'param': p, **opt.state[p]} for p in model.parameters()])
    for mine, other in zip(*runs, strict=True):
        assert {*mine} == {*other}
        for k in mine: assert torch.equal(mine[k], other[k]), k
