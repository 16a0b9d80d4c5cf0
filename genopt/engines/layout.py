"""How tensors are laid out for the eager engine: in cohorts, and these in blocks.

The parameters of a *cohort* can be stepped together: their numbers (a step count), dtypes and
device are equal. If every part treats each element alone, neither shapes nor the borders of
tensors matter. So a cohort is handed out as *blocks*: a large tensor is flattened without a copy
and cut; small ones of one shape are stacked, and scattered back when the block is done. A block's
temporaries stay in the processor's cache. On a GPU nothing is cut, and blocks are few.

Nothing is kept between steps, so nothing can be out of date.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..composition import Composition
from ..numbers import read_all
from .work import Tensors, Work

__all__ = ['Block', 'Cohort', 'PLAIN', 'are_aligned', 'are_disjoint', 'blocks', 'cohorts', 'extent',
           'in_order_of', 'single_blocks']

CUT = 2**17      # elements of a block on the CPU
GATHER = 2**13   # a tensor below this is gathered, on the CPU
GPU_BLOCK, GPU_GATHER = 2**23, 2**18
DOUBLE = {torch.float64, torch.complex128}
PLAIN = {Tensor, Parameter}  # not a subclass that is sharded, quantised or fake


@dataclass(slots=True)
class Cohort:
    "Work on parameters that share their numbers, dtypes and device."
    work: Work
    rows: list[int]     # their places in the work that it was cut from
    dtype: torch.dtype  # of the computation: float64 if a parameter or its state is, else float32
    is_flat: bool       # they are plain tensors, and the states have their shapes

    def doing(self, composition: Composition) -> Cohort:
        "The same with other parts."
        return replace(self, work=replace(self.work, composition=composition))

    def as_computed(self, tensors: Tensors) -> dict[str, Tensor]:
        "A parameter's tensors as parts see them: of one dtype, with a gradient that leads down."
        res = {k: t.to(self.dtype) if t.is_floating_point() else t for k, t in tensors.items()}
        if self.work.climb: res['grad'] = -res['grad']
        return res


@dataclass(slots=True)
class Block:
    """Tensors of one shape by name: `param`, `grad`, and stats.

    Some are copies: `scatter` moves the new values to their places.
    """
    tensors: dict[str, Tensor]
    params: Sequence[Tensor]  # those that have elements in it
    place: int=0              # the parameter's, if it is one: see `Work`
    sources: Mapping[str, list[Tensor]] | None=None  # where gathered tensors go back to

    def flattened(self) -> dict[str, Tensor] | None:
        "Views of one dimension. None if these would be copies, or of fewer than two elements."
        tensors = self.tensors.values()
        if self.tensors['param'].numel() < 2: return None
        if not all([t.is_contiguous() and not t.is_neg() for t in tensors]): return None
        return {k: t.view(-1) for k, t in self.tensors.items()}

    def scatter(self) -> None:
        for k, tensors in (self.sources or {}).items():
            torch._foreach_copy_(tensors, self.tensors[k].unbind())


def cohorts(work: Work) -> list[Cohort]:
    "In the order of their first parameters."
    found: dict[Any, list[int]] = {}
    c, columns = work.composition, work.columns
    tensors = [columns[k] for k in c.tensor_stats]
    counts, inputs = [read_all(columns[k]) for k in c.number_stats], [*work.inputs().values()]
    for i, p in enumerate(work.params):
        read = [column[i] for column in inputs]
        state = [column[i] for column in tensors]
        is_plain = {type(p), *map(type, read)} <= PLAIN and not p.is_meta
        pairs = p.is_complex()  # its elements are pairs, and then those of the others must be
        is_flat = is_plain and all([t.shape == p.shape and t.is_complex() == pairs
                                    for t in (*read, *state)])
        dtypes = p.dtype, *[t.dtype for t in state]
        given, own = [t.dtype for t in read], work.own[i].values() if work.own else ()
        key = dtypes, is_flat, type(p), *given, p.device, *[n[i] for n in counts], *own
        found.setdefault(key, []).append(i)
    return [Cohort(work.subset(rows), rows,
                   torch.float64 if DOUBLE & {*dtypes} else torch.float32, is_flat)
            for (dtypes, is_flat, *_), rows in found.items()]


def single_blocks(cohort: Cohort) -> Iterator[Block]:
    """A block for each parameter, with its tensors in their own shape.

    Complex numbers are pairs of reals, as in torch.
    """
    work = cohort.work
    for i, p in enumerate(work.params):
        tensors = work.tensors(i)
        if p.is_complex():
            tensors['grad'] = tensors['grad'].resolve_conj()  # the others are written to
            tensors = {k: torch.view_as_real(t) if t.is_complex() else t
                       for k, t in tensors.items()}
        yield Block(tensors, [p], work.places[i])


def blocks(cohort: Cohort) -> Iterator[Block]:
    """The cohort's elements in blocks. On the CPU, large tensors are cut.

    Where parts need the whole tensor, each parameter is a block. A tensor that does not flatten
    without a copy is a block in its own shape.
    """
    if not (cohort.is_flat and cohort.work.composition.elementwise):
        yield from single_blocks(cohort)
        return
    is_cpu = cohort.work.params[0].device.type == 'cpu'
    size, small = (CUT, GATHER) if is_cpu else (GPU_BLOCK, GPU_GATHER)
    waiting: dict[torch.Size, list[Block]] = defaultdict(list)  # by shape: stacking is cheap
    inputs = cohort.work.composition.read_only
    for one in single_blocks(cohort):
        p = one.params[0]
        if (n := p.numel()) >= small:
            tensors = _flatten(one.tensors, inputs)
            stays_whole = n <= size or not is_cpu or tensors['param'].dim() > 1
            if stays_whole or not are_disjoint(tensors.values()): yield Block(tensors, [p])
            else:
                for piece in zip(*[torch.split(t, size) for t in tensors.values()]):
                    yield Block(dict(zip(tensors, piece)), [p])
        elif n:
            alike = waiting[p.shape]
            alike.append(one)
            if len(alike) * n >= size: yield from _gather(waiting.pop(p.shape), inputs)
    for alike in waiting.values(): yield from _gather(alike, inputs)


def _flatten(tensors: dict[str, Tensor], inputs: Sequence[str]) -> dict[str, Tensor]:
    """Views of one dimension, in the order of the memory.

    Tensors with gaps, or in different orders, stay as they are.
    """
    if not is_dense(p := tensors['param']): return tensors
    tensors = {**tensors, **{k: in_order_of(p, tensors[k]) for k in inputs}}
    if not are_aligned([*tensors.values()]): return tensors
    return {k: t.as_strided((t.numel(),), (1,)) for k, t in tensors.items()}


def in_order_of(param: Tensor, grad: Tensor) -> Tensor:
    "The gradient with its elements where its parameter, which is dense, has them: or a copy."
    if are_aligned([param, grad]) and not grad.is_neg() and not grad.is_conj(): return grad
    return torch.empty_like(param, dtype=grad.dtype).copy_(grad)


def are_aligned(tensors: Sequence[Tensor]) -> bool:
    "True if tensors of one shape fill their memory, all with their elements in the same order."
    if all([t.is_contiguous() for t in tensors]): return True
    first = tensors[0]
    return is_dense(first) and all([t.stride() == first.stride() for t in tensors])


def is_dense(x: Tensor) -> bool:
    "True if its elements fill one stretch of memory, in some order of dimensions."
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(x.stride(), x.shape) if n > 1):
        if stride != expected: return False
        expected *= size
    return True


def _gather(alike: list[Block], inputs: Sequence[str]) -> Iterator[Block]:
    """Several blocks as one, unless they share memory: then each must see the other's result.

    Or one is negated by a mark, which torch cannot write to among others.
    """
    columns = {k: [b.tensors[k] for b in alike] for k in alike[0].tensors}
    places = {k: column for k, column in columns.items() if k not in inputs}
    written = [t for column in places.values() for t in column]
    # Two parameters may have the same gradient, and a fed tensor may be one
    read = {t.data_ptr(): t for k in inputs for t in columns[k]}
    is_marked = any([t.is_neg() for t in written])
    if len(alike) == 1 or is_marked or not are_disjoint([*written, *read.values()]):
        yield from alike
    else:
        stacked = {k: torch.stack(tensors) for k, tensors in columns.items()}
        yield Block(stacked, [b.params[0] for b in alike], sources=places)


def are_disjoint(tensors: Iterable[Tensor]) -> bool:
    "True if no two of these tensors share memory."
    end = -1
    for start, size in sorted((t.data_ptr(), extent(t)) for t in tensors):
        if start < end: return False
        if size: end = start + size
    return True


def extent(t: Tensor) -> int:
    "The bytes from a tensor's first element to its last."
    if t.is_contiguous(): return t.nbytes
    if not t.numel(): return 0
    last = sum((n - 1) * stride for n, stride in zip(t.shape, t.stride()))
    return t.element_size() * (1 + last)
