"""Modifiers for long runs: against spikes of the gradient, for what changes slowly, for what signs
leave out, and averages of the weights that forget their beginning.

`spam` and its parts are for recipes that keep averages as Adam does, as in `AdamW + spam`; the
others go with any recipe.
"""
import math

import torch

from ..kinds import scalar, stat, transform
from .modifiers import average_param
from .stats import step_count


# -- spikes (SPAM) ---------------------------------------------------------------------------------

@scalar
def may_spike(count, *, spike_delay=20, reset_every=500):
    "1 on the steps on which spikes are clipped: not on the first ones, and not after a reset."
    return float(count >= spike_delay and count % reset_every >= spike_delay)


@transform
def clip_spikes(grad, prev_sqr_avg, clips=may_spike, *, spike_ratio=5000.):
    """g ← sign(g)·√(θₛ·vₜ₋₁) where g² > θₛ·vₜ₋₁, with the v of before this step
    (Huang et al., arXiv:2501.06842, section 3; in their code not right after a reset)."""
    if not clips: return grad
    limit = spike_ratio * prev_sqr_avg
    return torch.where(grad * grad > limit, grad.sign() * limit.sqrt(), grad)


@scalar
def goes_on(count, *, reset_every=500):
    "0 on every k-th step, when averages begin anew, else 1."
    return float(count % reset_every != 0)


@transform
def reset_average(prev_grad_avg, kept=goes_on):
    "m ← 0 on every k-th step, before it averages: no spike stays (arXiv:2501.06842, section 3)."
    return prev_grad_avg if kept else torch.zeros_like(prev_grad_avg)


@scalar
def regrown(count, *, reset_every=500, reset_warmup=50):
    """1 − 0.99·(1 + cos(π·(t mod k)/(N + 1)))/2 on the first N steps after a reset, else 1
    (arXiv:2501.06842 has N = 150, their code 50)."""
    done = count % reset_every
    if count < reset_every or done >= reset_warmup: return 1.
    return 1 - .495 * (1 + math.cos(math.pi * done / (reset_warmup + 1)))


@transform
def warm_up_after_reset(update, warmth=regrown):
    "Δθ ← ω·Δθ, with an ω that grows from 0.01 to 1 after each reset (arXiv:2501.06842)."
    return warmth * update


resets = (step_count, reset_average, reset_average.rename(prev_grad_avg='prev_sqr_avg'),
          warm_up_after_reset)
spam = *resets[:3], clip_spikes, warm_up_after_reset


# -- what changes slowly (Grokfast) ----------------------------------------------------------------

@scalar
def share_of_slow(count, *, grok_mom=0.98):
    "1 on a parameter's first step, so that the slow part begins as the gradient, and 1 − αₛ later."
    return 1. if count == 1 else 1 - grok_mom


@stat
def average_grok_grad(grok_avg, grad, share=share_of_slow):
    "h ← αₛ·h + (1 − αₛ)·g, from the first g on (Lee et al., arXiv:2405.20233, as in their code)."
    return grok_avg.lerp(grad, share)


@transform
def amplify_slow(grad, grok_avg, *, grok_weight=2.):
    "g ← g + λₛ·h: more of what changes slowly (Lee et al., arXiv:2405.20233)."
    return grad + grok_weight * grok_avg


grokfast = step_count, average_grok_grad, amplify_slow


# -- what signs leave out --------------------------------------------------------------------------

@stat(whole=True)
def sign_error(error, update):
    """e ← Δθ + e − mean(|Δθ + e|)·sign(Δθ + e): what a step along signs leaves out
    (Karimireddy et al., arXiv:1901.09847, algorithm 2)."""
    wanted = update + error
    return wanted - wanted.abs().mean() * wanted.sign()


@transform(whole=True)
def step_along_signs(update, prev_error):
    """Δθ ← mean(|Δθ + eₜ₋₁|)·sign(Δθ + eₜ₋₁): a number for the tensor, a bit for each element
    (Karimireddy et al., arXiv:1901.09847, algorithm 2)."""
    wanted = update + prev_error
    return wanted.abs().mean() * wanted.sign()


error_feedback = sign_error, step_along_signs


# -- averages of the weights -----------------------------------------------------------------------

@scalar
def warm_ema(count, *, ema=0.999):
    "min(β, t/(9 + t)), and 0 on the first step (as in TensorFlow, for t − 1 steps that are done)."
    return min(ema, count / (9 + count)) if count > 1 else 0.


@scalar
def slow_ema(count, *, ema=0.9999, ema_warmup=1., ema_power=2/3):
    """min(β, 1 − (1 + (t − 1)/T)^(−p)), 0 on the first step (Katherine Crowson's, as in diffusers,
    timm and ema-pytorch, where T is `inv_gamma`; p = 3/4 for less than 100,000 steps)."""
    return min(ema, 1 - (1 + (count - 1) / ema_warmup)**-ema_power)


@scalar
def power_ema(count, *, ema_gamma=6.94):
    """(1 − 1/t)^(γ + 1): an average whose profile is a power of time, as wide as 10 % of the run
    for γ = 6.94, and 5 % for 16.97 (Karras et al., arXiv:2312.02696, section 3.1)."""
    return (1 - 1 / count)**(ema_gamma + 1)


warm_average = step_count, average_param.fed(ema=warm_ema)
slow_average = step_count, average_param.fed(ema=slow_ema)
power_average = step_count, average_param.fed(ema=power_ema)
