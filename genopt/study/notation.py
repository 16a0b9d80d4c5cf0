"How an expression is written, as a line of text or in LaTeX. Its terms have the order of papers."
from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeAlias

import sympy as sp

from .expressions import Finite, Largest, MatProd, Mean, Nan_To_Num, Nearest, Smallest, Total
from ..letters import latex as latex_letter

__all__ = ['Text', 'Latex', 'is_writable']

ADD, MUL, POW, ATOM = range(4)  # how tightly a text holds together
Written: TypeAlias = 'tuple[str, int]'  # a text, and how tightly it holds together
FUNCTIONS = {sp.sign: 'sign', sp.log: 'log', sp.sin: 'sin', sp.cos: 'cos', sp.tanh: 'tanh',
             sp.floor: 'floor', sp.ceiling: 'ceil', Nearest: 'round', Finite: 'finite',
             Nan_To_Num: 'nan_to_num', Mean: 'mean',
             Total: 'sum', Largest: 'max', Smallest: 'min'}
SUPER = dict(zip('0123456789tcα', '⁰¹²³⁴⁵⁶⁷⁸⁹ᵗᶜᵅ'))


class Text:
    "One line of text: `η·m̂ / (√v̂ + ε)`."
    dot, minus = '·', '−'
    words = {'<': '<', '>': '>', '<=': '≤', '>=': '≥', '==': '=', '!=': '≠', 'and': ' and ',
             'or': ' or ', 'oo': '∞'}

    def __init__(self,
        letters: Mapping[str, str],  # For the names of symbols
        tensors: Container[str]      # Which of them are tensors
    ):
        self.letters, self.tensors, self.first = letters, tensors, ''

    def __call__(self, expr: Any, first: str='') -> str:
        "`first`: the symbol whose term comes first, as in `β₁·m + (1 − β₁)·g`."
        self.first = first
        return self.write(expr)[0]

    # -- kinds of expressions ------------------------------------------------------------------

    def write(self, x: Any) -> Written:
        "An expression of any kind."
        found: Callable[[Any], Written] | None = _method(self, x)
        assert found, type(x).__name__  # as `is_writable` says
        return found(x)

    def inside(self, x: Any, least: int) -> str:
        "The written form, in brackets if it does not hold together enough."
        text, tight = self.write(x)
        return text if tight >= least else self.brackets(text)

    def _Symbol(self, x: Any) -> Written: return self.letter(self.letters.get(x.name, x.name)), ATOM

    def _Add(self, x: Any) -> Written:
        res = ''
        for term in sorted(x.args, key=lambda t: (self.is_last(t, x.args), *self.place(t))):
            sign = self.minus if _is_negative(term) else '+'
            text = self.inside(-term if _is_negative(term) else term, MUL)
            if res: res += f' {sign} {text}'
            else: res = text if sign == '+' else sign + text
        return res, ADD

    def is_last(self, term: Any, terms: Iterable[Any]) -> bool:
        "True for the number in t + 1 or √v + 1e-8, but not in 1 − β or 1 + η·λ."
        if not term.is_Number: return False
        if 0 < term < .01: return True
        return all(a.is_Symbol or bool(a.is_Number and a > 0) for a in terms)

    def place(self, term: Any) -> tuple[Any, ...]:
        "The sort key of a term."
        bases = {f.as_base_exp()[0] for f in sp.Mul.make_args(term)}
        is_first = any(getattr(b, 'name', '') == self.first for b in bases)
        kind = 0 if term.is_Number else 1 if self.has_tensors(term) else 2
        return _is_negative(term), not is_first, kind, len(str(term)), str(term)

    def has_tensors(self, x: Any) -> bool:
        return any(s.name in self.tensors for s in x.free_symbols)

    def _Mul(self, x: Any) -> Written:
        above, below = list[Any](), list[Any]()
        coeff, rest = x.as_coeff_Mul()
        number = abs(coeff)
        up, down = (number.p, number.q) if number.is_Rational else (number, 1)
        if up != 1: above.append(sp.sympify(up))
        if down != 1: below.append(sp.sympify(down))
        for factor in sp.Mul.make_args(rest) if rest != 1 else ():
            base, exponent = factor.as_base_exp()
            if exponent == -1: below.append(base)
            elif _is_negative(exponent): below.append(sp.Pow(base, -exponent, evaluate=False))
            else: above.append(factor)
        if below: text, tight = self.fraction(above, below)
        elif len(above) == 1: text, tight = self.write(above[0])
        else: text, tight = self.product(above), MUL
        if not coeff.is_negative: return text, tight
        return self.minus + (text if tight >= MUL else self.brackets(text)), ADD

    def product(self, factors: list[Any]) -> str:
        if len(factors) == 1: return self.write(factors[0])[0]
        order = {name: i for i, name in enumerate(self.letters)}
        def place(f: Any) -> tuple[Any, ...]:
            first = min((order[s.name] for s in f.free_symbols if s.name in order), default=-1)
            return not f.is_Number, self.has_tensors(f), not f.is_Symbol, first, str(f)
        return self.dot.join(self.inside(f, POW) for f in sorted(factors, key=place))

    def _Pow(self, x: Any) -> Written:
        base, exponent = x.base, x.exp
        if _is_negative(exponent): return self._Mul(x)
        if exponent == sp.S.Half:
            square = base.args[0] if type(base).__name__ == 'Mean' else None
            root = None if square is None else _root(square)
            return self.root(base, 2) if root is None else self.call('RMS', [root])
        if exponent == sp.Rational(1, 3): return self.root(base, 3)
        return self.power(self.inside(base, ATOM), exponent), POW

    def _exp(self, x: Any) -> Written: return self.call('exp', x.args)
    def _Abs(self, x: Any) -> Written: return self.bars(self.write(x.args[0])[0]), ATOM
    def _Norm(self, x: Any) -> Written: return self.norm(self.write(x.args[0])[0]), ATOM
    def _RowNorm(self, x: Any) -> Written: return self.norm(self.write(x.args[0])[0], 'row'), ATOM
    def _RowMean(self, x: Any) -> Written: return self.call('mean', x.args, 'row')
    def _ColumnMean(self, x: Any) -> Written: return self.call('mean', x.args, 'col')
    def _MatProd(self, x: Any) -> Written:
        least = {a: MUL if isinstance(a, MatProd) else POW for a in x.args}  # (AB)C is A(BC)
        return self.dot.join(self.inside(a, least[a]) for a in x.args), MUL

    def _Truth(self, x: Any) -> Written: return self.square_brackets(self.write(x.args[0])[0]), ATOM
    def _Mod(self, x: Any) -> Written:
        return self.word(' mod ').join(self.inside(a, POW) for a in x.args), MUL

    def _Transposed(self, x: Any) -> Written:
        return self.transposed(self.inside(x.args[0], ATOM)), POW

    def _Infinity(self, x: Any) -> Written: return self.words['oo'], ATOM
    def _NegativeInfinity(self, x: Any) -> Written: return self.minus + self.words['oo'], ADD
    def _Exp1(self, x: Any) -> Written: return self.letter('e'), ATOM
    def _Pi(self, x: Any) -> Written: return self.letter('π'), ATOM

    def _Clip(self, x: Any) -> Written:
        value, low, high = x.args
        if low != -high: return self.call('clip', x.args)
        return self.call('clip', [value], ends=f', {self.plus_minus(high)}')

    def _Function(self, x: Any) -> Written: return self.call(FUNCTIONS[type(x)], x.args)
    def _Max(self, x: Any) -> Written:
        args = sorted(x.args, key=lambda a: (a.is_Number, str(a)))
        return self.call(type(x).__name__.lower(), args)
    _Min = _Max
    def _AppliedUndef(self, x: Any) -> Written: return self.call(x.func.__name__, x.args)

    def _Relational(self, x: Any) -> Written:
        return f'{self.inside(x.lhs, ADD)} {self.words[x.rel_op]} {self.inside(x.rhs, ADD)}', ADD

    def _And(self, x: Any) -> Written:
        word = self.words[type(x).__name__.lower()]
        return word.join(self.inside(a, ATOM if isinstance(a, (sp.And, sp.Or)) else ADD)
                         for a in sorted(x.args, key=str)), ADD
    _Or = _And
    def _BooleanTrue(self, x: Any) -> Written: return self.word('true'), ATOM
    def _BooleanFalse(self, x: Any) -> Written: return self.word('false'), ATOM
    def _Not(self, x: Any) -> Written: return self.word('not ') + self.inside(x.args[0], ATOM), ADD

    def _Piecewise(self, x: Any) -> Written:
        return self.cases([(self.inside(v, ADD), None if c == sp.true else self.write(c)[0])
                           for v, c in x.args])

    def _Number(self, x: Any) -> Written:
        if x.is_Rational and x.q != 1: return self.fraction([sp.Integer(x.p)], [sp.Integer(x.q)])
        fits = x == 0 or 1e-300 < abs(x) < 1e300
        text = f'{float(x):.6g}' if fits else str(sp.Float(x, 6))
        digits, _, power = text.replace('-', self.minus, text.startswith('-')).partition('e')
        if '.' in digits: digits = digits.rstrip('0').rstrip('.')
        if power: digits = self.scientific(digits, int(power))
        return digits, ATOM if x >= 0 else ADD

    # -- how it looks --------------------------------------------------------------------------

    def letter(self, letter: str) -> str: return letter
    def word(self, word: str) -> str: return word
    def brackets(self, text: str) -> str: return f'({text})'
    def square_brackets(self, text: str) -> str: return f'[{text}]'
    def bars(self, text: str) -> str: return f'|{text}|'
    def norm(self, text: str, of: str='') -> str:
        return f'‖{text}‖_{of}' if of else f'‖{text}‖'
    def transposed(self, text: str) -> str: return f'{text}ᵀ'
    def plus_minus(self, x: Any) -> str: return f'±{self.inside(x, MUL)}'
    def scientific(self, digits: str, power: int) -> str: return f'{digits}e{power}'

    def call(self, name: str, args: Any, of: str='', ends: str='') -> Written:
        inside = ', '.join(self.write(a)[0] for a in args) + ends
        return self.function(name, of) + self.brackets(inside), ATOM

    def function(self, name: str, of: str) -> str: return f'{name}_{of}' if of else name

    def root(self, x: Any, degree: int) -> Written:
        return {2: '√', 3: '∛'}[degree] + self.inside(x, ATOM), POW

    def power(self, base: str, exponent: Any) -> str:
        text, tight = self.write(exponent)
        if all(c in SUPER for c in text): return base + ''.join(SUPER[c] for c in text)
        return f'{base}^{text if tight == ATOM else self.brackets(text)}'

    def fraction(self, above: list[Any], below: list[Any]) -> Written:
        top = self.product(above) if above else '1'
        if len(above) == 1: top = self.inside(above[0], MUL)
        bottom = self.brackets(self.product(below))
        if len(below) == 1: bottom = self.inside(below[0], POW)
        slash = ' / ' if {*top} & {' ', self.dot} or ' ' in bottom else '/'
        return top + slash + bottom, MUL

    def cases(self, pieces: list[tuple[str, str | None]]) -> Written:
        return ' else '.join(v if c is None else f'{v} if {c}' for v, c in pieces), -1


class Latex(Text):
    "LaTeX: `\\frac{\\eta \\, \\hat{m}}{\\sqrt{\\hat{v}} + \\varepsilon}`."
    dot, minus = r' \, ', '-'
    words = {'<': '<', '>': '>', '<=': r'\le', '>=': r'\ge', '==': '=', '!=': r'\ne',
             'and': r' \wedge ', 'or': r' \vee ', 'oo': r'\infty'}
    known = {'max': r'\max', 'min': r'\min', 'exp': r'\exp', 'log': r'\log'}

    def letter(self, letter: str) -> str: return latex_letter(letter)
    def word(self, word: str) -> str: return rf'\text{{{word}}}'
    def brackets(self, text: str) -> str: return _around('(', text, ')')
    def square_brackets(self, text: str) -> str: return _around('[', text, ']')
    def bars(self, text: str) -> str: return _around(r'\lvert ', text, r' \rvert')
    def norm(self, text: str, of: str='') -> str:
        return _around(r'\lVert ', text, r' \rVert') + _index(of)
    def transposed(self, text: str) -> str: return self.braced(text) + r'^{\top}'
    def braced(self, text: str) -> str: return f'{{{text}}}' if '^' in text else text
    def plus_minus(self, x: Any) -> str: return rf'\pm {self.inside(x, MUL)}'
    def scientific(self, digits: str, power: int) -> str:
        return rf'{digits} \times 10^{{{power}}}' if digits != '1' else f'10^{{{power}}}'

    def function(self, name: str, of: str) -> str:
        return self.known.get(name, r'\operatorname{' + name.replace('_', r'\_') + '}') + _index(of)

    def root(self, x: Any, degree: int) -> Written:
        return r'\sqrt' + (f'[{degree}]' if degree > 2 else '') + f'{{{self.write(x)[0]}}}', ATOM

    def power(self, base: str, exponent: Any) -> str:
        return self.braced(base) + f'^{{{self.write(exponent)[0]}}}'

    def fraction(self, above: list[Any], below: list[Any]) -> Written:
        return rf'\frac{{{self.product(above) if above else "1"}}}{{{self.product(below)}}}', ATOM

    def cases(self, pieces: list[tuple[str, str | None]]) -> Written:
        rows = [rf'{v} & ' + (r'\text{otherwise}' if c is None else rf'\text{{if }} {c}')
                for v, c in pieces]
        return r'\begin{cases} ' + r' \\ '.join(rows) + r' \end{cases}', ATOM


def is_writable(expr: Any) -> bool:
    "True if all of it has a notation. A result that is not a number, such as 1/0, has none."
    parts = [x for x in sp.preorder_traversal(expr) if not isinstance(x, sp.Tuple)]
    known = (type(x) in FUNCTIONS or _method(Text, x) not in (None, Text._Function) for x in parts)
    return sp.nan not in parts and all(known)


def _method(of: Any, x: Any) -> Any:
    "The method of a notation that writes x, or None."
    found = (getattr(of, f'_{cls.__name__}', None) for cls in type(x).__mro__)
    return next(filter(None, found), None)


def _is_negative(x: Any) -> bool: return bool(x.as_coeff_Mul()[0].is_negative)
def _index(of: str) -> str: return rf'_{{\text{{{of}}}}}' if of else ''


def _around(left: str, text: str, right: str) -> str:
    "In brackets, which grow if the text is tall."
    tall = any(word in text for word in ('frac', 'sqrt', 'cases'))
    return rf'\left{left}{text}\right{right.strip()}' if tall else left + text + right


def _root(x: Any) -> Any:
    "The square root of a product of even powers, or None for anything else."
    pairs = [f.as_base_exp() for f in sp.Mul.make_args(x)]
    if not all(e.is_Integer and e % 2 == 0 for _, e in pairs): return None
    return sp.Mul(*(b**(e // 2) for b, e in pairs))
