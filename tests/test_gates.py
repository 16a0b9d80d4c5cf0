"""Promise: a gate may stand anywhere in the list. What is before it has happened, on the parameter
too, and what is behind it has not: with every engine, in explanations, and where it is exported.
"""
import copy

import genopt
import pytest
import torch
from genopt import SGD, Adam, average_grad, gate, momentum_step, recipe, stat, step
from genopt import transform
from helpers import engines, random, through_a_file
from test_equations import steps_agree

DOUBLE, SHAPES = torch.float64, ((5, 3), (7,), (5, 3), ())


@stat(init=0)
def micro(micro): return micro + 1
@stat
def summed(acc, grad, micro, *, gather=2): return acc * (micro % gather != 1) + grad
@gate
def is_full(micro, *, gather=2): return micro % gather == 0
@transform
def mean_of(grad, acc, *, gather=2): return acc / gather

GATHER = micro, summed, is_full, mean_of


@stat(init=0)
def phase(phase): return 1 - phase
@stat
def climbed(climb, grad, phase, *, rho=.05): return rho * phase * grad
@step
def climb_step(climb, prev_climb): return climb - prev_climb
@gate
def at_top(phase): return phase == 0


@recipe(lr=.1)
def Climbing(): return phase, climbed, climb_step, at_top, *Adam.parts()
@recipe(lr=.1)
def Gathering(): return *GATHER, *Adam.parts()


both = pytest.mark.parametrize('rule', [Climbing, Gathering], ids=lambda r: r.__name__)


def params_of(dtype=DOUBLE):
    return [torch.nn.Parameter(random(i, s, dtype)) for i, s in enumerate(SHAPES)]


def grad(i, j, dtype=DOUBLE): return random(10 * i + j + 50, SHAPES[j], dtype)


def moved(make, steps, dtype=DOUBLE):
    "Parameters and their optimizer after some steps. One has no gradient in every fifth step."
    params = params_of(dtype)
    opt = make(params)
    for i in range(steps):
        for j, p in enumerate(params): p.grad = None if i % 5 == j == 2 else grad(i, j, dtype)
        opt.step()
    return params, opt


@engines
def test_gathered_gradients_are_one_step_of_their_mean(compile):
    ours, theirs = params_of(), params_of()
    opt, other = Gathering(ours, gather=3, compile=compile), torch.optim.Adam(theirs, lr=.1)
    for i in range(4):
        gathered = [[grad(3 * i + k, j) for k in range(3)] for j in range(len(SHAPES))]
        for k in range(3):
            before = [p.detach().clone() for p in ours]
            for p, gs in zip(ours, gathered): p.grad = gs[k].clone()
            opt.step()
            if k < 2: assert all(map(torch.equal, before, ours))
        for p, gs in zip(theirs, gathered): p.grad = sum(gs) / 3
        other.step()
        for a, b in zip(ours, theirs): assert torch.allclose(a, b, 1e-12, 1e-14)
    assert opt.state[ours[0]]['count'] == 4 and opt.state[ours[0]]['micro'] == 12


@engines
def test_a_climb_and_a_step_from_the_top(compile):
    "The gradient that counts is taken at the top, and the step begins where the climb began."
    ours, theirs = params_of(), params_of()
    opt, other = Climbing(ours, rho=.3, compile=compile), torch.optim.Adam(theirs, lr=.1)
    for i in range(4):
        here = [grad(2 * i, j) for j in range(len(SHAPES))]
        for p, g in zip(ours, here): p.grad = g
        opt.step()
        for p, q, g in zip(ours, theirs, here): assert torch.allclose(p, q + .3 * g, 1e-12, 1e-14)
        for j, (p, q) in enumerate(zip(ours, theirs)): p.grad = q.grad = grad(2 * i + 1, j)
        opt.step(); other.step()
        for p, q in zip(ours, theirs): assert torch.allclose(p, q, 1e-12, 1e-13)


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('recipe', [Climbing, Gathering, Gathering + genopt.clip_by_global_norm],
                         ids=lambda r: r.__name__)
@pytest.mark.parametrize('dtype', [DOUBLE, torch.float32, torch.bfloat16], ids=str)
@engines
def test_engines_agree(recipe, dtype, compile):
    given = dict(max_norm=1.) if '+' in recipe.__name__ else {}
    ours, opt = moved(lambda ps: recipe(ps, compile=compile, **given), 12, dtype)
    plain, other = moved(lambda ps: recipe(ps, compile=False, **given), 12, dtype)
    tol = dict(rtol={DOUBLE: 1e-12, torch.float32: 1e-5}.get(dtype, .02), atol=1e-6)
    for p, q in zip(ours, plain):
        assert torch.allclose(p, q, **tol)
        for k, v in opt.state[p].items(): assert torch.allclose(v, other.state[q][k], **tol), k


@both
def test_it_is_still_one_kernel(rule):
    _, opt = moved(lambda ps: rule(ps, compile=True), 2)
    n = len(opt.recipe.rule().composition.tensor_parts)
    assert f'kernel: {n} of {n} parts' in repr(opt)


@both
@engines
def test_a_run_that_is_saved_between(rule, compile):
    ours, opt = moved(lambda ps: rule(ps, compile=compile), 7)
    other = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    again = rule(other, compile=compile)
    again.load_state_dict(through_a_file(opt.state_dict()))
    twin = copy.deepcopy(opt)
    for ps, o in ((ours, opt), (other, again), (twin.param_groups[0]['params'], twin)):
        for i in range(3):
            for j, p in enumerate(ps): p.grad = grad(i, j)
            o.step()
    for p, q, r in zip(ours, other, twin.param_groups[0]['params']):
        assert torch.equal(p, q) and torch.equal(p, r)


# -- explanations, watching, files -----------------------------------------------------------------

@stat
def seen(kept, new_param): return .5 * kept + .5 * new_param


@pytest.mark.parametrize('parts, values', [
    (Climbing.parts(), dict(rho=.3, wd=.1)), (Gathering.parts(), dict(gather=3)),
    ([*Climbing.parts(), seen], {}),
    ([average_grad, momentum_step, micro, is_full, genopt.sgd_step, seen], {})], ids=str)
def test_equations_and_algorithm(parts, values): steps_agree(parts, {'lr': .1, **values})


def test_how_it_reads():
    assert '''
    phase ← 1 − phase
    climb ← ρ·phase·g
    Δθ ← climb − climbₜ₋₁
    if phase = 0:
        m ←''' in (text := str(Climbing.explain().box))
    assert text.rstrip().endswith('''
        Δθ ← Δθ − η·m̂ / (√v̂ + ε)
    θ ← θ + Δθ''')


@both
def test_in_a_file_of_its_own(rule):
    names = {}
    exec(compile_file(genopt.export(rule)), names)
    theirs, _ = moved(lambda ps: names[rule.__name__](ps, lr=.1), 12)
    ours, _ = moved(lambda ps: rule(ps, compile=False), 12)
    assert all(map(torch.equal, ours, theirs))


def compile_file(text): return compile(text, 'exported.py', 'exec')


@engines
def test_watched_steps_see_what_happens_before_a_gate(compile):
    ours, opt = moved(lambda ps: Climbing(ps, compile=compile), 0)
    rec = opt.watch(every=1)
    norms = []
    for i in range(4):
        for j, p in enumerate(ours): p.grad = grad(i, j)
        before = ours[0].detach().clone()
        opt.step()
        norms.append((ours[0].detach() - before).norm().item())
    rows = [r for r in rec.rows if r['param'] == rec.rows[0]['param']]
    assert [r['update_norm'] for r in rows] == pytest.approx(norms, rel=1e-9)
    assert all(r['climb_norm'] > 0 for r in rows[::2]) and rows[1]['climb_norm'] == 0


# -- sums ------------------------------------------------------------------------------------------

def test_what_gathers_for_a_gate_stays_before_it():
    new = Adam + GATHER
    assert new.parts() == (*GATHER, *Adam.parts())
    one_by_one = Adam + micro + summed + is_full + mean_of
    assert one_by_one.parts() == new.parts()
    assert (SGD + (micro, is_full)).parts() == (micro, is_full, *SGD.parts())
