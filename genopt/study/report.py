"""A report is a list of blocks, written as text, as Markdown with LaTeX, or as HTML with MathML.

    >>> block = Table([(Code('lr'), Math('η', r'\\eta'))], head=('name', ''))
    >>> print(Markdown()([block]))
    | name | |
    |---|---|
    | `lr` | $\\eta$ |
"""
from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from ..extras import missing

__all__ = ['Report', 'Heading', 'Table', 'Entry', 'Formulas', 'Sentences', 'Code', 'Math', 'Note',
           'Block', 'Cell', 'Text', 'Markdown', 'Html', 'aligned']


# -- cells ----------------------------------------------------------------------------------------

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


@dataclass
class Entry:
    "A label, and rows of one cell, or of a name and a cell."
    label: str
    rows: Sequence[Sequence[Cell]]


class Formulas(Entry): "A label, and formulas below each other: each row is one of them."


@dataclass
class Sentences:
    "A list of sentences."
    sentences: Sequence[str]


Block: TypeAlias = Heading | Table | Entry | Sentences


# -- forms -----------------------------------------------------------------------------------------

class Form:
    "A form of a report: it writes each kind of block by the method of that name."
    gap, code, note = '\n\n', '{}', ' ({})'

    def __call__(self, blocks: Iterable[Block]) -> str:
        return self.gap.join(getattr(self, type(b).__name__.lower())(b) for b in blocks)

    def cell(self, cell: Cell) -> str:
        match cell:
            case '': return ''
            case Math(): return self.math(cell)
            case Code(): return self.code.format(self.plain(cell))
            case Note(): return self.note.format(self.plain(cell))
            case str(): return self.plain(cell)
            case _: return ''.join(map(self.cell, cell))

    def cells(self, rows: Iterable[Iterable[Cell]]) -> list[list[str]]:
        return [[*map(self.cell, row)] for row in rows]

    def plain(self, text: str) -> str: return text
    def math(self, formula: Math) -> str: raise NotImplementedError


class Text(Form):
    "For a terminal."
    note = '   ({})'

    def math(self, formula: Math) -> str: return formula.text
    def heading(self, b: Heading) -> str: return f'{b.title}: {b.idea}' if b.idea else b.title
    def sentences(self, b: Sentences) -> str: return _columns([[s] for s in b.sentences])
    def entry(self, b: Entry) -> str: return f'{b.label}\n{_columns(self.cells(b.rows))}'
    formulas = entry

    def table(self, b: Table) -> str:
        rows = [row or [''] * len(b.head) for row in self.cells(b.rows)]
        if b.flow:
            at = b.head.index(b.flow)
            for row in rows:
                into = row.pop(at)
                if into: row[at - 1] += f' → {into}'
        if b.caption is None: return _columns([b.head, *rows])
        return f'{b.caption}\n{_columns(rows)}'.lstrip('\n')


class Markdown(Form):
    "With LaTeX between dollars."
    code = '`{}`'

    def plain(self, text: str) -> str: return text.replace('|', '\\|')
    def math(self, formula: Math) -> str: return f'${formula.latex}$'
    def sentences(self, b: Sentences) -> str: return '\n'.join(f'* {s}' for s in b.sentences)
    def formulas(self, b: Formulas) -> str: return f'{_capital(b.label)}:\n\n$$\n{aligned(b)}\n$$'
    def heading(self, b: Heading) -> str:
        title = '#' * b.level + f' {b.title}'
        return f'{title}\n\n{b.idea}' if b.idea else title

    def entry(self, b: Entry) -> str:
        return f'{_capital(b.label)}: {"; ".join(map(": ".join, self.cells(b.rows)))}.'

    def table(self, b: Table) -> str:
        heads = '|'.join(f' {h} ' if h else ' ' for h in b.head)
        marks = '|'.join(':-:' if h in b.centred else '---' for h in b.head)
        rows = [f' {" | ".join(row)} ' for row in self.cells(b.rows) if row]
        return '\n'.join(f'|{line}|' for line in (heads, marks, *rows))


class Html(Form):
    "A piece of a page, with MathML. Raises ImportError if latex2mathml is not installed."
    gap, code, note = '', '<code>{}</code>', ' <i>({})</i>'
    style = ('<style>'  # every class is named twice, as Jupyter has a style of its own
             '.genopt.genopt table {border-collapse: collapse; margin: .6em 0} '
             '.genopt.genopt td, .genopt.genopt th '
             '{text-align: left; padding: .3em .8em; white-space: nowrap} '
             '.genopt.genopt th {font-weight: normal; opacity: .6} '
             '.genopt math {font-size: 1.05em}</style>')

    def __call__(self, blocks: Iterable[Block]) -> str:
        return f'{self.style}<div class="genopt">{super().__call__(blocks)}</div>'

    def plain(self, text: str) -> str: return html.escape(text)
    def math(self, formula: Math) -> str:
        try: from latex2mathml.converter import convert
        except ImportError:
            raise ImportError(missing('latex2mathml', 'HTML needs', 'study')) from None
        found = str(convert(formula.latex))
        return found.replace('<math ', '<math displaystyle="true" ', 1)

    def heading(self, b: Heading) -> str:
        return _tag(f'h{b.level}', self.plain(b.title)) + _tag('p', self.plain(b.idea))

    def sentences(self, b: Sentences) -> str:
        return _tag('ul', ''.join(_tag('li', self.plain(s)) for s in b.sentences))

    def entry(self, b: Entry) -> str:
        rows = '; '.join(map(': '.join, self.cells(b.rows)))
        return _tag('p', f'{self.plain(_capital(b.label))}: {rows}.')

    def formulas(self, b: Formulas) -> str:
        label = self.plain(_capital(b.label))
        return _tag('p', f'{label}:') + self.table(Table(b.rows, ()))

    def table(self, b: Table) -> str:
        head = ''.join(f'<th>{self.plain(h)}</th>' for h in b.head)
        rows = [''.join(f'<td>{c}</td>' for c in row) for row in self.cells(b.rows)]
        return _tag('table', ''.join(_tag('tr', row) for row in (head, *rows)))


class Report:
    "Anything made of blocks. `print` it, or leave it at the end of a notebook's cell."
    def blocks(self) -> Iterator[Block]: raise NotImplementedError
    def text(self) -> str: return Text()(self.blocks())
    def markdown(self) -> str: return Markdown()(self.blocks())
    def html(self) -> str: return Html()(self.blocks())
    def __repr__(self) -> str: return self.text()
    def _repr_markdown_(self) -> str: return self.markdown()
    def _repr_html_(self) -> str | None:
        try: return self.html()
        except ImportError: return None  # then the notebook shows the Markdown


# -- helpers of the forms -------------------------------------------------------------------------

def aligned(formulas: Entry) -> str:
    "In LaTeX, with the arrows and equals signs below each other (needs amsmath)."
    lines: list[Any] = [row[0] for row in formulas.rows]
    rows = [re.sub(r' (\\leftarrow|=) ', r' &\1 ', m.latex, count=1) for m in lines]
    return '\\begin{aligned}\n' + ' \\\\\n'.join(f'  {row}' for row in rows) + '\n\\end{aligned}'


def _columns(rows: Sequence[Sequence[str]]) -> str:
    "Indented, and each column as wide as its widest cell."
    wide = [max(map(_width, column)) for column in zip(*rows)]
    padded = [[c + ' ' * (w - _width(c)) for c, w in zip(row, wide)] for row in rows]
    return '\n'.join(('    ' + '  '.join(row)).rstrip() for row in padded)


def _width(text: str) -> int:
    "In a terminal, where a combining hat takes no place."
    return len(text) - text.count('\N{COMBINING CIRCUMFLEX ACCENT}')


def _capital(label: str) -> str: return label[0].upper() + label[1:]
def _tag(tag: str, inside: str) -> str: return f'<{tag}>{inside}</{tag}>' if inside else ''
