"""Which engine an optimizer has: `compile` is None, True or False.

None, the default, means kernels wherever there can be one, and the eager engine elsewhere. True
means the same, but a part that cannot be compiled is an error when the optimizer is made, and one
warning says if no kernel could be made. False means the plain engine, which calls the parts for one
parameter after another, so that a debugger can stop in them. In a whole process, the environment
variable GENOPT_COMPILE (0 or 1) takes the place of None.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from . import plain
from .compiled import Compiled
from .work import Work

__all__ = ['Engine', 'asked', 'engine_for', 'report', 'take_engine_words']

Engine: TypeAlias = Callable[[Sequence[Work]], None]

VARIABLE = 'GENOPT_COMPILE'
NOT_TAKEN = {
    'capturable': 'leave it out; for a CUDA graph, call `launch()` in it, and `advance()` before '
                  'each replay',
    'differentiable': 'leave it out; to differentiate through a step, call `Composition.update`, '
                      'which is a pure function'}


def asked(compile: Any) -> bool | None:
    "What `compile` says, or else the environment. Raises TypeError or ValueError."
    if compile is not None: return _checked('compile', compile)
    given = os.environ.get(VARIABLE, '')
    if given not in ('', '0', '1'):
        raise ValueError(f'${VARIABLE} is {given!r}: set it to 1 (compile, or say why not) or to 0 '
                         '(do not compile)')
    return bool(int(given)) if given else None


def take_engine_words(hypers: dict[str, Any]) -> bool | None:
    """Removes torch's words for engines, and says what they ask for, as `compile`.

    `fused` is a kernel, or none. `foreach` asks for speed with small tensors, which every kernel
    has. Raises TypeError.
    """
    given = {k: _checked(k, hypers.pop(k))
             for k in ('foreach', 'fused', *NOT_TAKEN) if k in hypers}
    for k, why in NOT_TAKEN.items():
        if given.get(k): raise TypeError(f'`{k}`: {why}')
    return given.get('fused')


def engine_for(compile: bool | None) -> Engine:
    return plain.run if compile is False else Compiled(compile or False)


def report(engine: Engine, group: int) -> str:
    "How the last step of a group was done, for `print`."
    if isinstance(engine, Compiled): return engine.report(group)
    return f'engine: {getattr(engine, "__module__", "").rpartition(".")[2]}'


def _checked(name: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool): return value
    raise TypeError(f'`{name}` = {value!r}: give True, False or None')
