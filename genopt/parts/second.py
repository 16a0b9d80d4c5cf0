"""Parts with a second gradient: one of the loss at another point, or one of second order.

`hess` and `loss` are fed by the training loop: `opt.feed(hess=...)`. The others climb to where the
second gradient is taken, and go back: `Adam + sam`.
"""
import torch

from ..given import given
from ..kinds import gate, scalar, stat, step, total, transform
from .modifiers import sqr_grad_norm


# -- what the loop feeds ---------------------------------------------------------------------------

@given
def hess(count, *, hess_every=10):
    """The Hessian's diagonal, or an estimate of it: on every k-th step, from the first one on
    (Liu et al., arXiv:2305.14342, algorithm 3)."""
    return (count - 1) % hess_every == 0


@given(number=True)
def loss():
    "The loss at this step. `step(closure)` gives it by itself."
    return True


@step
def sophia_step(grad_avg, hess_avg, *, lr, hess_scale=0.01, eps=1e-12):
    """Δθ = −η·clip(m / max(γ·h, ε), ±1)
    (Liu et al., arXiv:2305.14342, algorithm 3; their code divides by γ·max(h, 0) + ε)."""
    return -lr * (grad_avg / (hess_scale * hess_avg).clamp(min=eps)).clamp(-1., 1.)


# -- a gradient from the top of a climb ------------------------------------------------------------

@stat(init=0, shared=True)
def climb_phase(climbs):
    "1 where the parameters climb, and 0 where they go back and the step is made."
    return 1 - climbs


@stat(init=lambda param: param)
def keep_start(start_param, param, climbs):
    "The parameters from which a climb begins."
    return param if climbs else start_param


@transform
def return_to_start(param, start_param, climbs):
    "θ ← θ₀ after a climb, bit for bit. What comes next moves from there."
    return param if climbs else start_param


# Of the gradient as it comes, where a clip may take another total later
SQR_SLOPE = sqr_grad_norm.rename(sqr_grad_norm='sqr_slope')


@total
def sqr_scaled_slope(grad, param, *, asam_eta=0.01):
    "Σ ‖(|θ| + ηₐ)·g‖² over all parameters, in double precision."
    return torch.linalg.vector_norm(grad * (param.abs() + asam_eta), dtype=torch.float64).square()


@scalar
def climb_size(sqr_norm=SQR_SLOPE, *, rho=0.05):
    "ρ / (√S + 1e-12): a climb has the length ρ."
    return rho / (sqr_norm**.5 + 1e-12)


@scalar
def scaled_climb_size(sqr_norm=sqr_scaled_slope, *, rho=0.5):
    "ρ / (√S + 1e-12): a climb has the length ρ, in units of each weight."
    return rho / (sqr_norm**.5 + 1e-12)


@step
def climb_step(grad, climbs, size=climb_size):
    "Δθ = σ·g in a climb: up along all gradients, by ρ (Foret et al., arXiv:2010.01412, eq. 2)."
    return size * grad if climbs else torch.zeros_like(grad)


@step
def scaled_climb_step(grad, param, climbs, size=scaled_climb_size, *, asam_eta=0.01):
    """Δθ = σ·(|θ| + ηₐ)²·g in a climb: further where weights are large
    (Kwon et al., arXiv:2102.11600, eq. 7 and section 3.3)."""
    return size * (param.abs() + asam_eta).square() * grad if climbs else torch.zeros_like(grad)


@gate(again=True)
def at_top(climbs):
    "The step is made with the gradient from the top."
    return climbs == 0


CLIMB = climb_phase, keep_start, return_to_start

sam = *CLIMB, climb_step, at_top
adaptive_sam = *CLIMB, scaled_climb_step, at_top
