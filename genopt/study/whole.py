"The whole update of a composition, in as few lines as in a paper."
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sympy as sp

from ..kinds import Gate
from ..part import Part
from .expressions import Unsymbolic, put, symbol
from .lines import Line

__all__ = ['Whole']


class Whole:
    """The whole update: an expression that is read once stands in its reader's line.

    `grad` and `update` wait for their readers, as expressions of the names that the lines so far
    have made. Before one of these names changes, an expression that has it gets its line.
    """
    def __init__(self,
        traced: Iterable[Line],     # Of the parts, in order
        values: Mapping[str, Any],  # Of hyperparameters, as far as they are known
        zeros: Mapping[Any, int]    # The symbols of those that are 0, which are left out
    ):
        self.lines = list[Line]()  # those of the whole update
        # `grad`, `update` or `prev_x` -> an expression that has no line yet
        self.waiting = dict[str, Any]()
        self.later = list[Part]()        # the part at hand, and those after it
        self.moved = False               # True if `param` has its new value
        parts = [*_running(traced, values)]
        raw = any(line.name == 'grad' for line in parts)
        for i, line in enumerate(parts):
            self.later = [p.part for p in parts[i:] if p.part]
            if isinstance(line.part, Gate) and 'update' in self.waiting:  # which happens anyway
                self._give('update', self.waiting['update'])
            expr = line.expr if raw else put(line.expr, {symbol('raw_grad'): symbol('grad')})
            expr = self._put_in(put(expr, zeros))
            waits = line.name in ('grad', 'update') or line.name.startswith('prev_')
            if not waits: self.lines.append(line._replace(expr=expr))
            else: self._wait(self.later[0], expr)
        self.later = []
        names = ['gate' if isinstance(q.part, Gate) else q.name for q in self.lines]
        if 'gate' in names and 'update' in names[:names.index('gate')]:
            if self.moved: raise Unsymbolic('what changes before a gate moves the parameter later')
            if 'update' in self.waiting: self._give('update', self.waiting['update'])
        if 'update' in self.waiting or not self.moved: self._move()

    def _wait(self, part: Part, expr: Any) -> None:
        update = self._update()
        env = {} if update is None else {'update': update}
        part.put(env, expr)
        expr = self.waiting[part.out] = env[part.out]
        if part.out != 'grad' or expr.is_Symbol: return
        if _readers('grad', self.later[1:]) > 1: self._give('grad', expr)

    def _update(self) -> Any:
        "The update that has not moved the parameter yet; None if there is none."
        if 'update' in self.waiting: return self.waiting['update']
        has_line = any(q.name == 'update' for q in self.lines)
        return symbol('update') if has_line and not self.moved else None

    def _put_in(self, expr: Any) -> Any:
        new, update = symbol('new_param'), symbol('update')
        if new in expr.free_symbols:
            waits = any({'param', 'update'} & {*p.reads} for p in self.later)
            if not waits and (not self.moved or 'update' in self.waiting): self._move()
            expr = put(expr, {new: symbol('param') + update if waits else symbol('param')})
        for name in ('grad', 'update'):
            if name not in self.waiting or symbol(name) not in expr.free_symbols: continue
            once = sum(node == symbol(name) for node in sp.preorder_traversal(expr)) == 1
            if not (self.waiting[name].is_Atom or once): self._give(name, self.waiting[name])
        return put(expr, {symbol(name): value for name, value in self.waiting.items()})

    def _move(self) -> None:
        value = symbol('param') + self._update()
        self.waiting.pop('update', None)
        self.moved = True
        self._give('param', value)

    def _give(self, name: str, value: Any) -> None:
        "Makes a line, after the lines of what waits with the old value in it."
        self.waiting.pop(name, None)
        for other in [k for k, v in self.waiting.items() if symbol(name) in v.free_symbols]:
            if other == 'grad' and not _readers('grad', self.later): continue
            if symbol(other) in value.free_symbols:
                raise Unsymbolic('each of two has the other in it')
            self._give(other, self.waiting[other])
        self.lines.append(Line(name, value))


def _running(traced: Iterable[Line], values: Mapping[str, Any]) -> Iterator[Line]:
    "The lines of the parts that do something, and of the first step."
    env = {**values}
    for line in traced:
        if line.part and line.part.is_off(env): continue
        if line.name == 'update': env['update'] = line.expr
        yield line


def _readers(name: str, later: list[Part]) -> int:
    "How many parts read it, up to the one that changes it."
    res = 0
    for p in later:
        res += name in p.reads
        if p.out == name: break
    return res
