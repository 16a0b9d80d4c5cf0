"""The eager engine: calls the parts one after another, as `plain` does, but on blocks of elements.

It steps parameters that cannot have a kernel: on other devices, sparse, or without a compiler.
Parts see real tensors, all of one dtype: float64 if the parameter or its state is, else float32.
Complex tensors are pairs of reals, as in torch. So a step in lower precision rounds once, when its
results are stored. Parts return new values; only engines write.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from ..contract import PartError
from .layout import Block, Cohort, blocks, cohorts, single_blocks
from .sparse import dense_or_rows
from .totals import eager_total, totals
from .unpacked import unpacked
from .work import Tensors, Values, Work

__all__ = ['run', 'step']


def step(work: Work) -> None:
    "One step of each parameter, with dense gradients, when the totals are known."
    for some in unpacked(work): _step_all(some)


def _step_all(work: Work) -> None:
    found = cohorts(work)
    given = [cohort.work.numbers() for cohort in found]  # pieces of one share their counts
    for cohort, numbers in zip(found, given):
        if happening := work.composition.happening(numbers): _step(cohort.doing(happening), numbers)
        cohort.work.store(numbers)


def run(works: Sequence[Work], step: Callable[[Work], None]=step) -> None:
    """One step of each parameter: of all rows of a sparse gradient, or of those that it touches.

    Raises PartError if a part fails: then the block of elements that it failed on is unchanged.
    Raises TypeError for a sparse gradient that the parts do not take, and RuntimeError for one of
    another shape than its parameter's, before anything has moved.
    """
    for work in works: work.check_gradients()
    split = [dense_or_rows(work) for work in works]
    totals([work for work, _ in split], eager_total)
    for work, _ in split: step(work)
    for _, rows in split:
        if not rows: continue
        step(rows.work)
        rows.put_back()


def _step(cohort: Cohort, numbers: Values) -> None:
    """One step of the cohort's elements.

    A block's temporaries live until the next one has its own. Otherwise the allocator would hand
    their memory back to the system each time, and large tensors would take three times as long.
    """
    for block in blocks(cohort):
        try: change, new, old = _compute(cohort, block, numbers)
        except PartError as e: raise _blamed(e, cohort, block, numbers) from e.__cause__
        param, written = block.tensors['param'], cohort.work.composition.written
        new = {k: _unshared(new[k], old.values()) for k in written if k in new}
        if change is None: pass
        elif 'param' in new: new['param'] = new['param'] + change
        elif param.dtype == cohort.dtype: param.add_(change)
        else:                             param.copy_(old['param'] + change)
        for k, v in new.items(): block.tensors[k].copy_(v)
        block.scatter()


def _compute(cohort: Cohort, block: Block, numbers: Values
             ) -> tuple[Tensor | None, Values, Tensors]:
    "The change, the new state, and the tensors that they were computed from."
    c, old = cohort.work.composition, cohort.as_computed(block.tensors)
    state = {k: old[k] for k in c.tensor_stats}
    if c.reads_place: numbers = {'place': block.place, **numbers}
    if c.fed: numbers = {**numbers, **{k: old[k] for k in c.fed}}
    return *c.update(old['param'], old['grad'], state, numbers), old


def _unshared(x: Tensor, old: Iterable[Tensor]) -> Tensor:
    "A copy if a part has returned one of its arguments, which writing would change."
    return x.clone() if x._is_view() or any(x is t for t in old) else x


def _blamed(e: PartError, cohort: Cohort, block: Block, numbers: Values) -> PartError:
    "The error with its parameter: of several, the first on which the part fails alone."
    alone = [b for b in single_blocks(cohort) if any(b.params[0] is p for p in block.params)]
    for b in alone if len(alone) > 1 else []:
        try: _compute(cohort, b, numbers)
        except PartError as again: return cohort.work.located(again, b.params[0])
    return cohort.work.located(e, block.params[0])

