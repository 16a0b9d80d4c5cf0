"""A tape: what a composition does to one element, written down by running its parts once.

The parts run on a few real numbers while every operation of torch's that they call is recorded: its name, its
arguments and the dtype of its result. Hyperparameters and scalars are 0-dim tensors of float64 on the tape, so the
recording holds for all their values; they meet tensors as Python's numbers do, taking the tensors' dtype.

What cannot be recorded is an error that names the part and its line: Python that asks for the value of a tensor (`if`,
`.item()`, `math.sqrt`), and writing into one.
"""
from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ..composition import Composition
from ..part import Part, PartError

__all__ = ['Ref', 'Op', 'Tape', 'record', 'SIZE']

SIZE = 5  # the number of elements it runs on


class Ref(NamedTuple):
    "A value on the tape."
    place: int
    dtype: torch.dtype
    is_number: bool  # one for all elements?


class Op(NamedTuple):
    "A recorded call: `func` with `args` (by place, the defaults filled in), which made `out`."
    func: Any
    args: tuple[Any, ...]
    out: Ref


class Tape(NamedTuple):
    "Operations in order; where each value they begin with comes from, and which value each result is."
    ops: list[Op]
    tensors: dict[str, Ref]
    numbers: dict[str, Ref]
    results: dict[str, Ref]


def record(
    composition: Composition,
    parts: Iterable[Part],               # Some of its tensor parts, in order
    tensors: Mapping[str, torch.dtype],  # What they begin with, by name: the dtype it is computed in
    numbers: Iterable[str],              # Hyperparameters, scalars, and stats that are numbers
    results: Sequence[str],              # What is wanted of what they make, `new_param` too
    maximize: bool=False                 # Climb instead of descending?
) -> Tape:
    "Runs `parts` once. Raises PartError where they do what cannot be recorded."
    recorder = _Recorder()

    def run(part: Part, env: Mapping[str, Any]) -> Any:
        try:
            out = part.fn(*[env[n] for n in part.reads], **{k: env[n] for k, n in part.keywords})
            if isinstance(out, Tensor): recorder.ref(out)
        except Exception as e: raise PartError(f'`{part.label}` cannot be compiled{_line(part, e)}: {_why(e)}') from e
        if not part.switch: return out
        return torch.where(env[part.switch] == 0, torch.zeros_like(out) if part.kind == 'step' else env[part.like], out)

    with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        env: dict[str, Any] = {k: (1 + torch.rand(SIZE, generator=draw)).to(dtype) for k, dtype in tensors.items()}
        env |= {k: torch.tensor(.5 + .01 * i, dtype=torch.float64) for i, k in enumerate(numbers)}
        begin = {k: recorder.add(v) for k, v in env.items()}
        recorder.begun = len(begin)
        with _Numbers(), recorder:
            if maximize: env['grad'] = -env['grad']
            if 'grad' in env: env.setdefault('raw_grad', env['grad'])
            composition.walk(parts, env, run)
            if 'new_param' in results: env.setdefault('new_param', env['param'] + env['update'])
    return Tape(recorder.ops, {k: begin[k] for k in tensors}, {k: begin[k] for k in begin if k not in tensors},
                {k: recorder.ref(env[k]) for k in results})


# -- recording -----------------------------------------------------------------------------------------------

class _Unrecordable(RuntimeError): "What a part did, and what to write instead."


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    "Writes down every operation that happens while it is on."
    @classmethod
    def _should_skip_dynamo(cls) -> bool: return False  # torch would import its compiler, which takes a second

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self._refs: dict[int, Ref] = {}
        self._alive: list[Tensor] = []  # so that no id is used twice
        self._shared: set[int] = set()  # what shares its memory with another
        self.begun = 0  # how many values there were before the first operation

    def add(self, x: Tensor) -> Ref:
        self._alive.append(x)
        ref = self._refs[id(x)] = Ref(len(self._alive), x.dtype, not x.dim())
        return ref

    def ref(self, x: Tensor) -> Ref:
        if id(x) not in self._refs:
            raise _Unrecordable('it reads a tensor that is none of its arguments: make that a stat or a hyperparameter')
        return self._refs[id(x)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        schema, kwargs = func._schema, kwargs or {}
        name = schema.name.removeprefix('aten::')
        if name == '_local_scalar_dense': raise _Unrecordable(ASKS)
        out = func(*args, **kwargs)
        if schema.is_mutable:  # of a tensor that the part made itself, the result is a new value
            func = getattr(getattr(torch.ops.aten, name.removesuffix('_'), None), func._overloadname, None)
            if out is not args[0] or id(out) in self._shared or self.ref(out).place <= self.begun or func is None:
                raise _Unrecordable(f'it writes into a tensor (`{name}`): return a new value, as '
                                    f'`{name.removesuffix("_")}` does')
            schema = func._schema
        elif any(r.alias_info for r in schema.returns): self._shared |= {id(args[0]), id(out)}  # a view
        if not isinstance(out, Tensor) or out.shape not in ((), (SIZE,)):
            raise _Unrecordable(f'`{name}` is no operation on each element alone: say `whole=True`, and the part runs '
                                'as it is')
        given = [args[i] if i < len(args) else kwargs.get(a.name, a.default_value if a.has_default_value() else None)
                 for i, a in enumerate(schema.arguments)]
        if name == 'lift_fresh' and id(given[0]) not in self._refs and not out.dim(): given = [out.item()]  # a constant
        given = [self.ref(x) if isinstance(x, Tensor) else x for x in given]
        self.ops.append(Op(func, tuple(given), self.add(out)))
        return out


SCALED = 'add', 'sub', 'addcmul', 'addcdiv'


class _Numbers(TorchFunctionMode):
    "Lets 0-dim tensors stand where the parts have plain numbers."
    def __torch_function__(self, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, '__name__', '')
        if isinstance(a := kwargs.get('alpha', kwargs.get('value')), Tensor) and name.rstrip('_') in SCALED:
            del kwargs['alpha' if 'alpha' in kwargs else 'value']
            args = [args[0], a * args[1], *args[2:]]  # x.add(y, alpha=a) is x.add(a * y)
        if name == 'full_like' and isinstance(args[1], Tensor): return torch.zeros_like(args[0]) + args[1]
        both = [*args, *kwargs.values()]
        dtypes = {x.dtype for x in both if isinstance(x, Tensor) and x.dim() and x.is_floating_point()}
        if not dtypes and any(isinstance(x, Tensor) and x.dim() for x in both):  # a number times a condition
            dtypes = {torch.get_default_dtype()}
        if dtypes and torch.float64 not in dtypes:  # a number takes the dtype of the tensors that it meets
            dtype = reduce(torch.promote_types, dtypes)
            def cast(x: Any) -> Any:
                return x.to(dtype) if isinstance(x, Tensor) and not x.dim() and x.is_floating_point() else x
            args, kwargs = [cast(x) for x in args], {k: cast(x) for k, x in kwargs.items()}
        return func(*args, **kwargs)


# -- sentences -----------------------------------------------------------------------------------------------

ASKS = ('it asks for the value of a tensor (`if`, `.item()`, `float`, `math` ...), and a kernel has one code for all '
        'values; hyperparameters and scalars are 0-dim tensors in it. Write `torch.where(condition, a, b)` or another '
        'function of torch, or make a @scalar of what needs only numbers')


def _why(e: BaseException) -> str: return str(e) if isinstance(e, _Unrecordable) else f'{type(e).__name__}: {e}'


def _line(part: Part, e: BaseException) -> str:
    "Where in the part's own code it went wrong."
    code = part.fn.__code__
    lines = [f.lineno for f in traceback.extract_tb(e.__traceback__)
             if (f.filename, f.name) == (code.co_filename, code.co_name)]
    return f' ({Path(code.co_filename).name}, line {lines[-1]})' if lines else ''
