"""Pictures of what optimizers are made of: dots for parts, and the whole family as a tree. All of it is computed."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..catalogue import recipes
from ..kinds import Gate, Stat, Step, Total, Transform
from ..part import Part
from .compare import Member, _edits, _merged, member
from .figures import COLORS, figure

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['dots', 'family', 'tree']

KINDS = [kind.kind for kind in (Total, Gate, Stat, Transform, Step)]  # and others after them


def dots(
    rows: Sequence[tuple[str, Iterable[Part]]]  # A name, and its parts
) -> Figure:
    "A row for each optimizer, a column for each part, and a dot where it has it; hollow, under other names."
    lists = [[p.fn for p in ps] for _, ps in rows]
    kind = {p.fn: p.kind for _, ps in rows for p in ps}
    kinds = [*dict.fromkeys([*KINDS, *kind.values()])]
    columns = sorted(_merged(lists), key=lambda f: kinds.index(kind[f]))
    with figure(2.2 + .22 * len(columns), 1.9 + .23 * len(rows)) as fig:
        ax = fig.subplots()
        color = COLORS[0]
        for y, (_, parts) in enumerate(rows):
            parts = [*parts]
            xs = [columns.index(p.fn) for p in parts]
            ax.plot([min(xs), max(xs)], [y, y], color=color, lw=.6, alpha=.5)
            inside = ['white' if p.names else color for p in parts]
            ax.scatter(xs, [y] * len(xs), s=44, color=inside, edgecolors=color, zorder=3)
        ax.set_xticks(range(len(columns)), [f.__name__ for f in columns], rotation=90, fontsize=8)
        ax.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
        for x in range(1, len(columns)):
            if kind[columns[x]] != kind[columns[x - 1]]: ax.axvline(x - .5, color='.75', lw=.8)
        for k in kinds:
            if xs := [x for x, f in enumerate(columns) if kind[f] == k]:
                ax.text(sum(xs) / len(xs), -.8, f'{k}s', ha='center', va='bottom', fontsize=8, color='.35')
        ax.set(xlim=(-.6, len(columns) - .4), ylim=(len(rows) - .4, -.6))
        if any(p.names for _, ps in rows for p in ps):
            ax.set_xlabel('hollow: under other names', fontsize=8, loc='right')
        ax.tick_params(length=0)
        for side in ax.spines.values(): side.set_visible(False)
        ax.grid(axis='both', color='.93', lw=.6)
        ax.set_axisbelow(True)
    return fig


def tree(members: Sequence[Member], root: int=0) -> list[tuple[int, int]]:
    "Each member but the root, with its parent: the one it takes the fewest edits from. Parents come first."
    def edits(a: int, b: int) -> int: return sum(map(len, _edits(members[a].parts, members[b].parts)))
    known, edges = [root], list[tuple[int, int]]()
    while left := [i for i in range(len(members)) if i not in known]:
        _, child, parent = min((edits(p, c), c, p) for c in left for p in known)
        known.append(child)
        edges.append((child, parent))
    return edges


def family() -> Figure:
    "All recipes as a tree: each hangs from the one that it takes the fewest edits of parts to make it from."
    entries = recipes()
    members = [member(e.name) for e in entries]
    names = [*dict.fromkeys(e.family for e in entries)]
    color = dict(zip(names, COLORS))
    children: dict[int, list[int]] = {}
    for child, parent in tree(members): children.setdefault(parent, []).append(child)
    place: dict[int, tuple[int, int]] = {}
    def put(i: int, depth: int) -> None:
        place[i] = depth, len(place)
        for c in sorted(children.get(i, []), key=lambda c: _size(c, children)): put(c, depth + 1)
    put(0, 0)
    with figure(13, 9.6, arranged=False) as fig:
        ax = fig.add_axes((0, 0, 1, 1))
        for parent, found in children.items():
            x, y = place[parent]
            for c in found:
                cx, cy = place[c]
                ax.plot([x + .12, x + .12, cx], [y + .25, cy, cy], color='.7', lw=1, solid_capstyle='round', zorder=1)
        parent_of = {c: p for p, cs in children.items() for c in cs}
        for i, (x, y) in place.items():
            ax.scatter([x + .12], [y], s=60, color=color[entries[i].family], zorder=3)
            label = ax.text(x + .25, y, entries[i].name, va='center', fontsize=10, weight='bold', color='.1')
            if i in parent_of:
                gone, new = _edits(members[parent_of[i]].parts, members[i].parts)
                text = _words(gone, new)
                ax.annotate(text, (1, .5), xycoords=label, xytext=(8, 0), textcoords='offset points', va='center',
                            fontsize=7.5, color='.35')
        for n in names: ax.scatter([], [], s=60, color=color[n], label=n)
        ax.legend(loc='upper right', bbox_to_anchor=(.97, .97), frameon=False, title='family', alignment='left')
        ax.set(xlim=(-.15, max(x for x, _ in place.values()) + 6.4), ylim=(len(place) - .2, -.8))
        ax.axis('off')
    return fig


def _size(i: int, children: dict[int, list[int]]) -> int:
    return 1 + sum(_size(c, children) for c in children.get(i, []))


def _words(gone: list[Part], new: list[Part]) -> str:
    "An edit, in few words: with new names of arguments only where a part is there twice."
    twice = Counter(p.__name__ for p in [*gone, *new])
    def name(p: Part) -> str: return p.label if twice[p.__name__] > 1 else p.__name__
    return '  '.join([f'+ {name(p)}' for p in new] + [f'− {name(p)}' for p in gone]) or 'other values'
