"""A tape: what a composition does to one element, written down by running its parts once.

The parts run on a few real numbers while every operation of torch's that they call is recorded: its
name, its arguments and the dtype of its result. Hyperparameters and scalars are 0-dim tensors of
float64 on the tape, so the recording holds for all their values. Among themselves they are computed
as Python does; where one meets a tensor, torch is called with a plain number in its place, and so
does exactly what it does in the plain engine.

What cannot be recorded is an error that names the part and its line: Python that asks for the value
of a tensor (`if`, `.item()`), writing into one, and operations that do not treat each element
alone. Python that asks for the value of a number (`if count > 1`, `math.sqrt`) is another error,
`DecidesByNumbers`: such a part can still run as it is.
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
    among: torch.dtype  # what its first two arguments are promoted to: comparisons happen in it

    @property
    def name(self) -> str: return str(self.func._schema.name.removeprefix('aten::'))


class Tape(NamedTuple):
    "Operations in order; where the values they begin with come from, and which the results are."
    ops: list[Op]
    tensors: dict[str, Ref]
    numbers: dict[str, Ref]
    results: dict[str, Ref]


def record(
    parts: Iterable[Part],               # Tensor parts of a composition, in order
    tensors: Mapping[str, torch.dtype],  # What they begin with, and the dtypes it is computed in
    numbers: Iterable[str],              # Hyperparameters, scalars, and stats that are numbers
    results: Sequence[str],              # What is wanted of what they make, `new_param` too
    maximize: bool=False                 # True to climb instead of descending
) -> Tape:
    "Runs `parts` once. Raises PartError for what cannot be recorded, and DecidesByNumbers."
    recorder = _Recorder()
    plain = Numbers(recorder)

    def run(part: Part, env: Mapping[str, Any]) -> Any:
        try:
            with plain:
                out = part.fn(*[env[n] for n in part.reads],
                              **{k: env[n] for k, n in part.keywords})
            if isinstance(out, Tensor): recorder.ref(out)
        except Exception as e:
            why = f'`{part.label}` cannot be compiled{_line(part, e)}: {_why(e)}'
            raise (DecidesByNumbers(why, part) if isinstance(e, Decides) else PartError(why)) from e
        if not part.switch: return out
        return torch.where(env[part.switch] == 0, part.nothing(out, env), out)

    with shielded(), _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        env = Env({k: (1 + torch.rand(SIZE, generator=draw)).to(dtype)
                   for k, dtype in tensors.items()})
        env |= {k: torch.tensor(.5 + .01 * i, dtype=torch.float64) for i, k in enumerate(numbers)}
        begin = {k: recorder.add(v) for k, v in env.items()}
        recorder.begun = len(begin)
        recorder.plain |= {id(v) for k, v in env.items() if k not in tensors}
        with recorder:
            if maximize: env['grad'] = -env['grad']
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

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self.plain: set[int] = set()          # tensors that stand for plain numbers, by id
        self.tokens: dict[float, Ref] = {}    # what a plain number in a call of torch's stands for
        self.seen: set[float] = set()         # tokens that reached an operation
        self.begun = 0                        # how many values there were at first
        self._refs: dict[int, Ref] = {}
        self._alive: list[Tensor] = []        # so that no id is used twice
        self._shared: set[int] = set()        # what shares its memory with another, by id
        self._count = 0

    def add(self, x: Tensor) -> Ref:
        self._alive.append(x)
        self._count += 1
        ref = self._refs[id(x)] = Ref(self._count, x.dtype, not x.dim())
        return ref

    def ref(self, x: Tensor) -> Ref:
        if id(x) not in self._refs:
            raise Unrecordable('it reads a tensor that is not one of its arguments: make that a '
                               'stat or a hyperparameter')
        return self._refs[id(x)]

    def token(self, number: Tensor) -> float:
        "A plain number that stands for `number` in one call."
        token = .7310585786300049 + 1e-7 * len(self.tokens)
        self.tokens[token] = self.ref(number)
        return token

    def __torch_dispatch__(self, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        schema, kwargs = func._schema, kwargs or {}
        name = schema.name.removeprefix('aten::')
        if name == '_local_scalar_dense': raise Decides(ASKS_NUMBER)  # elements stay on the tape
        out = func(*args, **kwargs)
        if why := why_not_pointwise(func, (args, kwargs), out):
            raise Unrecordable(NOT_ALONE.format(why))
        if not isinstance(out, Tensor) or out.shape not in ((), (SIZE,)):
            raise Unrecordable(f'`{name}` does not return one tensor of the same shape: say '
                               '`whole=True`, and the part runs as it is')
        if schema.is_mutable:  # of a tensor that the part made itself, the result is a new value
            new = name.removesuffix('_')
            func = getattr(getattr(torch.ops.aten, new, None), func._overloadname, None)
            is_own = out is args[0] and id(out) not in self._shared
            if not is_own or self.ref(out).place <= self.begun or func is None:
                raise Unrecordable(f'it writes into a tensor (`{name}`): return a new value, as '
                                   f'`{new}` does')
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            if name != 'copy_' and any(x.dim() and x.is_floating_point() and x.dtype != out.dtype
                                       for x in tensors):
                raise Unrecordable(f'it mixes dtypes in place (`{name}`): return a new value')
            schema = func._schema
        elif any(r.alias_info for r in schema.returns):  # a view
            self._alive.append(args[0])
            self._shared |= {id(args[0]), id(out)}
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
        if type(x) is not float or x not in self.tokens: return x
        self.seen.add(x)
        return self.tokens[x]


def _meet(given: Sequence[Any], otherwise: torch.dtype) -> torch.dtype:
    "What torch promotes the first two arguments to."
    values = [x for x in given[:2] if isinstance(x, (Tensor, bool, int, float))]
    if not any(isinstance(x, Tensor) for x in values): return otherwise
    return torch.result_type(values[0], values[-1])


# -- sentences -------------------------------------------------------------------------------------

NOT_ALONE = '`{}` does not treat each element alone: say `whole=True`, and the part runs as it is'


def _why(e: BaseException) -> str:
    return str(e) if isinstance(e, Unrecordable) else f'{type(e).__name__}: {e}'


def _line(part: Part, e: BaseException) -> str:
    "Where in the part's own code it went wrong."
    code = part.fn.__code__
    lines = [f.lineno for f in traceback.extract_tb(e.__traceback__)
             if (f.filename, f.name) == (code.co_filename, code.co_name)]
    return f' ({Path(code.co_filename).name}, line {lines[-1]})' if lines else ''
