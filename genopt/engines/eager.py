"""The eager engine: calls the parts one after another, as `plain` does, but on blocks of elements.

Parts see real tensors, all of one dtype: float64 if the parameter or its state is, else float32.
Complex tensors are pairs of reals, as in torch. So a step in lower precision rounds once, when its
results are stored. Parts return new values; only engines write.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from torch import Tensor

from ..contract import PartError
from ..numbers import read, store
from ..part import Part
from .layout import Block, Cohort, blocks, cohorts, single_blocks
from .work import Tensors, Values, Work

__all__ = ['as_computed', 'located', 'numbers_of', 'run', 'step_blocks', 'store_numbers']

Update: TypeAlias = Callable[..., tuple[Tensor, Values]]


def _step(cohort: Cohort, numbers: Values) -> None:
    step_blocks(cohort, blocks(cohort), numbers)


def run(work: Work, step: Callable[[Cohort, Values], None]=_step) -> None:
    """One step of each parameter.

    Raises PartError if a part fails: then the block of elements that it failed on is unchanged.
    """
    for cohort in cohorts(work):
        numbers = numbers_of(cohort.work)
        if not work.composition.is_closed(numbers): step(cohort, numbers)
        store_numbers(cohort.work, numbers)


def numbers_of(work: Work, until: Part | None=None) -> dict[str, Any]:
    """The half of a step that is plain numbers, for parameters that share them.

    With a total, only what comes before it.
    """
    c = work.composition
    try: return c.numbers({k: work.columns[k][0] for k in c.number_stats}, work.hypers, until)
    except PartError as e: raise located(e, work, work.params[0]) from e.__cause__


def store_numbers(work: Work, numbers: Values) -> None:
    "Writes the stats that are numbers into all states. Those after a closed gate stay."
    for k in work.composition.number_stats:
        if k in numbers: store(work.states, k, read(numbers[k]))


def step_blocks(cohort: Cohort, blocks: Iterable[Block], numbers: Values,
                update: Update | None=None) -> None:
    """One step of the elements in these blocks of the cohort, by `composition.update` or `update`.

    A block's temporaries live until the next one has its own. Otherwise the allocator would hand
    their memory back to the system each time, and large tensors would take three times as long.
    """
    for block in blocks:
        try: change, new, old = _compute(cohort, block, numbers, update)
        except PartError as e: raise _blamed(e, cohort, block, numbers) from e.__cause__
        param, stats = block.tensors['param'], cohort.work.composition.tensor_stats
        new = {k: _unshared(new[k], old.values()) for k in stats}
        if param.dtype == cohort.dtype: param.add_(change)
        else:                           param.copy_(old['param'] + change)
        for k, v in new.items(): block.tensors[k].copy_(v)
        block.scatter()


def _compute(cohort: Cohort, block: Block, numbers: Values, update: Update | None=None
             ) -> tuple[Tensor, Values, Tensors]:
    "The change, the new state, and the tensors that they were computed from."
    c, old = cohort.work.composition, as_computed(cohort, block.tensors)
    state = {k: old[k] for k in c.tensor_stats}
    if c.reads_place: numbers = {**numbers, 'place': block.place}
    return *(update or c.update)(old['param'], old['grad'], state, numbers), old


def as_computed(cohort: Cohort, tensors: Tensors) -> dict[str, Tensor]:
    "A parameter's tensors as the parts see them: of one dtype, with a gradient that leads down."
    res = {k: t.to(cohort.dtype) if t.is_floating_point() else t for k, t in tensors.items()}
    if cohort.work.climb: res['grad'] = -res['grad']
    return res


def _unshared(x: Tensor, old: Iterable[Tensor]) -> Tensor:
    "A copy if a part has returned one of its arguments, which writing would change."
    return x.clone() if x._is_view() or any(x is t for t in old) else x


def _blamed(e: PartError, cohort: Cohort, block: Block, numbers: Values) -> PartError:
    "The error with its parameter: of several, the first on which the part fails alone."
    alone = [b for b in single_blocks(cohort) if any(b.params[0] is p for p in block.params)]
    for b in alone if len(alone) > 1 else []:
        try: _compute(cohort, b, numbers)
        except PartError as again: return located(again, cohort.work, b.params[0])
    return located(e, cohort.work, block.params[0])


def located(e: PartError, work: Work, param: Tensor) -> PartError:
    return PartError(f'{e} (on {work.describe(param)})')
