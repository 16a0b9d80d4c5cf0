"Promise: a part that breaks its contract is found when the optimizer is made; and one that keeps it is left alone."
import genopt
import pytest
import torch
from genopt import Optimizer, PartError, average_grad, momentum_step, sgd_step, stat, step, step_count, transform
from torch import nn


def P(*shape): return nn.Parameter(torch.ones(shape or (2, 3)))


def transformed(fn, whole=False):
    fn.__name__ = 'tried'
    return Optimizer([P()], [transform(whole=whole)(fn), sgd_step], lr=0.)


NOT_ELEMENTWISE = {
    'a norm': lambda grad: grad / grad.norm(), 'a norm of rows': lambda grad: grad / grad.norm(dim=-1, keepdim=True),
    'clipping by norm': lambda grad: grad * min(1., 1. / (grad.norm() + 1e-6)),
    'softmax': lambda grad: grad.softmax(-1),
    'a mean of columns': lambda grad: grad - grad.mean(0, keepdim=True), 'a running sum': lambda grad: grad.cumsum(0),
    'sorting': lambda grad: grad.sort(dim=1)[0], 'turning over': lambda grad: grad.flip(0),
    'noise': lambda grad: grad + torch.randn_like(grad)}

@pytest.mark.parametrize('fn', NOT_ELEMENTWISE.values(), ids=NOT_ELEMENTWISE)
def test_what_does_not_treat_each_element_alone_must_say_so(fn):
    with pytest.raises(PartError, match='`tried` does not treat each element alone'): transformed(fn)
    transformed(fn, whole=True)


WRITES = {'at once': lambda grad: grad.mul_(2), 'only to large numbers': lambda grad: grad.clamp_(-1, 1),
          'through data': lambda grad: grad.data.mul_(2), 'through a view': lambda grad: grad.view(-1).add_(0)}

@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize('fn', WRITES.values(), ids=WRITES)
def test_what_writes_is_found(fn, whole):
    with pytest.raises(PartError, match='`tried` writes into `grad`: a part returns a new value'):
        transformed(fn, whole)


def test_what_writes_only_for_some_hyperparameters_is_found():
    @step
    def decay(param, *, lr, wd=0.): return param.mul_(1 - lr * wd) * 0
    with pytest.raises(PartError, match='`decay` writes into `param`'): Optimizer([P()], [decay], lr=0.)


ELEMENTWISE = {
    'where': lambda grad: torch.where(grad > 0, grad, 2 * grad),
    'nan': lambda grad: grad.sqrt(), 'inf': lambda grad: grad / 0,
    'in place on its own': lambda grad: grad.clone().mul_(2), 'transcendental': lambda grad: grad.exp().tanh(),
    'a constant': lambda grad: grad + torch.tensor(1e-3), 'a mask': lambda grad: grad * (grad.abs() > 1)}

@pytest.mark.parametrize('fn', ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_what_keeps_the_contract_is_left_alone(fn): transformed(fn)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.complex64, torch.complex128])
@pytest.mark.parametrize('init', [lambda p: p.float(), lambda p: p.double(), lambda p: p])
def test_state_of_another_dtype_than_the_parameter(init, dtype):
    @stat(init=init)
    def weight_avg(weight_avg, new_param, *, decay=.9): return weight_avg.lerp(new_param, 1 - decay)
    w = nn.Parameter(torch.ones(3, dtype=dtype)); w.grad = torch.ones_like(w)
    opt = Optimizer([w], [sgd_step, weight_avg], lr=.5); opt.step()
    avg = opt.state[w]['weight_avg']
    assert avg.is_complex() == w.is_complex() and avg.shape == w.shape
    assert torch.allclose(torch.view_as_real(avg + 0j)[:, 0].double(), torch.tensor(.95).double(), 1e-2)


def test_parts_behind_a_whole_one_are_tried():
    @transform(whole=True)
    def clip(grad): return grad / grad.norm()
    @step
    def forgets(grad, *, lr): -lr * grad  # noqa: B018
    with pytest.raises(PartError, match='`forgets` returned None'): Optimizer([P()], [clip, forgets], lr=.1)


def test_whole_parts_are_tried_on_the_smallest_parameters_shape():
    @step(whole=True)
    def matrix_step(grad, *, lr, times=2):
        for _ in range(times): grad = grad @ grad.mT @ grad  # `times` stays a whole number
        return -lr * grad
    Optimizer([P(3, 2), P(5, 4)], [matrix_step], lr=.1)
    with pytest.raises(PartError, match='`matrix_step` failed: (IndexError|RuntimeError)'):
        Optimizer([P(3, 2), P(4)], [matrix_step], lr=.1)


@pytest.mark.parametrize('result, what', [(lambda g: g.numpy(), 'a ndarray'),
                                          (lambda g: g > 0, 'and dtype torch.bool')])
def test_results_that_are_no_tensors_of_numbers(result, what):
    @step
    def odd(grad, *, lr): return result(grad)
    with pytest.raises(PartError, match=f'`odd` returned .*{what}: a step returns the change of `param`'):
        Optimizer([P()], [odd], lr=.1)


@pytest.mark.parametrize('init, why', [(lambda param: 0., 'its init returned 0.0, and not a tensor'),
                                       (lambda param: 1 / 0, 'its init failed: ZeroDivisionError: division by zero')])
def test_a_broken_init(init, why):
    @stat(init=init)
    def memory(memory, grad): return grad
    with pytest.raises(PartError, match=f'^`memory`: {why}$'): Optimizer([P()], [memory, sgd_step], lr=.1)


def test_a_stat_of_flags():
    @stat(init=lambda param: torch.zeros_like(param, dtype=torch.bool))
    def seen(seen, grad): return seen | (grad != 0)
    w = P(3); w.grad = torch.tensor([0., 1., 0.])
    opt = Optimizer([w], [seen, sgd_step], lr=.1); opt.step()
    assert opt.state[w]['seen'].tolist() == [False, True, False] and opt.state[w]['seen'].dtype == torch.bool


def test_a_scalar_that_fails_later_is_named():
    @genopt.scalar
    def warmth(count): return count / 10 if count < 3 else None
    @step
    def warm_step(grad, warmth=warmth, *, lr): return -lr * warmth * grad
    w = P(); w.grad = torch.ones_like(w)
    opt = Optimizer([w], [step_count, warm_step], lr=.1)
    opt.step(); opt.step()
    with pytest.raises(PartError, match=r'`warmth` returned None: a scalar returns a number \(on parameter 0'):
        opt.step()


def test_nothing_is_used_up_or_left_behind():
    torch.manual_seed(0); before = torch.get_rng_state()
    w = P()
    opt = genopt.Adam([w])
    assert torch.equal(torch.get_rng_state(), before) and not opt.state and torch.equal(w, torch.ones(2, 3))


def test_optimizers_can_be_made_in_any_mode():
    from torch._subclasses.fake_tensor import FakeTensorMode
    with torch.device('meta'): genopt.Adam(nn.Linear(2, 2).parameters())
    with FakeTensorMode(): genopt.Adam(nn.Linear(2, 2).parameters())
    with torch.inference_mode(): genopt.Adam([P()])
    genopt.Adam(nn.LazyLinear(3).parameters())


def test_the_same_composition_is_tried_once():
    calls = []
    @step(whole=True)
    def counted(grad, *, lr): calls.append(1); return -lr * grad
    opt = Optimizer([[P()], [P()], [P()]], [counted], lr=.1)
    assert len(calls) == 2
    opt.add_param_group(dict(params=[P()], lr=.2)); assert len(calls) == 4


def test_this_check_misses_nothing_that_the_library_has():
    for recipe in (genopt.SGD, genopt.Momentum, genopt.RMSprop, genopt.Adam, genopt.AdamW): recipe([P()], wd=.1)
    Optimizer([P()], [average_grad, momentum_step], lr=.1)
