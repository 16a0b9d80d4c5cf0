"""A report is a list of blocks, written as text, as Markdown with LaTeX, or as HTML with MathML.

    >>> block = Table([(Code('lr'), Math('η', r'\\eta'))], head=('name', ''))
    >>> print(Markdown()([block]))
    | name | |
    |---|---|
    | `lr` | $`\\eta`$ |

Text is as wide as the terminal, or 80 columns. Markdown is for a code host: in a formula between
`` $` `` and `` `$ ``, or in a block of `math`, every backslash survives.
"""
from __future__ import annotations

import html
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from ..extras import missing
from .blocks import Block, Cell, Code, Entry, Heading, Math, Note, Procedure, Sentences, Table

__all__ = ['Report', 'Heading', 'Table', 'Entry', 'Procedure', 'Sentences', 'Code', 'Math', 'Note',
           'Block', 'Cell', 'Text', 'Markdown', 'Notebook', 'Html', 'aligned']

PAPER = re.compile(r'(?:arXiv:)?(?<![\d.])(?P<arxiv>\d{4}\.\d{4,5})(?![\d.]*\d)'
                   r'|doi:(?P<doi>10\.[^\s;)]+)')


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
    "For a terminal of some width."
    note = '   ({})'

    def __init__(self, width: int=0):  # By default the terminal's, or 80
        self.width = width or (shutil.get_terminal_size().columns if sys.stdout.isatty() else 80)

    def math(self, formula: Math) -> str: return formula.text
    def sentences(self, b: Sentences) -> str: return self.columns([[s] for s in b.sentences])
    def entry(self, b: Entry) -> str: return f'{b.label}\n{self.columns(self.cells(b.rows))}'
    def heading(self, b: Heading) -> str:
        said = f'{b.title}: {b.idea}' if b.idea else b.title
        return textwrap.fill(said, self.width, break_long_words=False, break_on_hyphens=False)

    def procedure(self, b: Procedure) -> str:
        return '\n'.join(self.line(depth, self.cell(cell)) for depth, cell in b.lines)

    def line(self, depth: int, text: str) -> str:
        pad = '    ' * depth
        return '\n'.join(pad + line for part in text.split('\n')
                         for line in _wrapped(part, self.width - len(pad)))

    def table(self, b: Table) -> str:
        rows, head = [row or [''] * len(b.head) for row in self.cells(b.rows)], [*b.head]
        if b.flow:
            at = head.index(b.flow)
            for row in rows:
                into = row.pop(at)
                if into: row[at - 1] += f' → {into}'
            if b.caption is not None: head.pop(at)
        for name in b.spare:
            if self.fits([[c.split('\n')[0] for c in row] for row in rows]): break
            at = head.index(name)
            for row in (head, *rows): row.pop(at)
        if b.caption is None: return self.columns([head, *rows])
        return f'{b.caption}\n{self.columns(rows)}'.lstrip('\n')

    def fits(self, rows: Sequence[Sequence[str]]) -> bool:
        "True if the rows need no wrapping."
        if any('\n' in row[-1] for row in rows): return False
        return all(_width(line) <= self.width for line in _columns(rows).split('\n'))

    def columns(self, rows: Sequence[Sequence[str]]) -> str:
        "In columns, wrapped if they must be: the last one, and others over half the width."
        if self.fits(rows): return _columns(rows)
        table = [[_broken(cell, self.width // 2) for cell in row] for *row, _ in rows]
        left = 4 + sum(max(_width(line) for cell in c for line in cell) + 2 for c in zip(*table))
        room, wrapped = max(self.width - left, 20), list[Sequence[str]]()
        for cells, (*_, last) in zip(table, rows):
            lines = [line for part in last.split('\n') for line in _wrapped(part, room)]
            wrapped += zip_longest(*cells, lines, fillvalue='')
        return _columns(wrapped)


class Markdown(Form):
    "With LaTeX, as GitHub and GitLab read it."
    code, dollars, display = '`{}`', '$`{}`$', '```math\n{}\n```'

    def plain(self, text: str) -> str: return text.replace('|', '\\|')
    def math(self, formula: Math) -> str: return self.dollars.format(formula.latex)
    def sentences(self, b: Sentences) -> str: return '\n'.join(f'* {s}' for s in b.sentences)
    def procedure(self, b: Procedure) -> str: return self.display.format(aligned(b))
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


class Notebook(Markdown):
    "With LaTeX, as Jupyter reads it."
    dollars, display = '${}$', '$$\n{}\n$$'


class Html(Form):
    "A piece of a page, with MathML. Raises ImportError if latex2mathml is not installed."
    gap, code, note = '', '<code>{}</code>', ' <i>({})</i>'
    style = ('<style>'  # every class is named twice, as Jupyter has a style of its own
             '.genopt.genopt table {border-collapse: collapse; margin: .6em 0; display: block; '
             'overflow-x: auto} '
             '.genopt.genopt td, .genopt.genopt th '
             '{text-align: left; padding: .3em .8em; white-space: nowrap} '
             '.genopt.genopt td:last-child {white-space: normal} '
             '.genopt.genopt th {font-weight: normal; opacity: .6} '
             '.genopt div {margin: .3em 0} '
             '.genopt math {font-size: 1.05em}</style>')

    def __call__(self, blocks: Iterable[Block]) -> str:
        return f'{self.style}<div class="genopt">{super().__call__(blocks)}</div>'

    def plain(self, text: str) -> str:
        "Papers are links."
        return PAPER.sub(_link, html.escape(text))

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

    def procedure(self, b: Procedure) -> str:
        lines = [f'<div style="padding-left: {1.5 * depth}em">{self.cell(cell)}</div>'
                 for depth, cell in b.lines]
        return '<div class="algorithm">' + ''.join(lines) + '</div>'

    def table(self, b: Table) -> str:
        head = ''.join(f'<th>{self.plain(h)}</th>' for h in b.head)
        rows = [''.join(f'<td>{c}</td>' for c in row) for row in self.cells(b.rows)]
        return _tag('table', ''.join(_tag('tr', row) for row in (head, *rows)))


class Report:
    "Anything made of blocks. `print` it, or leave it at the end of a notebook's cell."
    def blocks(self) -> Iterator[Block]: raise NotImplementedError
    def text(self, width: int=0) -> str:
        "In lines of at most `width` columns; by default the terminal's, or 80."
        return Text(width)(self.blocks())
    def markdown(self) -> str: return Markdown()(self.blocks())
    def html(self) -> str: return Html()(self.blocks())
    def __repr__(self) -> str: return self.text()
    def _repr_markdown_(self) -> str: return Notebook()(self.blocks())
    def _repr_html_(self) -> str | None:
        try: return self.html()
        except ImportError: return None  # then the notebook shows the Markdown


# -- helpers of the forms -------------------------------------------------------------------------

def aligned(procedure: Procedure) -> str:
    "In LaTeX, as the inside of a formula (needs amsmath)."
    def latex(cell: Cell) -> str:
        match cell:
            case Math(): return cell.latex
            case str(): return rf'\text{{{cell}}}' if cell else ''
            case _: return ''.join(map(latex, cell))
    rows = [r'\quad ' * depth + latex(cell) for depth, cell in procedure.lines]
    return '\\begin{aligned}\n' + ' \\\\\n'.join(f'  & {r}' for r in rows) + '\n\\end{aligned}'


def _columns(rows: Sequence[Sequence[str]]) -> str:
    "Indented, and each column as wide as its widest cell."
    wide = [max(map(_width, column)) for column in zip(*rows)]
    padded = [[c + ' ' * (w - _width(c)) for c, w in zip(row, wide)] for row in rows]
    return '\n'.join(('    ' + '  '.join(row)).rstrip() for row in padded)


def _wrapped(text: str, width: int) -> list[str]:
    "In lines, broken at spaces; one without spaces stays. Later lines stand deeper by 2."
    if _width(text) <= width: return [text]
    indent = text[:len(text) - len(text.lstrip(' '))] + '  '
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)


def _broken(label: str, width: int) -> list[str]:
    "A part's label in lines, broken at spaces and brackets. Later lines stand deeper by 2."
    lines = ['']
    for piece in re.split(r'(?<=[\[ ])', label):
        if _width(lines[-1] + piece.rstrip()) > width: lines.append('  ')
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _width(text: str) -> int:
    "In a terminal, where a combining hat takes no place."
    return len(text) - text.count('\N{COMBINING CIRCUMFLEX ACCENT}')


def _link(paper: re.Match[str]) -> str:
    arxiv, doi = paper['arxiv'], paper['doi']
    url = f'https://arxiv.org/abs/{arxiv}' if arxiv else f'https://doi.org/{doi}'
    return f'<a href="{url}">{paper[0]}</a>'


def _capital(label: str) -> str: return label[0].upper() + label[1:]
def _tag(tag: str, inside: str) -> str: return f'<{tag}>{inside}</{tag}>' if inside else ''
