"Values of hyperparameters for several groups: one for all, one for each, or a slice of ratios."
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .hypers import check

__all__ = ['per_group', 'is_per_group']


def per_group(
    name: str,
    value: Any,   # A number (a group's, or all groups'), a list or an array of numbers, or a slice
    groups: int,  # How many there are
    size: int=1   # How many numbers the name stands for: 2 of `betas`
) -> list[Any]:   # A value for each group
    """`value` for each group.

    `slice(a, b)` goes from a to b in equal ratios; `slice(b)` is b/10, and b in the last group.
    Raises ValueError for another number of values, or for a slice that is neither of these;
    TypeError for a set.
    """
    if isinstance(value, (set, frozenset)):
        raise TypeError(f'`{name}` is a set, which has no order: give a list')
    if isinstance(value, slice):
        first, last = value.start, value.stop
        if value.step is not None or last is None or size > 1:
            more = ', of one hyperparameter' if size > 1 else ''
            raise ValueError(f'`{name}` = {value}: give slice(first, last), or a list with one '
                             f'number for each of the {groups} groups{more}')
        for v in (first or 0., last): check(name, v)
        if not first: return [last / 10] * (groups - 1) + [last]
        if not last: raise ValueError(f'`{name}` = {value}: equal ratios do not lead to 0')
        return [first * (last / first)**(i / (groups - 1)) for i in range(groups - 1)] + [last]
    if not is_per_group(value, size): return [value] * groups
    values = list(value)
    if len(values) == 1: return values * groups
    if len(values) != groups:
        there = 'is 1 group: give one number'
        if groups > 1: there = f'are {groups} groups: give one for each'
        raise ValueError(f'`{name}` has {len(values)} values, and there {there}')
    return values


def is_per_group(value: Any, size: int=1) -> bool:
    "True if it has a value for each group. One pair of `betas` (`size` 2) does not."
    if isinstance(value, (slice, set, frozenset)): return True
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)): return False
    if getattr(value, 'shape', None) == (): return False
    if isinstance(value, torch.Tensor) and value.numel() == 1: return False
    return size == 1 or all(isinstance(v, (tuple, list)) for v in value)
