"""Promise: state and weights in formats are right wherever else they are touched than in a step."""
import genopt
import torch
from helpers import random
from torch import nn

F32, BF16 = torch.float32, torch.bfloat16


def weights(n=2, shape=(8, 600), dtype=BF16):
    return [nn.Parameter(random(i, shape, dtype)) for i in range(n)]


def steps(opt, n=3, start=0):
    for t in range(start, start + n):
        for i, p in enumerate(p for g in opt.param_groups for p in g['params']):
            p.grad = random(100 * t + i, p.shape, p.dtype)
        opt.step()
    return opt


def test_each_group_has_its_own_random_bits():
    "In one kernel, too: with equal seeds, weights and gradients the places alone differ."
    found = []
    for compile in (False, True):
        ps = weights()
        steps(genopt.AdamW([dict(params=[p], rounding='stochastic', rounding_seed=i)
                            for i, p in enumerate(ps)], lr=1e-3, compile=compile))
        found.append(ps)
    for a, b in zip(*found): assert torch.equal(a, b)
