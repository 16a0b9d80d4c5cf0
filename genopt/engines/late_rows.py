"""The numbers of a batch on a device: what the host sends, and the kernels that complete it."""
from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from .cuda_driver import THREADS
from .late import Late
from .launches import Machine, Sent
from .table import Integers

__all__ = ['LateRows']


class LateRows:
    """The rows of numbers of a batch. Calls read them here: it is an `OnDevice`.

    Raises NoKernel.
    """
    def __init__(self, late: Late, machine: Machine, stats: Integers, groups: Sequence[int]):
        "`stats` has the address of each late stat of each tensor, `groups` the group of each."
        self.late, self.machine, (_, self.count) = late, machine, stats.shape
        self.total, self.store, self.close, *self.stages = machine.load(late.source, late.kernels)
        self.x, self.own_row, self.first, self.slots, self.all = (Sent(machine) for _ in range(5))
        self.row_in = {name: Sent(machine) for name in late.totals}  # of each tensor, in a total
        self.bounds = {name: Sent(machine) for name in late.totals}  # of tensors with one sum
        self.shares = {name: machine.room(8 * self.count) for name in late.totals}
        self.stats, self.groups = stats, np.array(groups)
        for name, sent in self.bounds.items():
            ends = range(2 + groups[-1]) if late.is_of_group(name) else (0, 1 + groups[-1])
            sent.put(np.searchsorted(self.groups, ends).astype(np.int64))
        self.all.put(stats.reshape(-1))
        self.open, self.height = machine.room(0), 0  # whether each row may step; how many there are

    def send(self, x: array[float], row: Integers, firsts: Sequence[int],
             slots: Mapping[str, int]) -> None:
        """What the host knows: rows of numbers, the row of each tensor, the first tensor of each
        row, and where each total is, or that of the first group."""
        self.x.put(np.frombuffer(x, np.int64))
        self.own_row.put(row.copy())
        self.first.put(self.stats[:, firsts].reshape(-1))
        of_row = self.groups[firsts]
        places = [slots[k] + of_row * self.late.is_of_group(k) for k in self.late.totals]
        self.slots.put(np.concatenate(places).astype(np.int64))
        if len(firsts) != self.height: self.open = self.machine.room(8 * len(firsts))
        self.height = len(firsts)

    @property
    def places(self) -> tuple[int, ...]:
        "Where all of it is, for a graph."
        sent = (self.x, self.own_row, self.first, self.slots, *self.row_in.values(),
                *self.bounds.values())
        return *(s.at for s in sent), self.open.data_ptr(), self.height

    # -- what is launched --------------------------------------------------------------------------

    def complete(self, stage: int, totals: Tensor) -> None:
        "Works out what follows from the last total, up to the next one."
        if not stage and self.late.begins_later: return
        self.stages[stage](_blocks(self.height), self.slots.at, 0, self.first.at, self.x.at, 0,
                           totals.data_ptr(), self.open.data_ptr(), self.height)

    def add_up(self, name: str, totals: Tensor, slot: int, is_first: bool) -> None:
        "Puts the sums of shares among the totals, from a slot on, or adds them to what is there."
        row, _kept = self.row(self.row_in[name].at, self.count)
        bounds = self.bounds[name]
        self.total(len(bounds.before) - 1, 0, bounds.at, self.shares[name].data_ptr(), 0, row,
                   totals[slot:].data_ptr(), 0, int(not is_first))

    def keep(self) -> None:
        "Writes the stats into the state."
        self.store(_blocks(self.count), 0, 0, self.all.at, self.x.at, self.own_row.at, 0, 0,
                   self.count)

    # -- for calls ---------------------------------------------------------------------------------

    def rows(self) -> int: return self.x.at

    def row(self, at: int, count: int) -> tuple[int, Tensor | None]:
        if not self.late.gates: return at, None
        res = self.machine.room(8 * count)
        self.close(_blocks(count), 0, 0, 0, 0, at, res.data_ptr(), self.open.data_ptr(), count)
        return res.data_ptr(), res


def _blocks(count: int) -> int: return -(-count // THREADS)
