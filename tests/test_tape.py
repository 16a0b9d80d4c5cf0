"""Promise: a kernel computes what the parts compute, in every dtype and on every value.

What cannot be a kernel is named.

Programs are drawn at random: casts, views of bits, roundings, whole numbers, numbers, in any order.
"""
import math
import random as drawing
import re

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import genopt
import tapes
from genopt import Optimizer, PartError, stat, step
from genopt.engines import operations
from genopt.engines.pointwise import why_not_pointwise

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
INTS = [torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8]
SPECIAL = [0., -0., 1., -1., .5, 1.5, 2.5, -3., 7., 255., 256.5,
           1e-3, 1e-8, 3e-45, -1e-40, 1e-310,
           65504., 65519., 65520., 7e4, -1e6, 16777217., 2.**31, -2.**31, 2.**40,
           1e19, 3e38, 3.4e38, 1e300, math.inf, -math.inf, math.nan]
NUMBERS = dict(lr=.1, eps=1e-3, big=3.)


def pairs(dtype):
    "Every pair of special values, and ordinary ones."
    s, draw = torch.tensor(SPECIAL, dtype=torch.float64), torch.Generator().manual_seed(1)
    a, b = 10 * torch.randn(2, 300, generator=draw, dtype=torch.float64)
    a, b = torch.cat([s.repeat(len(s)), a]), torch.cat([s.repeat_interleave(len(s)), b])
    return a.to(dtype), b.to(dtype)


def part_of(name, code, reads=()):
    "A stat `name` that is `code`, of `a`, `b`, the numbers and other stats."
    reads = ''.join(f', {k}' for k in reads if re.search(rf'\b{k}\b', code))
    numbers = ', '.join(f'{k}=0.' for k in NUMBERS if re.search(rf'\b{k}\b', code)) or 'unused=0.'
    scope = dict(torch=torch)
    exec(f'def part({name}, param, grad{reads}, *, {numbers}):\n'
         f'    a, b = param, grad\n'
         f'    return {code}', scope)
    return stat(scope['part'])


def run_as_kernel(program, dtype):
    "name -> result of a program of lines `name = code`, by a kernel in C."
    parts = [part_of(k, code, program) for k, code in program.items()]
    return tapes.run_as_kernel([*parts, step(lambda grad, *, lr: -lr * grad)], *pairs(dtype),
                               **NUMBERS)


def run_in_torch(program, dtype):
    env = dict(zip('ab', pairs(dtype)))
    for k, code in program.items(): env[k] = eval(code, dict(torch=torch), env | NUMBERS)
    return env


def assert_same(program, dtype):
    made, right = run_as_kernel(program, dtype), run_in_torch(program, dtype)
    unsure = set()  # the bits of NaN differ within torch, between vectors and what is left over
    for k, code in program.items():
        x, y = made[k], right[k].expand(len(made[k]))
        reads = {*re.findall(r'\w+', code)}
        if reads & unsure or '.view(' in code and right[code.split('.')[0]].isnan().any():
            unsure.add(k)
        assert x.dtype == y.dtype, (k, program)
        if k in unsure: continue
        same = (x == y) & (x.signbit() == y.signbit()) | x.isnan() & y.isnan()
        at = {n: right[n][~same][:1] for n in reads & {*right}}
        assert same.all(), (f'{k} = {code}, in {program}: '
                            f'{at} makes {x[~same][0]}, not {y[~same][0]}')


# -- programs --------------------------------------------------------------------------------------

def possible_lines(draw, env):
    "Lines of code that some of the values so far allow."
    def one(*dtypes):
        return draw.choice([k for k, x in env.items() if x.dtype in dtypes][-4:] or ['none'])
    x, y, i, j = one(*FLOATS), one(*FLOATS), one(*INTS), one(*INTS)
    t, z = one(torch.bool), draw.choice([*env])
    n = draw.choice([*NUMBERS, '.3', '2', '-1.5', '70000.'])
    c = draw.choice(['3', '-7', '255', '1'])
    alike = [d for d in FLOATS + INTS
             if d.itemsize == env[z].dtype.itemsize and env[z].dtype != torch.bool]
    return [*[f'{z}.to({draw.choice(FLOATS + INTS[:2] + [torch.bool])})'] * 6,
            *[f'{z}.view({d})' for d in alike],
            *[f'{x} {op} {y}' for op in '+-*/<'], *[f'{x} {op} {n}' for op in '+-*/<'],
            *[f'{n} {op} {x}' for op in '+-*/'],
            *[f'{x}.{f}()' for f in ('abs', 'neg', 'sign', 'floor', 'round', 'trunc',
                                     'isnan', 'isfinite', 'relu', 'reciprocal')],
            f'torch.maximum({x}, {y})', f'{x}.clamp(min={n})', f'{x}.clamp(-1., {n})',
            f'{x}.add({y}, alpha={n})', f'{x}.sub({y}, alpha={n})',
            f'torch.full_like({x}, {n})', f'torch.tensor({n}) * {x}',
            f'{x}.addcmul({y}, {x}, value={n})', f'{x}.lerp({y}, {n})',
            f'torch.where({t}, {x}, {n})', f'torch.where({t}, {z}, {y})',
            f'{x}.masked_fill({t}, {n})', f'{t} * {n}', f'~{t}', f'{t} & ({x} > {n})',
            *[f'{i} {op} {j}' for op in ('+', '-', '*', '&', '>>', '<<', '<')],
            *[f'{i} {op} {c}' for op in ('+', '*', '^', '|', '>', '/')],
            f'{i} >> 16', f'{i} << 9', f'{i} & 0x7f', f'-{i}', f'~{i}', f'{i}.abs()',
            f'{i} * .3', f'{i} + {x}', f'{x} > {i}', f'{i}.clamp(0, 9)']


def draw_program(seed, dtype):
    draw, env, program = drawing.Random(seed), dict(zip('ab', pairs(dtype))), {}
    while len(program) < 8:
        code = draw.choice(possible_lines(draw, env))
        try: out = eval(code, dict(torch=torch), env | NUMBERS)
        except Exception: continue  # torch refuses it
        name = f'v{len(program)}'
        trial = {**program, name: code}
        if out.dim(): program, env[name] = trial, out
    return program


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('default', [torch.float32, torch.float64],
                         ids=lambda d: f'default {str(d)[6:]}')
@pytest.mark.parametrize('seed', range(40))
def test_a_kernel_computes_what_torch_computes(seed, default):
    "To the bit, the signs of zeros too, on every pair of special values."
    before, dtype = torch.get_default_dtype(), FLOATS[seed % 2]
    torch.set_default_dtype(default)
    try: assert_same(draw_program(seed, dtype), dtype)
    except operations.Untranslatable: pytest.skip('an operation that has no C')
    finally: torch.set_default_dtype(before)


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('code', [
    'a.bfloat16().float()', 'a.half().float()', 'a.double().bfloat16()',
    '(a.bfloat16() + b.bfloat16()) * a.bfloat16()',
    'a.half() * .3', 'a.bfloat16() * lr', 'a.bfloat16() > lr', 'a.half().clamp(max=lr)',
    'a.int()', 'a.long()', 'a.bool()', 'a.long().half()', 'a.int().float()',
    '(a / 7).long().to(a.dtype)', 'a.int() * 2654435', '-a.int()',
    'a.int() >> b.int()', 'a.long() << b.long()',
    '(a > b) * lr', 'lr / a', 'a.add(b, alpha=-eps)', 'a - a * lr', 'a.view(a.dtype)',
    'torch.full_like(a, lr)', 'torch.where(a > b, lr, a)', 'torch.tensor(lr) * a',
    'lr / 3 * a', '3 / big * a', '((lr > eps) + (lr > 0)) * a', 'a.int() / 3', 'a.int() < .5'])
@pytest.mark.parametrize('dtype', FLOATS[:2], ids=lambda d: str(d)[6:])
def test_each_kind_of_conversion(code, dtype): assert_same(dict(v=code), dtype)


@pytest.mark.parametrize('code', ['a.to(torch.int8)', 'a.to(torch.uint8)',
                                  'a.int() // 3', 'a.int() % 3', 'a.bfloat16().exp()'])
def test_what_may_differ_in_c_goes_another_way(code):
    with pytest.raises(operations.Untranslatable): run_as_kernel(dict(v=code), torch.float32)


# -- compiled optimizers ---------------------------------------------------------------------------

@stat
def rounding_error(lost, new_param): return new_param - new_param.bfloat16().float()

@step
def to_the_next_float(grad): return (grad.view(torch.int32) + 1).view(torch.float32) - grad

@step
def coarse_step(grad): return grad.half().abs().float() + (grad.bfloat16() * 3).float()

@stat
def randomly_rounded(rounded, grad):
    bits = grad.view(torch.int32)
    noise = ((bits ^ 12345) * 1664525 + 1013904223 >> 8) & 0xffff
    return (bits + noise & -65536).view(torch.float32)


def moved(parts, n=2000, **kwargs):
    p = nn.Parameter(torch.zeros(n))
    opt = Optimizer([p], parts, **kwargs)
    for i in range(3):
        p.grad = torch.randn(n, generator=torch.Generator().manual_seed(i)) * 10.**(i - 1)
        opt.step()
    return [p.detach(), *[v for v in opt.state[p].values() if isinstance(v, torch.Tensor)]]


PARTS = [[genopt.sgd_step, rounding_error], [to_the_next_float],
         [coarse_step], [randomly_rounded, genopt.sgd_step]]


@pytest.mark.parametrize('parts', PARTS, ids=lambda parts: parts[-1].__name__)
def test_roundings_and_bits_in_an_optimizer(parts):
    kwargs = dict(lr=.1) if genopt.sgd_step in parts else {}
    for a, b in zip(moved(parts, **kwargs), moved(parts, **kwargs, compile=True)):
        assert torch.equal(a, b)


# -- each element alone ----------------------------------------------------------------------------

class Watch(TorchDispatchMode):
    "Which operations do not treat each element alone."
    def __init__(self):
        super().__init__()
        self.found = []
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if why := why_not_pointwise(func, (args, kwargs), out): self.found.append(why)
        return out


def found(code):
    g, h = torch.rand(2, 5, 4)
    with Watch() as watch: eval(code, dict(torch=torch, F=nn.functional, g=g, h=h))
    return watch.found


@pytest.mark.parametrize('code', [
    'g + 1', 'g.add_(h)', 'g.mul_(2)', 'g.view(-1) * 2', 'g.flatten()',
    'g.half()', 'g.view(torch.int32)', 'g.clone()',
    'torch.where(g > 0, g, 0.)', 'torch.where(g > 0, 0., 1.)', 'g // 2', 'g % 2',
    'F.softplus(g)', 'F.hardswish(g)', 'F.logsigmoid(g)', 'g.isfinite()', 'g.nan_to_num()',
    'torch.empty_like(g).copy_(h)', 'torch.zeros(g.shape) + g', 'torch.tensor(.5) * g',
    'torch.max(g, h)', 'torch.mul(g, h, out=torch.empty_like(g))', 'g.fill_(2)', 'g.square()',
    'g.masked_fill_(g > 0, 0.)', '~(g > 0) & (h > 0)', 'g.int() << 2',
    'torch.frexp(g)', 'g.lerp(h, .1)', 'g.unsqueeze(0).squeeze(0)', 'g.expand_as(h)',
    'torch.tensor([2.]) * g', 'torch.ones(()).sqrt()', 'g.erfinv()'])
def test_operations_on_each_element_alone(code): assert not found(code)


@pytest.mark.parametrize('code, name', [
    ('g.sum()', 'sum'), ('g.isfinite().all()', 'all'), ('g.std()', 'std'),
    ('g.norm()', 'norm'), ('g.max()', 'max'), ('torch.dot(g[0], h[0])', 'dot'),
    ('g.cumsum(0)', 'cumsum'), ('g.sort()', 'sort'), ('g.flip(0)', 'flip'), ('g.roll(1)', 'roll'),
    ('g.softmax(0)', 'softmax'), ('torch.rand_like(g)', 'rand_like'),
    ('g.T', 'permute'), ('g.view(torch.int16)', 'view'),
    ('torch.tensor([1., 2., 3., 4.])', 'tensor'), ('torch.arange(4)', 'arange'),
    ('g[0]', 'select'), ('g.view(-1)[:, None] * g.view(-1)', 'mul'),
    ('g.equal(h)', 'equal'), ('g.max(0)', 'max'),
    ('torch.rand(())', 'rand'), ('F.dropout(g)', 'bernoulli'),
    ('g[:1, :1].sum()', 'sum'), ('g[g > 0]', 'index')])
def test_operations_that_mix_elements_are_named(code, name): assert name in found(code)


def test_every_operation_in_c_treats_each_element_alone():
    for name in operations.OPS:
        func = getattr(getattr(torch.ops.aten, name), getattr(torch.ops.aten, name).overloads()[0])
        assert not why_not_pointwise(func, (torch.ones(1),), torch.ones(1)), name


@pytest.mark.parametrize('code, name', [
    ('torch.where(b.isfinite().all(), a, b)', 'all'),
    ('a / a.norm()', 'norm'), ('a - a.mean()', 'mean'),
    ('a.cumsum(0)', 'cumsum'), ('a.flip(0)', 'flip'),
    ('a * torch.tensor([1., 2., 3., 4., 5.])', 'tensor'),
    ('a + torch.rand_like(a)', 'rand_like'), ('a.view(torch.int16)', 'view')])
def test_a_part_that_mixes_elements_is_named_with_its_line(code, name):
    says = rf'cannot be compiled \(.*line 3\): `{name}` does not treat each element alone'
    with pytest.raises(PartError, match=says):
        run_as_kernel(dict(v=code), torch.float32)


def test_a_sum_in_place_of_two_dtypes_is_refused():
    with pytest.raises(PartError, match='it mixes dtypes in place'):
        run_as_kernel(dict(v='a.clone().add_(b.double())'), torch.float32)
