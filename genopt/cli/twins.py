"A race of twins: genopt's optimizers and torch.optim's train one real model, side by side."
from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ..bench.pairs import Pair, batches, digits, net
from ..bench.timing import threads
from ..hypers import did_you_mean
from ..study import figures
from . import Stop, numbers, print_table, require, write

if TYPE_CHECKING: from matplotlib.figure import Figure

LRS = dict(SGD=.03, Momentum=.02, RMSprop=.001, Adam=.003, AdamW=.003)
DRIFT = 1e-6  # rounding grows to 1e-12 or so on the way; any error in a rule is far larger
HEAD = ('optimizer', 'training loss,\nlower is better', 'test accuracy,\nhigher is better',
        'largest\ndifference\nof weights,\nlower is better',
        "speed over\ntorch's class\nas it comes,\nhigher is better",
        "speed over\ntorch's\nfused kernel,\nhigher is better")
SPEED = '''Speed is that of a step over torch's on the same batch: the median of pairs, in float64,
on one thread. Above 1×, genopt is faster.'''
NEXT = '''
What to try next:
    python -m genopt explain adam                see the equations of Adam, read off its code
    python -m genopt compare rmsprop adam adamw  see which parts they share, and where they differ
    nbs/2_build_your_own.ipynb                   write a rule of your own in a few lines'''


def twins(
    epochs: int=8,  # Passes over the 1437 training images
    seed: int=0,  # Seeds the first weights and the order of the images
    optimizers: str='SGD,Momentum,RMSprop,Adam',  # Some of these and AdamW, with commas between
    lrs: str='',  # Their learning rates, in the same order; by default there is one for each
    batch: int=64,  # Images in a batch
    out: Path=Path('twins')  # Folder for the figure, twins.png, and the numbers, twins.json
) -> int:
    "Trains a small network on handwritten digits with genopt and with torch.optim, and compares."
    lr_of = _chosen(optimizers, lrs)
    for name, value in dict(epochs=epochs, batch=batch).items():
        if value < 1: raise Stop(f'--{name} {value}: give at least 1')
    require('race', 'sklearn', 'matplotlib', 'rich')
    from rich.progress import track
    write(out / 'twins.json', Path.touch)

    train, test = digits(seed)
    pairs = [Pair(name, lr, net(seed)) for name, lr in lr_of.items()]
    steps = [*batches(train, batch, epochs, seed)]
    try:
        with threads(1):  # the tensors are small
            for x, y in track(steps, description='racing'):
                for pair in pairs: pair.step(x, y)
    except FloatingPointError as e: raise Stop(str(e)) from None

    rows = [pair.summary(*test) for pair in pairs]
    curves = {p.name: dict(genopt=p.losses[0], torch=p.losses[1], weights=p.drift) for p in pairs}
    result = dict(epochs=epochs, seed=seed, batch=batch, torch=torch.__version__, optimizers=rows,
                  curves=curves)
    text = json.dumps(result, indent=1)
    write(out / 'twins.json', lambda path: path.write_text(text, encoding='utf-8'))
    figure = _draw(pairs, len(steps) // epochs)
    write(out / 'twins.png', lambda path: figure.savefig(path, dpi=150))
    print(f'wrote {out / "twins.png"} and {out / "twins.json"}')
    print_table('genopt beside torch.optim, on handwritten digits', HEAD, [
        [r['optimizer'], f'{r["loss"][0]:.4g}', f'{r["accuracy"][0]:.1%}',
         f'{r["weight_difference"]:.0e}', _times(r['speed_over_torch']),
         _times(r['speed_over_fused'])] for r in rows])
    for pair in pairs:
        if pair.fused is None: print(f'–  {pair.twin} has no fused kernel.')
    print(SPEED)
    for pair in pairs:
        if (worst := max(pair.drift)) > DRIFT:
            raise Stop(f'{pair.name} and {pair.twin} drifted apart: their weights differ by up to '
                       f'{worst:.1e}, and rounding explains {DRIFT:.0e} at the most')
    print(NEXT)
    return 0


def _times(speed: float | None) -> str: return '–' if speed is None else f'{speed:.2f}×'


def _chosen(optimizers: str, lrs: str) -> dict[str, float]:
    "The learning rate of each optimizer that was asked for."
    known = {name.lower(): name for name in LRS}
    names = [n.strip() for n in optimizers.split(',')]
    for n in names:
        if n.lower() in known: continue
        raise Stop(f'`{n}` is not among the twins: {did_you_mean(n, LRS)}')
    names = [known[n.lower()] for n in names]
    if len({*names}) < len(names): raise Stop(f'--optimizers {optimizers}: name each one once')
    values = numbers('lrs', lrs, len(names)) or [LRS[n] for n in names]
    for v in values:
        if not 0 <= v < math.inf: raise Stop(f'--lrs {lrs}: {v:g} is not a learning rate')
    return dict(zip(names, values))


# -- the figure ------------------------------------------------------------------------------------

def _draw(pairs: list[Pair], per_epoch: int) -> Figure:
    "Above, the losses of each pair, ours as a thin line over torch's; below, their difference."
    zero = 1e-18  # where the logarithmic axis below shows 0
    ticks = {zero: '0', **{10.**-n: f'$10^{{-{n}}}$' for n in (15, 12, 9, 6)}}
    with figures.figure(8, 6) as fig:
        above, below = fig.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
        for pair, color in zip(pairs, figures.COLORS):
            gaps = [abs(a - b) for a, b in zip(*pair.losses)]
            ours, theirs, gap = (_smooth(v, per_epoch) for v in (*pair.losses, gaps))
            epochs = np.arange(1, len(ours) + 1) / per_epoch
            twin = f'{pair.twin} (momentum=0.9)' if pair.name == 'Momentum' else pair.twin
            above.plot(epochs, theirs, color=color, lw=5, alpha=.3, label=twin)
            above.plot(epochs, ours, color=color, lw=1.2, label=f'genopt.{pair.name}')
            below.plot(epochs, gap.clip(zero), color=color, lw=1.2, clip_on=False)
        above.set(yscale='log', ylabel='training loss')
        above.set_title('genopt over torch.optim: handwritten digits, same start, same batches',
                        fontsize=11)
        above.set_ylim(bottom=above.get_ylim()[0] / 8)  # room for the legend
        above.legend(ncols=2, frameon=False, loc='lower left')
        below.set(yscale='log', ylabel='|difference of losses|', xlabel='epoch')
        below.set_ylim(zero, max(1e-6, below.get_ylim()[1]))
        below.set_yticks([*ticks], [*ticks.values()])
        below.minorticks_off()
        below.axhline(2.2e-16, color='gray', lw=.8, ls=':')
        below.annotate('precision of float64', (1, 2.2e-16), xycoords=('axes fraction', 'data'),
                       va='top', ha='right', color='gray', fontsize=8)
    return fig


def _smooth(values: list[float], window: int) -> NDArray[np.float64]:
    "At each value, the mean of it and those before it, `window` in all."
    return np.array([mean(values[max(0, i - window):i]) for i in range(1, len(values) + 1)])
