"""Kernels for the CPU: a tape written out as one loop in C, compiled by the machine's C compiler, kept on disk.

One call runs the loop over any number of tensors of any length: it is given a table of addresses, so tensors stay
where they are and nothing is copied. What does not change from element to element is computed once, before the loop,
in the precision that Python would have used. The threads share out all elements evenly, whatever tensor they are in.

A kernel's file is named by a hash of its source, the compiler, the processor and the versions of torch and genopt. All
of the mathematics is in the source, so a changed part is another file.
"""
from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from .operations import TYPED, TYPES, NotInC, line, read, type_of, write
from .tape import Ref, Tape

__all__ = ['Column', 'Kernel', 'NoKernel', 'Untranslatable', 'build', 'source']


class NoKernel(RuntimeError): "There is no kernel for the CPU; the message says why."
class Untranslatable(NoKernel): "The parts use an operation that has no C here."


class Column(NamedTuple):
    "One of a kernel's tensors: its elements are read as `begin` and written with `end`, where they are not None."
    dtype: torch.dtype
    begin: Ref | None
    end: Ref | None


BINARY = {'pow', 'atan2', 'hypot'}
VECTOR = {*BINARY, *('exp log sin cos tan tanh erf exp2 log2 log10 log1p expm1 asin acos atan sinh cosh asinh acosh '
                     'atanh erfc').split()}  # glibc has them for whole vectors

PREAMBLE = '''#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
''' + TYPED

RUN = '''
/* `table` has the addresses of `count` tensors' columns; each thread takes its share of all elements */
void run(int64_t count, const int64_t *sizes, char *const *table, const double *x, int threads)
{
    int64_t total = 0;
    for (int64_t k = 0; k < count; k++) total += sizes[k];
    #pragma omp parallel num_threads(threads) if (total > 16384)
    {
        int64_t parts = 1, part = 0, start = 0;
#ifdef _OPENMP
        parts = omp_get_num_threads(), part = omp_get_thread_num();
#endif
        const int64_t share = (total / parts + 63) / 64 * 64, low = part * share, high = low + share;
        for (int64_t k = 0; k < count; start += sizes[k++]) {
            const int64_t a = low > start ? low - start : 0, b = high - start < sizes[k] ? high - start : sizes[k];
            if (a < b) loop(table + COLUMNS * k, a, b, x);
        }
    }
}
'''


# -- from a tape to C ----------------------------------------------------------------------------------------

def source(tape: Tape, columns: Sequence[Column]) -> str:
    "The kernel in C. Raises Untranslatable for an operation that is not in the tables."
    for c in columns:
        if c.dtype not in TYPES: raise Untranslatable(f'there is no C for {str(c.dtype).removeprefix("torch.")}')
    try: return '\n'.join(_lines(tape, columns))
    except NotInC as e: raise Untranslatable(str(e)) from None


def _lines(tape: Tape, columns: Sequence[Column]) -> list[str]:
    lines = [PREAMBLE, *_vector_math({op.name for op in tape.ops}), f'#define COLUMNS {len(columns)}\n',
             'static inline void loop(char *const *t, int64_t a, int64_t b, const double *x)\n{']
    for i, (dtype, _, end) in enumerate(columns):
        lines.append(f'    {"" if end else "const "}{TYPES[dtype]} *c{i} = ({TYPES[dtype]} *)t[{i}];')
    lines += [f'    const double v{ref.place} = x[{i}];  // {k}' for i, (k, ref) in enumerate(tape.numbers.items())]
    lines += [f'    {line(op)}' for op in tape.ops if op.out.is_number]
    lines += ['    #pragma omp simd', '    for (int64_t i = a; i < b; i++) {']
    for i, (dtype, begin, _) in enumerate(columns):
        if begin: lines.append(f'        const {type_of(begin.dtype)} v{begin.place} = {read(dtype, f"c{i}[i]")};')
    lines += [f'        {line(op)}' for op in tape.ops if not op.out.is_number]
    lines += [f'        c{i}[i] = {write(dtype, end)};' for i, (dtype, _, end) in enumerate(columns) if end]
    return [*lines, '    }', '}', RUN]


def _vector_math(used: set[str]) -> list[str]:
    "Declarations of functions that glibc has for whole vectors."
    lines = []
    for name in sorted(used & VECTOR | {'exp'} & {'exp' if n == 'sigmoid' else '' for n in used}):
        for f, T in (('f', 'float'), ('', 'double')):
            args = f'{T}, {T}' if name in BINARY else T
            lines.append(f'__attribute__((simd("notinbranch"))) {T} {name}{f}({args});')
    return ['#ifdef VECTOR_MATH', *lines, '#endif'] if lines else []


# -- from C to a kernel --------------------------------------------------------------------------------------

class Kernel:
    "A loop over the elements of many tensors."
    def __init__(self, code: str, numbers: Sequence[str]):
        self.numbers = list(numbers)  # what it is called with, by name
        self._run = build(code).run
        self._run.restype = None

    def __call__(self,
        count: int,                  # The number of tensors
        sizes: int,                  # Address of their numbers of elements, int64
        table: int,                  # Address of the addresses of each one's columns
        values: Mapping[str, float]  # `numbers`, and others
    ) -> None:
        x = (ctypes.c_double * len(self.numbers))(*[float(values[k]) for k in self.numbers])
        self._run(ctypes.c_int64(count), ctypes.c_void_p(sizes), ctypes.c_void_p(table), x, torch.get_num_threads())


WAYS = [['-march=native', '-fopenmp', '-DVECTOR_MATH', '-Wl,--no-as-needed,-z,defs', '-lmvec'],  # the best one first
        ['-march=native', '-fopenmp'], ['-mcpu=native', '-fopenmp'], ['-march=native'], ['-mcpu=native'], []]
FLAGS = ['-O3', '-std=gnu11', '-fno-math-errno', '-fno-trapping-math', '-ffp-contract=off', '-fPIC', '-shared']


def build(code: str) -> ctypes.CDLL:
    "Compiles `code`, or finds it compiled. Raises NoKernel if it cannot."
    compiler = _compiler()
    key = hashlib.sha256('\0'.join([code, *compiler, _machine()]).encode()).hexdigest()[:32]
    path = _folder() / f'{key}.so'
    for _ in range(2):
        try:
            if not path.exists(): _compile(code, shlex.split(compiler[0]), path)
        except OSError as e: raise NoKernel(f'{path.parent} cannot be written: {e.strerror}') from None
        try: return ctypes.CDLL(str(path))
        except OSError as e: broken = e; path.unlink(missing_ok=True)
    raise NoKernel(f'the compiled kernel does not load: {broken}')


def _compile(code: str, command: list[str], path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        c, so = Path(folder) / 'kernel.c', Path(folder) / 'kernel.so'
        c.write_text(code, encoding='utf-8')
        for way in WAYS:
            call = [*command, *FLAGS, str(c), '-o', str(so), *way, '-lm']
            try: done = subprocess.run(call, capture_output=True, text=True)
            except OSError as e: raise NoKernel(f'the C compiler `{command[0]}` does not start: {e.strerror}') from None
            if not done.returncode:
                so.replace(path)
                return
        lines = done.stderr.splitlines()
        why = next((line for line in lines if 'error' in line), lines[0] if lines else 'it does not say why')
        raise NoKernel(f'the C compiler `{shlex.join(command)}` failed: {why.strip()}')


def _compiler() -> tuple[str, str]:
    "The command, from $CC or else `cc`, `gcc` or `clang`; and what changes when another one is installed."
    for command in [os.environ['CC']] if os.environ.get('CC') else ['cc', 'gcc', 'clang']:
        if found := shutil.which((shlex.split(command) or [''])[0]):
            file = Path(found).resolve()
            return command, f'{file} {file.stat().st_size} {file.stat().st_mtime_ns}'
    raise NoKernel(f'$CC is `{os.environ["CC"]}`, and there is no such program' if os.environ.get('CC') else
                   'there is no C compiler (cc, gcc or clang)')


@lru_cache
def _machine() -> str:
    "The processor, and the versions of what makes kernels."
    from .. import __version__
    cpu = platform.processor()
    try: cpu = '\n'.join(sorted({x for x in Path('/proc/cpuinfo').read_text().splitlines()
                                 if x.startswith(('model name', 'flags', 'Features', 'CPU part'))}))
    except OSError: pass
    return f'{platform.machine()} {cpu} {platform.system()} {__version__} {torch.__version__} {FLAGS} {WAYS}'


@lru_cache
def _folder() -> Path:
    "Where kernels are kept: $GENOPT_CACHE, or `genopt` in the user's cache; a temporary one where that is read-only."
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    folder = Path(os.environ.get('GENOPT_CACHE') or cache / 'genopt')
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder): return folder
    except OSError:
        temporary = tempfile.mkdtemp(prefix='genopt-')
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return Path(temporary)
