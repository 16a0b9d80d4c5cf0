"The figure of the benchmark, from its numbers."
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..study.figures import COLORS, MARKS, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(
    result: Mapping[str, Any],  # As bench.json has it
    recipe: str
) -> Figure:
    "A line for each contender: the time of a step over the number and over the size of tensors."
    curves, machine = result['curves'], result['machine']
    labels = [*dict.fromkeys(r['contender'] for c in curves for r in c['rows'] if 'ms' in r)]
    with figure(11, 4.5) as fig:
        left, right = fig.subplots(1, 2)
        _lines(left, labels, [c for c in curves if c['x'] == 'tensors'])
        _lines(right, labels, [c for c in curves if c['x'] == 'elements'])
        left.set(xlabel='tensors of 32×32', ylabel='ms a step (lower is better)')
        right.set(xlabel='elements in one tensor')
        fig.legend(*left.get_legend_handles_labels(), frameon=False, loc='outside right center')
        where = machine['gpu'] or f'{machine["cpu"]}, {machine["threads"]} threads'
        fig.suptitle(f'A step of {recipe}: {where}, torch {machine["torch"]}', fontsize=11)
    return fig


def _lines(ax: Axes, labels: Sequence[str], curves: Sequence[Mapping[str, Any]]) -> None:
    for i, label in enumerate(labels):
        points = [(c['n'], r['ms']) for c in curves for r in c['rows']
                  if r['contender'] == label and 'ms' in r]
        look: Any = dict(color=COLORS[i % len(COLORS)], marker=MARKS[i % len(MARKS)], ms=4, lw=1)
        if label.startswith('genopt'): look['lw'] = 2.4
        if label == 'mul_':
            label = 'in-place mul_ (a limit)'
            look = dict(color='black', ls=':', lw=1)
        ax.plot(*zip(*points), label=label, **look)
    ax.set(xscale='log', yscale='log')
    ax.grid(color='.9', lw=.6)
