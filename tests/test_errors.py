"""Promise: a mistake is answered by one clear sentence before the first step, and nothing changes.

Each test quotes the sentence that a person sees.
"""
import functools
import re
import traceback

import genopt
import pytest
import torch
from genopt import (Composition, ContractError, Optimizer, PartError, adam_step, average_grad,
                    l2_reg, momentum_buffer, momentum_step, recipe, scalar, sgd_step, stat, step,
                    step_count, transform)
from torch import nn


def p(*shape, **kw): return torch.zeros(*shape or (2,), **kw).requires_grad_()


def says(error, sentence): return pytest.raises(error, match='^' + re.escape(sentence) + '$')


# -- parts -----------------------------------------------------------------------------------------

def test_args_and_kwargs():
    with pytest.raises(ContractError, match=r'^`f` cannot be a @step \(test_errors.py, line 29\): '
                                            r'`\*\*kw` hides what it needs: name every argument$'):
        @step                                                                     # line 29
        def f(grad, *, lr, **kw): return -lr * grad


def test_hyperparameter_before_the_star():
    with pytest.raises(ContractError,
                       match='`lr=0.1` stands before the `.`, where a default must be a @scalar '
                             'part .or a @total or @tensor.; a hyperparameter stands after it: '
                             '`., lr=0.1`$'):
        @step
        def f(grad, lr=.1): return -lr * grad


@pytest.mark.parametrize('make, why', [
    (lambda: stat(lambda: 0),
     'a stat\'s first argument is the name of what it remembers, and it returns the new value of '
     'that'),
    (lambda: stat(lambda grad, *, mom: grad), '; `grad` has a meaning of its own'),
    (lambda: stat(lambda prev_x, grad: grad), '; `prev_x` has a meaning of its own'),
    (lambda: stat(init='0')(lambda count: count),
     "init='0': give a number, or a function of `param` that returns a tensor"),
    (lambda: transform(lambda kept, grad: grad),
     'a transform\'s first argument is `grad` or `update`, or `prev_` and the name of a stat, '
     'and it returns the new one; or `param`, and it returns where the parameter is'),
    (lambda: scalar(lambda grad: 1.),
     'a scalar runs on plain numbers and cannot read `grad`, which is a tensor: read a @total of '
     'it'),
    (lambda: step(lambda grad, *, lr='big': grad),
     "the default of the hyperparameter `lr` is 'big': make it a number"),
    (lambda: momentum_buffer.rename(grad_avg='param'), '; `param` has a meaning of its own'),
    (lambda: average_grad.rename(mom='grad_avg'),
     'mom=grad_avg gives one name to two of its arguments')])
def test_signature_that_breaks_the_contract(make, why):
    with pytest.raises(ContractError, match='cannot be a @.*' + re.escape(why) + '$'): make()


@pytest.mark.parametrize('decorated', [nn.Tanh, functools.partial(abs)])
def test_what_cannot_be_decorated(decorated):
    with pytest.raises(ContractError, match='^@transform decorates a function, made with `def`'):
        transform(decorated)


def test_a_scalar_of_a_reserved_name():
    with pytest.raises(ContractError, match='^`update` cannot be a @scalar'):
        @scalar
        def update(count): return 1.


@pytest.mark.parametrize('names, sentence', [
    (dict(momm='slow_mom'), '`average_grad` has no `momm` to rename: did you mean `mom`?'),
    (dict(mom='slow mom'), "`average_grad` cannot call `mom` 'slow mom': give a name"),
    (dict(mom=.5), '`average_grad` cannot call `mom` 0.5: give a name')])
def test_renames(names, sentence):
    with says(ContractError, sentence): average_grad.rename(**names)


# -- lists of parts --------------------------------------------------------------------------------

@step
def odd_step(grad, velocity, *, lr): return -lr * velocity

@step
def sneaky_step(grad, prev_grad_avg, *, lr): return -lr * prev_grad_avg

@scalar
def norm_of(grad_avg): return 1.

@stat
def ema(weight_avg, new_param, *, ema_mom=.9): return weight_avg.lerp(new_param, 1 - ema_mom)

@transform
def halve(update): return update / 2

@step
def eager_to_know(warmth, grad, *, lr): return -lr * warmth * grad

@scalar
def warmth(count): return min(1, count / 10)

@stat
def other_average(grad_avg, grad, *, mom=.5): return grad_avg.lerp(grad, 1 - mom)

@step
def mom_step(grad, *, lr, mom=.5): return -lr * mom * grad

@step
def named_badly(grad, *, grad_avg): return -grad_avg * grad


@pytest.mark.parametrize('parts, sentence', [
    ([momentum_step], '`momentum_step` reads `grad_avg`: add a stat that keeps it, such as '
                      '`average_grad`, before it'),
    ([average_grad, adam_step],
     '`debias` reads `count`: add a stat that keeps it, such as `step_count`, before it'),
    ([momentum_step, average_grad],
     '`momentum_step` reads `grad_avg` before `average_grad` has updated it: put `momentum_step` '
     'later, or read `prev_grad_avg`, its value before this step'),
    ([sneaky_step],
     '`sneaky_step` reads `prev_grad_avg`: add a stat that keeps it, such as `average_grad`'),
    ([average_grad, momentum_buffer, momentum_step],
     '`average_grad` and `momentum_buffer` both keep `grad_avg`: leave one out, or give '
     'one another name, `momentum_buffer.rename(grad_avg=...)`'),
    ([average_grad, average_grad, momentum_step],
     '`average_grad` and `average_grad` both keep `grad_avg`: leave one out, or give '
     'one another name, `average_grad.rename(grad_avg=...)`'),
    ([l2_reg, average_grad],
     '[l2_reg, average_grad] has no step, so no parameter would move: add one, such as `sgd_step`'),
    ([], '[] has no step, so no parameter would move: add one, such as `sgd_step`'),
    ([l2_reg, print],
     'print is not a part, which is a function, made with `def`, under @stat, @scalar, @transform, '
     '@step, @total, @tensor, @gate or @evaluation'),
    ([l2_reg, p],
     'p is not a part: decorate it with @stat, @scalar, @transform, @step, @total, @tensor, '
     '@gate or @evaluation'),
    ([l2_reg, 'sgd_step'], "'sgd_step' is not a part, but a str: give the part itself"),
    (sgd_step, 'the parts of an optimizer are a list: [sgd_step]'),
    (torch.optim.Adam,
     "<class 'torch.optim.adam.Adam'> is not a list of parts, and not a recipe of genopt's"),
    ([odd_step],
     '`odd_step` reads `velocity`, which no part keeps: add a @stat whose first argument is '
     '`velocity` before it, or correct the name: there are '),
    ([halve, sgd_step],
     '`halve` reads `update`, and there is none before the first step: put it after one'),
    ([average_grad, norm_of, sgd_step],
     '`norm_of` reads `grad_avg`, a tensor, but a scalar that is a number runs in plain Python and '
     'reads only numbers: read a @total of it'),
    ([sgd_step, ema, halve],
     '`ema` reads `new_param` before `halve` has changed the update: put it last'),
    ([step_count, eager_to_know, warmth],
     '`eager_to_know` reads `warmth` before it is computed: put `eager_to_know` later'),
    ([average_grad, momentum_step, named_badly],
     '`named_badly` calls a hyperparameter `grad_avg`, which is already a stat, a scalar or a '
     'tensor: give it another name, `named_badly.rename(grad_avg=...)`')])
def test_parts_that_make_no_optimizer(parts, sentence):
    with pytest.raises(ContractError, match='^' + re.escape(sentence)):
        Optimizer([p()], parts, lr=.1)


def test_a_stat_that_no_optimizer_part_keeps_names_the_nearest():
    @step
    def f(gradavg, *, lr): return -lr * gradavg
    with pytest.raises(ContractError,
                       match=re.escape('or correct the name: did you mean `grad_avg`?')):
        Composition([average_grad, f])


def test_recipe_names_itself():
    with says(ContractError, 'recipe `Broken`: `momentum_step` reads `grad_avg`: '
                             'add a stat that keeps it, such as `average_grad`, before it'):
        @recipe(lr=.1)
        def Broken(): return [momentum_step]
    with says(ContractError, 'recipe `NoDefault`: give its option `fast` a default'):
        @recipe()
        def NoDefault(fast): return [sgd_step]
    with says(ContractError, "recipe `Other`: `momentum` is torch's spelling: call its option "
                             '`mom`, or choose another name'):
        @recipe()
        def Other(momentum=0.): return [sgd_step]
    with says(ContractError, 'recipe `Bare` returned sgd_step(grad, *, lr): a step: return its '
                             'parts, with commas between'):
        @genopt.recipe
        def Bare(): return sgd_step
    with says(ContractError, 'recipe `Typo`: no part takes `lrr`: did you mean `lr`?'):
        @recipe(lrr=.1)
        def Typo(): return [sgd_step]


def test_parts_that_disagree_on_a_default():
    with says(TypeError,
              '`mom` is missing: its parts disagree on the default, 0.9 or 0.5, so give mom=...'):
        Optimizer([p()], [average_grad, mom_step], lr=.1)
    Optimizer([p()], [average_grad, mom_step], lr=.1, mom=.8).step()


# -- parts that break their contract when they run: found by the rehearsal -------------------------

@step
def forgets_to_return(grad, *, lr): -lr * grad  # noqa: B018

@step
def returns_a_number(grad, *, lr): return -lr

@step
def returns_another_shape(grad, *, lr): return (-lr * grad).sum(0)

@stat
def keeps_a_norm(grad_avg, grad): return grad.norm()

@scalar
def no_number(count): return None

@step
def scaled(grad, n=no_number, *, lr): return -lr * grad * n

@step
def divides_by_zero(grad, *, lr): return grad * (1 / 0)

@step
def writes(grad, *, lr): return grad.mul_(-lr)

@step
def takes_a_norm(grad, *, lr): return -lr * grad / grad.norm()


@pytest.mark.parametrize('parts, sentence', [
    ([forgets_to_return],
     '`forgets_to_return` returned None: a step returns the change of `param`, a tensor of shape '
     '(5, 4)'),
    ([returns_a_number],
     '`returns_a_number` returned -0.1: a step returns the change of `param`, a tensor of shape '
     '(5, 4)'),
    ([returns_another_shape],
     '`returns_another_shape` returned a tensor of shape (4,): a step returns the change of '
     '`param`, a tensor of shape (5, 4)'),
    ([keeps_a_norm, momentum_step],
     '`keeps_a_norm` returned a tensor of shape (): a stat returns the new `grad_avg`, a tensor of '
     'shape (5, 4)'),
    ([step_count, scaled], '`no_number` returned None: a scalar returns a number'),
    ([divides_by_zero], '`divides_by_zero` failed: ZeroDivisionError: division by zero'),
    ([writes],
     '`writes` writes into `grad`: a part returns a new value and changes nothing it reads'),
    ([takes_a_norm],
     '`takes_a_norm` does not treat each element alone: it calls `norm`. '
     'If it needs the tensor\'s own shape, or is random, say @step(whole=True)')])
def test_part_that_breaks_its_contract(parts, sentence):
    with says(PartError, sentence): Optimizer([p()], parts, lr=.1)


def test_part_that_fails_on_a_parameter_names_both_and_keeps_the_cause():
    @step(whole=True)
    def matrix_step(grad, *, lr):
        fits_two = torch.eye(2).double()
        return -lr * grad @ (fits_two if grad.max() == 1e9 else 1 + 0 * grad.mT)
    w, b = (nn.Parameter(torch.ones(n, n).double()) for n in (2, 5))
    opt = Optimizer([('w', w), ('b', b)], [average_grad, matrix_step], lr=.1)
    w.grad, b.grad = 1e9 * torch.ones(2, 2).double(), 1e9 * torch.ones(5, 5).double()
    with pytest.raises(PartError, match=r'^`matrix_step` failed: RuntimeError: .* '
                                        r'\(on `b` \(shape \(5, 5\), float64\)\)$') as e: opt.step()
    assert isinstance(e.value.__cause__, RuntimeError)
    *_, last = traceback.extract_tb(e.value.__cause__.__traceback__)
    assert last.name == 'matrix_step'
    assert torch.equal(b, torch.ones(5, 5).double()) and not opt.state[b]['grad_avg'].any()


def test_part_that_returns_nothing_on_a_parameter():
    @step(whole=True)
    def nothing_for_large(grad, *, lr): return None if grad.max() == 1e9 else -lr * grad
    w, q = p(2, 1), p(3); q.grad = 1e9 * torch.ones(3)
    with says(PartError, '`nothing_for_large` returned None: a step returns the change of `param`, '
                         'a tensor of shape (3,) (on parameter 1 of group 0 (shape (3,), '
                         'float32))'):
        Optimizer([w, q], [nothing_for_large], lr=.1).step()


def test_an_init_that_fails_in_a_step():
    @stat(init=lambda param: torch.zeros_like(param) if len(param) < 3 else 1 / 0, whole=True)
    def memory(memory, grad): return grad
    ps = [p(2), p(3)]
    for q in ps: q.grad = torch.ones_like(q)
    opt = Optimizer(ps, [memory, sgd_step], lr=.1)
    with says(PartError, '`memory`: its init failed: ZeroDivisionError: division by zero '
                         '(on parameter 1 of group 0 (shape (3,), float32))'): opt.step()
