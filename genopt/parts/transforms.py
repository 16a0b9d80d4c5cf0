"Transforms: changes of the gradient before other parts read it, and of the update."
import torch

from ..kinds import transform
from .scalars import debias, past


SQR_DEBIAS = debias.rename(mom='sqr_mom')


def replace_nan(x, by=0.):
    """`x`, and `by` where it is not a number. Maxima in torch's Adafactor pass over those.

    Equations do not show it, as their letters are numbers.
    """
    return torch.where(x == x, x, by)


@transform(switch='wd')
def l2_reg(grad, param, *, wd=0.):
    "g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖²."
    return grad + wd * param


# -- in units of its own size ----------------------------------------------------------------------

@transform
def scale_by_rms(grad, sqr_avg, *, eps=1e-8):
    """g ← g / (√v + ε): the gradient in units of its own size
    (Tieleman & Hinton, 2012, Coursera lecture 6e)."""
    return grad / (sqr_avg.sqrt() + eps)


@transform
def scale_by_centered_rms(grad, grad_avg, sqr_avg, *, eps=1e-8):
    """g ← g / (√(v − m²) + ε): in units of its standard deviation
    (Graves, arXiv:1308.0850, eq. 38–41; ε as in torch)."""
    return grad / (sqr_avg.addcmul(grad_avg, grad_avg, value=-1).sqrt() + eps)


@transform
def scale_by_debiased_rms(grad, sqr_avg, sqr_bias=SQR_DEBIAS, *, eps=1e-8):
    "g ← g / (√v̂ + ε), with v̂ = v / (1 − β₂ᵗ) (Ziyin et al., arXiv:2002.04839, algorithm 1)."
    return grad / (sqr_avg.sqrt() / sqr_bias**.5 + eps)


@transform
def scale_by_last_rms(grad, prev_sqr_avg, prev_count, *, eps=1e-6):
    """g ← clip(g / max(√vₜ₋₁, ε), ±(t − 1)^(1/4)): 0 on the first step
    (Taniguchi et al., arXiv:2411.02853, algorithm 2)."""
    limit = prev_count**.25
    scaled = replace_nan(grad / prev_sqr_avg.sqrt().clamp(min=eps), 0 * grad)  # 0/0 is 0
    return scaled.clamp(-limit, limit)


@transform
def scale_by_rms_ratio(grad, prev_delta_avg, sqr_avg, *, eps=1e-6):
    """g ← g·√(uₜ₋₁ + ε) / √(v + ε), with u the average square of past results
    (Zeiler, arXiv:1212.5701, algorithm 1)."""
    return grad * ((prev_delta_avg + eps).sqrt() / (sqr_avg + eps).sqrt())


@transform(whole=True)
def scale_by_layer_rate(grad, param, *, lr, wd=0., trust=1e-3):
    """g ← η·κ·‖θ‖·(g + λ·θ) / (‖g‖ + λ·‖θ‖), and η·(g + λ·θ) where a norm is 0
    (You et al., arXiv:1708.03888, eq. 6)."""
    size, slope = param.norm(), grad.norm()
    ratio = torch.where((size > 0) & (slope > 0), trust * size / (slope + wd * size), 1.)
    return lr * ratio * (grad + wd * param)


@transform(whole=True)
def scale_by_factored_rms(grad, row_avg, column_avg, *, eps=0.):
    """g ← g / √(R·C / column mean(R)), and g / √R of a vector; ε is beside the mean, ε² beside the
    square. ε = 0: the precision of numbers as in torch (1804.04235)."""
    eps = eps or torch.finfo(grad.dtype).eps
    if grad.dim() < 2: return grad * row_avg.clamp(min=eps * eps).rsqrt()
    square = row_avg @ column_avg / row_avg.mean(-2, keepdim=True).clamp(min=eps)
    return grad * square.clamp(min=eps * eps).rsqrt()


# -- looking ahead, and back -----------------------------------------------------------------------

@transform
def blend_average(grad, grad_avg, *, nu=0.7):
    """g ← (1 − ν₁)·g + ν₁·m
    (Ma & Yarats, arXiv:1810.06801). With ν₁ = β₁: the average, if this gradient came again."""
    return grad.lerp(grad_avg, nu)


@transform
def use_average(grad, grad_avg):
    "g ← m: what comes after sees the average in the gradient's place."
    return grad_avg


@transform
def add_diff(grad, prev_last_grad, past=past, *, mom=0.95, variance_scale=0.025):
    """g ← g + γ·β₁/(1 − β₁)·(g − gₜ₋₁): less variance
    (Yuan et al., arXiv:2411.10438, alg. 2; a first g is kept)."""
    return grad + variance_scale * mom / (1 - mom) * past * (grad - prev_last_grad)


@transform
def scale_by_friction(update, grad, prev_last_grad):
    """Δθ ← Δθ / (1 + exp(−|gₜ₋₁ − g|)): slower where the gradient changes little
    (Dubey et al., arXiv:1909.11015)."""
    return update * torch.sigmoid((prev_last_grad - grad).abs())


@transform(decay=True)
def skip_first_step(update, past=past):
    """Δθ ← 0 on a parameter's first step, decay too
    (Taniguchi et al., arXiv:2411.02853, as in their code)."""
    return past * update


@transform
def drop_turned(grad, prev_last_grad):
    "g ← g·[g·gₜ₋₁ ≥ 0]: 0 where it has just turned."
    return torch.where(grad * prev_last_grad < 0, 0., grad)


# -- by the tensor as a whole ----------------------------------------------------------------------

@transform(whole=True, decay=True)
def scale_by_rms_lag(update, grad, sqr_avg, sqr_bias=SQR_DEBIAS, *, eps=1e-6):
    """Δθ ← Δθ / max(1, RMS(g / max(√v̂, ε))): slower when v lags behind
    (Wortsman et al., arXiv:2304.13013, alg. 2)."""
    ratio = grad / (sqr_avg / sqr_bias).sqrt().clamp(min=eps)
    return update / ratio.square().mean().sqrt().clamp(min=1.)


# -- sparse gradients ------------------------------------------------------------------------------

@transform(sparse='rows', needs='real')
def lazy(grad):
    """Of a sparse gradient, moves and remembers only those rows that have one
    (as torch's SparseAdam)."""
    return grad
