"""Segments: a composition's tensor parts, cut at each that has to run as it is. The stretches
between are compiled.

A part runs as it is if it needs the whole tensor (a norm), or if plain numbers decide what it
does (`if count > 1`), so that no one kernel holds for it.
"""
from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..composition import Composition, Env, walk
from ..contract import RESERVED
from ..part import Part
from ..rehearsal import trial_shape
from ..trial import apart
from .kernels import addresses_of, kernel_of_parts, names_of_numbers
from .layout import PLAIN
from .tape import DecidesByNumbers, record
from .toolchain import NoKernel

__all__ = ['Segment', 'Update', 'is_one_kernel', 'segments']

WHOLE_NUMBERS = torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64


class Segment(NamedTuple):
    "Some of a composition's parts, in a row."
    parts: tuple[Part, ...]
    as_it_is: bool
    reads: tuple[str, ...]  # tensors that it begins with
    makes: tuple[str, ...]


_cut: WeakKeyDictionary[Composition, list[Segment]] = WeakKeyDictionary()


def segments(
    composition: Composition,
    hypers: Mapping[str, Any],   # A number for each hyperparameter
    params: Sequence[Tensor]=()  # What it is for: only shapes and dtypes are read
) -> list[Segment]:
    "The tensor parts, in order. Raises PartError for what cannot be compiled: see `tape`."
    found = _cut.get(composition)  # an equal one's, which may be let go of any moment
    if found is None: found = _cut[composition] = _cut_where_needed(composition, hypers, params)
    return found


def is_one_kernel(composition: Composition, hypers: Mapping[str, Any]) -> bool:
    "True if one kernel can do all of it."
    return composition.elementwise and not any(s.as_it_is for s in segments(composition, hypers))


def _cut_where_needed(
    composition: Composition, hypers: Mapping[str, Any], params: Sequence[Tensor]
) -> list[Segment]:
    dtypes = _dtypes(composition, hypers, params)
    deciding: set[Part] = set()
    while True:
        found = list(_cut_up(composition, deciding))
        try:
            for s in found:
                begin = {k: dtypes[k] for k in s.reads}
                if not s.as_it_is:
                    record(s.parts, begin, names_of_numbers(composition), s.makes)
            return found
        except DecidesByNumbers as e: deciding.add(e.part)


def _dtypes(
    composition: Composition, hypers: Mapping[str, Any], params: Sequence[Tensor]
) -> dict[str, torch.dtype]:
    "In what the parts compute, by name of a tensor."
    dtype = params[0].dtype if params else torch.float32
    wide = torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32
    param = torch.zeros(trial_shape(composition, params), dtype=dtype, device='cpu')
    with apart(): state = composition.init(param, hypers)
    kept = {k: v.dtype if v.dtype in WHOLE_NUMBERS else wide
            for k, v in state.items() if isinstance(v, Tensor)}
    return {**dict.fromkeys(RESERVED, wide), **kept, **{f'prev_{k}': d for k, d in kept.items()}}


def _cut_up(composition: Composition, deciding: set[Part]) -> Iterator[Segment]:
    numbers, has_update = {*names_of_numbers(composition)}, False
    for as_it_is, group in groupby(composition.tensor_parts, lambda p: p.whole or p in deciding):
        parts, reads, makes = tuple(group), dict[str, None](), dict[str, None]()
        for p in parts:
            needs = {p.template, *p.reads}
            if p.out == 'update' and has_update: needs.add('update')  # it adds to this
            if 'new_param' in needs: needs = needs - {'new_param'} | {'param', 'update'}
            reads |= dict.fromkeys(k for k in sorted(needs) if k not in numbers and k not in makes)
            makes[p.out] = None
            has_update = has_update or p.out == 'update'
        yield Segment(parts, as_it_is, tuple(reads), tuple(makes))


class Update:
    "As `composition.update`, with a kernel for what stands between parts that run as they are."
    def __init__(self,
        composition: Composition,
        warn: Callable[[Composition, str], None]  # Is told why something is not compiled
    ):
        self.composition, self.warn = composition, warn

    def __call__(
        self, param: Tensor, grad: Tensor, state: Mapping[str, Any], numbers: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        env = Env.of(param, grad, state, numbers)
        for segment in segments(self.composition, numbers):
            made = None if segment.as_it_is else self._by_kernel(segment, env, numbers)
            if made is None: walk(segment.parts, env)
            else: env |= made
        return env['update'], {k: env[k] for k in self.composition.stats}

    def _by_kernel(
        self, segment: Segment, env: Mapping[str, Any], numbers: Mapping[str, Any]
    ) -> dict[str, Tensor] | None:
        "What a segment makes. None if it has no kernel, or not for these tensors."
        param, tensors = env['param'], {k: env[k] for k in segment.reads if k != 'place'}
        if not all(type(t) in PLAIN and t.shape == param.shape and t.is_cpu
                   for t in tensors.values()): return None
        dtypes = {k: t.dtype for k, t in tensors.items()}
        c = self.composition
        try: kernel, made_dtypes = kernel_of_parts(c, segment.parts, dtypes, segment.makes)
        except NoKernel as e: return self.warn(c, str(e))
        given = [t.resolve_neg().contiguous() for t in tensors.values()]
        made = {k: torch.empty(param.shape, dtype=d, device=param.device)
                for k, d in zip(segment.makes, made_dtypes)}
        kernel(array('q', [param.numel()]), addresses_of([*given, *made.values()]), numbers)
        return made
