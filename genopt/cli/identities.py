"Identities between optimizers, found by running them."
from __future__ import annotations

from typing import Annotated

from . import REFUSED, Stop
from .explain import show


def identities(
    names: Annotated[list[str], dict(nargs='*', type=str)],  # Recipes or parts; by default all
    markdown: bool=False,  # Print docs/identities.md, or the tables of these
    html: str=''  # Write a web page to this file
) -> int:
    "Lists what an optimizer is where a number has a special value."
    from ..study.identities import identities as found
    try: report = found(*names)
    except REFUSED as e: raise Stop(e.args[0]) from None
    if not report: raise Stop(f'no identity with {" or ".join(names)} was found')
    if markdown and not names: print(PAGE)
    return show(report, False, markdown, html, ', '.join(['Identities', *names]))


PAGE = """# Identities

Written by `python -m genopt identities --markdown` from the code that runs. Nobody typed these \
sentences. They are found.

Every recipe and every part is run at each special value of its hyperparameters: 0 or 1 where \
their range ends, or equal to another one, three of them at most. It is also run without parts: a \
transform is left out, and a scalar or an average of squares is replaced by 1. All are given \
the same gradients. Where two results differ by a constant factor at most, and that factor is a \
simple expression of hyperparameters, both walk 25 steps along other gradients with other values, \
and then 8 more with small numbers, 8 as a wide matrix and 8 after a gradient of 0. \
What agrees to 10⁻¹⁰ of the path's length is an identity. What follows from another identity is \
left out.

"Symbols" says that one step of both was also made of symbols, where both are the same expression, \
with one's state written in terms of the other's. So it holds for all steps and values. \
"Numbers" says that the symbols were too hard. A number that is not mentioned is the same on both \
sides. A letter is that of the optimizer in which it stands: `python -m genopt explain adan`.
"""
