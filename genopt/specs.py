"""Every way to name an optimizer in a text: on a command line, or in place of a recipe.

    adam                                  a recipe, whatever its case
    adam(amsgrad=True, lr=1e-3)           with other default values
    adamw + cautious + lookahead          with parts that modify it
    mine.py:Squash                        what a file defines
    package.module:Squash                 what a module defines
    torch.optim:AdamW(betas=(.9, .95))    also a class that is not genopt's

A file or a module may also hold parts, and lists of parts.
"""
from __future__ import annotations

import ast
import os.path
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isclass, isfunction
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

import torch

from .hypers import did_you_mean
from .part import Part
from .recipe import Recipe, recipe

__all__ = ['FORMS', 'Named', 'function', 'look_up', 'module_of']

Named: TypeAlias = 'Recipe | Part | tuple[Part, ...] | type[torch.optim.Optimizer] | partial[Any]'

FORMS = ('a name (adam), options (adam(amsgrad=True)), a sum (adamw + cautious), a file '
         '(mine.py:Squash) or a module (package.module:Squash)')
PATH = re.compile(r'\.py(?=$|[\s:(+])')  # where a path may end
TERM = re.compile(r'(?P<name>[^()]*?)\s*(?:\((?P<given>.*)\))?', re.DOTALL)


def look_up(text: str, recipes: Mapping[str, Recipe], parts: Mapping[str, Any]) -> Named:
    """What a text names: one of these recipes or parts by its name, or what its form says.

    A foreign class with arguments is a `partial`. Raises KeyError for a name that is nothing,
    TypeError for what cannot be an optimizer or a part of one, ValueError for a text that cannot be
    read, and ImportError for a file or a module that fails.
    """
    first, *others = _terms(text)
    names = {n.lower(): r for n, r in recipes.items()}
    found: Any = _term(first, names, parts, is_first=True)
    if others and not isinstance(found, Recipe):
        raise TypeError(f'`{first}` + ... : a sum begins with a recipe, and this is '
                        f'{_what(found)}')
    for other in others:
        part = _term(other, names, parts)
        if not isinstance(part, (Part, tuple)):
            raise TypeError(f'`{first} + {other}`: only parts can be added to a recipe, and '
                            f'`{other}` is {_what(part)}')
        found = found + part
    return cast(Named, found)


def _terms(text: str) -> Iterator[str]:
    "What stands between plus signs that are neither in brackets nor in the path of a file."
    depth, begin, path = 0, 0, _path_end(text, 0)
    for i, c in enumerate(text):
        if i < path: continue
        depth += (c in '([{') - (c in ')]}')
        if c == '+' and not depth:
            yield text[begin:i].strip()
            begin = i + 1
            path = _path_end(text, begin)
    yield text[begin:].strip()


def _path_end(text: str, begin: int) -> int:
    "Where the longest path ends that begins here and is a file; or `begin`."
    ends = [m.end() for m in PATH.finditer(text, begin)]
    return max((e for e in ends if os.path.isfile(text[begin:e].strip())), default=begin)


def _term(text: str, recipes: Mapping[str, Recipe], parts: Mapping[str, Any],
          is_first: bool=False) -> Any:
    "What a term names. `is_first`: a recipe before a part, as with `sam + cautious`."
    match = TERM.fullmatch(text)
    if not match or not match['name']:
        raise ValueError(f'{text!r} does not name an optimizer: give {FORMS}')
    name = match['name']
    found = (_defined(name) if ':' in name or name.endswith('.py') else
             _known(name, recipes, parts, is_first))
    if match['given'] is None: return found
    given = _arguments(text, match['given'])
    if isinstance(found, Recipe):
        try: return found.configured(**given)
        except (TypeError, ValueError) as e: raise type(e)(f'`{text}`: {e}') from None
    if isclass(found): return partial(found, **given)
    raise TypeError(f'{text!r}: only a recipe or a class takes arguments, and `{name}` is '
                    f'{_what(found)}')


def _known(name: str, recipes: Mapping[str, Recipe], parts: Mapping[str, Any],
           is_first: bool) -> Any:
    plain = name.lower().replace('_', '').replace('-', '')
    if name in parts and not (is_first and plain in recipes): return parts[name]
    if plain in recipes: return recipes[plain]
    advice = 'use torch.optim.LBFGS, as its parts would need all parameters at once'
    if plain != 'lbfgs':
        near = get_close_matches(plain, recipes, 1, .5) or get_close_matches(name, parts, 1, .5)
        advice = f'`python -m genopt list` shows all; give {FORMS}'
        if near: advice = (f'did you mean `{getattr(recipes.get(near[0]), "__name__", near[0])}`? '
                           f'Or give {FORMS}')
    raise KeyError(f'there is no recipe or part `{name}`: {advice}')


def _arguments(text: str, given: str) -> dict[str, Any]:
    try:
        call = ast.parse(f'f({given})', mode='eval').body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args
        res = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
        assert len(res) == len(call.keywords)  # no `**`, and none twice
        return res
    except (SyntaxError, ValueError, AssertionError):
        raise ValueError(f'{text!r}: give its arguments by name, each once, with plain values, '
                         'as in adam(amsgrad=True, lr=1e-3)') from None


# -- files and modules -----------------------------------------------------------------------------

def _defined(place: str) -> Any:
    "What a file or a module defines under a name; without one, its only recipe."
    where, _, name = place.partition(':') if place.endswith('.py') else place.rpartition(':')
    if place.endswith('.py'): where, name = place, ''
    module = module_of(where)
    usable = {k: v for k, v in vars(module).items() if _is_usable(v) and not k.startswith('_')}
    own = {k: v for k, v in usable.items() if isinstance(v, (list, tuple))  # it cannot say whose
           or v.__module__ == module.__name__}
    if not name:
        recipes = [v for v in own.values() if isinstance(v, Recipe)]
        if len(recipes) == 1: return recipes[0]
        if not own: raise KeyError(f'{place} defines no recipe, and no parts')
        has = f'{len(recipes)} recipes' if recipes else 'no recipe'
        raise KeyError(f'{place} has {has}: name one of {", ".join(own)}, as in '
                       f'{where}:{[*own][-1]}')
    if name not in usable:
        if hasattr(module, name):
            raise TypeError(f'`{place}` is {_what(getattr(module, name))}: name a recipe, a list '
                            'of parts, a part, or a torch.optim.Optimizer')
        public = [k for k in vars(module) if not k.startswith('_')]
        raise KeyError(f'{where} has no `{name}`: {did_you_mean(name, usable or public)}')
    found = usable[name]
    if isinstance(found, (list, tuple)):
        found = tuple(found)
        if any(p.kind == 'step' for p in found) and name[0].isupper(): return _of_parts(name, found)
    return found


def _of_parts(name: str, parts: tuple[Part, ...]) -> Recipe:
    "A list of parts under its name."
    def fn() -> Iterable[Part]: return parts
    fn.__name__ = fn.__qualname__ = name
    return recipe()(fn)


def module_of(where: str) -> ModuleType:
    "The module that a file, or a module's name, stands for. Raises ImportError if it fails."
    return _file(where) if where.endswith('.py') else _module(where)


def _is_usable(x: Any) -> bool:
    if isinstance(x, (list, tuple)): return bool(x) and all(isinstance(p, Part) for p in x)
    return isinstance(x, (Recipe, Part)) or isclass(x) and issubclass(x, torch.optim.Optimizer)


def _file(path: str) -> ModuleType:
    "A file of Python, run as a module: once, until it changes. It may import its neighbours."
    try: code = Path(path).read_bytes()
    except OSError as e: raise ImportError(f'{path} cannot be read: {e.strerror or e}') from None
    name = f'{Path(path).stem}_{sha256(str(Path(path).resolve()).encode() + code).hexdigest()[:8]}'
    if name in sys.modules: return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec and spec.loader
    sys.modules[name] = module = module_from_spec(spec)
    sys.path.insert(0, folder := str(Path(path).resolve().parent))
    try: spec.loader.exec_module(module)
    except BaseException as e:
        del sys.modules[name]
        if not isinstance(e, Exception): raise
        raise ImportError(f'{path} fails: {type(e).__name__}: {e}') from e
    finally: sys.path.remove(folder)
    return module


def function(place: str) -> Any:
    "The plain function that a text names, as `mine.py:reference`; None if it names anything else."
    where, colon, name = place.rpartition(':')
    if not colon or not name.isidentifier(): return None
    found = getattr(module_of(where), name, None)
    return found if isfunction(found) else None


def _module(name: str) -> ModuleType:
    try: return import_module(name)
    except Exception as e:
        raise ImportError(f'the module `{name}` cannot be imported: {type(e).__name__}: {e}') from e


def _what(x: Any) -> str:
    "What a thing is, for errors."
    if isinstance(x, Recipe): return 'a recipe'
    if isinstance(x, Part): return f'a part, a {x.kind}'
    if isinstance(x, tuple): return 'several parts'
    return f'the class {x.__qualname__}' if isclass(x) else f'a value of type {type(x).__name__}'
