"""An optimizer as an algorithm: what it begins with, and the statements of a step, in order.

    >>> lion = Algorithm.of(Equations(Composition(Lion.parts()), dict(wd=0.)))
    >>> for s in lion.step: print(s.kind, s.name, s.expr)
    grad grad None
    set param -lr*sign(grad*(1 - mom) + grad_avg*mom) + param
    set grad_avg avg_mom*grad_avg + grad*(1 - avg_mom)
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sympy as sp

from ..kinds import Evaluation, Gate, Made, Scalar, Stat, Total
from ..meanings import meaning
from .branches import Branches
from .equations import Equations
from .lines import Fragment, Line
from .expressions import condition, put, symbol
from .nodes import Statement
from .sequence import in_order

__all__ = ['Algorithm', 'Statement', 'as_algorithm']

MATRICES = {f'matrix {x}': x for x in 'XAB'}  # the names inside of a loop


@dataclass
class Algorithm:
    """The statements before the first step, and those of each step.

    `param` is the parameter. If `counts`, `count` is the number of the step, from 1; otherwise
    `count`, if it is read, is a stat as the others. `rows` and `columns` are how many a matrix
    has, and `dim` is 2 for a matrix and 1 for a vector.
    """
    begin: list[Statement]
    step: list[Statement]
    counts: bool
    letters: dict[str, str]   # of each name, as people write them
    tensors: set[str]         # the names that stand for tensors
    meanings: dict[str, str]  # of the names that are used and are not hyperparameters
    after: list[Statement]    # no part of a step: the parameters to evaluate

    @classmethod
    def of(cls, equations: Equations) -> Algorithm:
        "The algorithm of a composition, of whose hyperparameters those that are 0 are left out."
        is_whole = not isinstance(equations.composition, Fragment)
        begin, lines = [*_begin(equations)], equations.whole
        counts = _counts(equations)
        if counts: begin, lines = _without_count(begin, lines)
        lines, kept = in_order(lines, _branches(equations, lines).put_in)
        read = _names_in(line.expr for line in lines)
        keep = [Statement('set', f'prev_{n}', symbol(n)) for n in kept]
        written = {line.name for line in lines}
        begin = [s for s in begin if s.name in read or s.name in written or s.name in kept]
        step = as_algorithm(equations, lines, is_whole)
        if is_whole:
            lets, step = _hoisted(step, equations)
            begin, step = [*lets, *begin], [Statement('grad', 'grad'), *keep, *step]
        elif not step:  # g ← g
            step = [Statement(*_assignment(q)) for q in lines if not isinstance(q.part, Gate)]
        res = cls(begin, step, counts,
                  {'raw_grad': '∇f', **equations.letters, **MATRICES},
                  equations.tensors | {*MATRICES}, {}, as_algorithm(equations, equations.after))
        res._use_last_letters()
        res.meanings = {n: said for n in res.names if (said := _meaning(n, equations))}
        return res

    @property
    def names(self) -> list[str]:
        "Every name that is used, in order of its first use."
        found = dict[str, None]()
        for s in [*self.step, *self.begin, *self.after]:
            if s.kind == 'grad': found['param'] = None
            if s.name: found[s.name] = None
            if s.expr is not None: found |= dict.fromkeys(sorted(_names_in([s.expr])))
        return [*found]

    def _use_last_letters(self) -> None:
        "A stat that is only kept for the next step, such as gₜ, has its letter there: gₜ₋₁."
        for name, letter in [*self.letters.items()]:
            last = self.letters.get(f'prev_{name}')
            if last is None or not letter.endswith('ₜ') or f'prev_{name}' in self.names: continue
            places = [i for i, s in enumerate(self.step) if s.name == name]
            if places and name not in _names_in(s.expr for s in self.step[places[0] + 1:]):
                self.letters[name] = last


def as_algorithm(
    equations: Equations,
    lines: Iterable[Line],
    put_in: bool=True  # False: a number with cases has lines of its own
) -> list[Statement]:
    "Lines as statements, with cases and loops."
    lines = [*lines]
    return _branches(equations, lines if put_in else []).of(map(_assignment, lines))


def _branches(equations: Equations, lines: Iterable[Line]) -> Branches:
    numbers = {q.name: q.expr for q in lines if isinstance(q.part, Scalar) and not _is_hat(q)}
    return Branches(equations.tensors | {*MATRICES}, numbers)


def _assignment(line: Line) -> tuple[str, str, Any]:
    if isinstance(line.part, Gate): return 'gate', '', condition(line.expr)
    kind = 'let' if _is_hat(line) or isinstance(line.part, (Evaluation, Made, Scalar)) else 'set'
    return 'sum' if isinstance(line.part, Total) else kind, line.name, line.expr


def _is_hat(line: Line) -> bool: return line.name.endswith(' hat')


def _names_in(exprs: Iterable[Any]) -> set[str]:
    return {s.name for e in exprs if e is not None for s in e.free_symbols}


def _begin(equations: Equations) -> Iterator[Statement]:
    for name, part in equations.composition.stats.items():
        value = equations.begin(part)
        assert isinstance(part, Stat)
        if value is None: value = _unknown(part)
        yield Statement('set', name, put(value, equations.zeros))


def _unknown(part: Stat) -> Any:
    "A first value that has no equation."
    if not callable(part.init): return symbol(str(part.init))
    name = getattr(part.init, '__name__', '<lambda>')
    return sp.Function('init' if name == '<lambda>' else name, real=True)(symbol('param'))


def _counts(equations: Equations) -> bool:
    "True if `count` is the number of the step: from 0, one more in each, and no gate before it."
    is_whole = not isinstance(equations.composition, Fragment)
    for line in equations.traced:
        if isinstance(line.part, Gate): return False
        if line.name == 'count' and not is_whole: return False
        if line.name == 'count' and line.part:
            is_next = line.expr == symbol('prev_count') + 1
            return bool(is_next and equations.begin(line.part) == 0)
    return True


def _without_count(begin: list[Statement], lines: list[Line]
                  ) -> tuple[list[Statement], list[Line]]:
    "Where the loop counts."
    before = {symbol('prev_count'): symbol('count') - 1}
    lines = [q._replace(expr=put(q.expr, before)) for q in lines if q.name != 'count']
    return [s for s in begin if s.name != 'count'], lines


def _hoisted(step: list[Statement], equations: Equations
            ) -> tuple[list[Statement], list[Statement]]:
    "The numbers that hyperparameters alone decide, and the rest."
    fixed, lets, rest = {*equations.composition.hypers}, list[Statement](), list[Statement]()
    for s in step:
        is_fixed = s.kind == 'let' and not s.depth and _names_in([s.expr]) <= fixed
        (lets if is_fixed else rest).append(s)
        if is_fixed: fixed.add(s.name)
    return lets, rest


def _meaning(name: str, equations: Equations) -> str:
    if name in equations.composition.hypers or name.endswith(' hat'): return ''
    own = name.removeprefix('prev_')
    names = own, own.rpartition(' ')[0]  # one of several tensors
    part = next((p for p in equations.ordered if p.out in names), None)
    said = meaning(own, part)
    return said if own == name or said.endswith('last step') else f'{said}, of the last step'
