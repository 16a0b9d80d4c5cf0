"""Counts, and other numbers in states, by their addresses: one value for all parameters of a kernel's call.

They are read by one call, and the kernel that moves the parameters writes the new ones: no interrupt comes between.
"""
from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .toolchain import build

__all__ = ['Counts']

FORMATS = {torch.int64: 'q', torch.float64: 'd'}  # as `numbers.kept` makes them

SAME = '''#include <stdint.h>
/* Are all of these equal, as bits? The first one goes to `first` */
void run(int64_t count, const int64_t *const *at, int64_t *first, int *same)
{
    *first = *at[0], *same = 1;
    for (int64_t k = 1; k < count; k++) if (*at[k] != *first) *same = 0;
}
'''


class Counts:
    """Stats that are numbers, of several parameters.

    Raises NoKernel if there is no compiler, ValueError if they are not plain 0-dim tensors of 8 bytes.
    """
    def __init__(self, columns: Mapping[str, Sequence[Any]]):
        self.names, self.formats = [*columns], ''
        for column in columns.values():
            found = {FORMATS.get(t.dtype, '') if type(t) is Tensor and not t.dim() and t.is_cpu else '' for t in column}
            if len(found) > 1 or '' in found: raise ValueError('numbers of other kinds')
            self.formats += found.pop()
        self.addresses = self._addresses(columns)
        self._same = build(SAME) if columns else None

    @staticmethod
    def _addresses(columns: Mapping[str, Sequence[Tensor]]) -> array[int]:
        return array('Q', [a for column in columns.values() for a in map(Tensor.data_ptr, column)])

    def read(self, columns: Mapping[str, Sequence[Tensor]]) -> dict[str, Any] | None:
        "The numbers by name. None if they have moved, or are not the same for all."
        if not self._same: return {}
        if self._addresses(columns) != self.addresses: return None
        res, n, start = {}, len(self.addresses) // len(self.names), self.addresses.buffer_info()[0]
        first, same = ctypes.c_int64(), ctypes.c_int()
        for i, (name, form) in enumerate(zip(self.names, self.formats)):
            self._same(ctypes.c_int64(n), ctypes.c_void_p(start + 8 * n * i), ctypes.byref(first), ctypes.byref(same))
            if not same.value: return None
            res[name] = struct.unpack(form, first)[0]
        return res

    def encode(self, values: Mapping[str, Any]) -> bytes:
        "New values, of 8 bytes each."
        return struct.pack(self.formats, *[values[k] for k in self.names])

    def fit(self, values: Mapping[str, Any]) -> bool:
        "True if new values can be kept as the old ones are."
        return all(form == 'd' or isinstance(values[k], int) for k, form in zip(self.names, self.formats))
