"""Promise: what is equal on paper is equal here, whatever the shapes, the numbers and the number of
steps; and identities between recipes are found."""
from functools import partial

import genopt
import pytest
import torch
from genopt import (Optimizer, average_grad, average_sqr_grad, identities, l2_reg, recipe,
                    scale_by_rms, sgd_step, step)
from genopt.cli import main
from genopt.hypers import TABLE
from genopt.study.points import every_rule, removable, values
from helpers import RECIPES, assert_close, keeps_to_matrices, random, random_param
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import ROOT
from sampled import everything, sampled

DOCS = ROOT / 'docs'

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


OF_MATRICES = [r for r in RECIPES if keeps_to_matrices(r)]
DRAWN_BY_PLACE = genopt.PSGDKron, genopt.APOLLO  # their random numbers, as by their authors
recipes = st.sampled_from([r for r in RECIPES if r not in OF_MATRICES])


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


@pytest.mark.parametrize('recipe', OF_MATRICES, ids=lambda r: r.__name__)
def test_nor_do_they_for_matrices_but_for_the_rounding_of_stacks(recipe):
    "Of square ones, where one gradient has all directions: SOAP's basis is then no free choice."
    shapes, make = [(4, 4), (3, 3), (4, 4), (4, 4)], partial(recipe, lr=.01)
    usual = after(make, shapes, 0, 5)
    for cut in 1, 2, 3:
        split = lambda ps, cut=cut: [ps[:cut], ps[cut:]]
        assert_close(after(make, shapes, 0, 5, groups=split), usual, 1e-9, 1e-9)
    if recipe in DRAWN_BY_PLACE: return
    assert_close(after(make, shapes, 0, 5, order=[3, 1, 0, 2]), usual, 1e-9, 1e-9)


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


# -- identities that are found ---------------------------------------------------------------------

@pytest.mark.parametrize('name, sentence', [
    ('Momentum', 'Momentum with β₁ = 0 is SGD'),
    ('QHM', 'QHM with ν₁ = 0 is SGD'),
    ('QHM', 'QHM with ν₁ = 1 is Momentum with learning rate η·(1 − β₁)'),
    ('QHM', 'QHM with ν₁ = β₁ is Momentum(nesterov=True) with learning rate η·(1 − β₁)'),
    ('AggMo', 'AggMo with β₁ = 0 and β₃ = 0 is SGD'),
    ('Adam', 'Adam with β₁ = 0, without debias, is RMSprop'),
    ('AdamW', 'AdamW with λ = 0 is Adam'),
    ('LaProp', 'LaProp with β₁ = 0 is AdamW with β₁ = 0'),
    ('NAdam', 'NAdam with β₁ = 0 is Adam with β₁ = 0'),
    ('RAdam', 'RAdam with λ = 0, without rectifier, is SparseAdam'),
    ('QHAdam', 'QHAdam with ν₁ = 1 and ν₂ = 1 is AdamW'),
    ('AdEMAMix', 'AdEMAMix with α = 0 is AdamW'),
    ('Adan', 'Adan with β₂ = 0 and λ = 0 is Adam'),
    ('LAMB', 'LAMB without scale_by_trust_ratio is AdamW'),
    ('MARS', 'MARS with γ = 0, without clip_by_norm, is AdamW'),
    ('Lion', 'Lion with β₂ = β₁ is Signum'),
    ('Tiger', 'Tiger is Signum'),
    ('QHAdam', 'QHAdam with ν₂ = 1 and ν₁ = β₁, without debias, is NAdamW without debias'),
    ('momentum_buffer', 'momentum_buffer is average_grad times 1 / (1 − β₁)'),
    ('nesterov_step', 'nesterov_step with β₁ = 0 is sgd_step')])
def test_what_is_known_is_found(name, sentence):
    [found] = [i for i in identities(name) if i.text == sentence]
    assert found.is_proved and found.recipe == name


def test_an_identity_as_data():
    [i] = [i for i in identities('qhm') if i.where == dict(nu=1.)]
    assert (i.recipe, i.is_, i.with_) == ('QHM', 'Momentum', dict(lr='lr*(1 - mom)'))
    assert str(i.factor) == '1 - mom' and i.is_plain and not i.without and i.kind == 'recipe'
    assert i.latex.startswith(r'QHM with $\nu_{1} = 1$ is Momentum with learning rate $\eta')
    [i] = [i for i in identities('rmsprop') if i.recipe == 'Adam' and i.is_plain]
    assert (i.where, i.without, i.with_) == (dict(mom=0.), ('debias',), {})
    assert {*identities('lion', 'muon')} == {*identities('lion'), *identities('muon')}
    assert {i.recipe for i in identities()} > {'Lion', 'adan_step'}


def made(name, special, given, rate):
    "The recipe with its options and special values, and with `given` for all other numbers."
    r = genopt.recipe(name)
    options = {k: v for k, v in special.items() if k in r.options}
    hypers = [k for k in r.rule(options).composition.hypers if k not in r.options]
    own = {k: given[k] for k in hypers if k in given} | dict(lr=rate * given['lr'])
    own |= {k: given.get(v, v) for k, v in special.items() if k != 'lr'}
    own |= {k: given[k] for k, v in options.items() if isinstance(v, float)}  # .9 is any number
    return partial(r, **own)


def test_each_is_true_of_optimizers():
    "Each that leaves nothing out: 30 steps of both, as users make them, at two sets of values."
    count = 0
    whole = [i for i in identities() if i.kind == 'recipe' and not i.without]
    for i in sampled(whole, 24):
        for seed in (2, 3):
            given = values(TABLE, seed) | dict(warmup=3.)
            rate = float(i.factor.subs({s: given[s.name] for s in i.factor.free_symbols}))
            optimizers = made(i.recipe, i.where, given, 1.), made(i.is_, i.with_, given, rate)
            a, b = (torch.cat([p.flatten() for p in after(opt, [(4, 3), (3, 4)], seed, 30)])
                    for opt in optimizers)
            assert (a - b).norm() <= 1e-10 * a.norm(), i
            count += 1
    assert count >= 48 and len(whole) > 40


@pytest.mark.skipif(not everything, reason='an example in docs/explain.md does the same')
def test_ones_own_rule_is_recognised():
    @step
    def my_step(grad_avg, grad, *, lr, blend=.5):
        return -lr * (blend * grad_avg + (1 - blend) * grad)

    @recipe(lr=.1)
    def Mine(): return average_grad, my_step
    for mine in Mine, [average_grad, my_step]:
        name = 'Mine' if mine is Mine else 'list 1'
        found = {i.text for i in identities(mine)}
        assert f'{name} with blend = 1 is Momentum with learning rate η·(1 − β₁)' in found


def test_what_may_be_left_out():
    rules = {r.name: r for r in every_rule() if r.kind == 'recipe' and not r.options}
    assert removable(rules['Adam']) == ('average_sqr_grad', 'debias')  # not a signed average
    assert removable(rules['LAMB'])[-1] == 'scale_by_trust_ratio' and not removable(rules['SGD'])


def test_what_is_so_for_some_shapes_and_gradients_is_not_told():
    "A rule that differs for wide matrices, and one that differs after a gradient of 0."
    said = {i.text for i in identities('muon', 'novograd')}
    assert not said & {"Muon(adjust_lr_fn='spectral_unclamped') is Muon",
                       'NovoGrad(from_nonzero=True) is NovoGrad'}


def test_nothing_is_found_where_nothing_is():
    @step
    def odd_step(grad, *, lr): return -lr * grad.sin()
    assert not identities([odd_step])
    with pytest.raises(KeyError, match='there is no recipe or part `adamm`'): identities('adamm')


def test_the_page_is_up_to_date(capsys):
    assert main(['identities', '--markdown']) == 0
    assert (DOCS / 'identities.md').read_text(encoding='utf-8') == capsys.readouterr().out, \
        'write it anew: python -m genopt identities --markdown > docs/identities.md'


def test_the_command(capsys, tmp_path):
    assert main(['identities', 'lion']) == 0
    assert 'symbols   Lion with β₂ = β₁ is Signum' in capsys.readouterr().out
    assert main(['identities', 'momentum', '--html', str(tmp_path / 'x.html')]) == 0
    assert '<math' in (tmp_path / 'x.html').read_text(encoding='utf-8')
    capsys.readouterr()
    assert main(['identities', 'adamm']) == 1 and 'did you mean `Adam`?' in capsys.readouterr().err
