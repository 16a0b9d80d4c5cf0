"Promise: a part that breaks its contract is found when an optimizer is made, and no other part."
import genopt
import numpy as np
import pytest
import torch
from genopt import (Optimizer, PartError, average_grad, average_sqr_grad, independent_decay, scalar,
                    sgd_step, stat, step, step_count, transform)
from torch import nn


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
    @stat(init=lambda param: param.flatten()[:8].clone().view(8), whole=True)
    def eight(eight, grad): return grad.flatten()[:8]
    huge = nn.Parameter(torch.zeros(1).expand(200_000, 3000))  # of one element
    for compile in None, True, False:
        Optimizer([P(100), P(20, 30)], [ten_largest, sgd_step], lr=.1, compile=compile)
        Optimizer([P(100)], [eight, sgd_step], lr=.1, compile=compile)
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
