"Pictures of what optimizers are made of, computed from their parts: dots, and the family."
from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .figures import COLORS, MARKS, WIDTH, figure
from .members import Member, active, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['Row', 'dots', 'graph']

KINDS = 'total', 'gate', 'stat', 'transform', 'step'
GREY = '.3'


# -- dots ------------------------------------------------------------------------------------------

def dots(members: Sequence[Member]) -> Figure:
    """A column for each optimizer, a row for each part, and a dot where it has the part.

    The dot is hollow if the part goes by other names, and small if it is off.
    """
    kind = {p.fn: p.kind for m in members for p in m.parts}
    functions = merged([[p.fn for p in m.parts] for m in members])
    rows = sorted(functions, key=lambda f: KINDS.index(kind[f]))
    with figure(WIDTH, 1.6 + .25 * len(rows)) as fig:
        ax = fig.subplots()
        for x, m in enumerate(members):
            ys = [rows.index(p.fn) for p in m.parts]
            sizes = [60 if p in active(m) else 14 for p in m.parts]
            ax.plot([x, x], [min(ys), max(ys)], color=COLORS[0], lw=.6, alpha=.5)
            inside = ['white' if p.names else COLORS[0] for p in m.parts]
            ax.scatter([x] * len(ys), ys, sizes, color=inside, edgecolors=COLORS[0], zorder=3)
        ax.set_yticks(range(len(rows)), [f.__name__ for f in rows])
        ax.set_xticks(range(len(members)), [m.name for m in members], rotation=90)
        ax.xaxis.tick_top()
        ax.set(xlim=(-.6, len(members) - .4), ylim=(len(rows) - .4, -.6))
        if words := [*_what_dots_mean(members)]: ax.set_xlabel('; '.join(words), loc='right')
        _part_kinds(ax, [kind[f] for f in rows])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(axis='both', color='.93', lw=.6)
        ax.set_axisbelow(True)
    return fig


def _what_dots_mean(members: Sequence[Member]) -> Sequence[str]:
    every = [(m, p) for m in members for p in m.parts]
    words = ['hollow: under other names'] * any(p.names for _, p in every)
    return words + ['small: off'] * any(p not in active(m) for m, p in every)


def _part_kinds(ax: Axes, kinds: Sequence[str]) -> None:
    "Lines between the kinds of parts, and their names at the right."
    for k in {*kinds}:
        ys = [y for y, other in enumerate(kinds) if other == k]
        ax.text(1.02, sum(ys) / len(ys), f'{k}s' if len(ys) > 1 else k, rotation=90, va='center',
                color=GREY, transform=ax.get_yaxis_transform())
        if ys[0]: ax.axhline(ys[0] - .5, color='.75', lw=.8)


# -- the family ------------------------------------------------------------------------------------

LINE, INDENT = .2, .19  # in inches: the height of a line of text, and how far in a child stands
FITTING = 11.5          # characters in an inch
COLUMNS = 3             # of the legend


class Row(NamedTuple):
    "A node of a graph that is drawn as a tree."
    name: str
    kind: str                # its colour and mark
    depth: int
    notes: Sequence[str]     # below each other; the first is beside the name
    parents: Sequence[str]   # it stands under the first, and a dashed line leads to each other one


def graph(rows: Sequence[Row]) -> Figure:
    "A graph as a tree, whose rows are given from top to bottom."
    kinds = dict.fromkeys(r.kind for r in rows)
    looks: dict[str, dict[str, Any]] = {
        k: dict(s=55, color=COLORS[i % len(COLORS)], marker=MARKS[i // len(COLORS)])
        for i, k in enumerate(kinds)}
    texts, where, height = dict[str, list[str]](), dict[str, tuple[float, float]](), LINE
    for r in rows:
        where[r.name] = x, _ = .2 + INDENT * r.depth, height
        texts[r.name] = [*_wrapped(r.name, r.notes, WIDTH - x - .2)]
        height += LINE * len(texts[r.name]) + .08
    height += .2 + .23 * -(-len(looks) // COLUMNS)  # the legend
    with figure(WIDTH, height, arranged=False) as fig:
        ax = fig.add_axes((0, 0, 1, 1))
        for r in rows:
            for p in r.parents: _join(ax, where[p], where[r.name], is_first=p == r.parents[0])
            ax.scatter(*where[r.name], zorder=3, **looks[r.kind])
            _write(ax, r.name, texts[r.name], *where[r.name])
        for kind, look in looks.items(): ax.scatter([], [], label=kind, **look)
        ax.legend(loc='lower center', ncols=COLUMNS, frameon=False)
        ax.set(xlim=(0, WIDTH), ylim=(height, 0))
        ax.axis('off')
    return fig


def _wrapped(name: str, notes: Sequence[str], width: float) -> Iterator[str]:
    "The lines of a name's notes. The first is beside the name, and may be empty."
    for i, note in enumerate(notes or ['']):
        begin = '#' * int(1.25 * len(name) + 2) if not i else ''
        lines = textwrap.wrap(begin + ' ' + note, int(width * FITTING), break_long_words=False)
        yield from (line.lstrip('#').strip() for line in lines)


def _write(ax: Axes, name: str, lines: Sequence[str], x: float, y: float) -> None:
    bold = ax.text(x + .12, y, name, va='center', weight='bold', color='.1')
    ax.annotate(lines[0], (1, .5), xycoords=bold, xytext=(6, 0), textcoords='offset points',
                va='center', color=GREY)
    for i, line in enumerate(lines[1:], 1):
        ax.text(x + .12, y + i * LINE, line, va='center', color=GREY)


def _join(ax: Axes, parent: tuple[float, float], child: tuple[float, float],
          is_first: bool) -> None:
    (x, y), (child_x, child_y) = parent, child
    beside = min(x, child_x) - INDENT / 2
    if is_first: ax.plot([x, x, child_x], [y, child_y, child_y], color='.7', lw=1, zorder=1)
    else: ax.plot([x, beside, beside, child_x], [y, y, child_y, child_y], '--', color=COLORS[1],
                  lw=1.2, zorder=2)
