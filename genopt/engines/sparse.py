"""Sparse gradients, as `torch.nn.Embedding(sparse=True)` makes them.

If the parts treat each element alone, a step can move only the rows that the gradient touches.
They are gathered from the parameter and its state, stepped by an engine as if there were no
others, and put back. The result is that of a dense step if a row without a gradient stays where it
is (SGD, Adagrad), which is tried out. A part may also ask for this (`lazy`, which turns Adam into
SparseAdam), or for a dense gradient.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..numbers import read, store
from ..rehearsal import stays_still
from .unpacked import unpack
from .work import Work

__all__ = ['Rows', 'dense_or_rows', 'has_sparse']


class Rows(NamedTuple):
    "The touched rows of parameters, gathered."
    work: Work
    origins: list[tuple[Tensor, dict[str, Any], tuple[Tensor, ...]]]  # parameter, state, which rows
    keep: Sequence[Callable[[], None]] = ()  # puts all back as formats keep it

    def put_back(self) -> None:
        "Writes the rows, and their states, where they came from."
        for (param, state, at), rows, new in zip(self.origins, self.work.params, self.work.states):
            param[at] = rows
            for k, part in self.work.composition.stats.items():
                if part.is_number: store([state], k, read(new[k]))
                else: state[k][at] = new[k]
        for put_back in self.keep: put_back()


def has_sparse(work: Work) -> bool: return any(g.layout != torch.strided for g in work.grads)


def dense_or_rows(work: Work) -> tuple[Work, Rows | None]:
    """The work on dense gradients, and the rows that sparse ones touch.

    Raises TypeError if the parts do not take sparse gradients.
    """
    sparse = [i for i, g in enumerate(work.grads) if g.layout != torch.strided]
    if not sparse: return work, None
    how, c = _how(work), work.composition
    for i in sparse:
        if not how or work.grads[i].layout != torch.sparse_coo: raise _refusal(work, work.params[i])
    if how == 'dense':
        return replace(work, grads=[g.to_dense() if g.is_sparse else g for g in work.grads]), None
    some = unpack(work, sparse) if work.formats else work.subset(sparse)
    grads = [g.coalesce() for g in some.grads]
    origins = [(p, s, tuple(g.indices())) for p, s, g in zip(some.params, some.states, grads)]
    params = [p[at] for p, _, at in origins]
    states = [{k: read(state[k]) if part.is_number else state[k][at] for k, part in c.stats.items()}
              for _, state, at in origins]
    names = {id(rows): p for rows, (p, *_) in zip(params, origins)}
    rows = replace(some, params=params, grads=[g.values() for g in grads], states=states,
                   put_back=(), describe=lambda rows: some.describe(names[id(rows)]))
    dense = [i for i, g in enumerate(work.grads) if g.layout == torch.strided]
    return work.subset(dense), Rows(rows.gather(), origins, some.put_back)


def _how(work: Work) -> str:
    "How sparse gradients are taken: as 'rows', made 'dense', or '' for not at all."
    composition = work.composition
    if composition.fed: return ''
    wish = next((p.sparse for p in composition.ordered if p.sparse), '')
    if wish == 'dense': return wish
    if not composition.is_flat: return ''
    return wish or ('rows' if stays_still(composition, work.hypers) else '')


def _refusal(work: Work, param: Tensor) -> TypeError:
    c = work.composition
    if c.fed: why, instead = f'`{c.fed[0]}` is fed for all rows', 'leave out what reads that'
    elif whole := [p.label for p in c.ordered if p.whole]:
        why, instead = f'`{whole[0]}` needs all of a tensor', 'leave that out'
    else:
        why = 'rows without a gradient would move too'
        instead = 'add `lazy`, which moves only the rows that have one'
    return TypeError(f'{work.describe(param)} has a sparse gradient, and {c} takes dense ones, '
                     f'as {why}: make its layer with sparse=False, or {instead}')
