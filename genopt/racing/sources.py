"""What objects are made of, in words: if one of these changes, a run is made again.

A function is the text of its file and the values that it carries: its closure, its defaults, the
arguments of a `partial`, and the numbers and strings that it reads. Without a file, as in a
notebook, it is its code and all that it reads.
"""
from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor

__all__ = ['digest', 'source']

PLAIN = int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device


def source(*objects: Any) -> list[str]:
    "All that these depend on, but for what their files import. It is the same in every process."
    return [*_all(objects, {})]


def digest(t: Tensor) -> str:
    "A tensor's dtype, shape and elements, whatever the dtype."
    data = t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f'{t.dtype} {[*t.shape]} {sha256(data).hexdigest()}'


def _all(values: Any, seen: dict[int, Any]) -> Iterator[str]:
    for v in values: yield from _one(v, seen)


def _one(x: Any, seen: dict[int, Any]) -> Iterator[str]:
    if isinstance(x, PLAIN): yield repr(x)
    elif id(x) in seen: yield f'again {[*seen].index(id(x))}'
    elif isinstance(x, (ModuleType, BuiltinFunctionType)): yield x.__name__
    else:
        seen[id(x)] = x
        if isinstance(x, FunctionType): yield from _function(x, seen)
        elif isinstance(x, type): yield from _class(x, seen)
        elif isinstance(x, Tensor) and x.layout == torch.strided: yield digest(x)
        elif isinstance(x, partial): yield from _all((x.func, x.args, x.keywords), seen)
        elif isinstance(x, MethodType): yield from _all((x.__func__, x.__self__), seen)
        elif isinstance(x, Mapping):
            yield f'{len(x)} pairs'
            for k, v in x.items(): yield from _all((k, v), seen)
        elif isinstance(x, (set, frozenset)): yield repr(sorted(map(repr, x)))
        elif isinstance(x, (list, tuple)):
            yield f'{len(x)} items'
            yield from _all(x, seen)
        else:
            yield from _one(type(x), seen)
            if found := getattr(x, '__dict__', None): yield from _one(found, seen)
            elif ' at 0x' not in repr(x): yield repr(x)  # no address


def _file(x: Any) -> str:
    "A digest of the file that defines it, or ''."
    try: return sha256(Path(inspect.getsourcefile(x) or '').read_bytes()).hexdigest()
    except (TypeError, OSError): return ''


def _function(fn: FunctionType, seen: dict[int, Any]) -> Iterator[str]:
    text, code = _file(fn), [*_codes(fn.__code__)]
    if text: yield from (fn.__qualname__, text)
    for c in code:
        yield repr((c.co_code, [k for k in c.co_consts if not isinstance(k, CodeType)]))
    for cell in fn.__closure__ or ():
        try: yield from _one(cell.cell_contents, seen)
        except ValueError: yield 'an empty cell'
    yield from _all((fn.__defaults__, fn.__kwdefaults__), seen)
    for name in sorted({n for c in code for n in c.co_names} & {*fn.__globals__}):
        value = fn.__globals__[name]
        if not text or isinstance(value, PLAIN):
            yield name
            yield from _one(value, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    "A function's code, and that of the functions in it."
    yield code
    for c in code.co_consts:
        if isinstance(c, CodeType): yield from _codes(c)


def _class(cls: type, seen: dict[int, Any]) -> Iterator[str]:
    "Its file; as a notebook has none, methods and bases of what may be defined there."
    yield f'{cls.__module__}.{cls.__qualname__}'
    if cls.__module__ == 'builtins': return
    yield _file(cls)
    if cls.__module__ == '__main__':
        yield from _all(cls.__bases__, seen)
        yield from _all([v for v in vars(cls).values() if isinstance(v, FunctionType)], seen)
