"The explanation of an optimizer or a part: its algorithm, hyperparameters, memory and sources."
from __future__ import annotations

import ast
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any

from . import REFUSED, Stop, one_of, write


def explain(
    what: str,  # A recipe, a part or a sum: adam, average_grad, 'adam + cautious', mine.py:Squash
    given: Annotated[list[str], dict(nargs='*', type=str)],  # Options, as in amsgrad=True wd=0.1
    latex: bool=False,  # Print the algorithm as LaTeX, for a document with amsmath
    markdown: bool=False,  # Print all of it as Markdown, with LaTeX
    html: str=''  # Write all of it as a web page to this file
) -> int:
    "Explains an optimizer or a part: its algorithm, hyperparameters, memory and sources."
    from ..study.explain import explain as explained
    try: found = explained(what, **given_values(given))
    except REFUSED as e: raise Stop(e.args[0]) from None
    return show(found, latex, markdown, html, what)


def show(found: Any, latex: bool, markdown: bool, html: str, title: str) -> int:
    "Prints a report in one form, or writes it as a page."
    one_of(latex=latex, markdown=markdown, html=html)
    if not html:
        print(found.latex() if latex else found.markdown() if markdown else found.text())
        return 0
    body = found.html()
    page = PAGE.format(title=escape(title),
                       body=body if '<h' in body else f'<h1>{escape(title)}</h1>{body}')
    write(Path(html), lambda path: path.write_text(page, encoding='utf-8'))
    print(f'wrote {html}')
    return 0


PAGE = '''<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – genopt</title>
<style>body {{font-family: sans-serif; margin: 1em auto; max-width: 60em; padding: 0 1em}}</style>
</head>
<body><main>{body}</main></body>
</html>
'''


def given_values(texts: Sequence[str]) -> dict[str, Any]:
    "The options and hyperparameters in texts such as `wd=0.1`. Raises Stop for another text."
    return dict(map(_given, texts))


def _given(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition('=')
    if not (equals and name): raise Stop(f'{text}: give name=value, as in wd=0.1')
    try: return name, ast.literal_eval(value)
    except (ValueError, SyntaxError): return name, value
