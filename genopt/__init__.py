"""genopt: optimizers for PyTorch, composed of small shared parts.

    >>> import genopt
    >>> from genopt import Adam, Optimizer, average_grad, momentum_step
    >>> opt = Adam(model.parameters(), lr=3e-4)  # a recipe makes an Optimizer
    >>> opt = Optimizer(model.parameters(), [average_grad, momentum_step], lr=.1)  # so do parts

What people type is here: the recipes, the parts that many rules share, and the modifiers that go
with any rule. `genopt.parts` has all parts.
"""
from importlib import import_module
from typing import Any

from . import parts, zoo
from .catalogue import modifiers, recipe, recipes, users
from .composition import Composition
from .kinds import gate, scalar, stat, step, total, transform
from .contract import ContractError, PartError
from .part import Part
from .parts import *  # noqa: F403
from .recipe import Recipe
from .zoo import *  # noqa: F403

__version__ = '0.1.0'

# Loaded when they are asked for, so that recipes need no engine, and an optimizer needs no sympy.
# An editor reads `__init__.pyi`.
LATER = {
    'interop.torch': ['to_torch'],
    'optimizer': ['Optimizer'],
    'routing': ['Groups', 'layer_lrs', 'no_decay', 'route'],
    'schedule': ['Schedule', 'combined', 'constant', 'cosine', 'exponential', 'flat_cosine',
                 'linear', 'one_cycle', 'polynomial'],
    'study.compare': ['compare', 'relatives'],
    'study.explain': ['explain'],
    'study.maps': ['animate', 'plot_paths'],
    'study.paths': ['descend'],
    'study.pictures': ['family'],
    'study.surfaces': ['SURFACES']}
_MODULES = {name: module for module, names in LATER.items() for name in names}

__all__ = ['stat', 'transform', 'step', 'scalar', 'total', 'gate', 'recipe', 'Part', 'Recipe',
           'Composition', 'ContractError', 'PartError', 'modifiers', 'recipes', 'users']
__all__ += [*_MODULES, *zoo.__all__, *parts.__all__]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f'.{_MODULES[name]}', __name__), name)
        return value
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]: return [*__all__, 'parts', 'zoo', '__version__']
