"Pictures of what optimizers are made of, computed from their parts: dots, and the family tree."
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..catalogue import recipes
from .figures import COLORS, figure
from .members import Member, difference, distance, member, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['dots', 'family', 'tree']

KINDS = 'total', 'gate', 'stat', 'transform', 'step'
GREY = '.35'


# -- dots ------------------------------------------------------------------------------------------

def dots(members: Sequence[Member]) -> Figure:
    """A row for each optimizer, a column for each part, and a dot where it has the part.

    The dot is hollow if the part goes by other names.
    """
    kind = {p.fn: p.kind for m in members for p in m.parts}
    functions = merged([[p.fn for p in m.parts] for m in members])
    columns = sorted(functions, key=lambda f: KINDS.index(kind[f]))
    with figure(2.2 + .22 * len(columns), 1.9 + .23 * len(members)) as fig:
        ax = fig.subplots()
        for y, m in enumerate(members):
            xs = [columns.index(p.fn) for p in m.parts]
            ax.plot([min(xs), max(xs)], [y, y], color=COLORS[0], lw=.6, alpha=.5)
            inside = ['white' if p.names else COLORS[0] for p in m.parts]
            ax.scatter(xs, [y] * len(xs), s=44, color=inside, edgecolors=COLORS[0], zorder=3)
        ax.set_xticks(range(len(columns)), [f.__name__ for f in columns], rotation=90, fontsize=8)
        ax.set_yticks(range(len(members)), [m.name for m in members], fontsize=9)
        ax.set(xlim=(-.6, len(columns) - .4), ylim=(len(members) - .4, -.6))
        if any(p.names for m in members for p in m.parts):
            ax.set_xlabel('hollow: under other names', fontsize=8, loc='right')
        _name_kinds(ax, [kind[f] for f in columns])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(axis='both', color='.93', lw=.6)
        ax.set_axisbelow(True)
    return fig


def _name_kinds(ax: Axes, kinds: Sequence[str]) -> None:
    "Above the columns, the kind of their parts, with lines between the kinds."
    for k in {*kinds}:
        xs = [x for x, other in enumerate(kinds) if other == k]
        ax.text(sum(xs) / len(xs), -.8, f'{k}s', ha='center', va='bottom', fontsize=8, color=GREY)
        if xs[0]: ax.axvline(xs[0] - .5, color='.75', lw=.8)


# -- the family ------------------------------------------------------------------------------------

def tree(members: Sequence[Member]) -> dict[int, int]:
    "Each member's parent, its nearest. The first member is the root, and parents come first."
    parents: dict[int, int] = {}
    while left := {*range(1, len(members))} - {*parents}:
        _, child, parent = min((distance(members[p], members[c]), c, p)
                               for c in left for p in (0, *parents))
        parents[child] = parent
    return parents


def family() -> Figure:
    "All recipes as a tree: each hangs from the one from which it takes the fewest edits of parts."
    entries = recipes()
    members = [member(e.name) for e in entries]
    families = [*dict.fromkeys(e.family for e in entries)]
    color = dict(zip(families, COLORS))
    parents = tree(members)
    places = dict(_places(parents))
    with figure(15, 9.6, arranged=False) as fig:
        ax = fig.add_axes((0, 0, 1, 1))
        for child, parent in parents.items():
            (x, y), (child_x, child_y) = places[parent], places[child]
            ax.plot([x + .12, x + .12, child_x], [y + .25, child_y, child_y], color='.7', lw=1,
                    solid_capstyle='round', zorder=1)
        for i, (x, y) in places.items():
            ax.scatter([x + .12], [y], s=60, color=color[entries[i].family], zorder=3)
            name = ax.text(x + .25, y, entries[i].name, va='center', weight='bold', color='.1')
            if i not in parents: continue
            edit = _short_edit(members[parents[i]], members[i])
            ax.annotate(edit, (1, .5), xycoords=name, xytext=(8, 0), textcoords='offset points',
                        va='center', fontsize=7.5, color=GREY)
        for f in families: ax.scatter([], [], s=60, color=color[f], label=f)
        ax.legend(loc='upper right', bbox_to_anchor=(.97, .97), frameon=False, title='family',
                  alignment='left')
        ax.set(xlim=(-.15, max(x for x, _ in places.values()) + 8), ylim=(len(places) - .2, -.8))
        ax.axis('off')
    return fig


def _places(parents: Mapping[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
    "For each member, its depth in the tree and its row. Small branches come first."
    def descendants(i: int) -> Iterator[tuple[int, int]]:
        yield i, 0
        branches = [[*descendants(c)] for c, p in parents.items() if p == i]
        for branch in sorted(branches, key=len): yield from ((c, depth + 1) for c, depth in branch)
    for row, (i, depth) in enumerate(descendants(0)): yield i, (depth, row)


def _short_edit(a: Member, b: Member) -> str:
    "An edit with signs. New names of arguments are only written where a part is there twice."
    gone, new = difference(a.parts, b.parts)
    count = Counter(p.__name__ for p in [*gone, *new])
    names = [p.label if count[p.__name__] > 1 else p.__name__ for p in [*new, *gone]]
    signs = '+' * len(new) + '−' * len(gone)
    return '  '.join(f'{sign} {name}' for sign, name in zip(signs, names)) or 'other values'
