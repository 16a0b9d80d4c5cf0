"""Promise: the checks of agreement can fail.

Each mutant has one mistake that has been made in public; each must be caught. The first three stood
for years in a well-known blog post that plots its optimizers' falling losses.
"""
import itertools

import genopt
import pytest
from genopt import (adam_step, average_grad, average_sqr_grad, debias, l2_reg,
                    momentum_buffer, momentum_step, scalar, stat, step, step_count, weight_decay)
from helpers import assert_agree, make_twin
from torch import optim

ADAM, MOMENTUM = dict(lr=.01, betas=(.9, .99), eps=1e-4, weight_decay=.1), dict(lr=.01, momentum=.9)


def counted_per_parameter():
    "Adam's step number goes up with every parameter, and not with every step."
    calls = itertools.count(1)
    @step(whole=True)
    def mutant_step(grad_avg, sqr_avg, *, lr, eps, mom, sqr_mom):
        t = next(calls)
        return -lr / (1 - mom**t) * grad_avg / (sqr_avg.sqrt() / (1 - sqr_mom**t)**.5 + eps)
    return l2_reg, average_grad, average_sqr_grad, step_count, mutant_step


def corrected_twice():
    "Adam's first moment is divided by its bias twice."
    @step
    def mutant_step(grad_avg, sqr_avg, bias=debias, sqr_bias=debias.rename(mom='sqr_mom'),
                    *, lr, eps):
        return -lr / bias / bias * grad_avg / (sqr_avg.sqrt() / sqr_bias**.5 + eps)
    return l2_reg, average_grad, average_sqr_grad, step_count, mutant_step


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
    return l2_reg, average_grad, average_sqr_grad, step_count, mutant_step


def bias_left_in():
    @step
    def mutant_step(grad_avg, sqr_avg, *, lr, eps): return -lr * grad_avg / (sqr_avg.sqrt() + eps)
    return l2_reg, average_grad, average_sqr_grad, mutant_step


def decay_not_scaled_by_lr():
    @step
    def mutant_decay(param, *, wd): return -wd * param
    return mutant_decay, average_grad, average_sqr_grad, step_count, adam_step


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
    return l2_reg, average_grad, average_sqr_grad, step_count, mutant_step


def _check(parts, cls, kwargs):
    return assert_agree(lambda g: genopt.Optimizer(g, parts, **kwargs),
                        lambda g: make_twin(cls, g, **kwargs))


@pytest.mark.parametrize('mutant, cls, kwargs', [
    (counted_per_parameter, optim.Adam, ADAM), (corrected_twice, optim.Adam, ADAM),
    (buffer_ahead, optim.SGD, MOMENTUM), (eps_inside_the_root, optim.Adam, ADAM),
    (bias_left_in, optim.Adam, ADAM),
    (decay_not_scaled_by_lr, optim.AdamW, ADAM), (count_shared_by_all, optim.Adam, ADAM)],
    ids=lambda o: getattr(o, '__name__', ''))
def test_mutant_is_caught(mutant, cls, kwargs):
    if mutant is buffer_ahead: kwargs = kwargs | dict(wd=0.)
    with pytest.raises(AssertionError, match='largest relative difference'):
        assert_agree(lambda g: genopt.Optimizer(g, mutant(), **kwargs),
                     lambda g: make_twin(cls, g, **{k: v for k, v in kwargs.items() if k != 'wd'}))


def test_the_lists_that_the_mutants_were_made_from_are_right():
    _check([l2_reg, average_grad, average_sqr_grad, step_count, adam_step], optim.Adam, ADAM)
    _check([weight_decay, average_grad, average_sqr_grad, step_count, adam_step], optim.AdamW, ADAM)
    _check([momentum_buffer, momentum_step], optim.SGD, MOMENTUM)
