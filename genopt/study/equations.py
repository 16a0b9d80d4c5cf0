"""A composition's equations: each part's own, and the whole update in as few lines as in a paper.

Both are lists of assignments, in order: run from the first to the last, they make one step. In them
`x` is a stat's new value, and `prev_x` the one before this step.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sympy as sp
from sympy.core.relational import Relational

from ..composition import Composition
from ..contract import REQUIRED
from ..given import Given
from ..kinds import Made, Scalar, Step
from ..letters import LETTERS, NUMBERS, hat, letters
from ..part import Part
from .expressions import TOO_ODD, Unsymbolic, condition, put, symbol, tidy, unguarded
from .lines import Fragment, Line
from .notation import is_writable
from .symbols import begin, item, switched, trace
from .whole import Whole

__all__ = ['Equations']


class Equations:
    """The equations of `composition`. `parts`: a line for each part. `whole`: the update.

    `after` are lines that no step needs: the weights to evaluate.

    Questions that hyperparameters decide alone are answered by `values`. What is 0 (`lr` apart) is
    left out of `whole`. Where the update cannot be put together, `whole` is the lines of the parts,
    and their sum.
    """
    def __init__(self,
        composition: Composition | Fragment,
        values: Mapping[str, Any],            # Of its hyperparameters, as far as they are known
        names: Mapping[str, str] | None=None  # Letters, if they are shared with other compositions
    ):
        self.composition = composition
        self.values = {k: v for k, v in values.items() if v is not REQUIRED}
        self.letters = dict(names or letters(composition.parts))
        self.due = {p.out: self._condition(p) for p in composition.ordered if isinstance(p, Given)}
        self.ordered: list[Part] = [*composition.ordered, *composition.evaluation]
        traced = [line for i, part in enumerate(self.ordered) if not isinstance(part, Given)
                  for line in self._lines(part, i)]
        self.traced = [q for q in traced if q.place < len(composition.ordered)]
        after = traced[len(self.traced):]
        fed = [p.out for p in composition.ordered if isinstance(p, Given) and not p.is_number]
        stats = [*composition.tensor_stats, *getattr(composition, 'read', ()), *fed]
        self.remembered = {*composition.stats, *stats} - {'grad', 'param', 'update', 'raw_grad'}
        self.tensors = {'param', 'grad', 'raw_grad', 'update', 'new_param', *stats,
                        *(f'prev_{k}' for k in stats),
                        *(q.name for q in traced if isinstance(q.part, Made))}
        self.scalars = {q.name: q.expr for q in traced if isinstance(q.part, Scalar)}
        self.short = {symbol(line.name): line.expr for line in traced
                      if line.name in self.scalars and _is_short(line)}
        self.zeros = {symbol(k): 0 for k, v in self.values.items()
                      if k != 'lr' and isinstance(v, (int, float)) and v == 0}
        self.parts, self.after = self._finish(self._alone(), {}), self._finish(after, {})
        if isinstance(composition, Fragment):
            self.whole = self.parts
            return
        try:
            whole = Whole(self.traced, self.values, self.zeros)
            self.whole = self._finish(whole.lines, self.zeros)
        except Exception:  # sympy's, of many kinds
            moved = symbol('param') + symbol('update')
            now = {symbol('new_param'): moved}
            self.whole = [*(q._replace(expr=put(q.expr, now)) for q in self.parts),
                          Line('param', moved)]

    def begin(self, part: Part) -> Any:
        "The expression of a stat's first value, or None if there is none."
        try: return _checked(begin(part, self.values))
        except Unsymbolic: return None

    def _condition(self, part: Given) -> Any:
        "When the value is due: an expression, or None if always, or if nobody can say."
        try: found = True if part.number else condition(unguarded(trace(part, self.values)))
        except Unsymbolic: return None
        return None if found in (True, sp.true) else found

    def _where_due(self, part: Part, expr: Any) -> Any:
        "What a part makes where all is due that it reads. Elsewhere it changes nothing."
        conditions = [c for k in part.reads if (c := self.due.get(k)) is not None]
        if not conditions: return expr
        kept = sp.S.Zero if isinstance(part, Step) else symbol(part.reads[0])
        return sp.Piecewise((expr, sp.And(*conditions)), (kept, True))

    def _lines(self, part: Part, place: int) -> Iterator[Line]:
        try:
            expr = trace(part, self.values)
            several = isinstance(expr, sp.Tuple)
            names = [item(part.out, i).name for i in range(len(expr))] if several else [part.out]
            made = [_checked(self._where_due(part, unguarded(x)))
                    for x in (expr if several else [expr])]
        except Unsymbolic as e:
            args = [symbol(n) for n in (*part.reads, *(n for _, n in part.keywords))
                    if not part.is_switched or n != part.switch]
            called = switched(part, sp.Function(part.__name__, real=True)(*args))
            yield Line(part.out, called, part, str(e), place)
            return
        for name, x, number in zip(names, made, NUMBERS):
            if several: self.letters[name] = self.letters[part.out] + number
            yield Line(name, x, part, place=place)

    def _alone(self) -> Iterator[Line]:
        "Each part's own: a step after the first adds to the update."
        env = dict[str, Any]()
        for line in self.traced:
            assert line.part
            if line.name == line.part.out: line.part.put(env, _on(line.part, line.expr))
            else: env[line.name] = line.expr
            yield line._replace(expr=env[line.name])
            env[line.name] = symbol(line.name)

    def _finish(self, lines: Iterable[Line], zeros: Mapping[Any, int]) -> list[Line]:
        "The lines with hats on debiased stats, short scalars written out, and no unread scalars."
        done, hats = list[Line](), dict[str, Any]()
        for line in lines:
            try: done += self._finished(line, zeros, hats)
            except Exception:  # sympy's, of many kinds
                if zeros or not line.part: raise
                done.append(line)
        used, res = set[str](), list[Line]()
        if isinstance(self.composition, Fragment): used = {p.out for p in self.composition.parts}
        for line in reversed(done):
            if line.name in self.scalars and line.name not in used: continue
            used |= {s.name for s in line.expr.free_symbols}
            res.insert(0, line)
        return res

    def _finished(self,
        line: Line,
        zeros: Mapping[Any, int],
        hats: dict[str, Any]  # The hats so far and their values; new ones are added
    ) -> list[Line]:          # Raises sympy's errors, and Unsymbolic if the result is not a number
        short = {k: put(e, zeros) for k, e in self.short.items()}
        trivial = {k: v for k, v in short.items() if v.is_Number}  # 1 − β₁ᵗ, if β₁ is 0
        expr, new = put(put(line.expr, zeros), trivial), dict[str, Any]()
        if line.name not in self.scalars: expr, new = self._hats(expr, hats)
        above = [Line(name, _checked(self._plain(put(value, zeros))), line.part, place=line.place)
                 for name, value in new.items() if name not in hats]
        expr = put(self._plain(expr), zeros)
        if line.part is None and line.name in ('param', 'update'): expr = tidy(expr)
        hats.update(new)
        return [*above, line._replace(expr=_checked(expr))]

    def _plain(self, expr: Any) -> Any:
        while found := {s: e for s, e in self.short.items() if s in expr.free_symbols}:
            expr = put(expr, found)
        return expr

    def _hats(self, expr: Any, known: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        "`expr` with hats, as in `m̂ = m / (1 − β₁ᵗ)`, for stats that only occur with their scalar."
        found = dict[str, Any]()
        asked = {s for c in expr.atoms(Relational) for s in c.free_symbols}
        for b in sorted((s for s in expr.free_symbols - asked if s.name in self.scalars), key=str):
            for s in sorted((s for s in expr.free_symbols if s.name in self.tensors), key=str):
                if s.name.removeprefix('prev_') not in self.remembered: continue
                hatted, d = symbol(f'{s.name} hat'), sp.Dummy(positive=True)
                new = put(expr, {s: hatted * d, b: d})
                if d in new.free_symbols or known.get(hatted.name, s / b) != s / b: continue
                expr, found[hatted.name] = new, s / b
                self.letters[hatted.name] = hat(self.letters[s.name])
                self.tensors.add(hatted.name)
                break
        return expr, found


def _on(part: Part, expr: Any) -> Any:
    "A part's expression; but nothing new while a hyperparameter that it waits for is 0."
    if not part.only_if: return expr
    nothing = 0 if isinstance(part, Step) else symbol(part.template)
    return sp.Piecewise((expr, sp.Ne(symbol(part.only_if), 0)), (nothing, True))


def _checked(expr: Any) -> Any:
    if not is_writable(expr): raise Unsymbolic(TOO_ODD)
    return expr


def _is_short(line: Line) -> bool:
    "True if a scalar is better written out: it has no cases, and no letter in papers."
    assert line.part
    if line.expr.is_Symbol: return True
    plain = not line.why_not and not line.expr.has(sp.Piecewise)
    return plain and line.part.__name__ not in LETTERS and line.expr.count_ops() <= 6
