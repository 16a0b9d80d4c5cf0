"""A backward pass that makes the step: of each parameter once its gradient is there.

Small parameters wait for each other until they are a megabyte or so, or the pass is over, as one
step of many costs little more than a step of one. Numbers that all parameters share keep the value
from before the pass until it is over.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import RLock
from typing import Any, TypeAlias
from weakref import WeakMethod

import torch
from torch import Tensor
from torch.autograd import Variable

from .composition import Composition
from .engines.compiled import Compiled
from .engines.shield import shielded
from .engines.work import Work
from .gathering import Forms, forms_of, why_not_gathered, why_not_released
from .group import Group
from .interop.dynamo import outside_graphs
from .interop.hooks import after_step, before_step
from .numbers import read, read_all, store
from .sharding import run_in_pieces
from .state import work_of

__all__ = ['Release']

Running: TypeAlias = tuple[Work, bool]  # and does it move its parameters?

ENOUGH = 2**18  # elements that are stepped at once, about
CLOSED, BY_HAND = -1, -2  # in the place of the number of a backward pass


class Release:
    "What `opt.release` returns. It ends with `remove()`, or a `with`."
    def __init__(self, opt: Any, passes: int):
        self.opt, self.passes = opt, passes
        # Of each composition that has been checked, by its number: how it runs in several passes
        self.known: dict[Any, tuple[Composition, Forms | None]] = {}
        for g in opt.groups(): self.check(g)
        self.hook = _weakly(self.arrive)
        self.hooks: dict[Tensor, Any] = {}
        self.at: dict[Tensor, tuple[Group, int, int]] = {}  # group, its place, number in it
        self.lock = RLock()            # torch has a thread for each device
        self.task, self.done = CLOSED, 0  # the pass that is open; passes of this step that are done
        self.gathered = dict[Tensor, None]()  # what has taken a gradient in this step
        self.waiting, self.size = dict[Tensor, None](), 0  # and the elements of what waits
        self.sums: defaultdict[str, float] = defaultdict(float)  # totals of this pass
        self.firsts: dict[int, tuple[Composition, Any, Any]] = {}  # numbers from before it
        self.new: dict[str, Any] = {}  # the numbers that all share, after it
        self.attach()

    def remove(self) -> None:
        "From now on `step()` makes the steps. Called again, it changes nothing."
        for h in self.hooks.values(): h.remove()
        self.hooks.clear()
        if self.opt.released is self: self.opt.released = None

    def __enter__(self) -> Release: return self
    def __exit__(self, *_: object) -> None: self.remove()
    def __repr__(self) -> str:
        return f'Release({len(self.hooks)} parameters, accumulate={self.passes})'

    def check(self, group: Group) -> Forms | None:
        "How a group runs in the passes of a step. Raises ValueError if its rule cannot."
        c, zeros = group.composition, ()
        if self.passes > 1: zeros = *(v == 0 for v in group.numbers().values()),
        if (key := (id(c), zeros)) not in self.known:  # to hash its parts would take longer
            why = why_not_released(c)
            if not why and self.passes > 1:
                why = why_not_gathered(c, group.numbers(), group.seen())
            if why: raise ValueError(f'release(): {why} (group {group.index})')
            self.known[key] = c, forms_of(c) if self.passes > 1 else None
        return self.known[key][1]

    def attach(self) -> None:
        "Listens to all parameters that the optimizer has now, frozen ones too."
        self.at, place = {}, 0
        for g in self.opt.groups():
            for i, p in enumerate(g['params']): self.at[p] = g, place, i
            place += len(g['params'])
        for p in [*self.hooks.keys() - self.at.keys()]: self.hooks.pop(p).remove()
        for p in self.at.keys() - self.hooks.keys():
            if not (p.is_floating_point() or p.is_complex()) or p.is_inference(): continue
            is_frozen = not p.requires_grad
            if is_frozen: p.requires_grad_(True)  # or torch takes no hook
            register: Any = p.register_post_accumulate_grad_hook
            self.hooks[p] = register(self.hook)
            if is_frozen: p.requires_grad_(False)

    # -- a pass ------------------------------------------------------------------------------------

    @outside_graphs
    def arrive(self, p: Tensor) -> None:
        "Takes the step of a parameter whose gradient is there, or lets it wait for others."
        with self.lock:
            task = torch._C._current_graph_task_id()
            if task != self.task:
                Variable._execution_engine.queue_callback(partial(self.end, task))
                self.begin(task)
            self.add(p)

    def begin(self, task: int) -> None:
        "What one that failed has left waiting keeps its gradient, as in any loop."
        self.task = task
        for left in (self.waiting, self.sums, self.firsts, self.new): left.clear()
        self.size = 0
        engine = self.opt.engine
        if isinstance(engine, Compiled):  # whose totals are added up here, as passes come
            engine.sets, engine.may_be_late = max(engine.sets, 4 * len(self.hooks)), False
        if not self.done: before_step(self.opt)
        self.attach()

    @outside_graphs
    def end(self, task: int) -> None:
        "The end of a pass: what waits is stepped, and what all parameters share goes on."
        with self.lock:
            if task != self.task: return  # another pass has begun within this one
            for p in self.at:
                if p.grad is not None and p not in self.waiting: self.add(p)
            self.take()
            if self.moves:
                for p in [*self.gathered]:  # without a gradient in this pass
                    if p not in self.at: continue
                    p.grad = torch.zeros_like(p, memory_format=torch.preserve_format)
                    self.add(p)
                self.take()
                self.gathered.clear()
                self.share()
            self.task, self.done = CLOSED, (self.done + 1) % self.passes
            if not self.done: after_step(self.opt)

    def step(self, closure: Any) -> None:
        "What `opt.step()` does meanwhile. Raises RuntimeError for a closure."
        if closure is not None:
            raise RuntimeError('step(closure): the backward pass makes the steps, so the closure '
                               'would move the parameters by itself: call `backward()` alone, or '
                               'end release() with its `remove()`')
        groups = self.opt.groups()
        if all(p.grad is None for g in groups for p in g['params']): return
        with self.lock:
            self.begin(BY_HAND)
            self.end(BY_HAND)

    @property
    def moves(self) -> bool: return self.done == self.passes - 1

    def add(self, p: Tensor) -> None:
        self.waiting[p] = None
        self.size += p.numel()
        if self.size >= ENOUGH or p.device.type != 'cpu': self.take()

    def take(self) -> None:
        "One step of what waits, as far as this pass makes it."
        params = [p for p in self.waiting if p in self.at and p.grad is not None]
        self.waiting, self.size = {}, 0
        if not params: return
        with shielded(), torch.no_grad():
            self.run([*self.works(params)])
            for p in params: p.grad = None
            if self.passes == 1: return
            for p in params:
                if self.moves: self.gathered.pop(p, None)
                else: self.gathered[p] = None

    def works(self, params: Sequence[Tensor]) -> Iterator[Running]:
        "The work on some parameters, and whether it moves them."
        alike: dict[Any, list[int]] = {}
        for p in params:
            group, place, i = self.at[p]
            alike.setdefault((group.index, place, p in self.gathered), []).append(i)
        groups = self.opt.groups()
        for (index, place, is_later), some in alike.items():
            group = groups[index]
            forms = self.check(group)
            for work in work_of(group, self.opt.state, place, only=some):
                if forms and is_later: work.composition = forms[1 + self.moves]
                elif forms and not self.moves: work.composition = forms.first
                yield work, self.moves

    def run(self, running: Sequence[Running]) -> None:
        "Runs the engine. Numbers that all share stay, and so do all while nothing moves."
        works = [w for w, _ in running]
        held = [(w, k, read_all(w.columns[k]), moves) for w, moves in running
                for k in (w.composition.shared if moves else w.composition.number_stats)]
        for w in works:
            if not w.composition.totals: continue
            state = {k: read(w.columns[k][0]) for k in w.composition.number_stats}
            given = {**w.hypers, **(w.own[0] if w.own else {})}
            self.firsts.setdefault(id(w.composition), (w.composition, state, given))
        done = run_in_pieces(works, self.opt.engine)
        found = {k: w.hypers[k] for w in done for k in w.composition.totals}
        for k, value in found.items(): self.sums[k] += value
        for w, k, values, moves in held:
            if moves: self.new[k] = read(w.states[0][k])
            _put_back(w, k, values)
        for w in works: w.count_draws()

    def share(self) -> None:
        "Writes the numbers that all parameters share, made of the totals of all."
        for c, state, given in self.firsts.values():
            numbers = c.numbers(state, {**given, **self.sums})
            self.new.update({k: read(numbers[k]) for k in c.shared})
        for k, value in self.new.items():
            store([s for s in self.opt.state.values() if k in s], k, value)


def _weakly(method: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
    "A hook that keeps no optimizer alive: torch's would, as long as the model lives, or for ever."
    weak = WeakMethod(method)
    def hook(p: Tensor) -> None:
        if found := weak(): found(p)
    return hook


def _put_back(work: Work, name: str, values: Sequence[Any]) -> None:
    "Gives a number in states the values that it had."
    alike: dict[Any, list[dict[str, Any]]] = {}
    for s, value in zip(work.states, values): alike.setdefault(value, []).append(s)
    for value, states in alike.items(): store(states, name, value)
