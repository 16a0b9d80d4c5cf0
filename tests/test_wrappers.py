"""Promise: a genopt optimizer can be copied, wrapped and subclassed, and goes by its recipe's name.
"""
import copy
from functools import partial

import genopt
import pytest
import torch
import torch.distributed as dist
from genopt import Optimizer
from helpers import copiers, engines, param, random, random_param, random_step
from stories import tell, torchs
from three_engines import each_rule_and_engine, make_rule
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR


# -- schedulers and wrappers -----------------------------------------------------------------------

@engines
def test_the_last_call_of_a_linear_cycle(compile):
    "It may write a rate a little below 0."
    def story(make):
        p = random_param(); opt = make([p], lr=.1, momentum=.9)
        sched = OneCycleLR(opt, .1, total_steps=5, anneal_strategy='linear')
        for i in range(5): random_step(opt, i); sched.step()
        opt.load_state_dict(copy.deepcopy(opt.state_dict())); random_step(opt, 6)
        return p,
    tell(story, torchs(torch.optim.SGD), partial(genopt.SGD, compile=compile))


@pytest.fixture
def alone(tmp_path):
    "A process group of one process."
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings('ignore')  # torch's own
def test_a_wrapper_that_shards_state(alone):
    "What a scheduler, or anybody, writes into the wrapper's groups holds in the optimizer within."
    from torch.distributed.optim import ZeroRedundancyOptimizer  # which warns
    def story(make):
        p, q = random_param(shape=(4, 3)), random_param(1)
        opt = ZeroRedundancyOptimizer([p, q], optimizer_class=make,
                                      lr=.1, betas=(.8, .95), weight_decay=.1)
        assert opt.param_groups[0]['betas'] == (.8, .95)
        sched = OneCycleLR(opt, .2, total_steps=12)
        for i in range(4):
            random_step(opt, i); sched.step()
            inner = opt.optim.param_groups[0]
            assert opt.param_groups[0]['lr'] == sched.get_last_lr()[0]
        opt.param_groups[0]['weight_decay'] = .5; random_step(opt, 5)
        assert inner['weight_decay'] == .5 and inner['lr'] == opt.param_groups[0]['lr']
        assert inner['betas'] == opt.param_groups[0]['betas'] != (.8, .95)
        opt.consolidate_state_dict(); opt.load_state_dict(opt.state_dict()); random_step(opt, 6)
        return p, q
    tell(story, torch.optim.Adam, genopt.Adam, partial(genopt.Adam, compile=True))
    p = random_param()
    opt = ZeroRedundancyOptimizer([p], optimizer_class=genopt.Adam,
                                  compile=True, lr=.1, betas=(.8, .95))
    random_step(opt); assert opt.optim.compile
    def momentum(make):
        p = random_param()
        opt = ZeroRedundancyOptimizer([p], optimizer_class=make, lr=.1, momentum=.9)
        sched = OneCycleLR(opt, .2, total_steps=12)
        for i in range(4):
            random_step(opt, i); sched.step()
        return p,
    tell(momentum, torch.optim.SGD, genopt.SGD, partial(genopt.SGD, compile=True))


@each_rule_and_engine
def test_a_parameter_that_becomes_sharded(rule, engine, alone):
    "Among others that do not. The numbers are those of a run where none does."
    mesh = init_device_mesh('cpu', (1,))
    def sharded(x): return distribute_tensor(x.detach().clone(), mesh, [Shard(0)])
    def story(make, shard):
        ps = [random_param(i, (6, 4)) for i in range(3)]; opt = make(ps)
        random_step(opt); random_step(opt, 1)
        p = ps[1]; q = ps[1] = opt.param_groups[0]['params'][1] = nn.Parameter(shard(p))
        opt.state[q] = {k: shard(v) if v.dim() else v for k, v in opt.state.pop(p).items()}
        for i in 2, 3:
            for j, p in enumerate(ps):
                p.grad = random(10 * i + j, (6, 4), torch.float32)
                if p is q: p.grad = shard(p.grad)
            opt.step()
        return [getattr(p, 'full_tensor', p.clone)().detach() for p in ps]
    torch.testing.assert_close(story(make_rule(rule, engine), sharded),
                               story(make_rule(rule, 'torch'), torch.Tensor.detach))


# -- copies, classes, names ------------------------------------------------------------------------

@engines
@copiers
def test_a_copy_has_the_same_attributes_and_goes_on_alike(copier, compile):
    model = nn.Linear(3, 2); opt = genopt.AdamW(model.parameters(), lr=.1, compile=compile)
    random_step(opt)
    both = copier({'model': model, 'opt': opt}); other = both['opt']
    twin = torch.optim.AdamW([param()])
    assert {*vars(other)} == {*vars(opt)} - ({*vars(twin)} - {*vars(copy.deepcopy(twin))})
    assert type(other) is type(opt)
    assert other.compile is compile and other.defaults == opt.defaults
    for i in range(2): random_step(opt, i); random_step(other, i)
    torch.testing.assert_close([*both['model'].parameters()], [*model.parameters()], rtol=0, atol=0)
    other.add_param_group({'params': [param()]}); random_step(other)


def test_a_recipe_can_be_subclassed():
    class Mine(genopt.Adam):
        "Adam that counts."
        def __init__(self, params, lr=.5, **kwargs):
            super().__init__(params, lr, weight_decay=.1, **kwargs)
            self.steps = 0
        def step(self, closure=None):
            self.steps += 1
            return super().step(closure)
    def story(make):
        p = random_param(); opt = make([p]); random_step(opt); random_step(opt, 1); return p,
    tell(story, partial(torch.optim.Adam, lr=.5, weight_decay=.1),
         Mine, partial(Mine, compile=True))
    opt = Mine([param()], betas=(.5, .6)); random_step(opt)
    assert opt.steps == 1 and opt.param_groups[0]['betas'] == (.5, .6)
    assert type(opt).__name__ == 'Mine'
    assert isinstance(opt, genopt.Adam) and isinstance(opt, Optimizer)
    assert isinstance(opt, torch.optim.Optimizer)
    assert issubclass(Mine, genopt.Adam) and issubclass(Mine, torch.optim.Optimizer)
    assert not issubclass(Mine, genopt.SGD) and not isinstance(opt, genopt.SGD)
    sched = LambdaLR(opt, lambda i: 1 / (1 + i)); random_step(opt); sched.step()
    assert opt.param_groups[0]['lr'] == .25


def test_a_recipe_is_a_class_to_whoever_asks():
    opt = genopt.Adam([param()])
    assert isinstance(opt, genopt.Adam) and not isinstance(opt, genopt.AdamW)
    assert not isinstance(opt, genopt.SGD)
    assert not isinstance(torch.optim.Adam([param()]), genopt.Adam)
    assert not isinstance(3, genopt.Adam)
    assert issubclass(genopt.Adam, torch.optim.Optimizer) and issubclass(genopt.Adam, Optimizer)
    assert issubclass(type(opt), genopt.Adam) and not issubclass(torch.optim.Adam, genopt.Adam)


def test_the_profiler_calls_a_step_by_the_recipes_name():
    def names(opt):
        with torch.profiler.profile() as prof: random_step(opt)
        return {e.key for e in prof.key_averages() if e.key.startswith('Optimizer.step')}
    # before and after, as it patches classes
    assert names(torch.optim.Adam([param()])) == {'Optimizer.step#Adam.step'}
    assert names(genopt.Adam([param()])) == {'Optimizer.step#Adam.step'}
    assert names(genopt.SGD([param()], lr=.1, compile=True)) == {'Optimizer.step#SGD.step'}
    assert names(torch.optim.AdamW([param()])) == {'Optimizer.step#AdamW.step'}


def test_a_recipe_by_its_name():
    def story(make):
        p = random_param(); opt = make([p]); random_step(opt); return p,
    tell(story, torchs(torch.optim.AdamW), lambda ps: Optimizer(ps, 'adamw'),
         lambda ps: Optimizer(ps, genopt.AdamW))
