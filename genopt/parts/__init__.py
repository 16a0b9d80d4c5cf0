"""The parts: pure functions, each of one idea, that every recipe shares.

All of them read scalars and tensors (most of the parameter's shape) by position, and take
hyperparameters by name. Recipes are made of `scalars`, `stats`, `transforms`, `steps` and, for
Muon's family, `orthogonal`; `modifiers` can be added to any recipe, as in `Adam + cautious`.

Their names follow one system. Stats are called after their value: `average_x`, `sum_x`, `max_x`,
`last_x`, or a noun for a number (`step_count`). Steps are `x_step`, and decays `x_decay`.
Transforms are `scale_by_x`, `clip_by_x`, or an imperative (`centralize`). Scalars and totals are
nouns. Where the field has one name for it, that name stands: `momentum_buffer`, `l2_reg`,
`weight_decay`, `cautious`, `lazy`, `lookahead`.
"""
from . import (blocks, distances, factors, interpolation, longruns, lowrank, matrices,
               modifiers, orthogonal, scalars, second, stats, steps, transforms)
from .blocks import *      # noqa: F403
from .distances import *   # noqa: F403
from .factors import *     # noqa: F403
from .interpolation import *  # noqa: F403
from .longruns import *    # noqa: F403
from .lowrank import *     # noqa: F403
from .matrices import *    # noqa: F403
from .orthogonal import *  # noqa: F403
from .modifiers import *   # noqa: F403
from .scalars import *     # noqa: F403
from .second import *      # noqa: F403
from .stats import *       # noqa: F403
from .steps import *       # noqa: F403
from .transforms import *  # noqa: F403

# In the order in which they are explained
MODULES = (transforms, orthogonal, stats, scalars, steps, blocks, matrices, factors, lowrank,
           modifiers, longruns, interpolation, distances, second)
# Parts that many rules share, for `from genopt import *`; import the others by name
# ruff: noqa: F405
__all__ = [
    'step_count', 'first_param', 'last_grad', 'average_grad', 'momentum_buffer', 'average_sqr_grad',
    'max_sqr_grad', 'sum_sqr_grad', 'debias', 'sqr_grad_norm', 'l2_reg', 'scale_by_rms', 'lazy',
    'sgd_step', 'momentum_step', 'nesterov_step', 'sign_step', 'adam_step', 'weight_decay',
    'independent_decay', 'cautious_decay', 'centralize', 'clip_by_value', 'clip_by_norm',
    'clip_by_global_norm', 'clip_by_last_norm', 'clip_by_param_norm', 'clip_by_rms',
    'orthogonalize', 'gradient_noise', 'skip_nonfinite', 'cautious', 'clip_update_by_rms',
    'scale_by_trust_ratio', 'average_param', 'weight_mean', 'lookahead', 'schedule_free',
    'clip_spikes', 'resets', 'spam', 'grokfast', 'error_feedback',
    'warm_average', 'slow_average', 'power_average', 'sam', 'adaptive_sam']
