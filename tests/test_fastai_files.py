"""Promise: a fastai Learner saves, loads and shows a recipe as its own optimizers, and what is
wrong is said at once.
"""
from functools import partial

import genopt
import numpy as np
import pytest
import torch
from helpers import param
from learners import (OURS, ParamScheduler, close, fastai, learner, quiet, train, weights)

pytestmark = quiet


@pytest.mark.parametrize('kwargs', [dict(), dict(train_bn=False, wd_bn_bias=True)],
                         ids=['marks', 'no marks'])
def test_save_and_load(tmp_path, kwargs):
    def half(learn): learn.fit(1, 1e-2, wd=.1); learn.save('half')
    first = train(OURS, half, path=tmp_path, **kwargs)
    again = learner(OURS, path=tmp_path, **kwargs); again.load('half')
    # and no numpy in it: fastai allows some
    saved = torch.load(tmp_path/'models/half.pth', weights_only=True)
    assert not any(isinstance(v, np.generic) for g in saved['opt']['param_groups']
                   for v in g.values())
    assert again.opt.state_dict()['param_groups'] == first.opt.state_dict()['param_groups']
    a, b = (o.opt.state[next(o.model.parameters())] for o in (first, again))
    assert a.keys() == b.keys() and a['grad_avg'] is not b['grad_avg']
    assert torch.equal(a['grad_avg'], b['grad_avg'])
    marks = [[{k: o.opt.state[p].get(k) for k in ('do_wd', 'force_train')}
              for p in o.model.parameters()] for o in (first, again)]
    assert marks[0] == marks[1]
    assert (dict(do_wd=False, force_train=True) in marks[0]) != ('train_bn' in kwargs)
    for learn in (first, again):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    assert all(map(torch.equal, weights(first), weights(again)))


@pytest.mark.parametrize('state', ['8bit', 'bf16', dict(sqr_avg='8bit')], ids=str)
def test_state_in_a_format_goes_on_bit_for_bit(tmp_path, state):
    make = partial(genopt.AdamW, state=state)
    def half(learn): learn.fit_one_cycle(1, 1e-2); learn.save('half')
    first = train(make, half, path=tmp_path, width=100)
    again = learner(make, path=tmp_path, width=100)
    again.load('half')
    for learn in (first, again):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
        kinds = {v.dtype for v in learn.opt.state[next(learn.model.parameters())].values()
                 if isinstance(v, torch.Tensor)}
        assert kinds & {torch.uint8, torch.bfloat16}
    assert all(map(torch.equal, weights(first), weights(again)))


def test_marks_of_a_new_learner_survive_a_file_without_them():
    a, b = (param() for _ in 'ab')
    old, new = genopt.Adam([a], lr=.1), genopt.Adam([b], lr=.1)
    a.grad = torch.ones_like(a); old.step(); new.state[b]['do_wd'] = False
    new.load_state_dict(old.state_dict())
    assert new.state[b]['do_wd'] is False and new.state[b]['count'] == 1
    old.load_state_dict(new.state_dict()); assert old.state[a]['do_wd'] is False
    damaged = new.state_dict(); damaged['state'][0] = {**damaged['state'][0], 'do_wd': 'no'}
    with pytest.raises(ValueError,
                       match="`do_wd` of parameter 0 .* is 'no', and not True or False"):
        new.load_state_dict(damaged)
    new.state[b]['do_wd'] = 0; old.load_state_dict(new.state_dict())
    assert old.state[a]['do_wd'] is False
    decaying = genopt.AdamW([a]); decaying.state[a]['do_wd'] = False
    with pytest.raises(ValueError, match='parameter 0 .* is marked do_wd=False, which '
                                         'torch.optim.AdamW does not know'):
        genopt.to_torch(decaying)
    twin = torch.optim.Adam([a]); twin.load_state_dict(genopt.to_torch(old))
    assert 'do_wd' not in twin.state_dict()['state'][0]


def test_lr_find_leaves_the_model_as_it_was(tmp_path):
    learn = learner(OURS, path=tmp_path); before = weights(learn)
    with learn.no_bar(), learn.no_logging(): found = learn.lr_find(num_it=20, show_plot=False)
    assert all(map(torch.equal, before, weights(learn))) and 1e-7 < found.valley < 10
    assert not list(tmp_path.rglob('_tmp*'))


def test_summary():
    learn = train(genopt.AdamW, lambda l: l.freeze())
    text = learn.summary()
    assert 'Optimizer used: AdamW(params, lr=0.001' in text
    assert 'frozen up to parameter group #2' in text


def test_a_splitter_with_an_empty_group():
    learn = learner(genopt.Adam, splitter=lambda m: [[], list(m.parameters())])
    with pytest.raises(ValueError, match='group 0 is an empty list: leave it out, '
                                         'or correct the splitter'):
        learn.create_opt()


def test_a_splitter_with_a_parameter_twice():
    learn = learner(genopt.Adam, splitter=lambda m: [list(m[0].parameters()), list(m.parameters())])
    with pytest.raises(ValueError, match='parameter 0 of group 1 .* is given twice'):
        learn.create_opt()


def test_a_typo_in_a_schedule_or_a_partial():
    with pytest.raises(KeyError,
                       match='no part of this optimizer takes `momm`: did you mean `mom`?'):
        train(genopt.Adam, lambda l: l.fit(1, cbs=ParamScheduler({'momm': lambda pct: .9})))
    with pytest.raises(TypeError, match='no part takes `momm`: did you mean `mom`?'):
        learner(partial(genopt.Adam, momm=.9)).create_opt()
    with pytest.raises(KeyError, match='no part of this optimizer takes `wd`: .* `lr`'):
        train(genopt.Rprop, lambda l: l.fit(1, wd=.1))


def test_fastais_own_wrapper_works_too():
    def fit(learn): learn.fit_one_cycle(1, slice(1e-4, 1e-2))
    wrapped = partial(fastai.optimizer.OptimWrapper, opt=OURS)
    assert close(weights(train(wrapped, fit, wd_bn_bias=True, train_bn=False)),
                 weights(train(OURS, fit, wd_bn_bias=True, train_bn=False)))
