"""Promise: every engine does what the plain one does, tensor by tensor.

Measured on a CPU (AVX-512): the eager engine bit for bit in every dtype. A compiled step bit for
bit without a square root; with one, float64 within 1e-14 after 20 steps, and one step within 2.3
units of the last place (of the tensor's largest number) in float32 and complex64, 1 in 16 bits.
"""
import pytest
import torch
from helpers import (difference, dtypes, each_case, fast_engines, params_of_every_kind, random,
                     random_param, set_grads, two_groups, ulps)
from tapes import run_as_kernel, tape_of
from three_engines import run_by
from torch import nn

import genopt
from genopt import (Optimizer, adam_step, average_grad, average_sqr_grad, stat, step, step_count,
                    transform, weight_decay)
from genopt.engines import operations
from genopt.engines.toolchain import Kernel


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
    "Two optimizers on equal parameters, made by `make(groups, is_other)`: by default, plain ones."
    ours, theirs = params(dtype), params(dtype)
    return make(groups(ours), False), ours, make(groups(theirs), True), theirs


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


@pytest.mark.exhaustive(4)
@fast_engines
@each_case
def test_float64(recipe, twin, kwargs, compile):
    agree(*plain_and(lambda g, on: recipe(g, compile=on and compile, **kwargs),
                     groups=lambda params: two_groups(params, lr=.02, weight_decay=.03)), 20)


@pytest.mark.exhaustive(10)
@LOW
@fast_engines
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


@fast_engines
@pytest.mark.parametrize('parts', OWN.values(), ids=OWN)
def test_users_own_parts(parts, compile):
    some = lambda dtype: {k: p for k, p in params_of_every_size(dtype).items()
                          if p.dim() > 1 and p.numel()}
    agree(*plain_and(lambda g, on: Optimizer(g, parts, lr=.05, compile=on and compile),
                     params=some), 12)


def test_whole_parts_are_in_the_kernel(monkeypatch):
    calls, call = [], Kernel.__call__
    def counted(self, *args): calls.append(args[0]); call(self, *args)
    monkeypatch.setattr(Kernel, '__call__', counted)
    two = lambda dtype: {'a': random_param(1, (40, 30), dtype), 'b': random_param(2, (7,), dtype)}
    agree(*plain_and(lambda g, on: Optimizer(g, LAMB, lr=.05, compile=on), params=two), 5)
    assert len(calls) == 5  # one in each step, norms and all, for both parameters


def test_an_operation_that_has_no_c_runs_as_it_is_by_default():
    def make(groups, is_other):
        return Optimizer(groups, [genopt.l2_reg, scaled_erfcx], lr=.01, wd=.1,
                         compile=None if is_other else False)
    plain, ours, other, theirs = plain_and(make)
    agree(plain, ours, other, theirs, 5)
    assert 'kernel: 1 of 2 parts; `scaled_erfcx` runs as it is: there is no C for' in str(other)


# -- elsewhere -------------------------------------------------------------------------------------

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU here')
@fast_engines
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
BINARY = ('add sub mul div maximum minimum atan2 hypot fmax fmin copysign fmod remainder '
          'pow').split()
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
    alias=lambda a, b: torch.ops.aten.alias(a).detach(),
    bits=lambda a, b: (a.view({4: torch.int32, 8: torch.int64}[a.itemsize]) & -8).view(a.dtype),
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
    parts += [step(lambda grad, *, lr: -lr * grad)]
    made = run_as_kernel(parts, a, b, lr=.1)
    tol = dict(rtol=2e-6, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-14, atol=1e-15)
    for k, f in fns.items():
        torch.testing.assert_close(made[k].to(dtype), f(a, b).to(dtype),
                                   equal_nan=True, **tol, msg=lambda m, k=k: f'{k}: {m}')
    tried = {op.name for op in tape_of(genopt.Composition(parts), dtype).ops}
    assert {*operations.OPS} <= tried, {*operations.OPS} - tried


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
    def run(engine):
        ps = [random_param(i, s) for i, s in enumerate(shapes)]
        opt = run_by(engine, genopt.recipe(name) + look, ps, lr=.01)
        seen.clear()
        for t in range(3):
            for i, p in enumerate(ps): p.grad = random(10 * t + i, p.shape, p.dtype)
            opt.step()
        return ps
    ps = run('plain')
    assert seen == 3 * shapes
    for a, b in zip(ps, run('eager')): assert torch.equal(a, b)
