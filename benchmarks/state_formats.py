"""What formats of state and weights cost: bytes for a parameter, and the time of a step of AdamW.

    python benchmarks/state_formats.py [bytes] [ROUNDS] [MODEL ...]

Bytes are counted, not calculated: of the tensors in state, and what torch allocates at most in a
whole training step (forward, backward, step) of a deep network. For times, a contender and its
reference have parameters and gradients of their own and take turns in a random order in one
process. Printed is the median of the ratios of steps in the same round, with the quartiles: lower
is better. What is not installed is left out.
"""
import gc
import random
import sys
from importlib import import_module
from statistics import quantiles
from time import perf_counter

import genopt
import torch
from genopt.bench.models import shapes
from genopt.bench.timing import extra_memory, threads
from torch import nn

MODELS, ROUNDS, WARM = ('resnet50', 'gpt2'), 40, 4
LAYERS, WIDTH, BATCH = 24, 1024, 8
F32, BF16 = torch.float32, torch.bfloat16
OPTIONS = dict(lr=1e-4, weight_decay=.01)


def ours(**said): return lambda ps: genopt.AdamW(ps, **OPTIONS, **said)


def theirs(where, **said):
    module, name = where.split(':')
    return lambda ps: getattr(import_module(module), name)(ps, **OPTIONS, **said)


OURS = {  # with the dtype of weights
    'float32': (F32, ours()),
    'state=bf16': (F32, ours(state='bf16')),
    'state=8bit': (F32, ours(state='8bit')),
    'bf16 weights': (BF16, ours()),
    'bf16, master=24': (BF16, ours(master=24)),
    'bf16, kahan': (BF16, ours(rounding='kahan')),
    'bf16, stochastic': (BF16, ours(rounding='stochastic')),
    'bf16, state=8bit, master=24': (BF16, ours(state='8bit', master=24))}
THEIRS = {
    'torch fused': (F32, theirs('torch.optim:AdamW', fused=True)),
    'torch fused, bf16': (BF16, theirs('torch.optim:AdamW', fused=True)),
    'optimi, bf16, kahan': (BF16, theirs('optimi:AdamW', kahan_sum=True)),
    'torchao AdamW8bit': (F32, theirs('torchao.optim:AdamW8bit')),
    'bitsandbytes AdamW8bit': (F32, theirs('bitsandbytes.optim:AdamW8bit'))}
# Each over its reference: float32, and for kahan and stochastic plain bfloat16 too
PAIRS = [(k, 'float32') for k in [*OURS, *THEIRS] if k != 'float32']
PAIRS += [(k, 'bf16 weights') for k in ('bf16, master=24', 'bf16, kahan', 'bf16, stochastic',
                                       'torch fused, bf16', 'optimi, bf16, kahan')]


# -- bytes -----------------------------------------------------------------------------------------

def tensors_in(x):
    "All tensors of a state, as they are in memory."
    if isinstance(x, torch.Tensor):
        inner = getattr(x, '__tensor_flatten__', None)  # torchao's are several in one
        return [t for k in inner()[0] for t in tensors_in(getattr(x, k))] if inner else [x]
    if isinstance(x, dict): return [t for v in x.values() for t in tensors_in(v)]
    return []


def bytes_of(dtype, make, released=False):
    "Of a parameter: state; and weight, state and all else at the peak of a training step."
    layers = [m for _ in range(LAYERS) for m in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    net, x = nn.Sequential(*layers).to(dtype), torch.ones(BATCH, WIDTH, dtype=dtype)
    opt = make(net.parameters())
    if released: opt.release()

    def train():
        net(x).square().mean().backward()
        opt.step()
        opt.zero_grad()

    for _ in range(2): train()
    gc.collect()
    n = sum(p.numel() for p in net.parameters())
    state = sum(t.nbytes for t in tensors_in(dict(opt.state)))
    weights = sum(p.nbytes for p in net.parameters())
    return state / n, (weights + state + extra_memory(train, torch.device('cpu'))) / n


def print_bytes():
    print('| AdamW | state, bytes for a parameter | a whole training step |\n|---|---|---|')
    for label, (dtype, make) in {**OURS, **THEIRS}.items():
        for released in (False, True) if label in OURS else (False,):
            try: state, whole = bytes_of(dtype, make, released)
            except Exception as e:
                print(f'| {label} | left out: {str(e).splitlines()[0]} | |')
                break
            print(f'| {label}{", release()" * released} | {state:.2f} | {whole:.2f} |', flush=True)


# -- times -----------------------------------------------------------------------------------------

def started(label, model):
    "An optimizer on parameters with gradients that stay."
    dtype, make = {**OURS, **THEIRS}[label]
    draw = torch.Generator().manual_seed(0)
    ps = [nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for s in shapes(model)]
    for p in ps: p.grad = (torch.randn(p.shape, generator=draw) / 100).to(dtype)
    opt = make(ps)
    for _ in range(WARM): opt.step()
    return opt


def time_of(opt):
    begin = perf_counter()
    opt.step()
    return perf_counter() - begin


def ratios(label, reference, model, rounds):
    "Of the two times in each round."
    both = started(label, model), started(reference, model)
    for _ in range(rounds):
        times = {i: time_of(both[i]) for i in random.sample((0, 1), 2)}
        yield times[0] / times[1]


def print_times(models, rounds):
    head = ' | '.join(f'{m}, {n} thread{"s" * (n > 1)}' for m in models for n in (1, 2))
    print(f'\n| AdamW, {rounds} rounds | over | {head} |\n|---|---|{"---|" * 2 * len(models)}')
    for label, reference in PAIRS:
        cells = []
        for model in models:
            for n in 1, 2:
                gc.collect()
                try:
                    with threads(n): found = [*ratios(label, reference, model, rounds)]
                except Exception as e:
                    cells.append(f'left out: {str(e).splitlines()[0]}')
                    continue
                low, middle, high = quantiles(found, n=4)
                cells.append(f'{middle:.2f} ({low:.2f} to {high:.2f})')
        print(f'| {label} | {reference} | {" | ".join(cells)} |', flush=True)


def main(*words):
    models = [w for w in words if w != 'bytes' and not w.isdigit()] or MODELS
    rounds = next((int(w) for w in words if w.isdigit()), ROUNDS)
    print_bytes()
    if 'bytes' not in words: print_times(models, rounds)


if __name__ == '__main__': main(*sys.argv[1:])
