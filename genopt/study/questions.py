"""Questions that a function asks while it runs on symbols: it runs once for each answer.

    >>> count, grad, update = map(symbol, ('count', 'grad', 'update'))
    >>> explore(lambda: grad if answers.get().decide(count > 1) else update, {})
    Piecewise((grad, count > 1), (update, True))

What hyperparameters decide alone is answered by their values.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import sympy as sp

from .expressions import Unsymbolic, cases, condition, put, untiny
from .loops import Loop

__all__ = ['answers', 'explore']


class Answers:
    "The answers on one way through a function."
    def __init__(self, answers: list[bool], values: Mapping[sp.Symbol, Any]):
        self.answers, self.values, self.asked = answers, values, list[Any]()
        self.loop = Loop()

    def decide(self, expr: Any) -> bool:
        "The answer to a question: by values, by earlier answers, or one to be tried."
        zeros = {k: 0 for k, v in self.values.items() if v == 0}
        asked = condition(self.loop.written_out(expr))
        asked = put(asked, self.values if asked.free_symbols <= {*self.values} else zeros)
        asked = self.in_view(untiny(condition(asked)))
        if asked in (sp.true, sp.false): return bool(asked)
        if len(self.asked) > 20:
            raise Unsymbolic('it asks for the values of numbers, again and again')
        self.asked.append(asked)
        if len(self.answers) < len(self.asked): self.answers.append(True)
        return self.answers[len(self.asked) - 1]

    def in_view(self, expr: Any) -> Any:
        "`expr`, where the conditions that were asked for have their answers."
        given = {c: sp.true if a else sp.false for c, a in zip(self.asked, self.answers)}
        return put(expr, given | {sp.Not(c): sp.Not(a) for c, a in given.items()})


answers: ContextVar[Answers] = ContextVar('answers')


def explore(
    run: Callable[[], Any],           # Returns an expression, or a tuple of several
    values: Mapping[sp.Symbol, Any]  # Of hyperparameters, as far as they are known
) -> Any:
    "The result of a function that asks questions, with a case for each answer."
    found, todo = [], [list[bool]()]
    while todo:
        path = Answers(todo.pop(), values)
        known, token = len(path.answers), answers.set(path)
        try: out = run()
        finally: answers.reset(token)
        if isinstance(out, tuple):
            if path.asked or path.loop.turns is not None:
                raise Unsymbolic('it returned several tensors, and asks questions')
            return sp.Tuple(*out)
        out = path.in_view(path.loop.folded(out))
        asked = zip(path.asked, path.answers)
        found.append((out, sp.And(*(c if yes else sp.Not(c) for c, yes in asked))))
        if len(found) > 16: raise Unsymbolic('it has too many cases')
        todo += [path.answers[:i] + [False] for i in range(known, len(path.answers))]
    return cases(found)
