"""A tape: the operations of a composition on one parameter, recorded by running its parts once.

The parts run on tensors without elements (of the device `meta`), and every torch operation that
they call is recorded: its name, its arguments, the dtype of its result, and the axes of the
parameter along which the result runs. That of a reduction runs along fewer. Hyperparameters and
scalars are 0-dim tensors on the tape (`numbers`), so it holds for all their values that give the
same answers to the parts' questions (`if count > 1`). The tape keeps these and their answers.

A part cannot be recorded if it asks for the value of a tensor (`if`, `.item()`), writes into one,
or calls an operation that has no place in a loop, such as a matrix product. If it says
`whole=True`, or asks for a number itself (`math.sqrt(count)`), it runs as it is: the tape has it as
a `Foreign` operation. Otherwise the error names the part and its line.
"""
from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ..env import Env, walk
from ..contract import PartError
from ..kinds import Made
from ..part import Part
from .axes import OWN, Axes, of_param, of_stat
from .numbers import Crosses, Decides, Numbers, Unrecordable
from .recorder import Op, Recorder, Reduction, Ref
from .shield import shielded, uncollected

__all__ = ['Foreign', 'Operation', 'Tape', 'record']


class Foreign(NamedTuple):
    "A part that runs as it is, on what it reads."
    part: Part
    reads: dict[str, Ref]  # the tensors among it
    out: Ref
    axes: dict[Ref, Axes]  # of these
    why: str


Operation: TypeAlias = Op | Reduction | Foreign


class Tape(NamedTuple):
    "Operations in order, the values that they begin with, and their results."
    ops: list[Operation]
    tensors: dict[str, Ref]
    numbers: dict[str, Ref]
    results: dict[str, Ref]
    questions: list[tuple[Ref, bool]]  # that its numbers were asked, and the answers
    asked_sizes: bool                  # True if it holds only for a parameter of these sizes


def record(
    parts: Sequence[Part],           # A total may be the last
    tensors: Mapping[str, Tensor],   # Those that they begin with, on `meta`: first the parameter
    numbers: Mapping[str, float],    # Hyperparameters, totals, scalars, stats that are numbers
    results: Sequence[str],          # The tensors that are wanted, made by the parts
    *,
    climb: bool=False,               # True if the gradient leads up
    check: Callable[[Op], None]=lambda op: None,  # Raises Unrecordable for what a kernel cannot do
    made_in: Mapping[Part, torch.dtype]={},  # The dtypes of parts that return another one
    answers: Sequence[bool] | None=(),  # See `Numbers`; None: parts that ask run as they are
    strict: bool=True                # False if any part may run as it is
) -> Tape:
    """Runs a composition's tensor parts, or some of them in a row, once.

    Raises PartError for a part that cannot be recorded.
    """
    plain = Numbers(answers)
    shape = next(iter(tensors.values())).shape
    recorder = Recorder(plain, shape, check)

    def is_off(part: Part, env: Mapping[str, Any]) -> bool:
        "Asks a scalar that is its switch."
        if not part.is_switched or plain.answers is None: return False
        if part.switch not in off:
            with plain: off[part.switch] = bool(env[part.switch] == 0)
        return off[part.switch]

    def run(part: Part, env: Mapping[str, Any]) -> Any:
        if is_off(part, env): return part.nothing(env)
        begun = len(recorder.ops), len(plain.questions), plain.asked_sizes
        recorder.whole = part.whole
        try:
            if 'place' in part.reads and 'place' not in numbers:
                raise Decides('it reads its `place`')
            if odd & {*part.reads}: raise Decides('it reads what a part makes that runs as it is')
            with plain:
                out = part.fn(*[env[n] for n in part.reads],
                              **{k: env[n] for k, n in part.keywords})
            if isinstance(out, tuple): raise Unrecordable('it makes several tensors')
            if not isinstance(out, Tensor): raise part.bad_result(out, env)
            recorder.ref(out)
            if not is_total(part) and not (isinstance(part, Made) and part.whole):
                like = env[part.template]
                if recorder.axes(out) != recorder.axes(like) or out.shape != like.shape:
                    raise Unrecordable('its result does not run along the axes of '
                                       f'`{part.template}`')
        except Exception as e:
            why = str(e) if isinstance(e, RuntimeError) else f'{type(e).__name__}: {e}'
            if strict and not part.whole and not isinstance(e, Decides):
                raise PartError(f'`{part.label}` cannot be compiled{_line(part, e)}: {why}') from e
            if isinstance(e, Crosses):
                raise PartError(f'`{part.label}`{_line(part, e)}: {why}') from e
            if is_total(part): raise Unrecordable(f'`{part.label}`: {why}') from e
            del recorder.ops[begun[0]:], plain.questions[begun[1]:]
            plain.asked_sizes = begun[2]
            out = as_it_is(part, env, why)
        if not part.switch or part.is_switched and plain.answers is not None: return out
        return torch.where(env[part.switch] == 0, part.nothing(env), out)

    def as_it_is(part: Part, env: Mapping[str, Any], why: str) -> Tensor:
        reads = {k: env[k] for k in part.reads if k != 'place'}
        refs = {k: recorder.ref(v) for k, v in reads.items()}
        with _disable_current_modes():
            like = env[part.template]
            out = torch.empty(like.shape, dtype=made_in.get(part, like.dtype), device='meta')
        ref = recorder.add(out, axes_of(part, like))
        tensors = {k: r for k, r in refs.items() if not r.is_number}
        axes = {r: recorder.axes(reads[k]) or () for k, r in tensors.items()}
        axes[ref] = axes_of(part, like) or ()
        recorder.ops.append(Foreign(part, tensors, ref, axes, why.partition(', and a kernel')[0]))
        return out

    def axes_of(part: Part, like: Tensor) -> Axes | None:
        if not isinstance(part, Made) or not part.whole: return recorder.axes(like)
        odd.add(part.out)
        return OWN

    off = dict[str, bool]()  # the scalars that are switches, and if they are 0
    odd = set[str]()  # tensors of any shape, of which only parts that run as they are know more
    with (shielded(), uncollected(), _disable_current_modes(), torch.inference_mode(False),
          torch.no_grad()):
        env = Env(tensors)
        env |= {k: torch.tensor(float(v), dtype=torch.float64, device='cpu')
                for k, v in numbers.items()}
        begin = {k: recorder.add(v, _axes(v, shape) if k in tensors else None)
                 for k, v in env.items()}
        recorder.fixed |= {*map(id, env.values())}
        for k, v in numbers.items(): plain.stand(env[k], type(v))
        with recorder:
            if climb: env['grad'] = -env['grad']
            if 'grad' in env: env.setdefault('raw_grad', env['grad'])
            walk([p for p in parts if not is_total(p)], env, run,
                 {n for p in filter(is_total, parts) for n in p.reads})
            for p in filter(is_total, parts): env[p.out] = run(p, env)
            made = {k: recorder.ref(env[k]) for k in results}
    return Tape(_needed(recorder.ops, made.values()), {k: begin[k] for k in tensors},
                {k: begin[k] for k in numbers}, made,
                [(recorder.ref(x), answer) for x, answer in plain.questions], plain.asked_sizes)


def is_total(part: Part) -> bool: return part.is_number


def _needed(ops: Sequence[Operation], results: Iterable[Ref]) -> list[Operation]:
    "The operations without parts that run as they are and make a tensor that nothing reads."
    found, read = list[Operation](), {*results}
    for op in reversed(ops):
        if isinstance(op, Foreign):
            if isinstance(op.part, Made) and op.out not in read: continue
            read |= {*op.reads.values()}
        elif isinstance(op, Reduction): read.add(op.of)
        else: read |= {a for a in op.args if isinstance(a, Ref)}
        found.insert(0, op)
    return found


def _axes(x: Tensor, shape: Sequence[int]) -> Axes:
    return of_param(shape) if x.shape == shape else of_stat(x.shape, shape)


def _line(part: Part, e: BaseException) -> str:
    "Where in the part's own code it went wrong."
    code = part.fn.__code__
    lines = [f.lineno for f in traceback.extract_tb(e.__traceback__)
             if (f.filename, f.name) == (code.co_filename, code.co_name)]
    return f' ({Path(code.co_filename).name}, line {lines[-1]})' if lines else ''
