"""The lines of an algorithm with their cases: `if` and `else` where a whole tensor decides.

    >>> x, t = symbol('x'), symbol('count')
    >>> for s in Branches(set(), {}).of([('set', 'x', x * Truth(sp.Ne(t, 1)) + 1)]): print(s)
    Statement(kind='if', name='', expr=count > 1, depth=0)
    Statement(kind='set', name='x', expr=x + 1, depth=1)
    Statement(kind='else', name='', expr=None, depth=0)
    Statement(kind='set', name='x', expr=1, depth=1)
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import sympy as sp

from ..hypers import TABLE
from .expressions import REDUCTIONS, Iterate, MatProd, Truth, cases, put, symbol
from .nodes import Assign, If, Node, Repeat, Statement, flat, joined, renamed

__all__ = ['Branches']


class Branches:
    """Makes statements of assignments.

    A number with cases, such as 1 on the first step and 1 − β later, is put into what reads it.
    """
    def __init__(self,
        tensors: Container[str],    # The names that stand for tensors
        numbers: Mapping[str, Any]  # The scalars, as expressions
    ):
        self.tensors, self.numbers = tensors, dict(numbers)
        self.put_in = {name for name, expr in numbers.items() if self._is_put_in(expr)}

    def of(self, lines: Iterable[tuple[str, str, Any]]) -> list[Statement]:
        "The statements of (kind, name, expression); a 'gate' has the condition of what follows it."
        return [*flat(self._nodes([*lines]), 0)]

    def _nodes(self, lines: list[tuple[str, str, Any]]) -> list[Node]:
        res: list[Node] = []
        for i, (kind, name, expr) in enumerate(lines):
            if kind == 'gate':
                rest = lines[i + 1:]
                # A change that was made before the gate takes effect in any case
                after = rest[-1:] if any(n == 'update' for _, n, _ in lines[:i]) else []
                inside = rest[:len(rest) - len(after)]
                return joined([*res, If([(expr, self._nodes(inside))]), *self._nodes(after)])
            if name not in self.put_in: res += self._split(Assign(kind, name, expr), {})
        return joined(res)

    # -- cases -------------------------------------------------------------------------------------

    def _split(self,
        line: Assign,
        given: Mapping[Any, Any]  # Conditions, and whether they hold here
    ) -> list[Node]:
        expr = put(line.expr, given)
        if expr == symbol(line.name): return []
        loops = expr.atoms(Iterate)
        if loops: return self._unrolled(line._replace(expr=expr), loops, given)
        choice = self._choice(expr)
        if choice is None: return [line._replace(expr=_over_cases(expr))]
        found, pieces = list[tuple[Any, list[Node]]](), self._pieces(choice)
        if any(put(expr, {choice: v}).has(sp.zoo, sp.nan) for v, _ in pieces):  # as in g/[t = 1]
            inside = {symbol(k): self.numbers[k] for k in self.put_in}
            return [line._replace(expr=put(expr, inside))]
        for value, c in pieces:
            here = {**given, **(_facts(c, True) if c != sp.true else {})}
            found.append((None if c == sp.true else c, self._case(line, expr, choice, value, here)))
            given = {**given, **_facts(c, False)}
        return [If(found)]

    def _case(self, line: Assign, expr: Any, choice: Any, value: Any, given: Mapping[Any, Any]
             ) -> list[Node]:
        "The line where `choice` is `value`."
        if not choice.is_Symbol or _is_simple(value):
            return self._split(line._replace(expr=put(expr, {choice: value})), given)
        known = {c: sp.false for c in expr.atoms(sp.Eq) if c.args == (choice, 0)
                 and self._is_never_zero(value, given)}
        known |= {sp.Not(c): sp.true for c in known}
        name = sp.Dummy(real=True)  # so that it is not split again
        rest = self._split(line._replace(expr=put(put(expr, known), {choice: name})), given)
        return [Assign('let', choice.name, value), *renamed(rest, {name: choice})]

    def _choice(self, expr: Any) -> Any:
        "What in an expression has cases for the whole tensor: a number, or the outermost; or None."
        numbers = sorted((s for s in expr.free_symbols if s.name in self.put_in), key=str)
        if numbers: return numbers[0]
        for x in sp.preorder_traversal(expr):
            conditions = [c for _, c in x.args] if isinstance(x, sp.Piecewise) else \
                x.args if isinstance(x, Truth) else []
            if conditions and not any(map(self._is_of_each, conditions)): return x
        return None

    def _pieces(self, choice: Any) -> list[tuple[Any, Any]]:
        expr = self.numbers[choice.name] if choice.is_Symbol else choice
        if isinstance(expr, sp.Piecewise): return [(v, c) for v, c in expr.args]
        return [(sp.S.One, expr.args[0]), (sp.S.Zero, sp.true)]

    def _is_put_in(self, expr: Any) -> bool:
        if isinstance(expr, Truth): return not self._is_of_each(expr)
        return isinstance(expr, sp.Piecewise) and any(v.is_Number for v, _ in expr.args)

    def _is_of_each(self, x: Any) -> bool:
        "True if it has a value for each element."
        if isinstance(x, REDUCTIONS): return False
        if x.is_Symbol: return x.name in self.tensors
        return any(map(self._is_of_each, x.args))

    def _is_never_zero(self, expr: Any, given: Mapping[Any, Any]) -> bool:
        "True if that follows from what is given, and from the ranges of hyperparameters."
        above = {c.lhs: c.rhs for c, holds in given.items()
                 if holds == sp.true and isinstance(c, sp.StrictGreaterThan) and c.rhs.is_Number}
        def in_range(s: Any) -> Any:
            if isinstance(s, sp.Dummy): return s
            if s in above: return above[s] + sp.Dummy(positive=True)
            if s.name in self.numbers: return self.numbers[s.name]
            row, x = TABLE.get(s.name), sp.Dummy(nonnegative=True)
            if row is None or row.low != 0: return s
            return x / (1 + x) if row.high == 1 else x
        expr = expr.as_base_exp()[0]
        while found := {s: e for s in expr.free_symbols if (e := in_range(s)) != s}:
            expr = put(expr, found)
        above_the_line = sp.fraction(sp.together(expr))[0]
        return all(sp.expand(f).is_nonzero for f in sp.Mul.make_args(sp.factor(above_the_line)))

    # -- loops -------------------------------------------------------------------------------------

    def _unrolled(self, line: Assign, loops: set[Any], given: Mapping[Any, Any]) -> list[Node]:
        "A loop's lines, and the line that reads what it ends with."
        whole = next((p for p in line.expr.atoms(sp.Piecewise) if p.atoms(Iterate) == loops), None)
        x, body, start, turns = min(loops, key=str).args
        if len(loops) > 1:  # cases that differ before and after the loop
            if whole is None or len({(q.args[1], q.args[3]) for q in loops}) > 1:
                raise ValueError('its loops differ')
            first = [(min(v.atoms(Iterate), key=str).args[2], c) for v, c in whole.args]
            start = cases(first)
        expr = put(line.expr, dict.fromkeys(loops, x))
        again: list[Node] = [*_with_names(body, x)]
        return [*self._split(Assign('set', x.name, start), given), Repeat(turns, again),
                *self._split(line._replace(expr=expr), given)]


# -- helpers ---------------------------------------------------------------------------------------

def _facts(c: Any, holds: bool) -> dict[Any, Any]:
    "What follows from a condition that holds, or not."
    yes, no = (sp.true, sp.false) if holds else (sp.false, sp.true)
    parts = c.args if isinstance(c, sp.And if holds else sp.Or) else (c,)
    return {k: v for p in (c, *parts) for k, v in ((p, yes), (sp.Not(p), no))}


def _is_simple(x: Any) -> bool: return bool(x.count_ops() <= 3)


def _over_cases(expr: Any) -> Any:
    "With its only cases, of elements, outermost: as in x = f(a) where …, f(b) elsewhere."
    found = expr.atoms(sp.Piecewise)
    if len(found) != 1 or expr in found: return expr
    only = next(iter(found))
    return sp.Piecewise(*((put(expr, {only: v}), c) for v, c in only.args))


def _with_names(body: Any, x: Any) -> Iterator[Assign]:
    "A turn of a loop, with a name for each matrix that it reads several times."
    for letter in 'AB':
        products = Counter(p for p in sp.preorder_traversal(body) if isinstance(p, MatProd))
        twice = [p for p, n in products.items() if n > 1]
        if not twice: break
        shared = min(twice, key=lambda p: (p.count_ops(), str(p)))
        yield Assign('let', f'matrix {letter}', shared)
        body = put(body, {shared: symbol(f'matrix {letter}')})
    yield Assign('set', x.name, body)
