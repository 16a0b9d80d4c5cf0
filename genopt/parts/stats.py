"Stats: what is remembered from step to step, in order of increasing complexity."
from torch import maximum

from ..part import stat
from .scalars import keep

__all__ = ['step_count', 'average_grad', 'average_sqr_grad', 'max_sqr_grad', 'momentum_buffer', 'dampened_momentum']


@stat(init=0)
def step_count(count):
    "t ← t + 1, for each parameter from its own first step."
    return count + 1


@stat
def average_grad(grad_avg, grad, *, mom=0.9):
    "m ← β₁·m + (1 − β₁)·g"
    return grad_avg.lerp(grad, 1 - mom)


@stat
def average_sqr_grad(sqr_avg, grad, *, sqr_mom=0.999):
    "v ← β₂·v + (1 − β₂)·g²"
    return (sqr_mom * sqr_avg).addcmul((1 - sqr_mom) * grad, grad)  # not lerp: if v overflows, inf − inf is no number


@stat
def max_sqr_grad(max_sqr_avg, sqr_avg):
    "v̂ ← max(v̂, v): AMSGrad's largest average so far (Reddi et al., arXiv:1904.09237), before debiasing as in torch."
    return maximum(max_sqr_avg, sqr_avg)


@stat
def momentum_buffer(grad_avg, grad, *, mom=0.9):
    "m ← β₁·m + g: a sum of gradients, each β₁ times the next; the first step's is g itself (Polyak, 1964)."
    return mom * grad_avg + grad


@stat
def dampened_momentum(grad_avg, grad, kept=keep, *, mom=0.9):
    "m ← β₁·m + (1 − τ)·g, and g itself on the first step."
    return mom * grad_avg + kept * grad
