"""The compiled engine: one kernel for a composition and its dtypes, run on any number of tensors.

On the CPU a kernel is a loop in C that is called once a step with the addresses of all tensors:
they stay where they are. A `Plan` remembers these. A kernel by torch.compile, as on a GPU, runs
on one block after another. Parts that need the whole tensor run as they are, and what lies
between them is compiled (`segments`). The eager engine runs the rest: sharded, overlapping and
strided tensors, and parts that cannot be compiled.
"""
from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..composition import Composition
from . import eager, segments
from .inductor import GraphKernel
from .kernels import kernel_in_place
from .layout import Block, Cohort, blocks, cohorts
from .plan import Plan as _Plan
from .toolchain import NoKernel
from .work import Work

__all__ = ['Compiled']

PLANS = 8  # how many a group keeps, one for each set of its parameters that had gradients


class Compiled:
    "The compiled engine of one optimizer. It warns once if something is not compiled."
    def __init__(self) -> None: self._warned = False

    def run(self, work: Work) -> None:
        "One step of each parameter, as `eager.run`."
        if not work.params: return
        if torch._C._len_torch_dispatch_stack(): return eager.run(work)  # a mode watches operations
        key = work.climb, work.places[0], work.places[-1], len(work.params)
        plan = work.plans.pop(key, None)
        steps = plan.steps(work) if plan else None
        if plan is None or steps is None:
            plan = _Plan(work, self._warn)
            steps = plan.steps(work) or []
        work.plans[key] = plan  # the last used is the last to go
        while len(work.plans) > PLANS: del work.plans[next(iter(work.plans))]
        for step in steps: step.run()
        for cohort in cohorts(work.subset(plan.rest)) if plan.rest else ():
            numbers = eager.numbers_of(cohort.work)
            if not work.composition.is_closed(numbers): self._step(cohort, numbers)
            eager.store_numbers(cohort.work, numbers)

    def _step(self, cohort: Cohort, numbers: Mapping[str, Any]) -> None:
        "One step of tensors that have no place in a plan."
        composition, update, todo = cohort.work.composition, None, blocks(cohort)
        if not segments.is_one_kernel(composition, cohort.work.hypers):
            update = segments.Update(composition, self._warn)
        elif cohort.is_flat:
            with suppress(NoKernel):  # the plan has said why
                if isinstance(kernel := kernel_in_place(cohort), GraphKernel):
                    todo = self._left_over(kernel, cohort, numbers)
        eager.step_blocks(cohort, todo, numbers, update)

    def _left_over(
        self, kernel: GraphKernel, cohort: Cohort, numbers: Mapping[str, Any]
    ) -> Iterator[Block]:
        "Runs the kernel on the cohort's blocks. Yields those that it does not take."
        for block in blocks(cohort, cut=False):
            tensors = block.flattened()
            try:
                if tensors: kernel(tensors, numbers)
            except NoKernel as e: self._warn(cohort.work.composition, str(e))
            if tensors and not kernel.why_not: block.scatter()
            else: yield block

    def _warn(self, composition: Composition, why: str) -> None:
        if not self._warned:
            text = f'{composition} runs in the eager engine, not compiled: {why}'
            warnings.warn(text, RuntimeWarning, _callers_level())
        self._warned = True


def _callers_level() -> int:
    "The `stacklevel` of a warning about the code that called genopt and torch."
    level, frame = 2, sys._getframe(2)
    inside = str(Path(__file__).parents[1]), str(Path(torch.__file__).parent)
    while frame.f_back and frame.f_code.co_filename.startswith(inside):
        level, frame = level + 1, frame.f_back
    return level
