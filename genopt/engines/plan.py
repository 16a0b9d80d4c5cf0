"""A plan: which kernel runs on which parameters, as long as nothing but values changes.

A kernel is given addresses. A plan keeps those of parameters and states, and no tensors, so it
keeps nothing alive. Before each step it compares them with the present ones; gradients may be
others in every step.
"""
from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..composition import Composition
from ..numbers import read
from . import eager
from .kernels import addresses_of, is_one_kernel, kernel_in_place
from .layout import PLAIN, are_aligned, are_disjoint, cohorts, in_order_of
from .toolchain import Kernel, NoKernel, build
from .work import Values, Work

TensorGuards: Any  # torch's own check of many tensors' kinds and layouts
try: from torch._C._dynamo.guards import TensorGuards
except ImportError: TensorGuards = None

__all__ = ['Plan']

FORMATS = {torch.int64: 'q', torch.float64: 'd'}  # as `numbers.kept` makes them

COMPARE = '''#include <stdint.h>
/* Are the `count` values of each number equal, as bits? */
void run(int64_t numbers, int64_t count, const int64_t *const *at, int *equal)
{
    *equal = 1;
    for (int64_t n = 0; n < numbers; n++, at += count)
        for (int64_t k = 1; k < count; k++) if (*at[k] != *at[0]) *equal = 0;
}
'''

Warn: TypeAlias = Callable[[Composition, str], None]  # is told why something is not compiled
Step: TypeAlias = Callable[[], None]                  # one call of a kernel


class Plan:
    "Which kernel updates which of these parameters."
    def __init__(self, work: Work, warn: Warn):
        self.places, self.units = [*work.places], [*_units(work, warn)]
        planned = {i for unit in self.units for i in unit.rows}
        self.rest = [i for i in range(len(work.params)) if i not in planned]  # which have no kernel

    def steps(self, work: Work) -> list[Step] | None:
        "The steps along these gradients. None if anything but values has changed."
        if [*work.places] != self.places: return None
        steps = [unit.step(work.subset(unit.rows)) for unit in self.units]
        return [*filter(None, steps)] if all(steps) else None


def _units(work: Work, warn: Warn) -> Iterator[Unit]:
    if not is_one_kernel(work.composition, work.hypers): return
    for cohort in cohorts(work):
        if not cohort.is_flat or cohort.work.params[0].device.type != 'cpu': continue
        try: kernel = kernel_in_place(cohort)
        except NoKernel as e:
            warn(work.composition, str(e))
            continue
        rows = [i for i in cohort.rows if _can_be_planned(work.tensors(i))]
        written = [t for i in rows for k, t in work.tensors(i).items() if k != 'grad']
        if not (isinstance(kernel, Kernel) and rows and are_disjoint(written)): continue
        try: unit = Unit(kernel, rows, work.subset(rows))
        except (ValueError, NoKernel): continue  # a count that is not as we keep it
        if unit.step(work.subset(rows)): yield unit


def _can_be_planned(tensors: dict[str, Tensor]) -> bool:
    "True if a kernel can be given the addresses of a parameter and its state."
    p, written = tensors['param'], [t for k, t in tensors.items() if k != 'grad']
    if p.numel() and not all(t.data_ptr() for t in tensors.values()): return False
    if any(t.device != p.device or t.is_neg() or t.is_conj() for t in written): return False
    return are_aligned(written)


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
        self.grad_kinds = Kinds([g.detach() for g in map(in_order_of, params, grads)])
        self.grad_dtype = grads[0].dtype
        self.grad_bytes = np.array([g.numel() * g.element_size() for g in grads], np.uint64)

    def step(self, part: Work) -> Step | None:
        "The step along these gradients. None if anything but values has changed."
        tensors = _written(part)
        try: addresses = addresses_of(tensors)
        except TypeError: return None  # somebody has put something else than a tensor there
        if addresses != self.addresses or not self.kinds.match(tensors): return None
        if not self.counts.are_equal(self.addresses[self.table_size:]): return None
        if (grads := self._gradients(part)) is None: return None
        at = addresses_of(grads)
        if self.memory.overlaps(at, self.grad_bytes): return None
        if 0 in at and any(n and not a for a, n in zip(at, self.sizes)): return None
        return partial(self._run, part, self.addresses[:self.table_size] + at, grads)

    def _gradients(self, part: Work) -> Sequence[Tensor] | None:
        "Each in the order of its parameter's elements. None if one is another kind of tensor."
        grads, params = part.grads, part.params
        if self.grad_kinds.match(grads): return grads
        if any(type(g) not in PLAIN or g.dtype != self.grad_dtype or g.shape != p.shape
               or g.device != p.device for g, p in zip(grads, params)): return None
        return [*map(in_order_of, params, grads)]

    def _run(self, part: Work, table: array[int], _grads: Sequence[Tensor]) -> None:
        "Calls the kernel with a table of addresses. The gradients must live until then."
        c, numbers = part.composition, eager.numbers_of(part)
        if c.is_closed(numbers): return eager.store_numbers(part, numbers)
        new = self.counts.encode(numbers)
        self.kernel(self.sizes, table, numbers, self.addresses[self.table_size:], new)
        increment_version(part.params)  # state is never part of a graph
        if c.number_stats and not new: eager.store_numbers(part, numbers)


class Kinds:
    "The shapes, strides, dtypes, devices and classes of some tensors."
    def __init__(self, tensors: Sequence[Tensor]):
        self.guard = TensorGuards and TensorGuards(*tensors, dynamic_dims_sizes=None,
                                                   dynamic_dims_strides=None)
        if self.guard and not self.guard.check(*tensors): self.guard = None
        self.kinds = None if self.guard else [*map(_kind, tensors)]

    def match(self, tensors: Sequence[Tensor]) -> bool:
        "True if these are alike, one by one."
        if self.guard: return bool(self.guard.check(*tensors))
        return [*map(_kind, tensors)] == self.kinds


def _kind(t: Tensor) -> tuple[Any, ...]:
    return (type(t), t.shape, t.stride(), t.dtype, t.device, t.layout, t.is_neg(), t.is_conj(),
            t.requires_grad)


class Counts:
    """Stats that are numbers, of several parameters: one value for all of a kernel's call.

    Raises NoKernel without a compiler, ValueError if they are not plain 0-dim tensors of 8 bytes.
    """
    def __init__(self, columns: Mapping[str, Sequence[Any]]):
        self.names, self.formats = [*columns], ''
        for column in columns.values():
            [form] = {*map(_format, column)}
            self.formats += form
        self._compare = build(COMPARE) if columns else None

    def are_equal(self, addresses: array[int]) -> bool:
        "True if all values of a number are the same, for each number: addresses are in this order."
        if not self._compare: return True
        equal, count = ctypes.c_int(), len(addresses) // len(self.names)
        self._compare(ctypes.c_int64(len(self.names)), ctypes.c_int64(count),
                      ctypes.c_void_p(addresses.buffer_info()[0]), ctypes.byref(equal))
        return bool(equal.value)

    def encode(self, values: Values) -> bytes:
        "New values, of 8 bytes each. None at all if a whole number has become a fraction."
        new = [read(values[k]) for k in self.names]
        fits = all(form == 'd' or isinstance(x, int) for form, x in zip(self.formats, new))
        return struct.pack(self.formats, *new) if fits else b''


def _format(x: Any) -> str:
    "How a number's 8 bytes are read. Raises ValueError for anything else."
    is_ours = type(x) is Tensor and x.dtype in FORMATS and not x.dim() and x.is_cpu
    if not is_ours: raise ValueError('not a number as states keep it')
    return FORMATS[x.dtype]


class Memory:
    "The memory that a kernel writes to: of dense tensors, not empty, that do not overlap."
    def __init__(self, tensors: Iterable[Tensor]):
        found = sorted((t.data_ptr(), t.data_ptr() + t.nbytes) for t in tensors)
        self.begins, self.ends = np.array(found, np.uint64).reshape(-1, 2).T

    def overlaps(self, addresses: array[int], sizes: np.ndarray[Any, Any]) -> bool:
        "True if other dense tensors, of these sizes in bytes, lie in this memory, even in part."
        first = np.frombuffer(addresses, np.uint64)
        begun = np.searchsorted(self.begins, first + sizes)  # how many begin before a tensor ends
        ended = np.searchsorted(self.ends, first, 'right')   # how many end before it begins
        return bool((begun > ended).any())


def _written(part: Work) -> list[Tensor]:
    "All that a step writes to: the parameters, then one stat after another, the numbers last."
    c = part.composition
    columns = [part.params, *[part.columns[k] for k in (*c.tensor_stats, *c.number_stats)]]
    return [t for column in columns for t in column]
