"""Promise: compile=True changes how fast a step is, and nothing else; and where it cannot be had,
one warning says why.

No value compiles anything; whatever happens to tensors between two steps is noticed; kernels are
kept on disk.
"""
import copy
import os
import pickle
import subprocess
import sys
import tempfile
from weakref import WeakKeyDictionary

import pytest
import torch
from helpers import difference, params_of_every_kind, random, set_grads
from test_engines import by_torch_compile, plain_engine  # noqa: F401
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import genopt
from genopt import Optimizer, PartError, sgd_step, stat, step, transform
from genopt.engines import compiled, toolchain


by_torchs_compiler = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # its own


@pytest.fixture
def builds(monkeypatch):
    "The kernels that are built from now on; none is there yet."
    monkeypatch.setattr(compiled, '_kernels', WeakKeyDictionary())
    found = []
    monkeypatch.setattr(toolchain, 'build',
                        lambda code, f=toolchain.build: (found.append(code), f(code))[1])
    return found


def pair(make=genopt.Adam, **kwargs):
    "Equal parameters, an optimizer that runs plainly and a compiled one."
    ours, theirs = params_of_every_kind(), params_of_every_kind()
    plain, other = make(ours.items(), **kwargs), make(theirs.items(), compile=True, **kwargs)
    plain.engine = plain_engine.run
    return plain, ours, other, theirs


def both(plain, ours, other, theirs, steps, tol=1e-12):
    for i in steps:
        set_grads(ours, i); set_grads(theirs, i)
        plain.step(); other.step()
        assert difference(theirs.values(), ours.values()) <= tol, f'step {i}'


# -- nothing compiles twice ------------------------------------------------------------------------

def run_that_changes_everything(opt, params):
    """lr, every hyperparameter, a schedule, the count, which parameters have gradients, and how
    many there are."""
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, .1, total_steps=100, cycle_momentum=True)
    for i in range(24):
        set_grads(params, i)  # `sometimes` and `late` come and go
        opt.step()
        if i < 15: schedule.step()
        for group in opt.param_groups:
            group['sqr_mom'], group['eps'], group['wd'] = .9 + i / 1000, 1e-8 * (i + 1), i % 3 / 10
        if i in (15, 18):
            more = nn.Parameter(random(i, (30 + i,), torch.float64))
            opt.add_param_group(dict(params=[(f'more {i}', more)]))


def test_no_value_and_no_number_of_tensors_compiles_anything(builds):
    params = params_of_every_kind()
    run_that_changes_everything(genopt.Adam(params.items(), compile=True), params)
    assert len(builds) == 1


@by_torchs_compiler
def test_nor_with_torch_compile(builds, by_torch_compile):  # noqa: F811
    from torch._dynamo.utils import counters
    before = counters['stats']['unique_graphs']
    params = params_of_every_kind()
    run_that_changes_everything(genopt.Adam(params.items(), compile=True), params)
    assert counters['stats']['unique_graphs'] == before + 1 and not builds


def test_a_kernel_for_each_recipe_and_dtype(builds):
    for dtype in torch.float64, torch.float32, torch.bfloat16:
        for recipe in genopt.Adam, genopt.AdamW:
            for _ in range(2):
                params = params_of_every_kind(dtype)
                opt = recipe(params.values(), compile=True)
                set_grads(params, 20); opt.step()
    assert len(builds) == 6 and len({*builds}) == 6


# -- nothing is out of date ------------------------------------------------------------------------

def test_nothing_is_looked_at_again_when_nothing_changed():
    params = params_of_every_kind()
    opt = genopt.Adam(params.values(), compile=True)
    seen = []
    for i in range(20, 26):
        for k, p in params.items(): p.grad = None if k == 'frozen' else random(i, p.shape, p.dtype)
        opt.step()
        seen.append([id(plan) for plan in opt.param_groups[0].plans.values()])
    assert len(seen[0]) == 1 and seen == seen[:1] * 6


def test_a_compiled_step_calls_no_operation_of_torch(monkeypatch):
    "So it allocates no tensor: there is no extra memory."
    params = [nn.Parameter(random(i, (30, 20), torch.float32)) for i in range(10)]
    opt = genopt.Adam(params, compile=True)
    for p in params: p.grad = random(1, p.shape, p.dtype)
    opt.step(); calls = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(func)
            return func(*args, **kwargs or {})
    # or the plain way would be watched
    monkeypatch.setattr(torch._C, '_len_torch_dispatch_stack', lambda: 0)
    with Watch(): opt.step()
    names = {str(c) for c in calls if 'profiler' not in str(c)}
    assert names <= {'aten._local_scalar_dense.default', 'aten.detach.default'}  # the count is read


def swap_data(opt, params):
    for p in params.values(): p.data = p.data.clone()

def swap_layout(opt, params):
    params['conv'].data = params['conv'].data.contiguous()
    params['matrix'].data = params['matrix'].data.t().contiguous().t()

def swap_state_data(opt, params):
    for state in opt.state.values(): state['grad_avg'].data = state['grad_avg'].data.clone()

def replace_state(opt, params):
    for state in opt.state.values(): state['sqr_avg'] = state['sqr_avg'].clone()

def forget_some_state(opt, params): del opt.state[params['matrix']]

def strided_state(opt, params):
    state = opt.state[params['vector']]
    state['grad_avg'] = torch.stack([state['grad_avg'], state['grad_avg']], 1)[:, 0]

def reload(opt, params): opt.load_state_dict(copy.deepcopy(opt.state_dict()))

def other_counts(opt, params): opt.state[params['vector']]['count'] = 3

def add_group(opt, params):
    params['added'] = nn.Parameter(random(77, (11, 3), torch.float64))
    opt.add_param_group(dict(params=[('added', params['added'])], lr=.1))

def reverse(opt, params):
    for k in 'params', 'param_names': opt.param_groups[0][k].reverse()

CHANGES = [swap_data, swap_layout, swap_state_data, replace_state,
           forget_some_state, strided_state, reload, other_counts, add_group, reverse]


@pytest.mark.parametrize('change', CHANGES, ids=lambda f: f.__name__)
def test_whatever_happens_between_two_steps(change):
    plain, ours, other, theirs = pair(weight_decay=.1)
    both(plain, ours, other, theirs, range(9, 13))
    change(plain, ours); change(other, theirs)
    both(plain, ours, other, theirs, range(13, 20))


def test_gradients_in_other_layouts():
    plain, ours, other, theirs = pair()
    for i in range(12, 18):
        set_grads(ours, i); set_grads(theirs, i)
        if i > 13:
            theirs['matrix'].grad = theirs['matrix'].grad.t().contiguous().t()
            theirs['conv'].grad = theirs['conv'].grad.contiguous()
            theirs['vector'].grad = torch.stack([theirs['vector'].grad] * 2, 1)[:, 1]
            theirs['transposed'].grad = torch._neg_view(-theirs['transposed'].grad)
            theirs['scalar'].grad = theirs['scalar'].grad.requires_grad_()
        plain.step(); other.step()
        assert difference(theirs.values(), ours.values()) <= 1e-12


def test_module_to_another_dtype_and_back_again():
    model = nn.Linear(4, 3)
    opt = genopt.SGD(model.parameters(), lr=.1, compile=True)
    for dtype in (torch.float32, torch.float64, torch.float32):
        model.to(dtype)
        before = [p.detach().clone() for p in model.parameters()]
        for p in model.parameters(): p.grad = torch.ones_like(p)
        opt.step()
        for p, b in zip(model.parameters(), before): assert torch.allclose(p, b - .1)


def test_copies_and_pickles_go_on_alike():
    plain, ours, other, theirs = pair()
    both(plain, ours, other, theirs, range(12, 15))
    for again in (copy.deepcopy((theirs, other)), pickle.loads(pickle.dumps((theirs, other)))):
        assert again[1].compiled and not again[1].param_groups[0].plans
        for i in range(15, 18):
            set_grads(again[0], i); again[1].step()
        set_state = copy.deepcopy((ours, plain)); set_state[1].engine = plain_engine.run
        for i in range(15, 18):
            set_grads(set_state[0], i); set_state[1].step()
        assert difference(again[0].values(), set_state[0].values()) <= 1e-12


def test_autograd_knows_that_parameters_have_changed():
    w, x = nn.Parameter(torch.ones(3)), torch.ones(3, requires_grad=True)
    opt = genopt.SGD([w], lr=.1, compile=True)
    loss = (w * x).sum(); loss.backward(retain_graph=True)
    version = w._version
    opt.step()
    assert w._version == version + 1
    with pytest.raises(RuntimeError, match='modified by an inplace operation'): loss.backward()


def test_a_scheduler_that_gives_sgd_a_momentum():
    plain, ours, other, theirs = pair(genopt.SGD, lr=.1)
    both(plain, ours, other, theirs, range(12, 14))
    for opt in plain, other: opt.param_groups[0]['momentum'] = .9
    both(plain, ours, other, theirs, range(14, 18))


def test_maximize_and_groups_of_their_own_parts():
    def make(params, **kwargs):
        a = [p for _, p in params]
        groups = [dict(params=a[::2], parts=genopt.AdamW, maximize=True),
                  dict(params=a[1::2], parts=[sgd_step])]
        return Optimizer(groups, lr=.01, **kwargs)
    both(*pair(make), range(12, 18))


def test_a_step_without_any_gradient():
    opt = genopt.Adam([nn.Parameter(torch.ones(3))], compile=True)
    opt.step()
    assert not opt.state


# -- kernels on disk -------------------------------------------------------------------------------

SCRIPT = """
import genopt, sys, torch
from genopt import adam_step, average_grad, average_sqr_grad, step, step_count
@step
def nudge(param, *, lr): return -lr * {factor} * param
p = torch.nn.Parameter(torch.ones(5)); p.grad = torch.ones(5)
parts = [average_grad, average_sqr_grad, step_count, adam_step, nudge]
opt = genopt.Optimizer([p], parts, lr=.1, compile=True); opt.step()
assert not opt.engine.__self__._warned
print('%.6f' % p[0].item(), 'torch._dynamo' in sys.modules, 'torch._inductor' in sys.modules)
"""


@pytest.fixture
def cached(tmp_path):
    "Runs a script in a new process, with a cache and a compiler that counts its calls."
    calls, cc = tmp_path / 'calls', tmp_path / 'my cc'
    cc.write_text(f'#!/bin/sh\necho called >> "{calls}"\nexec cc "$@"\n'); cc.chmod(0o755)
    def run(script, **env):
        env = {**os.environ, 'GENOPT_CACHE': str(tmp_path / 'cache'), 'CC': f"'{cc}'", **env}
        done = subprocess.run([sys.executable, '-W', 'error', '-c', script],
                              env=env, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return done.stdout.strip(), calls.read_text().count('called') if calls.exists() else 0
    run.cache = tmp_path / 'cache'
    return run


def test_a_second_process_compiles_nothing(cached):
    first, n = cached(SCRIPT.format(factor='.5'))
    assert n >= 1 and cached(SCRIPT.format(factor='.5')) == (first, n)
    assert first.endswith('False False'), 'torch\'s compiler was imported'


def test_a_part_that_changed_is_another_kernel(cached):
    (first, n) = cached(SCRIPT.format(factor='.5'))
    (second, m) = cached(SCRIPT.format(factor='.25'))
    # and one that reads counts
    assert m > n and first != second and len([*cached.cache.glob('*.so')]) == 3


@pytest.mark.parametrize('content', [b'', b'no library', b'\x7fELF' + bytes(100)])
def test_a_damaged_file_is_made_anew(cached, content):
    first, n = cached(SCRIPT.format(factor='.5'))
    files = [*cached.cache.glob('*.so')]
    for file in files: file.write_bytes(content)
    assert cached(SCRIPT.format(factor='.5')) == (first, n + n)
    assert all(f.stat().st_size > 1000 for f in files)


def test_a_cache_that_cannot_be_written(cached, tmp_path):
    (tmp_path / 'file').touch()
    assert cached(SCRIPT.format(factor='.5'), GENOPT_CACHE=str(tmp_path / 'file' / 'x'))[0]


def test_the_file_is_named_by_all_that_matters(monkeypatch):
    monkeypatch.setattr(toolchain, '_loaded', {})
    def name():
        seen = []
        monkeypatch.setattr(toolchain, '_make',
                            lambda code, compiler, key, folder: seen.append(key))
        toolchain.build('int x;')
        return seen[0]
    names, machine = {name()}, toolchain._machine
    monkeypatch.setattr(torch, '__version__', '99.0'); machine.cache_clear(); names.add(name())
    monkeypatch.setattr(genopt, '__version__', '99.0'); machine.cache_clear(); names.add(name())
    monkeypatch.setattr(toolchain, 'FLAGS', ['-O0']); machine.cache_clear(); names.add(name())
    monkeypatch.setattr(toolchain.Path, 'read_text', lambda *args, **kwargs: 'flags : sse2')
    machine.cache_clear()
    names.add(name())
    monkeypatch.setenv('CC', 'true'); names.add(name())
    assert len(names) == 6
    monkeypatch.undo(); machine.cache_clear()


# -- where there is no compiler --------------------------------------------------------------------

@pytest.mark.parametrize('cc, why', [
    ('/no/such/cc', r'\$CC is `/no/such/cc`, and there is no such program'),
    ('false', 'the C compiler `false` failed: it does not say why'),
    ('sh -c "echo x.c:1: error: no licence >&2; exit 1"', 'failed: x.c:1: error: no licence')])
def test_one_warning_and_the_eager_engine(monkeypatch, builds, tmp_path, cc, why):
    monkeypatch.setenv('CC', cc)
    plain, ours, other, theirs = pair()
    set_grads(ours, 20); set_grads(theirs, 20)
    plain.step()
    says = f'l2_reg → .* → adam_step runs in the eager engine, not compiled: .*{why}'
    with pytest.warns(RuntimeWarning, match=says) as seen: other.step()
    assert len(seen) == 1 and seen[0].filename == __file__
    both(plain, ours, other, theirs, range(21, 25))


def test_a_compiler_that_is_no_program(monkeypatch, builds, tmp_path):
    (cc := tmp_path / 'cc').write_bytes(bytes(9)); cc.chmod(0o755)
    monkeypatch.setenv('CC', str(cc))
    opt = genopt.SGD([p := nn.Parameter(torch.ones(2))], lr=.5, compile=True)
    p.grad = torch.ones(2)
    with pytest.warns(RuntimeWarning,
                      match=f'the C compiler `{cc}` does not start: Exec format error'):
        opt.step()
    assert p.tolist() == [.5, .5]


def test_a_cache_that_is_full(monkeypatch, builds):
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(tempfile, 'TemporaryDirectory', full)
    @step
    def new_one(grad, *, lr): return -lr * 1.2345 * grad
    opt = Optimizer([p := nn.Parameter(torch.ones(2))], [new_one], lr=.5, compile=True)
    p.grad = torch.ones(2)
    with pytest.warns(RuntimeWarning, match='cannot be written: No space left on device'):
        opt.step()


def test_no_compiler_at_all(monkeypatch, builds):
    monkeypatch.delenv('CC', raising=False)
    monkeypatch.setenv('PATH', '')
    opt = genopt.SGD([p := nn.Parameter(torch.ones(2))], lr=.5, compile=True)
    p.grad = torch.ones(2)
    with pytest.warns(RuntimeWarning, match='there is no C compiler'): opt.step()
    assert p.tolist() == [.5, .5]


def test_torch_compile_fails(monkeypatch, by_torch_compile):  # noqa: F811
    def fail(*args): raise RuntimeError('no\nluck')
    monkeypatch.setattr(torch, 'compile', lambda graph, **kwargs: fail)
    plain, ours, other, theirs = pair()
    set_grads(ours, 20); set_grads(theirs, 20)
    plain.step()
    with pytest.warns(RuntimeWarning,
                      match='not compiled: torch.compile failed: RuntimeError: no luck'):
        other.step()
    both(plain, ours, other, theirs, range(21, 25))


def test_what_kernels_cannot_take_goes_to_the_eager_engine(builds):
    "Tensors with gaps; a state of another shape."
    @stat(init=lambda param: torch.zeros((), dtype=param.dtype))
    def one_for_all(ticks): return ticks + 1
    @step
    def by_ticks(grad, ticks, *, lr): return -lr * grad / ticks
    gaps, plain = nn.Parameter(torch.ones(4, 6)[:, ::2]), nn.Parameter(torch.ones(4))
    for p in (gaps, plain): p.grad = torch.ones(p.shape)
    for opt in Optimizer([plain], [one_for_all, by_ticks],
                         lr=.5, compile=True), genopt.SGD([gaps], .75, compile=True):
        opt.step()
    assert torch.allclose(plain, torch.full((4,), .5))
    assert torch.allclose(gaps, torch.full((4, 3), .25))
    assert not opt.engine.__self__._warned


@by_torchs_compiler
def test_a_dtype_that_has_no_c():
    ps = [nn.Parameter(torch.ones(4).to(torch.float8_e5m2)) for _ in range(2)]
    for compile, p in enumerate(ps):
        p.grad = torch.ones(4).to(p.dtype)
        genopt.SGD([p], lr=.5, compile=bool(compile)).step()
    assert torch.equal(ps[0].float(), ps[1].float()) and ps[0].float().eq(.5).all()


def test_without_torchs_guards(monkeypatch):
    monkeypatch.setattr(compiled, 'guards', None)
    both(*pair(genopt.AdamW), range(9, 15))


# -- parts that cannot be compiled -----------------------------------------------------------------

TABLE = torch.ones(())

@step
def asks_if(grad, *, lr):
    if lr > .5: return -grad
    return -lr * grad

@step
def asks_item(grad, *, lr):
    return -lr * grad + 0 * torch.ones(()).item()

@step
def uses_math(grad, *, lr):
    import math
    return -math.sqrt(lr) * grad

@step
def writes_through_out(grad, *, lr):
    return torch.mul(grad, -lr, out=torch.zeros_like(grad))

@step
def writes_into_a_view(grad, *, lr):
    x = grad * -1
    y = x.view(-1); y.mul_(lr)
    return x

@step
def takes_two(grad, *, lr):
    mantissa, _ = grad.frexp()
    return -lr * mantissa

@step
def reads_a_global(grad, *, lr):
    scale = -lr * TABLE
    return scale * grad

@step
def uses_numpy(grad, *, lr): return torch.from_numpy(grad.numpy() * -1.) * lr

UNKNOWN = 'a tensor that is not one of its arguments'
BROKEN = [(reads_a_global, UNKNOWN, 1),
          (uses_numpy, 'asks for the value of a tensor', 0),
          (writes_through_out, 'it writes into a tensor', 1),
          (writes_into_a_view,
           r'it writes into a tensor \(`mul_`\): return a new value, as `mul` does', 2),
          (takes_two, '`frexp` does not return one tensor of the same shape', 1)]


@pytest.mark.parametrize('part, why, line', BROKEN, ids=lambda x: getattr(x, '__name__', None))
def test_a_part_that_cannot_be_compiled_is_named_with_its_line(part, why, line):
    p = nn.Parameter(torch.ones(3))
    at = '' if line is None else f', line {part.fn.__code__.co_firstlineno + 1 + line}'
    with pytest.raises(PartError, match=f'`{part.__name__}` cannot be compiled.*{at}.*{why}'):
        Optimizer([p], [part], lr=.1, compile=True)
    Optimizer([p], [part], lr=.1)  # eager can


@pytest.mark.parametrize('part', [asks_if, asks_item, uses_math], ids=lambda p: p.__name__)
@pytest.mark.parametrize('n', [3, 200_000])
def test_a_part_that_decides_by_numbers_runs_as_it_is(part, n):
    p, q = (nn.Parameter(torch.ones(n)) for _ in 'pq')
    opts = [Optimizer([w], [genopt.l2_reg, part, genopt.weight_decay], lr=.1, wd=.1, compile=c)
            for w, c in ((p, False), (q, True))]
    for i, lr in enumerate((.1, .8, .1)):
        for w, opt in zip((p, q), opts):
            opt.param_groups[0]['lr'] = lr; w.grad = random(i, (n,), torch.float32); opt.step()
    torch.testing.assert_close(q, p, rtol=1e-6, atol=1e-7)


def test_what_looks_at_other_elements_must_say_so_and_then_runs_as_it_is():
    def stacks(grad, *, lr): return -lr * torch.stack([grad, grad]).amax(0)
    p = nn.Parameter(torch.ones(3)); p.grad = torch.ones(3)
    with pytest.raises(PartError,
                       match='`stacks` does not treat each element alone: it calls `stack`'):
        Optimizer([p], [step(stacks)], lr=.1, compile=True)
    Optimizer([p], [step(whole=True)(stacks)], lr=.1, compile=True).step()
    assert torch.allclose(p, torch.tensor(.9))


def test_nothing_has_changed_when_an_option_brings_such_a_part():
    @genopt.recipe(lr=.1)
    def Switching(mom=0.): return [reads_a_global if mom else sgd_step]
    p = nn.Parameter(torch.ones(3)); p.grad = torch.ones(3)
    opt = Switching([p], compile=True); opt.step()
    before = p.detach().clone()
    opt.param_groups[0]['mom'] = .9
    with pytest.raises(PartError, match=UNKNOWN): opt.step()
    assert torch.equal(p, before)


def test_the_switch_is_checked():
    with pytest.raises(genopt.ContractError, match='switch=\'wdd\': did you mean `wd`'):
        @transform(switch='wdd')
        def decay(grad, param, *, wd=0.): return grad + wd * param
    with pytest.raises(TypeError, match='`compile` = 1: give True or False'):
        genopt.Adam([nn.Parameter(torch.ones(1))], compile=1)


def test_a_switch_follows_a_new_name_and_a_pickle():
    part = genopt.l2_reg.rename(wd='decay')
    assert part.switch == 'decay' and pickle.loads(pickle.dumps(part)).switch == 'decay'
    inf = nn.Parameter(torch.tensor([float('inf')])); inf.grad = torch.ones(1)
    for compile in False, True:
        opt = genopt.SGD([inf], lr=.1, momentum=.9, compile=compile); opt.step()
        assert opt.state[inf][
            'grad_avg'].item() == 1, 'with wd=0, the parameter must not be looked at'



def test_a_number_times_a_condition():
    "torch computes it in the default dtype, whatever meets it later: so does a kernel."
    @genopt.stat(init=torch.ones_like)
    def gain(gain, grad, *, grow=.2): return torch.where(grad < 0, gain, gain + grow * (grad > 0))
    @genopt.step
    def gain_step(grad, gain, *, lr): return -lr * gain * grad
    seen = []
    for compile in (False, True):
        p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        p.grad = torch.tensor([1., -1., 0.]).double()
        opt = genopt.Optimizer([p], [gain, gain_step], lr=1., compile=compile); opt.step()
        seen.append((p.detach(), opt.state[p]['gain']))
    assert all(torch.equal(a, b) for a, b in zip(*seen))
    assert seen[0][1][0] == 1 + torch.tensor(.2).double()
