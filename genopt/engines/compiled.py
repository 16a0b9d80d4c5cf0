"""The compiled engine: one kernel for a composition and its dtypes, run on any number of tensors.

On the CPU a kernel is a loop in C that is called once a step with the addresses of all tensors:
they stay where they are. A `Plan` remembers these. A kernel by torch.compile, as on a GPU, runs
on one block after another. Parts that need the whole tensor run as they are, and the segments
between them are compiled. The eager engine runs the rest: sharded, overlapping and strided
tensors, and parts that cannot be compiled.
"""
from __future__ import annotations

import sys
import warnings
from array import array
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..composition import Composition, Env, walk
from . import eager
from .inductor import GraphKernel
from .kernels import (Segment, addresses_of, is_one_kernel, kernel_in_place, kernel_of_segment,
                      segments)
from .layout import PLAIN, Block, Cohort, blocks
from .plan import Plan as _Plan
from .toolchain import NoKernel
from .work import Tensors, Values, Work

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
        steps = plan and plan.steps(work)
        if steps is None:
            plan = _Plan(work, self._warn)
            steps = plan.steps(work) or []
        work.plans[key] = plan  # the last used is the last to go
        while len(work.plans) > PLANS: del work.plans[next(iter(work.plans))]
        for step in steps: step()
        if plan.rest: eager.run(work.subset(plan.rest), self._step)

    def _step(self, cohort: Cohort, numbers: Values) -> None:
        "One step of tensors that have no place in a plan."
        composition, update, todo = cohort.work.composition, None, blocks(cohort)
        if not is_one_kernel(composition, cohort.work.hypers):
            update = partial(self._update, composition)
        elif cohort.is_flat:
            with suppress(NoKernel):  # the plan has said why
                if isinstance(kernel := kernel_in_place(cohort), GraphKernel):
                    todo = self._left_over(kernel, cohort, numbers)
        eager.step_blocks(cohort, todo, numbers, update)

    def _left_over(self, kernel: GraphKernel, cohort: Cohort, numbers: Values) -> Iterator[Block]:
        "Runs the kernel on the cohort's blocks. Yields those that it does not take."
        for block in blocks(cohort, cut=False):
            tensors = block.flattened()
            try:
                if tensors: kernel(tensors, numbers)
            except NoKernel as e: self._warn(cohort.work.composition, str(e))
            if tensors and not kernel.why_not: block.scatter()
            else: yield block

    def _update(self, composition: Composition, param: Tensor, grad: Tensor, state: Values,
                numbers: Values) -> tuple[Tensor, Values]:
        "As `composition.update`, with kernels for the segments that can be compiled."
        env = Env.of(param, grad, state, numbers)
        for segment in segments(composition, numbers):
            made = None if segment.as_it_is else self._made(composition, segment, env)
            if made is None: walk(segment.parts, env)
            else: env |= made
        return env['update'], {k: env[k] for k in composition.stats}

    def _made(self, composition: Composition, segment: Segment, env: Env) -> Tensors | None:
        "The tensors that a segment's kernel makes. None if it has none, or not for such tensors."
        param, tensors = env['param'], {k: env[k] for k in segment.reads if k != 'place'}
        if not all(type(t) in PLAIN and t.shape == param.shape and t.is_cpu
                   for t in tensors.values()): return None
        dtypes = {k: t.dtype for k, t in tensors.items()}
        try: kernel, made_dtypes = kernel_of_segment(composition, segment, dtypes)
        except NoKernel as e:
            self._warn(composition, str(e))
            return None
        given = [t.resolve_neg().contiguous() for t in tensors.values()]
        made = {k: torch.empty(param.shape, dtype=d, device='cpu') for k, d in made_dtypes.items()}
        kernel(array('q', [param.numel()]), addresses_of([*given, *made.values()]), env)
        return made

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
