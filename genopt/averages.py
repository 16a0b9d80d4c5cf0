"""Averages of the weights: a stat and its parameter change places for an evaluation.

The parameter waits in the state, under `swapped_param`, so that nothing is lost in low precision, and a checkpoint that
is made in between knows of it. Whenever an interrupt comes, calling `swap` again puts everything back.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .checkpoint import SWAPPED
from .group import Group

__all__ = ['is_swapped', 'swap']


def is_swapped(states: Iterable[Any]) -> bool:
    "True if a parameter waits in one of the states."
    return any(SWAPPED in s for s in states if isinstance(s, Mapping))


def swap(groups: Sequence[Group], state: Mapping[Any, Any], name: str='') -> None:
    "See `Optimizer.swap`."
    if is_swapped(state.values()):
        for p, s in state.items():
            if isinstance(s, dict) and SWAPPED in s:
                p.copy_(s[SWAPPED])
                del s[SWAPPED]
        return
    chosen = [(group, _average_of(group, name)) for group in groups]
    if not any(stat for _, stat in chosen):
        raise ValueError(f'no part keeps `{name}`, of the shape of its parameter' if name else
                         'no stat reads `new_param`: add one that averages the parameters, such as `average_param`')
    todo: list[tuple[Tensor, dict[str, Any], str, Group]] = [
        (p, s, stat, group) for group, stat in chosen for p in group['params']
        if stat and stat in (s := state.get(p, {}))]
    for p, s, stat, group in todo:
        new = s[stat]
        if new.shape != p.shape:
            raise ValueError(f'{group.describe(p)}: `{stat}` has the shape {tuple(new.shape)}, so it cannot take '
                             'its place')
    for p, s, stat, _ in todo:
        s[SWAPPED] = p.detach().clone(memory_format=torch.preserve_format)
        p.copy_(s[stat])


def _average_of(group: Group, name: str) -> str:
    "The stat that `swap` means, in this group: '' if there is none. Raises ValueError if it might be several."
    stats = group.composition.stats
    found = [k for k, part in stats.items() if (k == name if name else 'new_param' in part.reads)]
    if len(found) > 1:
        names = ' and '.join(f'`{k}`' for k in found)
        raise ValueError(f'{names} read `new_param`: choose one, as in swap({found[0]!r})')
    return found[0] if found and not stats[found[0]].is_number else ''
