"""A program: how a composition is computed for parameters of one kind.

The parts are recorded on a tape. That becomes a kernel, on the CPU a function in C (`loop`), or
several if some parts run as they are: then a kernel makes what such a part reads, and the next one
goes on with its result. Only the last one writes to parameters and state.

Numbers and sizes are arguments of a kernel, so no other value of a hyperparameter, schedule or
count compiles anything. There is another program for another number of dimensions, if a part looks
at whole tensors; for other sizes, if it asks for them; and for other answers, if it asks its
numbers (`if count > 1`).
"""
from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import torch

from ..composition import Composition
from ..formats import Format, beside, block_of
from ..kinds import Gate
from ..part import Part
from .axes import OWN, Axes, of_stat
from .launches import Launches
from .machines import AnyKernel, kernel_on
from . import operations
from .numbers import Decides, Unrecordable
from .operations import Untranslatable
from .passes import Column
from .recorder import Op, Reduction, Ref
from .tape import Foreign, Operation, Tape, record

__all__ = ['DRAWS', 'Kind', 'Program', 'numbers_of_kernel', 'program_of', 'tape_inside', 'tape_of']

DRAWS = 'random draws'  # the column of what decides random bits
Name: TypeAlias = str | Ref  # of a column: a parameter's tensor, or a value between two kernels


class Kind(NamedTuple):
    "What a program is made for."
    dtypes: tuple[tuple[str, torch.dtype], ...]  # of a parameter's tensors by name, as stored
    computed: torch.dtype                        # float64 if one of them is
    climb: bool
    shapes: tuple[tuple[int, ...], ...]          # in the same order
    order: tuple[int, ...]                       # the axes, as they lie in memory
    formats: tuple[tuple[str, Format], ...] = ()  # of those that are not just tensors
    device: torch.device = torch.device('cpu')

    @property
    def few(self) -> range:
        """The sizes for which a large parameter has a kernel of its own.

        A loop over three elements is unrolled by a compiler that knows that they are three.
        """
        return range(2, 9) if prod(self.shapes[0]) >= 2**14 else range(0)


class Stage(NamedTuple):
    "A kernel, and the part that runs after it, as it is."
    kernel: AnyKernel
    names: list[Name]     # of its columns
    varying: list[Name]   # those that are elsewhere in each step
    makes: dict[Ref, Axes]  # those that are values for the part
    then: Foreign | None  # None after the last kernel


class Program:
    "Kernels, the parts between them, and how sizes are given to them."
    def __init__(self,
        tape: Tape,
        stages: list[Stage],
        kind: Kind,                     # Of the parameters that it is for
        groups: list[tuple[int, ...]],  # Those that are one axis of the kernels
        own: dict[str, Ref],            # Stats of shapes of their own, which parts as they are make
        in_state: dict[Ref, str],       # Stats that parts as they are read where they lie
        sized: Sequence[float]          # The last of the tape's numbers: sizes make them
    ):
        self.tape, self.stages, self.order, self.groups = tape, stages, kind.order, groups
        self.own, self.in_state, self.sized = own, in_state, sized
        self.has_blocks = any(f.in_blocks for _, f in kind.formats)
        self.device = kind.device
        self.is_launched = isinstance(stages[-1].kernel, Launches)  # on a GPU
        self.foreign = {s.then.part: s.then.why for s in stages if s.then}
        # Programs that do the same, for other numbers of dimensions, have the same kernels
        self.key = id(self) if self.foreign else (stages[0].kernel.code, kind.device,
                                                  *stages[0].names)

    def fits(self, numbers: Mapping[str, float]) -> bool:
        "True if these numbers answer all questions as on the tape."
        if not self.tape.questions: return True
        known = {**numbers, **dict(zip(reversed(self.tape.numbers), reversed(self.sized)))}
        row = array('d', [float(known.get(k, 0.)) for k in self.tape.numbers])
        return self.stages[-1].kernel.fits(row)

    def fits_blocks(self, shape: Sequence[int]) -> bool:
        "True if no block of a parameter's state is in two rows of its last axis."
        return len(self.groups) < 2 or self.sizes(shape)[-1] % block_of(tuple(shape)) == 0

    def sizes(self, shape: Sequence[int]) -> list[int]:
        "A parameter's sizes along the axes of the kernels."
        return [prod(shape[a] for a in group) for group in self.groups] or [1]


def numbers_of_kernel(composition: Composition) -> list[str]:
    "A kernel's arguments: hyperparameters, totals, scalars, and stats that are numbers."
    return [*composition.number_args,
            *(p.out for p in composition.number_parts if not isinstance(p, Gate)),
            *(f'prev_{k}' for k in composition.number_stats)]


def _names(composition: Composition, kind: Kind) -> dict[str, str]:
    "What parts call a parameter's tensors."
    as_they_are = 'param', *composition.read_only
    return {k: k if k in as_they_are else f'prev_{k}' for k, _ in kind.dtypes}


def _translatable(op: Op) -> None:
    try: operations.line(op)
    except Untranslatable as e: raise (Decides if op.out.is_number else Unrecordable)(str(e)) from e


def tape_of(
    composition: Composition,
    kind: Kind,
    numbers: Mapping[str, float],
    total: Part | None=None,  # If there is one: the parts that it needs, and itself
    *,
    answers: Sequence[bool] | None=(),
    strict: bool=False  # Is it an error if a part must be recorded and cannot
) -> Tape:
    "The parts of a composition, recorded."
    names = _names(composition, kind)
    formats = dict(kind.formats)
    tensors = {names[k]: torch.empty(shape, device='meta', dtype=kind.computed if k in formats else
                                     _computed(d, kind.computed))
               for (k, d), shape in zip(kind.dtypes, kind.shapes)}
    parts = [*composition.sources[total.out], total] if total else composition.tensor_parts
    made = {p.out for p in parts}  # a gate may come before others
    results = [total.out] if total else ['new_param', *(k for k in composition.tensor_stats
                                                        if k in made)]
    known = {k: numbers.get(k, 0.) for k in numbers_of_kernel(composition)}
    return record(parts, tensors, known, results, climb=kind.climb, check=_translatable,
                  made_in=composition.made_in, answers=answers, strict=strict)


def program_of(composition: Composition, kind: Kind, tape: Tape, total: Part | None=None,
               sized: Sequence[float]=()) -> Program:
    "The program of a tape. Raises NoKernel, with the reason."
    stored, shape = dict(kind.dtypes), kind.shapes[0]
    own = {k for k, other in zip(stored, kind.shapes)
           if other != shape and of_stat(other, shape) == OWN}
    begins = {k: tape.tensors[name] for k, name in _names(composition, kind).items()}
    ends = {total.out: tape.results[total.out]} if total else {
        k: ref for k in composition.written
        if (ref := tape.results.get('new_param' if k == 'param' else k, begins[k])) != begins[k]}
    formats = dict(kind.formats)
    columns: dict[Name, Column] = {k: Column(d, begins[k], ends.get(k), formats.get(k))
                                   for k, d in stored.items() if k not in own}
    columns |= {beside(k, what): Column(d, None, None)
                for k, f in formats.items() for what, d in f.besides.items()}
    if any(f.is_random for f in formats.values()): columns[DRAWS] = Column(torch.int64, None, None)
    if total: columns[total.out] = Column(torch.float64, None, ends[total.out])
    given = {*composition.read_only, total and total.out, DRAWS}  # elsewhere in each step
    groups = _groups(tape, kind)
    few = {i: size for i, g in enumerate(groups) if i and (size := _size(shape, g)) in kind.few}
    stages, known = list[Stage](), dict[Name, Column]()
    in_state = {begins[k]: k for k, dtype in stored.items()  # parts as they are read it there
                if k not in ('param', 'grad') and (k in own or begins[k].dtype == dtype)}
    for foreign in [*(op for op in tape.ops if isinstance(op, Foreign)), None]:
        makes = {r: foreign.axes[r] for r in foreign.reads.values()
                 if r not in in_state and r not in known and r.space != (-1,)} if foreign else {}
        now = _unwritten(columns) if foreign else dict(columns)
        now |= known | {r: Column(r.dtype, None, r) for r in makes}
        names = sorted(now, key=lambda n: isinstance(n, Ref) or n in given)  # these come last
        now = {k: now[k]._replace(besides=_places(k, now[k], names)) for k in names}
        kernel = kernel_on(kind.device, _inside(tape, groups),
                           [_column(c, groups) for c in now.values()],
                           {} if any(f.in_blocks for f in formats.values()) else few)
        varying = [n for n in names if isinstance(n, Ref) or n in given]
        stages.append(Stage(kernel, names, varying, makes, foreign))
        made = [*makes, foreign.out] if foreign else []
        known |= {r: Column(r.dtype, r, None) for r in made if r.space != (-1,)}
    own_ends = {k: ends[k] for k in own if k in ends}
    return Program(tape, stages, kind, groups, own_ends, in_state, sized)


def _places(name: Name, column: Column, names: Sequence[Name]) -> dict[str, int]:
    "The columns of what a format keeps beside one."
    if column.format is None or not isinstance(name, str): return {}
    res = {what: names.index(beside(name, what)) for what in column.format.besides}
    return res | ({'seed': names.index(DRAWS)} if column.format.is_random else {})


def _unwritten(columns: Mapping[Name, Column]) -> dict[Name, Column]:
    "Only the last kernel writes to parameters and state."
    return {k: c._replace(end=None) for k, c in columns.items()}


def _computed(dtype: torch.dtype, wide: torch.dtype) -> torch.dtype:
    "The dtype that the parts see: floats of any kind are of one."
    return wide if dtype.is_floating_point else dtype


# -- the axes of a kernel --------------------------------------------------------------------------

def _size(shape: Sequence[int], group: Sequence[int]) -> int: return prod(shape[a] for a in group)


def _groups(tape: Tape, kind: Kind) -> list[tuple[int, ...]]:
    "Axes that lie side by side, and along which the same values run, are one."
    refs = [*tape.tensors.values(), *tape.results.values(), *(op.out for op in tape.ops)]
    used = {r.along for r in refs if r.along}
    res: list[tuple[int, ...]] = []
    for a in kind.order:
        if kind.shapes[0][a] == 1: continue
        if res and all((res[-1][0] in s) == (a in s) for s in used): res[-1] += a,
        else: res.append((a,))
    return res


def _along(ref: Ref, groups: list[tuple[int, ...]]) -> Ref:
    "The value along the axes of the kernel."
    if ref.along is None: return ref
    return ref._replace(along=frozenset(i for i, g in enumerate(groups) if g[0] in ref.along))


def _column(c: Column, groups: list[tuple[int, ...]]) -> Column:
    return c._replace(begin=c.begin and _along(c.begin, groups),
                      end=c.end and _along(c.end, groups))


def tape_inside(tape: Tape, kind: Kind) -> Tape: return _inside(tape, _groups(tape, kind))


def _inside(tape: Tape, groups: list[tuple[int, ...]]) -> Tape:
    "The tape along the axes of a kernel, without the parts that run as they are."
    def moved(x: Any) -> Any: return _along(x, groups) if isinstance(x, Ref) else x
    ops: list[Operation] = []
    for op in tape.ops:
        if isinstance(op, Reduction): ops.append(Reduction(op.how, moved(op.of), moved(op.out)))
        elif isinstance(op, Op): ops.append(op._replace(args=tuple(map(moved, op.args)),
                                                        out=moved(op.out)))
    return tape._replace(ops=ops, results={k: moved(ref) for k, ref in tape.results.items()})
