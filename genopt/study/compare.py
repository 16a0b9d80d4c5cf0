"""What optimizers share, and where they differ: read off their parts.

    >>> compare('adam', 'adamw').edits()
    ['AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0']
    >>> relatives('adamw')[1]
    'LAMB is AdamW with scale_by_trust_ratio; eps = 1e-06, not 1e-08'
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..catalogue import choices, find, recipes
from ..composition import Composition
from ..hypers import TABLE
from ..letters import letters
from ..part import Part
from .explain import Section
from .members import (Member, What, difference, distance, edit, meaning, member, merged,
                      written)
from .report import Block, Cell, Code, Math, Report, Sentences, Table

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['compare', 'Comparison', 'relatives']

DOT = '●'


def compare(*optimizers: What) -> Comparison:
    """A table of which parts optimizers share, and how each is made of another.

    Takes recipes, their names, `partial`s of them, and lists of parts. For a single one, it says
    which recipes are one part away from it. Raises KeyError for an unknown name.
    """
    if not optimizers: raise TypeError('compare takes recipes: compare(RMSprop, Adam, AdamW)')
    return Comparison([member(o, i) for i, o in enumerate(optimizers, 1)])


def relatives(what: What) -> list[str]:
    "The recipes that are one part away (added, left out or exchanged), each as an edit."
    return _relatives(member(what))


def _relatives(mine: Member) -> list[str]:
    found: list[Member] = []
    for r in (find(entry.name) for entry in recipes()):
        for options, parts in choices(r):
            if max(map(len, difference(mine.parts, parts))) > 1: continue
            given = {k: v for k, v in options.items() if v != r.options[k]}
            found.append(member(partial(r, **given)))
    found.sort(key=lambda other: distance(mine, other))
    return [edit(mine, other) for other in found if other.name != mine.name]


class Comparison(Report):
    """Optimizers side by side, with a row for each part. `print` it, or leave it at a cell's end.

    `text()`, `markdown()`, `latex()` and `html()` are its forms, and `plot()` is a picture.
    """
    def __init__(self, members: list[Member]):
        self.members = members
        self.parts = merged([[p.fn for p in m.parts] for m in members])
        names = letters(p for m in members for p in m.parts)  # which mean the same in all of them
        self.sections = [Section('', Composition(m.parts), m.values, names=names) for m in members]

    def blocks(self) -> Iterator[Block]:
        names = [m.name for m in self.members]
        parts = [(Code(fn.__name__), *self.cells(fn), self.equation(fn)) for fn in self.parts]
        hypers = [(Code(k), *values, meaning(k)) for k, values in self.hypers()]
        yield Table([*parts, (), *hypers], ('', *names, ''), centred=names)
        yield Sentences(self.sentences())

    def cells(self, fn: Callable[..., Any]) -> list[str]:
        "For each optimizer: a dot if it has the part, or its names for the part's arguments."
        def cell(p: Part) -> str:
            return ','.join(f'{k}={v}' for k, v in sorted(p.names.items())) or DOT
        return [', '.join(cell(p) for p in m.parts if p.fn is fn) for m in self.members]

    def shared(self) -> list[str]:
        "The parts that all have, under whatever names."
        return [fn.__name__ for fn in self.parts if all(self.cells(fn))]

    def edits(self) -> list[str]:
        "Each optimizer as an edit of the nearest one before it; for a single one, its relatives."
        first, *others = self.members
        if not others: return _relatives(first)
        return [edit(min(self.members[:i], key=lambda before: distance(before, m)), m)
                for i, m in enumerate(others, 1)]

    def sentences(self) -> list[str]:
        "The parts that all share, and each edit."
        edits = [f'{e}.' for e in self.edits()]
        if len(self.members) == 1: return edits
        names = ', '.join(self.shared())
        return [f'Shared by all: {names}.' if names else 'No part is shared by all.', *edits]

    def hypers(self) -> list[tuple[str, list[str]]]:
        "Each hyperparameter's value in each optimizer."
        every = [k for m in self.members for k in m.values]
        names = sorted({*every}, key=[*TABLE, *every].index)
        return [(k, [written(m.values[k]) if k in m.values else '' for m in self.members])
                for k in names]

    def equation(self, fn: Callable[..., Any]) -> Math:
        "A part's equation where it first occurs."
        return next(s.equation(line) for s in self.sections for line in s.equations.parts
                    if line.part and line.part.fn is fn and line.name == line.part.out)

    def latex(self) -> str:
        "A table of the parts (needs amsmath)."
        head: list[Cell] = ['', *(m.name for m in self.members), '']
        rows = [[fn.__name__, *self.cells(fn), self.equation(fn)] for fn in self.parts]
        first, *others = (' & '.join(map(_in_latex, row)) for row in [head, *rows])
        return '\n'.join([rf'\begin{{tabular}}{{l{"c" * len(self.members)}l}}',
                          rf'  {first} \\ \hline', *(rf'  {row} \\' for row in others),
                          r'\end{tabular}'])

    def plot(self) -> Figure:
        "A dot for each part of each optimizer. Raises ImportError without matplotlib."
        from .pictures import dots
        return dots(self.members)


def _in_latex(cell: Cell) -> str:
    if isinstance(cell, Math): return f'${cell.latex}$'
    return str(cell).replace('_', r'\_').replace(DOT, r'$\bullet$')
