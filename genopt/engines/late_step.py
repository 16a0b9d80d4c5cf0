"""The step of a batch whose totals stay on a GPU."""
from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..contract import PartError
from ..part import Part
from .batch import Batch
from .late_rows import LateRows
from .launches import Launches
from .stepping import Launch, Step
from .table import Integers
from .toolchain import NoKernel
from .totals import in_order
from .unit import Unit

__all__ = ['LateStep', 'LateTotals', 'Slots']

Slots: TypeAlias = Mapping[str, int]  # The place of a batch's totals among those of all


class LateTotals:
    "The totals of a plan on a device, and the order in which they are made."
    def __init__(self, batches: Sequence[Batch]):
        self.batches, self.size, slots = batches, 0, dict[tuple[str, int | None], int]()
        for n, b in enumerate(batches):
            for name, total in b.composition.totals.items():
                of_group = total.over == 'group'
                if (key := (name, n if of_group else None)) in slots: continue
                slots[key] = self.size
                self.size += len(b.groups) if of_group else 1
        self.slots: list[Slots] = [
            {name: slots[name, n if total.over == 'group' else None]
             for name, total in b.composition.totals.items()} for n, b in enumerate(batches)]
        self.sums: Tensor | None = None

    def launches(self, steps: Sequence[LateStep]) -> list[Launch] | None:
        """What makes the totals, in order, for steps of these batches: all is sent, and nothing is
        launched. None if the host must know one of them."""
        if not all(s.find(slots) for s, slots in zip(steps, self.slots)): return None
        if len({b.rows.machine for b in self.batches if b.rows}) > 1: return None
        if self.sums is None: self.sums = steps[0].rows_there.machine.room(8 * self.size)
        sums, res, begun = self.sums.view(torch.int64), list[Launch](), set[int]()
        for name in in_order([b.composition for b in self.batches]):
            for step, slots in zip(steps, self.slots):
                if name not in slots: continue
                res += step.launches_of(name, sums, slots[name], slots[name] not in begun)
                begun.add(slots[name])
        for step in steps: step.end_with(sums)
        return res


class LateStep(Step):
    "One step of a batch that has late numbers."
    rows_there: LateRows

    @property
    def happens(self) -> bool:
        "False if gates of the host skip every row."
        return bool((self.row >= 0).any())

    def find(self, slots: Slots) -> bool:
        """Works out what the host knows, and sends it. False if the host must know more.

        Raises PartError.
        """
        late, batch = self.batch.late, self.batch
        assert late
        self.late, members = late, [batch.members[first] for first in self.firsts]
        self.values = [self._early(g, i, counts) for (g, i), counts in zip(members, self._counts())]
        self.x = array('d', [v.get(k, 0.) for v in self.values for k in batch.names])
        self.of_total, rows = dict[str, list[Unit]](), dict[str, Integers]()
        for total in [*map(late.composition.totals.get, late.totals), None]:
            self._find_units(total)
            if not self._suits(total): return False
            if total: self.of_total[total.out], rows[total.out] = self.units, self.row
        if not batch.rows:
            stats = [[self.work.columns[k][i].data_ptr() for i in range(len(batch.members))]
                     for k in late.stats]
            kernel = self.units[0].program.stages[0].kernel
            assert isinstance(kernel, Launches)
            table = np.array(stats, np.int64).reshape(-1, len(batch.members))
            groups = [g for g, _ in batch.members]
            try: batch.rows = LateRows(late, kernel.machine, table, groups)
            except NoKernel: return False
        self.there = self.rows_there = batch.rows
        self._send(slots, rows)
        return True

    def _early(self, g: int, i: int, counts: Mapping[str, Any]) -> dict[str, Any]:
        "The numbers of a row that the host knows."
        work = self.works[g]
        try: return self.late.early(counts, {**work.hypers, **work.own[i]} if work.own else
                                    work.hypers)
        except PartError as e: raise work.located(e, work.params[i]) from e.__cause__

    def _suits(self, total: Part | None) -> bool:
        "True if kernels on a device do all that reads late numbers."
        programs = [u.program for u in self.units]
        return bool(programs) and self.has_all and all(map(self.late.suits, programs)) and not (
            total and any(p.foreign for p in programs))

    def _send(self, slots: Slots, rows: Mapping[str, Integers]) -> None:
        there = self.rows_there
        there.send(self.x, self.row, self.firsts, slots)
        own, each = self.row, 8 * np.arange(there.count)
        for name, units in self.of_total.items():
            there.row_in[name].put(rows[name].copy())
            shares = there.shares[name].data_ptr() + each
            self._take(rows[name])
            for unit in units: unit.run({**self._given(unit), name: shares}, self.x, self, False)
        self._take(own)
        for unit in self.units:
            if not unit.program.foreign: unit.run(self._given(unit), self.x, self, False)

    # -- what is launched --------------------------------------------------------------------------

    def launches_of(self, name: str, sums: Tensor, slot: int, is_first: bool) -> list[Launch]:
        "What makes a total."
        there, stage = self.rows_there, self.late.totals.index(name)
        calls = [call.launch for unit in self.of_total[name] for call in unit.calls]
        return [partial(there.complete, stage, sums), *calls,
                partial(there.add_up, name, sums, slot, is_first)]

    def end_with(self, sums: Tensor) -> None:
        "The sums with which the step itself begins."
        self.begin = partial(self.rows_there.complete, len(self.late.totals), sums)

    @property
    def calls(self) -> list[Any]:
        made = [call for units in self.of_total.values() for unit in units for call in unit.calls]
        return [*made, *super().calls]

    def launches(self) -> list[Launch]:
        return [self.begin, *super().launches(), *[self.rows_there.keep] * bool(self.late.stats)]

    def launch(self) -> None:
        self.begin()
        super().launch()
        if self.late.stats: self.rows_there.keep()

    def prepare(self) -> None: "All has been found."
    def send(self) -> None: "All has been sent."
