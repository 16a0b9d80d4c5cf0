"""The recipes, by family: each is a few lines, with its name, its idea and source, and its parts.

LBFGS is not here: it searches along lines through all parameters at once, so it is not made of
parts that see one parameter. torch.optim has it.
"""
from ..recipe import Recipe
from . import (adams, averages, friends, frugal, layers, matrices, memories, rates, second, signs,
               sums)
from .adams import *      # noqa: F403
from .averages import *   # noqa: F403
from .friends import *    # noqa: F403
from .frugal import *     # noqa: F403
from .layers import *     # noqa: F403
from .matrices import *   # noqa: F403
from .memories import *   # noqa: F403
from .rates import *      # noqa: F403
from .second import *     # noqa: F403
from .signs import *      # noqa: F403
from .sums import *       # noqa: F403

FAMILIES = (friends, memories, sums, adams, signs, layers, frugal, matrices, averages, rates,
            second)
__all__ = [name for family in FAMILIES for name, obj in vars(family).items()
           if isinstance(obj, Recipe) and obj.__module__ == family.__name__]
