"""Promise: the modifiers for long runs do what their papers, or their authors' code, say: step by
step in float64, on every engine."""
import math
from functools import partial

import genopt
import numpy as np
import pytest
import torch
from genopt import (AdamW, ContractError, Momentum, SGD, average_param, error_feedback, grokfast,
                    power_average, resets, slow_average, spam, transform, warm_average)
from helpers import copy_values, engines, random, random_param, through_a_file
from test_gates import compile_file
from trajectories import SHAPES, assert_trajectories_agree, by_formula, gradient, trajectory

STEPS = 120


def spiky(i, t, shape):
    "A gradient with an element, now and then, that is far from the others."
    g = gradient(i, t, shape)
    if t % 9 == 5: g.view(-1)[t % g.numel()] *= 1e3
    return g


def path(recipe, steps=STEPS, gradient=gradient, **kwargs):
    return [*trajectory(partial(recipe, **kwargs), steps, SHAPES, gradient)]


# -- spikes ----------------------------------------------------------------------------------------

def spam_adam(x, grads, *, lr, b1=.9, b2=.999, eps=1e-8, wd=0., threshold=5000., gap=500,
              clip_from=20, warmup=50):
    """The authors' SPAM without a mask, line by line: counters as they have them, and the cosine of
    torch's CosineAnnealingLR(T_max=warmup + 1), from a death rate of 0.99."""
    m, v, total_step, current_step = np.zeros_like(x), np.zeros_like(x), 0, warmup + 1
    for g in grads:
        death = (0. if current_step >= warmup else
                 .99 * (1 + math.cos(math.pi * current_step / (warmup + 1))) / 2)
        if (total_step + 1) % gap == 0: m, v = np.zeros_like(x), np.zeros_like(x)
        now = total_step + 1
        if now >= clip_from and now % gap >= clip_from:
            mask = g**2 > threshold * v
            g = np.where(mask, np.sign(g) * np.sqrt(v * threshold), g)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        size = lr * math.sqrt(1 - b2**now) / (1 - b1**now)
        x = x - size * (1 - death) * m / (np.sqrt(v) + eps * math.sqrt(1 - b2**now)) - lr * wd * x
        total_step, current_step = total_step + 1, current_step + 1
        if (total_step + 1) % gap == 0: current_step = 0
        yield x


@engines
@pytest.mark.parametrize('ours, theirs', [
    (dict(), dict()),
    (dict(reset_every=40, spike_ratio=30., spike_delay=5, reset_warmup=11, wd=.1),
     dict(gap=40, threshold=30., clip_from=5, warmup=11, wd=.1))], ids=['default', 'all'])
def test_spam(ours, theirs, compile):
    found = path(AdamW + spam, gradient=spiky, lr=.01, compile=compile, **{'wd': 0., **ours})
    xs = zip(*[spam_adam(random(i, s, torch.float64).numpy(),
                         [spiky(i, t, s).numpy() for t in range(STEPS)], lr=.01, **theirs)
               for i, s in enumerate(SHAPES)])
    assert_trajectories_agree(found, xs, 1e-11)


def test_a_reset_forgets_what_is_not_a_number():
    p = random_param()
    opt = (AdamW + resets)([p], reset_every=4)
    for t in range(1, 5):
        p.grad = torch.full_like(p, math.nan if t == 2 else 1.)
        opt.step()
    assert opt.state[p]['grad_avg'].isfinite().all() and opt.state[p]['sqr_avg'].isfinite().all()


@engines
def test_a_transform_of_what_a_stat_remembers(compile):
    "It is changed before the stat is updated, and every part sees it so; in a file of its own too."
    recipe = Momentum + FORGET
    def formula(x, grads):
        m = np.zeros_like(x)
        for t, g in enumerate(grads, 1):
            m = .9 * (0 if t % 3 == 0 else 1) * m + g
            x = x - .1 * m
            yield x
    ours = path(recipe, 30, lr=.1, mom=.9, reset_every=3, compile=compile)
    assert_trajectories_agree(ours, by_formula(formula, 30), 1e-12)
    names = {}
    exec(compile_file(genopt.export(recipe)), names)
    make = next(v for k, v in names.items() if k.startswith('Momentum'))
    again = path(make, 30, lr=.1, mom=.9, reset_every=3)
    assert_trajectories_agree(ours, again, 1e-12)


FORGET = genopt.step_count, genopt.parts.reset_average


@transform
def forget_count(prev_count): return prev_count
@transform
def forget_later(prev_grad_avg): return prev_grad_avg


@pytest.mark.parametrize('make, why', [
    (lambda: SGD + spam, 'reads `prev_grad_avg`: add a stat that keeps it, such as `average_grad`'),
    (lambda: AdamW + forget_count, '`forget_count` changes `prev_count`, which is a number: it can '
                                   'only change a stat that is a tensor'),
    (lambda: genopt.Composition([*Momentum.parts(), forget_later]),
     '`forget_later` changes `prev_grad_avg` when `momentum_buffer` has read it: put it before '
     '`momentum_buffer`')], ids=['lacks', 'number', 'late'])
def test_what_cannot_be_reset(make, why):
    with pytest.raises(ContractError) as e: make()
    assert why in str(e.value)


# -- what changes slowly, and what signs leave out -------------------------------------------------

def filtered(grads, alpha=.98, lamb=2.):
    "gradfilter_ema: `grads` of the first step are the gradients themselves."
    slow = None
    for g in grads:
        slow = (g if slow is None else slow) * alpha + g * (1 - alpha)
        yield g + slow * lamb


@engines
@pytest.mark.parametrize('ours, theirs', [({}, {}), (dict(grok_mom=.8, grok_weight=5.),
                                                     dict(alpha=.8, lamb=5.))], ids=['', 'other'])
def test_grokfast(ours, theirs, compile):
    def formula(x, grads):
        for g in filtered(grads, **theirs):
            x = x - .1 * g
            yield x
    found = path(SGD + grokfast, lr=.1, compile=compile, **ours)
    assert_trajectories_agree(found, by_formula(formula, STEPS), 1e-11)


@engines
@pytest.mark.parametrize('mom', [0., .9])
def test_error_feedback(mom, compile):
    "EF-signSGD, and along a sum of gradients: p ← γ·g + e; Δ ← ‖p‖₁/d·sign(p); e ← p − Δ."
    def formula(x, grads):
        e, m = np.zeros_like(x), np.zeros_like(x)
        for g in grads:
            m = mom * m + g
            p = .1 * m + e
            delta = np.abs(p).sum() / p.size * np.sign(p)
            x, e = x - delta, p - delta
            yield x
    found = path(SGD + error_feedback, lr=.1, mom=mom, compile=compile)
    assert_trajectories_agree(found, by_formula(formula, STEPS), 1e-11)


# -- averages of the weights -----------------------------------------------------------------------

def in_diffusers(t, *, ema, inv_gamma=None, power=None):
    "EMAModel.get_decay, after its step is counted."
    step = max(0, t - 1)
    if step <= 0: return 0.
    value = (1 + step) / (10 + step) if inv_gamma is None else 1 - (1 + step / inv_gamma)**-power
    return max(min(value, ema), 0.)


def in_edm2(t, *, exp=6.94): return (1 - 1 / t)**(exp + 1)


@engines
@pytest.mark.parametrize('average, ours, decay, theirs', [
    (warm_average, dict(ema=.9), in_diffusers, dict(ema=.9)),
    (slow_average, dict(ema=.95), in_diffusers, dict(ema=.95, inv_gamma=1., power=2/3)),
    (slow_average, dict(ema=.9999, ema_warmup=3., ema_power=.75), in_diffusers,
     dict(ema=.9999, inv_gamma=3., power=.75)),
    (power_average, {}, in_edm2, {}),
    (power_average, dict(ema_gamma=16.97), in_edm2, dict(exp=16.97))])
def test_averages_of_the_weights(average, ours, decay, theirs, compile):
    ps = [random_param(i, s, torch.float64) for i, s in enumerate(SHAPES)]
    opt, means = (SGD + average)(ps, lr=.01, compile=compile, **ours), [p.detach() for p in ps]
    for t in range(1, 61):
        for i, p in enumerate(ps): p.grad = gradient(i, t, p.shape)
        opt.step()
        b = decay(t, **theirs)
        means = [b * m + (1 - b) * p.detach() for m, p in zip(means, ps)]
        for p, m in zip(ps, means):
            torch.testing.assert_close(opt.state[p]['param_avg'], m, rtol=1e-12, atol=1e-14)
    opt.swap()
    assert all(torch.allclose(p, m) for p, m in zip(ps, means))


@pytest.mark.parametrize('gamma, width', [(6.94, .1), (16.97, .05)])
def test_gamma_is_a_width(gamma, width):
    "Karras et al., equation 4, and its value for the numbers that the docstring gives."
    std = (gamma + 1)**.5 * (gamma + 2)**-1 * (gamma + 3)**-.5
    assert std == pytest.approx(width, rel=1e-3)


# -- all of them -----------------------------------------------------------------------------------

ALL = dict(spam=spam, grokfast=grokfast, error_feedback=error_feedback, warm=warm_average,
           slow=slow_average, power=power_average)


@pytest.mark.parametrize('name', ALL)
def test_it_is_one_kernel_and_resumes(name):
    recipe, values = AdamW + ALL[name], dict(reset_every=5) if name == 'spam' else {}
    ps, qs = ([random_param(i, s) for i, s in enumerate(SHAPES)] for _ in 'ab')
    opt, other = recipe(ps, compile=True, **values), recipe(qs, compile=True, **values)
    def go(opt, ps, steps):
        for t in steps:
            for i, p in enumerate(ps): p.grad = spiky(i, t, p.shape).float()
            opt.step()
    go(opt, ps, range(7))
    copy_values(ps, qs)
    other.load_state_dict(through_a_file(opt.state_dict()))
    go(opt, ps, range(7, 12)); go(other, qs, range(7, 12))
    assert all(map(torch.equal, ps, qs))
    n = len(recipe.rule().composition.tensor_parts)
    assert f'kernel: {n} of {n} parts' in repr(opt)


def test_an_average_has_one_decay():
    "A stat of the weights with another decay is another part, and not a second one of that name."
    with pytest.raises(ContractError, match='both keep `param_avg`'):
        AdamW + average_param + warm_average
