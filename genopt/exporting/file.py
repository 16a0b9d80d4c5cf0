"The file of an exported optimizer: a header, what the parts need, the parts, and a class."
from __future__ import annotations

import math
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeAlias

from ..composition import Composition
from ..contract import REQUIRED, PartError
from ..feeding import asks_again
from ..given import Given
from ..hypers import TABLE, Hyper
from ..kinds import Gate, Made, Scalar, Stat, Step, Total, Transform
from ..rehearsal import stays_still
from ..study.report import Block, Entry, Heading, Table, Text
from ..study.section import Section
from .definitions import GIVEN, Definitions
from .evaluating import REFUSAL, evaluating
from .loop import Loop
from .names import LOCALS
from .stats import beginnings, not_their_own
from .text import assignment, call

__all__ = ['File']

Limits: TypeAlias = tuple[float, float, float]  # `low`, `high` and `most` of a Hyper

KINDS = Stat, Transform, Step, Scalar, Total, Made, Gate
DOCSTRING = 92  # columns
WIDE = '''def wide(x):
    "x in float32, or in float64 as it is: a step is rounded once, when its results are stored."
    return x.to(torch.promote_types(x.dtype, torch.float32))
'''
DOUBLE = '''def wide(x):
    "x in float64: a step is rounded once, when its results are stored."
    return x.double()
'''
TOTAL = '''def total(shares):
    "The sum over all parameters, in double precision."
    if not shares:
        return 0.0
    return torch.stack([x.to(shares[0].device) for x in shares]).double().sum().item()
'''
MATRICES = """
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        for p in self.param_groups[-1]['params']:
            if p.dim() != 2:
                raise ValueError('this optimizer is for matrices: give a parameter of shape '
                                 f'{tuple(p.shape)} to another one')
"""
LOAD = """
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        "As torch's, which would round what is kept in higher precision than its parameter."
        super().load_state_dict(state_dict)
        saved = [i for group in state_dict['param_groups'] for i in group['params']]
        params = [p for group in self.param_groups for p in group['params']]
        for i, p in zip(saved, params, strict=True):
            for key in {keys}:
                if i in state_dict['state']:
                    value = state_dict['state'][i][key]
                    self.state[p][key] = value.to(p.device, copy=True)
"""
STEP = """
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        "Moves each parameter that has a gradient. Returns what `closure` returns."
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
"""


AGAIN = '''
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        "Moves each parameter that has a gradient. Calls `closure` again while a gate asks for it."
        loss, again = self._run(closure)
        while again and closure is not None:
            params = [p for group in self.param_groups for p in group['params']]
            again = self._run(closure, *[p for p in params if p.grad is not None])[1]
        return loss

    @torch.no_grad()
    def _run(self, closure: Callable[[], Any] | None, *there: Any) -> tuple[Any, bool]:
        "One pass over the parts. True if a gate asks for another one: `there` took part before."
        loss, again = None, False
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for p in there:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
'''


class File:
    "A composition with the default values of its hyperparameters, as a file."
    def __init__(self, name: str, idea: str, composition: Composition, values: Mapping[str, Any]):
        for p in composition.ordered:
            if isinstance(p, Given):
                raise TypeError(f'`{p.out}` is fed by the training loop, and an exported file has '
                                'no `feed`: export rules that read the gradient alone')
            if type(p) not in KINDS:
                raise TypeError(f'`{p.__name__}` is a {p.kind}, and export knows only the kinds of '
                                'parts that genopt has: write it as one of those')
        self.name, self.idea = name or 'An optimizer', idea
        self.composition, self.values = composition, values
        self.class_name = _class_name(name)
        hypers = {k: _example(k) if v is REQUIRED else v for k, v in values.items()}
        self.beginnings = beginnings(composition, hypers)
        self.definitions = Definitions([*LOCALS, self.class_name])
        self.loop = Loop(composition, self.definitions, self.beginnings,
                         not_their_own(composition, hypers), _sparse(composition, hypers))
        self.evaluating = [*evaluating(composition, self.definitions, self.beginnings)]

    def text(self) -> str:
        "The whole file."
        blocks = [self._header(), *self._imports()]
        constants = [f'{assignment(k, v)}\n' for k, v in self.definitions.constants.items()]
        if constants: blocks.append(''.join(constants))
        is_double = any(b.is_double for b in self.beginnings.values())
        code = [*self.definitions.functions.values(), DOUBLE if is_double else WIDE,
                *[TOTAL] * bool(self.composition.totals), '\n'.join(self._class()) + '\n']
        return '\n'.join(blocks) + '\n\n' + '\n\n'.join(code)

    def _header(self) -> str:
        version = import_module('genopt').__version__
        *needs, last = 'torch', *self.definitions.packages
        needed = f'{", ".join(needs)} and {last}' if needs else last
        said = [f'{self.name}, written by genopt {version}. '
                f'It needs {needed}, and nothing of genopt.']
        if any(p.__module__.split('.')[0] == 'genopt' for p in self.composition.ordered):
            said.append('Parts of genopt are under the Apache License 2.0.')
        lines = [line for s in said for line in textwrap.wrap(s, 98)]
        return '\n'.join(f'# {line}' for line in lines)

    def _imports(self) -> Iterator[str]:
        "Those of Python, and those of packages, in blocks."
        yield 'from __future__ import annotations\n'
        needed = {GIVEN[k] for k in ('torch', 'Any', 'Callable', 'ParamsT')}
        needed |= {*self.definitions.imports.values()}
        if self.composition.reads_place: needed.add('from itertools import count as count_from')
        python = {s for s in needed if s.split()[1].split('.')[0] in sys.stdlib_module_names}
        for block in (python, needed - python):
            by_kind = sorted(block, key=lambda s: (s.startswith('from'), s))
            if by_kind: yield '\n'.join(by_kind) + '\n'

    # -- the class ---------------------------------------------------------------------------------

    def _class(self) -> Iterator[str]:
        yield f'class {self.class_name}(torch.optim.Optimizer):'
        yield from self._docstring()
        yield from self._init()
        if any(p.needs == 'matrix' for p in self.composition.ordered):
            yield MATRICES.rstrip()
        wider = (*(k for k, b in self.beginnings.items() if b.is_wider),)
        if wider: yield LOAD.format(keys=wider).rstrip()
        again = asks_again(self.composition)
        yield AGAIN if again else STEP
        if self.evaluating: yield REFUSAL.lstrip('\n')
        yield from self.loop.lines()
        yield '        return loss, again' if again else '        return loss'
        yield from self.evaluating

    def _docstring(self) -> Iterator[str]:
        section = Section('', self.composition, self.values, decided={})
        blocks: list[Block] = [Heading(self.name, 3, self.idea)]
        if self.idea and self.name == self.class_name: blocks = [Heading(self.idea, 3)]
        blocks += [Table([*section.given()], ('', 'given', ''), 'given'), section.procedure(),
                   Table([*section.legend()], ('', 'where'), 'where')]
        if sources := [*section.sources()]: blocks.append(Entry('sources', sources))
        text = Text(DOCSTRING)(blocks).replace('\\', '\\\\').replace('"""', "'''")
        lines = f'"""{text}\n"""'.split('\n')
        yield from (f'    {line}'.rstrip() for line in lines)
        yield ''

    def _init(self) -> Iterator[str]:
        names = sorted(self.values, key=lambda k: k != 'lr')
        args = {k: f'{k}: {"int" if self._row(k).whole else "float"}' for k in names}
        values = {k: "float('inf')" if v == math.inf else repr(v)
                  for k, v in self.values.items() if v is not REQUIRED}
        args |= {k: f'{args[k]} = {v}' for k, v in values.items()}
        first = [args.pop('lr')] if 'lr' in args else []
        yield call('    def __init__(', ['self', 'params: ParamsT', *first, '*', *args.values(),
                                         'maximize: bool = False'], ') -> None:')
        yield call('        defaults = {', [f"'{k}': {k}" for k in (*names, 'maximize')], '}')
        for (low, high, most), those in self._limits(names).items():
            ends = f' < {high:g}' if math.isfinite(high) else (
                f' <= {most:g}' if math.isfinite(most) else '')
            begins = f'{low:g} <= ' if math.isfinite(low) else ''
            must = _words(low, high, most)
            if len(those) > 1: yield from (
                f'        for name in {those}:',
                f'            if not {begins}defaults[name]{ends}:',
                f"                raise ValueError(f'{{name}} = {{defaults[name]}}: {must}')")
            else: yield from (
                f'        if not {begins}{those[0]}{ends}:',
                f"            raise ValueError(f'{those[0]} = {{{those[0]}}}: {must}')")
        yield '        super().__init__(params, defaults)'

    def _limits(self, names: Iterable[str]) -> dict[Limits, tuple[str, ...]]:
        "The hyperparameters with each pair of limits."
        res = dict[Limits, tuple[str, ...]]()
        for k in names:
            row = self._row(k)
            limits = row.low, row.high, row.most
            if any(map(math.isfinite, limits)): res[limits] = (*res.get(limits, ()), k)
        return res

    def _row(self, name: str) -> Hyper:
        "Its row in the table, or that of the name that its part's author gave it."
        origin = self.composition.original_names[name]
        return TABLE.get(name) or TABLE.get(origin) or Hyper(name, name)


def _words(low: float, high: float, most: float) -> str:
    bounds = ('at least', low), ('below', high), ('at most', most)
    said = ' and '.join(f'{word} {v:g}' for word, v in bounds if math.isfinite(v))
    return f'it must be {said}'


def _class_name(name: str) -> str:
    "`AdamWCautious` for `AdamW + cautious`."
    plain = re.sub(r', with .*|\(.*?\)+|\[[^]]*\]', '', name)
    words = re.findall(r'[^\W_]+', plain)
    return ''.join(w[0].upper() + w[1:] for w in words) or 'MyOptimizer'


def _sparse(c: Composition, hypers: Mapping[str, Any]) -> str:
    "What a sparse gradient becomes: 'rows', 'dense', or '' if it is refused."
    wish = next((p.sparse for p in c.ordered if p.sparse), '')
    if wish: return wish if c.is_flat or wish == 'dense' else ''
    try: return 'dense' if c.is_flat and stays_still(c, hypers) else ''
    except PartError: return ''  # it fails on the numbers that are tried


def _example(name: str) -> float:
    "A value of a hyperparameter that must be given, for trials."
    row = TABLE.get(name)
    return row.low if row and math.isfinite(row.low) and row.low else .5
