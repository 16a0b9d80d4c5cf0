"""Averages of the weights: a stat and its parameter change places for an evaluation.

The parameter waits in the state, as `swapped_param`, so that nothing is lost in low precision and
a checkpoint made in between is complete. Whenever an interrupt comes, calling `swap` again puts
everything back.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .contract import SWAPPED
from .engines.shield import shielded
from .group import Group
from .interop.dynamo import outside_graphs
from .spread import Item, local, scatter

__all__ = ['Averaging', 'is_swapped', 'put_back', 'refuse_swapped']


def is_swapped(states: Iterable[Any]) -> bool:
    "True if a parameter waits in one of the states."
    return any(SWAPPED in s for s in states if isinstance(s, Mapping))


def refuse_swapped(states: Iterable[Any], call: str) -> None:
    "Raises RuntimeError if a parameter waits in one of the states."
    if is_swapped(states):
        raise RuntimeError('the parameters are swapped with their averages: call swap() before '
                           f'{call}()')


class Averaging:
    "An Optimizer's methods that evaluate averages of the weights."
    state: defaultdict[Any, Any]  # the Optimizer's own, as is the next one
    groups: Callable[[], list[Group]]

    @outside_graphs
    def swap(self, name: str='') -> None:
        """Puts a stat such as `param_avg` in the parameters' place; called again, puts them back.

        `name` is the stat; it is not needed if just one stat reads `new_param`. Parameters
        without a state stay as they are. A checkpoint that is made in between has both. Raises
        ValueError if there is no such stat. While swapped, `step` raises RuntimeError.
        """
        groups = self.groups()
        with shielded(), torch.no_grad():
            if is_swapped(self.state.values()): return put_back(self.state)
            owned = list[Item]()
            for p, entry, stat in _averages(groups, self.state, name):
                entry[SWAPPED] = p.detach().clone(memory_format=torch.preserve_format)
                if spread := groups[0].spreads.get(p):
                    owned.append(Item(local(p), entry[stat], spread))
                else: p.copy_(entry[stat])
            scatter(owned)

    @contextmanager
    def swapped(self, name: str='') -> Iterator[None]:
        "As `swap`, for the length of a `with`. Raises RuntimeError if they are swapped already."
        if is_swapped(self.state.values()):
            raise RuntimeError('the parameters are swapped with their averages already')
        try:
            try:
                self.swap(name)
                yield
            finally: put_back(self.state)
        finally: put_back(self.state)  # if an interrupt came before that had begun


@outside_graphs
def put_back(state: Mapping[Any, Any]) -> None:
    "Puts the parameters back that wait in their states."
    with shielded(), torch.no_grad():
        for p, entry in state.items():
            if isinstance(entry, dict) and SWAPPED in entry:
                p.copy_(entry[SWAPPED])
                del entry[SWAPPED]


def _averages(groups: Sequence[Group], state: Mapping[Any, Any],
              name: str) -> list[tuple[Tensor, dict[str, Any], str]]:
    "Each parameter that has an average, its state, and the stat's name. All are checked."
    stats = [_average_of(group, name) for group in groups]
    if not any(stats):
        raise ValueError(f'no part keeps `{name}` in the shape of its parameter' if name else
                         'no stat reads `new_param`: add one that averages the parameters, such as '
                         '`average_param`')
    found = []
    for group, stat in zip(groups, stats):
        for p in group['params'] if stat else ():
            entry = state.get(p, {})
            if stat not in entry: continue
            if entry[stat].shape != p.shape:
                raise ValueError(f'{group.describe(p)}: `{stat}` has the shape '
                                 f'{tuple(entry[stat].shape)}, so it cannot take its place')
            found.append((p, entry, stat))
    return found


def _average_of(group: Group, name: str) -> str:
    "The stat that `swap` means in this group, or ''. Raises ValueError if there are several."
    stats = group.composition.stats
    found = [k for k, part in stats.items() if (k == name if name else 'new_param' in part.reads)]
    if len(found) > 1:
        names = ' and '.join(f'`{k}`' for k in found)
        raise ValueError(f'{names} read `new_param`: choose one, as in swap({found[0]!r})')
    return found[0] if found and not stats[found[0]].is_number else ''
