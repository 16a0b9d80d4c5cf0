"""genopt: optimizers for PyTorch, composed of small shared parts.

    >>> import genopt
    >>> from genopt import Adam, Optimizer, average_grad, momentum_step
    >>> opt = Adam(model.parameters(), lr=3e-4)                                      # a recipe makes an Optimizer
    >>> opt = Optimizer(model.parameters(), [average_grad, momentum_step], lr=.1)    # or compose one on the spot
"""
from .part import ContractError, Part, PartError, gate, scalar, stat, step, total, transform
from .composition import Composition
from .optimizer import Optimizer
from .recipe import Recipe, recipe
from .parts import *  # noqa: F403
from .parts import __all__ as _parts
from .zoo import *    # noqa: F403
from .zoo import __all__ as _zoo
from .catalogue import modifiers, recipes, users
from .groups import Groups, layer_lrs, no_decay, route
from .interop.torch import to_torch

__version__ = '0.1.0'
__all__ = ['stat', 'scalar', 'transform', 'step', 'total', 'gate', 'recipe', 'Optimizer', *_zoo, *_parts,
           'no_decay', 'layer_lrs', 'route', 'Groups', 'recipes', 'users', 'modifiers',
           'Part', 'Composition', 'Recipe', 'ContractError', 'PartError', 'to_torch']
