"""What optimizers share, and where they differ: read off their parts.

    >>> compare('adam', 'adamw').edits()
    ['AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0']
    >>> compare('adam', 'adamw').identities()
    [AdamW with λ = 0 is Adam]
    >>> relatives('adamw')[1]
    'LAMB is AdamW with scale_by_trust_ratio; eps = 1e-06, not 1e-08'
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ..catalogue import choices, find, recipes
from ..composition import Composition
from ..hypers import TABLE
from ..letters import letters
from ..part import Part
from ..recipe import Recipe
from .explain import Section
from .family import likeness
from .identities import Identity, among, idea_of, rule_of, same_ideas
from .members import (Member, What, active, difference, distance, edit, meaning, member, merged,
                      written)
from .points import every_rule
from .report import Block, Cell, Code, Math, Report, Sentences, Table

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['compare', 'Comparison', 'relatives']

ON, OFF = '●', '○'


def compare(*optimizers: What) -> Comparison:
    """A table of which parts optimizers share, and how each is made of another.

    Takes recipes, their names, `partial`s of them, and lists of parts. For a single one, it says
    which recipes are one part away from it. Raises KeyError for an unknown name.
    """
    if not optimizers: raise TypeError('compare takes recipes: compare(RMSprop, Adam, AdamW)')
    return Comparison([member(o, i) for i, o in enumerate(optimizers, 1)])


def relatives(what: What) -> list[str]:
    """The recipes that are one part away (added, left out or exchanged), each as an edit.

    If they are none but its own options, the recipe that is most like it too.
    """
    return _relatives(member(what))


@cache
def _library() -> list[tuple[Member, bool]]:
    "Each recipe with each choice of its options, and if that is its own."
    def given(r: Recipe, options: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in options.items() if v != r.options[k]}
    found = [(r, given(r, o)) for r in (find(e.name) for e in recipes()) for o, _ in choices(r)]
    return [(member(partial(r, **own)), not own) for r, own in found]


def _relatives(mine: Member) -> list[str]:
    others = [(m, is_plain) for m, is_plain in _library() if m.name != mine.name]
    plain = [m for m, is_plain in others if is_plain]
    found = [m for m, _ in others if max(map(len, difference(mine.parts, m.parts))) <= 1]
    if not {m.name for m in found} & {m.name for m in plain}:
        found.append(max(plain, key=lambda m: likeness(mine, m)))
    return [edit(mine, m) for m in sorted(found, key=lambda m: distance(mine, m))]


class Comparison(Report):
    """Optimizers side by side, with a row for each part. `print` it, or leave it at a cell's end.

    `text()`, `markdown()`, `latex()` and `html()` are its forms, and `plot()` is a picture.
    """
    def __init__(self, members: list[Member]):
        self.members = members
        self.parts = _together(merged([[p.fn for p in m.parts] for m in members]))
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
        def cell(m: Member, p: Part) -> str:
            names = ','.join(f'{k}={v}' for k, v in sorted(p.names.items()))
            if p in active(m): return names or ON
            return f'{OFF} {names}'.strip()
        return [', '.join(cell(m, p) for p in m.parts if p.fn is fn) for m in self.members]

    def shared(self) -> list[str]:
        """The ideas that all have and that are not off: each the name of a part, or of several, of
        which one is another one's constant multiple."""
        common = set.intersection(*({idea_of(p) for p in active(m)} for m in self.members))
        ideas = dict.fromkeys(i for i in map(_idea, self.parts) if i in common)
        return [' or '.join(fn.__name__ for fn in self.parts if _idea(fn) == i) for i in ideas]

    def identities(self) -> list[Identity]:
        "What they are of each other at special values; and which of their parts are one idea."
        if len(self.members) == 1: return []
        parts = {fn.__name__ for fn in self.parts}
        rules = [r for r in every_rule() if r.kind != 'recipe' and r.name in parts]
        found = among(map(rule_of, self.members))
        plain = {(i.recipe, i.is_) for i in found if i.is_plain}
        return [*(i for i in among(rules) if not i.where),
                *(i for i in found if i.is_plain or (i.recipe, i.is_) not in plain)]

    def edits(self) -> list[str]:
        "Each optimizer as an edit of the earlier one that is most like it; of one, its relatives."
        first, *others = self.members
        if not others: return _relatives(first)
        return [edit(max(self.members[:i], key=lambda before: likeness(before, m)), m)
                for i, m in enumerate(others, 1)]

    def sentences(self) -> list[str]:
        "The ideas that all share, the identities, and each edit."
        names = ', '.join(self.shared())
        found = [f'Shared by all: {names}.' if names else 'No part is shared by all.']
        if len(self.members) == 1: found = []
        found += self._off()
        same = [f'{i.text}{"" if i.kind == "recipe" else ": one idea"}.' for i in self.identities()]
        return [*found, *same, *(f'{e}.' for e in self.edits())]

    def _off(self) -> Iterator[str]:
        "The parts that are off, by the hyperparameter that switches them off."
        off = [p for m in self.members for p in m.parts if p not in active(m)]
        for k in dict.fromkeys(p.switch for p in off):
            names = [fn.__name__ for fn in self.parts if fn in {p.fn for p in off if p.switch == k}]
            yield f'Off ({OFF}) where {k} = 0: {", ".join(names)}.'

    def hypers(self) -> list[tuple[str, list[str]]]:
        "Each hyperparameter's value in each optimizer."
        every = [k for m in self.members for k in m.values]
        names = sorted({*every}, key=[*TABLE, *every].index)
        return [(k, [written(m.values[k]) if k in m.values else '' for m in self.members])
                for k in names]

    def equation(self, fn: Callable[..., Any]) -> Math:
        "A part's equation where it first occurs."
        return next(s.equation(line) for s in self.sections
                    for line in (*s.equations.parts, *s.equations.after)
                    if line.part and line.part.fn is fn and line.name == line.part.out)

    def latex(self) -> str:
        "A table of the parts (needs amsmath)."
        head: list[Cell] = ['', *(m.name for m in self.members), '']
        rows: list[list[Cell]] = [[fn.__name__, *self.cells(fn), self.equation(fn)]
                                  for fn in self.parts]
        first, *others = (' & '.join(map(_in_latex, row)) for row in [head, *rows])
        return '\n'.join([rf'\begin{{tabular}}{{l{"c" * len(self.members)}l}}',
                          rf'  {first} \\ \hline', *(rf'  {row} \\' for row in others),
                          r'\end{tabular}'])

    def plot(self) -> Figure:
        "A dot for each part of each optimizer. Raises ImportError without matplotlib."
        from .pictures import dots
        return dots(self.members)


def _idea(fn: Callable[..., Any]) -> str: return same_ideas().get(fn.__name__, fn.__name__)


def _together(functions: list[Callable[..., Any]]) -> list[Callable[..., Any]]:
    "The functions, with those of one idea below each other."
    first = {_idea(fn): n for n, fn in reversed([*enumerate(functions)])}
    return sorted(functions, key=lambda fn: first[_idea(fn)])


def _in_latex(cell: Cell) -> str:
    if isinstance(cell, Math): return f'${cell.latex}$'
    return str(cell).replace('_', r'\_').replace(ON, r'$\bullet$').replace(OFF, r'$\circ$')
