"""Promise: Schedule-Free is its authors' step by step, also what it evaluates and around any base
rule; it keeps one sequence beside the parameter, and comes back from an evaluation bit for bit.
"""
import copy
from functools import partial
from importlib import import_module

import genopt
import pytest
import schedulefree
import torch
from genopt import Optimizer, ScheduleFreeAdamW, ScheduleFreeSGD, schedule_free
from genopt.twins import TWINS
from helpers import dtypes, engines, random, through_a_file
from torch import nn

DOUBLE, SHAPES, STEPS = torch.float64, ((5, 3), (7,), (2, 2, 2)), 100
BOTH = pytest.mark.parametrize('ours, theirs', [
    (ScheduleFreeSGD, schedulefree.SGDScheduleFree),
    (ScheduleFreeAdamW, schedulefree.AdamWScheduleFree)], ids=lambda r: r.__name__)
OPTIONS = [{}, dict(lr=.1, weight_decay=.1), dict(lr=.1, warmup_steps=20),
           dict(lr=.1, r=1.), dict(lr=.1, warmup_steps=20, weight_lr_power=0.)]


def params_of(dtype=DOUBLE, shapes=SHAPES):
    return [nn.Parameter(random(i, s, dtype)) for i, s in enumerate(shapes)]


def give_gradients(params, t):
    for i, p in enumerate(params):
        p.grad = (.5 + t % 3) * random(100 * t + i + 10, p.shape, p.dtype)


def path(make, steps=STEPS, evaluate=True, **kwargs):
    "The parameters after each step, and what is to be evaluated then."
    params = params_of(**kwargs)
    opt = make(params)
    opt.train()
    for t in range(steps):
        give_gradients(params, t)
        opt.step()
        trained = [p.detach().clone() for p in params]
        opt.eval()
        yield trained, [p.detach().clone() for p in params]
        opt.train()


def assert_same_path(ours, theirs, tol=1e-11):
    for a, b in zip(ours, theirs, strict=True):
        for which, other in zip(a, b):
            for x, y in zip(which, other): torch.testing.assert_close(x, y, rtol=tol, atol=tol)


@pytest.mark.exhaustive(2)
@BOTH
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@engines
def test_it_trains_and_evaluates_the_authors_weights(ours, theirs, options, compile):
    assert_same_path(path(partial(ours, compile=compile, **options)),
                     path(partial(theirs, **options)))


@BOTH
def test_under_a_scheduler_of_torchs(ours, theirs):
    "Not needed, but then the largest rate so far weighs each step, as in the authors' code."
    def go(make):
        params = params_of()
        opt = make(params, lr=.1)
        opt.train()
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, .2, total_steps=30, cycle_momentum=False)
        for t in range(30):
            give_gradients(params, t)
            opt.step(); sched.step()
            yield [p.detach().clone() for p in params], []
    assert_same_path(go(ours), go(theirs))


# -- around any rule -------------------------------------------------------------------------------

def around(base, *, beta, r=0., power=2., wd_at_y=0., at_y=False, lr):
    """What `ScheduleFreeWrapper` does, with a base optimizer that has parameters of its own.

    (The wrapper keeps z among the base's state, and most of torch's classes then believe that
    theirs has begun.)
    """
    ys = params_of()
    zs, xs = [[y.detach().clone() for y in ys] for _ in range(2)]
    opt, total = base([nn.Parameter(z) for z in zs], lr=lr), 0.
    for t in range(STEPS):
        give_gradients(ys, t)
        for z, y in zip(opt.param_groups[0]['params'], ys):
            z.data.sub_(lr * wd_at_y * y.data)
            if at_y: z.data, z.z = y.detach().clone(), z.data
            z.grad = y.grad
        opt.step()
        if at_y:
            for z, y in zip(opt.param_groups[0]['params'], ys): z.data = z.z.add_(z.data - y.data)
        weight = (t + 1)**r * lr**power
        total += weight
        for x, y, z in zip(xs, ys, opt.param_groups[0]['params']):
            z = z.detach()
            x.lerp_(z, weight / total)
            y.data.copy_((1 - beta) * z + beta * x)
        yield [y.detach().clone() for y in ys], [x.clone() for x in xs]


DENSE = [k for k in TWINS if k not in ('SparseAdam', 'Muon')]


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name', DENSE)
def test_around_every_rule_of_torchs(name):
    "Without decay, which belongs at y: see the next test."
    recipe, cls = getattr(genopt, name), TWINS[name].cls
    given = dict(momentum=.9) if name == 'Momentum' else {}
    given |= dict(weight_decay=0.) if name == 'AdamW' else {}
    make = partial(recipe + schedule_free, lr=.01, interp=.8, r=.5)
    if name in ('ASGD', 'Adafactor'):  # which read the parameter for more than decay: theirs is z
        own = [p.rename(param='prev_base_param') if 'param' in p.args else p
               for p in recipe.parts() if 'new_param' not in p.reads]
        numbers = {**recipe.defaults, **make.keywords, 'wd': 0.}
        make = partial(Optimizer, parts=[*own, *(p for p in schedule_free if p not in own)],
                       **{k: v for k, v in numbers.items() if k != 't0'})
    elif 'wd' in recipe.rule().composition.hypers: make.keywords['wd'] = 0.
    tol = 1e-7 if name in ('NAdam', 'ASGD') else 1e-11  # where torch keeps numbers in float32
    assert_same_path(path(make), around(partial(cls, **given), beta=.8, r=.5, lr=.01), tol)


@pytest.mark.parametrize('cls', ['SGD', 'Adagrad'])
def test_as_the_authors_wrapper(cls):
    "Those bases that it can wrap; with decay at y, which they recommend, and at z."
    ours, theirs = getattr(genopt, cls) + schedule_free, getattr(torch.optim, cls)
    def wrapped(params, **kwargs):
        return schedulefree.ScheduleFreeWrapper(theirs(params, lr=.05), momentum=.7, **kwargs)
    for make in (partial(wrapped, weight_decay_at_y=.1), partial(wrapped, r=1.)):
        kwargs = dict(wd=.1) if make.keywords.get('weight_decay_at_y') else dict(wd=0., r=1.)
        rule = ours + genopt.weight_decay
        assert_same_path(path(partial(rule, lr=.05, interp=.7, **kwargs)), path(make))


def test_decay_at_y_and_at_z():
    rule = genopt.Adam + genopt.weight_decay + schedule_free
    assert_same_path(path(partial(rule, lr=.01, wd=.1, interp=.9)),
                     around(torch.optim.Adam, beta=.9, wd_at_y=.1, lr=.01))
    at_z = genopt.Adam + (genopt.weight_decay.rename(param='prev_base_param'), *schedule_free)
    assert_same_path(path(partial(at_z, lr=.01, wd=.1, interp=.9)),
                     around(partial(torch.optim.AdamW, weight_decay=.1), beta=.9, lr=.01))


def test_a_rule_that_ends_with_the_new_weights():
    "Adan divides what its step makes of y: z takes that step as it is."
    around_y = path(partial(genopt.Adan + schedule_free, lr=.01, wd=.1, interp=.9))
    assert_same_path(around_y, around(partial(genopt.Adan, wd=.1), beta=.9, at_y=True, lr=.01))


@pytest.mark.parametrize('text', ['adamw + schedule_free + lookahead',
                                  'adamw + lookahead + schedule_free'])
def test_where_the_theory_ends(text):
    with pytest.raises(genopt.ContractError, match=(
            '`lookahead_step` changes the update after `base_average`, which is only right for '
            'what the parts before it leave: put `lookahead_step` before them, or leave one of '
            'the two out')):
        genopt.recipe(text)


def test_its_parts_go_where_they_belong():
    ends = genopt.schedule_free[-3:]
    for text in ('sgd + schedule_free + cautious', 'lamb + schedule_free',
                 'adamw + skip_nonfinite + schedule_free', 'adamw + schedule_free + weight_decay',
                 'sgd + schedule_free + clip_by_global_norm', 'adan + weight_decay + schedule_free',
                 'adan + schedule_free', 'adamw + schedule_free + scale_by_trust_ratio',
                 'soap + schedule_free', 'ScheduleFreeAdamW + scale_by_trust_ratio',
                 'ScheduleFreeAdamW + cautious'):
        assert genopt.recipe(text).parts()[-3:] == ends, text


# -- evaluation ------------------------------------------------------------------------------------

@BOTH
@dtypes(torch.float32, torch.bfloat16, DOUBLE)
def test_an_evaluation_changes_no_bit_of_a_run(ours, theirs, dtype):
    runs = []
    for evaluate in (False, True):
        params = params_of(dtype)
        opt = ours(params, lr=.1)
        for t in range(20):
            give_gradients(params, t)
            opt.step()
            if evaluate:
                opt.eval(); opt.eval()
                opt.train(); opt.train()
        runs.append([p.detach().clone() for p in params])
    assert all(map(torch.equal, *runs))


@pytest.mark.parametrize('recipe', [ScheduleFreeAdamW, ScheduleFreeSGD + genopt.cautious,
                                    genopt.Lion + schedule_free], ids=lambda r: r.__name__)
@dtypes(torch.float32, torch.bfloat16, torch.complex64)
def test_the_average_is_that_of_what_trains(recipe, dtype):
    "x, from y and z as they are stored, rounded once."
    if dtype.is_complex and recipe.__name__.startswith('Lion'): dtype = torch.complex128
    params = params_of(dtype)
    opt = recipe(params, lr=.01)
    for t in range(10):
        give_gradients(params, t)
        opt.step()
    wide = torch.complex128 if dtype.is_complex else DOUBLE
    want = [(p.detach().to(wide) - (1 - .9) * opt.state[p]['base_param'].to(wide)) / .9
            for p in params]
    with opt.swapped():
        tol = 1e-2 if dtype == torch.bfloat16 else 1e-6
        for p, x in zip(params, want): torch.testing.assert_close(p.detach().to(wide), x, rtol=tol,
                                                                  atol=tol)


@engines
@pytest.mark.parametrize('recipe', [ScheduleFreeSGD, ScheduleFreeAdamW,
                                    genopt.Adam + schedule_free], ids=lambda r: r.__name__)
@pytest.mark.parametrize('evaluates', [False, True])
def test_a_run_that_is_saved(recipe, evaluates, compile):
    "In training, or while the average is in place, with all that was saved of model and optimizer."
    ours = params_of()
    opt = recipe(ours, lr=.01, compile=compile)
    for t in range(7): give_gradients(ours, t); opt.step()
    if evaluates: opt.eval()
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    other = recipe(theirs, lr=.01, compile=compile)
    other.load_state_dict(through_a_file(opt.state_dict()))
    twin = copy.deepcopy(opt)
    for params, o in ((ours, opt), (theirs, other), (twin.param_groups[0]['params'], twin)):
        give_gradients(params, 7)
        if evaluates:
            with pytest.raises(RuntimeError, match=r'call train\(\) before step\(\)'): o.step()
        o.train()
        for t in range(7, 12): give_gradients(params, t); o.step()
    for p, q, r in zip(ours, theirs, twin.param_groups[0]['params']):
        assert torch.equal(p, q) and torch.equal(p, r)


def test_a_parameter_that_joins_late_begins_its_own_average():
    a, b = params_of(shapes=((3,), (3,)))
    opt = ScheduleFreeSGD([a, b], lr=.1)
    for t in range(5): give_gradients([a], t); opt.step()
    b.grad = torch.ones_like(b); before = b.detach().clone()
    a.grad = None; opt.step()
    with opt.swapped(): torch.testing.assert_close(b.detach(), before - .1)


def test_each_group_has_a_rate_of_its_own():
    "So the numbers of the average are each parameter's, and not the optimizer's."
    def go(make, **kwargs):
        a, b = params_of(shapes=((3,), (4,)))
        opt = make([dict(params=[a], lr=.1), dict(params=[b], lr=1.)], **kwargs)
        opt.train()
        for t in range(20):
            give_gradients([a, b], t)
            opt.step()
            yield [a.detach().clone(), b.detach().clone()], []
    assert_same_path(go(ScheduleFreeSGD, warmup=5),
                     go(schedulefree.SGDScheduleFree, warmup_steps=5))


def test_at_a_rate_of_zero_nothing_moves():
    for trained, evaluated in path(partial(ScheduleFreeAdamW, lr=0.), 3):
        for x, y, p in zip(trained, evaluated, params_of()):
            torch.testing.assert_close(x, p.detach(), rtol=1e-14, atol=0)
            torch.testing.assert_close(y, p.detach(), rtol=1e-14, atol=0)


def test_it_keeps_eight_bytes_a_parameter():
    p = nn.Parameter(torch.zeros(1000, 1000)); p.grad = torch.ones_like(p)
    opt = ScheduleFreeAdamW([p]); opt.step()
    assert 8 <= sum(v.nbytes for v in opt.state[p].values()) / p.numel() < 8.001
    assert 'kernel: 6 of 6 parts' in repr(opt)


def test_what_is_out_of_range():
    p = nn.Parameter(torch.zeros(2))
    for make in (ScheduleFreeSGD, ScheduleFreeAdamW, genopt.SGD + schedule_free):
        with pytest.raises(ValueError, match='`interp` = 0 is out of range: it must be at least '
                                             '0.001 and at most 1'): make([p], interp=0.)
    assert ScheduleFreeAdamW([p], betas=(.95, .9)).hypers[0]['interp'] == .95
    assert ScheduleFreeSGD([p], momentum=.8, warmup_steps=10).hypers[0]['warmup'] == 10


# -- explained, exported, watched ------------------------------------------------------------------

def test_how_it_reads():
    text = str((genopt.SGD + schedule_free).explain().box)
    assert text.rstrip().endswith('''
    c = w/W
    θ ← θ + c·(z − θ) − η·(1 − β·(1 − c))·g
    z ← z − η·g
to evaluate
    x = (θ − (1 − β)·z) / β''')
    assert 'x = (θ − (1 − β₁)·z) / β₁' not in text
    assert r'x = \frac' in (genopt.SGD + schedule_free).explain().latex()


@BOTH
def test_a_file_of_its_own_evaluates_too(ours, theirs, tmp_path, monkeypatch):
    name = f'exported_{ours.__name__.lower()}'
    (tmp_path/f'{name}.py').write_text(genopt.export(ours), encoding='utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    make = getattr(import_module(name), ours.__name__)
    for a, b in zip(path(partial(make, lr=.1)), path(partial(ours, lr=.1, compile=False))):
        for xs, ys in zip(a, b): assert all(map(torch.equal, xs, ys))


@engines
def test_it_is_watched(compile):
    params = params_of()
    opt = ScheduleFreeAdamW(params, lr=.1, compile=compile)
    rec = opt.watch(every=1)
    for t in range(3): give_gradients(params, t); opt.step()
    assert {'base_param_norm', 'update_norm'} <= {*rec.rows[0]}
    assert rec.rows[-1]['base_param_norm'] > 0
