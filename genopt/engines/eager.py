"""The eager engine: calls the parts one after another, on blocks of elements. The reference for every other engine.

Parts see real tensors, all of one dtype: complex ones as pairs of reals, as in torch; and float32, or float64 if the
parameter or its state is. So a step in lower precision rounds once, when its results are stored. Parts return new
values; only engines write.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from ..numbers import store
from ..part import PartError
from .layout import Block, Cohort, blocks, cohorts, single
from .work import Work

__all__ = ['run', 'run_cohort', 'numbers_of', 'finish']

Update: TypeAlias = Callable[..., tuple[Tensor, dict[str, Any]]]


def run(work: Work) -> None:
    "One step of each parameter. If a part fails, the block of elements that it failed on is unchanged."
    for cohort in cohorts(work):
        if (numbers := numbers_of(cohort.work)) is not None: run_cohort(cohort, numbers)


def run_cohort(
    cohort: Cohort,
    numbers: Mapping[str, Any],  # From `numbers_of`
    update: Update | None=None,  # In place of `composition.update`
    take: Callable[[Block], bool] | None=None  # Is given each block, not cut, and may do its step instead
) -> None:
    "One step of parameters that share their numbers."
    work, c = cohort.work, cohort.work.composition
    flat = c.elementwise and cohort.flat
    for block in blocks(cohort, cut=not take) if flat else single(cohort):
        if take and take(block):
            block.scatter()
            continue
        try: change, new, old = _compute(cohort, block, numbers, update)
        except PartError as e: raise _blame(e, cohort, block, numbers) from e.__cause__
        param = block.tensors['param']
        new = {k: _own(new[k], old.values()) for k in c.tensor_stats}
        if param.dtype == cohort.wide: param.add_(change)
        else:                          param.copy_(old['param'] + change)
        for k, v in new.items(): block.tensors[k].copy_(v)
        block.scatter()
    finish(work, numbers)


def numbers_of(work: Work) -> dict[str, Any] | None:
    "The half of a step that is plain numbers, for a whole cohort. None where a gate is closed: the step is over."
    c = work.composition
    try: numbers = c.numbers({k: work.columns[k][0] for k in c.number_stats}, work.hypers)
    except PartError as e: raise PartError(f'{e} (on {work.describe(work.params[0])})') from e.__cause__
    if not c.is_closed(numbers): return numbers
    finish(work, numbers)
    return None


def finish(work: Work, numbers: Mapping[str, Any]) -> None:
    "Stores the stats that are numbers: the end of a cohort's step."
    for k in work.composition.number_stats:
        if k in numbers: store(work.states, k, v.item() if hasattr(v := numbers[k], 'item') else v)  # not NumPy's


def _compute(cohort: Cohort, block: Block, numbers: Mapping[str, Any],
             update: Update | None=None) -> tuple[Tensor, dict[str, Any], dict[str, Tensor]]:
    "The change, the new state, and what they were computed from."
    work, wide = cohort.work, cohort.wide
    old = {k: t.to(wide) if t.is_floating_point() else t for k, t in block.tensors.items()}
    grad = -old['grad'] if work.climb else old['grad']
    state = {k: old[k] for k in work.composition.tensor_stats}
    if work.composition.reads_place: numbers = {**numbers, 'place': block.place}
    return *(update or work.composition.update)(old['param'], grad, state, numbers), old


def _own(x: Tensor, old: Iterable[Tensor]) -> Tensor:
    "A part may return what it read: that must not change when the parameter, or another stat, is written."
    return x.clone() if x._is_view() or any(x is t for t in old) else x


def _blame(e: PartError, cohort: Cohort, block: Block, numbers: Mapping[str, Any]) -> PartError:
    "The error with the parameter that it is about: of several, the first on which the part fails alone."
    describe = cohort.work.describe
    alone = [b for b in single(cohort) if any(b.params[0] is p for p in block.params)]
    for b in alone if len(alone) > 1 else []:
        try: _compute(cohort, b, numbers)
        except PartError as again: return PartError(f'{again} (on {describe(b.params[0])})')
    return PartError(f'{e} (on {describe(block.params[0])})')
