"""The eager engine: calls the parts one after another, on blocks of elements. The reference for every other engine.

Parts see real tensors, all of one dtype: complex ones as pairs of reals, as in torch; and float32, or float64 if the
parameter or its state is. So a step in lower precision rounds once, when its results are stored. Parts return new
values; only engines write.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..composition import Composition
from ..part import PartError
from .layout import Block, Cohort, blocks, cohorts, single

__all__ = ['run', 'run_cohort', 'numbers_of', 'finish']

Update: TypeAlias = Callable[..., tuple[Tensor, dict[str, Any]]]


def run(
    composition: Composition,
    hypers: Mapping[str, float],         # A plain number for each hyperparameter, and each total
    params: Sequence[Tensor],
    grads: Sequence[Tensor],             # One per parameter
    states: Sequence[dict[str, Any]],    # One per parameter, from `Composition.init`; updated in place
    describe: Callable[[Tensor], str],   # How errors call a parameter
    maximize: bool=False                 # Climb instead of descending?
) -> None:
    "One step of each parameter. If a part fails, the block of elements that it failed on is unchanged."
    for cohort in cohorts(composition, params, grads, states):
        if (numbers := numbers_of(composition, hypers, cohort, describe)) is not None:
            run_cohort(composition, cohort, numbers, describe, maximize)


def run_cohort(
    composition: Composition,
    cohort: Cohort,
    numbers: Mapping[str, Any],  # From `numbers_of`
    describe: Callable[[Tensor], str],
    maximize: bool=False,
    update: Update | None=None,  # In place of `composition.update`
    take: Callable[[Block], bool] | None=None  # Is given each block, not cut, and may do its step instead
) -> None:
    "One step of parameters that share their numbers."
    flat = composition.elementwise and cohort.flat
    for block in blocks(composition, cohort, cut=not take) if flat else single(composition, cohort):
        if take and take(block):
            block.scatter()
            continue
        try: change, new, old = _compute(composition, block, numbers, cohort.wide, maximize, update)
        except PartError as e: raise _blame(e, composition, cohort, block, numbers, maximize, describe) from e.__cause__
        param = block.tensors['param']
        new = {k: _own(new[k], old.values()) for k in composition.tensor_stats}
        if param.dtype == cohort.wide: param.add_(change)
        else:                          param.copy_(old['param'] + change)
        for k, v in new.items(): block.tensors[k].copy_(v)
        block.scatter()
    finish(composition, cohort, numbers)


def numbers_of(composition: Composition, hypers: Mapping[str, float], cohort: Cohort,
               describe: Callable[[Tensor], str]) -> dict[str, Any] | None:
    "The half of a step that is plain numbers, for the whole cohort. None where a gate is closed: the step is over."
    try: numbers = composition.numbers(cohort.states[0], hypers)
    except PartError as e: raise PartError(f'{e} (on {describe(cohort.params[0])})') from e.__cause__
    if not composition.is_closed(numbers): return numbers
    finish(composition, cohort, numbers)
    return None


def finish(composition: Composition, cohort: Cohort, numbers: Mapping[str, Any]) -> None:
    "Stores the stats that are numbers: the end of a cohort's step."
    new = {k: v.item() if hasattr(v := numbers[k], 'item') else v  # not NumPy's
           for k in composition.number_stats if k in numbers}
    for k, v in new.items():
        for state in cohort.states: state[k] = v


def _compute(composition: Composition, block: Block, numbers: Mapping[str, Any], wide: torch.dtype, maximize: bool,
             update: Update | None=None) -> tuple[Tensor, dict[str, Any], dict[str, Tensor]]:
    "The change, the new state, and what they were computed from."
    old = {k: t.to(wide) if t.is_floating_point() else t for k, t in block.tensors.items()}
    grad = -old['grad'] if maximize else old['grad']
    state = {k: old[k] for k in composition.tensor_stats}
    return *(update or composition.update)(old['param'], grad, state, numbers), old


def _own(x: Tensor, old: Iterable[Tensor]) -> Tensor:
    "A part may return what it read: that must not change when the parameter, or another stat, is written."
    return x.clone() if x._is_view() or any(x is t for t in old) else x


def _blame(e: PartError, composition: Composition, cohort: Cohort, block: Block, numbers: Mapping[str, Any],
           maximize: bool, describe: Callable[[Tensor], str]) -> PartError:
    "The error with the parameter that it is about: of several, the first on which the part fails alone."
    alone = [b for b in single(composition, cohort) if any(b.params[0] is p for p in block.params)]
    for b in alone if len(alone) > 1 else []:
        try: _compute(composition, b, numbers, cohort.wide, maximize)
        except PartError as again: return PartError(f'{again} (on {describe(b.params[0])})')
    return PartError(f'{e} (on {describe(block.params[0])})')
