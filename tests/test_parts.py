"Promise: a part is a function with its signature for a contract; a composition is their pure sum."
import copy
import pickle

import genopt
import pytest
import torch
from genopt import (Composition, ContractError, Optimizer, Part, adam_step, average_grad,
                    average_sqr_grad, debias,
                    l2_reg, momentum_step, scalar, sgd_step, stat, step, step_count)
from torch import nn


def t(*values): return torch.tensor(values, dtype=torch.float64)


# -- functions -------------------------------------------------------------------------------------

def test_every_part_is_a_function_that_can_be_called_alone():
    m, g = t(1., -2.), t(3., 4.)
    assert torch.equal(average_grad(m, g, mom=.75), .75 * m + .25 * g)
    assert torch.equal(average_sqr_grad(m, g, sqr_mom=.75), .75 * m + .25 * g * g)
    assert torch.equal(l2_reg(g, m, wd=.5), g + .5 * m)
    assert debias(3, mom=.5) == 1 - .125 and step_count(4) == 5
    assert torch.equal(adam_step(m, g, .5, .25, lr=.1, eps=0.), -.1 / .5 * m / (g.sqrt() / .25**.5))


def test_a_renamed_part_is_called_by_its_new_names():
    slow = average_grad.rename(grad_avg='slow_avg', mom='slow_mom')
    assert torch.equal(slow(t(1.), t(3.), slow_mom=.5), t(2.))


def test_a_scalar_must_be_given_when_a_part_is_called_alone():
    with pytest.raises(TypeError,
                       match='`adam_step`, called alone, needs a value for `bias` and `sqr_bias`'):
        adam_step(t(1.), t(1.), lr=.1)


# -- names -----------------------------------------------------------------------------------------

def test_renaming_in_steps_is_renaming_at_once():
    twice = adam_step.rename(mom='sqr_mom').rename(sqr_mom='z', grad_avg='a')
    once = adam_step.rename(mom='z', sqr_mom='z', grad_avg='a')
    assert twice == once and twice.links == once.links and twice.label == once.label
    assert [link.label for link in twice.links.values()] == ['debias[mom=z]', 'debias[mom=z]']


def test_names_can_be_swapped_and_given_back():
    @step
    def odd(grad, a, b, *, lr): return -lr * (a - b)
    swapped = odd.rename(a='b', b='a')
    assert swapped.reads == ['grad', 'b', 'a'] and swapped.rename(a='b', b='a') == odd
    assert average_grad.rename(mom='x').rename(x='mom') == average_grad


def test_renamed_parts_keep_stats_of_their_own():
    slow = {'grad_avg': 'slow_avg', 'mom': 'slow_mom'}
    p = nn.Parameter(t(0.)); p.grad = t(1.)
    opt = Optimizer([p], [average_grad, average_grad.rename(**slow), momentum_step,
                          momentum_step.rename(**{
        'grad_avg': 'slow_avg'})], lr=1., mom=.5, slow_mom=.75)
    opt.step()
    assert opt.state[p]['grad_avg'].item() == .5 and opt.state[p]['slow_avg'].item() == .25
    assert p.item() == -.75


def test_parts_are_values():
    again = average_grad.rename(mom='slow_mom')
    assert again == average_grad.rename(mom='slow_mom') != average_grad
    assert len({again, again, average_grad}) == 2
    for part in (average_grad, again, adam_step.rename(count='n')):
        assert pickle.loads(pickle.dumps(part)) == part and copy.deepcopy(part) is part
        assert isinstance(part, Part)


# Under a name of its own in this module, but found as average_grad
renamed = average_grad.rename(mom='slow_mom')


@step
def twice_defined(grad, *, lr): return -lr * grad

older = twice_defined

@step
def twice_defined(grad, *, lr): return -2 * lr * grad  # noqa: F811


def test_pickles_find_the_same_function_or_none():
    assert pickle.loads(pickle.dumps(renamed)) == renamed
    with pytest.raises(pickle.PicklingError,
                       match='`twice_defined` cannot be found as test_parts.twice_defined'):
        pickle.dumps(older)


# -- scalars ---------------------------------------------------------------------------------------

def test_a_scalar_is_computed_once_for_all_parameters_that_share_it():
    calls = []
    @scalar
    def counted(count): calls.append(count); return 1.
    @step
    def one(grad, c=counted, *, lr): return -lr * c * grad
    @step
    def other(grad, c=counted, *, lr): return -lr * c * grad
    ps = [nn.Parameter(t(0.)) for _ in range(3)]
    opt = Optimizer(ps, [step_count, counted, one, other], lr=.5)
    calls.clear()
    for p in ps[:2]: p.grad = t(1.)
    opt.step()
    assert calls == [1] and ps[0].item() == -1.
    ps[2].grad = t(1.); opt.step()
    assert calls == [1, 2, 1]


def test_a_scalar_may_use_if_and_read_what_was_before():
    @scalar
    def warm(count, prev_count): return 1. if prev_count else .1 * count
    @step
    def warm_step(grad, warm=warm, *, lr): return -lr * warm * grad
    p = nn.Parameter(t(0.)); p.grad = t(1.)
    opt = Optimizer([p], [step_count, warm_step], lr=1.)
    opt.step(); assert p.item() == pytest.approx(-.1)
    opt.step(); assert p.item() == pytest.approx(-1.1)


@pytest.mark.parametrize('parts, sentence', [
    (lambda: [stat(init=.1)(_speed), sgd_step],
     '`_speed` reads `grad`, a tensor, but a stat that is a number runs in plain Python and reads '
     'only numbers, so begin with a tensor: init=torch.zeros_like'),
    (lambda: [scalar(_count), step_count, sgd_step], '`step_count` and `count` both make `count`'),
    (lambda: [step(_reads_prev_grad)],
     '`_reads_prev_grad` reads `prev_grad`, and only a stat has a value from before this step: '
     'keep `grad` in one'),
    (lambda: [step(_star_forgotten)],
     '`_star_forgotten` reads `lr`, a hyperparameter: those stand behind a `*`, as in `def '
     '_star_forgotten(..., *, lr)`'),
    (lambda: [step_count, step(_reads_part)],
     '`_reads_part` reads `step_count`, which is a part: what it keeps is called `count`'),
    (lambda: [genopt.Adam, sgd_step],
     'Adam is a recipe, not a part: give its parts, *Adam.parts()'),
    (lambda: [[l2_reg], sgd_step], 'a list is not a part: put a `*` before it'),
    (lambda: {average_grad, momentum_step}, 'a set of parts has no order: give a list')])
def test_more_lists_that_make_no_optimizer(parts, sentence):
    with pytest.raises(ContractError) as e: Composition(parts())
    assert str(e.value).startswith(sentence)


def _speed(speed, grad): return speed + grad
def _count(): return 1.
_count.__name__ = 'count'
def _reads_prev_grad(prev_grad, *, lr): return -lr * prev_grad
def _star_forgotten(grad, lr): return -lr * grad
def _reads_part(grad, step_count): return grad * step_count


@pytest.mark.parametrize('name, why', [
    ('betas', 'is how torch spells `mom` and `sqr_mom`'), ('params', 'a group may have its own'),
    ('lr_scale', 'a group may have its own'), ('prev_x', 'has a meaning of its own'),
    ('update', 'has a meaning of its own')])
def test_names_that_a_hyperparameter_cannot_have(name, why):
    with pytest.raises(ContractError, match=why): average_grad.rename(mom=name)


# -- the pure function -----------------------------------------------------------------------------

HYPERS = dict(lr=.1, mom=.9, sqr_mom=.99, eps=1e-3, wd=.01)


def test_update_is_pure_and_is_what_the_optimizer_does():
    adam = Composition(genopt.Adam.parts(amsgrad=True))
    theta, p = t(1., 2.), nn.Parameter(t(1., 2.))
    opt, state = genopt.Adam([p], **HYPERS, amsgrad=True), adam.init(theta)
    for i in range(5):
        g = t(.5, -1.) * (i + 1)
        inputs = [theta, g, *(v for v in state.values() if isinstance(v, torch.Tensor))]
        versions = [x._version for x in inputs]
        change, state = adam.update(theta, g, state, adam.numbers(state, HYPERS))
        assert [x._version for x in inputs] == versions
        theta = theta + change
        p.grad = g; opt.step()
        assert torch.equal(theta, p)
        for k, v in state.items(): assert torch.equal(torch.as_tensor(v),
                                                      torch.as_tensor(opt.state[p][k]))


def test_update_can_be_differentiated_with_respect_to_everything():
    adam = Composition(genopt.AdamW.parts())
    def two_steps(theta, lr, mom, sqr_mom, eps, wd):
        state, hypers = adam.init(theta), dict(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
        for _ in range(2):
            change, state = adam.update(theta, theta**3, state, adam.numbers(state, hypers))
            theta = theta + change
        return theta
    inputs = [t(1., -2.), *(t(HYPERS[k]).squeeze() for k in ('lr', 'mom', 'sqr_mom', 'eps', 'wd'))]
    assert torch.autograd.gradcheck(two_steps, [x.requires_grad_() for x in inputs])


def test_update_can_be_vmapped():
    adam = Composition(genopt.Adam.parts())
    thetas, grads = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    numbers = adam.numbers(adam.init(thetas[0]), HYPERS)
    def change(theta, grad): return adam.update(theta, grad, adam.init(theta), numbers)[0]
    torch.testing.assert_close(torch.vmap(change)(thetas, grads),
                               torch.stack(list(map(change, thetas, grads))))


def test_numbers_needs_every_hyperparameter():
    adam = Composition(genopt.Adam.parts())
    with pytest.raises(TypeError, match='`mom` is missing: give a number for each of lr, mom, '
                                        'sqr_mom, eps, wd'):
        adam.numbers(adam.init(t(1.)), dict(lr=.1))


# -- small print -----------------------------------------------------------------------------------

def test_a_tensor_that_retains_its_gradient_can_be_optimized():
    w = nn.Parameter(t(1.)) * 2; w.retain_grad()
    opt = genopt.SGD([w], lr=.5)
    (w * 3).sum().backward(); opt.step()
    assert w.item() == .5
