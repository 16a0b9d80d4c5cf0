"The atlas: a site that needs no server and no network."
from __future__ import annotations

import shutil
from pathlib import Path

from . import Stop, require, write


def atlas(
    out: Path=Path('atlas')  # A folder that is new, empty, or an older atlas
) -> int:
    "Writes the atlas of optimizers: pages, playgrounds and the documentation."
    require('atlas', 'sphinx', 'furo', 'myst_parser', 'latex2mathml', 'PIL', 'rich')
    from rich.progress import Progress
    from ..atlas.links import broken
    from ..atlas.site import MARK, STEPS, Broken, build
    if out.is_file(): raise Stop(f'{out} is a file: give a folder')
    if out.is_dir() and any(out.iterdir()) and not (out/MARK).exists():
        raise Stop(f'{out} has other files in it: give a new folder, or an empty one')
    if (out/MARK).exists(): shutil.rmtree(out)
    write(out/MARK, lambda path: path.write_text('Written by `python -m genopt atlas`.\n'))
    try:
        with Progress() as progress:
            task = progress.add_task('', total=STEPS + 1)
            for what in build(out): progress.update(task, description=what, advance=1)
            progress.update(task, description='links', advance=1)
            if lost := broken(out): raise Broken(f'{len(lost)} links lead nowhere: {lost[0]}')
    except (Broken, OSError) as e: raise Stop(str(e)) from None
    print(f'wrote {out / "index.html"}')
    return 0
