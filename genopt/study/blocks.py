"""What a report is made of: blocks of cells."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = ['Block', 'Cell', 'Code', 'Entry', 'Heading', 'Math', 'Note', 'Procedure', 'Sentences',
           'Table']


class Code(str): "A name from the code."
class Note(str): "A remark behind something else, in brackets."


class Math(NamedTuple):
    "A formula in both notations."
    text: str
    latex: str


Cell: TypeAlias = 'str | Math | Sequence[Cell]'  # a sequence is written with nothing between


# -- blocks ----------------------------------------------------------------------------------------

@dataclass
class Heading:
    "A title, and the idea in a sentence."
    title: str
    level: int
    idea: str=''


@dataclass
class Table:
    "Rows of cells. An empty row is a gap in a terminal, and nothing on a page."
    rows: Sequence[Sequence[Cell]]
    head: Sequence[str]
    caption: str | None=None  # in a terminal, stands in place of the head
    flow: str=''              # in a terminal, this column follows an arrow in the one before it
    centred: Sequence[str]=()
    spare: Sequence[str]=()   # in a narrow terminal, these columns go, the first one first


@dataclass
class Entry:
    "A label, and rows of one cell, or of a name and a cell."
    label: str
    rows: Sequence[Sequence[Cell]]


@dataclass
class Procedure:
    """Lines below each other, each with how deep it stands.

    A formula of several lines has cases. Other than in a formula, a line's text is in words.
    """
    lines: Sequence[tuple[int, Cell]]


@dataclass
class Sentences:
    "A list of sentences."
    sentences: Sequence[str]


Block: TypeAlias = Heading | Table | Entry | Procedure | Sentences
