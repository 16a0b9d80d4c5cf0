"""What two processes do: `torchrun --nproc-per-node 2 two_processes.py FOLDER RECIPE JOB...`.

`replicas` trains a replica in each, and compares them bit for bit. `save` trains sharded (FSDP2),
saves a distributed checkpoint in the middle, and the end of the run; `resume`, in fresh processes,
loads it, goes on, and compares.
"""
import os
import sys
from pathlib import Path

import genopt
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions, get_model_state_dict, get_optimizer_state_dict, set_model_state_dict,
    set_optimizer_state_dict)
from torch.distributed.fsdp import fully_shard

LAYERS = 6, 8, 5


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(*LAYERS[:2]), nn.Tanh(), nn.Linear(*LAYERS[1:])).double()


def steps(model, opt, numbers):
    for i in numbers:
        torch.manual_seed(100 * i + dist.get_rank())  # each its own data
        opt.zero_grad()
        model(torch.randn(16, LAYERS[0], dtype=torch.float64)).square().mean().backward()
        opt.step()


def replicas(recipe, folder):
    net = model()
    ddp = nn.parallel.DistributedDataParallel(net)
    opt = recipe(ddp.parameters(), lr=.01, compile=True)
    genopt.Schedule(opt, 10, lr=genopt.one_cycle(.01))
    steps(ddp, opt, range(10))
    mine = torch.cat([t.flatten() for p in net.parameters() for t in (
        p.detach(), *(v for v in opt.state[p].values() if isinstance(v, torch.Tensor)))])
    both = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(both, mine)
    assert torch.equal(*both), 'the replicas differ'
    assert all((a != b).any()
               for a, b in zip(net.parameters(), model().parameters())), 'nothing has moved'


def sharded(recipe):
    net = model(); fully_shard(net)
    opt = recipe(net.named_parameters(), lr=.01, compile=False)
    genopt.Schedule(opt, 8, lr=genopt.linear(.01, .001))
    return net, opt


def as_dict(net, opt, flat):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    return dict(model=get_model_state_dict(net),
                opt=get_optimizer_state_dict(net, opt, options=options))


def save(recipe, folder):
    net, opt = sharded(recipe)
    steps(net, opt, range(4))
    for flat in (False, True):
        dcp.save(as_dict(net, opt, flat), checkpoint_id=folder / f'flat-{flat}')
    steps(net, opt, range(4, 8))
    dcp.save(dict(model=get_model_state_dict(net)), checkpoint_id=folder / 'end')


def resume(recipe, folder):
    end = dict(model=get_model_state_dict(sharded(recipe)[0]))
    dcp.load(end, checkpoint_id=folder / 'end')
    for flat in (False, True):
        net, opt = sharded(recipe)
        found = as_dict(net, opt, flat)
        dcp.load(found, checkpoint_id=folder / f'flat-{flat}')
        set_model_state_dict(net, found['model'])
        options = StateDictOptions(flatten_optimizer_state_dict=flat)
        set_optimizer_state_dict(net, opt, found['opt'], options=options)
        steps(net, opt, range(4, 8))
        for k, v in net.state_dict().items():
            assert torch.equal(v.full_tensor(),
                               end['model'][k].full_tensor()), f'{k} differs (flattened: {flat})'
        assert opt.param_groups[0]['scheduled lr'] == 8


def main(folder, name, *jobs):
    dist.init_process_group('gloo')
    for job in jobs: globals()[job](genopt.recipe(name), Path(folder))
    dist.barrier()
    sys.stdout.flush(); sys.stderr.flush()
    # gloo's threads sometimes abort a process that ends as usual: "terminate called without …"
    os._exit(0)


if __name__ == '__main__': main(*sys.argv[1:])
