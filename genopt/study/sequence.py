"""The order of an algorithm's lines, where it is free: a stat changes after its last value is read.

So most algorithms need no name for a last value: Lion steps, and then averages. Where a stat keeps
a gradient that is changed meanwhile, it keeps the gradient as it came.
"""
from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from ..kinds import Gate
from .lines import Line
from .expressions import put, symbol

__all__ = ['in_order']

Edges = set[tuple[int, int]]  # the first stands before the second
Reads = dict[str, set[str]]


def in_order(
    lines: Sequence[Line],
    put_in: Container[str]=()  # scalars that will be written out where they are read
) -> tuple[list[Line], list[str]]:
    "The lines, with as few last values as can be; and the stats whose last values are still read."
    lines = [_own(line) for line in lines]
    written = {line.name: i for i, line in enumerate(lines)}
    through = Reads()
    for line in lines:
        if line.name in put_in: through[line.name] = _reads(line, through)
    late, now, kept = Edges(), dict[Any, Any](), list[str]()
    for name in sorted({n for line in lines for n in _last(line, through)}):
        at = written.get(name)
        for version in [lines, _as_it_came(lines, at)] if at is not None else []:
            assert at is not None
            readers = {i for i, line in enumerate(version) if name in _last(line, through)}
            later = late | {(i, at) for i in readers - {at}}
            if not _sorted(_needed(version, through) | later, len(lines)): continue
            lines, late, now[symbol(f'prev_{name}')] = version, later, symbol(name)
            break
        else: kept.append(name)
    order = _sorted(_needed(lines, through) | late, len(lines))
    return [lines[i]._replace(expr=put(lines[i].expr, now)) for i in order], kept


def _own(line: Line) -> Line:
    "In its own line, a stat's last value has the stat's name."
    return line._replace(expr=put(line.expr, {symbol(f'prev_{line.name}'): symbol(line.name)}))


def _reads(line: Line, through: Reads) -> set[str]:
    "The names that it reads, and those that are read through what is written out in it."
    names = {s.name for s in line.expr.free_symbols}
    return names.union(*(through[n] for n in names & {*through}))


def _last(line: Line, through: Reads) -> set[str]:
    return {n.removeprefix('prev_') for n in _reads(line, through) if n.startswith('prev_')}


def _as_it_came(lines: Sequence[Line], at: int) -> list[Line]:
    "The lines, where that one reads the gradient before any change, by a name of its own."
    if any(q.name == 'grad' for q in lines[:at]): return [*lines]
    expr = put(lines[at].expr, {symbol('grad'): symbol('raw_grad')})
    return [q._replace(expr=expr) if i == at else q for i, q in enumerate(lines)]


def _needed(lines: Sequence[Line], through: Reads) -> Edges:
    "What must stand before what: each line reads what it reads now."
    edges, writer, readers = Edges(), dict[str, int](), dict[str, list[int]]()
    for i, line in enumerate(lines):
        own = line.name
        reads = _reads(line, through)
        for name in reads:
            if name in writer: edges.add((writer[name], i))
        for before in readers.pop(own, []): edges.add((before, i))
        if own in writer: edges.add((writer[own], i))
        for name in reads: readers.setdefault(name, []).append(i)
        writer[own] = i
    for at, gate in enumerate(lines):
        if not isinstance(gate.part, Gate): continue
        edges |= {(i, at) for i in range(at)} | {(at, i) for i in range(at + 1, len(lines))}
    return {(a, b) for a, b in edges if a != b}


def _sorted(edges: Edges, size: int) -> list[int]:
    "The numbers in an order, each as early as it can be; none if there is no order."
    after: Mapping[int, list[int]] = {i: [b for a, b in edges if a == i] for i in range(size)}
    waits = {i: sum(b == i for _, b in edges) for i in range(size)}
    free, res = [i for i in range(size) if not waits[i]], list[int]()
    heapify(free)
    while free:
        res.append(i := heappop(free))
        for b in after[i]:
            waits[b] -= 1
            if not waits[b]: heappush(free, b)
    return res if len(res) == size else []
