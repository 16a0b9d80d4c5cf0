"""A plan: which kernel runs on which parameters, as long as nothing but values changes.

A kernel is given addresses. A plan keeps those of parameters and states, and no tensors, so it
keeps nothing alive. Before each step it compares them with what is there; gradients may be others
in every step.
"""
from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..composition import Composition
from . import eager, segments
from .counts import Counts
from .kernels import addresses_of, kernel_in_place
from .layout import PLAIN, are_disjoint, cohorts, is_dense
from .toolchain import Kernel, NoKernel
from .work import Work

try: from torch._C._dynamo import guards  # torch's own check of many tensors' kinds and layouts
except ImportError: guards = None  # type: ignore[assignment]

__all__ = ['Plan']

Warn: TypeAlias = Callable[[Composition, str], None]  # is told why something is not compiled


class Plan:
    "Which kernel updates which of these parameters."
    def __init__(self, work: Work, warn: Warn):
        self.places, self.units = [*work.places], [*_units(work, warn)]
        planned = {i for unit in self.units for i in unit.rows}
        self.rest = [i for i in range(len(work.params)) if i not in planned]  # which have no kernel

    def steps(self, work: Work) -> list[Step] | None:
        "What to do with these gradients. None if something else than values has changed."
        if [*work.places] != self.places: return None
        steps = []
        for unit in self.units:
            if (step := unit.step(work.subset(unit.rows))) is None: return None
            steps.append(step)
        return steps


def _units(work: Work, warn: Warn) -> Iterator[Unit]:
    if not segments.is_one_kernel(work.composition, work.hypers): return
    for cohort in cohorts(work):
        if not cohort.is_flat or cohort.work.params[0].device.type != 'cpu': continue
        try: kernel = kernel_in_place(cohort)
        except NoKernel as e:
            warn(work.composition, str(e))
            continue
        rows = [i for i in cohort.rows if _is_dense_in_one_order(work.tensors(i))]
        written = [t for i in rows for k, t in work.tensors(i).items() if k != 'grad']
        if not (isinstance(kernel, Kernel) and rows and are_disjoint(written)): continue
        try: unit = Unit(kernel, rows, work.subset(rows))
        except (ValueError, NoKernel): continue  # a count that is not as we keep it
        if unit.step(work.subset(rows)): yield unit


def _is_dense_in_one_order(tensors: dict[str, Tensor]) -> bool:
    "True if a parameter and its state fill their memory, with their elements in the same order."
    p, written = tensors['param'], [t for k, t in tensors.items() if k != 'grad']
    if p.numel() and not all(t.data_ptr() for t in tensors.values()): return False
    if any(t.device != p.device or t.is_neg() or t.is_conj() for t in written): return False
    if all(t.is_contiguous() for t in written): return True
    return is_dense(p) and all(t.stride() == p.stride() for t in written)


class Unit:
    "Parameters that one call of a kernel updates, by the addresses of their tensors."
    def __init__(self, kernel: Kernel, rows: list[int], part: Work):
        params, grads, c = part.params, part.grads, part.composition
        self.kernel, self.rows = kernel, rows
        self.counts = Counts({k: part.columns[k] for k in c.number_stats})
        tensors = _written(part)
        self.addresses, self.kinds = addresses_of(tensors), Kinds(tensors)
        self.table_size = len(rows) * (1 + len(c.tensor_stats))  # counts are not in the table
        self.sizes = array('q', [p.numel() * (1 + p.is_complex()) for p in params])
        self.memory = Memory([t for t in tensors[:self.table_size] if t.numel()])
        self.grad_kinds = Kinds([_in_order_of(p, g).detach() for p, g in zip(params, grads)])
        self.grad_dtype = grads[0].dtype
        self.grad_bytes = np.array([g.numel() * g.element_size() for g in grads], np.uint64)

    def step(self, part: Work) -> Step | None:
        "The step along these gradients. None if something else than values has changed."
        tensors = _written(part)
        try: addresses = addresses_of(tensors)
        except TypeError: return None  # somebody has put something else than a tensor there
        if addresses != self.addresses or not self.kinds.match(tensors): return None
        if not self.counts.are_equal(self.addresses[self.table_size:]): return None
        if (grads := self._gradients(part)) is None: return None
        at = addresses_of(grads)
        if self.memory.overlaps(at, self.grad_bytes): return None
        if 0 in at and any(n and not a for a, n in zip(at, self.sizes)): return None
        return Step(self, part, grads, self.addresses[:self.table_size] + at)

    def _gradients(self, part: Work) -> Sequence[Tensor] | None:
        "Each in the order of its parameter's elements. None if one is another kind of tensor."
        grads, params = part.grads, part.params
        if self.grad_kinds.match(grads): return grads
        if any(type(g) not in PLAIN or g.dtype != self.grad_dtype or g.shape != p.shape
               or g.device != p.device for g, p in zip(grads, params)): return None
        return [_in_order_of(p, g) for p, g in zip(params, grads)]


class Step(NamedTuple):
    "One call of a kernel."
    unit: Unit
    part: Work
    grads: Sequence[Tensor]  # which live until the call
    table: array[int]        # addresses of all parameters, of each stat, of all gradients

    def run(self) -> None:
        unit, part, c = self.unit, self.part, self.part.composition
        numbers = eager.numbers_of(part)
        if c.is_closed(numbers): return eager.store_numbers(part, numbers)
        new = unit.counts.encode({k: eager.plain_number(numbers[k]) for k in c.number_stats})
        unit.kernel(unit.sizes, self.table, numbers, unit.addresses[unit.table_size:], new)
        increment_version(part.params)  # state is never part of a graph
        if c.number_stats and not new: eager.store_numbers(part, numbers)


class Kinds:
    "The shapes, strides, dtypes, devices and classes of some tensors."
    def __init__(self, tensors: Sequence[Tensor]):
        make: Any = getattr(guards, 'TensorGuards', None)
        self.guard = make and make(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)
        if self.guard and not self.guard.check(*tensors): self.guard = None
        self.kinds = None if self.guard else [*map(_kind, tensors)]

    def match(self, tensors: Sequence[Tensor]) -> bool:
        "True if these are alike, one by one."
        if self.guard: return bool(self.guard.check(*tensors))
        return [*map(_kind, tensors)] == self.kinds


def _kind(t: Tensor) -> tuple[Any, ...]:
    return (type(t), t.shape, t.stride(), t.dtype, t.device, t.layout, t.is_neg(), t.is_conj(),
            t.requires_grad)


class Memory:
    "The memory that a kernel writes to: of dense tensors, not empty, that do not overlap."
    def __init__(self, tensors: Iterable[Tensor]):
        found = sorted((t.data_ptr(), t.data_ptr() + t.nbytes) for t in tensors)
        self.begins, self.ends = np.array(found, np.uint64).reshape(-1, 2).T

    def overlaps(
        self,
        addresses: array[int],       # Of other dense tensors
        sizes: np.ndarray[Any, Any]  # Their numbers of bytes
    ) -> bool:
        "True if any of these lies, in part or whole, in this memory."
        first = np.frombuffer(addresses, np.uint64)
        begun = np.searchsorted(self.begins, first + sizes)  # how many begin before a tensor ends
        ended = np.searchsorted(self.ends, first, 'right')   # how many end before it begins
        return bool((begun > ended).any())


def _written(part: Work) -> list[Tensor]:
    "All that a step writes to: the parameters, then one stat after another, the numbers last."
    c = part.composition
    columns = [part.params, *[part.columns[k] for k in (*c.tensor_stats, *c.number_stats)]]
    return [t for column in columns for t in column]


def _in_order_of(param: Tensor, grad: Tensor) -> Tensor:
    "The gradient with its elements where its parameter has them: itself, or a copy."
    if grad.stride() == param.stride() and not grad.is_neg() and not grad.is_conj(): return grad
    return torch.empty_like(param, dtype=grad.dtype).copy_(grad)
