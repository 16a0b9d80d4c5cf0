"""The family of optimizers: a graph in which each stands under those that it is made of.

    >>> [e.note for e in family().parents('Adam')]
    ['= Momentum if ε = 0, but for average_sqr_grad and debias',
     '= RMSprop if β₁ = 0, but for debias']
"""
from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

from ..catalogue import recipes
from ..kinds import Stat
from ..part import Part
from .identities import Identity, among, idea_of, rule_of
from .members import Member, active, difference, member

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['Edge', 'Family', 'Node', 'family', 'likeness']

LEAST = .2   # of two recipes' likeness, or one of them stands under SGD
NEARLY = .9  # of the likeness of the recipe that is most alike
ROLE = .6


@dataclass(frozen=True)
class Node:
    "A recipe."
    name: str
    family: str             # friends, memories, sums, adams, signs, layers or matrices
    idea: str               # in one line
    parts: tuple[str, ...]  # their names


@dataclass(frozen=True)
class Edge:
    "What a recipe has to do with one that is simpler."
    parent: str                 # the simpler one
    child: str
    added: tuple[str, ...]      # parts that only the child has
    gone: tuple[str, ...]       # parts that only the parent has
    identity: Identity | None   # what makes the child its parent, if there is such a thing
    edit: str                   # what makes a child of the parent, with signs: `+ average_grad`

    @property
    def text(self) -> str:
        "A sentence without its full stop."
        return f'{self.child} {self.label}'

    @property
    def label(self) -> str:
        "The sentence after the child's name."
        if self.identity: return self.identity.text.removeprefix(self.child).strip()
        return f'is {self.parent} {self.edit}'

    @property
    def note(self) -> str:
        "In a few words: `= SGD if β₁ = 0`, or the parts that it adds, or takes away."
        signs = [('+', p) for p in self.added] or [('−', p) for p in self.gone]
        changes = dict.fromkeys(f'{sign} {p.split("[")[0]}' for sign, p in signs)
        if not self.identity: return ' '.join(changes) or f'= {self.parent} with other values'
        when, without = self.identity.condition, ' and '.join(self.identity.without)
        res = f'= {self.parent} if {when}' if when else f'= {self.parent}'
        return res + (f'{"," if when else ""} but for {without}' if without else '')


class Family:
    """Recipes and what they have to do with each other; printed, a tree.

    `nodes` and `edges` are data; a parent comes before its children. `plot()` is a picture.
    """
    def __init__(self, nodes: Sequence[Node], edges: Sequence[Edge]):
        self.nodes, self.edges = tuple(nodes), tuple(edges)

    def parents(self, name: str) -> list[Edge]:
        "The edges that lead to a recipe. It stands under the first in a tree."
        return [e for e in self.edges if e.child == name]

    def children(self, name: str) -> list[Edge]:
        "The edges that lead from a recipe."
        return [e for e in self.edges if e.parent == name]

    def places(self) -> dict[str, tuple[int, int]]:
        "In a tree: the depth and the row of each. Small branches come first."
        rows = [place for n in self.nodes if not self.parents(n.name)
                for place in self._branch(n.name, 0)]
        return {name: (depth, row) for row, (name, depth) in enumerate(rows)}

    def _branch(self, name: str, depth: int) -> Iterator[tuple[str, int]]:
        yield name, depth
        for child in self._under(name): yield from self._branch(child, depth + 1)

    def _under(self, name: str) -> list[str]:
        "The children that stand under it in a tree."
        own = [e.child for e in self.children(name) if self.parents(e.child)[0] == e]
        return sorted(own, key=lambda child: len([*self._branch(child, 0)]))

    def text(self) -> str:
        "A tree. A recipe with several parents has a line for each."
        return '\n'.join(line for n in self.nodes if not self.parents(n.name)
                         for line in self._lines(n.name, '', ''))

    def _lines(self, name: str, here: str, below: str) -> Iterator[str]:
        "Of a branch: the first begins with `here`, and the others with `below`."
        children = self._under(name)
        first, later = f'{here}{name}  ', below + ('│    ' if children else '     ')
        for note in [e.note for e in self.parents(name)] or ['']:
            lines = textwrap.wrap(note, 80, initial_indent=first, subsequent_indent=later)
            yield from lines or [first.rstrip()]
            first = later
        for i, child in enumerate(children, 1):
            turn, stem = ('├─ ', '│  ') if i < len(children) else ('└─ ', '   ')
            yield from self._lines(child, below + turn, below + stem)

    def __repr__(self) -> str: return self.text()

    def plot(self) -> Figure:
        "A picture. Raises ImportError without matplotlib."
        from .pictures import Row, graph
        kind = {n.name: n.family for n in self.nodes}
        return graph([Row(name, kind[name], depth, [e.note for e in found],
                          [e.parent for e in found])
                      for name, (depth, _) in self.places().items()
                      for found in [self.parents(name)]])

    def _repr_png_(self) -> bytes | None:
        try: self.plot().savefig(png := BytesIO(), format='png')
        except ImportError: return None  # then a notebook shows the text
        return png.getvalue()


# -- who stands under whom -------------------------------------------------------------------------

@cache
def family() -> Family:
    """All recipes, from SGD on.

    A recipe stands under those that it is at special values, as identities say. It also stands
    under the earlier one, of no more parts, that is most like it, unless one of the others is
    nearly as much like it. An edge that a longer way implies is left out.
    """
    entries = recipes()
    members = {e.name: member(e.name) for e in entries}
    whole = [i for i in among(map(rule_of, members.values())) if i.is_plain]
    edges, above = list[Edge](), dict[str, set[str]]()
    for name, mine in members.items():
        like = {other: likeness(members[other], mine) for other in above}
        simpler = [p for p in above if len(ideas(members[p])) <= len(ideas(mine))]
        found = {i.is_: i for i in reversed(whole) if i.recipe == name and i.is_ in above}
        parents = {*found}
        near = max(simpler, key=lambda other: like[other], default='')
        if near and like[near] < LEAST: near = entries[0].name
        if near and not any(like[p] > NEARLY * like[near] for p in parents): parents.add(near)
        parents -= {p for p in parents if any(p in above[q] for q in parents)}
        above[name] = parents.union(*(above[p] for p in parents))
        for p in sorted(parents, key=lambda p: -like[p]):
            edges.append(_edge(members[p], mine, found.get(p)))
    nodes = [Node(e.name, e.family, e.idea, tuple(p.label for p in e.parts)) for e in entries]
    return Family(nodes, edges)


def _edge(a: Member, b: Member, identity: Identity | None) -> Edge:
    gone, new = difference(a.parts, b.parts)
    return Edge(a.name, b.name, tuple(p.label for p in new), tuple(p.label for p in gone), identity,
                _short_edit(a, b))


def _short_edit(a: Member, b: Member) -> str:
    "An edit with signs. New names of arguments are only written where a part is there twice."
    gone, new = difference(a.parts, b.parts)
    count = Counter(p.__name__ for p in [*gone, *new])
    names = [p.label if count[p.__name__] > 1 else p.__name__ for p in [*new, *gone]]
    signs = '+' * len(new) + '−' * len(gone)
    return ' '.join(f'{sign} {name}' for sign, name in zip(signs, names)) or 'with other values'


def likeness(a: Member, b: Member) -> float:
    """How much of two optimizers is alike, from 0 to 1.

    An idea that both have counts 1, under whatever names. Two parts that make the same thing of the
    same memories count ROLE.
    """
    mine, its = ideas(a), ideas(b)
    same = sum((Counter(map(idea_of, mine)) & Counter(map(idea_of, its))).values())
    roles = sum((_roles(mine) & _roles(its)).values())
    shared = same + max(roles - same, 0) * ROLE
    return shared / (len(mine) + len(its) - shared)


def ideas(m: Member) -> list[Part]:
    "Its parts, but for those that are off, that count steps, or that only matter if rows are left."
    return [p for p in active(m) if not p.is_number and p.sparse != 'rows']


def _roles(parts: Sequence[Part]) -> Counter[tuple[str, ...]]:
    memories = {p.out for p in parts if isinstance(p, Stat)}
    def read(p: Part) -> set[str]:
        return {n.removeprefix('prev_') for n in p.reads} & memories if p.out == 'grad' else set()
    return Counter((p.kind, p.out, *sorted(read(p))) for p in parts)
