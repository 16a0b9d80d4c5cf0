"""Goals: how long a step of genopt may take beside a step of torch's, on the same work.

Without a word about engines, an optimizer here is as it comes, genopt's and torch's.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from statistics import median
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..hypers import did_you_mean
from ..parts import cautious, clip_by_global_norm, scale_by_trust_ratio, skip_nonfinite
from ..zoo import LAMB, Adafactor, AdamW, Muon, StableAdamW
from .contenders import Clipped, Make, OfTorch
from .models import shapes
from .timing import Times, ratio, start, take_turns
from .watching import EVERY, steps, training

Work: TypeAlias = 'dict[str, tuple[Make, str]]'  # contenders, by label, and the model of each
LARGE, SMALL = 50, 500  # rounds, where a step takes milliseconds and where it takes microseconds


@dataclass(frozen=True)
class Goal:
    "The time of a step of the first contender over that of the second. Others only take turns."
    name: str
    pair: str
    limit: float
    work: Work
    rounds: int = LARGE

    unit = 'ms a step'
    def cost(self, label: str, seconds: float) -> float: return 1e3 * seconds

    def value(self, costs: Times) -> float:
        ours, theirs, *_ = costs.values()
        return ratio(ours, theirs)


class Flat(Goal):
    "The largest time for each tensor over the smallest. Contenders have more and more tensors."
    unit = 'µs a tensor'
    def cost(self, label: str, seconds: float) -> float:
        return 1e6 * seconds / len(shapes(self.work[label][1]))

    def value(self, costs: Times) -> float:
        return max(ratio(a, b) for a, b in permutations(costs.values(), 2))


def measure(goal: Goal, device: torch.device, rounds: int | None=None) -> dict[str, Any]:
    """A row of the table: the measured value, and the median cost of each contender.

    Contenders take turns in this process, by default as often as the goal says. If one fails, the
    row says why instead.
    """
    rounds = rounds or goal.rounds
    row: dict[str, Any] = dict(name=goal.name, pair=goal.pair, limit=goal.limit, rounds=rounds)
    work = {label: (make, shapes(model)) for label, (make, model) in goal.work.items()}
    runners, failed = start(work, device)
    if failed: return row | dict(failed=failed)
    times = take_turns(runners, rounds)
    costs = {label: [goal.cost(label, s) for s in seconds] for label, seconds in times.items()}
    value = goal.value(costs)
    return row | dict(value=value, met=value <= goal.limit, unit=goal.unit,
                      costs={label: median(c) for label, c in costs.items()})


def goals(names: list[str]) -> list[Goal]:
    "The goals of these names, or `all`. Raises ValueError if there is none of a name."
    found = {g.name: g for g in GOALS}
    for name in names:
        if name not in {*found, 'all'}:
            raise ValueError(f'`{name}` is not a row: {did_you_mean(name, ["all", *found])}')
    return GOALS if 'all' in names else [found[name] for name in names]


class Watching(Goal):
    "The time of steps that are watched over that of others. A contender makes several at once."
    def cost(self, label: str, seconds: float) -> float: return 1e3 * seconds / EVERY


# -- the table -------------------------------------------------------------------------------------

def ours(recipe: Callable[..., Any], **words: Any) -> Make: return partial(OfTorch, recipe, words)


def theirs(name: str, kind: type[OfTorch]=OfTorch, **words: Any) -> Make:
    def make(params: list[Tensor], **words: Any) -> Any:  # older torch has no Muon
        return getattr(torch.optim, name)(params, **words)
    return partial(kind, make, words)


COMPILED = ours(AdamW, compile=True)
FUSED = theirs('AdamW', fused=True)
OTHERS = {'genopt plain': ours(AdamW, compile=False), 'torch': theirs('AdamW'),
          'torch foreach': theirs('AdamW', foreach=True)}


def on(model: str, ours: Make, theirs: Make, others: Mapping[str, Make]={}) -> Work:
    makes = {'ours': ours, "torch's": theirs, **others}
    return {label: (make, model) for label, make in makes.items()}


def watching(name: str, what: str, limit: float, make: Callable[[bool], Make], model: str='1'
             ) -> Goal:
    return Watching(f'watch-{name}', f'AdamW watched in every 10th step / not watched, {what}',
                    limit, {'watched': (make(True), model), 'not watched': (make(False), model)},
                    20)


GOALS = [
    Goal('adamw-transformer', "AdamW / torch's AdamW, a transformer of 10 M", .35,
         on('transformer', ours(AdamW), theirs('AdamW'))),
    Goal('adamw-resnet50', "AdamW / torch's AdamW, ResNet-50", .35,
         on('resnet50', ours(AdamW), theirs('AdamW'))),
    Goal('compiled-gpt2', "AdamW compiled / torch's fused AdamW, GPT-2 small", .95,
         on('gpt2', COMPILED, FUSED)),
    Goal('compiled-resnet50', "AdamW compiled / torch's fused AdamW, ResNet-50", .95,
         on('resnet50', COMPILED, FUSED)),
    Goal('compiled-500', "AdamW compiled / torch's fused AdamW, 500 tensors of 32×32, among others",
         .30, on('500x32x32', COMPILED, FUSED, OTHERS), SMALL),
    Goal('compiled-50', "AdamW compiled / torch's fused AdamW, 50 tensors of 32×32", .5,
         on('50x32x32', COMPILED, FUSED), SMALL),
    Goal('compiled-100k', "AdamW compiled / torch's fused AdamW, one tensor of 100,000", 1.1,
         on('100k', COMPILED, FUSED), SMALL),
    Goal('clip', "AdamW + clip_by_global_norm / torch's clip_grad_norm_ and fused AdamW, ResNet-50",
         .8, on('resnet50', ours(AdamW + clip_by_global_norm),
                theirs('AdamW', Clipped, fused=True))),
    Goal('skip-nonfinite', "AdamW + skip_nonfinite / torch's fused AdamW, ResNet-50", 1.4,
         on('resnet50', ours(AdamW + skip_nonfinite), FUSED)),
    *(Goal(name, f"{label} / torch's fused AdamW, ResNet-50", 2.2,
           on('resnet50', ours(recipe), FUSED)) for name, label, recipe in [
        ('lamb', 'LAMB', LAMB), ('stableadamw', 'StableAdamW', StableAdamW),
        ('cautious', 'AdamW + cautious', AdamW + cautious),
        ('trust-ratio', 'AdamW + scale_by_trust_ratio', AdamW + scale_by_trust_ratio)]),
    Goal('adafactor-resnet50', "Adafactor / torch's Adafactor, ResNet-50", .25,
         on('resnet50', ours(Adafactor), theirs('Adafactor'))),
    Goal('adafactor-80', "Adafactor / torch's Adafactor, 80 tensors of 32×32", .5,
         on('80x32x32', ours(Adafactor), theirs('Adafactor')), SMALL),
    *(Goal(name, f"Muon / torch's Muon, {count} matrices of {rows}×{columns} in float32", limit,
           on(f'{count}x{rows}x{columns}', ours(Muon), theirs('Muon')))
      for name, count, rows, columns, limit in [
        ('muon', 24, 512, 512, 1.), ('muon-wide', 12, 256, 1024, 1.),
        ('muon-small', 48, 128, 128, .5), ('muon-heads', 144, 64, 768, .9)]),
    watching('residual', 'training 150 small tensors', 1.05, partial(training, 'residual')),
    watching('transformer', 'training a transformer of 10 M', 1.05,
             partial(training, 'transformer')),
    watching('step-150', 'without training, 150 tensors of 32×32', 2., steps, '150x32x32'),
    watching('step-transformer', 'without training, a transformer of 10 M', 1.2, steps,
             'transformer'),
    Flat('per-tensor', 'AdamW compiled, 100 to 3000 tensors of 32×32: largest time per tensor / '
         'smallest', 1.2,
         {str(n): (COMPILED, f'{n}x32x32') for n in (100, 300, 1000, 3000)}, SMALL)]
