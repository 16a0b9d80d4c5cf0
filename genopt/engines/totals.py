"""Totals: numbers summed over all parameters, of all groups, before any parameter moves.

Parts are pure, so what a total needs of the parts before it is computed for its sake, and thrown
away.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..contract import PartError
from .layout import cohorts, real_tensors
from .work import Work

__all__ = ['totals']


def totals(work: Sequence[Work]) -> dict[str, float]:
    "Each total by name. It is over those groups whose parts read it."
    found: dict[str, float] = {}
    waiting = dict.fromkeys(k for w in work for k in w.composition.totals)
    while waiting:
        name = next(k for k in waiting if not any(_must_wait(w, k, waiting) for w in work))
        del waiting[name]
        shares = [s for w in work if name in w.composition.totals for s in _shares(w, name, found)]
        found[name] = sum(torch.stack(group).double().sum().item() for group in _alike(shares))
    return found


def _must_wait(work: Work, name: str, waiting: Container[str]) -> bool:
    "True if another total that is still waiting comes before this one."
    before = work.composition.before.get(name, [])
    return any(p.out in waiting for p in before)


def _shares(work: Work, name: str, found: Mapping[str, float]) -> list[Tensor]:
    c, res = work.composition, []
    total, hypers = c.totals[name], {**work.hypers, **found}
    for cohort in cohorts(work):
        part = cohort.work
        numbers = c.numbers({k: part.columns[k][0] for k in c.number_stats}, hypers, total)
        if c.is_closed(numbers): continue
        for (p, tensors), place in zip(real_tensors(part), part.places):
            used = {k: t.to(cohort.dtype) if t.is_floating_point() else t
                    for k, t in tensors.items()
                    if k in ('param', 'grad') or f'prev_{k}' in c.source_reads[name]}
            param, grad = used['param'], -used['grad'] if work.climb else used['grad']
            try: share = c.total(total, param, grad, used, {**numbers, 'place': place})
            except PartError as e: raise PartError(f'{e} (on {work.describe(p)})') from e.__cause__
            res.append(_whole(share))
    return res


def _whole(share: Tensor) -> Tensor:
    "The sum over all shards of a sharded tensor, or the tensor itself."
    full = getattr(share, 'full_tensor', None)
    return full() if full else share


def _alike(shares: list[Tensor]) -> Iterable[list[Tensor]]:
    "Shares of one device and dtype together."
    res: dict[Any, list[Tensor]] = defaultdict(list)
    for s in shares: res[s.device, s.dtype].append(s)
    return res.values()
