"""Rules for matrices: by what is known of their two sides, or in a few of their directions.

As Muon, they take matrices alone: give vectors, embeddings and heads another rule.
"""
from typing import Literal

from ..declared import choose
from ..parts import (add_probe, after_first, average_grad, average_left, average_low, average_right,
                     average_sqr_grad, average_sqr_low, average_turned, clip_by_rms, column_factor,
                     corrected_step, feedback_buffer, left_basis, left_factor, left_root, lift,
                     limit_growth, limited_norm, low_rank_step, momentum_buffer, precondition,
                     precondition_grafted, random_projection, right_basis, right_factor, right_root,
                     scale_by_channel, scale_by_low, scale_by_rms, scale_by_root, scale_to_rms,
                     sgd_step, step_count, sum_left, sum_right, svd_projection, turn, turn_back,
                     use_average, use_debiased_average, waited, weight_decay, whiten)
from ..parts.lowrank import random_low
from ..policy import LINEAR, WEIGHTS, Role, policy
from ..recipe import recipe
from .friends import AdamW
from .signs import Lion


LATE_DECAY = weight_decay.rename(param='new_param')  # after the step
BASES = left_basis, right_basis, average_left, average_right, after_first
TURNED = turn, average_turned, average_sqr_grad, use_average, scale_by_rms, turn_back
# Policies. What is not a matrix has AdamW in their authors' code too, mostly with the same rate
ADAM_LIKE = dict(takes=WEIGHTS, rest=AdamW, one_rate={})
IN_FEW = dict(takes=LINEAR, rest=AdamW.configured(eps=1e-6), one_rate={})
BY_INPUTS = {Role.HEAD: lambda outputs, inputs: inputs**-.5}
UNBIASED = corrected_step.rename(count='prev_count')  # the first gradient is in no average


@policy(takes=WEIGHTS, rest=AdamW)
@recipe(lr=1., wd=0., every=1, svd_interval='every', epsilon='eps', max_matrix_size='max_dim')
def Shampoo(mom=0., graft=False):
    """Adagrad with a matrix for each side: L^(-1/4)·g·R^(-1/4)
    (Gupta et al., arXiv:1802.09568; ε, rate and roots as in their code)."""
    sums, roots = (sum_left, sum_right), (left_root, right_root)
    along = (momentum_buffer, use_average) if mom else ()
    scaled = precondition_grafted if graft else precondition
    return step_count, *sums, *roots, *along, scaled, sgd_step, weight_decay


@policy(**ADAM_LIKE | dict(rest=AdamW.configured(betas=(.95, .95))))
@recipe(lr=3e-3, mom=.95, sqr_mom=.95, wd=.01, precondition_frequency='every',
        max_precond_dim='max_dim')
def SOAP(correct_bias=True, normalize_grads=False):
    """Adam in the eigenbases of Shampoo's matrices; the first step only fills these
    (Vyas et al., arXiv:2409.11321, decay as in their code)."""
    scaled = (scale_to_rms,) if normalize_grads else ()
    step = UNBIASED if correct_bias else sgd_step
    return step_count, *BASES, *TURNED, *scaled, step, LATE_DECAY


PROJECTED = step_count, svd_projection
ADAM_LOW = average_low, average_sqr_low, lift
RANDOM_LOW = average_low.begin(random_low), average_sqr_low.begin(random_low)
SCALES = dict(channel=scale_by_channel, tensor=scale_by_low)


@policy(**ADAM_LIKE)
@recipe(lr=3e-4, wd=0., max_rms=1.1, b1='mom', max_size_triangular='max_dim')
def PSGDKron(momentum_into_precond_update=True):
    """Momentum, whitened by a triangular factor for each side that learns as it goes
    (Li, arXiv:1512.04202; as in kron_torch).

    The steps that balance both factors, 1 in 100 of those in which they learn, are spread evenly
    here, and drawn in kron_torch: to draw them, set `group['balance_prob']` to
    `float(random.random() < 0.01)` before each step.
    """
    learned, along = (add_probe, left_factor, right_factor), (use_debiased_average,)
    parts = (*along, *learned) if momentum_into_precond_update else (*learned, *along)
    return step_count, waited, average_grad, *parts, whiten, clip_by_rms, sgd_step, weight_decay


@policy(takes=LINEAR, rest=Lion.configured(betas=(.95, .98)), one_rate={}, scales=BY_INPUTS)
@recipe(lr=0.01, wd=.01, mu='mom', epsilon='eps')
def Dion():
    """Momentum with all singular values of its first directions made 1, the rest kept for later
    (Ahn et al., arXiv:2504.05295)."""
    return feedback_buffer, column_factor, low_rank_step, weight_decay


@policy(**IN_FEW)
@recipe(lr=1e-3, wd=0., update_proj_gap='every', scale='low_scale')
def GaLore(correct_bias=True):
    """Adam in the first singular directions of a gradient, new ones every k steps
    (Zhao et al., arXiv:2403.03507; decay after the step, as in their code)."""
    return *PROJECTED, *ADAM_LOW, corrected_step if correct_bias else sgd_step, LATE_DECAY


@policy(**IN_FEW)
@recipe(lr=1e-3, wd=0., update_proj_gap='every', scale='low_scale')
def APOLLO(scale_type: Literal['channel', 'tensor']='channel', correct_bias=True, limit=True):
    """SGD whose rows are scaled as Adam scales them in random directions
    (Zhu et al., arXiv:2412.05270). Mini: rank=1, scale=128, scale_type='tensor'."""
    scale = choose(SCALES, scale_type=scale_type)
    scaled = scale, *((limited_norm, limit_growth) if limit else ()), scale_by_root
    step = corrected_step if correct_bias else sgd_step
    return step_count, random_projection, *RANDOM_LOW, *scaled, step, LATE_DECAY
