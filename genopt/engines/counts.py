"""Counts, and other numbers in states, by their addresses: one value for all parameters of a
kernel's call.

They are compared by one call, and the kernel that moves the parameters writes the new ones: no
interrupt comes between.
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

COMPARE = '''#include <stdint.h>
/* Are the `count` values of each number equal, as bits? */
void run(int64_t numbers, int64_t count, const int64_t *const *at, int *equal)
{
    *equal = 1;
    for (int64_t n = 0; n < numbers; n++, at += count)
        for (int64_t k = 1; k < count; k++) if (*at[k] != *at[0]) *equal = 0;
}
'''


class Counts:
    """Stats that are numbers, of several parameters.

    Raises NoKernel without a compiler, ValueError if they are not plain 0-dim tensors of 8 bytes.
    """
    def __init__(self, columns: Mapping[str, Sequence[Any]]):
        self.names, self.formats = [*columns], ''
        for column in columns.values():
            found = {_format(x) for x in column}
            if len(found) > 1 or '' in found: raise ValueError('numbers of other kinds')
            self.formats += found.pop()
        self._compare = build(COMPARE) if columns else None

    def are_equal(
        self,
        addresses: array[int]  # Of each number's values, one number after another
    ) -> bool:
        "True if each number has one value for all parameters."
        if not self._compare: return True
        equal, count = ctypes.c_int(), len(addresses) // len(self.names)
        self._compare(ctypes.c_int64(len(self.names)), ctypes.c_int64(count),
                      ctypes.c_void_p(addresses.buffer_info()[0]), ctypes.byref(equal))
        return bool(equal.value)

    def encode(self, values: Mapping[str, Any]) -> bytes:
        "New values, of 8 bytes each. None at all if a whole number has become a fraction."
        new = [values[k] for k in self.names]
        fits = all(form == 'd' or isinstance(x, int) for form, x in zip(self.formats, new))
        return struct.pack(self.formats, *new) if fits else b''


def _format(x: Any) -> str:
    "How a number's 8 bytes are read; '' for everything else."
    is_plain = type(x) is Tensor and not x.dim() and x.is_cpu
    return FORMATS.get(x.dtype, '') if is_plain else ''
