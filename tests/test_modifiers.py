"""Promise: a modifier does to any recipe what its paper says, on every engine.

The references are the formulas in NumPy, put around plain SGD and AdamW by hand.
"""
from functools import partial

import genopt
import numpy as np
import pytest
import references as ref
import torch
from genopt import AdamW, Optimizer, SGD
from helpers import engines, name_of, random
from torch import nn
from trajectories import SHAPES, assert_trajectories_agree, by_formula, gradient, trajectory

STEPS = 30


def check(recipe, kwargs, formula):
    assert_trajectories_agree(trajectory(partial(recipe, **kwargs), STEPS), formula)


def along(change, lr=.1):
    "SGD in NumPy, along `change(gradients, parameters, step)`."
    xs = [random(i, s, torch.float64).numpy() for i, s in enumerate(SHAPES)]
    for t in range(STEPS):
        gs = change([gradient(i, t, s).numpy() for i, s in enumerate(SHAPES)], xs, t + 1)
        xs = [x - lr * g for x, g in zip(xs, gs)]
        yield xs


# -- of the gradient -------------------------------------------------------------------------------

def centralized(gs, xs, t):
    return [g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g
            for g in gs]
def by_value(gs, xs, t): return [np.clip(g, -.7, .7) for g in gs]
def by_norm(gs, xs, t): return [g * min(1, 2. / ref.flat_norm(g)) for g in gs]
def by_rms(gs, xs, t): return [g / max(1, np.sqrt(np.mean(g**2)) / 1.2) for g in gs]


def by_global_norm(gs, xs, t):
    size = np.sqrt(sum(ref.flat_norm(g)**2 for g in gs))
    return [g * min(1, 3. / (size + 1e-6)) for g in gs]


def by_last_norm(gs, xs, t):
    last = [gradient(i, t - 2, s).numpy() for i, s in enumerate(SHAPES)]  # `gs` are of t − 1
    size = np.sqrt(sum(ref.flat_norm(g)**2 for g in last))
    return [g * min(1, 3. / (size + 1e-6)) if t > 1 else g for g in gs]


def adaptively(gs, xs, t):
    def clipped(g, x):
        axes = tuple(range(1, g.ndim)) or None
        size = lambda a: np.sqrt((a**2).sum(axis=axes, keepdims=True))
        return g * np.minimum(1, .1 * np.maximum(size(x), 1e-3) / size(g))
    return [clipped(g, x) for g, x in zip(gs, xs)]


@pytest.mark.exhaustive(2)
@engines
@pytest.mark.parametrize('modifier, kwargs, formula', [
    (genopt.centralize, {}, centralized),
    (genopt.clip_by_value, dict(max_value=.7), by_value),
    (genopt.clip_by_norm, dict(max_norm=2.), by_norm),
    (genopt.clip_by_rms, dict(max_rms=1.2), by_rms),
    # of SGD's update over its lr, which is the gradient
    (genopt.clip_update_by_rms, dict(max_rms=1.2), by_rms),
    (genopt.clip_by_global_norm, dict(max_norm=3.), by_global_norm),
    (genopt.clip_by_last_norm, dict(max_norm=3.), by_last_norm),
    (genopt.clip_by_param_norm, dict(max_ratio=.1), adaptively)], ids=name_of)
def test_of_the_gradient(modifier, kwargs, formula, compile):
    check(SGD + modifier, dict(lr=.1, compile=compile, **kwargs), along(formula))


@pytest.mark.parametrize('grouped', [False, True])
def test_the_global_norm_is_torchs(grouped):
    "Over all groups, before any parameter moves; a parameter without a gradient has no part in it."
    shapes = [*SHAPES, (4,)]
    ours, theirs = ([nn.Parameter(random(i, s, torch.float64)) for i, s in enumerate(shapes)]
                    for _ in 'ab')
    groups = lambda ps: [dict(params=ps[:2], lr=.2), dict(params=ps[2:])] if grouped else ps
    opt = (AdamW + genopt.clip_by_global_norm)(groups(ours), lr=.01, max_norm=.5)
    other = torch.optim.AdamW(groups(theirs), lr=.01)
    for t in range(20):
        for i, (p, q) in enumerate(zip(ours, theirs)):
            p.grad, q.grad = (None if (i + t) % 4 == 0 else gradient(i, t, p.shape) for _ in 'ab')
        torch.nn.utils.clip_grad_norm_([q for q in theirs if q.grad is not None], .5)
        opt.step(); other.step()
        for p, q in zip(ours, theirs): torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)


def test_a_norm_over_two_rules_in_one_optimizer():
    ps = [nn.Parameter(torch.zeros(2)) for _ in 'abc']
    clipped = (SGD + genopt.clip_by_global_norm)
    opt = Optimizer([dict(params=ps[:1], parts=clipped),
                     dict(params=ps[1:2], parts=AdamW + genopt.clip_by_global_norm),
                     dict(params=ps[2:], parts=SGD)], lr=1.)
    for p, g in zip(ps, (3., 4., 100.)): p.grad = torch.tensor([g, 0.])
    opt.step()
    # not part of the norm
    assert ps[0][0].item() == pytest.approx(-3 / 5, rel=1e-6) and ps[2][0].item() == -100


@engines
def test_a_total_sees_what_the_parts_before_it_made(compile):
    def both(gs, xs, t): return by_global_norm(centralized(gs, xs, t), xs, t)
    check(SGD + genopt.centralize + genopt.clip_by_global_norm,
          dict(lr=.1, max_norm=3., compile=compile), along(both))


@pytest.mark.parametrize('shape', [(6, 6), (4, 9), (9, 4)])
def test_orthogonalize(shape):
    g = random(3, shape, torch.float64)
    o = genopt.orthogonalize(g, ns_a=3.4445, ns_b=-4.775, ns_c=2.0315, ns_steps=5, eps=1e-7)
    s = torch.linalg.svdvals(o)
    # as Newton-Schulz leaves them
    assert o.dtype == torch.float64 and .5 < s.min() and s.max() < 1.3
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    aligned = u.T @ o @ v.T
    # the same singular vectors, to bfloat16
    assert (aligned - aligned.diag().diag()).abs().max() < .05


@engines
def test_noise(compile):
    recipe, shape = SGD + genopt.gradient_noise, (200, 50)
    def even(i, t, shape): return torch.full(shape, t + 1., dtype=torch.float64)
    def path(shapes, gradient, **kw):
        return [*trajectory(partial(recipe, lr=1., compile=compile, **kw), 3, shapes, gradient)]
    a, b, other = ([xs[0] for xs in path([shape], even, noise=.04, seed=i)] for i in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(a, b)) and not np.allclose(a[0], other[0])
    begin = random(0, shape, torch.float64).numpy()
    for t, (old, new) in enumerate(zip([begin, *a], a), 1):
        noise = old - new - t
        assert abs(noise.std() / (.2 / t**.275) - 1) < .03 and abs(noise.mean()) < .01
    two = path([(50,), (50,)], even, noise=1.)[0]
    assert abs(np.corrcoef(*two)[0, 1]) < .5  # parameters of one shape do not share their noise


@engines
def test_a_total_sees_the_noise_that_the_step_sees(compile):
    "So a clipped step is as long as the clip says, whatever the noise; over groups, too."
    ps = [nn.Parameter(random(i, (6, 5), torch.float64)) for i in range(3)]
    recipe = SGD + genopt.gradient_noise + genopt.clip_by_global_norm
    opt = recipe([dict(params=ps[:1]), dict(params=ps[1:])], lr=1., noise=1., seed=3, max_norm=.5,
                 compile=compile)
    for t in range(4):
        before = [p.detach().clone() for p in ps]
        for i, p in enumerate(ps): p.grad = gradient(i, t, p.shape)
        opt.step()
        moved = torch.stack([(p - b).norm() for p, b in zip(ps, before)]).norm()
        assert moved.item() == pytest.approx(.5, rel=1e-5)


def test_noise_goes_on_as_if_never_stopped():
    def make(): return nn.Parameter(torch.ones(5))
    def go(opt, p, steps):
        for t in steps: p.grad = torch.full((5,), float(t)); opt.step()
    p, q = make(), make()
    recipe = AdamW + genopt.gradient_noise
    a = recipe([p]); go(a, p, range(6))
    b = recipe([q]); go(b, q, range(3))
    r = nn.Parameter(q.detach().clone()); c = recipe([r]); c.load_state_dict(b.state_dict())
    go(c, r, range(3, 6))
    assert torch.equal(p, r)


@engines
@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_steps_with_a_gradient_that_is_not_finite_do_not_happen(bad, compile):
    recipe = AdamW + genopt.skip_nonfinite + genopt.lookahead
    ps = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))]
    opt = recipe([dict(params=ps[:1]), dict(params=ps[1:], lr=.1)], compile=compile)
    for t in range(3):
        for p in ps: p.grad = torch.full_like(p, t + 1.)
        opt.step()
    def state(): return {k: v.clone() for p in ps for k, v in opt.state[p].items()}
    before = [p.detach().clone() for p in ps], state()
    ps[1].grad[0, 1] = bad
    opt.step(); opt.step()
    assert all(torch.equal(p, b) for p, b in zip(ps, before[0]))
    after = state()
    assert after.pop('skipped') == 2 and before[1].pop('skipped') == 0
    assert all(torch.equal(after[k], before[1][k]) for k in after) and after['count'] == 3
    for p in ps: p.grad = torch.ones_like(p)
    opt.step()
    assert opt.state[ps[0]]['count'] == 4 and not torch.equal(ps[0], before[0][0])


@pytest.mark.parametrize('parts', [
    SGD + genopt.clip_by_value + genopt.skip_nonfinite,
    [genopt.clip_by_value, *genopt.skip_nonfinite, genopt.sgd_step]], ids=['sum', 'list'])
def test_what_is_not_finite_is_seen_in_the_gradient_as_it_came(parts):
    p = nn.Parameter(torch.ones(2)); opt = Optimizer([p], parts, lr=.1)
    p.grad = torch.tensor([1., float('inf')]); opt.step()
    assert torch.equal(p, torch.ones(2)) and opt.state[p]['skipped'] == 1


def test_what_comes_after_a_closed_gate_is_not_asked():
    p = nn.Parameter(torch.ones(3, 2)); p.grad = torch.full_like(p, float('nan'))
    recipe = AdamW + genopt.gradient_noise + genopt.skip_nonfinite
    recipe = recipe + genopt.centralize + genopt.clip_by_global_norm
    opt = recipe([p])
    opt.step()
    assert torch.equal(p, torch.ones(3, 2)) and opt.state[p]['skipped'] == 1
    assert opt.state[p]['count'] == 0
    p.grad = torch.ones_like(p); p.grad[0] = 3.
    opt.step()
    assert opt.state[p]['count'] == 1 and not torch.equal(p, torch.ones(3, 2))


# -- of the update ---------------------------------------------------------------------------------

@engines
def test_cautious_goes_by_the_gradient_as_it_came(compile):
    """Lion's parts put a blend in the gradient's place; the mask is of the gradient itself, as in
    the paper's C-Lion."""
    def formula(x, grads):
        m = np.zeros_like(x)
        for g in grads:
            u = -.01 * np.sign(.9 * m + .1 * g)
            m = .99 * m + .01 * g
            x = x + cautious(u, g, x)
            yield x
    check(genopt.Lion + genopt.cautious, dict(lr=.01, compile=compile), by_formula(formula, STEPS))


def adamw(x, grads, *, change, lr=.01, wd=.1, inside=True):
    "AdamW in NumPy whose update is changed, with its decay or before it."
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m, v = .9 * m + .1 * g, .999 * v + .001 * g**2
        u = -lr * (m / (1 - .9**t)) / (np.sqrt(v / (1 - .999**t)) + 1e-8)
        x = x + (change(u - lr * wd * x, g, x) if inside else change(u, g, x) - lr * wd * x)
        yield x


def cautious(u, g, x):
    mask = (u * g < 0).astype(float)
    return u * mask / max(mask.mean(), 1e-3)


def cautiously_decayed(u, g, x): return u - .01 * .1 * x * (u * x <= 0)


@engines
@pytest.mark.parametrize('recipe, change, kw', [
    (AdamW + genopt.cautious, cautious, dict(inside=False)),
    (genopt.Adam + genopt.cautious + genopt.weight_decay, cautious, dict(inside=False)),
    (AdamW + genopt.scale_by_trust_ratio,
     lambda u, g, x: u * .01 * ref.flat_norm(x) / ref.flat_norm(u), {}),
    (genopt.Adam + genopt.independent_decay, lambda u, g, x: u - .1 * x, dict(wd=0.)),
    (genopt.Adam + genopt.cautious_decay, cautiously_decayed, dict(wd=0.))], ids=name_of)
def test_of_the_update(recipe, change, kw, compile):
    check(recipe, dict(lr=.01, wd=.1, compile=compile),
          by_formula(adamw, STEPS, change=change, **kw))


def test_a_decay_takes_the_place_of_another():
    assert (genopt.Adam + genopt.weight_decay).parts() == AdamW.parts()
    assert (AdamW + genopt.l2_reg).parts() == genopt.Adam.parts()
    assert (AdamW + genopt.cautious_decay
            + genopt.independent_decay).parts()[-1] == genopt.independent_decay


def test_lamb_is_adamw_and_a_trust_ratio():
    assert genopt.LAMB.parts() == (AdamW + genopt.scale_by_trust_ratio).parts()


# -- of the weights --------------------------------------------------------------------------------

@engines
def test_lookahead(compile):
    def formula():
        xs = [random(i, s, torch.float64).numpy() for i, s in enumerate(SHAPES)]
        slow = xs
        for t in range(STEPS):
            xs = [x - .1 * gradient(i, t, x.shape).numpy() for i, x in enumerate(xs)]
            if (t + 1) % 4 == 0: slow = xs = [s + .3 * (x - s) for s, x in zip(slow, xs)]
            yield xs
    check(SGD + genopt.lookahead, dict(lr=.1, sync_every=4, slow_step=.3, compile=compile),
          formula())
