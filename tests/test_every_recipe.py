"""Promise: every recipe runs on every engine, in every dtype, on parameters and gradients of every
kind, and resumes.

That it does what its paper says is in `test_published.py` and the tests of agreement with torch.
"""
import inspect
import re
import statistics

import pytest
import torch
from helpers import (RECIPES, SECOND, copy_values, difference, dtypes, each_recipe, fast_engines,
                     keeps_to_matrices, name_of, param, random)
from three_engines import run_by
from torch import nn

DTYPES = torch.float32, torch.bfloat16, torch.float64
all_recipes = pytest.mark.parametrize('recipe', RECIPES + SECOND, ids=name_of)


def parameters(recipe, dtype):
    """Matrices; but for a matrix optimizer, a vector, a 0-dim tensor and one in channels last too.
    One is empty, and two are not contiguous."""
    shapes = [(5, 7), (7, 3), (0, 3), (1, 1)]
    if not keeps_to_matrices(recipe): shapes = [(5, 7), (7,), (), (0, 3), (2, 3, 2, 2)]
    xs = [random(i, s, dtype) for i, s in enumerate(shapes)]
    if xs[-1].dim() == 4: xs[-1] = xs[-1].to(memory_format=torch.channels_last)
    xs += [random(5, (6, 4), dtype).t(), random(9, (3, 8), dtype)[:, ::2]]
    return [nn.Parameter(x.detach()) for x in xs]


def step(opt, ps):
    "The gradients stand in for a second one. Of SAM's two halves, a call makes one."
    for k in opt.param_groups[0].composition.fed: opt.feed(**{k: [p.grad for p in ps]})
    opt.step()


def go(opt, ps, steps):
    for t in steps:
        for i, p in enumerate(ps): p.grad = (.5 + t % 3) * random(50 * t + i + 1, p.shape, p.dtype)
        step(opt, ps)


@pytest.mark.exhaustive(5)
@all_recipes
@dtypes(*DTYPES)
@pytest.mark.parametrize('engine', ['eager', 'compiled'])
def test_engines_agree(recipe, dtype, engine):
    """With the plain one, to 1e-12 in float64, over ten steps; in others to the last places of one
    step. Matrix products are torch's, in bfloat16, which rounds those of turned matrices otherwise.
    """
    a, b = parameters(recipe, dtype), parameters(recipe, dtype)
    assert not a[-1].is_contiguous() and not a[-2].is_contiguous()
    plain, other = run_by('plain', recipe, a), run_by(engine, recipe, b)
    go(plain, a, range(10)); go(other, b, range(10))
    tol = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: .05}[dtype]
    for p, q in zip(a, b):
        is_turned = p.stride() == (1, 4) and dtype != torch.float64 and keeps_to_matrices(recipe)
        assert difference([q.double()], [p.double()]) <= (max(tol, .01) if is_turned else tol)
        assert p.dtype == dtype and p.isfinite().all()
        for k, v in plain.state[p].items():
            if not v.dim(): torch.testing.assert_close(other.state[q][k], v)


@pytest.mark.exhaustive(2)
@each_recipe
def test_all_parts_are_in_the_kernel_but_matrix_products(recipe):
    ps = [nn.Parameter(random(i, (5, 7), torch.float32)) for i in range(2)]
    opt = recipe(ps, compile=True)
    go(opt, ps, range(2))
    as_it_is = re.findall('`([^`]*)` runs as it is', str(opt))
    products = {p.label for p in recipe.rule().composition.tensor_parts if p.needs == 'matrix'}
    assert {*as_it_is} <= products and bool(as_it_is) == keeps_to_matrices(recipe)
    assert 'eager' not in str(opt)


@pytest.mark.exhaustive(4)
@all_recipes
@dtypes(*DTYPES)
@fast_engines
def test_resumes_bit_for_bit(recipe, dtype, compile):
    ps, qs = parameters(recipe, dtype), parameters(recipe, dtype)  # laid out alike
    opt, other = recipe(ps, compile=compile), recipe(qs, compile=compile)
    go(opt, ps, range(4))
    copy_values(ps, qs)
    other.load_state_dict(opt.state_dict())
    go(opt, ps, range(4, 8)); go(other, qs, range(4, 8))
    for p, q in zip(ps, qs): assert torch.equal(p, q)


GRADS = {'zero': lambda p, t: torch.zeros_like(p),
         'constant': lambda p, t: torch.ones_like(p),
         'huge': lambda p, t: torch.full_like(p, 1e30 * (-1)**t),
         'tiny': lambda p, t: torch.full_like(p, 1e-30)}


@pytest.mark.exhaustive(16)
@all_recipes
@dtypes(*DTYPES)
@pytest.mark.parametrize('kind', GRADS)
@fast_engines
def test_gradients_of_every_size(recipe, dtype, kind, compile):
    """Nothing but finite numbers; and a gradient of 0 moves nothing, decay apart.

    Except where the square of a whole tensor overflows in Adafactor and CAME: Adafactor's twin in
    torch and the code of CAME's authors make NaN of that too.
    """
    if recipe.__name__ in ('Adafactor', 'CAME') and kind == 'huge' and dtype != torch.float64:
        pytest.skip("as in torch, or in their authors' code")
    ps = parameters(recipe, dtype)
    before = [p.detach().clone() for p in ps]
    opt = recipe(ps, compile=compile, lr=1e-3)
    opt.param_groups[0].update({k: 0. for k in ('wd', 'lambd') if k in opt.param_groups[0]})
    for t in range(6):
        for p in ps: p.grad = GRADS[kind](p, t)
        step(opt, ps)
    assert all(p.isfinite().all() for p in ps)
    if kind == 'zero': assert all(torch.equal(p, b) for p, b in zip(ps, before))


@each_recipe
def test_a_gradient_moves_every_element(recipe):
    "In one of the first two steps: ADOPT begins with the second."
    p = param(3, 4)
    opt = recipe([p], lr=.1)
    for _ in range(2):
        p.grad = random(1, p.shape, p.dtype)
        opt.step()
    assert (p != 1).all()


# -- a recipe is a handful of lines ----------------------------------------------------------------

def lines(recipe):
    "Of code, and one for its documentation; from `@recipe` on, as a policy is not of the rule."
    source = inspect.getsource(recipe.fn)
    source = source[source.index('@recipe'):].strip()
    return len(re.sub(r'"""(.*?)"""', '"', source, flags=re.S).splitlines())


def test_recipes_are_short():
    sizes = [*map(lines, RECIPES)]
    assert statistics.median(sizes) == 4 and max(sizes) <= 8


@each_recipe
def test_its_idea_is_one_line(recipe): assert len(recipe.idea.splitlines()) == 1
