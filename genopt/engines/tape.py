"""A tape: the operations of a composition on one element, recorded by running its parts once.

The parts run on a few real numbers, and every torch operation that they call is recorded: its
name, its arguments and the dtype of its result. Hyperparameters and scalars are 0-dim tensors of
float64 on the tape (`numbers`), so the recording holds for all their values.

A part cannot be recorded if it asks for the value of a tensor (`if`, `.item()`), writes into one,
or calls an operation that does not treat each element alone. The error names the part and its
line. A part that asks for the value of a number (`if count > 1`, `math.sqrt`) raises
`DecidesByNumbers`: it can still run as it is.
"""
from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from ..composition import Env, walk
from ..contract import PartError
from ..part import Part
from .numbers import ASKS_NUMBER, Decides, Numbers, Unrecordable
from .pointwise import why_not_pointwise
from .shield import shielded

__all__ = ['DecidesByNumbers', 'Ref', 'Op', 'Tape', 'record', 'SIZE']

SIZE = 5  # the number of elements it runs on


class DecidesByNumbers(PartError):
    "A part asks for the value of a plain number, so no recording holds for all values."
    def __init__(self, why: str, part: Part):
        super().__init__(why)
        self.part = part


class Ref(NamedTuple):
    "A value on the tape."
    place: int
    dtype: torch.dtype
    is_number: bool  # one for all elements


class Op(NamedTuple):
    "A recorded call: `func` with `args` (by place, the defaults filled in), which made `out`."
    func: Any
    args: tuple[Any, ...]
    out: Ref
    among: torch.dtype  # for comparisons: its first two arguments are promoted to it

    @property
    def name(self) -> str: return str(self.func._schema.name.removeprefix('aten::'))


class Tape(NamedTuple):
    "Operations in order, the values that they begin with, and their results."
    ops: list[Op]
    tensors: dict[str, Ref]
    numbers: dict[str, Ref]
    results: dict[str, Ref]


def record(parts: Iterable[Part], tensors: Mapping[str, torch.dtype], numbers: Iterable[str],
           results: Sequence[str], climb: bool=False) -> Tape:
    """Runs a composition's tensor parts, or some of them in a row, once.

    `tensors` has the names of those that they begin with, and the dtypes that these are computed
    in; `numbers` names hyperparameters, scalars, and stats that are numbers; `results` names the
    tensors that are wanted, made by the parts or `new_param`. Raises PartError for a part that
    cannot be recorded, and its subclass DecidesByNumbers.
    """
    plain = Numbers()
    recorder = _Recorder(plain)

    def run(part: Part, env: Mapping[str, Any]) -> Any:
        try:
            with plain:
                out = part.fn(*[env[n] for n in part.reads],
                              **{k: env[n] for k, n in part.keywords})
            if isinstance(out, Tensor): recorder.ref(out)
        except Exception as e:
            why = e if isinstance(e, Unrecordable) else f'{type(e).__name__}: {e}'
            text = f'`{part.label}` cannot be compiled{_line(part, e)}: {why}'
            raise DecidesByNumbers(text, part) if isinstance(e, Decides) else PartError(text) from e
        if not part.switch: return out
        return torch.where(env[part.switch] == 0, part.nothing(out, env), out)

    with shielded(), _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        env = Env({k: (1 + torch.rand(SIZE, generator=draw)).to(dtype)
                   for k, dtype in tensors.items()})
        env |= {k: torch.tensor(.5 + .01 * i, dtype=torch.float64) for i, k in enumerate(numbers)}
        begin = {k: recorder.add(v) for k, v in env.items()}
        recorder.fixed |= {*map(id, env.values())}
        plain.plain |= {id(v) for k, v in env.items() if k not in tensors}
        with recorder:
            if climb: env['grad'] = -env['grad']
            if 'grad' in env: env.setdefault('raw_grad', env['grad'])
            walk(parts, env, run)
            made = {k: recorder.ref(env[k]) for k in results}
    return Tape(recorder.ops, {k: begin[k] for k in tensors},
                {k: begin[k] for k in begin if k not in tensors}, made)


# -- recording -------------------------------------------------------------------------------------

class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    "Writes down every operation that happens while it is on."
    @classmethod
    def _should_skip_dynamo(cls) -> bool: return False  # or torch would import its compiler

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = numbers
        self.ops: list[Op] = []
        self._refs: dict[int, Ref] = {}
        self._alive: list[Tensor] = []  # so that no id is used twice
        self.fixed: set[int] = set()    # tensors that were given or share memory, by id

    def add(self, x: Tensor) -> Ref:
        self._alive.append(x)
        ref = self._refs[id(x)] = Ref(len(self._alive), x.dtype, not x.dim())
        return ref

    def ref(self, x: Tensor) -> Ref:
        if id(x) not in self._refs:
            raise Unrecordable('it reads a tensor that is not one of its arguments: make that a '
                               'stat or a hyperparameter')
        return self._refs[id(x)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        schema, kwargs = func._schema, kwargs or {}
        name = schema.name.removeprefix('aten::')
        if name == '_local_scalar_dense': raise Decides(ASKS_NUMBER)  # elements stay on the tape
        out = func(*args, **kwargs)
        if why := why_not_pointwise(func, (args, kwargs), out):
            raise Unrecordable(f'`{why}` does not treat each element alone: say `whole=True`, and '
                               'the part runs as it is')
        if not isinstance(out, Tensor) or out.shape not in ((), (SIZE,)):
            raise Unrecordable(f'`{name}` does not return one tensor of the same shape: say '
                               '`whole=True`, and the part runs as it is')
        if schema.is_mutable:  # of a tensor that the part made itself, the result is a new value
            new = name.removesuffix('_')
            func = getattr(getattr(torch.ops.aten, new, None), func._overloadname, None)
            if out is not args[0] or id(out) in self.fixed or func is None:
                raise Unrecordable(f'it writes into a tensor (`{name}`): return a new value, as '
                                   f'`{new}` does')
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            if name != 'copy_' and any(x.dim() and x.is_floating_point() and x.dtype != out.dtype
                                       for x in tensors):
                raise Unrecordable(f'it mixes dtypes in place (`{name}`): return a new value')
            schema = func._schema
        elif any(r.alias_info for r in schema.returns):  # a view
            self._alive.append(args[0])
            self.fixed |= {id(args[0]), id(out)}
        by_name = {**dict(zip((a.name for a in schema.arguments), args)), **kwargs}
        given = [by_name.get(a.name, a.default_value if a.has_default_value() else None)
                 for a in schema.arguments]
        if name == 'lift_fresh' and id(given[0]) not in self._refs: given = [out.item()]  # constant
        refs = tuple(map(self._written, given))
        self.ops.append(Op(func, refs, self.add(out), _meet(given, out.dtype)))
        return out

    def _written(self, x: Any) -> Any:
        "An argument as it stands on the tape."
        if isinstance(x, Tensor): return self.ref(x)
        if type(x) is not float or x not in self.numbers.tokens: return x
        self.numbers.seen.add(x)
        return self.ref(self.numbers.tokens[x])


def _meet(given: Sequence[Any], otherwise: torch.dtype) -> torch.dtype:
    "The dtype to which torch promotes the first two arguments."
    values = [x for x in given[:2] if isinstance(x, (Tensor, bool, int, float))]
    if not any(isinstance(x, Tensor) for x in values): return otherwise
    return torch.result_type(values[0], values[-1])


def _line(part: Part, e: BaseException) -> str:
    "Where in the part's own code it went wrong."
    code = part.fn.__code__
    lines = [f.lineno for f in traceback.extract_tb(e.__traceback__)
             if (f.filename, f.name) == (code.co_filename, code.co_name)]
    return f' ({Path(code.co_filename).name}, line {lines[-1]})' if lines else ''
