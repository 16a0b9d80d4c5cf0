"""Promise: a part that makes a number is written down in C as Python computes it, or not at all."""
import math

import pytest
from genopt.engines.written import Writer, Written


def in_c(function, **values):
    writer = Writer()
    found = writer.explored(lambda: function(*(Written(writer, k) for k in values)))
    return [*writer.lines, found.name]


def test_each_answer_has_a_value():
    def function(x, y): return x if x > 1 else max(y, 2.) or -1
    assert in_c(function, x=0, y=0) == [
        'const double t0 = x > 1.0;', 'const double t1 = y < 2.0;',
        'const double t2 = y != 0 ? y : (-1.0);', 'const double t3 = t1 != 0 ? 2.0 : t2;',
        'const double t4 = t0 != 0 ? x : t3;', 't4']


def test_a_question_has_one_answer():
    def function(x): return 1 if x > 0 else 1 / 0 if x > 0 else 2
    assert in_c(function, x=0) == ['const double t0 = x > 0.0;',
                                   'const double t1 = t0 != 0 ? 1.0 : 2.0;', 't1']


def test_what_needs_a_value_is_not_written():
    for function in (lambda x: x in {1, 2}, lambda x: {}.get(x), lambda x: isinstance(x, int),
                     lambda x: x // .1, lambda x: x % 2, lambda x: [x], lambda x: x.real,
                     lambda x: 'x', lambda x: sum(1 for n in range(9) if x > n), math.sqrt, int,
                     float, round, '{:.1f}'.format, [1, 2].__getitem__):
        with pytest.raises(TypeError): in_c(function, x=0)  # `Unwritable`, or Python's own
