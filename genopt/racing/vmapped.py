"""Side by side: many runs as one, with torch.func.vmap over models, states and learning rates.

Parts are pure, so `Composition.update` can be mapped over a batch of parameters and states. The
numbers of a step stay Python's where all runs have the same ones; those that differ, as what
depends on a learning rate, are tensors with a number for each run. Where no part sees a shape, all
parameters of a group are one vector, so that a step is a few operations on one tensor.

Not every optimizer can do this. `why_not` tries it, beside the optimizer as it comes.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from ..composition import Composition
from ..numbers import read
from .training import TOGETHER, Job, Run, evaluating, marks

__all__ = ['Batch', 'side_by_side', 'why_not']


@dataclass
class Unit:
    "Parameters that are stepped as one tensor, in all runs. Tensors have the runs in front."
    composition: Composition
    names: list[str]
    shapes: list[torch.Size]
    param: Tensor
    hypers: list[dict[str, Any]]     # of each run
    numbers: list[dict[str, Any]]    # the state of each run that is numbers
    state: dict[str, Tensor]         # that which is tensors
    place: int

    def named(self, param: Tensor) -> dict[str, Tensor]:
        "The parameters of one run by name, of its part of `param`."
        if len(self.names) == 1: return {self.names[0]: param.view(self.shapes[0])}
        pieces = torch.split(param, [s.numel() for s in self.shapes])
        return {n: p.view(s) for n, p, s in zip(self.names, pieces, self.shapes)}


class Batch:
    "Runs of one job side by side: one for each pair of a learning rate and a seed."
    def __init__(self, job: Job, pairs: Sequence[tuple[float, int]]):
        self.job, self.pairs = job, pairs
        models = [job.task.build(seed) for _, seed in pairs]
        self.model = models[0]
        self.units = [*_units([_groups(job, m, lr) for m, (lr, _) in zip(models, pairs)])]
        self._slopes = vmap(grad_and_value(self._loss))
        self._losses = vmap(self._loss, (0, None, None))

    def _loss(self, params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        named = {k: p for u, part in zip(self.units, params) for k, p in u.named(part).items()}
        return self.job.task.loss(functional_call(self.model, named, (x,)), y)

    def step(self, x: Tensor, y: Tensor) -> None:
        "One step of all runs. In `x` and `y`, each run has its own examples."
        grads, _ = self._slopes([u.param for u in self.units], x, y)
        with torch.no_grad():
            totals: list[dict[str, Any]] = [{} for _ in self.pairs]
            for name in dict.fromkeys(k for u in self.units for k in u.composition.totals):
                self._add_total(name, grads, totals)
            for unit, grad in zip(self.units, grads): _move(unit, grad, totals)

    def _add_total(self, name: str, grads: Sequence[Tensor], totals: list[dict[str, Any]]) -> None:
        "The sum over all parameters, of each run."
        shares = [_share(u, grad, name, totals) for u, grad in zip(self.units, grads)
                  if name in u.composition.totals]
        for found, value in zip(totals, torch.stack(shares).sum(0).tolist()): found[name] = value

    def losses(self, x: Tensor, y: Tensor) -> list[float]:
        "The loss of each run on the same examples."
        with torch.no_grad(), evaluating(self.model):
            values: list[float] = self._losses([u.param for u in self.units], x, y).tolist()
        return values


def side_by_side(job: Job, pairs: Sequence[tuple[float, int]]) -> list[Run]:
    "A run for each pair of a learning rate and a seed."
    batch, task, looks = Batch(job, pairs), job.task, {*marks(job.steps)}
    runs = [Run(lr, seed, how=TOGETHER) for lr, seed in pairs]
    (x, y), orders = task.sets[0], {s: task.batches(job.steps, s) for _, s in pairs}
    for step in range(job.steps + 1):
        if step and not all(r.diverged for r in runs):
            rows = torch.stack([orders[seed][step - 1] for _, seed in pairs])
            batch.step(x[rows], y[rows])
        if step in looks:
            found = [batch.losses(*examples) for examples in task.sets[1:]]
            for run, *values in zip(runs, *found): run.saw(step, *(v - task.least for v in values))
        if step: job.told(len(runs))
    return runs


# -- how a batch begins ----------------------------------------------------------------------------

def _groups(job: Job, model: nn.Module, lr: float) -> list[Any]:
    groups: list[Any] = job.entrant.make(model, lr, compile=False).groups()
    return groups


def _units(groups: Sequence[Sequence[Any]]) -> Any:
    "The units of all runs, of the groups of each."
    place = 0
    for alike in zip(*groups):
        c, params = alike[0].composition, [g['params'] for g in alike]
        names = alike[0]['param_names']
        together = (c.is_flat and not c.reads_place and not c.own_numbers
                    and len({p.dtype for p in params[0]}) == 1)
        rows = [slice(None)] if together else [slice(i, i + 1) for i in range(len(names))]
        for i, row in enumerate(rows):
            vectors = [torch.cat([p.detach().flatten() for p in ps]) for ps in params]
            tensors = vectors if together else [ps[i].detach() for ps in params]
            shapes = [p.shape for p in params[0][row]]
            yield _unit(alike, names[row], shapes, tensors, place + i)
        place += len(names)


def _unit(groups: Sequence[Any], names: list[str], shapes: list[torch.Size],
          tensors: Sequence[Tensor], place: int) -> Unit:
    c = groups[0].composition
    hypers = [{**g.numbers(), **c.numbers_of(t, place)} for g, t in zip(groups, tensors)]
    states = [c.init(t, h) for t, h in zip(tensors, hypers)]
    numbers = [{k: read(s[k]) for k in c.number_stats} for s in states]
    state = {k: torch.stack([s[k] for s in states]) for k in c.tensor_stats}
    return Unit(c, names, shapes, torch.stack([*tensors]), hypers, numbers, state, place)


# -- a step ----------------------------------------------------------------------------------------

def _share(unit: Unit, grad: Tensor, name: str, totals: Sequence[Mapping[str, Any]]) -> Tensor:
    "A unit's share of a total, in each run."
    c, total = unit.composition, unit.composition.totals[name]
    numbers = [c.numbers(s, {**h, **t}, total)
               for s, h, t in zip(unit.numbers, unit.hypers, totals)]
    same, varied = _sorted(numbers, unit.param.dtype)
    fixed = {**same, 'place': unit.place}
    def share(p: Tensor, g: Tensor, s: Any, n: Any) -> Tensor:
        return c.total(total, p, g, s, {**fixed, **n})
    return vmap(share)(unit.param, grad, unit.state, varied).double()


def _move(unit: Unit, grad: Tensor, totals: Sequence[Mapping[str, Any]]) -> None:
    "One step of a unit, in all runs."
    c = unit.composition
    numbers = [c.numbers(s, {**h, **t}) for s, h, t in zip(unit.numbers, unit.hypers, totals)]
    same, varied = _sorted(numbers, unit.param.dtype)
    fixed = {**same, 'place': unit.place}
    def update(p: Tensor, g: Tensor, s: Any, n: Any) -> Any:
        change, new = c.update(p, g, s, {**fixed, **n})
        return change, {k: new[k] for k in c.tensor_stats}
    change, unit.state = vmap(update)(unit.param, grad, unit.state, varied)
    unit.param = unit.param + change
    unit.numbers = [{k: n[k] for k in c.number_stats} for n in numbers]


def _sorted(numbers: Sequence[Mapping[str, Any]],
            dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Tensor]]:
    "Numbers that are the same in all runs, and tensors of those that are not."
    same = {k: v for k, v in numbers[0].items() if all(n[k] == v for n in numbers)}
    return same, {k: torch.tensor([n[k] for n in numbers], dtype=dtype)
                  for k in numbers[0] if k not in same}


# -- whether it can be -----------------------------------------------------------------------------

STEPS, RATIO, AGREE = 3, 2., 1e-10  # of the trial


def why_not(job: Job) -> str:
    """Why this job's runs cannot be made side by side, or '' if they can.

    Some steps of two runs, in float64, must be those that the optimizer makes.
    """
    if job.sparse: return 'sparse gradients'
    if not job.entrant.recipe: return "not genopt's"
    if c := job.entrant.composition:
        for why, parts in {'a gate': c.gates, 'fed values': c.given,
                           'other weights to evaluate': c.evaluation}.items():
            if parts: return why
    if job.task.dtype.itemsize < 4: return 'low precision'  # which steps compute in float32
    job = replace(job, task=replace(job.task, dtype=torch.float64))
    lr = job.entrant.trial_lr
    try: gap = max(disagreement(job, [(lr, 0), (RATIO * lr, 1)], STEPS))
    except Exception as e:  # of a model or of parts that vmap does not take
        return f'vmap: {type(e.__cause__ or e).__name__}: {e.__cause__ or e}'.splitlines()[0][:120]
    return '' if gap < AGREE else f'side by side differs by {gap:.0e}'


def disagreement(job: Job, pairs: Sequence[tuple[float, int]], steps: int) -> list[float]:
    "How far each run side by side is from one alone after some steps, relative to its largest."
    batch, (x, y) = Batch(job, pairs), job.task.sets[0]
    orders = [job.task.batches(steps, seed) for _, seed in pairs]
    for rows in zip(*orders): batch.step(x[torch.stack(rows)], y[torch.stack(rows)])
    return [_gap(batch, i, _alone(job, *pair, steps)) for i, pair in enumerate(pairs)]


def _alone(job: Job, lr: float, seed: int, steps: int) -> dict[str, Tensor]:
    model, (x, y) = job.task.build(seed), job.task.sets[0]
    opt = job.entrant.make(model, lr, compile=False)
    for rows in job.task.batches(steps, seed):
        opt.zero_grad()
        job.task.loss(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        opt.step()
    return {k: p.detach() for k, p in model.named_parameters()}


def _gap(batch: Batch, i: int, alone: Mapping[str, Tensor]) -> float:
    together = {k: p for u in batch.units for k, p in u.named(u.param[i]).items()}
    largest = max(p.abs().max().item() for p in alone.values())
    gap = max((together[k] - p).abs().max().item() for k, p in alone.items())
    return float(gap / largest)
