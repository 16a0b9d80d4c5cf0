"Promise: a group answers as torch's does, in both spellings; and what it cannot do, it says."
import copy

import genopt
import pytest
import torch
from genopt import Optimizer, average_grad, momentum_step, sgd_step, stat, transform
from helpers import copy_values, name_of, param, params_of_every_kind, random_step, set_grads
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR


def go_on(opts, steps, each=lambda step: None, start=0):
    "Steps of several optimizers on the same gradients."
    for i in range(start, start + steps):
        for opt in opts: random_step(opt, i)
        each(i)


# -- options, which choose parts, are read and written as in torch ---------------------------------

def test_options_can_be_read():
    group = genopt.SGD([param()], lr=.1).param_groups[0]
    assert group['momentum'] == group['mom'] == 0 and group['nesterov'] is False
    assert 'nesterov' in group
    assert genopt.Adam([param()], amsgrad=True).param_groups[0]['amsgrad'] is True
    assert genopt.Adam([param()]).param_groups[0]['decoupled_weight_decay'] is False


def test_momentum_that_begins_later_is_torchs():
    p, q = param(), param()
    opt, twin = genopt.SGD([p], lr=.1), torch.optim.SGD([q], lr=.1)
    def write(**kw):
        for o in (opt, twin): o.param_groups[0].update(kw)
    go_on((opt, twin), 3)
    assert not opt.state[p]
    write(momentum=.9); go_on((opt, twin), 4, start=3)
    assert 'momentum_buffer' in opt.param_groups[0]['parts']
    assert opt.param_groups[0].hypers()['mom'] == .9
    write(nesterov=True, momentum=.5); go_on((opt, twin), 4, start=7)
    write(nesterov=False, weight_decay=.1); go_on((opt, twin), 4, start=11)
    torch.testing.assert_close(p, q, rtol=1e-14, atol=0)
    write(momentum=0.); go_on((opt, twin), 2, start=15)
    assert 'mom' not in opt.param_groups[0].hypers()
    opt.load_state_dict(opt.state_dict())  # the buffer waits, as in torch
    write(momentum=.9); go_on((opt, twin), 2, start=17)
    torch.testing.assert_close(p, q, rtol=1e-13, atol=0)


def test_a_step_count_cannot_begin_in_the_middle_of_a_run():
    group = genopt.SGD([param()], lr=.1, momentum=.9).param_groups[0]
    with pytest.raises(ValueError,
                       match='`count` would begin in the middle of a run: give this option when'):
        group['dampening'] = .5
    assert group['dampening'] == 0


def test_a_step_count_that_nothing_needs_now_waits():
    p = param(); opt = genopt.SGD([p], lr=.1, momentum=.9, dampening=.5)
    go_on([opt], 3)
    opt.param_groups[0]['dampening'] = 0.
    go_on([opt], 1)
    opt.load_state_dict(opt.state_dict())
    assert opt.state[p]['count'] == 3


def test_a_checkpoint_between_an_option_and_the_next_step():
    p, q = param(), param()
    a, b = genopt.Adam([p], lr=.1), genopt.Adam([q], lr=.1)
    go_on([a], 3)
    for opt in (a, b): opt.param_groups[0]['amsgrad'] = True
    b.load_state_dict(a.state_dict())
    assert not b.state[q]['max_sqr_avg'].any() and b.state[q]['count'] == 3
    twin = torch.optim.Adam([r := param()], amsgrad=True); twin.load_state_dict(genopt.to_torch(a))
    copy_values([p], [r])
    go_on((a, twin), 3, start=3)
    torch.testing.assert_close(p, r, rtol=1e-13, atol=0)


def test_parts_that_an_option_brings_in_are_tried():
    @transform
    def normed(grad): return grad / grad.norm()
    @genopt.recipe(lr=.1)
    def Either(norm=False): return [normed, sgd_step] if norm else [sgd_step]
    group = Either([param()]).param_groups[0]
    with pytest.raises(genopt.PartError, match='`normed` does not treat each element alone'):
        group['norm'] = True
    assert group['norm'] is False and group['parts'] == ['sgd_step']


def test_amsgrad_that_begins_later_keeps_the_averages():
    p = param(); opt = genopt.Adam([p], lr=.1)
    go_on([opt], 3)
    before = {k: copy.deepcopy(v) for k, v in opt.state[p].items()}
    opt.param_groups[0]['amsgrad'] = True
    p.grad = torch.zeros_like(p); opt.step()
    assert opt.state[p]['count'] == before['count'] + 1
    assert torch.equal(opt.state[p]['max_sqr_avg'], before['sqr_avg'] * .999)


@pytest.mark.parametrize('key, value, error',
                         [('momentum', 'x', TypeError), ('nesterov', 'yes', TypeError)])
def test_options_that_are_refused_change_nothing(key, value, error):
    opt = genopt.SGD([param()], lr=.1); group = opt.param_groups[0]
    with pytest.raises(error): group[key] = value
    assert group.options == dict(mom=0., dampening=0., nesterov=False)
    assert group['parts'] == ['l2_reg', 'sgd_step']


@pytest.mark.parametrize('sched', [lambda o: OneCycleLR(o, .1, total_steps=9),
                                   lambda o: CyclicLR(o, .01, .1, 3)])
@pytest.mark.parametrize('recipe, twin',
                         [(genopt.SGD, torch.optim.SGD), (genopt.RMSprop, torch.optim.RMSprop)],
                         ids=name_of)
def test_schedulers_may_cycle_a_momentum_that_was_0(recipe, twin, sched):
    p, q = param(), param()
    opts = recipe([p], lr=.1), twin([q], lr=.1)
    scheds = list(map(sched, opts))
    go_on(opts, 9, lambda i: [s.step() for s in scheds] if i < 8 else None)
    torch.testing.assert_close(p, q, rtol=1e-13, atol=0)


# -- a dict, with checks ---------------------------------------------------------------------------

def test_every_way_to_write_is_checked():
    group = genopt.Adam([param()]).param_groups[0]
    group |= dict(betas=(.5, .9), weight_decay=.1)
    assert (group['mom'], group['wd']) == (.5, .1) and {'betas', 'weight_decay'} <= {*group}
    assert 'mom' not in {*group}
    group['mom'] = .4
    assert dict(group)['betas'] == (.4, .9)
    wrong = [dict(lr='x'), dict(dampening=.1), dict(maximize='no'),
             dict(momentum=.9), dict(learning_rate=.1), dict(LR=.1),
             dict(maximise=True), dict(betas=.9), dict(beta1=.9), dict(wieght_decay=.1)]
    for items in wrong:
        for write in (group.update, group.__ior__,
                      lambda d: [group.__setitem__(*i) for i in d.items()]):
            before = dict(group)
            with pytest.raises((ValueError, KeyError, TypeError)): write(items)
            assert dict(group) == before
    for remove in (lambda: group.pop('mom'), lambda: group.__delitem__('lr'),
                   lambda: group.pop('betas')):
        with pytest.raises(KeyError, match='cannot be removed'): remove()
    group['initial_lr'] = group['swa_lr'] = .1; group['layer'] = 3
    assert group.pop('initial_lr') == .1 and group.pop('initial_lr', 7) == 7 and group['layer'] == 3
    group['parts'] = list(group['parts'])  # the same


def test_notes_in_a_group():
    opt = genopt.Adam([dict(params=[param()], initial_lr=.5, lr_scale=.1, name='head')])
    assert [opt.param_groups[0][k] for k in ('initial_lr', 'lr_scale', 'name')] == [.5, .1, 'head']
    for typo in (dict(momm='x'), dict(lr='fast'), dict(nesterovv='yes')):
        with pytest.raises(TypeError): genopt.SGD([dict(params=[param()], **typo)])


def test_options_of_any_kind_in_a_group():
    @genopt.recipe(lr=.1)
    def Either(mode='plain'):
        return [sgd_step] if mode == 'plain' else [average_grad, momentum_step]
    opt = Either([dict(params=[param()]), dict(params=[param()], mode='average')])
    parts = [g['parts'] for g in opt.param_groups]
    assert parts == [['sgd_step'], ['average_grad', 'momentum_step']]


def test_renamed_hyperparameters_keep_their_range():
    slow = average_grad.rename(grad_avg='slow_avg', mom='slow_mom')
    parts = [slow, momentum_step.rename(grad_avg='slow_avg')]
    opt = Optimizer([param()], parts, lr=.1, slow_mom=.5)
    for wrong in (1., -.1):
        with pytest.raises(ValueError, match='`slow_mom` = .* is out of range'):
            Optimizer([param()], parts, slow_mom=wrong, lr=.1)
        with pytest.raises(ValueError, match='`slow_mom` = .* is out of range'):
            opt.set_hyper('slow_mom', wrong)
        assert opt.param_groups[0]['slow_mom'] == .5


def test_defaults_are_the_optimizers_own():
    opt = genopt.SGD([dict(params=[param()], lr=.5)], lr=.1, momentum=.9)
    assert opt.defaults['lr'] == .1 and opt.defaults['momentum'] == .9
    assert opt.defaults['nesterov'] is False
    assert Optimizer([dict(params=[param()], lr=.5)], [sgd_step]).defaults['lr'] == .5


def test_a_word_that_only_one_groups_parts_take_is_given_to_the_optimizer():
    @genopt.step
    def own_step(grad, *, lr, own=1.): return -lr * own * grad
    opt = genopt.Adam([dict(params=[param()]), dict(params=[param()], parts=[own_step])],
                      lr=.1, own=3.)
    assert opt.param_groups[1]['own'] == 3. and 'own' not in opt.param_groups[0]
    with pytest.raises(TypeError, match='no part takes `owm`: there are .*`own`'):
        genopt.Adam([dict(params=[param()]), dict(params=[param()], parts=[own_step])],
                    lr=.1, owm=3.)


def test_only_lr_goes_by_place():
    with pytest.raises(TypeError, match=r'only `params` and `lr` go by place: .* as in '
                                        r'SGD\(params, lr, wd=0.1\)'):
        genopt.SGD([param()], .1, .9)


# -- state that shares nothing it should not -------------------------------------------------------

@pytest.mark.parametrize('init', [lambda p: p, lambda p: p.data, lambda p: p.view(-1).view_as(p),
                                  lambda p: p.double(), torch.Tensor.detach])
def test_an_init_may_return_the_parameter(init):
    @stat(init=init)
    def ema(ema, new_param, *, decay=.5): return ema.lerp(new_param, 1 - decay)
    p = param(grad=1.)
    opt = Optimizer([p], [sgd_step, ema], lr=.1)
    for _ in range(3): opt.step()
    assert torch.allclose(p, torch.full((2,), .7).double())
    want = ((1 * .5 + .9 * .5) * .5 + .8 * .5) * .5 + .7 * .5
    assert torch.allclose(opt.state[p]['ema'], torch.full((2,), want).double())


def test_a_view_as_state_is_its_own_copy():
    @stat
    def last(last, grad): return grad.view(-1).view_as(grad)
    p = param(grad=1.)
    opt = Optimizer([p], [last, sgd_step], lr=.1); opt.step()
    p.grad.zero_()
    assert opt.state[p]['last'].tolist() == [1., 1.]


def test_new_param_is_after_all_steps():
    @stat
    def seen(seen, new_param): return new_param
    @transform
    def double(update): return 2 * update
    p = param(grad=1.)
    opt = Optimizer([p], [genopt.weight_decay, sgd_step, double, seen], lr=.1, wd=.5); opt.step()
    assert torch.equal(opt.state[p]['seen'], p)
    assert torch.allclose(p, torch.full((2,), 1 - 2 * (.05 + .1)).double())


def test_lookahead_reads_new_param_and_then_changes_the_update():
    @stat(init=lambda param: param)
    def slow_param(slow_param, new_param): return slow_param.lerp(new_param, .5)
    @transform
    def to_slow(update, param, slow_param): return slow_param - param
    p = param(grad=1.)
    opt = Optimizer([p], [sgd_step, slow_param, to_slow], lr=.2); opt.step()
    assert torch.allclose(p, torch.full((2,), .9).double())


# -- numbers that overflow -------------------------------------------------------------------------

@pytest.mark.parametrize('dtype, spike', [(torch.float32, 1e25),
                                          (torch.float16, 6e4), (torch.float32, float('inf'))])
@pytest.mark.parametrize('recipe, twin',
                         [(genopt.Adam, torch.optim.Adam), (genopt.RMSprop, torch.optim.RMSprop)],
                         ids=name_of)
def test_a_huge_gradient_does_what_it_does_in_torch(recipe, twin, dtype, spike):
    p, q = (nn.Parameter(torch.ones(2, dtype=dtype)) for _ in 'pq')
    opt, other = recipe([p], lr=.01), twin([q], lr=.01, foreach=False)
    for i in range(6):
        for w, o in ((p, opt), (q, other)):
            w.grad = torch.tensor([spike if i == 2 else .5, -.5], dtype=dtype)
            o.step()
    assert torch.equal(p.isnan(), q.isnan())
    # ours in float16: v overflows in store
    if dtype == torch.float32: torch.testing.assert_close(p, q, equal_nan=True)


def test_parameters_and_state_may_differ_in_dtype():
    a, b = params_of_every_kind(torch.float32), params_of_every_kind(torch.float64)
    opt, wide = genopt.Adam(a.items()), genopt.Adam(b.items())
    set_grads(a, 20); opt.step()
    for source, target, params in ((opt, wide, b), (wide, opt, a)):
        target.load_state_dict(source.state_dict())
        set_grads(params, 21); target.step()
    assert opt.state[a['matrix']]['count'] == 3
    assert opt.state[a['matrix']]['grad_avg'].dtype == torch.float32


# -- what waits, and what a plain dictionary may say -----------------------------------------------

def test_an_option_that_makes_no_sense_yet_waits_as_in_torch():
    p, q = param(), param()
    opt, twin = genopt.SGD([p], lr=.1), torch.optim.SGD([q], lr=.1)
    def write(**kw):
        for o in (opt, twin): o.param_groups[0].update(kw)
    write(nesterov=True); go_on((opt, twin), 2)
    write(momentum=.9); go_on((opt, twin), 3, start=2)
    write(momentum=0.); go_on((opt, twin), 2, start=5)
    again = genopt.SGD([p], lr=.1, momentum=.9, nesterov=True)
    again.load_state_dict(opt.state_dict())
    opt.param_groups[0] = dict(opt.param_groups[0]); go_on((opt, twin), 2, start=7)
    write(momentum=.5); go_on((opt, twin), 2, start=9)
    torch.testing.assert_close(p, q, rtol=1e-13, atol=0)
    assert again.param_groups[0]['nesterov'] is True


@pytest.mark.parametrize('change, error, sentence', [
    (dict(lrr=.5), TypeError, 'no part takes `lrr`: did you mean `lr`'),
    (dict(maximize=3), TypeError, '`maximize` = 3: give True or False'),
    (dict(params=None), TypeError,
     'group 0: its `params` are of type NoneType: give a list of tensors'),
    (dict(parts=['foo']), TypeError,
     'group 0 has the parts foo, which no group of this optimizer had'),
    (dict(lr='x'), TypeError, "`lr` = 'x': give a number")])
def test_a_plain_dictionary_is_checked_like_a_group(change, error, sentence):
    opt = genopt.Adam([param()])
    opt.param_groups = [{**opt.param_groups[0], **change}]
    with pytest.raises(error, match=sentence): opt.step()


def test_a_plain_dictionary_may_bring_its_parts_and_one_tensor():
    q = param(); opt = genopt.Adam([param()])
    opt.param_groups.append({'params': q, 'parts': genopt.SGD, 'lr': .5})
    q.grad = torch.ones_like(q); opt.step()
    assert torch.equal(q.detach(), torch.full((2,), .5, dtype=torch.float64))
    other = genopt.Adam([q], lr=.7); other.param_groups[0] = {'params': [q]}; other.step()
    assert other.param_groups[0]['lr'] == .7  # what it does not say, the optimizer's defaults do
    opt.param_groups.append(dict(opt.param_groups[0]))
    with pytest.raises(ValueError, match='is given twice'): opt.step()


def test_a_rate_by_place_and_by_name_is_one_too_many():
    with pytest.raises(TypeError, match='`lr` is given twice'): genopt.Adam([param()], .5, lr=.1)


@pytest.mark.parametrize('key', ['params', 'maximize', 'parts', 'betas', 'lr'])
def test_what_a_group_needs_cannot_be_removed(key):
    group = genopt.Adam([param()]).param_groups[0]
    with pytest.raises(KeyError, match=f'`{key}` cannot be removed'): del group[key]


def test_parameters_marked_as_without_decay_keep_their_plan():
    ps = [param() for _ in range(4)]
    opt = genopt.AdamW(ps, lr=.1, compile=True)
    for p in ps[::2]: opt.state[p]['do_wd'] = False
    seen = []
    for _ in range(4):
        for p in ps: p.grad = torch.ones_like(p)
        opt.step(); seen.append(opt.engine.last)
    assert seen[1:] == seen[:-1] and [works for works, _ in seen[0].batches] == [[0, 1]]


def test_a_plain_dictionary_with_options_that_were_written_before():
    p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.ones(3)
    opt = genopt.SGD([p], lr=.05)
    opt.param_groups[0]['momentum'] = .9
    opt.param_groups = [{**g} for g in opt.param_groups]
    opt.step()
    assert opt.param_groups[0].composition == genopt.SGD.rule(dict(mom=.9)).composition
