"""Symbols that parts run on: the result of a part's own function is its equation.

    >>> trace(average_grad)
    grad*(1 - mom) + mom*prev_grad_avg

Where a function asks a question (`if count > 1`), it runs once for each answer, and the results are
put together again as cases. Questions that only hyperparameters decide are answered by their
values. Whether a tensor is a matrix or a vector is such a question. A loop of as many turns as a
hyperparameter says is one `Iterate` (see `loops.py`).
"""
from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from functools import partial
from numbers import Real
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, SimpleNamespace
from typing import Any

import sympy as sp
import torch

from ..kinds import Made
from ..part import Part
from ..parts import algebra
from .expressions import (IS_MATRIX, TOO_ODD, Unsymbolic, cases, condition, is_condition, number,
                          settled, symbol, truth)
from .operations import CONDITIONS, LOGIC, OPS, REDUCE, SIZES
from .questions import answers, explore

__all__ = ['Sym', 'begin', 'item', 'switched', 'trace']


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    "One of torch's operations, on symbols."
    name = name.removeprefix('linalg_')
    op = (OPS | LOGIC | REDUCE).get(name)
    if op is None: raise Unsymbolic(f'`{name}` is not an operation that equations know')
    loop = answers.get().loop
    def plain(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            if x.dim(): raise Unsymbolic('it reads a tensor that is not one of its arguments')
            x = x.item()
        if isinstance(x, Sym): x = loop.named(x.expr)
        elif isinstance(x, float): x = number(x)
        if name in LOGIC: return condition(sp.sympify(x))
        return x if name == 'where' else truth(x)
    kwargs.pop('out', None)
    if name in REDUCE:  # a plain int is a dimension there
        args = tuple(plain(a) if isinstance(a, (Sym, torch.Tensor)) else a for a in args)
        return Sym(loop.note(op(*args, **kwargs)))
    found = op(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})
    if isinstance(found, tuple): return tuple(Sym(x) for x in found)
    return Sym(loop.note(settled(sp.sympify(found))))


class Sym:
    "An expression that behaves as the tensor, or the number, that it stands for."
    __hash__ = object.__hash__

    def __init__(self, expr: Any): self.expr = expr

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        return call(func.__name__, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'): raise AttributeError(name)
        if name.endswith('_'): raise Unsymbolic(f'it writes into a tensor (`{name}`)')
        return partial(call, name, self)

    dtype = torch.float64
    T = mT = H = mH = property(lambda self: call('t', self))
    def dim(self) -> int: return 2 if answers.get().decide(IS_MATRIX) else 1
    @property
    def ndim(self) -> int: return self.dim()
    @property
    def device(self) -> Any: raise Unsymbolic('it asks where a tensor is')
    @property
    def shape(self) -> tuple[Sym, ...]: return Sym(SIZES[0]), Sym(SIZES[1])
    def numel(self) -> Sym: return Sym(SIZES[0] * SIZES[1])
    def __bool__(self) -> bool: return answers.get().decide(self.expr)
    def __invert__(self) -> Sym:
        return Sym(sp.Not(self.expr) if is_condition(self.expr) else 1 - self.expr)
    def __round__(self, digits: int=0) -> Any: return self._no() if digits else call('round', self)
    def _no(self, *args: Any) -> Any: raise Unsymbolic('it needs the value of a number')
    __int__ = __float__ = __index__ = __iter__ = __len__ = __getitem__ = _no
    def __repr__(self) -> str: return f'Sym({self.expr})'


_BINARY = 'add', 'sub', 'mul', 'truediv', 'floordiv', 'pow', 'mod', 'matmul', 'and', 'or', 'xor'
for _name in (*_BINARY, *CONDITIONS, 'neg', 'abs'):
    setattr(Sym, f'__{_name}__', lambda *args, name=_name: call(name, *args))
for _name in _BINARY: setattr(Sym, f'__r{_name}__', lambda a, b, name=_name: call(name, b, a))


# -- running parts ---------------------------------------------------------------------------------

def trace(
    part: Part,
    values: Mapping[str, Any]={}  # Of hyperparameters, as far as known: they answer questions
) -> Any:  # A sympy expression of symbols, named as what the part reads; or a `Tuple` of several
    "A part's result for symbols. Raises Unsymbolic, with the reason, if it cannot run on them."
    args = [*map(_read, part.reads[:len(part.args)]),
            *(_linked(p, values) for p in part.links.values())]
    kwargs = {k: Sym(symbol(n)) for k, n in part.keywords}
    if part.needs == 'matrix': values = {'dim': 2, **values}
    return switched(part, _run(part.fn, args, kwargs, values))


def switched(part: Part, made: Any) -> Any:
    "What a part makes of it if a scalar may switch it off."
    if not part.is_switched: return made
    nothing = 0 if part.out == 'update' else part.nothing(Symbols())
    return cases([(made, sp.Ne(symbol(part.switch), 0)), (nothing, sp.true)])


def begin(part: Part, values: Mapping[str, Any]={}) -> Any:
    "The expression of a stat's first value."
    if not callable(part.init): return number(part.init or 0)
    kwargs = {a.name: Sym(symbol(k)) for a, k in zip(part.init_parameters(), part.init_hypers)}
    return _run(part.init, [] if part.is_number else [Sym(symbol('param'))], kwargs, values)


def _run(fn: Any, args: list[Any], kwargs: dict[str, Any], values: Mapping[str, Any]) -> Any:
    known = {symbol(k): v for k, v in values.items() if isinstance(v, (int, float))}
    try: return explore(lambda: _exprs(_symbolic(fn, {})(*args, **kwargs)), known)
    except Unsymbolic: raise
    except Exception as e:
        raised_in = Path(traceback.extract_tb(e.__traceback__)[-1].filename)
        if 'sympy' in raised_in.parts: raise Unsymbolic(TOO_ODD) from e
        raise Unsymbolic(f'{type(e).__name__}: {e}'.replace("'Sym'", 'a symbol')) from e


def _exprs(out: Any) -> Any:
    "The expression that a part returned, or a tuple of them."
    return tuple(map(_expr, out)) if isinstance(out, tuple) else _expr(out)


def _expr(out: Any) -> Any:
    "The expression of one value."
    if isinstance(out, Sym): return out.expr
    if isinstance(out, Real): return number(out)
    got = 'nothing' if out is None else f'a {type(out).__name__}'
    raise Unsymbolic(f'it returned {got}')


def _lifted(fn: Any, name: str) -> Any:
    "A function of numbers that takes symbols too."
    if not callable(fn): return fn
    def lifted(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], (tuple, list)): args = (*args[0],)
        is_symbolic = any(isinstance(a, Sym) for a in args)
        return call(name, *args, **kwargs) if is_symbolic else fn(*args, **kwargs)
    return lifted


def _turns(*args: Any) -> Any:
    "A range, or the turns of a loop whose number is a symbol."
    if not isinstance(args[-1], Sym): return range(*args)
    if len(args) > 1: raise Unsymbolic('its loop does not begin at 0')
    return answers.get().loop.run(args[0].expr)


def _read(name: str) -> Sym: return Sym(OWN.get(name, symbol(name)))


def _linked(part: Part, values: Mapping[str, Any]) -> Any:
    "What a part reads of a scalar, or of a part that makes one tensor or several."
    if not isinstance(part, Made): return _read(part.out)
    try: made = trace(part, values)
    except Unsymbolic: return Items(symbol(part.out))
    if not isinstance(made, sp.Tuple): return _read(part.out)
    return tuple(Items(symbol(part.out))[i] for i in range(len(made)))


class Items(Sym):
    "One tensor, or several."
    def __getitem__(self, i: int) -> Sym: return Sym(item(self.expr.name, i))


def item(name: str, i: int) -> Any:
    "The symbol of one of several tensors that a part makes."
    return symbol(f'{name} {i + 1}')


class Symbols(dict[str, Any]):
    "The symbol of each name."
    def __missing__(self, name: str) -> Any: return symbol(name)


OWN = dict(rows=SIZES[0], columns=SIZES[1], numel=SIZES[0] * SIZES[1])
BUILTINS = {f.__name__: _lifted(f, f.__name__) for f in (float, int, abs, pow)}
BUILTINS |= dict(min=_lifted(min, 'minimum'), max=_lifted(max, 'maximum'), range=_turns)
MATH = SimpleNamespace(**{name: _lifted(fn, name) for name, fn in vars(math).items()})


def _symbolic(fn: Any, memo: dict[int, dict[str, Any]]) -> Any:
    "The function, with `math`, `min`, `max` and `float` that take symbols, in all of its module."
    if not isinstance(fn, FunctionType): return fn
    if id(fn.__globals__) not in memo:
        new = memo[id(fn.__globals__)] = {**BUILTINS, **fn.__globals__}
        for k, v in fn.__globals__.items():
            is_ours = isinstance(v, FunctionType) and v.__globals__ is fn.__globals__
            if v is math: new[k] = MATH
            elif isinstance(v, BuiltinFunctionType) and v.__module__ == 'math':
                new[k] = _lifted(v, v.__name__)
            elif getattr(v, '__module__', '') == algebra.__name__: new[k] = _lifted(v, k)
            elif is_ours: new[k] = _symbolic(v, memo)
    names = memo[id(fn.__globals__)]
    res = FunctionType(fn.__code__, names, fn.__name__, fn.__defaults__, fn.__closure__)
    res.__kwdefaults__ = fn.__kwdefaults__
    return res
