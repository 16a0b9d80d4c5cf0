"""Promise: a fastai Learner takes any recipe as its `opt_func`, and everything that it does with
its own goes on."""
import copy
import pickle
import warnings
from functools import partial

import fastcore.all as fc
import genopt
import numpy as np
import pytest
import torch
from genopt import Optimizer, sgd_step
from helpers import assert_agree, random
from learners import (CrossEntropyLossFlat, GradientAccumulation,
                      GradientClip, Learner, ParamScheduler,  # noqa: F401
                      ReduceLROnPlateau, fastai, learner, split, train, weights)
from torch import nn

# fastai's functions under names that are not shared with genopt's
LIKE_FASTAI = dict(sqr_mom=.99, eps=1e-5, wd=.01)  # its defaults for Adam
OURS = partial(genopt.Adam, decouple_wd=True, **LIKE_FASTAI)
THEIRS = fastai.optimizer.Adam

pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),  # fastai's own
              pytest.mark.filterwarnings('ignore:CUDA is not available.*:UserWarning')]


def close(a, b, tol=1e-9):
    return all(torch.allclose(x, y, rtol=tol, atol=tol) for x, y in zip(a, b, strict=True))


# -- step by step ----------------------------------------------------------------------------------

@pytest.mark.parametrize('ours, theirs', [
    (OURS, THEIRS),
    (partial(genopt.Adam, mom=.8, sqr_mom=.95, eps=1e-3, wd=.1),
     partial(THEIRS, mom=.8, sqr_mom=.95, eps=1e-3, wd=.1, decouple_wd=False)),
    (partial(genopt.AdamW, **LIKE_FASTAI), THEIRS),
    (genopt.SGD, fastai.optimizer.SGD),
    (partial(genopt.SGD, wd=.1), partial(fastai.optimizer.SGD, wd=.1, decouple_wd=False)),
    (partial(genopt.SGD, wd=.1), partial(fastai.optimizer.SGD, wd=.1)),
    (partial(genopt.SGD, mom=.9), partial(fastai.optimizer.SGD, mom=.9)),
    (partial(genopt.RMSprop, sqr_mom=.9), partial(fastai.optimizer.RMSProp, sqr_mom=.9)),
    (partial(genopt.RMSprop, wd=.1), partial(fastai.optimizer.RMSProp, wd=.1, decouple_wd=False)),
    (partial(genopt.RMSprop + genopt.weight_decay, wd=.1),
     partial(fastai.optimizer.RMSProp, wd=.1))],
    ids=['Adam', 'Adam, L2', 'AdamW', 'SGD', 'SGD, L2',
         'SGD, decoupled', 'Momentum', 'RMSProp', 'RMSProp, L2',
         'RMSProp, decoupled'])
@pytest.mark.parametrize('compile', [False, True], ids=['eager', 'compiled'])
def test_agrees_with_fastais_own(ours, theirs, compile):
    def groups(params): return [list(params.values())[::2], list(params.values())[1::2]]
    def twin(params):
        opt = theirs(params, lr=.01)
        real, opt.step = opt.step, lambda: with_own_gradients(opt, real)
        return opt
    def with_own_gradients(opt, step):  # fastai's L2 writes into the gradients
        for p, *_ in opt.all_params(with_grad=True): p.grad = p.grad.clone()
        step()
    assert_agree(lambda ps: ours(ps, lr=.01, compile=compile), twin, groups=groups)


def one_cycle(learn): learn.fit_one_cycle(2, slice(1e-4, 1e-2))
def flat_cosine(learn): learn.fit_flat_cos(2, slice(1e-2), wd=.1)
def restarts(learn): learn.fit_sgdr(2, 1, lr_max=1e-2)
def fine_tuning(learn): learn.fine_tune(1, 1e-2, freeze_epochs=1)
def arrays(learn):
    learn.fit(1, np.array([1e-4, 1e-3, 1e-2])); learn.fit(1, [1e-3, 1e-2, 1e-3], wd=.05)
def clipped(learn): learn.fit(2, 1e-2, cbs=[GradientClip(.1), GradientAccumulation(100)])
def plateaus(learn):
    learn.fit(3, 1e-2, cbs=ReduceLROnPlateau('accuracy', patience=1, min_delta=1., factor=4))
def half_frozen(learn):
    learn.freeze_to(1); learn.fit(1, 1e-2); learn.freeze_to(-2); learn.fit(1); learn.unfreeze()


@pytest.mark.parametrize('kwargs', [dict(wd_bn_bias=True), dict(), dict(train_bn=False, wd=.1)],
                         ids=['all decay', 'no decay of norms and biases', 'frozen norms'])
@pytest.mark.parametrize('fit', [one_cycle, flat_cosine, restarts, fine_tuning,
                                 arrays, clipped, plateaus, half_frozen], ids=lambda f: f.__name__)
def test_a_learner_trains_the_same_model(fit, kwargs):
    ours, theirs = (train(opt, fit, **kwargs) for opt in (OURS, THEIRS))
    assert close(weights(ours), weights(theirs))
    assert not close(weights(ours), weights(learner(OURS)))
    assert ours.recorder.values == theirs.recorder.values
    assert [p.requires_grad for p in ours.model.parameters()] == [
        p.requires_grad for p in theirs.model.parameters()]
    for name, values in getattr(theirs.recorder, 'hps', {}).items():
        assert ours.recorder.hps[name] == pytest.approx(values)


def test_a_learning_rate_that_falls_on_a_plateau_has_an_effect():
    learn = train(OURS, plateaus)
    assert {round(h['lr'], 9) for h in learn.opt.hypers} == {1e-2 / 16}


NOT_FOR_A_LEARNER = {'Muon'}  # takes matrices only: see below


@pytest.mark.parametrize('name', [n for n in genopt.zoo.__all__ if n not in NOT_FOR_A_LEARNER])
@pytest.mark.filterwarnings('ignore:`mom` has no effect:UserWarning')
def test_every_recipe_in_a_learner(name):
    def fit(learn):
        learn.fit_one_cycle(1, slice(1e-4, 1e-3)); learn.fine_tune(1); learn.fit_flat_cos(1)
    learn, before = train(genopt.recipe(name), fit), weights(learner(genopt.Adam))
    assert isinstance(learn.opt, Optimizer) and learn.opt.recipe is genopt.recipe(name)
    assert all(w.isfinite().all() for w in weights(learn))
    assert not close(weights(learn), before, 1e-7)


def test_groups_of_a_route_are_a_splitter_of_their_own():
    def opt_func(params, lr): return Optimizer(genopt.route(learn.model, rules), lr=lr)
    rules = {'hidden matrices': dict(parts=genopt.Muon), 'rest': dict(parts=genopt.AdamW)}
    learn = learner(opt_func)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    assert [g['parts'][-2:] for g in learn.opt.param_groups] == [['sgd_step', 'weight_decay'],
                                                                 ['adam_step', 'weight_decay']]


def test_compiled_in_a_learner():
    a, b = (train(partial(OURS, compile=c), fine_tuning) for c in (False, True))
    assert close(weights(a), weights(b))


def test_modified_recipes_and_schedulers_of_fastai():
    plus = genopt.AdamW + genopt.cautious + genopt.average_param
    def fit(learn):
        learn.fit(1, 1e-2,
                  cbs=ParamScheduler({'wd': lambda pct: .1 * (1 - pct), 'ema': lambda pct: .9}))
    learn = train(plus, fit)
    assert learn.recorder.hps['wd'][0] == pytest.approx(.1) and learn.opt.hypers[-1]['ema'] == .9
    with learn.opt.swapped(): learn.validate()


def test_mixed_precision_as_far_as_a_cpu_goes():
    from learners import MixedPrecision
    with pytest.MonkeyPatch.context() as m:
        m.setattr('fastai.callback.fp16.autocast',
                  lambda device, **kw: torch.autocast('cpu', dtype=torch.bfloat16))
        m.setattr('fastai.callback.fp16.GradScaler',
                  lambda device, **kw: torch.GradScaler('cpu', init_scale=2.**10))
        learn = train(genopt.Adam,
                      lambda l: l.fit_one_cycle(2, 1e-2, cbs=MixedPrecision(amp_mode='bf16')))
    assert learn.recorder.values[-1][1] < learn.recorder.values[0][1]


# -- freezing, and decay switched off --------------------------------------------------------------

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
    a, b = (nn.Parameter(torch.ones(2)) for _ in 'ab')
    opt = genopt.AdamW([[a], [b]], wd=.1)
    for p in (a, b): p.grad = torch.ones(2)
    opt.freeze_to(1); opt.step()
    assert torch.equal(a, torch.ones(2)) and (b < 1).all()


def test_freezing():
    ps = [[nn.Parameter(torch.ones(2))] for _ in range(4)]
    opt = genopt.Adam(ps)
    opt.state[ps[0][0]]['force_train'] = True
    assert opt.frozen_idx == 0
    for n, frozen_idx, trains in ((2, 2, [1, 0, 1, 1]),
                                  (-1, 3, [1, 0, 0, 1]), (0, 0, [1, 1, 1, 1])):
        opt.freeze_to(n)
        assert opt.frozen_idx == frozen_idx
        assert [p.requires_grad for [p] in ps] == [bool(t) for t in trains]
    opt.freeze(); assert opt.frozen_idx == 3 and pickle.loads(pickle.dumps(opt)).frozen_idx == 3
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


@pytest.mark.parametrize('compile', [False, True], ids=['eager', 'compiled'])
@pytest.mark.parametrize('name', [n for n in genopt.zoo.__all__
                                  if 'wd' in genopt.recipe(n).__signature__.parameters])
def test_do_wd_switches_decay_off(name, compile):
    shape = (3, 4)
    make = lambda: [nn.Parameter(random(i, shape, torch.float64)) for i in range(2)]
    (a, b), (c, d) = make(), make()
    opt = genopt.recipe(name)([a, b], lr=.1, wd=.1, compile=compile)
    opt.state[b]['do_wd'] = False
    twin = genopt.recipe(name)([dict(params=[c]), dict(params=[d], wd=0.)],
                               lr=.1, wd=.1, compile=compile)
    for i in range(5):
        for ps in ((a, b), (c, d)):
            for j, p in enumerate(ps): p.grad = random(10 * i + j, shape, torch.float64)
        opt.step(); twin.step()
        assert torch.equal(a, c) and torch.equal(b, d)
    assert opt.state[b].pop('do_wd') is False
    opt.state[b].pop('force_train', None)
    assert opt.state[b].keys() == twin.state[d].keys()


def test_a_renamed_decay_is_switched_off_too():
    a, b = (nn.Parameter(torch.ones(2)) for _ in 'ab')
    opt = Optimizer([a, b], [sgd_step, genopt.weight_decay.rename(wd='my_wd')], lr=.1, my_wd=.5)
    opt.state[a]['do_wd'] = False
    for p in (a, b): p.grad = torch.zeros(2)
    opt.step()
    assert torch.equal(a, torch.ones(2)) and torch.equal(b, torch.full((2,), .95))


def test_marks_alone_are_no_state():
    "A state of two marks has as many entries as one of two stats."
    ps = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    for recipe in (genopt.Momentum, genopt.RMSprop, genopt.LaProp):
        opt = recipe(ps, lr=.1)
        for p, marks in zip(ps, (dict(do_wd=False), dict(do_wd=True, force_train=True), {})):
            opt.state[p].update(marks)
        assert not any(opt.state_dict()['state'][i].keys() - {'do_wd', 'force_train'}
                       for i in (0, 1))
        for n in range(3):
            for i, p in enumerate(ps): p.grad = torch.ones(2) if i <= n else None
            opt.step()
        stats = opt.param_groups[0].composition.stats
        assert all({*opt.state[p]} - {'do_wd', 'force_train'} == {*stats} for p in ps)


def test_clear_state_keeps_the_marks():
    a, b = (nn.Parameter(torch.ones(2)) for _ in 'ab')
    opt = genopt.Momentum([a, b], lr=.1)
    opt.state[a].update(do_wd=False, force_train=True)
    for _ in range(2):
        for p in (a, b): p.grad = torch.ones(2)
        opt.step(); opt.clear_state()
        assert dict(opt.state) == {a: dict(do_wd=False, force_train=True)}
    plus = (genopt.SGD + genopt.average_param)([a], lr=.1)
    plus.step(); plus.swap()
    with pytest.raises(RuntimeError,
                       match=r'swapped with their averages: call swap\(\) before clear_state\(\)'):
        plus.clear_state()


# -- hyperparameters -------------------------------------------------------------------------------

def three(recipe=genopt.Adam, **kwargs):
    return recipe([[nn.Parameter(torch.ones(2))] for _ in range(3)], **kwargs)


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
    theirs = fastai.optimizer.Adam([[nn.Parameter(torch.ones(2))] for _ in range(3)], lr=.1)
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
    groups = [dict(params=[nn.Parameter(torch.ones(2))], weight_decay=.5),
              dict(params=[nn.Parameter(torch.ones(2))])]
    assert [g['wd'] for g in genopt.AdamW(groups, wd=[.1, .2]).param_groups] == [.5, .2]
    with pytest.raises(TypeError, match='`lr` is a set, which has no order'):
        genopt.AdamW(groups, lr={.1, .2})


def test_a_group_of_its_own_rate_keeps_it():
    a, b = (nn.Parameter(torch.ones(2)) for _ in 'ab')
    opt = genopt.Adam([dict(params=[a]), dict(params=[b], lr=.5)], lr=[.1, .2], betas=(.5, .6))
    assert [g['lr'] for g in opt.param_groups] == [.1, .5]
    assert opt.param_groups[1]['betas'] == (.5, .6)
    opt.add_param_group(dict(params=[nn.Parameter(torch.ones(1))]))
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
     '`momm`: no part of this optimizer takes it: did you mean `mom`?'),
    (lambda o: o.set_hyper('params', []), KeyError,
     '`params`: no part of this optimizer takes it: there are'),
    (lambda o: o.set_hypers(nu=.9, lr=.1), KeyError, '`nu`: no part of this optimizer takes it'),
    (lambda o: o.hypers[0].update(momm=.9), KeyError,
     '`momm`: no part of this optimizer takes it: did you mean'),
    (lambda o: o.hypers[0]['params'], KeyError, '`params`: no part of this optimizer takes it'),
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
    (lambda o: o.set_hyper(3, 4), KeyError, '`3`: no part of this optimizer takes it'),
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
    p, q = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in 'pq')
    if recipe is genopt.Adagrad: return
    twin = fastai.optimizer.SGD if recipe is genopt.SGD else fastai.optimizer.RMSProp
    ours, theirs = recipe([p], lr=.1), twin([q], lr=.1)
    for o, w in ((ours, p), (theirs, q)):
        with warnings.catch_warnings(action='ignore'): o.set_hyper('mom', .95)
        for _ in range(3): w.grad = torch.ones_like(w); o.step()
    assert torch.allclose(p, q)


def test_param_lists_can_be_replaced():
    opt = three(); masters = [[nn.Parameter(torch.zeros(2))] for _ in range(3)]
    old = opt.param_lists
    opt.param_lists = masters
    for [p] in masters: p.grad = torch.ones(2)
    opt.step()
    assert all((p < 0).all() for [p] in masters)
    assert all(torch.equal(p, torch.ones(2)) for [p] in old)
    opt.param_lists = old
    assert opt.param_groups[0]['params'][0] is old[0][0]
    assert not any(opt.state_dict()['state'].values())  # the masters' is gone


# -- save, load, and what is wrong -----------------------------------------------------------------

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


def test_marks_of_a_new_learner_survive_a_file_without_them():
    a, b = (nn.Parameter(torch.ones(2)) for _ in 'ab')
    old, new = genopt.Adam([a], lr=.1), genopt.Adam([b], lr=.1)
    a.grad = torch.ones(2); old.step(); new.state[b]['do_wd'] = False
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
    with pytest.raises(ValueError, match='group 0 is an empty list: has the splitter, '
                                         'or whatever made it, found no'):
        learn.create_opt()


def test_a_splitter_with_a_parameter_twice():
    learn = learner(genopt.Adam, splitter=lambda m: [list(m[0].parameters()), list(m.parameters())])
    with pytest.raises(ValueError, match='parameter 0 of group 1 .* is given twice'):
        learn.create_opt()


def test_a_typo_in_a_schedule_or_a_partial():
    with pytest.raises(KeyError,
                       match='`momm`: no part of this optimizer takes it: did you mean `mom`?'):
        train(genopt.Adam, lambda l: l.fit(1, cbs=ParamScheduler({'momm': lambda pct: .9})))
    with pytest.raises(TypeError, match='`momm`: no part takes it: did you mean `mom`?'):
        learner(partial(genopt.Adam, momm=.9)).create_opt()
    with pytest.raises(KeyError, match='`wd`: no part of this optimizer takes it: .* `lr`'):
        train(genopt.Rprop, lambda l: l.fit(1, wd=.1))


def test_fastais_own_wrapper_works_too():
    def fit(learn): learn.fit_one_cycle(1, slice(1e-4, 1e-2))
    wrapped = partial(fastai.optimizer.OptimWrapper, opt=OURS)
    assert close(weights(train(wrapped, fit, wd_bn_bias=True, train_bn=False)),
                 weights(train(OURS, fit, wd_bn_bias=True, train_bn=False)))
