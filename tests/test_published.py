"""Promise: every published optimizer does what its paper says, step by step in float64.

Each is compared with its paper's formula, written out in NumPy (`references.py`); and, where a
library from PyPI follows the paper, with that too. Where a library does not, it is not listed:
pytorch_optimizer's Yogi debiases, its AdEMAMix, ADOPT, DiffGrad and QHAdam are wrong, its LAMB
debiases nothing, its LARS leaves vectors alone, its LaProp is exact to 1e-9 only, and its MARS
takes a first gradient for a change from 0.
"""
from functools import partial

import genopt
import optimi
import pytest
import pytorch_optimizer
import references as ref
import test_matrices
import torch
from genopt.twins import TWINS
from helpers import each_recipe, engines, verified
from trajectories import assert_trajectories_agree, by_formula, trajectory

STEPS = 100

# recipe, what it is given, the formula and what that is given; and a library's class, what that is
# given, and why that is something else
CASES = [(r, ours, f, theirs, *peer) for r, f, both in (
    ('Lion', ref.lion, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), wd=.1), dict(lr=.01, b1=.8, b2=.95, wd=.1),
         pytorch_optimizer.Lion,
         dict(lr=.01, betas=(.8, .95), weight_decay=.1)),
        (dict(lr=.01, betas=(.9, .99), wd=.1), dict(lr=.01, wd=.1), optimi.Lion,
         dict(lr=.01, betas=(.9, .99), weight_decay=.1))]),
    ('Signum', ref.signum, [
        (dict(), dict()),
        (dict(lr=.01, mom=.8, wd=.1), dict(lr=.01, b=.8, wd=.1), pytorch_optimizer.SignSGD,
         dict(lr=.01, momentum=.8, weight_decay=.1))]),
    ('Tiger', ref.tiger, [
        (dict(), dict(), pytorch_optimizer.Tiger, dict()),
        (dict(lr=.01, mom=.8, wd=.1), dict(lr=.01, b=.8, wd=.1))]),
    ('LAMB', ref.lamb, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), eps=1e-3, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-3, wd=.1))]),
    ('LARS', ref.lars, [
        (dict(), dict()),
        (dict(lr=.5, mom=.8, wd=.1, trust=.01), dict(lr=.5, mom=.8, wd=.1, trust=.01))]),
    ('QHM', ref.qhm, [
        (dict(), dict()),
        (dict(lr=.1, mom=.9, nu=.5, wd=.1), dict(lr=.1, b=.9, nu=.5, l2=.1), pytorch_optimizer.QHM,
         dict(lr=.1, momentum=.9, nu=.5, weight_decay=.1))]),
    ('QHAdam', ref.qhadam, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.9, .99), nu=.5, sqr_nu=.6, eps=1e-4, wd=.1),
         dict(lr=.01, b1=.9, b2=.99, nu1=.5, nu2=.6, eps=1e-4, wd=.1))]),
    ('AdaBelief', ref.adabelief, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), eps=1e-6, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-6, wd=.1),
         pytorch_optimizer.AdaBelief, dict(lr=.01, betas=(.8, .95), eps=1e-6, weight_decay=.1))]),
    ('Yogi', ref.yogi, [
        (dict(), dict()),
        (dict(lr=.1, betas=(.8, .95), eps=.01, wd=.1),
         dict(lr=.1, b1=.8, b2=.95, eps=.01, l2=.1))]),
    ('Adan', ref.adan, [
        (dict(), dict(), pytorch_optimizer.Adan, dict(weight_decay=.02)),
        (dict(lr=.01, mom=.9, diff_mom=.8, sqr_mom=.95, wd=.1),
         dict(lr=.01, b1=.1, b2=.2, b3=.05, wd=.1)),
        (dict(lr=.01, wd=0.), dict(lr=.01, wd=0.), optimi.Adan,
         dict(lr=.01, betas=(.98, .92, .99), eps=1e-8, weight_decay=0))]),
    ('AdEMAMix', ref.ademamix, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95, .99), slow_weight=3., wd=.1),
         dict(lr=.01, b1=.8, b2=.95, b3=.99, alpha=3., wd=.1)),
        (dict(warmup=50), dict(T=50))]),
    ('ADOPT', ref.adopt, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), eps=1e-3, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-3, wd=.1))]),
    ('LaProp', ref.laprop, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), eps=1e-4, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-4, wd=.1))]),
    ('NovoGrad', ref.novograd, [
        (dict(), dict()),
        (dict(lr=.1, betas=(.9, .9), eps=1e-4, wd=.1), dict(lr=.1, b1=.9, b2=.9, eps=1e-4, wd=.1),
         pytorch_optimizer.NovoGrad, dict(lr=.1, betas=(.9, .9), eps=1e-4, weight_decay=.1))]),
    ('AdaBound', ref.adabound, [
        (dict(), dict(), pytorch_optimizer.AdaBound, dict()),
        (dict(lr=.01, betas=(.8, .95), final_lr=.05, bound_rate=.1, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, final=.05, gamma=.1, l2=.1)),
        (dict(lr=.01, amsbound=True), dict(lr=.01, ams=True))]),
    ('DiffGrad', ref.diffgrad, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), eps=1e-3, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-3, l2=.1))]),
    ('MADGRAD', ref.madgrad, [
        (dict(), dict(), pytorch_optimizer.MADGRAD, dict(lr=.01 - 1e-6),
         'with lr − eps, as it adds eps to lr'),
        (dict(lr=.1, mom=.5, eps=1e-3, wd=.1), dict(lr=.1, mom=.5, eps=1e-3, l2=.1))]),
    ('MARS', ref.mars, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.9, .95), variance_scale=.1, wd=.1),
         dict(lr=.01, b1=.9, b2=.95, gamma=.1, wd=.1))]),
    ('StableAdamW', ref.stableadamw, [
        (dict(), dict(), optimi.StableAdamW, dict(lr=1e-3)),
        (dict(lr=.01, betas=(.8, .95), eps=1e-4, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-4, wd=.1))]),
    ('NAdamW', ref.nadamw, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), eps=1e-4, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-4, wd=.1))]),
    ('AggMo', ref.aggmo, [
        (dict(), dict(), pytorch_optimizer.AggMo, dict()),
        (dict(lr=.1, mom=.5, slow_mom=.9, wd=.1), dict(lr=.1, betas=(0., .5, .9), l2=.1))]),
) for ours, theirs, *peer in both]
IDS = [f'{r}({", ".join(f"{k}={v}" for k, v in ours.items())})' for r, ours, *_ in CASES]


@engines
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_as_in_the_paper(case, compile):
    name, kwargs, formula, letters, *_ = case
    ours = trajectory(partial(genopt.recipe(name), **kwargs, compile=compile), STEPS)
    worst = assert_trajectories_agree(ours, by_formula(formula, STEPS, **letters))
    if not compile: verified(name, 'its paper, in NumPy', STEPS, worst)


PEERS = [c for c in CASES if c[4:]]


@pytest.mark.parametrize('case', PEERS,
                         ids=[f'{c[0]}, {c[4].__module__.split(".")[0]}' for c in PEERS])
def test_as_in_a_library(case):
    name, kwargs, _, _, cls, theirs, *but = case
    worst = assert_trajectories_agree(trajectory(partial(genopt.recipe(name), **kwargs), STEPS),
                                      trajectory(partial(cls, **theirs), STEPS))
    verified(name, cls, STEPS, worst, *but)


@each_recipe
def test_it_has_an_independent_reference(recipe):
    """A class of torch.optim, or a formula here. The formulas' defaults are written down from the
    papers, and compared with the recipe's."""
    name = recipe.__name__
    if name == 'Muon' and not hasattr(torch.optim, name): pytest.skip('this torch has no Muon')
    by_default = [c for c in CASES if c[0] == name and not c[1] and not c[3]]
    by_default += [c for c in test_matrices.CASES if c[0] == name and not c[4] and not c[5]]
    assert by_default or name in TWINS, f'add a formula for {name} to references.py, and a case'
