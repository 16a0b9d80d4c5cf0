"What an optimizer is: equations, hyperparameters, memory and sources, made by running its parts on symbols."
from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

from . import Stop, write

__all__ = ['explain', 'show']


def explain(
    recipe: str,  # Which: adam
    given: Annotated[list[str], dict(nargs='*', type=str)],  # Options and hyperparameters: amsgrad=True wd=0.1
    latex: bool=False,  # The whole update, as LaTeX for amsmath?
    markdown: bool=False,  # All of it as Markdown, with LaTeX?
    html: str=''  # A file for all of it as a web page
) -> int:
    "Explains an optimizer: its equations, made by running its parts, hyperparameters, memory and sources."
    from ..catalogue import find
    try: found = find(recipe).explain(**dict(map(_given, given)))
    except (KeyError, TypeError, ValueError, OverflowError) as e: raise Stop(e.args[0]) from None
    return show(found, latex, markdown, html, recipe)


def show(found: Any, latex: bool, markdown: bool, html: str, title: str) -> int:
    "Prints what was asked for, or writes the page."
    if (forms := [n for n, v in (('--latex', latex), ('--markdown', markdown), ('--html', html)) if v])[1:]:
        raise Stop(f'{" and ".join(forms)} do not go together: give one')
    if not html: print(found.latex() if latex else found.markdown() if markdown else found.text()); return 0
    try: body = found.html()
    except ImportError as e: raise Stop(str(e)) from None
    write(Path(html), lambda path: path.write_text(PAGE.format(title=title, body=body), encoding='utf-8'))
    print(f'wrote {html}')
    return 0


PAGE = '''<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{title}</title>
<style>body {{font-family: sans-serif; margin: 2em}}</style></head>
<body>{body}</body>
</html>
'''


def _given(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition('=')
    if not (equals and name): raise Stop(f'{text}: give name=value, as in wd=0.1')
    try: return name, ast.literal_eval(value)
    except (ValueError, SyntaxError): return name, value
