"""Trials: short runs in which two optimizers must agree after every step.

A trial is a function that is given a `Stage`, which makes the parameters, the gradients and the
optimizer, and yields after each step. Everything is in float64, and drawn from fixed seeds.
"""
from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

__all__ = ['Maker', 'SHAPES', 'Stage', 'TRIALS', 'Trial', 'draw', 'through_a_file']

SHAPES: dict[str, tuple[int, ...]] = {
    'matrix': (3, 4), 'second matrix': (3, 4), 'vector': (5,), 'square': (3, 3),
    'tensor of 4 dimensions': (2, 3, 2, 2), '0-dim tensor': (), 'tensor of 1 element': (1,),
    'empty tensor': (0, 3)}
SCALES = 1., .1, 1e-2, 10., 1e-3, .1, 1., 1.  # of the gradients of each of these
STEPS = 8
RATES = 1., .2, .6, .3  # of a schedule, times the first learning rate


class Maker(Protocol):
    "What a trial needs of a side: how to make an optimizer, and to say `lr` in its words."
    def make(self, groups: Any, **changes: Any) -> Any: ...
    def word(self, name: str) -> str: ...


def draw(seed: int, shape: Sequence[int], dtype: torch.dtype=torch.float64) -> Tensor:
    "Random numbers: for one seed, the same ones for each dtype, up to rounding."
    return _drawn(seed, tuple(shape), dtype).clone()


@lru_cache(2000)
def _drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    real = torch.randn([*shape, 2], generator=gen, dtype=torch.float64)
    if dtype.is_complex: return torch.view_as_complex(real).to(dtype)
    return real[..., 0].to(dtype)


class Stage:
    "The parameters of one run, by name, its gradients, and its optimizer once that is made."
    opt: Any

    def __init__(self, maker: Maker, names: Sequence[str], sparse: bool=False,
                 dtype: torch.dtype=torch.float64):
        self.maker, self.sparse, self.dtype = maker, sparse, dtype
        self.places = {k: [*SHAPES].index(k) for k in names}
        self.params = {k: nn.Parameter(draw(i, SHAPES[k], dtype)) for k, i in self.places.items()}

    def make(self, groups: Any=None, **changes: Any) -> Any:
        self.opt = self.maker.make([*self.params.values()] if groups is None else groups, **changes)
        return self.opt

    def grad(self, name: str, step: int) -> Tensor:
        "A gradient, of a size of its own for each parameter and step."
        i = self.places[name]
        return SCALES[i] * (1 + step % 3) * draw(1000 * step + i + 7, SHAPES[name], self.dtype)

    def set(self, grads: Mapping[str, Tensor | None]) -> None:
        for k, g in grads.items():
            if g is not None and self.sparse: g = g.to_sparse(1)
            self.params[k].grad = g

    def step(self, step: int, *without: str) -> None:
        "A step along the gradients of this number; some parameters may be without one."
        self.set({k: None if k in without else self.grad(k, step) for k in self.params})
        self.opt.step()

    def steps(self, count: int) -> Iterator[None]:
        for i in range(count):
            self.step(i)
            yield

    def two(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        "The parameters in two halves."
        every = [*self.params.values()]
        return every[::2], every[1::2]


Run: TypeAlias = 'Callable[[Stage], Iterator[None]]'


class Trial(NamedTuple):
    "A run by its name. It is made only if both sides have the hyperparameters that it `needs`."
    name: str
    run: Run
    needs: tuple[str, ...] = ()
    is_of_each: bool = False  # True if a parameter alone would do what it does among others

    def steps(self, maker: Maker, names: Sequence[str], sparse: bool=False
              ) -> Iterator[tuple[dict[str, Tensor], Any]]:
        "Yields copies of the parameters, and the optimizer, after each step."
        stage = Stage(maker, names, sparse)
        for _ in self.run(stage):
            yield {k: p.detach().clone() for k, p in stage.params.items()}, stage


TRIALS = list[Trial]()


def trial(name: str, *needs: str, is_of_each: bool=False) -> Callable[[Run], Run]:
    "Adds a function to the trials."
    def add(run: Run) -> Run:
        TRIALS.append(Trial(name, run, needs, is_of_each))
        return run
    return add


@trial('given gradients', is_of_each=True)
def given_gradients(s: Stage) -> Iterator[None]:
    s.make()
    yield from s.steps(STEPS)


@trial('closed loop', is_of_each=True)
def closed_loop(s: Stage) -> Iterator[None]:
    "Each gradient is taken where the parameters are: of squares and products with steep slopes."
    s.make()
    for i in range(STEPS):
        def slope(k: str, p: Tensor, i: int=i) -> Tensor:
            far = p - draw(50 + s.places[k], p.shape)
            return SCALES[s.places[k]] * (far + .1 * far**3 + .3 * torch.sin(3 * p + i))
        s.set({k: slope(k, p.detach()) for k, p in s.params.items()})
        s.opt.step()
        yield


@trial('gradients of zero')
def zero_gradients(s: Stage) -> Iterator[None]:
    "Some elements at first, then all of them, then none."
    s.make()
    for i in range(5):
        grads = {k: s.grad(k, i) for k in s.params}
        if i < 2: grads = {k: g.where(g > 0, 0.) for k, g in grads.items()}
        if i == 2: grads = {k: 0 * g for k, g in grads.items()}
        s.set(grads)
        s.opt.step()
        yield


@trial('weight decay', 'wd', is_of_each=True)
def weight_decay(s: Stage) -> Iterator[None]:
    s.make(wd=.1)
    yield from s.steps(STEPS)


@trial('climbing (maximize)', 'maximize')
def climbing(s: Stage) -> Iterator[None]:
    s.make(maximize=True)
    yield from s.steps(4)


@trial('groups with rates of their own', 'lr')
def groups(s: Stage) -> Iterator[None]:
    first, second = s.two()
    s.make([{'params': first, 'lr': .01}, {'params': second, 'lr': .003}])
    yield from s.steps(5)


@trial('groups with decays of their own', 'wd')
def decays(s: Stage) -> Iterator[None]:
    first, second = s.two()
    s.make([{'params': first, 'wd': .1}, {'params': second, 'wd': 0.}])
    yield from s.steps(5)


@trial('a schedule of the learning rate', 'lr')
def schedule(s: Stage) -> Iterator[None]:
    first, second = s.two()
    s.make([{'params': first}, {'params': second}])
    word = s.maker.word('lr')
    at = s.opt.param_groups[0][word]
    for i in range(STEPS):
        for g in s.opt.param_groups: g[word] = at * RATES[i % 4]
        s.step(i)
        yield


@trial('a schedule, with weight decay', 'lr', 'wd')
def decayed_schedule(s: Stage) -> Iterator[None]:
    s.make(wd=.1)
    word = s.maker.word('lr')
    at = s.opt.param_groups[0][word]
    for i in range(5):
        for g in s.opt.param_groups: g[word] = at * RATES[i % 4]
        s.step(i)
        yield


@trial('parameters that join late')
def late(s: Stage) -> Iterator[None]:
    first, second = s.two()
    s.make(first)
    for i in range(STEPS):
        if i == 3: s.opt.add_param_group({'params': second})
        s.step(i, *([*s.params][1::2] if i < 3 else []))
        yield


@trial('gradients that are missing')
def missing(s: Stage) -> Iterator[None]:
    "Each parameter is without a gradient in other steps, two of them at first."
    names = [*s.params]
    s.make()
    for i in range(STEPS + 2):
        gone = [k for j, k in enumerate(names) if (i + j) % 3 == 1 or i < j and len(names) > 1]
        s.step(i, *gone[:max(1, len(names) - 1)])
        yield


@trial('missing gradients, with weight decay', 'wd')
def missing_decayed(s: Stage) -> Iterator[None]:
    names = [*s.params]
    s.make(wd=.1)
    for i in range(5):
        s.step(i, names[i % len(names)])
        yield


@trial('saved, and resumed in a new optimizer')
def resumed(s: Stage) -> Iterator[None]:
    first, second = s.two()
    def begin() -> None: s.make([{'params': first}, {'params': second}])
    begin()
    for i in range(STEPS):
        if i in (3, 5):
            saved = through_a_file(s.opt.state_dict())
            begin()
            s.opt.load_state_dict(saved)
        s.step(i)
        yield


def through_a_file(saved: Any) -> Any:
    "What torch.load makes, with `weights_only`, of what torch.save has written."
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
