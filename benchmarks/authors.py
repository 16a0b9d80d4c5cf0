"""The time of a step beside the authors' own code, in one process.

    python benchmarks/authors.py [NAME ...]

The two of a pair have parameters and gradients of their own and take turns in a random order.
Printed are the median of the ratios of steps in the same round, ours over theirs, and the
quartiles: lower is better, and below 1 genopt is faster. A pair whose package is not installed is
left out.
"""
import contextlib
import io
import random
import sys
from collections.abc import Sequence
from importlib import import_module
from statistics import quantiles
from time import perf_counter
from typing import Any, NamedTuple

import genopt
import torch
from genopt.bench.models import shapes

ROUNDS, WARM = 60, 8
MODELS = '50x32x32', 'transformer'


class Pair(NamedTuple):
    "A recipe, and a class that does the same: both take `options`, and each its own beside."
    name: str
    ours: str              # A recipe, as `genopt.recipe` takes it
    theirs: str            # package.module:Class
    options: dict[str, Any] = {}
    our_options: dict[str, Any] = {}
    their_options: dict[str, Any] = {}
    models: Sequence[str] = MODELS


MATRICES = '50x32x32', '12x256x256'

PAIRS = [
    Pair('soap', 'SOAP', 'pytorch_optimizer:SOAP', models=MATRICES),
    Pair('shampoo', 'Shampoo', 'pytorch_optimizer:Shampoo', dict(lr=.1), models=MATRICES),
    Pair('shampoo-20', 'Shampoo', 'pytorch_optimizer:Shampoo', dict(lr=.1), dict(every=20),
         dict(preconditioning_compute_steps=20), models=MATRICES),
    Pair('psgd', 'PSGDKron', 'kron_torch:Kron', models=MATRICES),
    Pair('prodigy', 'Prodigy', 'prodigyopt:Prodigy', dict(weight_decay=.01)),
    Pair('dadaptadam', 'DAdaptAdam', 'dadaptation:DAdaptAdam'),
    Pair('dadaptsgd', 'DAdaptSGD', 'dadaptation:DAdaptSGD', dict(momentum=.9))]


def sides(pair, model):
    "An optimizer of each, on parameters with gradients that stay."
    module, name = pair.theirs.split(':')
    makers = genopt.recipe(pair.ours), getattr(import_module(module), name)
    for make, own in zip(makers, (pair.our_options, pair.their_options)):
        draw = torch.Generator().manual_seed(0)
        ps = [torch.nn.Parameter(torch.randn(s, generator=draw)) for s in shapes(model)]
        for p in ps: p.grad = torch.randn(p.shape, generator=draw)
        with contextlib.redirect_stdout(io.StringIO()): yield make(ps, **pair.options, **own)


def time_of(opt):
    begin = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()): opt.step()
    return perf_counter() - begin


def ratios(pair, model):
    "Of the two times in each round."
    both = [*sides(pair, model)]
    for i in range(ROUNDS + WARM):
        order = random.sample((0, 1), 2)
        times = {j: time_of(both[j]) for j in order}
        if i >= WARM: yield times[0] / times[1]


def main(*names):
    print(f'ours over theirs, {torch.get_num_threads()} threads, {ROUNDS} rounds: lower is better')
    for pair in PAIRS:
        if names and pair.name not in names: continue
        try: import_module(pair.theirs.split(':')[0])
        except ImportError:
            print(f'{pair.name:12} left out: {pair.theirs.split(":")[0]} is not installed')
            continue
        for model in pair.models:
            low, middle, high = quantiles(ratios(pair, model), n=4)
            print(f'{pair.name:12} {model:12} {middle:5.2f}  ({low:.2f} to {high:.2f})', flush=True)


if __name__ == '__main__': main(*sys.argv[1:])
