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
from types import FunctionType, ModuleType
from typing import Any

from ..part import Part
from .outside import home, literal, module_import, origin
from .source import NoSource, decorators, lambda_of, parsed, source_of, value_of
from .text import (call, edited, free_names, is_shadowed, one_statement_a_line, spans,
                   with_signature)

__all__ = ['Definitions']

GIVEN = {'torch': 'import torch', 'Tensor': 'from torch import Tensor',
         'Any': 'from typing import Any', 'Callable': 'from collections.abc import Callable',
         'ParamsT': 'from torch.optim.optimizer import ParamsT'}


class Definitions:
    "Imports, constants and functions of a file. Raises TypeError for what cannot be written down."
    def __init__(self, reserved: Iterable[str]=()):  # Names that the rest of the file needs
        self.imports: dict[str, str] = {}    # name -> statement
        self.constants: dict[str, str] = {}  # name -> value, as text
        self.functions: dict[str, str] = {}  # name -> definition
        self.packages: dict[str, None] = {}  # what it needs beside torch
        self._names: dict[Hashable, str] = {s: n for n, s in GIVEN.items()}
        self._taken = {*GIVEN, *reserved, *dir(builtins), *kwlist}
        self._written: dict[str, bool] = {}  # function -> True if it has its defaults
        self._parts: set[Hashable] = set()   # the functions of parts
        self._called: set[Hashable] = set()  # the functions that others call

    def part(self, part: Part) -> str:
        """The name of a part's function, which is defined once, whatever names the part has.

        Its hyperparameters have no defaults, as they are always given, unless other code calls it.
        """
        self._parts.add(part.fn)
        return self._function(part.fn, f'`{part.__name__}`')

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

    def _function(self, fn: Any, said: str, alias: str='') -> str:
        "The name of a function, which is defined; a lambda's is its alias."
        plain, called = inspect.unwrap(fn), fn in self._called
        is_lambda = plain.__name__ == '<lambda>'
        name = self._named(fn, alias if is_lambda else plain.__name__)
        if self._written.get(name) == called: return name
        self._written[name] = called
        text = self._source(plain, said)
        self._check_imports(text, said)
        if is_lambda: text = _as_def(text)
        text = self._bare(text, fn, name, said)
        text = self._rewritten(one_statement_a_line(text), plain, said)
        if self._written[name] == called:  # else it calls itself, and has been written again
            self.functions.pop(name, None)  # to stand after those that it calls
            self.functions[name] = text
        return name

    def _source(self, fn: FunctionType, said: str) -> str:
        try: return lambda_of(fn) if fn.__name__ == '<lambda>' else source_of(fn)
        except (NoSource, AttributeError):
            raise TypeError(f'{said} has no source that can be read: define it in a file or in a '
                            'cell of a notebook') from None

    def _check_imports(self, text: str, said: str) -> None:
        "Notes what is imported inside of a function."
        for n in ast.walk(ast.parse(text)):
            if isinstance(n, ast.ImportFrom): modules = ['.' * n.level + (n.module or '')]
            elif isinstance(n, ast.Import): modules = [a.name for a in n.names]
            else: continue
            for module in modules:
                if module.startswith('.') or module.split('.')[0] == 'genopt':
                    raise TypeError(f'{said} imports from `{module}`, which the file will not '
                                    'have: import it outside of the part')
                self._needs(module)

    def _bare(self, text: str, fn: Any, name: str, said: str) -> str:
        "A function without what belongs to genopt: decorators, annotations, a part's defaults."
        node, plain, is_part = parsed(text), inspect.unwrap(fn), fn in self._parts
        lines = text.splitlines(keepends=True)
        kept = decorators(node, fn, said)
        above = ''.join(line for d in kept for line in lines[d.lineno - 1:d.end_lineno])
        text, args = ''.join(lines[node.lineno - 1:]), node.args
        before = ast.dump(args), node.name, bool(node.returns)
        for a in [*args.posonlyargs, *args.args, *args.kwonlyargs]:
            if a.annotation and not self._is_known(a.annotation, plain): a.annotation = None
        if node.returns and not self._is_known(node.returns, plain): node.returns = None
        if is_part: args.defaults = []
        if is_part and fn not in self._called: args.kw_defaults = [None] * len(args.kwonlyargs)
        if before == (ast.dump(args), name, bool(node.returns)): return above + text
        return above + with_signature(text, name, args, node.returns)

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
            if origin(value) != 'python': return False
            if not isinstance(value, ModuleType) and not home(value): return False
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
        if isinstance(value, ModuleType) and origin(value) != 'genopt':
            self._needs(value.__name__)
            return self._import(name, module_import(name, value.__name__))
        if (text := literal(value)) is not None:
            new = self._named(('constant', name, text), name)
            self.constants[new] = text
            return new
        if module := home(value):
            self._needs(module)
            as_ = f' as {name}' if name != value.__name__ else ''
            return self._import(name, f'from {module} import {value.__name__}{as_}')
        if isinstance(value, Part) and not value.names:
            value = value.fn
            self._parts.add(value)
        if isinstance(inspect.unwrap(value), FunctionType):
            self._called.add(value)
            return self._function(value, f'`{name}`, which is called by {said},', name)
        if isinstance(value, ModuleType):
            raise TypeError(f'{said} reads the module `{name}` of genopt, which the file will not '
                            'have: import the function itself')
        raise TypeError(f'{said} reads `{name}`, a {_kind(value)} outside of it, which cannot be '
                        'written into a file as a number, a string or a tuple can: compute it '
                        'inside, or make it a hyperparameter')

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


def _kind(x: Any) -> str:
    return f'{type(x).__module__}.{type(x).__qualname__}'.removeprefix('builtins.')
