"""Promise: a gradient may be of any layout and dtype, and lie in any memory: a step does what it
does with a plain copy.
"""
import genopt
import pytest
import torch
from helpers import name_of, random
from tales import assert_alike, in_every_engine, tale
from three_engines import (ENGINES, SMALL, adam, as_torch, each_engine, each_rule,
                           each_rule_and_engine, half_params, halves, kinds, make_rule, sgd,
                           tensors, torchs_adam)
from torch import nn


def apart_by_nan(g): return torch.stack([g, torch.full_like(g, torch.nan)], -1)[..., 0]


LAYOUTS = {
    'turned in memory': lambda g: g.t().contiguous().t(),
    'with gaps': apart_by_nan,
    'expanded': lambda g: g[:1].expand_as(g),
    'one number, expanded': lambda g: g[:1, :1].expand_as(g),
    'negated by a mark': torch._neg_view,
    'negated, with gaps': lambda g: torch._neg_view(apart_by_nan(g)),
    'part of a graph': lambda g: g.clone().requires_grad_() * 1,
    'a parameter itself': lambda g: nn.Parameter(g),
}


@pytest.mark.parametrize('order', ['plain first', 'plain last'])
@kinds
@pytest.mark.parametrize('layout', LAYOUTS)
@each_engine
def test_gradients_in_any_layout(layout, kind, order, engine):
    p = nn.Parameter(halves(0, SMALL)); want = p.detach().clone(); opt = sgd(kind, engine, p)
    for i in range(4):
        g = halves(i, SMALL)
        p.grad = LAYOUTS[layout](g) if (i < 2) == (order == 'plain last') else g
        want -= .25 * p.grad.detach()
        opt.step()
    torch.testing.assert_close(p.detach(), want, rtol=0, atol=0)


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('dtypes',
                         [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16),
                          (torch.float32, torch.float64), (torch.float64, torch.float32),
                          (torch.float32, torch.float16)], ids=str)
@kinds
@each_engine
def test_gradients_whose_dtype_changes(kind, dtypes, engine):
    for order in (dtypes, dtypes[::-1]):
        p = nn.Parameter(halves(0, SMALL, dtypes[0])); want = p.detach().clone()
        opt = sgd(kind, engine, p)
        for i, dtype in enumerate([order[0], order[0], order[1], order[1], order[0]]):
            g = halves(i, SMALL, dtypes[0])
            want -= .25 * g
            p.grad = g
            if dtype != g.dtype: p.grad.data = g.to(dtype)
            opt.step()
        torch.testing.assert_close(p.detach(), want, rtol=0, atol=0)


@kinds
@each_engine
def test_a_real_gradient_of_complex_numbers(kind, engine):
    "It raises, or does what is meant; it never reads pairs where there are none."
    p = nn.Parameter(torch.ones(SMALL, dtype=torch.complex64)); opt = sgd(kind, engine, p)
    for _ in range(2):
        p.grad = torch.ones_like(p); p.grad.data = torch.ones(SMALL)
        try: opt.step()
        except genopt.PartError: assert (p == 1).all()
        else: assert ((p - 1).imag == 0).all()


@pytest.mark.parametrize('n', [700, 140_000])
@pytest.mark.parametrize('shift', [0, 1, -1])
@kinds
@each_engine
def test_gradients_in_the_memory_of_their_parameter(kind, shift, n, engine):
    "A step is that of a copy of the gradient."
    memory = halves(0, (n + 2,)); p = nn.Parameter(memory[1:-1]); opt = sgd(kind, engine, p)
    for i in range(3):
        p.grad = memory[1 + shift:1 + shift + n] if i else torch.ones(n)
        want = memory.clone(); want[1:-1] -= .25 * p.grad
        opt.step()
        torch.testing.assert_close(memory, want, rtol=0, atol=0)


@kinds
@each_engine
def test_gradients_that_are_the_parameter_turned(kind, engine):
    p = nn.Parameter(halves(0, (24, 24))); opt = sgd(kind, engine, p)
    for i in range(3):
        p.grad = p.data.t() if i else torch.ones(24, 24)
        want = p.detach() - .25 * p.grad
        opt.step()
        assert torch.equal(p.detach(), want)


@kinds
def test_gradients_in_the_memory_of_a_state(kind):
    results = []
    for make in (torchs_adam, *[adam(kind, engine) for engine in ENGINES]):
        p = nn.Parameter(random(0, SMALL, torch.float32)); opt = make([p])
        for i in range(4):
            p.grad = random(i, SMALL, torch.float32) if i < 2 else tensors(opt, p)[1]
            # torch's squares would change under its hands
            if make is torchs_adam: p.grad = p.grad.clone()
            opt.step()
        results.append(p.detach())
    for got in results[1:]: torch.testing.assert_close(got, results[0])


@pytest.mark.parametrize('n', [700, 140_000])
@pytest.mark.parametrize('shift', [0, 1, 100])
def test_gradients_in_the_memory_of_another_parameter(shift, n):
    """Parameters move in order, as in torch: the second one sees what the first one has become, and
    all of it."""
    made = []
    for make in as_torch(genopt.SGD, torch.optim.SGD, lr=.25):
        memory = halves(0, (2 * n,)); a, b = nn.Parameter(memory[:n]), nn.Parameter(halves(1, (n,)))
        opt = make([a, b])
        for i in range(4):
            a.grad, b.grad = halves(i, (n,)), memory[shift:shift + n] if i else torch.ones(n)
            opt.step()
        made.append(torch.cat([memory, b.detach()]))
    for got in made[1:]: torch.testing.assert_close(got, made[0], rtol=0, atol=0)


def test_parameters_may_have_the_same_gradient():
    made = []
    for make in as_torch(genopt.SGD, torch.optim.SGD, lr=.25, momentum=.5):
        ps = half_params(3, SMALL); opt = make(ps)
        for i in range(3):
            ps[0].grad = ps[1].grad = halves(i, SMALL); ps[2].grad = ps[0].grad[:1].expand(SMALL)
            opt.step()
        made.append([p.detach() for p in ps])
    for got in made[1:]: torch.testing.assert_close(got, made[0], rtol=0, atol=0)


# -- in the middle of a run, by rules that see a whole tensor, or all of them ----------------------

def nothing(p, opt, field): pass


def missing(ps, opt): ps[1].grad = None


def all_missing(ps, opt):
    for p in ps: p.grad = None


def only_one(ps, opt):
    for p in ps[:1] + ps[2:]: p.grad = None


def laid_out(fn):
    def make_grad(ps, opt): ps[1].grad = fn(ps[1].grad)
    return make_grad


CHANGES = {'missing': missing, 'all of them missing': all_missing, 'only one': only_one,
           **{k: laid_out(fn) for k, fn in LAYOUTS.items()}}


@pytest.mark.parametrize('change', CHANGES)
@each_rule_and_engine
def test_gradients_that_change(change, rule, engine):
    ours, theirs = [tale(make_rule(rule, e), nothing, SMALL, make_grad=CHANGES[change])
                    for e in (engine, 'torch')]
    assert_alike(ours, theirs)


def its_own_memory(ps, opt): ps[1].grad = ps[1].detach()
def its_own_memory_turned(ps, opt): ps[1].grad = ps[1].detach().view(30, 24).t()
def the_memory_of_the_one_before(ps, opt): ps[1].grad = ps[0].detach()
def the_memory_of_the_one_after(ps, opt): ps[1].grad = ps[2].detach()
def the_memory_of_a_state(ps, opt): ps[1].grad = tensors(opt, ps[1])[1]
def the_memory_of_anothers_state(ps, opt): ps[1].grad = tensors(opt, ps[0])[0]
def the_same_as_another(ps, opt): ps[1].grad = ps[0].grad
def in_double_precision(ps, opt): ps[1].grad.data = ps[1].grad.double()
def in_half_precision(ps, opt): ps[1].grad.data = ps[1].grad.bfloat16()


ALIASES = [its_own_memory, its_own_memory_turned, the_memory_of_the_one_before,
           the_memory_of_the_one_after, the_memory_of_a_state, the_memory_of_anothers_state,
           the_same_as_another, in_double_precision, in_half_precision]


@pytest.mark.parametrize('alias', ALIASES, ids=name_of)
@each_rule
def test_gradients_in_memory_that_a_step_writes(alias, rule):
    "Torch may write before it reads, so here the plain engine says what is right."
    in_every_engine(rule, nothing, SMALL, make_grad=alias)
