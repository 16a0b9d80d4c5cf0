"""Paths on the contours of their surface, and their losses, as a picture or as an animation.

    >>> paths = [descend(name, 'rosenbrock') for name in ('sgd', 'momentum', 'adam')]
    >>> plot_paths(paths).savefig('paths.png')
    >>> animate(paths).save('paths.gif', writer='pillow')
"""
from __future__ import annotations

import math
import textwrap
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .figures import COLORS, LINES, MARKS, WIDTH, figure
from .surfaces import Point, Surface

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ['Path', 'animate', 'map_bounds', 'plot_paths']

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Path:
    "The path of a recipe. If it diverged, it ends before the step to infinity or to NaN."
    name: str               # The recipe's
    surface: Surface
    points: Array           # (steps + 1, 2): the start, and the place after each step
    losses: Array           # (steps + 1,): the surface's height there, without noise
    hypers: dict[str, Any]  # All hyperparameters and options
    label: str              # The name, with the hyperparameters and options that were given
    diverged: bool

    @property
    def distance(self) -> float | None:
        "From the end to the nearest minimum, or None if none is known."
        return self.surface.distance(*self.points[-1])

    @property
    def end(self) -> str:
        "How it ended, in words."
        if self.diverged: return f'diverged in step {len(self.points)}'
        away = f', {self.distance:.3g} from the minimum' if self.surface.minima else ''
        return f'loss {self.losses[-1]:.3g}{away}'

    def __repr__(self) -> str:
        (x, y), (u, v) = self.points[0], self.points[-1]
        return (f'{self.label} on {self.surface.name}: '
                f'from ({x:.3g}, {y:.3g}) with loss {self.losses[0]:.3g} '
                f'to ({u:.3g}, {v:.3g}) in {len(self.points) - 1} steps: {self.end}')

    def plot(self) -> Figure:
        "A picture: see `plot_paths`."
        return plot_paths([self])


# -- pictures --------------------------------------------------------------------------------------

def plot_paths(paths: Iterable[Path]) -> Figure:
    """A matplotlib Figure: the paths on a map of their surface; below, their losses over the steps.

    Raises ImportError without matplotlib, and ValueError if there is no path, or if they are on
    different surfaces.
    """
    return _picture([*paths])[0]


def animate(
    paths: Iterable[Path],
    frames: int=60  # At most; most of them in the first steps
) -> FuncAnimation:
    "The picture of `plot_paths`, but moving. A notebook shows it."
    fig, moving = _picture(paths := [*paths])
    from matplotlib.animation import FuncAnimation, PillowWriter

    class Gif(PillowWriter):
        "Of few colours, the same in all frames, so that only what moves is stored."
        def finish(self) -> None:
            frames, colors = vars(self)['_frames'], _palette()
            first, *others = [f.convert('RGB').quantize(palette=colors, dither=0) for f in frames]
            first.save(self.outfile, save_all=True, append_images=others, optimize=True, loop=0,
                       duration=int(1000 / self.fps))

    class Film(FuncAnimation):
        def _repr_html_(self) -> str:
            with TemporaryDirectory() as folder:
                self.save(path := f'{folder}/film.gif', writer='pillow')
                with open(path, 'rb') as file: data = b64encode(file.read()).decode()
            names = ', '.join(p.label for p in paths)
            return f'<img alt="Paths of {escape(names)}" src="data:image/gif;base64,{data}">'

        def save(self, *args: Any, **options: Any) -> None:
            if options.get('writer') == 'pillow': options['writer'] = Gif(fps=10)
            super().save(*args, **options)

    def show(step: int) -> None:
        for line, data in moving.items():
            so_far = data[:, :step + 1]
            is_head = line.get_linestyle() == 'None'
            line.set_data(*(so_far[:, -1:] if is_head else so_far))
    _freeze(fig, moving)
    last = max(len(p.points) for p in paths) - 1
    steps = np.unique((last * np.linspace(0, 1, frames)**1.5).round().astype(int)).tolist()
    return Film(fig, show, [*steps, *[last] * 8], interval=100)  # it rests at the end


def _palette() -> Any:
    "An image with our colours, each mixed with white, and greys."
    from matplotlib.colors import to_rgb
    from PIL import Image
    mixes = [1 - part * (1 - np.array(to_rgb(c))) for c in COLORS for part in (.25, .5, .75, 1.)]
    greys = [np.full(3, g) for g in np.linspace(0, 1, 52)]
    image = Image.new('P', (1, 1))
    image.putpalette((255 * np.array(mixes + greys)).round().astype(np.uint8).tobytes())
    return image


def _freeze(fig: Figure, moving: Mapping[Line2D, Array]) -> None:
    "Makes one image of everything that stands still, so a frame takes a tenth of the time."
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
    "The whole picture, and the lines that move in a film, with all of their x and y."
    if not paths: raise ValueError('there are no paths: give at least one')
    surface = paths[0].surface
    if others := [p.surface.name for p in paths if p.surface != surface]:
        raise ValueError('a picture is of one surface: these paths are on '
                         f'`{surface.name}` and on `{others[0]}`')

    bounds, floor = map_bounds(paths), _floor(paths)
    (left, right), (low, high) = bounds
    tall = (WIDTH - .8) / min(max((right - left) / (high - low), .7), 2)  # of the map
    labels = ['start', 'minimum'] if surface.minima else ['start']
    labels += [f'{p.label}, {p.end}' if p.diverged else p.label for p in paths]
    labels = ['\n'.join(textwrap.wrap(label, 44)) for label in labels]
    columns = 2 if max(map(len, labels)) < 23 else 1
    lines = sum(label.count('\n') + 1 for label in labels) / columns
    moving: dict[Line2D, Array] = {}
    curves: list[Line2D] = []
    with figure(WIDTH, round(tall + 2.9 + .22 * math.ceil(lines), 1)) as fig:
        where, fall = fig.subplots(2, 1, height_ratios=[tall, 1.8])
        marks = _map(where, surface, bounds, [p.points[0] for p in paths])
        for i, p in enumerate(paths):
            color, ls = COLORS[i % len(COLORS)], LINES[i // len(COLORS) % len(LINES)]
            mark: Any = dict(marker=MARKS[i % len(MARKS)], mec='white', mew=.7, color=color)
            loss = np.stack([np.arange(len(p.losses)), p.losses - floor])
            every = max(1, len(p.losses) // 8)
            first = every * i // len(paths)  # so that the marks of two paths are apart
            trail, = where.plot(*p.points.T, color=color, ls=ls, lw=1.7)
            head, = where.plot(*p.points[-1:].T, ls='None', **mark, ms=9, zorder=4)
            curve, = fall.plot(*loss, ls=ls, **mark, lw=1.5, ms=7, markevery=(first, every))
            moving |= {trail: p.points.T, head: p.points.T, curve: loss}
            curves.append(curve)
        _scale(fall, np.concatenate([p.losses for p in paths]) - floor)
        fall.set(xlabel='step', ylabel=f'loss {-floor:+.3g}' if floor else 'loss')
        fall.grid(color='.9', lw=.6)
        fig.suptitle('\n'.join(textwrap.wrap(surface.title, 48)), fontsize=11)
        fig.legend([*marks, *curves], labels, loc='outside lower center', ncols=columns,
                   frameon=False)
    return fig, moving


def map_bounds(paths: list[Path]) -> tuple[Point, Point]:
    "The surface's bounds, or a square around the paths; and the starts in any case."
    bounds, starts = paths[0].surface.bounds, np.array([p.points[0] for p in paths])
    if bounds is None:
        seen = np.concatenate([p.points[:1 if p.diverged else None] for p in paths])
        half = np.ptp(seen, 0).max() * .6 or 1.
        (x, y) = (seen.min(0) + seen.max(0)) / 2
        bounds = (x - half, x + half), (y - half, y + half)
    (left, right), (low, high) = bounds
    xs, ys = starts.T.tolist()
    return (min(left, *xs), max(right, *xs)), (min(low, *ys), max(high, *ys))


def _floor(paths: list[Path]) -> float:
    "A known minimum, or else the lowest loss below 0. Losses are drawn by their height above it."
    surface = paths[0].surface
    if surface.minima: return surface(torch.tensor(surface.minima[0], dtype=torch.float64)).item()
    return float(min(0., *(p.losses.min() for p in paths)))


def _map(axes: Axes, surface: Surface, bounds: tuple[Point, Point],
         starts: list[Array]) -> list[Line2D]:
    "Contours at heights that grow geometrically. Returns the marks of starts and minima."
    xs, ys = (torch.linspace(a, b, 151, dtype=torch.float64) for a, b in bounds)
    points = torch.cartesian_prod(ys, xs).flip(1)
    with torch.no_grad():
        try: z = torch.vmap(surface)(points)
        except (RuntimeError, ValueError):  # a function with an `if`
            z = torch.stack([surface(p) for p in points])
    heights = np.ma.masked_invalid(z.reshape(151, 151))
    heights -= heights.min()
    above = heights[heights > 0].compressed()
    if above.size and (low := np.quantile(above, .01)) < above.max():
        levels = np.geomspace(low, above.max(), 15)
        greys = [f'{g:.3f}' for g in np.linspace(1, .9, 15)]
        axes.contourf(xs, ys, heights, [0, *levels], colors=greys)
        axes.contour(xs, ys, heights, levels, colors='.75', linewidths=.6)
    wide, tall = np.ptp(bounds, 1)
    if .5 <= wide / tall <= 2: axes.set_aspect('equal')  # slopes are at right angles to contours
    axes.set(xlim=bounds[0], ylim=bounds[1], xlabel='x', ylabel='y')
    mark: Any = dict(ls='None', color='black', mfc='white', zorder=3)
    res = axes.plot(*np.transpose(starts), 'o', **mark, ms=7, clip_on=False)
    if surface.minima: res += axes.plot(*np.transpose(surface.minima), '*', **mark, ms=15)
    return res


def _scale(axes: Axes, losses: Array) -> None:
    "A logarithmic axis for more than a factor of ten, without rounding errors and divergence."
    losses = losses[losses > 0]
    if not losses.size or losses.max() <= 10 * losses.min(): return
    axes.set_yscale('log')
    axes.set_ylim(max(losses.min(), losses[0] / 1e16) / 2, min(losses.max(), losses[0] * 1e6) * 2)
    axes.minorticks_off()
