"""Promise: a step is the same whatever mode of torch it is made in: with another default device,
while somebody watches operations, and while a graph is made of it.
"""
import gc
from functools import partial

import genopt
import pytest
import torch
from genopt import stat, step, transform
from helpers import Watch, each_recipe, random
from three_engines import ENGINES, adam, each_engine, kinds, run_by, torchs_adam
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

START = [random(i, (6, 8), torch.float32) for i in range(2)]
GRADS = [[random(10 * i + j, (6, 8), torch.float32) for j in range(2)] for i in range(3)]


def steps_of(make, steps=3, sparse=False):
    "Where some steps lead from START along GRADS."
    ps = [nn.Parameter(x.clone()) for x in START]
    opt = make(ps)
    for grads in GRADS[:steps]:
        for p, g in zip(ps, grads): p.grad = g.to_sparse(1) if sparse else g.clone()
        opt.step()
    return [p.detach() for p in ps]


@pytest.fixture
def on_meta():
    torch.set_default_device('meta')
    yield
    torch.set_default_device(None)


@each_engine
@kinds
def test_a_default_device_is_not_for_what_a_step_needs(kind, engine, on_meta):
    torch.testing.assert_close(steps_of(adam(kind, engine)), steps_of(torchs_adam),
                               rtol=2e-5, atol=1e-6)


@pytest.mark.filterwarnings('ignore:Sparse invariant')  # torch's Adagrad
@each_engine
@pytest.mark.parametrize('ours, twin', [
    (genopt.Adam + genopt.lazy, torch.optim.SparseAdam),
    (genopt.SparseAdam, torch.optim.SparseAdam),
    (genopt.SGD, torch.optim.SGD),
    (genopt.Adagrad, torch.optim.Adagrad)])
def test_nor_for_sparse_gradients(ours, twin, engine, on_meta):
    with torch.device('cpu'): want = steps_of(partial(twin, lr=.1), sparse=True)
    got = steps_of(partial(run_by, engine, ours, lr=.1), sparse=True)
    torch.testing.assert_close(got, want, rtol=2e-5, atol=1e-6)


@each_recipe
def test_nor_for_any_recipe(recipe):
    makes = [partial(run_by, engine, recipe, lr=.01) for engine in ENGINES]
    want = [steps_of(make) for make in makes]
    with torch.device('meta'): got = [steps_of(make) for make in makes]
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@stat
def rounded_avg(rounded_avg, grad, *, mom=.9):
    return rounded_avg.lerp((10 * grad).int().float() / 10, 1 - mom)

@transform(whole=True)
def sorted_grad(grad): return grad.flatten().sort().values.view_as(grad)

@step
def asking_step(grad, rounded_avg, count, *, lr):
    return -lr * min(1., count / 2) * (rounded_avg if 1 / count < .7 else grad)


@each_engine
def test_nor_for_parts_that_ask_numbers_make_numbers_or_run_as_they_are(
        engine, on_meta, no_kernels):
    parts = [genopt.step_count, sorted_grad, rounded_avg, asking_step]
    make = partial(run_by, engine, genopt.Optimizer, parts=parts, lr=.1)
    got = steps_of(make)
    with torch.device('cpu'): want = steps_of(make)
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@kinds
def test_who_watches_operations_sees_a_compiled_step(kind):
    make, watched = adam(kind, 'compiled'), []
    def begin(ps):
        opt = make(ps); step = opt.step
        def look():
            with Watch() as mode: step()
            watched.append(mode.seen)
        opt.step = look
        return opt
    torch.testing.assert_close(steps_of(begin), steps_of(make), rtol=2e-5, atol=1e-6)
    assert all({'add_', 'copy_'} & {*seen} or '_foreach_copy_' in seen for seen in watched)


# a total is a number of its graph, which torch refuses
@pytest.mark.parametrize('kind', ['elementwise', 'whole'])
@each_engine
def test_a_graph_of_compiled_steps_has_them_all(kind, engine):
    "Counts go on while it is made, so its second step is a second step."
    def two_steps(make):
        def steps(x, g):
            p = x.clone().requires_grad_()
            opt = make([p])
            for _ in range(2): p.grad = g; opt.step()
            return p.detach()
        return steps
    x, g = START
    graph = make_fx(two_steps(adam(kind, engine)))(x, g)
    torch.testing.assert_close(graph(-2 * g, x), two_steps(torchs_adam)(-2 * g, x),
                               rtol=2e-5, atol=1e-6)


# -- what has nothing to do with a part ------------------------------------------------------------

class Forgotten:
    "Garbage that only the collector finds. It looks at modes and tensors when it goes."
    seen = []
    def __init__(self): self.me = self
    def __del__(self):
        watched = torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack()
        self.seen.append((bool(watched), tuple((START[0] + 1).shape)))


@transform
def littering(grad):
    Forgotten()
    return [grad * 1, *[[i] for i in range(9)]][0]  # each of these lists may call the collector


def test_a_finalizer_is_not_taken_for_a_part():
    usual, Forgotten.seen = gc.get_threshold(), []
    gc.set_threshold(5)
    try:
        compiled = steps_of(partial(genopt.Optimizer, parts=[littering, genopt.sgd_step], lr=.1))
        assert Forgotten.seen and gc.isenabled()
    finally: gc.set_threshold(*usual)
    assert {*Forgotten.seen} == {(False, (6, 8))}
    assert_same = partial(torch.testing.assert_close, rtol=0, atol=0)
    assert_same(compiled, steps_of(partial(genopt.SGD, lr=.1)))
