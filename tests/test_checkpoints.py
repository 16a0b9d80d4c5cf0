"Promise: a run that saves, starts anew elsewhere, loads and goes on is the run that never stopped; torch.optim's runs included."
import io
import subprocess
import sys
import textwrap

import genopt
import pytest
import torch
from genopt import Optimizer, stat
from helpers import CASES, case_id, difference, make_twin, params_of_every_kind, set_grads, two_groups

each_case = pytest.mark.parametrize('recipe, twin, kwargs', CASES, ids=map(case_id, CASES))


def plain(x):
    "Is it only tensors, plain numbers, strings, lists and dicts?"
    if isinstance(x, dict): return all(type(k) in (str, int) and plain(v) for k, v in x.items()) and type(x) is dict
    return all(map(plain, x)) if type(x) is list else type(x) in (torch.Tensor, int, float, bool, str)


def saved_and_loaded(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file); file.seek(0)
    return torch.load(file, weights_only=True)


@each_case
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_resumes_bit_for_bit(recipe, twin, kwargs, dtype):
    make = lambda ps: recipe(two_groups(ps, lr=.02), **kwargs)  # noqa: E731
    ps = params_of_every_kind(dtype)
    opt = make(ps)
    for i in range(15): set_grads(ps, i); opt.step()
    saved = opt.state_dict()
    assert plain(saved)
    stopped = saved_and_loaded(saved)
    qs = params_of_every_kind(dtype)
    with torch.no_grad():
        for k in ps: qs[k].copy_(ps[k])
    resumed = make(qs); resumed.load_state_dict(state_dict=stopped)
    for i in range(15, 30): set_grads(ps, i); set_grads(qs, i); opt.step(); resumed.step()
    for k in ps:
        assert torch.equal(ps[k], qs[k])
        for name, v in opt.state[ps[k]].items(): assert torch.equal(torch.as_tensor(v), torch.as_tensor(resumed.state[qs[k]][name]))


def test_resumes_in_another_process(tmp_path):
    script = '''
        import sys, torch, genopt
        start, stop, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
        torch.manual_seed(0); torch.set_num_threads(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        opt = genopt.AdamW(model.named_parameters(), lr=.01, amsgrad=True)
        sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 20)
        x = torch.randn(32, 4); y = x.prod(1, keepdim=True)
        if start: [o.load_state_dict(s) for o, s in zip((model, opt, sched), torch.load(f'{folder}/{start}.pt', weights_only=True))]
        for _ in range(start, stop):
            opt.zero_grad(); (model(x) - y).square().mean().backward(); opt.step(); sched.step()
        torch.save([o.state_dict() for o in (model, opt, sched)], f'{folder}/{stop}.pt')
    '''
    def run(start, stop, folder):
        folder.mkdir(exist_ok=True)
        subprocess.run([sys.executable, '-c', textwrap.dedent(script), str(start), str(stop), str(folder)], check=True)
    run(0, 20, tmp_path/'once'); run(0, 10, tmp_path/'twice'); run(10, 20, tmp_path/'twice')
    once, twice = (torch.load(tmp_path/d/'20.pt', weights_only=True) for d in ('once', 'twice'))
    assert all(torch.equal(once[0][k], twice[0][k]) for k in once[0]) and repr(once[1:]) == repr(twice[1:])


@each_case
def test_goes_on_from_torchs_state_and_gives_it_back(recipe, twin, kwargs):
    ps, qs = params_of_every_kind(), params_of_every_kind()
    opt, other = recipe(two_groups(ps, lr=.02), **kwargs), make_twin(twin, two_groups(qs, lr=.02), **kwargs)
    def go(steps, *pairs):
        for i in steps:
            for params, o in pairs: set_grads(params, i); o.step()
    def copy_params(a, b):
        with torch.no_grad():
            for k in a: b[k].copy_(a[k])
    go(range(12), (qs, other)); copy_params(qs, ps)
    opt.load_state_dict(saved_and_loaded(other.state_dict()))
    go(range(12, 24), (qs, other), (ps, opt))
    assert difference(ps.values(), qs.values()) <= 1e-12
    rs = params_of_every_kind(); copy_params(ps, rs)
    back = make_twin(twin, two_groups(rs), **{k: v for k, v in kwargs.items() if k in ('decoupled_weight_decay', 'nesterov', 'momentum')})
    back.load_state_dict(saved_and_loaded(genopt.to_torch(opt)))
    go(range(24, 36), (qs, other), (ps, opt), (rs, back))
    assert difference(ps.values(), qs.values()) <= 1e-12 and difference(rs.values(), qs.values()) <= 1e-12
    for mine, theirs in zip(back.state_dict()['param_groups'], other.state_dict()['param_groups']):
        assert {k: v for k, v in mine.items() if k != 'foreach'} == {k: v for k, v in theirs.items() if k != 'foreach'}


def test_a_copy_is_taken_and_a_copy_is_given():
    ps = params_of_every_kind(); opt = genopt.Adam(ps.items())
    set_grads(ps, 20); opt.step()
    saved, to_torch = opt.state_dict(), genopt.to_torch(opt)
    other = genopt.Adam((qs := params_of_every_kind()).items()); other.load_state_dict(saved)
    assert not other.state[qs['frozen']] and other.state[qs['matrix']]['count'] == 1
    shared = {t.data_ptr() for e in saved['state'].values() for t in e.values() if isinstance(t, torch.Tensor) and t.numel()}
    for state in (*other.state.values(), *to_torch['state'].values()):
        assert not shared & {t.data_ptr() for t in state.values() if isinstance(t, torch.Tensor)}


def test_state_keeps_the_dtype_it_was_saved_in():
    @stat(init=lambda param: torch.zeros_like(param, dtype=torch.float32))
    def precise(grad_avg, grad, *, mom=.9): return grad_avg.lerp(grad, 1 - mom)
    def make():
        p = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)); p.grad = torch.ones_like(p)
        return p, Optimizer([p], [precise, genopt.momentum_step], lr=.1)
    p, opt = make(); opt.step()
    assert opt.state[p]['grad_avg'].dtype == torch.float32
    q, other = make(); other.load_state_dict(opt.state_dict())
    assert other.state[q]['grad_avg'].dtype == torch.float32 and torch.equal(other.state[q]['grad_avg'], opt.state[p]['grad_avg'])


def test_hooks_may_change_what_is_loaded():
    ps = params_of_every_kind(); opt = genopt.Adam(ps.items()); set_grads(ps, 0); opt.step()
    saved = {'optimizer': opt.state_dict()}
    opt.register_load_state_dict_pre_hook(lambda o, sd: sd['optimizer'])
    opt.load_state_dict(saved)


def test_schedulers_notes_are_kept():
    def make():
        p = torch.nn.Parameter(torch.ones(2)); p.grad = torch.ones(2)
        opt = genopt.Adam([p]); return opt, torch.optim.lr_scheduler.OneCycleLR(opt, .1, total_steps=9)
    a, sched = make(); a.step(); sched.step()
    assert {'initial_lr', 'max_lr', 'max_momentum'} <= set(a.param_groups[0])
    b = genopt.Adam([torch.nn.Parameter(torch.ones(2))]); b.load_state_dict(a.state_dict())
    assert dict(a.param_groups[0], params=0) == dict(b.param_groups[0], params=0)
    assert genopt.to_torch(a)['param_groups'][0]['initial_lr'] == a.param_groups[0]['initial_lr']


# -- what torch's state cannot become ----------------------------------------------------------------------------------------

def torch_state(cls, **kwargs):
    p = torch.nn.Parameter(torch.ones(2)); p.grad = torch.ones(2)
    opt = cls([p], **kwargs); opt.step()
    return opt.state_dict()


@pytest.mark.parametrize('recipe, saved, why', [
    (genopt.AdamW, lambda: torch_state(torch.optim.Adam), '`decoupled_weight_decay` is False in its group 0, and True in AdamW'),
    (genopt.Adam, lambda: torch_state(torch.optim.SGD, lr=.1), 'torch.optim.Adam has no `momentum`, so another optimizer made its group 0'),
    (genopt.SGD, lambda: torch_state(torch.optim.SGD, lr=.1, momentum=.9), 'its group 0 was made by l2_reg → momentum_buffer → momentum_step, '
                                                                           'and here it is l2_reg → sgd_step'),
    (genopt.Adam, lambda: torch_state(torch.optim.Adam, amsgrad=True), 'its group 0 was made by l2_reg → average_grad → average_sqr_grad → '
        'step_count → max_sqr_grad → adam_step[sqr_avg=max_sqr_avg], and here it is l2_reg → average_grad → average_sqr_grad → '
        'step_count → adam_step')])
def test_torchs_state_of_another_rule_is_refused(recipe, saved, why):
    opt = recipe([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError) as e: opt.load_state_dict(saved())
    assert str(e.value) == f'cannot load this state_dict: {why}'


def test_only_recipes_with_a_twin_speak_torch():
    opt = Optimizer([torch.nn.Parameter(torch.ones(2))], [genopt.sgd_step], lr=.1)
    sentence = 'a list of parts has no twin in torch.optim: only SGD, Momentum, RMSprop, Adam, AdamW have one'
    with pytest.raises(ValueError, match=sentence): genopt.to_torch(opt)
    with pytest.raises(ValueError, match=sentence): opt.load_state_dict(torch_state(torch.optim.SGD, lr=.1))
    mixed = genopt.Adam([dict(params=[torch.nn.Parameter(torch.ones(2))], parts=[genopt.sgd_step], lr=.1)])
    with pytest.raises(ValueError, match='group 0 has parts of its own, which torch.optim.Adam does not'): genopt.to_torch(mixed)


def test_a_file_cut_short_is_torchs_to_refuse(tmp_path):
    torch.save(torch_state(genopt.Adam), tmp_path/'whole.pt')
    (tmp_path/'cut.pt').write_bytes((tmp_path/'whole.pt').read_bytes()[:500])
    with pytest.raises(RuntimeError): torch.load(tmp_path/'cut.pt', weights_only=True)
