"""The programs of a composition: each is made once in a process, when it is first needed."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from ..composition import Composition
from ..formats import Format
from ..part import Part
from ..shapes import trial_shape
from ..trial import Trial, apart
from .axes import OWN, of_stat
from .layout import DOUBLE
from .numbers import Unrecordable
from .program import Kind, Program, program_of, tape_inside, tape_of
from .sized import constants, outline, with_arguments
from .tape import Tape
from .toolchain import NoKernel

__all__ = ['check_parts', 'kind_of_tensors', 'program_for']

FLAT = 5,     # the shape on which parts are recorded that treat each element alone
CHECKED = 64  # combinations of answers that parts are recorded with before the first step
ANSWERS = 16  # programs for one kind of parameters; if numbers ask for more, parts run as they are

_programs: WeakKeyDictionary[Composition, dict[Any, Any]] = WeakKeyDictionary()


def _programs_of(composition: Composition) -> dict[Any, Any]:
    "What equal compositions share. It lives as long as the first, which the others keep alive."
    known = _programs.setdefault(composition, {})
    first = known.setdefault('first', ref(composition))()
    if first is not composition: vars(composition)['first'] = first
    return known


def program_for(composition: Composition, kind: Kind, numbers: Mapping[str, float],
                total: Part | None=None, strict: bool=False) -> Program:
    """The program for parameters of a kind, and such numbers.

    Raises NoKernel, with the reason; with `strict`, PartError for a part that must be compiled.
    """
    known = _programs_of(composition)
    keys = [(total, k, strict, torch.get_default_dtype()) for k in (_of_any_size(kind), kind)]
    for key in keys:
        for found in known.get(key, ()):
            if isinstance(found, partial): raise found()
            if found.fits(numbers): return cast(Program, found)
    try:
        answers = () if len(known.get(keys[0], ())) < ANSWERS else None
        tape = tape_of(composition, kind, numbers, total, answers=answers, strict=strict)
        if tape.asked_sizes: made = _sized(known, composition, kind, tape, total)
        else: made = program_of(composition, kind, tape, total)
    except (NoKernel, Unrecordable) as e:
        why = type(e) if isinstance(e, NoKernel) else NoKernel
        known.setdefault(keys[0], []).append(partial(why, str(e)))  # an error would keep frames
        raise why(str(e)) from None
    known.setdefault(keys[tape.asked_sizes], []).append(made)
    return made


def _sized(known: dict[Any, Any], composition: Composition, kind: Kind, tape: Tape,
           total: Part | None) -> Program:
    "A program for these sizes, with the kernels of others if just constants differ."
    here, key = constants(tape), (total, kind.dtypes, outline(tape_inside(tape, kind)))
    there, places = known.get(key, (here, frozenset()))
    places |= {n for n, (a, b) in enumerate(zip(here, there)) if a != b}
    known[key] = there, places
    return program_of(composition, kind, with_arguments(tape, places), total,
                      [here[n] for n in sorted(places)])


def check_parts(composition: Composition, hypers: Mapping[str, Any], params: Sequence[Tensor],
                strict: bool) -> None:
    """Records the parts, for each answer that numbers may give them.

    Raises PartError for a part that looks at other elements without saying so, whatever the
    rehearsal has seen of it; with `strict`, for one that must be compiled and cannot. Only the
    shapes and dtypes of `params` are read.
    """
    known = _programs_of(composition)
    if known.get(key := ('checked', strict)): return
    dtype = params[0].dtype if params else torch.float32
    param = torch.zeros(trial_shape(composition, params), dtype=dtype, device='cpu')
    with apart(), Trial(composition).watch:  # which draws random numbers of its own
        state = composition.init(param, hypers)
        numbers = composition.numbers(state, {**hypers, **composition.stand_ins,
                                              **composition.numbers_of(param)})
    tensors = dict(param=param, **{k: state[k] for k in composition.tensor_stats})
    tensors |= dict.fromkeys(composition.read_only, param)
    kind = kind_of_tensors(composition, tensors)
    waiting: list[tuple[bool, ...]] = [()]
    for _ in range(CHECKED):
        if not waiting: break
        given = waiting.pop()
        tape = tape_of(composition, kind, numbers, answers=given, strict=strict)
        found = [answer for _, answer in tape.questions]
        waiting += [(*found[:n], not found[n]) for n in range(len(given), len(found))]
    known[key] = True


def kind_of_tensors(composition: Composition, tensors: Mapping[str, Tensor], climb: bool=False,
                    formats: Mapping[str, Format]={}) -> Kind:
    "The kind of a parameter with these tensors: `param`, its stats and `grad`."
    dtypes = {k: t.dtype for k, t in tensors.items()}
    is_double = DOUBLE & {d for k, d in dtypes.items() if k not in composition.read_only}
    shapes: list[tuple[int, ...]] = [FLAT] * len(tensors)
    order = [0]
    if not composition.is_flat:
        real = [torch.view_as_real(t) if t.is_complex() else t
                for t in (t.resolve_conj() for t in tensors.values())]
        shapes, strides = [tuple(t.shape) for t in real], real[0].stride()
        order = sorted(range(real[0].dim()), key=lambda a: -strides[a])
    return Kind(tuple((k, d.to_real()) for k, d in dtypes.items()),
                torch.float64 if is_double else torch.float32, climb,
                tuple(shapes), tuple(order), tuple(formats.items()), tensors['param'].device)


def _of_any_size(kind: Kind) -> Kind:
    "The same for all sizes: of these only 1, few, and those of no parameter's axis are told."
    few = kind.few
    def shown(n: int) -> int: return n if n < 2 or n in few else -1
    return kind._replace(shapes=tuple(
        s if of_stat(s, kind.shapes[0]) == OWN else tuple(map(shown, s)) for s in kind.shapes))
