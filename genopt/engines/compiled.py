"""The compiled engine: one kernel for a composition and its dtypes, run on any number of tensors of any length.

A composition is recorded once on a tape. On the CPU the tape becomes a loop in C (`native`), which is called once a
step with the addresses of all tensors: they stay where they are. On a GPU, or where C has no word for an operation, it
becomes a kernel of torch.compile's (`inductor`) that runs on blocks. Parts that need the whole tensor run as they are,
and what lies between them is compiled. Whatever a kernel cannot take (sharded, overlapping or strided tensors) and what
cannot be compiled goes to the eager engine.

Numbers are arguments of a kernel, so no value of a hyperparameter, schedule or count ever compiles anything.
"""
from __future__ import annotations

import sys
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import is_
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..composition import Composition
from ..part import RESERVED, Part
from ..rehearsal import trial_shape
from . import eager
from .inductor import Fused
from .layout import PLAIN, Block, Cohort, cohorts, is_dense
from .native import Column, Kernel, NoKernel, Untranslatable, source
from .tape import Tape, record

try: from torch._C._dynamo import guards  # torch's own: compares kinds and layouts of many tensors at once
except ImportError: guards = None  # type: ignore[assignment]

__all__ = ['Compiled', 'check']

Describe: TypeAlias = Callable[[Tensor], str]
WHOLE_NUMBERS = torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64
PLANS = 256  # how many groups, and sets of parameters with gradients in them, are remembered

# By composition, and then by dtypes: its kernels, or the reasons why there are none
_kernels: WeakKeyDictionary[Composition, dict[Any, Any]] = WeakKeyDictionary()


def check(
    composition: Composition,
    hypers: Mapping[str, Any],  # A number for each hyperparameter
    params: Sequence[Tensor]    # What it is for: only shapes and dtypes are read
) -> None:
    "Records its parts, for their mistakes. Raises PartError for what cannot be compiled: see `tape`."
    param = torch.zeros(trial_shape(composition, params), dtype=params[0].dtype if params else torch.float32)
    wide = torch.float64 if param.dtype in (torch.float64, torch.complex128) else torch.float32
    env: dict[str, Any] = dict.fromkeys(RESERVED, wide)
    for k, v in composition.init(param, hypers).items():
        if isinstance(v, Tensor): env[k] = env[f'prev_{k}'] = v.dtype if v.dtype in WHOLE_NUMBERS else wide
    for segment in _segments(composition):
        if not segment.whole: _record(composition, segment, {k: env[k] for k in segment.reads})


class Compiled:
    "The compiled engine of one optimizer. It remembers where tensors lie, and looks again when anything has changed."
    def __init__(self) -> None:
        self._plans: dict[Any, _Plan] = {}
        self._warned = False

    def run(self, composition: Composition, hypers: Mapping[str, float], params: Sequence[Tensor],
            grads: Sequence[Tensor], states: Sequence[dict[str, Any]], describe: Describe,
            maximize: bool=False) -> None:
        "One step of each parameter, as `eager.run`."
        if not params: return
        key = id(composition), maximize, id(params[0]), id(params[-1]), len(params)
        plan = self._plans.get(key)
        if plan is None or not plan.holds(params, grads, states):
            plan = self._plans[key] = _Plan(composition, params, grads, states, maximize, self._warn)
            while len(self._plans) > PLANS: del self._plans[next(iter(self._plans))]
        for unit in plan.units: unit.step(hypers, describe)
        for cohort in cohorts(composition, *plan.rest(params, grads, states)):
            if (numbers := eager.numbers_of(composition, hypers, cohort, describe)) is not None:
                self._run_in_blocks(composition, cohort, numbers, describe, maximize)

    def forget(self) -> None:
        "Lets go of all tensors."
        self._plans.clear()

    def _run_in_blocks(self, composition: Composition, cohort: Cohort, numbers: Mapping[str, Any], describe: Describe,
                       maximize: bool) -> None:
        "What has no single call for all tensors: a GPU's, and parts that need the whole tensor."
        if not composition.elementwise:
            return eager.run_cohort(composition, cohort, numbers, describe, maximize, partial(_update, composition))
        kernel = _kernel_of(composition, cohort, maximize) if cohort.flat else None
        if not isinstance(kernel, Fused): return eager.run_cohort(composition, cohort, numbers, describe, maximize)

        def take(block: Block) -> bool:
            if kernel.failed or (tensors := block.flat()) is None: return False
            try: kernel(tensors, numbers)
            except Exception as e:  # whatever torch.compile may raise
                kernel.failed = f'torch.compile failed: {type(e).__name__}: {" ".join(str(e).split())[:300]}'
                self._warn(composition, kernel.failed)
            return not kernel.failed
        eager.run_cohort(composition, cohort, numbers, describe, maximize, take=take)

    def _warn(self, composition: Composition, why: str) -> None:
        if not self._warned:
            warnings.warn(f'{composition} runs in the eager engine, not compiled: {why}', RuntimeWarning,
                          _callers_level())
        self._warned = True


def _callers_level() -> int:
    "The `stacklevel` of a warning about the code that called genopt and torch."
    level, frame = 2, sys._getframe(2)
    inside = str(Path(__file__).parents[1]), str(Path(torch.__file__).parent)
    while frame.f_back and frame.f_code.co_filename.startswith(inside): level, frame = level + 1, frame.f_back
    return level


# -- one call for all tensors --------------------------------------------------------------------------------

class _Plan:
    "Which kernel runs on which of these parameters, as long as nothing about them changes."
    def __init__(self, composition: Composition, params: Sequence[Tensor], grads: Sequence[Tensor],
                 states: Sequence[dict[str, Any]], maximize: bool, warn: Callable[[Composition, str], None]):
        self.composition, self.params, self.states, self.units = composition, [*params], [*states], list[_Unit]()
        place, taken = {id(p): i for i, p in enumerate(params)}, set[int]()
        for cohort in cohorts(composition, params, grads, states):
            kernel: Any = None
            if composition.elementwise and cohort.flat and cohort.params[0].device.type == 'cpu':
                kernel = _kernel_of(composition, cohort, maximize)
                if isinstance(kernel, str): warn(composition, kernel)
            if not isinstance(kernel, Kernel): continue
            cohort = cohort.only([_fits([p, *[s[k] for k in composition.tensor_stats]], g)
                                  for p, g, s in zip(cohort.params, cohort.grads, cohort.states)])
            if not cohort.params: continue
            self.units.append(_Unit(composition, kernel, cohort, [place[id(p)] for p in cohort.params], len(params)))
            taken |= {*self.units[-1].places}
        self.others = [i for i in range(len(params)) if i not in taken]

    def rest(self, *columns: Sequence[Any]) -> list[list[Any]]:
        "What no kernel takes."
        return [[column[i] for i in self.others] for column in columns]

    def holds(self, params: Sequence[Tensor], grads: Sequence[Tensor], states: Sequence[dict[str, Any]]) -> bool:
        return (all(map(is_, self.params, params)) and all(map(is_, self.states, states)) and
                all(unit.takes(grads) for unit in self.units))


def _fits(tensors: Sequence[Tensor], grad: Tensor) -> bool:
    "Is their memory there, and are they dense, with their elements in one order?"
    p = tensors[0]
    if p.numel() and not all(t.data_ptr() for t in (*tensors, grad)): return False
    return all(t.is_contiguous() for t in tensors) or is_dense(p) and all(t.stride() == p.stride() for t in tensors)


class _Unit:
    "A cohort whose tensors one call of a kernel updates, by their addresses."
    def __init__(self, composition: Composition, kernel: Kernel, cohort: Cohort, places: list[int], among: int):
        self.composition, self.kernel, self.cohort, self.places = composition, kernel, cohort, places
        self.is_all = len(places) == among
        params, states = cohort.params, cohort.states
        self.columns = [params, *[[s[k] for s in states] for k in composition.tensor_stats]]
        self.addresses = [[*map(Tensor.data_ptr, column)] for column in self.columns]
        self.contiguous = [*map(Tensor.is_contiguous, params)]
        self.sizes = array('q', [p.numel() * (1 + p.is_complex()) for p in params])
        self.width = len(self.columns) + 1
        self.table = array('Q', bytes(8 * self.width * len(params)))  # rows: param, grad, stats
        for i, addresses in enumerate(self.addresses): self.table[i + (i > 0)::self.width] = array('Q', addresses)
        self.grad_dtype, self.grads = cohort.grads[0].dtype, cohort.grads
        alike = [p.detach() for p in params]
        guard: Any = getattr(guards, 'TensorGuards', None)  # without it, one by one
        self.expected = guard and guard(*alike, dynamic_dims_sizes=None, dynamic_dims_strides=None)
        if not self.takes(self.grads, chosen=True): raise AssertionError('a cohort whose tensors have just changed')

    def takes(self, grads: Sequence[Tensor], chosen: bool=False) -> bool:
        "Is all as it was, but for the values? Then takes the gradients. (It runs for every tensor in every step.)"
        params, states, c = self.cohort.params, self.cohort.states, self.composition
        for k, column in zip(c.tensor_stats, self.columns[1:]):
            if not all(map(is_, column, [s[k] for s in states])): return False
        if any(len({s[k] for s in states}) > 1 for k in c.number_stats): return False
        if [[*map(Tensor.data_ptr, column)] for column in self.columns] != self.addresses: return False
        if [*map(Tensor.is_contiguous, params)] != self.contiguous: return False
        if not (chosen or self.is_all): grads = [grads[i] for i in self.places]
        if not (self.expected and self.expected.check(*grads)):  # another order of elements, or another kind of tensor
            if any(type(g) not in PLAIN or g.dtype != self.grad_dtype or g.shape != p.shape or g.device != p.device
                   for g, p in zip(grads, params)): return False
            grads = [_like(g, p) for g, p in zip(grads, params)]
        self.grads, addresses = [*grads], _addresses(grads)
        self.table[1::self.width] = addresses
        return 0 not in addresses or all(a or not n for a, n in zip(addresses, self.sizes))

    def step(self, hypers: Mapping[str, float], describe: Describe) -> None:
        numbers = eager.numbers_of(self.composition, hypers, self.cohort, describe)
        if numbers is not None:
            self.kernel(len(self.sizes), self.sizes.buffer_info()[0], self.table.buffer_info()[0], numbers)
        self.grads = self.cohort.grads = []
        if numbers is None: return
        increment_version(self.cohort.params)  # state is never part of a graph
        eager.finish(self.composition, self.cohort, numbers)


def _addresses(tensors: Iterable[Tensor]) -> array[int]: return array('Q', [*map(Tensor.data_ptr, tensors)])


def _like(grad: Tensor, param: Tensor) -> Tensor:
    "The gradient with its elements where its parameter has them."
    if grad.stride() == param.stride() and not grad.is_neg() and not grad.is_conj(): return grad
    return torch.empty_like(param, dtype=grad.dtype).copy_(grad)


# -- parts that need the whole tensor ------------------------------------------------------------------------

class _Segment(NamedTuple):
    "Some of a composition's parts, in a row."
    parts: tuple[Part, ...]
    whole: bool
    reads: tuple[str, ...]  # tensors that it begins with
    makes: tuple[str, ...]


def _segments(composition: Composition) -> list[_Segment]:
    "The tensor parts, cut before and after those that need the whole tensor."
    if composition not in _cut: _cut[composition] = list(_cut_up(composition))
    return _cut[composition]


_cut: WeakKeyDictionary[Composition, list[_Segment]] = WeakKeyDictionary()


def _cut_up(composition: Composition) -> Iterator[_Segment]:
    numbers, has_update = {*_numbers(composition)}, False
    for whole, group in groupby(composition.tensor_parts, lambda p: p.whole):
        parts, reads, makes = tuple(group), dict[str, None](), dict[str, None]()
        for p in parts:
            new_param = composition.reads_new_param and p.out == 'update'
            needs = [p.like, *p.reads, *['update'] * (p.kind == 'step' and has_update), *['param'] * new_param]
            reads |= dict.fromkeys(k for k in needs if k not in numbers and k not in makes)
            makes |= dict.fromkeys([p.out, *['new_param'] * new_param])
            has_update = has_update or p.kind == 'step'
        yield _Segment(parts, whole, tuple(reads), tuple(makes))


def _update(composition: Composition, param: Tensor, grad: Tensor, state: Mapping[str, Any],
            numbers: Mapping[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    "As `composition.update`, with what stands between the whole parts compiled."
    env = {**numbers, 'param': param, 'grad': grad, 'raw_grad': grad, **{f'prev_{k}': v for k, v in state.items()}}
    for segment in _segments(composition):
        tensors = [env[k] for k in segment.reads]
        fits = not segment.whole and all(type(t) in PLAIN and t.shape == param.shape and t.is_cpu for t in tensors)
        found = _kernel_between(composition, segment, tuple(t.dtype for t in tensors)) if fits else None
        if isinstance(found, tuple):
            kernel, dtypes = found
            tensors = [t.contiguous() for t in tensors]
            made = {k: torch.empty(param.shape, dtype=d) for k, d in zip(segment.makes, dtypes)}
            table, size = _addresses([*tensors, *made.values()]), array('q', [param.numel()])
            kernel(1, size.buffer_info()[0], table.buffer_info()[0], numbers)
            env |= made
        else: composition.walk(segment.parts, env)
    return env['update'], {k: env[k] for k in composition.stats}


# -- kernels -------------------------------------------------------------------------------------------------

def _numbers(composition: Composition) -> list[str]:
    return [*composition.hypers, *composition.totals, *(p.out for p in composition.number_parts if p.kind != 'gate'),
            *(f'prev_{k}' for k in composition.number_stats)]


def _kernel_of(composition: Composition, cohort: Cohort, maximize: bool) -> Kernel | Fused | str:
    "The kernel that updates the cohort's tensors in place, or why there is none."
    p, state = cohort.params[0], cohort.states[0]
    stored = {'param': _real(p.dtype), 'grad': _real(cohort.grads[0].dtype),
              **{k: _real(state[k].dtype) for k in composition.tensor_stats}}
    key = (*stored.values(), cohort.wide, maximize, p.device.type)
    known = _kernels.setdefault(composition, {})
    if key not in known:
        names = {k: k if k in ('param', 'grad') else f'prev_{k}' for k in stored}  # what the parts call them
        begin = {names[k]: cohort.wide if d.is_floating_point else d for k, d in stored.items()}
        results = {k: 'new_param' if k == 'param' else k for k in stored if k != 'grad'}
        tape = record(composition, composition.tensor_parts, begin, _numbers(composition), [*results.values()],
                      maximize)
        columns = {k: Column(d, tape.tensors[names[k]], tape.results[results[k]] if k in results else None)
                   for k, d in stored.items()}
        known[key] = _build(tape, columns, p.device.type == 'cpu')
    kernel: Kernel | Fused | str = known[key]
    return kernel


def _build(tape: Tape, columns: Mapping[str, Column], native: bool) -> Kernel | Fused | str:
    try: return Kernel(source(tape, [*columns.values()]), [*tape.numbers]) if native else Fused(tape, columns)
    except Untranslatable: return Fused(tape, columns)
    except NoKernel as e: return str(e)


def _kernel_between(composition: Composition, segment: _Segment, dtypes: tuple[torch.dtype, ...]) -> Any:
    "A kernel from what the segment reads to what it makes, and the dtypes of that; or why there is none."
    known = _kernels.setdefault(composition, {})
    if (key := (segment, dtypes)) not in known:
        tape = _record(composition, segment, dict(zip(segment.reads, dtypes)))
        columns = [*[Column(d, tape.tensors[k], None) for k, d in zip(segment.reads, dtypes)],
                   *[Column(ref.dtype, None, ref) for ref in tape.results.values()]]
        try: known[key] = Kernel(source(tape, columns), [*tape.numbers]), [c.dtype for c in columns if c.end]
        except NoKernel as e: known[key] = str(e)
    return known[key]


def _record(composition: Composition, segment: _Segment, tensors: Mapping[str, torch.dtype]) -> Tape:
    return record(composition, segment.parts, tensors, _numbers(composition), segment.makes)


def _real(dtype: torch.dtype) -> torch.dtype: return dtype.to_real() if dtype.is_complex else dtype
