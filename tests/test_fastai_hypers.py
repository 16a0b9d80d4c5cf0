"""Promise: hyperparameters are read and written as a fastai Learner does it; and what is wrong is
refused.
"""
import warnings

import fastcore.all as fc
import genopt
import numpy as np
import pytest
import torch
from helpers import param
from learners import fastai, quiet

pytestmark = quiet


def three(recipe=genopt.Adam, **kwargs):
    return recipe([[param()] for _ in range(3)], **kwargs)


@pytest.mark.parametrize('value, wanted', [
    (.5, [.5] * 3), ([.5], [.5] * 3), ([.1, .2, .3], [.1, .2, .3]), ((.1, .2, .3), [.1, .2, .3]),
    (np.array([.1, .2, .3]), [.1, .2, .3]), (np.float64(.5), [.5] * 3), (np.array(.5), [.5] * 3),
    (fc.L(.1, .2, .3), [.1, .2, .3]), (slice(1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
    (slice(.1), [.01, .01, .1]),
    (slice(0, .1), [.01, .01, .1]), (torch.tensor(.5), [.5] * 3), (0, [0] * 3)], ids=str)
def test_set_hyper(value, wanted):
    opt = three(); opt.set_hyper('lr', value)
    assert [h['lr'] for h in opt.hypers] == pytest.approx(wanted)
    # when it is made, too
    assert three(lr=value).param_groups[1]['lr'] == opt.param_groups[1]['lr']
    assert not any(isinstance(h['lr'], np.generic) for h in opt.hypers)
    if getattr(value, 'shape', 1) == (): return  # fastai takes no 0-dim arrays
    theirs = fastai.optimizer.Adam([[param()] for _ in range(3)], lr=.1)
    theirs.set_hyper('lr', value)
    assert [h['lr'] for h in theirs.hypers] == pytest.approx(wanted)


def test_pairs_for_each_group():
    opt = three()
    opt.set_hyper('betas', (.5, .6)); assert {g['betas'] for g in opt.param_groups} == {(.5, .6)}
    opt.set_hyper('betas', [(.1, .2), (.3, .4), (.5, .6)])
    assert [g['mom'] for g in opt.param_groups] == [.1, .3, .5]
    opt.set_hyper('eps', (1e-3, 1e-4, 1e-5))
    assert [g['eps'] for g in opt.param_groups] == [1e-3, 1e-4, 1e-5]
    opt.set_hyper('lr', torch.tensor([.5, .25, .125]))
    assert [h['lr'] for h in opt.hypers] == [.5, .25, .125]
    del opt.param_groups[0]; opt.set_hyper('lr', [.3, .4])
    assert [g['lr'] for g in opt.param_groups] == [.3, .4]


def test_a_group_of_its_own_rate_keeps_it_under_any_spelling():
    groups = [dict(params=[param()], weight_decay=.5),
              dict(params=[param()])]
    assert [g['wd'] for g in genopt.AdamW(groups, wd=[.1, .2]).param_groups] == [.5, .2]
    with pytest.raises(TypeError, match='`lr` is a set, which has no order'):
        genopt.AdamW(groups, lr={.1, .2})


def test_a_group_of_its_own_rate_keeps_it():
    a, b = (param() for _ in 'ab')
    opt = genopt.Adam([dict(params=[a]), dict(params=[b], lr=.5)], lr=[.1, .2], betas=(.5, .6))
    assert [g['lr'] for g in opt.param_groups] == [.1, .5]
    assert opt.param_groups[1]['betas'] == (.5, .6)
    opt.add_param_group(dict(params=[param()]))
    assert opt.param_groups[2]['lr'] == .2


def test_set_hypers_and_hypers():
    opt = three(genopt.SGD, lr=.1, mom=.9)
    opt.set_hypers(lr=slice(1e-3, 1e-1), momentum=.5, wd=[.1, .2, .3])
    assert dict(opt.hypers[0]) == pytest.approx(dict(lr=1e-3, mom=.5, wd=.1))
    assert opt.hypers.itemgot('wd') == [.1, .2, .3] and len(opt.hypers) == 3
    opt.hypers[-1]['lr'] = .7; opt.hypers[0].update(weight_decay=0.)
    assert opt.param_groups[2]['lr'] == .7 and opt.param_groups[0]['wd'] == 0
    assert opt.hypers[0]['weight_decay'] == 0
    assert 'params' not in opt.hypers[0] and 'lr' in opt.hypers[0] and 'momentum' in opt.hypers[0]
    assert repr(opt.hypers[1]) == "{'lr': 0.01, 'mom': 0.5, 'wd': 0.2}"
    assert bool(opt)


@pytest.mark.parametrize('write, error, sentence', [
    (lambda o: o.set_hyper('momm', .9), KeyError,
     'no part of this optimizer takes `momm`: did you mean `mom`?'),
    (lambda o: o.set_hyper('params', []), KeyError,
     'no part of this optimizer takes `params`: there are'),
    (lambda o: o.set_hypers(nu=.9, lr=.1), KeyError, 'no part of this optimizer takes `nu`'),
    (lambda o: o.hypers[0].update(momm=.9), KeyError,
     'no part of this optimizer takes `momm`: did you mean'),
    (lambda o: o.hypers[0]['params'], KeyError, 'no part of this optimizer takes `params`'),
    (lambda o: o.set_hyper('lr', [.1, .2]), ValueError,
     '`lr` has 2 values, and there are 3 groups: give one for each'),
    (lambda o: o.set_hyper('lr', np.ones(4)), ValueError,
     '`lr` has 4 values, and there are 3 groups'),
    (lambda o: o.set_hyper('lr', slice(1e-5, 1e-4, 1e-3)), ValueError,
     '`lr` = slice(1e-05, 0.0001, 0.001): give slice(first, last), or a list with one '
     'number for each of the 3 groups'),
    (lambda o: o.set_hyper('lr', slice(None)), ValueError,
     '`lr` = slice(None, None, None): give slice(first, last)'),
    (lambda o: o.set_hyper('lr', slice(.1, 0)), ValueError,
     '= slice(0.1, 0, None): equal ratios do not lead to 0'),
    (lambda o: o.set_hyper('lr', slice('a', .1)), TypeError,
     "`lr` = 'a': give a number, not a str"),
    (lambda o: o.set_hyper('lr', [.1, .2, -.3]), ValueError, '`lr` = -0.3 is out of range'),
    (lambda o: o.set_hyper('lr', {.1, .2, .3}), TypeError,
     '`lr` is a set, which has no order: give a list'),
    (lambda o: o.set_hyper('lr', torch.ones(2)), ValueError,
     '`lr` has 2 values, and there are 3 groups'),
    (lambda o: o.param_groups[0].update(lr=np.ones(2)),
     TypeError, '`lr` = array([1., 1.]): give a number'),
    (lambda o: o.param_groups[0].update(lr=torch.ones(2)),
     ValueError, '`lr` is a tensor of shape (2,): give a number'),
    (lambda o: o.set_hyper('betas', slice(.1, .2)), ValueError,
     'for each of the 3 groups, of one hyperparameter'),
    (lambda o: o.set_hyper(3, 4), KeyError, 'no part of this optimizer takes `3`'),
    (lambda o: o.set_hyper('mom', 1.), ValueError, '`mom` = 1 is out of range'),
    (lambda o: setattr(o, 'param_lists', [[]]), ValueError, '1 lists of parameters for 3 groups')])
def test_what_is_refused_changes_nothing(write, error, sentence):
    opt = three(); before = [dict(g) for g in opt.param_groups]
    with pytest.raises(error) as e: write(opt)
    assert sentence in e.value.args[0]
    assert [g['lr'] for g in opt.param_groups] == [g['lr'] for g in before]


@pytest.mark.parametrize('recipe', [genopt.SGD, genopt.RMSprop, genopt.Adagrad],
                         ids=lambda r: r.__name__)
def test_an_optimizer_without_momentum_gets_none(recipe):
    opt = three(recipe, lr=.1)
    with pytest.warns(UserWarning,
                      match='`mom` has no effect: this optimizer has no momentum') as told:
        for _ in range(2): opt.set_hyper('mom', .95)
    assert len(told) == 1 and told[0].filename == __file__
    assert opt.hypers[-1]['mom'] == 0 and 'momentum_buffer' not in opt.param_groups[0]['parts']
    p, q = (param() for _ in 'pq')
    if recipe is genopt.Adagrad: return
    twin = fastai.optimizer.SGD if recipe is genopt.SGD else fastai.optimizer.RMSProp
    ours, theirs = recipe([p], lr=.1), twin([q], lr=.1)
    for o, w in ((ours, p), (theirs, q)):
        with warnings.catch_warnings(action='ignore'): o.set_hyper('mom', .95)
        for _ in range(3): w.grad = torch.ones_like(w); o.step()
    assert torch.allclose(p, q)


def test_param_lists_can_be_replaced():
    opt = three(); masters = [[param(value=0.)] for _ in range(3)]
    old = opt.param_lists
    opt.param_lists = masters
    for [p] in masters: p.grad = torch.ones_like(p)
    opt.step()
    assert all((p < 0).all() for [p] in masters)
    assert all(torch.equal(p, param()) for [p] in old)
    opt.param_lists = old
    assert opt.param_groups[0]['params'][0] is old[0][0]
    assert not any(opt.state_dict()['state'].values())  # the masters' is gone
