"""The compiled engine: one kernel for a composition and its dtypes, run on any number of tensors of any length.

A composition is recorded once on a tape. On the CPU the tape becomes a loop in C (`native`), which is called once a
step with the addresses of all tensors: they stay where they are. On a GPU, or where C has no word for an operation, it
becomes a kernel of torch.compile's (`inductor`) that runs on blocks. Some parts run as they are, and what lies between
them is compiled (`segments`). The eager engine runs sharded, overlapping and strided tensors, and parts that
cannot be compiled.

Numbers are arguments of a kernel, so no value of a hyperparameter, schedule or count ever compiles anything.
"""
from __future__ import annotations

import sys
import warnings
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..composition import Composition
from . import eager, segments
from .counts import Counts
from .inductor import Fused
from .layout import PLAIN, Block, Cohort, apart, cohorts, is_dense
from .native import Column, Kernel, NoKernel, Untranslatable, source
from .tape import Tape, record
from .work import Work

try: from torch._C._dynamo import guards  # torch's own: compares kinds and layouts of many tensors at once
except ImportError: guards = None  # type: ignore[assignment]

__all__ = ['Compiled']

PLANS = 8  # how many a group keeps, one for each set of its parameters that had gradients

# By composition, and then by dtypes: its kernels, or the reasons why there are none
_kernels: WeakKeyDictionary[Composition, dict[Any, Any]] = WeakKeyDictionary()


class Compiled:
    "The compiled engine of one optimizer. It remembers where tensors lie, and looks again when anything has changed."
    def __init__(self) -> None: self._warned = False

    def run(self, work: Work) -> None:
        "One step of each parameter, as `eager.run`."
        if not work.params: return
        if torch._C._len_torch_dispatch_stack(): return eager.run(work)  # somebody watches or changes operations
        key = work.climb, work.places[0], work.places[-1], len(work.params)
        plan = work.plans.pop(key, None)
        if plan is None or (ready := plan.ready(work)) is None:
            plan = _Plan(work, self._warn)
            ready = plan.ready(work) or []
        work.plans[key] = plan  # the last used is the last to go
        while len(work.plans) > PLANS: del work.plans[next(iter(work.plans))]
        for unit, part, grads in ready: unit.step(part, grads)
        for cohort in cohorts(work.only(plan.others)) if plan.others else ():
            if (numbers := eager.numbers_of(cohort.work)) is not None: self._run_in_blocks(cohort, numbers)

    def _run_in_blocks(self, cohort: Cohort, numbers: Mapping[str, Any]) -> None:
        "What has no single call for all tensors: a GPU's, and parts that need the whole tensor."
        composition = cohort.work.composition
        if not segments.is_one(composition, cohort.work.hypers):
            return eager.run_cohort(cohort, numbers, partial(segments.update, composition, self._warn))
        kernel = _kernel_of(cohort) if cohort.flat else None
        if not isinstance(kernel, Fused): return eager.run_cohort(cohort, numbers)

        def take(block: Block) -> bool:
            if kernel.failed or (tensors := block.flat()) is None: return False
            try: kernel(tensors, numbers)
            except Exception as e:  # whatever torch.compile may raise
                kernel.failed = f'torch.compile failed: {type(e).__name__}: {" ".join(str(e).split())[:300]}'
                self._warn(composition, kernel.failed)
            return not kernel.failed
        eager.run_cohort(cohort, numbers, take=take)

    def _warn(self, composition: Composition, why: str) -> None:
        if not self._warned:
            warnings.warn(f'{composition} runs in the eager engine, not compiled: {why}', RuntimeWarning,
                          _callers_level())
        self._warned = True


def _callers_level() -> int:
    "The `stacklevel` of a warning about the code that called genopt and torch."
    level, frame = 2, sys._getframe(2)
    inside = str(Path(__file__).parents[1]), str(Path(torch.__file__).parent)
    while frame.f_back and frame.f_code.co_filename.startswith(inside): level, frame = level + 1, frame.f_back
    return level


# -- one call for all tensors --------------------------------------------------------------------------------

class _Plan:
    """Which kernel runs on which of these parameters, as long as nothing about them changes.

    It holds addresses and no tensors, so it keeps nothing alive.
    """
    def __init__(self, work: Work, warn: Callable[[Composition, str], None]):
        self.units, self.places = list[_Unit](), list(work.places)
        one = segments.is_one(work.composition, work.hypers)
        for cohort in cohorts(work):
            kernel: Any = None
            if one and cohort.flat and cohort.work.params[0].device.type == 'cpu':
                kernel = _kernel_of(cohort)
                if isinstance(kernel, str): warn(work.composition, kernel)
            if not isinstance(kernel, Kernel): continue
            rows = [i for i in cohort.rows if _fits(work, i)]
            if rows and apart([t for i in rows for k, t in work.tensors(i).items() if k != 'grad']):
                try: unit = _Unit(kernel, rows, work.only(rows))
                except (ValueError, NoKernel): continue  # a count that is not as we keep it
                if unit.gradients(work.only(rows)) is not None: self.units.append(unit)
        taken = {i for unit in self.units for i in unit.rows}
        self.others = [i for i in range(len(work.params)) if i not in taken]

    def ready(self, work: Work) -> list[_Ready] | None:
        "What each kernel is to run on. None if anything is not as it was, but for the values."
        if [*work.places] != self.places: return None
        parts = [work.only(unit.rows) for unit in self.units]
        res = [(unit, part, grads) for unit, part in zip(self.units, parts)
               if (grads := unit.gradients(part)) is not None]
        return res if len(res) == len(parts) else None


def _fits(work: Work, row: int) -> bool:
    "True if a parameter's tensors are dense in memory, with their elements in one order."
    tensors = work.tensors(row)
    grad, p = tensors.pop('grad'), tensors['param']
    if p.numel() and not all(t.data_ptr() for t in (*tensors.values(), grad)): return False
    if any(t.device != p.device or t.is_neg() or t.is_conj() for t in tensors.values()): return False
    if all(t.is_contiguous() for t in tensors.values()): return True
    return is_dense(p) and all(t.stride() == p.stride() for t in tensors.values())


class _Unit:
    "Parameters that one call of a kernel updates, by the addresses of their tensors."
    def __init__(self, kernel: Kernel, rows: list[int], part: Work):
        self.kernel, self.rows, columns = kernel, rows, _columns(part)
        self.addresses = [_addresses(column) for column in columns]
        owned = sorted((t.data_ptr(), t.data_ptr() + t.nbytes) for column in columns for t in column if t.numel())
        self.begins, self.ends = np.array(owned, np.uint64).reshape(-1, 2).T
        self.counts = Counts({k: part.columns[k] for k in part.composition.number_stats})
        self.kinds, self.grad_dtype = _Kinds(_all(part)), part.grads[0].dtype
        self.grad_kinds = _Kinds([_like(g, p).detach() for g, p in zip(part.grads, part.params)])
        self.bytes = np.array([p.numel() * g.element_size() for g, p in zip(part.grads, part.params)], np.uint64)
        self.sizes = array('q', [p.numel() * (1 + p.is_complex()) for p in part.params])
        self.width = len(columns) + 1
        self.table = array('Q', bytes(8 * self.width * len(rows)))  # rows: param, grad, stats
        for i, addresses in enumerate(self.addresses): self.table[i + (i > 0)::self.width] = addresses

    def gradients(self, part: Work) -> Gradients | None:
        """The gradients, laid out as their parameters; None if anything is not as it was, but for the values.

        It runs for every tensor in every step.
        """
        grads, params, columns = part.grads, part.params, part.columns
        try:
            if [_addresses(column) for column in _columns(part)] != self.addresses: return None
            if self.counts.read({k: columns[k] for k in self.counts.names}) is None: return None
            if not self.kinds.match(_all(part)): return None
        except TypeError: return None  # somebody has put something else than a tensor there
        if not self.grad_kinds.match(grads):  # another order of elements, or another kind of tensor
            if any(type(g) not in PLAIN or g.dtype != self.grad_dtype or g.shape != p.shape or g.device != p.device
                   for g, p in zip(grads, params)): return None
            grads = [_like(g, p) for g, p in zip(grads, params)]
        at = _addresses(grads)
        if self._meets(at): return None  # a gradient that shares memory with a parameter or state
        if 0 in at and any(n and not a for a, n in zip(at, self.sizes)): return None
        return grads, at

    def _meets(self, at: array[int]) -> bool:
        "True if a gradient lies, in part or whole, where the kernel writes. What it writes to lies apart."
        begin = np.frombuffer(at, np.uint64)
        before, after = np.searchsorted(self.begins, begin + self.bytes), np.searchsorted(self.ends, begin, 'right')
        return bool((before > after).any())

    def step(self, part: Work, gradients: Gradients) -> None:
        "One step, with what `gradients` returned."
        if (numbers := eager.numbers_of(part)) is None: return
        _, self.table[1::self.width] = gradients
        counts = {k: v.item() if hasattr(v := numbers[k], 'item') else v for k in self.counts.names}
        fits = self.counts.fit(counts)
        self.kernel(len(self.sizes), self.sizes.buffer_info()[0], self.table.buffer_info()[0], numbers,
                    self.counts.addresses.buffer_info()[0], self.counts.encode(counts) if fits else b'')
        increment_version(part.params)  # state is never part of a graph
        if not fits: eager.finish(part, numbers)  # a whole number has become a fraction


Gradients: TypeAlias = 'tuple[Sequence[Tensor], array[int]]'  # with their addresses
_Ready: TypeAlias = tuple[_Unit, Work, Gradients]


class _Kinds:
    "The shapes, strides, dtypes, devices and classes of some tensors."
    def __init__(self, tensors: Sequence[Tensor]):
        make: Any = getattr(guards, 'TensorGuards', None)
        self.guard = make and make(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)
        if self.guard and not self.guard.check(*tensors): self.guard = None
        self.kinds = None if self.guard else [*map(_kind, tensors)]

    def match(self, tensors: Sequence[Tensor]) -> bool:
        "True if these are alike, one by one."
        return bool(self.guard.check(*tensors)) if self.guard else [*map(_kind, tensors)] == self.kinds


def _kind(t: Tensor) -> tuple[Any, ...]:
    return type(t), t.shape, t.stride(), t.dtype, t.device, t.layout, t.is_neg(), t.is_conj(), t.requires_grad


def _all(part: Work) -> list[Tensor]: return [t for column in (part.params, *part.columns.values()) for t in column]


def _columns(part: Work) -> list[Sequence[Tensor]]:
    return [part.params, *[part.columns[k] for k in part.composition.tensor_stats]]


def _addresses(tensors: Iterable[Tensor]) -> array[int]: return array('Q', [*map(Tensor.data_ptr, tensors)])


def _like(grad: Tensor, param: Tensor) -> Tensor:
    "The gradient with its elements where its parameter has them."
    if grad.stride() == param.stride() and not grad.is_neg() and not grad.is_conj(): return grad
    return torch.empty_like(param, dtype=grad.dtype).copy_(grad)


# -- kernels -------------------------------------------------------------------------------------------------

def _kernel_of(cohort: Cohort) -> Kernel | Fused | str:
    "The kernel that updates the cohort's tensors in place, or why there is none."
    work, composition, maximize = cohort.work, cohort.work.composition, cohort.work.climb
    stored = {k: _real(t.dtype) for k, t in work.tensors(0).items()}
    p = work.params[0]
    key = (*stored.values(), cohort.wide, maximize, p.device.type, torch.get_default_dtype())
    known = _kernels.setdefault(composition, {})
    if key not in known:
        names = {k: k if k in ('param', 'grad') else f'prev_{k}' for k in stored}  # what the parts call them
        begin = {names[k]: cohort.wide if d.is_floating_point else d for k, d in stored.items()}
        results = {k: 'new_param' if k == 'param' else k for k in stored if k != 'grad'}
        tape = record(composition.tensor_parts, begin, segments.numbers_of(composition),
                      [*results.values()], maximize)
        columns = {k: Column(d, tape.tensors[names[k]], tape.results[results[k]] if k in results else None)
                   for k, d in stored.items()}
        known[key] = _build(tape, columns, p.device.type == 'cpu')
    kernel: Kernel | Fused | str = known[key]
    return kernel


def _build(tape: Tape, columns: Mapping[str, Column], native: bool) -> Kernel | Fused | str:
    try: return Kernel(source(tape, [*columns.values()]), [*tape.numbers]) if native else Fused(tape, columns)
    except Untranslatable: return Fused(tape, columns)
    except NoKernel as e: return str(e)


def _real(dtype: torch.dtype) -> torch.dtype: return dtype.to_real() if dtype.is_complex else dtype
