"""Totals: numbers summed over all parameters, of all groups, before any parameter moves.

A total may read the results of the parts before it. Parts are pure, so these are run for the
total's sake, and their results are thrown away.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..contract import PartError
from .eager import as_computed, located, numbers_of
from .layout import cohorts, single_blocks
from .work import Work

__all__ = ['totals']


def totals(work: Sequence[Work]) -> dict[str, float]:
    "Each total by name, over the groups whose parts read it."
    found: dict[str, float] = {}
    waiting = dict.fromkeys(k for w in work for k in w.composition.totals)
    while waiting:
        name = next(k for k in waiting if not any(p.out in waiting for w in work
                                                  for p in w.composition.before.get(k, ())))
        del waiting[name]
        shares = [s for w in work if name in w.composition.totals
                  for s in _shares(replace(w, hypers=w.hypers | found), name)]
        found[name] = sum(torch.stack(group).double().sum().item() for group in _alike(shares))
    return found


def _shares(work: Work, name: str) -> list[Tensor]:
    c, res = work.composition, []
    total = c.totals[name]
    needed = {'param', 'grad', *(k for k in c.tensor_stats if f'prev_{k}' in c.source_reads[name])}
    for cohort in cohorts(work):
        numbers = numbers_of(cohort.work, total)
        if c.is_closed(numbers): continue
        for block in single_blocks(cohort):
            used = as_computed(cohort, {k: block.tensors[k] for k in needed})
            env = {**numbers, 'place': block.place}
            try: share = c.total(total, used['param'], used['grad'], used, env)
            except PartError as e: raise located(e, work, block.params[0]) from e.__cause__
            res.append(_whole(share))
    return res


def _whole(share: Tensor) -> Tensor:
    "The sum over all shards of a sharded tensor, or the tensor itself."
    return share.full_tensor() if hasattr(share, 'full_tensor') else share


def _alike(shares: list[Tensor]) -> Iterable[list[Tensor]]:
    "Shares of one device and dtype together."
    res: dict[Any, list[Tensor]] = defaultdict(list)
    for s in shares: res[s.device, s.dtype].append(s)
    return res.values()
