"""Kernels for the CPU: a tape written out as one loop in C, which `toolchain` compiles and keeps on disk.

One call runs the loop over any number of tensors of any length: it is given a table of addresses, so tensors stay
where they are and nothing is copied. What does not change from element to element is computed once, before the loop,
in the precision that Python would have used. The threads share out all elements evenly, whatever tensor they are in.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .tape import Op, Ref, Tape
from .toolchain import Kernel, NoKernel

__all__ = ['Column', 'Kernel', 'NoKernel', 'Untranslatable', 'source']


class Untranslatable(NoKernel): "The parts use an operation that has no C here."


class Column(NamedTuple):
    "One of a kernel's tensors: its elements are read as `begin` and written with `end`, where they are not None."
    dtype: torch.dtype
    begin: Ref | None
    end: Ref | None


TYPES = {torch.float32: 'float', torch.float64: 'double', torch.bfloat16: 'bf16', torch.float16: '_Float16',
         torch.bool: '_Bool', torch.uint8: 'uint8_t', torch.int8: 'int8_t', torch.int16: 'int16_t',
         torch.int32: 'int32_t', torch.int64: 'int64_t'}

# An operation of torch's in C: {0} {1} {2} are its arguments, cast to the type of its result; {f} is the f of `sqrtf`.
SAME = 'clone detach _to_copy view expand'
FILLS = {'scalar_tensor': '{0}', 'lift_fresh': '{0}', 'full_like': '{1}', 'full': '{1}', 'new_full': '{2}',
         'zeros_like': '0', 'zeros': '0', 'new_zeros': '0', 'ones_like': '1', 'ones': '1', 'new_ones': '1'}
OPS = {
    **FILLS, **dict.fromkeys(SAME.split(), '{0}'),
    'add': '{0} + {2} * {1}', 'sub': '{0} - {2} * {1}', 'rsub': '{1} - {2} * {0}', 'mul': '{0} * {1}',
    'div': '{0} / {1}', 'neg': '-{0}', 'reciprocal': '1 / {0}', 'abs': 'fabs{f}({0})',
    'addcmul': 'fma{f}({3} * {1}, {2}, {0})', 'addcdiv': '{0} + {3} * {1} / {2}',  # both rounded as in torch
    'lerp': 'fma{f}(fabs{f}({2}) < 0.5{f} ? {2} : {2} - 1, {1} - {0}, fabs{f}({2}) < 0.5{f} ? {0} : {1})',
    'sqrt': 'sqrt{f}({0})', 'rsqrt': '1 / sqrt{f}({0})', 'pow': 'pow{f}({0}, {1})',
    **{name: f'{name}{{f}}({{0}})' for name in ('exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh '
                                                'cosh tanh asinh acosh atanh erf erfc floor ceil trunc').split()},
    **{name: f'{name}{{f}}({{0}}, {{1}})' for name in 'atan2 hypot fmax fmin copysign fmod'.split()},
    'round': 'rint{f}({0})', 'frac': '{0} - trunc{f}({0})', 'sigmoid': '1 / (1 + exp{f}(-{0}))',
    'relu': '{0} < 0 ? 0 : {0}', 'sign': '({0} > 0) - ({0} < 0)', 'sgn': '({0} > 0) - ({0} < 0)',
    'maximum': '{0} > {1} || {0} != {0} ? {0} : {1}', 'minimum': '{0} < {1} || {0} != {0} ? {0} : {1}',
    'clamp_min': '{0} < {1} || {1} != {1} ? {1} : {0}', 'clamp_max': '{0} > {1} || {1} != {1} ? {1} : {0}',
    'where': '{0} ? {1} : {2}', 'masked_fill': '{1} ? {2} : {0}',
    'eq': '{0} == {1}', 'ne': '{0} != {1}', 'lt': '{0} < {1}', 'le': '{0} <= {1}', 'gt': '{0} > {1}',
    'ge': '{0} >= {1}',
    'logical_not': '!{0}', 'logical_and': '{0} && {1}', 'logical_or': '{0} || {1}', 'logical_xor': '!{0} != !{1}',
    'bitwise_not': '!{0}', 'bitwise_and': '{0} & {1}', 'bitwise_or': '{0} | {1}', 'bitwise_xor': '{0} ^ {1}',
    'isnan': '{0} != {0}', 'isinf': 'fabs{f}({0}) == INFINITY', 'signbit': 'signbit({0})'}
POWERS = {1: '{0}', 2: '{0} * {0}', 3: '{0} * {0} * {0}', .5: 'sqrt{f}({0})', -.5: '1 / sqrt{f}({0})', -1: '1 / {0}'}
AT_LEAST = '({0} < {1} || {1} != {1} ? {1} : {0})'
CLAMPS = {(True, False): AT_LEAST, (False, True): '{0} > {2} || {2} != {2} ? {2} : {0}',  # by: has it a `min`, a `max`?
          (True, True): f'{AT_LEAST} > {{2}} || {{2}} != {{2}} ? {{2}} : {AT_LEAST}'}
ON_BOOLS = {*SAME.split(), *FILLS, 'bitwise_not', 'bitwise_and', 'bitwise_or', 'bitwise_xor', 'mul', 'where'}
ON_INTS = {*SAME.split(), *FILLS, 'add', 'sub', 'rsub', 'mul', 'neg', 'where', 'maximum', 'minimum'}
# The result is a truth value, and the arguments meet in a type of their own
TRUTH = {'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'isnan', 'isinf', 'signbit', 'logical_not', 'logical_and', 'logical_or',
         'logical_xor'}
BINARY = {'pow', 'atan2', 'hypot'}
VECTOR = {*BINARY, *('exp log sin cos tan tanh erf exp2 log2 log10 log1p expm1 asin acos atan sinh cosh asinh acosh '
                     'atanh erfc').split()}  # glibc has them for whole vectors

PREAMBLE = '''#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

typedef uint16_t bf16;
static inline float from_bf16(bf16 x) { uint32_t u = (uint32_t)x << 16; float f; memcpy(&f, &u, 4); return f; }
static inline bf16 to_bf16(float f)
{
    uint32_t u; memcpy(&u, &f, 4);
    return f != f ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16;  /* to the nearest, ties to even */
}
'''

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
    "The kernel in C. Raises Untranslatable for an operation that is not in the table."
    for c in columns:
        if c.dtype not in TYPES: raise Untranslatable(f'there is no C for {str(c.dtype).removeprefix("torch.")}')
    used = {op.func._schema.name.removeprefix('aten::') for op in tape.ops}
    lines = [PREAMBLE, *_vector_math(used), f'#define COLUMNS {len(columns)}\n',
             'static inline void loop(char *const *t, int64_t a, int64_t b, const double *x)\n{']
    for i, (dtype, _, end) in enumerate(columns):
        lines.append(f'    {"" if end else "const "}{TYPES[dtype]} *c{i} = ({TYPES[dtype]} *)t[{i}];')
    lines += [f'    const double v{ref.place} = x[{i}];  // {k}' for i, (k, ref) in enumerate(tape.numbers.items())]
    lines += [f'    {_line(op)}' for op in tape.ops if op.out.is_number]
    lines += ['    #pragma omp simd', '    for (int64_t i = a; i < b; i++) {']
    for i, (dtype, begin, _) in enumerate(columns):
        if begin: lines.append(f'        const {TYPES[begin.dtype]} v{begin.place} = {_read(dtype, f"c{i}[i]")};')
    lines += [f'        {_line(op)}' for op in tape.ops if not op.out.is_number]
    for i, (dtype, _, end) in enumerate(columns):
        if end: lines.append(f'        c{i}[i] = {_write(dtype, f"v{end.place}")};')
    return '\n'.join([*lines, '    }', '}', RUN])


def _read(dtype: torch.dtype, x: str) -> str: return f'from_bf16({x})' if dtype == torch.bfloat16 else x


def _write(dtype: torch.dtype, x: str) -> str:
    return f'to_bf16((float){x})' if dtype == torch.bfloat16 else f'({TYPES[dtype]}){x}'


def _line(op: Op) -> str:
    "One operation as a line of C."
    name, out, args = op.func._schema.name.removeprefix('aten::'), op.out.dtype, op.args
    template, among = OPS.get(name), out
    if name == 'pow' and isinstance(args[1], (int, float)): template = POWERS.get(args[1], template)
    if name == 'clamp': template = CLAMPS[args[1] is not None, args[2] is not None]
    if name in TRUTH:
        floats = {x.dtype for x in args if isinstance(x, Ref) and x.dtype.is_floating_point and not x.is_number}
        among = torch.float32 if floats == {torch.float32} else torch.float64
    if (template is None or op.func._overloadname in ('Tensor_mode', 'Scalar_mode', 'decimals') or
            not (out in (torch.float32, torch.float64) or out == torch.bool and (name in TRUTH or name in ON_BOOLS)
                 or out in TYPES and name in ON_INTS)):
        raise Untranslatable(f'there is no C for `{op.func}` of {str(out).removeprefix("torch.")}')
    values = [_value(x, among) for x in args]
    return f'const {TYPES[out]} v{op.out.place} = {template.format(*values, f="" if among == torch.float64 else "f")};'


def _value(x: Any, dtype: torch.dtype) -> str:
    "An argument in C, as a number of `dtype`. A truth value stays one."
    if isinstance(x, Ref): return f'v{x.place}' if x.dtype in (dtype, torch.bool) else f'({TYPES[dtype]})v{x.place}'
    if not isinstance(x, (int, float)): return ''  # a shape, a device ...
    number = {'inf': 'INFINITY', '-inf': '-INFINITY', 'nan': 'NAN'}.get(str(x), str(+x))
    return f'({TYPES[dtype]})({number})'


def _vector_math(used: set[str]) -> list[str]:
    "Declarations of functions that glibc has for whole vectors."
    lines = []
    for name in sorted(used & VECTOR | {'exp'} & {'exp' if n == 'sigmoid' else '' for n in used}):
        for f, T in (('f', 'float'), ('', 'double')):
            args = f'{T}, {T}' if name in BINARY else T
            lines.append(f'__attribute__((simd("notinbranch"))) {T} {name}{f}({args});')
    return ['#ifdef VECTOR_MATH', *lines, '#endif'] if lines else []
