"""Totals: numbers summed over all parameters, of all groups, before any parameter moves.

Parts are pure, so what a total needs of the parts before it is computed for its sake, and thrown away.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..part import PartError
from .layout import cohorts, rows

if TYPE_CHECKING: from ..optimizer import Group

__all__ = ['Work', 'totals']


class Work(NamedTuple):
    "What one step of one group is about."
    group: Group
    hypers: dict[str, float]
    params: list[Tensor]
    grads: list[Tensor]           # One per parameter
    states: list[dict[str, Any]]  # One per parameter


def totals(work: Sequence[Work]) -> dict[str, float]:
    "By name. Each is over those groups whose parts read it."
    found: dict[str, float] = {}
    waiting = dict.fromkeys(k for w in work for k in w.group.composition.totals)
    while waiting:
        name = next(k for k in waiting if not any(_first(w, k, waiting) for w in work))
        del waiting[name]
        shares = [s for w in work if name in w.group.composition.totals for s in _shares(w, name, found)]
        found[name] = sum(torch.stack(group).double().sum().item() for group in _alike(shares))
    return found


def _first(work: Work, name: str, waiting: Container[str]) -> bool:
    "Must another total come before this one?"
    before = work.group.composition.before.get(name, [])
    return any(p.kind == 'total' and p.out in waiting for p in before)


def _shares(work: Work, name: str, found: Mapping[str, float]) -> list[Tensor]:
    composition, res = work.group.composition, []
    total = composition.totals[name]
    for cohort in cohorts(composition, work.params, work.grads, work.states):
        numbers = composition.numbers(cohort.states[0], {**work.hypers, **found}, total)
        if composition.is_closed(numbers, total): continue
        used = {*total.reads}.union(*(p.reads for p in composition.leads_to[name]))
        names = [k for k in composition.tensor_stats if f'prev_{k}' in used]
        for p, tensors in rows(cohort, names):
            wide = {k: t if t.dtype == cohort.wide or not t.is_floating_point() else t.to(cohort.wide)
                    for k, t in tensors.items()}
            if work.group['maximize']: wide['grad'] = -wide['grad']
            try: share = composition.total(total, wide['param'], wide['grad'], wide, numbers)
            except PartError as e: raise PartError(f'{e} (on {work.group.describe(p)})') from e.__cause__
            res.append(_whole(share))
    return res


def _whole(share: Tensor) -> Tensor:
    "Of a sharded tensor, the sum over all shards."
    full = getattr(share, 'full_tensor', None)
    return full() if full else share


def _alike(shares: list[Tensor]) -> Iterable[list[Tensor]]:
    "Those of one device and dtype together."
    res: dict[Any, list[Tensor]] = defaultdict(list)
    for s in shares: res[s.device, s.dtype].append(s)
    return res.values()
