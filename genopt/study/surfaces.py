"""Surfaces: functions of two numbers to walk down, each of them hard in a way of its own.

    >>> SURFACES['valley'](torch.tensor([-10., 1.]))
    tensor(65.)
    >>> Surface('cone', lambda x, y: (x**2 + y**2).sqrt(), start=(3., 1.), minima=((0., 0.),))
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

__all__ = ['Surface', 'SURFACES', 'valley', 'noisy_bowl', 'saddle', 'rosenbrock', 'beale']

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Surface:
    "A function of x and y, and where to look at it. Call it with a point."
    name: str
    function: Callable[..., Any]                  # Of x and y, each a tensor of one number; in torch's operations
    start: Point | None=None                      # Where paths begin
    bounds: tuple[Point, Point] | None=None       # What a picture shows: from and to, for x and for y
    minima: tuple[Point, ...] = ()                # Those that are known
    noise: float=0.                               # Standard deviation of what is added to each slope

    def __call__(self, point: Tensor) -> Tensor:
        "The height at `point`, of shape (2,). Raises TypeError if the function does not return a tensor of one number."
        height = self.function(*point)
        if isinstance(height, Tensor) and height.numel() == 1: return height
        what = f'a tensor of shape {tuple(height.shape)}' if isinstance(height, Tensor) else repr(height)
        raise TypeError(f'`{self.name}` returned {what}: return a tensor of one number, made of x and y')

    def distance(self, x: float, y: float) -> float | None:
        "How far the nearest minimum is, if one is known."
        return min((((x - a)**2 + (y - b)**2)**.5 for a, b in self.minima), default=None)

    @property
    def title(self) -> str:
        "What a picture calls it: its name, and its formula, if that is a short one of operations that symbols know."
        from .notation import Text
        from .symbols import Sym, symbol
        try: formula = Text({}, ())(self.function(Sym(symbol('x')), Sym(symbol('y'))).expr)
        except Exception: formula = ''
        return self.name.replace('_', ' ').capitalize() + f':  {formula}' * (0 < len(formula) < 70)


def valley(x: Tensor, y: Tensor) -> Tensor:
    "Thirty times as steep across as along."
    return (x**2 + 30 * y**2) / 2


def noisy_bowl(x: Tensor, y: Tensor) -> Tensor:
    "Easy, were it not for the noise in its slopes."
    return (x**2 + 3 * y**2) / 2


def saddle(x: Tensor, y: Tensor) -> Tensor:
    "A pass at (0, 0) between two minima; the slope all but vanishes on it."
    return x**2 / 2 + (y**2 - 1)**2 / 4


def rosenbrock(x: Tensor, y: Tensor) -> Tensor:
    "A bent valley with a nearly flat floor (Rosenbrock, doi:10.1093/comjnl/3.3.175)."
    return (1 - x)**2 + 100 * (y - x**2)**2


def beale(x: Tensor, y: Tensor) -> Tensor:
    "Plains between cliffs (Beale, 1958)."
    return (1.5 - x + x*y)**2 + (2.25 - x + x * y**2)**2 + (2.625 - x + x * y**3)**2


SURFACES = {s.name: s for s in (
    Surface('valley',     valley,     (-9., 2.),    ((-10., 4.), (-3.5, 3.5)), ((0., 0.),)),
    Surface('noisy_bowl', noisy_bowl, (-2.5, 1.5),  ((-3., 1.), (-1.5, 2.)),   ((0., 0.),), noise=1.),
    Surface('saddle',     saddle,     (-1.5, 1e-3), ((-2., 2.), (-1.75, 1.75)), ((0., -1.), (0., 1.))),
    Surface('rosenbrock', rosenbrock, (-1.5, -.5),  ((-2., 2.), (-1., 3.)),    ((1., 1.),)),
    Surface('beale',      beale,      (1., 1.5),    ((-1.5, 4.), (-2., 2.)),   ((3., .5),)))}
