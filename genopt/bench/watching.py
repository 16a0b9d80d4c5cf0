"What it costs to watch: steps of an optimizer and of training, with a recorder and without."
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize

import torch
from torch import Tensor, nn

from ..zoo import AdamW
from .contenders import Contender, Make
from .pairs import net

__all__ = ['EVERY', 'MODELS', 'steps', 'training']

EVERY = 10   # A contender's step is as many steps: the recorder looks at one of them
Loss = Callable[[], Tensor]


class Steps(Contender):
    "Ten steps of AdamW, each after a backward pass if there is a loss."
    def __init__(self, params: list[Tensor], loss: Loss | None, is_watched: bool):
        self.params, self.loss = params, loss
        self.opt = AdamW(params, lr=1e-4)
        if not is_watched: return
        finalize(self, rmtree, folder := mkdtemp(), True)
        self.opt.watch(EVERY, f'{folder}/run.csv')

    def step(self) -> None:
        for _ in range(EVERY):
            if self.loss: self.loss().backward()  # type: ignore[no-untyped-call]
            self.opt.step()
            if self.loss: self.opt.zero_grad()

    def give(self, grads: list[Tensor]) -> None:
        for p, g in zip(self.params, [] if self.loss else grads): p.grad = g

    def values(self) -> list[Tensor]: return [p.detach() for p in self.params]


def steps(is_watched: bool) -> Make:
    "Only the optimizer's steps, along gradients that are there."
    return lambda params: Steps([nn.Parameter(p.clone()) for p in params], None, is_watched)


def training(model: str, is_watched: bool) -> Make:
    "Training steps of one of MODELS, on one batch."
    def make(_: list[Tensor]) -> Contender:
        params, loss = MODELS[model]()
        return Steps(params, loss, is_watched)
    return make


def residual() -> tuple[list[Tensor], Loss]:
    "The network of `race`, of 150 small tensors, on 64 digits."
    model, x, y = net(0), torch.rand(64, 1, 8, 8).double(), torch.arange(64) % 10
    return [*model.parameters()], lambda: nn.functional.cross_entropy(model(x), y)


def transformer() -> tuple[list[Tensor], Loss]:
    "A language model of 10.3 million elements, four layers, on four lines of 128 tokens."
    d, tokens = 384, torch.randint(8000, (4, 128))
    layer = partial(nn.TransformerEncoderLayer, d, 6, 4 * d, 0., 'gelu', batch_first=True)
    model = nn.Sequential(nn.Embedding(8000, d), *[layer() for _ in range(4)])
    def loss() -> Tensor:
        scores = model(tokens) @ model[0].weight.T
        return nn.functional.cross_entropy(scores[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    return [*model.parameters()], loss


MODELS = dict(residual=residual, transformer=transformer)
