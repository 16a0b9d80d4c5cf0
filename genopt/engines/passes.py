"""Passes: how often a kernel goes over a tensor, and what it does each time.

A reduction needs all elements before its result can be used. So a kernel goes over a tensor once
for each reduction that waits for another one, and a last time to write. What a pass needs of the
elements is computed again from the parameter, gradient and state: that moves fewer bytes than
keeping it. Values for a whole tensor, for its rows or for its columns are few, and are kept.

Each pass runs along some axes: over the elements along all, over the rows' values along one.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ..formats import Format
from .recorder import Op, Reduction, Ref, Space

__all__ = ['Column', 'Pass', 'needed', 'passes']


class Column(NamedTuple):
    "One of a kernel's tensors, the value read from its elements, and the one written to them."
    dtype: torch.dtype
    begin: Ref | None
    end: Ref | None
    format: Format | None = None       # if it is not just a tensor
    besides: Mapping[str, int] = {}    # the columns of what its format keeps beside it


@dataclass
class Pass:
    "A loop along the axes of `space`."
    space: Space
    keeps: list[Ref] = field(default_factory=list)            # for larger loops
    reduces: list[Reduction] = field(default_factory=list)
    writes: list[tuple[int, Ref]] = field(default_factory=list)  # the column, and its new value
    ops: list[Op] = field(default_factory=list)               # in order


def passes(ops: Sequence[Op | Reduction], columns: Sequence[Column]) -> list[Pass]:
    "The passes that make the columns' new values, in order."
    makes = {op.out: op for op in ops if not op.out.is_number}
    ends = [(i, c.end) for i, c in enumerate(columns) if c.end]
    ops = needed([end for _, end in ends], makes)
    stages = _stages(ops)
    last = max((stages[end] for _, end in ends), default=0)
    every = sorted({ref.space for ref in stages}, key=len)
    kept = {a for op in ops for a in _args(op)
            if a in makes and not isinstance(op, Reduction) and a.space != op.out.space}
    found = []
    for stage in range(last + 1):
        for space in every:
            here = [op for op in ops if stages[op.out] == stage]
            found.append(Pass(space, [op.out for op in here
                                      if op.out in kept and op.out.space == space],
                              [op for op in ops if isinstance(op, Reduction)
                               and stages[op.of] == stage and op.of.space == space]))
    for space in reversed(every):
        found.append(Pass(space, writes=[(i, end) for i, end in ends if end.space == space]))
    found = [p for p in found if p.keeps or p.reduces or p.writes]
    for p in found:
        wanted = [*p.keeps, *(r.of for r in p.reduces), *(end for _, end in p.writes)]
        inside = {ref: op for ref, op in makes.items() if ref.space == p.space}
        p.ops = [op for op in needed(wanted, inside) if isinstance(op, Op)]
    return found


def _args(op: Op | Reduction) -> list[Ref]:
    if isinstance(op, Reduction): return [op.of]
    return [a for a in op.args if isinstance(a, Ref) and not a.is_number]


def needed(wanted: Iterable[Ref], makes: Mapping[Ref, Op | Reduction]) -> list[Op | Reduction]:
    "The operations that lead to some values, in order; from reductions on only those in `makes`."
    found, waiting = set[Ref](), [*wanted]
    while waiting:
        ref = waiting.pop()
        if ref not in makes or ref in found: continue
        found.add(ref)
        waiting += _args(makes[ref])
    return [op for ref, op in makes.items() if ref in found]


def _stages(ops: Iterable[Op | Reduction]) -> dict[Ref, int]:
    "How many passes must be over before a value can be computed."
    class Stages(dict[Ref, int]):
        def __missing__(self, ref: Ref) -> int:  # it stands in memory
            self[ref] = 0
            return 0
    res = Stages()
    for op in ops:
        res[op.out] = max((res[a] for a in _args(op)), default=0) + isinstance(op, Reduction)
    return res
