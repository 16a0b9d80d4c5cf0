"""Parts as JavaScript: the expressions of their equations, as functions of numbers and arrays.

    >>> print(function(sgd_step).run)
    (grad, lr) => each((grad, lr) => -grad*lr, grad, lr)

A function has the arguments of the part's own. `each` computes every element alone, and reductions
such as `mean` come before it. Both are in `static/runtime.js`.
"""
from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import sympy as sp
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.jscode import JavascriptCodePrinter

from ..contract import OWN_NUMBERS, RESERVED
from ..kinds import Gate, Scalar, Stat, Step, Total, Transform, scalar
from ..part import Part
from ..study.expressions import (ColumnMean, Iterate, Largest, MatProd, Mean, Norm, RowMean,
                                 RowNorm, Smallest, Total as Sum, Transposed, Unsymbolic, put,
                                 symbol)
from ..study.surfaces import Surface
from ..study.symbols import begin, trace

__all__ = ['Printed', 'REDUCTIONS', 'arguments', 'function', 'scale', 'surface', 'why_not']

REDUCTIONS = {Mean: 'mean', RowMean: 'rowMean', ColumnMean: 'columnMean', Largest: 'largest',
              Smallest: 'smallest', Norm: 'norm', RowNorm: 'rowNorm', Sum: 'sum',
              MatProd: 'product', Transposed: 'transposed'}
SHAPE = {'dim', 'rows', 'columns'}
KINDS = Stat, Transform, Step, Scalar, Total, Gate
CANNOT = dict(tensor='makes a tensor for other parts', given='is fed by the training loop',
              evaluation='makes other weights to evaluate')


class Printed(NamedTuple):
    "A part's functions in JavaScript."
    run: str    # of the part's own arguments
    begin: str  # of `param` and the hyperparameters with which a stat begins; '' of other kinds


def function(part: Part) -> Printed:
    "A part in JavaScript. Raises Unsymbolic if it has no equation."
    args = arguments(part)
    found = put(trace(part), {symbol(now): symbol(own) for own, now in args.items()})
    numbers = {*args} if part.is_number and not isinstance(part, Total) else {
        own for own, now in args.items() if now in part.hypers}
    run = _function([*args], found, numbers)
    if not isinstance(part, Stat): return Printed(run, '')
    return Printed(run, _function(['param', *part.init_hypers], begin(part), part.init_hypers))


@cache
def why_not(part: Part) -> str:
    "Why pages cannot run a part, in words that go on after its name; or ''."
    if not isinstance(part, KINDS): return CANNOT[part.kind]
    if part.is_switched or part.only_if: return 'does nothing in some of the steps'
    if part.out == 'param': return 'puts other weights in the place of the parameter'
    if part.out.startswith('prev_'): return 'changes what was kept of the last step'
    if {*part.reads} & {*OWN_NUMBERS} - {'place'}: return 'depends on the size of a matrix'
    if of := next(filter(None, map(why_not, part.linked)), ''): return of
    if part.__name__ == 'add_noise': return ''  # which `by_hand.js` has
    try: function(part)
    except (Unsymbolic, PrintMethodNotImplementedError, TypeError):
        return 'has no equation that a script can run'
    return ''


def arguments(part: Part) -> dict[str, str]:
    "The arguments of the part's function, in order, and the names that they have now."
    names = [*inspect.signature(part.fn).parameters]
    return dict(zip(names, [*part.reads, *(now for _, now in part.keywords)]))


def surface(s: Surface) -> tuple[str, str]:
    "A surface's height and its slope, as functions of x and y."
    height = trace(scalar(s.function))
    slope = ', '.join(_Script().doprint(sp.diff(height, symbol(z))) for z in 'xy')
    return f'(x, y) => {_Script().doprint(height)}', f'(x, y) => [{slope}]'


def scale(expr: Any) -> str:
    "A number made of hyperparameters, as a function of an object that has them."
    names = ', '.join(sorted(s.name for s in expr.free_symbols))
    return f'({{{names}}}) => {_Script().doprint(expr)}'


# -- statements ------------------------------------------------------------------------------------

def _function(args: list[str], expr: Any, numbers: Iterable[str]) -> str:
    """An arrow function with this result. `numbers` are the arguments that are no arrays.

    What numbers, or the shape of an array, decide is a question for an `if`.
    """
    sizes = sorted({s.name for s in expr.free_symbols} & SHAPE)
    of = next((a for a in args if a in RESERVED), '')
    lines = [f'const {{{", ".join(sizes)}}} = {of};'] if sizes else []
    lines += [*_returns(expr, {*numbers, *sizes})]
    head = f'({", ".join(args)}) => '
    if len(lines) == 1: return head + lines[0].removeprefix('return ').removesuffix(';')
    return head + '{ ' + ' '.join(lines) + ' }'


def _returns(expr: Any, numbers: set[str]) -> Iterator[str]:
    "Statements that return it."
    pieces = expr.args if isinstance(expr, sp.Piecewise) else ()
    asked = {s.name for _, c in pieces for s in c.free_symbols}
    if pieces and asked <= numbers:
        for value, c in pieces:
            inside = ' '.join(_returns(value, numbers))
            yield inside if c == sp.true else f'if ({_Script().doprint(c)}) {{ {inside} }}'
        return
    block = _Block(numbers)
    value = block.value(block.hoisted(expr))
    yield from (*block.lines, f'return {value};')


class _Block:
    "Statements that make what an expression needs: each reduction, and each loop, has a name."
    def __init__(self, numbers: set[str], taken: int=0):
        self.numbers, self.taken = numbers, taken
        self.names, self.lines = dict[Any, Any](), list[str]()

    def name(self, expr: Any, word: str) -> str:
        "A new name for an expression."
        self.taken += 1
        self.names[expr] = symbol(f'{word}{self.taken}')
        return f'{word}{self.taken}'

    def hoisted(self, expr: Any) -> Any:
        "`expr` with names in place of reductions and loops, inner ones first."
        if isinstance(expr, Iterate): return self.loop(expr)
        if not expr.args: return expr
        expr = expr.func(*map(self.hoisted, expr.args))
        if type(expr) not in REDUCTIONS: return expr
        if expr not in self.names:
            word, args = REDUCTIONS[type(expr)], ', '.join(map(self.value, expr.args))
            self.lines.append(f'const {self.name(expr, word)} = {word}({args});')
        return self.names[expr]

    def loop(self, expr: Any) -> Any:
        x, body, start, turns = expr.args
        first = self.value(self.hoisted(start))
        name = self.name(expr, 'x')
        inner = _Block(self.numbers, self.taken)
        after = inner.value(inner.hoisted(put(body, {x: symbol(name)})))
        self.taken = inner.taken
        again = ' '.join([*inner.lines, f'{name} = {after};'])
        self.lines.append(f'let {name} = {first}; '
                          f'for (let i = 0; i < {_Script().doprint(turns)}; i++) {{ {again} }}')
        return self.names[expr]

    def value(self, expr: Any) -> str:
        "An expression of numbers, or one for each element of arrays."
        text = str(_Script().doprint(expr))
        names = sorted(s.name for s in expr.free_symbols)
        if expr.is_Symbol or {*names} <= self.numbers: return text
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
    def _print_Finite(self, x: Any) -> str:
        return f'Number(Number.isFinite({self._print(x.args[0])}))'
    def _print_Nearest(self, x: Any) -> str: return f'nearest({self._print(x.args[0])})'
    def _print_sign(self, x: Any) -> str: return f'Math.sign({self._print(x.args[0])})'
    def _print_And(self, x: Any) -> str: return f'({" && ".join(map(self._print, x.args))})'
    def _print_Or(self, x: Any) -> str: return f'({" || ".join(map(self._print, x.args))})'
    def _print_Not(self, x: Any) -> str: return f'!({self._print(x.args[0])})'
    def _print_Relational(self, x: Any) -> str:
        sign = {'==': '===', '!=': '!=='}.get(x.rel_op, x.rel_op)
        return f'({self._print(x.lhs)} {sign} {self._print(x.rhs)})'
