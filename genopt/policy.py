"""Policies: which parameters of a model a recipe is for, and what the other ones get.

    >>> @policy(MATRICES, rest=AdamW.configured(lr=3e-4, betas=(.9, .95)), lr=.02, wd=.01)
    ... @recipe(lr=1e-3, wd=.1)
    ... def Muon(): ...

A policy is what the authors of a recipe do with a whole model, and `create` reads it. A recipe
without one is for all parameters; or for matrices, beside AdamW, if one of its parts needs them.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

__all__ = ['MATRICES', 'Policy', 'Role', 'policy']


class Role(Enum):
    """What a parameter is to its model. `word` means all of a role, and `one` is one of them.

    What multiplies features decays. What is added to them, or scales each of them, does not.
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

    def __init__(self, word: str, one: str, decays: bool):
        self.word, self.one, self.decays = word, one, decays


MATRICES = frozenset({Role.MATRIX, Role.EXPERTS, Role.ROUTER, Role.CONV})


@dataclass(frozen=True)
class Policy:
    "What the authors of a recipe do with a whole model."
    takes: Collection[Role] = frozenset(Role)  # What the recipe is for
    rest: Any = None                           # The recipe for everything else
    one_rate: Mapping[str, Any] = field(default_factory=dict)  # Options that make lr and wd the
    # same for all, and `values` void
    by_role: Mapping[Role, Any] = field(default_factory=dict)  # A recipe or values for some roles
    values: Mapping[str, Any] = field(default_factory=dict)    # The recipe's own, in a whole model


Made = TypeVar('Made')


def policy(
    takes: Collection[Role]=frozenset(Role),
    rest: Any=None,
    one_rate: Mapping[str, Any]={},
    by_role: Mapping[Role, Any]={},
    **values: Any
) -> Callable[[Made], Made]:
    "A decorator that gives a recipe its policy: see `Policy`."
    given = Policy(takes, rest, one_rate, by_role, values)
    def decorate(recipe: Made) -> Made:
        recipe.policy = given  # type: ignore[attr-defined]
        return recipe
    return decorate
