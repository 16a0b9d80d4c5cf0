"""Promise: on a GPU nothing waits for a total, and a step can be in a graph. Kernels make there
what follows from totals: the numbers that plain Python makes, in the same steps."""
import math
from contextlib import contextmanager, nullcontext

import genopt
import pytest
import torch
from emulation import nvrtc, params_for, tensors
from genopt.bench import checking
from genopt.engines import late_step, work
from genopt.engines.watch import why_not_beside
from genopt.engines.nvidia import compiled
from genopt.engines.toolchain import NoKernel
from helpers import difference, random
from torch import nn

F64 = torch.float64


# -- totals, for which nothing waits ---------------------------------------------------------------

LATE = {name: genopt.recipe(name) for name in
             ('Prodigy', 'DAdaptSGD', 'DoG')}
LATE |= {'clipped': genopt.AdamW + genopt.clip_by_global_norm,
              'finite': genopt.AdamW + genopt.skip_nonfinite,
              'both': genopt.AdamW + genopt.clip_by_global_norm + genopt.skip_nonfinite}


@genopt.scalar
def root_share(square=genopt.sqr_grad_norm): return 1 / math.sqrt(1 + square)


@genopt.transform
def shrink(grad, share=root_share): return share * grad


def by_math(params, **said): return (genopt.SGD + shrink)(params, **said)


def skipping(params, **said):
    groups = [dict(params=params[:2]), dict(params=params[2:], lr=.1)]
    return (genopt.AdamW + genopt.clip_by_global_norm + genopt.skip_nonfinite)(
        groups, max_norm=.5, **said)


@genopt.total(over='group')
def slope(grad): return grad.sum()


@genopt.stat(init=0.)
def sum_slope(slope_sum, slope=slope): return slope_sum + slope


@genopt.scalar
def later(count, slope_sum): return min(slope_sum, 2.) if count > 3 else 1.


@genopt.transform
def times_later(grad, later=later): return later * grad


def of_groups(params, **said):
    groups = [dict(params=params[:1]), dict(params=params[1:], lr=.1)]
    return (genopt.SGD + (genopt.step_count, sum_slope, times_later))(groups, **said)


def of_two_rules(params, **said):
    rules = [genopt.recipe(n) + genopt.clip_by_global_norm for n in ('Lion', 'AdamW')]
    groups = [dict(params=[p], parts=r, lr=.01) for p, r in zip(params[1:], rules)]
    return (genopt.SGD + genopt.clip_by_global_norm)(
        [dict(params=params[:1]), *groups], max_norm=.1, **said)


def bad_gradients(opt, params, steps=6):
    for i in range(steps):
        for n, p in enumerate(params):
            p.grad = None if i % 3 == 2 and not n else random(9 * i + n, p.shape, F64)
        if i in (1, 4) and 'skipped' in opt.state[params[2]]: params[2].grad[0] = float('nan')
        opt.step()
    return tensors(opt, dict(enumerate(params)))


@pytest.mark.parametrize('make', [skipping, by_math, of_groups, of_two_rules, *LATE.values()],
                         ids=['groups', 'math', 'of groups', 'two rules', *LATE])
def test_numbers_that_follow_from_totals(make, emulated):
    def steps(**said):
        params = [nn.Parameter(random(i, s, F64)) for i, s in enumerate([(40, 30), (30,), (7, 5)])]
        opt = make(params, **said)
        return opt, bad_gradients(opt, params)
    opt, found = steps()
    plain, wanted = steps(compile=False)
    assert difference(found, wanted) <= 1e-12
    assert ('the host waits for a total' in str(opt)) == (make is by_math)
    if 'skipped' in opt.state[opt.param_groups[0]['params'][0]]:
        assert [s['skipped'] for s in opt.state.values()] == [
            s['skipped'] for s in plain.state.values()]


@pytest.mark.parametrize('recipe', LATE.values(), ids=LATE)
def test_nothing_is_read_on_the_device(recipe, emulated, monkeypatch):
    params = [param((4, 3)), param()]
    opt, emulated.keeps = recipe(params), True
    for _ in range(2): opt.step()
    [(_, batch)] = opt.engine.last.batches
    there = {opt.state[p][k].data_ptr() for p in params for k in batch.late.stats}
    there |= {b.data_ptr() for b in emulated.rooms}
    def watched(name):
        real = getattr(torch.Tensor, name)
        def read(x, *args):
            assert x.data_ptr() not in there, f'{name} waits for the device'
            return real(x, *args)
        return read
    monkeypatch.setattr(work, '_now', torch.clone)  # as of what is not on the CPU
    for name in ('item', 'cpu', 'numpy', 'tolist', '__bool__', '__float__', '__int__'):
        monkeypatch.setattr(torch.Tensor, name, watched(name))
    for _ in range(2): opt.step()
    with pytest.raises(AssertionError, match='item waits'): emulated.rooms[0].item()


def of_shares(params, **said):
    groups = [dict(params=params[:1], growth_rate=1.1), dict(params=params[1:])]
    return genopt.Prodigy(groups, d0=.01, **said)


def in_codes(params, **said):
    return (genopt.AdamW + genopt.clip_by_global_norm)(params, state='8bit', max_norm=.1, **said)


@pytest.mark.parametrize('make', [in_codes, of_shares])
def test_nothing_is_waited_for_where_groups_are_cut(make, emulated):
    params = [param((64, 80)), param((4, 3)), param()]
    opt = make(params)
    for _ in range(3): opt.step()
    opt.advance()  # an error if the host reads a total
    wanted = make(params_before := [param((64, 80)), param((4, 3)), param()], compile=False)
    for _ in range(4): wanted.step()
    opt.launch()
    for p, q in zip(params, params_before):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


def test_a_released_optimizer_adds_totals_up_itself(emulated):
    def steps(**said):
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).double()
        for n, p in enumerate(model.parameters()): p.data = random(n, p.shape, F64)
        opt = (genopt.AdamW + genopt.clip_by_last_norm)(model.parameters(), max_norm=.1, **said)
        opt.release()
        for i in range(4): model(random(i, (5, 4), F64)).square().sum().backward()
        return tensors(opt, dict(enumerate(model.parameters())))
    assert difference(steps(), steps(compile=False)) <= 1e-12


def test_a_kernel_that_cannot_be_made_leaves_it_to_the_host(emulated, monkeypatch):
    load = emulated.load
    def refusing(source, names):
        if 'late1' in names: raise NoKernel('no memory')
        return load(source, names)
    monkeypatch.setattr(emulated, 'load', refusing)
    def steps(**said):
        params = [param((4, 3)), param()]
        opt = LATE['both'](params, **said)
        for _ in range(3): opt.step()
        return tensors(opt, dict(enumerate(params)))
    assert difference(steps(), steps(compile=False)) <= 1e-12


@pytest.mark.skipif(not nvrtc(), reason='NVRTC is not installed: nvidia-cuda-nvrtc-cu12')
@pytest.mark.parametrize('recipe', LATE.values(), ids=LATE)
def test_nvrtc_compiles_late_numbers(recipe, emulated):
    recipe([param()]).step()
    [code] = {code for code in emulated.sources if 'KERNEL late' in code}
    assert compiled(nvrtc(), code, 'sm_90')


def test_counts_that_somebody_changes_are_seen(emulated):
    def steps(**said):
        params = [param(), param((4, 3))]
        opt = LATE['finite'](params, **said)
        for i in range(4):
            opt.step()
            if i == 1: opt.state[params[0]]['count'].fill_(7)
        return tensors(opt, dict(enumerate(params)))
    assert difference(steps(), steps(compile=False)) <= 1e-12


# -- several rules ---------------------------------------------------------------------------------

@genopt.step(whole=True)
def failing_step(grad):
    if (grad == 9.).any(): raise ValueError('no')
    return -grad


def test_an_error_in_one_rule_leaves_the_others_whole():
    first, second = param(), param()
    opt = genopt.Optimizer([dict(params=[first], parts=genopt.AdamW),
                            dict(params=[second], parts=[failing_step])], genopt.AdamW)
    second.grad = -torch.ones(5, dtype=F64)
    opt.step()
    before, version = first.detach().clone(), first._version
    second.grad = torch.full((5,), 9., dtype=F64)
    with pytest.raises(genopt.PartError, match='no'): opt.step()
    moved = not torch.equal(first, before)
    assert (opt.state[first]['count'] == 2) == (first._version > version) == moved


# -- what lies beside state ------------------------------------------------------------------------

def test_scales_with_gaps_are_left_to_the_eager_engine():
    def stepped_twice(gaps):
        opt = stepped(genopt.AdamW([p := param((64, 80))], state='8bit'))
        scale = opt.state[p]['sqr_avg.scale']
        if gaps: opt.state[p]['sqr_avg.scale'] = scale.repeat_interleave(2, -1)[..., ::2]
        return stepped(opt), p
    (opt, p), (_, same) = stepped_twice(True), stepped_twice(False)
    assert 'scales or bits lie in memory with gaps' in str(opt)
    torch.testing.assert_close(p, same)
    assert why_not_beside(p, [torch.ones(3, device='meta')]) == 'scales or bits are elsewhere'


# -- a step in a graph -----------------------------------------------------------------------------

def with_a_schedule(recipe, **said):
    params = {k: p for k, p in params_for(recipe).items() if p.numel()}
    for p in params.values(): p.grad = torch.zeros_like(p)
    opt = recipe(params.items(), **said)
    genopt.Schedule(opt, 6, lr=genopt.cosine(.1, .01))
    return opt, params


def give(params, i):
    for n, p in enumerate(params.values()): p.grad.copy_(random(9 * i + n, p.shape, F64))


IN_GRAPHS = {k: genopt.recipe(k) for k in ('AdamW', 'LAMB', 'Adafactor')} | LATE


@pytest.mark.parametrize('recipe', IN_GRAPHS.values(), ids=IN_GRAPHS)
def test_a_graph_makes_the_steps_that_step_makes(recipe, emulated):
    opt, params = with_a_schedule(recipe)
    give(params, 0)
    opt.step()
    with emulated.captured() as replay: opt.launch()
    before = [p.detach().clone() for p in params.values()]
    for i in range(1, 5):
        give(params, i)
        opt.advance()
        if i == 1: assert all(torch.equal(p, b) for p, b in zip(params.values(), before))
        replay()
    plain, theirs = with_a_schedule(recipe, compile=False)
    for i in range(5):
        give(theirs, i)
        plain.step()
    assert difference(tensors(opt, params), tensors(plain, theirs)) <= 1e-12
    assert opt.param_groups[0]['lr'] == plain.param_groups[0]['lr']


@pytest.mark.parametrize('name', checking.GRAPHS)
def test_the_check_of_a_device_captures_graphs(name, emulated, monkeypatch):
    class Graph:
        def replay(self): self.again()

    @contextmanager
    def graph(mine):
        with emulated.captured() as mine.again: yield
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', Graph)
    monkeypatch.setattr(torch.cuda, 'graph', graph)
    found = checking.check_recipe(name, torch.device('cpu'), in_graph=True)
    assert found.is_right and found.name == f'{name} in a graph', found
    monkeypatch.setattr(emulated, 'captured', lambda: nullcontext(lambda: None))
    assert checking.check_recipe(name, torch.device('cpu'), in_graph=True).found > 1e-3


def test_what_a_graph_cannot_hold_is_an_error(emulated):
    for opt, why in ((genopt.AdamW([param()]), 'take one step first'),
                     (stepped(by_math([param()])), 'the host waits for a total'),
                     (stepped(genopt.Muon([param((4, 3))], lr=.1)), '`orthogonalize` runs as it'),
                     (stepped(genopt.AdamW([param()], compile=False)), 'compile=False')):
        with pytest.raises(RuntimeError, match=why): opt.advance()
    with pytest.raises(RuntimeError, match='take one step first'): genopt.SGD([param()]).launch()


def test_a_step_that_needs_another_graph_is_an_error(emulated):
    first, second = param(), param()
    opt = stepped(genopt.AdamW([first, second]))
    with emulated.captured(): opt.launch()
    opt.advance()
    opt.state[first]['count'] += 1  # the two have other numbers now
    with pytest.raises(RuntimeError, match='capture it again'): opt.advance()


@genopt.step(whole=True)
def turned_step(grad, count): return -.1 * (grad.flip(0) if count > 2 else grad)


def test_a_step_that_has_become_more_than_kernels_is_an_error(emulated, monkeypatch):
    p = param()
    opt = stepped(genopt.Optimizer([p], [genopt.step_count, turned_step]))
    opt.advance()
    with pytest.raises(RuntimeError, match='other launches'): opt.advance()
    assert opt.state[p]['count'] == 2
    opt = stepped(LATE['clipped']([p]))
    monkeypatch.setattr(late_step.LateStep, '_suits', lambda self, total: False)
    with pytest.raises(RuntimeError, match='other launches'): opt.advance()
    assert opt.state[p]['count'] == 1


def test_other_parameters_need_another_graph(emulated):
    params = param(), param()
    opt = stepped(genopt.AdamW(params))
    with emulated.captured(): opt.launch()
    params[1].grad = None
    with pytest.raises(RuntimeError, match='other parameters have gradients'): opt.advance()
    params[1].grad = torch.ones(10, dtype=F64)[::2]
    with pytest.raises(RuntimeError, match='a copy of it would be in the graph'): opt.advance()


def test_what_has_moved_or_is_looked_at_needs_another_step(emulated):
    p = param()
    opt = stepped(genopt.AdamW([p]))
    with opt.watch(1), pytest.raises(RuntimeError, match='neither watch'): opt.advance()
    opt.state[p]['sqr_avg'] = opt.state[p]['sqr_avg'].clone()
    with pytest.raises(RuntimeError, match='not where they were'): opt.advance()


def test_a_whole_step_is_not_captured(monkeypatch):
    p = param()
    opt, before = stepped(genopt.AdamW([p])), p.detach().clone()
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    with pytest.raises(RuntimeError, match='call `launch()` in the graph'.replace('()', r'\(\)')):
        opt.step()
    assert torch.equal(p, before) and opt.state[p]['count'] == 1


def test_kernels_of_the_cpu_are_not_launched():
    opt = stepped(genopt.AdamW([param()]))
    for call in opt.advance, opt.launch:
        with pytest.raises(RuntimeError, match='on a GPU'): call()


def param(shape=(5,)):
    res = nn.Parameter(random(0, shape, F64))
    res.grad = random(1, shape, F64)
    return res


def stepped(opt):
    opt.step()
    return opt
