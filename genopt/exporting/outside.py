"Objects that functions read: how one is written down, or imported."
from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

__all__ = ['home', 'literal', 'module_import', 'origin']

PUBLIC = ('torch', 'math', 'torch.linalg', 'torch.nn.functional', 'torch.special', 'torch.fft')
PLAIN = int, float, bool, complex, str, bytes, type(None)


def literal(x: Any) -> str | None:
    "Python's text for a constant, or None if it has none."
    if isinstance(x, torch.dtype): return repr(x)
    if type(x) is float: return repr(x) if x - x == 0 else f"float('{x}')"
    if type(x) in PLAIN: return repr(x)
    if type(x) in (tuple, list, set, frozenset):
        items = [literal(v) for v in x]
        if None in items: return None
        inside = ', '.join(map(str, items))
        if type(x) is tuple: return f'({inside}{"," * (len(items) == 1)})'
        if type(x) is list: return f'[{inside}]'
        if type(x) is frozenset: return f'frozenset([{inside}])'
        return f'{{{inside}}}' if items else 'set()'
    if type(x) is not dict: return None
    pairs = [(literal(k), literal(v)) for k, v in x.items()]
    if any(None in pair for pair in pairs): return None
    return '{' + ', '.join(f'{k}: {v}' for k, v in pairs) + '}'


def origin(x: Any) -> str:
    "Whose it is: 'python' (with torch), 'genopt', that of an installed 'package', or 'own'."
    name = x.__name__ if isinstance(x, ModuleType) else getattr(x, '__module__', None) or ''
    top = name.split('.')[0]
    if top == 'genopt': return top
    if top == '__main__' or top not in sys.modules: return 'own'
    if top == 'torch' or top in sys.stdlib_module_names: return 'python'
    path = Path(getattr(sys.modules[top], '__file__', None) or '')
    return 'package' if {'site-packages', 'dist-packages'} & {*path.parts} else 'own'


def home(x: Any) -> str:
    "The module from which an object can be imported; '' if it belongs to the part's author."
    own = getattr(x, '__name__', '')
    if origin(x) not in ('python', 'package') or not isinstance(own, str): return ''
    for module in (*PUBLIC, x.__module__.split('.')[0], x.__module__):
        if own and getattr(sys.modules.get(module), own, None) is x: return module
    return ''


def module_import(name: str, module: str) -> str:
    parent, _, last = module.rpartition('.')
    if module == name: return f'import {module}'
    if last == name: return f'from {parent} import {last}'
    return f'import {module} as {name}'
