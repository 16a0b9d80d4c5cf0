"""A look: what a step would do to each parameter, measured before it is made.

It runs the parts on the state and gradient of the step to come, and writes to nothing of these. So
the step stays as it is, bit for bit, whatever engine makes it. The measures are part of a
composition, the `Watched` one (see `watched.py`). So the compiled engine makes a kernel of it that
goes over the tensors as often as the step does, and writes a few numbers for each.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..composition import Composition
from ..dispatch import undrawn
from ..engines.plan import Plan
from ..engines.sparse import Rows, dense_or_rows
from ..engines.stepping import Step
from ..engines.totals import eager_total, totals
from ..engines.work import Work
from ..pieces import place_of
from .quantities import Numbers
from .watched import Watched, exhaust, look_at, with_all_rows

__all__ = ['Look']


class Seen(NamedTuple):
    "What was measured of some parameters of one composition."
    composition: Watched
    places: list[int]     # among all parameters of the optimizer
    measured: dict[str, Numbers]
    sizes: Numbers

    def columns(self) -> dict[str, Numbers]:
        return {c.name: c.values(self.measured, self.sizes) for c in self.composition.columns}


class Rooms:
    "Memory for measures: of each parameter, a tensor with all of them, and a 0-dim view of each."
    def __init__(self) -> None:
        self.known: dict[Any, tuple[Tensor, Sequence[Tensor]]] = {}
        self.last: dict[Any, tuple[list[Tensor], dict[str, list[Tensor]]]] = {}

    def of(self, c: Watched, work: Work) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        "For all parameters of a work: the tensors, and the views in columns."
        key = id(c), *work.places, *[(p.dtype, p.device) for p in work.params]
        if key not in self.last:
            if len(self.last) > 2 * len(work.params): self.last.clear()  # sets of parameters change
            rooms = [self._room(c, *pair) for pair in zip(work.places, work.params)]
            columns = map(list, zip(*[views for _, views in rooms]))
            self.last[key] = [t for t, _ in rooms], dict(zip(c.written, columns))
        return self.last[key]

    def _room(self, c: Watched, place: int, p: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        if (key := (id(c), place, p.dtype, p.device)) not in self.known:
            dtype = torch.promote_types(p.dtype.to_real(), torch.float32)
            values = torch.zeros(len(c.written), dtype=dtype, device=p.device)
            self.known[key] = values, values.unbind()
        return self.known[key]


class Look:
    "Looks at the work of steps. What it needs for that is kept from look to look."
    def __init__(self) -> None: self.plan, self.rooms = LookPlan([], False, False), Rooms()

    def __call__(self,
        works: Sequence[Work],           # Of the step to come, of all parameters
        watched: Mapping[Composition, Watched],
        chosen: Sequence[bool] | None,   # Is the parameter at each place watched; None: all are
        compiles: bool
    ) -> list[Seen]:
        "Raises PartError if a measure fails, and TypeError for sparse gradients as a step does."
        def rows(work: Work) -> list[int]:
            if not watched[work.composition].columns: return []
            return [i for i, at in enumerate(work.places) if chosen is None or chosen[place_of(at)]]
        with undrawn([p for w in works for p in w.params]):
            split = [dense_or_rows(work) for work in works]
            mine = [self._watched(w.subset(rows(w)), watched) for w, _ in split if rows(w)]
            self._measure([*mine, *_others(split, chosen)], compiles)
            for _, touched in split:
                if not touched or not (at := rows(touched.work)): continue
                part = Rows(touched.work.subset(at), [touched.origins[i] for i in at])
                mine.append(self._touched(part, watched))
        return [self._seen(w) for w in mine]

    def _watched(self, work: Work, watched: Mapping[Composition, Watched]) -> Work:
        "The work with the measures in the place of all that is written."
        c = watched[work.composition]
        return replace(work, composition=c, columns=work.columns | self.rooms.of(c, work)[1])

    def _measure(self, works: Sequence[Work], compiles: bool) -> None:
        works = [w for w in works if w.params]
        if compiles and works and not torch._C._len_torch_dispatch_stack():
            if self.plan.batches and self.plan.step(works): return
            self.plan = LookPlan(works, False, False)
            if self.plan.step(works): return
        totals(works, eager_total)
        for work in works:
            if isinstance(work.composition, Watched): exhaust(look_at(work))

    def _touched(self, rows: Rows, watched: Mapping[Composition, Watched]) -> Work:
        """Measures parameters of which a sparse gradient touches some rows.

        The parts see these rows. At the end of the step all rows are seen, of which the others have
        stayed; gradient and update are 0 there.
        """
        mine = self._watched(rows.work, watched)
        composition = watched[rows.work.composition]
        for i, env in look_at(mine):
            whole = with_all_rows(env, *rows.origins[i])
            for q in composition.at_the_end: mine.columns[q.out][i].copy_(q.run(whole))
        return replace(mine, params=[p for p, *_ in rows.origins])

    def _seen(self, work: Work) -> Seen:
        c = work.composition
        assert isinstance(c, Watched)
        alike: dict[Any, list[tuple[int, Tensor]]] = {}
        for i, t in enumerate(self.rooms.of(c, work)[0]):
            alike.setdefault((t.device, t.dtype), []).append((i, t))
        table = np.empty((len(work.params), len(c.written)))
        for some in alike.values():
            together = torch.stack([t for _, t in some])
            table[[i for i, _ in some]] = together.double().cpu().numpy()
        return Seen(c, [*work.places], dict(zip(c.written, table.T)),
                    np.array([p.numel() * (1 + p.is_complex()) for p in work.params], float))


def _others(split: Sequence[tuple[Work, Rows | None]], chosen: Sequence[bool] | None) -> list[Work]:
    "The work on parameters that are not watched, if totals need them."
    if chosen is None or not any(w.composition.totals for w, _ in split): return []
    return [work.subset([i for i, at in enumerate(work.places) if not chosen[place_of(at)]])
            for work, _ in split]


# -- by a kernel -----------------------------------------------------------------------------------

class LookStep(Step):
    "Measures the parameters of a batch, if they are watched. Others only take part in totals."
    def happening(self) -> list[Composition | None]:
        "Where a gate is closed, the parts are called."
        c = self.batch.composition
        return [h if h is c else None for h in super().happening()]

    def prepare(self) -> None:
        if isinstance(self.batch.composition, Watched): super().prepare()

    def finish(self) -> None: "Nothing has moved."

    def launch(self) -> None:
        if not isinstance(self.batch.composition, Watched): return
        for unit in self.units: unit.run(self._given(unit), self.x, self)
        closed = [self.batch.members[i] for i in np.flatnonzero(self.row < 0)]
        shut = [self.works[g].subset([i]) for g, i in closed]
        for work in [*shut, *(work for _, work in self._rest())]: exhaust(look_at(work))


class LookPlan(Plan): of_batch = LookStep
