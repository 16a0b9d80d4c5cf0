"""Parts that see a matrix from both sides: sums of g·gᵀ and gᵀ·g, their roots and eigenbases.

Where a side is longer than `max_dim`, SOAP leaves it as it is, and Shampoo keeps a diagonal.
"""
import torch

from ..kinds import gate, scalar, stat, step, transform
from .algebra import after, averaged, between, eigenvectors, gram, inverse_root, times, turned
from .modifiers import sync
from .scalars import debias
from .transforms import SQR_DEBIAS


# -- one matrix for each side ----------------------------------------------------------------------

def precise(param, *shape):
    "Zeros, in float32 at least."
    return param.new_zeros(shape, dtype=torch.promote_types(param.dtype, torch.float32))


def _square(param, n, max_dim): return precise(param, *((n, n) if n <= max_dim else (0, 0)))
def _left(param, *, max_dim=10000): return _square(param, param.shape[0], max_dim)
def _right(param, *, max_dim=10000): return _square(param, param.shape[1], max_dim)


@stat(init=_left, needs='matrix', stacked=True)
def average_left(left_avg, grad, *, sqr_mom=0.95):
    "L ← β₂·L + (1 − β₂)·g·gᵀ (Gupta et al., arXiv:1802.09568, with an average for the sum)."
    return averaged(left_avg, grad @ grad.mT, sqr_mom) if left_avg.numel() else left_avg


@stat(init=_right, needs='matrix', stacked=True)
def average_right(right_avg, grad, *, sqr_mom=0.95):
    "R ← β₂·R + (1 − β₂)·gᵀ·g"
    return averaged(right_avg, grad.mT @ grad, sqr_mom) if right_avg.numel() else right_avg


def side(param, n, max_dim): return precise(param, n, n if n <= max_dim else 1)
def _left_side(param, *, max_dim=768): return side(param, param.shape[0], max_dim)
def _right_side(param, *, max_dim=768): return side(param, param.shape[1], max_dim)


@stat(init=_left_side, needs='matrix', stacked=True)
def sum_left(left_sum, grad):
    "L ← L + g·gᵀ (Gupta et al., arXiv:1802.09568, algorithm 1; ε is added with the root)."
    return left_sum + gram(grad, left_sum)


@stat(init=_right_side, needs='matrix', stacked=True)
def sum_right(right_sum, grad):
    "R ← R + gᵀ·g"
    return right_sum + gram(grad.mT, right_sum)


# -- their roots -----------------------------------------------------------------------------------

def ones(zeros):
    "The identity, or a column of ones."
    like = {'dtype': zeros.dtype, 'device': zeros.device}
    return torch.ones_like(zeros) if zeros.shape[-1] == 1 else torch.eye(len(zeros), **like)


def left_identity(param, *, max_dim=768): return ones(_left_side(param, max_dim=max_dim))
def right_identity(param, *, max_dim=768): return ones(_right_side(param, max_dim=max_dim))


root_due = sync.rename(sync='root_due', sync_every='every')  # 1 on every k-th step


@stat(init=left_identity, needs='matrix', switch='due', stacked=True)
def left_root(left_root, left_sum, due=root_due, *, eps=0.1, root_power=0.25):
    "A ← root(L, ε, p), on every k-th step: the power −p of L with ε on its diagonal."
    return inverse_root(left_sum, eps, root_power)


@stat(init=right_identity, needs='matrix', switch='due', stacked=True)
def right_root(right_root, right_sum, due=root_due, *, eps=0.1, root_power=0.25):
    "B ← root(R, ε, p), on every k-th step."
    return inverse_root(right_sum, eps, root_power)


@transform(needs='matrix', stacked=True)
def precondition(grad, left_root, right_root):
    "g ← A·g·B (Gupta et al., arXiv:1802.09568, algorithm 1)."
    return after(times(left_root, grad), right_root)


@transform(needs='matrix')
def precondition_grafted(grad, left_root, right_root):
    """g ← ‖g‖·A·g·B/‖A·g·B‖: only the direction is Shampoo's
    (Agarwal et al., arXiv:2002.11803; Anil et al., arXiv:2002.09018)."""
    turned = after(times(left_root, grad), right_root)
    return grad.norm() * turned / turned.norm().clamp(min=1e-30)


# -- their eigenvectors ----------------------------------------------------------------------------

@scalar
def basis_due(count, *, every=10):
    "1 on the second step, which has the first one's gradient to learn from, and k steps apart."
    return float(count > 1 and (count - 2) % every == 0)


@stat(init=_left, needs='matrix', switch='due')
def left_basis(left_basis, prev_left_avg, count, due=basis_due):
    """U ← eigenvectors of L; later turned, by one turn of power iteration
    (Vyas et al., arXiv:2409.11321, algorithms 3 and 4). L has no gradient of this step."""
    return eigenvectors(prev_left_avg) if count == 2 else turned(prev_left_avg, left_basis)


@stat(init=_right, needs='matrix', switch='due')
def right_basis(right_basis, prev_right_avg, count, due=basis_due):
    "V ← eigenvectors of R; later turned, by one turn of power iteration."
    return eigenvectors(prev_right_avg) if count == 2 else turned(prev_right_avg, right_basis)


@gate
def after_first(count):
    "t > 1: the first gradient is only for what comes before this."
    return count > 1


@transform(needs='matrix', stacked=True)
def turn(grad, left_basis, right_basis):
    "g ← Uᵀ·g·V: in the eigenbases."
    return between(left_basis.mT, grad, right_basis)


@stat(needs='matrix', stacked=True)
def average_turned(grad_avg, grad, left_basis, right_basis, prev_left_basis, prev_right_basis,
                   due=basis_due, *, mom=0.95):
    """m ← β₁·m + (1 − β₁)·g, in the eigenbases, so that m is turned when these are
    (Vyas et al., arXiv:2409.11321, as in their code)."""
    if due:
        left, right = left_basis.mT @ prev_left_basis, prev_right_basis.mT @ right_basis
        grad_avg = between(left, grad_avg, right)
    return grad_avg.lerp(grad, 1 - mom)


@transform(needs='matrix', stacked=True)
def turn_back(grad, left_basis, right_basis):
    "g ← U·g·Vᵀ: out of the eigenbases."
    return between(left_basis, grad, right_basis.mT)


@transform(whole=True)
def scale_to_rms(grad):
    "g ← g / RMS(g)"
    return grad / grad.square().mean().sqrt().clamp(min=1e-30)


# -- steps -----------------------------------------------------------------------------------------

@step
def corrected_step(grad, bias=debias, sqr_bias=SQR_DEBIAS, *, lr):
    "Δθ = −η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·g, of a g = m / (√v + ε): both averages are debiased."
    return -lr * sqr_bias**0.5 / bias * grad
