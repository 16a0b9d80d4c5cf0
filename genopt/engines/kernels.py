"""Kernels of a composition: where it is cut, and the kernel of each segment.

A part runs as it is if it needs the whole tensor (a norm), or if plain numbers decide what it does
(`if count > 1`), so that no one kernel holds for it. The segments between such parts are recorded
on a tape. On the CPU that becomes a loop in C (`loop`). On a GPU, or where an operation has no C,
it becomes a kernel by torch.compile (`inductor`).

Numbers are arguments of a kernel, so no value of a hyperparameter, schedule or count ever
compiles anything. A kernel is made once in a process. If that fails, the reason is remembered.
"""
from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import RESERVED
from ..kinds import Gate
from ..part import Part
from ..rehearsal import trial_shape
from ..trial import apart
from .inductor import GraphKernel
from .layout import DOUBLE, Cohort
from .loop import Column, source
from .operations import Untranslatable
from .tape import DecidesByNumbers, Tape, record
from .toolchain import Kernel, NoKernel
from .work import Values

__all__ = ['Segment', 'addresses_of', 'is_one_kernel', 'kernel_in_place', 'kernel_of_segment',
           'segments']

T = TypeVar('T')
Dtypes: TypeAlias = Mapping[str, torch.dtype]  # of tensors, by name

_kernels: WeakKeyDictionary[Composition, dict[Any, Any]] = WeakKeyDictionary()


class Segment(NamedTuple):
    "Some of a composition's parts, in a row."
    parts: tuple[Part, ...]
    as_it_is: bool
    reads: tuple[str, ...]  # the tensors that it begins with
    makes: tuple[str, ...]


def segments(composition: Composition, hypers: Values, params: Sequence[Tensor]=()
             ) -> list[Segment]:
    """The tensor parts, in order. Of `params`, only shapes and dtypes are read.

    Raises PartError for a part that cannot be compiled: see `tape`.
    """
    def cut() -> list[Segment]:
        dtypes, deciding = _dtypes(composition, hypers, params), set[Part]()
        while True:
            found = [*_cut(composition, deciding)]
            try:
                for s in found:
                    if not s.as_it_is: _record(composition, s, {k: dtypes[k] for k in s.reads})
                return found
            except DecidesByNumbers as e: deciding.add(e.part)
    return _remembered(composition, 'segments', cut)


def is_one_kernel(composition: Composition, hypers: Values) -> bool:
    "True if one kernel can do all of it."
    return composition.elementwise and not any(s.as_it_is for s in segments(composition, hypers))


def kernel_in_place(cohort: Cohort) -> Kernel | GraphKernel:
    "The kernel that updates the cohort's tensors. Raises NoKernel, with the reason."
    work, c = cohort.work, cohort.work.composition
    device = work.params[0].device.type
    stored = {k: t.dtype.to_real() for k, t in work.tensors(0).items()}

    def make() -> Kernel | GraphKernel:
        names = {k: f'prev_{k}' for k in stored} | dict(param='param', grad='grad')  # for parts
        computed = {names[k]: _computed(d, cohort.dtype) for k, d in stored.items()}
        results = {k: 'new_param' if k == 'param' else k for k in stored if k != 'grad'}
        tape = record(c.tensor_parts, computed, _numbers(c), [*results.values()], work.climb)
        columns = {k: Column(d, tape.tensors[names[k]], tape.results.get(results.get(k, '')))
                   for k, d in stored.items()}
        if device != 'cpu': return GraphKernel(tape, columns)
        try: return _loop(tape, columns.values())
        except Untranslatable: return GraphKernel(tape, columns)

    key = (*stored.values(), cohort.dtype, work.climb, device, torch.get_default_dtype())
    return _remembered(c, key, make)


def kernel_of_segment(composition: Composition, segment: Segment, reads: Dtypes
                      ) -> tuple[Kernel, Dtypes]:
    """A kernel on the CPU that makes new tensors, and their dtypes.

    `reads` has the dtypes of the tensors that it begins with. Raises NoKernel, with the reason.
    """
    def make() -> tuple[Kernel, Dtypes]:
        tape = _record(composition, segment, reads)
        begin = [Column(d, tape.tensors[k], None) for k, d in reads.items()]
        end = [Column(ref.dtype, None, ref) for ref in tape.results.values()]
        return _loop(tape, begin + end), {k: ref.dtype for k, ref in tape.results.items()}

    key = (segment, *reads.items(), torch.get_default_dtype())
    return _remembered(composition, key, make)


def addresses_of(tensors: Iterable[Tensor]) -> array[int]:
    "Where tensors begin, as a kernel is told."
    return array('Q', [*map(Tensor.data_ptr, tensors)])


def _remembered(composition: Composition, key: Any, make: Callable[[], T]) -> T:
    known = _kernels.setdefault(composition, {})
    if key not in known:
        try: known[key] = make()
        except NoKernel as e: known[key] = str(e)
    if isinstance(known[key], str): raise NoKernel(known[key])
    found: T = known[key]
    return found


def _record(composition: Composition, segment: Segment, reads: Dtypes) -> Tape:
    return record(segment.parts, reads, _numbers(composition), segment.makes)


def _loop(tape: Tape, columns: Iterable[Column]) -> Kernel:
    return Kernel(source(tape, [*columns]), [*tape.numbers])


def _numbers(composition: Composition) -> list[str]:
    "A kernel's arguments: hyperparameters, totals, scalars, and stats that are numbers."
    return [*composition.hypers, *composition.totals,
            *(p.out for p in composition.number_parts if not isinstance(p, Gate)),
            *(f'prev_{k}' for k in composition.number_stats)]


def _computed(dtype: torch.dtype, wide: torch.dtype) -> torch.dtype:
    "The dtype that the parts see: floats of any kind are of one."
    return wide if dtype.to_real().is_floating_point else dtype


def _dtypes(composition: Composition, hypers: Values, params: Sequence[Tensor]) -> Dtypes:
    "The dtypes that the parts see, by name of a tensor."
    dtype = params[0].dtype if params else torch.float32
    wide = torch.float64 if dtype in DOUBLE else torch.float32
    param = torch.zeros(trial_shape(composition, params), dtype=dtype, device='cpu')
    with apart(): state = composition.init(param, hypers)
    kept = {k: _computed(state[k].dtype, wide) for k in composition.tensor_stats}
    return {**dict.fromkeys(RESERVED, wide), **kept, **{f'prev_{k}': d for k, d in kept.items()}}


def _cut(composition: Composition, deciding: set[Part]) -> Iterator[Segment]:
    numbers, made = {*_numbers(composition)}, set[str]()
    for as_it_is, group in groupby(composition.tensor_parts, lambda p: p.whole or p in deciding):
        parts, reads, makes = tuple(group), dict[str, None](), dict[str, None]()
        for p in parts:
            needs = {p.template, *p.reads} | {p.out} & made  # a step adds to the update so far
            if 'new_param' in needs: needs = needs - {'new_param'} | {'param', 'update'}
            reads |= dict.fromkeys(k for k in sorted(needs - numbers) if k not in makes)
            makes[p.out] = None
            made.add(p.out)
        yield Segment(parts, as_it_is, tuple(reads), tuple(makes))
