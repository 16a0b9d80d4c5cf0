/* What CUDA C++ means, for a C compiler on a CPU: blocks run one after another, and their threads
   in turns, each of them up to the next barrier. */
#define _GNU_SOURCE
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#define EMULATED
#define THREADS 32
#define KERNEL static void
#define __shared__ static
typedef _Float16 f16;
static inline float from_f16(f16 x) { return x; }
static inline f16 to_f16(float x) { return (f16)x; }
#define BITS(S, T, x) (((union { S from; T to; }){ .from = (x) }).to)

static struct { unsigned x; } threadIdx, blockIdx, gridDim;
int descending;  /* do threads take turns from the last to the first */
static ucontext_t scheduler, fibres[THREADS];
static char stacks[THREADS][1 << 16], over[THREADS];
static void (*kernel)(void);

static void __syncthreads(void) { swapcontext(&fibres[threadIdx.x], &scheduler); }
static void fibre(void) { kernel(); over[threadIdx.x] = 1; }

/* Returns -1 if some threads have come to a barrier that others never come to. */
static int emulate(int64_t grid, void (*body)(void))
{
    kernel = body, gridDim.x = grid;
    for (int64_t i = 0; i < grid; i++) {
        blockIdx.x = i;
        for (int t = 0; t < THREADS; t++) {
            over[t] = 0;
            getcontext(&fibres[t]);
            fibres[t].uc_stack.ss_sp = stacks[t], fibres[t].uc_stack.ss_size = sizeof stacks[t];
            fibres[t].uc_link = &scheduler;
            makecontext(&fibres[t], fibre, 0);
        }
        for (int left = THREADS; left;) {
            left = 0;
            for (int turn = 0; turn < THREADS; turn++) {
                const int t = descending ? THREADS - 1 - turn : turn;
                if (over[t]) continue;
                threadIdx.x = t;
                swapcontext(&scheduler, &fibres[t]);
                left += !over[t];
            }
            if (left && left != THREADS) return -1;
        }
    }
    return 0;
}
