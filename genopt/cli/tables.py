"Tables in a terminal."
from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    "Prints a table: names on the left, and numbers."
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    table = Table(title=title, title_justify='left', box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  min_width=len(title) + 2)
    for i, column in enumerate(head): table.add_column(column, justify='right' if i else 'left')
    for row in rows: table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 100).print(table)
