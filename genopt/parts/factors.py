"""Parts of PSGD: two triangular factors, of which the first whitens rows and the second columns.

A factor of a side that is longer than `max_dim` is a diagonal, kept as a column.
"""
import math

import torch

from ..kinds import scalar, stat, tensor, transform
from .algebra import after, after_square, largest, learned, over, square_times, times
from .matrices import ones, side
from .modifiers import seeded_normal
from .scalars import debias


# -- how often -------------------------------------------------------------------------------------

@scalar
def update_share(count, *, max_prob=1., min_prob=0.03, prob_decay=1e-3, flat_start=500):
    """max(p₁·exp(min(ζ·(T + 1 − t), 0)), p₀): the share of steps in which factors learn
    (Li, kron_torch's schedule)."""
    return max(max_prob * math.exp(min(prob_decay * (flat_start + 1 - count), 0.)), min_prob)


@scalar
def learning(prev_waited, share=update_share):
    "1 where enough steps have been waited for, else 0."
    return float(prev_waited + 1 >= 1 / max(share, 1e-300))


@stat(init=0)
def waited(waited, learning=learning):
    "How many steps in a row the factors have not learned."
    return 0 if learning else waited + 1


@scalar
def balancing(count, learning=learning, *, balance_prob=0.01):
    """σ·[0.618034·t mod 1 < p₂]: 1 in a few of the steps in which factors learn, spread evenly
    (in kron_torch, drawn)."""
    return learning * float(0.618034 * count % 1 < balance_prob)


# -- what they learn from --------------------------------------------------------------------------

@transform
def use_debiased_average(grad, grad_avg, bias=debias):
    "g ← m / (1 − β₁ᵗ)"
    return grad_avg / bias


@tensor(needs='matrix')
def probe(grad, place, count, *, seed=0):
    "Random numbers, drawn by the seed, the step and the parameter."
    return seeded_normal(grad, place, count, seed)


@transform(needs='matrix', switch='learning')
def add_probe(grad, learning=learning, probe=probe):
    "g ← g + 3.45e-4·mean(|g|)·Z: no direction is empty. As in their code, the step sees it too."
    return grad + torch.finfo(torch.float32).eps**.5 * grad.abs().mean() * probe


@tensor(needs='matrix', stacked=True)
def balanced(prev_left_factor, prev_right_factor, balancing=balancing):
    "Both factors; where `balancing` is 1, with the same largest element."
    ratio = (largest(prev_left_factor) / largest(prev_right_factor))**(balancing / 2)
    return prev_left_factor / ratio, prev_right_factor * ratio


@tensor(needs='matrix', stacked=True)
def whitened(grad, q=balanced, v=probe):
    "W₁ = Q₁·g·Q₂ᵀ and W₂ = Q₁⁻ᵀ·Z·Q₂⁻¹, alike in size once g is white."
    return after(times(q[0], grad), q[1]), over(over(v.mT, q[0]).mT, q[1])


# -- the factors -----------------------------------------------------------------------------------

def _factor(param, n, max_dim, init_scale):
    return init_scale**.5 * ones(side(param, n, max_dim))


def left_start(param, *, max_dim=8192, init_scale=1.):
    return _factor(param, param.shape[0], max_dim, init_scale)
def right_start(param, *, max_dim=8192, init_scale=1.):
    return _factor(param, param.shape[1], max_dim, init_scale)


@stat(init=left_start, needs='matrix', switch='learning', stacked=True)
def left_factor(left_factor, learning=learning, q=balanced, ab=whitened, *, precond_lr=0.1):
    """Q₁ ← D₁ − μ·triu(W₁·W₁ᵀ − W₂·W₂ᵀ)·D₁/bound(W₁·W₁ᵀ + W₂·W₂ᵀ)
    (Li, arXiv:1512.04202; as in kron_torch)."""
    return learned(q[0], ab[0], ab[1], precond_lr)


@stat(init=right_start, needs='matrix', switch='learning', stacked=True)
def right_factor(right_factor, learning=learning, q=balanced, ab=whitened, *, precond_lr=0.1):
    "Q₂ ← D₂ − μ·triu(W₁ᵀ·W₁ − W₂ᵀ·W₂)·D₂/bound(W₁ᵀ·W₁ + W₂ᵀ·W₂)"
    return learned(q[1], ab[0].mT, ab[1].mT, precond_lr)


@transform(needs='matrix', stacked=True)
def whiten(grad, left_factor, right_factor):
    "g ← Q₁ᵀ·Q₁·g·Q₂ᵀ·Q₂ (Li, arXiv:1512.04202)."
    return after_square(square_times(left_factor, grad), right_factor)
