"""The shapes on which parts are tried: one of each kind that the parameters have, but small.

Two shapes are of one kind if their sizes are equal, larger, smaller or 1 in the same places.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor
from torch.nn.parameter import is_lazy

from .composition import Composition

__all__ = ['SHAPE', 'Shape', 'shapes', 'trial_shape']

Shape: TypeAlias = tuple[int, ...]

SHAPE = 5, 4     # no piece of it is its own mirror image
LARGEST = 2**20  # elements, about, of the largest numbers that parts are tried on


def trial_shape(composition: Composition, params: Sequence[Tensor]) -> Shape:
    "The shape of a parameter, or one of its kind with fewer elements."
    return next(iter(shapes(composition, params).values()), SHAPE)


def shapes(composition: Composition, params: Sequence[Tensor]) -> dict[Shape, Shape]:
    """Shapes to try, the largest first; and for each, the smallest parameter's shape of that kind.

    Parts see complex numbers as pairs of reals.
    """
    if composition.elementwise: return {SHAPE: SHAPE}
    res: dict[Shape, Shape] = {}
    for p in params:
        if is_lazy(p): continue  # its shape is not known yet
        pair = (2,) if p.is_complex() else ()
        shape, own = (*_small(p.shape), *pair), (*_not_huge(p.shape), *pair)
        if shape not in res or math.prod(own) < math.prod(res[shape]): res[shape] = own
    return dict(sorted(res.items(), key=lambda item: -math.prod(item[0])))


def _small(shape: Sequence[int]) -> Shape:
    "A small shape of the same kind: sizes are equal, larger or 1 where those of `shape` are."
    sizes = sorted({n for n in shape if n != 1})
    return tuple(n if n == 1 else 3 + sizes.index(n) for n in shape)


def _not_huge(shape: Sequence[int]) -> Shape:
    "The same shape, or one of its kind with fewer elements."
    sizes, side = sorted({*shape}), LARGEST**(1 / max(len(shape), 1))
    return tuple(min(n, int(side) + sizes.index(n)) for n in shape)
