"Where rows are written while a run goes on: CSV, JSON lines, TensorBoard, or any function."
from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

__all__ = ['Row', 'Writer', 'writer_for']

Row: TypeAlias = Mapping[str, Any]
KEYS = 'step', 'group', 'param'


class Writer(Protocol):
    "Takes the rows of one step after another."
    last: int  # the last step that it had before
    def write(self, rows: Sequence[Row]) -> None: ...


def writer_for(to: Any) -> Writer | None:
    "Raises TypeError or ValueError for what is no place, and OSError for a file it cannot write."
    if to is None: return None
    if isinstance(to, (str, os.PathLike)):
        path = Path(to)
        if path.suffix == '.csv': return Csv(path)
        if path.suffix == '.jsonl': return JsonLines(path)
        raise ValueError(f'`to` = {str(path)!r}: give a name that ends in .csv or .jsonl')
    if hasattr(to, 'add_scalar'): return Board(to)
    if callable(to): return Call(to)
    raise TypeError(f'`to` = {to!r}: give the name of a file, an object with `add_scalar`, or a '
                    'function of the rows of a step')


class Call:
    "A function that is given the rows of each step, a list of dicts."
    last = 0
    def __init__(self, fn: Any): self.write = fn


class Board:
    "A SummaryWriter of TensorBoard, or anything with its `add_scalar`: a chart for each quantity."
    last = 0
    def __init__(self, board: Any): self.board = board

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for k, v in row.items():
                if k not in KEYS: self.board.add_scalar(f'{k}/{row["param"]}', v, row['step'])


# -- files -----------------------------------------------------------------------------------------

class File:
    "A file that grows, one line for each row. Rows that are there stay, and it is never left open."
    def __init__(self, path: Path):
        self.path, self.last = path, 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._cut()
            self._append('')
        except OSError as e:
            why = f'{path} cannot be written: {e.strerror or e}: give another place'
            raise type(e)(why) from None
        try:
            if rows := self.read(): self.last = int(rows[-1]['step'])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f'{path} is not a record of an optimizer: give another name') from None

    def _cut(self) -> None:
        "Takes away a last line that was not finished, as a run was killed."
        if not self.path.exists(): return
        with self.path.open('r+b') as file:
            data = file.read()
            if data and not data.endswith(b'\n'): file.truncate(data.rfind(b'\n') + 1)

    def read(self) -> list[Any]:
        "The rows that are there, as they stand in the file."
        raise NotImplementedError

    def _append(self, text: str) -> None:
        with self.path.open('a', encoding='utf-8', newline='') as file: file.write(text)


class JsonLines(File):
    "An object for each row. What is not finite is NaN or Infinity, as Python's `json` reads it."
    def read(self) -> list[Any]:
        return [json.loads(line) for line in self.path.read_text(encoding='utf-8').splitlines()]

    def write(self, rows: Sequence[Row]) -> None:
        self._append(''.join(json.dumps(row) + '\n' for row in rows))


class Csv(File):
    """A column for each quantity, in eight digits. It is empty in rows without such a quantity.

    If a new quantity comes, the file is written anew, with one more column.
    """
    columns: list[str]

    def read(self) -> list[Any]:
        with self.path.open(encoding='utf-8', newline='') as file:
            reader = csv.DictReader(file)
            self.columns = [*(reader.fieldnames or ())]
            if self.columns and not {*KEYS} <= {*self.columns}: raise ValueError
            return [*reader]

    def write(self, rows: Sequence[Row]) -> None:
        kinds = {tuple(row): row for row in rows}  # by their columns
        names = dict.fromkeys(k for kind in kinds for k in kind)
        if new := [k for k in names if k not in self.columns]: self._widen(new)
        forms = {kind: self._form(row) for kind, row in kinds.items()}  # faster than csv.writer
        self._append(''.join([forms[tuple(row)] % {**row, 'param': _quoted(row['param'])}
                              for row in rows]))

    def _form(self, row: Row) -> str:
        "A line with a place for each value of such a row."
        def place(k: str) -> str:
            if k not in row: return ''
            return f'%({k})' + ('s' if k == 'param' else 'd' if type(row[k]) is int else '.8g')
        return ','.join(map(place, self.columns)) + '\n'

    def _widen(self, new: Sequence[str]) -> None:
        rows, self.columns = self.read(), [*self.columns, *new]
        beside = self.path.with_name(self.path.name + '.new')
        with beside.open('w', encoding='utf-8', newline='') as file:
            writer = csv.DictWriter(file, self.columns, '', lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)
        beside.replace(self.path)  # at once, so that a kill loses nothing


def _quoted(name: str) -> str:
    "A name as CSV has it."
    return '"' + name.replace('"', '""') + '"' if {*name} & {*',"\r\n'} else name

