"The family picture."
from __future__ import annotations

from .compare import save


def family(
    out: str='family.png'  # A .png, .svg or .pdf
) -> int:
    "Draws all recipes as a tree, in which each hangs from its nearest relative."
    from ..study.pictures import family as draw
    save(draw, out)
    return 0
