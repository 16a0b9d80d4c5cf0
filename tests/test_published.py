"""Promise: every published optimizer does what its paper says, step by step in float64.

Each is compared with its paper's formula, written out in NumPy (`references.py`); and, where a
library from PyPI follows the paper, with that too. Where a library does not, it is not listed:
pytorch_optimizer's Yogi debiases, its AdEMAMix, ADOPT, DiffGrad and QHAdam are wrong, its LAMB
debiases nothing, its LARS leaves vectors alone, its LaProp is exact to 1e-9 only, and its MARS
takes a first gradient for a change from 0.
"""
from functools import partial

import came_pytorch
import genopt
import optimi
import pytest
import pytorch_optimizer
import references as ref
import schedulefree
import test_matrices
import torch
from genopt.parts.orthogonal import POLAR_EXPRESS
from genopt.twins import TWINS
from helpers import each_recipe, engines, keeps_to_matrices, verified
from trajectories import (assert_trajectories_agree, by_formula, by_formula_of_all,
                          trajectory)

STEPS = 100
OF_ALL = ref.prodigy, ref.dadaptadam, ref.dadaptsgd, ref.dog  # they see the whole model

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
    ('Prodigy', ref.prodigy, [
        (dict(), dict()),
        (dict(lr=.7, betas=(.8, .95), beta3=.9, eps=1e-4, wd=.1, d0=.01, d_coef=2., growth_rate=1.1,
              use_bias_correction=True),
         dict(lr=.7, b1=.8, b2=.95, b3=.9, eps=1e-4, wd=.1, d0=.01, c=2., growth=1.1,
              debias=True)),
        (dict(decouple=False, wd=.1, safeguard_warmup=True), dict(l2=.1, safe=True))]),
    ('DAdaptAdam', ref.dadaptadam, [
        (dict(), dict()),
        (dict(lr=.7, betas=(.8, .95), eps=1e-4, wd=.1, d0=.01, growth_rate=1.1,
              use_bias_correction=True, decouple=True),
         dict(lr=.7, b1=.8, b2=.95, eps=1e-4, wd=.1, d0=.01, growth=1.1, debias=True))]),
    ('DAdaptSGD', ref.dadaptsgd, [
        (dict(), dict()),
        (dict(lr=.7, mom=.9, wd=.1, d0=.01, growth_rate=1.1),
         dict(lr=.7, b=.9, l2=.1, d0=.01, growth=1.1))]),
    ('DoG', ref.dog, [
        (dict(), dict()),
        (dict(lr=.7, reps_rel=1e-3, eps=1e-4, wd=.1), dict(lr=.7, rel=1e-3, eps=1e-4, l2=.1))]),
    ('Muon', ref.muon, [
        (dict(), dict()),
        (dict(lr=.02, adjust_lr_fn='match_rms_adamw'),
         dict(lr=.02, size=lambda m, n: .2 * max(m, n)**.5)),
        (dict(lr=.02, adjust_lr_fn='spectral_unclamped'),
         dict(lr=.02, size=lambda m, n: (m / n)**.5)),
        (dict(lr=.02, iteration='polar_express'),
         dict(lr=.02, orthogonal=partial(ref.polar_express, coefficients=POLAR_EXPRESS))),
        (dict(lr=.02, iteration='polar_express', ns_steps=10),
         dict(lr=.02, orthogonal=partial(ref.polar_express, coefficients=POLAR_EXPRESS, steps=10))),
        (dict(lr=.02, iteration='gram'),
         dict(lr=.02, orthogonal=partial(ref.gram_newton_schulz, coefficients=POLAR_EXPRESS)))]),
    ('NorMuon', ref.normuon, [
        (dict(), dict()),
        (dict(mom=.9, sqr_mom=.8, wd=.1, nesterov=False, eps=1e-4),
         dict(b=.9, b2=.8, wd=.1, nesterov=False, eps=1e-4)),
        (dict(lr=.01, adjust_lr_fn='match_rms_adamw'), dict(lr=.01, as_in='paper'))]),
    ('Scion', ref.scion, [
        (dict(), dict()),
        (dict(lr=.01, mom=.8, radius=50., wd=0.),
         dict(lr=.01, momentum=.2, scale=50., unconstrained=True)),
        *((dict(lr=.01, radius=3., norm=norm), dict(lr=.01, scale=3., norm_=norm))
          for norm in ('sign', 'columns', 'rows', 'rms'))]),
    ('CAME', ref.came, [
        (dict(), dict(), came_pytorch.CAME, dict(lr=2e-4)),
        (dict(lr=.01, betas=(.8, .95, .97), eps=1e-3, surprise_eps=.01, clip_threshold=2., wd=.1),
         dict(lr=.01, b1=.8, b2=.95, b3=.97, eps1=1e-3, eps2=.01, d=2., wd=.1), came_pytorch.CAME,
         dict(lr=.01, betas=(.8, .95, .97), eps=(1e-3, .01), clip_threshold=2.,
              weight_decay=.1))]),
    ('SM3', ref.sm3, [
        (dict(), dict()),
        (dict(lr=.01, mom=0., wd=.1), dict(lr=.01, b=0., wd=.1)),
        (dict(average=True, beta2=.9), dict(beta2=.9))]),
    ('AdamMini', ref.adam_mini, [
        (dict(), dict()),
        (dict(lr=.01, betas=(.8, .95), eps=1e-4, wd=.1),
         dict(lr=.01, b1=.8, b2=.95, eps=1e-4, wd=.1)),
        (dict(block='tensor'), dict(block='tensor'))]),
    ('AggMo', ref.aggmo, [
        (dict(), dict(), pytorch_optimizer.AggMo, dict()),
        (dict(lr=.1, mom=.5, slow_mom=.9, wd=.1), dict(lr=.1, betas=(0., .5, .9), l2=.1))]),
    ('ScheduleFreeSGD', ref.schedule_free_sgd, [
        (dict(), dict(), schedulefree.SGDScheduleFree, dict()),
        (dict(lr=.1, momentum=.7, wd=.1, warmup_steps=30, r=1., weight_lr_power=1.5),
         dict(lr=.1, beta=.7, wd=.1, warmup=30, r=1., power=1.5), schedulefree.SGDScheduleFree,
         dict(lr=.1, momentum=.7, weight_decay=.1, warmup_steps=30, r=1., weight_lr_power=1.5)),
        (dict(lr=.1, wd=.1, decay_at_z=True), dict(lr=.1, wd=.1, at_z=True))]),
    ('ScheduleFreeAdamW', ref.schedule_free_adamw, [
        (dict(), dict(), schedulefree.AdamWScheduleFree, dict()),
        (dict(lr=.1, betas=(.8, .9), eps=1e-3, wd=.1, warmup_steps=30, r=1., weight_lr_power=1.5),
         dict(lr=.1, beta=.8, b2=.9, eps=1e-3, wd=.1, warmup=30, r=1., power=1.5),
         schedulefree.AdamWScheduleFree, dict(lr=.1, betas=(.8, .9), eps=1e-3, weight_decay=.1,
                                              warmup_steps=30, r=1., weight_lr_power=1.5)),
        (dict(wd=.1, decay_at_z=True), dict(wd=.1, at_z=True),
         schedulefree.AdamWScheduleFreeReference, dict(weight_decay=.1, decay_at_z=True))]),
) for ours, theirs, *peer in both]
IDS = [f'{r}({", ".join(f"{k}={v}" for k, v in ours.items())})' for r, ours, *_ in CASES]


MATRICES = [(5, 7), (7, 5), (4, 4), (3, 8)]


@pytest.mark.exhaustive(8)
@engines
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_as_in_the_paper(case, compile):
    name, kwargs, formula, letters, *_ = case
    recipe = genopt.recipe(name)
    shapes = dict(shapes=MATRICES) if keeps_to_matrices(recipe) else {}
    ours = trajectory(partial(recipe, **kwargs, compile=compile), STEPS, **shapes)
    by = by_formula_of_all if formula in OF_ALL else by_formula
    worst = assert_trajectories_agree(ours, by(formula, STEPS, **shapes, **letters))
    if not compile: verified(name, 'its paper, in NumPy', STEPS, worst)


def test_the_constant_that_the_authors_of_normuon_add_to_a_norm():
    "Without it, and without torch's least norm, it is theirs to the last digits."
    for shape in MATRICES:
        ours = trajectory(partial(genopt.NorMuon, ns_eps=0.), STEPS, [shape])
        theirs = by_formula(ref.normuon, STEPS, [shape], ns_eps=0.)
        assert_trajectories_agree(ours, theirs)
        added = by_formula(ref.normuon, STEPS, [shape], ns_eps=0., plus=1e-7)
        assert_trajectories_agree(trajectory(genopt.NorMuon, STEPS, [shape]), added, tol=1e-5)


def test_polar_express_leaves_singular_values_at_1():
    "Its polynomials are the best for those from 1e-3: five of them leave 1 ± 0.16, and eight 1."
    sizes = torch.logspace(-3, 0, 1000, dtype=torch.float64)
    for steps, within in (5, .16), (8, 1e-6):
        x = sizes
        for a, b, c in POLAR_EXPRESS[:steps]: x = a * x + b * x**3 + c * x**5
        assert (x - 1).abs().max() < within


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
