"""One step of a batch: its numbers, its totals, and the calls of its kernels."""
from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..composition import Composition
from ..env import Env
from ..contract import PartError
from ..numbers import read, read_all, store
from ..part import Part
from . import eager
from .batch import Batch
from .launches import OnDevice
from .program import DRAWS
from .table import Integers, Table
from .totals import eager_total
from .unit import Unit
from .watch import Inputs
from .work import Work

__all__ = ['Launch', 'Step']

Launch: TypeAlias = Callable[[], None]
NO_ROWS = Table([])


class Step:
    "One step of a batch, which has the numbers for kernels, totals and parts that run as they are."
    def __init__(self, batch: Batch, works: Sequence[Work], work: Work, inputs: Inputs):
        self.batch, self.works, self.work, self.inputs = batch, works, work, inputs
        self.values: list[dict[str, Any]] = []  # the numbers of each row
        self.units: list[Unit] = []
        self.shares: dict[str, Integers] = {}  # of totals
        self.firsts, table = list[int](), NO_ROWS  # the first parameter of each row
        if batch.members: self.firsts, table = batch.counts.rows(), batch.counts.row
        self.rows, self.row_at = table.values, table.at  # the row of each parameter
        self.row = self.rows                    # the same, and -1 where a gate is closed
        self.there: OnDevice | None = None      # the numbers, if they are on a device already
        self.draws: dict[torch.device, Tensor] = {}  # on each device: they decide random bits
        self.drawn = work.draws() if batch.members else None

    def _work_out(self, total: Part | None=None) -> array[float]:
        "The numbers of each row, as kernels take them. Raises PartError."
        batch = self.batch
        members = [batch.members[first] for first in self.firsts]
        self.values = [self.works[g].numbers_from(state, i, total)
                       for (g, i), state in zip(members, self._counts())]
        self._find_units(total)
        return array('d', [v.get(k, 0.) for v in self.values for k in batch.names])

    def _find_units(self, total: Part | None=None) -> None:
        "The units for these numbers, and which rows they leave out."
        happening = self.happening()
        if total: happening = [h if h and total.out in h.sources else None for h in happening]
        self._take(self.rows)
        if None in happening:
            closed = np.array([h is None for h in happening], bool)
            self._take(np.where(closed[self.rows], -1, self.rows))
        if self.values:
            self.units = self.batch.units_for(happening, self.values, self.rows, total)

    def _take(self, row: Integers) -> None:
        if row is not self.row: self.row, self.row_at = row, row.ctypes.data

    def happening(self) -> list[Composition | None]:
        "What happens with the numbers of each row."
        return [self.batch.composition.happening(v) for v in self.values]

    def _counts(self) -> list[dict[str, Any]]:
        "The stats that are numbers on the host, of each row."
        names = self.batch.number_stats
        if not names: return [{} for _ in self.firsts]
        counts = [read_all([self.work.columns[k][i] for i in self.firsts]) for k in names]
        return [dict(zip(names, row)) for row in zip(*counts)]

    def total(self, name: str, over: Sequence[Work]) -> float:
        "The sum of a total over those of these parameters that are in some works."
        if name not in self.shares: self.shares[name] = self._shares(name)
        counts = [any(w is one for one in over) for w in self.works]
        shares = self.shares[name]
        if not all(counts):
            shares = shares[np.array([counts[g] for g, _ in self.batch.members], bool)]
        rest = [work for g, work in self._rest() if counts[g]]
        return float(shares.sum()) + eager_total(name, rest)

    def _shares(self, name: str) -> Integers:
        "The share of each parameter that has a program. A GPU is waited for."
        x = self._work_out(self.batch.composition.totals[name])
        shares, others = np.zeros(len(self.rows)), dict[torch.device, Tensor]()
        for unit in self.units:
            at, device = shares.ctypes.data + 8 * np.arange(len(shares)), unit.program.device
            if device.type != 'cpu':
                if device not in others: others[device] = torch.zeros(
                    len(shares), dtype=torch.float64, device=device)
                at = _addresses(others[device])
            unit.run({**self._given(unit), name: at}, x, self)
        for t in others.values(): shares += t.cpu().numpy()
        return shares

    def _given(self, unit: Unit) -> dict[str, Integers]:
        "The addresses of what is elsewhere in each step."
        if self.drawn is None: return self.inputs.addresses
        device = unit.program.device
        if device not in self.draws: self.draws[device] = self.batch.on(device, self.drawn)
        return {**self.inputs.addresses, DRAWS: _addresses(self.draws[device])}

    def prepare(self) -> None:
        "Works out all numbers, so that an error comes before anything has changed."
        self.x = self._work_out()

    def send(self) -> None:
        "Sends what kernels on a GPU are given."
        for unit in self.units: unit.run(self._given(unit), self.x, self, launch=False)

    def launch(self) -> None:
        "Steps each parameter that has a program."
        for unit in self.units:
            made = unit.run(self._given(unit), self.x, self)
            self._keep(unit, made)

    def finish(self) -> None:
        "Steps the others by the eager engine. Stores new counts."
        increment_version(self.work.params)  # state is never part of a graph
        try:
            for _, work in self._rest(): eager.step(work)  # pieces of one share their counts
        finally:
            if self.values: self._store_counts()

    @property
    def calls(self) -> list[Any]:
        "Those of its kernels."
        return [call for unit in self.units for call in unit.calls]

    def launches(self) -> list[Launch]:
        "What `launch` launches, if kernels on a GPU do all of it."
        return [u.calls[0].launch for u in self.units if u.program.is_launched]

    def _keep(self, unit: Unit, made: Mapping[Any, Any]) -> None:
        "Writes stats of shapes of their own. One may be what another was before."
        program, old = unit.program, {self.own(i, k).data_ptr() for k in unit.program.own
                                      for i in unit.rows.tolist()}
        new = [(self.own(i, k), v.clone() if v.data_ptr() in old else v)
               for k, ref in program.own.items()
               for i, v in (unit.each(made[ref]) if ref in made else
                            [(i, self.own(i, program.in_state[ref])) for i in unit.rows.tolist()])
               if self.row[i] >= 0]
        for mine, value in new: mine.copy_(value)

    def _store_counts(self) -> None:
        "Writes new counts. Those after a closed gate stay."
        names, counts = self.batch.number_stats, self.batch.counts
        if not names: return
        new = [[read(v[k] if k in v else v[f'prev_{k}']) for k in names] for v in self.values]
        mine = counts.row
        if not self.has_all:
            mine = Table(np.full(len(self.rows), -1))
            for unit in self.units: mine.values[unit.rows] = self.rows[unit.rows]
        if counts.store(mine.at, new): return
        for i, row in enumerate(mine.values.tolist()):
            if row < 0: continue
            for k, value in zip(names, new[row]): store([self.work.states[i]], k, value)

    @property
    def has_all(self) -> bool:
        "True if each parameter of the batch has a program."
        return sum([len(u.rows) for u in self.units]) == len(self.rows)

    def _rest(self) -> list[tuple[int, Work]]:
        "The places of works of which parameters have no program, and the work on these."
        batch = self.batch
        if batch.is_all and self.has_all: return []
        mine = {batch.members[i] for u in self.units for i in u.rows.tolist()}
        rest = [[i for i in range(len(w.params)) if (g, i) not in mine]
                for g, w in enumerate(self.works)]
        return [(g, w.subset(rows)) for g, (w, rows) in enumerate(zip(self.works, rest)) if rows]

    # -- for parts that run as they are ------------------------------------------------------------

    def numbers(self, i: int) -> Env:
        "All that a part may read of a parameter but tensors."
        return Env(self.values[self.rows[i]], place=self.work.places[i])

    def own(self, i: int, name: str) -> Tensor:
        "A stat that is in the state, as parts see it."
        found: Tensor = self.work.columns[name.removeprefix('prev_')][i]
        return torch.view_as_real(found) if found.is_complex() else found

    def located(self, e: PartError, i: int) -> PartError:
        g, _ = self.batch.members[i]
        return self.works[g].located(e, self.work.params[i])


def _addresses(rows: Tensor) -> Integers:
    "Of a tensor's rows."
    return rows.data_ptr() + rows.stride(0) * rows.element_size() * np.arange(len(rows))
