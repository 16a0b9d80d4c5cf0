"""A step of parameters that lie on several processes, as `fully_shard` and DDP leave them.

Parts that treat each element alone run on what each process has. A rule with parts that look at a
whole tensor is computed by the owner of each parameter: it gathers the parameter and its gradient,
and all get the new values. Before a step that sends anything, the processes compare their groups.
"""
from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.graph import increment_version

from .engines.work import Work
from .group import Group
from .numbers import read_all
from .owners import Owners, cuts, on_several, peers_along
from .pieces import in_pieces
from .spread import Item, Peers, Spread, first_of, gather, local, meta, scatter
from .words import STORAGE

__all__ = ['Sharding', 'run_in_pieces']

Run: TypeAlias = Callable[[Sequence[Work]], None]  # an engine, or a recorder


class Sharding(Owners):
    "What one optimizer needs to know of other processes. In one process it does nothing."
    def __init__(self) -> None:
        super().__init__()
        self.copies: dict[Tensor, Tensor] = {}  # memory for the whole parameters of this owner
        self.has_agreed = False

    def prepare(self, groups: Sequence[Group], state: MutableMapping[Any, Any]) -> None:
        """Finds the owners, and compares the groups of all processes.

        A parameter without a gradient gets one of zeros if it has one in another process. Raises
        ValueError if processes have different groups.
        """
        if not on_several(): return
        self.settle(groups, state)
        params = [(g, p) for g in groups for p in g['params']]
        sends = [(g, p) for g, p in params if p in self.spreads or g.composition.totals]
        if self.has_agreed and not sends: return
        self.has_agreed = True
        for peers in dict.fromkeys(q for _, p in params for q in self._across(p)):
            if _agree(peers, groups): continue
            grads = [p.grad is not None for _, p in params]
            some = map(any, zip(*peers.all(grads, torch.uint8)))
            for (_, p), has in zip(params, some):
                if has and p.grad is None: p.grad = torch.zeros_like(p)

    def run(self, works: Sequence[Work], engine: Run, recorders: Sequence[Run]=()) -> None:
        """One step of each parameter. An engine is given whole tensors, or what this process has.

        Raises RuntimeError if a recorder would see only a part of the tensors.
        """
        is_alone = not on_several() or not any(self._across(p) for w in works for p in w.params)
        if recorders and not is_alone:
            raise RuntimeError('`watch` looks at whole tensors, and these lie on several processes:'
                               ' stop watching, or watch a run in one process')
        if is_alone:
            run_in_pieces(works, engine, recorders)
            return
        params, inputs = list[Item](), list[Item]()
        mine = [part for w in works for part in self._split(w, params, inputs)]
        gather([*params, *inputs])
        for w in run_in_pieces(mine, engine): _count(w)
        scatter(params)
        increment_version([p for w in works for p in w.params])

    def forget(self, p: Tensor) -> None:
        super().forget(p)
        self.copies.pop(p, None)

    def _across(self, p: Tensor) -> tuple[Peers, ...]:
        "The processes of which each has a part of a parameter, or of the work on it."
        if p in self.spreads: return self.spreads[p].peers,
        return tuple(peers_along(p, i) for i in cuts(p))

    def _split(self, work: Work, params: list[Item], inputs: list[Item]) -> Iterator[Work]:
        "The work of this process. It adds what is to be gathered to `params` and `inputs`."
        kinds: dict[Any, list[int]] = {}
        for i, p in enumerate(work.params):
            kinds.setdefault((p in self.spreads, self._across(p)), []).append(i)
        for (is_owned, across), rows in kinds.items():
            some = replace(work.subset(rows), across=across)
            yield self._owned(some, params, inputs) if is_owned else _here(some)

    def _owned(self, work: Work, params: list[Item], inputs: list[Item]) -> Work:
        "The work on whole parameters that are this process's own."
        rows, names, read = [], dict[int, Tensor](), {k: list[Tensor]() for k in work.inputs()}
        for i, p in enumerate(work.params):
            spread = self.spreads[p]
            whole = self._whole(p, spread)
            params.append(Item(local(p), whole, spread))
            for k, column in work.inputs().items():
                x = column[i]
                if spread.mesh is not None:
                    room = whole.new_empty(p.shape, dtype=x.dtype) if spread.is_mine else meta(x)
                    inputs.append(Item(local(_like(x, p)), room, spread))
                    x = room
                if spread.is_mine: read[k].append(x)
            if not spread.is_mine: continue
            rows.append(i)
            names[id(whole)] = p
        mine = work.subset(rows)
        others = work.subset([i for i in range(len(work.params)) if i not in {*rows}])
        return replace(mine, params=[self.copies.get(p, p) for p in mine.params],
                       grads=read.pop('grad'), fed=read, elsewhere=others,
                       describe=lambda p: work.describe(names.get(id(p), p)))

    def _whole(self, p: Tensor, spread: Spread) -> Tensor:
        "Where the whole parameter is, or will be. It stays there, as kernels know addresses."
        if spread.mesh is None: return p if spread.is_mine else meta(p)
        if not spread.is_mine: return meta(p)
        if p not in self.copies: self.copies[p] = local(p).new_empty(p.shape)
        return self.copies[p]


def _here(work: Work) -> Work:
    "The work on what this process has of each tensor."
    if not any(hasattr(p, 'to_local') for p in work.params): return work
    params = [*map(local, work.params)]
    names = {id(mine): p for mine, p in zip(params, work.params)}
    columns = {k: [*map(local, column)] for k, column in work.columns.items()}
    read = {k: [local(_like(x, p)) for x, p in zip(column, work.params)]
            for k, column in work.inputs().items()}
    return replace(work, params=params, grads=read.pop('grad'), fed=read, columns=columns,
                   firsts=[*map(first_of, work.params)] if work.is_random else (),
                   describe=lambda p: work.describe(names.get(id(p), p)))


def run_in_pieces(works: Sequence[Work], engine: Run, recorders: Sequence[Run]=()) -> list[Work]:
    "Runs an engine on the pieces of the parameters that have some. Returns the work on these."
    cut = [in_pieces(w) for w in works]
    for look_at in recorders: look_at(cut)
    try: engine(cut)
    finally:
        for put_back in [f for w in cut for f in w.put_back]: put_back()
    return cut


def _like(grad: Any, param: Any) -> Tensor:
    "A gradient that lies as its parameter does."
    if getattr(grad, 'placements', None) == getattr(param, 'placements', None):
        return grad  # type: ignore[no-any-return]
    return grad.redistribute(param.device_mesh, param.placements)  # type: ignore[no-any-return]


def _count(work: Work) -> None:
    "New numbers for the parameters that other processes have stepped."
    others, alike = work.elsewhere, dict[Any, list[int]]()
    if others is None: return
    others.hypers = work.hypers  # with the totals
    columns = [read_all(others.columns[k]) for k in work.composition.number_stats]
    for i in range(len(others.states)):
        own = others.own[i].values() if others.own else ()
        alike.setdefault((*(c[i] for c in columns), *own), []).append(i)
    for rows in alike.values() if columns else ():
        others.subset(rows).store(others.numbers(rows[0]))


# -- agreement -------------------------------------------------------------------------------------

def _agree(peers: Peers, groups: Sequence[Group]) -> bool:
    "True if the same parameters have gradients in all processes. Raises ValueError."
    said = [_said(g) for g in groups]
    has_grad = bytes(p.grad is not None for g in groups for p in g['params'])
    found = peers.all([zlib.crc32(repr(said).encode()), zlib.crc32(has_grad)], torch.int64)
    if len({layout for layout, _ in found}) > 1:
        everyone: list[Any] = [None] * peers.count
        dist.all_gather_object(everyone, said, peers.group)
        raise _difference(everyone)
    return len({pattern for _, pattern in found}) == 1


def _said(group: Group) -> dict[str, Any]:
    "What all processes must have in common."
    return {'parts': ' → '.join(map(str, group['parts'])), **group.numbers(),
            'maximize': group['maximize'],
            **{k: v for k in STORAGE if (v := dict.get(group, k)) is not None},
            'params': [(tuple(p.shape), str(p.dtype)) for p in group['params']]}


def _difference(everyone: Sequence[Sequence[dict[str, Any]]]) -> ValueError:
    remedy = 'make the same optimizer in each process, and change its groups in all of them'
    for rank, theirs in enumerate(everyone):
        if len(theirs) != len(everyone[0]):
            return ValueError(f'process 0 has {len(everyone[0])} parameter groups, and process '
                              f'{rank} has {len(theirs)}: {remedy}')
        for i, (first, group) in enumerate(zip(everyone[0], theirs)):
            for k in dict.fromkeys([*first, *group]):
                a, b = first.get(k), group.get(k)
                if a == b: continue
                if k == 'params': a, b = (f'{len(x)} of the shapes {[s for s, _ in x]}'
                                          for x in (first[k], group[k]))
                return ValueError(f'group {i} has `{k}` = {a} in process 0, and {b} in process '
                                  f'{rank}: {remedy}')
    return ValueError(f'processes have different parameter groups: {remedy}')
