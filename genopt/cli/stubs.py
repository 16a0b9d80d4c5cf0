"`python -m genopt stubs`: what an editor and a type checker see of genopt and its recipes."
from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import genopt

from .. import zoo
from ..recipe import Recipe

__all__ = ['stubs']

HEAD = """# Written by `python -m genopt stubs` from the code that runs.
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

from torch import Tensor

from ..optimizer import Optimizer
from ..params import Params
from ..recipe import Recipe

# One number for all groups, or one for each
Number: TypeAlias = float | Tensor | Sequence[float] | slice[Any, Any, Any]

FAMILIES: tuple[ModuleType, ...]"""
FLAG = 'bool | None'


def stubs() -> int:
    "Writes the stubs of genopt and genopt.zoo, as the code that runs has them."
    for path, text in texts().items():
        path.write_text(text, encoding='utf-8')
        print(path)
    return 0


def texts() -> dict[Path, str]:
    "The stubs, and where each belongs."
    folder = Path(genopt.__file__).parent
    return {folder/'__init__.pyi': _top() + '\n', folder/'zoo/__init__.pyi': _recipes() + '\n'}


def _top() -> str:
    modules: dict[str, str] = vars(genopt)['LATER'] | dict.fromkeys(zoo.__all__, 'zoo')
    for n in {*genopt.__all__} - {*modules}:
        home = getattr(getattr(genopt, n), '__module__', 'genopt.parts.modifiers')  # of a tuple
        modules[n] = home.removeprefix('genopt.')
    return '\n'.join(['# Written by `python -m genopt stubs` from the code that runs.',
                      'from . import parts as parts, zoo as zoo',
                      *[f'from .{modules[n]} import {n} as {n}' for n in genopt.__all__], '',
                      '__version__: str', f'__all__ = {genopt.__all__}'])


def _recipes() -> str:
    lines = [line for name in zoo.__all__ for line in _stub(getattr(zoo, name))]
    return '\n'.join([HEAD, f'__all__ = {zoo.__all__}', *lines])


def _stub(r: Recipe) -> Iterator[str]:
    args = [a for a in inspect.signature(r).parameters.values() if a.name not in ('params', 'lr')]
    lr = inspect.signature(r).parameters['lr'].default
    doc = textwrap.indent(r.__doc__ or '', ' ' * 8).strip().replace('\\', '\\\\')
    yield from ('', f'class _{r.__name__}(Recipe):', f'    """{r.idea}"""')
    yield '    def __call__(  # type: ignore[override]'
    yield f'        self, params: Params, lr: Number = {lr!r}, *,'
    for a in args:
        value = '' if a.default is a.empty else f' = {a.default!r}'
        kind = FLAG if a.name == 'compile' else _type(a.default)
        yield f'        {a.name}: {kind}{value},'
    yield from (f'        {word}: {FLAG} = None,' for word in ('fused', 'foreach'))  # torch's
    words = r.rule().words
    for word, ours in {**words.means, **words.pairs}.items():
        if word in words.names: continue
        kind = ', '.join(['float | Tensor'] * len(ours))
        default = r.options[ours[0]] if ours[0] in r.options else 0.
        yield f'        {word}: {_type(default) if len(ours) == 1 else f"tuple[{kind}]"} = ...,'
    yield '    ) -> Optimizer:'
    yield f'        """{doc}'
    yield '        """'
    yield ''
    yield f'{r.__name__}: _{r.__name__}'


def _type(default: object) -> str:
    if isinstance(default, (bool, str)): return type(default).__name__
    return 'str | None' if default is None else 'Number'
