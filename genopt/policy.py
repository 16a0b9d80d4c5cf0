"""Policies: which parameters of a model a recipe is for, and what the other ones get.

    >>> @policy(takes=MATRICES, rest=AdamW.configured(lr=3e-4), values=dict(lr=.02, wd=.01))
    ... @recipe(lr=1e-3, wd=.1)
    ... def Muon(): return average_grad, orthogonalize, sgd_step, weight_decay

A policy is what the authors of a recipe do with a whole model, and `create` reads it. A recipe
without one is for all parameters; or for matrices, beside AdamW, if one of its parts needs them.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

__all__ = ['ALL', 'LINEAR', 'MATRICES', 'WEIGHTS', 'Policy', 'Role', 'policy']


class Role(Enum):
    """What a parameter is to its model. `word` means all of a role, and `one` is one of them.

    `multiplies` says that features are multiplied by it, and not only scaled or added to.
    """
    MATRIX = 'hidden matrices', 'hidden matrix', True
    EXPERTS = 'experts', 'experts', True
    ROUTER = 'routers', 'router', True
    CONV = 'convolutions', 'convolution', True
    DEPTHWISE = 'depthwise convolutions', 'depthwise convolution', True
    INPUT = 'input convolutions', 'input convolution', True
    EMBEDDING = 'embeddings', 'embedding', True
    HEAD = 'heads', 'output head', True
    POSITION = 'positions', 'position or token', False
    NORM = 'norms', 'norm', False
    BIAS = 'biases', 'bias', False
    OTHER = 'others', 'other', False

    def __init__(self, word: str, one: str, multiplies: bool):
        self.word, self.one, self.multiplies = word, one, multiplies


ALL = frozenset(Role)
MATRICES = frozenset({Role.MATRIX, Role.EXPERTS, Role.ROUTER, Role.CONV})
LINEAR = MATRICES - {Role.CONV}
WEIGHTS = frozenset(r for r in Role if r.multiplies)


@dataclass(frozen=True)
class Policy:
    "What the authors of a recipe do with a whole model."
    takes: Collection[Role] = ALL       # What the recipe is for
    rest: Any = None                    # The recipe for everything else, with its values
    decays: Collection[Role] = WEIGHTS  # Others do not, neither with the recipe nor in the rest
    one_rate: Mapping[str, Any] | None = None  # Options with which lr and wd are the same for the
    # rest, and `values` do not hold; {} if they always are
    by_role: Mapping[Role, Any] = field(default_factory=dict)  # A recipe or values for some roles
    turned: Collection[Role] = ()  # Seen with a row for each output, though it takes other tensors
    scales: Mapping[Role, Callable[[int, int], float]] = field(default_factory=dict)  # The rate of
    # some roles over that of others, by the numbers of outputs and inputs
    values: Mapping[str, Any] = field(default_factory=dict)    # The recipe's own, in a whole model


Made = TypeVar('Made')


def policy(**fields: Any) -> Callable[[Made], Made]:
    "A decorator that gives a recipe its policy, of these fields of `Policy`."
    made = Policy(**fields)
    def decorate(recipe: Made) -> Made:
        recipe.policy = made  # type: ignore[attr-defined]
        return recipe
    return decorate
