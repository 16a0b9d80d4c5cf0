"Steps that see a whole tensor: its norm, its rows and columns, or its singular values."
from typing import Literal

from ..declared import choose
from ..parts import (adafactor_step, adam_step, average_grad, average_sqr_columns, average_sqr_grad,
                      average_sqr_neurons, average_sqr_norm, average_sqr_norm_from_first,
                      average_sqr_rows, blend_average, buffer_nesterov_step, buffer_step,
                      clip_by_layer_trust, clip_by_rms, clip_by_trust_ratio, gram_newton_schulz,
                      l2_reg, match_adam_rms, momentum_buffer, momentum_step, normalize_columns,
                      normalize_rms, normalize_rows, normalize_sign, orthogonalize, polar_express,
                      scale_by_aspect, scale_by_factored_rms, scale_by_layer_trust, scale_by_lr,
                      scale_by_neurons, scale_by_rms, scale_by_rms_lag, scale_by_shape,
                      scale_by_trust_ratio, scale_to_radius, set_rms, sgd_step, step_count,
                      use_average, weight_decay)
from ..policy import ALL, MATRICES, WEIGHTS, Role, policy
from ..recipe import recipe
from .friends import AdamW


SHAPES = {None: [scale_by_shape], 'original': [scale_by_shape], 'match_rms_adamw': [match_adam_rms],
          'spectral_unclamped': [scale_by_aspect]}
Shape = Literal['original', 'match_rms_adamw', 'spectral_unclamped'] | None
ITERATIONS = {None: [orthogonalize], 'polar_express': [polar_express],
              'gram': [gram_newton_schulz]}
Iteration = Literal['polar_express', 'gram'] | None
Rms = Literal['match_rms_adamw'] | None
RMS = {None: [scale_by_shape], 'match_rms_adamw': [set_rms]}
NORMS = {'spectral': [orthogonalize, scale_by_aspect], 'sign': [normalize_sign],
         'columns': [normalize_columns], 'rows': [normalize_rows], 'rms': [normalize_rms]}
Ball = Literal['spectral', 'sign', 'columns', 'rows', 'rms']

# Policies. Beside Muon its author has AdamW; with the same size of steps, their rates are the same
BESIDE = AdamW.configured(lr=3e-4, betas=(.9, .95), eps=1e-10)
MATCHED = dict(adjust_lr_fn='match_rms_adamw')
SIGNED = dict.fromkeys([Role.HEAD, Role.EMBEDDING], dict(norm='sign', radius=3000.))
SMALL = dict.fromkeys(ALL - WEIGHTS, dict(norm='rms'))


def _trust(scale, clip, always_adapt, trust_clip):
    "The part that adapts the size of a tensor's step: of those with decay, or of all."
    adapt = clip if trust_clip else scale
    return adapt if always_adapt else adapt.on('wd')


@recipe(lr=0.1, wd=0.)
def LARS(nesterov=False, always_adapt=True, trust_clip=False):
    """Momentum of steps that are a share κ of each tensor's norm; η enters the buffer
    (You et al., arXiv:1708.03888).

    Apex and timm have options: `always_adapt=False` (timm's default) leaves tensors without decay
    to plain momentum, and `trust_clip=True` (LARC) never takes a larger rate than η. There η
    multiplies the buffer, which is the same while η stays the same.
    """
    trust = _trust(scale_by_layer_trust, clip_by_layer_trust, always_adapt, trust_clip)
    step = buffer_nesterov_step if nesterov else buffer_step
    return trust, scale_by_lr, momentum_buffer, step


@recipe(lr=1e-2, mom=0.95, sqr_mom=0.98)
def NovoGrad(from_nonzero=False):
    """Momentum of gradients over their tensor's norm; decay enters the buffer
    (Ginsburg et al., arXiv:1905.11286).

    In the paper the average of ‖g‖² begins with the first gradient, even if that is 0. In the
    authors' code it begins with the first that is not: `from_nonzero=True`.
    """
    square = [average_sqr_norm_from_first] if from_nonzero else [step_count, average_sqr_norm]
    scaled = *square, scale_by_rms.rename(sqr_avg='sqr_norm')
    return *scaled, l2_reg, momentum_buffer, momentum_step


@recipe(lr=1e-3, eps=1e-6, wd=1e-2)
def LAMB(always_adapt=True, trust_clip=False):
    """AdamW with steps of each tensor's own size; decay is part of that size
    (You et al., arXiv:1904.00962).

    Apex and timm have options: `always_adapt=False` (their default) leaves tensors without decay to
    Adam, and `trust_clip=True` (LAMBC) makes no step larger than Adam's. They also clip by the
    global norm of the gradient, as `LAMB + clip_by_global_norm` does.
    """
    trust = _trust(scale_by_trust_ratio, clip_by_trust_ratio, always_adapt, trust_clip)
    return average_grad, average_sqr_grad, step_count, adam_step, weight_decay, trust


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


@policy(takes=MATRICES, rest=BESIDE, one_rate=MATCHED, values=dict(lr=.02, wd=.01))
@recipe(lr=1e-3, mom=0.95, wd=0.1, ns_coefficients='ns_a ns_b ns_c')
def Muon(nesterov=True, adjust_lr_fn: Shape=None, iteration: Iteration=None):
    """Momentum with all singular values made 1, for matrices
    (Jordan, 2024; as in torch; Liu et al., arXiv:2502.16982)."""
    along = blend_average.rename(nu='mom') if nesterov else use_average
    changes = choose(ITERATIONS, iteration=iteration) + choose(SHAPES, adjust_lr_fn=adjust_lr_fn)
    return average_grad, along, *changes, sgd_step, weight_decay


@policy(takes=MATRICES, rest=BESIDE.configured(wd=0.), one_rate=MATCHED)
@recipe(lr=0.02, mom=0.95, wd=0., beta2='sqr_mom')
def NorMuon(nesterov=True, adjust_lr_fn: Rms=None):
    """Muon with the same size for each row of a step, by its average square
    (Li et al., arXiv:2510.05491; the step's size as in their code).

    The paper gives all steps a root mean square of 0.2: that is `adjust_lr_fn='match_rms_adamw'`.
    """
    along = blend_average.rename(nu='mom') if nesterov else use_average
    rows = orthogonalize.rename(eps='ns_eps'), average_sqr_neurons, scale_by_neurons
    sized = choose(RMS, adjust_lr_fn=adjust_lr_fn)
    return average_grad, along, *rows, *sized, sgd_step, weight_decay


@policy(decays=ALL, by_role=SIGNED | SMALL, values=dict(lr=2**-12, radius=50.))
@recipe(lr=1e-3, mom=0.9, wd=1., scale='radius')
def Scion(norm: Ball='spectral'):
    """To the edge of a ball of radius ρ, whose norm fits the kind of layer: `norm`
    (Pethick et al., arXiv:2502.07529, algorithm 1; without bounds if wd=0).

    Hidden matrices have 'spectral', an output head or a tied embedding 'sign', an embedding
    'columns' or 'sign', with a larger radius, and biases and norms 'rms'. Their code gives a
    convolution of k × k a radius of ρ/k, and its `momentum` is 1 − `mom`.
    """
    lmo = choose(NORMS, norm=norm)
    return average_grad, use_average, *lmo, scale_to_radius, sgd_step, weight_decay
