"""The eager engine: calls the parts one after another, one parameter at a time. The reference for every other engine.

Parts see real tensors, all of one dtype: complex ones as pairs of reals, as in torch; and float32, or float64 if the
parameter or its state is. So a step in lower precision rounds once, when its results are stored. Parts return new
values; only this file writes.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..part import PartError

__all__ = ['run']


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
        wide = torch.float64 if any(_real(t).dtype == torch.float64 for t in (p, *_tensors(state))) else torch.float32
        param, grad = _working(p, wide), _working(p.grad, wide)  # type: ignore[arg-type]
        old = {k: _working(v, wide) if isinstance(v, Tensor) else v for k, v in state.items()}
        try:
            if counts not in shared: shared[counts] = composition.numbers(state, hypers)
            change, new = composition.update(param, -grad if maximize else grad, old, shared[counts])
        except PartError as e: raise PartError(f'{e} (on {describe(p)})') from e.__cause__
        read = [param, grad, *old.values()]
        new = {k: _own(v, read) if isinstance(v, Tensor) else v for k, v in new.items()}
        if _real(p).dtype == wide: _real(p).add_(change)
        else:                      _real(p).copy_(param + change)
        for k, v in new.items():
            if isinstance(v, Tensor): _real(state[k]).copy_(v)
            else: state[k] = v.item() if hasattr(v, 'item') else v  # no NumPy numbers in a checkpoint


def _tensors(state: Mapping[str, Any]) -> list[Tensor]: return [v for v in state.values() if isinstance(v, Tensor)]


def _own(x: Tensor, read: list[Any]) -> Tensor:
    "A part may return what it read: that must not change when the parameter, or another stat, is written."
    return x.clone() if x._is_view() or any(x is r for r in read) else x


def _real(x: Tensor) -> Tensor: return torch.view_as_real(x) if x.is_complex() else x


def _working(x: Tensor, dtype: torch.dtype) -> Tensor:
    x = _real(x.resolve_conj())
    return x.to(dtype) if x.is_floating_point() else x
