"""Which process owns which parameters, if a rule looks at whole tensors; and the form of state.

An owner alone keeps the state of its parameters. Elsewhere their stats have a shape and no memory.
Owners are chosen by shapes alone, so that all processes choose alike, and work is spread evenly.
"""
from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import torch.distributed as dist
from torch import Tensor

from .contract import STATE_WORDS
from .converting import in_rows, tensors_in
from .formats import DRAWN
from .group import Group
from .rehearsal import adds_up
from .spread import Item, Peers, Spread, meta, scatter, whole
from .state import begin, begun

__all__ = ['Owners', 'cuts', 'is_sharded', 'on_several', 'peers_along']


class Owners:
    "Of the parameters of one optimizer. In one process, or of elementwise rules, there are none."
    def __init__(self) -> None:
        self.replicas: Peers | None = None       # as `Optimizer.share` was told
        self.spreads: dict[Tensor, Spread] = {}  # of each parameter that is owned
        self.loads: dict[Peers, list[int]] = {}  # the work of each process

    def settle(self, groups: Sequence[Group], state: Mapping[Any, Any]) -> None:
        "Finds an owner for each parameter that needs one, and moves its state there."
        if not on_several(): return
        for group in groups: _check_formats(group)
        new: list[tuple[int, Tensor, Spread, Group]] = []  # the work, and on what
        all_of = [(g, p) for g in groups if _needs_whole(g) for p in g['params']]
        for p in {*self.spreads} - {p for _, p in all_of}: self.forget(p)
        for group, p in all_of:
            if p in self.spreads or not (lies := self._lies(group, p)): continue
            new.append((_cost(group, p), p, lies, group))
        for group in groups: group.spreads = self.spreads
        for cost, p, lies, _ in sorted(new, key=lambda item: -item[0]):
            load = self.loads.setdefault(lies.peers, [0] * lies.peers.count)
            owner = load.index(min(load))
            load[owner] += cost
            self.spreads[p] = replace(lies, owner=owner)
        for *_, p, _, group in new: self.hold(group, p, state.get(p, {}))

    def forget(self, p: Tensor) -> None:
        "A parameter that has left, or has another rule now."
        del self.spreads[p]

    def share(self, processes: Any, groups: Sequence[Group], state: Mapping[Any, Any]) -> None:
        "Lets replicas of plain parameters own them. Raises RuntimeError in one process."
        if not on_several():
            raise RuntimeError('there are no replicas to share with: call '
                               'torch.distributed.init_process_group() before share()')
        device = next(p.device.type for g in groups for p in g['params'])
        self.replicas = Peers(processes or dist.group.WORLD, device)
        self.settle(groups, state)

    def _lies(self, group: Group, p: Any) -> Spread | None:
        "How a parameter lies that needs an owner. None if each process can step it alone."
        if not is_sharded(p): return Spread(self.replicas, 0) if self.replicas else None
        from torch.distributed.tensor import Shard
        cut, placements = cuts(p), p.placements
        if not cut: return None
        if len(cut) > 1 or type(placements[cut[0]]) is not Shard:
            part = next(q.label for q in group.composition.ordered if q.whole)
            raise ValueError(f'{group.describe(p)} lies as {placements}, and `{part}` needs all of '
                             'it, which is gathered along one dimension of a mesh: shard it with '
                             '`fully_shard` alone')
        return Spread(peers_along(p, cut[0]), 0, placements[cut[0]].dim, p.device_mesh,
                      tuple(placements))

    # -- the form of state -------------------------------------------------------------------------

    def hold(self, group: Group, p: Tensor, entry: MutableMapping[str, Any]) -> None:
        """Gives a parameter's stats the form in which a step needs them.

        They may be sharded, or whole on each process, as in a checkpoint of one process.
        """
        for k in tensors_in(group, p):
            if isinstance(v := entry.get(k), Tensor): entry[k] = self._held(v, p, '.' in k)

    def _held(self, v: Any, p: Any, has_rows: bool) -> Any:
        spread = self.spreads.get(p)
        if spread or not is_sharded(p):
            if is_sharded(v): v = whole(v)
            if spread and spread.is_mine and v.is_meta:
                raise RuntimeError('the state of a parameter is in another process: load a '
                                   'checkpoint, or call share() before the copy makes a step')
            return v if not spread or spread.is_mine or v.is_meta else meta(v)
        from torch.distributed.tensor import distribute_tensor
        if not is_sharded(v):
            if v.shape != p.shape and not has_rows: return v
            return distribute_tensor(v, p.device_mesh, p.placements, src_data_rank=None)
        if v.placements == p.placements: return v
        return v.redistribute(p.device_mesh, p.placements)

    def take(self, groups: Sequence[Group], state: Mapping[Any, Any]) -> None:
        "Gives the state of a checkpoint the form in which steps need it."
        if not on_several(): return
        self.settle(groups, {})
        for group in groups:
            for p in group['params']:
                if p in state: self.hold(group, p, state[p])

    def shown(self, groups: Sequence[Group], state: MutableMapping[Any, Any]
              ) -> MutableMapping[Any, Any]:
        """The state with that of owned parameters as it lies on all processes, for a checkpoint.

        Of sharded parameters it is sharded; of replicas each process has all of it.
        """
        owned = [(group, p) for group in groups for p in group['params']
                 if p in self.spreads and p in state and begun(state[p])]
        items, res = list[Item](), dict(state)
        for group, p in owned:
            entry = begin(group, p, state)
            mine = {k: item for k in tensors_in(group, p) for item in [self._item(entry[k], p)]}
            items += mine.values()
            res[p] = {k: _as_tensor(mine[k]) if k in mine else v for k, v in entry.items()
                      if k in mine or _is_here(k, v, group)}
        scatter(items)
        return res if owned else state

    def _item(self, v: Tensor, p: Tensor) -> Item:
        spread = self.spreads[p].of(v, p)
        return Item(spread.room(v), v, spread)


def _is_here(k: str, v: Any, group: Group) -> bool:
    "True for an entry of a state that each process has: a number, a mark, a shard of its own."
    if k in group.composition.number_stats or k in (*STATE_WORDS, DRAWN): return True
    return not isinstance(v, Tensor) or is_sharded(v)


def _as_tensor(item: Item) -> Tensor:
    if item.spread.mesh is None: return item.local
    from torch.distributed.tensor import DTensor
    like = meta(item.whole)
    return DTensor.from_local(item.local, item.spread.mesh, item.spread.placements,
                              shape=like.shape, stride=like.stride())


# -- how parameters lie ----------------------------------------------------------------------------

def on_several() -> bool:
    "True if this process works with others."
    return dist.is_available() and dist.is_initialized()


def is_sharded(x: Any) -> bool: return hasattr(x, 'placements')


def cuts(p: Any) -> list[int]:
    "The dimensions of its mesh along which a parameter is not the same everywhere."
    if not is_sharded(p): return []
    return [i for i, x in enumerate(p.placements) if not x.is_replicate()]


def peers_along(p: Any, mesh_dim: int) -> Peers:
    return Peers(p.device_mesh.get_group(mesh_dim), p.device_mesh.device_type)


def _needs_whole(group: Group) -> bool:
    "True if a step of a shard alone would be another than that of its elements in the whole."
    c = group.composition
    return not c.elementwise or bool(c.totals) and not adds_up(c, group.numbers())


def _check_formats(group: Group) -> None:
    "Raises ValueError if a shard does not have the elements that a format needs side by side."
    if group.settled or not group.storage or not group.composition.elementwise: return
    for p in group['params']:
        if not is_sharded(p) or in_rows(p): continue
        if any(f.in_order for f in group.formats(p).values()):
            raise ValueError(f'{group.describe(p)} lies as {p.placements}, and {group.storage} is '
                             'for parameters that are cut into rows: shard it as `fully_shard` '
                             'does by itself, or leave that out')


def _cost(group: Group, p: Tensor) -> int:
    "The work of a step, roughly: of a product with itself, for a rule of matrices."
    n = p.numel()
    if p.dim() < 2 or not group.composition.needs: return n
    rows = p.shape[0]
    return n * min(rows, n // max(rows, 1))
