"`python -m genopt list`: the recipes and the parts, as a table in the terminal or as Markdown."
from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator

from ..catalogue import every_part, modifiers, recipes, users
from ..letters import idea
from ..zoo import FAMILIES
from . import Stop

__all__ = ['list']


def list(  # noqa: A001
    family: str='',      # Only the recipes of this one: friends, memories, sums, adams, signs or layers
    parts: bool=False,   # The parts and which recipes use each, and not the recipes?
    markdown: bool=False # All of it, as the page docs/catalogue.md?
) -> int:
    "Lists the recipes by family, with what each is about and made of; or the parts, with the recipes that use them."
    if (chosen := [f'--{k}' for k, v in dict(family=family, parts=parts, markdown=markdown).items() if v])[1:]:
        raise Stop(f'{" and ".join(chosen)} do not go together: give one')
    if markdown: print(page()); return 0
    if parts: rows = [(p.label, p.kind, idea(p.fn), ', '.join(users(p)) or '–') for p in every_part()]
    else:
        try: entries = recipes(family)
        except KeyError as e: raise Stop(e.args[0]) from None
        rows = [(e.name, e.family, e.idea, ' → '.join(p.label for p in e.parts)) for e in entries]
    print('\n'.join(_table(rows)))
    return 0


def _table(rows: Iterable[tuple[str, str, str, str]]) -> Iterator[str]:
    "Two columns, and under each row what it is about, and made of or used by, at the width of the terminal."
    rows = [*rows]
    wide = [max(len(r[i]) for r in rows) for i in (0, 1)]
    indent = ' ' * (sum(wide) + 4)
    width = max(shutil.get_terminal_size((120, 24)).columns, len(indent) + 40)
    for name, kind, about, more in rows:
        first, *rest = textwrap.wrap(about, width - len(indent)) or ['']
        yield f'{name:{wide[0]}}  {kind:{wide[1]}}  {first}'
        for line in rest + textwrap.wrap(more, width - len(indent), break_long_words=False): yield indent + line


def page() -> str:
    "The catalogue as Markdown."
    lines = ['# The catalogue', '', 'Written by `python -m genopt list --markdown` from the code that runs.', '',
             'torch.optim\'s LBFGS is not here: it searches along lines through all parameters at once, so it is not '
             'made of parts that see one parameter. Use torch\'s.']
    for module in FAMILIES:
        key = module.__name__.rsplit('.', 1)[-1]
        lines += ['', f'## {key}', '', (module.__doc__ or '').strip(), '']
        lines += ['| recipe | idea | parts |', '|---|---|---|']
        lines += [_row(f'**{e.name}**', e.idea, ' → '.join(f'`{p.label}`' for p in e.parts)) for e in recipes(key)]
    lines += ['', '## Modifiers', '', 'For any recipe, as in `Adam + cautious`.', '']
    lines += ['| modifier | parts | what it does |', '|---|---|---|']
    lines += [_row(f'**{n}**', ' → '.join(f'`{p.label}`' for p in ps), ' '.join(idea(p.fn) for p in ps))
              for n, ps in modifiers().items()]
    lines += ['', '## Parts', '', 'With the recipes that use each, under any name and by any of their options.', '']
    lines += ['| part | kind | what it does | used by |', '|---|---|---|---|']
    lines += [_row(f'`{p.label}`', p.kind, idea(p.fn), ', '.join(users(p))) for p in every_part()]
    return '\n'.join(lines)


def _row(*cells: str) -> str: return '| ' + ' | '.join(c.replace('|', '\\|') for c in cells) + ' |'
