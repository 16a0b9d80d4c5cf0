"""Training: runs of one task by one optimizer, one after another.

A run is a learning rate, a seed and what came of it. The losses on the sets that were held out are
taken at the same steps in every run.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from .entrants import Entrant
from .tasks import Task

__all__ = ['Job', 'Run', 'TOGETHER', 'evaluating', 'marks', 'one_after_another']

LOOKS = 20  # how often a run is looked at
TOGETHER = 'side by side'


@dataclass
class Run:
    """What came of a run: losses after so many `steps`, the optimum taken off where it is known.

    A run diverges when a loss is not a finite number. From then on its losses are infinite.
    """
    lr: float
    seed: int
    steps: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    how: str = ''  # TOGETHER, or why not

    def saw(self, step: int, validation: float, test: float) -> None:
        self.steps.append(step)
        for losses, new in (self.validation, validation), (self.test, test):
            before = losses[-1] if losses else 0.
            losses.append(new if math.isfinite(new) and math.isfinite(before) else math.inf)

    @property
    def diverged(self) -> bool: return math.isinf(self.test[-1]) or math.isinf(self.validation[-1])


@dataclass(frozen=True)
class Job:
    "One optimizer on one task, for so many steps."
    entrant: Entrant
    task: Task
    steps: int
    sparse: bool = False            # its gradients of embeddings are sparse
    told: Callable[[int], Any] = lambda n: None  # is told of each step of each run that is done

    def telling(self, told: Callable[[int], Any]) -> Job: return replace(self, told=told)


def marks(steps: int) -> list[int]:
    "The steps after which a run is looked at: evenly, from none to all."
    return sorted({round(steps * i / LOOKS) for i in range(LOOKS + 1)})


def one_after_another(job: Job, lr: float, seed: int, how: str='') -> Run:
    "One run with the optimizer as it comes. The seed decides what the model draws, too."
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _run(job, lr, seed, how)


def _run(job: Job, lr: float, seed: int, how: str) -> Run:
    task, run = job.task, Run(lr, seed, how=how)
    model, looks = task.build(seed, job.sparse), {*marks(job.steps)}
    opt = job.entrant.make(model, lr)
    run.saw(0, *held_out(task, model))
    for step, rows in enumerate(task.batches(job.steps, seed), 1):
        if not run.diverged: task.step(model, opt, rows)
        if step in looks:
            with job.entrant.evaluated(opt):
                run.saw(step, *(held_out(task, model) if not run.diverged else (math.inf,) * 2))
        job.told(1)
    return run


@torch.no_grad()
def held_out(task: Task, model: nn.Module) -> Sequence[float]:
    "The losses on the sets to validate and to test, less what cannot be avoided."
    with evaluating(model):
        return [task.loss(model(x), y).item() - task.least for x, y in task.sets[1:]]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    "The model with `eval()`; after that each of its modules is as it was."
    before = [(m, m.training) for m in model.modules()]
    model.eval()
    try: yield
    finally:
        for m, training in before: m.training = training
