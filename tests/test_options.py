"""Promise: each option of a recipe does what its authors' code, or the library that has it, does;
and where paper and code differ, both ways are there and each agrees with its reference.
"""
from functools import partial

import authors
import genopt
import pytest
import references as ref
import torch
from genopt import AdamW, ContractError, Momentum, Optimizer, centralize, cautious, l2_reg
from genopt.parts import cautious_by_count, momentum_buffer, momentum_step, scale_by_trust_ratio
from helpers import engines, param, pickled, random
from trajectories import SHAPES, assert_trajectories_agree, by_formula, trajectory

STEPS, TOL = 100, 1e-11
BETAS = (.8, .95)


def of(name, **given): return genopt.recipe(name).configured(**given)


# A recipe, the formula that it follows, and what that is given
CASES = [
    (of('LAMB', always_adapt=False, wd=0.), authors.lamb, dict(wd=0.)),
    (of('LAMB', always_adapt=False, wd=.1), authors.lamb, dict(wd=.1)),
    (of('LAMB', wd=0.), authors.lamb, dict(wd=0., always_adapt=True)),
    (of('LAMB', trust_clip=True, lr=.1, wd=.3), authors.lamb,
     dict(trust_clip=True, always_adapt=True, lr=.1, wd=.3)),
    (of('LAMB', trust_clip=True, always_adapt=False, lr=.1, wd=0.), authors.lamb,
     dict(trust_clip=True, lr=.1, wd=0.)),
    (of('LARS', always_adapt=False), authors.lars, dict()),
    (of('LARS', always_adapt=False, wd=.1), authors.lars, dict(wd=.1)),
    (of('LARS', nesterov=True, wd=.1), authors.lars,
     dict(nesterov=True, wd=.1, always_adapt=True)),
    (of('LARS', trust_clip=True, lr=.002, wd=.1), authors.lars,
     dict(trust_clip=True, lr=.002, wd=.1, always_adapt=True)),
    (of('LARS', trust_clip=True, always_adapt=False, nesterov=True), authors.lars,
     dict(trust_clip=True, nesterov=True)),
    (of('AdaBelief', rectify=True, eps=1e-16), authors.adabelief, dict()),
    (of('AdaBelief', rectify=True, eps=1e-6, betas=BETAS, lr=.01, wd=.1), authors.adabelief,
     dict(eps=1e-6, b1=.8, b2=.95, lr=.01, wd=.1)),
    (of('AdaBelief', eps=1e-16), ref.adabelief, dict(eps=1e-16)),
    (of('MARS', from_zero=True), authors.mars, dict(optimize_1d=True)),
    (of('MARS', from_zero=True, mars_type='mars-lion', lr=1e-3, wd=.1), authors.mars,
     dict(optimize_1d=True, kind='mars-lion', lr=1e-3, wd=.1)),
    (of('MARS', mars_type='mars-lion', lr=1e-3, wd=.1), authors.mars_lion, dict(wd=.1)),
    (of('Yogi', initial_accumulator_value=.01), authors.yogi, dict(first=.01)),
    (of('ADOPT', clip=False), authors.adopt, dict()),
    (of('ADOPT', clip=False, lr=.01, betas=BETAS, eps=1e-3, wd=.1), authors.adopt,
     dict(lr=.01, b1=.8, b2=.95, eps=1e-3, wd=.1)),
    (of('Tiger', relative=True), authors.tiger, dict()),
    (of('Tiger', relative=True, lr=.01, mom=.8, wd=.1), authors.tiger, dict(lr=.01, b=.8, wd=.1)),
    (of('LaProp', independent_wd=True, wd=.01), authors.laprop, dict(wd=.01)),
    (of('NovoGrad', from_nonzero=True, wd=.1), authors.novograd, dict(wd=.1)),
    (of('DiffGrad', raw_eps=True, eps=1e-3, wd=.1), authors.diffgrad, dict(eps=1e-3, l2=.1)),
    (of('AggMo', betas=(.5, .9)), ref.aggmo, dict(betas=(.5, .9))),
    (of('AggMo', betas=(.1, .5, .9), lr=.01, wd=.1), ref.aggmo,
     dict(betas=(.1, .5, .9), lr=.01, l2=.1)),
    (of('AggMo', betas=[1 - .1**i for i in range(5)]), ref.aggmo,
     dict(betas=[1 - .1**i for i in range(5)])),
    (of('Adan', betas=(.9, .8, .95)), ref.adan, dict(b1=.1, b2=.2, b3=.05)),
    (of('AdEMAMix', betas=(.8, .95, .99), alpha=3.), ref.ademamix,
     dict(b1=.8, b2=.95, b3=.99, alpha=3.)),
    (of('QHAdam', nus=(.5, .6)), ref.qhadam, dict(nu1=.5, nu2=.6)),
    (Momentum.configured(wd=.1) + centralize, authors.centralized, dict(l2=.1, first=True)),
    (Momentum + cautious, authors.cautious_momentum, dict()),
    (Momentum + cautious_by_count, authors.cautious_momentum, dict(by_count=True))]
IDS = [r.__name__ for r, *_ in CASES]


@pytest.mark.exhaustive(2)
@engines
@pytest.mark.parametrize('recipe, formula, letters', CASES, ids=IDS)
def test_as_in_its_reference(recipe, formula, letters, compile):
    ours = trajectory(partial(recipe, compile=compile), STEPS)
    assert_trajectories_agree(ours, by_formula(formula, STEPS, **letters), TOL)


# -- what the docstrings say that a group or a list of one's own does ------------------------------

def two(params, matrix, rest):
    "Groups of matrices and of what is not one."
    return Optimizer([dict(params=[p for p in params if p.dim() == 2], **matrix),
                      dict(params=[p for p in params if p.dim() != 2], **rest)])


@engines
def test_mars_with_adamw_for_what_is_not_a_matrix(compile):
    mars, adamw = of('MARS', from_zero=True), AdamW
    make = lambda ps: two(ps, dict(parts=mars, wd=.1, compile=compile),
                          dict(parts=adamw, lr=3e-3, betas=(.9, .95), wd=.1, compile=compile))
    ours = trajectory(make, STEPS)
    assert_trajectories_agree(ours, by_formula(authors.mars, STEPS, wd=.1), TOL)


@engines
def test_centralize_after_l2(compile):
    parts = [l2_reg, centralize, momentum_buffer, momentum_step]
    ours = trajectory(lambda ps: Optimizer(ps, parts, lr=1e-3, wd=.1, compile=compile), STEPS)
    assert_trajectories_agree(ours, by_formula(authors.centralized, STEPS, l2=.1), TOL)


@engines
@pytest.mark.parametrize('from_nonzero', [False, True])
def test_novograd_after_a_first_gradient_of_zero(from_nonzero, compile):
    formula = authors.novograd if from_nonzero else ref.novograd
    def zero_first(i, t, shape): return (t > 0) * random(100 * i + t, shape, torch.float64)
    ours = trajectory(of('NovoGrad', from_nonzero=from_nonzero).optimizer_class, 20,
                      gradient=zero_first)
    grads = lambda i, s: [zero_first(i, t, s).numpy() for t in range(20)]
    theirs = zip(*[formula(random(i, s, torch.float64).numpy(), grads(i, s))
                   for i, s in enumerate(SHAPES)])
    assert_trajectories_agree(ours, theirs, TOL)


# -- any number of buffers -------------------------------------------------------------------------

def test_the_number_of_betas_is_the_number_of_buffers():
    opt = genopt.AggMo([param()], betas=(0., .5, .9, .99))
    group = opt.param_groups[0]
    assert group['buffers'] == 4 and group['betas'] == (0., .5, .9, .99)
    assert (group['fast_mom'], group['mom'], group['slow_mom'], group['mom_4']) == group['betas']
    group['mom_4'] = .999
    assert group['betas'] == (0., .5, .9, .999)


def test_buffers_can_change_in_a_run_and_are_saved():
    p = param(grad=1.)
    opt = genopt.AggMo([p], betas=(.1, .9))
    opt.step()
    opt.param_groups[0]['betas'] = (.1, .9, .99, .999, .9999)
    opt.step()
    assert {*opt.state[p]} == {'grad_avg', 'fast_avg', 'slow_avg', 'avg_4', 'avg_5'}
    other = genopt.AggMo([q := param(grad=1.)])
    with torch.no_grad(): q.copy_(p)
    other.load_state_dict(opt.state_dict())
    opt.step(); other.step()
    assert torch.equal(p, q) and other.param_groups[0]['buffers'] == 5
    recipe = genopt.AggMo.configured(betas=(0., .5, .9, .99))
    assert pickled(recipe).parts() == recipe.parts()


def test_many_buffers_have_letters():
    box = str(genopt.AggMo.explain(betas=[1 - .5**i for i in range(12)]).box)
    assert '    m₁₂ ← β₁₂·m₁₂ + g' in box and 'm₄ ← β₄·m₄ + g' in box


@pytest.mark.parametrize('given, why', [
    (dict(buffers=5), '`mom_4` is missing'),
    (dict(betas=(.9,)), '`buffers` = 1: give 2 or more, as one alone is Momentum'),
    (dict(betas=.9), '`betas` = 0.9: give 3 numbers, for `fast_mom` and `mom` and `slow_mom`'),
    (dict(betas=(0., .5, .9, .99), buffers=3), '`buffers` is given twice, once as `betas`'),
    (dict(betas=(0., .5, 1.)), '`slow_mom` = 1 is out of range')])
def test_what_is_no_list_of_decays(given, why):
    with pytest.raises((TypeError, ValueError)) as e: genopt.AggMo([param()], **given)
    assert why in str(e.value)


def test_a_buffer_without_decay_in_a_run():
    opt = genopt.AggMo([param()])
    with pytest.raises(ValueError, match='`mom_4` has no value: give `betas`'):
        opt.param_groups[0]['buffers'] = 4


# -- a part that waits for a hyperparameter --------------------------------------------------------

def test_a_part_is_on_where_a_hyperparameter_of_another_is_not_0():
    part = scale_by_trust_ratio.on('wd')
    assert part.label == 'scale_by_trust_ratio[on=wd]' and pickled(part) == part
    a, b = param(value=2., grad=1.), param(value=2., grad=1.)
    opt = (AdamW + part)([dict(params=[a], wd=0.), dict(params=[b], wd=.1)], lr=.1)
    opt.step()
    assert a[0].item() == pytest.approx(1.9) and b[0].item() == pytest.approx(1.8)


def test_a_decay_that_is_added_leaves_it_where_it_is():
    "In `recipe + parts`, only a part's own switch makes it replace another."
    recipe = of('LAMB', always_adapt=False) + genopt.independent_decay
    assert [p.__name__ for p in recipe.parts()][-2:] == ['independent_decay',
                                                         'scale_by_trust_ratio']


@pytest.mark.parametrize('part', [genopt.average_grad, genopt.weight_decay])
def test_what_cannot_wait(part):
    with pytest.raises(ContractError, match=f'`{part.label}` cannot follow `mom`: only a'):
        part.on('mom')


def test_an_unknown_kind_of_mars():
    with pytest.raises(ValueError, match="`mars_type` = 'lion': give one of"):
        genopt.MARS([param()], mars_type='lion')
