"""The descendants of Adam: an average over the root of an average, with one part changed.

Unless a recipe's line says otherwise, ε stands outside the root, both averages are debiased and
begin at 0, and decay is decoupled, of the parameter before the step.
"""
from typing import Literal

from ..declared import choose
from ..parts import (adabound_step, adam_hat_step, adam_step, adamax_step, adan_step, add_diff,
                     add_diff_from_zero, ademamix_step, average_diff, average_grad,
                     average_slow_grad, average_sqr_ahead, average_sqr_grad,
                     average_sqr_grad_by_sign, average_sqr_grad_from_first, average_sqr_surprise,
                     blend_average, clip_by_norm, clip_by_steps, debiased_step,
                     independent_decay, l2_reg, last_grad, lazy, max_grad, max_sqr_grad,
                     mom_product, momentum_step, nadam_step, proximal_decay, qhadam_step,
                     radam_step, scale_by_debiased_rms, scale_by_friction, scale_by_last_rms,
                     scaled_step, sign_step, skip_first_step, step_count, weight_decay)
from ..policy import LINEAR, Role, policy
from ..recipe import recipe
from .friends import AdamW, with_decay


AVERAGES = average_grad, average_sqr_grad, step_count
SKIP_FIRST_GRAD = skip_first_step.rename(update='grad')
KINDS = {'mars-adamw': [average_grad, average_sqr_grad, adam_step],
         'mars-lion': [average_grad, sign_step.rename(grad='grad_avg')]}
Kind = Literal['mars-adamw', 'mars-lion']


@recipe(lr=1e-3)
def SparseAdam():
    """Adam of the rows that a sparse gradient touches
    (as in torch, ε beside the raw v; Kingma & Ba, arXiv:1412.6980)."""
    return lazy, *AVERAGES, adam_hat_step


@recipe(lr=2e-3)
def Adamax():
    """Adam with a decaying maximum for the root mean square
    (Kingma & Ba, arXiv:1412.6980, section 7; L2 decay)."""
    return l2_reg, average_grad, max_grad, step_count, adamax_step


@recipe(lr=2e-3, wd=0.)
def NAdam(decouple_wd=False):
    """Adam with Nesterov's look ahead, along a growing β₁; L2, or decoupled by option
    (Dozat, 2016; as in torch)."""
    return with_decay((*AVERAGES, mom_product, nadam_step), decouple_wd)


@recipe(lr=1e-3, wd=0.)
def RAdam(decouple_wd=False):
    """Adam that is momentum until its square can be trusted; L2, or decoupled by option
    (Liu et al., arXiv:1908.03265)."""
    return with_decay((*AVERAGES, radam_step), decouple_wd)


AHEAD = blend_average.rename(nu='mom'), adam_step.rename(grad_avg='grad')


@recipe(lr=1e-3, mom=0.9, wd=1e-2)
def NAdamW():
    """AdamW one gradient ahead, at a constant β₁
    (Dahl et al., arXiv:2306.07179; Dozat and optax debias m by t + 1)."""
    return *AVERAGES, *AHEAD, weight_decay


@recipe(lr=1e-3, mom=0.995, wd=0., nus='nu sqr_nu')
def QHAdam():
    """Adam along a blend of gradient and average, over a blend of squares
    (Ma & Yarats, arXiv:1810.06801)."""
    return *AVERAGES, qhadam_step, weight_decay


SURPRISES = average_grad, average_sqr_surprise, step_count


@recipe(lr=1e-3, wd=0.)
def AdaBelief(rectify=False):
    """Adam over the root of the average squared surprise; ε is in the state too
    (Zhuang et al., arXiv:2010.07468).

    The paper has ε = 1e-8. The authors' package has ε = 1e-16, as the ε in the state adds up, and
    RAdam's rectification: `rectify=True, eps=1e-16`.
    """
    return *SURPRISES, radam_step if rectify else adam_step, weight_decay


@recipe(lr=1e-2)
def Yogi():
    """Adam whose square moves by no more than g²; L2, nothing debiased
    (Zaheer et al., NeurIPS 2018).

    The square begins with `initial_accumulator_value`, which the paper leaves open.
    """
    return l2_reg, average_grad, average_sqr_grad_by_sign, scaled_step


@recipe(lr=4e-4, eps=1e-15, wd=0.)
def LaProp(independent_wd=False):
    """Adam that averages gradients after their scaling, and not before
    (Ziyin et al., arXiv:2002.04839).

    Decay is AdamW's, η·λ·θ. In the authors' code it is λ·θ, of the parameter after the step:
    `independent_wd=True`. There η is in the average too, which is the same while η stays the same.
    """
    scaled = average_sqr_grad, step_count, scale_by_debiased_rms
    decay = independent_decay.rename(param='new_param') if independent_wd else weight_decay
    return *scaled, average_grad, debiased_step, decay


@recipe(lr=1e-3, sqr_mom=0.9999, wd=0.)
def ADOPT(clip=True):
    """LaProp by the last step's square; ε a floor, no debiasing, step 1 only fills
    (Taniguchi et al., arXiv:2411.02853).

    Algorithm 2 clips what is scaled, and algorithm 1 does not: `clip=False`, as `clip_lambda=None`
    in the authors' code. Algorithm 1 also begins m with the first scaled gradient, and not at 0.
    """
    scaled = [scale_by_last_rms, clip_by_steps] if clip else [SKIP_FIRST_GRAD, scale_by_last_rms]
    averages = step_count, average_sqr_grad_from_first, *scaled, average_grad
    return *averages, momentum_step, weight_decay, skip_first_step


@recipe(lr=1e-3)
def DiffGrad(raw_eps=False):
    """Adam with friction where the gradient changes little; L2, a first change from 0
    (Dubey et al., arXiv:1909.11015).

    In the paper ε is beside the root of v̂, and in the authors' code beside that of the raw v, so
    it is larger at first: `raw_eps=True`.
    """
    return l2_reg, *AVERAGES, adam_hat_step if raw_eps else adam_step, last_grad, scale_by_friction


@recipe(lr=1e-3, wd=0., gamma='bound_rate')
def AdaBound(amsbound=False):
    """Adam whose rates are clipped to bounds that close in; L2, ε beside the raw v
    (Luo et al., arXiv:1902.09843)."""
    if not amsbound: return l2_reg, *AVERAGES, adabound_step
    return l2_reg, *AVERAGES, max_sqr_grad, adabound_step.rename(sqr_avg='max_sqr_avg')


@recipe(lr=1e-3, slow_mom=0.9999, slow_weight=5., wd=0., betas='mom sqr_mom slow_mom',
        alpha='slow_weight')
def AdEMAMix():
    """Adam along a fast and a slow average; the slow one is not debiased
    (Pagliardini et al., arXiv:2409.03137)."""
    return *AVERAGES, average_slow_grad, ademamix_step, weight_decay


DIFFERENCES = step_count, average_grad, average_diff, average_sqr_ahead, last_grad


@recipe(lr=1e-3, mom=0.98, sqr_mom=0.99, wd=0.02, betas='mom diff_mom sqr_mom')
def Adan():
    """Adam along gradient and its change; β are 1 − the paper's; decay after the step
    (Xie et al., arXiv:2208.06677)."""
    return *DIFFERENCES, adan_step, proximal_decay


@policy(takes=LINEAR | {Role.EMBEDDING, Role.HEAD},
        rest=AdamW.configured(lr=3e-3, betas=(.9, .95), wd=.1))
@recipe(lr=3e-3, mom=0.95, sqr_mom=0.99, wd=0., gamma='variance_scale')
def MARS(mars_type: Kind='mars-adamw', from_zero=False):
    """AdamW, or Lion, of gradients with less variance, clipped to norm 1
    (Yuan et al., arXiv:2411.10438: approximate).

    This is the paper's algorithm, for tensors of every shape. The authors' code takes the first
    gradient as a change from 0, `from_zero=True`; and, unless `optimize_1d=True`, AdamW for what is
    not a matrix, `dict(parts=AdamW, lr=3e-3, betas=(.9, .95), wd=.1)` in a group of its own.
    """
    diff, rule = add_diff_from_zero if from_zero else add_diff, choose(KINDS, mars_type=mars_type)
    return last_grad, step_count, diff, clip_by_norm, *rule, weight_decay
