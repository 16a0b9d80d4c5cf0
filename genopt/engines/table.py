"""Tables of addresses for kernels, and the checks that must come before a kernel is called.

A kernel writes where its table says. So before each step the kinds and layouts of all tensors are
compared with those for which the table was made, and gradients must lie elsewhere.
"""
from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .toolchain import build

TensorGuards: Any  # torch's own check of many tensors' kinds and layouts
try: from torch._C._dynamo.guards import TensorGuards
except ImportError: TensorGuards = None

__all__ = ['Counts', 'Integers', 'Kinds', 'Memory', 'Table', 'addresses_of', 'overlapping']

Integers: TypeAlias = np.ndarray[Any, Any]

FORMATS = {torch.int64: 'q', torch.float64: 'd'}  # as `numbers.kept` makes them

CODE = '''#include <stdint.h>
/* Tensors of one group that have equal counts share a row of numbers. Writes down the row of each,
   and the first tensor of each row. Returns the number of rows. */
int64_t rows(int64_t count, int64_t counts, const int64_t *const *at, const int64_t *group,
             int64_t *row, int64_t *first)
{
    int64_t found = 0, begin = 0, r = 0;
    for (int64_t k = 0; k < count; k++) {
        if (k && group[k] != group[k - 1]) begin = r = found;
        for (int64_t tried = begin; ; tried++) {  /* first the one before */
            const int64_t j = tried == begin ? r : tried - (tried <= r);
            if (tried == found) { first[r = found++] = k; break; }
            int64_t n = 0;
            while (n < counts && *at[n * count + k] == *at[n * count + first[j]]) n++;
            if (n == counts) { r = j; break; }
        }
        row[k] = r;
    }
    return found;
}

/* Gives the counts of each tensor the values of its row. */
void store(int64_t count, int64_t counts, int64_t *const *at, const int64_t *row,
           const int64_t *values)
{
    for (int64_t n = 0; n < counts; n++)
        for (int64_t k = 0; k < count; k++)
            if (row[k] >= 0) *at[n * count + k] = values[row[k] * counts + n];
}

/* Do dense tensors that are not empty lie somewhere, but not in these stretches of memory? */
int apart(int64_t count, const uint64_t *at, const uint64_t *bytes, int64_t stretches,
          const uint64_t *begin, const uint64_t *end)
{
    for (int64_t k = 0; k < count; k++) {
        if (!bytes[k]) continue;
        int64_t low = 0, high = stretches;  /* between them, the first that ends after it begins */
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (end[middle] > at[k]) high = middle;
            else low = middle + 1;
        }
        if (!at[k] || (low < stretches && begin[low] < at[k] + bytes[k])) return 0;
    }
    return 1;
}
'''


def _functions() -> ctypes.CDLL:
    "The code above, compiled. Raises NoKernel."
    library = build(CODE, 'rows', 'store', 'apart')
    library.rows.restype = ctypes.c_int64
    library.rows.argtypes = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 4
    library.store.argtypes = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 3
    library.apart.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * 2] * 2
    return library


def addresses_of(tensors: Iterable[Tensor]) -> array[int]:
    "Where tensors begin."
    return array('Q', [*map(Tensor.data_ptr, tensors)])


class Table:
    "Numbers of 8 bytes that stay where they are, so that a kernel can be told where."
    def __init__(self, values: Any, dtype: Any=np.int64):
        self.values: Integers = np.array(values, dtype, order='C')
        self.at: int = self.values.ctypes.data


class Counts:
    """Stats that are numbers, of several parameters.

    Raises NoKernel without a compiler, ValueError if they are not plain 0-dim tensors of 8 bytes.
    """
    def __init__(self,
        columns: Sequence[Sequence[Tensor]],  # The counts of each name
        groups: Sequence[int],                # The group of each parameter
        fixed: Sequence[Sequence[Tensor]]=(),  # Other numbers that it has, of each name
        sets: Sequence[Tensor]=()              # One more, which may change
    ):
        self.formats = ''
        for column in columns:
            [form] = {*map(_format, column)}
            self.formats += form
        self.groups, self.row, self.first = Table(groups), Table(groups), Table(groups)
        # These must live as long as their addresses are read
        self.fixed, self.may_change = [*fixed, *[sets] * bool(sets)], bool(columns or sets)
        self.addresses = Table([x.data_ptr() for column in (*columns, *self.fixed) for x in column])
        self.size = len(groups), len(self.formats)
        self.library = _functions()
        self.firsts = self._rows()

    def rows(self) -> list[int]:
        "Gives each parameter a row of numbers, in `self.row`. Returns the first one of each row."
        return self._rows() if self.may_change else self.firsts

    def _rows(self) -> list[int]:
        count, counts = self.size
        found = self.library.rows(count, counts + len(self.fixed), self.addresses.at,
                                  self.groups.at, self.row.at, self.first.at)
        first: list[int] = self.first.values[:found].tolist()
        return first

    def store(self, rows: int, values: Sequence[Sequence[Any]]) -> bool:
        """Gives counts the values of their rows: `rows` is where each parameter's row stands.

        False, and nothing is written, if a whole number has become a fraction.
        """
        for row in values:
            for form, x in zip(self.formats, row):
                if form == 'q' and not isinstance(x, int): return False
        new = struct.pack(self.formats * len(values), *[x for row in values for x in row])
        self.library.store(*self.size, self.addresses.at, rows, new)
        return True


def _format(x: Any) -> str:
    "How a number's 8 bytes are read. Raises ValueError for anything else."
    is_ours = type(x) is Tensor and x.dtype in FORMATS and not x.dim() and x.is_cpu
    if not is_ours: raise ValueError('not a number as states keep it')
    return FORMATS[x.dtype]


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


class Memory:
    """The memory that a kernel writes to: of dense tensors that do not overlap.

    Raises NoKernel without a compiler.
    """
    def __init__(self, tensors: Iterable[Tensor]):
        self.library = _functions()
        found = sorted((t.data_ptr(), t.data_ptr() + t.nbytes) for t in tensors if t.numel())
        self.begins, self.ends = (Table([pair[i] for pair in found], np.uint64) for i in (0, 1))

    def is_apart(self, addresses: array[int], sizes: Table) -> bool:
        "True if other dense tensors, of these sizes in bytes, have memory, and none of it is here."
        at, count = addresses.buffer_info()
        return bool(self.library.apart(count, at, sizes.at, len(self.begins.values),
                                       self.begins.at, self.ends.at))


def overlapping(tensors: Iterable[tuple[int, Tensor]]) -> set[int]:
    "The keys of dense tensors that share memory with another one of these."
    found = sorted((t.data_ptr(), t.data_ptr() + t.nbytes, key) for key, t in tensors if t.numel())
    res, end, owner = set[int](), -1, -1
    for low, high, key in found:
        if low < end: res |= {key, owner}
        if high > end: end, owner = high, key
    return res
