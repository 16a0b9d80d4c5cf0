"""Promise: a step does not depend on the number of threads: to the bit, for every recipe and every
modifier, whatever is added up; but only to rounding, for rules with products and decompositions of
matrices in float32 and float64. These are those of torch's BLAS and LAPACK, which add up in another
order with other threads.

In SOAP that decides more: where a matrix is not square, its longer side has directions that no
gradient has had yet, in which any basis is an eigenbasis, and the next gradient may lie in them.
"""
import genopt
import pytest
import torch
from helpers import RECIPES, assert_close, keeps_to_matrices, name_of, random
from torch import nn

SHAPES = (700, 300), (200_000,), (3, 5), (64, 3, 7, 7), (), (0, 3), (70_000, 2), (2, 70_000)
MATRICES = (700, 300), (3, 5), (5, 3), (70, 90), (70, 90)
SQUARES = (3, 3), (128, 128), (90, 90), (90, 90)
THREADS = 1, 2, 5


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stepped(recipe, threads, shapes=None, dtype=torch.float32):
    "The parameters and their states, after two steps by so many threads."
    torch.set_num_threads(threads)
    shapes = shapes or (MATRICES if keeps_to_matrices(recipe) else SHAPES)
    ps = [nn.Parameter(random(i, s, dtype)) for i, s in enumerate(shapes)]
    opt = recipe(ps)
    for t in range(2):
        for i, p in enumerate(ps): p.grad = random(100 * t + i, p.shape, p.dtype)
        opt.step()
    return [*ps, *(v for p in ps for v in opt.state[p].values())], str(opt)


def assert_same(a, b): torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def assert_same_for_all_threads(recipe):
    one, said = stepped(recipe, 1)
    assert 'kernel: ' in said
    for n in THREADS[1:]:
        assert_same(one, stepped(recipe, n)[0])


OF_TORCH = [genopt.recipe(e.name) for e in genopt.recipes() if e.family == 'matrices']


@pytest.mark.exhaustive(6)
@pytest.mark.parametrize('recipe', [r for r in RECIPES if r not in OF_TORCH], ids=name_of)
def test_a_recipe(recipe): assert_same_for_all_threads(recipe)


@pytest.mark.parametrize('recipe', OF_TORCH, ids=name_of)
def test_a_rule_with_torchs_products_to_rounding(recipe):
    one, *more = [stepped(recipe, n, SQUARES, torch.float64)[0][:len(SQUARES)] for n in THREADS]
    for params in more: assert_close(params, one, rtol=1e-9, atol=1e-9)


@pytest.mark.exhaustive(8)
@pytest.mark.parametrize('name', genopt.modifiers())
@pytest.mark.parametrize('recipe', [genopt.AdamW, genopt.SGD], ids=name_of)
def test_a_modifier(name, recipe): assert_same_for_all_threads(recipe + genopt.modifiers()[name])


def test_all_that_is_added_up_at_once():
    recipe = genopt.LAMB
    for name in 'clip_by_global_norm', 'centralize', 'clip_by_norm', 'cautious':
        recipe = recipe + genopt.modifiers()[name]
    assert_same_for_all_threads(recipe)


def test_runs_are_alike():
    recipe = genopt.LAMB + genopt.clip_by_global_norm
    first = stepped(recipe, 5)[0]
    for _ in range(5): assert_same(stepped(recipe, 5)[0], first)


@pytest.mark.parametrize('recipe', [genopt.AdamW, genopt.LAMB, genopt.Adafactor], ids=name_of)
def test_a_tensor_is_stepped_alike_among_others_and_alone(recipe):
    together, alone = [[nn.Parameter(random(i, s, torch.float32)) for i, s in enumerate(SHAPES)]
                       for _ in range(2)]
    torch.set_num_threads(2)
    for opt in recipe(together), *(recipe([p]) for p in alone):
        for t in range(2):
            for p in opt.param_groups[0]['params']: p.grad = random(t, p.shape, p.dtype)
            opt.step()
    assert_same(together, alone)
