"Steps: changes of the parameter, which add up. Each takes its `lr` from the group."
from ..part import step
from .scalars import debias

__all__ = ['sgd_step', 'momentum_step', 'nesterov_step', 'weight_decay', 'adam_step']


@step
def sgd_step(grad, *, lr):
    "Δθ = −η·g"
    return -lr * grad


@step
def momentum_step(grad_avg, *, lr):
    "Δθ = −η·m"
    return -lr * grad_avg


@step
def nesterov_step(grad, grad_avg, *, lr, mom=0.9):
    "Δθ = −η·(g + β₁·m): looks ahead along the buffer (Sutskever et al., ICML 2013, section 2, as rewritten in torch)."
    return -lr * (grad + mom * grad_avg)


@step
def weight_decay(param, *, lr, wd=0.01):
    "Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch)."
    return -lr * wd * param


@step
def adam_step(grad_avg, sqr_avg, bias=debias, sqr_bias=debias.rename(mom='sqr_mom'), *, lr, eps=1e-8):
    "Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1)."
    return -lr / bias * grad_avg / (sqr_avg.sqrt() / sqr_bias**0.5 + eps)
