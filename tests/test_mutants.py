"""Promise: the checks of agreement with torch can fail.

Each mutant has one mistake that has been made in public; each must be caught by the check that
passes the recipe. The first three stood for years in a well-known blog post that plots its
optimizers' falling losses.
"""
import itertools

import genopt
import pytest
import torch
from genopt import (adam_step, average_grad, average_sqr_grad, debias, l2_reg, momentum_step, parts,
                    scalar, sgd_step, stat, step, step_count, transform)
from genopt.twins import TWINS
from helpers import assert_agree, make_twin, name_of
from mutants import mistaken, swap

ADAM = dict(lr=.01, betas=(.9, .99), eps=1e-4, weight_decay=.1)
MOMENTUM = dict(lr=.01, momentum=.9)
AVERAGES = l2_reg, average_grad, average_sqr_grad, step_count


def counted_per_parameter():
    "Adam's step number goes up with every parameter, and not with every step."
    calls = itertools.count(1)
    @step(whole=True)
    def mutant_step(grad_avg, sqr_avg, *, lr, eps, mom, sqr_mom):
        t = next(calls)
        return -lr / (1 - mom**t) * grad_avg / (sqr_avg.sqrt() / (1 - sqr_mom**t)**.5 + eps)
    return *AVERAGES, mutant_step


def corrected_twice():
    "Adam's first moment is divided by its bias twice."
    @step
    def mutant_step(grad_avg, sqr_avg, bias=debias, sqr_bias=debias.rename(mom='sqr_mom'),
                    *, lr, eps):
        return -lr / bias / bias * grad_avg / (sqr_avg.sqrt() / sqr_bias**.5 + eps)
    return *AVERAGES, mutant_step


def buffer_ahead():
    """Momentum's buffer is multiplied on the first step as if it already held the gradient: that
    step is (1 + mom)·g."""
    @scalar
    def extra(count, *, mom): return mom if count == 1 else 0.
    @stat
    def mutant_buffer(grad_avg, grad, extra=extra, *, mom):
        return mom * grad_avg + (1 + extra) * grad
    return l2_reg, step_count, mutant_buffer, momentum_step


def eps_inside_the_root():
    @step
    def mutant_step(grad_avg, sqr_avg, bias=debias, sqr_bias=debias.rename(mom='sqr_mom'),
                    *, lr, eps):
        return -lr / bias * grad_avg / (sqr_avg / sqr_bias + eps).sqrt()
    return *AVERAGES, mutant_step


def bias_left_in():
    @step
    def mutant_step(grad_avg, sqr_avg, *, lr, eps): return -lr * grad_avg / (sqr_avg.sqrt() + eps)
    return l2_reg, average_grad, average_sqr_grad, mutant_step


def decay_not_scaled_by_lr():
    @step
    def mutant_decay(param, *, wd): return -wd * param
    return mutant_decay, *AVERAGES[1:], adam_step


def count_shared_by_all():
    """One step count for the whole optimizer: a parameter that joins late is taken to be as old as
    the others."""
    oldest = [0]
    @scalar
    def shared_debias(count, *, mom):
        oldest[0] = max(oldest[0], count)
        return 1 - mom**oldest[0]
    @step
    def mutant_step(grad_avg, sqr_avg, bias=shared_debias,
                    sqr_bias=shared_debias.rename(mom='sqr_mom'), *, lr, eps):
        return -lr / bias * grad_avg / (sqr_avg.sqrt() / sqr_bias**.5 + eps)
    return *AVERAGES, mutant_step


def adadelta_by_the_new_average():
    "It divides by the average of steps that has this step in it; which then needs another one."
    @stat
    def average_delta(delta_avg, grad, sqr_avg, *, sqr_mom, eps):
        delta = grad * (delta_avg + eps).sqrt() / (sqr_avg + eps).sqrt()
        return sqr_mom * delta_avg + (1 - sqr_mom) * delta**2
    @transform
    def scale_by_rms_ratio(grad, delta_avg, sqr_avg, *, eps):
        return grad * (delta_avg + eps).sqrt() / (sqr_avg + eps).sqrt()
    return l2_reg, average_sqr_grad, average_delta, scale_by_rms_ratio, sgd_step


def amsgrad_of_the_debiased_average():
    @stat
    def max_sqr_grad(max_sqr_avg, sqr_avg, bias=debias.rename(mom='sqr_mom')):
        return torch.maximum(max_sqr_avg, sqr_avg / bias)
    return swap(genopt.Adam.parts(amsgrad=True), genopt.max_sqr_grad, max_sqr_grad)


def dampened_from_the_first_step():
    @stat
    def damped(grad_avg, grad, *, mom, dampening): return mom * grad_avg + (1 - dampening) * grad
    return l2_reg, damped, momentum_step


def rprop_forgets_no_turn():
    turning, off, last, move = genopt.Rprop.parts()
    return turning, last, off, move


def nadam_at_a_constant_momentum():
    return *AVERAGES, parts.mom_product, parts.nadam_step


@pytest.mark.parametrize('mutant, name, kwargs, changes', [
    (counted_per_parameter, 'Adam', ADAM, {}),
    (corrected_twice, 'Adam', ADAM, {}),
    (buffer_ahead, 'SGD', MOMENTUM, {}),
    (eps_inside_the_root, 'Adam', ADAM, {}),
    (bias_left_in, 'Adam', ADAM, {}),
    (decay_not_scaled_by_lr, 'AdamW', ADAM, {}),
    (count_shared_by_all, 'Adam', ADAM, {}),
    (amsgrad_of_the_debiased_average, 'Adam', dict(lr=.01, amsgrad=True), {}),
    (dampened_from_the_first_step, 'SGD', MOMENTUM | dict(dampening=.5), {}),
    (adadelta_by_the_new_average, 'Adadelta', {}, {}),
    (rprop_forgets_no_turn, 'Rprop', dict(lr=.01), {}),
    (nadam_at_a_constant_momentum, 'NAdam', dict(lr=.01), dict(momentum_decay=0.))],
    ids=name_of)
def test_mutant_is_caught(mutant, name, kwargs, changes):
    recipe = genopt.recipe(name)
    def check(make):
        assert_agree(make, lambda g: make_twin(TWINS[name].cls, g, **kwargs), tol=1e-7)
    check(lambda g: recipe(g, **kwargs))
    with pytest.raises(AssertionError, match='largest relative difference'):
        check(mistaken(mutant, recipe, kwargs, changes))
