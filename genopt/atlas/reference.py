"""The reference: what genopt exports, module by module, as its signatures and docstrings say it.

Recipes and parts have pages of their own.
"""
from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import fastcore.docments

import genopt

from .. import parts, zoo

__all__ = ['pages']


def pages() -> dict[str, str]:
    "A page in Markdown for each module of which `genopt.__all__` has something, by its name."
    modules: dict[str, list[str]] = {}
    for name in genopt.__all__:
        if name in zoo.__all__ or name in parts.__all__: continue
        obj = getattr(genopt, name)
        home = getattr(obj, '__module__', None) or 'genopt.study.surfaces'
        modules.setdefault(home.removeprefix('genopt.'), []).append(name)
    return {module: '\n\n'.join(_page(module, names)) + '\n' for module, names in modules.items()}


def _page(module: str, names: list[str]) -> Iterator[str]:
    yield f'# genopt.{module}'
    yield inspect.getdoc(import_module(f'genopt.{module}')) or ''
    for name in names: yield from _entry(name, getattr(genopt, name), 2)


def _entry(name: str, obj: Any, level: int) -> Iterator[str]:
    yield f'{"#" * level} {name}'
    if not callable(obj):
        yield f'```python\n{name} = {_short(obj)}\n```'
        return
    yield f'```python\n{name}{_signature(obj)}\n```'
    yield inspect.getdoc(obj) or ''
    yield '\n'.join(_arguments(obj))
    if not inspect.isclass(obj): return
    for key, member in vars(obj).items():
        if key.startswith('_'): continue
        if isinstance(member, (classmethod, staticmethod)): member = member.__func__
        if isinstance(member, property) and member.fget:
            yield f'{"#" * (level + 1)} {name}.{key}'
            yield inspect.getdoc(member) or ''
        elif inspect.isfunction(member) and member.__doc__:
            yield from _entry(f'{name}.{key}', member, level + 1)


def _signature(obj: Any) -> str:
    "Its arguments, below each other if they are long."
    try: found = inspect.signature(obj)
    except (TypeError, ValueError): return '(...)'
    args = [a for a in found.parameters.values() if a.name != 'self']
    ends = found.return_annotation
    text = _plain(str(found.replace(parameters=args)))
    if len(text) < 70: return text
    lines, star = list[str](), True
    for a in args:
        if a.kind == a.KEYWORD_ONLY and star: lines.append('*')
        star &= a.kind not in (a.KEYWORD_ONLY, a.VAR_POSITIONAL)
        lines.append(_plain(str(a)))
    back = '' if ends is found.empty else ' -> ' + _plain(inspect.formatannotation(ends))
    return '(\n    ' + ',\n    '.join(lines) + f'\n){back}'


def _plain(text: str) -> str:
    "Annotations without quotes, and without the names of modules."
    text = re.sub(r"(: |-> )'([^']*)'", r'\1\2', text)
    text = re.sub(r'<object object at \w+>', 'REQUIRED', text)
    text = re.sub(r'<function ([\w.]+) at \w+>', r'\1', text)
    return re.sub(r"^'|'$|genopt\.(\w+\.)*", '', text)


def _arguments(obj: Any) -> Iterator[str]:
    "The comments on a function's arguments."
    try: found = fastcore.docments.docments(obj)
    except Exception: return  # of C, or without a source
    for name, about in found.items():
        if about and name not in ('self', 'return'): yield f'* `{name}`: {" ".join(about.split())}'
    if found.get('return'): yield f'* returns: {" ".join(found["return"].split())}'


def _short(obj: Any) -> str:
    return '{' + ', '.join(map(repr, obj)) + '}' if isinstance(obj, dict) else repr(obj)
