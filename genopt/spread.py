"""A spread: how one tensor lies on several processes, one of which owns it.

Rules that look at a whole tensor are computed by its owner. `gather` brings the shards of many
tensors to their owners, and `scatter` takes new values back. All tensors of one dtype go in one
collective, or, where each process has all of a tensor, in one from each owner.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ['Item', 'Peers', 'Spread', 'first_of', 'gather', 'local', 'meta', 'scatter', 'whole']


@dataclass(frozen=True)
class Peers:
    "Processes that share tensors, and the device on which they do."
    group: Any   # A ProcessGroup
    device: str

    @property
    def rank(self) -> int: return dist.get_rank(self.group)

    @property
    def count(self) -> int: return dist.get_world_size(self.group)

    def all(self, numbers: Sequence[float], dtype: torch.dtype) -> list[list[Any]]:
        "The numbers of each process, in the order of their ranks."
        mine = torch.tensor(numbers, dtype=dtype, device=self.device)
        found = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(found, mine, self.group)
        return [x.tolist() for x in found]

    def sum(self, x: float) -> float:
        "The sum over all processes, in the order of their ranks: the same bits on each."
        return sum(float(n) for n, in self.all([x], torch.float64))


@dataclass(frozen=True)
class Spread:
    """How a tensor lies on processes.

    `dim` is the dimension along which it is cut, as `torch.chunk` cuts; None if each process has
    all of it. `mesh` and `placements` are those of its DTensor, if it is one.
    """
    peers: Peers
    owner: int  # The rank, among the peers, of the process that computes its step
    dim: int | None = None
    mesh: Any = None
    placements: tuple[Any, ...] = ()

    @property
    def is_mine(self) -> bool: return self.peers.rank == self.owner

    def pieces(self, whole: Tensor) -> list[Tensor]:
        "The views of a whole tensor that the processes have, in the order of their ranks."
        n = self.peers.count
        if self.dim is None: return [whole] * n
        found = whole.chunk(n, self.dim)[:n]
        return [*found, *[whole.narrow(self.dim, 0, 0)] * (n - len(found))]

    def room(self, whole: Tensor) -> Tensor:
        "Memory for what this process has of a tensor."
        mine = self.pieces(torch.empty(whole.shape, device='meta'))[self.peers.rank]
        return torch.empty(mine.shape, dtype=whole.dtype, device=self.peers.device)

    def whole(self, param: Tensor, with_values: bool=True) -> Tensor:
        "The whole parameter at its owner. Elsewhere a tensor of its shape, without memory."
        if self.mesh is None: full = param.detach()
        elif with_values: full = param.full_tensor()  # type: ignore[attr-defined]
        else: full = local(param).new_empty(param.shape) if self.is_mine else param
        return full if self.is_mine else meta(param)

    def of(self, stat: Tensor, param: Tensor) -> Spread:
        "How a stat is shown in checkpoints: as its parameter lies, or cut in rows."
        if self.mesh is None or stat.shape == param.shape: return self
        from torch.distributed.tensor import Replicate, Shard
        dim, rows = (0, Shard(0)) if stat.dim() else (None, Replicate())
        return replace(self, dim=dim, placements=tuple(
            p if p.is_replicate() else rows for p in self.placements))


@dataclass(frozen=True)
class Item:
    "A tensor of several processes: what this one has of it, and all of it if this is its owner."
    local: Tensor
    whole: Tensor  # Without memory, on the device 'meta', if another process owns it
    spread: Spread


def meta(x: Tensor) -> Tensor:
    "A tensor of this shape and dtype, without memory."
    return torch.empty(x.shape, dtype=x.dtype, device='meta')


def local(x: Tensor) -> Tensor:
    "What this process has of a tensor, when it has arrived."
    if not hasattr(x, 'to_local'): return x
    with torch.no_grad(): mine: Tensor = x.to_local()
    return mine.wait() if hasattr(mine, 'wait') else mine


def whole(x: Any) -> Tensor:
    "All of a sharded tensor. No backend sends integers of 16 bits, so these go as bytes."
    if x.dtype != torch.int16: return x.full_tensor()  # type: ignore[no-any-return]
    from torch.distributed.tensor import DTensor
    parts = local(x).contiguous().unsqueeze(-1).view(torch.uint8)
    like = torch.empty((*x.shape, 2), device='meta')
    res = DTensor.from_local(parts, x.device_mesh, x.placements, shape=like.shape,
                             stride=like.stride()).full_tensor()
    return res.view(torch.int16).squeeze(-1)


def gather(items: Sequence[Item]) -> None:
    "Fills the whole tensors of their owners with the shards. Where each has all, it sends nothing."
    for like, some in _alike([i for i in items if i.spread.dim is not None]):
        ranks = range(like.spread.peers.count)
        cut = [i.spread.pieces(i.whole) for i in some if i.spread.is_mine]
        _exchange([[i.local for i in some if i.spread.owner == r] for r in ranks],
                  [[pieces[r] for pieces in cut] for r in ranks], like)


def scatter(items: Sequence[Item]) -> None:
    "Fills what each process has with the values of its owner."
    for like, some in _alike(items):
        ranks = range(like.spread.peers.count)
        theirs = [[i for i in some if i.spread.owner == r] for r in ranks]
        if like.spread.dim is None: _broadcast(theirs, like)
        else:
            cut = [i.spread.pieces(i.whole) for i in some if i.spread.is_mine]
            _exchange([[pieces[r] for pieces in cut] for r in ranks],
                      [[i.local for i in of_one] for of_one in theirs], like)


def _alike(items: Sequence[Item]) -> Iterator[tuple[Item, list[Item]]]:
    "Those that one collective takes, after the first of them: on all ranks in the same order."
    found: dict[Any, list[Item]] = {}
    for i in items:
        kind = i.spread.peers, i.local.dtype, i.spread.dim is None
        found.setdefault(kind, []).append(i)
    for some in found.values(): yield some[0], some


def _exchange(sent: Sequence[Sequence[Tensor]], rooms: Sequence[Sequence[Tensor]],
              like: Item) -> None:
    "Sends some tensors to each rank, and fills some with what comes from each."
    size = like.local.element_size()
    out, into = ([size * sum(t.numel() for t in ts) for ts in tensors] for tensors in (sent, rooms))
    parcel, got = (like.local.new_empty(sum(n) // size) for n in (out, into))
    for x, t in _along(parcel, sent): x.copy_(t)
    # As bytes, since some backends do not send each dtype
    dist.all_to_all_single(got.view(torch.uint8), parcel.view(torch.uint8), into, out,
                           like.spread.peers.group)
    for x, t in _along(got, rooms): t.copy_(x)


def _along(flat: Tensor, tensors: Sequence[Sequence[Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    "Views of a flat tensor, each with a tensor of the same shape."
    each = [t for ts in tensors for t in ts]
    for x, t in zip(torch.split(flat, [t.numel() for t in each]), each): yield x.view(t.shape), t


def _broadcast(theirs: Sequence[Sequence[Item]], like: Item) -> None:
    "From each owner to all."
    flying = []
    for owner, items in enumerate(theirs):
        if not items: continue
        rooms = [i.local for i in items]
        flat = like.local.new_empty(sum(t.numel() for t in rooms))
        if items[0].spread.is_mine:
            for x, t in _along(flat, [[i.whole for i in items]]): x.copy_(t)
        work = dist.broadcast(flat.view(torch.uint8), group=like.spread.peers.group,
                              group_src=owner, async_op=True)
        flying.append((items, flat, rooms, work))
    for items, flat, rooms, work in flying:
        work.wait()
        if not items[0].spread.is_mine or items[0].local is not items[0].whole:
            for x, t in _along(flat, [rooms]): t.copy_(x)


def first_of(p: Any) -> int:
    "The place, in the whole parameter, of the first element that this process has."
    if not hasattr(p, 'placements'): return 0
    first, rows = 0, int(p.shape[0]) if p.dim() else 1
    for i, placement in enumerate(p.placements):  # as torch.chunk cuts
        if placement.is_replicate(): continue
        most, rank = -(-rows // p.device_mesh.size(i)), p.device_mesh.get_local_rank(i)
        first, rows = first + most * rank, max(min(most, rows - most * rank), 0)
    return first * int(prod(p.shape[1:]))
