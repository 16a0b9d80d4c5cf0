"An optimizer as a study sees it: a name, parts, and the values of its hyperparameters."
from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from ..composition import Composition
from ..hypers import TABLE
from ..contract import REQUIRED
from ..part import Part
from ..catalogue import find, rule_of
from ..recipe import Recipe

__all__ = ['Member', 'What', 'member', 'with_values', 'written', 'meaning']

What: TypeAlias = 'Recipe | str | Iterable[Part] | partial[Any]'


class Member(NamedTuple):
    "An optimizer in a comparison."
    name: str
    parts: tuple[Part, ...]
    values: Mapping[str, Any]


def member(what: What, number: int=0) -> Member:
    """A recipe, its name, a `partial` of it with options, or a list of parts, as a member.

    A list is called by its number. Raises KeyError if no recipe has the name, and TypeError for
    anything else.
    """
    if isinstance(what, str): what = find(what)
    rule, given = (what.func, what.keywords) if isinstance(what, partial) else (what, {})
    if isinstance(rule, Recipe):
        composition, values = with_values(rule, given)
        call = ', '.join(f'{k}={v}' for k, v in given.items())
        name = f'{rule.__name__}({call})' if call else rule.__name__
        return Member(name, composition.parts, values)
    if not isinstance(rule, Iterable):
        raise TypeError('compare takes recipes, their names, `partial`s of them, or lists of '
                        f'parts, not {type(rule).__name__}')
    composition = Composition(rule)
    return Member(f'list {number}', composition.parts, composition.hypers)


def with_values(
    what: Recipe | Composition,
    given: Mapping[str, Any]  # Options and hyperparameters
) -> tuple[Composition, dict[str, Any]]:
    "The composition, and its hyperparameters: REQUIRED where one must be given and is not."
    rule = rule_of(what)
    rule = rule.choose(rule.options_in(given))
    needed = {k for k, v in rule.defaults.items() if v is REQUIRED} - {*rule.words.ours(given)}
    rule, values = rule.bind(given, dict.fromkeys(needed, 0.))
    return rule.composition, {k: REQUIRED if k in needed else v for k, v in values.items()}


def written(value: Any) -> str:
    "A hyperparameter's value, in a report."
    return 'must be given' if value is REQUIRED else f'{float(value):g}'


def meaning(hyper: str) -> str:
    "What a hyperparameter of the table is."
    return TABLE[hyper].doc if hyper in TABLE else ''
