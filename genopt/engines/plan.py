"""A plan: which programs run on which parameters, as long as nothing but values changes.

A plan keeps the addresses of parameters and states, and no tensors, so it keeps nothing alive.
Before each step it compares them with the present ones. Gradients may be others in every step.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..composition import Composition
from .batch import Batch
from .stepping import Step
from .toolchain import NoKernel
from .totals import totals
from .unit import Unit
from .work import Work

__all__ = ['Plan']


class Plan:
    "One step of all groups."
    of_batch = Step  # one step of a batch

    def __init__(self, works: Sequence[Work], strict: bool):
        found: dict[Any, list[int]] = {}
        for i, w in enumerate(works):
            key = w.composition, w.climb, w.seed, *w.formats.items()
            if w.params: found.setdefault(key, []).append(i)
        self.units = list[Unit]()  # of the last step
        self.has_totals = any(w.composition.totals for w in works)
        self.batches = [(at, Batch([works[i] for i in at], strict)) for at in found.values()]

    def step(self, works: Sequence[Work], launch: bool=True) -> bool:
        "False, and nothing has happened, if anything but values has changed. See `Unit.run`."
        steps: list[Step] = []
        for at, batch in self.batches:
            mine = [works[i] for i in at]
            if (seen := batch.look(mine)) is None: return False
            steps.append(self.of_batch(batch, mine, *seen))
        if self.has_totals:
            def total(name: str, some: Sequence[Work]) -> float:
                return sum(s.total(name, some) for s in steps if name in s.batch.composition.totals)
            totals(works, total)
        for s in steps: s.prepare()
        for s in steps: s.run(launch)
        self.units = [u for s in steps for u in s.units]
        return True

    @property
    def is_launched(self) -> bool:
        "True if kernels on a GPU made all of the last step."
        return bool(self.units) and all(
            u.program.is_launched and not u.program.foreign for u in self.units) and all(
            b.is_all and b.members and not b.no_kernel for _, b in self.batches)

    @property
    def without_kernel(self) -> tuple[Composition, NoKernel] | None:
        "A composition of which some parameters have no kernel because none can be made, and why."
        found = [(b.composition, b.no_kernel) for _, b in self.batches if b.no_kernel]
        return found[0] if found else None

    def report(self, group: int) -> str:
        "How the last step of a group was done; '' if none of its parameters was in it."
        said = [b.report(group) for _, b in self.batches if group in b.groups]
        return '; '.join(dict.fromkeys(said))
