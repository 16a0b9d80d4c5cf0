"""Totals: numbers summed over all parameters, of all groups, before any parameter moves.

A total may read the results of the parts before it. As parts are pure, these run for the total
alone, and again in the step itself.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import PartError
from .layout import cohorts, single_blocks
from .unpacked import unpacked
from .work import Work

__all__ = ['eager_total', 'in_order', 'totals']


def totals(works: Sequence[Work], total: Callable[[str, Sequence[Work]], float]) -> None:
    """Adds each total to the hyperparameters of the groups whose parts read it.

    `total` sums one, over some of the works that have it.
    """
    for name in in_order([w.composition for w in works]):
        readers = defaultdict[Any, list[Work]](list)
        for w in works:
            if name not in w.composition.totals: continue
            readers[w.group if w.composition.totals[name].over == 'group' else None].append(w)
        for some in readers.values():
            parts = defaultdict[Any, list[Work]](list)
            for w in some: parts[w.across].append(w)
            value = sum(_over_all(peers, total(name, ws)) for peers, ws in parts.items())
            for w in some: w.hypers = {**w.hypers, name: value}


def in_order(compositions: Sequence[Composition]) -> Iterator[str]:
    "The names of all totals: each after those that it may depend on."
    waiting = dict.fromkeys(k for c in compositions for k in c.totals)
    while waiting:
        name = next(k for k in waiting if not any(p.out in waiting for c in compositions
                                                  for p in c.before.get(k, ())))
        del waiting[name]
        yield name


def _over_all(across: Iterable[Any], value: float) -> float:
    "The sum over all processes that have a part of it."
    for peers in across: value = peers.sum(value)
    return value


def eager_total(name: str, works: Sequence[Work]) -> float:
    "A total, one parameter after another."
    shares = [s for w in works for s in _shares(w, name)]
    return sum(torch.stack(group).double().sum().item() for group in _alike(shares))


def _shares(work: Work, name: str) -> list[Tensor]:
    return [share for some in unpacked(work, keep=False) for share in _shares_of(some, name)]


def _shares_of(work: Work, name: str) -> list[Tensor]:
    c, res = work.composition, []
    total = c.totals[name]
    stats = [k for k in c.tensor_stats if f'prev_{k}' in c.source_reads[name]]
    needed = {'param', *c.read_only, *stats}
    for cohort in cohorts(work):
        numbers = cohort.work.numbers(until=total)
        happening = c.happening(numbers)
        if not happening or name not in happening.sources: continue
        for block in single_blocks(cohort):
            used = cohort.as_computed({k: block.tensors[k] for k in needed})
            env = {'place': block.place, **numbers, **{k: used[k] for k in c.fed}}
            try: share = happening.total(total, used['param'], used['grad'], used, env)
            except PartError as e: raise work.located(e, block.params[0]) from e.__cause__
            res.append(share)
    return res


def _alike(shares: list[Tensor]) -> Iterable[list[Tensor]]:
    "Shares of one device and dtype together."
    res: dict[Any, list[Tensor]] = defaultdict(list)
    for s in shares: res[s.device, s.dtype].append(s)
    return res.values()
