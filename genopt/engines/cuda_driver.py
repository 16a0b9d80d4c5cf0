"What is the same in all kernels for a GPU: types, how a block finds its piece, and how sums meet."
from __future__ import annotations

__all__ = ['ARGUMENTS', 'BEGIN', 'CLOSE', 'EACH', 'LANES', 'NUMBERS', 'PREAMBLE', 'THREADS',
           'TOTAL', 'TREE']

THREADS = 256        # of a block

PREAMBLE = '''#ifndef EMULATED
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef unsigned long long uint64_t; typedef bool _Bool; typedef uint16_t f16;
#define restrict __restrict__
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define THREADS %d
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
static inline float from_f16(f16 x)
{
    float f; asm("cvt.f32.f16 %%0, %%1;" : "=f"(f) : "h"(x));
    return f;
}
static inline f16 to_f16(float x)
{
    f16 h; asm("cvt.rn.f16.f32 %%0, %%1;" : "=h"(h) : "f"(x));
    return h;
}
template<typename S, typename T> static inline T bits_as(S x)
{
    T y; memcpy(&y, &x, sizeof(T));
    return y;
}
#define BITS(S, T, x) bits_as<S, T>(x)
#endif
''' % THREADS

ARGUMENTS = ('const int64_t *pieces, const int64_t *sizes, char *const *table, const double *rows, '
             'const int64_t *row, char *memory, const int64_t *at, int count')
BEGIN = '''    const int64_t *const piece = pieces + 4 * (int64_t)blockIdx.x, k = piece[0];
    if (row[k] < 0) return;
    const Tensor tensor = { table + k, count, sizes + k * SIZES, rows + row[k] * VALUES,
                            memory, at + k * MEMORY, 0 };
    const Tensor *const T = &tensor;
    const int64_t *const n = T->sizes, a = piece[1], b = piece[2], c = piece[3];
    const double *const x = T->numbers;  /* those that were given, and what follows from them */
    const uint32_t t = threadIdx.x; (void)n; (void)x; (void)a; (void)b; (void)c; (void)t;'''
LANES = '''    uint32_t {small} = 1;
    while ({small} < THREADS && {small} < {of}) {small} *= 2;
    const uint32_t {large} = THREADS / {small};'''
TREE = '''fold[t] = s{i}; __syncthreads();
for (uint32_t k = lanes / 2; k; k /= 2) {{
    if (lane < k) {{ const double a = fold[t], b = fold[t + k * step]; fold[t] = {combine}; }}
    __syncthreads();
}}
s{i} = fold[t]; __syncthreads();'''

# For small work: each thread has every so many rows
EACH = '''KERNEL {name}(%s)
{{
    const int64_t all = (int64_t)gridDim.x * THREADS, mine = (int64_t)blockIdx.x * THREADS;
    for (int64_t k = mine + threadIdx.x; k < count; k += all) {{''' % ARGUMENTS
NUMBERS = EACH.format(name='numbers') + '''
    const double *const x = rows + k * NUMBERS;
    double *const y = (double *)memory + k * VALUES; (void)x;'''

# Late numbers: see `late`
TOTAL = '''KERNEL total(%s)
{
    __shared__ double fold[THREADS];
    const uint32_t t = threadIdx.x, lane = t, lanes = THREADS, step = 1;
    const int64_t end = sizes[blockIdx.x + 1];
    double s = 0, *const found = (double *)memory + blockIdx.x;
    for (int64_t k = sizes[blockIdx.x] + t; k < end; k += THREADS)
        if (row[k] >= 0) s += ((const double *)table)[k];
%s
    if (!t) *found = count ? *found + s : s;  /* `count`: others have a part of it */
}''' % (ARGUMENTS, TREE.format(i='', combine='a + b'))
CLOSE = EACH.format(name='close') + '''
    ((int64_t *)memory)[k] = row[k] < 0 || ((const int64_t *)at)[row[k]] ? row[k] : -1;
} }'''
