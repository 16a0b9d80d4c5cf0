"`python -m genopt stubs`: what an editor and a type checker see of the recipes: their real signatures."
from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

from .. import zoo
from ..recipe import Recipe, recipe

__all__ = ['stubs']

HEAD = """# Written by `python -m genopt stubs` from the code that runs.
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

from torch import Tensor

from ..optimizer import Optimizer
from ..params import Params
from ..recipe import Recipe

Number: TypeAlias = float | Tensor | Sequence[float] | slice[Any, Any, Any]  # one for all groups, or for each

FAMILIES: tuple[ModuleType, ...]"""


def stubs() -> int:
    "Prints genopt/zoo/__init__.pyi: the recipes as a type checker and an editor see them."
    print(text())
    return 0


def text() -> str:
    return '\n'.join([HEAD, f'__all__ = {zoo.__all__}', *(line for n in zoo.__all__ for line in _stub(recipe(n)))])


def _stub(r: Recipe) -> Iterator[str]:
    args = [a for a in inspect.signature(r).parameters.values() if a.name not in ('params', 'lr')]
    lr = inspect.signature(r).parameters['lr'].default
    doc = textwrap.indent(r.__doc__ or '', ' ' * 8).strip().replace('\\', '\\\\')
    yield from ('', f'class _{r.__name__}(Recipe):', f'    """{r.idea}"""')
    yield '    def __call__(  # type: ignore[override]'
    yield f'        self, params: Params, lr: Number = {lr!r}, *,'
    for a in args: yield f'        {a.name}: {_type(a.default)}{"" if a.default is a.empty else f" = {a.default!r}"},'
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
    return 'bool' if isinstance(default, bool) else 'str | None' if default is None else 'Number'
