"""Promise: what a fastai Learner freezes does not move, and what it marks does not decay.
"""
import copy

import genopt
import pytest
import torch
from genopt import Optimizer, sgd_step
from helpers import RECIPES, engines, name_of, param, pickled, random_param, random_step
from learners import OURS, quiet, split, train

pytestmark = quiet


def test_frozen_weights_do_not_move():
    def fit(learn):
        learn.fit(1, 1e-2, wd=.1); learn.freeze(); learn.before = copy.deepcopy(learn.model)
        learn.fit(1, 1e-2)
        assert all(not p.requires_grad and p.grad is None for p in split(learn.model)[0][:2])
    learn = train(OURS, fit, train_bn=False)
    old, new = split(learn.before), split(learn.model)
    assert all(torch.equal(a, b) for i in (0, 1) for a, b in zip(old[i], new[i]))
    assert not torch.equal(old[2][0], new[2][0])


def test_a_gradient_that_is_left_over_does_not_move_what_is_frozen():
    a, b = (param() for _ in 'ab')
    opt = genopt.AdamW([[a], [b]], wd=.1)
    for p in (a, b): p.grad = torch.ones_like(p)
    opt.freeze_to(1); opt.step()
    assert torch.equal(a, param()) and (b < 1).all()


def test_freezing():
    ps = [[param()] for _ in range(4)]
    opt = genopt.Adam(ps)
    opt.state[ps[0][0]]['force_train'] = True
    assert opt.frozen_idx == 0
    for n, frozen_idx, trains in ((2, 2, [1, 0, 1, 1]),
                                  (-1, 3, [1, 0, 0, 1]), (0, 0, [1, 1, 1, 1])):
        opt.freeze_to(n)
        assert opt.frozen_idx == frozen_idx
        assert [p.requires_grad for [p] in ps] == [bool(t) for t in trains]
    opt.freeze(); assert opt.frozen_idx == 3 and pickled(opt).frozen_idx == 3
    opt.unfreeze(); assert opt.frozen_idx == 0
    with pytest.warns(UserWarning, match=r'freeze_to\(5\): there are 4 groups, so nothing trains'):
        opt.freeze_to(5)
    assert [p.requires_grad for [p] in ps] == [True, False, False, False]
    with pytest.warns(UserWarning,
                      match=r'freeze_to\(-5\): there are 4 groups, so all are trained'):
        opt.freeze_to(-5)
    with pytest.raises(ValueError,
                       match='there is one group, so freezing all but the last freezes nothing'):
        genopt.Adam(ps[0]).freeze()


@pytest.mark.exhaustive(4)
@engines
@pytest.mark.parametrize('recipe', [r for r in RECIPES if 'wd' in r.__signature__.parameters],
                         ids=name_of)
def test_do_wd_switches_decay_off(recipe, compile):
    a, b, c, d = (random_param(i % 2, (3, 4), torch.float64) for i in range(4))
    opt = recipe([a, b], lr=.1, wd=.1, compile=compile)
    opt.state[b]['do_wd'] = False
    groups = [dict(params=[c]), dict(params=[d], wd=0.)]
    twin = recipe(groups, lr=.1, wd=.1, compile=compile)
    for i in range(5):
        random_step(opt, i); random_step(twin, i)
        assert torch.equal(a, c) and torch.equal(b, d)
    assert opt.state[b].pop('do_wd') is False
    opt.state[b].pop('force_train', None)
    assert opt.state[b].keys() == twin.state[d].keys()


def test_a_renamed_decay_is_switched_off_too():
    a, b = (param() for _ in 'ab')
    opt = Optimizer([a, b], [sgd_step, genopt.weight_decay.rename(wd='my_wd')], lr=.1, my_wd=.5)
    opt.state[a]['do_wd'] = False
    for p in (a, b): p.grad = torch.zeros_like(p)
    opt.step()
    assert torch.equal(a, param()) and torch.equal(b, param(value=.95))


def test_marks_alone_are_no_state():
    "A state of two marks has as many entries as one of two stats."
    ps = [param() for _ in range(3)]
    for recipe in (genopt.Momentum, genopt.RMSprop, genopt.LaProp):
        opt = recipe(ps, lr=.1)
        opt.state[ps[0]]['do_wd'] = False
        opt.state[ps[1]].update(do_wd=True, force_train=True)
        assert not any(opt.state_dict()['state'][i].keys() - {'do_wd', 'force_train'}
                       for i in (0, 1))
        for n in range(3):
            for i, p in enumerate(ps): p.grad = torch.ones_like(p) if i <= n else None
            opt.step()
        stats = opt.param_groups[0].composition.stats
        assert all({*opt.state[p]} - {'do_wd', 'force_train'} == {*stats} for p in ps)


def test_clear_state_keeps_the_marks():
    a, b = (param() for _ in 'ab')
    opt = genopt.Momentum([a, b], lr=.1)
    opt.state[a].update(do_wd=False, force_train=True)
    for _ in range(2):
        for p in (a, b): p.grad = torch.ones_like(p)
        opt.step(); opt.clear_state()
        assert dict(opt.state) == {a: dict(do_wd=False, force_train=True)}
    plus = (genopt.SGD + genopt.average_param)([a], lr=.1)
    plus.step(); plus.swap()
    with pytest.raises(RuntimeError,
                       match=r'swapped with their averages: call train\(\) before clear_state\(\)'):
        plus.clear_state()
