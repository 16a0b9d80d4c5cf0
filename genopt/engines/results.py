"""What operations return, on tensors without elements: their shapes and dtypes."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .numbers import Unrecordable
from .pointwise import FACTORIES, VIEWS

__all__ = ['of_one', 'reduced_dtype', 'result']


def result(func: Any, args: Any, kwargs: Any, tensors: Sequence[Tensor]) -> Any:
    """The result of an operation on tensors without elements.

    Its dtype is found on single elements, as torch's own way loads a second's worth of modules.
    """
    name = func._schema.name.removeprefix('aten::')
    if name in FACTORIES and not name.endswith('_like'):
        where = 'cpu' if name == 'scalar_tensor' else 'meta'  # a number has a value
        return func(*args, **{**kwargs, 'device': torch.device(where)})
    if not any(x.is_meta for x in tensors): return func(*args, **kwargs)
    if name in VIEWS:  # of memory that is not touched, so there is none
        like = torch.empty(args[0].shape, dtype=args[0].dtype, device='cpu')
        out = func(like, *args[1:], **kwargs)
        return torch.empty(out.shape, dtype=out.dtype, device='meta')
    def single(x: Any) -> Any:
        is_empty = isinstance(x, Tensor) and x.is_meta
        return torch.ones([1] * x.dim(), dtype=x.dtype, device='cpu') if is_empty else x
    out = func(*tree_map(single, args), **tree_map(single, kwargs))
    if func._schema.is_mutable: return args[0]
    if not isinstance(out, Tensor): return out
    return torch.empty(_broadcast([x.shape for x in tensors]), dtype=out.dtype, device='meta')


def _broadcast(shapes: Sequence[Sequence[int]]) -> list[int]:
    res = []
    for i in range(-max(map(len, shapes)), 0):
        sizes = {s[i] for s in shapes if len(s) >= -i} - {1}
        if len(sizes) > 1: raise Unrecordable('it combines tensors of shapes that do not fit')
        res.append(sizes.pop() if sizes else 1)
    return res


def of_one(how: str, x: Tensor, dtype: torch.dtype | None) -> Tensor:
    "The reduction of single elements."
    if how in ('any', 'all', 'count_nonzero'): x = x != 0
    if how.startswith('norm'): x = x.abs()
    wanted = reduced_dtype(how, x.dtype, dtype)
    return x if x.dtype == wanted else torch.ops.aten._to_copy(x, dtype=wanted)


def reduced_dtype(how: str, dtype: torch.dtype, asked: torch.dtype | None) -> torch.dtype:
    if asked: return asked
    if how in ('any', 'all'): return torch.bool
    if how in ('sum', 'count_nonzero') and not dtype.is_floating_point: return torch.int64
    return dtype
