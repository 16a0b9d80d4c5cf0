"""What an optimizer is, in its own words: equations, hyperparameters, memory and sources, made by running its parts.

    >>> explain('lion').sections[0].together()[-1][0]
    'θ ← θ − η·sign((1 − β₁)·g + β₁·mₜ₋₁)'
"""
from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch

from ..composition import Composition
from ..extras import missing
from ..hypers import TABLE
from ..optimizer import Optimizer
from ..part import REQUIRED, Part, PartError
from ..recipe import Recipe, recipe, rule_of
from .equations import Equations, Line
from .expressions import condition, put, symbol
from .letters import latex as latex_letter
from .notation import Latex, Text

__all__ = ['explain', 'Explanation']

MATRIX = 1024, 1024  # a parameter, where there is none


class Row(NamedTuple):
    "A part, or what its equation needs first."
    part: str
    kind: str
    reads: str
    makes: str
    text: str
    latex: str
    note: str  # what else is to be said


class Section:
    "What one composition is, with values of its hyperparameters."
    def __init__(self, title: str, composition: Composition, values: Mapping[str, Any],
                 memory: Mapping[str, float] | None=None, names: Mapping[str, str] | None=None):
        self.title, self.composition, self.values = title, composition, dict(values)
        self.equations = Equations(composition, values, names)
        self.text = Text(self.equations.letters, self.equations.tensors)
        self.latex = Latex(self.equations.letters, self.equations.tensors)
        self.memory = memory_of(composition, self.values) if memory is None else memory
        whole = memory is not None or self.memory == memory_of(composition, self.values, [torch.empty(8, 4)])
        self.is_of_a_matrix = not whole  # True if memory depends on a parameter's shape, and that is not known

    def rows(self) -> Iterator[Row]:
        "The parts, in order."
        last = -1
        lines = self.equations.parts
        for i, line in enumerate(lines):
            part = line.part
            assert part
            text, latex = self.equation(line)
            ends = i + 1 == len(lines) or lines[i + 1].place != line.place
            new, last = line.place != last, line.place
            yield Row(part.label if new else '', part.kind if new else '',
                      ', '.join(n.removeprefix('prev_') if n == f'prev_{part.out}' else n for n in part.reads)
                      if new else '', part.out if new else '', text, latex, self.note(part) if ends else '')

    def note(self, part: Part) -> str:
        "What the equation does not say."
        if self.equations.is_off(part): return f'off, as {self.equations.letters[part.switch]} = 0'
        if part.kind == 'total': return 'summed over all parameters'
        if part.kind == 'gate': return 'else nothing happens'
        if part.kind == 'stat':
            start = self.equations.begin(part)
            if start is None: return f'begins with {_called(part.init)}'
            return '' if start == 0 else f'from {self.text(start)}'
        why = next((line.why_not for line in self.equations.opaque if line.part is part), '')
        return f'no equation: {why}' if why else ''

    def together(self) -> list[tuple[str, str]]:
        "The whole update: its lines, as text and as LaTeX."
        return [self.equation(line) for line in self.equations.whole]

    def equation(self, line: Line) -> tuple[str, str]:
        "A line, as text and as LaTeX."
        if line.part and line.part.kind == 'gate':
            holds = line.expr if line.why_not else condition(line.expr)
            return f'only if {self.text(holds)}', rf'\text{{only if }} {self.latex(holds)}'
        letter = self.equations.letters.get(line.name, line.name)
        expr = put(line.expr, {symbol(f'prev_{line.name}'): symbol(line.name)})  # as in m ← β₁·m + …
        is_new = line.name.endswith(' hat') or bool(line.part and line.part.kind in ('scalar', 'total'))
        big = line.part is not None and line.part.kind == 'total'
        return (f'{letter} {"=" if is_new else "←"} {"Σ " * big}{self.text(expr, line.name)}',
                latex_letter(letter) + (' = ' if is_new else r' \leftarrow ') + r'\sum ' * big
                + self.latex(expr, line.name))

    def hypers(self) -> list[tuple[str, str, str, str]]:
        "Letter, name, value and meaning of each."
        known = self.equations.letters
        return [(known.get(k, k), k, _value(v), TABLE[k].doc if k in TABLE else '')
                for k, v in self.values.items()]

    def sources(self) -> list[tuple[str, str]]:
        "What parts' documentation cites."
        found = ((p.__name__, re.findall(r'\(([^()]*(?:arXiv|\b(?:19|20)\d\d\b)[^()]*)\)', inspect.getdoc(p.fn) or ''))
                 for p in self.composition.ordered)
        return [*{name: '; '.join(cited) for name, cited in found if cited}.items()]

    def remembers(self) -> str:
        "Memory, as a sentence."
        kept = {k: v for k, v in self.memory.items() if v}
        unknown = [self.equations.letters[k] for k in self.composition.tensor_stats if k not in self.memory]
        more = f'; what {" and ".join(unknown)} takes cannot be said' if unknown else ''
        if not kept: return more[2:] or 'none: nothing but numbers is kept'
        each = ' + '.join(f'{self.equations.letters[k]} {_bytes(v)}' for k, v in kept.items())
        of = f' of {MATRIX[0]} × {MATRIX[1]}' if self.is_of_a_matrix else ''
        return (f'{_bytes(sum(kept.values()))} bytes for each element of a parameter{of}'
                + f': {each}' * (len(kept) > 1) + more)

    def left_out(self) -> str:
        "What hyperparameters of 0 leave out of the whole update."
        zeros = [self.equations.letters[s.name] for s in self.equations.zeros]
        return f'with {", ".join(f"{z} = 0" for z in zeros)}' if zeros else ''


class Explanation:
    """An optimizer, explained. `print` it, or leave it at the end of a notebook's cell.

    `text()`, `markdown()`, `latex()` and `html()` are its forms.
    """
    def __init__(self, name: str, idea: str, sections: list[Section]):
        self.name, self.idea, self.sections = name, idea, sections

    def text(self) -> str:
        "For a terminal."
        return '\n'.join([f'{self.name}: {self.idea}' if self.idea else self.name, *self._text()])

    def _text(self) -> Iterator[str]:
        for s in self.sections:
            if s.title: yield f'\n{s.title}'
            rows = [*s.rows()]
            yield ''
            yield from _columns([(r.part, r.kind, f'{r.reads} → {r.makes}' if r.part and r.kind != 'gate' else r.reads,
                                  r.text + f'   ({r.note})' * bool(r.note)) for r in rows])
            yield f'\ntogether{", " * bool(s.left_out())}{s.left_out()}'
            yield from _columns([(text,) for text, _ in s.together()])
            if s.values:
                yield '\nhyperparameters'
                yield from _columns([(letter, f'{name} = {value}', doc) for letter, name, value, doc in s.hypers()])
            yield f'\nmemory in float32\n    {s.remembers()}'
            if s.sources():
                yield '\nsources'
                yield from _columns(s.sources())

    def markdown(self) -> str:
        "With LaTeX between dollars."
        lines = [f'### {self.name}', '', self.idea]
        for s in self.sections:
            if s.title: lines += ['', f'#### {s.title}']
            lines += ['', '| part | kind | reads | makes | equation |', '|---|---|---|---|---|']
            lines += ['| ' + ' | '.join([f'`{r.part}`' if r.part else '', r.kind, _code(r.reads), _code(r.makes) if
                                         r.kind != 'gate' else '', f'${r.latex}$' + f' ({r.note})' * bool(r.note)])
                      + ' |' for r in s.rows()]
            lines += ['', f'Together{", " * bool(s.left_out())}{s.left_out()}:', '', '$$', aligned(s), '$$', '',
                      '| | hyperparameter | |', '|---|---|---|']
            lines += [f'| ${latex_letter(letter)}$ | `{name}` = {v} | {doc} |' for letter, name, v, doc in s.hypers()]
            lines += ['', f'Memory in float32: {s.remembers()}.']
            if s.sources(): lines += ['', 'Sources: ' + '; '.join(f'`{k}`: {v}' for k, v in s.sources()) + '.']
        return '\n'.join(lines)

    def latex(self) -> str:
        "The whole update, as the inside of a formula (needs amsmath)."
        return '\n'.join(aligned(s) for s in self.sections)

    def html(self) -> str:
        """A piece of HTML, with MathML.

        Raises ImportError if latex2mathml is not installed.
        """
        head = _tag('h3', self.name) + _tag('p', self.idea)
        return STYLE + '<div class="genopt">' + head + ''.join(self._html()) + '</div>'

    def _html(self) -> Iterator[str]:
        for s in self.sections:
            if s.title: yield f'<h4>{html.escape(s.title)}</h4>'
            yield table([(_tag('code', r.part), html.escape(r.kind), _tags(r.reads), _tags(r.makes) if r.kind != 'gate'
                          else '', mathml(r.latex) + (f' <i>({html.escape(r.note)})</i>' if r.note else ''))
                         for r in s.rows()], ('part', 'kind', 'reads', 'makes', 'equation'))
            left_out = f', {s.left_out()}' if s.left_out() else ''
            yield f'<p>Together{html.escape(left_out)}:</p>'
            yield table([(mathml(latex),) for _, latex in s.together()])
            yield table([(mathml(latex_letter(letter)), f'<code>{name}</code> = {html.escape(value)}', html.escape(doc))
                         for letter, name, value, doc in s.hypers()])
            yield f'<p>Memory in float32: {html.escape(s.remembers())}.</p>'
            if s.sources(): yield table([(_tag('code', k), html.escape(v)) for k, v in s.sources()])

    def __repr__(self) -> str: return self.text()
    def _repr_html_(self) -> str | None:
        try: return self.html()
        except ImportError: return None  # then the notebook shows the Markdown
    def _repr_markdown_(self) -> str: return self.markdown()
    def _repr_latex_(self) -> str: return f'$${self.latex()}$$'


def explain(
    what: Recipe | Optimizer | Composition | Iterable[Part] | str,  # A recipe, or its name; an optimizer; or parts
    **options_and_hypers: Any                                       # For a recipe or parts: what it is called with
) -> Explanation:
    """The equations of an optimizer, obtained by running its parts on symbols; and what else there is to say.

    Raises what the recipe raises for wrong options and hyperparameters, and KeyError for an unknown name.
    """
    if isinstance(what, str): return explain(recipe(what), **options_and_hypers)
    if isinstance(what, Optimizer):
        if options_and_hypers: raise TypeError('an optimizer has its hyperparameters: explain(opt) takes no others')
        name = getattr(what.recipe, '__name__', 'Optimizer')
        return Explanation(name, getattr(what.recipe, 'idea', ''), [*_sections(what)])
    if not isinstance(what, (Recipe, Composition, Iterable)):
        raise TypeError('explain takes a recipe, its name, an optimizer of genopt\'s, or a list of parts, and this is '
                        f'a {type(what).__name__}')
    rule = what if isinstance(what, (Recipe, Composition)) else Composition(cast(Iterable[Part], what))
    name = getattr(rule, '__name__', 'An optimizer')
    return Explanation(name, getattr(rule, 'idea', ''), [Section('', *bound(rule, options_and_hypers))])


def bound(what: Recipe | Composition, given: Mapping[str, Any]) -> tuple[Composition, dict[str, Any]]:
    "The composition, and values of its hyperparameters: REQUIRED where it has none and none is given."
    rule = rule_of(what)
    rule = rule.choose(rule.options_in(given))
    needed = {k for k, v in rule.defaults.items() if v is REQUIRED} - {*rule.words.ours(given)}
    rule, values = rule.bind(given, dict.fromkeys(needed, 0.))
    return rule.composition, {k: REQUIRED if k in needed else v for k, v in values.items()}


def _sections(opt: Optimizer) -> Iterator[Section]:
    "One for groups that are alike."
    alike: list[tuple[Composition, dict[str, Any], list[Any]]] = []
    for group in opt._groups():
        found = next((a for a in alike if a[:2] == (group.composition, group.hypers())
                      and a[2][0]['maximize'] == group['maximize']), None)
        if found: found[2].append(group)
        else: alike.append((group.composition, group.hypers(), [group]))
    for composition, values, groups in alike:
        names = ', '.join(str(g.index) for g in groups)
        title = f'group{"s" * (len(groups) > 1)} {names}' if len(alike) > 1 else ''
        if groups[0]['maximize']: title += ', ' * bool(title) + 'climbing: g is the gradient with its sign turned'
        ps = [p for g in groups for p in g['params']]
        yield Section(title, composition, values, memory_of(composition, values, ps))


def memory_of(composition: Composition, values: Mapping[str, Any],
              params: Iterable[torch.Tensor]=()  # A matrix of 1024 × 1024, if there are none
             ) -> dict[str, float]:              # Not of those whose `init` fails
    """Bytes of each stat for an element of a parameter, if that is float32; on average over `params`.

    Numbers, such as step counts, are not among them, in whatever form an engine keeps them.
    """
    shapes = [p.shape for p in params if p.numel()] or [torch.Size(MATRIX)]
    hypers = {k: 0. if v is REQUIRED else float(v) for k, v in values.items()}
    res = {}
    for name in composition.tensor_stats:
        try: starts = [_start(composition.stats[name], s, hypers) for s in shapes]
        except PartError: continue
        res[name] = sum(t.numel() * t.element_size() for t in starts) / sum(s.numel() for s in shapes)
    return res


def _start(stat: Part, shape: torch.Size, hypers: Mapping[str, float]) -> torch.Tensor:
    "What a stat begins with; without its values, unless its `init` asks for them."
    meta = torch.empty(shape, dtype=torch.float32, device='meta')
    try: res: torch.Tensor = stat.start(meta, hypers)
    except PartError: res = stat.start(torch.ones(shape, dtype=torch.float32), hypers)
    return res


# -- forms -----------------------------------------------------------------------------------------------------

STYLE = ('<style>.genopt.genopt table {border-collapse: collapse; margin: .6em 0} '  # twice: Jupyter has a style too
         '.genopt.genopt td, .genopt.genopt th {text-align: left; padding: .3em .8em; white-space: nowrap} '
         '.genopt.genopt th {font-weight: normal; opacity: .6} .genopt math {font-size: 1.05em}</style>')


def mathml(latex: str) -> str:
    "A formula for browsers."
    try: from latex2mathml.converter import convert
    except ImportError:
        raise ImportError(missing('latex2mathml', 'HTML needs', 'study')) from None
    return str(convert(latex)).replace('<math ', '<math displaystyle="true" ', 1)


def table(rows: Iterable[Iterable[str]], head: Iterable[str]=()) -> str:
    "Of cells that are HTML."
    top = ''.join(f'<th>{h}</th>' for h in head)
    return '<table>' + f'<tr>{top}</tr>' * bool(top) + ''.join(
        '<tr>' + ''.join(f'<td>{c}</td>' for c in row) + '</tr>' for row in rows) + '</table>'


def aligned(section: Section) -> str:
    "The whole update, in LaTeX."
    lines = [re.sub(r' (\\leftarrow|=) ', r' &\1 ', latex, count=1) for _, latex in section.together()]
    return '\\begin{aligned}\n' + ' \\\\\n'.join(f'  {line}' for line in lines) + '\n\\end{aligned}'


def _columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    rows = [*rows]
    wide = [max(map(_width, column)) for column in zip(*rows)]
    for row in rows: yield ('    ' + '  '.join(c + ' ' * (w - _width(c)) for c, w in zip(row, wide))).rstrip()


def _width(text: str) -> int:
    "In a terminal: a combining hat takes no place."
    return len(text) - text.count('\N{COMBINING CIRCUMFLEX ACCENT}')


def _called(init: Any) -> str:
    if not callable(init): return str(init)
    name = getattr(init, '__name__', '<lambda>')
    return 'a function of θ' if name == '<lambda>' else f'{name}(param)'


def _value(v: Any) -> str: return 'must be given' if v is REQUIRED else f'{float(v):g}'
def _bytes(v: float) -> str: return f'{v:.3g}'
def _code(names: str) -> str: return ', '.join(f'`{n}`' for n in names.split(', ')) if names else ''
def _tag(tag: str, text: str) -> str: return f'<{tag}>{html.escape(text)}</{tag}>' if text else ''
def _tags(names: str) -> str: return ', '.join(_tag('code', n) for n in names.split(', ')) if names else ''
