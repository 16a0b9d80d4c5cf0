"""The C that all kernels share: it hands tensors, and chunks of them, to threads.

A chunk is a number of rows. Only its tensor's sizes decide where it is cut, and the sums of chunks
meet in their order. So results do not depend on the number of threads, bit for bit.
"""
from __future__ import annotations

from .operations import TYPED, VECTOR

__all__ = ['DRIVER', 'HALF', 'PREAMBLE', 'TENSOR', 'vector_math']

HALF = '''
typedef _Float16 f16;
static inline float from_f16(f16 x) { return x; }
static inline f16 to_f16(float x) { return (f16)x; }
'''

TENSOR = '''typedef struct {
    char *const *table;     /* its address in each column, `count` places apart */
    int64_t count;
    const int64_t *sizes;   /* along each axis */
    const double *numbers;  /* its row */
    char *memory;           /* for sums and for what is kept between passes */
    const int64_t *at;      /* where each of these begins */
    int64_t chunks;
} Tensor;
'''

PREAMBLE = '''#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#define BITS(S, T, x) (((union { S from; T to; }){ .from = (x) }).to)
''' + TYPED + TENSOR

DRIVER = '''
enum { LARGE = 131072, LITTLE = 16384 };  /* elements: shared by all threads; left to one */

typedef struct {
    int64_t count;         /* tensors */
    const int64_t *sizes;  /* SIZES for each: along AXES, and elements of a block */
    char *const *table;    /* the addresses of each column's tensors */
    const double *rows;    /* NUMBERS in each */
    const int64_t *row;    /* of each tensor; -1 if it stays as it is */
} Call;

static int64_t elements_of(const int64_t *n)
{
    int64_t res = 1;
    for (int i = 0; i < AXES; i++) res *= n[i];
    return res;
}

static Tensor tensor_of(const Call *C, int64_t k, char *memory, int64_t *at, int64_t *rows)
{
    const int64_t *n = C->sizes + k * SIZES;
    Tensor T = { C->table + k, C->count, n, C->rows + C->row[k] * NUMBERS, memory, at, 0 };
    *rows = rows_of(n);
    T.chunks = (n[0] + *rows - 1) / *rows;
    layout(n, T.chunks, at);
    return T;
}

/* All passes over a tensor, by one thread or by all. */
static void finish(const Tensor *T, int64_t rows, int thread, int threads)
{
    const int64_t low = T->chunks * thread / threads, high = T->chunks * (thread + 1) / threads;
    for (int n = 0; n < PASSES; n++) {
        if (wide[n] == '1')
            for (int64_t c = low; c < high; c++) {
                const int64_t a = c * rows, b = a + rows < T->sizes[0] ? a + rows : T->sizes[0];
                pass(n, T, a, b, c);
            }
        else if (!thread) pass(n, T, 0, T->sizes[0], 0);
        if (threads == 1) { meet(n, T); continue; }
        #pragma omp barrier
        if (wide[n] == '1' && !thread) meet(n, T);
        #pragma omp barrier
    }
}

static int run_passes(const Call *C, int threads, int64_t total)
{
    int64_t at[MEMORY + 1], most = 0, large = 0, little = 0;
    for (int64_t k = 0; k < C->count; k++) {
        const int64_t *n = C->sizes + k * SIZES, rows = rows_of(n);
        const int64_t need = layout(n, (n[0] + rows - 1) / rows, at);
        if (elements_of(n) >= LARGE) large = large > need ? large : need;
        else most = most > need ? most : need, little += elements_of(n);
    }
    char *memory = malloc(large + threads * most + 64);
    if (!memory) return -1;
    #pragma omp parallel num_threads(threads) if (total > LITTLE)
    {
        int parts = 1, part = 0;
#ifdef _OPENMP
        parts = omp_get_num_threads(), part = omp_get_thread_num();
#endif
        int64_t at[MEMORY + 1], rows, start = 0;
        for (int64_t k = 0; k < C->count; k++) {  /* first those that all threads share */
            if (C->row[k] < 0 || elements_of(C->sizes + k * SIZES) < LARGE) continue;
            Tensor T = tensor_of(C, k, memory, at, &rows);
            finish(&T, rows, part, parts);
        }
        for (int64_t k = 0; k < C->count; k++) {
            const int64_t size = elements_of(C->sizes + k * SIZES);
            if (C->row[k] < 0 || size >= LARGE) continue;
            const int mine = start * parts / (little + 1) == part;
            start += size;
            if (!mine) continue;
            Tensor T = tensor_of(C, k, memory + large + part * most, at, &rows);
            finish(&T, rows, 0, 1);
        }
    }
    free(memory);
    return 0;
}

/* One pass, without sums: the threads share all chunks evenly. */
static void run_simple(const Call *C, int threads, int64_t total)
{
    #pragma omp parallel num_threads(threads) if (total > LITTLE)
    {
        int64_t parts = 1, part = 0, start = 0, at[1], rows;
#ifdef _OPENMP
        parts = omp_get_num_threads(), part = omp_get_thread_num();
#endif
        const int64_t low = total * part / parts, high = total * (part + 1) / parts;
        for (int64_t k = 0; k < C->count; k++) {
            const int64_t *n = C->sizes + k * SIZES, size = elements_of(n);
            if (C->row[k] >= 0 && size) {
                Tensor T = tensor_of(C, k, 0, at, &rows);
                const int64_t chunk = rows * (size / n[0]);
                int64_t a = low > start ? (low - start + chunk - 1) / chunk * rows : 0;
                int64_t b = high > start ? (high - start + chunk - 1) / chunk * rows : 0;
                if (b > n[0]) b = n[0];
                if (a < b) pass(0, &T, a, b, 0);
            }
            start += size;
        }
    }
}

/* Returns -1 if there is no memory for sums. */
int run(int64_t count, const int64_t *sizes, char *const *table, const double *rows,
        const int64_t *row, int threads)
{
    const Call C = { count, sizes, table, rows, row };
    int64_t total = 0;
    for (int64_t k = 0; k < count; k++) total += elements_of(sizes + k * SIZES);
    if (!SIMPLE) return run_passes(&C, threads, total);
    run_simple(&C, threads, total);
    return 0;
}
'''


def vector_math(used: set[str]) -> list[str]:
    "Declarations of functions that glibc has for whole vectors."
    if 'sigmoid' in used: used = used | {'exp'}
    lines = [f'__attribute__((simd("notinbranch"))) {T} {name}{f}({", ".join([T] * VECTOR[name])});'
             for name in sorted(used & {*VECTOR}) for f, T in (('f', 'float'), ('', 'double'))]
    return ['#ifdef VECTOR_MATH', *lines, '#endif'] if lines else []
