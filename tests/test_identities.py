"""Promise: what is equal on paper is equal here, whatever the shapes, the numbers and the number of
steps."""
import genopt
import pytest
import torch
from genopt import Optimizer, average_grad, average_sqr_grad, l2_reg, scale_by_rms, sgd_step, step
from helpers import RECIPES, assert_close, keeps_to_matrices, random, random_param
from hypothesis import given, settings
from hypothesis import strategies as st

settings.register_profile('steady', deadline=None, max_examples=40, derandomize=True)
settings.load_profile('steady')

shapes = st.lists(st.sampled_from([(), (1,), (7,), (3, 4), (0, 2), (2, 3, 2)]),
                  min_size=1, max_size=4)
runs = dict(shapes=shapes, seed=st.integers(0, 10**6), lr=st.floats(1e-5, .5),
            steps=st.integers(1, 8))
decays = st.floats(0, .999)


def after(make, shapes, seed, steps, scale=1., order=None, groups=lambda ps: ps):
    "The parameters after some steps of an optimizer that is given them in this order."
    ps = [random_param(seed + i, s, torch.float64) for i, s in enumerate(shapes)]
    opt = make(groups([ps[i] for i in order or range(len(ps))]))
    for t in range(steps):
        for i, p in enumerate(ps):
            p.grad = scale * random(seed + 1000 * (t + 1) + i, p.shape, p.dtype)
        opt.step()
    return ps


@step
def undebiased_adam_step(grad_avg, sqr_avg, *, lr, eps=1e-8):
    return -lr * grad_avg / (sqr_avg.sqrt() + eps)


@given(**runs, sqr_mom=decays, eps=st.floats(1e-8, .1))
def test_adam_without_mom_and_debiasing_is_rmsprop(shapes, seed, lr, steps, sqr_mom, eps):
    kw = dict(lr=lr, sqr_mom=sqr_mom, eps=eps)
    parts = [average_grad, average_sqr_grad, undebiased_adam_step]
    assert_close(after(lambda ps: Optimizer(ps, parts, mom=0., **kw), shapes, seed, steps),
                 after(lambda ps: genopt.RMSprop(ps, **kw), shapes, seed, steps))


@given(**runs)
def test_momentum_with_mom_0_is_sgd(shapes, seed, lr, steps):
    assert_close(after(lambda ps: genopt.Momentum(ps, mom=0., lr=lr), shapes, seed, steps),
                 after(lambda ps: genopt.SGD(ps, lr=lr), shapes, seed, steps), rtol=0)


@given(**runs, mom=decays, sqr_mom=decays)
def test_adamw_with_wd_0_is_adam(shapes, seed, lr, steps, mom, sqr_mom):
    kw = dict(lr=lr, mom=mom, sqr_mom=sqr_mom)
    assert_close(after(lambda ps: genopt.AdamW(ps, wd=0., **kw), shapes, seed, steps),
                 after(lambda ps: genopt.Adam(ps, **kw), shapes, seed, steps), rtol=0)


@given(**runs, power=st.integers(-20, 20), amsgrad=st.booleans())
def test_adam_without_eps_sees_no_scale_of_gradients(shapes, seed, lr, steps, power, amsgrad):
    make = lambda ps: genopt.Adam(ps, lr=lr, eps=0., amsgrad=amsgrad)
    assert_close(after(make, shapes, seed, steps),
                 after(make, shapes, seed, steps, scale=2.**power), rtol=0)


recipes = st.sampled_from([r for r in RECIPES if not keeps_to_matrices(r)])


def decay(recipe): return dict(wd=.1) if 'wd' in recipe.__signature__.parameters else {}


@given(**runs, recipe=recipes, cut=st.integers(1, 3))
def test_groups_change_nothing(shapes, seed, lr, steps, recipe, cut):
    make = lambda ps: recipe(ps, lr=lr, **decay(recipe))
    split = lambda ps: [g for g in (ps[:cut], ps[cut:]) if g]
    assert_close(after(make, shapes, seed, steps),
                 after(make, shapes, seed, steps, groups=split), rtol=0)


@given(**runs, recipe=recipes, data=st.data())
def test_order_changes_nothing(shapes, seed, lr, steps, recipe, data):
    order = data.draw(st.permutations(range(len(shapes))))
    make = lambda ps: recipe(ps, lr=lr, **decay(recipe))
    assert_close(after(make, shapes, seed, steps),
                 after(make, shapes, seed, steps, order=order), rtol=0)


@given(**runs, recipe=recipes)
def test_maximize_descends_the_negative(shapes, seed, lr, steps, recipe):
    kw = dict(lr=lr, **decay(recipe))
    assert_close(after(lambda ps: recipe(ps, maximize=True, **kw), shapes, seed, steps),
                 after(lambda ps: recipe(ps, **kw), shapes, seed, steps, scale=-1.), rtol=0)


def test_rmsprop_is_sgd_on_a_scaled_gradient():
    assert genopt.RMSprop.parts() == (l2_reg, average_sqr_grad, scale_by_rms, sgd_step)


def test_these_checks_can_fail():
    shapes = [(3, 4), ()]
    with pytest.raises(AssertionError):
        assert_close(after(genopt.Adam, shapes, 0, 2), after(genopt.RMSprop, shapes, 0, 2))
    with pytest.raises(AssertionError):
        assert_close(after(genopt.SGD, shapes, 0, 2),
                     after(genopt.SGD, shapes, 0, 2, scale=2.), rtol=0)
