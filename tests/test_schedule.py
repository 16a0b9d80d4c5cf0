"""Promise: a schedule on any hyperparameter, by step or by fraction, saved and resumed with the
optimizer."""
import copy

import genopt
import numpy as np
import pytest
import torch
from genopt import (Schedule, combined, constant, cosine,
                    exponential, flat_cosine, linear, one_cycle, polynomial)
from helpers import copiers, copy_values, engines, param, pickled, random_step
from learners import fastai_schedule, train, weights

FRACTIONS = np.linspace(0, 1, 41)


def values_of(opt, steps, start=0, names=('lr',)):
    "Each step's values, as the parts see them."
    seen = []
    for i in range(start, start + steps):
        seen.append([opt.param_groups[0][n] for n in names])
        random_step(opt, i)
    return seen


F = fastai_schedule
@pytest.mark.parametrize('ours, theirs', [
    (constant(.3), F.SchedNo(.3, .3)), (linear(.1, .9), F.SchedLin(.1, .9)),
    (cosine(.1, .9), F.SchedCos(.1, .9)),
    (exponential(.1, .9), F.SchedExp(.1, .9)), (polynomial(.1, .9, 2.), F.SchedPoly(.1, .9, 2.)),
    (flat_cosine(.5), F.combine_scheds([.75, .25], [F.SchedNo(.5, .5), F.SchedCos(.5, 0)])),
    (one_cycle(.5), F.combined_cos(.25, .5 / 25, .5, .5 / 1e5)),
    (combined((.2, linear(0, 1)), (.3, constant(1)), (.5, exponential(1, .01))),
     F.combine_scheds([.2, .3, .5], [F.SchedLin(0, 1), F.SchedNo(1, 1), F.SchedExp(1, .01)])),
    (cosine([.1, .2], np.array([.01, .02])), F.SchedCos(np.array([.1, .2]), np.array([.01, .02])))],
                         ids=range(9))
def test_curves_are_fastais(ours, theirs):
    # where fastai combines, it reckons in float32
    near = 2e-6 if isinstance(ours, combined) else 1e-12
    for t in FRACTIONS: assert ours(t) == pytest.approx(theirs(t), rel=near, abs=1e-15)
    again = pickled(ours)
    assert np.array_equal(again(.4), ours(.4)) and repr(again) == repr(ours)


@engines
def test_by_fraction(compile):
    opt = genopt.AdamW([param()], compile=compile)
    curves = dict(lr=one_cycle(.1), wd=linear(.1, 0.), mom=cosine(.95, .85),
                  eps=exponential(1e-8, 1e-4), sqr_mom=lambda f: .9 + .09 * f)
    sched = Schedule(opt, 10, **curves)
    seen = values_of(opt, 10, names=curves)
    assert seen == [[pytest.approx(c(i / 10)) for c in curves.values()] for i in range(10)]
    assert opt.param_groups[0]['wd'] == 0 and sched.position == 10
    # it stays at the end
    values_of(opt, 3); assert opt.param_groups[0]['lr'] == pytest.approx(.1 / 1e5)
    assert repr(sched).startswith('Schedule(step 13 of 10: lr=combined((0.25, cosine(0.004, 0.1))')


def test_it_is_what_writing_by_hand_is():
    p, q = param(), param(); opt, by_hand = genopt.AdamW([p]), genopt.AdamW([q])
    Schedule(opt, 8, lr=linear(.1, .01), weight_decay=linear(.5, 0.))
    for i in range(8):
        by_hand.param_groups[0].update(lr=.1 + i / 8 * (.01 - .1), wd=.5 - i / 16)
        values_of(opt, 1, i); values_of(by_hand, 1, i)
    torch.testing.assert_close(p, q, rtol=1e-12, atol=0)


def test_by_step():
    opt = genopt.SGD([param()]); Schedule(opt, lr=lambda i: .1 / (1 + i))
    assert values_of(opt, 4) == [[.1], [.05], [pytest.approx(.1 / 3)], [.025]]


def test_groups():
    opt = genopt.Adam([[param()], [param()]])
    Schedule(opt, 4, lr=cosine([.1, .2], 0.), mom=lambda f: [.9, .8])
    values_of(opt, 2)
    assert [g['lr'] for g in opt.param_groups] == pytest.approx([.05, .1])
    assert [g['mom'] for g in opt.param_groups] == [.9, .8]
    mixed = genopt.Optimizer([dict(params=[param()], parts=genopt.SGD),
                              dict(params=[param()], parts=genopt.AdamW)], lr=.1)
    Schedule(mixed, 4, sqr_mom=linear(.5, .9)); values_of(mixed, 2)
    assert mixed.param_groups[1]['sqr_mom'] == pytest.approx(.7)


def test_several_schedules_and_their_end():
    opt = genopt.AdamW([param()])
    a, b = Schedule(opt, 4, lr=linear(.4, 0.)), Schedule(opt, 8, wd=linear(.8, 0.))
    values_of(opt, 2)
    assert (opt.param_groups[0]['lr'], opt.param_groups[0]['wd']) == pytest.approx((.2, .6))
    a.remove(); values_of(opt, 1)
    assert opt.param_groups[0]['lr'] == pytest.approx(.2) and b.position == 3
    Schedule(opt, 4, lr=constant(.3)); assert opt.param_groups[0]['lr'] == .3


@pytest.mark.parametrize('order', ['load, then schedule', 'schedule, then load'])
def test_saved_and_resumed_with_the_optimizer(order, tmp_path):
    def start(): return (p := param()), genopt.AdamW([p])
    def schedule(opt): return Schedule(opt, 10, lr=one_cycle(.1), wd=linear(.1, 0.))
    (p, whole), (q, first), (r, second) = start(), start(), start()
    schedule(whole); schedule(first)
    values_of(whole, 10); values_of(first, 4)
    torch.save(first.state_dict(), tmp_path/'half.pt')
    copy_values([q], [r])
    loaded = torch.load(tmp_path/'half.pt', weights_only=True)
    if order == 'load, then schedule': second.load_state_dict(loaded); sched = schedule(second)
    else:                              sched = schedule(second); second.load_state_dict(loaded)
    assert sched.position == 4
    values_of(second, 6, 4)
    assert torch.equal(p, r)
    second.load_state_dict(second.state_dict()); assert sched.position == 10
    # it was at its end: another run begins
    copied = copy.deepcopy(second); again = schedule(copied)
    assert again.position == 0


def test_a_skipped_step_does_not_move_it():
    p = param(); opt = genopt.SGD([p]); sched = Schedule(opt, 4, lr=linear(.1, 0.))
    scaler = torch.GradScaler('cpu')
    for bad in (True, False):
        scaler.scale((p * (float('inf') if bad else 1.)).sum()).backward()
        scaler.step(opt); scaler.update(); opt.zero_grad()
    assert sched.position == 1


def test_a_curve_in_fastais_scheduler():
    learn = train(genopt.AdamW,
                  lambda l: l.fit(1, cbs=F.ParamScheduler({'lr': one_cycle([1e-4, 1e-3, 1e-2])})))
    assert learn.recorder.hps['lr'][0] == pytest.approx(1e-2 / 25)
    assert all(w.isfinite().all() for w in weights(learn))


@pytest.mark.parametrize('make, error, sentence', [
    (lambda o: Schedule(o, 9, momm=constant(.9)), KeyError,
     'no part of this optimizer takes `momm`: did you mean `mom`?'),
    (lambda o: Schedule(genopt.SGD([param()]), 9, mom=constant(.9)), KeyError,
     'no part of this optimizer takes `mom`: there are `lr`, `wd`'),
    (lambda o: Schedule(o, 9, lr=.1), TypeError,
     'lr = 0.1: give a function, such as linear(.1, 0)'),
    (lambda o: Schedule(o, 9), TypeError,
     'a Schedule needs a hyperparameter, such as lr=linear(.1, 0)'),
    (lambda o: Schedule(o, 0, lr=constant(.1)), ValueError,
     'steps = 0: give a whole number of at least 1, or none'),
    (lambda o: Schedule(o, 1.5, lr=constant(.1)), ValueError, 'steps = 1.5: give a whole number'),
    (lambda o: Schedule(o, 10, lr=linear(.1, -.1)), ValueError,
     'the schedule of `lr` at 0.6: `lr` = -0.02 is out of range: it must be at least 0'),
    (lambda o: Schedule(o, 10, mom=linear(.9, 1.)), ValueError,
     'the schedule of `mom` at 1: `mom` = 1 is out of range'),
    (lambda o: Schedule(o, 10, lr=lambda f: 1. / f), ValueError,
     'the schedule of `lr` failed at 0: float division by zero'),
    (lambda o: Schedule(o, 10, lr=linear([.1, .2, .3], 0.)), ValueError,
     'has 3 values, and there is 1 group: give one number'),
    (lambda o: [Schedule(o, 10, lr=constant(.1)) for _ in 'ab'], ValueError,
     '`lr` has a schedule already: end that with its remove()'),
    (lambda o: Schedule(torch.optim.SGD([param()]), 9, lr=constant(.1)), TypeError,
     'a Schedule is for a genopt Optimizer, and this is a SGD'),
    (lambda o: exponential(.1, 0.), ValueError,
     'exponential(0.1, 0.0): equal ratios need ends above 0'),
    (lambda o: combined((.5, constant(1)), (.4, constant(2))), ValueError,
     'combined: shares are at least 0 and add up to 1, not [0.5, 0.4]'),
    (lambda o: combined(constant(1)), TypeError, 'is not a piece: give (share of the run, curve)')])
def test_what_is_wrong_is_said_at_once(make, error, sentence):
    opt = genopt.Adam([param()])
    with pytest.raises(error) as e: make(opt)
    assert sentence in e.value.args[0]
    assert opt.param_groups[0]['mom'] == .9


# -- what it must not lose -------------------------------------------------------------------------

def test_it_writes_over_whatever_else_was_written():
    p, q = param(), param(); opt = genopt.SGD([p], lr=.1); Schedule(opt, 10, lr=linear(1e-3, 0.))
    opt.param_groups[0]['lr'] = 5.                   # as a fit of a Learner does
    opt.add_param_group(dict(params=[q], lr=5.))
    for w in (p, q): w.grad = torch.ones_like(w)
    opt.step()
    assert torch.allclose(p, torch.full_like(p, 1 - 1e-3)) and torch.allclose(q, p)


def test_a_rate_that_begins_at_0_moves_on():
    opt = genopt.SGD([param()]); sched = Schedule(opt, 4, lr=linear(0., .4))
    assert values_of(opt, 3) == [[0.], [pytest.approx(.1)], [pytest.approx(.2)]]
    assert sched.position == 3


def test_a_step_at_lr_0_that_makes_a_state_is_not_of_the_run():
    p = param(); opt = genopt.AdamW([p], wd=.5); sched = Schedule(opt, 10, lr=linear(.1, 0.))
    # as torch.distributed.checkpoint does
    opt.param_groups[0]['lr'] = 0.; p.grad = torch.zeros_like(p); opt.step()
    assert torch.equal(p, param()) and sched.position == 0


@pytest.mark.parametrize('again', [dict(weight_decay=linear(.1, 0.), lr=linear(.1, 0.)),
                                   dict(wd=linear(.1, 0.), mom=constant(.9), lr=linear(.1, 0.))],
                         ids=['order', 'more'])
def test_other_words_for_the_same_schedule(again):
    p = param(); opt = genopt.AdamW([p])
    Schedule(opt, 10, lr=linear(.1, 0.), wd=linear(.1, 0.)); values_of(opt, 7)
    new = genopt.AdamW([p]); sched = Schedule(new, 10, **again)
    new.load_state_dict(opt.state_dict())
    assert sched.position == 7 and new.param_groups[0]['lr'] == pytest.approx(.03)


@pytest.mark.parametrize('first, second',
                         [(dict(wd=constant(.1)), dict(weight_decay=constant(.2))),
                          (dict(mom=constant(.5)), dict(betas=lambda t: (.8, .9)))])
def test_one_schedule_for_one_hyperparameter(first, second):
    opt = genopt.AdamW([param()]); Schedule(opt, 10, **first)
    with pytest.raises(ValueError, match=f'`{[*second][0]}` has a schedule already'):
        Schedule(opt, 10, **second)
    with pytest.raises(ValueError, match='has a schedule already'):
        Schedule(genopt.AdamW([param()]), 10, **first, **second)


def test_its_end_is_tried_too():
    with pytest.raises(ValueError,
                       match='the schedule of `lr` at 1: `lr` = -0.0001 is out of range'):
        Schedule(genopt.SGD([param()]), 299, lr=linear(.1, -1e-4))


@copiers
def test_a_copy_goes_on(copier):
    opt = genopt.SGD([param()]); sched = Schedule(opt, 10, lr=linear(.1, 0.)); values_of(opt, 2)
    other, again = copier((opt, sched)); values_of(other, 3, 2)
    assert again.opt is other and again.position == 5
    assert other.param_groups[0]['lr'] == pytest.approx(.05)
    assert sched.position == 2 and opt.param_groups[0]['lr'] == pytest.approx(.08)


@pytest.mark.parametrize('value', [torch.tensor([.1, .2]), None, 'fast', np.ones(3)], ids=range(4))
def test_a_curve_that_returns_no_number(value):
    with pytest.raises(ValueError, match='the schedule of `lr` at 0: `lr` '):
        Schedule(genopt.SGD([param()]), lr=lambda i: value)


def test_numpys_number_of_steps():
    assert Schedule(genopt.SGD([param()]), np.int64(10), lr=constant(.1)).steps == 10
