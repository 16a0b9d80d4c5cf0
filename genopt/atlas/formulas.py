"""Formulas on pages: MathML, which browsers show without a script, and the line of one part.

    >>> line(average_grad).text
    'm ← β₁·m + (1 − β₁)·g'
"""
from __future__ import annotations

import html
import re
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from ..contract import REQUIRED
from ..extras import missing
from ..part import Part, with_links
from ..study.equations import Equations
from ..study.explain import Section
from ..study.identities import Identity
from ..study.latex import Latex
from ..study.notation import Text
from ..study.report import Code, Math

__all__ = ['lines', 'mathml', 'phrase']

LETTER = re.compile('<mi mathvariant="normal">([a-z]|&#x0005F;)</mi>')  # of a word


@lru_cache(None)
def mathml(latex: str, block: bool=False) -> str:
    "A formula in LaTeX as MathML. Raises ImportError if latex2mathml is not installed."
    try: from latex2mathml.converter import convert
    except ImportError:
        raise ImportError(missing('latex2mathml', 'formulas need', 'atlas')) from None
    found = str(convert(latex, display='block' if block else 'inline'))
    found = found.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', '')
    found = re.sub(f'(?:{LETTER.pattern}){{2,}}', lambda m: f'<mi>{"".join(LETTER.findall(m[0]))}</mi>', found)
    found = found.replace('<mo>&#x0005E;</mo>', '<mo stretchy="false">&#x0005E;</mo>')  # a hat
    return found if block else found.replace('<math ', '<math displaystyle="true" ', 1)


def lines(part: Part) -> list[Math]:
    """A part's equation in its own letters, after those of the hats in it.

    A function of what it reads, if it has no equation.
    """
    stats = {n.removeprefix('prev_') for n in (*part.reads, part.out)} - {'count'}
    alone: Any = SimpleNamespace(parts=[part], ordered=[*with_links([part])], stats=stats,
                                 tensor_stats=[] if part.is_number else [*stats])
    section = Section.__new__(Section)
    values = {k: v for k, v in part.hypers.items() if v is not REQUIRED and v}  # they answer questions
    section.equations = Equations(alone, values)
    section.text = Text(section.equations.letters, section.equations.tensors)
    section.latex = Latex(section.equations.letters, section.equations.tensors)
    found = [q for q in section.equations.parts if q.part == part]
    return [section.equation(q) for q in found or section.equations.traced[-1:]]


def phrase(identity: Identity) -> str:
    "An identity in words, as HTML."
    def cell(c: Any) -> str:
        if isinstance(c, Math): return mathml(c.latex)
        return f'<code>{c}</code>' if isinstance(c, Code) else html.escape(c, False)
    return ''.join(map(cell, identity.phrase))
