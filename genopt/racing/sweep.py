"""Sweeps: the learning rates that each optimizer of a race may try on a task.

All begin with seven, around their own default, a half decade apart. As long as any optimizer's best
lies at the edge of those it has tried, every optimizer gets two more, at most four times: beyond
the edge for that one, near their best for the others. So all have had the same number of tries.
The best is the one with the smallest loss on the set to validate, the mean of all seeds.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean

from .store import Store
from .training import Job, Run, one_after_another
from .vmapped import side_by_side, why_not

__all__ = ['Sweep', 'sweep']

EIGHTHS = range(-12, 13, 4)  # of a decade, from the default learning rate
MORE, ROUNDS = 2, 4          # rates in a round, and rounds


@dataclass
class Sweep:
    "One optimizer on one task: its runs, by learning rate."
    job: Job
    seeds: Sequence[int]
    lrs: Sequence[float]                  # those given, or none: then it looks for them
    runs: dict[float, list[Run]] = field(default_factory=dict)

    def loss(self, lr: float) -> float:
        "The mean loss on the set to validate, by which rates are compared."
        return mean(r.validation[-1] for r in self.runs[lr])

    @cached_property
    def why_alone(self) -> str:
        "Why its runs are not made side by side, or ''."
        return why_not(self.job)

    @property
    def best(self) -> float:
        "The learning rate with the smallest loss; the smallest one if all diverged."
        return min(sorted(self.runs), key=self.loss)

    @property
    def at_edge(self) -> bool:
        "True if a better learning rate may lie beyond those that were tried."
        return len(self.runs) > 1 and self.best in (min(self.runs), max(self.runs))

    def next_lrs(self) -> list[float]:
        "The rates of its next round."
        if self.lrs or not self.runs: return [*self.lrs] or [self._at(e) for e in EIGHTHS]
        tried = {round(8 * math.log10(lr / self._at(0))) for lr in self.runs}
        best = round(8 * math.log10(self.best / self._at(0)))
        if best == min(tried): return [self._at(best - 4 * i) for i in range(1, MORE + 1)]
        if best == max(tried): return [self._at(best + 4 * i) for i in range(1, MORE + 1)]
        near = sorted({*range(min(tried), max(tried))} - tried,  # quarters first: they run out
                      key=lambda e: (e % 2, abs(e - best), e))
        return [self._at(e) for e in near[:MORE]]

    def _at(self, eighths: int) -> float:
        return float(self.job.entrant.lr * 10**(eighths / 8))

    def run(self, lrs: Iterable[float], store: Store) -> None:
        "Runs with these learning rates and all seeds: those that are not in the store."
        pairs = [(lr, seed) for lr in lrs for seed in self.seeds]
        todo = [pair for pair in pairs if not store.get(self.job, *pair)]
        self.job.told(self.job.steps * (len(pairs) - len(todo)))
        if todo and not self.why_alone: store.add(self.job, side_by_side(self.job, todo))
        else:
            for pair in todo:
                store.add(self.job, [one_after_another(self.job, *pair, self.why_alone)])
        for lr, seed in pairs:
            run = store.get(self.job, lr, seed)
            if run: self.runs.setdefault(lr, []).append(run)


def sweep(sweeps: Sequence[Sweep], store: Store, planned: Callable[[int], object]) -> None:
    "Runs the sweeps of one task. `planned` is told how many steps are to come, before they do."
    for _ in range(1 + ROUNDS):
        chosen = [s.next_lrs() for s in sweeps]
        planned(sum(len(lrs) * len(s.seeds) * s.job.steps for s, lrs in zip(sweeps, chosen)))
        for s, lrs in zip(sweeps, chosen): s.run(lrs, store)
        if sweeps[0].lrs or not any(s.at_edge for s in sweeps): return
