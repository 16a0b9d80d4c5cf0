"""A plan: which programs run on which parameters, as long as nothing but values changes.

A plan keeps the addresses of parameters and states, and no tensors, so it keeps nothing alive.
Before each step it compares them with the present ones. Gradients may be others in every step.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..composition import Composition
from .batch import Batch
from .late_step import LateStep, LateTotals
from .stepping import Launch, Step
from .toolchain import NoKernel
from .totals import totals
from .unit import Unit
from .work import Work

__all__ = ['OTHER', 'Plan']

WAITS = 'the host waits for a total'

OTHER = 'this step needs other launches than those in the graph: take a step, and capture it again'


class Plan:
    "One step of all groups."
    of_batch: ClassVar[type[Step]] = Step  # one step of a batch

    def __init__(self,
        works: Sequence[Work],
        strict: bool,
        may_be_late: bool=True  # May totals stay on a GPU
    ):
        self.strict, self.may_be_late = strict, may_be_late
        self._make(works)

    def _make(self, works: Sequence[Work]) -> None:
        found: dict[Any, list[int]] = {}
        for i, w in enumerate(works):
            key = w.composition, w.climb, w.seed, *w.formats.items()
            if w.params: found.setdefault(key, []).append(i)
        self.units = list[Unit]()       # of the last step
        self.calls = list[Any]()        # of its kernels, those of totals among them
        self.launches = list[Launch]()  # what it launched on a GPU
        self.has_totals = any(w.composition.totals for w in works)
        self.batches = [(at, Batch([works[i] for i in at], self.strict, self.may_be_late))
                        for at in found.values()]
        late = [b for _, b in self.batches if b.composition.totals]
        groups = [w.group for w in works if w.params]
        of_groups = any(t.over == 'group' for b in late for t in b.composition.totals.values())
        is_late = bool(late) and all(b.late for b in late) and (
            not of_groups or len({*groups}) == len(groups))
        self.late = LateTotals(late) if is_late else None
        if self.may_be_late and not is_late: self._bring_back(works)

    def _bring_back(self, works: Sequence[Work]) -> None:
        "From now on, the host makes all numbers. Those that a GPU had are brought here."
        self.may_be_late = False
        if any(b.late for _, b in self.batches) or any([w.bring_back() for w in works]):
            for w in works: w.bring_back()
            self._make(works)

    def step(self, works: Sequence[Work], is_next: bool=False,
             check: Callable[[], None] | None=None) -> bool:
        """False, and nothing has happened, if anything but values has changed.

        `is_next`: it made the last step of these parameters. With `check`, all is sent to a GPU,
        and nothing is launched. It runs before new counts are stored, and may raise an error.
        """
        steps = self._steps(works, is_next, LateStep)
        if steps is None: return False
        if (first := self._totals(works, steps)) is None:
            if check: raise RuntimeError(OTHER)
            if any(s.happens for s in steps if isinstance(s, LateStep)): self._bring_back(works)
            if (steps := self._steps(works, is_next, self.of_batch)) is None: return False
            first = self._totals(works, steps) or []
        for s in steps: s.prepare()
        self.units = [u for s in steps for u in s.units]
        if any([u.program.is_launched for u in self.units]):
            self.calls = [call for s in steps for call in s.calls]
            self.launches = [*first, *(x for s in steps for x in s.launches())]
        if check:
            if not self.is_launched: raise RuntimeError(OTHER)
            for s in steps: s.send()
            check()
        else:
            for launch in first: launch()
        for s in steps:
            if not check: s.launch()
            s.finish()
        return True

    def _steps(self, works: Sequence[Work], is_next: bool, late: type[Step]) -> list[Step] | None:
        "A step of each batch. None if anything but values has changed."
        res: list[Step] = []
        for at, batch in self.batches:
            mine = [works[i] for i in at]
            if (seen := batch.look(mine, is_next)) is None: return None
            res.append((late if self.late and batch.late else self.of_batch)(batch, mine, *seen))
        return res

    def _totals(self, works: Sequence[Work], steps: Sequence[Step]) -> list[Launch] | None:
        "What makes them on a GPU; or their values, in the works. None if a GPU cannot."
        if not self.has_totals: return []
        late = [s for s in steps if isinstance(s, LateStep)]
        if self.late and late: return self.late.launches(late)
        def total(name: str, some: Sequence[Work]) -> float:
            return sum(s.total(name, some) for s in steps if name in s.batch.composition.totals)
        totals(works, total)
        return []

    @property
    def is_waiting(self) -> bool:
        "True if the host reads totals before it goes on."
        return self.has_totals and not self.late

    @property
    def is_launched(self) -> bool:
        "True if kernels on a GPU made all of the last step."
        return bool(self.units) and not self.is_waiting and all(
            u.program.is_launched and not u.program.foreign for u in self.units) and all(
            b.is_all and b.members and not b.no_kernel for _, b in self.batches)

    @property
    def places(self) -> list[Any]:
        "Where kernels find what is sent to them, which a graph remembers."
        rows = [b.rows.places for _, b in self.batches if self.late and b.rows]
        return [*((call, call.sent.at, call.rows) for call in self.calls), *rows]

    @property
    def without_kernel(self) -> tuple[Composition, NoKernel] | None:
        "A composition of which some parameters have no kernel because none can be made, and why."
        found = [(b.composition, b.no_kernel) for _, b in self.batches if b.no_kernel]
        return found[0] if found else None

    def report(self, group: int) -> str:
        "How the last step of a group was done; '' if none of its parameters was in it."
        mine = [b for _, b in self.batches if group in b.groups]
        said = [b.report(group) for b in mine]
        if self.is_waiting and any(b.composition.totals for b in mine) and any(
                u.program.is_launched for u in self.units): said.append(WAITS)
        return '; '.join(dict.fromkeys(said))
