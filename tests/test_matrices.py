"""Promise: the rules for matrices do what their papers and their authors' code do, for 100 steps in
float64, with the options that people use.
"""
from functools import partial
from random import Random

import genopt
import pytest
import references_of_matrices as ref
import torch
from torch import nn
from genopt.parts.algebra import eigenvectors, inverse_root, turned
from genopt.parts.modifiers import seeded_normal
from helpers import fast_engines, random, verified
from trajectories import assert_trajectories_agree, gradient, trajectory

STEPS = 100
ANY = [(5, 7), (7, 3), (4, 4), (6, 1), (5, 7)]
SQUARE = [(6, 6), (4, 4), (1, 1), (6, 6)]  # where one gradient has all directions
LONG = [(5, 9), (9, 5), (5, 9)]            # with a matrix for one side


def random_numbers(i, shape, probability=.01):
    "Of PSGD, as genopt draws them for parameter `i`."
    like, steps = torch.zeros(shape, dtype=torch.float64), range(1, STEPS + 1)
    return dict(noises=[seeded_normal(like, i, t, 0).numpy() for t in steps],
                balances=[.618034 * t % 1 < probability for t in steps])


def first_factor(i, shape, rank=768, seed=0):
    like = torch.empty(shape[1], min(rank, *shape), dtype=torch.float64)
    return dict(q=like.normal_(generator=torch.Generator().manual_seed(seed)).numpy())


# recipe, formula, shapes, what the formula gets for each parameter; then options, and its own
CASES = [(name, formula, shapes, each, ours, theirs) for name, formula, each, some in [
    ('Shampoo', ref.shampoo, None, [
        (ANY, dict(), dict()),
        (ANY, dict(lr=.1, mom=.9, every=7, eps=1e-3, wd=.1),
         dict(lr=.1, mom=.9, every=7, eps=1e-3, wd=.1)),
        (LONG, dict(lr=.1, max_dim=6, root_power=.5), dict(lr=.1, longest=6, power=.5)),
        (ANY, dict(lr=.1, graft=True, mom=.5), dict(lr=.1, graft=True, mom=.5))]),
    ('SOAP', ref.soap, None, [
        (SQUARE, dict(), dict()),
        (SQUARE, dict(lr=.01, betas=(.9, .99), every=3, wd=.1, eps=1e-6),
         dict(lr=.01, b1=.9, b2=.99, freq=3, wd=.1, eps=1e-6)),
        (SQUARE, dict(correct_bias=False, normalize_grads=True),
         dict(correct=False, normalize=True)),
        (LONG, dict(max_precond_dim=6, precondition_frequency=1), dict(longest=6, freq=1))]),
    ('PSGDKron', ref.psgd_kron, random_numbers, [
        (ANY, dict(), dict()),
        (ANY, dict(momentum_into_precond_update=False, wd=.1, lr=.01, precond_lr=.3),
         dict(into=False, wd=.1, lr=.01, rate=.3)),
        (LONG, dict(max_dim=6, init_scale=.3, max_prob=.5, prob_decay=.1, flat_start=20, mom=.8),
         dict(longest=6, scale=.3, most=.5, fall=.1, flat=20, b=.8))]),
    ('PSGDKron', ref.psgd_kron, partial(random_numbers, probability=.3), [
        (ANY, dict(balance_prob=.3, lr=.01), dict(lr=.01))]),
    ('Dion', ref.dion, first_factor, [(ANY, dict(), dict())]),
    ('Dion', ref.dion, partial(first_factor, rank=2, seed=5), [
        (ANY, dict(rank=2, seed=5, mu=.8, wd=.1), dict(mu=.8, wd=.1))]),
    ('GaLore', ref.galore, None, [
        (ANY, dict(), dict()),
        (ANY, dict(rank=2, update_proj_gap=7, scale=1., betas=(.8, .95), wd=.1, lr=.01),
         dict(rank=2, gap=7, scale=1., b1=.8, b2=.95, wd=.1, lr=.01))]),
    ('APOLLO', ref.apollo, lambda i, shape: dict(place=i), [
        (ANY, dict(), dict()),
        (ANY, dict(rank=2, update_proj_gap=7, scale=4., wd=.1, lr=.01, limit=False),
         dict(rank=2, gap=7, scale=4., wd=.1, lr=.01, limit=False)),
        (ANY, dict(rank=1, scale=128., scale_type='tensor'),
         dict(rank=1, scale=128., channel=False))]),
] for shapes, ours, theirs in some]
IDS = [f'{r}({", ".join(f"{k}={v}" for k, v in ours.items())})' for r, *_, ours, _ in CASES]


def by_formula(formula, shapes, each, letters, steps):
    return zip(*[formula(random(i, s, torch.float64).numpy(),
                         [gradient(i, t, s).numpy() for t in range(steps)], **letters,
                         **(each(i, s) if each else {})) for i, s in enumerate(shapes)])


def agrees(case, steps, compile):
    name, formula, shapes, each, ours, theirs = case
    make = partial(genopt.recipe(name), **ours, compile=compile)
    return assert_trajectories_agree(trajectory(make, steps, shapes),
                                     by_formula(formula, shapes, each, theirs, steps), 1e-11)


@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_as_in_the_paper(case):
    verified(case[0], 'its paper, in NumPy', STEPS, agrees(case, STEPS, False))


@pytest.mark.parametrize('eps', [0., .1])
def test_a_sum_beyond_all_numbers_stops_its_matrix_and_no_other_of_a_stack(eps):
    usual = torch.eye(3).expand(2, 3, 3).clone()
    x = usual.clone(); x[0, 1, 2] = torch.inf
    root, alone = inverse_root(x, eps, .25), inverse_root(usual[1], eps, .25)
    assert not root[0].any() and torch.equal(root[1], alone)
    basis = torch.linalg.qr(random(0, (2, 3, 3), torch.float32))[0]
    assert torch.equal(turned(x, basis)[0], basis[0]) and not torch.equal(turned(x, basis), basis)
    assert eigenvectors(x).isfinite().all()


@pytest.mark.parametrize('compile', [False, True], ids=['plain', 'compiled'])
def test_a_gradient_whose_square_is_infinite_is_in_no_average_of_soap(compile):
    p = torch.nn.Parameter(random(0, (4, 6), torch.float32))
    opt = genopt.SOAP([p], every=1, compile=compile)
    for t in range(8):
        p.grad = gradient(0, t, (4, 6)).float()
        if t == 3: p.grad[1, 2] = 1e25
        before = p.detach().clone(), {k: v.clone() for k, v in opt.state[p].items()}
        opt.step()
        left, right = opt.state[p]['left_avg'], opt.state[p]['right_avg']
        assert left.isfinite().all() and right.isfinite().all() and p.isfinite().all()
        if t == 3: assert torch.equal(left, before[1]['left_avg'])
        if t == 7: assert not torch.equal(left, before[1]['left_avg'])


def test_psgd_balances_at_steps_that_are_drawn():
    "As its docstring says."
    p, steps, draw = torch.nn.Parameter(random(0, (5, 7), torch.float64)), 30, Random(0)
    drawn = [draw.random() < .3 for _ in range(steps)]
    letters = random_numbers(0, (5, 7)) | dict(balances=drawn)
    formula = ref.psgd_kron(p.detach().numpy().copy(), [gradient(0, t, (5, 7)).numpy()
                                                        for t in range(steps)], **letters)
    opt = genopt.PSGDKron([p])
    for t, (now, wanted) in enumerate(zip(drawn, formula)):
        opt.param_groups[0]['balance_prob'] = float(now)
        p.grad = gradient(0, t, (5, 7))
        opt.step()
        torch.testing.assert_close(p.detach(), torch.from_numpy(wanted), rtol=1e-11, atol=1e-11)
    assert 0 < sum(drawn) < steps


@pytest.mark.parametrize('name', dict.fromkeys(c[0] for c in CASES))
def test_vectors_are_refused(name):
    with pytest.raises(ValueError, match='takes matrices, and'):
        genopt.recipe(name)([torch.nn.Parameter(torch.zeros(3))])


def test_what_apollo_scales():
    with pytest.raises(ValueError, match="`scale_type` = 'row': give one of"):
        genopt.APOLLO([torch.nn.Parameter(torch.zeros(3, 3))], scale_type='row')


@fast_engines
@pytest.mark.parametrize('case', [c for c in CASES if not c[4]], ids=lambda c: c[0])
def test_with_every_engine(case, compile): agrees(case, 25, compile)


def test_a_projection_of_what_is_not_finite_is_no_error():
    p = nn.Parameter(torch.ones(4, 3)); opt = genopt.GaLore([p])
    p.grad = torch.full_like(p, torch.nan)
    opt.step()
    assert opt.state[p]['projection'].isfinite().all()
