"""State and weights in formats on several processes: see `many_processes`, which runs as this does.

Each job compares a run of all processes together with the same run in one of them.
"""
import warnings

import genopt
import many_processes as many
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from genopt import spread
from many_processes import by_columns, compare, nothing, refuses, sharded, step_of
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions, get_model_state_dict, get_optimizer_state_dict, set_model_state_dict,
    set_optimizer_state_dict)
from torch.distributed.fsdp import fully_shard

BF16 = torch.bfloat16
# Rows that processes have unevenly, or not at all, in blocks of 192 to 240 elements; and none
SHAPES = dict(tall=(37, 192), few=(1, 4800), deep=(5, 8, 120), vector=(700,))
FORMATS = dict(
    codes=dict(state='8bit'), bf16=dict(state='bf16'),
    some=dict(state=dict(sqr_avg='8bit', grad_avg='bf16')),
    codes_24=dict(state='8bit', master=24), whole=dict(master=32),
    kahan=dict(rounding='kahan', state='bf16'), random=dict(rounding='stochastic', state='8bit'))
HALVES = {'codes_24', 'whole', 'kahan', 'random'}
SHARDED, SHARED = (sharded, nothing), (torch.clone, lambda opt: opt.share())


def all_of(x): return spread.whole(x) if hasattr(x, 'placements') else x.clone()


class Run(many.Run):
    "With parameters that are large enough for codes."
    def __init__(self, recipe, shard=nothing, kept='codes', **hypers):
        self.shard, self.t = shard, 0
        dtype = BF16 if kept in HALVES else torch.float32
        self.params = {k: nn.Parameter(shard(many.random(i, s).to(dtype)))
                       for i, (k, s) in enumerate(SHAPES.items())
                       if len(s) > 1 or recipe is not genopt.Muon}
        self.opt = recipe(self.params.items(), lr=.01, **FORMATS[kept] | hypers)

    def steps(self, n=4):
        for _ in range(n):
            self.t += 1
            for i, p in enumerate(self.params.values()):
                p.grad = self.shard(many.random(100 * self.t + i, p.shape).to(p.dtype))
            self.opt.step()
        return self

    def values(self):
        "All tensors, whole."
        state = self.opt.state_dict()['state']
        found = {**{k: p.detach() for k, p in self.params.items()},
                 **{f'{k} of {i}': v for i, s in state.items() for k, v in s.items()}}
        return {k: all_of(v) for k, v in found.items()}


def elementwise(folder):
    "On shards, bit for bit; what is kept beside lies as its parameter does."
    for compile in (False, None):
        for kept in FORMATS:
            run = Run(genopt.AdamW, sharded, kept, compile=compile).steps()
            compare(run, Run(genopt.AdamW, kept=kept, compile=compile).steps(), exact=True)
            for p, s in run.opt.state.items():
                for k, v in s.items():
                    if k in ('count', 'param.drawn'): continue
                    assert v.placements == p.placements and v.shape[0] == p.shape[0], (kept, k)
    assert run.opt.state[run.params['tall']]['grad_avg.scale'].shape == (37, 1)


if __name__ == '__main__': many.main(*many.sys.argv[1:], jobs_of=globals())
