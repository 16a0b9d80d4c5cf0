"""What training loops ask of an optimizer, demand by demand.

A demand is a function of a `Subject`, which makes parameters and optimizers. It returns if the
demand is met, and raises `Unmet` with a sentence if it is not. Any other error is one too.
"""
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..optimizer import Optimizer
from .runs import Feed, gap, sentence
from .trials import Maker, Stage

__all__ = ['DEMANDS', 'Demand', 'Subject', 'Unmet', 'both', 'demand', 'differ', 'must',
           'state_tensors', 'values']


class Unmet(Exception): "A demand is not met. The message is a sentence."


def must(condition: Any, sentence: str) -> None:
    if not condition: raise Unmet(sentence)


class Subject(NamedTuple):
    "An optimizer's maker, and what it takes."
    maker: Maker
    feed: Feed

    def stage(self, dtype: torch.dtype=torch.float64, names: Sequence[str]=()) -> Stage:
        "Parameters of every shape that it takes. The optimizer is not made yet."
        return Stage(self.maker, names or self.feed.names, self.feed.sparse, dtype)

    def run(self, steps: int=3, dtype: torch.dtype=torch.float64) -> Stage:
        "After some steps."
        stage = self.stage(dtype)
        stage.make()
        for i in range(steps): stage.step(i)
        return stage


Check: TypeAlias = 'Callable[[Subject], None]'


class Demand(NamedTuple):
    name: str
    check: Check

    def unmet(self, subject: Subject) -> str:
        "Why it is not met, or ''."
        try: self.check(subject)
        except Unmet as e: return str(e)
        except Exception as e: return sentence(e)
        return ''


DEMANDS = list[Demand]()


def demand(name: str) -> Callable[[Check], Check]:
    "Adds a function to the demands."
    def add(check: Check) -> Check:
        DEMANDS.append(Demand(name, check))
        return check
    return add


def values(stage: Stage) -> list[Tensor]: return [p.detach().clone() for p in stage.params.values()]


def state_tensors(opt: Any) -> list[Tensor]:
    return [v for s in opt.state.values() if isinstance(s, dict) for v in s.values()
            if isinstance(v, Tensor)]


def differ(a: Sequence[Tensor], b: Sequence[Tensor], tolerance: float=0.) -> bool:
    return len(a) != len(b) or any(gap(x, y) > tolerance for x, y in zip(a, b))


def both(one: Stage, other: Stage, steps: int, begin: int=0) -> None:
    "The same steps for both."
    for i in range(begin, begin + steps):
        one.step(i)
        other.step(i)


# -- a step ----------------------------------------------------------------------------------------

@demand('step() returns None, and step(closure) the loss; the closure runs first, with gradients')
def closures(s: Subject) -> None:
    stage, plain = s.run(1), s.run(1)
    stage.opt.zero_grad()
    seen = list[bool]()
    def closure() -> Tensor:
        seen.append(torch.is_grad_enabled())
        stage.set({k: stage.grad(k, 1) for k in stage.params})
        return torch.tensor(7.)
    torch.manual_seed(0)
    loss = stage.opt.step(closure)
    plain.set({k: plain.grad(k, 1) for k in plain.params})
    torch.manual_seed(0)
    must(plain.opt.step() is None, '`step()` returns something: return None without a closure')
    must(len(seen) == 1, f'the closure is called {len(seen)} times, not once')
    must(loss is not None and float(loss) == 7, '`step(closure)` does not return the loss')
    must(all(seen), 'gradients are off in the closure: call it under torch.enable_grad()')
    must(not differ(values(stage), values(plain), 1e-12),
         'a step does not use the gradients that its closure computes: call the closure first')


@demand('parameters are changed in place, and stay leaves without a graph')
def in_place(s: Subject) -> None:
    stage = s.stage()
    opt, before = stage.make(), {k: p.data_ptr() for k, p in stage.params.items()}
    for i in range(2): stage.step(i)
    inside = [p for g in opt.param_groups for p in g['params']]
    must(len(inside) == len(stage.params) and all(
        any(p is q for q in inside) for p in stage.params.values()),
        'the groups hold other tensors after a step: change the parameters in place')
    for k, p in stage.params.items():
        must(p.data_ptr() == before[k] or not p.numel(), f'the {k} has other memory after a step')
        must(p.is_leaf and p.grad_fn is None, f'the {k} has a graph: step under torch.no_grad()')
    for t in state_tensors(opt):
        must(not t.requires_grad, 'a state has a graph: step under torch.no_grad()')


@demand('a step leaves the mode of autograd as it was')
def grad_mode(s: Subject) -> None:
    for on in (True, False):
        with torch.set_grad_enabled(on):
            s.run(1)
            must(torch.is_grad_enabled() is on, 'a step changes whether gradients are on')


@demand('gradients are not changed')
def gradients_stay(s: Subject) -> None:
    stage = s.stage()
    stage.make(wd=.1)
    for i in (0, 1):
        stage.set({k: stage.grad(k, i) for k in stage.params})
        before = {k: p.grad.clone() for k, p in stage.params.items() if p.grad is not None}
        stage.opt.step()
        for k, g in before.items():
            now = stage.params[k].grad
            must(now is not None, f'a step takes away the gradient of the {k}')
            assert now is not None
            must(not gap(now.to_dense(), g.to_dense()),
                 f'a step changes the gradient of the {k} in place: make a new tensor of it')


@demand('without gradients, a step does nothing')
def no_gradients(s: Subject) -> None:
    stage = s.run(2)
    before, state = values(stage), copy.deepcopy(state_tensors(stage.opt))
    stage.opt.zero_grad()
    stage.opt.step()
    must(not differ(values(stage), before), 'parameters without a gradient move')
    must(not differ(state_tensors(stage.opt), state), 'their state changes')


@demand('parameters that are frozen stay')
def frozen(s: Subject) -> None:
    stage = s.stage()
    first = next(iter(stage.params.values()))
    first.requires_grad_(False)
    stage.make()
    before = first.detach().clone()
    for i in range(2): stage.step(i, next(iter(stage.params)))
    must(torch.equal(first.detach(), before), 'a frozen parameter moves')


@demand('zero_grad() forgets gradients, or fills them with zeros')
def zero_grad(s: Subject) -> None:
    for to_none in (True, False):
        stage = s.run(1)
        stage.opt.zero_grad(set_to_none=to_none)
        for p in stage.params.values():
            must(p.grad is None if to_none else p.grad is not None and not p.grad.to_dense().any(),
                 f'zero_grad(set_to_none={to_none}) leaves a gradient')


@demand('the same run gives the same result')
def repeatable(s: Subject) -> None:
    torch.manual_seed(0)
    one = values(s.run())
    torch.manual_seed(0)
    must(not differ(one, values(s.run())), 'two runs with one seed differ')


@demand('the order of parameters does not matter')
def any_order(s: Subject) -> None:
    one, other = s.stage(), s.stage()
    one.make()
    other.make([*other.params.values()][::-1])
    groups = one.opt.groups() if isinstance(one.opt, Optimizer) else ()
    if any(g.composition.reads_place for g in groups): return  # it draws by its place
    both(one, other, 3)
    must(not differ(values(one), values(other), 1e-12),
         'parameters in another order go elsewhere: what belongs to one is shared by several')


@demand('two optimizers do not share anything')
def alone(s: Subject) -> None:
    one = values(s.run())
    mine, other = s.stage(), s.stage()
    mine.make(), other.make()
    for i in range(3):
        mine.step(i)
        other.step(i + 5)
    must(not differ(values(mine), one), 'a second optimizer changes what the first one does')


@demand('parameters with gaps in memory are stepped like others')
def strided(s: Subject) -> None:
    plain, gaps = s.stage(), s.stage()
    for k, p in gaps.params.items():
        if p.dim(): gaps.params[k] = nn.Parameter(
            torch.stack([p.detach(), p.detach()], -1)[..., 0].transpose(0, -1).contiguous()
            .transpose(0, -1))
    first = values(plain)
    plain.make(), gaps.make()
    both(plain, gaps, 3)
    one, other = ([b - a for a, b in zip(first, values(stage))] for stage in (plain, gaps))
    must(not differ(one, other, .05), 'a transposed parameter goes elsewhere')  # products may round


@demand('several dtypes go together')
def dtypes(s: Subject) -> None:
    stage = s.stage()
    kinds = torch.float64, torch.float32
    for i, (k, p) in enumerate(stage.params.items()):
        stage.params[k] = nn.Parameter(p.detach().to(kinds[i % 2]))
    stage.make()
    before = values(stage)
    for i in range(3):
        stage.set({k: stage.grad(k, i).to(p.dtype) for k, p in stage.params.items()})
        stage.opt.step()
    for (k, p), old in zip(stage.params.items(), before):
        must(p.dtype == old.dtype, f'the {k} has another dtype after a step')
        must(p.isfinite().all(), f'the {k} is not finite after steps in {p.dtype}')
