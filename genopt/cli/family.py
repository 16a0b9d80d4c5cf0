"The family picture: all recipes as a tree, each hanging from the one it takes the fewest edits of parts from."
from __future__ import annotations

from .compare import save

__all__ = ['family']


def family(
    out: str='family.png'  # The picture: .png, .svg or .pdf
) -> int:
    "Draws all recipes as a tree: what makes each of its nearest relative."
    from ..study.pictures import family as draw
    save(draw, out)
    return 0
