"""A kernel for a GPU, which is called as one for the CPU is: its tables are sent there, and its
passes are launched one after another.

Sizes, pieces and layouts stay on the device. Addresses, rows and numbers are sent again where they
have changed: in one copy, from the first that is not as before to the last. Nothing waits for it.
"""
from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .cuda import Cuda
from .cuda_driver import THREADS
from .driver import PREAMBLE
from .pieces import Pieces
from .table import Integers
from .toolchain import build

__all__ = ['Call', 'Function', 'Launches', 'Machine', 'OnDevice', 'Sent']

# Runs all blocks: how many, and the arguments in `cuda_driver.ARGUMENTS`
Function = Callable[..., None]


class Machine(Protocol):
    "What runs launches."
    device: torch.device

    def load(self, source: str, names: Sequence[str]) -> list[Function]:
        "The kernels of a source. Raises NoKernel, with the reason."

    def send(self, values: Integers, to: Tensor | None=None) -> Tensor:
        "A copy of numbers of 8 bytes, in new memory or in `to`. Nothing waits for it."

    def room(self, size: int) -> Tensor:
        "So many bytes, with anything in them."


class Launches:
    "A kernel of one launch for each pass, and for each meeting of its sums. Raises NoKernel."
    def __init__(self, cuda: Cuda, machine: Machine):
        self.cuda, self.machine, self.code = cuda, machine, cuda.source()
        self.launches = cuda.launches()
        names = ['numbers', *(x.name for x in self.launches)]
        self.work_out, *self.functions = machine.load(self.code, names)
        self._fits: ctypes.CDLL | None = None

    def on(self, count: int, sizes: int, table: int) -> Call:
        "It, for tables that stay where they are: see `toolchain.Kernel`."
        axes = max(self.cuda.axes, 1) + self.cuda.edges.has_blocks
        return Call(self, _array(sizes, count * axes).reshape(count, axes),
                    _array(table, len(self.cuda.columns) * count))

    def fits(self, numbers: array[float]) -> bool:
        "True if this row of numbers answers all of its questions as when it was made."
        if not self._fits: self._fits = build('\n'.join([PREAMBLE, *self.cuda.fits()]), 'fits')
        return bool(self._fits.fits(ctypes.c_void_p(numbers.buffer_info()[0])))


class Sent:
    "Numbers on a device, sent again where they have changed."
    def __init__(self, machine: Machine):
        self.machine = machine
        self.before, self.there = np.empty(0, np.int64), torch.empty(0)  # what was sent last

    @property
    def at(self) -> int: return self.there.data_ptr()

    def put(self, now: Integers) -> None:
        "Sends what is not there yet."
        if len(now) != len(self.before): self.there = self.machine.send(now)
        elif len(changed := np.flatnonzero(now != self.before)):
            part = slice(int(changed[0]), int(changed[-1]) + 1)
            self.machine.send(now[part], self.there[part])
        self.before = now


class OnDevice(Protocol):
    "Numbers that are on the device already, for all calls of a step."
    def rows(self) -> int: "The address of the rows of numbers."
    def row(self, at: int, count: int) -> tuple[int, Tensor | None]:
        "The address of each tensor's row: of those at `at`, or -1; and the memory where they are."


class Call:
    "A kernel for some tensors, and its tables on the device."
    numbers: OnDevice | None = None  # None: they are sent

    def __init__(self, kernel: Launches, sizes: Integers, table: Integers):
        self.machine, self.table, self.count = kernel.machine, table, len(sizes)
        self.given, self.values = len(kernel.cuda.tape.numbers), len(kernel.cuda.values)
        self.work_out, pieces = kernel.work_out, Pieces(kernel.cuda, sizes)
        at, self.memory = pieces.layout()
        self.sizes, self.at = self._sent(sizes), self._sent(at)
        found = [(f, pieces.of(x)) for f, x in zip(kernel.functions, kernel.launches)]
        self.launches = [(f, len(rows), self._sent(rows)) for f, rows in found if len(rows)]
        self.sent, self.rows = Sent(kernel.machine), 0  # of numbers

    def _sent(self, values: Integers) -> Tensor:
        return self.machine.send(np.ascontiguousarray(values, np.int64).reshape(-1))

    def __call__(self, numbers: int, row: int) -> None:
        "Runs it on rows of numbers at this address, and the row of each tensor, or -1, at that."
        self.send(numbers, row)
        self.launch()

    def launch(self) -> None:
        "Runs it on what was sent last."
        if not self.rows: return
        memory = self.machine.room(self.memory + 8 * self.values * self.rows)
        begin, table = memory.data_ptr(), self.sent.at
        values, row = begin + self.memory, table + 8 * self.table.size
        numbers = row + 8 * self.count
        if self.numbers:
            numbers = self.numbers.rows()
            row, _kept = self.numbers.row(row, self.count)
        self.work_out(-(-self.rows // THREADS), 0, 0, 0, numbers, 0, values, 0, self.rows)
        for function, grid, pieces in self.launches:
            function(grid, pieces.data_ptr(), self.sizes.data_ptr(), table, values, row, begin,
                     self.at.data_ptr(), self.count)

    def send(self, numbers: int, row: int) -> None:
        "Sends what is not there yet."
        rows = _array(row, self.count)
        self.rows = 1 + int(rows.max(initial=-1))
        # The bits of floats, to be compared
        given = _array(numbers, 0 if self.numbers else self.given * self.rows)
        self.sent.put(np.concatenate([self.table, rows, given]))


def _array(at: int, count: int) -> Integers:
    "Numbers of 8 bytes in memory."
    if not count: return np.empty(0, np.int64)
    return np.ctypeslib.as_array((ctypes.c_int64 * count).from_address(at))
