"""Promise: a mistake is answered by one clear sentence, before the first step, and nothing has changed.

Each test quotes the sentence that a person sees.
"""
import re

import genopt
import pytest
import torch
from genopt import (Composition, ContractError, Optimizer, PartError, adam_step, average_grad, l2_reg, momentum_buffer,
                    momentum_step, recipe, scalar, sgd_step, stat, step, step_count, transform)


def p(*shape, **kw): return torch.zeros(*shape or (2,), **kw).requires_grad_()


def says(error, sentence): return pytest.raises(error, match='^' + re.escape(sentence) + '$')


# -- parts -------------------------------------------------------------------------------------------------------------

def test_args_and_kwargs():
    with pytest.raises(ContractError, match=r'^`f` cannot be a @step \(test_errors.py, line 25\): '
                                            r'`\*\*kw` hides what it needs: name every argument$'):
        @step                                                                                             # line 25
        def f(grad, *, lr, **kw): return -lr * grad


def test_hyperparameter_before_the_star():
    with pytest.raises(ContractError,
                       match='`lr=0.1` stands before the `.`, where a default must be a @scalar part .or a @total.; '
                                            'a hyperparameter stands after it: `., lr=0.1`$'):
        @step
        def f(grad, lr=.1): return -lr * grad


@pytest.mark.parametrize('make, why', [
    (lambda: stat(lambda: 0),
     'a stat\'s first argument is the name of what it remembers, and it returns the new value of that'),
    (lambda: stat(lambda grad, *, mom: grad), '; `grad` has a meaning of its own'),
    (lambda: stat(lambda prev_x, grad: grad), '; `prev_x` has a meaning of its own'),
    (lambda: stat(init='0')(lambda count: count),
     "init='0': give a number, or a function of `param` that returns a tensor"),
    (lambda: transform(lambda param, grad: grad),
     'a transform\'s first argument is `grad` or `update`, and it returns the new one'),
    (lambda: scalar(lambda grad: 1.),
     'a scalar runs on plain numbers and cannot read `grad`, which is a tensor: read a @total of it'),
    (lambda: step(lambda grad, *, lr='big': grad), "the default of the hyperparameter `lr` is 'big': make it a number"),
    (lambda: momentum_buffer.rename(grad_avg='param'), '; `param` has a meaning of its own'),
    (lambda: average_grad.rename(mom='grad_avg'), 'mom=grad_avg gives one name to two of its arguments')])
def test_signature_that_breaks_the_contract(make, why):
    with pytest.raises(ContractError, match='cannot be a @.*' + re.escape(why) + '$'): make()


def test_rename_of_nothing():
    with says(ContractError, '`average_grad` has no `momm` to rename: did you mean `mom`?'):
        average_grad.rename(momm='slow_mom')


# -- lists of parts ----------------------------------------------------------------------------------------------------

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
    ([momentum_step], '`momentum_step` reads `grad_avg`: add a stat that keeps it, such as `average_grad`, before it'),
    ([average_grad, adam_step], '`debias` reads `count`: add a stat that keeps it, such as `step_count`, before it'),
    ([momentum_step, average_grad],
     '`momentum_step` reads `grad_avg` before `average_grad` has updated it: put `momentum_step` later, '
     'or read `prev_grad_avg`, its value before this step'),
    ([sneaky_step], '`sneaky_step` reads `prev_grad_avg`: add a stat that keeps it, such as `average_grad`'),
    ([average_grad, momentum_buffer, momentum_step],
     '`average_grad` and `momentum_buffer` both keep `grad_avg`: leave one out, or give '
     'one another name, `momentum_buffer.rename(grad_avg=...)`'),
    ([average_grad, average_grad, momentum_step],
     '`average_grad` and `average_grad` both keep `grad_avg`: leave one out, or give '
     'one another name, `average_grad.rename(grad_avg=...)`'),
    ([l2_reg, average_grad],
     '[l2_reg, average_grad] has no step, so no parameter would move: add one, such as `sgd_step`'),
    ([], '[] has no step, so no parameter would move: add one, such as `sgd_step`'),
    ([l2_reg, print], 'print is not a part, which is a function, made with `def`, under @stat, @scalar, @transform, '
                      '@step, @total or @gate'),
    ([l2_reg, p], 'p is not a part: decorate it with @stat, @scalar, @transform, @step, @total or @gate'),
    ([l2_reg, 'sgd_step'], "'sgd_step' is not a part, but a str: give the part itself"),
    (sgd_step, 'the parts of an optimizer are a list: [sgd_step]'),
    (torch.optim.Adam, "<class 'torch.optim.adam.Adam'> is not a list of parts, and not a recipe of genopt's"),
    ([odd_step],
     '`odd_step` reads `velocity`, which no part keeps: add a @stat whose first argument is `velocity` before it, '
     'or correct the name: there are `param`, `grad`, `raw_grad`, `update`, `new_param`, '),
    ([halve, sgd_step], '`halve` reads `update`, and there is none before the first step: put it after one'),
    ([average_grad, norm_of, sgd_step],
     '`norm_of` reads `grad_avg`, a tensor, but a scalar that is a number runs in plain Python and reads only numbers: '
     'read a @total of it'),
    ([sgd_step, ema, halve], '`ema` reads `new_param` before `halve` has changed the update: put it last'),
    ([step_count, eager_to_know, warmth],
     '`eager_to_know` reads `warmth` before it is computed: put `eager_to_know` later'),
    ([average_grad, momentum_step, named_badly],
     '`named_badly` calls a hyperparameter `grad_avg`, which is already a stat, a scalar or a tensor: give it another '
     'name, `named_badly.rename(grad_avg=...)`')])
def test_parts_that_make_no_optimizer(parts, sentence):
    with pytest.raises(ContractError, match='^' + re.escape(sentence)): Optimizer([p()], parts, lr=.1)


def test_a_stat_that_no_optimizer_part_keeps_names_the_nearest():
    @step
    def f(gradavg, *, lr): return -lr * gradavg
    with pytest.raises(ContractError, match=re.escape('or correct the name: did you mean `grad_avg`?')):
        Composition([average_grad, f])


def test_recipe_names_itself():
    with says(ContractError, 'recipe `Broken`: `momentum_step` reads `grad_avg`: '
                             'add a stat that keeps it, such as `average_grad`, before it'):
        @recipe(lr=.1)
        def Broken(): return [momentum_step]
    with says(ContractError, 'recipe `NoDefault`: give its option `fast` a default'):
        @recipe()
        def NoDefault(fast): return [sgd_step]
    with says(ContractError, 'recipe `Typo`: no part takes `lrr`: did you mean `lr`?'):
        @recipe(lrr=.1)
        def Typo(): return [sgd_step]


def test_parts_that_disagree_on_a_default():
    with says(TypeError, '`mom` is missing: its parts disagree on the default, 0.9 or 0.5, so give mom=...'):
        Optimizer([p()], [average_grad, mom_step], lr=.1)
    Optimizer([p()], [average_grad, mom_step], lr=.1, mom=.8).step()


# -- parts that break their contract when they run: found by the rehearsal ---------------------------------------------

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
     '`forgets_to_return` returned None: a step returns the change of `param`, a tensor of shape (5, 4)'),
    ([returns_a_number],
     '`returns_a_number` returned -0.1: a step returns the change of `param`, a tensor of shape (5, 4)'),
    ([returns_another_shape],
     '`returns_another_shape` returned a tensor of shape (4,): a step returns the change of `param`, '
     'a tensor of shape (5, 4)'),
    ([keeps_a_norm, momentum_step],
     '`keeps_a_norm` returned a tensor of shape (): a stat returns the new `grad_avg`, a tensor of shape (5, 4)'),
    ([step_count, scaled], '`no_number` returned None: a scalar returns a number'),
    ([divides_by_zero], '`divides_by_zero` failed: ZeroDivisionError: division by zero'),
    ([writes], '`writes` writes into `grad`: a part returns a new value and changes nothing it reads'),
    ([takes_a_norm],
     '`takes_a_norm` does not treat each element alone: it calls `norm`. '
     'If it needs the tensor\'s own shape, or is random, say @step(whole=True)')])
def test_part_that_breaks_its_contract(parts, sentence):
    with says(PartError, sentence): Optimizer([p()], parts, lr=.1)


def test_part_that_fails_on_a_parameter_names_both_and_keeps_the_cause():
    @step(whole=True)
    def matrix_step(grad, *, lr): return -lr * grad @ (torch.eye(2).double() if grad.max() == 1e9 else 1 + 0 * grad.mT)
    w, b = torch.nn.Parameter(torch.ones(2, 2).double()), torch.nn.Parameter(torch.ones(5, 5).double())
    opt = Optimizer([('w', w), ('b', b)], [average_grad, matrix_step], lr=.1)
    w.grad, b.grad = 1e9 * torch.ones(2, 2).double(), 1e9 * torch.ones(5, 5).double()
    with pytest.raises(PartError, match=r'^`matrix_step` failed: RuntimeError: .* '
                                        r'\(on `b` \(shape \(5, 5\), float64\)\)$') as e: opt.step()
    assert isinstance(e.value.__cause__, RuntimeError)
    assert 'matrix_step' in str(e.value.__cause__.__traceback__.tb_next.tb_frame)
    assert torch.equal(b, torch.ones(5, 5).double()) and not opt.state[b]['grad_avg'].any()


def test_part_that_returns_nothing_on_a_parameter():
    @step(whole=True)
    def nothing_for_large(grad, *, lr): return None if grad.max() == 1e9 else -lr * grad
    w, q = p(2, 1), p(3); q.grad = 1e9 * torch.ones(3)
    with says(PartError, '`nothing_for_large` returned None: a step returns the change of `param`, '
                         'a tensor of shape (3,) (on parameter 1 of group 0 (shape (3,), float32))'):
        Optimizer([w, q], [nothing_for_large], lr=.1).step()


# -- hyperparameters ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('make, kwargs, error, sentence', [
    (genopt.Adam, dict(momm=.9), TypeError, 'no part takes `momm`: did you mean `mom`?'),
    (genopt.Adam, dict(amsgrd=True), TypeError, 'no part takes `amsgrd`: did you mean `amsgrad`?'),
    (genopt.SGD, dict(betas=(.9, .99)), TypeError,
     'no part takes `betas`: there are `lr`, `wd`, `mom`, `dampening`, `nesterov`'),
    (genopt.Adam, dict(lr=-1), ValueError, '`lr` = -1 is out of range: it must be at least 0'),
    (genopt.Adam, dict(lr=float('nan')), ValueError, '`lr` = nan: give a finite number'),
    (genopt.Adam, dict(lr=float('inf')), ValueError, '`lr` = inf: give a finite number'),
    (genopt.Adam, dict(lr='fast'), TypeError, "`lr` = 'fast': give a number, not a str"),
    (genopt.Adam, dict(lr=torch.ones(2)), ValueError,
     '`lr` has 2 values, and there is 1 group: give one number'),
    (genopt.Adam, dict(mom=1), ValueError, '`mom` = 1 is out of range: it must be at least 0 and below 1'),
    (genopt.Adam, dict(betas=(.9, 1.)), ValueError, '`sqr_mom` = 1 is out of range: it must be at least 0 and below 1'),
    (genopt.Adam, dict(betas=(.9,)), ValueError, '`betas` = (0.9,): give 2 numbers, for `mom` and `sqr_mom`'),
    (genopt.Adam, dict(betas=.9), ValueError, '`betas` = 0.9: give 2 numbers, for `mom` and `sqr_mom`'),
    (genopt.Adam, dict(betas=(.9, .99), mom=.9), TypeError, '`mom` is given twice, once as `mom`: give it once'),
    (genopt.Adam, dict(amsgrad=.9), TypeError, '`amsgrad` = 0.9: give True or False'),
    (genopt.Adam, dict(fused='yes'), TypeError, "`fused` = 'yes': give True, False or None"),
    (genopt.Adam, dict(capturable=True), TypeError,
     '`capturable`: a step reads its counts, so it cannot be captured in a CUDA graph: leave it out'),
    (genopt.Adam, dict(differentiable=True), TypeError,
     '`differentiable`: leave it out; to differentiate through a step, call `Composition.update`, which is a pure '
     'function'),
    (genopt.SGD, dict(nesterov=True), ValueError,
     '`nesterov` and `dampening` need momentum: give mom=0.9, for example'),
    (genopt.SGD, dict(mom=.9, nesterov=True, dampening=.1), ValueError,
     '`nesterov` looks along an undampened buffer: leave out `dampening`'),
    (genopt.RMSprop, dict(weight_decay=-.1), ValueError, '`wd` = -0.1 is out of range: it must be at least 0')])
def test_hyperparameters(make, kwargs, error, sentence):
    with says(error, sentence): make([p()], **kwargs)


def test_missing_lr():
    with says(TypeError, '`lr` is missing: `sgd_step` needs it, so give lr=...'): Optimizer([p()], [sgd_step])


def test_hyperparameters_of_groups():
    with says(TypeError, 'no part takes `momm`: did you mean `mom`?'): genopt.Adam([dict(params=[p()], momm=.9)])
    with says(ValueError, '`lr` = -1 is out of range: it must be at least 0'): genopt.Adam([dict(params=[p()], lr=-1)])
    opt = genopt.Adam([p()])
    with says(ValueError, '`lr` = -1 is out of range: it must be at least 0'):
        opt.add_param_group(dict(params=[p()], lr=-1))
    assert len(opt.param_groups) == 1


def test_writing_a_hyperparameter():
    group = genopt.SGD([p()], lr=.1).param_groups[0]
    for key, error, sentence in [
            ('sqr_mom', KeyError, "'`sqr_mom` is not a hyperparameter of this group: there are `lr`, `wd`, `mom`, "
             "`dampening`, `nesterov`'"),
            ('weight_decy', KeyError,
             "'`weight_decy` is not a hyperparameter of this group: did you mean `weight_decay`?'"),
            ('parts', KeyError,
             "'the `parts` of a group are chosen when it is made: add another group, or make a new Optimizer'")]:
        with says(error, sentence): group[key] = -1
    with pytest.raises(KeyError, match='`betas` is not a hyperparameter of this group: there are `lr`'): group['betas']
    assert group.hypers() == dict(lr=.1, wd=0.)


# -- parameters --------------------------------------------------------------------------------------------------------

shared = p()
EMPTY = 'optimizer got an empty parameter list: the model has no parameters, or the generator is used up'

@pytest.mark.parametrize('params, error, sentence', [
    ([], ValueError, EMPTY), ([[]], ValueError, EMPTY),
    ([dict(params=[])], ValueError, EMPTY), (iter(()), ValueError, EMPTY),
    (p(), TypeError, 'params is one tensor: give a list of them, [tensor]'),
    (dict(w=p()), TypeError, 'params is a dict: give a list of parameters, or of dicts with `params`'),
    ({p()}, TypeError, 'params is a set, which has no order: give a list'),
    (3, TypeError, 'params is of type int: give model.parameters(), for example'),
    (['w'], TypeError, 'parameter 0 of group 0: an optimizer takes tensors, and this is a str'),
    ([p(), None], TypeError, 'parameter 1 of group 0: an optimizer takes tensors, and this is a NoneType'),
    ([('w', p() * 2)], ValueError,
     "`w` (shape (2,), float32) can't be optimized, as it is a non-leaf tensor, computed from others: "
     "give those, or its detach()"),
    ([('s', torch.zeros(2).to_sparse().requires_grad_())], ValueError,
     '`s` (shape (2,), float32) is of layout torch.sparse_coo: a parameter must be dense'),
    ([('w', shared), ('v', p()), ('tied', shared)], ValueError,
     '`tied` (shape (2,), float32) is given twice: some parameters appear in more than one parameter group, or place'),
    ([dict(params=[shared]), dict(params=[shared])], ValueError,
     'parameter 0 of group 1 (shape (2,), float32) is given twice: some '
     'parameters appear in more than one parameter group, or place'),
    ([('w', p()), p()], ValueError, 'group 0: some of its parameters have names and some do not'),
    ([[('w', p())], [p()]], ValueError, 'group 1: all groups should be given with names, or all without'),
    ([dict(lr=.1)], TypeError, 'group 0: its `params` are of type NoneType: give a list of tensors')])
def test_parameters(params, error, sentence):
    with says(error, sentence): genopt.SGD(params, lr=.1)


def test_group_without_parts():
    with says(TypeError, 'group 0 has no parts: give them to the Optimizer, or to the group as `parts=`'):
        Optimizer([p()], lr=.1)


def test_sparse_gradient():
    emb, w = torch.nn.Embedding(4, 2, sparse=True), p()
    opt = genopt.SGD([('w', w), *emb.named_parameters('emb')], lr=.1, wd=.1)
    (emb(torch.tensor([1])).sum() + w.sum()).backward()
    with says(TypeError, '`emb.weight` (shape (4, 2), float32) has a sparse gradient, '
                         'and l2_reg → sgd_step takes dense ones, as rows without a gradient would move too: make its '
                         'layer with sparse=False, or add `lazy`, which moves only the rows that have one'): opt.step()
    assert not w.any()  # nothing has moved


# -- checkpoints: see also test_checkpoints.py -------------------------------------------------------------------------

def trained(make, *shapes):
    ps = [p(*s) for s in shapes or [(2, 3), (3,)]]
    for q in ps: q.grad = torch.ones_like(q)
    opt = make(ps); opt.step()
    return opt


def broken(change):
    saved = trained(genopt.Adam).state_dict()
    saved = {'state': {k: dict(v) for k, v in saved['state'].items()},
             'param_groups': [dict(g) for g in saved['param_groups']]}
    change(saved)
    return saved


CHECKPOINTS = {
    'another recipe': (lambda: trained(genopt.SGD).state_dict(),
        'its group 0 was made by l2_reg → sgd_step, '
        'and here it is l2_reg → average_grad → average_sqr_grad → step_count → adam_step'),
    'other shapes': (lambda: trained(genopt.Adam, (2, 3), (4,)).state_dict(),
        '`grad_avg` of parameter 1 of group 0 (shape (3,), float32) is a tensor of shape (4,) in it, '
        'and a tensor of shape (3,) here'),
    'fewer parameters': (lambda: trained(genopt.Adam, (2, 3)).state_dict(),
        'its group 0 has 1 parameter, and here it has 2'),
    'more groups': (lambda: trained(lambda ps: genopt.Adam([[q] for q in ps])).state_dict(),
        'it has 2 parameter groups, and this optimizer has 1'),
    'no groups': (lambda: broken(lambda s: s.pop('param_groups')), "it has no 'param_groups'"),
    'nothing': (lambda: {}, "it has no 'param_groups' and no 'state'"),
    'a stat missing': (lambda: broken(lambda s: s['state'][0].pop('count')),
        'it has `grad_avg`, `sqr_avg` for parameter 0 of group 0 (shape (2, 3), float32), '
        'and here it has `count`, `grad_avg`, `sqr_avg`'),
    'a stat of another kind': (lambda: broken(lambda s: s['state'][0].update(count=None)),
        '`count` of parameter 0 of group 0 (shape (2, 3), float32) is None in it, and a number here'),
    'a hyperparameter missing': (lambda: broken(lambda s: s['param_groups'][0].pop('eps')), 'its group 0 lacks `eps`'),
    'a hyperparameter that is not finite': (lambda: broken(lambda s: s['param_groups'][0].update(lr=float('nan'))),
        'its group 0: `lr` = nan: give a finite number'),
    'a hyperparameter too many': (lambda: broken(lambda s: s['param_groups'][0].update(dampening=.5)),
        'its group 0: no part takes `dampening`: there are `lr`, `mom`, `sqr_mom`, `eps`, `wd`, `amsgrad`, '
        '`decouple_wd`'),
    'cut short': (lambda: broken(lambda s: s['state'].pop(1)),
        'it has no state for parameter 1 of group 0 (shape (3,), float32), so it was cut short (to begin that anew, '
        'give it an empty one: state_dict["state"][1] = {})'),
    'a stranger': (lambda: broken(lambda s: s['state'].update({7: {}})),
        'it has a state for `7`, which is in no group')}

@pytest.mark.parametrize('make, why', CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoint(make, why):
    opt = trained(genopt.Adam)
    before = repr(opt.state_dict())
    with says(ValueError, f'cannot load this state_dict: {why}'): opt.load_state_dict(make())
    assert repr(opt.state_dict()) == before
