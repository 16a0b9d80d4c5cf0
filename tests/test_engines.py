"""Promise: every engine does what the parts do when they are called tensor by tensor.

Measured on a CPU (AVX-512): the eager engine bit for bit in every dtype. A compiled step bit for
bit without a square root; with one, float64 within 1e-14 after 20 steps, and one step within 2.3
units of the last place (of the tensor's largest number) in float32 and complex64, 1 in 16 bits.
"""
from array import array

import pytest
import torch
from helpers import (difference, dtypes, each_case, engines, params_of_every_kind, random,
                     random_param, set_grads, two_groups, ulps)
from torch import nn
from torch._dynamo.utils import counters

import genopt
from genopt import (Optimizer, adam_step, average_grad, average_sqr_grad, stat, step, step_count,
                    transform, weight_decay)
from genopt.engines import kernels, loop, operations
from genopt.engines import plain as plain_engine
from genopt.engines.tape import record
from genopt.engines.toolchain import Kernel

by_torchs_compiler = pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::UserWarning')


def params_of_every_size(dtype=torch.float64):
    "Those of every kind, and: larger than a block, channels-last, small ones alike, tiny ones."
    shapes = {'large': (400, 350), 'wide': (3, 50_000), 'middle': (100, 90),
              'one': (1,), 'tall': (40_000, 1), **{f'alike {i}': (16, 16) for i in range(5)},
              **{f'bias {i}': (16,) for i in range(3)}}
    res = params_of_every_kind(dtype) | {k: nn.Parameter(random(50 + i, s, dtype)) for i, (k, s) in
                                         enumerate(shapes.items())}
    image = random(90, (32, 40, 5, 5), dtype).to(memory_format=torch.channels_last)
    return res | {'image': nn.Parameter(image)}


def plain_and(make, dtype=torch.float64, groups=lambda params: params.values(),
              params=params_of_every_size):
    "Two optimizers on equal parameters; the first runs plainly."
    ours, theirs = params(dtype), params(dtype)
    plain, other = make(groups(ours), False), make(groups(theirs), True)
    plain.engine = plain_engine.run
    return plain, ours, other, theirs


def agree(plain, ours, other, theirs, steps, tol=1e-12):
    for i in range(steps):
        set_grads(ours, i); set_grads(theirs, i)
        plain.step(); other.step()
    assert difference(theirs.values(), ours.values()) <= tol
    for k, p in ours.items():
        a, b = plain.state[p], other.state[theirs[k]]
        assert {*a} == {*b}
        for name, v in a.items():
            if not isinstance(v, torch.Tensor): assert v == b[name]
            elif v.dtype == torch.bool: assert torch.equal(v, b[name])
            elif v.numel():
                assert v.stride() == b[name].stride(), (k, name)
                assert difference([b[name]], [v]) <= tol, (k, name)


LOW = dtypes(torch.float32, torch.bfloat16, torch.float16, torch.complex64)


@engines
@each_case
def test_float64(recipe, twin, kwargs, compile):
    agree(*plain_and(lambda g, on: recipe(g, compile=on and compile, **kwargs),
                     groups=lambda params: two_groups(params, lr=.02, weight_decay=.03)), 20)


@LOW
@engines
@each_case
def test_other_dtypes(recipe, twin, kwargs, compile, dtype):
    """Eager: bit for bit. Compiled too, but for what a square root is in: torch's is not always the
    nearest number.

    Each step starts from the plain engine's parameters and state, so that only one step's rounding
    is seen.
    """
    make = lambda g, on: recipe(g, compile=on and compile, **kwargs)
    plain, ours, other, theirs = plain_and(make, dtype)
    has_a_root = recipe not in (genopt.SGD, genopt.Momentum)
    tol = (1 if dtype.itemsize == 2 else 3) if compile and has_a_root else 0
    for i in range(8, 13):
        before = {k: p.detach().clone() for k, p in ours.items()}
        set_grads(ours, i); set_grads(theirs, i)
        plain.step(); other.step()
        for k, p in ours.items():
            pairs = [(theirs[k], p),
                     *[(other.state[theirs[k]][n], v) for n, v in plain.state[p].items()]]
            for a, b in pairs:
                if not tol or b.dtype == torch.int64: assert torch.equal(a, b), k
                else: assert ulps(a.detach(), b.detach(), before[k] if b is p else b) <= tol, k
            for a, b in pairs:
                if isinstance(b, torch.Tensor): a.data.copy_(b)


# -- parts that users write ------------------------------------------------------------------------

@transform(whole=True)
def scale_by_trust_ratio(update, param):
    ratio = param.norm() / (update.norm() + 1e-6)
    return update * torch.where(param.norm() > 0, ratio, 1.)

@stat(whole=True)
def row_avg(row_avg, grad, *, mom=.9):
    return row_avg.lerp(grad.mean(0, keepdim=True).expand_as(grad), 1 - mom)

@stat(init=lambda param: param.float())
def weight_avg(weight_avg, new_param, *, decay=.99): return weight_avg.lerp(new_param, 1 - decay)

@stat(init=lambda param: torch.zeros_like(param, dtype=torch.bool))
def was_up(was_up, grad): return (grad > 0) | (was_up & (grad == 0))

@step
def as_torch_spells_it(grad, prev_grad_avg, was_up, *, lr, eps=1e-8, limit=2.):
    x = torch.addcmul(grad, grad, prev_grad_avg, value=lr).add(prev_grad_avg, alpha=-lr)
    x = x.clamp(-limit, limit).mul_(torch.tensor(2.))
    x = x.addcdiv(grad, prev_grad_avg.abs() + eps, value=lr * 1e-3)
    x = x.add_(grad, alpha=-eps).sub(prev_grad_avg, alpha=eps)
    return -lr * torch.where(was_up, x, x.sign() * eps + torch.full_like(x, lr))

@step
def scaled_erfcx(grad, *, lr): return -lr * torch.special.erfcx(grad.abs()) * grad.sign()

LAMB = [average_grad, average_sqr_grad, step_count, weight_decay, adam_step, scale_by_trust_ratio]
OWN = {'whole at the end': LAMB,
       'whole in the middle': [*LAMB, weight_avg],
       'whole stat': [row_avg, average_grad, genopt.momentum_step,
                      weight_decay.rename(wd='decay2')],
       'new_param': [average_grad, genopt.momentum_step, weight_avg],
       'spellings': [average_grad, was_up, as_torch_spells_it]}


@engines
@pytest.mark.parametrize('parts', OWN.values(), ids=OWN)
def test_users_own_parts(parts, compile):
    some = lambda dtype: {k: p for k, p in params_of_every_size(dtype).items()
                          if p.dim() > 1 and p.numel()}
    agree(*plain_and(lambda g, on: Optimizer(g, parts, lr=.05, compile=on and compile),
                     params=some), 12)


def test_what_stands_between_whole_parts_is_compiled(monkeypatch):
    calls, call = [], Kernel.__call__
    def counted(self, *args): calls.append(args[0]); call(self, *args)
    monkeypatch.setattr(Kernel, '__call__', counted)
    two = lambda dtype: {'a': random_param(1, (40, 30), dtype), 'b': random_param(2, (7,), dtype)}
    agree(*plain_and(lambda g, on: Optimizer(g, LAMB, lr=.05, compile=on), params=two), 5)
    # one for each parameter in each step: all but `scale_by_trust_ratio`
    assert len(calls) == 2 * 5


# -- a GPU's way, on the CPU -----------------------------------------------------------------------

@by_torchs_compiler
@each_case
def test_kernels_of_torch_compile(recipe, twin, kwargs, by_torch_compile):
    plain, ours, other, theirs = plain_and(lambda g, on: recipe(g, compile=on, **kwargs))
    agree(plain, ours, other, theirs, 12)


@by_torchs_compiler
@LOW
def test_other_dtypes_by_torch_compile(dtype, by_torch_compile):
    plain, ours, other, theirs = plain_and(
        lambda g, on: genopt.Adam(g, lr=.01, amsgrad=True, compile=on), dtype)
    set_grads(ours, 20); set_grads(theirs, 20)
    before = {k: p.detach().clone() for k, p in ours.items()}
    plain.step(); other.step()
    for k, p in ours.items(): assert ulps(theirs[k].detach(), p.detach(), before[k]) <= 2, k


@by_torchs_compiler
def test_an_operation_that_has_no_c(builds):
    graphs = lambda: counters['stats']['unique_graphs']
    before = graphs()
    agree(*plain_and(lambda g, on: Optimizer(g, [scaled_erfcx], lr=.01, compile=on)), 5)
    assert not builds and graphs() > before  # of torch.compile's


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU here')
@engines
@each_case
def test_on_a_gpu(recipe, twin, kwargs, compile):
    def params(dtype):
        return {k: nn.Parameter(p.detach().cuda()) for k, p in params_of_every_size(dtype).items()}
    make = lambda g, on: recipe(g, compile=on and compile, **kwargs)
    plain, ours, other, theirs = plain_and(make, params=params)
    for i in range(12):
        for ps in ours, theirs:
            set_grads(ps, i)
            for p in ps.values(): p.grad = None if p.grad is None else p.grad.cuda()
        plain.step(); other.step()
    assert difference(theirs.values(), ours.values()) <= 1e-12


# -- operations ------------------------------------------------------------------------------------

UNARY = ('neg abs sqrt rsqrt reciprocal square exp exp2 expm1 log log2 log10 log1p sin '
         'cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc floor ceil '
         'trunc round frac sigmoid relu sign sgn').split()
BINARY = 'add sub mul div maximum minimum atan2 hypot fmax fmin copysign fmod pow'.split()
TRUTH = 'eq ne lt le gt ge logical_and logical_or logical_xor'.split()
OTHERS = dict(
    rsub=lambda a, b: 1 - a, div2=lambda a, b: 2 / b, cube=lambda a, b: a**3,
    root=lambda a, b: a**.5, inv=lambda a, b: a**-.5, power=lambda a, b: a**2.7,
    base=lambda a, b: 2.**a,
    lerp=lambda a, b: a.lerp(b, .3), lerp2=lambda a, b: a.lerp(b, .8),
    addcmul=lambda a, b: a.addcmul(a, b, value=.3), addcdiv=lambda a, b: a.addcdiv(a, b, value=-2.),
    clamp=lambda a, b: a.clamp(-1, 1.5), least=lambda a, b: a.clamp(min=.5),
    most=lambda a, b: a.clamp(max=.5),
    clamp2=lambda a, b: a.clamp(b, b + 1), crossed=lambda a, b: a.clamp(2., 1.),
    clamp_min=torch.clamp_min, clamp_max=torch.clamp_max,
    where=lambda a, b: torch.where(a > b, a, 0.),
    fill=lambda a, b: a.masked_fill(a > b, float('inf')),
    both=lambda a, b: ((a > 0) & ~(b > 0) | (a < b) ^ (b < 0)).to(a.dtype),
    gate=lambda a, b: (a > 0) * b,
    isnan=lambda a, b: a.isnan().to(a.dtype), isinf=lambda a, b: a.isinf().to(a.dtype),
    isfinite=lambda a, b: a.isfinite() * b, nots=lambda a, b: torch.logical_not(a) * 1.,
    signbit=lambda a, b: a.signbit().to(a.dtype),
    same=lambda a, b: a.clone().detach().view(a.shape) * 1,
    numbers=lambda a, b: (torch.tensor(.5).expand_as(a) + torch.ones(()) -
                          torch.zeros(()) * torch.full((), 3.)),
    likes=lambda a, b: torch.ones_like(a) * 2 + torch.full_like(a, .25) - torch.zeros_like(a),
    news=lambda a, b: a.new_ones(a.shape) * 2 + a.new_full(a.shape, .25) - a.new_zeros(a.shape),
    ints=lambda a, b: (a > b).int() * 3 + (a < 0).long() - a,
    shifts=lambda a, b: (((a > b).int() << 3) + 5 >> 1) * a,
    alias=lambda a, b: torch.ops.aten.alias(a),
    fills=lambda a, b: a.clone().fill_(2.) * a.clone().copy_(b) + a.clone().zero_(),
    unread=lambda a, b: torch.where(torch.ones_like(a) > 0, b, torch.empty_like(a)))
SPECIAL = [0., -0., 1., -1., .5, -.5, 1.5, 2.5, 1e-3, -3.,
           40., -40., float('inf'), -float('inf'), float('nan')]


@dtypes(torch.float32, torch.float64)
def test_every_operation_in_c(dtype):
    """Each, on ordinary and on special numbers, in one kernel; and the table has none that is not
    tried here."""
    fns = {n: lambda a, b, n=n: getattr(torch, n)(a) for n in UNARY}
    fns |= {n: lambda a, b, n=n: getattr(torch, n)(a, b) for n in BINARY}
    fns |= {n: lambda a, b, n=n: getattr(torch, n)(a, b).to(a.dtype) for n in TRUTH} | OTHERS
    a = torch.tensor([x for x in SPECIAL for _ in SPECIAL] + [*random(1, (500,), dtype)],
                     dtype=dtype)
    b = torch.tensor(SPECIAL * len(SPECIAL) + [*random(2, (500,), dtype)], dtype=dtype)
    parts = [stat_of(n, f) for n, f in fns.items()]
    last = step(lambda grad, *, lr: -lr * grad)
    composition = genopt.Composition([*parts, last])
    begin = dict.fromkeys(['param', 'grad', *(f'prev_{k}' for k in fns)], dtype)
    tape = record(composition.tensor_parts, begin, ['lr'], [*fns, 'new_param'])
    columns = [loop.Column(dtype, tape.tensors[k], None) for k in ('param', 'grad')]
    columns += [loop.Column(dtype, None, tape.results[k]) for k in fns]
    made = {k: torch.empty_like(a) for k in fns}
    kernel = Kernel(loop.source(tape, columns), ['lr'])
    kernel(array('q', [len(a)]), kernels.addresses_of([a, b, *made.values()]), dict(lr=.1))
    tol = dict(rtol=2e-6, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-14, atol=1e-15)
    for k, f in fns.items():
        torch.testing.assert_close(made[k], f(a, b).to(dtype),
                                   equal_nan=True, **tol, msg=lambda m, k=k: f'{k}: {m}')
    assert not {*operations.OPS} - {op.func._schema.name[6:] for op in tape.ops}


def stat_of(name, f):
    scope = dict(f=f)
    exec(f'def {name}_(x_{name}, param, grad): return f(param, grad)', scope)
    return stat(scope[f'{name}_']).rename(**{f'x_{name}': name})


# -- to debug --------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['SGD', 'AdamW', 'RMSprop', 'Lion', 'LAMB'])
def test_the_plain_engine_can_be_chosen(name):
    "A part sees each parameter in its own shape, in order; and the path is the same."
    shapes, seen = [(3, 5), (7,), (3, 5), ()], []
    @transform
    def look(grad):
        seen.append(tuple(grad.shape))
        return grad * 1
    def run(plainly):
        ps = [random_param(i, s) for i, s in enumerate(shapes)]
        opt = (genopt.recipe(name) + look)(ps, lr=.01)
        if plainly: opt.engine = plain_engine.run
        seen.clear()
        for t in range(3):
            for i, p in enumerate(ps): p.grad = random(10 * t + i, p.shape, p.dtype)
            opt.step()
        return ps
    ps = run(plainly=True)
    assert seen == 3 * shapes
    for a, b in zip(ps, run(plainly=False)): assert torch.equal(a, b)
