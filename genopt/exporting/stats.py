"What stats are like, as a trial shows: how they begin, and whether they share memory."
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import PartError
from ..kinds import Stat
from ..trial import apart

__all__ = ['Beginning', 'beginnings', 'not_their_own']

SHAPES = (3, 2), (2,), ()


@dataclass
class Beginning:
    "How a stat that is a tensor begins. If a trial fails, as what needs the most care."
    is_new: bool = True       # False if it may be the parameter itself, which must be copied
    is_float: bool = True     # False for whole numbers, which no step rounds
    is_double: bool = False   # True if it is in double precision, whatever the parameter is in
    is_wider: bool = False    # True if it has another dtype than a parameter in low precision


def beginnings(c: Composition, hypers: Mapping[str, Any]) -> dict[str, Beginning]:
    "How each stat that is a tensor begins."
    stats = {k: c.stats[k] for k in c.tensor_stats}
    return {k: _tried(s, hypers) for k, s in stats.items() if isinstance(s, Stat)}


def _tried(stat: Stat, hypers: Mapping[str, Any]) -> Beginning:
    res, tries = Beginning(), 0
    for shape in SHAPES:
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            param = torch.ones(shape, dtype=dtype)
            try: value = _begin(stat, param, hypers)
            except Exception: continue  # a matrix is needed
            tries += 1
            res.is_new &= not _share(value, param)
            res.is_float &= value.is_floating_point()
            res.is_double |= value.dtype == torch.float64 and dtype == torch.float32
            res.is_wider |= value.dtype != dtype and dtype == torch.bfloat16
    res.is_new &= tries > 0
    return res


def _begin(stat: Stat, param: Tensor, hypers: Mapping[str, Any]) -> Tensor:
    "What its `init` returns, which `Stat.start` copies."
    if not callable(stat.init): return torch.zeros_like(param)
    given = {a.name: hypers[k] for a, k in zip(stat.init_parameters(), stat.init_hypers)}
    with apart(): value = stat.init(param, **given)
    assert isinstance(value, Tensor)
    return value


def not_their_own(c: Composition, hypers: Mapping[str, Any]) -> set[str]:
    """The stats whose new value may be a tensor that the step writes to, so they must be copied.

    All of them, if no trial succeeds.
    """
    tried, found = False, set[str]()
    for shape in SHAPES:
        for total in (0., 1.):
            try: found |= {*_sharing(c, shape, {**hypers, **dict.fromkeys(c.stand_ins, total)})}
            except (PartError, ValueError): continue
            tried = True
    return found if tried else {*c.tensor_stats}


def _sharing(c: Composition, shape: tuple[int, ...], hypers: Mapping[str, Any]) -> Iterator[str]:
    with apart():
        param = torch.rand(shape)
        state = c.init(param, hypers)
        numbers = c.numbers(state, {**hypers, **c.numbers_of(param)})
        if c.happening(numbers) is not c: raise ValueError('a gate is closed')
        _, new = c.update(param, torch.rand(shape), state, numbers)
    for k in c.tensor_stats:
        others = [param, *(state[n] for n in c.tensor_stats if n != k)]
        own = new[k] is state[k]
        if any(_share(new[k], t) for t in others) or not own and _share(new[k], state[k]): yield k


def _share(a: Tensor, b: Tensor) -> bool:
    "True if two tensors are in the same memory."
    return bool(a.numel()) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
