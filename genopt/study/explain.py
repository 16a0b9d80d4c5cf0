"""An optimizer in its own words: its equations, hyperparameters, memory, engine and sources.

All of it is found by running the parts.

    >>> explain('lion').sections[0].together()[-1].text
    'θ ← θ − η·sign((1 − β₁)·g + β₁·mₜ₋₁)'
"""
from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch

from ..catalogue import find
from ..composition import Composition
from ..engines.modes import report
from ..group import Group
from ..kinds import Gate, Stat, Total
from ..letters import latex as latex_letter
from ..optimizer import Optimizer
from ..part import Part
from ..recipe import Recipe
from .equations import Equations, Line
from .expressions import condition, put, symbol
from .latex import Latex
from .members import meaning, with_values, written
from .memory import MATRIX, memory_of
from .notation import Text
from .report import (Block, Cell, Code, Entry, Formulas, Heading, Math, Note, Report, Table,
                     aligned)

__all__ = ['explain', 'Explanation', 'Section']

CITED = re.compile(r'\(([^()]*(?:arXiv|\b(?:19|20)\d\d\b)[^()]*)\)')


class Row(NamedTuple):
    "A part, or an equation that the one of its part needs first."
    part: str
    kind: str
    reads: str
    makes: str
    text: str
    latex: str
    note: str  # A remark that the equation does not make

    def cells(self) -> list[Cell]:
        reads = [span for name in self.reads.split(', ') for span in (', ', Code(name))][1:]
        equation = Math(self.text, self.latex), Note(self.note)
        return [Code(self.part), self.kind, reads, Code(self.makes), equation]


class Section:
    "One composition with values of its hyperparameters, explained."
    def __init__(self,
        title: str,
        composition: Composition,
        values: Mapping[str, Any],
        params: Sequence[torch.Tensor] | None=None,  # They set the memory; a matrix by default
        names: Mapping[str, str] | None=None         # Letters, if other sections share them
    ):
        self.title, self.composition, self.values = title, composition, dict(values)
        self.equations = Equations(composition, values, names)
        self.text = Text(self.equations.letters, self.equations.tensors)
        self.latex = Latex(self.equations.letters, self.equations.tensors)
        self.memory = memory_of(composition, values, params or ())
        small = memory_of(composition, values, [torch.empty(8, 4)])
        self.is_of_a_matrix = params is None and self.memory != small
        self.engines: Sequence[Sequence[Cell]] = ()  # how an optimizer steps, in `Entry`'s rows

    def blocks(self) -> Iterator[Block]:
        "The section as a report's blocks."
        if self.title: yield Heading(self.title, 4)
        head = 'part', 'kind', 'reads', 'makes', 'equation'
        yield Table([row.cells() for row in self.rows()], head, '', 'makes')
        yield self.formulas()
        if self.values: yield Table([*self.hypers()], ('', 'hyperparameter', ''), 'hyperparameters')
        yield Entry('memory in float32', [(self.remembers(),)])
        if self.engines: yield Entry('engine', self.engines)
        if sources := [*self.sources()]: yield Entry('sources', sources)

    def rows(self) -> Iterator[Row]:
        "The parts in order."
        lines = self.equations.parts
        places = [line.place for line in lines]
        for i, line in enumerate(lines):
            part = line.part
            assert part
            named = '', '', '', ''
            if line.place not in places[:i]:
                own = f'prev_{part.out}'
                reads = ', '.join(part.out if n == own else n for n in part.reads)
                makes = '' if isinstance(part, Gate) else part.out
                named = part.label, part.kind, reads, makes
            note = '' if line.place in places[i + 1:] else self.note(part, line.why_not)
            yield Row(*named, *self.equation(line), note)

    def note(self, part: Part, why_not: str) -> str:
        "A remark on a part, beside its equation."
        if part.is_off({**self.equations.values, 'update': symbol('update')}):
            return f'off, as {self.equations.letters[part.switch]} = 0'
        if part.note: return part.note
        if isinstance(part, Stat):
            start = self.equations.begin(part)
            if start is None: return f'begins with {_called(part.init)}'
            return '' if start == 0 else f'from {self.text(start)}'
        return f'no equation: {why_not}' if why_not else ''

    def together(self) -> list[Math]:
        "The lines of the whole update."
        return [self.equation(line) for line in self.equations.whole]

    def formulas(self) -> Formulas:
        "The whole update. Its label has the hyperparameters that are 0 and so left out."
        zeros = ', '.join(f'{self.equations.letters[s.name]} = 0' for s in self.equations.zeros)
        label = f'together, with {zeros}' if zeros else 'together'
        return Formulas(label, [(m,) for m in self.together()])

    def equation(self, line: Line) -> Math:
        "A line, as text and as LaTeX."
        if isinstance(line.part, Gate):
            holds = line.expr if line.why_not else condition(line.expr)
            return Math(f'only if {self.text(holds)}', rf'\text{{only if }} {self.latex(holds)}')
        letter = self.equations.letters.get(line.name, line.name)
        last, own = symbol(f'prev_{line.name}'), symbol(line.name)
        expr = put(line.expr, {last: own})  # as in m ← β₁·m + …
        is_new = line.name.endswith(' hat') or line.part is not None and line.part.is_shared
        text, latex = self.text(expr, line.name), self.latex(expr, line.name)
        if isinstance(line.part, Total): text, latex = f'Σ {text}', rf'\sum {latex}'
        sign, its_latex = ('=', '=') if is_new else ('←', r'\leftarrow')
        return Math(f'{letter} {sign} {text}', f'{latex_letter(letter)} {its_latex} {latex}')

    def hypers(self) -> Iterator[tuple[Cell, ...]]:
        "Letter, name with value, and meaning of each."
        for name, value in self.values.items():
            letter = self.equations.letters.get(name, name)
            yield (Math(letter, latex_letter(letter)), (Code(name), f' = {written(value)}'),
                   meaning(name))

    def remembers(self) -> str:
        "The memory of its state, in words."
        letters = self.equations.letters
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
        for part in dict.fromkeys(p.fn for p in self.composition.ordered):
            found = CITED.findall(inspect.getdoc(part) or '')
            if found: yield Code(part.__name__), '; '.join(found)


class Explanation(Report):
    """An optimizer, explained. `print` it, or leave it at the end of a notebook's cell.

    `text()`, `markdown()`, `latex()` and `html()` are its forms.
    """
    def __init__(self, name: str, idea: str, sections: list[Section]):
        self.name, self.idea, self.sections = name, idea, sections

    def blocks(self) -> Iterator[Block]:
        yield Heading(self.name, 3, self.idea)
        for section in self.sections: yield from section.blocks()

    def latex(self) -> str:
        "The whole update, as the inside of a formula (needs amsmath)."
        return '\n'.join(aligned(s.formulas()) for s in self.sections)

    def _repr_latex_(self) -> str: return f'$${self.latex()}$$'


def explain(
    what: Recipe | Optimizer | Composition | Iterable[Part] | str,  # A recipe may be given by name
    **options_and_hypers: Any                                       # For a recipe, or for parts
) -> Explanation:
    """The equations of an optimizer, found by running its parts, with its memory and its sources.

    Raises KeyError for an unknown name, and the errors of the recipe for wrong options and
    hyperparameters.
    """
    if isinstance(what, str): return explain(find(what), **options_and_hypers)
    if isinstance(what, Optimizer):
        if options_and_hypers:
            raise TypeError('an optimizer has its hyperparameters: explain(opt) takes no others')
        rule, sections = what.recipe, [*_sections(what)]
    elif isinstance(what, (Recipe, Composition, Iterable)):
        rule = what if isinstance(what, (Recipe, Composition)) else Composition(cast(Any, what))
        sections = [Section('', *with_values(rule, options_and_hypers))]
    else:
        raise TypeError('explain takes a recipe, its name, an optimizer from genopt, or a list '
                        f'of parts, not {type(what).__name__}')
    name = getattr(rule, '__name__', 'An optimizer')
    return Explanation(name, getattr(rule, 'idea', ''), sections)


def _sections(opt: Optimizer) -> Iterator[Section]:
    "A section for each set of groups that run the same."
    alike: list[list[Group]] = []
    for group in opt.groups():
        same = next((groups for groups in alike if _kind(groups[0]) == _kind(group)), None)
        if same: same.append(group)
        else: alike.append([group])
    for groups in alike:
        composition, values, climbs = _kind(groups[0])
        names = ', '.join(str(g.index) for g in groups)
        titles = [f'groups {names}' if len(groups) > 1 else f'group {names}']
        if len(alike) == 1: titles = []
        if climbs: titles.append('climbing: g is the gradient with its sign turned')
        params = [p for g in groups for p in g['params']]
        section = Section(', '.join(titles), composition, values, params)
        section.engines = _engines(opt, groups)
        yield section


def _engines(opt: Optimizer, groups: Sequence[Group]) -> list[tuple[str, ...]]:
    "How the last step of these groups was done: a row, or one for each group if they differ."
    said = {g.index: report(opt.engine, g.index).removeprefix('engine: ') for g in groups}
    if len({*said.values()}) == 1: return [(said[groups[0].index],)]
    return [(f'group {i}', how) for i, how in said.items()]


def _kind(group: Group) -> tuple[Composition, dict[str, Any], bool]:
    return group.composition, group.hypers(), group['maximize']


def _called(init: Any) -> str:
    if not callable(init): return str(init)
    name = getattr(init, '__name__', '<lambda>')
    return 'a function of θ' if name == '<lambda>' else f'{name}(param)'
