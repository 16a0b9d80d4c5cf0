"The paths of recipes on a surface of two numbers: a picture, or an animation."
from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from ..study.maps import animate, plot_paths
from ..study.paths import descend as walk
from . import REFUSED, Stop, check_suffix, numbers, write


def descend(
    recipes: Annotated[list[str], dict(nargs='+', type=str)],  # Such as adam mine.py:Squash
    on: str='rosenbrock',  # The surface: valley, noisy_bowl, saddle, rosenbrock, beale
    steps: int=200,  # The number of steps of each
    lr: str='',  # One learning rate, or one for each; by default the best of 15 that are tried
    start: str='',  # Where paths begin, as in --start=-1,2; by default a place of the surface
    seed: int=0,  # Seeds the surface's noise
    out: Path=Path('paths.png')  # A .png, .svg or .pdf; or a .gif, which moves
) -> int:
    "Draws the paths that recipes take down a surface, as a picture or an animation."
    check_suffix(out, '.png', '.svg', '.pdf', '.gif')
    begin = numbers('start', start, 2) or None
    rates: list[float | None] = [*numbers('lr', lr, 1, len(recipes))] or [None]
    if len(rates) == 1: rates *= len(recipes)
    try: paths = [walk(r, on, begin, steps, rate, seed) for r, rate in zip(recipes, rates)]
    except REFUSED as e:
        raise Stop(e.args[0]) from None
    wide = max(len(p.label) for p in paths)
    for p in paths: print(f'{p.label:{wide}}  {p.end}')
    if out.suffix.lower() == '.gif': write(out, partial(animate(paths).save, writer='pillow'))
    else: write(out, partial(plot_paths(paths).savefig, dpi=150))
    print(f'wrote {out}')
    return 0
