"""Descent: the paths of recipes on a surface.

    >>> descend('sgd', 'valley', lr=.01, steps=3)
    SGD (lr=0.01) on valley: from (-9, 2) with loss 100 to (-8.73, 0.686) in 3 steps:
    loss 45.2, 8.76 from the minimum
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..catalogue import find
from ..composition import Composition
from ..hypers import did_you_mean
from ..optimizer import Optimizer
from ..part import Part
from ..recipe import Recipe
from .maps import Path
from .surfaces import SURFACES, Point, Surface

__all__ = ['descend', 'LRS']

LRS = tuple(float(f'{m}e{e}') for e in range(-4, 1) for m in (1, 2, 5))  # from 0.0001 to 5
FAR = 1e6  # times the start; a path beyond that has diverged


def descend(
    recipe: Recipe | str | Iterable[Part],  # A recipe, its name, or parts
    function: Surface | str | Callable[..., Any]='rosenbrock',  # Or a name in SURFACES, or f(x, y)
    start: Sequence[float] | None=None,     # (x, y); the surface's own by default
    steps: int=200,
    lr: float | None=None,                  # The best of LRS by default
    seed: int=0,                            # Seeds the surface's noise
    **hypers_and_options: Any               # The recipe's
) -> Path:
    """The path of a recipe on a surface, in float64, along the gradient plus the surface's noise.

    Without `lr`, each of LRS is tried, and the path is the one with the lowest mean loss over the
    last tenth of the steps. So every recipe is seen at its best, not at a default for networks.
    `adam(lr=.1)` has its `lr`.
    Raises KeyError for an unknown name, ValueError or TypeError for a wrong start, function or
    hyperparameter, and the errors of an Optimizer.
    """
    if isinstance(recipe, str): recipe = find(recipe)
    rule = recipe if isinstance(recipe, Recipe) else Composition(recipe)
    surface = _as_surface(function)
    begin = _as_point(surface, start)
    if steps < 1: raise ValueError(f'`steps` = {steps}: give at least 1')
    hypers = signature(rule).parameters if isinstance(rule, Recipe) else rule.hypers
    choices = [hypers_and_options]
    if lr is not None: choices = [dict(lr=lr, **hypers_and_options)]
    elif 'lr' in hypers and 'lr' not in getattr(rule, 'given', ()):
        choices = [dict(lr=rate, **hypers_and_options) for rate in LRS]
    generator = torch.Generator().manual_seed(seed)
    noise = [surface.noise * torch.randn(2, dtype=torch.float64, generator=generator)
             for _ in range(steps)]
    with torch.enable_grad(): paths = [_walk(rule, surface, begin, noise, c) for c in choices]
    return min(paths, key=lambda p: (p.diverged, p.losses[-max(1, steps // 10):].mean()))


def _as_surface(function: Surface | str | Callable[..., Any]) -> Surface:
    if isinstance(function, Surface): return function
    if isinstance(function, str):
        if function in SURFACES: return SURFACES[function]
        raise KeyError(f'there is no surface `{function}`: {did_you_mean(function, SURFACES)}')
    return Surface(getattr(function, '__name__', 'f').replace('<lambda>', 'f'), function)


def _as_point(surface: Surface, start: Sequence[float] | None) -> Point:
    if start is None: start = surface.start
    if start is None:
        raise ValueError(f'`{surface.name}` has no start: give one, as in start=(1., 2.)')
    try: x, y = map(float, start)
    except (TypeError, ValueError): x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f'`start` = {start!r}: give two finite numbers, as in (1., 2.)')
    return x, y


def _walk(rule: Recipe | Composition, surface: Surface, start: Point, noise: list[Tensor],
          given: dict[str, Any]) -> Path:
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    opt, loss = Optimizer([point], rule, **given), surface(point)
    if not loss.requires_grad:
        raise TypeError(f'`{surface.name}` has no gradient: '
                        'compute it from x and y with torch\'s functions')
    if not loss.isfinite():
        raise ValueError(f'`{surface.name}` is {loss.item()} at {start}: start elsewhere')
    far = FAR * max(1., *map(abs, start))
    points, losses = [start], [loss.item()]
    for extra in noise:
        point.grad = torch.autograd.grad(loss, point)[0] + extra
        opt.step()
        loss = surface(point)
        x, y = point.tolist()
        if not (abs(x) < far and abs(y) < far and loss.isfinite()): break
        points.append((x, y))
        losses.append(loss.item())
    group = opt.param_groups[0]
    name = rule.__name__ if isinstance(rule, Recipe) else ' → '.join(group['parts'])
    values = ', '.join(f'{k}={v:g}' if isinstance(v, float) else f'{k}={v}'
                       for k, v in given.items())
    return Path(name, surface, np.array(points), np.array(losses),
                hypers={**group.options, **group.hypers()},
                label=f'{name} ({values})' if values else name, diverged=len(points) <= len(noise))
