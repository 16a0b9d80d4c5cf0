"""Promise: the kernels for a GPU are right, as far as that can be seen without one. Their source,
run on the CPU, does what the plain engine does; and NVRTC compiles it for sm_80 and sm_90."""
from contextlib import nullcontext

import genopt
import pytest
import torch
from emulation import Emulated, nvrtc
from genopt.engines import kernels, nvidia, program, toolchain
from genopt.engines.nvidia import Nvidia, compiled, machine_of
from genopt.engines.toolchain import NoKernel
from helpers import difference, each_recipe, keeps_to_matrices, random, set_grads
from torch import nn

F64 = torch.float64
SHAPES = {'matrix': (5, 7), 'large': (150, 130), 'wide': (3, 9000), 'tall': (9000, 3),
          'vector': (7,), 'long': (40_000,), 'conv': (4, 3, 3, 3), 'scalar': (), 'empty': (0, 3),
          'sometimes': (4, 2)}
SQUARED = {'Shampoo', 'SOAP', 'PSGDKron'}  # these make matrices of n×n for a side of n


def params_for(recipe, dtype=F64):
    most = 200 if recipe.__name__ in SQUARED else 10**6
    shapes = {k: s for k, s in SHAPES.items()
              if max(s, default=0) <= most and (len(s) == 2 or not keeps_to_matrices(recipe))}
    return {k: nn.Parameter(random(i, s, dtype)) for i, (k, s) in enumerate(shapes.items())}


@pytest.fixture
def emulated(monkeypatch, no_kernels):
    machine = Emulated()
    monkeypatch.setattr(toolchain, 'WAYS', [['-O1']])  # it is compiled sooner
    monkeypatch.setattr(program, 'kernel_on', machine.kernel_on)
    return machine


def run(recipe, compile, steps=5, dtype=F64, **hypers):
    params = params_for(recipe, dtype)
    opt = recipe(params.items(), compile=compile, **hypers)
    for i in range(steps):
        set_grads(params, i)
        opt.step()
    return opt, params


def tensors(opt, params):
    return [t for p in params.values() for t in (p.detach(), *opt.state.get(p, {}).values())
            if isinstance(t, torch.Tensor)]


@pytest.mark.exhaustive(6)
@each_recipe
def test_the_source_runs_on_the_cpu(recipe, emulated):
    opt, params = run(recipe, None)
    assert 'kernel: ' in str(opt) and emulated.launched
    plain = run(recipe, False)
    assert difference(tensors(opt, params), tensors(*plain)) <= 1e-12


FORMATS = {'codes': (torch.float32, dict(state='8bit')),
           'bf16': (torch.float32, dict(state='bf16')),
           'fp16': (torch.float16, dict(state='float32')),
           'rest of 8 bits': (torch.bfloat16, dict(state='8bit', master=24)),
           'rest of 16 bits': (torch.bfloat16, dict(master=32)),
           'kahan': (torch.float16, dict(rounding='kahan')),
           'random': (torch.bfloat16, dict(rounding='stochastic', state='8bit'))}


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('name', ['Momentum', 'AdamW', 'Lion'])
@pytest.mark.parametrize('dtype, said', FORMATS.values(), ids=FORMATS)
def test_formats_are_kept_as_on_the_cpu(name, dtype, said, emulated, monkeypatch):
    recipe = genopt.recipe(name)
    opt, params = run(recipe, None, 3, dtype, **said)
    assert emulated.launched and 'eager' not in str(opt)
    monkeypatch.undo()
    kernels._programs.clear()
    plain, theirs = run(recipe, True, 3, dtype, **said)
    for k, p in params.items():
        a, b = opt.state.get(p, {}), plain.state.get(theirs[k], {})
        assert {*a} == {*b}
        for x, y in ((p, theirs[k]), *((a[n], b[n]) for n in a)):
            assert torch.equal(x, y), (k, name)


@pytest.mark.skipif(not nvrtc(), reason='NVRTC is not installed: nvidia-cuda-nvrtc-cu12')
@pytest.mark.exhaustive(16)
@pytest.mark.parametrize('arch', ['sm_80', 'sm_90'])
@each_recipe
def test_nvrtc_compiles_it(recipe, arch, emulated):
    run(recipe, None, 1, torch.float32)
    assert emulated.sources
    for code in {*emulated.sources}: assert compiled(nvrtc(), code, arch)


@pytest.mark.skipif(not nvrtc(), reason='NVRTC is not installed: nvidia-cuda-nvrtc-cu12')
@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('dtype, said', [(F64, {}), *FORMATS.values()], ids=['float64', *FORMATS])
def test_nvrtc_compiles_formats(dtype, said, emulated):
    run(genopt.AdamW, None, 1, dtype, **said)
    assert emulated.sources
    for code in {*emulated.sources}: assert compiled(nvrtc(), code, 'sm_90')


def test_what_nvrtc_refuses_is_no_kernel():
    if not nvrtc(): pytest.skip('NVRTC is not installed: nvidia-cuda-nvrtc-cu12')
    with pytest.raises(NoKernel, match='NVRTC: .*error'): compiled(nvrtc(), 'KERNEL', 'sm_90')


# -- what is sent, and when ------------------------------------------------------------------------

def clipped(params): return (genopt.AdamW + genopt.clip_by_global_norm)(params, max_norm=.1)


def test_addresses_are_sent_when_they_change(emulated):
    params = [nn.Parameter(random(i, (30,), F64)) for i in range(9)]
    opt = genopt.AdamW(params)
    grads = [random(i, (30,), F64) for i in range(9)]
    def sent(grads):
        for p, g in zip(params, grads): p.grad = g
        emulated.sent.clear()
        opt.step()
        return emulated.sent
    assert max(sent(grads)) >= 9 * 4                 # all columns
    assert sum(sent(grads)) < 9                      # numbers alone
    others = [*grads[:4], grads[4].clone(), *grads[5:]]
    assert len(sent(others)) == 1 and 9 - 4 <= emulated.sent[0] < 9 * 3  # from it to the numbers
    opt.state[params[0]]['sqr_avg'] = opt.state[params[0]]['sqr_avg'].clone()
    assert 9 * 2 < max(sent(others))


def test_a_launch_is_for_all_tensors(emulated):
    params = [nn.Parameter(random(i, (30,), F64)) for i in range(9)]
    opt = clipped(params)
    for p in params: p.grad = torch.ones_like(p)
    for _ in range(2):
        emulated.launched.clear()
        opt.step()
    assert emulated.launched == [('numbers', 1), ('pass0', 9), ('meet0_0', 9), ('pass1', 9),
                                 ('numbers', 1), ('pass0', 9)]


def test_totals_and_groups_with_other_numbers(emulated):
    def steps(compile):
        params = [nn.Parameter(random(i, s, F64)) for i, s in enumerate([(40, 30), (30,), (7, 5)])]
        opt = (genopt.AdamW + genopt.clip_by_global_norm)(
            [dict(params=params[:2], lr=.1), dict(params=params[2:], wd=.1)], max_norm=.1,
            compile=compile)
        for i in range(4):
            for p in params[i % 2:]: p.grad = random(i, p.shape, F64)
            opt.step()
        return tensors(opt, dict(enumerate(params)))
    found = steps(None)
    assert emulated.launched and difference(found, steps(False)) <= 1e-12


# -- a step in a graph -----------------------------------------------------------------------------

def with_a_schedule(recipe, **said):
    params = {k: p for k, p in params_for(recipe).items() if p.numel()}
    for p in params.values(): p.grad = torch.zeros_like(p)
    opt = recipe(params.items(), **said)
    genopt.Schedule(opt, 6, lr=genopt.cosine(.1, .01))
    return opt, params


def give(params, i):
    for n, p in enumerate(params.values()): p.grad.copy_(random(9 * i + n, p.shape, F64))


@pytest.mark.parametrize('name', ['AdamW', 'LAMB', 'Adafactor'])
def test_a_graph_makes_the_steps_that_step_makes(name, emulated):
    recipe = genopt.recipe(name)
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


def test_what_a_graph_cannot_hold_is_an_error(emulated):
    for opt, why in ((genopt.AdamW([param()]), 'take one step first'),
                     (stepped(clipped([param()])), 'not in a kernel on a GPU'),
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


# -- a GPU -----------------------------------------------------------------------------------------

def test_without_a_gpu_there_is_no_machine():
    with pytest.raises(NoKernel, match='cuda:7'): machine_of(torch.device('cuda:7'))
    with pytest.raises(NoKernel, match='cpu'): machine_of(torch.device('cpu'))


class Driver:
    "Of a GPU that is not there."
    def __init__(self): self.modules = []

    def cuModuleLoadData(self, module, cubin):
        self.modules.append(cubin)
        return 0

    def cuModuleGetFunction(self, function, module, name): return int(name != b'here')

    def cuGetErrorString(self, status, text):
        text._obj.value = b'not found'


@pytest.fixture
def gpu(disk, monkeypatch):
    "An `Nvidia` that compiles, and has no GPU."
    if not nvrtc(): pytest.skip('NVRTC is not installed: nvidia-cuda-nvrtc-cu12')
    monkeypatch.setattr(torch.cuda, 'device', lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: torch.Stream('cpu'))
    res = Nvidia.__new__(Nvidia)
    vars(res).update(driver=Driver(), nvrtc=nvrtc(), device=torch.device('cuda:0'), arch='sm_90')
    return res


KERNEL = 'extern "C" __global__ void here(float *x) { x[threadIdx.x] = 0; }'


def test_machine_code_is_kept_on_disk(gpu, disk, monkeypatch):
    gpu.load(KERNEL, ['here'])
    monkeypatch.setattr(nvidia, 'compiled', None)
    gpu.load(KERNEL, ['here'])
    first, second = gpu.driver.modules
    assert first == second and first[:4] == b'\x7fELF'
    file, = disk.folder.glob('*.cubin')
    file.write_bytes(first[:-1] + b'?')
    with pytest.raises(TypeError): gpu.load(KERNEL, ['here'])  # it is compiled again
    assert not [*disk.folder.glob('*.cubin')]


def test_an_error_of_the_driver_is_told(gpu):
    with pytest.raises(RuntimeError, match='CUDA: not found'): gpu.load(KERNEL, ['there'])
