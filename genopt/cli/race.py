"""The race: genopt's optimizers and their twins in torch.optim train one real model, side by side.

Each pair starts at the same weights and sees the same batches, in float64. Each model goes its own way from there: its
gradients are taken at the weights that its own optimizer reached. So curves in pairs say that the optimizers agree.
"""
from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..extras import missing
from ..hypers import did_you_mean
from ..twins import TWINS
from ..recipe import Recipe
from ..study.figures import COLORS
from . import Stop, write

__all__ = ['race']

LRS = dict(SGD=.2, Momentum=.05, RMSprop=.001, Adam=.005, AdamW=.005)
DRIFT = 1e-6  # rounding grows to 1e-12 or so on the way; any error in a rule is far larger


def race(
    epochs: int=12,  # Passes over the 1437 training images
    seed: int=0,  # Of the first weights and of the order of images
    optimizers: str='SGD,Momentum,RMSprop,Adam',  # Which, with commas between: SGD, Momentum, RMSprop, Adam, AdamW
    lrs: str='',  # Their learning rates, in the same order; each one's own by default
    batch: int=64,  # Images in a batch
    out: Path=Path('race')  # Folder for the figure, race.png, and the numbers, race.json
) -> int:
    "Trains a small network on handwritten digits with genopt's optimizers and with torch's, and compares."
    lr_of = _chosen(optimizers, lrs)
    for name, value in dict(epochs=epochs, batch=batch).items():
        if value < 1: raise Stop(f'--{name} {value}: give at least 1')
    try:
        import matplotlib  # noqa: F401
        import sklearn  # noqa: F401
        from rich.progress import track
    except ImportError as e:
        package = str(e.name).split('.')[0]
        raise Stop(missing(package, 'the race needs', 'race')) from None
    write(out, lambda out: out.mkdir(exist_ok=True))
    write(out / 'race.json', Path.touch)

    train, test = _digits(seed)
    pairs = [Pair(name, lr, _net(seed)) for name, lr in lr_of.items()]
    batches = list(_batches(train, batch, epochs, seed))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small
    try:
        for x, y in track(batches, description='racing'):
            for pair in pairs: pair.step(x, y)
    finally: torch.set_num_threads(threads)
    rows = [pair.summary(*test) for pair in pairs]
    _print(rows)
    result = dict(epochs=epochs, seed=seed, batch=batch, torch=torch.__version__, optimizers=rows,
                  curves={p.name: dict(genopt=p.losses[0], torch=p.losses[1], weights=p.drift) for p in pairs})
    write(out / 'race.json', lambda path: path.write_text(json.dumps(result, indent=1), encoding='utf-8'))
    write(out / 'race.png', lambda path: _plot(pairs, len(batches) // epochs, path))
    print(f'wrote {out / "race.png"} and {out / "race.json"}')
    for pair in pairs:
        if max(pair.drift) > DRIFT:
            raise Stop(f'{pair.name} and {pair.twin} drifted apart: their weights differ by up to '
                                               f'{max(pair.drift):.1e}, and rounding explains {DRIFT:.0e} at the most')
    return 0


def _chosen(optimizers: str, lrs: str) -> dict[str, float]:
    "name -> learning rate, from what the person wrote."
    by_lower, names = {n.lower(): n for n in LRS}, [n.strip() for n in optimizers.split(',')]
    for n in names:
        if n.lower() not in by_lower: raise Stop(f'`{n}` is not in the race: {did_you_mean(n, LRS)}')
    names = [by_lower[n.lower()] for n in names]
    if len({*names}) < len(names): raise Stop(f'--optimizers {optimizers}: name each one once')
    try: values = [float(v) for v in lrs.split(',')] if lrs else [LRS[n] for n in names]
    except ValueError: raise Stop(f'--lrs {lrs}: give numbers with commas between') from None
    if len(values) != len(names):
        raise Stop(f'--lrs {lrs}: give {len(names)} numbers, one for each of {", ".join(names)}')
    if bad := [v for v in values if not 0 <= v < float('inf')]:
        raise Stop(f'--lrs {lrs}: {bad[0]:g} is no learning rate')
    return dict(zip(names, values))


# -- the model and its data ----------------------------------------------------------------------------------

def _digits(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    "scikit-learn's 1797 handwritten digits, 8×8 pixels in [0, 1]: (images, labels) to train on, and a fifth held out."
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=.2, random_state=seed % 2**32, stratify=labels)
    x, x_test, y, y_test = map(torch.as_tensor, parts)
    return (x.view(-1, 1, 8, 8), y), (x_test.view(-1, 1, 8, 8), y_test)


def _batches(data: tuple[Tensor, Tensor], size: int, epochs: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    gen = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for i in torch.split(torch.randperm(len(data[0]), generator=gen), size): yield data[0][i], data[1][i]


def _net(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
                             nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
                             nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)).double()


# -- a pair --------------------------------------------------------------------------------------------------

@dataclass
class Pair:
    "A recipe and its twin, each with a model of its own, in step."
    name: str
    lr: float
    model: nn.Module
    losses: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    times: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    drift: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        import genopt
        cls = TWINS[self.name].cls
        self.recipe: Recipe = getattr(genopt, self.name)
        self.twin = f'torch.optim.{cls.__name__}'
        self.models = self.model, copy.deepcopy(self.model)
        kwargs: dict[str, Any] = dict(momentum=.9) if self.name == 'Momentum' else {}
        ours, theirs = (m.parameters() for m in self.models)
        self.opts = self.recipe(ours, self.lr), cast(Any, cls)(theirs, lr=self.lr, **kwargs)

    def step(self, x: Tensor, y: Tensor) -> None:
        for model, opt, losses, times in zip(self.models, self.opts, self.losses, self.times):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            start = time.perf_counter()
            opt.step()
            times.append(time.perf_counter() - start)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise Stop(f'{self.name} diverged in step {len(losses)} with lr={self.lr:g}: '
                           'give a smaller one with --lrs')
        ours, theirs = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in self.models)
        self.drift.append(((ours - theirs).abs().max() / theirs.abs().max()).item())

    def summary(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        "One row of the table."
        with torch.no_grad(): right = [(m(x).argmax(1) == y).double().mean().item() for m in self.models]
        last = slice(-len(self.losses[0]) // 10 or None, None)
        return dict(optimizer=self.name, twin=self.twin, lr=self.lr, parts=[p.label for p in self.recipe.parts()],
                    loss=[sum(v[last]) / len(v[last]) for v in self.losses], accuracy=right,
                    weight_difference=max(self.drift), time_ratio=median(a / b for a, b in zip(*self.times)),
                    step_ms=[1000 * median(t) for t in self.times])


# -- what people see -----------------------------------------------------------------------------------------

def _print(rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    table = Table('optimizer', title='genopt against torch.optim, on handwritten digits', title_justify='left',
                  box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column('parts', min_width=26)
    for column in ('loss', 'accuracy', 'differ', 'time'): table.add_column(column, justify='right')
    for r in rows:
        table.add_row(r['optimizer'], ' → '.join(r['parts']), f'{r["loss"][0]:.4g}', f'{r["accuracy"][0]:.1%}',
                      f'{r["weight_difference"]:.0e}', f'{r["time_ratio"]:.2f}×')
    console = Console()
    console.print(table)
    console.print('loss: mean of the last tenth of the batches; accuracy: on images held out; differ: weights from the '
                  'twin\'s at most, over the largest weight; time: of a step over the twin\'s, median of pairs',
                  style='dim', highlight=False)


def _plot(pairs: list[Pair], per_epoch: int, path: Path) -> None:
    "Above: each pair's losses, ours as dots over torch's line. Below: how far apart they are."
    import matplotlib
    from matplotlib.figure import Figure
    with matplotlib.rc_context({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}):
        fig = Figure(figsize=(8, 6), layout='constrained', facecolor='white')
        zero = 1e-18  # where the log axis below shows 0
        above, below = fig.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
        for i, pair in enumerate(pairs):
            color = COLORS[i]
            ours, theirs = (_smooth(v, per_epoch) for v in pair.losses)
            epochs = [(j + 1) / per_epoch for j in range(len(ours))]
            twin = pair.twin + ' (momentum=0.9)' * (pair.name == 'Momentum')
            above.plot(epochs, theirs, color=color, lw=5, alpha=.3, label=twin)
            above.plot(epochs, ours, color=color, lw=1.2, label=f'genopt.{pair.name}')
            gap = _smooth([abs(a - b) for a, b in zip(*pair.losses)], per_epoch)
            below.plot(epochs, [max(g, zero) for g in gap], color=color, lw=1.2, clip_on=False)
        above.set(yscale='log', ylabel='training loss',
                  title='genopt over its twins in torch.optim: handwritten digits, the same start, the same batches')
        above.set_ylim(bottom=above.get_ylim()[0] / 3)  # room for the legend
        above.legend(ncols=2, frameon=False, loc='lower left')
        below.set(yscale='log', ylabel='|difference of losses|', xlabel='epoch')
        below.set_ylim(zero, max(1e-6, below.get_ylim()[1]))
        below.set_yticks([zero, 1e-15, 1e-12, 1e-9, 1e-6], ['0', *(f'$10^{{-{n}}}$' for n in (15, 12, 9, 6))])
        below.minorticks_off()
        below.axhline(2.2e-16, color='gray', lw=.8, ls=':')
        below.annotate('precision of float64', (0, 2.2e-16), xycoords=('axes fraction', 'data'), va='bottom',
                       color='gray', fontsize=8)
        fig.savefig(path, dpi=150)


def _smooth(values: list[float], window: int) -> list[float]:
    "The mean of the last `window` values, at each."
    sums = torch.tensor([0., *values], dtype=torch.float64).cumsum(0)
    i = torch.arange(1, len(sums))
    start = (i - window).clamp(min=0)
    return ((sums[i] - sums[start]) / (i - start)).tolist()
