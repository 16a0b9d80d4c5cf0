"""The state that each process keeps, and what it receives in a step, sharded and on replicas.

    torchrun --nproc-per-node 2 benchmarks/sharded.py        # and with 4
    torchrun --nproc-per-node 2 benchmarks/sharded.py 'LAMB, FSDP2'

It trains a small transformer with `fully_shard` or DDP on gloo, and prints a table in Markdown: the
largest numbers of all ranks. *Kept* is state, and the memory for whole parameters that an owner
steps. *Received* counts every collective of `opt.step()`, once as if sent straight from rank to
rank; a backward pass with its gradients is not part of it. Smaller is better.
"""
from __future__ import annotations

import os
import statistics
import sys
import time
import warnings

import genopt
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WIDTH, LAYERS, ROUNDS = 256, 4, 7


class Traffic(TorchDispatchMode):
    "Counts collectives, and the bytes that this rank receives in them."
    def __init__(self) -> None:
        super().__init__()
        self.collectives, self.received = 0, 0.

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(issubclass(t, DTensor) for t in types): return NotImplemented  # it sends for itself
        name, n = func._schema.name, dist.get_world_size()
        library, _, op = name.partition('::')
        if 'c10d' in library and not op.startswith(('wait', 'barrier', '_wrap')):  # it sends
            self.collectives += 1
            self.received += self.bytes_of(op, args, n)
        return func(*args, **(kwargs or {}))

    def bytes_of(self, op, args, n):
        size = sum(t.nbytes for t in tree_leaves(args[0]) if isinstance(t, torch.Tensor))
        if op.startswith('alltoall'): return size - args[3][dist.get_rank()]  # what stays here
        if op.startswith('broadcast'): return 0 if args[2] == dist.get_rank() else size
        if op.startswith(('allgather', '_allgather')): return size * (n - 1) / n  # the result
        if op.startswith('all_gather'): return size * (n - 1)                     # what is sent
        if op.startswith('reduce_scatter'): return size * (n - 1) / n
        if op.startswith(('allreduce', 'all_reduce')): return 2 * size * (n - 1) / n
        raise NotImplementedError(op)


def model():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)
    return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)


def sharded():
    net = model()
    for layer in net.layers: fully_shard(layer)
    return fully_shard(net)


def replica(): return DistributedDataParallel(model())


def by_kind(rule):
    "The rule for matrices, and AdamW for the rest."
    def make(net):
        ps = [*net.parameters()]
        return genopt.Optimizer([
            {'params': [p for p in ps if p.dim() == 2], 'parts': rule},
            {'params': [p for p in ps if p.dim() != 2], 'parts': genopt.AdamW}], lr=1e-3)
    return make


def shared(make):
    def shared(net):
        opt = make(net)
        opt.share()
        return opt
    return shared


def all_params(cls): return lambda net: cls(net.parameters(), lr=1e-3)


def matrices(cls): return lambda net: cls([p for p in net.parameters() if p.dim() == 2], lr=1e-3)


CASES = {
    'torch AdamW, FSDP2': (sharded, all_params(torch.optim.AdamW)),
    'AdamW, FSDP2': (sharded, all_params(genopt.AdamW)),
    'AdamW + clip_by_global_norm, FSDP2':
        (sharded, all_params(genopt.AdamW + genopt.clip_by_global_norm)),
    'LAMB, FSDP2': (sharded, all_params(genopt.LAMB)),
    'torch Muon (matrices alone), FSDP2': (sharded, matrices(torch.optim.Muon)),
    'Muon (matrices alone), FSDP2': (sharded, matrices(genopt.Muon)),
    'Muon and AdamW, FSDP2': (sharded, by_kind(genopt.Muon)),
    'Muon and AdamW, DDP': (replica, by_kind(genopt.Muon)),
    'Muon and AdamW, DDP, shared': (replica, shared(by_kind(genopt.Muon)))}


def nbytes(x): return 0 if x.is_meta else getattr(x, '_local_tensor', x).nbytes


def kept(opt):
    state = sum(nbytes(v) for s in opt.state.values() for v in s.values()
                if isinstance(v, torch.Tensor))
    copies = opt.sharding.copies.values() if hasattr(opt, 'sharding') else ()
    return state + sum(map(nbytes, copies))


def largest(x):
    x = torch.tensor(float(x))
    dist.all_reduce(x, dist.ReduceOp.MAX)
    return x.item()


def measure(wrap, make):
    net = wrap()
    opt = make(net)
    times = []
    for i in range(ROUNDS):
        opt.zero_grad()
        net(torch.randn(2, 8, WIDTH)).square().mean().backward()
        dist.barrier()
        start = time.perf_counter()
        if i == ROUNDS - 1:
            with Traffic() as traffic: opt.step()
        else:
            opt.step()
            times.append(time.perf_counter() - start)
    return (largest(kept(opt)) / 2**20, largest(traffic.received) / 2**20, traffic.collectives,
            1e3 * largest(statistics.median(times[1:])))


def main():
    warnings.filterwarnings('ignore')
    dist.init_process_group('gloo')
    torch.set_num_threads(1)
    is_first = not dist.get_rank()
    count = sum(p.numel() for p in model().parameters())
    if is_first:
        print(f'{dist.get_world_size()} processes; {count:,} parameters in float32, '
              f'{4 * count / 2**20:.1f} MiB\n\n'
              '| | kept, MiB | received in a step, MiB | collectives | step, ms |\n'
              '|---|---|---|---|---|')
    chosen = [name for name in CASES if not sys.argv[1:] or name in sys.argv[1:]]
    for name in chosen:
        found = measure(*CASES[name])
        row = '| {} | {:.1f} | {:.1f} | {} | {:.0f} |'
        if is_first: print(row.format(name, *found), flush=True)
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads sometimes abort a process that ends as usual


if __name__ == '__main__': main()
