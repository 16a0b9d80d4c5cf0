"""The plain engine: the mathematics as it stands, one parameter after another.

This is the page to read first: the other engines do the same, faster, and are tested against it.
`compile=False` chooses it, so that a debugger can stop in the parts.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import PartError
from ..numbers import read, store
from . import eager
from .unpacked import unpacked
from .work import Work

__all__ = ['run']


def run(works: Sequence[Work]) -> None:
    "One step of each parameter, as `eager.run`."
    eager.run(works, _step)


def _step(work: Work) -> None:
    for some in unpacked(work): _step_all(some)


def _step_all(work: Work) -> None:
    "First plain numbers (a step count, say), then tensors: of one parameter after another."
    given = [work.numbers(i) for i in range(len(work.states))]  # pieces of one share their counts
    for i, (state, numbers) in enumerate(zip(work.states, given)):
        if happening := work.composition.happening(numbers): _move(work, i, numbers, happening)
        for k in work.composition.number_stats:
            if k in numbers: store([state], k, read(numbers[k]))  # else a gate before it is closed


def _move(work: Work, i: int, numbers: Mapping[str, Any], composition: Composition) -> None:
    """Writes the new values of one parameter and of its stats that are tensors.

    Parts see complex numbers as pairs of real ones, as in torch.
    """
    tensors = work.tensors(i)
    tensors['grad'] = tensors['grad'].resolve_conj()
    tensors = {k: torch.view_as_real(t) if t.is_complex() else t for k, t in tensors.items()}
    dtype = _dtype([t for k, t in tensors.items() if k not in composition.read_only])
    old = {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()}
    param, grad = old['param'], -old['grad'] if work.climb else old['grad']
    state = {k: old[k] for k in composition.tensor_stats}
    given = {**numbers, **{k: old[k] for k in composition.fed}, 'place': work.places[i]}
    try: change, new = composition.update(param, grad, state, given)
    except PartError as e: raise work.located(e, work.params[i]) from e.__cause__
    new = {k: new[k].clone() for k in composition.written if k in new}  # maybe an argument
    if change is not None: new['param'] = new.get('param', param) + change
    for k, value in new.items(): tensors[k].copy_(value)


def _dtype(written: list[Tensor]) -> torch.dtype:
    "The dtype of the computation. Lower precision is rounded once, when the results are written."
    double = any(t.dtype == torch.float64 for t in written)
    return torch.float64 if double else torch.float32
