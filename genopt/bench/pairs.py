"""A real model, handwritten digits, and pairs that train it: a recipe and its twin in torch.optim.

Both of a pair start at the same weights and see the same batches, in float64. From there each model
goes its own way, as its gradients are taken at the weights that its own optimizer reached. So their
curves lie on each other only if the optimizers agree.
"""
from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from statistics import mean, median
from typing import Any, TypeAlias, cast

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


def net(seed: int) -> nn.Module:
    "A small convolutional network for the digits, in float64."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
                             nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
                             nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)).double()


# -- a pair ----------------------------------------------------------------------------------------

class Pair:
    """A recipe and its twin in step, ours first, each with a model of its own.

    `step` raises FloatingPointError if a loss is not finite.
    """
    def __init__(self, name: str, lr: float, model: nn.Module):
        cls, self.recipe = TWINS[name].cls, find(name)
        self.name, self.lr, self.twin = name, lr, f'torch.optim.{cls.__name__}'
        options: dict[str, Any] = dict(momentum=.9) if name == 'Momentum' else {}
        self.models = model, copy.deepcopy(model)
        ours, theirs = (m.parameters() for m in self.models)
        self.opts = self.recipe(ours, lr), cast(Any, cls)(theirs, lr=lr, **options)
        self.losses: tuple[list[float], list[float]] = ([], [])
        self.times: tuple[list[float], list[float]] = ([], [])
        self.drift: list[float] = []

    def step(self, x: Tensor, y: Tensor) -> None:
        for model, opt, losses, times in zip(self.models, self.opts, self.losses, self.times):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            start = timer()
            opt.step()
            times.append(timer() - start)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(
                    f'{self.name} diverged in step {len(losses)} with lr={self.lr:g}: '
                    'give a smaller one with --lrs')
        ours, theirs = (nn.utils.parameters_to_vector(m.parameters()) for m in self.models)
        self.drift.append(((ours - theirs).abs().max() / theirs.abs().max()).item())

    def summary(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        "A row of the table. The loss is the mean of the last tenth of the batches."
        with torch.no_grad():
            right = [(m(x).argmax(1) == y).double().mean().item() for m in self.models]
        last = -len(self.drift) // 10
        return dict(optimizer=self.name, twin=self.twin, lr=self.lr,
                    parts=[p.label for p in self.recipe.parts()],
                    loss=[mean(v[last:]) for v in self.losses], accuracy=right,
                    weight_difference=max(self.drift),
                    time_ratio=median(a / b for a, b in zip(*self.times)),
                    step_ms=[1000 * median(t) for t in self.times])
