"""A loop of a symbolic number of turns, folded: two turns are run, and seen to be the same.

From its first turn on, each value that an operation reads has a name of its own. So a turn is a
list of operations on names, and what the second one makes of the first one's value is what the
first one made of the value before it.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import sympy as sp

from .expressions import Iterate, Unsymbolic, put, symbol

__all__ = ['Loop']


class Loop:
    "What a function does before, in and after its loop. Until a loop begins, it does nothing."
    def __init__(self) -> None:
        self.turns: Any = None            # the number of turns, once it has begun
        self.turn = 0                     # the turn at hand: 1 or 2, and 3 after the loop
        self.names = dict[Any, Any]()     # an operation on names -> the name of its value
        self.made = dict[Any, int]()      # the same -> in which turn

    def run(self, turns: Any) -> Iterator[int]:
        "The two turns that are run. Raises Unsymbolic if there was another such loop."
        if self.turns is not None: raise Unsymbolic('it has two loops')
        self.turns = turns
        for self.turn in (1, 2): yield self.turn - 1
        self.turn = 3

    def named(self, expr: Any) -> Any:
        "The name of a value that an operation reads."
        if self.turns is None or expr.is_Atom or not isinstance(expr, sp.Expr): return expr
        return self.names.setdefault(expr, sp.Dummy(real=True))

    def note(self, expr: Any) -> Any:
        "`expr`, which an operation has just made."
        if self.turns is not None: self.made.setdefault(expr, self.turn)
        return expr

    def written_out(self, expr: Any, but: Any=None) -> Any:
        "`expr` without the names, except for one."
        back = {name: e for e, name in self.names.items() if name != but}
        while found := {s: back[s] for s in expr.free_symbols if s in back}: expr = put(expr, found)
        return expr

    def folded(self, out: Any) -> Any:
        "The result, with the loop as an `Iterate`. Raises Unsymbolic if its turns differ."
        if self.turns is None or not isinstance(out, sp.Expr): return self.written_out(out)
        out = self.named(out)
        of = {name: self.made.get(e, 0) for e, name in self.names.items()}
        turns = [[n for n, turn in of.items() if turn == i] for i in (0, 1, 2)]
        turns[0] += sorted(self.written_out(out).free_symbols, key=str)
        x = symbol('matrix X')
        for last, now, then in product(*turns):
            body = self.written_out(now, last)
            again = self.written_out(then, now)
            if last not in body.free_symbols or again != put(body, {last: now}): continue
            rest = self.written_out(out, then)
            if not self._before(out, then) & {*turns[1], *turns[2]}:
                loop = Iterate(x, put(body, {last: x}), self.written_out(last), self.turns)
                return put(rest, {then: loop})
        raise Unsymbolic('the turns of its loop differ')

    def _before(self, out: Any, but: Any) -> set[Any]:
        "The names on which `out` depends, where not through `but`."
        back, found, todo = {n: e for e, n in self.names.items()}, set[Any](), [out]
        while todo:
            name = todo.pop()
            if name == but or name in found: continue
            if name in back:
                found.add(name)
                todo += back[name].free_symbols
        return found
