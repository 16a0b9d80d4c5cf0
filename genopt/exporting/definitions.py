"""What an exported file defines: its imports, constants and functions, each under its own name.

    >>> file = Definitions()
    >>> file.part(sgd_step)
    'sgd_step'
    >>> print(file.functions['sgd_step'])
    def sgd_step(grad, *, lr):
        "Δθ = −η·g"
        return -lr * grad

What a function reads is defined with it: other functions, numbers, strings, and tuples and dicts of
these. torch and the standard library are imported, and installed packages too. Anything else is
refused.
"""
from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Hashable, Iterable, Mapping
from keyword import kwlist
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch

from ..part import Part
from .source import NoSource, lambda_of, parsed, source_of, value_of
from .text import (call, edited, free_names, is_shadowed, one_statement_a_line, spans,
                   with_signature)

__all__ = ['Definitions']

GIVEN = {'torch': 'import torch', 'Tensor': 'from torch import Tensor',
         'Any': 'from typing import Any', 'Callable': 'from collections.abc import Callable',
         'ParamsT': 'from torch.optim.optimizer import ParamsT'}
PUBLIC = ('torch', 'math', 'torch.linalg', 'torch.nn.functional', 'torch.special', 'torch.fft')
PLAIN = int, float, bool, complex, str, bytes, type(None)


class Definitions:
    "Imports, constants and functions of a file. Raises TypeError for what cannot be written down."
    def __init__(self, reserved: Iterable[str]=()):  # Names that the rest of the file needs
        self.imports: dict[str, str] = {}    # name -> statement
        self.constants: dict[str, str] = {}  # name -> value, as text
        self.functions: dict[str, str] = {}  # name -> definition
        self.packages: dict[str, None] = {}  # what it needs beside torch
        self._names: dict[Hashable, str] = {s: n for n, s in GIVEN.items()}
        self._taken = {*GIVEN, *reserved, *dir(builtins), *kwlist}
        self._with_defaults: set[Hashable] = set()

    def part(self, part: Part) -> str:
        "The name of a part's function, which is defined once, whatever names the part has."
        return self._function(part.fn, f'`{part.__name__}`', part)

    def expression(self,
        fn: Any,                   # A function, or a lambda
        names: Mapping[str, str],  # What stands for each of its arguments, in order
        said: str,                 # What it is, for errors
        around: tuple[str, str]    # What stands before the expression, and after it
    ) -> str:
        "A call of the function, or a lambda's own expression."
        before, after = around
        if isinstance(fn, FunctionType) and fn.__name__ == '<lambda>':
            text = self._inlined(fn, names, said)
            is_atom = text.isidentifier() or text.endswith(')')
            return before + (text if is_atom or not after else f'({text})') + after
        kinds = inspect.signature(fn).parameters if isinstance(fn, FunctionType) else {}
        args = [f'{k}={v}' if k in kinds and kinds[k].kind == kinds[k].KEYWORD_ONLY else v
                for k, v in names.items()]
        name = self._object(getattr(fn, '__name__', 'init'), fn, said)
        return call(f'{before}{name}(', args, f'){after}')

    def _inlined(self, fn: FunctionType, names: Mapping[str, str], said: str) -> str:
        text = self._rewritten(self._source(fn, said), fn, said)
        node = ast.parse(text, mode='eval').body
        assert isinstance(node, ast.Lambda)
        span = spans(text)
        start, end = span(node.body)
        edits = [(*span(n), names[n.id]) for n in ast.walk(node.body)
                 if isinstance(n, ast.Name) and n.id in names]
        text = edited(text[:end], edits)[start:]
        return ast.unparse(ast.parse(f'({text})', mode='eval')) if '\n' in text else text

    # -- functions ---------------------------------------------------------------------------------

    def _function(self, fn: Any, said: str, part: Part | None=None, name: str='') -> str:
        """The name under which a function is defined.

        The hyperparameters of a part have no defaults, as they are always given. If other code
        calls it too, it may rely on them.
        """
        plain = inspect.unwrap(fn)
        name = self._named(fn, name if plain.__name__ == '<lambda>' else plain.__name__)
        if name in self.functions and (part or fn in self._with_defaults): return name
        if not part: self._with_defaults.add(fn)
        self.functions.setdefault(name, '')
        text = self._source(plain, said)
        if plain.__name__ == '<lambda>': text = _as_def(text)
        text = one_statement_a_line(self._bare(text, plain, name, part))
        text = self._rewritten(text, plain, said)
        del self.functions[name]  # after those that it calls
        self.functions[name] = text
        return name

    def _source(self, fn: FunctionType, said: str) -> str:
        try: return lambda_of(fn) if fn.__name__ == '<lambda>' else source_of(fn)
        except (NoSource, AttributeError):
            raise TypeError(f'{said} has no source that can be read: define it in a file or in a '
                            'cell of a notebook') from None

    def _bare(self, text: str, fn: FunctionType, name: str, part: Part | None) -> str:
        "A function without what belongs to genopt: decorators, annotations, a part's defaults."
        node = parsed(text)
        lines = text.splitlines(keepends=True)
        kept = [d for d in node.decorator_list if not self._is_ours(d, fn)]
        above = ''.join(line for d in kept for line in lines[d.lineno - 1:d.end_lineno])
        text = ''.join(lines[node.lineno - 1:])
        before = ast.dump(node.args), ast.dump(node.returns) if node.returns else '', node.name
        for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            if a.annotation and not self._is_known(a.annotation, fn): a.annotation = None
        returns = node.returns if node.returns and self._is_known(node.returns, fn) else None
        if part: node.args.defaults = []
        if part and fn not in self._with_defaults:
            node.args.kw_defaults = [None] * len(node.args.kwonlyargs)
        after = ast.dump(node.args), ast.dump(returns) if returns else '', name
        return above + (text if before == after else with_signature(text, name, node.args, returns))

    def _is_ours(self, decorator: ast.expr, fn: FunctionType) -> bool:
        "True if a decorator makes a part."
        made_by = decorator.func if isinstance(decorator, ast.Call) else decorator
        code = compile(ast.Expression(made_by), '<decorator>', 'eval')
        try: found = eval(code, fn.__globals__)
        except Exception: return True  # of a function in a function: it made the part
        return getattr(found, '__module__', '').split('.')[0] == 'genopt'

    def _is_known(self, annotation: ast.expr, fn: FunctionType) -> bool:
        "True if an annotation can stand in the file: it has only names of torch and of Python."
        text = annotation.value if isinstance(annotation, ast.Constant) else None
        if isinstance(text, str):
            try: annotation = ast.parse(text, mode='eval').body
            except SyntaxError: return False
        for n in ast.walk(annotation):
            if not isinstance(n, ast.Name) or n.id in vars(builtins): continue
            try: value = value_of(n.id, fn)
            except NameError: return False
            if _origin(value) != 'python': return False
            if not isinstance(value, ModuleType) and not _home(value): return False
            self._object(n.id, value, '')
        return True

    # -- what functions read -----------------------------------------------------------------------

    def _rewritten(self, text: str, fn: FunctionType, said: str) -> str:
        "The text, with what it reads defined, and called as it is called in this file."
        new = {n: self._read(n, fn, said) for n in free_names(text)}
        span, edits = spans(text), []
        for n in ast.walk(ast.parse(text)):
            if not isinstance(n, ast.Name) or new.get(n.id, n.id) == n.id: continue
            if is_shadowed(text, n.id):
                raise TypeError(f'{said} reads a `{n.id}` that is not the one that other parts '
                                'read, and has another one inside: give it another name')
            edits.append((*span(n), new[n.id]))
        return edited(text, edits)

    def _read(self, name: str, fn: FunctionType, said: str) -> str:
        try: value = value_of(name, fn)
        except NameError:
            if hasattr(builtins, name): return name
            raise TypeError(f'{said} reads `{name}`, which is not defined: define it, or make it '
                            'an argument') from None
        return self._object(name, value, said)

    def _object(self, name: str, value: Any, said: str) -> str:
        "The name of an object in this file, where it is defined or imported."
        if isinstance(value, ModuleType) and _origin(value) != 'genopt':
            self._needs(value.__name__)
            return self._import(name, _module_import(name, value.__name__))
        if (text := _literal(value)) is not None:
            new = self._named(('constant', name, text), name)
            self.constants[new] = text
            return new
        if home := _home(value):
            self._needs(home)
            as_ = f' as {name}' if name != value.__name__ else ''
            return self._import(name, f'from {home} import {value.__name__}{as_}')
        if isinstance(value, Part) and not value.names: value = value.fn
        if isinstance(inspect.unwrap(value), FunctionType):
            return self._function(value, f'`{name}`, which is called by {said},', name=name)
        what = f'the module {name}' if isinstance(value, ModuleType) else f'a {_kind(value)}'
        raise TypeError(f'{said} reads `{name}`, {what} outside of it, which cannot be written '
                        'into a file as a number, a string or a tuple can: compute it inside the '
                        'part, or make it a hyperparameter')

    def _needs(self, module: str) -> None:
        top = module.split('.')[0]
        if top != 'torch' and top not in sys.stdlib_module_names: self.packages[top] = None

    def _import(self, name: str, statement: str) -> str:
        own = statement.split()[-1]
        new = self._named(statement, name)
        if new != own: statement = f'{statement.removesuffix(f" as {own}")} as {new}'
        self.imports[new] = statement
        return new

    def _named(self, key: Hashable, wanted: str) -> str:
        "The name of what has this key: as wanted, if nothing else has it."
        if key in self._names: return self._names[key]
        name, i = wanted, 2
        while name in self._taken: name, i = f'{wanted}_{i}', i + 1
        self._taken.add(name)
        self._names[key] = name
        return name


def _as_def(text: str) -> str:
    node = ast.parse(text, mode='eval').body
    assert isinstance(node, ast.Lambda)
    return f'def function({ast.unparse(node.args)}):\n    return {ast.unparse(node.body)}\n'


def _literal(x: Any) -> str | None:
    "Python's text for a constant, or None if it has none."
    if isinstance(x, torch.dtype): return repr(x)
    if type(x) is float: return repr(x) if x - x == 0 else f"float('{x}')"
    if type(x) in PLAIN: return repr(x)
    if type(x) in (tuple, list, set, frozenset):
        items = [_literal(v) for v in x]
        if None in items: return None
        inside = ', '.join(map(str, items))
        if type(x) is tuple: return f'({inside}{"," * (len(items) == 1)})'
        if type(x) is list: return f'[{inside}]'
        if type(x) is frozenset: return f'frozenset([{inside}])'
        return f'{{{inside}}}' if items else 'set()'
    if type(x) is not dict: return None
    pairs = [(_literal(k), _literal(v)) for k, v in x.items()]
    if any(None in pair for pair in pairs): return None
    return '{' + ', '.join(f'{k}: {v}' for k, v in pairs) + '}'


def _origin(x: Any) -> str:
    "Whose it is: 'python' (with torch), 'genopt', that of an installed 'package', or 'own'."
    name = x.__name__ if isinstance(x, ModuleType) else getattr(x, '__module__', None) or ''
    top = name.split('.')[0]
    if top == 'genopt': return top
    if top == '__main__' or top not in sys.modules: return 'own'
    if top == 'torch' or top in sys.stdlib_module_names: return 'python'
    path = Path(getattr(sys.modules[top], '__file__', None) or '')
    return 'package' if {'site-packages', 'dist-packages'} & {*path.parts} else 'own'


def _home(x: Any) -> str:
    "The module from which an object can be imported; '' if it belongs to the part's author."
    own = getattr(x, '__name__', '')
    if _origin(x) not in ('python', 'package') or not isinstance(own, str): return ''
    for module in (*PUBLIC, x.__module__.split('.')[0], x.__module__):
        if own and getattr(sys.modules.get(module), own, None) is x: return module
    return ''


def _module_import(name: str, module: str) -> str:
    parent, _, last = module.rpartition('.')
    if module == name: return f'import {module}'
    if last == name: return f'from {parent} import {last}'
    return f'import {module} as {name}'


def _kind(x: Any) -> str: return f'{type(x).__module__}.{type(x).__qualname__}'.removeprefix(
    'builtins.')
