"Promise: an equation that somebody typed, in the documentation of a part, is what the part does."
import inspect
import re

import genopt
import numpy as np
import pytest
import sympy as sp
from genopt.catalogue import every_part
from genopt.letters import idea
from genopt.study.algorithm import as_algorithm
from genopt.study.explain import explain
from genopt.study.expressions import put, symbol
from interpreter import function, read_back

PARTS = [*every_part()]
ENDS = re.compile(r'(?=[:,;.](?: |$)| \(| [a-z]{2}|$)')
SHAPES = dict(row_avg=(4, 1), column_avg=(1, 5), surprise_rows=(4, 1), surprise_columns=(1, 5),
              row_max=(4, 1), column_max=(1, 5))  # whose product is a matrix
# What these say is in words
WORDS = {'lazy', 'skip_first_step', 'first_param', 'last_grad', 'past', 'share_of_new',
         'next_nadam_mom', 'rectifier', 'grown_mom', 'orthogonalize', 'add_noise',
         'sqr_grad_norm', 'nonfinite_count', 'skip_count', 'finite_only', 'sync', 'lookahead_step',
         'clip_by_param_norm', 'polar_express', 'gram_newton_schulz', 'scale_by_neurons',
         'left_basis', 'right_basis', 'waited', 'probe', 'balanced', 'whitened',
         'random_projection', 'power_turn', 'max_sqr_inner', 'hess', 'loss', 'climb_phase',
         'keep_start', 'at_top'}


def written_out(expr, equations):
    "Without hats, scalars, and other names for the parameter and the step before this one."
    expr = put(expr, {symbol('new_param'): symbol('param'),
                      symbol('prev_count'): symbol('count') - 1})
    hats = {symbol(q.name): q.expr for q in equations.whole if q.name.endswith(' hat')}
    while found := {s: e for s, e in (hats | {symbol(k): e for k, e in equations.scalars.items()}
                                      ).items() if s in expr.free_symbols}: expr = put(expr, found)
    return expr


def what_runs(part, equations):
    "The part's result, and its result in each of its cases."
    whole = [*equations.whole, *equations.after]
    lines = [q for q in whole if q.part == part or q.name.endswith(' hat')]
    scalars = [q for q in whole if q.name in equations.scalars]
    yield from (q.expr for q in lines[-1:])
    for put_in in (True, False):
        for s in as_algorithm(equations, dict.fromkeys([*scalars, *lines]), put_in):
            if s.name != part.out: continue
            yield s.expr
            if isinstance(s.expr, sp.Piecewise): yield from (x for x, _ in s.expr.args)


def typed(part, letters):
    """Each reading of the beginning of its documentation as an expression.

    Matrices are read as numbers, of which it does not matter how they are turned.
    """
    said = idea(part.fn).removeprefix('Σ ')  # of all parameters
    if part.needs == 'matrix': said = said.replace('ᵀ', '')
    name, sign, rest = (re.match(r'(\S+) (?:←|=) ', said) or [''])[0].partition(' ')
    text = said[len(name + sign + rest):]
    for end in sorted({m.start() for m in ENDS.finditer(text)} - {0}, reverse=True):
        try:
            found = read_back(text[:end], letters)
            if name == 'θ' and part.kind == 'step': found -= symbol('param')
        except Exception: continue  # it is not an expression
        yield found


def at(expr, shape=(4, 5)):
    "Its value at some numbers, the same for the same names."
    def value(name):
        own, draw = name.removeprefix('prev_'), np.random.default_rng([*name.encode()])
        if own in ('count', 'dim', 'sync_every', 'every', 'rank'): return 3 if own == 'count' else 2
        is_tensor = own.partition(' ')[0] in TENSORS  # or one of several
        return draw.uniform(.1, .9, SHAPES.get(own, shape if is_tensor else ()))
    names, f = function(expr)
    with np.errstate(all='ignore'): return f(*[value(n) for n in names])


TENSORS = {n.removeprefix('prev_') for p in PARTS if not p.is_number for n in (*p.args, p.out)}
TENSORS -= {'count', 'prev_count', 'place', 'eta', 'mom_product', 'sqr_norm'}


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('part', PARTS, ids=lambda p: p.__name__)
def test_an_equation_in_the_documentation_of_a_part(part):
    equations = explain(part).sections[0].equations
    letters = {**equations.letters, 'rows': 'rows', 'columns': 'columns'}
    last = {symbol(f'prev_{part.out}'): symbol(part.out)}
    run = [written_out(put(e, last), equations) for e in what_runs(part, equations)]
    for found in typed(part, letters):
        for expr in run:
            shape = (1, 1) if part.needs == 'matrix' else (4, 5)
            try: a, b = at(written_out(found, equations), shape), at(expr, shape)
            except Exception: continue  # they are not of one kind
            if np.shape(a) == np.shape(b) and np.allclose(a, b, 1e-4, equal_nan=True): return
    assert part.__name__ in WORDS, (idea(part.fn), run)


def test_what_is_said_in_words_is_not_an_equation():
    "Or it is one of several lines."
    names = {p.__name__ for p in PARTS}
    assert WORDS <= names and len(WORDS) < len(PARTS) / 4
    assert all(inspect.getdoc(getattr(genopt.parts, n).fn) for n in WORDS)


def test_a_wrong_equation_would_be_found():
    @genopt.step
    def wrong(grad, *, lr):
        "Δθ = −η·g²"
        return -lr * grad
    with pytest.raises(AssertionError): test_an_equation_in_the_documentation_of_a_part(wrong)
    assert sp.Symbol('lr', real=True) in next(typed(wrong, dict(grad='g', lr='η'))).free_symbols
