"The recipes and the parts, as a table in the terminal or as Markdown."
from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator

from ..catalogue import every_part, modifiers, recipes, users
from ..letters import idea
from ..part import Part
from ..study.report import Block, Code, Heading, Markdown, Table
from ..zoo import FAMILIES
from . import Stop, one_of


def list(  # noqa: A001
    family: str='',  # One of friends, memories, sums, adams, signs, layers, rates
    parts: bool=False,  # List the parts, and which recipes use each
    markdown: bool=False  # Print all of it, as docs/catalogue.md has it
) -> int:
    "Lists the recipes by family, or the parts with the recipes that use them."
    one_of(family=family, parts=parts, markdown=markdown)
    if markdown: print(page())
    elif parts: _show((p.label, *_described(p)) for p in every_part())
    else:
        try: entries = recipes(family)
        except KeyError as e: raise Stop(e.args[0]) from None
        _show((e.name, e.family, e.idea, ' → '.join(p.label for p in e.parts)) for e in entries)
    return 0


def _show(rows: Iterable[tuple[str, str, str, str]]) -> None:
    "Name, kind, idea, and below the idea a list; at the width of the terminal."
    names, kinds, *_ = zip(*(rows := [*rows]))
    name_width, kind_width = (max(map(len, column)) for column in (names, kinds))
    indent = name_width + kind_width + 4
    width = max(shutil.get_terminal_size((120, 24)).columns - indent, 40)
    for name, kind, about, more in rows:
        first, *rest = textwrap.wrap(about, width) or ['']
        print(f'{name:{name_width}}  {kind:{kind_width}}  {first}')
        for line in rest + textwrap.wrap(more or '–', width, break_long_words=False):
            print(' ' * indent + line)


def page() -> str:
    "The catalogue as Markdown."
    return Markdown()(_blocks())


def _blocks() -> Iterator[Block]:
    yield Heading('The catalogue', 1, WRITTEN)
    for module in FAMILIES:
        key = module.__name__.rsplit('.', 1)[-1]
        yield Heading(key, 2, (module.__doc__ or '').strip())
        yield Table([(f'**{e.name}**', e.idea, _labels(e.parts)) for e in recipes(key)],
                    ('recipe', 'idea', 'parts'))
    yield Heading('Modifiers', 2, 'For any recipe, as in `Adam + cautious`.')
    yield Table([(f'**{name}**', _labels(ps), ' '.join(idea(p.fn) for p in ps))
                 for name, ps in modifiers().items()], ('modifier', 'parts', 'what it does'))
    yield Heading('Parts', 2,
                  'With the recipes that use each, under any name and by any of their options.')
    yield Table([(Code(p.label), *_described(p)) for p in every_part()],
                ('part', 'kind', 'what it does', 'used by'))


def _described(part: Part) -> tuple[str, str, str]:
    return part.kind, idea(part.fn), ', '.join(users(part))


WRITTEN = """Written by `python -m genopt list --markdown` from the code that runs.

torch.optim's LBFGS is not here: it searches along lines through all parameters at once, so it is \
not made of parts that see one parameter. Use torch's."""


def _labels(parts: Iterable[Part]) -> str: return ' → '.join(f'`{p.label}`' for p in parts)
