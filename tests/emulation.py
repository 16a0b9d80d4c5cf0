"""Kernels for a GPU, run on the CPU: their CUDA C++ under `emulated.h`, which is C; and what
compiles them for a GPU that need not be there."""
import ctypes
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from genopt.engines import toolchain
from genopt.engines.cuda import Cuda
from genopt.engines.cuda_driver import ARGUMENTS
from genopt.engines.launches import Launches
from helpers import keeps_to_matrices, random, set_grads
from torch import nn

HEADER = Path(__file__).with_name('emulated.h').read_text(encoding='utf-8')
TYPES = [ctypes.c_int64, *[ctypes.c_void_p] * 7, ctypes.c_int]
NAMES = [a.split()[-1].lstrip('*') for a in ARGUMENTS.split(', ')]


class Emulated:
    "A machine that is this CPU. It remembers what was compiled, launched and sent."
    device = torch.device('cpu')

    def __init__(self):
        self.launched, self.sent, self.sources = [], [], []
        self.graph = None  # what a graph that is being captured has in it
        self.descending = False  # do the threads of a block take turns from the last to the first
        self.keeps, self.rooms = False, []  # memory that is not used again

    def kernel_on(self, device, *args):
        "In place of `machines.kernel_on`."
        return Launches(Cuda(*args), self)

    def load(self, source, names):
        self.sources.append(source)
        library = toolchain.build('\n'.join([HEADER, source, *map(caller, names)]))
        return [self._function(library, name) for name in names]

    def _function(self, library, name):
        run = library[f'run_{name}']
        run.argtypes = TYPES
        def launch(grid, *given):
            if self.graph is not None: return self.graph.append((launch, grid, *given))
            self.launched.append((name, grid))
            ctypes.c_int.in_dll(library, 'descending').value = self.descending
            if run(grid, *given): raise AssertionError(f'{name}: a barrier that some never come to')
        return launch

    @contextmanager
    def captured(self):
        "As `torch.cuda.graph`: gives a function that replays what is launched within."
        graph = self.graph = []
        def replay():
            for launch, *given in graph: launch(*given)
        try: yield replay
        finally: self.graph = None

    def send(self, values, to=None):
        self.sent.append(len(values))
        if to is None: to = torch.empty(len(values), dtype=torch.int64)
        return to.copy_(torch.from_numpy(values))

    def room(self, size):
        found = torch.full((size,), 0x7f, dtype=torch.uint8)
        if self.keeps or self.graph is not None: self.rooms.append(found)
        return found


def caller(name):
    "A function that runs all blocks of a kernel."
    given = [f'g_{name}_{k}' for k in NAMES]
    kept = [f'static {a.rpartition(k)[0]}{g};'
            for a, k, g in zip(ARGUMENTS.split(', '), NAMES, given)]
    sets = ' '.join(f'{g} = {k};' for g, k in zip(given, NAMES))
    return '\n'.join([*kept, f'static void call_{name}(void) {{ {name}({", ".join(given)}); }}',
                      f'int run_{name}(int64_t grid, {ARGUMENTS})',
                      f'{{ {sets} return emulate(grid, call_{name}); }}'])


def nvrtc():
    "NVRTC from PyPI, or None."
    spec = find_spec('nvidia') and find_spec('nvidia.cuda_nvrtc')
    if not spec: return None
    folder = Path(spec.submodule_search_locations[0]) / 'lib'
    return ctypes.CDLL(str(next(folder.glob('libnvrtc.so.*'))))


# -- what is stepped -------------------------------------------------------------------------------

SHAPES = {'matrix': (5, 7), 'large': (150, 130), 'wide': (3, 9000), 'tall': (9000, 3),
          'vector': (7,), 'long': (40_000,), 'conv': (4, 3, 3, 3), 'scalar': (), 'empty': (0, 3),
          'sometimes': (4, 2)}
SQUARED = {'Shampoo', 'SOAP', 'PSGDKron'}  # these make matrices of n×n for a side of n


def params_for(recipe, dtype=torch.float64):
    most = 200 if recipe.__name__ in SQUARED else 10**6
    shapes = {k: s for k, s in SHAPES.items()
              if max(s, default=0) <= most and (len(s) == 2 or not keeps_to_matrices(recipe))}
    return {k: nn.Parameter(random(i, s, dtype)) for i, (k, s) in enumerate(shapes.items())}


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
