"""Promise: kernels change how fast a step is, and nothing else.

No value compiles anything. `test_memory.py` has what may happen to tensors between two steps.
"""
import copy

import genopt
import pytest
import torch
from genopt import Optimizer, sgd_step
from genopt.engines import table
from helpers import (Watch, difference, params_of_every_kind, pickled, random, random_param,
                     random_step, set_grads)
from torch import nn

RULES = {'elementwise': genopt.Adam, 'norms': genopt.LAMB, 'rows and columns': genopt.Adafactor,
         'total': genopt.Adam + genopt.clip_by_global_norm}
each_rule = pytest.mark.parametrize('rule', RULES)


def pair(make=genopt.Adam, **kwargs):
    "Equal parameters, an optimizer that runs plainly and a compiled one."
    ours, theirs = params_of_every_kind(), params_of_every_kind()
    return (make(ours.items(), compile=False, **kwargs), ours,
            make(theirs.items(), compile=True, **kwargs), theirs)


def step_both(plain, ours, other, theirs, steps, tol=1e-12):
    for i in steps:
        set_grads(ours, i); set_grads(theirs, i)
        plain.step(); other.step()
        assert difference(theirs.values(), ours.values()) <= tol, f'step {i}'


# -- nothing compiles twice ------------------------------------------------------------------------

def run_that_changes_everything(opt, params, more=0):
    """lr, every hyperparameter, a schedule, the count, which parameters have gradients, how many
    there are, and their sizes."""
    has_moms = 'mom' in opt.param_groups[0]
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, .1, total_steps=100,
                                                   cycle_momentum=has_moms)
    for i in range(24):
        set_grads(params, i)  # `sometimes` and `late` come and go
        opt.step()
        if i < 15: schedule.step()
        for group in opt.param_groups:
            new = dict(sqr_mom=.9 + i / 1000, eps=1e-8 * (i + 1), wd=i % 3 / 10)
            group.update({k: v for k, v in new.items() if k in group})
        if i in (15, 18):
            n = i + more
            shapes = (30 + n,), (2, 3 + n), (300, 400 + n), (2, 3, 4, 3 + n)
            opt.add_param_group(dict(params=[(f'more {i} {s}', random_param(i, s, torch.float64))
                                             for s in shapes]))


@pytest.mark.parametrize('rule, kernels', [
    ('elementwise', 1), ('norms', 2), ('rows and columns', 6), ('total', 4)])
def test_no_value_no_number_of_tensors_and_no_size_compiles_anything(rule, kernels, builds):
    "Adafactor asks for sizes: these become numbers of a kernel when there are others."
    for more in 0, 7:
        params = params_of_every_kind()
        run_that_changes_everything(RULES[rule](params.items(), compile=True), params, more)
        assert len({*builds}) == kernels


def test_a_kernel_for_each_recipe_and_dtype(builds):
    for dtype in torch.float64, torch.float32, torch.bfloat16:
        for recipe in genopt.Adam, genopt.AdamW:
            for _ in range(2):
                params = params_of_every_kind(dtype)
                opt = recipe(params.values(), compile=True)
                set_grads(params, 20); opt.step()
    assert len(builds) == 6 and len({*builds}) == 6


# -- nothing is out of date ------------------------------------------------------------------------

def test_nothing_is_looked_at_again_when_nothing_changed():
    params = params_of_every_kind()
    opt = genopt.Adam(params.values(), compile=True)
    seen = []
    for i in range(20, 26):
        for k, p in params.items(): p.grad = None if k == 'frozen' else random(i, p.shape, p.dtype)
        opt.step()
        seen.append(opt.engine.last)
    assert seen == seen[:1] * 6


@each_rule
def test_a_step_calls_no_operation_of_torch(rule, monkeypatch):
    "So it allocates no tensor: there is no extra memory."
    opt = RULES[rule]([random_param(i, (30, 20)) for i in range(10)], compile=True)
    random_step(opt)
    # or the plain way would be watched
    monkeypatch.setattr(torch._C, '_len_torch_dispatch_stack', lambda: 0)
    with Watch() as mode: opt.step()
    called = {name for name in mode.seen if 'profiler' not in name}
    assert called <= {'_local_scalar_dense', 'detach'}  # the count is read


def test_gradients_in_other_layouts():
    plain, ours, other, theirs = pair()
    for i in range(12, 18):
        set_grads(ours, i); set_grads(theirs, i)
        if i > 13:
            theirs['matrix'].grad = theirs['matrix'].grad.t().contiguous().t()
            theirs['conv'].grad = theirs['conv'].grad.contiguous()
            theirs['vector'].grad = torch.stack([theirs['vector'].grad] * 2, 1)[:, 1]
            theirs['transposed'].grad = torch._neg_view(-theirs['transposed'].grad)
            theirs['scalar'].grad = theirs['scalar'].grad.requires_grad_()
        plain.step(); other.step()
        assert difference(theirs.values(), ours.values()) <= 1e-12


def test_module_to_another_dtype_and_back_again():
    model = nn.Linear(4, 3)
    opt = genopt.SGD(model.parameters(), lr=.1, compile=True)
    for dtype in (torch.float32, torch.float64, torch.float32):
        model.to(dtype)
        before = [p.detach().clone() for p in model.parameters()]
        for p in model.parameters(): p.grad = torch.ones_like(p)
        opt.step()
        for p, b in zip(model.parameters(), before): assert torch.allclose(p, b - .1)


def test_copies_and_pickles_go_on_alike():
    plain, ours, other, theirs = pair()
    step_both(plain, ours, other, theirs, range(12, 15))
    for again in (copy.deepcopy((theirs, other)), pickled((theirs, other))):
        assert again[1].compile and not again[1].engine.plans
        for i in range(15, 18):
            set_grads(again[0], i); again[1].step()
        set_state = copy.deepcopy((ours, plain))
        for i in range(15, 18):
            set_grads(set_state[0], i); set_state[1].step()
        assert difference(again[0].values(), set_state[0].values()) <= 1e-12


def test_autograd_knows_that_parameters_have_changed():
    w, x = nn.Parameter(torch.ones(3)), torch.ones(3, requires_grad=True)
    opt = genopt.SGD([w], lr=.1, compile=True)
    loss = (w * x).sum(); loss.backward(retain_graph=True)
    version = w._version
    opt.step()
    assert w._version == version + 1
    with pytest.raises(RuntimeError, match='modified by an inplace operation'): loss.backward()


def test_a_scheduler_that_gives_sgd_a_momentum():
    plain, ours, other, theirs = pair(genopt.SGD, lr=.1)
    step_both(plain, ours, other, theirs, range(12, 14))
    for opt in plain, other: opt.param_groups[0]['momentum'] = .9
    step_both(plain, ours, other, theirs, range(14, 18))


def test_maximize_and_groups_of_their_own_parts():
    def make(params, **kwargs):
        a = [p for _, p in params]
        groups = [dict(params=a[::2], parts=genopt.AdamW, maximize=True),
                  dict(params=a[1::2], parts=[sgd_step])]
        return Optimizer(groups, lr=.01, **kwargs)
    step_both(*pair(make), range(12, 18))


def test_a_step_without_any_gradient():
    opt = genopt.Adam([nn.Parameter(torch.ones(3))], compile=True)
    opt.step()
    assert not opt.state


def test_without_torchs_guards(monkeypatch):
    monkeypatch.setattr(table, 'TensorGuards', None)
    step_both(*pair(genopt.AdamW), range(9, 15))


def test_a_number_times_a_condition():
    "torch computes it in the default dtype, whatever meets it later: so does a kernel."
    @genopt.stat(init=torch.ones_like)
    def gain(gain, grad, *, grow=.2): return torch.where(grad < 0, gain, gain + grow * (grad > 0))
    @genopt.step
    def gain_step(grad, gain, *, lr): return -lr * gain * grad
    seen = []
    for compile in (False, True):
        p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        p.grad = torch.tensor([1., -1., 0.]).double()
        opt = genopt.Optimizer([p], [gain, gain_step], lr=1., compile=compile); opt.step()
        seen.append((p.detach(), opt.state[p]['gain']))
    assert all(torch.equal(a, b) for a, b in zip(*seen))
    assert seen[0][1][0] == 1 + torch.tensor(.2).double()
