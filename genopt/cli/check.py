"Compares an optimizer with a reference, and tries it as training loops use it."
from __future__ import annotations

from json import dumps
from pathlib import Path

from . import REFUSED, Stop, write


def check(
    optimizer: str,  # What is checked: 'torch.optim:AdamW(lr=0.01)', mine.py:Mine, a recipe, a sum
    against: str='',  # Its reference: the same forms, or a function of arrays, as paper.py:adam
    json: str=''  # Write the report to this file, too
) -> int:
    "Checks if an optimizer agrees with a reference, and says where and why they part."
    from ..checks.check import check as checked
    if json: write(Path(json), Path.touch)
    try: found = checked(optimizer, against)
    except REFUSED as e: raise Stop(e.args[0]) from None
    print(found.text())
    text = dumps(found.data(), indent=1, ensure_ascii=False) + '\n'
    if json: write(Path(json), lambda path: path.write_text(text, encoding='utf-8'))
    return 0 if found.ok else 1
