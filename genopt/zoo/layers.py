"Steps that see a whole tensor: its norm, its rows and columns, or its singular values."
from typing import Literal

from ..parts import (adafactor_step, adam_step, average_grad, average_sqr_columns, average_sqr_grad,
                     average_sqr_norm, average_sqr_rows, blend_average, buffer_step, clip_by_rms,
                     l2_reg, match_adam_rms, momentum_buffer, momentum_step, orthogonalize,
                     scale_by_factored_rms, scale_by_layer_rate, scale_by_rms, scale_by_rms_lag,
                     scale_by_shape, scale_by_trust_ratio, sgd_step, step_count, use_average,
                     weight_decay)
from ..policy import MATRICES, policy
from ..recipe import recipe
from .friends import AdamW


SHAPES = {None: [scale_by_shape], 'original': [scale_by_shape], 'match_rms_adamw': [match_adam_rms]}
Shape = Literal['original', 'match_rms_adamw'] | None
MATCHED = dict(adjust_lr_fn='match_rms_adamw')  # with it, Muon's rate and decay are AdamW's


@recipe(lr=0.1, wd=0.)
def LARS():
    """Momentum of steps that are a share κ of each tensor's norm; η enters the buffer
    (You et al., arXiv:1708.03888)."""
    return scale_by_layer_rate, momentum_buffer, buffer_step


@recipe(lr=1e-2, mom=0.95, sqr_mom=0.98)
def NovoGrad():
    """Momentum of gradients over their tensor's norm; decay enters the buffer
    (Ginsburg et al., arXiv:1905.11286)."""
    scaled = step_count, average_sqr_norm, scale_by_rms.rename(sqr_avg='sqr_norm')
    return *scaled, l2_reg, momentum_buffer, momentum_step


@recipe(lr=1e-3, eps=1e-6, wd=1e-2)
def LAMB():
    """AdamW with steps of each tensor's own size; decay is part of that size
    (You et al., arXiv:1904.00962)."""
    return average_grad, average_sqr_grad, step_count, adam_step, weight_decay, scale_by_trust_ratio


@recipe(lr=1e-3, sqr_mom=0.99, eps=1e-6, wd=1e-2)
def StableAdamW():
    """AdamW that slows down, decay too, where its average square lags behind
    (Wortsman et al., arXiv:2304.13013)."""
    return average_grad, average_sqr_grad, step_count, adam_step, weight_decay, scale_by_rms_lag


@recipe(lr=1e-2, wd=0., eps='eps min_scale', d='max_rms')
def Adafactor():
    """The average square as rows times columns; relative steps; decoupled decay
    (Shazeer & Stern, arXiv:1804.04235)."""
    squares = step_count, average_sqr_rows, average_sqr_columns, scale_by_factored_rms
    return *squares, clip_by_rms, adafactor_step, weight_decay


@policy(MATRICES, AdamW.configured(lr=3e-4, betas=(.9, .95)), MATCHED, lr=.02, wd=.01)
@recipe(lr=1e-3, mom=0.95, wd=0.1, ns_coefficients='ns_a ns_b ns_c')
def Muon(nesterov=True, adjust_lr_fn: Shape=None):
    """Momentum with all singular values made 1, for matrices
    (Jordan, 2024; as in torch; Liu et al., arXiv:2502.16982)."""
    if adjust_lr_fn not in SHAPES:
        raise ValueError(f'`adjust_lr_fn` = {adjust_lr_fn!r}: give one of {[*SHAPES]}')
    along = blend_average.rename(nu='mom') if nesterov else use_average
    return average_grad, along, orthogonalize, *SHAPES[adjust_lr_fn], sgd_step, weight_decay
