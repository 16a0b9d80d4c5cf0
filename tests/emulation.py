"""Kernels for a GPU, run on the CPU: their CUDA C++ under `emulated.h`, which is C; and what
compiles them for a GPU that need not be there."""
import ctypes
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from genopt.engines import toolchain
from genopt.engines.cuda import Cuda
from genopt.engines.cuda_driver import ARGUMENTS
from genopt.engines.pieces import Pieces

HEADER = Path(__file__).with_name('emulated.h').read_text(encoding='utf-8')
TYPES = [*[ctypes.c_void_p] * 7, ctypes.c_int]
NAMES = [a.split()[-1].lstrip('*') for a in ARGUMENTS.split(', ')]


class Emulated:
    "Takes the place of `toolchain.Kernel`."
    def __init__(self, tape, columns, sizes={}):
        self.cuda = cuda = Cuda(tape, columns, sizes)
        self.code = '\n'.join([HEADER, cuda.source(), *map(caller, cuda.launches()), *cuda.fits()])
        self.library = toolchain.build(self.code, 'fits')

    def __call__(self, count, sizes, table, numbers, row):
        axes = max(self.cuda.axes, 1) + self.cuda.edges.has_blocks
        sizes = np.ctypeslib.as_array((ctypes.c_int64 * (count * axes)).from_address(sizes))
        sizes = sizes.reshape(count, axes)
        found = Pieces(self.cuda, sizes)
        at, size = found.layout()
        memory = np.full(size + 64, 0x7f, np.uint8)  # nobody has cleared it
        for launch in self.cuda.launches():
            pieces = np.ascontiguousarray(found.of(launch), np.int64)
            run = self.library[f'run_{launch.name}']
            run.argtypes = [ctypes.c_int64, *TYPES]
            assert not run(len(pieces), pieces.ctypes.data, sizes.ctypes.data, table, numbers, row,
                           memory.ctypes.data, np.ascontiguousarray(at).ctypes.data, count)

    def fits(self, numbers):
        return bool(self.library.fits(ctypes.c_void_p(numbers.buffer_info()[0])))


def caller(launch):
    "A function that runs all blocks of a kernel."
    given = [f'g_{launch.name}_{name}' for name in NAMES]
    kept = [f'static {a.rpartition(name)[0]}{g};'
            for a, name, g in zip(ARGUMENTS.split(', '), NAMES, given)]
    sets = ' '.join(f'{g} = {name};' for g, name in zip(given, NAMES))
    return '\n'.join([
        *kept, f'static void call_{launch.name}(void) {{ {launch.name}({", ".join(given)}); }}',
        f'int run_{launch.name}(int64_t grid, {ARGUMENTS})',
        f'{{ {sets} return emulate(grid, call_{launch.name}); }}'])


# -- NVRTC -----------------------------------------------------------------------------------------

def library():
    "NVRTC from PyPI, or None."
    spec = find_spec('nvidia') and find_spec('nvidia.cuda_nvrtc')
    if not spec: return None
    return ctypes.CDLL(str(next(Path(spec.submodule_search_locations[0]).glob('lib/libnvrtc.so.*'))))


def compiled(code, arch):
    "What NVRTC makes of it: the machine code. Raises ValueError with its message."
    nvrtc, program, size = library(), ctypes.c_void_p(), ctypes.c_size_t()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b'kernel.cu', 0, None,
                                        None)
    options = [f'--gpu-architecture={arch}', '-default-device', '-fmad=false', '--std=c++17']
    given = (ctypes.c_char_p * len(options))(*map(str.encode, options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if failed: raise ValueError(log.value.decode())
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin.raw
