"""Optimizers that find their own step size: d, a lower bound of the distance to a solution.

It is one number for the whole model, found by sums over all parameters, and it begins small and
grows. So `lr` stays at 1, and is for schedules. A parameter that joins late begins with today's d.
"""
from ..parts import (average_grad, average_sqr_grad, buffer_step, first_param, l2_reg, scale_by_rms,
                     scaled_step, sgd_step, step_count, use_average, weight_decay)
from ..parts.distances import (adam_distance, adam_progress, adapted_d, average_progress,
                               debiased_lr, dog_lr, dual_step, eps_of_d, first_norm, last_d,
                               max_distance, max_moved, normed_lr, prodigy_d, prodigy_progress,
                               rate_of_d, root_sqr_mom, scale_by_rate, sgd_distance,
                               sum_faded_grad, sum_faded_progress, sum_progress, sum_rated_grad,
                               sum_sqr_norm)
from ..recipe import recipe


# D-Adaptation's average of rated gradients
AVERAGE_S = average_grad.rename(grad_avg='faded_sum').fed(mom=root_sqr_mom)
DOWN = buffer_step.rename(grad_avg='grad')
BY_ROOT = adam_distance.fed(d_mom=root_sqr_mom)


def _counted(debias):
    "The rate of d, debiased or not, and the count that it needs."
    return ((step_count,), rate_of_d.fed(lr=debiased_lr)) if debias else ((), rate_of_d)


def _decaying(parts, decoupled, rate):
    "Weight decay at the rate that was found, or into the gradient."
    return (*parts, weight_decay.fed(lr=rate)) if decoupled else (l2_reg, *parts)


def _prodigy(rate, weight, d_mom):
    "From a gradient that is scaled by d to the next d."
    found = sum_faded_grad.fed(rate=weight), sum_faded_progress.fed(
        progress=prodigy_progress.fed(rate=rate))
    by_root = [p if d_mom else p.fed(d_mom=root_sqr_mom) for p in found]
    return *by_root, max_distance, prodigy_d


@recipe(lr=1., eps=1e-8, wd=0., beta3='d_mom', decouple='decouple_wd')
def Prodigy(d_mom=0., decouple_wd=True, use_bias_correction=False, safeguard_warmup=False):
    """AdamW at a rate that grows to the distance from θ₀ to a solution; β₃ is √β₂ by default
    (Mishchenko & Defazio, arXiv:2306.06101, as in their code)."""
    count, rate = _counted(use_bias_correction)
    found = _prodigy(rate, last_d if safeguard_warmup else rate, d_mom)
    averages = first_param, scale_by_rate.fed(lr=last_d), average_grad, average_sqr_grad
    rule = *count, *averages, *found, scaled_step.fed(lr=rate, eps=eps_of_d)
    return _decaying(rule, decouple_wd, rate)


@recipe(lr=1., wd=0., decouple='decouple_wd')
def DAdaptAdam(decouple_wd=False, use_bias_correction=False):
    """Adam at a rate that grows to the distance from θ₀ to a solution; m has the rate in it
    (Defazio & Mishchenko, arXiv:2301.07733, algorithm 5, as in their code)."""
    count, rate = _counted(use_bias_correction)
    gain = average_progress.fed(progress=adam_progress.fed(rate=rate), d_mom=root_sqr_mom)
    averages = gain, average_sqr_grad, scale_by_rate.fed(lr=rate), average_grad, AVERAGE_S
    rule = *averages, adapted_d.fed(found=BY_ROOT), use_average, scale_by_rms, DOWN
    return _decaying((*count, *rule), decouple_wd, rate)


@recipe(lr=1., wd=0.)
def DAdaptSGD():
    """Dual averaging at a rate that grows to the distance to a solution, over ‖g₀‖; L2 decay
    (Defazio & Mishchenko, arXiv:2301.07733, algorithm 4, as in their code).

    As there, ‖g₀‖ is that of gradients without decay. So decay is large where the first gradients
    are tiny: give none there.
    """
    scaled = first_norm, l2_reg, first_param, scale_by_rate.fed(lr=rate_of_d.fed(lr=normed_lr))
    return *scaled, sum_progress, sum_rated_grad, adapted_d.fed(found=sgd_distance), dual_step


@recipe(lr=1., wd=0., reps_rel='d_rel')
def DoG():
    """SGD at the largest distance from θ₀ so far, over the root of the sum of squared norms; L2
    (Ivgi et al., arXiv:2302.12022; their code takes each group for itself)."""
    return l2_reg, first_param, max_moved, sum_sqr_norm, sgd_step.fed(lr=dog_lr)
