"""Promise: parts are tried in the states that a run may bring, and a trial leaves no trace.

What a trial finds is in test_trial.py.
"""
import random
import threading
from functools import partial

import genopt
import pytest
import torch
from genopt import (Optimizer, PartError, average_grad, catalogue, scalar, sgd_step, stat, step,
                    step_count, total, transform)
from genopt.catalogue import every_part
from genopt.parts import add_noise
from genopt.rehearsal import stays_still
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def P(*shape, **kwargs): return nn.Parameter(torch.ones(shape or (2, 3), **kwargs))


# -- a learning rate of 0 --------------------------------------------------------------------------

def test_what_fails_at_a_learning_rate_of_0_is_found():
    @scalar
    def inverse(*, lr): return 1 / lr
    @step
    def steady(grad, inverse=inverse, *, lr): return -lr * inverse * grad
    sentence = (r'^`inverse.*` failed: ZeroDivisionError: .* '
                r'\(with `{}` = 0, where a warm-up begins\)$')
    with pytest.raises(PartError, match=sentence.format('lr')): Optimizer([P()], [steady], lr=.1)
    with pytest.raises(PartError, match=sentence.format('rate')):
        Optimizer([P()], [steady.rename(lr='rate')], rate=.1)


def test_a_number_that_is_not_finite_at_a_learning_rate_of_0_is_left_alone():
    @step
    def nan_at_0(grad, *, lr): return grad * 0 / torch.tensor(lr)
    Optimizer([P()], [nan_at_0], lr=.1)


def test_what_fails_at_the_zero_that_was_given_is_found():
    @step
    def over_mom(grad, *, lr, mom=.9): return -lr / mom * grad
    Optimizer([P()], [over_mom], lr=.1)
    with pytest.raises(PartError,
                       match='^`over_mom` failed: ZeroDivisionError: float division by zero$'):
        Optimizer([P()], [over_mom], lr=.1, mom=0.)


# -- randomness ------------------------------------------------------------------------------------

DRAWS = {
    'rand_like': torch.rand_like, 'randn_like': torch.randn_like,
    'randint_like': lambda g: torch.randint_like(g, 5),
    'randint_like from 2': lambda g: torch.randint_like(g, 2, 5),
    'rand': lambda g: torch.rand(g.shape),
    'randn': lambda g: torch.randn(g.shape), 'randint': lambda g: 1. * torch.randint(5, g.shape),
    'randint from 2': lambda g: 1. * torch.randint(2, 5, g.shape),
    'out': lambda g: torch.randn(g.shape, out=0 * g),
    'randperm': lambda g: 1. * torch.randperm(g.numel()).view(g.shape),
    'bernoulli': lambda g: torch.bernoulli(torch.full_like(g, .5)),
    'bernoulli_': lambda g: torch.zeros_like(g).bernoulli_(.5),
    'normal': lambda g: torch.normal(g.clamp(-1, 1), 1.),
    'normal of a shape': lambda g: torch.normal(0., 1., g.shape),
    'normal_': lambda g: torch.zeros_like(g).normal_(),
    'uniform_': lambda g: torch.zeros_like(g).uniform_(),
    'exponential_': lambda g: torch.zeros_like(g).exponential_(),
    'cauchy_': lambda g: torch.zeros_like(g).cauchy_(),
    'geometric_': lambda g: torch.zeros_like(g).geometric_(.5),
    'log_normal_': lambda g: torch.zeros_like(g).log_normal_(),
    'random_': lambda g: torch.zeros_like(g).random_(5),
    'dropout': F.dropout, 'rrelu': lambda g: F.rrelu(g, training=True),
    'poisson': lambda g: torch.poisson(torch.full_like(g, 3.)),
    'multinomial': lambda g: g + torch.multinomial(torch.ones(4), 1),
    'a distribution': lambda g: g + torch.distributions.Normal(0., 1.).sample(),
    'the global one': lambda g: torch.randn(g.shape, generator=torch.default_generator)}

@pytest.mark.parametrize('draw', DRAWS.values(), ids=DRAWS)
def test_nothing_is_drawn_from_the_global_generator(draw):
    seen, before = [], torch.get_rng_state()
    @transform(whole=True)
    def noisy(grad):
        seen.append(drawn := draw(grad))
        return drawn
    Optimizer([P()], [noisy, sgd_step], lr=.1)
    assert torch.equal(torch.get_rng_state(), before)
    assert len({str(x.tolist()) for x in seen if x.isfinite().all()}) > 1


def test_what_begins_at_random_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    @stat(init=lambda param: torch.randn_like(param))
    def started(started, grad): return started
    @scalar
    def jitter(): return torch.rand(()).item()
    @step
    def jittered(grad, started, jitter=jitter, *, lr): return -lr * jitter * grad
    opt = Optimizer([P()], [started, jittered], lr=.1)
    stays_still(opt.param_groups[0].composition, dict(lr=.1))
    assert torch.equal(torch.get_rng_state(), before)


def test_other_threads_draw_what_they_would_have_drawn():
    stop = threading.Event()
    @transform(whole=True)
    def noisy(grad): return grad + torch.randn_like(grad)
    def make_optimizers():
        while not stop.is_set(): Optimizer([P()], [noisy, sgd_step], lr=.1)
    torch.manual_seed(0); alone = torch.stack([torch.rand(3) for _ in range(3000)])
    thread = threading.Thread(target=make_optimizers); thread.start()
    torch.manual_seed(0); beside = torch.stack([torch.rand(3) for _ in range(3000)])
    stop.set(); thread.join()
    assert torch.equal(alone, beside)


def test_nothing_is_used_up_or_left_behind():
    w, before = P(), torch.get_rng_state()
    opt = genopt.Adam([w])
    assert torch.equal(torch.get_rng_state(), before) and not opt.state
    assert torch.equal(w, torch.ones(2, 3))


@total
def sqr(grad): return grad.square().sum()
@scalar
def over_norm(sqr=sqr): return sqr**-.5
@transform
def unit(grad, over_norm=over_norm): return over_norm * grad
@transform(whole=True)
def noisy(grad): return grad + torch.randn_like(grad)
@transform(whole=True)
def rarely_noisy(grad): return grad + torch.randn_like(grad) * (grad.abs().max() > 1e9)
@transform(whole=True)
def noisy_in_python(grad): return grad * random.random()
@transform(whole=True)
def noisy_by_a_generator(grad): return grad + torch.randn(grad.shape, generator=DRAW)
@scalar
def jitter(): return random.random()
@transform
def jittered(grad, jitter=jitter): return jitter * grad
DRAW = torch.Generator()

@pytest.mark.parametrize('part',
                         [noisy, rarely_noisy, noisy_in_python, noisy_by_a_generator, jittered],
                         ids=lambda p: p.label)
def test_what_is_random_cannot_stand_before_a_total(part):
    name = 'jitter' if part is jittered else part.label
    with pytest.raises(PartError, match=f'`{name}` is random, and the total `sqr` after it would '
                                        f'be taken of other '
                                        'numbers than the step: put it after what reads `sqr`'):
        Optimizer([P()], [part, unit, sgd_step], lr=.1)
    Optimizer([P()], [unit, part, sgd_step], lr=.1)


def test_noise_with_a_seed_may_stand_before_a_total():
    Optimizer([P()], [step_count, add_noise, unit, sgd_step], lr=.1)
    (genopt.Adam + genopt.gradient_noise + genopt.clip_by_global_norm)([P()])


# -- modes -----------------------------------------------------------------------------------------

class Refuses(TorchFunctionMode):
    "Functions of torch, but not what a tensor is, its dtype for example."
    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func.__name__ in ('__get__', 'is_complex'), f'it sees {func}'
        return func(*args, **kwargs or {})


def make_all():
    "Tries an optimizer with whole parts, randomness and a total anew, and one on sparse gradients."
    @step(whole=True)
    def noisy_step(grad, *, lr):
        assert not torch.is_autocast_enabled('cpu')
        return -lr * (grad + torch.rand_like(grad)).norm() * grad
    @transform
    def scaled(grad): return grad * torch.tensor(2.)
    parts = [step_count, average_grad, unit, scaled, noisy_step]
    composition = genopt.composition.Composition(parts)
    genopt.rehearsal.rehearse(composition, dict(lr=.1, mom=.9), [PARAM])
    assert stays_still(genopt.composition.Composition([sgd_step]), dict(lr=.1))
    assert len(composition.tried) > 1
PARAM = P()

def under_vmap(): torch.func.vmap(lambda x: (make_all(), x)[1])(torch.ones(3))
def under_grad(): torch.func.grad(lambda x: (make_all(), x)[1])(torch.ones(()))
def within(context):
    with context(): make_all()
def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode
    return FakeTensorMode()

MODES = {'fake tensors': partial(within, fake),
         'a device': partial(within, lambda: torch.device('meta')),
         'inference': partial(within, torch.inference_mode),
         'a mode of functions': partial(within, Refuses),
         'autocast': partial(within, lambda: torch.autocast('cpu', dtype=torch.bfloat16)),
         'vmap': under_vmap,
         'grad': under_grad, 'anomalies': partial(within, torch.autograd.detect_anomaly)}

@pytest.mark.filterwarnings('ignore:Anomaly Detection')
@pytest.mark.parametrize('make', MODES.values(), ids=MODES)
def test_optimizers_can_be_made_in_any_mode(make): make()


SETTINGS = {'device': (torch.set_default_device, 'meta', None),
            'double': (torch.set_default_dtype, torch.float64,
            torch.float32), 'half': (torch.set_default_dtype, torch.bfloat16, torch.float32),
            'deterministic': (torch.use_deterministic_algorithms, True, False)}

@pytest.mark.parametrize('set_it, to, back', SETTINGS.values(), ids=SETTINGS)
def test_optimizers_can_be_made_with_any_setting(set_it, to, back):
    set_it(to)
    try: make_all()
    finally: set_it(back)


# -- once ------------------------------------------------------------------------------------------

def counted(calls):
    @step(whole=True)
    def counted(grad, *, lr, wd=.1): calls.append(1); return -lr * wd * grad
    return counted


def test_a_composition_is_tried_once_for_shapes_and_hyperparameters_of_a_kind():
    calls = []
    opt = Optimizer([[P()], [P(4, 7)], [P(30, 40)]], [counted(calls)], lr=.1)
    once = len(calls)
    assert once > 2
    for i in range(1, 50): opt.add_param_group(dict(params=[P(2, 3 + i)], lr=.01 * i,
                                                    wd=.02 * i + .001))
    assert len(calls) == once
    opt.add_param_group(dict(params=[P(3)], lr=.1)); vector = len(calls)
    assert once < vector
    opt.add_param_group(dict(params=[P()], lr=.1, wd=0.))
    assert vector < len(calls)


def test_a_second_optimizer_of_a_recipe_is_not_tried():
    calls = []
    recipe = genopt.SGD + transform(lambda grad: calls.append(1) or grad)
    recipe([P()], lr=.1); once = len(calls)
    for lr in (.2, .3): recipe([P()], lr=lr)
    assert len(calls) == once > 2


def test_what_is_remembered_does_not_grow_with_a_schedule():
    composition = genopt.composition.Composition([counted(calls := [])])
    for i in range(1, 2000): stays_still(composition, dict(lr=1 / i, wd=.3))
    assert len(composition.tried) == 2 and len(calls) == 6


def test_a_parameter_stays_still_by_the_kind_of_its_hyperparameters():
    def still(parts, **hypers): return stays_still(genopt.composition.Composition(parts), hypers)
    sgd = genopt.composition.Composition(genopt.SGD.parts())
    for _ in range(2):
        for lr in .1, .2:
            assert stays_still(sgd, dict(lr=lr, wd=0.)) and not stays_still(sgd, dict(lr=lr, wd=.1))
        assert stays_still(sgd, dict(lr=0., wd=.1))
    momentum = genopt.composition.Composition(genopt.Momentum.parts())
    assert not stays_still(momentum, dict(lr=.1, mom=.9, wd=0.))
    assert still([genopt.last_grad, sgd_step], lr=.1) is False
    assert still([step_count, genopt.sum_sqr_grad, sgd_step], lr=.1, initial_accumulator_value=0.)


def test_what_moves_only_after_the_first_step_does_not_stay_still():
    parts = [step_count, sgd_step, genopt.weight_decay, genopt.parts.skip_first_step]
    assert not stays_still(genopt.composition.Composition(parts), dict(lr=.1, wd=.1))


def test_a_stat_of_flags_stays_still():
    @stat(init=lambda param: torch.zeros_like(param, dtype=torch.bool))
    def seen(seen, grad): return seen | (grad != 0)
    assert stays_still(genopt.composition.Composition([seen, sgd_step]), dict(lr=.1))


# -- the library -----------------------------------------------------------------------------------

def params_for(parts):
    if any(p.needs == 'matrix' for p in parts): return [P(5, 4), P(3, 6), P(4, 4), P(0, 3)]
    return [P(5, 4), P(3), nn.Parameter(torch.ones(())), P(8, 3, 3, 3)]


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('name', genopt.zoo.__all__)
def test_all_recipes_and_options_pass(name):
    recipe, seen = getattr(genopt, name), 0
    for options, parts in catalogue.choices(recipe):
        for hypers in dict(lr=.1), dict(lr=0.):
            opt = recipe(params_for(parts), **hypers, **options)
            seen += len(opt.param_groups[0].composition.tried) > 0
    assert seen


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name', catalogue.modifiers())
def test_all_modifiers_pass(name):
    for base in genopt.SGD, genopt.AdamW, genopt.Muon, genopt.Adan:
        recipe = base + catalogue.modifiers()[name]
        opt = recipe(params_for(recipe.parts()), lr=.1)
        assert opt.param_groups[0].composition.tried


# What looks at all of a tensor without an operation of torch that does: at its shape
BY_SHAPE = {'scale_by_shape', 'match_adam_rms', 'scale_by_aspect', 'normalize_sign'}
OF_ITS_OWN_SHAPE = {'row_avg': (5, 1), 'column_avg': (1, 4)}
NUMBERS = {'count': 3, 'ns_steps': 2, 'seed': 0, 'place': 1}
# Their parts read tensors of other shapes than the parameter's
SIDES = {f'genopt.parts.{m}' for m in ('matrices', 'factors', 'lowrank', 'blocks')}
WHOLE = [p for p in every_part() if p.whole and p.kind not in ('total', 'evaluation')
         and p.__module__ not in SIDES]

@pytest.mark.parametrize('part', WHOLE, ids=lambda p: p.label)
def test_parts_of_the_library_say_whole_only_where_they_must(part):
    alone = type(part)(part.fn, **({'init': part.init} if part.kind == 'stat' else {}))
    env = {k: 1 + torch.rand(OF_ITS_OWN_SHAPE.get(k, (5, 4))) for k in ('param', *part.reads)}
    if part.kind == 'stat': env[part.reads[0]] = part.start(env['param'])
    env |= dict.fromkeys([*part.hypers, *(link.out for link in part.links.values())], .5)
    trial = genopt.trial.Trial(genopt.composition.Composition([sgd_step]))
    trial.checks = [trial.check_pieces if part.label in BY_SHAPE else trial.check_operations]
    with pytest.raises(PartError, match=f'^`{part.label}` does not treat each element alone'):
        trial._run(alone, {**env, **NUMBERS})
