"""Watches the tensors whose addresses a kernel is given: before each step they must lie as before.

A watch holds no tensor, so it keeps none alive.
"""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..composition import Composition
from ..formats import Format
from .layout import PLAIN, are_aligned, extent, in_order_of
from .table import Integers, Kinds, Memory, Table, addresses_of
from .work import Work

__all__ = ['Inputs', 'Watch', 'check_storage', 'why_not', 'why_not_beside']


class Inputs(NamedTuple):
    "Gradients of one step, and what was fed. They may be copies, and must outlive the kernel."
    tensors: list[Sequence[Tensor]]
    addresses: dict[str, Integers]  # by name


class _Column:
    "One input of all parameters, as it was when the tables were made."
    def __init__(self, params: Sequence[Tensor], tensors: Sequence[Tensor]):
        alike = [t.detach() for t in map(in_order_of, params, tensors)]
        self.kinds, self.dtypes = Kinds(alike), [t.dtype for t in alike]
        self.sizes = Table([t.nbytes for t in alike])
        self.apart = array('Q')  # addresses that were seen to lie apart from what is written

    def as_before(self, params: Sequence[Tensor], tensors: Sequence[Tensor]
                  ) -> Sequence[Tensor] | None:
        "In the order of their parameters' elements. None if one is of another kind."
        if self.kinds.match(tensors): return tensors
        if any(not _is_plain(t) or t.dtype != d or t.shape != p.shape or t.device != p.device
               for t, d, p in zip(tensors, self.dtypes, params)): return None
        return [*map(in_order_of, params, tensors)]


class Watch:
    "The tensors of a batch, as they lay when its tables were made."
    def __init__(self, work: Work):
        written, n = _written(work), len(work.params)
        names = ['param', *work.composition.tensor_stats, *work.beside]
        self.table = dict(zip(names, np.array(addresses_of(written), np.int64).reshape(-1, n)))
        movable = _written(work, work.composition.fixed)
        self.addresses, self.kinds = addresses_of(movable), Kinds(movable)
        self.memory = Memory(written[:n * len(names)])
        self.inputs = {k: _Column(work.params, ts) for k, ts in work.inputs().items()}

    def is_same(self, work: Work) -> bool:
        "True if all that a step writes to lies where it did."
        written = _written(work, work.composition.fixed)
        try: return addresses_of(written) == self.addresses and self.kinds.match(written)
        except TypeError: return False  # somebody has put something else than a tensor there

    def inputs_of(self, work: Work) -> Inputs | None:
        "Gradients, and what was fed. None if one is of another kind, or lies there."
        res = Inputs([], {})
        for k, given in work.inputs().items():
            column = self.inputs[k]
            if (tensors := column.as_before(work.params, given)) is None: return None
            if (at := addresses_of(tensors)) != column.apart:
                if not self.memory.is_apart(at, column.sizes): return None
                column.apart = at
            res.tensors.append(tensors)
            res.addresses[k] = np.frombuffer(at, np.int64)
        return res


def _written(work: Work, but: Sequence[str]=()) -> list[Tensor]:
    "All that a step writes to: the parameters, then one stat after another, the numbers last."
    c = work.composition
    names = [k for k in (*c.tensor_stats, *work.beside, *c.number_stats) if k not in but]
    columns = [work.params, *[work.columns[k] for k in names]]
    return [t for column in columns for t in column]


def _is_plain(t: Tensor) -> bool: return type(t) in PLAIN and t.layout == torch.strided


def check_storage(work: Work, row: int) -> None:
    "Raises RuntimeError for a tensor whose memory somebody has taken away, even in part."
    for k, t in work.tensors(row).items():
        if not _is_plain(t) or t.is_meta or not t.numel(): continue
        needed = t.storage_offset() * t.element_size() + extent(t)
        if t.untyped_storage().nbytes() >= needed: continue
        raise RuntimeError(f'{work.describe(work.params[row])}: the storage of `{k}` is smaller '
                           'than the tensor: resize it to what it was before a step')


def why_not(tensors: Mapping[str, Tensor], composition: Composition,
            formats: Iterable[Format]=()) -> str:
    "Why a kernel cannot be given the addresses of a parameter, its state and gradient; or ''."
    p = tensors['param']
    written = [t for k, t in tensors.items() if k not in composition.read_only]
    alike = [t for t in written if t.shape == p.shape]
    others = [t for t in written if t.shape != p.shape]
    if not all(_is_plain(t) and not t.is_meta for t in tensors.values()):
        return 'they are not plain tensors'
    if p.device.type not in ('cpu', 'cuda'): return f'there are no kernels for {p.device}'
    if any(t.device != p.device for t in tensors.values()):
        return 'their state or gradient is on another device'
    if any(t.is_complex() != p.is_complex() for t in tensors.values()):
        return 'some of their tensors are complex, and some are not'
    if any(t.is_neg() or t.is_conj() for t in written): return 'they are lazily negated'
    if any(t.numel() and not t.data_ptr() for t in tensors.values()): return 'they have no memory'
    if composition.is_flat and others or not composition.is_flat and not p.numel():
        return 'their state has another shape'
    if not are_aligned(alike) or others and not all(t.is_contiguous() for t in (p, *others)):
        return 'their elements lie in memory with gaps, or in another order than their state\'s'
    if any(f.in_order for f in formats) and not p.is_contiguous():
        return 'their elements lie in memory in another order than their blocks'
    return ''


def why_not_beside(param: Tensor, tensors: Iterable[Tensor]) -> str:
    "The same for what formats keep beside its tensors."
    for t in tensors:
        if not _is_plain(t) or t.device != param.device: return 'scales or bits are elsewhere'
        if not (are_aligned([param, t]) if t.shape == param.shape else t.is_contiguous()):
            return 'scales or bits lie in memory with gaps'
    return ''
