"""What several processes do: `torchrun --nproc-per-node N many_processes.py FOLDER JOB...`.

Each job is a function here. It compares a run of all processes together with the same run in one
process, which each makes for itself. `recipes` tries a sample, and `all_recipes` every one.
"""
import os
import sys
from functools import partial
from pathlib import Path

import genopt
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from genopt.catalogue import modifiers
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions, get_model_state_dict, get_optimizer_state_dict, set_model_state_dict,
    set_optimizer_state_dict)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor

SHAPES = dict(tall=(9, 4), wide=(3, 8), square=(6, 6), low=(1, 5), late=(5, 3),
              vector=(7,), one=(1,), conv=(3, 2, 2, 2))
STEPS = 8
SAMPLE = 'AdamW', 'RMSprop', 'LAMB', 'Adafactor', 'NovoGrad', 'Muon'
# An exponential of several elements at once may differ in its last place from that of one alone
BY_EXP = 'DiffGrad',
RECIPES = [genopt.recipe(name) for name in genopt.zoo.__all__]


def random(seed, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shapes_for(recipe):
    "Parameters that it takes; some have fewer rows than there are processes."
    only_matrices = any(part.needs == 'matrix' for part in recipe.parts())
    return {k: s for k, s in SHAPES.items() if len(s) == 2 or not only_matrices}


def sharded(x, mesh=None, dim=0):
    mesh = mesh or init_device_mesh('cpu', (dist.get_world_size(),))
    return distribute_tensor(x, mesh, [Shard(dim)], src_data_rank=None)


def whole(x): return x.full_tensor() if hasattr(x, 'full_tensor') else x


class Run:
    "An optimizer in two groups, whose gradients are given. `shard` makes what a process has."
    def __init__(self, recipe, shard=lambda x: x, compile=None, **hypers):
        self.shard, self.t = shard, 0
        self.params = {k: nn.Parameter(shard(random(i, s)))
                       for i, (k, s) in enumerate(shapes_for(recipe).items())}
        names = [*self.params]
        groups = [{'params': [(n, self.params[n]) for n in names[::2]]},
                  {'params': [(n, self.params[n]) for n in names[1::2]], 'lr': .02}]
        self.opt = recipe(groups, lr=.01, compile=compile, **hypers)

    def steps(self, n=STEPS, bad=()):
        for _ in range(n):
            self.t += 1
            for i, (name, p) in enumerate(self.params.items()):
                grad = random(100 * self.t + i, p.shape)
                if self.t in bad and name == 'tall': grad[0, 0] = torch.nan
                p.grad = None if name == 'late' and self.t < 3 else self.shard(grad)
            self.opt.step()
        return self

    def values(self):
        state = self.opt.state_dict()['state']
        return {**{k: whole(p.detach()) for k, p in self.params.items()},
                **{f'{k} of {i}': whole(v) for i, s in state.items() for k, v in s.items()}}


def compare(ours, theirs, exact=False, tol=1e-11):
    a, b = ours.values(), theirs.values()
    assert a.keys() == b.keys(), {*a} ^ {*b}
    for k in a:
        close = torch.equal(a[k], b[k]) if exact else torch.allclose(a[k], b[k], tol, tol,
                                                                     equal_nan=True)
        assert close, f'{k} differs by {(a[k] - b[k]).abs().max():.3g}'


def is_elementwise(recipe):
    c = recipe.rule().composition
    return c.elementwise and not c.totals


# -- agreement with one process --------------------------------------------------------------------

def try_recipes(recipes, shard, prepare=lambda run: None):
    wrong = []
    for recipe in recipes:
        try:
            run, exact = Run(recipe, shard), is_elementwise(recipe)
            prepare(run)
            compare(run.steps(), Run(recipe).steps(), exact and recipe.__name__ not in BY_EXP)
            if exact: assert 'eager' not in str(run.opt), str(run.opt)
        except Exception as e: wrong.append(f'{recipe.__name__}: {type(e).__name__}: {e}')
    assert not wrong, '\n'.join(wrong)


def varied():
    for name, parts in modifiers().items():
        yield genopt.AdamW + parts
        if name in ('clip_by_global_norm', 'skip_nonfinite'): yield genopt.Muon + parts


def recipes(folder): try_recipes(map(genopt.recipe, SAMPLE), sharded)
def all_recipes(folder): try_recipes([*RECIPES, *varied()], sharded)
def all_replicas(folder):
    try_recipes([*RECIPES, *varied()], lambda x: x.clone(), lambda run: run.opt.share())


def main(folder, *jobs):
    dist.init_process_group('gloo')
    torch.set_num_threads(1)
    for job in jobs:
        globals()[job](Path(folder))
        if not dist.get_rank(): print(job, 'done', flush=True)
    dist.barrier()
    sys.stdout.flush(); sys.stderr.flush()
    # gloo's threads sometimes abort a process that ends as usual: "terminate called without …"
    os._exit(0)


if __name__ == '__main__': main(*sys.argv[1:])
