"The family of optimizers, as a tree or as a picture."
from __future__ import annotations

from .compare import save


def family(
    out: str=''  # Draw it into this .png, .svg or .pdf
) -> int:
    "Shows all recipes as a tree, in which each stands under those that it is made of."
    from ..study.family import family as found
    if out: save(found().plot, out)
    else: print(found())
    return 0
