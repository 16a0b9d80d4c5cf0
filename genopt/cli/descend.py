"The paths of recipes on a surface of two numbers: a picture, or an animation."
from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..part import ContractError, PartError
from ..study.maps import animate, plot_paths
from ..study.paths import descend as walk
from . import Stop, write

__all__ = ['descend']

KINDS = '.png', '.svg', '.pdf', '.gif'


def descend(
    recipes: Annotated[list[str], dict(nargs='+', type=str)],  # Which: adam momentum sgd
    on: str='rosenbrock',  # The surface: valley, noisy_bowl, saddle, rosenbrock, beale
    steps: int=200,  # How many
    lr: str='',  # The learning rate, or one each with commas between; by default the best of 15 that are tried
    start: str='',  # Where paths begin, as in --start=-1,2; the surface's own place by default
    seed: int=0,  # Of the noise
    out: Path=Path('paths.png')  # The picture: a .png, .svg or .pdf; or a .gif, which moves
) -> int:
    "Draws the paths that recipes take down a surface, as a picture or as an animation."
    if out.suffix.lower() not in KINDS: raise Stop(f'--out {out}: give a name that ends in {", ".join(KINDS)}')
    begin, lrs = _numbers('start', start, 2) or None, _numbers('lr', lr, 1, len(recipes))
    rates = lrs if len(lrs) == len(recipes) else [*lrs, None][:1] * len(recipes)
    try: paths = [walk(r, on, begin, steps, rate, seed) for r, rate in zip(recipes, rates)]
    except (KeyError, TypeError, ValueError, ContractError, PartError) as e: raise Stop(e.args[0]) from None
    wide = max(len(p.label) for p in paths)
    for p in paths: print(f'{p.label:{wide}}  {p.end}')
    def draw(out: Path) -> None:
        if out.suffix.lower() == '.gif': animate(paths).save(out, writer='pillow')
        else: plot_paths(paths).savefig(out, dpi=150)
    try: write(out, draw)
    except ImportError as e: raise Stop(str(e)) from None
    print(f'wrote {out}')
    return 0


def _numbers(option: str, text: str, *counts: int) -> list[float]:
    "The numbers that `text` has, with commas between; none if it is empty."
    try: res = [float(t) for t in text.split(',')] if text else []
    except ValueError: raise Stop(f'--{option} {text}: give numbers, with commas between') from None
    if res and len(res) not in counts:
        few = ' or '.join(map(str, sorted({*counts})))
        raise Stop(f'--{option} {text}: give {few} number{"s" * (few != "1")}')
    return res
