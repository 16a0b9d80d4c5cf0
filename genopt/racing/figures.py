"The pictures of a race: losses over steps, and over learning rates."
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.figures import COLORS, LINES, MARKS, WIDTH, figure
from .sweep import Sweep

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['draw']

HEIGHT = 6.  # inches, of a task
ROOM = 1.5   # the axis of losses ends at so many times the first loss


def draw(tasks: Sequence[Sequence[Sweep]]) -> Figure:
    "For each task two plots, one below the other: the curves, and the learning rates."
    with figure(WIDTH, HEIGHT * len(tasks)) as fig:
        axes = fig.subplots(2 * len(tasks), 1, squeeze=False)[:, 0]
        for i, sweeps in enumerate(tasks):
            _curves(axes[2 * i], sweeps)
            _rates(axes[2 * i + 1], sweeps)
    return fig


def _curves(ax: Any, sweeps: Sequence[Sweep]) -> None:
    "The mean test loss of all seeds, at the best learning rate; the band goes from best to worst."
    task = sweeps[0].job.task
    ax.set(yscale='log', xlabel='step', ylabel=task.measure)
    _limit(ax, sweeps)
    for i, s in enumerate(sweeps):
        runs = s.runs[s.best]
        steps, losses = runs[0].steps, np.array([r.test for r in runs])
        style = dict(color=COLORS[i % len(COLORS)], ls=LINES[i // len(COLORS) % len(LINES)])
        ax.plot(steps, losses.mean(0), label=f'{s.job.entrant.label}, {s.best:.2g}', **style)
        ax.fill_between(steps, losses.min(0), losses.max(0), color=style['color'], alpha=.2, lw=0)
    ax.set_title(f'{task.name}: each at its learning rate', fontsize=11)
    ax.legend(frameon=False, fontsize=9)


def _rates(ax: Any, sweeps: Sequence[Sweep]) -> None:
    "The test loss at the end over the learning rate. A rate with which a run diverged has a cross."
    task, tried = sweeps[0].job.task, [lr for s in sweeps for lr in s.runs]
    ax.set(xscale='log', yscale='log', xlabel='learning rate (× diverged)', ylabel=task.measure,
           xlim=(min(tried) / 1.5, max(tried) * 1.5))
    _limit(ax, sweeps)
    for i, s in enumerate(sweeps):
        color, mark = COLORS[i % len(COLORS)], MARKS[i % len(MARKS)]
        ends = {lr: [r.test[-1] for r in s.runs[lr]] for lr in sorted(s.runs)}
        fine = {lr: v for lr, v in ends.items() if max(v) < math.inf}
        means = [float(np.mean(v)) for v in fine.values()]
        ax.plot([*fine], means, color=color, marker=mark, ms=4, lw=1.2)
        ax.fill_between([*fine], *([f(v) for v in fine.values()] for f in (min, max)),
                        color=color, alpha=.2, lw=0)
        gone = [lr for lr in ends if lr not in fine]
        if gone: ax.plot(gone, [1 - .03 * i] * len(gone), 'x', color=color, clip_on=False,
                transform=ax.get_xaxis_transform())
        if s.best in fine: ax.plot(s.best, np.mean(fine[s.best]), mark, color=color, ms=9, mfc='w')


def _limit(ax: Any, sweeps: Sequence[Sweep]) -> None:
    """Where the axis of losses ends, and its numbers.

    Of what is far above the first loss, it shows only that it is there.
    """
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):  # 0.2, where matplotlib has 2e−01
        def __call__(self, x: float, pos: int | None=None) -> str:
            return f'{x:g}' if super().__call__(x, pos) else ''

    first = [r.test[0] for s in sweeps for runs in s.runs.values() for r in runs]
    ends = [r.test[-1] for s in sweeps for runs in s.runs.values() for r in runs]
    ends = [e for e in ends if e > 0 and math.isfinite(e)]
    if ends: ax.set_ylim(min(ends) / 1.2, ROOM * max(first))
    for axis, only in (ax.yaxis.set_major_formatter, True), (ax.yaxis.set_minor_formatter, False):
        axis(Plain(labelOnlyBase=only, minor_thresholds=(1.5, .5)))
