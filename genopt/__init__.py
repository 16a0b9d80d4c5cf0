"""genopt: optimizers for PyTorch, composed of small shared parts.

    >>> import genopt
    >>> from genopt import Adam, Optimizer, average_grad, momentum_step
    >>> opt = Adam(model.parameters(), lr=3e-4)                                      # a recipe makes an Optimizer
    >>> opt = Optimizer(model.parameters(), [average_grad, momentum_step], lr=.1)    # or compose one on the spot
"""
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .part import ContractError, Part, PartError, gate, scalar, stat, step, total, transform
from .composition import Composition
from .optimizer import Optimizer
from .recipe import Recipe, recipe
from . import parts, zoo
from .parts.modifiers import *   # noqa: F403  (one by one, so that type checkers see the names)
from .parts.scalars import *     # noqa: F403
from .parts.stats import *       # noqa: F403
from .parts.steps import *       # noqa: F403
from .parts.transforms import *  # noqa: F403
from .zoo import *    # noqa: F403
from .catalogue import modifiers, recipes, users
from .groups import Groups, layer_lrs, no_decay, route
from .interop.torch import to_torch
from .schedule import (Schedule, combined, constant, cosine, exponential, flat_cosine, linear, one_cycle,
                       polynomial)

if TYPE_CHECKING:
    from .study.compare import compare, relatives
    from .study.explain import explain
    from .study.maps import animate, plot_paths
    from .study.paths import descend
    from .study.pictures import family
    from .study.surfaces import SURFACES

__version__ = '0.1.0'
STUDY = dict(explain='explain', compare='compare', relatives='compare', descend='paths', plot_paths='maps',
             animate='maps', SURFACES='surfaces', family='pictures')  # loaded when asked for: sympy takes its time
__all__ = ['stat', 'scalar', 'transform', 'step', 'total', 'gate', 'recipe', 'Optimizer',
           'Schedule', 'constant', 'linear', 'cosine', 'exponential', 'polynomial', 'combined', 'flat_cosine',
           'one_cycle', 'no_decay', 'layer_lrs', 'route', 'Groups', 'recipes', 'users', 'modifiers',
           'explain', 'compare', 'relatives', 'descend', 'plot_paths', 'animate', 'SURFACES', 'family',
           'Part', 'Composition', 'Recipe', 'ContractError', 'PartError', 'to_torch']
__all__ += zoo.__all__
__all__ += parts.__all__


def __getattr__(name: str) -> Any:
    if name in STUDY: return getattr(import_module(f'.study.{STUDY[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
