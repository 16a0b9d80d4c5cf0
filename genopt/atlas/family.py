"""The family as a picture of links: each recipe stands to the right of those that it is made of.

Solid lines are identities, and dashed ones edits. It is drawn as a tree, in which each hangs from
its first parent; lines to other parents are curves across it.
"""
from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..study.family import Edge, Family, family
from .pages import file_of

__all__ = ['picture']

WIDE, TALL = 186, 42  # of a place
BOX = 150, 34
LONG = 24  # characters of a label that fit


def picture() -> str:
    "An SVG with its legend."
    found = family()
    spots = _spots(found)
    width = max(x for x, _ in spots.values()) + BOX[0] + 8
    height = max(y for _, y in spots.values()) + BOX[1] + 8
    edges = ''.join(_edge(e, spots, e == found.parents(e.child)[0]) for e in found.edges)
    nodes = ''.join(_node(n.name, n.family, n.idea, found, spots[n.name]) for n in found.nodes)
    legend = ''.join(f'<span class="kin-{f}">{f}</span>' for f in
                     dict.fromkeys(n.family for n in found.nodes))
    return (f'<div class="family" tabindex="0" role="region" aria-label="The family">'
            f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="group" '
            f'aria-label="Each optimizer, to the right of those that it is made of">'
            f'{edges}{nodes}</svg></div>\n'
            f'<p class="family-legend">{legend}<span class="line solid">is the one to its left at '
            'special values</span><span class="line dashed">is made of it by an edit of parts'
            '</span></p>')


def _spots(found: Family) -> dict[str, tuple[float, float]]:
    "The place of each: leaves below each other, and a parent in the middle of its children."
    places, rows, res = found.places(), 0, dict[str, tuple[float, float]]()
    under = {n: [c for c in places if _first_parent(found, c) == n] for n in places}
    for name in places:  # parents come first
        if not under[name]:
            res[name] = places[name][0] * WIDE + 4, rows * TALL + 4
            rows += 1
    for name in reversed([*places]):
        if children := under[name]:
            ys = [res[c][1] for c in children]
            res[name] = places[name][0] * WIDE + 4, (min(ys) + max(ys)) / 2
    return res


def _first_parent(found: Family, name: str) -> str:
    edges = found.parents(name)
    return edges[0].parent if edges else ''


def _edge(e: Edge, spots: Mapping[str, tuple[float, float]], is_first: bool) -> str:
    (x, y), (to_x, to_y) = spots[e.parent], spots[e.child]
    x, y, to_y = x + BOX[0], y + BOX[1] / 2, to_y + BOX[1] / 2
    bend = max(20, (to_x - x) / 2)
    kind = 'solid' if e.identity else 'dashed'
    if not is_first: kind += ' across'
    return (f'<path class="{kind}" d="M{x:g} {y:g}C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} '
            f'{to_x:g} {to_y:g}"><title>{escape(e.text)}</title></path>')


def _node(name: str, kin: str, idea: str, found: Family, spot: tuple[float, float]) -> str:
    x, y = spot
    edges = found.parents(name)
    said = edges[0].note if edges else idea
    label = said if len(said) <= LONG else said[:LONG - 1].rstrip() + '…'
    title = '. '.join([e.text for e in edges] or [idea])
    return (f'<a href="recipes/{file_of(name)}.html" class="kin-{kin}">'
            f'<title>{escape(title)}.</title>'
            f'<rect x="{x:g}" y="{y:g}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
            f'<text x="{x + 10:g}" y="{y + 14:g}" class="name">{name}</text>'
            f'<text x="{x + 10:g}" y="{y + 27:g}" class="label">{escape(label)}</text></a>')
