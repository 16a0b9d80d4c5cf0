"""Promise: the distance that Prodigy, D-Adaptation and DoG find is one number for the whole model:
found as in the authors' code, kept with a checkpoint, and what a parameter begins with that joins
late."""
import contextlib
import io
from functools import partial

import dadaptation
import genopt
import prodigyopt
import pytest
import torch
from helpers import copy_values, engines, random, random_param, through_a_file, verified
from trajectories import SHAPES, largest_difference

STEPS, DOUBLE = 150, torch.float64


def gradient(i, t, p):
    "Toward a bowl's middle at −2, with noise: so there is a distance to find."
    return (1 + .1 * i) * p.detach() + 2 + .1 * random(1000 * i + t, p.shape, p.dtype)


def go(opt, ps, steps):
    for t in steps:
        for i, p in enumerate(ps): p.grad = gradient(i, t, p)
        opt.step()


def path(make, groups=lambda ps: ps):
    ps = [random_param(i, s, DOUBLE) for i, s in enumerate(SHAPES)]
    with contextlib.redirect_stdout(io.StringIO()): opt = make(groups(ps))  # theirs say things
    for t in range(STEPS):
        go(opt, ps, [t])
        yield [p.detach().numpy().copy() for p in ps]
    yield opt


def agree(name, cls, kwargs, compile, groups=lambda ps: ps, tol=1e-11):
    *ours, opt = path(partial(genopt.recipe(name), **kwargs, compile=compile), groups)
    *theirs, other = path(partial(cls, **kwargs), groups)
    worst = max(map(largest_difference, ours, theirs))
    assert worst <= tol
    d = [s['d'].item() for s in opt.state.values()]
    assert {*d} == {d[0]} and d[0] == pytest.approx(other.param_groups[0]['d'], rel=1e-9)
    assert d[0] > 100 * opt.param_groups[0]['d0']
    return worst


CASES = [(name, cls, kwargs) for name, cls, options in (
    ('Prodigy', prodigyopt.Prodigy, [
        dict(), dict(weight_decay=.1, decouple=False), dict(weight_decay=.1, d0=1e-3),
        dict(use_bias_correction=True), dict(safeguard_warmup=True, lr=.7), dict(beta3=.9),
        dict(betas=(.8, .95), eps=1e-3, d_coef=2., d0=1e-5, growth_rate=1.1)]),
    ('DAdaptAdam', dadaptation.DAdaptAdam, [
        dict(), dict(weight_decay=.1), dict(weight_decay=.1, decouple=True),
        dict(use_bias_correction=True),
        dict(lr=.7, betas=(.8, .95), eps=1e-3, d0=1e-5, growth_rate=1.05)]),
    ('DAdaptSGD', dadaptation.DAdaptSGD, [
        dict(), dict(weight_decay=.1, momentum=.9),
        dict(momentum=.9, lr=.7, d0=1e-5, growth_rate=1.05)])) for kwargs in options]


@pytest.mark.exhaustive(6)
@engines
@pytest.mark.parametrize('name, cls, kwargs', CASES, ids=lambda x: str(x)[:60])
def test_as_in_the_authors_code(name, cls, kwargs, compile):
    worst = agree(name, cls, kwargs, compile)
    if compile: verified(name, cls, STEPS, worst)


@engines
@pytest.mark.parametrize('name, cls', [('Prodigy', prodigyopt.Prodigy),
                                       ('DAdaptAdam', dadaptation.DAdaptAdam)])
def test_all_groups_share_it(name, cls, compile):
    agree(name, cls, dict(d0=1e-3), compile, lambda ps: [dict(params=ps[:1], weight_decay=.01),
                                              dict(params=ps[1:])])


@engines
@pytest.mark.parametrize('name', ['Prodigy', 'DAdaptAdam', 'DoG'])
def test_a_parameter_that_joins_late_begins_with_todays(name, compile):
    ps = [random_param(i, s, DOUBLE) for i, s in enumerate(SHAPES)]
    opt = genopt.recipe(name)(ps[:2], compile=compile)
    go(opt, ps[:2], range(60))
    today = opt.state[ps[0]]['d'].item()
    opt.add_param_group(dict(params=ps[2:]))
    go(opt, ps, range(60, 61))
    now = {opt.state[p]['d'].item() for p in ps}
    assert len(now) == 1 and now.pop() >= today > 1e-3
    before = ps[3].detach().clone()
    go(opt, ps, range(61, 62))
    assert (ps[3] - before).abs().max() > 1e-4  # with the first d, it would be some 1e-6


@engines
def test_it_is_kept_with_a_checkpoint(compile):
    make = partial(genopt.Prodigy, compile=compile, growth_rate=1.2, use_bias_correction=True)
    ps, qs = ([random_param(i, s, DOUBLE) for i, s in enumerate(SHAPES)] for _ in 'ab')
    opt, other = make(ps), make(qs)
    go(opt, ps, range(30))
    copy_values(ps, qs)
    other.load_state_dict(through_a_file(opt.state_dict()))
    go(opt, ps, range(30, 60)); go(other, qs, range(30, 60))
    assert all(map(torch.equal, ps, qs))
    assert {s['d'].item() for s in other.state.values()} == {opt.state[ps[0]]['d'].item()}


@engines
@pytest.mark.parametrize('name', ['Prodigy', 'DAdaptAdam', 'DAdaptSGD', 'DoG'])
def test_a_learning_rate_of_zero_moves_nothing_and_ends_nothing(name, compile):
    "As in a warm-up, which begins there; and a first gradient of zero."
    ps = [random_param(i, s, DOUBLE) for i, s in enumerate(SHAPES)]
    before = [p.detach().clone() for p in ps]
    opt = genopt.recipe(name)(ps, compile=compile, lr=0.)
    for p in ps: p.grad = torch.zeros_like(p)
    opt.step()
    go(opt, ps, range(1, 3))
    assert all(map(torch.equal, ps, before))
    opt.param_groups[0]['lr'] = 1.
    go(opt, ps, range(3, 60))
    assert all(p.isfinite().all() for p in ps) and not torch.equal(ps[0], before[0])


@genopt.total(over='group')
def slope(grad): return grad.sum()
@genopt.stat(init=0.)
def sum_slope(slope_sum, slope=slope): return slope_sum + slope


@engines
def test_a_number_made_of_a_groups_total_is_the_groups_own(compile):
    ps = [random_param() for _ in 'abc']
    opt = genopt.Optimizer([dict(params=ps[:2]), dict(params=ps[2:])],
                           [sum_slope, genopt.sgd_step], lr=.1, compile=compile)
    for _ in range(2):
        for i, p in enumerate(ps): p.grad = torch.full_like(p, i + 1.)
        opt.step()
    assert [opt.state[p]['slope_sum'].item() for p in ps] == [18, 18, 18]
    ps[2].grad = torch.ones_like(p)
    opt.step()
    assert [opt.state[p]['slope_sum'].item() for p in ps] == [27, 27, 21]


def test_growth_may_have_no_limit_and_nothing_else_may():
    p = random_param()
    assert genopt.Prodigy([p], growth_rate=float('inf')).param_groups[0]['growth_rate'] > 1e308
    with pytest.raises(ValueError, match='`growth_rate` = 0.5 is out of range'):
        genopt.Prodigy([p], growth_rate=.5)
    with pytest.raises(ValueError, match='`d_coef` = inf: give a finite number'):
        genopt.Prodigy([p], d_coef=float('inf'))
    with pytest.raises(ValueError, match='`d0` = 0 is out of range'): genopt.Prodigy([p], d0=0.)


@pytest.mark.exhaustive(3)
@engines
@pytest.mark.parametrize('name', ['DoG', 'DAdaptSGD', 'Prodigy', 'DAdaptAdam'])
def test_it_is_found_from_gradients_that_were_clipped_before(name, compile):
    "As with torch's clip_grad_norm_ before a step."
    ps, qs = ([random_param(i, s, DOUBLE) for i, s in enumerate(SHAPES)] for _ in 'ab')
    recipe = genopt.recipe(name)
    opt = (recipe + genopt.clip_by_global_norm)(ps, max_norm=.5, compile=compile)
    other = recipe(qs, compile=compile)
    for t in range(30):
        for i, (p, q) in enumerate(zip(ps, qs)):
            p.grad = gradient(i, t, p)
            q.grad = p.grad.clone()
        torch.nn.utils.clip_grad_norm_(qs, .5)
        opt.step(); other.step()
        for p, q in zip(ps, qs): torch.testing.assert_close(p, q, rtol=1e-11, atol=1e-12)
