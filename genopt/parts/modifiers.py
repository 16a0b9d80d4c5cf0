"""Modifiers: parts that change any recipe, as in `Adam + cautious`.

Some are several parts, in a tuple. In a list of your own they go where `Recipe.__add__` puts them:
changes of the gradient first, changes of the update after the steps, and readers of the new
parameter last.
"""
import torch

from ..kinds import gate, scalar, stat, step, total, transform
from .orthogonal import in_low_precision, is_tall, norm_of, plus_product
from .scalars import share_of_mean
from .stats import step_count
from .transforms import replace_nan


# -- of the gradient -------------------------------------------------------------------------------

def _rest(x): return tuple(range(1, x.dim()))  # the dimensions of one output unit's weights


@transform(whole=True)
def centralize(grad):
    """g ← g − row mean(g): less its mean over each output's weights; a vector stays
    (Yong et al., arXiv:2004.01461, eq. 1).

    `recipe + centralize` puts it before L2, which it then does not see, as eq. 1 is of the
    gradient of the loss. The authors' SGD and Adam centralize what L2 has made: that is a list with
    `centralize` after `l2_reg`, as in `[l2_reg, centralize, momentum_buffer, momentum_step]`.
    """
    return grad - grad.mean(_rest(grad), keepdim=True) if grad.dim() > 1 else grad


@transform
def clip_by_value(grad, *, max_value=1.):
    "g ← clip(g, ±c): each element between −c and c."
    return grad.clamp(-max_value, max_value)


@transform(whole=True)
def clip_by_norm(grad, *, max_norm=1.):
    "g ← g / max(1, ‖g‖/c), with the norm of this tensor."
    at_least = max_norm if max_norm > 1e-30 else 1.  # not 0/0 where c is 0
    return grad * (max_norm / grad.norm().clamp(min=at_least))


@total
def sqr_grad_norm(grad):
    "Σ‖g‖² over all parameters, in double precision."
    return torch.linalg.vector_norm(grad, dtype=torch.float64).square()


@scalar
def clip_share(sqr_norm=sqr_grad_norm, *, max_norm=1.):
    "min(1, c / (√S + 1e-6)), as in torch's clip_grad_norm_."
    return min(max_norm / (sqr_norm**.5 + 1e-6), 1.)  # in this order NaN stays NaN, as in torch


@transform
def clip_by_global_norm(grad, share=clip_share):
    """g ← g·min(1, c / (√S + 1e-6)), with S = ‖g‖² over all parameters at once
    (Pascanu et al., arXiv:1211.5063, alg. 1)."""
    return share * grad


@stat(init=0.)
def last_sqr_norm(last_sqr_norm, sqr_norm=sqr_grad_norm):
    "Sₜ ← S, for the next step."
    return sqr_norm


@scalar
def last_clip_share(prev_last_sqr_norm, *, max_norm=1.):
    "min(1, c / (√Sₜ₋₁ + 1e-6)), and 1 on the first step."
    return min(max_norm / (prev_last_sqr_norm**.5 + 1e-6), 1.) if prev_last_sqr_norm else 1.


@transform
def scale_by_last_clip(grad, share=last_clip_share):
    """g ← g·min(1, c / (√Sₜ₋₁ + 1e-6)): by the norm that all gradients had in the step before, so
    that no parameter waits for the others. The first step is not clipped."""
    return share * grad


clip_by_last_norm = last_sqr_norm, scale_by_last_clip


@transform(whole=True)
def clip_by_param_norm(grad, param, *, max_ratio=0.01):
    """g ← g·min(1, c·max(‖θ‖, 1e-3)/‖g‖), norms over each output's weights
    (Brock et al., arXiv:2102.06171, eq. 3)."""
    dims = _rest(grad) or None
    limit = max_ratio * torch.linalg.vector_norm(param, dim=dims, keepdim=True).clamp(min=1e-3)
    size = torch.linalg.vector_norm(grad, dim=dims, keepdim=True)
    return torch.where(size > limit, grad * (limit / size.clamp(min=1e-6)), grad)


@transform(whole=True)
def clip_by_rms(grad, *, max_rms=1.):
    "g ← g / max(1, RMS(g)/d) (Shazeer & Stern, arXiv:1804.04235, section 6)."
    return grad / replace_nan(grad.square().mean().sqrt() / max_rms).clamp(min=1.)


@transform(needs='matrix', stacked=True)
def orthogonalize(grad, *, ns_a=3.4445, ns_b=-4.775, ns_c=2.0315, ns_steps=5, eps=1e-7):
    """g ← nearly UVᵀ of g = UΣVᵀ: X ← aX + bXXᵀX + c(XXᵀ)²X from g/‖g‖, in bfloat16 as in torch
    (Jordan, 2024)."""
    x = in_low_precision(grad.mT if is_tall(grad) else grad)
    x = x / norm_of(x).clamp(min=eps)
    for _ in range(int(ns_steps)):
        gram = x @ x.mT
        x = plus_product(x, plus_product(gram, gram, gram, ns_b, ns_c), x, ns_a)
    return (x.mT if is_tall(grad) else x).to(grad.dtype)


@scalar
def noise_size(count, *, noise=0.01, noise_decay=0.55):
    "√(η₀/t^γ): the noise's standard deviation (Neelakantan et al., arXiv:1511.06807, section 3)."
    return (noise * count**-noise_decay)**.5


def seeded_normal(like, place, count, seed):
    "Random numbers in the shape of `like`: others for each parameter, step and seed."
    draw = torch.Generator(like.device)
    key = int(seed) * 0x9E3779B97F4A7C15 + int(count) * 0xD1B54A32D192ED03
    draw.manual_seed((key + place * 0x8CB92BA72F3D8DD7) % 2**63)
    return torch.empty_like(like, memory_format=torch.contiguous_format).normal_(generator=draw)


@transform(whole=True)
def add_noise(grad, place, count, size=noise_size, *, seed=0):
    """g ← g + noise, drawn by the seed, the step and the parameter: the same in a resumed run, and
    on every replica."""
    return grad + size * seeded_normal(grad, place, count, seed)


gradient_noise = step_count, add_noise


@total
def nonfinite_count(raw_grad):
    "How many elements of all gradients are infinite or no number."
    return (~raw_grad.isfinite()).sum()


@stat(init=0)
def skip_count(skipped, bad=nonfinite_count):
    "How many steps were skipped."
    return skipped + (bad > 0)


@gate
def finite_only(bad=nonfinite_count):
    "A step happens only if every gradient of every parameter is finite."
    return bad == 0


skip_nonfinite = skip_count, finite_only


# -- of the update ---------------------------------------------------------------------------------

@transform(whole=True)
def cautious(update, raw_grad):
    """Δθ ← Δθ·[Δθ·∇f < 0] / max(mean([Δθ·∇f < 0]), 1e-3): only down the gradient
    (Liang et al., arXiv:2411.16085, scaled as in their code).

    The paper scales by the number of elements over that of those which are left, and 1:
    `cautious_by_count`.
    """
    down = (update * raw_grad < 0).to(update.dtype)
    return update * down / down.mean().clamp(min=1e-3)


@transform(whole=True)
def cautious_by_count(update, raw_grad):
    """Δθ ← Δθ·[Δθ·∇f < 0]·rows·columns / (sum([Δθ·∇f < 0]) + 1): only down the gradient
    (Liang et al., arXiv:2411.16085, scaled as in the paper)."""
    down = (update * raw_grad < 0).to(update.dtype)
    return update * down * (update.numel() / (down.sum() + 1))


@transform(whole=True)
def clip_update_by_rms(update, *, lr, max_rms=1.):
    """Δθ ← Δθ / max(1, RMS(Δθ/η)/d): no tensor moves further than d·η on average
    (arXiv:1804.04235, section 6)."""
    if not lr: return update
    return update / replace_nan(update.square().mean().sqrt() / (lr * max_rms)).clamp(min=1.)


@transform(whole=True, decay=True)
def scale_by_trust_ratio(update, param, *, lr):
    """Δθ ← η·‖θ‖/‖Δθ‖·Δθ, or Δθ where a norm is 0: each tensor moves by its own size
    (You et al., arXiv:1904.00962)."""
    size, length = param.norm(), update.norm()
    return torch.where((size > 0) & (length > 0), lr * size / length, 1.) * update


@transform(whole=True, decay=True)
def clip_by_trust_ratio(update, param, *, lr):
    """Δθ ← min(1, η·‖θ‖/‖Δθ‖)·Δθ, or Δθ where a norm is 0: no tensor moves by more than η times its
    own size (LAMBC, as in timm)."""
    size, length = param.norm(), update.norm()
    is_far = (size > 0) & (length > lr * size)
    return torch.where(is_far, lr * size / length, 1.) * update


# -- of the weights --------------------------------------------------------------------------------

def _precise(param): return param.to(torch.promote_types(param.dtype, torch.float32))


@stat(init=_precise)
def average_param(param_avg, new_param, *, ema=0.999):
    """w ← β·w + (1 − β)·θ: an average of the weights, from the first ones on; see `Optimizer.eval`
    (Polyak, 1992)."""
    return param_avg.lerp(new_param, 1 - ema)


@stat(init=_precise)
def mean_param(param_avg, new_param, share=share_of_mean):
    """w ← w + (θ − w)/max(1, t − t₀): the mean of the weights since t₀
    (Izmailov et al., arXiv:1803.05407)."""
    mean = param_avg + share * (new_param - param_avg)  # no number twice at infinity, as in torch
    return torch.where(torch.full_like(mean, share) < 1, mean, new_param)


weight_mean = step_count, mean_param


@scalar
def sync(count, *, sync_every=5):
    "1 on every k-th step, else 0."
    return float(count % sync_every == 0)


@stat(init=lambda param: param)
def average_slow_param(slow_param, new_param, sync=sync, *, slow_step=0.5):
    "φ ← φ + α·(θ − φ) on every k-th step (Zhang et al., arXiv:1907.08610, algorithm 1)."
    return slow_param.lerp(new_param, slow_step * sync)


@step
def lookahead_step(new_param, slow_param, sync=sync):
    "θ ← φ on every k-th step."
    return sync * (slow_param - new_param)


lookahead = step_count, average_slow_param, lookahead_step
