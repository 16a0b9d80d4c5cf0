"Suspects: mistakes with groups, gradients that are missing, and state, as ways of handling them."
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .suspects import suspect
from .variant import Draft, Handling, Variant

__all__: list[str] = []


class FirstGroup(Handling):
    "Every group is stepped with the numbers of the first one."
    name = 'all groups are stepped with the hyperparameters of the first one'
    def hypers(self, opt: Variant, group: dict[str, Any]) -> dict[str, Any]:
        return super().hypers(opt, opt.param_groups[0])


class LastGroup(Handling):
    name = 'all groups are stepped with the hyperparameters of the last one'
    def hypers(self, opt: Variant, group: dict[str, Any]) -> dict[str, Any]:
        return super().hypers(opt, opt.param_groups[-1])


class Defaults(Handling):
    name = 'groups are stepped with the defaults: what a group says of its own is ignored'
    def hypers(self, opt: Variant, group: dict[str, Any]) -> dict[str, Any]:
        return super().hypers(opt, {**group, **opt.defaults})


class OneFirst(Handling):
    "Only one hyperparameter is the first group's."
    def __init__(self, key: str):
        self.key, self.name = key, f'all groups are stepped with the `{key}` of the first one'
    def hypers(self, opt: Variant, group: dict[str, Any]) -> dict[str, Any]:
        first = opt.param_groups[0]
        return super().hypers(opt, {**group, self.key: first[self.key]})


class MissingIsZero(Handling):
    name = 'a gradient that is missing counts as zero: the parameter still decays and moves'
    def grad(self, opt: Variant, param: Tensor) -> Tensor | None:
        return torch.zeros_like(param) if param.grad is None else param.grad


class CountOfAll(Handling):
    "A count that goes on for parameters that join late, or lack a gradient."
    name = 'the count is one for all parameters, and not one for each'
    def place(self, group: int) -> int: return 0
    def ready(self, opt: Variant, group: int, state: dict[str, Any]) -> None:
        state['count'].fill_(opt.counts.get(self.place(group), 0))
    def after(self, opt: Variant) -> None:
        for i in {self.place(n) for n in range(len(opt.param_groups))}:
            opt.counts[i] = opt.counts.get(i, 0) + 1
    def loaded(self, opt: Variant) -> None:
        for n, group in enumerate(opt.param_groups):
            ages = [int(opt.state[p]['count']) for p in group['params'] if p in opt.state]
            opt.counts[self.place(n)] = max([opt.counts.get(self.place(n), 0), *ages])


class CountOfGroup(CountOfAll):
    name = 'the count is one for all parameters of a group, and not one for each'
    def place(self, group: int) -> int: return group


class UnsavedCount(CountOfAll):
    name = 'the count is one for all parameters, and it is not saved: a resumed run begins at 0'
    def loaded(self, opt: Variant) -> None: opt.counts.clear()


class CountOfCalls(Handling):
    "A count that goes up with each parameter that is stepped."
    name = 'the count goes up with every parameter, and not with every step'
    def ready(self, opt: Variant, group: int, state: dict[str, Any]) -> None:
        state['count'].fill_(opt.counts.get(0, 0))
        opt.counts[0] = opt.counts.get(0, 0) + 1


class SharedState(Handling):
    name = 'the parameters of different groups share a state'
    def state_of(self, opt: Variant, group: int, place: int, param: Tensor) -> Any:
        return place, tuple(param.shape)


class OneState(Handling):
    name = 'all parameters of one shape share a state'
    def state_of(self, opt: Variant, group: int, place: int, param: Tensor) -> Any:
        return tuple(param.shape)


class Forgets(Handling):
    "A stat begins anew when a state is loaded."
    def __init__(self, stat: str, said: str):
        self.stat, self.name = stat, said
    def loaded(self, opt: Variant) -> None:
        for p, state in [*opt.state.items()]:
            if not self.stat: opt.state[p] = {}
            elif self.stat in state:
                fresh = opt.composition.init(p, opt.defaults)[self.stat]
                state[self.stat] = torch.as_tensor(fresh)


@suspect
def handling(draft: Draft) -> Iterator[Draft]:
    stats = draft.maker().composition.stats
    ways: list[Handling] = [FirstGroup(), LastGroup(), Defaults(), MissingIsZero(), SharedState(),
                            OneState()]
    ways += [OneFirst(k) for k in draft.values if k != 'maximize']
    if 'count' in stats: ways += [CountOfAll(), CountOfGroup(), UnsavedCount(), CountOfCalls()]
    if stats: ways += [Forgets('', 'the state is lost when it is saved and loaded')]
    ways += [Forgets(k, f'`{k}` is lost when a state is saved and loaded') for k in stats]
    if type(draft.handling) is not Handling: return
    for way in ways: yield draft.said(way.name, handling=way)
