"""How an expression is written: on one line of text, or in LaTeX. Terms and factors come in the order papers have."""
from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import sympy as sp

from .expressions import Finite, Largest, MatProd, Mean, Nan_To_Num, Nearest, Smallest, Total
from ..letters import latex as latex_letter

__all__ = ['Text', 'Latex', 'is_writable']

ADD, MUL, POW, ATOM = range(4)  # how tightly what was written holds together
FUNCTIONS = {sp.sign: 'sign', sp.log: 'log', sp.sin: 'sin', sp.cos: 'cos', sp.tanh: 'tanh', sp.floor: 'floor',
             sp.ceiling: 'ceil', Nearest: 'round', Finite: 'finite', Nan_To_Num: 'nan_to_num', Mean: 'mean',
             Total: 'sum', Largest: 'max', Smallest: 'min'}
SUPER = dict(zip('0123456789tcα', '⁰¹²³⁴⁵⁶⁷⁸⁹ᵗᶜᵅ'))


class Text:
    "One line of text: `η·m̂ / (√v̂ + ε)`."
    dot, minus = '·', '−'
    words = {'<': '<', '>': '>', '<=': '≤', '>=': '≥', '==': '=', '!=': '≠', 'and': ' and ', 'or': ' or ', 'oo': '∞'}

    def __init__(self,
        letters: Mapping[str, str],  # For the names of symbols
        tensors: Container[str]      # Which of them are tensors
    ):
        self.letters, self.tensors, self.first = letters, tensors, ''

    def __call__(self, expr: Any, first: str='') -> str:
        "`first`: the symbol whose term comes first, as in `β₁·m + (1 − β₁)·g`."
        self.first = first
        return self.write(expr)[0]

    # -- what an expression is made of -----------------------------------------------------------------------

    def write(self, x: Any) -> tuple[str, int]:
        "What is written, and how tightly it holds together."
        found: Callable[[Any], tuple[str, int]] | None = _method(self, x)
        assert found, type(x).__name__  # as `is_writable` says
        return found(x)

    def inside(self, x: Any, least: int) -> str:
        "In brackets, if it does not hold together enough."
        text, tight = self.write(x)
        return text if tight >= least else self.brackets(text)

    def _Symbol(self, x: Any) -> tuple[str, int]: return self.letter(self.letters.get(x.name, x.name)), ATOM

    def _Add(self, x: Any) -> tuple[str, int]:
        res = ''
        plain = all(a.is_Symbol or a.is_Number and a > 0 for a in x.args)  # t + 1; but 1 − β, and 1 + η·λ
        for term in sorted(x.args, key=lambda t: (bool(t.is_Number and (plain or 0 < t < .01)), *self.place(t))):
            sign = term.as_coeff_Mul()[0].is_negative
            text = self.inside(-term if sign else term, MUL)
            res += (f' {self.minus} ' if sign else ' + ') + text if res else self.minus * bool(sign) + text
        return res, ADD

    def place(self, term: Any) -> tuple[Any, ...]:
        names = {s.name for s in term.free_symbols}
        factors = {f.as_base_exp()[0] for f in sp.Mul.make_args(term)}
        negative = bool(term.as_coeff_Mul()[0].is_negative)
        kind = 0 if term.is_Number else 1 if any(n in self.tensors for n in names) else 2
        return negative, all(getattr(f, 'name', '') != self.first for f in factors), kind, len(str(term)), str(term)

    def _Mul(self, x: Any) -> tuple[str, int]:
        above, below = list[Any](), list[Any]()
        coeff, rest = x.as_coeff_Mul()
        negative = coeff.is_negative
        coeff = abs(coeff)
        if coeff.is_Rational: up, down = coeff.p, coeff.q
        else: up, down = coeff, 1
        if up != 1: above.append(sp.sympify(up))
        if down != 1: below.append(sp.sympify(down))
        for factor in sp.Mul.make_args(rest) if rest != 1 else ():
            base, exponent = factor.as_base_exp()
            if exponent.as_coeff_Mul()[0].is_negative: below.append(sp.Pow(base, -exponent, evaluate=False)
                                                                    if exponent != -1 else base)
            else: above.append(factor)
        res = self.fraction(above, below) if below else (self.product(above), MUL if len(above) > 1 else
                                                         self.write(above[0])[1])
        return (self.minus + (res[0] if res[1] >= MUL else self.brackets(res[0])), ADD) if negative else res

    def product(self, factors: list[Any]) -> str:
        if len(factors) == 1: return self.write(factors[0])[0]
        def place(f: Any) -> tuple[Any, ...]:
            names = {s.name for s in f.free_symbols}
            order = [*self.letters]
            tensors = any(n in self.tensors for n in names)
            return not f.is_Number, tensors, not f.is_Symbol, min((order.index(n) for n in names if n in order),
                                                                  default=-1), str(f)
        return self.dot.join(self.inside(f, POW) for f in sorted(factors, key=place))

    def _Pow(self, x: Any) -> tuple[str, int]:
        base, exponent = x.base, x.exp
        if exponent.as_coeff_Mul()[0].is_negative: return self._Mul(x)
        if exponent == sp.S.Half:
            square = base.args[0] if type(base).__name__ == 'Mean' else None
            if square is not None and (root := _root(square)) is not None: return self.call('RMS', [root])
            return self.root(base, 2)
        if exponent == sp.Rational(1, 3): return self.root(base, 3)
        return self.power(self.inside(base, ATOM), exponent), POW

    def _exp(self, x: Any) -> tuple[str, int]: return self.call('exp', x.args)
    def _Abs(self, x: Any) -> tuple[str, int]: return self.bars(self.write(x.args[0])[0]), ATOM
    def _Norm(self, x: Any) -> tuple[str, int]: return self.norm(self.write(x.args[0])[0]), ATOM
    def _RowNorm(self, x: Any) -> tuple[str, int]: return self.norm(self.write(x.args[0])[0], 'row'), ATOM
    def _RowMean(self, x: Any) -> tuple[str, int]: return self.call('mean', x.args, 'row')
    def _ColumnMean(self, x: Any) -> tuple[str, int]: return self.call('mean', x.args, 'col')
    def _MatProd(self, x: Any) -> tuple[str, int]:  # (AB)C is A(BC)
        return self.dot.join(self.inside(a, MUL if isinstance(a, MatProd) else POW) for a in x.args), MUL
    def _Truth(self, x: Any) -> tuple[str, int]: return self.square_brackets(self.write(x.args[0])[0]), ATOM
    def _Mod(self, x: Any) -> tuple[str, int]: return self.word(' mod ').join(self.inside(a, POW) for a in x.args), MUL
    def _Transposed(self, x: Any) -> tuple[str, int]: return self.transposed(self.inside(x.args[0], ATOM)), POW
    def _Infinity(self, x: Any) -> tuple[str, int]: return self.words['oo'], ATOM
    def _NegativeInfinity(self, x: Any) -> tuple[str, int]: return self.minus + self.words['oo'], ADD
    def _Exp1(self, x: Any) -> tuple[str, int]: return self.letter('e'), ATOM
    def _Pi(self, x: Any) -> tuple[str, int]: return self.letter('π'), ATOM

    def _Clip(self, x: Any) -> tuple[str, int]:
        value, low, high = x.args
        return self.call('clip', [value, low, high], ends=self.plus_minus(high) if low == -high else '')

    def _Function(self, x: Any) -> tuple[str, int]: return self.call(FUNCTIONS[type(x)], x.args)
    def _Max(self, x: Any) -> tuple[str, int]:
        return self.call(type(x).__name__.lower(), sorted(x.args, key=lambda a: (a.is_Number, str(a))))
    _Min = _Max
    def _AppliedUndef(self, x: Any) -> tuple[str, int]: return self.call(x.func.__name__, x.args)

    def _Relational(self, x: Any) -> tuple[str, int]:
        return f'{self.inside(x.lhs, ADD)} {self.words[x.rel_op]} {self.inside(x.rhs, ADD)}', ADD

    def _And(self, x: Any) -> tuple[str, int]:
        word = self.words[type(x).__name__.lower()]
        texts = [self.inside(a, ATOM if isinstance(a, (sp.And, sp.Or)) else ADD) for a in sorted(x.args, key=str)]
        return word.join(texts), ADD
    _Or = _And
    def _BooleanTrue(self, x: Any) -> tuple[str, int]: return self.word('true'), ATOM
    def _BooleanFalse(self, x: Any) -> tuple[str, int]: return self.word('false'), ATOM
    def _Not(self, x: Any) -> tuple[str, int]: return self.word('not ') + self.inside(x.args[0], ATOM), ADD

    def _Piecewise(self, x: Any) -> tuple[str, int]:
        pieces = [(self.inside(v, ADD), None if c == sp.true else self.write(c)[0]) for v, c in x.args]
        return self.cases(pieces)

    def _Number(self, x: Any) -> tuple[str, int]:
        if x.is_Rational and x.q != 1: return self.fraction([sp.Integer(x.p)], [sp.Integer(x.q)])
        fits = x == 0 or 1e-300 < abs(x) < 1e300
        text = f'{float(x):.6g}' if fits else str(sp.Float(x, 6))
        digits, _, power = text.replace('-', self.minus, text.startswith('-')).partition('e')
        if '.' in digits: digits = digits.rstrip('0').rstrip('.')
        return self.scientific(digits, int(power)) if power else digits, ATOM if x >= 0 else ADD

    # -- how it looks ----------------------------------------------------------------------------------------

    def letter(self, letter: str) -> str: return letter
    def word(self, word: str) -> str: return word
    def brackets(self, text: str) -> str: return f'({text})'
    def square_brackets(self, text: str) -> str: return f'[{text}]'
    def bars(self, text: str) -> str: return f'|{text}|'
    def norm(self, text: str, of: str='') -> str: return f'‖{text}‖' + f'_{of}' * bool(of)
    def transposed(self, text: str) -> str: return f'{text}ᵀ'
    def plus_minus(self, x: Any) -> str: return f'±{self.inside(x, MUL)}'
    def scientific(self, digits: str, power: int) -> str: return f'{digits}e{power}'

    def call(self, name: str, args: Any, of: str='', ends: str='') -> tuple[str, int]:
        texts = [self.write(args[0])[0], ends] if ends else [self.write(a)[0] for a in args]
        return f'{name}{"_" * bool(of)}{of}({", ".join(texts)})', ATOM

    def root(self, x: Any, degree: int) -> tuple[str, int]:
        return {2: '√', 3: '∛'}[degree] + self.inside(x, ATOM), POW

    def power(self, base: str, exponent: Any) -> str:
        text, tight = self.write(exponent)
        if all(c in SUPER for c in text): return base + ''.join(SUPER[c] for c in text)
        return f'{base}^{text if tight == ATOM else self.brackets(text)}'

    def fraction(self, above: list[Any], below: list[Any]) -> tuple[str, int]:
        top = self.product(above) if above else '1'
        if len(above) == 1: top = self.inside(above[0], MUL)
        bottom = self.inside(below[0], POW) if len(below) == 1 else self.brackets(self.product(below))
        slash = ' / ' if {*top} & {' ', self.dot} or ' ' in bottom else '/'
        return top + slash + bottom, MUL

    def cases(self, pieces: list[tuple[str, str | None]]) -> tuple[str, int]:
        return ' else '.join(v if c is None else f'{v} if {c}' for v, c in pieces), -1


class Latex(Text):
    "For LaTeX, and what understands it."
    dot, minus = r' \, ', '-'
    words = {'<': '<', '>': '>', '<=': r'\le', '>=': r'\ge', '==': '=', '!=': r'\ne', 'and': r' \wedge ',
             'or': r' \vee ', 'oo': r'\infty'}
    known = {'max': r'\max', 'min': r'\min', 'exp': r'\exp', 'log': r'\log'}

    def letter(self, letter: str) -> str: return latex_letter(letter)
    def word(self, word: str) -> str: return rf'\text{{{word}}}'
    def brackets(self, text: str) -> str: return _around('(', text, ')')
    def square_brackets(self, text: str) -> str: return _around('[', text, ']')
    def bars(self, text: str) -> str: return _around(r'\lvert ', text, r' \rvert')
    def norm(self, text: str, of: str='') -> str:
        return _around(r'\lVert ', text, r' \rVert') + rf'_{{\text{{{of}}}}}' * bool(of)
    def transposed(self, text: str) -> str: return self.braced(text) + r'^{\top}'
    def braced(self, text: str) -> str: return f'{{{text}}}' if '^' in text else text
    def plus_minus(self, x: Any) -> str: return rf'\pm {self.inside(x, MUL)}'
    def scientific(self, digits: str, power: int) -> str:
        return rf'{digits} \times 10^{{{power}}}' if digits != '1' else f'10^{{{power}}}'

    def call(self, name: str, args: Any, of: str='', ends: str='') -> tuple[str, int]:
        texts = [self.write(args[0])[0], ends] if ends else [self.write(a)[0] for a in args]
        name = self.known.get(name, r'\operatorname{' + name.replace('_', r'\_') + '}')
        return name + rf'_{{\text{{{of}}}}}' * bool(of) + self.brackets(', '.join(texts)), ATOM

    def root(self, x: Any, degree: int) -> tuple[str, int]:
        return r'\sqrt' + (f'[{degree}]' if degree > 2 else '') + f'{{{self.write(x)[0]}}}', ATOM

    def power(self, base: str, exponent: Any) -> str:
        return self.braced(base) + f'^{{{self.write(exponent)[0]}}}'

    def fraction(self, above: list[Any], below: list[Any]) -> tuple[str, int]:
        return rf'\frac{{{self.product(above) if above else "1"}}}{{{self.product(below)}}}', ATOM

    def cases(self, pieces: list[tuple[str, str | None]]) -> tuple[str, int]:
        rows = [rf'{v} & ' + (r'\text{otherwise}' if c is None else rf'\text{{if }} {c}') for v, c in pieces]
        return r'\begin{cases} ' + r' \\ '.join(rows) + r' \end{cases}', ATOM


def is_writable(expr: Any) -> bool:
    "True if all of it has a notation; what is not a number, such as 1/0, has none."
    return all(x is not sp.nan and (type(x) in FUNCTIONS or _method(Text, x) not in (None, Text._Function))
               for x in sp.preorder_traversal(expr) if not isinstance(x, sp.Tuple))


def _method(of: Any, x: Any) -> Any:
    "The method of a notation that writes x, or None."
    return next((m for cls in type(x).__mro__ if (m := getattr(of, f'_{cls.__name__}', None))), None)


def _around(left: str, text: str, right: str) -> str:
    "Brackets that grow, around what is tall."
    tall = any(word in text for word in ('frac', 'sqrt', 'cases'))
    return rf'\left{left}{text}\right{right.strip()}' if tall else left + text + right


def _root(x: Any) -> Any:
    "The root of a product of squares, or None."
    pairs = [f.as_base_exp() for f in sp.Mul.make_args(x)]
    if not all(e.is_Integer and e % 2 == 0 for _, e in pairs): return None
    return sp.Mul(*(b**(e // 2) for b, e in pairs))
