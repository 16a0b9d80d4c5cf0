"""How tensors are laid out for an engine: in cohorts, and these in blocks.

A *cohort* is what one kernel can run on: parameters whose stats that are numbers (a step count) are equal, with the
same dtypes and device. If every part treats each element alone, neither shapes nor the borders of tensors matter. So a
cohort is handed out as *blocks*: a large tensor is flattened without a copy and cut; small ones of one shape are
stacked, and scattered back when the block is done. A block's temporaries stay in the processor's cache; on a GPU,
nothing is cut, and blocks are few.

Nothing is kept between steps, so nothing can be out of date.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..composition import Composition

__all__ = ['Cohort', 'Block', 'PLAIN', 'cohorts', 'blocks', 'rows', 'single', 'is_dense']

CUT = 2**17      # elements of a block on the CPU
GATHER = 2**13   # a tensor below this is gathered, on the CPU
GPU_BLOCK, GPU_GATHER = 2**23, 2**18
PLAIN = {Tensor, Parameter}  # not a subclass that is sharded, quantised or fake


@dataclass
class Cohort:
    "Parameters that share their numbers, dtypes and device, with their states and gradients."
    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Any]]
    wide: torch.dtype    # what its step is computed in: float64 if a parameter or its state is, else float32
    flat: bool           # may it be cut and joined: are these plain tensors, the states of their parameters' shapes?

    def only(self, chosen: Sequence[bool]) -> Cohort:
        "Those parameters for which `chosen` is true."
        return Cohort(list(compress(self.params, chosen)), list(compress(self.grads, chosen)),
                      list(compress(self.states, chosen)), self.wide, self.flat)


@dataclass(slots=True)
class Block:
    "Tensors of one shape by name: `param`, `grad`, and stats. What is written into them, `scatter` puts in its place."
    tensors: dict[str, Tensor]
    params: Sequence[Tensor]                         # those that have elements in it
    sources: Mapping[str, list[Tensor]] | None=None  # where gathered tensors came from

    def flat(self) -> dict[str, Tensor] | None:
        "The tensors with one dimension, if that takes no copy and there are at least two elements."
        if self.tensors['param'].numel() < 2 or not all([t.is_contiguous() for t in self.tensors.values()]): return None
        return {k: t.view(-1) for k, t in self.tensors.items()}

    def scatter(self) -> None:
        for k, tensors in (self.sources or {}).items():
            if k != 'grad': torch._foreach_copy_(tensors, self.tensors[k].unbind())


def cohorts(
    composition: Composition,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],          # One per parameter
    states: Sequence[dict[str, Any]]  # One per parameter
) -> list[Cohort]:
    "In the order of their first parameters."
    found: dict[Any, Cohort] = {}
    names = composition.tensor_stats
    for p, g, state in zip(params, grads, states):
        tensors = [state[k] for k in names]
        plain = type(p) in PLAIN and type(g) in PLAIN and not p.is_meta
        flat = plain and all([t.shape == p.shape for t in (g, *tensors)])
        key = (type(p), p.dtype, g.dtype, p.device, flat, *[t.dtype for t in tensors],
               *[state[k] for k in composition.number_stats])
        if (cohort := found.get(key)) is None:
            double = any(t.dtype in (torch.float64, torch.complex128) for t in (p, *tensors))
            cohort = found[key] = Cohort([], [], [], torch.float64 if double else torch.float32, flat)
        cohort.params.append(p)
        cohort.grads.append(g)
        cohort.states.append(state)
    return list(found.values())


def rows(cohort: Cohort, stats: Sequence[str]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    "Each parameter and its tensors by name, in their own shape. Complex numbers are pairs of reals, as in torch."
    for p, g, state in zip(cohort.params, cohort.grads, cohort.states):
        tensors = {'param': p, 'grad': g, **{k: state[k] for k in stats}}
        if p.is_complex():
            tensors = {k: torch.view_as_real(t.resolve_conj()) if t.is_complex() else t for k, t in tensors.items()}
        yield p, tensors


def single(composition: Composition, cohort: Cohort) -> Iterator[Block]:
    "Each parameter is a block."
    return (Block(tensors, [p]) for p, tensors in rows(cohort, composition.tensor_stats))


def blocks(
    composition: Composition,
    cohort: Cohort,
    cut: bool=True  # Cut large tensors? Only on the CPU
) -> Iterator[Block]:
    "The cohort's elements in blocks. A tensor that does not flatten without a copy is a block in its own shape."
    cpu = cohort.params[0].device.type == 'cpu'
    size, small = (CUT, GATHER) if cpu else (GPU_BLOCK, GPU_GATHER)
    waiting: dict[torch.Size, list[Block]] = defaultdict(list)  # by shape: stacking is cheap
    for one in single(composition, cohort):
        p = one.params[0]
        if (n := p.numel()) >= small:
            tensors = _flatten(one.tensors)
            if n <= size or not (cut and cpu) or tensors['param'].dim() > 1: yield Block(tensors, [p])
            else:
                for piece in zip(*[torch.split(t, size) for t in tensors.values()]):
                    yield Block(dict(zip(tensors, piece)), [p])
        elif n:
            alike = waiting[p.shape]
            alike.append(one)
            if len(alike) * n >= size: yield _gather(waiting.pop(p.shape))
    for alike in waiting.values(): yield _gather(alike)


def _flatten(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    "One-dimensional views in storage order, if all of them lie dense and in the same order; else as they are."
    p = tensors['param']
    if all([t.is_contiguous() for t in tensors.values()]): return {k: t.view(-1) for k, t in tensors.items()}
    if not is_dense(p): return tensors
    if tensors['grad'].stride() != p.stride():
        tensors = {**tensors, 'grad': torch.empty_strided(p.shape, p.stride(), dtype=tensors['grad'].dtype,
                                                          device=p.device).copy_(tensors['grad'])}
    if any(t.stride() != p.stride() for t in tensors.values()): return tensors
    return {k: t.as_strided((t.numel(),), (1,)) for k, t in tensors.items()}


def is_dense(x: Tensor) -> bool:
    "Do its elements fill one stretch of memory, in some order of dimensions?"
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(x.stride(), x.shape) if n > 1):
        if stride != expected: return False
        expected *= size
    return True


def _gather(alike: list[Block]) -> Block:
    if len(alike) == 1: return alike[0]
    columns = {k: [b.tensors[k] for b in alike] for k in alike[0].tensors}
    return Block({k: torch.stack(tensors) for k, tensors in columns.items()}, [b.params[0] for b in alike], columns)
