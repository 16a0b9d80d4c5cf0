"""The eager engine: calls the parts one after another, as `plain`, but on blocks of elements.

Parts see real tensors, all of one dtype: complex ones as pairs of reals, as in torch; and
float32, or float64 if the parameter or its state is. So a step in lower precision rounds once,
when its results are stored. Parts return new values; only engines write.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from ..numbers import store
from ..contract import PartError
from .layout import Block, Cohort, blocks, cohorts, single_blocks
from .work import Work

__all__ = ['numbers_of', 'plain_number', 'run', 'step_blocks', 'store_numbers']

Update: TypeAlias = Callable[..., tuple[Tensor, dict[str, Any]]]


def run(work: Work) -> None:
    """One step of each parameter.

    Raises PartError if a part fails: then the block of elements that it failed on is unchanged.
    """
    for cohort in cohorts(work):
        numbers = numbers_of(cohort.work)
        if not work.composition.is_closed(numbers): step_blocks(cohort, blocks(cohort), numbers)
        store_numbers(cohort.work, numbers)


def numbers_of(work: Work) -> dict[str, Any]:
    "The half of a step that is plain numbers, for parameters that share them."
    c = work.composition
    try: return c.numbers({k: work.columns[k][0] for k in c.number_stats}, work.hypers)
    except PartError as e: raise _on(e, work, work.params[0]) from e.__cause__


def store_numbers(work: Work, numbers: Mapping[str, Any]) -> None:
    "Writes the stats that are numbers into all states. Those after a closed gate stay."
    for k in work.composition.number_stats:
        if k in numbers: store(work.states, k, plain_number(numbers[k]))


def plain_number(x: Any) -> Any:
    "Python's number, and not torch's or NumPy's."
    return x.item() if hasattr(x, 'item') else x


def step_blocks(
    cohort: Cohort,
    blocks: Iterable[Block],     # Of this cohort
    numbers: Mapping[str, Any],  # From `numbers_of`
    update: Update | None=None   # In place of `composition.update`
) -> None:
    """One step of the elements in these blocks.

    A block's temporaries live until the next one has its own. Otherwise the allocator would hand
    their memory back to the system each time, and large tensors would take three times as long.
    """
    for block in blocks:
        try: change, new, old = _compute(cohort, block, numbers, update)
        except PartError as e: raise _located(e, cohort, block, numbers) from e.__cause__
        param, stats = block.tensors['param'], cohort.work.composition.tensor_stats
        new = {k: _unshared(new[k], old.values()) for k in stats}
        if param.dtype == cohort.dtype: param.add_(change)
        else:                           param.copy_(old['param'] + change)
        for k, v in new.items(): block.tensors[k].copy_(v)
        block.scatter()


def _compute(
    cohort: Cohort, block: Block, numbers: Mapping[str, Any], update: Update | None=None
) -> tuple[Tensor, dict[str, Any], dict[str, Tensor]]:
    "The change, the new state, and the tensors that they were computed from."
    c, dtype = cohort.work.composition, cohort.dtype
    old = {k: t.to(dtype) if t.is_floating_point() else t for k, t in block.tensors.items()}
    grad = -old['grad'] if cohort.work.climb else old['grad']
    state = {k: old[k] for k in c.tensor_stats}
    if c.reads_place: numbers = {**numbers, 'place': block.place}
    return *(update or c.update)(old['param'], grad, state, numbers), old


def _unshared(x: Tensor, old: Iterable[Tensor]) -> Tensor:
    "A copy if a part has returned what it read: writing to that must not change this."
    return x.clone() if x._is_view() or any(x is t for t in old) else x


def _located(e: PartError, cohort: Cohort, block: Block, numbers: Mapping[str, Any]) -> PartError:
    "The error with its parameter: of several, the first on which the part fails alone."
    alone = [b for b in single_blocks(cohort) if any(b.params[0] is p for p in block.params)]
    for b in alone if len(alone) > 1 else []:
        try: _compute(cohort, b, numbers)
        except PartError as again: return _on(again, cohort.work, b.params[0])
    return _on(e, cohort.work, block.params[0])


def _on(e: PartError, work: Work, param: Tensor) -> PartError:
    return PartError(f'{e} (on {work.describe(param)})')
