"""Segments: a composition's tensor parts, cut at each that has to run as it is. The stretches between are compiled.

What runs as it is needs the whole tensor (a norm), or lets plain numbers decide what it does (`if count > 1`), so that
no one kernel holds for it.
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
from ..kinds import Gate
from ..part import Part
from ..rehearsal import trial_shape
from ..trial import apart
from .layout import PLAIN
from .native import Column, Kernel, NoKernel, source
from .tape import DecidesByNumbers, Tape, record

__all__ = ['Segment', 'is_one', 'numbers_of', 'segments', 'update']

WHOLE_NUMBERS = torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64


class Segment(NamedTuple):
    "Some of a composition's parts, in a row."
    parts: tuple[Part, ...]
    as_it_is: bool
    reads: tuple[str, ...]  # tensors that it begins with
    makes: tuple[str, ...]


# By composition: its segments, and kernels for them by the dtypes of what they read, or why there are none
_cut: WeakKeyDictionary[Composition, list[Segment]] = WeakKeyDictionary()
_kernels: WeakKeyDictionary[Composition, dict[Any, Any]] = WeakKeyDictionary()


def segments(
    composition: Composition,
    hypers: Mapping[str, Any],   # A number for each hyperparameter
    params: Sequence[Tensor]=()  # What it is for: only shapes and dtypes are read
) -> list[Segment]:
    "The tensor parts, in order. Raises PartError for what cannot be compiled: see `tape`."
    found = _cut.get(composition)  # an equal one's, which may be let go of any moment
    if found is None: found = _cut[composition] = _cut_where_needed(composition, hypers, params)
    return found


def is_one(composition: Composition, hypers: Mapping[str, Any]) -> bool:
    "True if one kernel can do all of it."
    return composition.elementwise and not any(s.as_it_is for s in segments(composition, hypers))


def numbers_of(composition: Composition) -> list[str]:
    "What a kernel is called with: names of hyperparameters, totals, scalars, and stats that are numbers."
    return [*composition.hypers, *composition.totals, *(p.out for p in composition.number_parts if not isinstance(p, Gate)),
            *(f'prev_{k}' for k in composition.number_stats)]


def _cut_where_needed(composition: Composition, hypers: Mapping[str, Any], params: Sequence[Tensor]) -> list[Segment]:
    dtype = params[0].dtype if params else torch.float32
    wide = torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32
    env: dict[str, Any] = dict.fromkeys(RESERVED, wide)
    shape = trial_shape(composition, params)
    with apart(): state = composition.init(torch.zeros(shape, dtype=dtype, device='cpu'), hypers)
    for k, v in state.items():
        if isinstance(v, Tensor): env[k] = env[f'prev_{k}'] = v.dtype if v.dtype in WHOLE_NUMBERS else wide
    deciding: set[Part] = set()
    while True:
        found = list(_cut_up(composition, deciding))
        try:
            for s in found:
                if not s.as_it_is: _record(composition, s, {k: env[k] for k in s.reads})
            return found
        except DecidesByNumbers as e: deciding.add(e.part)


def _cut_up(composition: Composition, deciding: set[Part]) -> Iterator[Segment]:
    numbers, has_update = {*numbers_of(composition)}, False
    for as_it_is, group in groupby(composition.tensor_parts, lambda p: p.whole or p in deciding):
        parts, reads, makes = tuple(group), dict[str, None](), dict[str, None]()
        for p in parts:
            needs = {p.template, *p.reads, *['update'] * (p.out == 'update' and has_update)}
            if 'new_param' in needs: needs = needs - {'new_param'} | {'param', 'update'}
            reads |= dict.fromkeys(k for k in sorted(needs) if k not in numbers and k not in makes)
            makes |= dict.fromkeys([p.out])
            has_update = has_update or p.out == 'update'
        yield Segment(parts, as_it_is, tuple(reads), tuple(makes))


def update(
    composition: Composition,
    warn: Callable[[Composition, str], None],  # Is told why something is not compiled
    param: Tensor,
    grad: Tensor,
    state: Mapping[str, Any],
    numbers: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Any]]:
    "As `composition.update`, with what stands between parts that run as they are compiled."
    env = Env.of(param, grad, state, numbers)
    for segment in segments(composition, numbers):
        tensors = [env[k] for k in segment.reads if k != 'place']
        fits = not segment.as_it_is and all(type(t) in PLAIN and t.shape == param.shape and t.is_cpu for t in tensors)
        found = _kernel(composition, segment, tuple(t.dtype for t in tensors)) if fits else None
        if isinstance(found, str): warn(composition, found)
        if isinstance(found, tuple):
            kernel, dtypes = found
            tensors = [t.resolve_neg().contiguous() for t in tensors]
            made = {k: torch.empty(param.shape, dtype=d, device=param.device) for k, d in zip(segment.makes, dtypes)}
            table = array('Q', [*map(Tensor.data_ptr, (*tensors, *made.values()))])
            size = array('q', [param.numel()])
            kernel(1, size.buffer_info()[0], table.buffer_info()[0], numbers)
            env |= made
        else: walk(segment.parts, env)
    return env['update'], {k: env[k] for k in composition.stats}


def _kernel(composition: Composition, segment: Segment, dtypes: tuple[torch.dtype, ...]) -> Any:
    "A kernel from what the segment reads to what it makes, and the dtypes of that; or why there is none."
    known = _kernels.setdefault(composition, {})
    if (key := (segment, dtypes, torch.get_default_dtype())) not in known:
        tape = _record(composition, segment, dict(zip(segment.reads, dtypes)))
        columns = [*[Column(d, tape.tensors[k], None) for k, d in zip(segment.reads, dtypes)],
                   *[Column(ref.dtype, None, ref) for ref in tape.results.values()]]
        try: known[key] = Kernel(source(tape, columns), [*tape.numbers]), [c.dtype for c in columns if c.end]
        except NoKernel as e: known[key] = str(e)
    return known[key]


def _record(composition: Composition, segment: Segment, tensors: Mapping[str, torch.dtype]) -> Tape:
    return record(segment.parts, tensors, numbers_of(composition), segment.makes)
