"Demands: groups, schedulers, hooks, and a gradient scaler."
from __future__ import annotations

import copy

import torch

from .demands import Subject, both, demand, differ, must, state_tensors, values

__all__: list[str] = []


@demand('schedulers change the learning rate of groups')
def schedulers(s: Subject) -> None:
    stage, plain = s.stage(), s.stage()
    opt = stage.make()
    plain.make()
    must('lr' in opt.param_groups[0], 'groups have no `lr`, which schedulers change')
    rate = float(opt.param_groups[0]['lr'])
    scheduler = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: .5**i)
    for i in range(2):
        both(stage, plain, 1, i)
        scheduler.step()
    both(stage, plain, 1, 2)
    must(float(opt.param_groups[0]['lr']) == rate / 4, 'a step overwrites the scheduled `lr`')
    must(differ(values(stage), values(plain)) or not rate, '`lr` in a group does nothing')


@demand('add_param_group() gives a group the defaults, and steps it')
def added(s: Subject) -> None:
    stage = s.stage()
    first, *rest = stage.params.values()
    stage.make([first])
    stage.step(0)
    if not rest: return
    stage.opt.add_param_group({'params': rest})
    before = values(stage)
    must({*stage.opt.param_groups[1]} >= {*stage.opt.defaults},
         'a group that is added lacks some of the defaults')
    for i in (1, 2, 3): stage.step(i)
    for (k, p), old in zip(stage.params.items(), before):
        must(not p.numel() or differ([p.detach()], [old]), f'the {k}, which was added, stays')


@demand('hooks before and after a step are called')
def hooks(s: Subject) -> None:
    stage, said = s.run(1), list[str]()
    stage.opt.register_step_pre_hook(lambda *_: said.append('before'))
    stage.opt.register_step_post_hook(lambda *_: said.append('after'))
    stage.step(1)
    must(said == ['before', 'after'],
         f'a step calls {" and ".join(said) or "none"} of the two hooks: call super().__init__')


@demand('a gradient scaler can skip a step')
def scaled(s: Subject) -> None:
    if s.feed.sparse: return
    stage = s.run(2)
    before, state = values(stage), copy.deepcopy(state_tensors(stage.opt))
    scaler = torch.amp.GradScaler('cpu', init_scale=4.)
    for broken in (True, False):
        loss = sum((p * stage.grad(k, 2)).sum() for k, p in stage.params.items())
        stage.opt.zero_grad()
        loss = torch.as_tensor(loss) * (float('inf') if broken else 1.)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(stage.opt)
        scaler.update()
        must(differ(values(stage), before) is not broken, 'an infinite gradient is not skipped'
             if broken else 'the step after one that was skipped does nothing')
        must(not broken or not differ(state_tensors(stage.opt), state),
             'a step that is skipped changes a state')
