"""Two rules are one, by symbols: what they do in any step is the same expression.

What one rule remembers is put in terms of what the other does, by a factor that was seen in
numbers. Then one step is made of both. If all that is remembered keeps its factor, and the results
agree, then they agree in every step.
"""
from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import sympy as sp
import torch
from torch import Tensor

from ..hypers import TABLE
from ..kinds import Scalar, Stat, Transform
from ..part import Part
from .expressions import Unsymbolic, put, symbol
from .points import Point, filled, steps, values, whole_numbers
from .symbols import trace

__all__ = ['factor', 'proved']


LONG = 300  # operations of an expression that is only expanded, as the rest would take minutes


def factor(ratio: float, given: Mapping[str, float]) -> Any:
    "A simple expression of hyperparameters that has this value, or None if there is none."
    tries: dict[Any, float] = {sp.Integer(n): float(n) for n in (1, 2, 3)}
    for k, v in given.items():
        if 0 < v < 1 and k != 'lr': tries |= {symbol(k): v, 1 - symbol(k): 1 - v}
    tries |= {1 / e: 1 / v for e, v in tries.items()}
    return next((e for e, v in tries.items() if abs(ratio / v - 1) < 1e-9), None)


def proved(a: Point, b: Point, scale: Any) -> bool:
    """True if the symbols show that `a` is `b`, with its learning rate times `scale`; for a part,
    with its result times `scale`."""
    is_recipe, scalars = a.rule.kind == 'recipe', dict[Any, Any]()
    try:
        mine = _Step(a, {}, scalars)
        theirs = _Step(b, {symbol('lr'): scale * symbol('lr')} if is_recipe else {}, scalars)
    except Unsymbolic: return False
    kept = _factors(a, b)
    same = {symbol(f'prev_{k}'): ratio * then for k, (ratio, then, _) in kept.items()}
    other = {symbol(f'prev_{k}'): _its(k) for k in theirs.states}
    def agree(x: Any, y: Any) -> bool: return _is_zero(x.xreplace(same) - y.xreplace(other))
    if not agree(mine.result, theirs.result if is_recipe else scale * theirs.result): return False
    read = mine.result.free_symbols | theirs.result.xreplace(other).free_symbols
    return all(agree(mine.states[k], ratio * theirs.states.get(name, symbol(name)))
               for k, (ratio, then, name) in kept.items() if {symbol(f'prev_{k}'), then} & read)


def _its(stat: str) -> Any: return symbol(f'its {stat}')


def _factors(a: Point, b: Point) -> dict[str, tuple[Any, Any, str]]:
    """For each state of `a`: a factor, and what it is a factor of, as a symbol and its name.

    That is a state of `b`, or a hyperparameter if the state never changes.
    """
    given = values({*a.rule.hypers, *b.rule.hypers})
    mine, theirs = (_remembered(p, given) for p in (a, b))
    sources = [(k, _its(k), x) for k, x in theirs.items()]
    sources += [(k, symbol(k), torch.full_like(next(iter(mine.values())), v))
                for k, v in filled(a, given).items() if mine]
    found = dict[str, tuple[Any, Any, str]]()
    for k, x in mine.items():
        for name, its, y in sources:
            if x.shape != y.shape or not y.any(): continue
            c = (x.norm() / y.norm()).item()
            ratio = factor(c, given) if (x - c * y).abs().max() <= 1e-9 * x.abs().max() else None
            if ratio is not None: found.setdefault(k, (ratio, its, name))
    return found


def _remembered(point: Point, given: Mapping[str, float]) -> dict[str, Tensor]:
    "What each stat is in each step."
    def whole(x: Any) -> Tensor: return torch.as_tensor(x, dtype=torch.float64).expand(4, 3)
    envs, names = [*steps(point, given)], [p.out for p in _stats(point)]
    return {k: torch.stack([whole(e[k]) for e in envs]) for k in names
            if torch.as_tensor(envs[0][k]).numel() in (1, 12)}


def _stats(point: Point) -> list[Part]:
    return [p for p in point.rule.parts if isinstance(p, Stat) and p.out != 'count']


class _Step:
    "One step in symbols: the result, and the new states, as expressions of the old ones."
    def __init__(self, point: Point, more: Mapping[Any, Any], scalars: dict[Any, Any]):
        self.point, self.scalars = point, scalars
        self.given = {k: v for k, v in point.where if not isinstance(v, str)}
        self.at = {symbol(k): sp.Integer(n) for k, n in whole_numbers().items()}
        self.at |= {symbol(k): symbol(v) if isinstance(v, str) else sp.Integer(int(v))
                   for k, v in point.where} | dict(more)
        n = symbol('count')
        env = dict[str, Any](count=n, prev_count=n - 1, raw_grad=symbol('grad'),
                             grad=symbol('grad'))
        for p in point.rule.parts: self._run(p, env)
        self.result = sp.sympify(env[point.rule.out])
        self.states = {p.out: sp.sympify(env[p.out]) for p in _stats(point)}

    def _run(self, p: Part, env: dict[str, Any]) -> None:
        if p.out == 'count' or p.switch and self.given.get(p.switch) == 0: return
        if p.__name__ in self.point.without:
            if not isinstance(p, Transform): env[p.out] = sp.Integer(1)
            return
        if 'update' in env: env['new_param'] = symbol('param') + env['update']
        here = {symbol(n): env[n] for n in p.reads if n in env} | self.at
        try: expr = put(trace(p, self.given), here)
        except Unsymbolic:
            args = [symbol(n) for n in (*p.reads, *(n for _, n in p.keywords))]
            expr = put(sp.Function(p.__name__, real=True)(*args), here)
        if isinstance(p, Scalar) and not expr.is_Atom and p.out in self._positive():
            expr = self.scalars.setdefault(expr, sp.Dummy(p.__name__, positive=True))
        p.put(env, expr)

    def _positive(self) -> set[str]:
        "The scalars that are more than 0 in every step."
        names = {p.out for p in self.point.rule.parts if isinstance(p, Scalar)}
        for env in steps(self.point, values(self.point.rule.hypers)):
            names = {k for k in names if torch.as_tensor(env[k] > 0).all()}
        return names


def _is_zero(d: Any) -> bool:
    "True if it can be seen to be 0 where squares and hyperparameters are positive."
    if d == 0: return True
    def is_positive(name: str) -> bool:
        return 'sqr' in name or name in TABLE and TABLE[name].low >= 0
    d = d.xreplace({s: sp.Dummy(s.name, positive=True) for s in d.free_symbols
                    if not s.is_positive and is_positive(s.name)})
    d = d.replace(sp.sign, lambda x: x / sp.sqrt(x**2))
    if _is_a_number_but_0(d): return False  # to see that, `simplify` would need seconds
    ways = (sp.expand, sp.factor, sp.simplify) if sp.count_ops(d) < LONG else (sp.expand,)
    return any(simpler(d) == 0 for simpler in ways)


def _is_a_number_but_0(d: Any) -> bool:
    "True if it is another number than 0, to 30 digits, where its symbols are drawn at random."
    draw = Random(0)
    drawn = {s: sp.Float(draw.uniform(.2, .9) * (1 if s.is_positive else draw.choice([1, -1])), 30)
             for s in sorted(d.free_symbols, key=str)}
    try: x = d.xreplace(drawn).evalf(30)
    except ValueError: return False  # the larger one of norms, which have no value here
    return bool(x.is_number and x.is_finite and abs(x) > 1e-20)
