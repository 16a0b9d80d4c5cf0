"""Transforms of matrices: by their singular values, their rows and columns, and their shape.

All of them take stacks of matrices. Products are made in bfloat16, as by the authors of these
rules, and in float64 where the gradient is in float64.
"""
import torch

from ..kinds import stat, transform

# Amsel et al., arXiv:2505.16932: the best polynomials aX + bX³ + cX⁵, one after another, for
# singular values from 1e-3 to 1. The last one stands for all that follow it
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375))


def one_for_each_row(param): return param.new_zeros((*param.shape[:-1], 1))
def norm_of(x): return x.norm(dim=(-2, -1), keepdim=True)
def is_tall(x): return x.shape[-2] > x.shape[-1]
def in_low_precision(x): return x if x.dtype == torch.float64 else x.bfloat16()


def plus_product(x, a, b, beta, alpha=1.):
    "βX + αAB"
    return (torch.addmm if x.dim() == 2 else torch.baddbmm)(x, a, b, beta=beta, alpha=alpha)


def polynomials(steps, safety):
    "Polar Express's coefficients, for singular values up to `safety`, as rounding makes them."
    safe = [(a / safety, b / safety**3, c / safety**5) for a, b, c in POLAR_EXPRESS[:-1][:steps]]
    return safe + [POLAR_EXPRESS[-1]] * (steps - len(safe))


def iterated(x, polynomials):
    "X ← aX + bXXᵀX + c(XXᵀ)²X, with the coefficients of one turn after another."
    for a, b, c in polynomials:
        gram = x @ x.mT
        x = plus_product(x, plus_product(gram, gram, gram, b, c), x, a)
    return x


def gram_factor(gram, polynomials):
    "Q, where QX is what `iterated` makes of X: found from R = XXᵀ alone, of which Q is a function."
    q = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    for a, b, c in polynomials:
        z = plus_product(gram, gram, gram, b, c)
        q, half = plus_product(q, q, z, a), plus_product(gram, gram, z, a)
        gram = plus_product(half, z, half, a)  # of (aI + Z)X
    return q


# -- singular values -------------------------------------------------------------------------------

@transform(needs='matrix', stacked=True)
def polar_express(grad, *, ns_steps=5, safety=1.01, eps=1e-7):
    """g ← nearly UVᵀ of g = UΣVᵀ, by the best polynomial for each turn: from g/(s‖g‖ + ε)
    (Amsel et al., arXiv:2505.16932, algorithm 1 as in their code)."""
    x = in_low_precision(grad.mT if is_tall(grad) else grad)
    x = iterated(x / (safety * norm_of(x) + eps), polynomials(int(ns_steps), safety))
    return (x.mT if is_tall(grad) else x).to(grad.dtype)


@transform(needs='matrix', stacked=True)
def gram_newton_schulz(grad, *, ns_steps=5, ns_restart=2, safety=1.05, eps=1e-7):
    """g ← nearly UVᵀ of g = UΣVᵀ, with Polar Express's polynomials of the smaller ggᵀ; anew from g
    after some turns, as rounding grows (Zhang, Amsel, Chen & Dao, 2026; square ones as usual)."""
    x = grad.mT if is_tall(grad) else grad
    half = torch.float16 if grad.is_cuda else torch.float32  # slow on a CPU
    x = x / (norm_of(x) + eps)
    x = x if x.dtype == torch.float64 else x.to(half)
    turns, first = polynomials(int(ns_steps), safety), int(ns_restart)
    if grad.shape[-2] == grad.shape[-1]: return iterated(x, turns).to(grad.dtype)
    for some in filter(None, (turns[:first], turns[first:])):
        x = gram_factor(x @ x.mT, some) @ x
    return (x.mT if is_tall(grad) else x).to(grad.dtype)


# -- the shape -------------------------------------------------------------------------------------

@transform(needs='matrix', stacked=True)
def scale_by_shape(grad):
    "g ← √max(1, rows/columns)·g: as large for tall matrices as for square ones (Jordan, 2024)."
    return max(1., grad.shape[-2] / grad.shape[-1])**.5 * grad if grad.numel() else grad


@transform(needs='matrix', stacked=True)
def scale_by_aspect(grad):
    """g ← √(rows/columns)·g: no output changes by more than an input of size 1 asks for
    (Bernstein, 2025)."""
    return (grad.shape[-2] / grad.shape[-1])**.5 * grad if grad.numel() else grad


@transform(needs='matrix', stacked=True)
def match_adam_rms(grad):
    """g ← 0.2·√max(rows, columns)·g: with the root mean square of Adam's steps
    (Liu et al., arXiv:2502.16982)."""
    return .2 * max(grad.shape[-2], grad.shape[-1])**.5 * grad


@transform(needs='matrix', stacked=True)
def set_rms(grad, *, target_rms=0.2):
    "g ← d·g / RMS(g): with the root mean square of Adam's steps (Li et al., arXiv:2510.05491)."
    rms = grad.square().mean((-2, -1), keepdim=True).sqrt()
    return target_rms / rms.clamp(min=1e-30) * grad


# -- rows and columns ------------------------------------------------------------------------------

@stat(init=one_for_each_row, needs='matrix', stacked=True, nonnegative=True)
def average_sqr_neurons(row_avg, grad, *, sqr_mom=0.95):
    "R ← β₂·R + (1 − β₂)·row mean(g²) (Li et al., arXiv:2510.05491, algorithm 1)."
    return row_avg.lerp(grad.square().mean(-1, keepdim=True), 1 - sqr_mom)


@transform(needs='matrix', stacked=True)
def scale_by_neurons(grad, row_avg, *, eps=1e-10):
    """g ← g / (√R + ε), scaled to the norm that g had
    (Li et al., arXiv:2510.05491, algorithm 1; the norm as in their code)."""
    scaled = grad / (row_avg.sqrt() + eps)
    return scaled * (norm_of(grad) / (norm_of(scaled) + eps))


@transform(needs='matrix', stacked=True)
def normalize_sign(grad):
    "g ← sign(g) / columns (Pethick et al., arXiv:2502.07529, table 2)."
    return grad.sign() / max(grad.shape[-1], 1)


@transform(needs='matrix', stacked=True)
def normalize_columns(grad, *, eps=1e-8):
    "g ← g / (√(column mean(g²)) + ε) (Pethick et al., arXiv:2502.07529, table 2)."
    return grad / (grad.square().mean(-2, keepdim=True).sqrt() + eps)


@transform(needs='matrix', stacked=True)
def normalize_rows(grad, *, eps=1e-8):
    "g ← g / (columns·√(row mean(g²)) + ε) (Pethick et al., arXiv:2502.07529, table 2)."
    return grad / (grad.shape[-1] * grad.square().mean(-1, keepdim=True).sqrt() + eps)


@transform(whole=True)
def normalize_rms(grad, *, eps=1e-8):
    "g ← g / (RMS(g) + ε) (Pethick et al., arXiv:2502.07529, table 2)."
    return grad / (grad.square().mean().sqrt() + eps)


@transform
def scale_to_radius(grad, *, radius=1.):
    "g ← ρ·g: to the radius of the ball in which a step goes to the edge (arXiv:2502.07529)."
    return radius * grad
