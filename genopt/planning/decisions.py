"""Decisions: what each parameter of a model is, what steps it, and why. Printed, a table."""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from math import prod
from typing import NamedTuple

__all__ = ['Decision', 'Decisions']


class Decision(NamedTuple):
    "What was decided for one parameter. A frozen one has no rule."
    name: str
    shape: tuple[int, ...]
    role: str    # Such as 'hidden matrix'
    rule: str    # The name of a recipe, or ''
    values: str  # Its lr and wd, and what else is not as usual
    why: str


class Decisions(list[Decision]):
    """A decision for each parameter, group by group. Printed, a table.

    What is alike shares a row. If names differ in a number, `*` stands for it.
    """
    about = ''  # What the recipe is for, and what does not decay

    def __str__(self) -> str:
        table = [(_title(ds), [*_rows(ds)]) for ds in self.groups()]
        wide = [max(len(row[i]) for _, rows in table for row in rows) for i in range(3)]
        lines = [self.about]
        for title, rows in table:
            lines += [title, *('  '.join(['', *map(str.ljust, row, wide), row[3]]) for row in rows)]
        return '\n'.join(line.rstrip() for line in lines)

    __repr__ = __str__

    def groups(self) -> list[list[Decision]]:
        "Those with the same rule and values, which are together in the optimizer too."
        return [[*ds] for _, ds in groupby(self, lambda d: (d.rule, d.values))]


def _title(ds: list[Decision]) -> str:
    what = f'{ds[0].rule}, {ds[0].values}'.rstrip(', ') or 'frozen, so left out'
    n, elements = len(ds), sum(prod(d.shape) for d in ds)
    return f'{what}: {n} parameter{"s" * (n != 1)}, {elements:,} elements'


def _rows(ds: Iterable[Decision]) -> Iterator[tuple[str, str, str, str]]:
    "Name, shape, role and reason of those that are alike."
    alike: dict[tuple[str, tuple[int, ...], str, str], list[str]] = {}
    for d in ds:
        pattern = re.sub(r'(?<![^.])\d+(?![^.])', '*', d.name)
        alike.setdefault((pattern, d.shape, d.role, d.why), []).append(d.name)
    for (pattern, shape, role, why), names in alike.items():
        size = '×'.join(map(str, shape)) or '1'
        if len(names) == 1: yield names[0], size, role, why
        else: yield pattern, f'{len(names)} of {size}', role, why
