"""Numbers in a parameter's state, such as a step count: 0-dim tensors on the CPU, as in torch.
Those that follow from a total are on a GPU, if its kernels make them: see `engines/late.py`.

Workers can share them, and tools that save, move or copy state treat them as any other tensor.
Whole numbers are int64 and others float64: a count stays exact, and a product of decays is not
rounded to float32. Parts see Python's numbers.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ['kept', 'own_numbers', 'read', 'read_all', 'store']


def own_numbers(
    names: Iterable[str],  # Of `contract.OWN_NUMBERS`
    param: Tensor,
    place: int
) -> dict[str, int]:
    "The numbers that a parameter has: its sizes, and its place."
    rows = param.shape[0] if param.dim() else 1
    known = dict(rows=rows, columns=prod(param.shape[1:]), numel=param.numel(), place=place)
    return {k: known[k] for k in names}


def kept(value: Any) -> Tensor:
    "A number in the form in which state keeps it."
    dtype = torch.int64 if isinstance(value, int) else torch.float64
    with _disable_current_modes(): return torch.tensor(value, dtype=dtype, device='cpu')


def read(x: Any) -> Any:
    "Python's number, of a 0-dim tensor, one of NumPy's, or a plain one."
    return x if type(x) in (int, float) else read_all([x])[0]


def read_all(xs: Sequence[Any]) -> list[Any]:
    "The Python numbers that many states hold."
    if not torch._C._len_torch_dispatch_stack():
        if len(xs) > 1 and all(isinstance(x, Tensor) and not x.is_cpu for x in xs):
            return torch.stack([*xs]).tolist()  # a GPU is waited for once
        return [x.item() if hasattr(x, 'item') else x for x in xs]
    with _disable_current_modes(): return read_all(xs)  # a mode could return a stale value


def store(
    states: Sequence[dict[str, Any]],
    name: str,
    value: Any  # A Python number
) -> None:
    "Writes a number into many states, in place, so that processes that share them see it."
    whole, fit = isinstance(value, int), list[Tensor]()
    for s in states:
        old = s.get(name)
        if isinstance(old, Tensor) and not old.dim() and (whole or old.dtype.is_floating_point):
            fit.append(old)
        else: s[name] = kept(value)
    if not fit: return
    with _disable_current_modes(): torch._foreach_copy_(fit, [kept(value)] * len(fit))
