"""Loops in C: a tape written out as one loop, which `toolchain` compiles and keeps on disk.

One call runs the loop over any number of tensors of any length: it is given a table of addresses,
so tensors stay where they are and nothing is copied. Results that are the same for all elements
are computed once, before the loop, in the precision that Python would have used. The threads share
all elements evenly, whatever tensor they are in.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .operations import TYPED, TYPES, VECTOR, Untranslatable, line, read, type_of, write
from .tape import Ref, Tape

__all__ = ['Column', 'source']


class Column(NamedTuple):
    "One of a kernel's tensors, the value read from its elements, and the one written to them."
    dtype: torch.dtype
    begin: Ref | None
    end: Ref | None


PREAMBLE = '''#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
''' + TYPED

RUN = '''
/* `table` has the addresses of each column's `count` tensors. Each thread takes its share of all
   elements. Last, the numbers in their states get their new values, so that no interrupt comes
   between: `at` has their addresses. */
void run(int64_t count, const int64_t *sizes, char *const *table, const double *x, int threads,
         int64_t numbers, int64_t *const *at, const int64_t *values)
{
    int64_t total = 0;
    for (int64_t k = 0; k < count; k++) total += sizes[k];
    #pragma omp parallel num_threads(threads) if (total > 16384)
    {
        int64_t parts = 1, part = 0, start = 0;
#ifdef _OPENMP
        parts = omp_get_num_threads(), part = omp_get_thread_num();
#endif
        const int64_t share = (total / parts + 64) / 64 * 64;
        const int64_t low = part * share, high = low + share;
        for (int64_t k = 0; k < count; start += sizes[k++]) {
            const int64_t a = low > start ? low - start : 0;
            const int64_t b = high - start < sizes[k] ? high - start : sizes[k];
            if (a < b) loop(table + k, count, a, b, x);
        }
    }
    for (int64_t n = 0; n < numbers; n++)
        for (int64_t k = 0; k < count; k++) *at[n * count + k] = values[n];
}
'''


def source(tape: Tape, columns: Sequence[Column]) -> str:
    "The kernel in C. Raises Untranslatable for an operation or a dtype that has no C."
    for c in columns:
        if c.dtype not in TYPES: raise Untranslatable(f'there is no C for {c.dtype}')
    lines = [PREAMBLE, *_vector_math({op.name for op in tape.ops}),
             'static inline void loop(char *const *t, int64_t count, int64_t a, int64_t b, '
             'const double *x)\n{']
    for i, c in enumerate(columns):
        const, C = '' if c.end else 'const ', TYPES[c.dtype]
        lines.append(f'    {const}{C} *c{i} = ({C} *)t[{i} * count];')
    for i, (name, ref) in enumerate(tape.numbers.items()):
        lines.append(f'    const double v{ref.place} = x[{i}];  // {name}')
    lines += [f'    {line(op)}' for op in tape.ops if op.out.is_number]
    lines += ['    #pragma omp simd', '    for (int64_t i = a; i < b; i++) {']
    for i, (dtype, begin, _) in enumerate(columns):
        if not begin: continue
        value = read(dtype, f'c{i}[i]')
        lines.append(f'        const {type_of(begin.dtype)} v{begin.place} = {value};')
    lines += [f'        {line(op)}' for op in tape.ops if not op.out.is_number]
    for i, (dtype, _, end) in enumerate(columns):
        if end: lines.append(f'        c{i}[i] = {write(dtype, end)};')
    return '\n'.join([*lines, '    }', '}', RUN])


def _vector_math(used: set[str]) -> list[str]:
    "Declarations of functions that glibc has for whole vectors."
    if 'sigmoid' in used: used = used | {'exp'}
    lines = [f'__attribute__((simd("notinbranch"))) {T} {name}{f}({", ".join([T] * VECTOR[name])});'
             for name in sorted(used & {*VECTOR}) for f, T in (('f', 'float'), ('', 'double'))]
    return ['#ifdef VECTOR_MATH', *lines, '#endif'] if lines else []
