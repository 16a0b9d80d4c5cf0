"""Tasks for a race: data, a model and a loss. None of them needs a download.

    >>> from genopt import Task, race
    >>> def data():
    ...     x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    ...     return split(x, x.prod(1), 100, 100)
    >>> mine = Task('products', data, lambda: MLP(5, 16), nn.functional.mse_loss, steps=200)
    >>> race(['adamw', 'lion'], [mine])

A seed decides the first weights and the order of batches, and the data stay the same. On the
command line, `mine.py:TASK` names a task in a file.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..curvature import hutchinson
from ..extras import missing
from ..optimizer import Optimizer
from .models import MLP, Convolutions, Factors, Transformer

__all__ = ['Data', 'Task', 'TASKS', 'digits', 'diabetes', 'text', 'leastsquares', 'factors',
           'split']

Pair: TypeAlias = 'tuple[Tensor, Tensor]'      # examples and their targets, one a row
Data: TypeAlias = 'tuple[Pair, Pair, Pair]'    # to train, to choose a learning rate by, to report


@dataclass(frozen=True)
class Task:
    """Something to train. Lower is better, of a loss or of its gap to `optimum`.

    `data` returns (examples, targets) three times: to train, to validate and to test. `model` is
    called after the seed has been set. `loss(model(examples), targets)` is a mean over examples.
    """
    name: str
    data: Callable[[], Data]
    model: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    steps: int = 300
    batch: int = 64                                   # examples in a step; all if there are fewer
    optimum: Callable[[Data], float] | None = None    # the smallest loss, if it is known
    sparse: bool = False                              # embeddings may have sparse gradients
    dtype: torch.dtype = torch.float32
    measure: str = 'loss'                             # what is reported, in words
    about: str = ''

    @cached_property
    def sets(self) -> Data:
        "The data, made once, with this task's dtype."
        def cast(t: Tensor) -> Tensor: return t.to(self.dtype) if t.is_floating_point() else t
        train, validation, test = [(cast(x), cast(y)) for x, y in self.data()]
        return train, validation, test

    @cached_property
    def least(self) -> float:
        "What is subtracted from a loss before it is reported."
        return self.optimum(self.sets) if self.optimum else 0.

    def build(self, seed: int, sparse: bool=False) -> nn.Module:
        "The model as it begins."
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.model().to(self.dtype)
        for m in model.modules():
            if isinstance(m, (nn.Embedding, nn.EmbeddingBag)): m.sparse = sparse
        return model

    def batches(self, steps: int, seed: int) -> Tensor:  # of shape (steps, batch): places of rows
        "The examples of each step: every one once before one comes again."
        n = len(self.sets[0][0])
        if self.batch >= n: return torch.arange(n).expand(steps, n)
        draw, each = torch.Generator().manual_seed(seed), n // self.batch
        orders = [torch.randperm(n, generator=draw)[:each * self.batch]
                  for _ in range(math.ceil(steps / each))]
        return torch.cat(orders).view(-1, self.batch)[:steps]

    def step(self, model: nn.Module, opt: Any, rows: Tensor) -> None:
        "A step on these examples. It gives the rule what it asks for: the loss again, or `hess`."
        x, y = (t[rows] for t in self.sets[0])
        groups = opt.groups() if isinstance(opt, Optimizer) else ()
        reads_hess = any('hess' in g.composition.given for g in groups)
        def closure() -> Tensor:
            opt.zero_grad()
            loss = self.loss(model(x), y)
            if reads_hess and opt.awaits('hess'):
                opt.feed(hess=hutchinson(loss, model.parameters()))
            loss.backward()  # type: ignore[no-untyped-call]
            return loss
        opt.step(closure)


def split(x: Tensor, y: Tensor, validation: int, test: int) -> Data:
    "Three sets of rows, drawn at random, always in the same way."
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    parts = torch.split(order, [len(x) - validation - test, validation, test])
    a, b, c = [(x[i], y[i]) for i in parts]
    return a, b, c


def _numbers(n: int) -> Callable[..., Tensor]:
    "Draws normal numbers of a shape, with a seed."
    return partial(torch.randn, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


# -- data of scikit-learn --------------------------------------------------------------------------

def _loaded(name: str) -> Pair:
    try: from sklearn import datasets
    except ImportError:
        raise ImportError(missing('sklearn', f'the task {name} needs', 'race')) from None
    x, y = getattr(datasets, f'load_{name}')(return_X_y=True)
    return torch.as_tensor(x), torch.as_tensor(y)


def _digits() -> Data:
    images, labels = _loaded('digits')
    return split(images.view(-1, 1, 8, 8) / 16, labels, 300, 300)


def _diabetes() -> Data:
    "All columns, the target too, with mean 0 and deviation 1."
    x, y = _loaded('diabetes')
    table = torch.cat([x, y[:, None]], 1)
    table = (table - table.mean(0)) / table.std(0)
    return split(table[:, :-1], table[:, -1], 100, 100)


digits = Task('digits', _digits, Convolutions, nn.functional.cross_entropy,
              batch=32, measure='cross-entropy',
              about="1,797 of scikit-learn's handwritten digits, and a small convolutional network")

diabetes = Task('diabetes', _diabetes, partial(MLP, 10, 32), nn.functional.mse_loss, batch=32,
                measure='mean squared error',
                about='regression: disease progression in 442 diabetes patients, from 10 numbers '
                      "each (scikit-learn's), and a network with two hidden layers")


# -- text ------------------------------------------------------------------------------------------

LETTERS = '\n' + ''.join(map(chr, range(32, 127)))
WINDOW = 32


def _text() -> Data:
    "Windows of what `help()` says about Python's language; others of it are held out."
    try: from pydoc_data.topics import topics
    except ImportError:
        raise ImportError('the task text reads `pydoc_data`, which this Python comes without: '
                          'install the whole standard library') from None
    place = {c: i for i, c in enumerate(LETTERS)}
    codes = [place[c] for k in sorted(topics) for c in topics[k] if c in place]
    rows = torch.tensor(codes[:len(codes) // (WINDOW + 1) * (WINDOW + 1)]).view(-1, WINDOW + 1)
    return split(rows[:, :-1], rows[:, 1:], 32, 32)


def _letters(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


text = Task('text', _text, partial(Transformer, len(LETTERS), WINDOW), _letters, steps=400, batch=4,
            measure='cross-entropy of a letter',
            about="the next letter in what Python's own help says about the language (the texts of "
                  '`pydoc_data.topics`, which change with the version of Python), and a '
                  'transformer with two layers')


# -- problems with known answers -------------------------------------------------------------------

def _least_squares() -> Data:
    """A matrix whose singular values lie between 1 and 100, in equal ratios, with noise.

    So the second derivative has a condition number of 10⁴. There is one set for all purposes, as it
    is a problem of optimization alone.
    """
    draw, (n, d) = _numbers(1), (200, 30)
    left, right = torch.linalg.qr(draw(n, d)).Q, torch.linalg.qr(draw(d, d)).Q
    x = left * torch.logspace(0, 2, d, dtype=torch.float64) @ right.T
    y = x @ draw(d) + draw(n)
    return (x, y), (x, y), (x, y)


def _smallest(data: Data) -> float:
    "The loss at the solution, which LAPACK finds."
    x, y = data[2]
    rest = x @ torch.linalg.lstsq(x, y[:, None]).solution[:, 0] - y
    return float(rest.square().mean())


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor: return super().forward(x)[..., 0]


leastsquares = Task('leastsquares', _least_squares, partial(Linear, 30, 1, bias=False),
                    nn.functional.mse_loss, batch=200, optimum=_smallest, dtype=torch.float64,
                    measure='gap to the optimum',
                    about='least squares with a condition number of 10⁴, all 200 rows in each '
                          'step; reported is the gap to the optimum, which LAPACK finds')


def _ratings() -> Data:
    "Ratings of rank 4 with noise. Some users and things are met often and most of them seldom."
    draw, (users, things, n) = _numbers(2), (300, 200, 12_000)
    table = draw(users, 4) @ draw(4, things) / 2
    gen = torch.Generator().manual_seed(3)
    who, what = (torch.multinomial(1 / torch.arange(5., 5 + k), n, True, generator=gen)
                 for k in (users, things))
    return split(torch.stack([who, what], 1), table[who, what] + .1 * draw(n), 2000, 2000)


factors = Task('factors', _ratings, partial(Factors, 300, 200, 8), nn.functional.mse_loss,
               steps=500, batch=64, sparse=True, measure='mean squared error',
               about='a matrix of ratings as a product of two, whose rows are embeddings; their '
                     'gradients are sparse where the optimizer takes that')

TASKS: dict[str, Task] = {t.name: t for t in (digits, diabetes, text, leastsquares, factors)}
