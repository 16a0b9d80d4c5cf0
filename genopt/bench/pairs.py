"""A real model, handwritten digits, and pairs that train it: a recipe and its twin in torch.optim.

Both of a pair start at the same weights and see the same batches, in float64. From there each model
goes its own way, as its gradients are taken at the weights that its own optimizer reached. So their
curves lie on each other only if the optimizers agree. Where torch has a fused kernel for the twin,
it trains a third model, for its time.
"""
from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from inspect import signature
from statistics import mean, median
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.benchmark import timer

from ..catalogue import find
from ..twins import TWINS

Data: TypeAlias = 'tuple[Tensor, Tensor]'  # images and labels


# -- the model and its data ------------------------------------------------------------------------

def digits(seed: int) -> tuple[Data, Data]:
    "scikit-learn's 1797 handwritten digits, 8×8 pixels in [0, 1]; a fifth of them is held out."
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8) / 16
    split = train_test_split(images, labels, test_size=.2, random_state=seed % 2**32,
                             stratify=labels)
    x, x_test, y, y_test = map(torch.as_tensor, split)
    return (x, y), (x_test, y_test)


def batches(data: Data, size: int, epochs: int, seed: int) -> Iterator[Data]:
    images, labels = data
    gen = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=gen)
        for i in torch.split(order, size): yield images[i], labels[i]


class Block(nn.Module):
    "A residual block: x + f(x)."
    def __init__(self, width: int):
        super().__init__()
        self.f = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(),
                               nn.Linear(width, width))

    def forward(self, x: Tensor) -> Any: return x + self.f(x)


def net(seed: int) -> nn.Module:
    """A residual network for the digits, in float64.

    It has 150 tensors, as many as a ResNet-50 or a GPT-2, but small ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), *[Block(32) for _ in range(24)],
                             nn.LayerNorm(32), nn.Linear(32, 10)).double()


# -- a pair ----------------------------------------------------------------------------------------

class Racer:
    "An optimizer with its own copy of a model. It keeps its losses, and the seconds of its steps."
    def __init__(self, model: nn.Module, make: Callable[..., Any], **words: Any):
        self.model = copy.deepcopy(model)
        self.opt = make(self.model.parameters(), **words)
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def step(self, x: Tensor, y: Tensor) -> None:
        self.opt.zero_grad()
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        start = timer()
        self.opt.step()
        self.seconds.append(timer() - start)
        self.losses.append(loss.item())

    def weights(self) -> Tensor: return nn.utils.parameters_to_vector(self.model.parameters())

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        with torch.no_grad(): right: Tensor = self.model(x).argmax(1) == y
        return right.double().mean().item()


class Pair:
    """A recipe and its twin in step, both as they come, and the twin's fused kernel if it has one.

    `step` raises FloatingPointError if a loss is not finite.
    """
    def __init__(self, name: str, lr: float, model: nn.Module):
        cls: Callable[..., Any] = TWINS[name].cls
        self.recipe = find(name)
        self.name, self.lr, self.twin = name, lr, f'torch.optim.{cls.__name__}'
        options: dict[str, Any] = dict(lr=lr, momentum=.9) if name == 'Momentum' else dict(lr=lr)
        self.ours, self.theirs = Racer(model, self.recipe, lr=lr), Racer(model, cls, **options)
        has_fused = 'fused' in signature(cls).parameters
        self.fused = Racer(model, cls, fused=True, **options) if has_fused else None
        self.racers = [r for r in (self.ours, self.theirs, self.fused) if r]
        self.losses = self.ours.losses, self.theirs.losses
        self.drift: list[float] = []

    def step(self, x: Tensor, y: Tensor) -> None:
        turn = len(self.drift) % len(self.racers)  # nobody is always the first
        for racer in self.racers[turn:] + self.racers[:turn]:
            racer.step(x, y)
            if not math.isfinite(racer.losses[-1]):
                raise FloatingPointError(
                    f'{self.name} diverged in step {len(racer.losses)} with lr={self.lr:g}: '
                    'give a smaller one with --lrs')
        ours, theirs = self.ours.weights(), self.theirs.weights()
        self.drift.append(((ours - theirs).abs().max() / theirs.abs().max()).item())

    def speed_over(self, other: Racer | None) -> float | None:
        "How many times as fast as the other's our steps are, the median of pairs."
        if other is None: return None
        return median(b / a for a, b in zip(self.ours.seconds, other.seconds))

    def summary(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        "A row of the table. The loss is the mean of the last tenth of the batches."
        last = -len(self.drift) // 10
        return dict(optimizer=self.name, twin=self.twin, lr=self.lr,
                    parts=[p.label for p in self.recipe.parts()],
                    loss=[mean(v[last:]) for v in self.losses],
                    accuracy=[r.accuracy(x, y) for r in (self.ours, self.theirs)],
                    weight_difference=max(self.drift),
                    speed_over_torch=self.speed_over(self.theirs),
                    speed_over_fused=self.speed_over(self.fused),
                    step_ms=[1000 * median(r.seconds) for r in self.racers])
