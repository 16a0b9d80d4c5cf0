"""Maps: paths on the contours of their surface, and their losses, as a picture or as an animation.

    >>> paths = [descend(name, 'rosenbrock') for name in ('sgd', 'momentum', 'adam')]
    >>> plot_paths(paths).savefig('paths.png')
    >>> animate(paths).save('paths.gif', writer='pillow')
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .figures import COLORS, LINES, MARKS, figure
from .paths import Array, Path
from .surfaces import Point, Surface

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ['plot_paths', 'animate']


def plot_paths(paths: Iterable[Path]) -> Figure:
    """A matplotlib Figure: the paths on a map of their surface, and their losses over the steps.

    Raises ImportError without matplotlib, and ValueError if there is no path, or they are not all on one surface.
    """
    return _picture([*paths])[0]


def animate(
    paths: Iterable[Path],
    frames: int=60  # At most; most of them in the first steps
) -> FuncAnimation:
    "As `plot_paths`, but moving: `animate(paths).save('paths.gif', writer='pillow')`. A notebook shows it."
    fig, moving = _picture(paths := [*paths])
    from matplotlib.animation import FuncAnimation

    class Film(FuncAnimation):
        def _repr_html_(self) -> str: return self.to_jshtml()

    def show(step: int) -> None:
        for line, data in moving.items():
            line.set_data(*data[:, :step + 1][:, -1 if line.get_linestyle() == 'None' else 0:])
    _freeze(fig, moving)
    last = max(len(p.points) for p in paths) - 1
    steps = np.unique((last * np.linspace(0, 1, frames)**1.5).round().astype(int)).tolist()
    return Film(fig, show, [*steps, *[last] * 8], interval=100)  # it rests at the end


def _freeze(fig: Figure, moving: Mapping[Line2D, Array]) -> None:
    "Makes one image of all that does not move: so a frame takes a tenth of the time."
    from matplotlib.artist import Artist
    from PIL import Image
    for line in moving: line.set_visible(False)
    fig.savefig(png := BytesIO(), dpi=fig.dpi)
    for artist in [a for part in (fig, *fig.axes) for a in part.get_children()]:
        artist.set_visible(artist in moving or artist in fig.axes)
    image = Image.open(png).convert('RGBA')

    class Still(Artist):
        def draw(self, renderer: Any) -> None:
            fitting = image.resize([*map(int, renderer.get_canvas_width_height())])
            renderer.draw_image(renderer.new_gc(), 0, 0, np.asarray(fitting)[::-1])
    fig.add_artist(Still())


def _picture(paths: list[Path]) -> tuple[Figure, dict[Line2D, Array]]:
    "The whole picture; and its lines which move in a film, with all of their x and y."
    if not paths: raise ValueError('there are no paths: give at least one')
    surface = paths[0].surface
    if others := [p.surface.name for p in paths if p.surface != surface]:
        raise ValueError(f'a picture is of one surface: these paths are on `{surface.name}` and on `{others[0]}`')

    bounds, floor = _bounds(paths), _floor(paths)
    shape = min(max(float(np.divide(*np.ptp(bounds, 1))), .5), 2)
    wide, tall = round(4.2 * shape**.5, 1), 4.2 / shape**.5
    labels = ['start', *['minimum'] * bool(surface.minima), *(p.label + f', {p.end}' * p.diverged for p in paths)]
    columns = max(1, min(4, (len(labels) + 1) // 2, int(11 * (wide + 5) / (8 + max(map(len, labels))))))
    size = wide + 5, round(tall + .6 + .21 * math.ceil(len(labels) / columns), 1)
    moving: dict[Line2D, Array] = {}
    curves: list[Line2D] = []
    with figure(*size) as fig:
        where, fall = fig.subplots(1, 2, width_ratios=[wide, 4.2])
        marks = _map(where, surface, bounds, [p.points[0] for p in paths])
        for i, p in enumerate(paths):
            look: Any = dict(color=COLORS[i % len(COLORS)], ls=LINES[i // len(COLORS) % len(LINES)])
            mark: Any = dict(marker=MARKS[i % len(MARKS)], mec='white', mew=.7)
            loss = np.stack([np.arange(len(p.losses)), p.losses - floor])
            every = max(1, len(p.losses) // 8)  # marks do not all stand at the same steps
            trail, = where.plot(*p.points.T, **look, lw=1.7)
            head, = where.plot(*p.points[-1:].T, **look | dict(ls='None'), **mark, ms=8, zorder=4)
            curve, = fall.plot(*loss, **look, **mark, lw=1.5, ms=6, markevery=(every * i // len(paths), every))
            moving |= {trail: p.points.T, head: p.points.T, curve: loss}
            curves.append(curve)
        _scale(fall, np.concatenate([p.losses for p in paths]) - floor)
        fall.set(xlabel='step', ylabel=f'loss {-floor:+.3g}' if floor else 'loss')
        fall.grid(color='.9', lw=.6)
        fig.suptitle(surface.title, fontsize=11)
        fig.legend([*marks, *curves], labels, loc='outside lower center', ncols=columns, frameon=False)
    return fig, moving


def _bounds(paths: list[Path]) -> tuple[Point, Point]:
    "What the map shows: the surface's bounds, or a square around where the paths went; and the starts in any case."
    bounds, starts = paths[0].surface.bounds, np.array([p.points[0] for p in paths])
    if bounds is None:
        seen = np.concatenate([p.points[:1 if p.diverged else None] for p in paths])
        half = np.ptp(seen, 0).max() * .6 or 1.
        (x, y) = (seen.min(0) + seen.max(0)) / 2
        bounds = (x - half, x + half), (y - half, y + half)
    (left, right), (low, high) = ((min(a, *s), max(b, *s)) for (a, b), s in zip(bounds, starts.T.tolist()))
    return (left, right), (low, high)


def _floor(paths: list[Path]) -> float:
    "What is taken off the losses, so that a logarithm shows them: the minimum if it is known, or what is below 0."
    surface = paths[0].surface
    if surface.minima: return float(surface(torch.tensor(surface.minima[0], dtype=torch.float64)))
    return float(min(0., *(p.losses.min() for p in paths)))


def _map(axes: Axes, surface: Surface, bounds: tuple[Point, Point], starts: list[Array]) -> list[Line2D]:
    "Contours at heights that grow geometrically. Returns the marks of the starts and of the minima."
    xs, ys = (torch.linspace(a, b, 151, dtype=torch.float64) for a, b in bounds)
    points = torch.cartesian_prod(ys, xs).flip(1)
    with torch.no_grad():
        try: z = torch.vmap(surface)(points)
        except (RuntimeError, ValueError): z = torch.stack([surface(p) for p in points])  # a function that says `if`
    heights = np.ma.masked_invalid(z.reshape(151, 151))
    heights -= heights.min()
    above = heights[heights > 0].compressed()
    if above.size and (low := np.quantile(above, .01)) < above.max():
        levels = np.geomspace(low, above.max(), 15)
        axes.contourf(xs, ys, heights, [0, *levels], colors=[f'{g:.3f}' for g in np.linspace(1, .9, 15)])
        axes.contour(xs, ys, heights, levels, colors='.75', linewidths=.6)
    wide, tall = np.ptp(bounds, 1)
    axes.set_aspect('equal' if .5 <= wide / tall <= 2 else 'auto')  # then a slope crosses its contour at a right angle
    axes.set(xlim=bounds[0], ylim=bounds[1], xlabel='x', ylabel='y')
    mark: Any = dict(ls='None', color='black', mfc='white', zorder=3)
    res = axes.plot(*np.transpose(starts), 'o', **mark, ms=7, clip_on=False)
    if surface.minima: res += axes.plot(*np.transpose(surface.minima), '*', **mark, ms=15)
    return res


def _scale(axes: Axes, losses: Array) -> None:
    "A logarithm, where there is more than a factor of ten. It shows neither rounding nor what is gone for good."
    losses = losses[losses > 0]
    if not losses.size or losses.max() <= 10 * losses.min(): return
    axes.set_yscale('log')
    axes.set_ylim(max(losses.min(), losses[0] / 1e16) / 2, min(losses.max(), losses[0] * 1e6) * 2)
    axes.minorticks_off()
