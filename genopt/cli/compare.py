"What optimizers share, and where they differ: as a table, a page, or a picture."
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from . import REFUSED, Stop, check_suffix, write
from .explain import show

if TYPE_CHECKING: from matplotlib.figure import Figure


def compare(
    recipes: Annotated[list[str], dict(nargs='+', type=str)],  # Such as rmsprop adam; or one
    latex: bool=False,  # Print a table for LaTeX
    markdown: bool=False,  # Print Markdown, with LaTeX
    html: str='',  # Write a web page to this file
    picture: str=''  # Draw the parts into this .png, .svg or .pdf
) -> int:
    "Compares optimizers by their parts, or lists the relatives of one."
    from ..study.compare import compare as compared
    try: found = compared(*recipes)
    except REFUSED as e: raise Stop(e.args[0]) from None
    if picture: save(found.plot, picture)
    if picture and not (latex or markdown or html): return 0
    return show(found, latex, markdown, html, ', '.join(m.name for m in found.members))


def save(draw: Callable[[], Figure], path: str) -> None:
    "Writes a picture. Raises Stop if the name has another suffix, or if the disk refuses."
    check_suffix(path, '.png', '.svg', '.pdf')
    figure = draw()
    write(Path(path), lambda p: figure.savefig(p, dpi=150))
    print(f'wrote {path}')
