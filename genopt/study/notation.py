"How an expression is written, as a line of text. Its terms stand in the order of papers."
from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, TypeAlias

import sympy as sp

from sympy.core.function import AppliedUndef, FunctionClass

from .expressions import IS_MATRIX, MatProd, Mean, symbol
from .operations import OPS

__all__ = ['ATOM', 'Text', 'Written', 'is_writable']

ADD, MUL, POW, ATOM = range(4)  # how tightly a text holds together
Written: TypeAlias = 'tuple[str, int]'  # a text, and how tightly it holds together
NAMES = {op: name for name, op in OPS.items() if isinstance(op, FunctionClass)}
SUPER = dict(zip('0123456789tcα', '⁰¹²³⁴⁵⁶⁷⁸⁹ᵗᶜᵅ'))


class Text:
    "One line of text: `η·m̂ / (√v̂ + ε)`."
    dot, minus, infinity, arrow = '·', '−', '∞', '←'
    words = {'<': '<', '>': '>', '<=': '≤', '>=': '≥', '==': '=', '!=': '≠', 'And': ' and ',
             'Or': ' or '}
    fences = dict(brackets=('(', ')'), Truth=('[', ']'), Finite=('[', ' is finite]'),
                  Abs=('|', '|'), Norm=('‖', '‖'))

    def __init__(self,
        letters: Mapping[str, str],  # For the names of symbols
        tensors: Container[str]      # Which of them are tensors
    ):
        self.letters, self.tensors, self.first = letters, tensors, ''

    def __call__(self, expr: Any, first: str='') -> str:
        "`first`: the symbol whose term comes first, as in `β₁·m + (1 − β₁)·g`."
        self.first = first
        return self.text(expr)

    # -- kinds of expressions ------------------------------------------------------------------

    def write(self, x: Any) -> Written:
        "An expression of any kind."
        return _method(self, x)(x)  # type: ignore[no-any-return]

    def text(self, x: Any) -> str: return self.write(x)[0]

    def inside(self, x: Any, least: int) -> str:
        "A term or a factor, in brackets if it does not hold together enough."
        text, tight = self.write(x)
        return text if tight >= least else self.fenced(text)

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
        coeff, rest = x.as_coeff_Mul()
        above, below = ([f] if f != 1 else [] for f in sp.fraction(abs(coeff)))
        for factor in sp.Mul.make_args(rest) if rest != 1 else ():
            base, exponent = factor.as_base_exp()
            if exponent == -1: below.append(base)
            elif _is_negative(exponent): below.append(sp.Pow(base, -exponent, evaluate=False))
            else: above.append(factor)
        if below: text, tight = self.fraction(above, below)
        elif len(above) == 1: text, tight = self.write(above[0])
        else: text, tight = self.product(above), MUL
        if not coeff.is_negative: return text, tight
        return self.minus + (text if tight >= MUL else self.fenced(text)), ADD

    def product(self, factors: list[Any]) -> str:
        if not factors: return '1'
        if len(factors) == 1: return self.text(factors[0])
        order = {name: i for i, name in enumerate(self.letters)}
        def place(f: Any) -> tuple[Any, ...]:
            first = min((order[s.name] for s in f.free_symbols if s.name in order), default=-1)
            return not f.is_Number, self.has_tensors(f), not f.is_Symbol, first, str(f)
        return self.joined([self.inside(f, POW) for f in sorted(factors, key=place)])

    def joined(self, factors: list[str]) -> str: return self.dot.join(factors)

    def _Pow(self, x: Any) -> Written:
        base, exponent = x.base, x.exp
        if _is_negative(exponent): return self._Mul(x)
        if exponent == sp.S.Half:
            root = _root(base.args[0]) if isinstance(base, Mean) else None
            return self.root(base, 2) if root is None else self.call('RMS', self.text(root))
        if exponent == sp.Rational(1, 3): return self.root(base, 3)
        return self.power(self.inside(base, ATOM), exponent), POW

    def _Function(self, x: Any) -> Written: return self.call(_name(x), *map(self.text, x.args))

    def _Norm(self, x: Any) -> Written:
        return self.fenced(self.text(x.args[0]), type(x).__name__), ATOM
    _Abs = _Truth = _Finite = _Norm

    def _Total(self, x: Any) -> Written:
        root = _root(x.args[0])
        if root is None: return self._Function(x)
        return self.power(self.fenced(self.text(root), 'Norm'), sp.Integer(2)), POW

    def _MatProd(self, x: Any) -> Written:
        if x.args[0] == x.args[1]:
            return self.power(self.inside(x.args[0], ATOM), sp.Integer(2)), POW
        least = {a: MUL if isinstance(a, MatProd) else POW for a in x.args}  # (AB)C is A(BC)
        return self.joined([self.inside(a, least[a]) for a in x.args]), MUL

    def _Mod(self, x: Any) -> Written:
        return self.word(' mod ').join(self.inside(a, POW) for a in x.args), MUL

    def _Transposed(self, x: Any) -> Written:
        return self.transposed(self.inside(x.args[0], ATOM)), POW

    def _Iterate(self, x: Any) -> Written:
        inside, body, start, turns = map(self.text, x.args)
        said = self.word(f'{turns} times') if turns.isdigit() else turns + self.word(' times')
        return self.fenced(f'{said} {inside} {self.arrow} {body}{self.word(" from ")}{start}'), ATOM

    def _Clip(self, x: Any) -> Written:
        value, low, high = map(self.text, x.args)
        if x.args[1] != -x.args[2]: return self.call('clip', value, low, high)
        return self.call('clip', value, self.plus_minus + self.inside(x.args[2], MUL))

    def _Max(self, x: Any) -> Written:
        args = sorted(x.args, key=lambda a: (a.is_Number, str(a)))
        return self.call(type(x).__name__.lower(), *map(self.text, args))
    _Min = _Max

    def _Relational(self, x: Any) -> Written:
        if x in (IS_MATRIX, sp.Not(IS_MATRIX)):
            said = ' is a matrix' if x == IS_MATRIX else ' is a vector'
            return self.text(symbol('param')) + self.word(said), ADD
        return f'{self.inside(x.lhs, ADD)} {self.words[x.rel_op]} {self.inside(x.rhs, ADD)}', ADD

    def _And(self, x: Any) -> Written:
        args = [self.inside(a, ATOM if isinstance(a, (sp.And, sp.Or)) else ADD)
                for a in sorted(x.args, key=str)]
        return self.words[type(x).__name__].join(args), ADD
    _Or = _And

    def _Not(self, x: Any) -> Written: return self.word('not ') + self.inside(x.args[0], ATOM), ADD
    def _BooleanAtom(self, x: Any) -> Written: return self.word(str(x).lower()), ATOM
    def _NumberSymbol(self, x: Any) -> Written: return self.letter('π' if x == sp.pi else 'e'), ATOM

    def _Piecewise(self, x: Any) -> Written:
        return self.cases([(self.inside(v, ADD), None if c == sp.true else self.text(c))
                           for v, c in x.args])

    def _Number(self, x: Any) -> Written:
        if x.is_Rational and x.q != 1: return self.fraction([sp.Integer(x.p)], [sp.Integer(x.q)])
        sign, size = (self.minus, -x) if x < 0 else ('', x)
        fits = size == 0 or 1e-300 < size < 1e300
        digits, _, power = (f'{float(size):.6g}' if fits else str(sp.Float(size, 6))).partition('e')
        if '.' in digits: digits = digits.rstrip('0').rstrip('.')
        if power: digits = self.scientific(digits, int(power))
        if size.is_infinite: digits = self.infinity
        return sign + digits, ADD if sign else ATOM

    # -- how it looks --------------------------------------------------------------------------

    plus_minus = '±'

    def letter(self, letter: str) -> str: return letter
    def word(self, word: str) -> str: return word
    def function(self, name: str) -> str: return name
    def transposed(self, text: str) -> str: return f'{text}ᵀ'
    def scientific(self, digits: str, power: int) -> str: return f'{digits}e{power}'

    def fenced(self, text: str, kind: str='brackets') -> str:
        left, right = self.fences[kind]
        return left + text + right

    def call(self, name: str, *args: str) -> Written:
        return self.function(name) + self.fenced(', '.join(args)), ATOM

    def root(self, x: Any, degree: int) -> Written:
        return {2: '√', 3: '∛'}[degree] + self.inside(x, ATOM), POW

    def power(self, base: str, exponent: Any) -> str:
        text, tight = self.write(exponent)
        if all(c in SUPER for c in text): return base + ''.join(SUPER[c] for c in text)
        return f'{base}^{text if tight == ATOM else self.fenced(text)}'

    def fraction(self, above: list[Any], below: list[Any]) -> Written:
        top = self.product(above)
        if len(above) == 1: top = self.inside(above[0], MUL)
        bottom = self.fenced(self.product(below))
        if len(below) == 1: bottom = self.inside(below[0], POW)
        slash = ' / ' if {*top} & {' ', self.dot} or ' ' in bottom else '/'
        return top + slash + bottom, MUL

    def cases(self, pieces: list[tuple[str, str | None]]) -> Written:
        return ' else '.join(v if c is None else f'{v} if {c}' for v, c in pieces), -1


def is_writable(expr: Any) -> bool:
    "True if all of it has a notation. A result that is not a number, such as 1/0, has none."
    return all(x != sp.nan and (_name(x) or _method(Text, x) not in (None, Text._Function))
               for x in sp.preorder_traversal(expr) if not isinstance(x, sp.Tuple))


def _name(x: Any) -> str:
    "The name under which a function is written, or '' if it has none."
    if isinstance(x, AppliedUndef): return str(x.func)
    return getattr(x, 'written', '') or NAMES.get(type(x), '')


def _method(of: Any, x: Any) -> Any:
    "The method of a notation that writes x, or None."
    found = (getattr(of, f'_{cls.__name__}', None) for cls in type(x).__mro__)
    return next(filter(None, found), None)


def _is_negative(x: Any) -> bool: return bool(x.as_coeff_Mul()[0].is_negative)


def _root(x: Any) -> Any:
    "The square root of a product of even powers, or None for anything else."
    pairs = [f.as_base_exp() for f in sp.Mul.make_args(x)]
    if not all(e.is_Integer and e % 2 == 0 for _, e in pairs): return None
    return sp.Mul(*(b**(e // 2) for b, e in pairs))
