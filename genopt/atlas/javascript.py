"""Parts as JavaScript: the expressions that their equations show, as functions of numbers and arrays.

    >>> print(function(average_grad).run)
    (grad_avg, grad, mom) => each((grad, grad_avg, mom) => grad*(1 - mom) + grad_avg*mom, grad, grad_avg, mom)

A function has the arguments of the part's own. `each` computes every element alone, and reductions
such as `mean` come before it. Both are in `static/runtime.js`.
"""
from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import sympy as sp
from sympy.printing.jscode import JavascriptCodePrinter

from ..kinds import Stat, Total
from ..part import Part
from ..study.expressions import (Clip, ColumnMean, Finite, Largest, MatProd, Mean, Nearest, Norm,
                                 RowMean, RowNorm, Smallest, Total as Sum, Transposed, Truth,
                                 Unsymbolic, put, symbol)
from ..study.operations import SIZES
from ..study.surfaces import Surface
from ..study.symbols import Sym, begin, trace

__all__ = ['Printed', 'REDUCTIONS', 'arguments', 'function', 'scale', 'surface']

REDUCTIONS = {Mean: 'mean', RowMean: 'rowMean', ColumnMean: 'columnMean', Largest: 'largest',
              Smallest: 'smallest', Norm: 'norm', RowNorm: 'rowNorm', Sum: 'sum',
              MatProd: 'product', Transposed: 'transposed'}


class Printed(NamedTuple):
    "A part's functions in JavaScript."
    run: str    # of the part's own arguments
    begin: str  # of `param` and the hyperparameters with which a stat begins; '' of other kinds


def function(part: Part) -> Printed:
    "A part in JavaScript. Raises Unsymbolic if it has no equation."
    args = arguments(part)
    found = put(trace(part), {symbol(now): symbol(own) for own, now in args.items()})
    run = _function([*args], found, part.is_number and not isinstance(part, Total))
    if not isinstance(part, Stat): return Printed(run, '')
    return Printed(run, _function(['param', *part.init_hypers], begin(part), part.is_number))


def arguments(part: Part) -> dict[str, str]:
    "The arguments of the part's function, in order, and the names that they have now."
    names = [*inspect.signature(part.fn).parameters]
    return dict(zip(names, [*part.reads, *(now for _, now in part.keywords)]))


def surface(s: Surface) -> tuple[str, str]:
    "A surface's height and its slope, as functions of x and y."
    x, y = symbol('x'), symbol('y')
    height = s.function(Sym(x), Sym(y)).expr
    slope = ', '.join(_Script().doprint(sp.diff(height, z)) for z in (x, y))
    return f'(x, y) => {_Script().doprint(height)}', f'(x, y) => [{slope}]'


def scale(expr: Any) -> str:
    "A number made of hyperparameters, as a function of an object that has them."
    names = ', '.join(sorted(s.name for s in expr.free_symbols))
    return f'({{{names}}}) => {_Script().doprint(expr)}'


# -- statements ------------------------------------------------------------------------------------

def _function(args: list[str], expr: Any, is_number: bool) -> str:
    "An arrow function with this result."
    reductions = dict[Any, tuple[str, str]]()
    result = _value(_hoisted(expr, reductions), is_number)
    head = f'({", ".join(args)}) => '
    sizes = sorted({str(s) for s in expr.free_symbols} & {*map(str, SIZES)})
    lines = [f'const {name} = {text};' for name, text in reductions.values()]
    if sizes: lines.insert(0, f'const {{{", ".join(sizes)}}} = {args[0]};')
    if not lines: return head + result
    return head + '{ ' + ' '.join([*lines, f'return {result};']) + ' }'


def _hoisted(expr: Any, reductions: dict[Any, tuple[str, str]]) -> Any:
    "`expr` with a name for each reduction in it, whose statements are added, inner ones first."
    if not expr.args: return expr
    expr = expr.func(*(_hoisted(a, reductions) for a in expr.args))
    if type(expr) not in REDUCTIONS: return expr
    if expr not in reductions:
        call = REDUCTIONS[type(expr)]
        reductions[expr] = (f'{call}{len(reductions) + 1}',
                            f'{call}({", ".join(_value(a, False) for a in expr.args)})')
    return symbol(reductions[expr][0])


def _value(expr: Any, is_number: bool) -> str:
    "An expression of numbers, or one for each element of arrays."
    text = _Script().doprint(expr)
    names = sorted(s.name for s in expr.free_symbols)
    if is_number or not names or expr.is_Symbol: return text
    return f'each(({", ".join(names)}) => {text}, {", ".join(names)})'


# -- expressions -----------------------------------------------------------------------------------

class _Script(JavascriptCodePrinter):  # type: ignore[misc]
    "Expressions on one line, as sympy prints JavaScript, with the functions that sympy lacks."
    def _print_Clip(self, x: Any) -> str:
        value, low, high = map(self._print, x.args)
        return f'Math.min(Math.max({value}, {low}), {high})'

    def _print_Piecewise(self, x: Any) -> str:
        *some, (last, _) = x.args
        pieces = ''.join(f'{self._print(c)} ? {self._print(v)} : ' for v, c in some)
        return f'({pieces}{self._print(last)})'

    def _print_Float(self, x: Any) -> str: return repr(float(x))
    def _print_Rational(self, x: Any) -> str: return f'({x.p}/{x.q})'
    def _print_Infinity(self, x: Any) -> str: return 'Infinity'
    def _print_Max(self, x: Any) -> str: return f'Math.max({", ".join(map(self._print, x.args))})'
    def _print_Min(self, x: Any) -> str: return f'Math.min({", ".join(map(self._print, x.args))})'
    def _print_Truth(self, x: Any) -> str: return f'({self._print(x.args[0])} ? 1 : 0)'
    def _print_Finite(self, x: Any) -> str: return f'Number(Number.isFinite({self._print(x.args[0])}))'
    def _print_Nearest(self, x: Any) -> str: return f'nearest({self._print(x.args[0])})'
    def _print_sign(self, x: Any) -> str: return f'Math.sign({self._print(x.args[0])})'
    def _print_And(self, x: Any) -> str: return f'({" && ".join(map(self._print, x.args))})'
    def _print_Or(self, x: Any) -> str: return f'({" || ".join(map(self._print, x.args))})'
    def _print_Not(self, x: Any) -> str: return f'!({self._print(x.args[0])})'
    def _print_Relational(self, x: Any) -> str:
        return f'({self._print(x.lhs)} {x.rel_op} {self._print(x.rhs)})'.replace('==', '===').replace('!=', '!==')
