"""A composition with measures in it, and what its parts make and measure when they are called.

A kernel does the same in one pass: see `looks.py`.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import PartError
from ..engines.layout import cohorts, single_blocks
from ..engines.unpacked import unpacked
from ..engines.work import Work
from ..env import Env, walk
from ..part import Part
from .quantities import Column, Quantity

__all__ = ['Watched', 'exhaust', 'look_at', 'with_all_rows']


class Watched(Composition):
    "A composition with measures in it. Of a step, only what they make is written."
    def __init__(self, base: Composition, columns: Sequence[Column]):
        self.base, self.columns = base, columns
        found = {q.out: (at, q) for c in columns for at, q in c.needs}  # columns share some
        self.measures = [q for _, q in found.values()]
        parts: list[Part] = [q for at, q in found.values() if at == 0]
        for i, part in enumerate(base.ordered, 1):
            parts += [part, *(q for at, q in found.values() if at == i)]
        super().__init__(parts)
        self.written = self.fixed = [q.out for q in self.measures]
        # Those of what is there before the step or after it, and not of what parts pass on
        self.at_the_end = [q for at, q in found.values()
                           if at == len(base.ordered) or {*q.reads} <= {'param', 'raw_grad'}]


def look_at(work: Work) -> Iterator[tuple[int, Env]]:
    "Measures one parameter after another. Yields its row, and what its parts have made."
    first = 0
    for some in unpacked(work, keep=False):
        if work.formats: some.columns |= {k: work.columns[k][first:first + 1]
                                          for k in work.composition.written}
        for i, env in _look_at(some): yield first + i, env
        first += len(some.params)


def _look_at(work: Work) -> Iterator[tuple[int, Env]]:
    for cohort in cohorts(work):
        numbers = cohort.work.numbers()
        for i, block in zip(cohort.rows, single_blocks(cohort)):
            try: env = _run(work.composition, cohort.as_computed(block.tensors),
                            {'place': block.place, **numbers})
            except PartError as e: raise work.located(e, work.params[i]) from e.__cause__
            for k in work.composition.written: work.columns[k][i].copy_(_whole(env[k]))
            yield i, env


def _run(c: Composition, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Env:
    "What the parts make of one parameter. If a gate is closed, those behind it make nothing."
    assert isinstance(c, Watched)
    state = {k: tensors[k] for k in c.tensor_stats}
    given = {**numbers, **{k: tensors[k] for k in c.fed}}
    env = Env.of(tensors['param'], tensors['grad'], state, given)
    happening = c.happening(numbers)
    if happening: walk(happening.tensor_parts, env, _call)
    if happening is c: return env
    env.setdefault('update', torch.zeros_like(tensors['param']))
    env |= {k: env[f'prev_{k}'] for k in c.base.stats if k not in env}
    for q in c.measures:
        if q.out not in env: env[q.out] = _of_nothing(q, c, env)
    return env


def _call(part: Part, env: Mapping[str, Any]) -> Any: return part.run(env)  # a measure's own


def _of_nothing(q: Quantity, c: Watched, env: Env) -> Tensor:
    "A measure of a step that does not happen. If a part would have made what it is of, it is NaN."
    try: return q.run(env) if q in c.at_the_end else torch.tensor(torch.nan)
    except PartError as e:
        if isinstance(e.__cause__, KeyError): return torch.tensor(torch.nan)
        raise


def with_all_rows(env: Env, param: Tensor, state: Mapping[str, Any],
                   at: tuple[Tensor, ...]) -> Env:
    "What the parts have made of some rows, among all rows of the parameter."
    res = Env(env)
    rows = env['param']
    for k, v in env.items():
        if not isinstance(v, Tensor) or v.shape != rows.shape: continue
        stat = k.removeprefix('prev_')
        old = param if k == 'param' else state[stat] if stat in state else torch.zeros_like(param)
        res[k] = old.detach().to(v.dtype, copy=True)
        if not k.startswith('prev_'): res[k][at] = v
    return res


def _whole(x: Tensor) -> Tensor:
    "The value of a tensor that may be sharded."
    return x.full_tensor() if hasattr(x, 'full_tensor') else x


def exhaust(looks: Iterator[Any]) -> None: deque(looks, 0)
