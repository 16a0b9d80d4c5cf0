"""Promise: the checks of published optimizers can fail, family by family.

Each mutant has one mistake of those that are often made: which beta Lion remembers with, which of
two averages divides, what is debiased, where decay goes. Each is caught by the same check that
passes the recipe.
"""
import math

import genopt
import numpy as np
import pytest
import references as ref
import torch
from genopt import (average_grad, average_sqr_grad, debias, momentum_step, scalar, sgd_step,
                    sign_step, stat, step, step_count, transform, weight_decay)
from genopt.parts import blend_average
from helpers import assert_agree, make_twin, random
from test_published import SHAPES, gradients, largest, run



def swap(parts, old, new): return [new if p is old or p.fn is old.fn else p for p in parts]


# -- signs -----------------------------------------------------------------------------------------

def lion_remembers_first():
    "It blends with the average that has this gradient in it already."
    return average_grad.rename(mom='avg_mom'), blend_average.rename(
        nu='mom'), sign_step, weight_decay


def lion_with_its_betas_swapped():
    return average_grad, blend_average.rename(grad_avg='prev_grad_avg',
                                              nu='avg_mom'), sign_step, weight_decay


# -- adams -----------------------------------------------------------------------------------------

def adopt_divides_by_the_new_square():
    @transform
    def scale_by_last_rms(grad, sqr_avg, prev_count, *, eps):
        return (grad / sqr_avg.sqrt().clamp(min=eps)).clamp(-prev_count**.25, prev_count**.25)
    return swap(genopt.ADOPT.parts(), genopt.parts.scale_by_last_rms, scale_by_last_rms)


def adopt_moves_on_its_first_step():
    @transform
    def scale_by_last_rms(grad, prev_sqr_avg, count, *, eps):
        return (grad / prev_sqr_avg.sqrt().clamp(min=eps)).clamp(-count**.25, count**.25)
    return swap(genopt.ADOPT.parts(), genopt.parts.scale_by_last_rms, scale_by_last_rms)


def adabelief_by_the_old_average():
    @stat
    def average_sqr_surprise(sqr_avg, grad, prev_grad_avg, *, sqr_mom, eps):
        return sqr_mom * sqr_avg + (1 - sqr_mom) * (grad - prev_grad_avg)**2 + eps
    return swap(genopt.AdaBelief.parts(), genopt.parts.average_sqr_surprise, average_sqr_surprise)


def adabelief_without_eps_in_its_state():
    @stat
    def average_sqr_surprise(sqr_avg, grad, grad_avg, *, sqr_mom):
        return sqr_mom * sqr_avg + (1 - sqr_mom) * (grad - grad_avg)**2
    return swap(genopt.AdaBelief.parts(), genopt.parts.average_sqr_surprise, average_sqr_surprise)


def adan_with_the_papers_betas(): return genopt.Adan.parts()


def ademamix_debiases_its_slow_average():
    @step
    def ademamix_step(grad_avg, slow_avg, sqr_avg, bias=debias,
                      slow_bias=debias.rename(mom='slow_mom'),
                      sqr_bias=debias.rename(mom='sqr_mom'),
                      weight=genopt.parts.grown_weight, *, lr, eps):
        return -lr * (grad_avg / bias + weight * slow_avg / slow_bias) / (
            sqr_avg.sqrt() / sqr_bias**.5 + eps)
    return swap(genopt.AdEMAMix.parts(), genopt.parts.ademamix_step, ademamix_step)


def mars_takes_its_first_gradient_for_a_change():
    @transform
    def add_diff(grad, prev_last_grad, *, mom, variance_scale):
        return grad + variance_scale * mom / (1 - mom) * (grad - prev_last_grad)
    return swap(genopt.MARS.parts(), genopt.parts.add_diff, add_diff)


def amsbound_of_the_debiased_average():
    @stat
    def max_sqr_grad(max_sqr_avg, sqr_avg, bias=debias.rename(mom='sqr_mom')):
        return torch.maximum(max_sqr_avg, sqr_avg / bias)
    return swap(genopt.AdaBound.parts(amsbound=True), genopt.max_sqr_grad, max_sqr_grad)


# -- layers ----------------------------------------------------------------------------------------

def lars_without_decay_in_its_denominator():
    @transform(whole=True)
    def scale_by_layer_rate(grad, param, *, lr, wd, trust):
        return lr * trust * param.norm() / grad.norm() * (grad + wd * param)
    return swap(genopt.LARS.parts(), genopt.parts.scale_by_layer_rate, scale_by_layer_rate)


def lamb_decays_after_the_norm():
    *rest, decay, ratio = genopt.LAMB.parts()
    return *rest, ratio, decay


def novograd_with_a_square_for_each_element():
    @stat
    def begun(sqr_norm, grad, share=genopt.parts.share_of_new):
        return (1 - share) * sqr_norm + share * grad * grad
    return swap(genopt.NovoGrad.parts(), genopt.parts.average_sqr_norm, begun)


def novograd_begins_at_zero():
    @scalar
    def share_of_new(count, *, sqr_mom): return 1 - sqr_mom
    @stat(init=lambda p: p.new_zeros(()), whole=True)
    def average_sqr_norm(sqr_norm, grad, share=share_of_new):
        return (1 - share) * sqr_norm + share * grad.square().sum()
    return swap(genopt.NovoGrad.parts(), genopt.parts.average_sqr_norm, average_sqr_norm)


def stableadamw_spares_decay():
    *rest, decay, scale = genopt.StableAdamW.parts()
    return *rest, scale, decay


# -- memories and sums -----------------------------------------------------------------------------

def qhm_along_the_average_alone(): return genopt.l2_reg, average_grad, momentum_step


def aggmo_with_averages():
    averages = [average_grad.rename(grad_avg=f'{k}_avg', mom=m)
                for k, m in (('fast', 'mom'), ('slow', 'slow_mom'))]
    return genopt.l2_reg, *averages, genopt.parts.aggmo_step


def madgrad_by_the_square_root():
    @step
    def madgrad_step(param, first_param, grad_sum, sqr_sum, *, mom, eps):
        return (1 - mom) * (first_param - grad_sum / (sqr_sum**.5 + eps) - param)
    return swap(genopt.MADGRAD.parts(), genopt.parts.madgrad_step, madgrad_step)


PUBLISHED = [(lion_remembers_first, 'Lion', ref.lion, {}, {}),
             (lion_with_its_betas_swapped, 'Lion', ref.lion, {}, {}),
             (adopt_divides_by_the_new_square, 'ADOPT', ref.adopt, {}, {}),
             (adopt_moves_on_its_first_step, 'ADOPT', ref.adopt, {}, {}),
             (adabelief_by_the_old_average, 'AdaBelief', ref.adabelief, {}, {}),
             (adabelief_without_eps_in_its_state, 'AdaBelief',
              ref.adabelief, dict(eps=1e-4), dict(eps=1e-4)),
             (adan_with_the_papers_betas, 'Adan', ref.adan,
              dict(mom=.02, diff_mom=.08, sqr_mom=.01), {}),
             (ademamix_debiases_its_slow_average, 'AdEMAMix', ref.ademamix, {}, {}),
             (mars_takes_its_first_gradient_for_a_change, 'MARS', ref.mars, {}, {}),
             (amsbound_of_the_debiased_average, 'AdaBound', ref.adabound, {}, dict(ams=True)),
             (lars_without_decay_in_its_denominator, 'LARS', ref.lars, dict(wd=.1), dict(wd=.1)),
             (lamb_decays_after_the_norm, 'LAMB', ref.lamb, {}, {}),
             (novograd_with_a_square_for_each_element, 'NovoGrad', ref.novograd, {}, {}),
             (novograd_begins_at_zero, 'NovoGrad', ref.novograd, {}, {}),
             (stableadamw_spares_decay, 'StableAdamW', ref.stableadamw, {}, {}),
             (qhm_along_the_average_alone, 'QHM', ref.qhm, {}, {}),
             (aggmo_with_averages, 'AggMo', ref.aggmo, {}, {}),
             (madgrad_by_the_square_root, 'MADGRAD', ref.madgrad, {}, {})]


def worst(make, formula, letters):
    runs = [formula(random(i, s, torch.float64).numpy(),
                    [g.numpy() for g in gradients(i, s)], **letters) for i, s in enumerate(SHAPES)]
    found = 0.
    for ours, *theirs in zip(run(make), *runs):
        d = largest(ours, theirs)
        found = max(found, d if math.isfinite(d) else np.inf)
    return found


@pytest.mark.parametrize('mutant, name, formula, kwargs, letters',
                         PUBLISHED, ids=lambda o: getattr(o, '__name__', ''))
def test_mutant_is_caught(mutant, name, formula, kwargs, letters):
    recipe = getattr(genopt, name)
    values = {k: v for k, v in recipe.rule().composition.hypers.items()
              if isinstance(v, float)} | recipe.defaults
    composition = genopt.Composition(mutant())
    given = {k: v for k, v in (values | kwargs).items() if k in composition.hypers}
    assert worst(lambda ps: genopt.Optimizer(ps, mutant(), **given), formula, letters) > 1e-7
    if mutant is not adan_with_the_papers_betas:
        right = dict(amsbound=True) if 'ams' in letters else {}
        assert worst(lambda ps: recipe(ps, **kwargs, **right), formula, letters) < 1e-10


# -- against torch ---------------------------------------------------------------------------------

def adadelta_by_the_new_average():
    "It divides by the average of steps that has this step in it; which then needs another one."
    @stat
    def average_delta(delta_avg, grad, sqr_avg, *, sqr_mom, eps):
        delta = grad * (delta_avg + eps).sqrt() / (sqr_avg + eps).sqrt()
        return sqr_mom * delta_avg + (1 - sqr_mom) * delta**2
    @transform
    def scale_by_rms_ratio(grad, delta_avg, sqr_avg, *, eps):
        return grad * (delta_avg + eps).sqrt() / (sqr_avg + eps).sqrt()
    return genopt.l2_reg, average_sqr_grad, average_delta, scale_by_rms_ratio, sgd_step


def amsgrad_of_the_debiased_average():
    @stat
    def max_sqr_grad(max_sqr_avg, sqr_avg, bias=debias.rename(mom='sqr_mom')):
        return torch.maximum(max_sqr_avg, sqr_avg / bias)
    return swap(genopt.Adam.parts(amsgrad=True), genopt.max_sqr_grad, max_sqr_grad)


def dampened_from_the_first_step():
    @stat
    def damped(grad_avg, grad, *, mom, dampening): return mom * grad_avg + (1 - dampening) * grad
    return genopt.l2_reg, damped, momentum_step


def rprop_forgets_no_turn():
    turning, off, last, move = genopt.Rprop.parts()
    return turning, last, off, move


def nadam_at_a_constant_momentum():
    return *average_parts(), genopt.parts.mom_product, genopt.parts.nadam_step


def average_parts(): return genopt.l2_reg, average_grad, average_sqr_grad, step_count


@pytest.mark.parametrize('mutant, cls, ours, theirs', [
    (adadelta_by_the_new_average, torch.optim.Adadelta, dict(lr=1., sqr_mom=.9, eps=1e-6), {}),
    (amsgrad_of_the_debiased_average, torch.optim.Adam,
     dict(lr=.01, mom=.9, sqr_mom=.999), dict(lr=.01, amsgrad=True)),
    (dampened_from_the_first_step, torch.optim.SGD, dict(lr=.1, mom=.9, dampening=.5),
     dict(lr=.1, momentum=.9, dampening=.5)),
    (rprop_forgets_no_turn, torch.optim.Rprop, dict(lr=.01), dict(lr=.01)),
    (nadam_at_a_constant_momentum, torch.optim.NAdam,
     dict(lr=.01, mom=.9, sqr_mom=.999, momentum_decay=0.),
     dict(lr=.01))],
    ids=lambda o: getattr(o, '__name__', ''))
def test_mutant_of_torchs_is_caught(mutant, cls, ours, theirs):
    with pytest.raises(AssertionError, match='largest relative difference'):
        assert_agree(lambda g: genopt.Optimizer(g, mutant(), **ours),
                     lambda g: make_twin(cls, g, **theirs), tol=1e-7, groups=lambda ps: ps.values())
    name = cls.__name__
    right = {'SGD': dict(lr=.1, mom=.9, dampening=.5),
             'Adam': dict(lr=.01, amsgrad=True)}.get(name, theirs)
    assert_agree(lambda g: getattr(genopt, name)(g, **right),
                 lambda g: make_twin(cls, g, **theirs), tol=1e-7, groups=lambda ps: ps.values())
