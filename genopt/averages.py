"""Weights to evaluate: an average of the parameters takes their place for an evaluation.

It is what an @evaluation makes of a parameter and its state, or a stat that reads `new_param`. The
parameter waits in the state, as `swapped_param`. So nothing is lost, as it would be by a formula
there and back, and a checkpoint that is made in between is complete. Whenever an interrupt comes,
calling `train` puts everything back.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .contract import SWAPPED
from .converting import seen, weight
from .engines.shield import shielded
from .group import Group
from .interop.dynamo import outside_graphs
from .kinds import Stat
from .part import Part
from .spread import Item, local, scatter

__all__ = ['Averaging', 'is_swapped', 'put_back', 'refuse_swapped']


def is_swapped(states: Iterable[Any]) -> bool:
    "True if a parameter waits in one of the states."
    return any(SWAPPED in s for s in states if isinstance(s, Mapping))


def refuse_swapped(states: Iterable[Any], call: str) -> None:
    "Raises RuntimeError if a parameter waits in one of the states."
    if is_swapped(states):
        raise RuntimeError('the parameters are swapped with their averages: call train() before '
                           f'{call}()')


class Averaging:
    "An Optimizer's methods that evaluate other weights than those that train."
    state: defaultdict[Any, Any]  # the Optimizer's own, as is the next one
    groups: Callable[[], list[Group]]

    @property
    def eval(self) -> Callable[[], None]:
        """`opt.eval()` puts the weights to evaluate in the parameters' place until `opt.train()`.

        They are what an @evaluation makes, or else the one stat that reads `new_param`, such as
        `average_param`'s. Called again, it changes nothing. Parameters without a state, or in
        groups without such weights, stay as they are. Until then, `step` raises RuntimeError. A
        checkpoint that is made meanwhile has both, and is loaded as it was saved. Raises
        AttributeError if there are no such weights, so that trainers that look for this method
        leave other optimizers alone.
        """
        return self._for_trainers(self._evaluate)

    @property
    def train(self) -> Callable[[], None]:
        "`opt.train()` puts the parameters back, bit for bit, if they were swapped. See `eval`."
        return self._for_trainers(self._put_back)

    def _for_trainers(self, method: Callable[[], None]) -> Callable[[], None]:
        try: _chosen(self.groups(), '')
        except ValueError as e: raise AttributeError(str(e)) from None
        return method

    def _evaluate(self) -> None:
        if not is_swapped(self.state.values()): self.swap()

    def _put_back(self) -> None: put_back(self.state)

    @outside_graphs
    def swap(self, name: str='') -> None:
        """As `eval`; called again, it puts the parameters back.

        `name` is a stat such as `param_avg`, for one that `eval` would not take. Raises ValueError
        if there is no such stat.
        """
        groups = self.groups()
        with shielded(), torch.no_grad():
            if is_swapped(self.state.values()): return put_back(self.state)
            owned = list[Item]()
            try:
                for p, entry, group, part in _to_evaluate(groups, self.state, name):
                    spread = group.spreads.get(p)
                    whole = spread.whole(p, not isinstance(part, Stat)) if spread else p
                    weights = whole if whole.is_meta else _weights(whole, entry, group, part)
                    entry[SWAPPED] = p.detach().clone(memory_format=torch.preserve_format)
                    if spread: owned.append(Item(local(p), weights, spread))
                    else: p.copy_(weights)
                scatter(owned)
            except Exception:
                put_back(self.state)  # what came before it
                raise

    @contextmanager
    def swapped(self, name: str='') -> Iterator[None]:
        "As `swap`, for the length of a `with`. Raises RuntimeError if they are swapped already."
        if is_swapped(self.state.values()):
            raise RuntimeError('the parameters are swapped with their averages already: call '
                               '`train()` first, or leave out `swapped()`')
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


def _to_evaluate(groups: Sequence[Group], state: Mapping[Any, Any],
                 name: str) -> list[tuple[Tensor, dict[str, Any], Group, Part]]:
    "Each parameter that has such weights, its state and group, and the part that makes them."
    found = []
    for group, part in zip(groups, _chosen(groups, name)):
        if part is None: continue
        needed = {part.out} if isinstance(part, Stat) else {*group.composition.stats}
        for p in group['params']:
            entry = state.get(p, {})
            if not needed <= {*entry}: continue
            if isinstance(part, Stat) and entry[part.out].shape != p.shape:
                raise ValueError(f'{group.describe(p)}: `{part.out}` has the shape '
                                 f'{tuple(entry[part.out].shape)}, so it cannot take its place')
            found.append((p, entry, group, part))
    return found


def _chosen(groups: Sequence[Group], name: str) -> list[Part | None]:
    "For each group, the part that makes the weights. Raises ValueError if no group has one."
    parts = [_chosen_in(group, name) for group in groups]
    if not any(parts):
        raise ValueError(f'no part keeps `{name}` in the shape of its parameter' if name else
                         'there are no other weights to evaluate, as no stat reads `new_param`: '
                         'add one that averages the parameters, such as `average_param`, or '
                         '`schedule_free`')
    return parts


def _chosen_in(group: Group, name: str) -> Part | None:
    "The part that makes the weights of this group. Raises ValueError if there are several."
    stats, evaluation = group.composition.stats, group.composition.evaluation
    if evaluation and not name: return evaluation[-1]
    found = [k for k, part in stats.items() if (k == name if name else 'new_param' in part.reads)]
    if len(found) > 1:
        names = ' and '.join(f'`{k}`' for k in found)
        raise ValueError(f'{names} read `new_param`: choose one, as in swap({found[0]!r})')
    return stats[found[0]] if found and not stats[found[0]].is_number else None


def _weights(p: Tensor, entry: Mapping[str, Any], group: Group, part: Part) -> Tensor:
    """The weights to evaluate: a stat, or what a formula makes of all stats.

    It is computed as a step is: in float32 or float64, with complex numbers as pairs of real ones.
    """
    full, c = seen(entry, p), group.composition
    if isinstance(part, Stat): return full[part.out]  # type: ignore[no-any-return]
    tensors = {'param': weight(entry, p, group), **{k: full[k] for k in c.tensor_stats}}
    tensors = {k: torch.view_as_real(t) if t.is_complex() else t for k, t in tensors.items()}
    double = any(t.dtype == torch.float64 for t in tensors.values())
    wide = {k: t.to(torch.float64 if double else torch.float32) if t.is_floating_point() else t
            for k, t in tensors.items()}
    numbers = {k: entry[k] for k in c.number_stats}
    weights = c.evaluate(wide.pop('param'), {**numbers, **wide}, group.numbers())
    return torch.view_as_complex(weights) if p.is_complex() else weights
