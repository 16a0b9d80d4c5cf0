"""One composition, explained: as an algorithm, and part by part."""
from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..composition import Composition
from ..kinds import Gate, Stat, Total
from ..part import Part
from .algorithm import Algorithm, Statement, as_algorithm
from .equations import Equations
from .lines import Fragment, Line
from .expressions import condition, put, symbol
from .members import meaning, written
from .memory import MATRIX, memory_of
from .report import Block, Cell, Code, Entry, Heading, Math, Note, Procedure, Table
from .script import Script, notation

__all__ = ['Section']

CITED = re.compile(r'\(([^()]*(?:arXiv|\b(?:19|20)\d\d\b)[^()]*)\)')


class Row(NamedTuple):
    "A part, or a line of its equations other than the first."
    part: str
    kind: str
    reads: str
    makes: str
    text: str
    latex: str
    note: str  # A remark that the equations do not make

    def cells(self) -> list[Cell]:
        reads = [span for name in self.reads.split(', ') for span in (', ', Code(name))][1:]
        equation = Math(self.text, self.latex), Note(self.note)
        return [Code(self.part), self.kind, reads, Code(self.makes), equation]


class Section:
    "One composition with values of its hyperparameters, explained."
    def __init__(self,
        title: str,
        composition: Composition | Fragment,
        values: Mapping[str, Any],
        params: Sequence[torch.Tensor] | None=None,  # They set the memory; a matrix by default
        names: Mapping[str, str] | None=None,        # Letters, if other sections share them
        decided: Mapping[str, Any] | None=None       # Values that answer questions, if not all do
    ):
        self.title, self.composition, self.values = title, composition, dict(values)
        dims = {min(p.dim(), 2) for p in params or ()} - {0}
        shape = dict(dim=dims.pop()) if len(dims) == 1 else {}  # else both cases are shown
        known = self.values if decided is None else dict(decided)
        self.equations = Equations(composition, known | shape, names)
        self.algorithm = Algorithm.of(self.equations)
        self.script = Script(self.algorithm.letters, self.algorithm.tensors)
        self.memory = memory_of(composition, values, params or ())
        small = memory_of(composition, values, [torch.empty(8, 4)])
        self.is_of_a_matrix = params is None and self.memory != small
        self.kept: Mapping[str, tuple[float, str]] = {}  # the memory of stats in formats, and how
        self.engines: Sequence[Sequence[Cell]] = ()  # how an optimizer steps, in `Entry`'s rows
        self.precision: Sequence[Sequence[Cell]] = ()  # what is too little for it, in such rows

    def blocks(self) -> Iterator[Block]:
        "The section as a report's blocks."
        if self.title: yield Heading(self.title, 4)
        if given := [*self.given()]: yield Table(given, ('', 'given', ''), 'given')
        yield self.procedure()
        if legend := [*self.legend()]: yield Table(legend, ('', 'where'), 'where')
        head = 'part', 'kind', 'reads', 'makes', 'equation'
        rows = [row.cells() for row in self.rows()]
        if isinstance(self.composition, Composition):
            yield Table(rows, head, 'parts', 'makes', spare=('reads', 'kind'))
            name = 'memory' if self.kept else 'memory in float32'
            yield Entry(name, [(self.remembers(),)])
        if self.engines: yield Entry('engine', self.engines)
        if self.precision: yield Entry('precision', self.precision)
        if sources := [*self.sources()]: yield Entry('sources', sources)

    # -- the algorithm -----------------------------------------------------------------------------

    def given(self) -> Iterator[tuple[Cell, ...]]:
        "Letter, name with value, and meaning of each hyperparameter."
        for name, value in self.values.items():
            yield (self.script.name(name), (Code(name), f' = {written(value)}'), meaning(name))

    def procedure(self) -> Procedure:
        "The algorithm: what it begins with, and its loop."
        a = self.algorithm
        lines: list[tuple[int, Cell]] = []
        if a.begin: lines += [(0, 'begin with'), *self._lines(a.begin)]
        is_whole = isinstance(self.composition, Composition)
        head: list[Cell] = ['in each step']
        if a.counts and is_whole: head = ['for ', Math('t = 1, 2, …', r't = 1, 2, \dots')]
        for i, zero in enumerate(self.equations.zeros if is_whole else ()):
            letter = self.script.name(zero.name)
            head += [', ' if i else ', with ', Math(f'{letter.text} = 0', f'{letter.latex} = 0')]
        gates = [q for q in self.equations.whole if isinstance(q.part, Gate) and not is_whole]
        return Procedure([*lines, (0, head), *self._lines(a.step),
                          *((1, self.equation(q)) for q in gates),
                          *([(0, 'to evaluate')] if a.after else []), *self._lines(a.after)])

    def _lines(self, statements: Iterable[Statement]) -> Iterator[tuple[int, Cell]]:
        for s in statements: yield s.depth + 1, self.script.line(s)

    def legend(self) -> Iterator[tuple[Cell, Cell]]:
        "What the letters are that are not hyperparameters, and the notation."
        said = {self.script.name(n): said for n, said in self.algorithm.meanings.items()}
        yield from said.items()
        lines = (self.script.line(s) for s in (*self.algorithm.begin, *self.algorithm.step,
                                                *self.algorithm.after))
        yield from notation(c.text for line in lines for c in line if isinstance(c, Math))

    # -- the parts ---------------------------------------------------------------------------------

    def rows(self) -> Iterator[Row]:
        "The parts in order, each with its lines."
        every = [*self.equations.parts, *self.equations.after]
        for place, part in enumerate(self.equations.ordered):
            lines = [line for line in every if line.place == place]
            if not lines: continue
            said = [*self.lines_of(lines)] or [self.equation(lines[-1])]  # g ← g
            own = f'prev_{part.out}'
            reads = ', '.join(part.out if n == own else n for n in part.reads)
            named = part.label, part.kind, reads, '' if ' ' in part.out else part.out
            note = self.note(part, lines[-1].why_not)
            for i, (text, latex) in enumerate(said):
                yield Row(*('', '', '', '') if i else named, text, latex,
                          note if i == len(said) - 1 else '')

    def lines_of(self, lines: Sequence[Line]) -> Iterator[Math]:
        "One part's equations, with its cases below each other."
        if isinstance(lines[-1].part, Gate): yield from map(self.equation, lines)
        else:
            statements = as_algorithm(self.equations, map(_own, lines), put_in=False)
            yield from map(self.script.row, statements)

    def note(self, part: Part, why_not: str) -> str:
        "A remark on a part, beside its equation."
        if part.is_off({**self.equations.values, 'update': symbol('update')}):
            return f'off, as {self.equations.letters[part.switch]} = 0'
        if part.note: return part.note
        if isinstance(part, Stat):
            start = self.equations.begin(part)
            if start is None: return f'begins with {_called(part.init)}'
            return '' if start == 0 else f'from {self.script.text(start)}'
        return f'no equation: {why_not}' if why_not else ''

    def together(self) -> list[Math]:
        "The lines of the whole update."
        return [self.equation(line) for line in self.equations.whole]

    def equation(self, line: Line) -> Math:
        "A line in one line, as text and as LaTeX."
        if isinstance(line.part, Gate):
            holds = self.script.math(line.expr if line.why_not else condition(line.expr))
            return Math(f'only if {holds.text}', rf'\text{{only if }} {holds.latex}')
        is_new = ' ' in line.name or line.part is not None and line.part.linkable
        kind = 'sum' if isinstance(line.part, Total) else 'let' if is_new else 'set'
        return self.script.assignment(line.name, kind, self.script.math(_own(line).expr, line.name))

    def remembers(self) -> str:
        "The memory of its state, in words."
        letters = self.algorithm.letters
        if self.kept:
            said = ' + '.join(f'{"beside " * (k == "param")}{letters.get(k, k)} {v:.3g} ({how})'
                              for k, (v, how) in self.kept.items())
            whole = sum(v for v, _ in self.kept.values())
            return f'{whole:.3g} bytes for each element of a parameter: {said}'
        kept = {letters[k]: v for k, v in self.memory.items() if v}
        unknown = [letters[k] for k in self.composition.tensor_stats if k not in self.memory]
        missing = f'the memory of {" and ".join(unknown)} is unknown'
        if not kept: return missing if unknown else 'none: nothing but numbers is kept'
        res = f'{sum(kept.values()):.3g} bytes for each element of a parameter'
        if self.is_of_a_matrix: res += f' of {MATRIX[0]} × {MATRIX[1]}'
        if len(kept) > 1: res += ': ' + ' + '.join(f'{k} {v:.3g}' for k, v in kept.items())
        return f'{res}; {missing}' if unknown else res

    def sources(self) -> Iterator[tuple[Cell, ...]]:
        "The papers that each part's documentation cites."
        for part in dict.fromkeys(p.fn for p in self.equations.ordered):
            found = CITED.findall(inspect.getdoc(part) or '')
            if found: yield Code(part.__name__), '; '.join(found)


def _own(line: Line) -> Line:
    "In its own line, a stat's last value has the stat's letter, as in m ← β₁·m + …"
    return line._replace(expr=put(line.expr, {symbol(f'prev_{line.name}'): symbol(line.name)}))


def _called(init: Any) -> str:
    if not callable(init): return str(init)
    name = getattr(init, '__name__', '<lambda>')
    return 'a function of θ' if name == '<lambda>' else f'{name}(param)'
