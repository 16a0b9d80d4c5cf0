"The source of a function, as it stands in its file or in a cell of a notebook."
from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any, TypeAlias

from .text import spans, unindented

__all__ = ['Definition', 'NoSource', 'decorators', 'lambda_of', 'parsed', 'source_of', 'value_of']

Definition: TypeAlias = 'ast.FunctionDef | ast.Lambda'


class NoSource(Exception): "A function has no source that can be read."


def source_of(fn: FunctionType) -> str:
    "The text of a function that was made with `def`, with its decorators, at the margin."
    text, node = _found(fn)
    if isinstance(node, ast.Lambda): raise NoSource
    lines = text.splitlines(keepends=True)
    return unindented(''.join(lines[_first_line(node) - 1:node.end_lineno])).rstrip() + '\n'


def lambda_of(fn: FunctionType) -> str:
    "The text of a `lambda`, in brackets if it has several lines."
    text, node = _found(fn)
    start, end = spans(text)(node)
    return f'({text[start:end]})' if '\n' in text[start:end] else text[start:end]


def parsed(text: str) -> ast.FunctionDef:
    "The node of a text that is one function."
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def value_of(name: str, fn: FunctionType) -> Any:
    "What a name stands for in a function's code. Raises NameError if it is nothing."
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or ()))
    try:
        if name in cells: return cells[name].cell_contents
        return fn.__globals__[name]
    except (KeyError, ValueError): raise NameError(name) from None


def decorators(node: ast.FunctionDef, fn: Any, said: str) -> list[ast.expr]:
    """Those that make `fn` of the function as it is defined: none, if that is what it is.

    Raises TypeError if they cannot be told.
    """
    kept, depth, plain = [], 0, fn
    while hasattr(plain, '__wrapped__'): plain, depth = plain.__wrapped__, depth + 1
    if depth: kept = [d for d in node.decorator_list if not _makes_part(d, plain)]
    if len(kept) == depth: return kept
    raise TypeError(f'{said} has decorators that do not all say what they wrap: use '
                    '`functools.wraps` in each')


def _makes_part(decorator: ast.expr, fn: FunctionType) -> bool:
    made_by = decorator.func if isinstance(decorator, ast.Call) else decorator
    try: found = eval(compile(ast.Expression(made_by), '', 'eval'), fn.__globals__)
    except Exception: return False
    return (getattr(found, '__module__', '') or '').split('.')[0] == 'genopt'


def _found(fn: FunctionType) -> tuple[str, Definition]:
    "The text in which a function is defined, and its node. Raises NoSource."
    try: lines, _ = inspect.findsource(fn)
    except (OSError, TypeError, IndexError): raise NoSource from None
    text, code = ''.join(lines), fn.__code__
    try: found = [n for n in _definitions(text) if _first_line(n) == code.co_firstlineno
                  and getattr(n, 'name', '<lambda>') == code.co_name]
    except SyntaxError: raise NoSource from None
    if len(found) > 1:  # lambdas in one line
        found = [n for n in found if isinstance(n, ast.Lambda) and _is_like(n, fn)]
    if len(found) != 1: raise NoSource
    return text, found[0]


@lru_cache(64)
def _definitions(text: str) -> list[Definition]:
    return [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.Lambda))]


def _first_line(node: Definition) -> int:
    above = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return min([node.lineno, *(d.lineno for d in above)])


def _is_like(node: ast.Lambda, fn: Callable[..., Any]) -> bool:
    made = eval(compile(ast.Expression(node), '<lambda>', 'eval'), {}).__code__
    own = fn.__code__
    return bool((made.co_code, made.co_consts, made.co_names, made.co_varnames) ==
                (own.co_code, own.co_consts, own.co_names, own.co_varnames))
