"""The plain engine: the mathematics as it stands, one parameter after another, each in its own shape.

It is the page to read first, and what every other engine is tested against. Run with it to debug a part:
`opt.engine = plain.run`.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..numbers import read, store
from .work import Work

__all__ = ['run']


def run(work: Work) -> None:
    "One step of each parameter."
    c = work.composition
    for i, state in enumerate(work.states):
        tensors = work.tensors(i)
        tensors['grad'] = tensors['grad'].resolve_conj()
        double = any(t.dtype in (torch.float64, torch.complex128) for k, t in tensors.items() if k != 'grad')
        old = {k: _wide(t, torch.float64 if double else torch.float32) for k, t in tensors.items()}
        numbers = {**c.numbers(state, work.hypers), 'place': work.places[i]}
        if not c.is_closed(numbers):
            grad = -old['grad'] if work.climb else old['grad']
            change, new = c.update(old['param'], grad, {k: old[k] for k in c.tensor_stats}, numbers)
            new = {k: new[k].clone() for k in c.tensor_stats}  # a part may return what it has read
            for k, v in (new | {'param': old['param'] + change}).items(): _real(tensors[k]).copy_(v)
        for k in c.number_stats:
            if k in numbers: store([state], k, read(numbers[k]))


def _real(x: Tensor) -> Tensor: return torch.view_as_real(x) if x.is_complex() else x


def _wide(x: Tensor, dtype: torch.dtype) -> Any:
    "Parts see real tensors, in at least single precision."
    x = _real(x)
    return x.to(dtype) if x.is_floating_point() else x
