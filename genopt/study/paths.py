"""Paths down the valley: where recipes go on a surface, as numbers, as a picture, as an animation.

    >>> paths = [descend(name, 'rosenbrock') for name in ('sgd', 'momentum', 'adam')]
    >>> plot_paths(paths).savefig('paths.png')
    >>> animate(paths).save('paths.gif', writer='pillow')
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ..composition import Composition
from ..hypers import did_you_mean
from ..optimizer import Optimizer
from ..part import Part
from ..recipe import Recipe, recipe as find
from .surfaces import SURFACES, Point, Surface

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ['descend', 'Path', 'plot_paths', 'animate', 'LRS', 'COLORS']

Array: TypeAlias = NDArray[np.float64]

LRS = tuple(float(f'{m}e{e}') for e in range(-4, 1) for m in (1, 2, 5))  # those that are tried: 0.0001 to 5
FAR = 1e6  # times the start: beyond it, a path has left for infinity


@dataclass(frozen=True, repr=False)
class Path:
    "Where a recipe went. If it diverged, the points end before the step which left for infinity or was no number."
    name: str               # The recipe's
    surface: Surface
    points: Array           # (steps + 1, 2): the start, and where it was after each step
    losses: Array           # (steps + 1,): the surface's height there, without noise
    hypers: dict[str, Any]  # All hyperparameters and options
    label: str              # The name, with the learning rate and what else was given
    diverged: bool

    @property
    def distance(self) -> float | None:
        "From the end to the nearest minimum, if one is known."
        return self.surface.distance(*self.points[-1])

    @property
    def end(self) -> str:
        "How it ended, in words."
        if self.diverged: return f'diverged in step {len(self.points)}'
        away = f', {self.distance:.3g} from the minimum' if self.surface.minima else ''
        return f'loss {self.losses[-1]:.3g}{away}'

    def __repr__(self) -> str:
        (x, y), (u, v) = self.points[0], self.points[-1]
        return (f'{self.label} on {self.surface.name}: from ({x:.3g}, {y:.3g}) with loss {self.losses[0]:.3g} '
                f'to ({u:.3g}, {v:.3g}) in {len(self.points) - 1} steps: {self.end}')

    def plot(self) -> Figure: return plot_paths([self])


def descend(
    recipe: Recipe | str | Iterable[Part],        # A recipe, the name of one of genopt's, or parts
    function: Surface | str | Callable[..., Any]='rosenbrock',  # A surface, its name in SURFACES, or a function of x, y
    start: Sequence[float] | None=None,           # (x, y); the surface's own by default
    steps: int=200,
    lr: float | None=None,                        # The best of LRS by default
    seed: int=0,                                  # Of the surface's noise
    **hypers_and_options: Any                     # The recipe's
) -> Path:
    """The path of a recipe on a surface, in float64, along the gradient where it stands, plus the surface's noise.

    Without `lr`, each of LRS is tried on this surface, and the path is that of the best: the lowest mean loss over the
    last tenth of the steps. So every recipe is seen at its best, and none at a default that was chosen for networks.
    Raises KeyError for an unknown name, ValueError or TypeError for a start, a function or hyperparameters that are
    wrong, and what an Optimizer raises.
    """
    recipe = find(recipe) if isinstance(recipe, str) else recipe
    rule = recipe if isinstance(recipe, Recipe) else Composition(recipe)
    surface = _as_surface(function)
    begin = _as_point(surface, start)
    if steps < 1: raise ValueError(f'`steps` = {steps}: give at least 1')
    takes = signature(rule).parameters if isinstance(rule, Recipe) else rule.hypers
    rates = LRS if lr is None and 'lr' in takes else [lr]
    given = [({} if r is None else {'lr': r}) | hypers_and_options for r in rates]
    with torch.enable_grad(): paths = [_walk(rule, surface, begin, steps, seed, g) for g in given]
    return min(paths, key=lambda p: (p.diverged, p.losses[-max(1, steps // 10):].mean()))


def _as_surface(function: Surface | str | Callable[..., Any]) -> Surface:
    if isinstance(function, Surface): return function
    if isinstance(function, str):
        if function in SURFACES: return SURFACES[function]
        raise KeyError(f'there is no surface `{function}`: {did_you_mean(function, SURFACES)}')
    return Surface(getattr(function, '__name__', 'f').replace('<lambda>', 'f'), function)


def _as_point(surface: Surface, start: Sequence[float] | None) -> Point:
    if start is None: start = surface.start
    if start is None: raise ValueError(f'`{surface.name}` says no start: give one, as in start=(1., 2.)')
    try: x, y = map(float, start)
    except (TypeError, ValueError): x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f'`start` = {start!r}: give two finite numbers, as in (1., 2.)')
    return x, y


def _walk(rule: Recipe | Composition, surface: Surface, start: Point, steps: int, seed: int,
          given: dict[str, Any]) -> Path:
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    opt, draw = Optimizer([point], rule, **given), torch.Generator().manual_seed(seed)
    loss, far = surface(point), FAR * max(1., *map(abs, start))
    if not loss.requires_grad:
        raise TypeError(f'`{surface.name}` has no gradient: compute it from x and y with torch\'s functions')
    if not loss.isfinite(): raise ValueError(f'`{surface.name}` is {loss.item()} at {start}: start elsewhere')
    points, losses = [start], [loss.item()]
    while len(points) <= steps:
        grad, = torch.autograd.grad(loss, point)
        point.grad = grad + surface.noise * torch.randn(2, dtype=torch.float64, generator=draw)
        opt.step()
        loss = surface(point)
        x, y = point.tolist()
        if not (abs(x) < far and abs(y) < far and loss.isfinite()): break
        points.append((x, y)); losses.append(loss.item())
    group = opt.param_groups[0]
    name = rule.__name__ if isinstance(rule, Recipe) else ' → '.join(group['parts'])
    words = ', '.join(f'{k}={v:g}' if isinstance(v, float) else f'{k}={v}' for k, v in given.items())
    return Path(name, surface, np.array(points), np.array(losses), {**group.options, **group.hypers()},
                f'{name} ({words})' if words else name, diverged=len(points) <= steps)


# -- pictures ------------------------------------------------------------------------------------------------

# Okabe & Ito's, which the colour-blind tell apart; without their yellow, which is lost on white
COLORS = '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000'
MARKS, LINES = 'os^DvPX', ('-', '--', ':')
STYLE = {'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False}


def plot_paths(paths: Iterable[Path]) -> Figure:
    """A matplotlib Figure: the paths on a map of their surface, and their losses over the steps.

    Raises ImportError without matplotlib, and ValueError if there is no path, or they are not all on one surface.
    """
    return _picture([*paths])[0]


def animate(
    paths: Iterable[Path],
    frames: int=80  # At most; most of them in the first steps
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
    return Film(fig, show, [*steps, *[last] * 10], interval=80)  # it rests at the end


def _freeze(fig: Figure, moving: Mapping[Line2D, Array]) -> None:
    "Makes one image of all that does not move: so a frame takes a tenth of the time."
    from PIL import Image
    for line in moving: line.set_visible(False)
    fig.savefig(png := BytesIO(), dpi=fig.dpi)
    for artist in [a for part in (fig, *fig.axes) for a in part.get_children()]:
        artist.set_visible(artist in moving or artist in fig.axes)
    below = fig.add_axes((0, 0, 1, 1), zorder=-1)
    below.set_axis_off()
    below.imshow(Image.open(png).convert('RGB'), aspect='auto', interpolation='none')


def _picture(paths: list[Path]) -> tuple[Figure, dict[Line2D, Array]]:
    "The whole picture; and its lines which move in a film, with all of their x and y."
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('matplotlib is not installed, and pictures need it: pip install "genopt[study]"') from None
    if not paths: raise ValueError('there are no paths: give at least one')
    surface = paths[0].surface
    if others := [p.surface.name for p in paths if p.surface != surface]:
        raise ValueError(f'a picture is of one surface: these paths are on `{surface.name}` and on `{others[0]}`')

    class Picture(Figure):  # a notebook shows a Figure by itself only after pyplot was imported
        def _repr_png_(self) -> bytes:
            self.savefig(png := BytesIO(), format='png')
            return png.getvalue()

    bounds, floor = _bounds(paths), _floor(paths)
    shape = min(max(float(np.divide(*np.ptp(bounds, 1))), .5), 2)
    wide, tall = round(4.2 * shape**.5, 1), 4.2 / shape**.5
    labels = ['start', *['minimum'] * bool(surface.minima), *(p.label + f', {p.end}' * p.diverged for p in paths)]
    columns = max(1, min(4, len(labels) // 2, int(11 * (wide + 5) / (8 + max(map(len, labels))))))
    size = wide + 5, round(tall + .6 + .21 * math.ceil(len(labels) / columns), 1)
    moving: dict[Line2D, Array] = {}
    curves: list[Line2D] = []
    with style.context(['default', STYLE]):  # whatever the user's own style is
        fig = Picture(figsize=size, layout='constrained', facecolor='white')
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
        fig.draw_without_rendering()  # now, in this style; and the layout is found once
        fig.set_layout_engine('none')
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
    xs, ys = (torch.linspace(a, b, 201, dtype=torch.float64) for a, b in bounds)
    points = torch.cartesian_prod(ys, xs).flip(1)
    with torch.no_grad():
        try: z = torch.vmap(surface)(points)
        except (RuntimeError, ValueError): z = torch.stack([surface(p) for p in points])  # a function that says `if`
    heights = np.ma.masked_invalid(z.reshape(201, 201))
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
