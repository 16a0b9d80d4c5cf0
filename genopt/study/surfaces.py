"""Surfaces: functions of two numbers to walk down, each hard in its own way.

    >>> SURFACES['valley'](torch.tensor([-10., 1.]))
    tensor(65.)
    >>> Surface('cone', lambda x, y: (x**2 + y**2).sqrt(), start=(3., 1.), minima=((0., 0.),))
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from torch import Tensor

__all__ = ['Surface', 'SURFACES', 'valley', 'noisy_bowl', 'saddle', 'rosenbrock', 'beale']

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Surface:
    "A function of x and y, and where to look at it. Call it with a point."
    name: str
    function: Callable[..., Any]             # Of x and y, two tensors of one number
    start: Point | None=None                 # Where paths begin
    bounds: tuple[Point, Point] | None=None  # What a picture shows: from and to, for x and for y
    minima: tuple[Point, ...]=()             # Those that are known
    noise: float=0.                          # Standard deviation of the noise in each slope

    def __call__(self, point: Tensor) -> Tensor:
        """The height at `point`, of shape (2,).

        Raises TypeError if the function does not return a tensor of one number.
        """
        height = self.function(*point)
        is_tensor = isinstance(height, Tensor)
        if is_tensor and height.numel() == 1: return cast(Tensor, height)
        what = f'a tensor of shape {tuple(height.shape)}' if is_tensor else repr(height)
        raise TypeError(f'`{self.name}` returned {what}: '
                        'return a tensor of one number, made of x and y')

    def distance(self, x: float, y: float) -> float | None:
        "The distance to the nearest minimum, or None if none is known."
        return min((math.dist((x, y), m) for m in self.minima), default=None)

    @property
    def title(self) -> str:
        "Its name in a picture, and its formula if that can be written and is short."
        from ..kinds import scalar
        from .notation import Text
        from .symbols import trace
        try: formula = Text({}, ())(trace(scalar(self.function)))
        except Exception: formula = ''
        name = self.name.replace('_', ' ').capitalize()
        return f'{name}:  {formula}' if 0 < len(formula) < 70 else name


def valley(x: Tensor, y: Tensor) -> Tensor:
    "Thirty times as steep across as along."
    return (x**2 + 30 * y**2) / 2


def noisy_bowl(x: Tensor, y: Tensor) -> Tensor:
    "Easy, but for the noise in its slopes."
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
    Surface('noisy_bowl', noisy_bowl, (-2.5, 1.5),  ((-3., 1.), (-1.5, 2.)),   ((0., 0.),), 1.),
    Surface('saddle',     saddle,     (-1.5, 1e-3), ((-2., 2.), (-1.75, 1.75)),
            ((0., -1.), (0., 1.))),
    Surface('rosenbrock', rosenbrock, (-1.5, -.5),  ((-2., 2.), (-1., 3.)),    ((1., 1.),)),
    Surface('beale',      beale,      (1., 1.5),    ((-1.5, 4.), (-2., 2.)),   ((3., .5),)))}
