"""Adam and its friends, in order of increasing complexity.

Options, default values and results are torch.optim's. Momentum remembers the gradient, RMSprop its
square, and Adam both, by the same parts.
"""
from ..parts import (adam_step, average_grad, average_sqr_grad, dampened_momentum_buffer, l2_reg,
                     max_sqr_grad, momentum_buffer, momentum_step, nesterov_step,
                     scale_by_centered_rms, scale_by_rms, sgd_step, step_count, weight_decay)
from ..recipe import recipe


# Parts that an option brings in. RMSprop's buffer has another name than the centered `grad_avg`.
CENTERED = average_grad.rename(mom='sqr_mom'), average_sqr_grad, scale_by_centered_rms
ALONG_SCALED = [p.rename(grad_avg='scaled_avg') for p in (momentum_buffer, momentum_step)]
AMSGRAD = max_sqr_grad, adam_step.rename(sqr_avg='max_sqr_avg')


def _along(mom, dampening, nesterov):
    """The end of SGD: a step along the gradient, or along a buffer of gradients.

    Raises ValueError for the options that torch refuses.
    """
    if (nesterov or dampening) and not mom:
        raise ValueError('`nesterov` and `dampening` need momentum: give mom=0.9, for example')
    if nesterov and dampening:
        raise ValueError('`nesterov` looks along an undampened buffer: leave out `dampening`')
    buffer = (step_count, dampened_momentum_buffer) if dampening else (momentum_buffer,)
    return (*buffer, nesterov_step if nesterov else momentum_step) if mom else (sgd_step,)


def with_decay(parts, decoupled):
    "Weight decay that goes into the gradient, first, or apart from it, last."
    return (*parts, weight_decay) if decoupled else (l2_reg, *parts)


@recipe(lr=1e-3)
def SGD(mom=0., dampening=0., nesterov=False):
    "Steps down the gradient; with `mom`, it is Momentum (Robbins & Monro, 1951)."
    return l2_reg, *_along(mom, dampening, nesterov)


@recipe(lr=1e-3)
def Momentum(dampening=0., nesterov=False):
    "Steps along a sum of past gradients (Polyak, 1964; Sutskever et al., ICML 2013)."
    return l2_reg, *_along(True, dampening, nesterov)


@recipe(lr=1e-2, sqr_mom=0.99, alpha='sqr_mom')
def RMSprop(mom=0., centered=False):
    """Steps along the gradient over its root mean square
    (Tieleman & Hinton, 2012; centered: Graves, arXiv:1308.0850)."""
    scaled = CENTERED if centered else (average_sqr_grad, scale_by_rms)
    return l2_reg, *scaled, *(ALONG_SCALED if mom else (sgd_step,))


@recipe(lr=1e-3, wd=0.)
def Adam(amsgrad=False, decouple_wd=False):
    """The average gradient over the root of the average square
    (Kingma & Ba, arXiv:1412.6980; AMSGrad: 1904.09237)."""
    ends = AMSGRAD if amsgrad else (adam_step,)
    return with_decay((average_grad, average_sqr_grad, step_count, *ends), decouple_wd)


@recipe(lr=1e-3, wd=1e-2)
def AdamW(amsgrad=False):
    "Adam whose weight decay stays out of the averages (Loshchilov & Hutter, arXiv:1711.05101)."
    return Adam.parts(amsgrad=amsgrad, decouple_wd=True)
