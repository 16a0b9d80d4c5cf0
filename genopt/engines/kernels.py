"""Kernels by composition and dtypes: each is made once in a process, and so is the reason why
there is none.

A composition is recorded on a tape. On the CPU that becomes a loop in C (`loop`). On a GPU, or
where an operation has no C, it becomes a kernel by torch.compile (`inductor`).

Numbers are arguments of a kernel, so no value of a hyperparameter, schedule or count ever
compiles anything.
"""
from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..composition import Composition
from ..kinds import Gate
from ..part import Part
from .inductor import GraphKernel
from .layout import Cohort
from .loop import Column, source
from .operations import Untranslatable
from .tape import Tape, record
from .toolchain import Kernel, NoKernel

__all__ = ['addresses_of', 'kernel_in_place', 'kernel_of_parts', 'names_of_numbers']

T = TypeVar('T')

_kernels: WeakKeyDictionary[Composition, dict[Any, Any]] = WeakKeyDictionary()


def addresses_of(tensors: Iterable[Tensor]) -> array[int]:
    "Where tensors begin: how a kernel is told of them."
    return array('Q', [*map(Tensor.data_ptr, tensors)])


def names_of_numbers(composition: Composition) -> list[str]:
    "What a kernel is called with: hyperparameters, totals, scalars, and stats that are numbers."
    return [*composition.hypers, *composition.totals,
            *(p.out for p in composition.number_parts if not isinstance(p, Gate)),
            *(f'prev_{k}' for k in composition.number_stats)]


def kernel_in_place(cohort: Cohort) -> Kernel | GraphKernel:
    "The kernel that updates the cohort's tensors. Raises NoKernel, with the reason."
    work, c = cohort.work, cohort.work.composition
    device = work.params[0].device.type
    stored = {k: _real(t.dtype) for k, t in work.tensors(0).items()}

    def make() -> Kernel | GraphKernel:
        names = {k: f'prev_{k}' for k in stored} | dict(param='param', grad='grad')  # for parts
        computed = {names[k]: cohort.dtype if d.is_floating_point else d for k, d in stored.items()}
        results = {k: 'new_param' if k == 'param' else k for k in stored if k != 'grad'}
        tape = record(c.tensor_parts, computed, names_of_numbers(c), [*results.values()], work.climb)
        columns = {k: Column(d, tape.tensors[names[k]], tape.results.get(results.get(k, '')))
                   for k, d in stored.items()}
        columns['grad'] = columns.pop('grad')  # last: its addresses change in every step
        if device != 'cpu': return GraphKernel(tape, columns)
        try: return _loop(tape, [*columns.values()])
        except Untranslatable: return GraphKernel(tape, columns)

    key = (*stored.values(), cohort.dtype, work.climb, device, torch.get_default_dtype())
    return _remembered(c, key, make)


def kernel_of_parts(
    composition: Composition,
    parts: tuple[Part, ...],             # Some of its tensor parts, in a row
    reads: Mapping[str, torch.dtype],    # The tensors that they begin with
    makes: Sequence[str]                 # The tensors that they make
) -> tuple[Kernel, list[torch.dtype]]:   # The dtypes are those of what it makes
    "A kernel that makes new tensors, on the CPU. Raises NoKernel, with the reason."
    def make() -> tuple[Kernel, list[torch.dtype]]:
        tape = record(parts, reads, names_of_numbers(composition), makes)
        begin = [Column(d, tape.tensors[k], None) for k, d in reads.items()]
        end = [Column(ref.dtype, None, ref) for ref in tape.results.values()]
        return _loop(tape, begin + end), [c.dtype for c in end]

    key = (parts, *reads.items(), *makes, torch.get_default_dtype())
    return _remembered(composition, key, make)


def _remembered(composition: Composition, key: Any, make: Callable[[], T]) -> T:
    known = _kernels.setdefault(composition, {})
    if key not in known:
        try: known[key] = make()
        except NoKernel as e: known[key] = str(e)
    if isinstance(known[key], str): raise NoKernel(known[key])
    found: T = known[key]
    return found


def _loop(tape: Tape, columns: Sequence[Column]) -> Kernel:
    return Kernel(source(tape, columns), [*tape.numbers])


def _real(dtype: torch.dtype) -> torch.dtype: return dtype.to_real() if dtype.is_complex else dtype
