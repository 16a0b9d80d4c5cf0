"""Formulas on pages: MathML, which browsers show without a script, and the lines of one part.

    >>> lines(average_grad)[0].text
    'm ← β₁·m + (1 − β₁)·g'
"""
from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Any

from ..contract import REQUIRED
from ..extras import missing
from ..part import Part
from ..study.lines import Fragment
from ..study.identities import Identity
from ..study.report import Code, Html, Math
from ..study.section import Section

__all__ = ['Page', 'lines', 'mathml', 'phrase']

LETTER = re.compile('<mi mathvariant="normal">([a-z_])</mi>')  # of a word
WORD = re.compile(f'(?:{LETTER.pattern}){{2,}}')
ENTITY = re.compile('&#x(?!0003C|0003E|00026)([0-9A-F]+);')  # but <, > and &
FENCE = re.compile('<mo stretchy="true" fence="true" form="[a-z]*">([()])</mo>')  # as it is
ROW = re.compile(r'<mrow>(<m([ino])[^>]*>[^<]*</m\2>)</mrow>')  # of one thing


@lru_cache(None)
def mathml(latex: str, block: bool=False) -> str:
    "A formula in LaTeX as MathML. Raises ImportError if latex2mathml is not installed."
    try: from latex2mathml.converter import convert
    except ImportError:
        raise ImportError(missing('latex2mathml', 'formulas need', 'atlas')) from None
    found = str(convert(latex, display='block' if block else 'inline'))
    found = found.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', '')
    found = ENTITY.sub(lambda m: chr(int(m[1], 16)), found)
    while (smaller := ROW.sub(r'\1', found)) != found: found = smaller
    found = WORD.sub(lambda m: f'<mi>{"".join(LETTER.findall(m[0]))}</mi>', found)
    found = found.replace('<mo>^</mo>', '<mo stretchy="false">^</mo>')  # a hat
    found = found.replace(' display="inline"', '')  # large all the same, by our style
    return FENCE.sub(r'<mo>\1</mo>', found)


def lines(part: Part) -> list[Math]:
    "A part's equations in its own letters, as its default values have them."
    fragment = Fragment([part])
    decided = {k: v for k, v in fragment.hypers.items() if v is not REQUIRED and v}
    rows = Section('', fragment, fragment.hypers, decided=decided).rows()
    return [Math(r.text, r.latex) for r in rows]


class Page(Html):
    "A report's blocks on a page of the atlas."
    def math(self, formula: Math) -> str: return mathml(formula.latex)


def phrase(identity: Identity) -> str:
    "An identity in words, as HTML."
    def cell(c: Any) -> str:
        if isinstance(c, Math): return mathml(c.latex)
        return f'<code>{c}</code>' if isinstance(c, Code) else html.escape(c, False)
    return ''.join(map(cell, identity.phrase))
