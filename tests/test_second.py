"""Promise: rules with a second gradient do what their papers say, step by step in float64 on a real
model: SAM of any recipe, Sophia and AdaHessian, and the estimates that these are fed.

The references are the papers' algorithms, written out here; and libraries where they follow them.
"""
import copy
from itertools import count as count_from

import genopt
import pytest
import pytorch_optimizer
import torch
from genopt import (SGD, Adam, AdamW, adaptive_sam, cautious, clip_by_global_norm,
                    gauss_newton_bartlett, hutchinson, sam)
from helpers import SECOND, engines, name_of, through_a_file, verified
from torch import nn
from torch.nn.functional import cross_entropy

STEPS = 100
DRAW = torch.Generator().manual_seed(0)
X = torch.randn(64, 4, dtype=torch.float64, generator=DRAW)
Y = torch.randint(0, 3, (64,), generator=DRAW)


def new_model(dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def loss_of(model, t):
    rows = slice(16 * (t % 4), 16 * (t % 4) + 16)
    return cross_entropy(model(X[rows].to(model[0].weight.dtype)), Y[rows])


def gap(a, b):
    "The largest difference of two models, relative to the largest weight."
    return max(((p - q).abs().max() / q.abs().max()).item()
               for p, q in zip(a.parameters(), b.parameters()))


def steps(model, opt, n, begin=0):
    "Steps with a closure. Returns how often it was called, and the last loss."
    calls, value = 0, None
    for t in range(begin, begin + n):
        def closure(t=t):
            nonlocal calls
            calls += 1
            opt.zero_grad()
            loss = loss_of(model, t)
            loss.backward()
            return loss
        value = opt.step(closure)
    return calls, value


# -- SAM -------------------------------------------------------------------------------------------

class TwoSteps:
    "Sharpness-aware minimization as in its paper (eq. 2 and 3; ASAM's eq. 7), around an optimizer."
    def __init__(self, model, base, rho, adaptive, eta=.01, **kwargs):
        self.params, self.eta = [*model.parameters()], eta
        self.base, self.rho, self.adaptive = base(self.params, **kwargs), rho, adaptive

    @torch.no_grad()
    def climb(self):
        scales = [p.abs() + self.eta if self.adaptive else torch.ones_like(p) for p in self.params]
        norm = sum((s * p.grad).square().sum() for s, p in zip(scales, self.params)).sqrt()
        self.start = [p.clone() for p in self.params]
        for p, s in zip(self.params, scales): p += self.rho * s**2 * p.grad / (norm + 1e-12)

    @torch.no_grad()
    def step(self):
        for p, w in zip(self.params, self.start): p.copy_(w)
        self.base.step()


def in_two_steps(model, *args, n=STEPS, **kwargs):
    opt = TwoSteps(model, *args, **kwargs)
    for t in range(n):
        for half in (opt.climb, opt.step):
            opt.base.zero_grad()
            loss_of(model, t).backward()
            half()


BASES = [(SGD, dict(lr=.1, mom=.9, wd=.01), torch.optim.SGD, dict(lr=.1, momentum=.9,
                                                                  weight_decay=.01)),
         (AdamW, dict(lr=.01, wd=.1), torch.optim.AdamW, dict(lr=.01, weight_decay=.1))]


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('adaptive', [False, True], ids=['', 'adaptive'])
@pytest.mark.parametrize('recipe, ours, cls, theirs', BASES, ids=['SGD', 'AdamW'])
@engines
def test_sam_of_a_recipe(recipe, ours, cls, theirs, adaptive, compile):
    model, twin = new_model(), new_model()
    base = SGD.configured(mom=.9) if recipe is SGD else recipe
    opt = (base + (adaptive_sam if adaptive else sam))(model.parameters(), rho=.1, compile=compile,
                                                       **ours)
    assert steps(model, opt, STEPS)[0] == 2 * STEPS
    in_two_steps(twin, cls, .1, adaptive, **theirs)
    assert gap(model, twin) < 1e-12


@pytest.mark.parametrize('eta', [0., .3])
@engines
def test_what_asam_adds_to_the_size_of_a_weight(eta, compile):
    model, twin = new_model(), new_model()
    opt = genopt.SAM(model.parameters(), adaptive=True, rho=.1, asam_eta=eta, compile=compile)
    steps(model, opt, STEPS)
    in_two_steps(twin, torch.optim.SGD, .1, True, eta=eta, lr=.1, momentum=.9)
    assert gap(model, twin) < 1e-12


@pytest.mark.parametrize('adaptive', [False, True], ids=['', 'adaptive'])
def test_the_recipe_and_a_library(adaptive):
    "pytorch_optimizer takes its norm in float32, and has no η."
    model, twin, other = new_model(), new_model(), new_model()
    own = dict(asam_eta=0.) if adaptive else {}
    steps(model, genopt.SAM(model.parameters(), adaptive=adaptive, rho=.05, **own), STEPS)
    given = dict(lr=.1, momentum=.9)
    in_two_steps(twin, torch.optim.SGD, .05, adaptive, eta=0., **given)
    assert (worst := gap(model, twin)) < 1e-12
    verified('SAM', 'its paper, around torch.optim.SGD', STEPS, worst)
    sam = pytorch_optimizer.SAM(other.parameters(), torch.optim.SGD, rho=.05, adaptive=adaptive,
                                **given)
    for t in range(STEPS):
        def closure(t=t):
            sam.zero_grad()
            loss_of(other, t).backward()
        closure()
        sam.step(closure)
    assert gap(model, other) < 1e-5


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16], ids=str)
@engines
def test_it_goes_back_bit_for_bit(dtype, compile):
    "A step of size 0 leaves the weights as they were, in two plain steps too."
    model = new_model(dtype)
    opt = (SGD + sam)(model.parameters(), lr=0., rho=.3, compile=compile)
    before = copy.deepcopy(model)
    loss_of(model, 0).backward()
    opt.step()
    climb = sum((p - q).double().square().sum() for p, q in zip(*[m.parameters() for m in (
        model, before)])).sqrt().item()
    assert climb == pytest.approx(.3, rel={torch.bfloat16: .02}.get(dtype, 1e-5))
    loss_of(model, 0).backward()
    opt.step()
    assert all(map(torch.equal, model.parameters(), before.parameters()))


@pytest.mark.parametrize('recipe', [SGD, Adam, AdamW, genopt.Lion, genopt.Muon, AdamW + cautious,
                                    AdamW + clip_by_global_norm, AdamW + genopt.lookahead,
                                    AdamW + genopt.weight_mean, AdamW + genopt.gradient_noise],
                         ids=name_of)
def test_its_parts_come_first_in_any_sum(recipe):
    assert (recipe + sam).parts()[:len(sam)] == sam
    assert (recipe + sam).parts()[len(sam):] == recipe.parts()


@engines
def test_a_run_that_is_saved_at_the_top(compile):
    "The file has the weights at the top, and in the optimizer those to which they go back."
    def new(model): return (AdamW + sam)(model.parameters(), lr=.01, compile=compile)
    model = new_model()
    opt = new(model)
    steps(model, opt, 3)
    opt.zero_grad()
    loss_of(model, 3).backward()
    opt.step()
    other = copy.deepcopy(model)
    again = new(other)
    again.load_state_dict(through_a_file(opt.state_dict()))
    for m, o in ((model, opt), (other, again)):
        o.zero_grad()
        loss_of(m, 3).backward()
        o.step()
        steps(m, o, 3, begin=4)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_the_first_loss_is_returned_and_hooks_run_once():
    model, seen = new_model(), []
    opt = (SGD + sam)(model.parameters(), lr=.1, rho=.5)
    opt.register_step_post_hook(lambda *_: seen.append(1))
    before = loss_of(model, 0).item()
    assert steps(model, opt, 1)[1].item() == before and seen == [1]


def test_a_closure_is_called_once_where_no_gate_asks_for_more():
    from test_gates import Gathering
    model = new_model()
    assert steps(model, Gathering(model.parameters()), 4)[0] == 4


@pytest.mark.parametrize('recipe', [genopt.Adadelta, genopt.Sophia], ids=name_of)
def test_its_rho_comes_before_another_word(recipe):
    "Where `rho` was a word for something else, that has its own name only."
    group = (recipe + sam)(new_model().parameters(), rho=.3).param_groups[0]
    assert group['rho'] == .3 and 'rho' not in recipe.rule().composition.hypers


def test_where_param_may_be_changed():
    @genopt.transform
    def half(param): return param / 2
    with pytest.raises(genopt.ContractError, match='`half` changes `param` after a step: put it b'):
        genopt.Composition([genopt.sgd_step, half])


# -- Sophia and AdaHessian -------------------------------------------------------------------------

def estimate(model, t):
    "Some numbers in the place of a Hessian's diagonal, of both signs."
    draw = torch.Generator().manual_seed(t)
    return [torch.randn(p.shape, generator=draw, dtype=p.dtype) for p in model.parameters()]


def fed(model, opt, n, estimate=estimate, begin=0):
    "Steps in which the optimizer is fed what it awaits. Returns when that was."
    when = []
    for t in range(begin, begin + n):
        if opt.awaits('hess'):
            opt.feed(hess=estimate(model, t))
            when.append(t)
        opt.zero_grad()
        loss_of(model, t).backward()
        opt.step()
    return when


def sophia(model, *, lr, b1, b2, gamma, eps, wd, k, estimate=estimate):
    "Algorithm 3 of the paper."
    params = [*model.parameters()]
    ms, hs = ([torch.zeros_like(p) for p in params] for _ in range(2))
    for t in range(1, STEPS + 1):
        grads = torch.autograd.grad(loss_of(model, t - 1), params)
        with torch.no_grad():
            for m, g in zip(ms, grads): m.copy_(b1 * m + (1 - b1) * g)
            if t % k == 1:
                for h, new in zip(hs, estimate(model, t - 1)): h.copy_(b2 * h + (1 - b2) * new)
            for p, m, h in zip(params, ms, hs):
                p -= lr * wd * p
                p -= lr * (m / (gamma * h).clamp(min=eps)).clamp(-1, 1)


@engines
def test_sophia_as_in_the_paper(compile):
    model, twin = new_model(), new_model()
    opt = genopt.SophiaH(model.parameters(), lr=.01, betas=(.9, .95), gamma=.5, wd=.1, hess_every=7,
                         compile=compile)
    assert fed(model, opt, STEPS) == [*range(0, STEPS, 7)]
    sophia(twin, lr=.01, b1=.9, b2=.95, gamma=.5, eps=1e-12, wd=.1, k=7)
    assert (worst := gap(model, twin)) < 1e-12
    verified('SophiaH', 'its paper', STEPS, worst)


def labels(model, t):
    "B squared gradients of labels drawn from the model, here by a seed: never below 0."
    rows = slice(16 * (t % 4), 16 * (t % 4) + 16)
    return gauss_newton_bartlett(model(X[rows]), model.parameters(),
                                 generator=torch.Generator().manual_seed(t))


@engines
def test_sophia_as_in_its_authors_code(compile):
    """SophiaG as its authors wrote it: the average is of squared gradients, and B enters the step.
    Their loop measures between two steps, which is before the second one."""
    model, twin = new_model(), new_model()
    opt = genopt.Sophia(model.parameters(), lr=.01, rho=.3, hess_every=5, compile=compile)
    fed(model, opt, STEPS, labels)
    params, batch = [*twin.parameters()], 16
    ms, hs = ([torch.zeros_like(p) for p in params] for _ in range(2))
    for t in range(STEPS):
        if t % 5 == 0:
            for h, b_sqr in zip(hs, labels(twin, t).values()):
                h.mul_(.99).add_(b_sqr / batch, alpha=1 - .99)
        grads = torch.autograd.grad(loss_of(twin, t), params)
        with torch.no_grad():
            for p, m, h, g in zip(params, ms, hs, grads):
                p.mul_(1 - .01 * .1)
                m.mul_(.965).add_(g, alpha=1 - .965)
                ratio = (m.abs() / (.3 * batch * h + 1e-15)).clamp(None, 1)
                p.addcmul_(m.sign(), ratio, value=-.01)
    assert (worst := gap(model, twin)) < 1e-9  # their ε is added, and not a floor
    verified('Sophia', "its authors' code, written out", STEPS, worst)


def test_sophia_as_in_a_library():
    "pytorch_optimizer clips m/h to p and multiplies by its rate, which is p times smaller here."
    model, twin = new_model(), new_model()
    fed(model, genopt.SophiaH(model.parameters(), lr=.01 * .5, gamma=.5, eps=.5e-12, wd=0.), STEPS)
    opt = pytorch_optimizer.SophiaH(twin.parameters(), lr=.01, p=.5, update_period=10)
    for t in range(STEPS):
        opt.zero_grad()
        loss_of(twin, t).backward()
        if t % 10 == 0: opt.step(hessian=estimate(twin, t))
        else: opt.step()
    assert (worst := gap(model, twin)) < 1e-11
    verified('SophiaH', pytorch_optimizer.SophiaH, STEPS, worst, 'with lr / p')


@pytest.mark.parametrize('k', [1, 3])
@engines
def test_adahessian_as_in_a_library(k, compile):
    model, twin = new_model(), new_model()
    ours = genopt.AdaHessian(model.parameters(), lr=.01, wd=.1, hess_every=k, compile=compile)
    fed(model, ours, STEPS)
    opt = pytorch_optimizer.AdaHessian(twin.parameters(), lr=.01, eps=1e-4, weight_decay=.1,
                                       update_period=k)
    for t in range(STEPS):
        opt.zero_grad()
        loss_of(twin, t).backward()
        if t % k == 0: opt.step(hessian=estimate(twin, t))
        else: opt.step()
    assert (worst := gap(model, twin)) < 1e-11
    verified('AdaHessian', pytorch_optimizer.AdaHessian, STEPS, worst)


@pytest.mark.parametrize('recipe', SECOND, ids=name_of)
def test_each_is_one_kernel(recipe):
    model = new_model()
    opt = recipe(model.parameters(), compile=True)
    if 'hess' in opt.groups()[0].composition.given: fed(model, opt, 2)
    else: steps(model, opt, 2)
    n = len(opt.groups()[0].composition.tensor_parts)
    assert f'kernel: {n} of {n} parts' in repr(opt)


# -- estimates -------------------------------------------------------------------------------------

def diagonal(loss, params):
    "The Hessian's diagonal, element by element."
    grads = torch.autograd.grad(loss, params, create_graph=True)
    return [torch.stack([torch.autograd.grad(x, p, retain_graph=True)[0].flatten()[i]
                         for i, x in enumerate(g.flatten())]).view_as(p)
            for g, p in zip(grads, params)]


@pytest.mark.parametrize('gaussian', [False, True])
def test_hutchinson_is_the_diagonal_on_average(gaussian):
    model = new_model()
    params = [*model.parameters()]
    exact = diagonal(loss_of(model, 0), params)
    loss = loss_of(model, 0)
    found = hutchinson(loss, params, samples=400, gaussian=gaussian,
                       generator=torch.Generator().manual_seed(0))
    for p, want in zip(params, exact): assert (found[p] - want).abs().max() < .05
    loss.backward()                      # its graph is still there
    assert all(p.grad is not None for p in params)


def test_hutchinson_is_exact_where_the_hessian_is_diagonal():
    w, other = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(2))
    loss = (w**4).sum() + (other * torch.arange(2.)).sum()
    found = hutchinson(loss, [w, other, nn.Parameter(torch.ones(1))])
    assert torch.allclose(found[w], 12 * w.detach()**2) and not found[other].any()
    assert len(found) == 2 and w.grad is None


def test_gauss_newton_bartlett_is_that_matrix_on_average():
    "Of the mean cross-entropy of a linear model: the mean of x²·p·(1 − p)."
    linear = nn.Linear(4, 3).double()
    logits = linear(X)
    draw, p = torch.Generator().manual_seed(0), logits.detach().softmax(-1)
    want = torch.einsum('bi,bk->ki', X**2, p * (1 - p)) / len(X)
    found = sum(gauss_newton_bartlett(logits, [linear.weight], generator=draw)[linear.weight]
                for _ in range(400)) / 400
    assert torch.allclose(found, want, .2, .02)


@pytest.mark.parametrize('call, says', [
    (lambda: hutchinson(torch.ones(3, requires_grad=True), []), r'the loss has shape \(3,\): give'),
    (lambda: hutchinson(torch.ones(()), []), 'the loss has no graph: compute it with gradients on'),
    (lambda: gauss_newton_bartlett(torch.ones(2, 3), []), 'the loss has no graph')])
def test_a_loss_that_has_no_second_gradient(call, says):
    with pytest.raises(ValueError, match=says): call()


# -- a loss that does not reach all parameters -----------------------------------------------------

def steps_where(opt, a, b, reaches, n):
    "Steps with a loss on which `b` has an effect in those calls of the closure: its values."
    calls, seen = count_from(1), []
    def closure():
        opt.zero_grad()
        loss = .01 * a.square().sum() + (b.sum() if reaches(next(calls)) else 0)
        loss.backward()
        return loss
    for _ in range(n):
        opt.step(closure)
        seen.append(round(b.item(), 6))
    return seen


def number(x): return nn.Parameter(torch.tensor([x], dtype=torch.float64))


def test_what_climbed_goes_back_without_a_gradient_at_the_top():
    a, b = number(2.), number(2.)
    opt = genopt.SAM([a, b], lr=1e-4, rho=1., mom=0.)
    assert steps_where(opt, a, b, lambda call: call % 2, 3) == [2., 2., 2.]


def test_what_did_not_climb_keeps_its_last_step():
    a, b = number(2.), number(10.)
    opt = genopt.SAM([a, b], lr=.1, rho=.001, mom=0.)
    assert steps_where(opt, a, b, lambda call: call != 7, 5) == [9.9, 9.8, 9.7, 9.6, 9.5]


def test_a_group_beside_it_steps_once():
    a, b = number(2.), number(1.)
    opt = genopt.Optimizer([dict(params=[a], parts=genopt.SAM), dict(params=[b], parts=genopt.SGD)],
                           lr=.1)
    assert steps_where(opt, a, b, lambda call: True, 3) == [.9, .8, .7]
