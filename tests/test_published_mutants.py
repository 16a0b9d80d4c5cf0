"""Promise: the checks of published optimizers can fail, family by family.

Each mutant has one mistake of those that are often made: which beta Lion remembers with, which of
two averages divides, what is debiased, where decay goes. Each is caught by the check that passes
the recipe.
"""
import genopt
import pytest
import references as ref
import torch
from genopt import (average_grad, debias, momentum_step, scalar, sign_step, stat, step, transform,
                    weight_decay)
from genopt.parts import blend_average
from helpers import name_of
from mutants import mistaken, swap
from trajectories import assert_trajectories_agree, by_formula, trajectory


# -- signs -----------------------------------------------------------------------------------------

def lion_remembers_first():
    "It blends with the average that has this gradient in it already."
    blend = blend_average.rename(nu='mom')
    return average_grad.rename(mom='avg_mom'), blend, sign_step, weight_decay


def lion_with_its_betas_swapped():
    blend = blend_average.rename(grad_avg='prev_grad_avg', nu='avg_mom')
    return average_grad, blend, sign_step, weight_decay


# -- adams -----------------------------------------------------------------------------------------

def adopt_divides_by_the_new_square():
    @transform
    def scale_by_last_rms(grad, sqr_avg, *, eps): return grad / sqr_avg.sqrt().clamp(min=eps)
    return swap(genopt.ADOPT.parts(), genopt.parts.scale_by_last_rms, scale_by_last_rms)


def adopt_moves_on_its_first_step():
    @transform
    def clip_by_steps(grad, count): return grad.clamp(-count**.25, count**.25)
    return swap(genopt.ADOPT.parts(), genopt.parts.clip_by_steps, clip_by_steps)


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
        rms = sqr_avg.sqrt() / sqr_bias**.5
        return -lr * (grad_avg / bias + weight * slow_avg / slow_bias) / (rms + eps)
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
    def scale_by_layer_trust(grad, param, *, wd, trust):
        return trust * param.norm() / grad.norm() * (grad + wd * param)
    return swap(genopt.LARS.parts(), genopt.parts.scale_by_layer_trust, scale_by_layer_trust)


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
    rest = [p for p in genopt.AggMo.parts() if p.__name__ != 'momentum_buffer']
    return rest[0], *averages, *rest[1:]


def madgrad_by_the_square_root():
    @step
    def madgrad_step(param, first_param, grad_sum, sqr_sum, *, mom, eps):
        return (1 - mom) * (first_param - grad_sum / (sqr_sum**.5 + eps) - param)
    return swap(genopt.MADGRAD.parts(), genopt.parts.madgrad_step, madgrad_step)


# ..., what the recipe is given; a formula, what that is given; and what the mutant is given instead
@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('mutant, name, kwargs, formula, letters, changes', [
    (lion_remembers_first, 'Lion', {}, ref.lion, {}, {}),
    (lion_with_its_betas_swapped, 'Lion', {}, ref.lion, {}, {}),
    (adopt_divides_by_the_new_square, 'ADOPT', {}, ref.adopt, {}, {}),
    (adopt_moves_on_its_first_step, 'ADOPT', {}, ref.adopt, {}, {}),
    (adabelief_by_the_old_average, 'AdaBelief', {}, ref.adabelief, {}, {}),
    (adabelief_without_eps_in_its_state, 'AdaBelief', dict(eps=1e-4), ref.adabelief,
     dict(eps=1e-4), {}),
    (adan_with_the_papers_betas, 'Adan', {}, ref.adan, {},
     dict(mom=.02, diff_mom=.08, sqr_mom=.01)),
    (ademamix_debiases_its_slow_average, 'AdEMAMix', {}, ref.ademamix, {}, {}),
    (mars_takes_its_first_gradient_for_a_change, 'MARS', {}, ref.mars, {}, {}),
    (amsbound_of_the_debiased_average, 'AdaBound', dict(amsbound=True), ref.adabound,
     dict(ams=True), {}),
    (lars_without_decay_in_its_denominator, 'LARS', dict(wd=.1), ref.lars, dict(wd=.1), {}),
    (lamb_decays_after_the_norm, 'LAMB', {}, ref.lamb, {}, {}),
    (novograd_with_a_square_for_each_element, 'NovoGrad', {}, ref.novograd, {}, {}),
    (novograd_begins_at_zero, 'NovoGrad', {}, ref.novograd, {}, {}),
    (stableadamw_spares_decay, 'StableAdamW', {}, ref.stableadamw, {}, {}),
    (qhm_along_the_average_alone, 'QHM', {}, ref.qhm, {}, {}),
    (aggmo_with_averages, 'AggMo', {}, ref.aggmo, {}, {}),
    (madgrad_by_the_square_root, 'MADGRAD', {}, ref.madgrad, {}, {})], ids=name_of)
def test_mutant_is_caught(mutant, name, kwargs, formula, letters, changes):
    recipe, steps = genopt.recipe(name), 100
    def check(make, tol):
        assert_trajectories_agree(trajectory(make, steps), by_formula(formula, steps, **letters),
                                  tol)
    check(lambda params: recipe(params, **kwargs), 1e-10)
    with pytest.raises(AssertionError, match='largest relative difference'):
        check(mistaken(mutant, recipe, kwargs, changes), 1e-7)
