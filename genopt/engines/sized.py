"""Numbers that a part made of its tensor's sizes, such as `grad.numel()**.5`.

On the tape of one parameter they are constants. If the tapes of other sizes differ in these alone,
they become arguments of one kernel, as hyperparameters are.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from .recorder import Op, Ref
from .tape import Tape

__all__ = ['constants', 'outline', 'with_arguments']


def _is_constant(x: Any) -> bool: return type(x) in (int, float)


def constants(tape: Tape) -> list[float]:
    "All plain numbers among the arguments of its operations, in order."
    return [x for op in tape.ops if isinstance(op, Op) for x in op.args if _is_constant(x)]


def outline(tape: Tape) -> Any:
    "All that two tapes with the same kernel have in common: everything but constants."
    def shown(op: Any) -> Any:
        if not isinstance(op, Op): return op
        return op.func, *(type(x) if _is_constant(x) else repr(x) for x in op.args), op.out
    return (*map(repr, map(shown, tape.ops)), repr(tape.results), repr(tape.questions))


def with_arguments(tape: Tape, places: Iterable[int]) -> Tape:
    "The tape with numbers as arguments in place of some of its constants."
    made = {n: Ref(10**6 + n, torch.float64, None) for n in sorted(places)}
    numbers = iter(range(len(constants(tape))))
    def replaced(args: tuple[Any, ...]) -> Iterator[Any]:
        for x in args: yield made.get(next(numbers), x) if _is_constant(x) else x
    ops = [op._replace(args=(*replaced(op.args),)) if isinstance(op, Op) else op
           for op in tape.ops]
    return tape._replace(ops=ops, numbers=tape.numbers | {f'size {n}': r for n, r in made.items()})
