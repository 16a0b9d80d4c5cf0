"""The building blocks of equations that sympy lacks: norms, means, clipping, and conditions.

    >>> x = symbol('x')
    >>> settled(sp.Ne(truth(x > 1), 0))              # a condition on a condition is that condition
    x > 1
    >>> cases([(truth(x > 1), x < 2), (0, sp.true)]) # a choice between conditions is a condition
    Truth((x > 1) & (x < 2))

Conditions never hold cases, so that sympy has no reason to write them in words of its own (`ITE`).
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import reduce
from typing import Any

import sympy as sp
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanAtom, BooleanFunction

from ..hypers import TABLE

__all__ = ['Unsymbolic', 'TOO_ODD', 'IS_MATRIX', 'symbol', 'number', 'is_condition', 'condition',
           'truth', 'settled', 'cases', 'unguarded', 'untiny', 'put', 'tidy', 'Function', 'Mean',
           'RowMean', 'ColumnMean', 'Largest', 'Smallest', 'Iterate', 'Norm', 'RowNorm',
           'ColumnNorm', 'Total', 'REDUCTIONS', 'MatProd', 'Transposed', 'Clip', 'Nearest',
           'Finite', 'Truth']


class Unsymbolic(TypeError):
    "A part does something that has no equation; the message says what."


TOO_ODD = 'its result is not always a number'


class Function(sp.Function):  # type: ignore[misc]
    "A function that sympy lacks, of reals."
    written = ''  # its name; without one, a notation has a method for it

    def _eval_is_extended_real(self) -> bool: return True

class _Itself(Function):
    "Of the same number everywhere, that number."
    @classmethod
    def eval(cls, x: Any) -> Any: return x if x.is_number and x.is_finite else None

class Mean(_Itself): written = 'mean'
class RowMean(_Itself): written = 'row mean'
class ColumnMean(_Itself): written = 'column mean'
class Largest(_Itself): written = 'max'
class Smallest(_Itself): written = 'min'

class _OfZero(Function):
    @classmethod
    def eval(cls, *args: Any) -> Any: return sp.S.Zero if sp.S.Zero in args else None

class Norm(_OfZero):
    "‖x‖"
    @classmethod
    def eval(cls, x: Any) -> Any:
        return cls(x.args[0]) if isinstance(x, Transposed) else super().eval(x)

class RowNorm(_OfZero): written = 'row norm'
class ColumnNorm(_OfZero): written = 'column norm'
class Total(_OfZero): written = 'sum'
class MatProd(_OfZero): "The product of two matrices."

class Transposed(Function):
    "xᵀ"
    @classmethod
    def eval(cls, x: Any) -> Any:
        if isinstance(x, MatProd): return MatProd(*(cls(a) for a in reversed(x.args)))
        return x.args[0] if isinstance(x, Transposed) else x if x.is_number else None

class Iterate(Function):
    "What x is at last: from `start` on, x ← `body`, a number of times."
    @property
    def free_symbols(self) -> set[Any]:
        x, body, start, turns = self.args
        return {*body.free_symbols - {x}, *start.free_symbols, *turns.free_symbols}

class Clip(Function):
    "x, between two bounds."
    @classmethod
    def eval(cls, x: Any, low: Any, high: Any) -> Any:
        if x.is_number and low.is_number and high.is_number: return sp.Min(sp.Max(x, low), high)

class Nearest(Function):
    "The nearest whole number."
    written = 'round'

    @classmethod
    def eval(cls, x: Any) -> Any:
        return sp.Integer(round(float(x))) if x.is_number and x.is_finite else None

class Finite(Function):
    "1 for a finite number, else 0."
    @classmethod
    def eval(cls, x: Any) -> Any: return sp.Integer(bool(x.is_finite)) if x.is_number else None

class Truth(Function):
    "1 where a condition holds, else 0."
    @classmethod
    def eval(cls, x: Any) -> Any:
        return sp.Integer(x == sp.true) if isinstance(x, BooleanAtom) else None

REDUCTIONS = Norm, Mean, Largest, Smallest, Total  # to a number


def symbol(name: str) -> sp.Symbol:
    "The symbol of a name that a part reads, or of a hyperparameter."
    whole = dict(integer=True, positive=True) if name in ('count', 'dim') else {}
    if name in TABLE and TABLE[name].whole: whole = dict(integer=True)
    return sp.Symbol(name, real=True, **whole)


IS_MATRIX = sp.Gt(symbol('dim'), 1)  # what a part asks by `param.dim() > 1`


def number(x: Any) -> Any:
    "A Python number, as people write it: .5 is a half, but .96 is not 24/25."
    if isinstance(x, bool) or not isinstance(x, float) or not math.isfinite(x): return sp.sympify(x)
    if x == math.pi: return sp.pi
    simple = Fraction(x).limit_denominator(4)
    if float(simple) != x or abs(x) > 1 and simple.denominator > 1: return sp.Float(x)
    return sp.Rational(simple.numerator, simple.denominator)


# -- conditions ------------------------------------------------------------------------------------

def is_condition(x: Any) -> bool: return isinstance(x, (Relational, BooleanFunction, BooleanAtom))


def truth(x: Any) -> Any:
    "The number that a condition is: 1 where it holds, else 0. A number stays."
    return Truth(x) if is_condition(x) else x


def condition(x: Any) -> Any:
    "The condition that a number is true, as Python sees it."
    if isinstance(x, Truth): return x.args[0]
    return x if is_condition(x) else settled(sp.Ne(x, 0))


def settled(relation: Any) -> Any:
    "A comparison without cases in it, and without conditions where it only asks if they hold."
    if not isinstance(relation, Relational): return relation
    for atom in sorted(relation.atoms(sp.Piecewise, Truth), key=sp.default_sort_key):
        pieces = [(1, atom.args[0]), (0, sp.true)] if isinstance(atom, Truth) else atom.args
        answers = [(settled(relation.xreplace({atom: sp.S(value)})), c) for value, c in pieces]
        if isinstance(atom, sp.Piecewise) or all(isinstance(a, BooleanAtom) for a, _ in answers):
            return _either(answers)
    return relation


def _either(pieces: list[tuple[Any, Any]]) -> Any:
    "The first of these conditions whose own condition holds, as a condition."
    def choose(rest: Any, piece: tuple[Any, Any]) -> Any:
        value, c = piece
        if value in (sp.true, sp.false): return sp.Or(c, rest) if value else sp.And(sp.Not(c), rest)
        if rest in (sp.true, sp.false): return sp.Or(sp.Not(c), value) if rest else sp.And(c, value)
        return sp.Or(sp.And(c, value), sp.And(sp.Not(c), rest))
    *some, (last, _) = pieces
    return reduce(choose, reversed(some), last)


def cases(pieces: Iterable[tuple[Any, Any]]) -> Any:
    "Cases, in order. A choice between x and 0 is a product, and one of conditions a condition."
    merged: list[tuple[Any, Any]] = []
    for value, c in pieces:
        before = {sp.Not(c) for _, c in merged}  # so they are known here
        c = sp.And(*(a for a in sp.And.make_args(c) if a not in before))
        if merged and merged[-1][0] == value: merged[-1] = value, sp.Or(merged[-1][1], c)
        elif c != sp.false: merged.append((value, c))
    if all(is_condition(v) or isinstance(v, Truth) or v in (0, 1) for v, _ in merged):
        if not merged[1:]: return truth(merged[0][0])
        return truth(_either([(condition(v), c) for v, c in merged]))
    *some, (last, _) = [(truth(v), c) for v, c in merged]
    if isinstance(last, sp.Piecewise):
        *more, (last, _) = last.args
        some += more
    if len(some) == 1:
        value, c = some[0]
        if last == 0 and _is_finite(value): return value * truth(c)
        if value == 0 and _is_finite(last): return last * truth(sp.Not(c))
    return sp.Piecewise(*some, (last, True)) if some else last


def _is_finite(expr: Any) -> bool:
    "True if it is a number whatever its symbols are, so that 0 times it is 0."
    powers = [p.exp for p in expr.atoms(sp.Pow)]
    return not expr.has(sp.log) and all(e.is_Integer and e > 0 for e in powers)


def unguarded(expr: Any) -> Any:
    "`expr` without the tiny numbers that only keep a denominator from being 0."
    args = [unguarded(a) for a in expr.args]
    if isinstance(expr, sp.Pow) and expr.exp.is_negative and isinstance(expr.base, sp.Max):
        args[0] = sp.Max(*(a for a in args[0].args if not (a.is_Number and 0 < a < 1e-12)))
    return expr.func(*args) if (*args,) != expr.args else expr


def untiny(asked: Any) -> Any:
    "A comparison with a number that stands for 0; false if a hyperparameter cannot be as small."
    if not isinstance(asked, Relational) or not asked.rhs.is_Number: return asked
    if not 0 < asked.rhs < 1e-12: return asked
    row = TABLE.get(getattr(asked.lhs, 'name', ''))
    if isinstance(asked, sp.StrictLessThan) and row and row.low >= 0: return sp.false
    return asked.func(asked.lhs, 0)


def put(expr: Any, values: Mapping[Any, Any]) -> Any:
    "`expr` with `values` in place of its symbols or conditions, all at once."
    if expr in values: return sp.sympify(values[expr])
    args = tuple(put(a, values) for a in expr.args)
    if args == expr.args: return expr
    return settled(expr.func(*args))


def tidy(expr: Any) -> Any:
    "The shortest of some ways to write a sum."
    theta, eta = symbol('param'), symbol('lr')
    rest = expr - theta if theta in sp.Add.make_args(expr) else expr
    tries = [sp.collect(rest, eta), -sp.collect(-rest, eta), sp.factor_terms(rest), rest]
    res = [e if rest is expr else theta + e for e in tries] + [sp.collect(expr, theta)]
    if expr.count_ops() < 12 and not expr.has(sp.Function, sp.Piecewise):
        res.append(sp.cancel(sp.together(expr)))
    return min(res, key=lambda e: (e.count_ops(), str(e).count('-')))
