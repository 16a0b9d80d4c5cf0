"""Pieces: the matrices of which a group's `view` says that its parameters are made.

A parameter, its gradient and each stat of its shape are cut alike, so state stays in the layout of
its parameter. A stat with a shape of its own, such as the averages of a matrix's rows, has one
value for each piece: a stack of them, or, if they differ in shape, one behind the other. Numbers
belong to the parameter, and are the same for all of its pieces.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .composition import Composition
from .contract import PartError
from .engines.unpacked import unpack
from .engines.work import Work
from .kinds import Stat
from .view import View

__all__ = ['begin', 'in_pieces', 'like', 'number_of', 'pieces', 'place_of']

PLACES = 2**32  # more than an optimizer has parameters


@dataclass
class Pieces:
    "The matrices in a tensor, in order. Some may be copies: each with the elements that it is of."
    tensors: Sequence[Tensor]
    copies: Sequence[tuple[Tensor, Tensor]] = ()

    def put_back(self) -> None:
        for stack, inside in self.copies: inside.copy_(stack.view(inside.shape))


def pieces(view: View, x: Tensor) -> Pieces:
    "Those of a tensor of a parameter's shape."
    stacks = [*view.stacks(x)]
    return Pieces([m for stack, _ in stacks for m in _unstacked(stack)],
                  [pair for pair in stacks if pair[0].data_ptr() != pair[1].data_ptr()])


def _unstacked(stack: Tensor) -> list[Tensor]:
    if stack.dim() == 2: return [stack]
    return [m for one in stack.unbind() for m in _unstacked(one)]


def place_of(place: int) -> int:
    "The place of the parameter of which this is a piece."
    return place % PLACES


def number_of(place: int) -> int:
    "Which of several pieces this is, from 1; 0 for all of a parameter."
    return place // PLACES


# -- state -----------------------------------------------------------------------------------------

def begin(stat: Stat, p: Tensor, hypers: Mapping[str, Any], view: View | None) -> Any:
    "A stat before a parameter's first step. Raises PartError if its `init` fails."
    if view is None or stat.is_number or stat.init is None: return stat.start(p, hypers)
    found = [stat.start(m, hypers) for m in pieces(view, p.detach()).tensors]
    shapes = [x.shape for x in found]
    if len({*shapes}) > 1 and shapes != view.shapes(p.shape):
        return torch.cat([x.reshape(-1) for x in found])
    if shapes != view.shapes(p.shape): return torch.stack(found)
    res = torch.empty_like(p, dtype=found[0].dtype, memory_format=torch.preserve_format)
    cut = pieces(view, res)
    for m, x in zip(cut.tensors, found): m.copy_(x)
    cut.put_back()
    return res


def like(stat: Stat, shape: Sequence[int], dtype: torch.dtype, hypers: Mapping[str, Any],
         view: View | None=None) -> Any:
    "A stat as it would begin for a parameter of this shape. Only its shape and dtype are meant."
    def start(device: str) -> Any:
        return begin(stat, torch.empty(shape, dtype=dtype, device=device), hypers, view)
    try: return start('meta')
    except PartError: return start('cpu')


def _own_shapes(c: Composition, name: str, p: Tensor, hypers: Mapping[str, Any], view: View
                ) -> list[Any]:
    "The shapes of a stat for the pieces of a parameter."
    shapes, stat = view.shapes(p.shape), c.stats[name]
    if stat.init is None: return shapes
    known = _known.setdefault(c, {})
    values = *(hypers[k] for k in stat.init_hypers),
    if (key := (name, p.shape, p.dtype, view, values)) not in known:
        known[key] = [like(stat, shape, p.dtype, hypers).shape for shape in shapes]
    return known[key]


_known: WeakKeyDictionary[Composition, dict[Any, list[Any]]] = WeakKeyDictionary()


def _of_stat(x: Tensor, own: Sequence[Any], shapes: Sequence[Any], view: View) -> Pieces:
    "The values of a stat for the pieces of a parameter, of their own shapes."
    if own == shapes: return pieces(view, x)
    if len({*own}) == 1: return Pieces(x.unbind())
    return Pieces([v.view(s) for v, s in zip(torch.split(x, [s.numel() for s in own]), own)])


# -- work ------------------------------------------------------------------------------------------

def in_pieces(work: Work) -> Work:
    """The work on the pieces of its parameters. Parts that see no shape get whole parameters.

    Raises TypeError for a sparse gradient, and RuntimeError for one of another shape.
    """
    c, view = work.composition, work.view
    if view is None or c.is_flat and not c.own_numbers: return work
    work.check_gradients()
    if work.formats: work = unpack(work, range(len(work.params)))
    params, grads, states, places = list[Tensor](), list[Tensor](), list[Any](), list[int]()
    names, put_back = dict[int, tuple[Tensor, str]](), list[Any]()
    fed: dict[str, list[Tensor]] = {k: [] for k in c.fed}
    for i, (p, g) in enumerate(zip(work.params, work.grads)):
        state, place = work.states[i], work.places[i]
        if g.layout != torch.strided:
            raise TypeError(f'{work.describe(p)} has a sparse gradient, which cannot be seen '
                            f'through {view}: give it to a group without a view')
        cut = {k: _of_stat(state[k], _own_shapes(c, k, p, work.hypers, view),
                           view.shapes(p.shape), view) for k in c.tensor_stats}
        mine = pieces(view, p)
        n = len(mine.tensors)
        params += mine.tensors
        grads += pieces(view, g).tensors
        for k in fed: fed[k] += pieces(view, work.fed[k][i]).tensors
        states += [{**state, **{k: cut[k].tensors[j] for k in cut}} for j in range(n)]
        places += [place + PLACES * i for i in ([0] if n == 1 else range(1, n + 1))]
        put_back += [each.put_back for each in (mine, *cut.values()) if each.copies]
        names |= {id(m): (p, f', piece {j} of {n}' * (n > 1))
                  for j, m in enumerate(mine.tensors, 1)}
    return replace(work, params=params, grads=grads, states=states, places=places, own=(),
                   view=None, put_back=[*put_back, *work.put_back], fed=fed,
                   describe=partial(_describe, work.describe, names)).gather()


def _describe(describe: Any, names: Mapping[int, tuple[Tensor, str]], piece: Tensor) -> str:
    p, which = names.get(id(piece), (piece, ''))
    return f'{describe(p)}{which}'
