"Steps: changes of the parameter, which add up. Each takes its `lr` from the group."
import torch

from ..kinds import step
from .scalars import (annealed_lr, debias, grown_weight, lower_lr, nadam_mom, next_nadam_mom,
                      rectifier, relative_lr, upper_lr)
from .transforms import SQR_DEBIAS, replace_nan


# -- along the gradient, or a memory of gradients --------------------------------------------------

@step
def sgd_step(grad, *, lr):
    "Δθ = −η·g"
    return -lr * grad


@step
def annealed_step(grad, rate=annealed_lr):
    "Δθ = −η/(1 + (t − 1)·ζ)·g"
    return -rate * grad


@step
def momentum_step(grad_avg, *, lr):
    "Δθ = −η·m"
    return -lr * grad_avg


@step
def buffer_step(grad_avg):
    "Δθ = −m, where m has η in it."
    return -grad_avg


@step
def nesterov_step(grad, grad_avg, *, lr, mom=0.9):
    """Δθ = −η·(g + β₁·m): looks ahead along the buffer
    (Sutskever et al., ICML 2013, section 2, as rewritten in torch)."""
    return -lr * (grad + mom * grad_avg)


@step
def buffer_nesterov_step(grad, grad_avg, *, mom=0.9):
    "Δθ = −(g + β₁·m), where g and m have η in them."
    return -(grad + mom * grad_avg)


@step
def aggmo_step(grad_avg, *, lr, buffers=3):
    "Δθ = −η/K·m, along one of K memories (Lucas et al., arXiv:1804.00325)."
    return -lr / buffers * grad_avg


@step
def asgd_step(grad, param, prev_eta, *, lambd=1e-4):
    "Δθ = −ηₜ₋₁·g − ηₜ₋₁·λ·θ, at a remembered rate. An infinite θ does not decay, as in torch."
    return -prev_eta * grad - prev_eta * lambd * torch.where(param.abs() == torch.inf, 0., param)


@step
def debiased_step(grad_avg, bias=debias, *, lr):
    "Δθ = −η·m / (1 − β₁ᵗ)"
    return -lr / bias * grad_avg


# -- along a sign ----------------------------------------------------------------------------------

@step
def sign_step(grad, *, lr):
    "Δθ = −η·sign(g) (Bernstein et al., arXiv:1802.04434, algorithm 1)."
    return -lr * grad.sign()


@step
def rprop_step(grad, step_size):
    "Δθ = −sign(g)·Δ"
    return -grad.sign() * step_size


# -- toward zero -----------------------------------------------------------------------------------

@step(switch='wd')
def weight_decay(param, *, lr, wd=0.01):
    """Δθ = −η·λ·θ: decay apart from the gradient
    (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch)."""
    return -lr * wd * param


@step(switch='wd')
def independent_decay(param, *, wd=1e-5):
    """Δθ = −λ·θ: the same decay whatever η is
    (Loshchilov & Hutter, arXiv:1711.05101, algorithm 2, with their ηₜ at 1)."""
    return -wd * param


@step(switch='wd')
def cautious_decay(update, param, *, lr, wd=0.01):
    """Δθ = −η·λ·θ·[Δθ·θ ≤ 0]: where the step goes toward zero too
    (Chen et al., arXiv:2510.12402, algorithm 1)."""
    return -lr * wd * param * (update * param <= 0)


@step(switch='wd')
def proximal_decay(new_param, *, lr, wd=0.02):
    "θ ← θ / (1 + η·λ), after the step (Xie et al., arXiv:2208.06677, algorithm 1)."
    return new_param * (-lr * wd / (1 + lr * wd))


# -- divided by a root mean square -----------------------------------------------------------------

@step
def scaled_step(grad_avg, sqr_avg, *, lr, eps=1e-3):
    "Δθ = −η·m / (√v + ε): nothing debiased (Zaheer et al., NeurIPS 2018, algorithm 2)."
    return -lr * grad_avg / (sqr_avg.sqrt() + eps)


@step
def adam_step(grad_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS, *, lr, eps=1e-8):
    """Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ)
    (Kingma & Ba, arXiv:1412.6980, algorithm 1)."""
    return -lr / bias * grad_avg / (sqr_avg.sqrt() / sqr_bias**0.5 + eps)


@step
def adam_hat_step(grad_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS, *, lr, eps=1e-8):
    """Δθ = −η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m / (√v + ε): ε beside the raw v
    (Kingma & Ba, arXiv:1412.6980, end of section 2)."""
    return -lr * sqr_bias**0.5 / bias * grad_avg / (sqr_avg.sqrt() + eps)


@step
def adamax_step(grad_avg, grad_max, bias=debias, *, lr):
    "Δθ = −η·m̂ / u (Kingma & Ba, arXiv:1412.6980, algorithm 2)."
    return -lr / bias * grad_avg / grad_max


@step
def nadam_step(grad, grad_avg, sqr_avg, mom_product, now=nadam_mom, then=next_nadam_mom,
               sqr_bias=SQR_DEBIAS, *, lr, eps=1e-8):
    """Δθ = −η·((1 − μₜ)·g/(1 − Πμ) + μₜ₊₁·m/(1 − Πμ·μₜ₊₁)) / (√v̂ + ε)
    (Dozat, 2016; NAdam as in torch)."""
    size = (sqr_avg / sqr_bias).sqrt() + eps
    along, ahead = (1 - now) / (1 - mom_product) * grad, then / (1 - mom_product * then) * grad_avg
    return -lr * along / size - lr * ahead / size  # their sum might overflow


@step
def radam_step(grad_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS, rect=rectifier, *,
               lr, eps=1e-8):
    """Δθ = −η·m̂·r·√(1 − β₂ᵗ) / (√v + ε), or −η·m̂ while r is 0
    (Liu et al., arXiv:1908.03265, alg. 2; ε as in torch)."""
    trusted = replace_nan(rect * sqr_bias**0.5 / (sqr_avg.sqrt() + eps))  # 0 while r is 0
    return -lr * (grad_avg / bias) * ((rect == 0) + trusted)


@step
def qhadam_step(grad, grad_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS, *,
                lr, nu=0.7, sqr_nu=1., eps=1e-8):
    """Δθ = −η·((1 − ν₁)·g + ν₁·m̂) / (√((1 − ν₂)·g² + ν₂·v̂) + ε)
    (Ma & Yarats, arXiv:1810.06801, section 4)."""
    square = (sqr_nu / sqr_bias * sqr_avg).addcmul((1 - sqr_nu) * grad, grad)
    return -lr * ((1 - nu) * grad + nu / bias * grad_avg) / (square.sqrt() + eps)


@step
def adan_step(grad_avg, diff_avg, sqr_avg, bias=debias, diff_bias=debias.rename(mom='diff_mom'),
              sqr_bias=SQR_DEBIAS, *, lr, diff_mom=0.92, eps=1e-8):
    """Δθ = −η·(m̂ + β₂·d̂) / (√v̂ + ε)
    (Xie et al., arXiv:2208.06677, algorithm 1, debiased as in the authors' code)."""
    along = grad_avg / bias + diff_mom / diff_bias * diff_avg
    return -lr * along / (sqr_avg.sqrt() / sqr_bias**0.5 + eps)


@step
def ademamix_step(grad_avg, slow_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS,
                  weight=grown_weight, *, lr, eps=1e-8):
    """Δθ = −η·(m̂ + α·m₂) / (√v̂ + ε), where m₂ is not debiased
    (Pagliardini et al., arXiv:2409.03137, algorithm 1)."""
    return -lr * (grad_avg / bias + weight * slow_avg) / (sqr_avg.sqrt() / sqr_bias**0.5 + eps)


@step
def adabound_step(grad_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS, low=lower_lr,
                  high=upper_lr, *, lr, eps=1e-8):
    """Δθ = −clip(η·√(1 − β₂ᵗ)/(1 − β₁ᵗ) / (√v + ε), η₋, η₊)·m
    (Luo et al., arXiv:1902.09843, alg. 2, as in their code)."""
    return -(lr * sqr_bias**0.5 / bias / (sqr_avg.sqrt() + eps)).clamp(low, high) * grad_avg


@step
def madgrad_step(param, first_param, grad_sum, sqr_sum, *, mom=0.9, eps=1e-6):
    "θ ← β₁·θ + (1 − β₁)·(θ₀ − s / (∛v + ε)) (Defazio & Jelassi, arXiv:2101.11075, algorithm 1)."
    moved = grad_sum / (sqr_sum**(1 / 3) + eps)
    moved = torch.where(moved.abs() < torch.inf, moved, 0 * grad_sum)  # s/0 is 0, as in their code
    return (1 - mom) * (first_param - moved - param)


@step(whole=True)
def adafactor_step(grad, param, rate=relative_lr, *, min_scale=1e-3):
    "Δθ = −max(ε₂, RMS(θ))·ρ·g (Shazeer & Stern, arXiv:1804.04235, algorithm 4)."
    size = param.square().mean().sqrt()
    return -rate * replace_nan(size).clamp(min=min_scale) * grad
