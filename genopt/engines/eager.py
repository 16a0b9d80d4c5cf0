"""The eager engine: calls the parts one after another, one parameter at a time. The reference for every other engine.

Parts see real tensors of at least float32: complex ones as pairs of reals, as in torch, and those of lower precision converted, so
that a step rounds once, when its results are stored. Parts return new values; only this file writes.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..part import PartError

__all__ = ['run', 'working']


def run(
    composition: Composition,
    hypers: Mapping[str, float],         # A plain number for each hyperparameter
    params: Sequence[Tensor],            # Each with a gradient
    states: Sequence[dict[str, Any]],    # One per parameter, from `Composition.init`; updated in place
    describe: Callable[[Tensor], str],   # How errors call a parameter
    maximize: bool=False                 # Climb instead of descending?
) -> None:
    "One step of each parameter. If a part fails, the parameter it failed on is unchanged."
    shared: dict[tuple[float, ...], dict[str, Any]] = {}  # parameters with the same counts share their scalars
    for p, state in zip(params, states):
        counts = tuple(state[k] for k in composition.number_stats)
        param, grad = working(p), working(p.grad)  # type: ignore[arg-type]
        old = {k: working(v) if isinstance(v, Tensor) else v for k, v in state.items()}
        try:
            if counts not in shared: shared[counts] = composition.numbers(state, hypers)
            change, new = composition.update(param, -grad if maximize else grad, old, shared[counts])
        except PartError as e: raise PartError(f'{e} (on {describe(p)})') from e.__cause__
        # A part may return what it read: that must not change when the parameter, or another stat, is written
        read = [param, grad, *old.values()]
        new = {k: v.clone() if isinstance(v, Tensor) and (v._is_view() or any(v is r for r in read)) else v for k, v in new.items()}
        _write(p, param, change)
        for k, v in new.items():
            if isinstance(v, Tensor): _real(state[k]).copy_(v)
            else: state[k] = v


def _real(x: Tensor) -> Tensor: return torch.view_as_real(x) if x.is_complex() else x


def working(x: Tensor) -> Tensor:
    "A tensor as the parts see it: real, and of at least float32."
    x = _real(x.resolve_conj())
    return x.float() if x.dtype.itemsize < 4 else x


def _write(p: Tensor, working: Tensor, change: Tensor) -> None:
    p = _real(p)
    if p.dtype == working.dtype: p.add_(change)
    else:                        p.copy_(working + change)
