"""Sparse gradients, as `torch.nn.Embedding(sparse=True)` makes them.

If the parts treat each element alone, a step can be of those rows alone that the gradient touches: they are gathered
from the parameter and its state, an engine steps them as if they were all there is, and they are put back. That is the
same as a dense step if an untouched row would have stayed where it is (SGD, Adagrad), which is tried out. A part may
also declare that it wants it so (`lazy`, which makes SparseAdam of Adam), or that it wants the gradient dense.
"""
from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..rehearsal import stays_still
from . import eager
from .totals import Work

__all__ = ['Rows', 'dense_or_rows']


class Rows(NamedTuple):
    "The touched rows of parameters, gathered: they are others in every step, so they are the eager engine's."
    work: Work
    origins: list[tuple[Tensor, dict[str, Any], tuple[Tensor, ...]]]  # parameter, state, which rows

    def step(self) -> None:
        work, group = self.work, self.work.group
        eager.run(group.composition, work.hypers, work.params, work.grads, work.states, self._describe,
                  group['maximize'])
        for (param, state, at), rows, new in zip(self.origins, self.work.params, self.work.states):
            param[at] = rows
            for k, v in new.items():
                if isinstance(v, Tensor): state[k][at] = v
                else: state[k] = v

    def _describe(self, rows: Tensor) -> str:
        return self.work.group.describe(next(p for (p, *_), r in zip(self.origins, self.work.params) if r is rows))


def dense_or_rows(work: Work) -> tuple[Work, Rows | None]:
    """Work with dense gradients, and the rows of parameters whose gradients are sparse, which are not in it.

    Raises TypeError if its parts take no sparse gradients.
    """
    if all([g.layout == torch.strided for g in work.grads]): return work, None
    how = _how(work)
    dense, rows = (work._replace(params=[], grads=[], states=[]) for _ in range(2))
    origins = []
    for p, g, state in zip(work.params, work.grads, work.states):
        if g.layout != torch.strided and (not how or g.layout != torch.sparse_coo): raise _refusal(work, p)
        if g.layout == torch.strided or how == 'dense':
            _add(dense, p, g if g.layout == torch.strided else g.to_dense(), state)
        else:
            g = g.coalesce()
            at = tuple(g.indices())
            _add(rows, p[at], g.values(), {k: v[at] if isinstance(v, Tensor) else v for k, v in state.items()})
            origins.append((p, state, at))
    return dense, Rows(rows, origins) if origins else None


def _how(work: Work) -> str:
    "What becomes of a sparse gradient: 'rows', 'dense', or '' if it cannot be taken."
    composition = work.group.composition
    elementwise = composition.elementwise and not composition.totals
    if wish := next((p.sparse for p in composition.ordered if p.sparse), ''):
        return wish if elementwise or wish == 'dense' else ''
    return 'rows' if elementwise and stays_still(composition, work.hypers) else ''


def _add(work: Work, param: Tensor, grad: Tensor, state: dict[str, Any]) -> None:
    work.params.append(param)
    work.grads.append(grad)
    work.states.append(state)


def _refusal(work: Work, param: Tensor) -> TypeError:
    c = work.group.composition
    if whole := [p.label for p in c.ordered if p.whole]:
        why, instead = f'`{whole[0]}` needs all of a tensor', 'leave that out'
    else: why, instead = 'rows without a gradient would move too', 'add `lazy`, which moves only the rows that have one'
    return TypeError(f'{work.group.describe(param)} has a sparse gradient, and {c} takes dense ones, as {why}: make '
                     f'its layer with sparse=False, or {instead}')
