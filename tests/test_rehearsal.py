"Promise: a part that breaks its contract is found when an optimizer is made, and no other part."
import random
import threading
from functools import partial

import genopt
import numpy as np
import pytest
import torch
from genopt import (Optimizer, PartError, average_grad, average_sqr_grad, catalogue,
                    independent_decay, scalar, sgd_step, stat, step, step_count, total, transform)
from genopt.catalogue import every_part
from genopt.parts import add_noise
from genopt.rehearsal import stays_still
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def P(*shape, **kwargs): return nn.Parameter(torch.ones(shape or (2, 3), **kwargs))


def transformed(fn, whole=False):
    fn.__name__ = 'tried'
    return Optimizer([P()], [transform(whole=whole)(fn), sgd_step], lr=0.)


# -- each element alone ----------------------------------------------------------------------------

# What it does, and the operation that shows it; '' if it is another one in each version of torch
OPERATIONS = {
    'a norm': (lambda grad: grad / grad.norm(), 'norm'),
    'a norm of rows': (lambda grad: grad / grad.norm(dim=-1, keepdim=True), 'norm'),
    'clipping by norm': (lambda grad: grad * min(1., 1. / (grad.norm() + 1e-6)), 'norm'),
    'softmax': (lambda grad: grad.softmax(-1), 'softmax'),
    'a mean of columns': (lambda grad: grad - grad.mean(0, keepdim=True), 'mean'),
    'a running sum': (lambda grad: grad.cumsum(0), 'cumsum'),
    'sorting': (lambda grad: grad.sort(dim=1)[0], 'sort'),
    'turning over': (lambda grad: grad.flip(0), 'flip'),
    'rolling': (lambda grad: grad.roll(1), 'roll'),
    'transposing': (lambda grad: grad.T.reshape(grad.shape), ''),
    'an element': (lambda grad: grad * grad[0, 0], 'select'),
    'a product': (lambda grad: grad @ grad.T @ grad, ''),
    'a position': (lambda grad: grad * torch.arange(4), 'arange'),
    'whether all are finite': (lambda grad: grad if grad.isfinite().all() else 0 * grad, 'all'),
    'whether any is large': (lambda grad: 0 * grad if (grad.abs() > 1e9).any() else grad, 'any'),
    'spikes': (lambda grad: torch.where(grad.abs() > 3 * grad.std(), 0., grad), 'std'),
    'a sum that hardly counts': (lambda grad: grad + 1e-30 * grad.sum(), 'sum'),
    'a value': (lambda grad: grad if grad.sum() < 1e9 else -grad, 'sum'),
    'noise': (lambda grad: grad + torch.randn_like(grad), 'randn_like')}

@pytest.mark.parametrize('fn, operation', OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_on_several_elements_is_found_whatever_the_numbers_are(fn, operation):
    with pytest.raises(PartError,
                       match=f'`tried` does not treat each element alone: it calls `{operation}'):
        transformed(fn)
    transformed(fn, whole=True)


SHAPES_AND_NUMPY = {
    'numel': lambda grad: grad / grad.numel(), 'rows': lambda grad: grad / grad.shape[0],
    'columns': lambda grad: grad / grad.shape[1], 'len': lambda grad: grad / len(grad),
    'dim': lambda grad: grad * grad.dim(),
    'only matrices': lambda grad: grad if grad.dim() > 1 else 0 * grad,
    'a list': lambda grad: (grad / max(map(abs, sum(grad.tolist(), []))) if grad.dim() > 1
                            else grad / grad.max().item()),
    "NumPy's all": lambda grad: grad if np.isfinite(grad.numpy()).all() else 0 * grad,
    "NumPy's std": lambda grad: torch.where(grad.abs() > 3 * float(grad.numpy().std()), 0., grad)}

@pytest.mark.filterwarnings('ignore:invalid value encountered')
@pytest.mark.parametrize('fn', SHAPES_AND_NUMPY.values(), ids=SHAPES_AND_NUMPY)
def test_what_depends_on_more_than_its_element_without_an_operation_is_found_too(fn):
    with pytest.raises(PartError,
                       match='`tried` does not treat each element alone'): transformed(fn)


WRITES = {'at once': lambda grad: grad.mul_(2),
          'only to large numbers': lambda grad: grad.clamp_(-1, 1),
          'through data': lambda grad: grad.data.mul_(2),
          'through a view': lambda grad: grad.view(-1).add_(0)}

@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize('fn', WRITES.values(), ids=WRITES)
def test_what_writes_is_found(fn, whole):
    with pytest.raises(PartError, match='`tried` writes into `grad`: a part returns a new value'):
        transformed(fn, whole)


def test_what_writes_only_for_some_hyperparameters_is_found():
    @step
    def decay(param, *, lr, wd=0.): return param.mul_(1 - lr * wd) * 0
    with pytest.raises(PartError, match='`decay` writes into `param`'): Optimizer([P()], [decay],
                                                                                  lr=0.)


ELEMENTWISE = {
    'where': lambda grad: torch.where(grad > 0, grad, 2 * grad),
    'nan': lambda grad: grad.sqrt(), 'inf': lambda grad: grad / 0,
    'in place on its own': lambda grad: grad.clone().mul_(2),
    'transcendental': lambda grad: grad.exp().tanh(),
    'a constant': lambda grad: grad + torch.tensor(1e-3),
    'a mask': lambda grad: grad * (grad.abs() > 1),
    'a view': lambda grad: grad.view(-1).mul(2).view(grad.shape),
    'numpy': lambda grad: torch.from_numpy(-grad.numpy()),
    'masked in place': lambda grad: grad.clone().masked_fill_(grad > 0, 0.),
    'zeros': lambda grad: 0 * grad,
    'a number of its own': lambda grad: grad * torch.tensor(2.).sqrt().item()}

@pytest.mark.parametrize('fn', ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_what_keeps_the_contract_is_left_alone(fn): transformed(fn)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.complex64,
                                   torch.complex128])
@pytest.mark.parametrize('init', [lambda p: p.float(), lambda p: p.double(), lambda p: p])
def test_state_of_another_dtype_than_the_parameter(init, dtype):
    @stat(init=init)
    def weight_avg(weight_avg, new_param, *, decay=.9): return weight_avg.lerp(new_param, 1 - decay)
    w = nn.Parameter(torch.ones(3, dtype=dtype)); w.grad = torch.ones_like(w)
    opt = Optimizer([w], [sgd_step, weight_avg], lr=.5); opt.step()
    avg = opt.state[w]['weight_avg']
    assert avg.is_complex() == w.is_complex() and avg.shape == w.shape
    assert torch.allclose(torch.view_as_real(avg + 0j)[:, 0].double(), torch.tensor(.95).double(),
                          1e-2)


def test_parts_behind_a_whole_one_are_tried():
    @transform(whole=True)
    def clip(grad): return grad / grad.norm()
    @step
    def forgets(grad, *, lr): -lr * grad  # noqa: B018
    with pytest.raises(PartError,
                       match='`forgets` returned None'): Optimizer([P()], [clip, forgets], lr=.1)


@pytest.mark.parametrize('result, what', [(lambda g: g.numpy(), 'a ndarray'),
                                          (lambda g: g > 0, 'and dtype torch.bool')])
def test_results_that_are_no_tensors_of_numbers(result, what):
    @step
    def odd(grad, *, lr): return result(grad)
    with pytest.raises(PartError,
                       match=f'`odd` returned .*{what}: a step returns the change of `param`'):
        Optimizer([P()], [odd], lr=.1)


@pytest.mark.parametrize('init, why',
                         [(lambda param: 0., 'its init returned 0.0, and not a tensor'),
                                       (lambda param: 1 / 0,
                                        'its init failed: ZeroDivisionError: division by zero')])
def test_a_broken_init(init, why):
    @stat(init=init)
    def memory(memory, grad): return grad
    with pytest.raises(PartError, match=f'^`memory`: {why}$'): Optimizer([P()], [memory, sgd_step],
                                                                         lr=.1)


def test_a_stat_of_flags():
    @stat(init=lambda param: torch.zeros_like(param, dtype=torch.bool))
    def seen(seen, grad): return seen | (grad != 0)
    w = P(3); w.grad = torch.tensor([0., 1., 0.])
    opt = Optimizer([w], [seen, sgd_step], lr=.1); opt.step()
    assert opt.state[w]['seen'].tolist() == [False, True, False]
    assert opt.state[w]['seen'].dtype == torch.bool


def test_a_scalar_that_fails_later_is_named():
    @genopt.scalar
    def warmth(count): return count / 10 if count < 6 else None
    @step
    def warm_step(grad, warmth=warmth, *, lr): return -lr * warmth * grad
    w = P(); w.grad = torch.ones_like(w)
    opt = Optimizer([w], [step_count, warm_step], lr=.1)
    for _ in range(5): opt.step()
    with pytest.raises(PartError,
                       match=r'`warmth` returned None: a scalar returns a number \(on parameter 0'):
        opt.step()


# -- shapes ----------------------------------------------------------------------------------------

@transform(whole=True)
def by_column(grad): return grad / grad.norm(dim=-1)  # forgets keepdim

SHAPES = {'a vector and a matrix': [(3,), (5, 4)],
          'a vector and a convolution': [(3,), (8, 3, 3, 3)],
          'large ones': [(10,), (4000, 5000)], 'an empty matrix': [(0, 3)],
          'a number and a matrix': [(), (2, 3)]}

@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES)
def test_whole_parts_are_tried_on_each_kind_of_shape(shapes):
    params = [nn.Parameter(torch.zeros(()).expand(s)) for s in shapes]  # of one element each
    with pytest.raises(PartError, match='`by_column` failed: RuntimeError: The size of tensor a'):
        Optimizer(params, [by_column, sgd_step], lr=.1)


def test_what_fits_the_parameters_is_left_alone():
    @transform(whole=True)
    def ten_largest(grad):
        at = grad.flatten().abs().topk(10).indices
        return torch.zeros_like(grad).flatten().scatter(0, at, grad.flatten()[at]).view(grad.shape)
    @transform(whole=True)
    def cubed(grad, *, times=2):
        for _ in range(times): grad = grad @ grad @ grad  # `times` stays a whole number
        return grad
    @transform(whole=True)
    def of_rank(grad, *, rank=128):
        return grad @ torch.eye(grad.shape[1])[:, :rank] @ torch.eye(rank, grad.shape[1])
    huge = nn.Parameter(torch.zeros(1).expand(200_000, 3000))  # of one element
    Optimizer([P(100), P(20, 30)], [ten_largest, sgd_step], lr=.1)
    Optimizer([huge], [of_rank, sgd_step], lr=.1)
    with pytest.raises(PartError, match='`of_rank` failed'): Optimizer([huge, P(200, 50)],
                                                                       [of_rank, sgd_step], lr=.1)
    Optimizer([P(4, 4)], [cubed, sgd_step], lr=.1)
    Optimizer([P(3)], [by_column, sgd_step], lr=.1)
    with pytest.raises(PartError,
                       match='`ten_largest` failed: RuntimeError: selected index k out of range'):
        Optimizer([P(100), P(3)], [ten_largest, sgd_step], lr=.1)
    with pytest.raises(PartError, match='`cubed` failed: RuntimeError'):
        Optimizer([P(4, 4), P(4, 5)], [cubed, sgd_step], lr=.1)


@pytest.mark.parametrize('make', [genopt.LAMB, genopt.NovoGrad, genopt.MARS, genopt.LARS,
                                  genopt.AdamW + genopt.centralize], ids=lambda r: r.__name__)
def test_whole_parts_on_parameters_of_every_kind(make):
    for shape in (), (0,), (0, 3), (1, 1), (3, 1, 2):
        for dtype in torch.bfloat16, torch.float64, torch.complex64:
            make([nn.Parameter(torch.ones(shape, dtype=dtype))])
    make([dict(params=[P()]), dict(params=[])])
    make(nn.LazyLinear(3).parameters())


def test_an_empty_matrix_and_an_empty_group_for_muon():
    genopt.Muon([P(0, 3)])
    genopt.Muon([dict(params=[P(2, 3)]), dict(params=[])])


# -- the new parameter, and not the change ---------------------------------------------------------

@scalar
def annealed(count, *, lr): return lr / count

@step
def by_rate(param, grad, *, lr): return param - lr * grad
@step
def by_annealed_rate(param, grad, rate=annealed): return param - rate * grad
@step
def by_fixed_rate(param, grad): return param - .1 * grad
@step
def by_sign(param, grad): return param - .1 * grad.sign()
@step
def with_decay(param, grad, *, lr, wd=.1): return param * (1 - lr * wd) - lr * grad
@step
def as_adam(param, grad_avg, sqr_avg): return param - .05 * grad_avg / (sqr_avg.sqrt() + 1e-8)
@step
def within_bounds(param, grad, *, lr): return (param - lr * grad).clamp(-1, 1)
@step
def bounded(new_param): return new_param.clamp(-.01, .01)
@step
def decayed(new_param, *, lr, wd=.1): return new_param * (1 - lr * wd)
@step(whole=True)
def whole_step(param, grad, *, lr): return param - lr * grad / grad.norm()
@stat(init=lambda param: param)
def own_param(own_param, grad, *, lr): return own_param - lr * grad
@step
def to_own_param(own_param): return own_param

RETURN_THE_PARAMETER = [[by_rate], [step_count, by_annealed_rate], [by_fixed_rate], [by_sign],
                        [with_decay],
                        [average_grad, average_sqr_grad, as_adam], [within_bounds],
                        [sgd_step, bounded],
                        [sgd_step, decayed], [whole_step], [own_param, to_own_param]]

@pytest.mark.parametrize('parts', RETURN_THE_PARAMETER, ids=lambda parts: parts[-1].label)
@pytest.mark.parametrize('dtype', [torch.float32, torch.complex128])
def test_a_step_that_returns_the_new_parameter_is_found(parts, dtype):
    sentence = (f'^`{parts[-1].label}` returns the new parameter: a step returns the change that '
                f'is added to it, '
                r'such as `-lr \* grad`$')
    hypers = dict(lr=.1) if any('lr' in p.hypers or 'rate' in p.links for p in parts) else {}
    with pytest.raises(PartError, match=sentence): Optimizer([P(dtype=dtype)], parts, **hypers)


def test_a_transform_of_the_update_that_returns_the_new_parameter_is_found():
    @transform
    def added(update, param): return param + update
    with pytest.raises(PartError, match='`added` returns the new parameter: a transform of '
                                        '`update` returns the change'):
        Optimizer([P()], [sgd_step, added], lr=.1)


@stat
def last_param(last_param, param): return param
@stat
def param_avg(param_avg, param): return .99 * param_avg + .01 * param
@step
def extrapolate(param, prev_last_param, *, mom=.9): return mom * (param - prev_last_param)
@step
def go_on(param, prev_last_param): return param - prev_last_param
@step
def flee(param, param_avg): return param - param_avg
@step
def meet(own_param, param): return own_param - param
@step
def begin_again(param): return -param

@pytest.mark.parametrize('parts',
                         [[sgd_step, last_param, extrapolate], [sgd_step, last_param, go_on],
                                   [sgd_step, param_avg, flee], [own_param, meet],
                                   [sgd_step, begin_again],
                                   [sgd_step, independent_decay]],
                                   ids=lambda parts: parts[-1].label)
def test_a_change_that_depends_on_the_parameter_is_left_alone(parts): Optimizer([P()], parts, lr=.1)


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


@pytest.mark.parametrize('name', genopt.zoo.__all__)
def test_all_recipes_and_options_pass(name):
    recipe, seen = getattr(genopt, name), 0
    for options, parts in catalogue.choices(recipe):
        for hypers in dict(lr=.1), dict(lr=0.):
            opt = recipe(params_for(parts), **hypers, **options)
            seen += len(opt.param_groups[0].composition.tried) > 0
    assert seen


@pytest.mark.parametrize('name', catalogue.modifiers())
def test_all_modifiers_pass(name):
    for base in genopt.SGD, genopt.AdamW, genopt.Muon, genopt.Adan:
        recipe = base + catalogue.modifiers()[name]
        opt = recipe(params_for(recipe.parts()), lr=.1)
        assert opt.param_groups[0].composition.tried


# What looks at all of a tensor without an operation of torch that does: at its shape
BY_SHAPE = {'scale_by_shape', 'match_adam_rms'}
OF_ITS_OWN_SHAPE = {'row_avg': (5, 1), 'column_avg': (1, 4)}
NUMBERS = {'count': 3, 'ns_steps': 2, 'seed': 0, 'place': 1}
WHOLE = [p for p in every_part() if p.whole and p.kind != 'total']

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
