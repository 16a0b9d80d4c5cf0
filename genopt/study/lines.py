"""A line is an assignment. A fragment is parts whose lines can be written without an optimizer.

In a line `x` is a stat's new value, and `prev_x` the one before this step.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..kinds import Evaluation, Stat
from ..links import with_links
from ..part import Part

__all__ = ['Line', 'Fragment']


class Line(NamedTuple):
    "An assignment."
    name: str              # What is assigned: a stat, `grad`, `update`, `param`, a scalar ...
    expr: Any              # A sympy expression; its symbols have the names that the part reads
    part: Part | None=None # The part that makes it, if it is one part
    why_not: str=''        # Why the part cannot run on symbols; `expr` is then a function
    place: int=-1          # Which of the composition's parts it is: one may stand there twice


class Fragment:
    "Parts that need not make an optimizer, with the scalars on which they depend."
    def __init__(self, parts: Iterable[Part]):
        self.parts = tuple(parts)
        every = [*dict.fromkeys(with_links(self.parts))]
        self.evaluation = [p for p in every if isinstance(p, Evaluation)]
        self.ordered = [p for p in every if p not in self.evaluation]
        self.stats = {p.out: p for p in self.parts if isinstance(p, Stat)}
        self.tensor_stats = [k for k, p in self.stats.items() if not p.is_number]
        self.hypers = {k: v for p in every for k, v in p.hypers.items()}
        numbers = {'count', 'place', *(p.out for p in self.ordered if p.is_number)}
        read = {n.removeprefix('prev_') for p in self.parts if not p.is_number for n in p.reads}
        self.read = read - numbers  # stats that they read and do not keep, too
