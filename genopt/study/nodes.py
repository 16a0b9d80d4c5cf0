"""Statements of an algorithm, and the tree of which they are made: lines, cases and loops."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import sympy as sp

from .expressions import is_condition, put, symbol

__all__ = ['Assign', 'If', 'Node', 'Repeat', 'Statement', 'flat', 'joined', 'renamed']


class Statement(NamedTuple):
    """A line of an algorithm. A line that is `deeper` than an `if` or a `repeat` belongs to it.

    `kind` is one of

    * 'grad': `name` becomes the gradient of the loss; `expr` is None
    * 'set': `name` ← `expr`, where `name` is a stat, `grad`, `update` or `param`
    * 'let': `name` = `expr`, a number or an array that this step alone needs
    * 'sum': `name` = Σ `expr`, over all parameters of the optimizer
    * 'if', 'elif': `expr` is a condition, the same for all elements of a tensor; 'else'
    * 'repeat': `expr` is a number of turns

    Cases that differ from element to element are a `Piecewise` in an expression.
    """
    kind: str
    name: str = ''   # a name from the code; `x hat` is x, debiased, and `prev_x` the last step's x
    expr: Any = None # of sympy's; its symbols have names from the code
    depth: int = 0   # how deep it stands, within what is the case or is repeated


class Assign(NamedTuple):
    "A line without cases."
    kind: str
    name: str
    expr: Any


@dataclass
class If:
    "Nodes for each condition; the last condition may be None, for all other cases."
    cases: list[tuple[Any, list[Node]]]


@dataclass
class Repeat:
    turns: Any
    body: list[Node]


Node: TypeAlias = Assign | If | Repeat


def renamed(nodes: list[Node], names: Mapping[Any, Any]) -> list[Node]:
    "The nodes with other symbols in their expressions."
    res: list[Node] = []
    for node in nodes:
        if isinstance(node, Assign): res.append(node._replace(expr=put(node.expr, names)))
        elif isinstance(node, Repeat): res.append(Repeat(node.turns, renamed(node.body, names)))
        else: res.append(If([(None if c is None else put(c, names), renamed(b, names))
                           for c, b in node.cases]))
    return res


def joined(nodes: list[Node]) -> list[Node]:
    "Neighbours with the same cases become one; a case that does nothing goes."
    res: list[Node] = []
    for node in nodes:
        last = res[-1] if res else None
        if isinstance(node, If) and isinstance(last, If) and (rows := _alike(last, node)):
            res[-1] = If([(c, [*a, *(n for n in b if not (_is_let(n) and n in a))])
                          for (c, a), b in zip(last.cases, rows)])
        else: res.append(node)
    return [n for n in map(_tidied, res) if not isinstance(n, If) or n.cases]


def _alike(a: If, b: If) -> list[list[Node]] | None:
    "The nodes of `b` for each case of `a`, or None if they have other cases."
    conditions, others = [[c for c, _ in node.cases] for node in (a, b)]
    asked = {s.name for c in conditions if c is not None for s in c.free_symbols}
    if asked & {*_assigned(node for _, nodes in a.cases for node in nodes)}: return None
    if conditions == others: return [nodes for _, nodes in b.cases]
    turned = len(others) == len(conditions) == 2 and conditions[1] is others[1] is None
    if turned and sp.Not(conditions[0]) == others[0]: return [n for _, n in reversed(b.cases)]
    return None


def _assigned(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Assign): yield node.name
        elif isinstance(node, Repeat): yield from _assigned(node.body)
        else: yield from _assigned(n for _, inner in node.cases for n in inner)


def _is_let(node: Node) -> bool: return isinstance(node, Assign) and node.kind == 'let'


def _tidied(node: Node) -> Node:
    if not isinstance(node, If): return node
    found = [(c, joined(nodes)) for c, nodes in node.cases]
    while found and found[-1][0] is None and not found[-1][1]: found.pop()
    while found and found[-1][0] is not None and not found[-1][1]: found.pop()
    if len(found) == 2 and not found[0][1] and found[1][0] is None:
        found = [(sp.Not(found[0][0]), found[1][1])]
    return If(found)


def flat(nodes: Iterable[Node], depth: int=0) -> Iterator[Statement]:
    "The nodes as statements."
    for node in nodes:
        if isinstance(node, Assign):
            yield Statement(node.kind, node.name, node.expr, depth)
        elif isinstance(node, Repeat):
            yield Statement('repeat', expr=node.turns, depth=depth)
            yield from flat(node.body, depth + 1)
        else: yield from _flat_cases(node, depth)


def _flat_cases(node: If, depth: int) -> Iterator[Statement]:
    for i, (c, nodes) in enumerate(node.cases):
        if c is None and i and len(nodes) == 1 and isinstance(inner := nodes[0], If):
            first, *others = _flat_cases(inner, depth)
            yield first._replace(kind='elif')
            yield from others
            return
        kind = 'else' if c is None else 'elif' if i else 'if'
        yield Statement(kind, expr=c if c is None else _after_first(c), depth=depth)
        yield from flat(nodes, depth + 1)


def _after_first(c: Any) -> Any:
    "t > 1 for t ≠ 1, as t counts from 1."
    t = symbol('count')
    return put(c, {sp.Ne(t, 1): sp.Gt(t, 1)}) if is_condition(c) else c
