"""Promise: `recipe + parts` is what a careful person would write: parts, order and numbers.

Each story has small parts of its own, and two lists: the parts that are added, and all parts as
written by hand.
"""
import genopt
import pytest
import torch
from genopt import (Adam, AdamW, ContractError, Lion, Optimizer, RMSprop, SGD, average_grad,
                    average_param,
                    average_sqr_grad, clip_by_value, gate, l2_reg, last_grad, momentum_step, recipe,
                    scale_by_rms, scalar,
                    sgd_step, skip_nonfinite, stat, step, step_count, total, transform,
                    weight_decay)
from helpers import random

GRADS = [(.3 + t % 3) * random(t + 1, (3, 2), torch.float64) for t in range(7)]


def path(make):
    "Where two parameters go, and what is remembered of them in the end."
    ps = [torch.nn.Parameter(random(i, (3, 2), torch.float64)) for i in (50, 51)]
    opt = make(ps)
    res = []
    for g in GRADS:
        for i, p in enumerate(ps): p.grad = (i + 1) * g
        opt.step()
        res += [p.detach().clone() for p in ps]
    kept = [v for p in ps for _, v in sorted(opt.state[p].items())]
    return res + [torch.as_tensor(v, dtype=torch.float64) for v in kept]


def assert_same_path(ours, theirs):
    for a, b in zip(path(ours), path(theirs),
                    strict=True): torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


# -- parts, as people write them -------------------------------------------------------------------

@stat
def slow_grad(slow, grad, *, slow_decay=.9): return slow.lerp(grad, 1 - slow_decay)
@transform
def amplified(grad, slow, *, amplify=2.): return grad + amplify * slow
@transform
def less_variance(grad, prev_last_grad): return grad + .5 * (grad - prev_last_grad)
@transform
def halved(grad): return grad / 2
@transform
def squared(grad): return grad * grad.abs()
@transform
def over_average(grad, sqr_avg): return grad / (sqr_avg.sqrt() + 1)
@stat
def moved(moved, update): return .5 * moved + update
@transform
def smoothed(update, moved): return .5 * (update + moved)
@transform
def doubled(update): return 2 * update
@transform
def with_moved(update, prev_moved): return update + .1 * prev_moved
@transform(decay=True)
def shrunk(update): return .5 * update
@step
def along_moved(moved): return .1 * moved
@step
def along_slow(slow, *, lr): return -lr * slow
@transform
def lively(update, grad,
           prev_last_grad): return update * torch.sigmoid((grad - prev_last_grad).abs())
@stat(init=0)
def micro(micro): return micro + 1
@stat(init=0)
def seen(seen): return seen + 1
@gate
def every_second(micro): return micro % 2 == 0
@gate
def after_one(prev_micro): return prev_micro >= 1
@gate
def every_third(count): return count % 3 == 0
@scalar
def warm(count): return min(1, count / 4)
@transform
def warmed(update, warm=warm): return warm * update
@transform
def warm_grad(grad, warm=warm): return warm * grad
@stat(init=1.)
def fading(fading, count): return fading * .9 + .1 / count
@transform
def faded(grad, fading): return fading * grad
@gate
def faint(fading): return fading < .95
@total
def size(grad): return grad.abs().sum()
@gate
def small(size=size, *, most=8.): return size < most
@stat(init=0)
def large_count(large, size=size, *, most=8.): return large + (size >= most)
@stat(init=0.)
def usual_size(usual, size=size): return .8 * usual + .2 * size
@transform
def relative(grad, usual): return grad / (1 + usual)
@stat(init=lambda param: param)
def anchor(anchor, new_param): return anchor.lerp(new_param, .1)
@step
def pulled_back(new_param, anchor): return .1 * (anchor - new_param)
@transform
def pulled_grad(grad, param, prev_anchor): return grad + .1 * (param - prev_anchor)
@stat
def ahead(ahead, slow): return slow + .5 * ahead
@transform
def along_ahead(grad, ahead): return grad + ahead
@step(switch='wd')
def felt_decay(update, param, *, lr, wd=.1): return -lr * wd * param * (update * param <= 0)
@stat(init=0)
def rounds(rounds): return rounds + 1
@stat
def gathered(gathered, grad, rounds):
    return grad if rounds % 2 else gathered + grad
@transform
def all_gathered(grad, gathered,
                 rounds): return torch.zeros_like(grad) if rounds % 2 else gathered / 2

@transform
def by_all(grad, size=size): return grad / size
@transform
def relative_to_all(grad, size=size): return grad / (1 + size)
@transform
def along_update(grad, moved): return grad + moved
@transform
def with_update(grad, update): return grad + update
@stat
def both(both, grad, update): return grad + update
@stat
def hen(hen, egg): return hen + egg
@stat
def egg(egg, hen): return egg + hen
@total
def slow_sum(slow): return slow.sum()
@stat(init=0.)
def slow_size(slow_size, all=slow_sum): return slow_size + all
@gate
def slow_enough(slow_size): return slow_size < 100


@recipe(lr=.1)
def Gated(): return halved, micro, every_second, slow_grad, amplified, sgd_step

@recipe(lr=.1)
def Sized(): return halved, average_grad, by_all, sgd_step, momentum_step

@recipe(lr=.1)
def DecayFirst(): return weight_decay, sgd_step


SGD_ = [l2_reg, sgd_step]
AVERAGES = [average_grad, average_sqr_grad]
ADAM = [*AVERAGES, step_count, genopt.adam_step]

STORIES = {
    'a filter with a memory of the gradient':
        (SGD, [slow_grad, amplified], [slow_grad, amplified, *SGD_]),
    'a filter, on a recipe with averages':
        (AdamW, [slow_grad, amplified], [slow_grad, amplified, *ADAM, weight_decay]),
    'a filter with a memory of its memory':
        (SGD, [slow_grad, ahead, along_ahead], [slow_grad, ahead, along_ahead, *SGD_]),
    'a memory of the gradient before the change':
        (SGD, [last_grad, less_variance], [last_grad, less_variance, *SGD_]),
    'a memory between two changes':
        (SGD, [halved, slow_grad, squared, amplified],
         [halved, slow_grad, squared, amplified, *SGD_]),
    'a second modifier that remembers what the first made':
        (Adam, [squared, slow_grad, amplified], [squared, slow_grad, amplified, l2_reg, *ADAM]),
    'two changes of the gradient':
        (SGD, [halved, squared], [halved, squared, *SGD_]),
    'and the other way round':
        (SGD, [squared, halved], [squared, halved, *SGD_]),
    'a memory that a step reads, and then a change of the gradient':
        (SGD, [slow_grad, along_slow, halved], [halved, *SGD_, slow_grad, along_slow]),
    'a change of the gradient between a memory and the step that reads it':
        (SGD, [slow_grad, halved, along_slow], [slow_grad, halved, *SGD_, along_slow]),
    'friction, and then a clip':
        (Adam, [last_grad, lively, clip_by_value],
         [clip_by_value, l2_reg, *ADAM, last_grad, lively]),
    'a filter on the update':
        (AdamW, [moved, smoothed], [*ADAM, moved, smoothed, weight_decay]),
    'a memory of the update before a change of it':
        (AdamW, [moved, doubled], [*ADAM, moved, doubled, weight_decay]),
    'a memory of the update after a change of it':
        (AdamW, [doubled, moved], [*ADAM, doubled, moved, weight_decay]),
    'a memory of the update with its decay':
        (AdamW, [shrunk, moved], [*ADAM, weight_decay, shrunk, moved]),
    'a memory of a decay that is added before it':
        (SGD, [weight_decay, moved], [sgd_step, weight_decay, moved]),
    'a step along a memory of the update':
        (AdamW, [moved, along_moved], [*ADAM, moved, along_moved, weight_decay]),
    'a gate that counts':
        (SGD, [micro, every_second], [micro, every_second, *SGD_]),
    'a gate that reads an old count':
        (Adam, [micro, after_one], [micro, after_one, l2_reg, *ADAM]),
    'a number that a gate does not stop':
        (SGD, [seen, micro, every_second], [seen, micro, every_second, *SGD_]),
    'and one that it stops':
        (SGD, [micro, every_second, seen], [micro, every_second, seen, *SGD_]),
    'a gate on a number made of the recipe\'s count':
        (Adam, [fading, faint], [step_count, fading, faint, l2_reg, *AVERAGES, genopt.adam_step]),
    'a number made of the recipe\'s count, which a gate stops':
        (Adam, [fading, *skip_nonfinite],
         [*skip_nonfinite, step_count, fading, l2_reg, *AVERAGES, genopt.adam_step]),
    'a mean of the weights, which a gate stops':
        (SGD, [*genopt.weight_mean, micro, every_second],
         [micro, every_second, step_count, *SGD_, genopt.parts.mean_param]),
    'a gate on the recipe\'s own count':
        (AdamW, [every_third],
         [step_count, every_third, *AVERAGES, genopt.adam_step, weight_decay]),
    'a gate on a total':
        (Adam, [small], [small, l2_reg, *ADAM]),
    'a gate on a total, with a count of what it stops':
        (Adam, [large_count, small], [large_count, small, l2_reg, *ADAM]),
    'a gate, and a count of those that are large where it is open':
        (Adam, [small, large_count], [small, large_count, l2_reg, *ADAM]),
    'a gate on a total of a changed gradient':
        (SGD, [halved, large_count, small], [halved, large_count, small, *SGD_]),
    'a change behind a gate':
        (SGD, [small, halved], [small, halved, *SGD_]),
    'a gate comes before a filter, which remembers':
        (SGD, [slow_grad, amplified, small], [small, slow_grad, amplified, *SGD_]),
    'a gate comes before a warm-up, whose count it stops':
        (AdamW, [warm_grad, large_count, small],
         [large_count, small, step_count, warm_grad, *AVERAGES, genopt.adam_step, weight_decay]),
    'a warm-up of the update on the recipe\'s count':
        (AdamW, [warmed], [*ADAM, warmed, weight_decay]),
    'a warm-up of the gradient on the recipe\'s count':
        (AdamW, [warm_grad], [step_count, warm_grad, *AVERAGES, genopt.adam_step, weight_decay]),
    'a warm-up without a count':
        (SGD, [step_count, warm_grad], [step_count, warm_grad, *SGD_]),
    'a number made of the recipe\'s count':
        (Adam, [fading, faded], [step_count, fading, faded, l2_reg, *AVERAGES, genopt.adam_step]),
    'a number made of the recipe\'s count, which only a change of the update reads':
        (AdamW, [fading, transform(lambda update, fading: fading * update)],
         [step_count, fading, *AVERAGES, genopt.adam_step,
          transform(lambda update, fading: fading * update),
          weight_decay]),
    'a number made of a total':
        (SGD, [usual_size, relative], [usual_size, relative, *SGD_]),
    'a number made of a total of a changed gradient':
        (SGD, [squared, usual_size, relative], [squared, usual_size, relative, *SGD_]),
    'a number made of a total, behind a gate on another':
        (SGD, [usual_size, relative, *skip_nonfinite],
         [*skip_nonfinite, usual_size, relative, *SGD_]),
    'what is gathered in one step, for the next':
        (SGD, [rounds, gathered, all_gathered], [rounds, gathered, all_gathered, *SGD_]),
    'a step that reads a stat of the new parameter':
        (AdamW, [anchor, pulled_back], [*ADAM, weight_decay, anchor, pulled_back]),
    'and then a change of the update':
        (AdamW, [anchor, pulled_back, doubled],
         [*ADAM, doubled, weight_decay, anchor, pulled_back]),
    'a change of the gradient that reads an old stat of the new parameter':
        (AdamW, [anchor, pulled_grad], [pulled_grad, *ADAM, weight_decay, anchor]),
    'an average of what all steps left':
        (AdamW, [average_param, anchor, pulled_back],
         [*ADAM, weight_decay, anchor, pulled_back, average_param]),
    'a change of the gradient that waits for the recipe\'s average':
        (RMSprop, [over_average], [l2_reg, average_sqr_grad, over_average, scale_by_rms, sgd_step]),
    'decays and what they mean':
        (SGD, [shrunk, doubled, weight_decay], [sgd_step, doubled, weight_decay, shrunk]),
    'a decay that sees the update':
        (AdamW, [felt_decay, doubled], [*ADAM, doubled, felt_decay]),
    'another step':
        (AdamW, [slow_grad, along_slow], [*ADAM, slow_grad, along_slow, weight_decay]),
    'a recipe that has a gate':
        (Gated, [last_grad, less_variance],
         [micro, every_second, last_grad, less_variance, *Gated.parts()[:1],
                                             *Gated.parts()[3:]]),
    'a gate on a recipe that has one':
        (Gated, [large_count, small], [micro, every_second, large_count, small, *Gated.parts()[:1],
                                       *Gated.parts()[3:]]),
    'a total that the recipe takes':
        (Sized, [relative_to_all], [*Sized.parts()[:3], relative_to_all, *Sized.parts()[3:]]),
    'a recipe that begins with decay':
        (DecayFirst, [doubled], [sgd_step, doubled, weight_decay]),
    'a recipe that changes the gradient itself':
        (Lion, [last_grad, less_variance], [last_grad, less_variance, *Lion.parts()])}


MEMORY_SECOND = {  # these cannot be added one by one: the first alone is no optimizer
    'a filter whose memory is given second':
        (SGD, [amplified, slow_grad], [slow_grad, amplified, *SGD_]),
    'a memory of the gradient after the change':
        (SGD, [less_variance, last_grad], [less_variance, *SGD_, last_grad]),
    'a memory of the last update':
        (SGD, [with_moved, moved], [*SGD_, with_moved, moved]),
    'a gate that counts, given first':
        (SGD, [every_second, micro], [micro, every_second, *SGD_])}


def by_hand(parts, of):
    "The optimizer of a list, with a recipe's values of its hyperparameters."
    own = of.rule().composition.hypers | of.defaults | dict(lr=.05)
    return lambda ps: Optimizer(ps, parts, **{k: own[k] for k in genopt.Composition(parts).hypers})


ALL = STORIES | MEMORY_SECOND

@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('base, extra, parts', ALL.values(), ids=ALL)
def test_a_sum_is_the_list_that_one_would_write(base, extra, parts):
    new = base + extra
    assert_same_path(lambda ps: new(ps, lr=.05), by_hand(parts, new))


@pytest.mark.parametrize('base, extra', [story[:2] for story in STORIES.values()], ids=STORIES)
def test_a_sum_of_several_is_the_sum_of_one_after_another(base, extra):
    new = base
    for p in extra: new = new + p
    assert new.parts() == (base + extra).parts() == (base + extra[0] + extra[1:]).parts()


# -- where nothing works ---------------------------------------------------------------------------

@gate
def all_small(size=size): return size < 100


@pytest.mark.parametrize('base, extra, why', [
    (Adam, over_average,
     '`over_average` changes `grad`, and would stand after `average_sqr_grad`, when no part reads '
     '`grad` any more: read `prev_sqr_avg`, its value before this step'),
    (SGD, [moved, along_update],
     '`along_update` changes `grad`, and would stand after `moved`, when no part reads `grad` any '
     'more: read `prev_moved`, its value before this step'),
    (SGD, with_update, '`with_update` changes `grad`, and would stand after `sgd_step`, when no '
                       'part reads `grad` any more: keep the update in a stat, and read `prev_` '
                       'and the name of that'),
    (SGD, [both, halved],
     '`halved` changes `grad`, and would stand after `both`, when no part reads `grad` any more: '
     'give `halved` before it'),
    (SGD, [hen, egg],
     '`hen` and `egg` need each other, so none can come first: let one read `prev_hen`, its value '
     'before this step'),
    (SGD, [slow_grad, slow_size, slow_enough],
     '`slow_enough` is a gate, and would stand after `slow_size`, when '
     '`slow_grad` has already remembered this step: read `prev_slow_size`, its value before this '
     'step'),
    (Sized, all_small,
     '`all_small` is a gate, and would stand after `by_all`, when `average_grad` has already '
     'remembered this step: give one its own total, `all_small.rename(size=...)`')])
def test_where_nothing_works(base, extra, why):
    with pytest.raises(ContractError) as e: base + extra
    assert str(e.value) == why


@pytest.mark.parametrize('base, extra', [
    (Adam, over_average.rename(sqr_avg='prev_sqr_avg')),
    (SGD, [moved, along_update.rename(moved='prev_moved')]),
    (SGD, [halved, both]), (SGD, [hen, egg.rename(hen='prev_hen')]),
    (SGD, [slow_grad, slow_size, slow_enough.rename(slow_size='prev_slow_size')]),
    (Sized, all_small.rename(size='own_size'))])
def test_what_was_advised_works(base, extra): (base + extra)([torch.nn.Parameter(torch.ones(2))])
