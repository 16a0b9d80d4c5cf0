"""The parts: pure functions, each of one idea, that every recipe shares.

In all of them, what is read (scalars, and tensors, most of them of the parameter's shape) is
positional, and hyperparameters are keywords. Recipes are made of `scalars`, `stats`, `transforms`
and `steps`; `modifiers` can be added to any recipe, as in `Adam + cautious`.
"""
from . import modifiers, scalars, stats, steps, transforms
from .modifiers import *   # noqa: F403
from .scalars import *     # noqa: F403
from .stats import *       # noqa: F403
from .steps import *       # noqa: F403
from .transforms import *  # noqa: F403

__all__ = [*transforms.__all__, *stats.__all__, *scalars.__all__, *steps.__all__, *modifiers.__all__]
