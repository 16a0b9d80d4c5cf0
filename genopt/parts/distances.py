"""Parts that find their own step size: a number d, one for the whole model, grows toward the
distance from the beginning to a solution.

d is a lower bound of that distance, which sums over all parameters improve from step to step. The
learning rate η is a factor of it, at 1 unless training is unstable. Both are one number, `rate`, to
the parts of the rule: `scaled_step.fed(lr=rate)`.
"""
import math

import torch

from ..kinds import scalar, stat, step, total, transform
from .modifiers import sqr_grad_norm
from .scalars import debias
from .transforms import SQR_DEBIAS


# Under its own name, so that a global clip before these rules has another one
SLOPE = sqr_grad_norm.rename(sqr_grad_norm='sqr_slope_norm')


# -- the rate --------------------------------------------------------------------------------------

@scalar
def last_d(prev_d):
    "dₜ₋₁: d as it was before this step."
    return prev_d


@scalar
def rate_of_d(prev_d, *, lr):
    "η·dₜ₋₁, with the d of before this step."
    return prev_d * lr


@scalar
def debiased_lr(bias=debias, sqr_bias=SQR_DEBIAS, *, lr):
    "η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)"
    return lr * sqr_bias**.5 / bias


@scalar
def root_sqr_mom(*, sqr_mom):
    "√β₂: a decay that belongs to v as much as β₂ does."
    return sqr_mom**.5


@scalar
def eps_of_d(d, *, eps=1e-8):
    "d·ε: as small beside a gradient times d as ε is beside a gradient."
    return d * eps


@transform
def scale_by_rate(grad, *, lr):
    "g ← η·g, for a rate that is found."
    return lr * grad


# -- Prodigy's distance ----------------------------------------------------------------------------

@total
def prodigy_progress(grad, param, first_param, rate=rate_of_d, *, d0=1e-6):
    """Σ ρ/d₀·sum(g·(θ₀ − θ)): how far the gradients still lead away from the beginning
    (Mishchenko & Defazio, arXiv:2306.06101, algorithm 4)."""
    return rate / d0 * torch.sum((grad * (first_param - param)).double())


@stat
def sum_faded_grad(faded_sum, grad, rate=rate_of_d, *, d_mom, d0=1e-6):
    "s ← β₃·s + ρ/d₀·g (arXiv:2306.06101, algorithm 4; in units of d₀ as in the authors' code)."
    return d_mom * faded_sum + rate / d0 * grad


@total
def absolute_sum(faded_sum):
    "Σ sum(|s|): the sum of all |s|."
    return torch.sum(faded_sum.abs().double())


@stat(init=0.)
def sum_faded_progress(gain, progress=prodigy_progress, *, d_mom):
    "r ← β₃·r + P"
    return d_mom * gain + progress


@scalar
def prodigy_distance(gain, size=absolute_sum, *, d_coef=1.):
    "d̂ = c·r/S₁ (arXiv:2306.06101, algorithm 4)."
    return d_coef * gain / max(size, 1e-300)


def _first_d(*, d0=1e-6): return d0


@stat(init=_first_d)
def max_distance(d_max, found=prodigy_distance):
    "dₘₐₓ ← max(dₘₐₓ, d̂)"
    return max(d_max, found)


@stat(init=_first_d)
def prodigy_d(d, d_max, found=prodigy_distance, *, d0=1e-6, growth_rate=math.inf):
    "d ← min(dₘₐₓ, γ·d), where the first d that is found counts in full (as in the authors' code)."
    return min(d_max, growth_rate * (max(d, found) if d == d0 else d))


# -- D-Adaptation's distance -----------------------------------------------------------------------

@total
def adam_progress(grad, prev_faded_sum, prev_sqr_avg, rate=rate_of_d, *, eps=1e-8):
    """Σ ρ·sum(g·sₜ₋₁ / (√vₜ₋₁ + ε)), with s and v of before this step
    (Defazio & Mishchenko, arXiv:2301.07733, algorithm 5)."""
    return rate * torch.sum((grad * (prev_faded_sum / (prev_sqr_avg.sqrt() + eps))).double())


@stat(init=0.)
def average_progress(gain, progress=adam_progress, *, d_mom):
    "r ← β₃·r + (1 − β₃)·P (arXiv:2301.07733, algorithm 5)."
    return d_mom * gain + (1 - d_mom) * progress


@scalar
def adam_distance(gain, size=absolute_sum, *, d_mom):
    "d̂ = r / ((1 − β₃)·S₁) (arXiv:2301.07733, algorithm 5)."
    return gain / max((1 - d_mom) * size, 1e-300)


@stat(init=_first_d)
def adapted_d(d, found=adam_distance, *, growth_rate=math.inf):
    "d ← max(d, min(d̂, γ·d))"
    return max(d, min(found, growth_rate * d))


@stat(init=0.)
def first_norm(first_norm, square=SLOPE):
    "G₀ ← √S, the norm of the first gradient that is not 0."
    return first_norm or square**.5


@scalar
def normed_lr(first_norm, *, lr):
    "η/G₀, and 0 before any gradient (Defazio & Mishchenko, arXiv:2301.07733, algorithm 4)."
    return lr / first_norm if first_norm else 0.


@total
def sgd_progress(grad, prev_grad_sum):
    "Σ sum(g·sₜ₋₁), with the s of before this step (arXiv:2301.07733, algorithm 4)."
    return torch.sum((grad * prev_grad_sum).double())


@stat
def sum_rated_grad(grad_sum, grad):
    "s ← s + g"
    return grad_sum + grad


@total
def sqr_sum_norm(grad_sum):
    "‖s‖² over all parameters."
    return torch.sum(grad_sum.square().double())


@stat(init=0.)
def sum_progress(gain, progress=sgd_progress):
    "r ← r + P"
    return gain + progress


@scalar
def sgd_distance(gain, square=sqr_sum_norm):
    "d̂ = 2·r/√S₂ (arXiv:2301.07733, algorithm 4, as in the authors' code)."
    return 2 * gain / max(square**.5, 1e-300)


@step
def dual_step(param, first_param, grad_sum, *, mom=0.):
    "θ ← β₁·θ + (1 − β₁)·(θ₀ − s): dual averaging, with momentum (arXiv:2301.07733, algorithm 4)."
    return (1 - mom) * (first_param - grad_sum - param)


# -- distance over gradients -----------------------------------------------------------------------

@total
def sqr_distance(param, first_param):
    "‖θ − θ₀‖² over all parameters."
    return torch.sum((param - first_param).square().double())


@total
def sqr_param_norm(param):
    "‖θ‖² over all parameters."
    return torch.sum(param.square().double())


@stat(init=0.)
def max_moved(d, moved=sqr_distance, size=sqr_param_norm, *, d_rel=1e-6):
    "d ← max(d, √D), from ρ·(1 + √N) on (Ivgi et al., arXiv:2302.12022, section 2)."
    return max(d, moved**.5) if d else d_rel * (1 + size**.5)


@stat(init=0.)
def sum_sqr_norm(sqr_norm_sum, square=SLOPE):
    "G ← G + S, with the norm of all gradients (arXiv:2302.12022, equation 2)."
    return sqr_norm_sum + square


@scalar
def dog_lr(d, sqr_norm_sum, *, lr, eps=1e-8):
    "η·d/√(G + ε): the distance over the gradients (Ivgi et al., arXiv:2302.12022, equation 1)."
    return lr * d / max(sqr_norm_sum + eps, 1e-300)**.5
