"""The difference between two optimizers, as an edit of one's parts into the other's.

    >>> from genopt.study.members import member
    >>> edit(member('adam'), member('adamw'))
    'AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0'
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ..contract import REQUIRED
from ..part import Part
from .members import Member, written

__all__ = ['difference', 'distance', 'edit', 'merged']


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
