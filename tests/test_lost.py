"Promise: an optimizer says which updates rounding would take, and nothing changes by that."
import copy
import random as python

import genopt
import numpy as np
import pytest
import torch
from genopt import Optimizer, clip_by_global_norm, transform
from genopt.converting import weight
from genopt.study.still import step_size
from helpers import by_engines, name_of, random
from torch import nn

BF16, F16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
KEPT = dict(nearest={}, master24=dict(master=24), master32=dict(master=32),
            kahan=dict(rounding='kahan'))
kept = pytest.mark.parametrize('how', KEPT.values(), ids=KEPT)
engines = by_engines('plain', 'compiled')


def param(values, dtype=BF16, grad=1.):
    p = nn.Parameter(torch.tensor(values, dtype=dtype))
    p.grad = torch.full_like(p, grad)
    return p


def row(recipe, p, **hypers): return recipe([p], **hypers).lost_updates().rows[0]


# -- what is lost ----------------------------------------------------------------------------------

@pytest.mark.parametrize('recipe', [genopt.SGD, genopt.Adam, genopt.Lion], ids=name_of)
def test_a_step_smaller_than_half_the_distance(recipe):
    "Between 0.5 and 1, numbers of bfloat16 are 2⁻⁸ apart, and 0.99 is nearest to 253·2⁻⁸."
    small, large = (row(recipe, param([1., 1.]), lr=lr) for lr in (1e-3, 1e-2))
    assert (small.moved, small.lost, small.share, small.error) == (2, 2, 1., 1.)
    assert (large.moved, large.lost) == (2, 0)
    assert large.error == pytest.approx((.99 - 253 / 256) / .01, rel=1e-4)


def test_elements_are_counted():
    "Of 1, 2, ¼ and 0, two move by 0.001; those without a gradient, or with NaN, have no update."
    p = param([1., 2., .25, 0., 1., 1.])
    p.grad[4], p.grad[5] = 0., torch.nan
    r = row(genopt.SGD, p, lr=1e-3)
    assert (r.moved, r.lost, r.share) == (4, 2, .5)
    near = [0, 0, 255 / 1024 - .25, torch.tensor(-.001).bfloat16().item()]
    assert r.error == pytest.approx(np.linalg.norm(np.add(near, .001)) / .002, rel=1e-4)


@pytest.mark.parametrize('dtype, lr, lost, enough', [
    (F32, 1e-9, 1, ['weights in float64']), (F32, 1e-6, 0, ['weights in float64']),
    (F64, 1e-9, 0, []), (F64, 1e-17, 1, []),
    (F16, 1e-4, 1, ["rounding='kahan'", "rounding='stochastic'", 'weights in float32']),
    (torch.complex64, 1e-9, 1, ['weights in float64'])])
def test_other_dtypes(dtype, lr, lost, enough):
    r = row(genopt.SGD, param([1.], dtype), lr=lr)
    assert (r.moved, r.lost, r.enough) == (1, lost, enough)


@kept
@engines
def test_it_is_what_a_step_does(how, compile):
    "Against the weights before and after it, with the update by hand; in a first and a later step."
    p = nn.Parameter(random(0, (40, 30), F32).bfloat16())
    opt = genopt.SGD([p], lr=.01, compile=compile, **how)
    for i in range(3):
        p.grad = random(1 + i, p.shape, F32).bfloat16()
        update, group = -.01 * p.grad.double(), opt.groups()[0]
        said, before = opt.lost_updates().rows[0], weight(opt.state[p], p, group).double()
        opt.step()
        moved = weight(opt.state[p], p, group).double() - before
        assert said.lost == ((moved == 0) & (update != 0)).sum() and said.moved == p.numel()
        assert said.error == pytest.approx(((moved - update).norm() / update.norm()).item(), 1e-3)
    assert (said.share > .1) == (not how)


@pytest.mark.parametrize('wish', ["rounding='kahan'", 'master=24', "rounding='stochastic'"])
def test_what_it_says_is_enough_is_enough(wish):
    assert wish in row(genopt.SGD, param([1.]), lr=1e-3).enough
    opt = genopt.SGD([param([1.])], lr=1e-3, **eval(f'dict({wish})'))
    assert opt.lost_updates().rows[0].error < .01
    assert not opt.lost_updates().worst


def test_on_average_nothing_is_lost_at_random():
    opt = genopt.SGD([param([1.] * 9)], lr=1e-3, rounding='stochastic')
    assert opt.lost_updates().rows[0].lost == 0
    assert "rounding='stochastic': nothing is lost on average" in opt.lost_updates().text(200)
    below = genopt.SGD([param([1.])], lr=1e-9, rounding='stochastic')
    assert below.lost_updates().rows[0].lost == 1  # it is lost before it is rounded at random


def test_8_bits_of_state():
    p = nn.Parameter(torch.ones(64, 64).bfloat16())
    opt = genopt.Adam([p], lr=1e-3, state='8bit')
    for _ in range(2):
        p.grad = torch.ones_like(p)
        assert opt.lost_updates().rows[0].share == 1
        opt.step()


# -- nothing changes -------------------------------------------------------------------------------

@transform(whole=True)
def shaken(grad): return grad * torch.rand_like(grad)


def everything(opt):
    "Bits, versions, and random generators."
    params = [p for g in opt.groups() for p in g['params']]
    state = [(k, v._version, v.clone()) if isinstance(v, torch.Tensor) else (k, v)
             for p in params if p in opt.state for k, v in opt.state[p].items()]
    tensors = [(t._version, t.clone()) for p in params for t in (p.detach(), p.grad)]
    groups = [{k: v for k, v in g.items() if k != 'params'} | dict(settled=g.settled)
              for g in opt.groups()]
    rest = (len(opt.state), groups, torch.get_rng_state(), python.getstate(),
            str(np.random.get_state()), [*opt._fed().items()])
    return copy.deepcopy((state, tensors, rest[:-1])), rest[-1]


def same(a, b):
    if isinstance(a, torch.Tensor): return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, (tuple, list)): return len(a) == len(b) and all(map(same, a, b))
    return a == b


CHANGED = {'Adam': (genopt.Adam, {}), 'kahan': (genopt.AdamW, KEPT['kahan']),
           'random': (genopt.Adam, dict(rounding='stochastic', state='8bit')),
           'master': (genopt.Lion, KEPT['master24']), 'SAM': (genopt.SAM, {}),
           'Muon': (genopt.Muon, {}), 'ScheduleFree': (genopt.ScheduleFreeAdamW, {}),
           'Prodigy': (genopt.Prodigy, {}), 'noisy': (genopt.Adam + shaken, {})}


@pytest.mark.parametrize('name, compile', [*((name, 'plain') for name in CHANGED),
                                           ('Adam', 'compiled'), ('master', 'compiled')],
                         indirect=['compile'])
def test_nothing_changes(name, compile):
    "Before a first step and later ones; and the steps are those without a look."
    recipe, hypers = CHANGED[name]
    def run(looks):
        ps = [nn.Parameter(random(i, (64, 64), F32).bfloat16()) for i in range(2)]
        opt = recipe(ps, compile=compile, **hypers)
        torch.manual_seed(0)
        for i in range(3):
            for j, p in enumerate(ps): p.grad = random(10 * i + j, p.shape, F32).bfloat16()
            if looks:
                before = everything(opt)
                opt.lost_updates()
                assert same(before, everything(opt))
            opt.step()
        return [p.detach() for p in ps], [[*s.values()] for s in opt.state.values()]
    assert same(run(False), run(True))


def test_what_was_fed_is_still_there():
    p = param([1.])
    opt = genopt.AdaHessian([p], lr=1e-3)
    with pytest.raises(RuntimeError, match='`hess` was not fed'): opt.lost_updates()
    opt.feed(hess=[torch.ones_like(p)])
    before = everything(opt)
    assert opt.lost_updates().rows[0].lost == 1
    assert same(before, everything(opt)) and opt._fed()
    opt.step()


# -- reports ---------------------------------------------------------------------------------------

def two_groups():
    names = [('a', param([1., 1.])), ('b', param([1., 0.])), ('c', param([0., 0.]))]
    return genopt.SGD([dict(params=names, lr=1e-3),
                       dict(params=[('d', param([1.], F32))], lr=1e-9)])


def test_a_report():
    report = two_groups().lost_updates()
    assert [(r.name, r.group, r.share) for r in report.rows] == [
        ('a', 0, 1.), ('d', 1, 1.), ('b', 0, .5), ('c', 0, 0.)]
    assert report.text(200).split('\n') == [
        '    parameter  kept in   does not move  error',
        '    a          bfloat16  100 %          100 %',
        '    d          float32   100 %          100 %',
        '    b          bfloat16  50 %           70.7 %', '',
        '    Group 0: these updates are smaller than half the distance between two weights. Give '
        "master=24, rounding='kahan', rounding='stochastic', weights in float32 or a larger lr.",
        '    Group 1: these updates are smaller than half the distance between two weights. Give '
        'weights in float64 or a larger lr.',
        '    The other parameter loses nothing that matters.']
    assert '`a`' in report.markdown() and str(report) == report.text(80)


@pytest.mark.parametrize('opt', [
    genopt.SGD([param([1.])], lr=.01), genopt.SGD([param([1.])], lr=1e-3, master=24),
    genopt.SGD([param([1.] + [0.] * 200)], lr=1e-3)], ids=['large', 'master', 'one of many'])
def test_it_is_quiet(opt):
    assert opt.lost_updates().text() == '    Rounding takes nothing from this step that matters.'


def test_a_step_without_updates():
    said = genopt.SGD([param([1.], grad=0.)]).lost_updates().text()
    assert said == '    No parameter has an update in this step.'


def test_views():
    "Of pieces, together: each element once, rounded to the parameter's dtype."
    p = nn.Parameter(torch.ones(6, 4).bfloat16())
    p.grad = random(0, p.shape, F32).bfloat16()
    for how in ({}, KEPT['kahan']):
        group = dict(params=[('qkv', p)], view='(n=3 out) in -> n out in')
        opt = genopt.Muon([group], lr=1e-4, **how)
        [r] = opt.lost_updates().rows
        assert (r.name, r.moved, r.lost) == ('qkv', 24, 0 if how else 24)


def test_sparse_gradients():
    emb = nn.Embedding(10, 4, sparse=True).bfloat16()
    with torch.no_grad(): emb.weight.fill_(1.)
    emb(torch.tensor([1, 2, 2])).sum().backward()
    before = emb.weight._version
    r = genopt.SGD(emb.parameters(), lr=3e-3, weight_decay=0.).lost_updates().rows[0]
    assert (r.moved, r.lost) == (8, 0)  # 0.003 is more than half of 2⁻⁸
    r = genopt.SGD(emb.parameters(), lr=1e-3).lost_updates().rows[0]
    assert (r.moved, r.lost) == (8, 4) and emb.weight._version == before
    opt = genopt.SGD(emb.parameters(), lr=1e-3, rounding='kahan')
    r = opt.lost_updates().rows[0]
    assert (r.moved, r.lost) == (8, 0)  # what the weight cannot hold is beside it


def test_what_cannot_be_asked():
    p = param([1.])
    opt = genopt.Adam([('w', p), ('other', nn.Parameter(torch.ones(2)))])
    assert [r.name for r in opt.lost_updates().rows] == ['w']
    with opt.release(), pytest.raises(RuntimeError, match='with release'): opt.lost_updates()
    p.grad = None
    with pytest.raises(RuntimeError, match='between `backward'): opt.lost_updates()
    far = nn.Parameter(torch.ones(2, device='meta'))
    far.grad = torch.ones_like(far)
    with pytest.raises(RuntimeError, match='`far`.* is on the meta device'):
        genopt.SGD([('far', far)]).lost_updates()


# -- before there are gradients --------------------------------------------------------------------

def explained(params, recipe=genopt.Adam, **hypers):
    text = recipe(params, **{'lr': 1e-3, **hypers}).explain().text(1000)
    return text.split('\nprecision\n')[1].split('\n\n')[0] if '\nprecision\n' in text else ''


def test_explain_says_which_weights_do_not_move():
    "Above 0.5 they are 2⁻⁸ apart, of which half is more than 0.001; below, that is 2⁻¹⁰."
    values = dict(one=[1., -.6, .7], half=[.5], few=[1., 0., 0.])
    params = [(k, param(v)) for k, v in values.items()]
    assert explained(params) == (
        '    In bfloat16 a weight above 0.5 does not move at lr 0.001: half the distance to the '
        'next number is larger than the step, about 0.001. So most of one would stay as it is. '
        "Give master=24, rounding='kahan', rounding='stochastic', weights in float32 or a larger "
        'lr.')
    shares = {r.name: r.share for r in genopt.Adam(params, lr=1e-3).lost_updates().rows}
    assert shares['one'] == 1 and shares['few'] == pytest.approx(1 / 3)
    moved = {k: row(genopt.Adam, param([w]), lr=1e-3).lost for k, w in dict(a=.503, b=.498).items()}
    assert moved == dict(a=1, b=0)


@pytest.mark.parametrize('dtype, hypers', [
    (BF16, KEPT['kahan']), (BF16, KEPT['master24']), (BF16, dict(rounding='stochastic')),
    (BF16, dict(lr=.01)), (F32, {}), (F64, {}), (BF16, dict(recipe=genopt.SGD)),
    (BF16, dict(recipe=genopt.Muon))])
def test_explain_is_quiet(dtype, hypers): assert not explained([param([[1.]], dtype)], **hypers)


def test_explain_of_groups():
    "Each in its section, or, if they run the same, with its number."
    groups = [dict(params=[param([w])], lr=lr) for w, lr in ((1., 1e-3), (0., 1e-3), (1., 1e-4),
                                                             (1., 1e-2), (1., 1e-3))]
    text = genopt.Adam(groups).explain().text(1000)
    said = [line.split()[:2] for line in text.split('\n') if 'does not move' in line]
    assert said == [['group', '0'], ['group', '4'], ['In', 'bfloat16']]
    assert 'above 0.03125 does not move at lr 0.0001' in text
    assert 'In float32 a weight above 0.03125' in explained([param([1.], F32)], lr=1e-9)
    assert not explained([nn.Parameter(torch.ones(3, dtype=BF16, device='meta'))])


@pytest.mark.parametrize('parts, size', [
    (genopt.Adam.parts(), 1.), (genopt.AdamW.parts(), 1.), (genopt.Lion.parts(), 1.),
    ([clip_by_global_norm, *genopt.Adam.parts()], 1.), (genopt.SGD.parts(), 0.),
    ([clip_by_global_norm, *genopt.SGD.parts()], 0.), (genopt.LAMB.parts(), 0.),
    (genopt.Prodigy.parts(), 0.), (genopt.Adagrad.parts(), 0.)], ids=str)
def test_the_size_of_a_step(parts, size):
    group = Optimizer([param([1.])], parts, lr=.01).groups()[0]
    assert step_size(group.composition, group.numbers()) == pytest.approx(.01 * size, rel=.02)
