"""Promise: what is equal on paper is equal here, whatever the shapes, the numbers and the number of
steps."""
import genopt
import pytest
import torch
from genopt import Optimizer, average_grad, average_sqr_grad, l2_reg, scale_by_rms, sgd_step, step
from helpers import random
from hypothesis import given, settings
from hypothesis import strategies as st

settings.register_profile('steady', deadline=None, max_examples=40, derandomize=True)
settings.load_profile('steady')

shapes = st.lists(st.sampled_from([(), (1,), (7,), (3, 4), (0, 2), (2, 3, 2)]),
                  min_size=1, max_size=4)
runs = dict(shapes=shapes, seed=st.integers(0, 10**6), lr=st.floats(1e-5, .5),
            steps=st.integers(1, 8))
decays = st.floats(0, .999)


def run(make, shapes, seed, steps, scale=1., order=None, groups=lambda ps: ps):
    ps = [torch.nn.Parameter(random(seed + i, s, torch.float64)) for i, s in enumerate(shapes)]
    opt = make(groups([ps[i] for i in order or range(len(ps))]))
    for t in range(steps):
        for i, p in enumerate(ps):
            p.grad = scale * random(seed + 1000 * (t + 1) + i, p.shape, p.dtype)
        opt.step()
    return ps


def assert_same(a, b, rtol=1e-12):
    for p, q in zip(a, b, strict=True): torch.testing.assert_close(p, q, rtol=rtol, atol=1e-14)


@step
def undebiased_adam_step(grad_avg, sqr_avg, *, lr, eps=1e-8):
    return -lr * grad_avg / (sqr_avg.sqrt() + eps)


@given(**runs, sqr_mom=decays, eps=st.floats(1e-8, .1))
def test_adam_without_mom_and_debiasing_is_rmsprop(shapes, seed, lr, steps, sqr_mom, eps):
    kw = dict(lr=lr, sqr_mom=sqr_mom, eps=eps)
    parts = [average_grad, average_sqr_grad, undebiased_adam_step]
    assert_same(run(lambda ps: Optimizer(ps, parts, mom=0., **kw), shapes, seed, steps),
                run(lambda ps: genopt.RMSprop(ps, **kw), shapes, seed, steps))


@given(**runs)
def test_momentum_with_mom_0_is_sgd(shapes, seed, lr, steps):
    assert_same(run(lambda ps: genopt.Momentum(ps, mom=0., lr=lr), shapes, seed, steps),
                run(lambda ps: genopt.SGD(ps, lr=lr), shapes, seed, steps), rtol=0)


@given(**runs, mom=decays, sqr_mom=decays)
def test_adamw_with_wd_0_is_adam(shapes, seed, lr, steps, mom, sqr_mom):
    kw = dict(lr=lr, mom=mom, sqr_mom=sqr_mom)
    assert_same(run(lambda ps: genopt.AdamW(ps, wd=0., **kw), shapes, seed, steps),
                run(lambda ps: genopt.Adam(ps, **kw), shapes, seed, steps), rtol=0)


@given(**runs, power=st.integers(-20, 20), amsgrad=st.booleans())
def test_adam_without_eps_does_not_see_the_scale_of_gradients(shapes,
                                                              seed, lr, steps, power, amsgrad):
    make = lambda ps: genopt.Adam(ps, lr=lr, eps=0., amsgrad=amsgrad)
    assert_same(run(make, shapes, seed, steps), run(make, shapes, seed, steps, scale=2.**power),
                rtol=0)


recipes = st.sampled_from([genopt.SGD, genopt.Momentum, genopt.RMSprop, genopt.Adam, genopt.AdamW])


@given(**runs, recipe=recipes, cut=st.integers(1, 3))
def test_groups_change_nothing(shapes, seed, lr, steps, recipe, cut):
    make = lambda ps: recipe(ps, lr=lr, wd=.1)
    split = lambda ps: [g for g in (ps[:cut], ps[cut:]) if g]
    assert_same(run(make, shapes, seed, steps), run(make, shapes, seed, steps, groups=split),
                rtol=0)


@given(**runs, recipe=recipes, data=st.data())
def test_order_changes_nothing(shapes, seed, lr, steps, recipe, data):
    order = data.draw(st.permutations(range(len(shapes))))
    make = lambda ps: recipe(ps, lr=lr, wd=.1)
    assert_same(run(make, shapes, seed, steps), run(make, shapes, seed, steps, order=order), rtol=0)


@given(**runs, recipe=recipes)
def test_maximize_descends_the_negative(shapes, seed, lr, steps, recipe):
    assert_same(run(lambda ps: recipe(ps, lr=lr, maximize=True), shapes, seed, steps),
                run(lambda ps: recipe(ps, lr=lr), shapes, seed, steps, scale=-1.), rtol=0)


def test_rmsprop_is_sgd_on_a_scaled_gradient():
    assert genopt.RMSprop.parts() == (l2_reg, average_sqr_grad, scale_by_rms, sgd_step)


def test_these_checks_can_fail():
    shapes = [(3, 4), ()]
    with pytest.raises(AssertionError):
        assert_same(run(genopt.Adam, shapes, 0, 2), run(genopt.RMSprop, shapes, 0, 2))
    with pytest.raises(AssertionError):
        assert_same(run(genopt.SGD, shapes, 0, 2), run(genopt.SGD, shapes, 0, 2, scale=2.), rtol=0)
