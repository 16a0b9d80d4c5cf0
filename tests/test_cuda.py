"""Promise: the kernels for a GPU are right, as far as that can be seen without one. Their source,
run on the CPU, does what the plain engine does; and NVRTC compiles it for sm_80 and sm_90."""
import genopt
import pytest
import torch
from emulation import Emulated, compiled, library
from genopt.engines import loop
from helpers import (RECIPES, difference, each_recipe, keeps_to_matrices, name_of, random,
                     random_param, set_grads)
from torch import nn

SHAPES = {'matrix': (5, 7), 'large': (150, 130), 'wide': (3, 9000), 'tall': (9000, 3),
          'vector': (7,), 'long': (40_000,), 'conv': (4, 3, 3, 3), 'scalar': (), 'empty': (0, 3),
          'sometimes': (4, 2)}


def params_for(recipe, dtype=torch.float64):
    shapes = {k: s for k, s in SHAPES.items() if len(s) == 2 or not keeps_to_matrices(recipe)}
    return {k: nn.Parameter(random(i, s, dtype)) for i, (k, s) in enumerate(shapes.items())}


@pytest.fixture
def emulated(monkeypatch, no_kernels):
    found = []
    def kernel(*args):
        found.append(Emulated(*args))
        return found[-1]
    monkeypatch.setattr(loop, 'kernel', kernel)
    return found


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
    assert 'kernel: ' in str(opt) and emulated
    plain = run(recipe, False)
    assert difference(tensors(opt, params), tensors(*plain)) <= 1e-12
