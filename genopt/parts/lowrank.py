"""Parts that work in a few dimensions of a matrix: those of its shorter side, or of both.

`projection` has its directions as columns. In them a gradient is g·P, or Pᵀ·g of a wide matrix.
"""
import torch

from ..kinds import scalar, stat, step, tensor, transform
from .algebra import orthonormal, singular_vectors
from .matrices import precise


# -- directions ------------------------------------------------------------------------------------

@scalar
def projection_due(count, *, every=200):
    "1 on the first step and every k-th after it, else 0."
    return float((count - 1) % every == 0)


def _first_directions(param, *, rank=128):
    short = min(param.shape)
    return precise(param, short, min(int(rank), short))
def _random_directions(param, *, rank=256): return precise(param, min(param.shape), int(rank))
def _low(directions, param):
    n, long = directions.shape[1], max(param.shape)
    return precise(param, *((long, n) if param.shape[0] >= param.shape[1] else (n, long)))
def first_low(param, *, rank=128): return _low(_first_directions(param, rank=rank), param)
def random_low(param, *, rank=256): return _low(_random_directions(param, rank=rank), param)


@stat(init=_first_directions, needs='matrix', switch='due')
def svd_projection(projection, grad, due=projection_due, *, rank=128):
    """P ← singular(g, r): the first r singular vectors of its shorter side, every k steps
    (Zhao et al., arXiv:2403.03507, algorithm 2)."""
    return singular_vectors(grad, rank)


def _next_seed(seed):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2**63 - 1, (15,), generator=draw)[-1].item()


@stat(init=_random_directions, needs='matrix', switch='due')
def random_projection(projection, grad, place, count, rows, columns, due=projection_due, *,
                      every=200, rank=256):
    """P ← random numbers of variance 1/r, every k steps: the same as the authors' code draws
    (Zhu et al., arXiv:2412.05270, algorithm 1)."""
    seed, rank = int(place) + 1, int(rank)
    for _ in range(int((count - 1) // every)): seed = _next_seed(seed)
    draw = torch.Generator(grad.device).manual_seed(seed)
    shape = (rank, int(columns)) if rows >= columns else (int(rows), rank)
    drawn = torch.randn(shape, generator=draw, device=grad.device) / rank**.5
    return (drawn.T.contiguous() if rows >= columns else drawn).to(grad.dtype)


@tensor(needs='matrix', stacked=True)
def projected(grad, projection, rows, columns):
    "l = g·P, or Pᵀ·g of a wide matrix."
    return grad @ projection if rows >= columns else projection.mT @ grad


# -- Adam in these directions ----------------------------------------------------------------------

@stat(init=first_low, needs='matrix', stacked=True)
def average_low(low_avg, low=projected, *, mom=0.9):
    "m ← β₁·m + (1 − β₁)·l"
    return low_avg.lerp(low, 1 - mom)


@stat(init=first_low, needs='matrix', stacked=True, nonnegative=True)
def average_sqr_low(low_sqr_avg, low=projected, *, sqr_mom=0.999):
    "v ← β₂·v + (1 − β₂)·l²"
    return (sqr_mom * low_sqr_avg).addcmul((1 - sqr_mom) * low, low)


@tensor(needs='matrix', stacked=True)
def scaled_low(low_avg, low_sqr_avg, *, eps=1e-6):
    "u = m / (√v + ε)"
    return low_avg / (low_sqr_avg.sqrt() + eps)


@transform(needs='matrix', stacked=True)
def lift(grad, projection, rows, columns, scaled=scaled_low, *, low_scale=0.25):
    "g ← α·u·Pᵀ, or α·P·u of a wide matrix (Zhao et al., arXiv:2403.03507, algorithm 2)."
    return low_scale * (scaled @ projection.mT if rows >= columns else projection @ scaled)


# -- the gradient, scaled as Adam scales in these directions ---------------------------------------

@transform(needs='matrix', stacked=True)
def scale_by_channel(grad, rows, columns, low=projected, scaled=scaled_low):
    """g ← g·‖u‖/(‖l‖ + 1e-8), norms over the few directions: one for each row, or column of a wide
    matrix (Zhu et al., arXiv:2412.05270, algorithm 1)."""
    dim = -1 if rows >= columns else -2
    return grad * (scaled.norm(dim=dim, keepdim=True) / (low.norm(dim=dim, keepdim=True) + 1e-8))


@transform(needs='matrix')
def scale_by_low(grad, low=projected, scaled=scaled_low):
    "g ← g·‖u‖/(‖l‖ + 1e-8), one number for the matrix (APOLLO-Mini)."
    return grad * (scaled.norm() / (low.norm() + 1e-8))


@stat(init=lambda param: precise(param), whole=True, nonnegative=True)
def limited_norm(limited_norm, grad, count, *, growth=1.01):
    "n ← min(‖g‖, γ·(n + 1e-8)), and ‖g‖ on the first step (Chen et al., arXiv:2410.01623)."
    if count == 1: return grad.norm()
    return torch.minimum(grad.norm(), growth * (limited_norm + 1e-8))


@transform(whole=True)
def limit_growth(grad, limited_norm):
    "g ← n·g/‖g‖: its norm does not grow by more than a share."
    return limited_norm * grad / grad.norm().clamp(min=1e-30)


@transform
def scale_by_root(grad, *, low_scale=1.):
    "g ← √α·g: the root, as in the authors' code (Zhu et al., arXiv:2412.05270)."
    return low_scale**.5 * grad


# -- power iteration with error feedback -----------------------------------------------------------

def random_factor(param, *, rank=768, seed=0):
    rows, columns = param.shape
    draw = torch.Generator(param.device).manual_seed(int(seed) % 2**63)
    like = precise(param, columns, min(int(rank), rows, columns))
    return like.normal_(generator=draw)


@tensor(needs='matrix', stacked=True)
def power_turn(grad, prev_grad_avg, prev_column_factor):
    """F₁ = a basis of (m + g)·Q and F₂ = (m + g)ᵀ·F₁, so that F₁·F₂ᵀ is nearly m + g
    (Ahn et al., arXiv:2504.05295, algorithm 1)."""
    p = orthonormal((prev_grad_avg + grad) @ prev_column_factor)
    return p, (prev_grad_avg + grad).mT @ p


@stat(needs='matrix', stacked=True)
def feedback_buffer(grad_avg, grad, turn=power_turn, *, mom=0.95):
    "m ← m + g − (1 − β₁)·F₁·F₂ᵀ: what the step does not take stays."
    return grad_avg + grad - (1 - mom) * (turn[0] @ turn[1].mT)


@stat(init=random_factor, needs='matrix', stacked=True)
def column_factor(column_factor, turn=power_turn, *, eps=1e-8):
    "Q ← F₂ / (column norm(F₂) + ε)"
    return turn[1] / (turn[1].norm(dim=-2, keepdim=True) + eps)


@step(needs='matrix', stacked=True)
def low_rank_step(column_factor, rows, columns, turn=power_turn, *, lr):
    "Δθ = −η·√(rows/columns)·F₁·Qᵀ (Ahn et al., arXiv:2504.05295, algorithm 1)."
    return -lr * (rows / (columns or 1))**.5 * (turn[0] @ column_factor.mT)
