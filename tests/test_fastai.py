"""Promise: a fastai Learner trains with any recipe as its `opt_func` as with its own.
"""
from functools import partial

import genopt
import numpy as np
import pytest
import torch
from genopt import Optimizer
from helpers import RECIPES, assert_agree, engines, keeps_to_matrices, name_of
from learners import (LIKE_FASTAI, OURS, THEIRS, GradientAccumulation, GradientClip, MixedPrecision,
                      ParamScheduler, ReduceLROnPlateau, close, fastai, learner, quiet, train,
                      weights)

pytestmark = quiet


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
    ids=['Adam', 'Adam, L2', 'AdamW', 'SGD', 'SGD, L2', 'SGD, decoupled', 'Momentum',
         'RMSProp', 'RMSProp, L2', 'RMSProp, decoupled'])
@engines
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


def frozen(learn): return [not p.requires_grad for p in learn.model.parameters()]


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
    assert frozen(ours) == frozen(theirs)
    for name, values in getattr(theirs.recorder, 'hps', {}).items():
        assert ours.recorder.hps[name] == pytest.approx(values)


def test_a_learning_rate_that_falls_on_a_plateau_has_an_effect():
    learn = train(OURS, plateaus)
    assert {round(h['lr'], 9) for h in learn.opt.hypers} == {1e-2 / 16}


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('recipe', [r for r in RECIPES if not keeps_to_matrices(r)], ids=name_of)
@pytest.mark.filterwarnings('ignore:`mom` has no effect:UserWarning')
def test_every_recipe_in_a_learner(recipe):
    def fit(learn):
        learn.fit_one_cycle(1, slice(1e-4, 1e-3)); learn.fine_tune(1); learn.fit_flat_cos(1)
    learn, before = train(recipe, fit), weights(learner(genopt.Adam))
    assert isinstance(learn.opt, Optimizer) and learn.opt.recipe is recipe
    assert all(w.isfinite().all() for w in weights(learn))
    assert not close(weights(learn), before, 1e-7)


def test_groups_of_a_route_are_a_splitter_of_their_own():
    def opt_func(params, lr): return Optimizer(genopt.route(learn.model, rules), lr=lr)
    rules = {'hidden matrices': dict(parts=genopt.Muon), 'rest': dict(parts=genopt.AdamW)}
    learn = learner(opt_func)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    steps = [g['parts'][-2:] for g in learn.opt.param_groups]
    assert steps == [['sgd_step', 'weight_decay'], ['adam_step', 'weight_decay']]


def test_compiled_in_a_learner():
    a, b = (train(partial(OURS, compile=c), fine_tuning) for c in (False, True))
    assert close(weights(a), weights(b))


def test_modified_recipes_and_schedulers_of_fastai():
    plus = genopt.AdamW + genopt.cautious + genopt.average_param
    def fit(learn):
        curves = {'wd': lambda pct: .1 * (1 - pct), 'ema': lambda pct: .9}
        learn.fit(1, 1e-2, cbs=ParamScheduler(curves))
    learn = train(plus, fit)
    assert learn.recorder.hps['wd'][0] == pytest.approx(.1) and learn.opt.hypers[-1]['ema'] == .9
    with learn.opt.swapped(): learn.validate()


@pytest.mark.parametrize('recipe', [genopt.ScheduleFreeAdamW, genopt.AdamW + genopt.average_param],
                         ids=lambda r: r.__name__)
def test_a_learner_validates_the_average(recipe, tmp_path):
    from genopt.interop.learner import EvaluateAverage
    def fit(learn, cbs=()): learn.fit(2, 1e-2, cbs=cbs)
    plain = train(recipe, fit)
    learn = train(recipe, lambda learn: fit(learn, EvaluateAverage()))
    assert close(weights(plain), weights(learn), 0.)  # it changes no bit of the run
    with learn.no_bar():
        trained = learn.validate()[0]
        with learn.opt.swapped(): average = learn.validate()[0]
    assert learn.recorder.values[-1][-2] == average != trained
    with pytest.raises(AttributeError, match='there are no other weights to evaluate'):
        train(genopt.Adam, lambda learn: fit(learn, EvaluateAverage()))


def test_an_interrupted_validation_leaves_the_average_until_the_next_fit():
    from fastai.callback.core import Callback
    from genopt.interop.learner import EvaluateAverage
    class Stop(Callback):
        def before_batch(self):
            if not self.training: raise KeyboardInterrupt
    learn = learner(genopt.ScheduleFreeSGD)
    learn.add_cb(EvaluateAverage())
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(KeyboardInterrupt): learn.fit(1, 1e-2, cbs=Stop())
        learn.fit(1, 1e-2)


def test_mixed_precision_as_far_as_a_cpu_goes():
    with pytest.MonkeyPatch.context() as m:
        m.setattr('fastai.callback.fp16.autocast',
                  lambda device, **kw: torch.autocast('cpu', dtype=torch.bfloat16))
        m.setattr('fastai.callback.fp16.GradScaler',
                  lambda device, **kw: torch.GradScaler('cpu', init_scale=2.**10))
        def fit(learn): learn.fit_one_cycle(2, 1e-2, cbs=MixedPrecision(amp_mode='bf16'))
        ours, theirs = (train(opt, fit, wd_bn_bias=True) for opt in (OURS, THEIRS))
    assert close(weights(ours), weights(theirs), 1e-6)
