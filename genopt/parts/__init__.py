"""The parts: pure functions, each of one idea, that every recipe shares.

In all of them what is read (tensors, most of the parameter's shape, and scalars) is positional; hyperparameters are
keywords. `scalars`, `stats`, `transforms`
and `steps` are what recipes are made of; `modifiers` are what can be added to any recipe, as in `Adam + cautious`.
"""
from . import modifiers, scalars, stats, steps, transforms
from .modifiers import *   # noqa: F403
from .scalars import *     # noqa: F403
from .stats import *       # noqa: F403
from .steps import *       # noqa: F403
from .transforms import *  # noqa: F403

__all__ = [*transforms.__all__, *stats.__all__, *scalars.__all__, *steps.__all__, *modifiers.__all__]
