"""genopt: optimizers for PyTorch, composed of small shared parts.

    >>> import genopt
    >>> from genopt import Adam, Optimizer, average_grad, momentum_step
    >>> opt = Adam(model.parameters(), lr=3e-4)  # a recipe makes an Optimizer
    >>> opt = Optimizer(model.parameters(), [average_grad, momentum_step], lr=.1)  # so do parts

What people type is here: the recipes, the parts that many rules share, and the modifiers that go
with any rule. `genopt.parts` has all parts.
"""
from importlib import import_module as _import_module

from . import parts, zoo
from .catalogue import modifiers, recipe, recipes, users
from .composition import Composition
from .given import given
from .kinds import gate, scalar, stat, step, tensor, total, transform
from .contract import ContractError, PartError
from .hypers import hyper
from .part import Part
from .parts import *  # noqa: F403
from .pickling import factory
from .recipe import Recipe
from .zoo import *  # noqa: F403

__version__ = '0.1.0'

# Loaded when they are asked for, so that recipes need no engine, and an optimizer needs no sympy.
# An editor reads `__init__.pyi`.
LATER = {
    'to_torch': 'interop.torch',
    'Optimizer': 'optimizer',
    **dict.fromkeys(['Groups', 'layer_lrs', 'no_decay', 'route'], 'routing'),
    **dict.fromkeys(['Schedule', 'combined', 'constant', 'cosine', 'exponential', 'flat_cosine',
                     'linear', 'one_cycle', 'polynomial'], 'schedule'),
    **dict.fromkeys(['compare', 'relatives'], 'study.compare'),
    **dict.fromkeys(['assert_agrees', 'check'], 'checks.check'),
    'explain': 'study.explain',
    'identities': 'study.identities',
    **dict.fromkeys(['animate', 'plot_paths'], 'study.maps'),
    'descend': 'study.paths',
    'export': 'exporting.export',
    **dict.fromkeys(['gauss_newton_bartlett', 'hutchinson'], 'curvature'),
    'family': 'study.family',
    'SURFACES': 'study.surfaces',
    'race': 'racing.race',
    'Task': 'racing.tasks'}

__all__ = ['stat', 'transform', 'step', 'scalar', 'total', 'tensor', 'gate', 'given', 'hyper',
           'recipe', 'factory', 'Part', 'Recipe', 'Composition', 'ContractError', 'PartError',
           'modifiers', 'recipes', 'users']
__all__ += [*LATER, *zoo.__all__, *parts.__all__]


def __getattr__(name: str) -> object:
    if name not in LATER: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(_import_module(f'.{LATER[name]}', __name__), name)
    return value


def __dir__() -> list[str]: return [*__all__, 'parts', 'zoo', '__version__']
