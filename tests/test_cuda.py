"""Promise: the kernels for a GPU are right, as far as that can be seen without one. Their source,
run on the CPU, does what the plain engine does; and NVRTC compiles it for sm_80 and sm_90."""
import ctypes
from contextlib import nullcontext
from types import SimpleNamespace

import genopt
import pytest
import torch
from emulation import nvrtc, run, tensors
from genopt.engines import kernels, nvidia
from genopt.engines.nvidia import Nvidia, compiled, machine_of
from genopt.engines.toolchain import NoKernel
from helpers import difference, each_recipe, random
from torch import nn

F64 = torch.float64


@pytest.mark.exhaustive(6)
@each_recipe
def test_the_source_runs_on_the_cpu(recipe, emulated):
    opt, params = run(recipe, None)
    assert 'kernel: ' in str(opt) and emulated.launched
    plain = run(recipe, False)
    assert difference(tensors(opt, params), tensors(*plain)) <= 1e-12
    emulated.descending = True  # no thread may rely on what another one has done already
    again = run(recipe, None)
    for x, y in zip(tensors(opt, params), tensors(*again)):
        torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


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
                                 ('total', 1), ('late1', 1), ('numbers', 1), ('pass0', 9)]


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

    def cuCtxGetCurrent(self, context):
        context._obj.value = 7
        return 0

    def cuCtxSetCurrent(self, context):
        self.context = context.value
        return 0

    def cuLaunchKernel(self, function, grid, *rest): return int(self.context != 7 or grid > 9)
    def cuModuleGetFunction(self, function, module, name): return int(name != b'here')

    def cuGetErrorString(self, status, text):
        text._obj.value = b'not found'


@pytest.fixture
def gpu(disk, monkeypatch):
    "An `Nvidia` that compiles, and has no GPU."
    if not nvrtc(): pytest.skip('NVRTC is not installed: nvidia-cuda-nvrtc-cu12')
    monkeypatch.setattr(torch.cuda, 'device', lambda device: nullcontext())
    stream = SimpleNamespace(query=bool, cuda_stream=3)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: stream)
    res = Nvidia.__new__(Nvidia)
    vars(res).update(driver=Driver(), nvrtc=nvrtc(), device=torch.device('cuda:0'), arch='sm_90',
                     modules={}, context=ctypes.c_void_p())
    return res


KERNEL = 'extern "C" __global__ void here(float *x) { x[threadIdx.x] = 0; }'


def test_machine_code_is_kept_on_disk(gpu, disk, monkeypatch):
    gpu.load(KERNEL, ['here'])
    monkeypatch.setattr(nvidia, 'compiled', None)
    gpu.load(KERNEL, ['here'])
    [first] = gpu.driver.modules  # one that is there is not loaded again
    assert first[:4] == b'\x7fELF'
    file, = disk.folder.glob('*.cubin')
    file.write_bytes(first[:-1] + b'?')
    with pytest.raises(TypeError): gpu.load(KERNEL, ['here'])  # it is compiled again
    assert not [*disk.folder.glob('*.cubin')]


def test_a_launch_has_the_context_of_its_module(gpu):
    [launch] = gpu.load(KERNEL, ['here'])
    gpu.driver.context = None  # as in a new thread
    launch(9, *[0] * 7, 1)
    with pytest.raises(RuntimeError, match='CUDA: not found'): launch(10, *[0] * 7, 1)


def test_an_error_of_the_driver_is_told(gpu):
    with pytest.raises(RuntimeError, match='CUDA: not found'): gpu.load(KERNEL, ['there'])
