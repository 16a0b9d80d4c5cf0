"Steps of one size, along a sign: of the gradient, of its average, or of a blend of the two."
from ..parts import (average_grad, blend_average, drop_turned, last_grad, rprop_step,
                     rprop_step_size, scale_by_param_rms, sign_step, weight_decay)
from ..recipe import recipe


@recipe(lr=1e-2, etas='eta_minus eta_plus', step_sizes='min_step max_step')
def Rprop():
    """Each element has its own step, longer while the sign stays and shorter when it turns
    (Riedmiller & Braun, 1993)."""
    return rprop_step_size, drop_turned, last_grad, rprop_step


@recipe(lr=1e-4, wd=0.)
def Signum():
    """Steps along the sign of the average gradient; decoupled decay
    (Bernstein et al., arXiv:1802.04434)."""
    return average_grad, sign_step.rename(grad='grad_avg'), weight_decay


@recipe(lr=1e-3, mom=0.965, wd=1e-2)
def Tiger(relative=False):
    """Signum with its author's values: one memory for large models, which may be kept in place of
    gradients (Su, 2023).

    The article's η is a step. In the author's code it is relative to the size of the weights:
    `relative=True` multiplies each step, decay too, by RMS(θ). That code leaves biases and gains
    at η/2 without decay, which is a group of its own: `dict(lr=lr / 2, wd=0., relative=False)`. It
    takes RMS(θ) of each row of an embedding, which is not here.
    """
    return *Signum.parts(), *[scale_by_param_rms] * relative


@recipe(lr=1e-4, mom=0.9, avg_mom=0.99, wd=0., betas='mom avg_mom')
def Lion():
    """Steps along the sign of a blend (β₁) of average and gradient; then averages (β₂)
    (Chen et al., arXiv:2302.06675)."""
    blended = blend_average.rename(grad_avg='prev_grad_avg', nu='mom')
    return average_grad.rename(mom='avg_mom'), blended, sign_step, weight_decay
