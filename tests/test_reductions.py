"""Promise: what a part makes of whole tensors, of their rows and of their columns is computed in
the kernel, and is what torch computes.
"""
import math
import re

import genopt
import pytest
import torch
from genopt import Optimizer, stat
from helpers import assert_close, dtypes, random, random_param
from torch import nn

SHAPES = (), (1,), (7,), (5, 7), (1, 6), (6, 1), (4, 3, 2, 5), (3, 1, 4), (400, 350), (200_000,)

OF_ALL = ['a.sum()', 'a.mean()', 'a.norm()', 'a.norm(1)', 'a.norm(float("inf"))', 'a.abs().max()',
          'a.amax()', 'a.min()', 'a.isfinite().all()', '(a > 2.5).any()', '(a > 0).sum()',
          'a.count_nonzero()', '(a > 0).float().mean()', 'a.flatten().dot(b.flatten())',
          '(a * b).sum() / (a.norm() * b.norm())', '((a - a.mean())**2).mean()',
          'torch.linalg.vector_norm(a)', 'a.square().sum().sqrt()', 'a.flatten().norm()',
          'a.norm() / a.numel()**.5', 'a.norm() * max([2, *a.shape])',
          '(a.abs() / a.abs().max()).sum()',
          '(10 * a).int().sum()', '(10 * a).int().amax()', 'a.double().mean()',
          'a.sum(dtype=torch.float64)', 'a.sum() if lr > .05 else b.sum()']
SPREAD = ['a.std()', 'a.var()', 'a.var(unbiased=False)', 'a.std(-1, keepdim=True)',
          'torch.var(a, 0, correction=0, keepdim=True)']
OF_ROWS = ['a.sum(0, keepdim=True)', 'a.mean(-1, keepdim=True)', 'a.amax(0, keepdim=True)',
           'a.norm(dim=-1, keepdim=True)', 'a.mean(0)', 'a.sum(0).norm()', 'a.mean(0).amax()',
           'a.norm(dim=0).mean()', '(a - a.mean(-1, keepdim=True)).norm(dim=0, keepdim=True)',
           'a.isfinite().all(0, keepdim=True)', '(a > 1).any(-1, keepdim=True)',
           'a.amax(0, keepdim=True) - a.amin(-1, keepdim=True)',
           'a.mean(-1, keepdim=True).square() * a.mean(0, keepdim=True)']
OF_MATRICES = ['a.t().mean(1)', 'torch.outer(a.mean(1), b.mean(0))', 'a.T.norm(dim=0).unsqueeze(1)',
               'a.mean(1, keepdim=True) @ a.mean(0, keepdim=True)', 'a.t().abs().t()',
               'a.mean(1)[:, None] * a.mean(0)',
               'a.mean(1).unsqueeze(-1) / a.mean(0, keepdim=True)',
               'a.permute(1, 0).sum(0).unsqueeze(1)', 'a.transpose(0, 1).mul(2).transpose(0, 1)',
               'a.square().mean(1, keepdim=True) / a.square().mean(1).mean()',
               'a.mean((0, 1))', 'a.amax((0, 1), keepdim=True)']
OF_IMAGES = ['a.flatten(1).norm(dim=1)[:, None, None, None]', 'a.mean((2, 3), keepdim=True)',
             'torch.linalg.vector_norm(a, dim=(1, 2, 3), keepdim=True)',
             'a.reshape(a.shape[0], -1).mean(0).reshape(a.shape[1:])',
             'a.permute(2, 3, 0, 1).sum((0, 1))[:, :, None, None]', 'a.sum((0, 2), keepdim=True)',
             'a.flatten(2).amax(-1).unsqueeze(-1).unsqueeze(-1)',
             'a.mean((1, 2, 3), keepdim=True) * a.mean((0, 2), keepdim=True)']


def stat_of(i, code):
    "A stat `x_i` that is `code`, of a = grad and b = param."
    scope = dict(torch=torch)
    exec(f'def made(x, param, grad, *, lr):\n'
         f'    a, b = grad, param\n'
         f'    return torch.zeros_like(a) + ({code})', scope)
    return stat(whole=True)(scope['made']).rename(x=f'x_{i}')


def made(codes, ps, grads, compile):
    "A list of values for each parameter, and what the optimizer says of its engine."
    parts = [stat_of(i, code) for i, code in enumerate(codes)]
    opt = Optimizer(ps, [*parts, genopt.sgd_step], lr=.1, compile=compile)
    for p, g in zip(ps, grads): p.grad = g
    opt.step()
    return [[opt.state[p][f'x_{i}'] for i in range(len(codes))] for p in ps], str(opt)


def assert_as_torch(codes, shapes, dtype, order=lambda x: x):
    "In double precision, from the same numbers. A kernel adds up in double precision too."
    ps = [nn.Parameter(order(random(i, s, dtype))) for i, s in enumerate(shapes)]
    qs = [nn.Parameter(p.detach().clone().double()) for p in ps]
    grads = [order(random(100 + i, s, dtype)) for i, s in enumerate(shapes)]
    got, said = made(codes, ps, grads, True)
    want, _ = made(codes, qs, [g.double() for g in grads], False)
    assert f'kernel: {len(codes) + 1} of {len(codes) + 1} parts\n' in said
    tol = 1e-12 if dtype == torch.float64 else 3e-6
    for shape, xs, ys in zip(shapes, got, want):
        for code, x, y in zip(codes, xs, ys):
            size = y.abs().nan_to_num(0, 0, 0).max().item()
            torch.testing.assert_close(x.double(), y, rtol=tol, atol=tol * size, equal_nan=True,
                                       msg=lambda m, c=code, s=shape: f'{c} of {s}: {m}')


def of(n): return [s for s in SHAPES if len(s) >= n]


PROGRAMS = {'all': (OF_ALL, SHAPES), 'spread': (SPREAD, of(1)), 'rows': (OF_ROWS, of(1)),
            'matrices': (OF_MATRICES, [s for s in SHAPES if len(s) == 2]),
            'images': (OF_IMAGES, [(4, 3, 2, 5), (1, 3, 5, 2), (64, 3, 7, 7), (2, 70, 33, 40)])}


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('name', PROGRAMS)
@dtypes(torch.float32, torch.float64)
@pytest.mark.filterwarnings('ignore:.*degrees of freedom')  # of one element
def test_a_kernel_computes_what_torch_computes(name, dtype): assert_as_torch(*PROGRAMS[name], dtype)


def channels_last(x): return x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize('name, order', [('matrices', lambda x: x.t().contiguous().t()),
                                         ('images', channels_last),
                                         ('images', lambda x: x.permute(3, 1, 0, 2).contiguous()
                                          .permute(2, 1, 3, 0))])
def test_and_of_tensors_that_lie_in_another_order(name, order):
    assert_as_torch(*PROGRAMS[name], torch.float64, order)


SPECIAL = [math.nan, math.inf, -math.inf, -0., 1e300, -1e300, 5e-324]


@pytest.mark.exhaustive(6)
@pytest.mark.parametrize('values', [[x] for x in SPECIAL] + [
    [math.inf, -math.inf], [math.inf, math.nan], [1e300, math.inf], [-0., 5e-324, -1e300]])
@pytest.mark.parametrize('shape', [(5, 7), (40, 5)])
def test_and_of_special_numbers(values, shape):
    "Wherever they stand."
    for at in 0, 17, -1 - len(values):
        p, q = random_param(1, shape, torch.float64), random_param(1, shape, torch.float64)
        g = random(2, shape, torch.float64)
        g.view(-1)[at:at + len(values) or None] = torch.tensor(values, dtype=torch.float64)
        codes = [c for c in OF_ALL + OF_ROWS if '.int()' not in c and 'std' not in c]
        got, _ = made(codes, [p], [g], True)
        want, _ = made(codes, [q], [g], False)
        for code, x, y in zip(codes, got[0], want[0]):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12, equal_nan=True,
                                       msg=lambda m, c=code: f'{c}: {m}')


@dtypes(torch.bfloat16, torch.float16)
def test_low_precision_is_computed_in_float32(dtype):
    codes = ['a.norm()', 'a.mean(-1, keepdim=True)', 'a.amax(0)', '(a.half().sum() + 1).float()']
    ps, qs = [[nn.Parameter(random(i, (60, 40), dtype)) for i in range(2)] for _ in 'pq']
    grads = [random(9 + i, (60, 40), dtype) for i in range(2)]
    got, want = made(codes, ps, grads, None)[0], made(codes, qs, grads, False)[0]
    for xs, ys in zip(got, want):
        for x, y in zip(xs, ys): torch.testing.assert_close(x, y, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize('code', ['a.cumsum(0)', 'a.flatten().sort().values.view_as(a)',
                                  'a.flip(0)', 'a @ a.t() @ b', 'a.logsumexp(0)', 'a.softmax(-1)',
                                  'a.max(0).values', 'a.median()', 'a.norm(3)',
                                  'a.t().contiguous().t()',
                                  'a.reshape(7, 5).mean(0).repeat(7)[:7] * a', 'a[0] * a[:, :1]',
                                  'a.prod()', 'a.std(0).argmax() + a',
                                  'a.kthvalue(2).values[:, None]'])
def test_what_has_no_place_in_a_loop_runs_as_it_is(code):
    ps, qs = [[random_param(i, (5, 7), torch.float64) for i in range(2)] for _ in 'pq']
    grads = [random(9 + i, (5, 7), torch.float64) for i in range(2)]
    (got, said), (want, _) = made([code], ps, grads, True), made([code], qs, grads, False)
    assert_close([x for xs in got for x in xs], [x for xs in want for x in xs])
    kernels = r'kernel: (1 of 2 parts; `made\[x=x_0\]` runs as it is: |2 of 2 parts\n)'
    assert re.search(kernels, said)
