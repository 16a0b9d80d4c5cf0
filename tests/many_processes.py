"""What several processes do: `torchrun --nproc-per-node N many_processes.py FOLDER JOB...`.

Each job is a function here. It compares a run of all processes together with the same run in one
process, which each makes for itself. `recipes` tries a sample, and `all_recipes` every one.
"""
import os
import sys
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
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

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


def whole(x): return x.full_tensor() if hasattr(x, 'full_tensor') else x.clone()


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
        if name in ('clip_by_global_norm', 'skip_nonfinite', 'sam'): yield genopt.Muon + parts


def recipes(folder): try_recipes(map(genopt.recipe, SAMPLE), sharded)
def all_recipes(folder): try_recipes([*RECIPES, *varied()], sharded)
def all_replicas(folder):
    try_recipes([*RECIPES, *varied()], lambda x: x.clone(), lambda run: run.opt.share())


def gates_and_bad_gradients(folder):
    "A step is skipped by all processes, or by none; the clip is by the norm of all."
    for base in (genopt.AdamW, genopt.Muon):
        recipe = base + genopt.skip_nonfinite + genopt.clip_by_global_norm
        runs = [Run(recipe, shard, max_norm=.5).steps(bad=(4, 5)) for shard in (sharded, nothing)]
        compare(*runs)
        assert {s['skipped'].item() for s in runs[0].opt.state.values()} == {2}


@genopt.total
def largest(grad): return grad.abs().max().clamp(max=2.)  # which is not a sum over shards


def totals_that_do_not_add_up(folder):
    @genopt.transform
    def scale_by_largest(grad, largest=largest): return grad / (1 + largest)
    recipe = genopt.AdamW + scale_by_largest
    compare(Run(recipe, sharded).steps(), Run(recipe).steps())


def numbers_of_the_whole(folder):
    "Sizes, totals of a group, and numbers that all parameters share, are not those of a shard."
    @genopt.total(over='group')
    def group_sqr_norm(grad): return grad.square().sum()
    @genopt.stat(init=0.)
    def norm_sum(norms, sqr=genopt.sqr_grad_norm): return norms + sqr**.5
    @genopt.transform
    def scale_by_sizes(grad, norms, rows, numel, mine=group_sqr_norm):
        return grad * rows / (numel + norms + mine)
    for base in (genopt.AdamW, genopt.Muon):
        recipe = base + (norm_sum, scale_by_sizes)
        compare(Run(recipe, sharded).steps(), Run(recipe).steps())


# -- who has what ----------------------------------------------------------------------------------

def nothing(x): return x


def state_has_one_owner(folder):
    "Work is spread evenly, and no process has more than its share of the state."
    recipe, n = genopt.Muon, dist.get_world_size()
    for shard, share in ((sharded, nothing), (torch.clone, lambda opt: opt.share())):
        ps = [nn.Parameter(shard(random(i, (8, 6)))) for i in range(4 * n)]
        opt = recipe(ps, lr=.01)
        share(opt)
        for p in ps: p.grad = torch.ones_like(p)
        opt.step()
        mine = [s['grad_avg'] for s in opt.state.values() if not s['grad_avg'].is_meta]
        assert len(mine) == 4 and all(x.shape == (8, 6) for x in mine)
        assert all(s['grad_avg'].shape == (8, 6) for s in opt.state.values())


def swapped(folder):
    for shard, share in ((sharded, nothing), (torch.clone, lambda opt: opt.share())):
        runs = [Run(genopt.Muon + genopt.average_param, s, ema=.5) for s in (shard, nothing)]
        share(runs[0].opt)
        for run in runs: run.steps(); run.opt.swap()
        compare(*runs)
        for run in runs: run.opt.swap(); run.steps()
        compare(*runs)


def pickled(folder):
    "State that has begun follows when replicas begin to share, and an optimizer can be copied."
    run, alone = Run(genopt.LAMB, torch.clone).steps(), Run(genopt.LAMB).steps()
    run.opt.share()
    compare(run.steps(), alone.steps())
    run = Run(genopt.LAMB, sharded).steps()
    saved = run.opt.__getstate__()
    run.opt.__setstate__(saved)
    compare(run.steps(), alone)


def shards_of_columns_and_of_replicas(folder):
    "As `shard_placement_fn` makes them; and, on four processes, two meshes' worth."
    compare(Run(genopt.Adafactor, by_columns).steps(), Run(genopt.Adafactor).steps())
    if dist.get_world_size() % 2 or dist.get_world_size() < 4: return
    mesh = init_device_mesh('cpu', (2, dist.get_world_size() // 2), mesh_dim_names=('r', 's'))
    both = lambda x: distribute_tensor(x, mesh, [Replicate(), Shard(0)], src_data_rank=None)
    for recipe in (genopt.AdamW + genopt.clip_by_global_norm, genopt.Muon, genopt.LAMB):
        compare(Run(recipe, both).steps(), Run(recipe).steps())
    twice = lambda x: distribute_tensor(x, mesh, [Shard(0), Shard(1)], src_data_rank=None)
    adam = genopt.AdamW + genopt.clip_by_global_norm
    p = nn.Parameter(twice(random(0, (8, 6))))
    refuses(lambda: step_of(genopt.Muon([p])), 'needs all of it, which is gathered along one')
    step_of(adam([p]))


def by_columns(x): return sharded(x, dim=x.dim() - 1)


def step_of(opt):
    for g in opt.param_groups:
        for p in g['params']: p.grad = torch.ones_like(p)
    opt.step()


def refuses(call, why):
    try: call()
    except (ValueError, RuntimeError) as e: assert why in str(e), e
    else: raise AssertionError(f'no error: {why}')


def different_groups(folder):
    rank, n = dist.get_rank(), dist.get_world_size()
    def opt(lr=.1, shapes=((4, 3),) * 2, recipe=genopt.AdamW):
        return recipe([nn.Parameter(sharded(random(0, s))) for s in shapes], lr=lr)
    last = rank == n - 1
    refuses(lambda: step_of(opt(lr=.2 if last else .1)),
            f'group 0 has `lr` = 0.1 in process 0, and 0.2 in process {n - 1}: make the same')
    refuses(lambda: step_of(opt(shapes=((4, 3),) * (1 + last))), '`params` = 1 of the shapes')
    refuses(lambda: step_of(opt(recipe=genopt.Adam if last else genopt.AdamW)), '`parts` = ')
    muon = opt(recipe=genopt.Muon)
    step_of(muon)
    muon.param_groups[0]['wd'] = .3 if last else .1  # later, as these communicate in each step
    refuses(lambda: step_of(muon), '`wd` = 0.1 in process 0, and 0.3')
    replica = genopt.Muon([nn.Parameter(random(0, (4, 3)))], lr=.2 if last else .1)
    replica.share()
    refuses(lambda: step_of(replica), '`lr` = 0.1 in process 0')


def gradients_of_some(folder):
    "A process without a gradient has zeros, if others have one; where none has, nothing happens."
    for recipe in (genopt.Muon, genopt.AdamW + genopt.clip_by_global_norm):
        runs = [Run(recipe, shard).steps() for shard in (sharded, nothing)]
        for run in runs:
            for name, p in run.params.items():
                grad = run.shard(torch.cat([random(7, p.shape)[:1], 0 * random(8, p.shape)[1:]]))
                p.grad = None if name == 'wide' or run is runs[0] and dist.get_rank() else grad
            run.opt.step()
        compare(*runs)


def watched(folder):
    run = Run(genopt.AdamW, sharded)
    run.opt.watch(every=1)
    refuses(run.steps, '`watch` looks at whole tensors, and these lie on several processes')


# -- training and checkpoints ----------------------------------------------------------------------

def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5)).double()


def train(net, opt, numbers):
    "Each process has its own part of the data; in one, all of it."
    n = dist.get_world_size()
    for i in numbers:
        torch.manual_seed(i)
        x = torch.randn(4 * n, 6, dtype=torch.float64)
        is_alone = not isinstance(net, (FSDPModule, nn.parallel.DistributedDataParallel))
        opt.zero_grad()
        net(x if is_alone else x.chunk(n)[dist.get_rank()]).square().mean().backward()
        opt.step()


def by_kind(net, recipe):
    "The recipe for matrices, and AdamW for the rest."
    named = [*net.named_parameters()]
    return genopt.Optimizer([
        {'params': [(k, p) for k, p in named if p.dim() == 2], 'parts': recipe},
        {'params': [(k, p) for k, p in named if p.dim() != 2], 'parts': genopt.AdamW}], lr=.01)


def training(folder):
    "With fully_shard and with DDP, as in one process."
    for recipe in (genopt.Muon, genopt.LAMB, genopt.AdamW):
        alone = model()
        train(alone, by_kind(alone, recipe), range(6))
        net = model()
        for layer in (net[0], net[2], net): fully_shard(layer)
        train(net, by_kind(net, recipe), range(6))
        ddp = nn.parallel.DistributedDataParallel(model())
        opt = by_kind(ddp, recipe)
        opt.share()
        train(ddp, opt, range(6))
        for one, a, b in zip(alone.parameters(), net.parameters(), ddp.parameters()):
            torch.testing.assert_close(whole(a), one, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(b, one, rtol=1e-9, atol=1e-11)


KEPT = 'AdamW', 'Muon', 'Adafactor', 'LAMB'


def restored(name, folder=None):
    net = model(0 if folder is None else 1)
    if dist.get_world_size() > 1: fully_shard(net)
    recipe = genopt.recipe(name)
    opt = recipe(net.named_parameters(), lr=.01) if name != 'Muon' else by_kind(net, recipe)
    if folder is None: return net, opt
    for flat in (True, False):
        options = StateDictOptions(flatten_optimizer_state_dict=flat)
        found = dict(model=get_model_state_dict(net),
                     opt=get_optimizer_state_dict(net, opt, options=options))
        dcp.load(found, checkpoint_id=folder / f'{name}-{flat}')
        set_model_state_dict(net, found['model'])
        set_optimizer_state_dict(net, opt, found['opt'], options=options)
    return net, opt


def grads(net, i):
    "The same in any number of processes."
    for j, p in enumerate(net.parameters()):
        grad = random(100 * i + j, p.shape)
        p.grad = sharded(grad, p.device_mesh) if hasattr(p, 'device_mesh') else grad


def go(net, opt, numbers):
    for i in numbers: grads(net, i); opt.step()


def values(net, opt):
    state = opt.state_dict()['state']
    return [*(whole(p.detach()) for p in net.parameters()),
            *(whole(s[k]) for s in state.values() for k in sorted(s))]


def save(folder):
    "For `load`, in another number of processes."
    for name in KEPT:
        net, opt = restored(name)
        go(net, opt, range(4))
        for flat in (True, False):
            options = StateDictOptions(flatten_optimizer_state_dict=flat)
            dcp.save(dict(model=get_model_state_dict(net),
                          opt=get_optimizer_state_dict(net, opt, options=options)),
                     checkpoint_id=folder / f'{name}-{flat}')
        now = values(net, opt)
        whole_state = get_optimizer_state_dict(net, opt, options=StateDictOptions(
            full_state_dict=True, cpu_offload=True))
        if not dist.get_rank(): torch.save(whole_state, folder / f'{name}-whole.pt')
        go(net, opt, range(4, 8))
        if (end := values(net, opt)) and not dist.get_rank():
            torch.save((now, end), folder / f'{name}.pt')


def load(folder):
    for name in KEPT:
        net, opt = restored(name, folder)
        now, end = torch.load(folder / f'{name}.pt')
        for a, b in zip(values(net, opt), now, strict=True): assert torch.equal(a, b), name
        go(net, opt, range(4, 8))
        for a, b in zip(values(net, opt), end, strict=True):
            if name == 'AdamW': assert torch.equal(a, b), name
            else: torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
        # A whole state_dict, which each process has, as a file of one process
        saved = torch.load(folder / f'{name}-whole.pt')
        opt.load_state_dict(saved)
        for a, b in zip(values(net, opt)[4:], now[4:], strict=True): assert torch.equal(a, b), name


def main(folder, *jobs, jobs_of=globals()):
    dist.init_process_group('gloo')
    torch.set_num_threads(1)
    for job in jobs:
        jobs_of[job](Path(folder))
        if not dist.get_rank(): print(job, 'done', flush=True)
    dist.barrier()
    sys.stdout.flush(); sys.stderr.flush()
    # gloo's threads sometimes abort a process that ends as usual: "terminate called without …"
    os._exit(0)


if __name__ == '__main__': main(*sys.argv[1:])
