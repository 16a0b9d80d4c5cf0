"""From C to a kernel: a source is compiled by the machine's C compiler, kept on disk (`cache`),
and loaded.

The key of a kernel is a hash of its source, the compiler, the processor and the versions of torch
and genopt. All of the mathematics is in the source, so a changed part makes another kernel. Every
failure is raised as NoKernel, in one sentence.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import struct
import subprocess
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from . import cache
from .shield import exposed

__all__ = ['Kernel', 'NoKernel', 'TooSlow', 'build']

# gcc does not vectorise the loop of a reduction that it has unswitched. And where it peels elements
# off until an address is aligned, a sum depends on where its tensor lies
GCC = ['-fno-unswitch-loops', '--param', 'vect-max-peeling-for-alignment=0']
MATH = ['-DVECTOR_MATH', '-Wl,--no-as-needed,-z,defs', '-lmvec']
WAYS = [['-march=native', '-fopenmp', *MATH, *GCC], ['-march=native', '-fopenmp', *MATH],
        ['-march=native', '-fopenmp'], ['-mcpu=native', '-fopenmp'],
        ['-march=native'], ['-mcpu=native'], []]  # tried in this order: the fastest first
FLAGS = ['-O3', '-std=gnu11', '-fno-math-errno', '-fno-trapping-math', '-ffp-contract=off', '-fPIC',
         '-shared']

TIME_LIMIT = 60  # seconds for compiling one kernel, in all of the ways above


class NoKernel(RuntimeError): "A kernel cannot be made; the message says why."
class TooSlow(NoKernel): "The compiler was stopped."


class Compiler(NamedTuple):
    "A C compiler."
    name: str                 # As errors call it
    command: tuple[str, ...]  # The program's path, and its first arguments
    version: str              # Changes when another one is installed in its place


class Kernel:
    "Loops over the elements of many tensors: see `driver`."
    def __init__(self, code: str):
        self.code, self.library = code, build(code, 'run', 'fits')
        self.library.run.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * 4, ctypes.c_int]

    def __call__(self, count: int, sizes: int, table: int, numbers: int, row: int) -> None:
        """Runs it on `count` tensors, by the addresses of tables of items of 8 bytes.

        `sizes` has those of each tensor, `table` the tensors' addresses in each column, `numbers`
        rows of them, and `row` the one of each tensor, or -1. Raises MemoryError.
        """
        if self.library.run(count, sizes, table, numbers, row, torch.get_num_threads()):
            raise MemoryError('there is no memory for the sums of a kernel')

    def on(self, count: int, sizes: int, table: int) -> Callable[[int, int], None]:
        "It, for tables that stay where they are; it is then called with `numbers` and `row`."
        return partial(self, count, sizes, table)

    def fits(self, numbers: array[float]) -> bool:
        "True if this row of numbers answers all of its questions as when it was made."
        return bool(self.library.fits(ctypes.c_void_p(numbers.buffer_info()[0])))


_loaded: dict[str, ctypes.CDLL] = {}  # in this process, by key
_hung: set[Compiler] = set()                  # those that took too long are not called again


def build(code: str, *functions: str) -> ctypes.CDLL:
    """The library of `code`, compiled now or found on disk.

    Raises NoKernel, with the reason, also if it lacks one of these functions.
    """
    compiler = _compiler()
    text = '\0'.join([code, compiler.name, compiler.version, _machine()])
    key = hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:32]
    if key not in _loaded:
        folder = cache.folder()
        with exposed():
            found = cache.find(folder, key) if folder else None
            _loaded[key] = found or _make(code, compiler, key, folder)
    for name in functions:
        if not hasattr(_loaded[key], name): raise NoKernel(f'the compiled kernel has no `{name}`')
    return _loaded[key]


def _make(code: str, compiler: Compiler, key: str, folder: Path | None) -> ctypes.CDLL:
    "Compiles in the folder; if there is none, or that fails, in a temporary one."
    reasons = []
    for place in dict.fromkeys([folder, None]):
        try:
            with cache.scratch(place) as name:
                content = _compile(code, compiler, scratch := Path(name))
                return cache.load(cache.store(content, scratch, place or scratch, key))
        except OSError as e:
            where = place or 'the temporary folder'
            reasons.append(f'{where} cannot be written: {e.strerror}' if e.strerror else str(e))
    raise NoKernel(', and '.join(dict.fromkeys(reasons)))


# -- the compiler ----------------------------------------------------------------------------------

def _compiler() -> Compiler:
    "The compiler that $CC names; or else `cc`, `gcc` or `clang`."
    given = os.environ.get('CC', '').strip()
    try: commands = [shlex.split(given)] if given else [['cc'], ['gcc'], ['clang']]
    except ValueError as e:
        raise NoKernel(f'$CC is `{given}`, which is not a command: {e}') from None
    for program, *arguments in commands:
        if not (found := shutil.which(program)): continue
        file = os.path.realpath(found)
        with suppress(OSError):  # it has just been removed
            version = f'{file} {os.stat(file).st_size} {os.stat(file).st_mtime_ns}'
            command = os.path.abspath(found), *arguments
            return Compiler(shlex.join([program, *arguments]), command, version)
    if not given: raise NoKernel('there is no C compiler (cc, gcc or clang)')
    raise NoKernel(f'$CC is `{given}`, and there is no such program, or it cannot be run')


@lru_cache
def _machine() -> str:
    "The processor, the versions of torch and genopt, and the flags."
    from .. import __version__
    try: lines = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError: lines = []
    telling = 'model name', 'flags', 'Features', 'CPU part'
    cpu = sorted({line for line in lines if line.startswith(telling)})
    if not cpu: cpu = [platform.processor(), platform.node()]  # so it is for this machine only
    system = f'{platform.machine()} {cpu} {platform.system()}'
    return f'{system} {__version__} {torch.__version__} {FLAGS} {WAYS}'


def _compile(code: str, compiler: Compiler, scratch: Path) -> bytes:
    "The library's content. Raises NoKernel with the compiler's message."
    c, so, log = (scratch / name for name in ('kernel.c', 'kernel.so', 'log'))
    c.write_text(code, encoding='utf-8')
    end = time.monotonic() + TIME_LIMIT
    for way in WAYS:
        if compiler in _hung: break
        failed = _run(compiler, [*FLAGS, str(c), '-o', str(so), *way, '-lm'], log, end)
        said = log.read_text(encoding='utf-8', errors='replace')
        if so.is_file() and not failed: break
    it = f'the C compiler `{compiler.name}`'
    if compiler in _hung: raise TooSlow(f'{it} was stopped, as it took more than {TIME_LIMIT} s')
    if failed: raise NoKernel(f'{it} failed: {_first_error(said)[:300]}')
    if not so.is_file(): raise NoKernel(f'{it} says that it succeeded, but wrote no file')
    content = so.read_bytes()
    if not _is_whole(content): raise NoKernel(f'{it} wrote a file that is cut short')
    return content


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if 'error' in line]
    return next(iter(errors or lines), 'it does not say why')


def _run(compiler: Compiler, arguments: list[str], log: Path, end: float) -> int:
    "The compiler's exit status. It runs in a session of its own, so Ctrl-C comes only to us."
    env = {**os.environ, 'LC_ALL': 'C', 'TMPDIR': str(log.parent)}  # it leaves nothing elsewhere
    with log.open('wb') as output:
        try:
            process = subprocess.Popen(
                [*compiler.command, *arguments], env=env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        except OSError as e:
            why = f'the C compiler `{compiler.name}` does not start: {e.strerror}'
            raise NoKernel(why) from None
    try: return process.wait(max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired: _hung.add(compiler)
    finally:
        if process.returncode is None: _kill(process)
    return 1


def _kill(process: subprocess.Popen[bytes]) -> None:
    "Kills a process and those that it has started."
    with suppress(OSError):
        if hasattr(os, 'killpg'): os.killpg(process.pid, signal.SIGKILL)
        else: process.kill()
    with suppress(subprocess.TimeoutExpired): process.wait(5)


def _is_whole(library: bytes) -> bool:
    "False if an ELF file of 64 bits lacks its end. Loading that would kill the process."
    if library[:6] != b'\x7fELF\x02\x01': return True  # the loader looks at it
    try:
        start, = struct.unpack_from('<Q', library, 32)
        size, count = struct.unpack_from('<HH', library, 54)
        segments = [struct.unpack_from('<8xQ16xQ', library, start + i * size) for i in range(count)]
    except struct.error: return False
    return all(offset + length <= len(library) for offset, length in segments)
