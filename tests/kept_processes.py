"""State and weights in formats on several processes: see `many_processes`, which runs as this does.

Each job compares a run of all processes together with the same run in one of them.
"""
import copy
import warnings

import genopt
import many_processes as many
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from genopt import converting, spread
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
                       if len(s) == 2 or not str(recipe).startswith('Muon')}
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


def owned(folder):
    "By the owner of each parameter, sharded or a replica: what is kept beside is there alone."
    for shard, share in SHARDED, SHARED:
        for recipe, kept in ((genopt.Muon, 'codes_24'), (genopt.Muon, 'random'),
                             (genopt.LAMB, 'some'), (genopt.Adafactor, 'kahan')):
            run = Run(recipe, shard, kept)
            share(run.opt)
            compare(run.steps(), Run(recipe, kept=kept).steps(), exact=True)
            for p, s in run.opt.state.items():
                spread = run.opt.sharding.spreads[p]
                for k in converting.tensors_in(run.opt.groups()[0], p):
                    assert s[k].is_meta is not spread.is_mine and not hasattr(s[k], 'placements')


def owned_when_shared(folder):
    "State that has begun goes along when replicas begin to share it; and weights to evaluate."
    recipe = genopt.Muon + genopt.average_param
    for shard, share in SHARDED, SHARED:
        run = Run(recipe, shard, 'codes_24', ema=.5).steps()
        alone = Run(recipe, kept='codes_24', ema=.5).steps()
        share(run.opt)
        compare(run.steps(), alone.steps(), exact=True)
        for one in (run, alone): one.opt.swap()
        compare(run, alone, exact=True)
        for one in (run, alone): one.opt.swap(); one.steps()
        compare(run, alone, exact=True)


def averaged(folder):
    for kept in FORMATS:
        recipe = genopt.AdamW + genopt.average_param
        runs = [Run(recipe, shard, kept, ema=.5).steps() for shard in (sharded, nothing)]
        for run in runs: run.opt.swap()
        compare(*runs, exact=True)
        for run in runs: run.opt.swap(); run.steps()
        compare(*runs, exact=True)


def refused(folder):
    "What blocks and random bits go along must be cut into rows; groups must be kept alike."
    for hypers in (dict(state='8bit'), dict(rounding='stochastic')):
        p = nn.Parameter(by_columns(many.random(0, (40, 192)).to(BF16)))
        opt = genopt.AdamW([p], **hypers)
        refuses(lambda opt=opt: step_of(opt), 'is for parameters that are cut into rows')
        assert not opt.state
    compare(*[Run(genopt.AdamW, shard, 'kahan').steps() for shard in (by_columns, nothing)])
    kept = ('codes', 'bf16')[dist.get_rank() % 2]
    refuses(lambda: Run(genopt.AdamW, sharded, kept).steps(),
            "group 0 has `state` = 8bit in process 0, and bf16 in process 1")
    assert 'grad_avg.scale' not in Run(genopt.AdamW, lambda x: sharded(x), 'codes').steps(1) \
        .opt.state_dict()['state'][3]


# -- checkpoints -----------------------------------------------------------------------------------

SAVED = ('AdamW', 'codes'), ('AdamW', 'codes_24'), ('AdamW', 'whole'), ('AdamW', 'random'), \
    ('Muon', 'codes_24')


def model(name, kept, seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(192, 37), nn.Tanh(), nn.Linear(37, 600, bias=False))
    if kept in HALVES: net.bfloat16()
    if dist.get_world_size() > 1: fully_shard(net)
    named = [(k, p) for k, p in net.named_parameters() if name == 'AdamW' or p.dim() == 2]
    return net, genopt.recipe(name)(named, lr=.01, **FORMATS[kept])


def go(net, opt, numbers):
    for i in numbers:
        for j, p in enumerate(p for g in opt.param_groups for p in g['params']):
            grad = many.random(100 * i + j, p.shape).to(p.dtype)
            p.grad = sharded(grad, p.device_mesh) if hasattr(p, 'device_mesh') else grad
        opt.step()


def values(net, opt):
    state = opt.state_dict()['state']
    return [all_of(x) for x in (*[p.detach() for p in net.parameters()],
                                *(s[k] for s in state.values() for k in sorted(s)))]


def place(folder, name, kept, flat): return folder / f'{name}-{kept}-{flat}'


def training(folder):
    """With fully_shard, each process on its part of the data: as one process, but for sums in
    another order, which may turn a code into its neighbour."""
    n, mine = dist.get_world_size(), dist.get_rank()
    for kept in ('codes', 'codes_24'):
        torch.manual_seed(0)
        alone = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64)).to(
            BF16 if kept in HALVES else torch.float32)
        net, start = copy.deepcopy(alone), copy.deepcopy(alone)
        for layer in (net[0], net[2], net): fully_shard(layer)
        for model, is_alone in ((alone, True), (net, False)):
            opt = genopt.AdamW(model.parameters(), lr=1e-3, **FORMATS[kept])
            for i in range(8):
                x = many.random(i, (8 * n, 64)).to(next(model.parameters()).dtype)
                opt.zero_grad()
                loss = (model(x if is_alone else x.chunk(n)[mine]) - 1).square().mean()
                loss.backward()
                opt.step()
        for p, q, s in zip(alone.parameters(), net.parameters(), start.parameters()):
            moved, apart = (p - s).float().norm(), (all_of(q.detach()) - p).float().norm()
            assert apart <= (.1 if kept in HALVES else .01) * moved, (kept, apart / moved)
        assert opt.state[net[0].weight]['sqr_avg'].dtype == torch.uint8


def save(folder):
    "For `load`, in another number of processes."
    for name, kept in SAVED:
        net, opt = model(name, kept)
        go(net, opt, range(3))
        for flat in (True, False):
            options = StateDictOptions(flatten_optimizer_state_dict=flat)
            dcp.save(dict(model=get_model_state_dict(net),
                          opt=get_optimizer_state_dict(net, opt, options=options)),
                     checkpoint_id=place(folder, name, kept, flat))
        now = values(net, opt)
        whole = {**opt.state_dict(), 'state': {
            i: {k: all_of(v) if isinstance(v, torch.Tensor) else v for k, v in s.items()}
            for i, s in opt.state_dict()['state'].items()}}
        go(net, opt, range(3, 5))
        if (end := values(net, opt)) and not dist.get_rank():
            torch.save((now, end, whole), folder / f'{name}-{kept}.pt')


def load(folder):
    with warnings.catch_warnings():  # none says that it came in another format
        warnings.filterwarnings('error', 'load_state_dict')
        _load(folder)


def _load(folder):
    for name, kept in SAVED:
        now, end, saved = torch.load(folder / f'{name}-{kept}.pt')
        for flat in (True, False):
            net, opt = model(name, kept, 1)
            options = StateDictOptions(flatten_optimizer_state_dict=flat)
            found = dict(model=get_model_state_dict(net),
                         opt=get_optimizer_state_dict(net, opt, options=options))
            dcp.load(found, checkpoint_id=place(folder, name, kept, flat))
            set_model_state_dict(net, found['model'])
            set_optimizer_state_dict(net, opt, found['opt'], options=options)
            equal(values(net, opt), now, (name, kept))
            go(net, opt, range(3, 5))
            equal(values(net, opt), end, (name, kept))
        opt.load_state_dict(saved)  # of one process
        count = len([*net.parameters()])
        equal(values(net, opt)[count:], now[count:], (name, kept))


def equal(ours, theirs, which):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b), which


if __name__ == '__main__': many.main(*many.sys.argv[1:], jobs_of=globals())
