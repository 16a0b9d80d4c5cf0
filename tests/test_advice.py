"""Promise: who follows an error's advice is rid of it; and names that would collide are refused.

Each row is a mistake, what is advised, and the same after the advice was followed to the letter.
"""
import re

import genopt
import pytest
import torch
from genopt import (Adam, Composition, ContractError, Optimizer, adam_step, average_grad,
                    average_param, average_sqr_grad, cautious, cautious_decay, checkpoint,
                    clip_by_global_norm, debias, gate, l2_reg, momentum_buffer, momentum_step,
                    recipe, scalar, sgd_step, sqr_grad_norm, stat, step, step_count, total,
                    transform, weight_decay)
from genopt.parts import clip_share, lookahead_step, max_grad, average_slow_param
from genopt.hypers import TABLE
from genopt.contract import CALL_WORDS, GROUP_KEYS, RESERVED, STATE_WORDS
from genopt.order import keepers


def made(*parts):
    "An optimizer of these parts makes a step."
    p = torch.nn.Parameter(torch.ones(2, 3)); p.grad = torch.ones_like(p)
    values = dict(lr=.1, mom=.9, sqr_mom=.9, speed=.1, speeed=.1)
    Optimizer([p], parts,
              **{k: v for k, v in values.items() if k in Composition(parts).hypers}).step()


def f_of(text, kind=step, **kw):
    "A part from its signature."
    env = {'debias': debias, 'average_grad': average_grad}
    exec(f'def f({text}): return 0.', env)
    return kind(env['f'], **kw)


@stat
def hen(hen, egg): return hen + egg
@stat
def egg(egg, hen): return egg + hen
@step
def warm_step(warmth, grad, *, lr): return -lr * warmth * grad
@scalar
def warmth(count): return min(1, count / 10)
@transform
def warmed(grad, warm=warmth): return warm * grad
@step
def fast_step(grad, *, speed): return -speed * grad
@step
def slow_step(grad, speed): return -.1 * speed * grad
@step
def slow_step_now(grad, *, speed): return -.1 * speed * grad
@scalar
def norm_of(grad_avg): return 1.
@total
def sqr_norm(grad_avg): return grad_avg.square().sum()
@scalar
def norm(square=sqr_norm): return square**.5
@stat(init=0)
def number(number, grad): return number + grad
@stat(init=torch.zeros_like)
def no_number(number, grad): return number + grad
@stat(init=0)
def micro(micro): return micro + 1
@gate
def every_second(micro): return micro % 2 == 0
@step
def keeps_name(grad, *, grad_avg=.1): return -grad_avg * grad
@stat
def anchor(anchor, new_param): return anchor.lerp(new_param, .1)
@step
def pulled(new_param, anchor): return .1 * (anchor - new_param)
@transform
def old_debias(grad, prev_debias): return grad * prev_debias
@stat(init=1.)
def last_debias(last_debias, debias): return debias
@transform
def kept_debias(grad, prev_last_debias): return grad * prev_last_debias
@step
def torchs_step(grad, betas, *, lr): return -lr * grad
@step
def our_step(grad, *, lr, mom, sqr_mom): return -lr * mom * sqr_mom * grad
@step
def over(grad, update): return .1 * update
@step
def fast_only(velocity, *, speed): return -speed * velocity
@scalar
def half(*, speed): return speed / 2
@step
def hidden(velocity, half=half): return -half * velocity
def plain(grad, *, lr): return -lr * grad

ADAM = [average_grad, average_sqr_grad]

LISTS = {
    'a stat is missing': ([momentum_step],
                          'add a stat that keeps it, such as `average_grad`, before it',
                          [average_grad, momentum_step]),
    'a stat that is called like its part': (
        [micro_step := step(lambda first_param, *, lr: -lr * first_param)],
        '`first_param`: add a stat that keeps it, such as `first_param`, before it',
        [genopt.first_param, micro_step]),
    'a stat that a scalar reads': ([*ADAM, adam_step],
                                   'add a stat that keeps it, such as `step_count`, before it',
                                   [*ADAM, step_count, adam_step]),
    'a stat comes late': ([momentum_step, average_grad], 'put `momentum_step` later',
                          [average_grad, momentum_step]),
    'or its old value is read': ([momentum_step, average_grad], 'or read `prev_grad_avg`',
                                 [momentum_step.rename(grad_avg='prev_grad_avg'), average_grad]),
    'a stat that a scalar reads comes late': ([*ADAM, adam_step, step_count],
                                              'put `adam_step` later',
                                              [*ADAM, step_count, adam_step]),
    'and its old value': ([warmed, step_count, sgd_step], 'or read `prev_count`',
                          [warmed.rename(count='prev_count'), step_count, sgd_step]),
    'two stats read each other': ([hen, egg, sgd_step],
                                  'before `egg` has updated it: read `prev_egg`',
                                  [hen.rename(egg='prev_egg'), egg, sgd_step]),
    'a scalar comes late': ([step_count, warm_step, warmth], 'put `warm_step` later',
                            [step_count, warmth, warm_step]),
    'a scalar has no past': ([step_count, old_debias, *ADAM, adam_step],
                             'only a stat has a value from before this step: keep `debias` in '
                             'one', [step_count, *ADAM, kept_debias, adam_step, last_debias]),
    'a hyperparameter before the star': ([fast_step, slow_step], '`def slow_step(..., *, speed)`',
                                         [fast_step, slow_step_now]),
    'a hyperparameter in torch\'s words': ([torchs_step], '`def torchs_step(..., *, mom, sqr_mom)`',
                                           [our_step]),
    'the name of a part': ([average_grad, momentum_step.rename(grad_avg='average_grad')],
        'what it keeps is called `grad_avg`', [average_grad, momentum_step]),
    'the old name of a part': ([momentum_step.rename(grad_avg='prev_average_grad'), average_grad],
        'what it keeps is called `prev_grad_avg`',
        [momentum_step.rename(grad_avg='prev_grad_avg'), average_grad]),
    'the update before there is one': ([cautious, sgd_step], 'put it after one',
                                       [sgd_step, cautious]),
    'the update, where there is no other step': ([cautious_decay],
                                                 'put it after one, such as `sgd_step`',
                                                 [sgd_step, cautious_decay]),
    'no step': ([l2_reg], 'add one, such as `sgd_step`', [l2_reg, sgd_step]),
    'two of one name': ([average_grad, momentum_buffer, momentum_step],
                        '`momentum_buffer.rename(grad_avg=...)`',
                        [average_grad, momentum_buffer.rename(grad_avg='other'), momentum_step]),
    'or one less': ([average_grad, momentum_buffer, momentum_step], 'leave one out',
                    [average_grad, momentum_step]),
    'two of one name, by a rename': ([average_sqr_grad,
                                      max_grad.rename(grad_max='sqr_avg', eps='floor'), sgd_step],
        "`max_grad.rename(eps='floor', grad_max=...)`",
        [average_sqr_grad, max_grad.rename(grad_max='other', eps='floor'), sgd_step]),
    'a scalar called like a stat': ([step_count, warmth.rename(warmth='count'), sgd_step],
        '`warmth.rename(warmth=...)`', [step_count, warmth.rename(warmth='other'), sgd_step]),
    'a scalar that reads a tensor': ([average_grad, norm_of, sgd_step], 'read a @total of it',
                                     [average_grad, norm, sgd_step]),
    'a number that reads a tensor': ([number, sgd_step], 'init=torch.zeros_like',
                                     [no_number, sgd_step]),
    'an average comes early': ([sgd_step, average_param, weight_decay], 'put it last',
                               [sgd_step, weight_decay, average_param]),
    'one that a step reads comes early': ([step_count, sgd_step, anchor, average_slow_param,
                                           lookahead_step, pulled],
        'put it after `lookahead_step`',
        [step_count, sgd_step, average_slow_param, lookahead_step, anchor, pulled]),
    'a hyperparameter called like a stat': ([average_grad, momentum_step, keeps_name],
        '`keeps_name.rename(grad_avg=...)`',
        [average_grad, momentum_step, keeps_name.rename(grad_avg='speed')]),
    'a recipe in a list': ([Adam], 'give its parts, *Adam.parts()', [*Adam.parts()]),
    'a sum in a list': ([Adam + cautious], '*(Adam + cautious).parts()',
                        [*(Adam + cautious).parts()]),
    'a composition in a list': ([Composition([sgd_step])], 'a `*` before `.parts`',
                                [*Composition([sgd_step]).parts]),
    'a list in a list': ([ADAM, sgd_step], 'put a `*` before it', [*ADAM, sgd_step]),
    'a name in a list': (['sgd_step'], 'give the part itself', [sgd_step]),
    'a function in a list': ([plain], 'decorate it with @stat, @scalar, @transform, @step',
                             [step(plain)])}


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('wrong, advice, right', LISTS.values(), ids=LISTS)
def test_who_follows_the_advice_has_an_optimizer(wrong, advice, right):
    with pytest.raises(ContractError, match=re.escape(advice)): made(*wrong)
    made(*right)


def test_advice_on_what_no_part_keeps():
    along = step(lambda impetus, *, lr: -lr * impetus)
    with pytest.raises(ContractError,
                       match='add a @stat whose first argument is `impetus` before it, or correct'):
        made(along)
    made(stat(lambda impetus, grad: grad), along)
    with pytest.raises(ContractError, match='or correct the name: did you mean `grad_avg`?'):
        made(average_grad, momentum_step.rename(grad_avg='grad_avgg'))
    made(average_grad, momentum_step)


def test_advice_on_what_is_no_list():
    with pytest.raises(ContractError, match=re.escape('[sgd_step]')): Composition(sgd_step)
    with pytest.raises(ContractError, match='give a list'): Composition({sgd_step})
    with pytest.raises(ContractError, match=re.escape("recipe('adam')")): Composition('adam')
    assert Composition([sgd_step]) and recipe('adam') is Adam


SIGNATURES = {
    'stars': (lambda: f_of('grad, **kw'), 'name every argument', lambda: f_of('grad, *, lr')),
    'a number before the star': (lambda: f_of('grad, lr=.1'), 'it: `*, lr=0.1`',
                                 lambda: f_of('grad, *, lr=0.1')),
    'a stat for a default': (lambda: f_of('grad, m=average_grad'), 'read what it keeps, `grad_avg`',
                             lambda: f_of('grad, grad_avg')),
    'a word for a default': (lambda: f_of('grad, m="x"'), 'leave the default out',
                             lambda: f_of('grad, m')),
    'torch\'s word': (lambda: f_of('grad, *, momentum'), '`mom`: say that',
                      lambda: f_of('grad, *, mom')),
    'a default that is no number': (lambda: f_of('grad, *, lr="x"'), 'make it a number',
                                    lambda: f_of('grad, *, lr=1')),
    'a switch': (lambda: f_of('grad, *, wd=0.', switch='wdd'), 'did you mean `wd`?',
                 lambda: f_of('grad, *, wd=0.', switch='wd')),
    'an init': (lambda: f_of('x, grad', stat, init='0'), 'give a number, or a function of `param`',
                lambda: (f_of('x, grad', stat, init=0),
                         f_of('x, grad', stat, init=torch.zeros_like))),
    'a stat of a reserved name': (lambda: f_of('grad', stat),
                                  'first argument is the name of what it remembers',
                                  lambda: f_of('memory, grad', stat)),
    'a transform of something else': (lambda: f_of('kept, grad', transform),
                                      'first argument is `grad` or `update`',
                                      lambda: f_of('grad, param', transform)),
    'a gate on a tensor': (lambda: f_of('grad', gate), 'read a @total of it',
                           lambda: (t := f_of('grad', total), gate(lambda t=t: t > 0))),
    'a scalar of a tensor': (lambda: f_of('param', scalar), 'read a @total of it',
                             lambda: (t := f_of('param', total), scalar(lambda t=t: t))),
    'two steps back': (lambda: f_of('grad, prev_prev_count'),
                       'keep `prev_count` in a @stat, and read `prev_` and the '
                       'name of that', lambda: (f_of('last_count, prev_count', stat),
                                                f_of('grad, prev_last_count'))),
    'nothing\'s past': (lambda: f_of('grad, prev_'), 'as in `prev_grad_avg`',
                        lambda: f_of('grad, prev_grad_avg')),
    'needs': (lambda: f_of('grad', transform, needs='vector'), "give 'real' or 'matrix'",
              lambda: (f_of('grad', transform, needs='real'),
                       f_of('grad', transform, needs='matrix'))),
    'no function': (lambda: step(print), 'decorates a function, made with `def`',
                    lambda: step(plain)),
    'a rename of nothing': (lambda: average_grad.rename(momm='x'), 'did you mean `mom`?',
                            lambda: average_grad.rename(mom='x')),
    'a rename to nothing': (lambda: average_grad.rename(mom='a b'), 'give a name',
                            lambda: average_grad.rename(mom='a')),
    'a rename to a word of Python': (lambda: average_grad.rename(mom='lambda'), 'that is not a '
                                                                                'word of Python',
                                     lambda: average_grad.rename(mom='lambda_'))}


@pytest.mark.parametrize('wrong, advice, right', SIGNATURES.values(), ids=SIGNATURES)
def test_who_follows_the_advice_has_a_part(wrong, advice, right):
    with pytest.raises(ContractError, match=re.escape(advice)): wrong()
    right()


# -- names -----------------------------------------------------------------------------------------

def test_the_entries_of_a_state_that_are_not_stats():
    assert STATE_WORDS == (*checkpoint.MARKS, checkpoint.SWAPPED)


@pytest.mark.parametrize('name', STATE_WORDS)
def test_no_part_keeps_or_reads_a_mark(name):
    keeps, count = average_grad.rename(grad_avg=name), step_count.rename(count=name)
    for parts in ([keeps, sgd_step], [count, sgd_step], [momentum_step.rename(grad_avg=name)],
                  [f_of(f'{name}, grad', stat), sgd_step]):
        with pytest.raises(ContractError,
                           match=f'`{name}`, an entry of a parameter\'s state that is not a stat'):
            Composition(parts)
    with pytest.raises(ContractError, match=re.escape('give it another name, '
                                                      '`average_grad.rename(grad_avg=...)`')):
        made(keeps, sgd_step)
    made(average_grad.rename(grad_avg='other'), sgd_step)


@pytest.mark.parametrize('name',
                         [*GROUP_KEYS, *CALL_WORDS, *RESERVED, 'prev_x', 'initial_lr', 'name'])
def test_no_hyperparameter_has_a_name_that_no_call_could_take(name):
    for make in (lambda: f_of(f'x, *, {name}=1.'), lambda: f_of(f'x, *, {name}', stat),
                 lambda: fast_only.rename(speed=name), lambda: hidden.rename(speed=name),
                 lambda: f_of('x', stat, init=f_of(f'*, {name}', lambda f: f))):
        with pytest.raises(ContractError,
                           match=f'`{name}`.*: give the hyperparameter another name$'): make()


@pytest.mark.parametrize('name', [*RESERVED, 'prev_grad', 'prev_x'])
@pytest.mark.parametrize('part, own',
                         [(clip_by_global_norm, 'clip_share'), (clip_share, 'clip_share'),
    (clip_by_global_norm, 'sqr_grad_norm'), (sqr_grad_norm, 'sqr_grad_norm'),
    (adam_step, 'debias')])
def test_no_number_takes_a_name_with_a_meaning_of_its_own(part, own, name):
    with pytest.raises(ContractError,
                       match=f'`{name}` has a meaning of its own: give it another name'):
        part.rename(**{own: name})


def test_what_is_read_may_be_renamed_to_what_there_is():
    made(*ADAM, step_count, adam_step.rename(grad_avg='grad'))
    assert genopt.clip_by_value.rename(grad='update').out == 'update'


NAMES = {k: by for k, by in keepers().items() if getattr(getattr(genopt, by, None), 'out', '') == k}

@pytest.mark.parametrize('name', NAMES)
def test_whatever_stat_is_missing_is_named_with_a_part_that_keeps_it(name):
    reader = momentum_step.rename(grad_avg=name)
    with pytest.raises(ContractError) as e: Composition([reader])
    assert str(e.value).endswith(f'reads `{name}`: add a stat that keeps it, such as '
                                 f'`{NAMES[name]}`, before it')
    with pytest.raises(ContractError) as e:
        Composition([momentum_step.rename(grad_avg=f'prev_{name}')])
    assert str(e.value).endswith(f'reads `prev_{name}`: add a stat that keeps it, such as '
                                 f'`{NAMES[name]}`')
    try: Composition([getattr(genopt, NAMES[name]), reader])
    except ContractError as e: assert f'reads `{name}`' not in str(e)  # it may need others in turn


@pytest.mark.parametrize('name', [by for k, by in NAMES.items() if by != k])
def test_a_part_is_not_what_it_keeps(name):
    with pytest.raises(ContractError,
                       match=f'`{name}`, which is a part: what it keeps is called `'):
        Composition([momentum_step.rename(grad_avg=name)])


@pytest.mark.parametrize('name', TABLE)
def test_a_hyperparameter_stands_behind_the_star(name):
    with pytest.raises(ContractError,
                       match=rf'a hyperparameter: those .* `def f\(\.\.\., \*, {name}\)`'):
        Composition([f_of(f'grad, {name}')])
    Composition([f_of(f'grad, *, {name}')])
    with pytest.raises(ContractError, match=f'only a stat has a value from before this step: keep '
                                            f'`{name}` in one'):
        Composition([f_of(f'grad, prev_{name}')])
