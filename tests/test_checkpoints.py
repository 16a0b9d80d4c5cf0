"""Promise: a run that saves, starts anew elsewhere, loads and goes on is the run that never
stopped.

This holds for torch.optim's runs too.
"""
import subprocess
import sys
import textwrap

import genopt
import pytest
import torch
from genopt import Optimizer, stat
from helpers import (copy_values, difference, dtypes, each_case, make_twin, name_of, param,
                     params_of_every_kind, set_grads, through_a_file, two_groups)


def is_plain(x):
    "True if it is only tensors, plain numbers, strings, lists, tuples and dicts."
    if type(x) is dict: return all(type(k) in (str, int) and is_plain(v) for k, v in x.items())
    if type(x) in (list, tuple): return all(map(is_plain, x))
    return type(x) in (torch.Tensor, int, float, bool, str)


@pytest.mark.exhaustive(2)
@each_case
@dtypes(torch.float64, torch.float32, torch.bfloat16, torch.complex64)
def test_resumes_bit_for_bit(recipe, twin, kwargs, dtype):
    make = lambda ps: recipe(two_groups(ps, lr=.02), **kwargs)
    ps = params_of_every_kind(dtype)
    opt = make(ps)
    for i in range(15): set_grads(ps, i); opt.step()
    saved = opt.state_dict()
    assert is_plain(saved)
    stopped = through_a_file(saved)
    qs = params_of_every_kind(dtype)
    copy_values(ps.values(), qs.values())
    resumed = make(qs); resumed.load_state_dict(state_dict=stopped)
    for i in range(15, 30): set_grads(ps, i); set_grads(qs, i); opt.step(); resumed.step()
    for k in ps:
        assert torch.equal(ps[k], qs[k])
        for name, v in opt.state[ps[k]].items():
            assert torch.equal(torch.as_tensor(v), torch.as_tensor(resumed.state[qs[k]][name]))


def test_resumes_in_another_process(tmp_path):
    script = '''
        import sys, torch, genopt
        start, stop, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
        torch.manual_seed(0); torch.set_num_threads(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        opt = genopt.AdamW(model.named_parameters(), lr=.01, amsgrad=True)
        sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 20)
        x = torch.randn(32, 4); y = x.prod(1, keepdim=True)
        if start:
            saved = torch.load(f'{folder}/{start}.pt', weights_only=True)
            for o, s in zip((model, opt, sched), saved): o.load_state_dict(s)
        for _ in range(start, stop):
            opt.zero_grad(); (model(x) - y).square().mean().backward(); opt.step(); sched.step()
        torch.save([o.state_dict() for o in (model, opt, sched)], f'{folder}/{stop}.pt')
    '''
    def run(start, stop, folder):
        folder.mkdir(exist_ok=True)
        subprocess.run([sys.executable, '-c', textwrap.dedent(script),
                        str(start), str(stop), str(folder)], check=True)
    run(0, 20, tmp_path/'once'); run(0, 10, tmp_path/'twice'); run(10, 20, tmp_path/'twice')
    once, twice = (torch.load(tmp_path/d/'20.pt', weights_only=True) for d in ('once', 'twice'))
    assert all(torch.equal(once[0][k], twice[0][k]) for k in once[0])
    assert repr(once[1:]) == repr(twice[1:])


@each_case
def test_goes_on_from_torchs_state_and_gives_it_back(recipe, twin, kwargs):
    ps, qs = params_of_every_kind(), params_of_every_kind()
    opt = recipe(two_groups(ps, lr=.02), **kwargs)
    other = make_twin(twin, two_groups(qs, lr=.02), **kwargs)
    def go(steps, *pairs):
        for i in steps:
            for params, o in pairs: set_grads(params, i); o.step()
    go(range(12), (qs, other)); copy_values(qs.values(), ps.values())
    opt.load_state_dict(through_a_file(other.state_dict()))
    go(range(12, 24), (qs, other), (ps, opt))
    assert difference(ps.values(), qs.values()) <= 1e-12
    rs = params_of_every_kind(); copy_values(ps.values(), rs.values())
    options = {k: v for k, v in kwargs.items()
               if k in ('decoupled_weight_decay', 'nesterov', 'momentum')}
    back = make_twin(twin, two_groups(rs), **options)
    back.load_state_dict(through_a_file(genopt.to_torch(opt)))
    go(range(24, 36), (qs, other), (ps, opt), (rs, back))
    assert difference(ps.values(), qs.values()) <= 1e-12
    assert difference(rs.values(), qs.values()) <= 1e-12
    for mine, theirs in zip(back.state_dict()['param_groups'], other.state_dict()['param_groups']):
        assert {**mine, 'foreach': None} == {**theirs, 'foreach': None}


def test_a_copy_is_taken_and_a_copy_is_given():
    ps = params_of_every_kind(); opt = genopt.Adam(ps.items())
    set_grads(ps, 20); opt.step()
    saved, to_torch = opt.state_dict(), genopt.to_torch(opt)
    other = genopt.Adam((qs := params_of_every_kind()).items()); other.load_state_dict(saved)
    assert not other.state[qs['frozen']] and other.state[qs['matrix']]['count'] == 1
    shared = {t.data_ptr() for e in saved['state'].values() for t in e.values()
              if isinstance(t, torch.Tensor) and t.numel()}
    for state in (*other.state.values(), *to_torch['state'].values()):
        assert not shared & {t.data_ptr() for t in state.values() if isinstance(t, torch.Tensor)}


def test_state_keeps_the_dtype_it_was_saved_in():
    @stat(init=lambda param: torch.zeros_like(param, dtype=torch.float32))
    def precise(grad_avg, grad, *, mom=.9): return grad_avg.lerp(grad, 1 - mom)
    def make():
        p = param(3, grad=1., dtype=torch.bfloat16)
        return p, Optimizer([p], [precise, genopt.momentum_step], lr=.1)
    p, opt = make(); opt.step()
    assert opt.state[p]['grad_avg'].dtype == torch.float32
    q, other = make(); other.load_state_dict(opt.state_dict())
    assert other.state[q]['grad_avg'].dtype == torch.float32
    assert torch.equal(other.state[q]['grad_avg'], opt.state[p]['grad_avg'])


def test_hooks_may_change_what_is_loaded():
    ps, qs = params_of_every_kind(), params_of_every_kind()
    opt, other = genopt.Adam(ps.items()), genopt.Adam(qs.items(), lr=.5)
    set_grads(ps, 20); opt.step()
    other.register_load_state_dict_pre_hook(lambda o, saved: saved['optimizer'])
    other.load_state_dict({'optimizer': opt.state_dict()})
    assert other.param_groups[0]['lr'] == opt.param_groups[0]['lr']
    assert torch.equal(other.state[qs['matrix']]['grad_avg'], opt.state[ps['matrix']]['grad_avg'])


def test_schedulers_notes_are_kept():
    def make():
        opt = genopt.Adam([param(grad=1.)])
        return opt, torch.optim.lr_scheduler.OneCycleLR(opt, .1, total_steps=9)
    a, sched = make(); a.step(); sched.step()
    assert {'initial_lr', 'max_lr', 'max_momentum'} <= set(a.param_groups[0])
    b = genopt.Adam([param(dtype=torch.float32)]); b.load_state_dict(a.state_dict())
    assert dict(a.param_groups[0], params=0) == dict(b.param_groups[0], params=0)
    assert genopt.to_torch(a)['param_groups'][0]['initial_lr'] == a.param_groups[0]['initial_lr']


def test_a_tensor_lr_is_copied():
    lr = torch.tensor(.1)
    a, b = (genopt.Adam([param(dtype=torch.float32)], lr=lr) for _ in 'ab')
    b.load_state_dict(a.state_dict())
    b.param_groups[0]['lr'].fill_(.5)
    assert a.param_groups[0]['lr'] is lr and lr.item() == pytest.approx(.1)


@pytest.mark.parametrize('flat', [False, True])
def test_torchs_distributed_checkpoints_with_frozen_parameters(flat):
    from torch.distributed.checkpoint import state_dict as dcp
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=flat)
    def make():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        model[0].weight.requires_grad_(False)
        return model, genopt.Adam(model.parameters(), lr=.1)
    def go(model, opt, steps):
        for i in range(steps):
            opt.zero_grad(); model(torch.arange(15.).view(5, 3) + i).sum().backward(); opt.step()
    (model, opt), (other, resumed) = make(), make()
    go(model, opt, 3)
    other.load_state_dict(model.state_dict())
    dcp.set_optimizer_state_dict(other, resumed,
                                 dcp.get_optimizer_state_dict(model, opt, options=options),
                                 options=options)
    go(model, opt, 3); go(other, resumed, 3)
    for p, q in zip(model.parameters(), other.parameters()): assert torch.equal(p, q)


def test_names_in_another_order_are_refused_and_other_names_are_not():
    def make(names):
        opt = genopt.Adam([(name, param(grad=1.)) for name in names]); opt.step()
        return opt
    saved = make(['a', 'b']).state_dict()
    opt = make(['b', 'a'])
    with pytest.raises(ValueError,
                       match='its parameters in another order: `a` stands where `b` is here'):
        opt.load_state_dict(saved)
    opt = make(['module.a', 'module.b']); opt.load_state_dict(saved)
    assert opt.param_groups[0]['param_names'] == ['module.a', 'module.b']


def made_by(cls, **kwargs):
    "The state_dict after one step."
    opt = cls([param(grad=1., dtype=torch.float32)], **kwargs); opt.step()
    return opt.state_dict()


def entry_with(**changes):
    "Of Adam, with other entries in the state of its parameter."
    saved = made_by(genopt.Adam)
    return {**saved, 'state': {0: {**saved['state'][0], **changes}}}


def torchs_without_a_step():
    saved = made_by(torch.optim.Adam)
    del saved['state'][0]['step']
    return saved


def torchs_with_a_stranger():
    saved = made_by(torch.optim.Adam)
    return {**saved, 'state': {**saved['state'], 9: {}}}


OF_P = 'of parameter 0 of group 0 (shape (2,), float32)'
DAMAGED = {
    'no dict': (lambda: 'x.pt', 'it is a str, and not a dict'),
    'nothing': (lambda: None, 'it is a NoneType, and not a dict'),
    'state of nothing': (lambda: {**made_by(genopt.Adam), 'state': None},
                         'it is damaged (TypeError: '),
    'groups of nothing': (lambda: {**made_by(genopt.Adam), 'param_groups': None},
                          'it is damaged (TypeError: '),
    'an entry of nothing': (lambda: {**made_by(genopt.Adam), 'state': {0: 3}},
                            'the state of parameter 0 of group 0 '),
    'complex': (lambda: entry_with(sqr_avg=torch.zeros(2) * 1j),
                f'`sqr_avg` {OF_P} is a complex tensor of shape (2,) in it, '),
    'integers': (lambda: entry_with(sqr_avg=torch.zeros(2).long()),
                 f'`sqr_avg` {OF_P} is a int64 tensor of shape (2,) in it, '),
    'a count that is none': (lambda: entry_with(count=float('nan')),
                             f'`count` {OF_P} is nan in it, and a number here'),
    'torch, without a step': (torchs_without_a_step,
                              'it has `grad_avg`, `sqr_avg` for parameter 0 of group 0'),
    'torch, with a stranger': (torchs_with_a_stranger,
                               'it has a state for `9`, which is in no group')}


@pytest.mark.parametrize('make, why', DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_is_refused(make, why):
    opt = genopt.Adam([param(dtype=torch.float32)])
    before = repr(opt.state_dict())
    with pytest.raises(ValueError) as e: opt.load_state_dict(make())
    assert str(e.value).startswith(f'cannot load this state_dict: {why}')
    assert repr(opt.state_dict()) == before


# -- what torch's state cannot become --------------------------------------------------------------

@pytest.mark.parametrize('recipe, saved, why', [
    (genopt.AdamW, lambda: made_by(torch.optim.Adam),
     '`decoupled_weight_decay` is False in its group 0, and True in AdamW'),
    (genopt.Adam, lambda: made_by(torch.optim.SGD, lr=.1),
     'torch.optim.Adam has no `momentum`, so another optimizer made its group 0')])
def test_torchs_state_of_another_rule_is_refused(recipe, saved, why):
    if 'decoupled' in why and 'decoupled_weight_decay' not in torch.optim.Adam([param()]).defaults:
        pytest.skip('this torch does not say in its state whether the decay is decoupled')
    opt = recipe([param(dtype=torch.float32)])
    with pytest.raises(ValueError) as e: opt.load_state_dict(saved())
    assert str(e.value) == f'cannot load this state_dict: {why}'


@pytest.mark.parametrize('by_torch', [True, False], ids=['torch', 'genopt'])
@pytest.mark.parametrize('recipe, cls, options', [
    (genopt.SGD, torch.optim.SGD, dict(lr=.1, momentum=.9)),
    (genopt.Adam, torch.optim.Adam, dict(lr=.1, amsgrad=True)),
    (genopt.RMSprop, torch.optim.RMSprop, dict(lr=.1, momentum=.9, centered=True))], ids=name_of)
def test_options_come_with_the_checkpoint_as_in_torch(recipe, cls, options, by_torch):
    p, q = (param() for _ in 'pq')
    twin, opt = cls([p], **options), recipe([q], lr=.5)  # made without them
    p.grad = torch.ones_like(p); twin.step()
    made = recipe([param()], **options)
    made.load_state_dict(twin.state_dict())
    opt.load_state_dict((twin if by_torch else made).state_dict())
    copy_values([p], [q])
    for _ in range(3):
        p.grad, q.grad = 2 * p.detach(), 2 * q.detach(); twin.step(); opt.step()
    torch.testing.assert_close(q, p, rtol=1e-13, atol=0)


def test_only_recipes_with_a_twin_speak_torch():
    opt = Optimizer([param(dtype=torch.float32)], [genopt.sgd_step], lr=.1)
    sentence = ('a list of parts has no twin in torch.optim: only SGD, Momentum, RMSprop, Adam, '
                'AdamW, .* have one')
    with pytest.raises(ValueError, match=sentence): genopt.to_torch(opt)
    with pytest.raises(TypeError, match='to_torch takes a genopt Optimizer, and this is a Recipe'):
        genopt.to_torch(genopt.Adam)
    with pytest.raises(ValueError, match=sentence):
        opt.load_state_dict(made_by(torch.optim.SGD, lr=.1))
    mixed = genopt.Adam([dict(params=[param(dtype=torch.float32)],
                              parts=[genopt.sgd_step], lr=.1)])
    with pytest.raises(ValueError,
                       match='group 0 has parts of its own, which torch.optim.Adam does not'):
        genopt.to_torch(mixed)
