"""Numbers that record, in C, what Python computes with them.

    >>> writer = Writer()
    >>> found = writer.explored(lambda: max(Written(writer, 'd'), 2))
    >>> print(*writer.lines, sep='\\n')
    const double t0 = d < 2.0;
    const double t1 = t0 != 0 ? 2.0 : d;

A part that makes a number is plain Python, with `if`, `min` and `max`. Where it tests a number (`if
d`), it runs once for each answer, and the results are put together by `?:`. So both are computed,
and one is taken.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, cast

__all__ = ['Unwritable', 'Writer', 'Written']

RUNS = 32  # of one part, at most: each question that it asks may double them
BINARY = dict(add='{} + {}', sub='{} - {}', mul='{} * {}', truediv='{} / {}', pow='pow({}, {})',
              floordiv='floor({} / {})', lt='{} < {}', gt='{} > {}', le='{} <= {}', ge='{} >= {}',
              eq='{} == {}', ne='{} != {}')
WHOLE = {'add', 'sub', 'mul', 'floordiv'}  # of whole numbers, they are whole: as comparisons are


class Unwritable(TypeError): "A part does more with a number than to compute and to compare."


class Writer:
    "Writes lines of C. Equal ones stand there once."
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.known: dict[tuple[str, bool], Written] = {}
        self.given: tuple[bool, ...] = ()
        self.asked: dict[str, bool] = {}  # in this run, with the answers

    def new(self, value: str, is_whole: bool=False) -> Written:
        "The variable that has this value."
        key = value, is_whole
        if key not in self.known:
            self.known[key] = Written(self, f't{len(self.known)}', is_whole)
            self.lines.append(f'const double {self.known[key].name} = {value};')
        return self.known[key]

    def answer(self, name: str) -> bool:
        "This run's answer to a question: the one that it was given, or else True."
        n = len(self.asked)
        return self.asked.setdefault(name, self.given[n] if n < len(self.given) else True)

    def explored(self, run: Callable[[], Any]) -> Written:
        "The result of a function for each answer to its questions. Raises Unwritable."
        left = RUNS

        def result(given: tuple[bool, ...]) -> Written:
            nonlocal left
            if (left := left - 1) < 0: raise Unwritable('it asks too many questions')
            self.given, self.asked = given, {}
            found = written(self, run())
            asked, answers = [*self.asked], (*self.asked.values(),)
            for n in reversed(range(len(given), len(asked))):
                other = result((*answers[:n], False))
                found = self.new(f'{asked[n]} != 0 ? {found.name} : {other.name}',
                                 found.is_whole and other.is_whole)
            return found

        return result(())


class Written:
    "A number in C, a double. `is_whole`: Python has an int or a bool there."

    def __init__(self, writer: Writer, name: str, is_whole: bool=False):
        self.writer, self.name, self.is_whole = writer, name, is_whole

    def __bool__(self) -> bool: return self.writer.answer(self.name)
    def __pos__(self) -> Written: return self
    def __neg__(self) -> Written: return self.writer.new(f'-{self.name}', self.is_whole)
    def __abs__(self) -> Written: return self.writer.new(f'fabs({self.name})', self.is_whole)
    def __getattr__(self, name: str) -> Any: raise Unwritable(f'it asks a number for `{name}`')

    def _no(self, *args: Any) -> Any: raise Unwritable('it needs the value of a number')
    __int__ = __float__ = __index__ = __complex__ = __round__ = __trunc__ = __format__ = _no
    __hash__ = _no  # as for a place in a dict

    @property  # type: ignore[misc]
    def __class__(self) -> Any: return self._no()  # for `isinstance(x, int)`


def written(writer: Writer, x: Any) -> Written:
    "A number, written down. Raises Unwritable for anything else."
    if isinstance(x, Written): return x
    if not isinstance(x, Real): raise Unwritable(f'it makes a {type(x).__name__}')
    value, is_whole = float(x), isinstance(x, int)
    if math.isnan(value): return Written(writer, 'NAN')
    if math.isinf(value): return Written(writer, f'({"-" * (value < 0)}INFINITY)')
    return Written(writer, f'({value!r})' if value < 0 else repr(value), is_whole)


def _method(name: str, form: str, swap: bool) -> Callable[[Written, Any], Written]:
    def method(self: Written, other: Any) -> Written:
        if not isinstance(other, (Written, Real)): return cast(Written, NotImplemented)
        a, b = self, written(self.writer, other)
        if name == 'floordiv' and not (a.is_whole and b.is_whole):
            raise Unwritable('it divides by // what may be a fraction')
        is_whole = len(name) == 2 or name in WHOLE and a.is_whole and b.is_whole
        if swap: a, b = b, a
        return self.writer.new(form.format(a.name, b.name), is_whole)
    return method


for _name, _form in BINARY.items():
    setattr(Written, f'__{_name}__', _method(_name, _form, swap=False))
    if len(_name) > 2: setattr(Written, f'__r{_name}__', _method(_name, _form, swap=True))
