"""Rows: where each place along one dimension of an edited tensor comes from.

    >>> rows = Rows.of([True, False, True], size=3)
    >>> rows.take(torch.tensor([10, 20, 30]), [0])
    tensor([10, 30])
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

__all__ = ['Rows', 'tensor_of']


@dataclass(frozen=True)
class Rows:
    "For each place along `dim`, the place before the edit, or -1 if it is new."
    source: Tensor
    dim: int = 0

    @classmethod
    def of(cls,
        index: Any,       # A mask (True: stays), places in their new order, or a slice
        size: int,        # The number of rows now
        dim: int=0,
        new: bool=False,  # True if -1 stands for a new row
        wanted: int=0     # How many rows there will be: those that `index` does not name are new
    ) -> Rows:
        "Raises TypeError or ValueError for an index that does not name rows."
        if isinstance(index, slice): index = range(size)[index]
        given = tensor_of([*index] if isinstance(index, range) else index)
        if not given.numel() and given.dtype != torch.bool: given = given.long()
        if given.dim() != 1 or given.is_floating_point() or given.is_complex():
            raise TypeError(f'an index of shape {tuple(given.shape)} and dtype {given.dtype} does '
                            'not name rows: give a mask, or whole numbers, in one dimension')
        if given.dtype == torch.bool:
            if len(given) != size: raise ValueError(f'the mask has {len(given)} elements, and there'
                                                    f' are {size} rows along dimension {dim}')
            given = given.nonzero()[:, 0]
        low = -1 if new else 0
        if given.numel() and not (low <= given.min() and given.max() < size):
            raise ValueError(f'the index has numbers from {given.min()} to {given.max()}, and the '
                             f'{size} rows along dimension {dim} have the numbers 0 to {size - 1}')
        more = given.new_full((max(wanted - len(given), 0),), -1)
        return cls(torch.cat([given.long(), more.long()]), dim)

    @classmethod
    def appended(cls, size: int, more: int, dim: int=0) -> Rows:
        "All `size` rows, and new ones behind them."
        return cls(torch.cat([torch.arange(size), torch.full((more,), -1)]), dim)

    @cached_property
    def new(self) -> Tensor:
        "The places of new rows."
        return (self.source < 0).nonzero()[:, 0]

    def take(self,
        t: Tensor,
        dims: Sequence[int],     # The dimensions of `t` that have these rows
        new: Tensor | None=None  # Of the new shape: what stands in new rows, if there are any
    ) -> Tensor:
        "These rows of `t`, laid out in memory as `t` is."
        source = self.source.to(t.device)
        if len(self.new) == len(source) and new is not None: return _laid_out(new.to(t), t)
        kept, res = torch.ones((), dtype=torch.bool, device=t.device), t
        for d in dims:
            res = res.index_select(d, source.clamp(min=0))
            kept = kept & (source >= 0).view([-1 if k == d else 1 for k in range(t.dim())])
        if len(self.new) and new is not None: res = torch.where(kept, res, new.to(t))
        return _laid_out(res, t)


def tensor_of(value: Any, **kind: Any) -> Tensor:
    """`torch.as_tensor`. Raises TypeError for what cannot be a tensor.

    Raises ValueError for complex numbers if `kind` has a real dtype.
    """
    real = 'dtype' in kind and not kind['dtype'].is_complex
    try:
        loses = real and torch.as_tensor(value).is_complex()
        res = None if loses else torch.as_tensor(value, **kind)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f'{value!r} is not a tensor, nor a list of numbers: give one') from None
    if res is not None: return res
    raise ValueError('complex numbers cannot stand in a real tensor: give their real part')


def _laid_out(t: Tensor, like: Tensor) -> Tensor:
    "`t` in memory without gaps, its dimensions in the order of those of `like`."
    strides = like.stride()
    order = sorted(range(t.dim()), key=lambda d: -strides[d])
    dense = torch.empty_permuted(t.shape, order, dtype=t.dtype, device=t.device)
    return t if t.stride() == dense.stride() else dense.copy_(t)
