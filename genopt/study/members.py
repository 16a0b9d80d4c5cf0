"""Optimizers as a comparison sees them, and the edits that make one of another.

    >>> edit(member('adam'), member('adamw'))
    'AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0'
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from ..catalogue import find, rule_of
from ..composition import Composition
from ..contract import REQUIRED
from ..hypers import TABLE
from ..part import Part
from ..recipe import Recipe

__all__ = ['Member', 'What', 'active', 'difference', 'distance', 'edit', 'meaning', 'member',
           'merged', 'with_values', 'written']

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
    source: Recipe | Composition
    if isinstance(rule, Recipe): name, source = rule.__name__, rule
    elif isinstance(rule, Iterable): name, source = f'list {number}', Composition(rule)
    else:
        raise TypeError('compare takes recipes, their names, `partial`s of them, or lists of '
                        f'parts, not {type(rule).__name__}')
    composition, values = with_values(source, given)
    call = ', '.join(f'{k}={v}' for k, v in given.items())
    return Member(f'{name}({call})' if call else name, composition.parts, values)


def active(m: Member) -> list[Part]:
    "Its parts, but for those that are off at its values."
    env = {**m.values, 'update': None}  # the update of other steps
    return [p for p in m.parts if not p.is_off(env)]


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


# -- edits -----------------------------------------------------------------------------------------

def difference(a: Iterable[Part], b: Iterable[Part]) -> tuple[list[Part], list[Part]]:
    "The parts that only `a` has, and those that only `b` has."
    return [*(Counter(a) - Counter(b)).elements()], [*(Counter(b) - Counter(a)).elements()]


def distance(a: Member, b: Member) -> int:
    "How many parts must be taken away and added to make `b` of `a`."
    return sum(map(len, difference(a.parts, b.parts)))


def edit(
    a: Member,
    b: Member
) -> str:  # A sentence without its full stop
    "How `b` is made of `a`: `AdamW is Adam without l2_reg, with weight_decay`."
    changes = [*_changes_of_parts(a, b)] or ['in all its parts']
    values = [f'{k} = {written(v)}, not {written(a.values[k])}' for k, v in b.values.items()
              if k in a.values and REQUIRED not in (v, a.values[k]) and v != a.values[k]]
    return '; '.join([f'{b.name} is {a.name} ' + ', '.join(changes), *values])


def _changes_of_parts(a: Member, b: Member) -> Iterator[str]:
    gone, new = difference(a.parts, b.parts)
    if gone: yield f'without {_names(gone)}'
    if new: yield f'with {_names(new)}'
    common = {*a.parts} & {*b.parts}
    if [p for p in a.parts if p in common] != [p for p in b.parts if p in common]:
        yield 'in another order'


def _names(parts: Iterable[Part]) -> str:
    *some, last = (p.label for p in parts)
    return f'{", ".join(some)} and {last}' if some else last


def merged(lists: Iterable[list[Any]]) -> list[Any]:
    "All that is in the lists, each item once, as nearly as possible in their order."
    res: list[Any] = []
    for items in lists:
        place = 0
        for x in items:
            if x not in res: res.insert(place, x)
            place = max(place, res.index(x) + 1)
    return res
