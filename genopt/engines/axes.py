"""Axes: along which of its parameter's axes each dimension of a tensor runs.

A gradient runs along all axes of its parameter. A sum over columns runs along the rows alone, and
a norm along no axis. A dimension of size 1 runs along none, and that of a flattened tensor along
several. Two tensors can meet in one loop if their dimensions run along the same axes. So a kernel
may combine a matrix with its rows' means, but not with its transpose.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ['Axes', 'OWN', 'Misfit', 'along', 'broadcast', 'of_param', 'of_stat', 'reduced',
           'viewed']

Axes: TypeAlias = tuple[tuple[int, ...], ...]  # for each dimension, the axes that it runs along

OWN: Axes = ((-1,),)  # of a tensor with a shape of its own, of which nothing is known


class Misfit(RuntimeError): "Tensors do not fit into one loop; the message says why."


def along(axes: Axes) -> frozenset[int]:
    "All axes that a tensor runs along."
    return frozenset(a for dimension in axes for a in dimension)


def of_param(shape: Sequence[int]) -> Axes:
    return tuple((i,) if n != 1 else () for i, n in enumerate(shape))


def of_stat(shape: Sequence[int], param: Sequence[int]) -> Axes:
    "Of a tensor whose sizes are its parameter's, or 1; or `OWN`."
    if not len(shape): return ()
    fits = len(shape) == len(param) and all(n in (1, m) for n, m in zip(shape, param))
    return tuple((i,) if n != 1 else () for i, n in enumerate(shape)) if fits else OWN


def broadcast(tensors: Sequence[Axes]) -> Axes:
    "Of a result for each element of several tensors. Raises Misfit if these run otherwise."
    size = max(map(len, tensors), default=0)
    res = []
    for i in range(-size, 0):
        found = {axes[i] for axes in tensors if len(axes) >= -i and axes[i]}
        if len(found) > 1: raise Misfit('it combines tensors that run along different axes')
        res.append(found.pop() if found else ())
    axes = tuple(res)
    if len(along(axes)) < sum(map(len, axes)): raise Misfit('it makes pairs of its elements')
    return axes


def reduced(axes: Axes, dims: Sequence[int], keepdim: bool) -> Axes:
    "Of a result for all elements along some dimensions; `dims` is empty for all of them."
    gone = {d % len(axes) for d in dims} if dims and axes else {*range(len(axes))}
    if keepdim: return tuple(() if i in gone else a for i, a in enumerate(axes))
    return tuple(a for i, a in enumerate(axes) if i not in gone)


def viewed(axes: Axes, sizes: Sequence[int], shape: Sequence[int]) -> Axes:
    """Of the same elements, in the same order, as a tensor of another shape.

    `sizes` are the parameter's. Raises Misfit if a new dimension has only a part of an axis.
    """
    waiting = [a for dimension in axes for a in dimension]
    res = []
    for n in shape:
        dimension: list[int] = []
        size = 1
        while size < n and waiting:
            dimension.append(a := waiting.pop(0))
            size *= sizes[a]
        if size != n: raise Misfit('it views a part of an axis as a dimension')
        res.append(tuple(dimension))
    return tuple(res)
