"What optimizers share, and where they differ: a table, a page, or a picture of their parts."
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from . import Stop, write
from .explain import show

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['compare', 'save']


def compare(
    recipes: Annotated[list[str], dict(nargs='+', type=str)],  # Which: rmsprop adam adamw; of one, its relatives
    latex: bool=False,  # As a table for LaTeX?
    markdown: bool=False,  # As Markdown, with LaTeX?
    html: str='',  # A file for all of it as a web page
    picture: str=''  # A file for a picture of the parts: .png, .svg or .pdf
) -> int:
    "Compares optimizers by their parts: what they share, and what makes one of another."
    from ..study.compare import compare as compared
    try: found = compared(*recipes)
    except KeyError as e: raise Stop(e.args[0]) from None
    if picture: save(found.plot, picture)
    return show(found, latex, markdown, html, ', '.join(recipes)) if latex or markdown or html or not picture else 0


def save(draw: Callable[[], Figure], path: str) -> None:
    "Draws, and writes the picture."
    if Path(path).suffix.lower() not in ('.png', '.svg', '.pdf'):
        raise Stop(f'{path}: give a name that ends in .png, .svg or .pdf')
    try: figure = draw()
    except ImportError as e: raise Stop(str(e)) from None
    write(Path(path), lambda p: figure.savefig(p, dpi=150))
    print(f'wrote {path}')
