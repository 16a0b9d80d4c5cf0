"An optimizer as one file that needs only torch."
from __future__ import annotations

from pathlib import Path
from typing import Annotated

from . import REFUSED, Stop, write
from .explain import given_values


def export(
    what: str,  # A recipe or a sum, such as adam or adamw+cautious
    given: Annotated[list[str], dict(nargs='*', type=str)],  # Options, as in amsgrad=True wd=0.1
    out: str=''  # The file; without it, the text is printed
) -> int:
    "Writes an optimizer as one file that needs only torch."
    from ..exporting.export import export as exported
    try: text = exported(what, **given_values(given))
    except REFUSED as e: raise Stop(e.args[0]) from None
    if not out:
        print(text, end='')
        return 0
    write(Path(out), lambda path: path.write_text(text, encoding='utf-8'))
    print(f'wrote {out}')
    return 0
