"""A composition's equations: each part's own, and the whole update in as few lines as a paper would need.

Both are lists of assignments, in order: run from the first to the last, they make one step. In them `x` is a stat's new
value, and `prev_x` the one before this step.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import sympy as sp

from ..composition import Composition
from ..part import REQUIRED, Part
from .letters import LETTERS, hat, letters
from .symbols import Unsymbolic, begin, symbol, trace

__all__ = ['Line', 'Equations']


class Line(NamedTuple):
    "An assignment."
    name: str              # What is assigned: a stat, `grad`, `update`, `param`, a scalar ...
    expr: Any              # A sympy expression, whose symbols have the names of what is read
    part: Part | None=None # Whose it is
    why_not: str=''        # If the part cannot run on symbols: the reason. `expr` is then its name, and what it reads


class Equations:
    """The equations of `composition`. `parts`: a line for each part. `whole`: the update.

    Questions that hyperparameters decide alone are answered by `values`. What is 0 (`lr` apart) is left out of `whole`.
    """
    def __init__(self,
        composition: Composition,
        values: Mapping[str, Any]  # Of its hyperparameters, as far as they are known
    ):
        self.composition, self.values = composition, {k: v for k, v in values.items() if v is not REQUIRED}
        self.letters = letters(composition.ordered)
        self.traced = [*map(self._line, composition.ordered)]
        self.tensors = {'param', 'grad', 'raw_grad', 'update', 'new_param', *composition.tensor_stats,
                        *(f'prev_{k}' for k in composition.tensor_stats)}
        self.scalars = {line.name: line.expr for line in self.traced if line.part and line.part.kind == 'scalar'}
        self.short = {symbol(k): e for k, e in self.scalars.items() if _is_short(k, e)}
        self.zeros = {symbol(k): 0 for k, v in self.values.items()
                      if k != 'lr' and isinstance(v, (int, float)) and v == 0}
        self.parts = [*self._finish(self._alone(), {})]
        self.whole = [*self._finish(_Whole(self).lines, self.zeros)]
        self.opaque = [line for line in self.traced if line.why_not]

    def is_off(self, part: Part) -> bool:
        "Does it do nothing, as its switch is 0?"
        return symbol(part.switch) in self.zeros if part.switch else False

    def begin(self, part: Part) -> Any:
        "What a stat begins with, or None if that cannot be said."
        try: return begin(part, self.values)
        except Unsymbolic: return None

    def _line(self, part: Part) -> Line:
        try: return Line(part.out, trace(part, self.values), part)
        except Unsymbolic as e:
            args = [symbol(n) for n in (*part.reads, *(n for _, n in part.keywords))]
            return Line(part.out, sp.Function(part.__name__, real=True)(*args), part, str(e))

    def _alone(self) -> Iterator[Line]:
        "Each part's own: a step after the first adds to the update."
        first = next(p for p in self.composition.ordered if p.kind == 'step')
        for line in self.traced:
            adds = line.part and line.part.kind == 'step' and line.part is not first
            yield line._replace(expr=symbol('update') + line.expr) if adds else line

    def _finish(self, lines: Iterable[Line], zeros: Mapping[Any, int]) -> Iterator[Line]:
        "With hats for what is debiased, short scalars in their place, and only those others that are read."
        done, made = list[Line](), set[str]()
        for line in lines:
            trivial = {k: v for k, e in self.short.items() if (v := e.subs(zeros)).is_Number}  # 1 − β₁ᵗ, if β₁ is 0
            expr = line.expr.subs(zeros).subs(trivial)
            if line.name not in self.scalars:
                expr, hats = self._hats(expr)
                for name, value in hats.items():
                    if name in made: continue
                    made.add(name)
                    done.append(Line(name, self._plain(value.subs(zeros)), line.part))
            expr = self._plain(expr).subs(zeros)
            if line.part is None and line.name in ('param', 'update'): expr = tidy(expr)
            done.append(line._replace(expr=expr))
        used = set[str]()
        for i in reversed(range(len(done))):
            line = done[i]
            if line.name in self.scalars and line.name not in used: del done[i]
            else: used |= {s.name for s in line.expr.free_symbols}
        yield from done

    def _plain(self, expr: Any) -> Any:
        while found := {s: e for s, e in self.short.items() if s in expr.free_symbols}: expr = expr.subs(found)
        return expr

    def _hats(self, expr: Any) -> tuple[Any, dict[str, Any]]:
        "`expr` of `m̂ = m / (1 − β₁ᵗ)` and its like, where a stat is nowhere without its scalar."
        found = dict[str, Any]()
        for b in sorted((s for s in expr.free_symbols if s.name in self.scalars), key=str):
            for s in sorted((s for s in expr.free_symbols if s.name in self.tensors), key=str):
                if s.name.removeprefix('prev_') not in self.composition.stats: continue
                hatted, d = symbol(f'{s.name} hat'), sp.Dummy(positive=True)
                new = expr.subs({s: hatted * d, b: d}, simultaneous=True)
                if d in new.free_symbols: continue
                expr, found[hatted.name] = new, s / b
                self.letters[hatted.name] = hat(self.letters[s.name])
                self.tensors.add(hatted.name)
                break
        return expr, found


def _is_short(name: str, expr: Any) -> bool:
    "Is a scalar better written out? Not one that papers have a letter for."
    return isinstance(expr, sp.Symbol) or name not in LETTERS and expr.count_ops() <= 6


def tidy(expr: Any) -> Any:
    "The shortest of some ways to write a sum."
    theta, eta = symbol('param'), symbol('lr')
    rest = expr - theta if theta in sp.Add.make_args(expr) else expr
    tries = [sp.collect(rest, eta), -sp.collect(-rest, eta), sp.factor_terms(rest), rest]
    res = [e if rest is expr else theta + e for e in tries] + [sp.collect(expr, theta)]
    if expr.count_ops() < 12 and not expr.has(sp.Function, sp.Piecewise): res.append(sp.cancel(sp.together(expr)))
    return min(res, key=lambda e: (e.count_ops(), str(e).count('-')))


class _Whole:
    "Puts what is read once into its reader's line, and gives a line of its own to what is read more often."
    def __init__(self, equations: Equations):
        self.lines = list[Line]()
        self.waiting = dict[str, Any]()  # `grad` or `update` -> an expression that has no line yet
        self.moved = False               # has `param` its new value?
        parts = [line for line in equations.traced if line.part and not equations.is_off(line.part)]
        raw = any(line.name == 'grad' for line in parts)
        for i, line in enumerate(parts):
            part, later = line.part, [p.part for p in parts[i:] if p.part]
            assert part
            expr = line.expr
            if not raw: expr = expr.subs(symbol('raw_grad'), symbol('grad'))
            expr = self._put_in(expr.subs(equations.zeros), later)
            if line.name not in ('grad', 'update'): self.lines.append(line._replace(expr=expr))
            elif part.kind == 'step' and 'update' in self.waiting: self.waiting['update'] += expr
            elif part.kind == 'step' and any(q.name == 'update' for q in self.lines) and not self.moved:
                self.waiting['update'] = symbol('update') + expr
            else:
                self.waiting[line.name] = expr
                if line.name == 'grad' and not expr.is_Symbol and _readers('grad', later[1:]) > 1: self._give('grad')
        if 'update' in self.waiting: self._move(symbol('param') + self.waiting.pop('update'))
        elif not self.moved: self._move(symbol('param') + symbol('update'))

    def _put_in(self, expr: Any, later: list[Part]) -> Any:
        new, update = symbol('new_param'), symbol('update')
        if new in expr.free_symbols:
            if not any({'param', 'update'} & {*p.reads} for p in later):
                if 'update' in self.waiting: self._move(symbol('param') + self.waiting.pop('update'))
                expr = expr.subs(new, symbol('param'))
            else: expr = expr.subs(new, symbol('param') + update)
        for name in ('grad', 'update'):  # in this order: an update was made of older gradients
            if name not in self.waiting or symbol(name) not in expr.free_symbols: continue
            value = self.waiting[name]
            once = sum(node == symbol(name) for node in sp.preorder_traversal(expr)) == 1
            if value.is_Symbol or once: expr = expr.subs(symbol(name), value)
            else: self._give(name)
        return expr

    def _give(self, name: str) -> None:
        "A line of its own."
        if name == 'grad' and symbol('grad') in getattr(self.waiting.get('update'), 'free_symbols', ()):
            self._give('update')
        self.lines.append(Line(name, self.waiting.pop(name)))

    def _move(self, expr: Any) -> None:
        self.moved = True
        self.lines.append(Line('param', expr))


def _readers(name: str, later: list[Part]) -> int:
    "How many parts read it, up to the one that changes it."
    res = 0
    for p in later:
        res += name in p.reads
        if p.out == name: break
    return res
