"""Statements as lines to read, in text and in LaTeX; and the notation that they need explained.

    >>> half = Statement('set', 'param', sp.Symbol('param') / 2)
    >>> Script(dict(param='θ'), {'param'}).line(half)
    [Math(text='θ ← θ/2', latex='\\\\theta \\\\leftarrow \\\\frac{\\\\theta}{2}')]
"""
from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import sympy as sp

from ..letters import latex as latex_letter
from .latex import Latex
from .nodes import Statement
from .notation import Text
from .report import Cell, Math

__all__ = ['Script', 'notation']

WIDE = 60  # a case that is longer has two lines
SIGNS = dict(set=('←', r'\leftarrow'), let=('=', '='), sum=('= Σ', r'= \sum'))


class Script:
    "Writes statements in the letters of an optimizer."
    def __init__(self,
        letters: Mapping[str, str],  # For the names of symbols
        tensors: Container[str]      # Which of them are tensors
    ):
        self.letters = letters
        self.text, self.latex = Text(letters, tensors), Latex(letters, tensors)

    def math(self, expr: Any, first: str='') -> Math:
        return Math(self.text(expr, first), self.latex(expr, first))

    def name(self, name: str) -> Math:
        letter = self.letters.get(name, name)
        return Math(letter, latex_letter(letter))

    def line(self, s: Statement) -> list[Cell]:
        "A statement, as words and formulas."
        match s.kind:
            case 'grad':
                loss = Math('∇f(θ)', r'\nabla f(\theta)')
                return [self.assignment(s.name, 'set', loss)]
            case 'if' | 'elif':
                return ['if ' if s.kind == 'if' else 'else if ', self.math(s.expr), ':']
            case 'else': return ['otherwise:']
            case 'repeat': return ['repeat ', self.math(s.expr), ' times:']
            case _ if isinstance(s.expr, sp.Piecewise) and s.name:
                return [self.assignment(s.name, s.kind, self.cases(s))]
            case _: return [self.assignment(s.name, s.kind, self.math(s.expr, s.name))]

    def row(self, s: Statement) -> Math:
        "A statement as one formula."
        cells = self.line(s)
        text = ''.join(c.text if isinstance(c, Math) else str(c) for c in cells)
        latex = ''.join(c.latex if isinstance(c, Math) else rf'\text{{{c}}}' for c in cells)
        pad = '    ' * s.depth
        return Math(pad + text.replace('\n', f'\n{pad}'), r'\quad ' * s.depth + latex)

    def assignment(self, name: str, kind: str, value: Math) -> Math:
        letter, (sign, its_latex) = self.name(name), SIGNS[kind]
        left = f'{letter.text} {sign} '
        return Math(left + value.text.replace('\n', '\n' + ' ' * len(left)),
                    f'{letter.latex} {its_latex} {value.latex}')

    def cases(self, s: Statement) -> Math:
        "Cases that differ from element to element, below each other."
        values = [self.text(v, s.name) for v, _ in s.expr.args]
        wide = max(map(len, values))
        where = ['elsewhere' if c == sp.true else f'where {self.text(c)}' for _, c in s.expr.args]
        rows = [f'{v:{wide}}   {w}' for v, w in zip(values, where)]
        if max(map(len, rows)) > WIDE: rows = [f'{v}\n  {w}' for v, w in zip(values, where)]
        return Math('\n'.join(rows), self.latex(s.expr, s.name))


NOTATION = {  # a mark of it: its form and what it means
    'RMS(': (Math('RMS(x)', r'\operatorname{RMS}(x)'), 'root of the mean of squares'),
    '‖': (Math('‖x‖', r'\lVert x \rVert'), 'norm: root of the sum of squares'),
    'row norm(': (Math('row norm(x)', r'\text{row norm}(x)'), 'norm of each row'),
    'row mean(': (Math('row mean(x)', r'\text{row mean}(x)'), 'mean of each row'),
    'column mean(': (Math('column mean(x)', r'\text{column mean}(x)'), 'mean of each column'),
    'column norm(': (Math('column norm(x)', r'\text{column norm}(x)'), 'norm of each column'),
    'eigenvectors(': (Math('eigenvectors(x)', r'\operatorname{eigenvectors}(x)'), 'as columns'),
    'turned(': (Math('turned(x, q)', r'\operatorname{turned}(x, q)'),
                'q after one turn of power iteration: qr(x·q)'),
    'root(': (Math('root(x, ε, p)', r'\operatorname{root}(x, \varepsilon, p)'), '(x + ε·I) to −p'),
    'orthonormal(': (Math('orthonormal(x)', r'\operatorname{orthonormal}(x)'),
                     'a basis of what the columns span'),
    'singular(': (Math('singular(x, r)', r'\operatorname{singular}(x, r)'),
                  'the first r singular vectors of the shorter side, as columns'),
    'triu(': (Math('triu(x)', r'\operatorname{triu}(x)'), 'x above its diagonal, and on it'),
    'bound(': (Math('bound(x)', r'\operatorname{bound}(x)'),
               'a lower bound of the largest eigenvalue'),
    'clip(': (Math('clip(x, a, b)', r'\operatorname{clip}(x, a, b)'),
              'x, but at least a and at most b; ±b is −b and b'),
    'Σ': (Math('Σ', r'\sum'), 'sum over all parameters'),
    '[': (Math('[…]', r'[\dots]'), '1 where this holds, else 0')}


def notation(lines: Iterable[str]) -> Iterator[tuple[Math, str]]:
    "What is written in these lines other than as everywhere, and what it means."
    said = '\n'.join(lines)
    yield from (row for mark, row in NOTATION.items() if mark in said)
