"How an expression is written in LaTeX: as in `notation`, with other signs."
from __future__ import annotations

from typing import Any

from ..letters import latex as latex_letter
from .notation import ATOM, Text, Written

__all__ = ['Latex']


class Latex(Text):
    """LaTeX: `\\frac{\\eta \\hat{m}}{\\sqrt{\\hat{v}} + \\varepsilon}`.

    Its commands are those that TeX with amsmath, MathJax, KaTeX and latex2mathml have.
    """
    minus, infinity, plus_minus, arrow = '-', r'\infty', r'\pm ', r'\leftarrow'
    words = {'<': '<', '>': '>', '<=': r'\le', '>=': r'\ge', '==': '=', '!=': r'\ne',
             'And': r' \wedge ', 'Or': r' \vee '}
    fences = dict(brackets=('(', ')'), Truth=('[', ']'), Abs=(r'\lvert ', r' \rvert'),
                  Finite=('[', r' \text{ is finite}]'), Norm=(r'\lVert ', r' \rVert'))
    operators = 'max', 'min', 'exp', 'log'  # those of LaTeX that occur

    def letter(self, letter: str) -> str: return latex_letter(letter)
    def word(self, word: str) -> str: return rf'\text{{{word}}}'
    def joined(self, factors: list[str]) -> str:
        res, *others = factors
        for f in others: res += (r' \cdot ' if f[0].isdigit() else ' ') + f
        return res

    def transposed(self, text: str) -> str: return self.braced(text) + r'^{\top}'
    def braced(self, text: str) -> str: return f'{{{text}}}' if '^' in text else text
    def function(self, name: str) -> str:
        if name in self.operators: return '\\' + name
        if ' ' in name: return self.word(name)
        return r'\operatorname{' + name.replace('_', r'\_') + '}'

    def scientific(self, digits: str, power: int) -> str:
        return rf'{digits} \times 10^{{{power}}}' if digits != '1' else f'10^{{{power}}}'

    def fenced(self, text: str, kind: str='brackets') -> str:
        "In brackets, which grow if the text is tall."
        left, right = self.fences[kind]
        tall = any(word in text for word in ('frac', 'sqrt', 'cases'))
        if not tall or kind == 'Finite': return left + text + right
        return rf'\left{left}{text}\right{right.strip()}'

    def root(self, x: Any, degree: int) -> Written:
        return r'\sqrt' + (f'[{degree}]' if degree > 2 else '') + f'{{{self.text(x)}}}', ATOM

    def power(self, base: str, exponent: Any) -> str:
        return self.braced(base) + f'^{{{self.text(exponent)}}}'

    def fraction(self, above: list[Any], below: list[Any]) -> Written:
        return rf'\frac{{{self.product(above)}}}{{{self.product(below)}}}', ATOM

    def cases(self, pieces: list[tuple[str, str | None]]) -> Written:
        rows = [rf'{v} & ' + (r'\text{otherwise}' if c is None else rf'\text{{if }} {c}')
                for v, c in pieces]
        return r'\begin{cases} ' + r' \\ '.join(rows) + r' \end{cases}', ATOM
