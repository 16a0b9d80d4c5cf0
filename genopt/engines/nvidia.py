"""A GPU of NVIDIA: compiles kernels with NVRTC, which comes with torch, and launches them.

`torch.cuda._compile_kernel` compiles one kernel at a time, without a cache, and older versions of
torch lack it. Here all kernels of a source are compiled at once, and kept on disk.
"""
from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import cache
from .cuda_driver import THREADS
from .launches import Function
from .table import Integers
from .toolchain import NoKernel

__all__ = ['Nvidia', 'OPTIONS', 'compiled', 'machine_of']

# As in C: no product is added without being rounded first
OPTIONS = ['-default-device', '-fmad=false', '--std=c++17']


@lru_cache
def machine_of(device: torch.device) -> Nvidia:
    "Raises NoKernel if that GPU, or what it takes, is not there."
    return Nvidia(device)


class Nvidia:
    "One GPU."
    def __init__(self, device: torch.device):
        if device.type != 'cuda' or torch.version.hip: raise NoKernel(f'{device} is not by NVIDIA')
        try: self.driver, self.nvrtc = _libraries()
        except OSError as e:
            raise NoKernel(f'NVRTC or the driver of {device} is not there: {e}') from None
        self.device, (major, minor) = device, torch.cuda.get_device_capability(device)
        self.arch = f'sm_{major}{minor}'
        self.modules: dict[bytes, ctypes.c_void_p] = {}  # by their machine code
        self.context = ctypes.c_void_p()

    @torch.inference_mode(False)  # or no later step could write to it
    def send(self, values: Integers, to: Tensor | None=None) -> Tensor:
        pinned = torch.empty(len(values), dtype=torch.int64, device='cpu', pin_memory=True)
        pinned.copy_(torch.from_numpy(values))
        if to is None: to = torch.empty(len(values), dtype=torch.int64, device=self.device)
        return to.copy_(pinned, non_blocking=True)  # torch keeps `pinned` until then

    def room(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def load(self, source: str, names: Sequence[str]) -> list[Function]:
        with torch.cuda.device(self.device):
            torch.cuda.current_stream().query()  # so that there is a context
            self._check(self.driver.cuCtxGetCurrent(ctypes.byref(self.context)))
            module = self._module(self._found(source))
            return [self._function(module, name) for name in names]

    def _module(self, cubin: bytes) -> ctypes.c_void_p:
        module = ctypes.c_void_p()
        if cubin in self.modules: return self.modules[cubin]
        try: self._check(self.driver.cuModuleLoadData(ctypes.byref(module), cubin))
        except RuntimeError as e: raise NoKernel(str(e)) from None
        self.modules[cubin] = module
        return module

    def _found(self, source: str) -> bytes:
        "The machine code, from disk if it was made before."
        from .. import __version__
        version = ctypes.c_int(), ctypes.c_int()
        self.nvrtc.nvrtcVersion(*map(ctypes.byref, version))
        made_of = [source, self.arch, *OPTIONS, *(str(v.value) for v in version), __version__]
        key = hashlib.sha256('\0'.join(made_of).encode()).hexdigest()[:32]
        if not (folder := cache.folder()): return compiled(self.nvrtc, source, self.arch)
        found: bytes | None = cache.find(folder, key, Path.read_bytes, '.cubin')
        if found: return found
        made = compiled(self.nvrtc, source, self.arch)
        try:
            with cache.scratch(folder) as scratch:
                cache.store(made, Path(scratch), folder, key, '.cubin')
        except OSError: pass  # it is only slower then
        return made

    def _function(self, module: ctypes.c_void_p, name: str) -> Function:
        found = ctypes.c_void_p()
        self._check(self.driver.cuModuleGetFunction(ctypes.byref(found), module, name.encode()))

        def launch(grid: int, *given: int) -> None:
            values = *map(ctypes.c_void_p, given[:-1]), ctypes.c_int(given[-1])
            places = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
            with torch.cuda.device(self.device):
                stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
                self._check(self.driver.cuCtxSetCurrent(self.context))  # a new thread has none
                self._check(self.driver.cuLaunchKernel(found, grid, 1, 1, THREADS, 1, 1, 0, stream,
                                                       places, None))
        return launch

    def _check(self, status: int) -> None:
        if not status: return
        text = ctypes.c_char_p()
        self.driver.cuGetErrorString(status, ctypes.byref(text))
        raise RuntimeError(f'CUDA: {(text.value or b"error " + str(status).encode()).decode()}')


def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    "The driver, and the NVRTC of torch's version of CUDA. Raises OSError."
    major = (torch.version.cuda or '').partition('.')[0]
    if not major: raise OSError('torch was built without CUDA')
    if sys.platform == 'win32': return _first('nvcuda.dll'), _first(f'nvrtc64_{major}0_0.dll')
    spec = find_spec('nvidia')  # where packages for pip have it
    roots = spec.submodule_search_locations or [] if spec else []
    own = [str(f) for r in roots for f in sorted(Path(r).glob(f'*/lib/libnvrtc.so.{major}*'))]
    return _first('libcuda.so.1'), _first(f'libnvrtc.so.{major}', *own, 'libnvrtc.so')


def _first(*names: str) -> ctypes.CDLL:
    "The first library that there is."
    why = OSError('there is none')
    for name in names:
        try: return ctypes.CDLL(name)
        except OSError as e: why = e
    raise why


def compiled(nvrtc: Any, source: str, arch: str) -> bytes:
    "The machine code for a kind of GPU, such as 'sm_90'. Raises NoKernel, with NVRTC's message."
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    code = source.encode()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, b'kernel.cu', 0, None, None):
        raise NoKernel('NVRTC takes no program')
    try:
        options = [f'--gpu-architecture={arch}', *OPTIONS]
        given = (ctypes.c_char_p * len(options))(*map(str.encode, options))
        if nvrtc.nvrtcCompileProgram(program, len(options), given):
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise NoKernel(f'NVRTC: {log.value.decode(errors="replace")}')
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        cubin = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, cubin)
        return cubin.raw
    finally: nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
