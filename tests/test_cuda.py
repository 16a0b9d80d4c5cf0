"""Promise: the kernels for a GPU are right, as far as that can be seen without one. Their source,
run on the CPU, does what the plain engine does; and NVRTC compiles it for sm_80 and sm_90."""
import genopt
import pytest
import torch
from emulation import Emulated, nvrtc
from genopt.engines import kernels, program
from genopt.engines.cuda import Cuda
from genopt.engines.nvidia import compiled
from helpers import difference, each_recipe, keeps_to_matrices, random, set_grads
from torch import nn

SHAPES = {'matrix': (5, 7), 'large': (150, 130), 'wide': (3, 9000), 'tall': (9000, 3),
          'vector': (7,), 'long': (40_000,), 'conv': (4, 3, 3, 3), 'scalar': (), 'empty': (0, 3),
          'sometimes': (4, 2)}
SQUARED = {'Shampoo', 'SOAP', 'PSGDKron'}  # these make matrices of n×n for a side of n


def params_for(recipe, dtype=torch.float64):
    most = 200 if recipe.__name__ in SQUARED else 10**6
    shapes = {k: s for k, s in SHAPES.items()
              if max(s, default=0) <= most and (len(s) == 2 or not keeps_to_matrices(recipe))}
    return {k: nn.Parameter(random(i, s, dtype)) for i, (k, s) in enumerate(shapes.items())}


@pytest.fixture
def emulated(monkeypatch, no_kernels):
    machine = Emulated()
    monkeypatch.setattr(program, 'kernel_on', machine.kernel_on)
    return machine


def run(recipe, compile, steps=5, dtype=torch.float64, **hypers):
    params = params_for(recipe, dtype)
    opt = recipe(params.items(), compile=compile, **hypers)
    for i in range(steps):
        set_grads(params, i)
        opt.step()
    return opt, params


def tensors(opt, params):
    return [t for p in params.values() for t in (p.detach(), *opt.state.get(p, {}).values())
            if isinstance(t, torch.Tensor)]


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


@pytest.fixture
def sources(monkeypatch, no_kernels):
    "The CUDA C++ of the kernels that are made from now on."
    found, kernel_on = [], program.kernel_on
    def recorded(device, *args):
        found.append(Cuda(*args).source())
        return kernel_on(device, *args)
    monkeypatch.setattr(program, 'kernel_on', recorded)
    return found


@pytest.mark.skipif(not nvrtc(), reason='NVRTC is not installed: nvidia-cuda-nvrtc-cu12')
@pytest.mark.parametrize('arch', ['sm_80', 'sm_90'])
@each_recipe
def test_nvrtc_compiles_it(recipe, arch, sources):
    run(recipe, None, 1, torch.float32)
    assert sources
    for code in {*sources}: assert compiled(nvrtc(), code, arch)
