"Stats: values that are remembered from step to step, in order of increasing complexity."
import torch
from torch import maximum

from ..kinds import stat
from .scalars import (grown_mom, nadam_mom, past, real_power, root_lr, share_of_grad, share_of_new,
                      share_of_square)


# -- numbers ---------------------------------------------------------------------------------------

@stat(init=0)
def step_count(count):
    "t ← t + 1, for each parameter from its own first step."
    return count + 1


@stat(init=1.)
def mom_product(mom_product, mom=nadam_mom):
    "Πμ ← Πμ·μₜ: the weight of the beginning in an average whose decay changes."
    return mom_product * mom


@stat(init=lambda *, lr: lr)
def asgd_lr(eta, count, *, lr, lambd=1e-4, power=0.75):
    "ηₜ ← η / (1 + λ·η·t)^α, for the next step (Bottou, 2010; Xu, arXiv:1107.2490)."
    return lr * real_power(1 + lambd * lr * count, -power)


# -- of gradients ----------------------------------------------------------------------------------

@stat(init=lambda param: param)
def first_param(first_param):
    "θ₀: where the parameter began."
    return first_param


@stat
def last_grad(last_grad, grad):
    "g, for the next step to compare with."
    return grad


@stat
def average_grad(grad_avg, grad, *, mom=0.9):
    "m ← β₁·m + (1 − β₁)·g"
    return grad_avg.lerp(grad, 1 - mom)


@stat
def average_slow_grad(slow_avg, grad, slow_mom=grown_mom):
    "m₂ ← β₃·m₂ + (1 − β₃)·g, with a β₃ that may grow."
    return slow_avg.lerp(grad, 1 - slow_mom)


@stat
def average_diff(diff_avg, grad, prev_last_grad, past=past, *, diff_mom=0.92):
    """d ← β₂·d + (1 − β₂)·(g − gₜ₋₁), where a first gradient is no change
    (Xie et al., arXiv:2208.06677)."""
    return diff_avg.lerp(past * (grad - prev_last_grad), 1 - diff_mom)


@stat(sparse='dense')
def momentum_buffer(grad_avg, grad, *, mom=0.9):
    """m ← β₁·m + g: a sum of gradients, each β₁ times the next; the first step's is g itself
    (Polyak, 1964)."""
    return mom * grad_avg + grad


@stat(sparse='dense')
def dampened_momentum_buffer(grad_avg, grad, share=share_of_grad, *, mom=0.9):
    "m ← β₁·m + (1 − τ)·g, and g itself on the first step."
    return mom * grad_avg + share * grad


@stat
def sum_grad(grad_sum, grad, weight=root_lr):
    "s ← s + η·√t·g (Defazio & Jelassi, arXiv:2101.11075, algorithm 1)."
    return grad_sum + weight * grad


# -- of their squares ------------------------------------------------------------------------------

@stat(nonnegative=True)
def average_sqr_grad(sqr_avg, grad, *, sqr_mom=0.999):
    "v ← β₂·v + (1 − β₂)·g²"
    return (sqr_mom * sqr_avg).addcmul((1 - sqr_mom) * grad, grad)  # no lerp: v may overflow


@stat(nonnegative=True)
def max_sqr_grad(max_sqr_avg, sqr_avg):
    """vₘₐₓ ← max(vₘₐₓ, v): AMSGrad's largest average so far
    (Reddi et al., arXiv:1904.09237), not debiased, as in torch."""
    return maximum(max_sqr_avg, sqr_avg)


def _first_sum(param, *, initial_accumulator_value=0.):
    return torch.full_like(param, initial_accumulator_value)


@stat(init=_first_sum, nonnegative=True)
def sum_sqr_grad(sqr_sum, grad):
    "v ← v + g² (Duchi et al., JMLR 12, 2011)."
    return sqr_sum.addcmul(grad, grad)


@stat(nonnegative=True)
def sum_weighted_sqr_grad(sqr_sum, grad, weight=root_lr):
    "v ← v + η·√t·g² (Defazio & Jelassi, arXiv:2101.11075, algorithm 1)."
    return sqr_sum.addcmul(weight * grad, grad)


@stat(nonnegative=True)
def average_sqr_grad_from_first(sqr_avg, grad, share=share_of_new):
    "v ← β₂·v + (1 − β₂)·g², and g² itself on the first step (Taniguchi et al., arXiv:2411.02853)."
    return ((1 - share) * sqr_avg).addcmul(share * grad, grad)


@stat(nonnegative=True)
def average_sqr_surprise(sqr_avg, grad, grad_avg, *, sqr_mom=0.999, eps=1e-8):
    """v ← β₂·v + (1 − β₂)·(g − m)² + ε, with the new m
    (Zhuang et al., arXiv:2010.07468, algorithm 2)."""
    return (sqr_mom * sqr_avg).addcmul((1 - sqr_mom) * (grad - grad_avg), grad - grad_avg) + eps


@stat(nonnegative=True)
def average_sqr_ahead(sqr_avg, grad, prev_last_grad, past=past, *, diff_mom=0.92, sqr_mom=0.99):
    "v ← β₃·v + (1 − β₃)·(g + β₂·(g − gₜ₋₁))² (Xie et al., arXiv:2208.06677)."
    ahead = grad + diff_mom * past * (grad - prev_last_grad)
    return (sqr_mom * sqr_avg).addcmul((1 - sqr_mom) * ahead, ahead)


def _first_average(param, *, initial_accumulator_value=1e-6):
    return torch.full_like(param, initial_accumulator_value)


@stat(init=_first_average, nonnegative=True)
def average_sqr_grad_by_sign(sqr_avg, grad, *, sqr_mom=0.999):
    """v ← v − (1 − β₂)·sign(v − g²)·g²: moves by no more than g²
    (Zaheer et al., NeurIPS 2018, algorithm 2)."""
    return sqr_avg - (1 - sqr_mom) * (sqr_avg - grad * grad).sign() * grad * grad


@stat(nonnegative=True)
def max_grad(grad_max, grad, *, sqr_mom=0.999, eps=1e-8):
    """u ← max(β₂·u, |g| + ε): a norm with an infinite power
    (Kingma & Ba, arXiv:1412.6980, section 7.1; ε as in torch)."""
    return maximum(sqr_mom * grad_max, grad.abs() + eps)


# -- of a tensor's own shape -----------------------------------------------------------------------

def _one_number(param):
    return param.new_zeros((), dtype=torch.promote_types(param.dtype, torch.float32))
def _rows(param): return param.new_zeros((*param.shape[:-1], 1) if param.dim() > 1 else param.shape)
def _columns(param):
    return param.new_zeros((*param.shape[:-2], 1, param.shape[-1]) if param.dim() > 1 else (0,))


@stat(init=_one_number, whole=True, nonnegative=True)
def average_sqr_norm(sqr_norm, grad, share=share_of_new):
    """v ← β₂·v + (1 − β₂)·‖g‖², one number for the tensor; ‖g‖² on the first step
    (Ginsburg et al., arXiv:1905.11286)."""
    return (1 - share) * sqr_norm + share * grad.square().sum()


@stat(init=_one_number, whole=True, nonnegative=True)
def average_sqr_norm_from_first(sqr_norm, grad, *, sqr_mom=0.999):
    """v ← β₂·v + (1 − β₂)·‖g‖², and ‖g‖² while v is 0: so it begins with the first gradient that is
    not 0 (as in the code of Ginsburg et al., arXiv:1905.11286)."""
    now = grad.square().sum()
    return torch.where(sqr_norm == 0, now, sqr_mom * sqr_norm + (1 - sqr_mom) * now)


@stat(init=_rows, whole=True, needs='real', nonnegative=True)
def average_sqr_rows(row_avg, grad, share=share_of_square):
    """R ← (1 − τ)·R + τ·row mean(g²), and of a vector g² itself; τ is the share of a new square
    (Shazeer & Stern, arXiv:1804.04235, alg. 4)."""
    square = grad.square()
    return row_avg.lerp(square.mean(-1, keepdim=True) if grad.dim() > 1 else square, share)


@stat(init=_columns, whole=True, needs='real', nonnegative=True)
def average_sqr_columns(column_avg, grad, share=share_of_square):
    "C ← (1 − τ)·C + τ·column mean(g²); a vector has none."
    if grad.dim() < 2: return column_avg
    return column_avg.lerp(grad.square().mean(-2, keepdim=True), share)


# -- of signs --------------------------------------------------------------------------------------

@stat(init=lambda param, *, lr: torch.full_like(param, lr), nonnegative=True)
def rprop_step_size(step_size, grad, prev_last_grad, *, eta_minus=0.5, eta_plus=1.2,
                    min_step=1e-6, max_step=50.):
    """Δ ← clip(η⁺·Δ, Δ₋, Δ₊) where the gradient keeps its sign, and η⁻·Δ where it turns
    (Riedmiller & Braun, 1993)."""
    turn = grad * prev_last_grad
    smaller = torch.where(turn < 0, eta_minus * step_size, step_size)
    return torch.where(turn > 0, eta_plus * step_size, smaller).clamp(min_step, max_step)
