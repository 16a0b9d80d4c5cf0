"A picture of a record: a small panel for each quantity, over the steps."
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..hypers import did_you_mean
from ..study.figures import COLORS, WIDTH, figure
from .quantities import Numbers
from .writers import KEYS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['draw']

USUAL = 'grad_norm', 'update_ratio', 'cosine', 'effective_lr'
MOST = 6  # panels, if nobody says which
LINEAR = ('cosine', '_kept', '_zeroed')  # how names of quantities end that are not drawn to a log
BANDS = ((0, 100, .15), (25, 75, .3))    # percentiles, and how dark

Lines: TypeAlias = Mapping[str, tuple[Numbers, Numbers]]  # steps and values of each parameter


def usual(there: Sequence[str], own: Sequence[str]=()) -> list[str]:
    "The quantities to draw: all if they are few, or some of them, with one's own."
    if len(there) <= MOST: return [*there]
    return [q for q in (*USUAL, *own) if q in there] or [*there][:MOST]


def draw(rows: Sequence[Row], quantities: Sequence[str],
         params: Sequence[str] | None=None) -> Figure:
    """Panels below each other. Of more parameters than there are colours it shows percentiles.

    Raises KeyError for names that are not there, and ValueError for a record without rows.
    """
    if not rows: raise ValueError('the record is empty: make a step with a gradient first')
    patterns = params or ['*']
    names = [n for n in dict.fromkeys(r['param'] for r in rows)
             if any(fnmatchcase(n, p) for p in patterns)]
    if not names:
        raise KeyError(f'`params`: no parameter in the record is called `{patterns[0]}`: '
                       + did_you_mean(patterns[0], dict.fromkeys(r['param'] for r in rows)))
    there = dict.fromkeys(k for r in rows for k in r if k not in KEYS)
    for q in quantities:
        if q not in there: raise KeyError(f'the record has no `{q}`: {did_you_mean(q, there)}')
    shown = quantities or usual([*there])
    few, of = len(names) <= len(COLORS), dict[str, list[Row]]()
    for r in rows: of.setdefault(r['param'], []).append(r)
    with figure(WIDTH, 1.5 * len(shown) + (.25 * len(names) if few else .5)) as fig:
        axes = fig.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for ax, q in zip(axes, shown):
            lines = {n: _line(of[n], q) for n in names}
            (_each if few else _together)(ax, lines)
            _decorate(ax, q, [v for _, values in lines.values() for v in values])
        axes[-1].set_xlabel('step')
        fig.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center',
                   frameon=False, ncols=1 if few else 3)
    return fig


def _line(rows: Iterable[Row], quantity: str) -> tuple[Numbers, Numbers]:
    found = [(r['step'], r[quantity]) for r in rows if quantity in r]
    steps, values = np.array(found, float).reshape(-1, 2).T
    return steps, values


def _each(ax: Axes, lines: Lines) -> None:
    for color, (name, (steps, values)) in zip(COLORS, lines.items()):
        ax.plot(steps, values, color=color, lw=1.2, label=name,
                marker='.' if len(steps) < 2 else '')


def _together(ax: Axes, lines: Lines) -> None:
    "The median of all parameters, the middle half of them, and all."
    found: dict[float, list[float]] = {}
    for steps, values in lines.values():
        for step, v in zip(steps, values):
            if np.isfinite(v): found.setdefault(step, []).append(v)
    xs = sorted(found)
    def at(percent: float) -> list[float]:
        return [float(np.percentile(found[x], percent)) for x in xs]
    for (low, high, dark), label in zip(BANDS, ('all parameters', 'the middle half')):
        ax.fill_between(xs, at(low), at(high), color=COLORS[0], alpha=dark, lw=0, label=label)
    ax.plot(xs, at(50), color=COLORS[0], lw=1.5, label='median')


def _decorate(ax: Axes, quantity: str, values: Sequence[float]) -> None:
    ax.set_title(quantity, loc='left', fontsize=11)
    ax.grid(color='.92', lw=.6)
    positive = [v for v in values if np.isfinite(v) and v > 0]
    if quantity.endswith(LINEAR) or not positive or any(v < 0 for v in values): return
    if max(positive) > 5 * min(positive): ax.set_yscale('log')
