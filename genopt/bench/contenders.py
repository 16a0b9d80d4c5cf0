"The contenders: a recipe in each of our engines, in torch.optim, and in other libraries."
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..catalogue import find
from ..hypers import did_you_mean
from ..recipe import Recipe
from ..twins import TWINS

LR = 1e-4
ADAM = dict(betas=(.9, .999), eps=1e-8)
FASTAI_ADAM = dict(mom=.9, sqr_mom=.999, eps=1e-8)
OPTAX_ADAM = dict(b1=.9, b2=.999, eps=1e-8)

# Other libraries: the recipe, its name there, and the arguments with which it does the same
PEERS: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    'heavyball': [('Adam', 'heavyball:AdamW', dict(weight_decay=0., **ADAM)),
                  ('AdamW', 'heavyball:AdamW', dict(weight_decay=.01, **ADAM)),
                  ('SGD', 'heavyball:SGD', {})],
    'optimi':    [('Adam', 'optimi:Adam', ADAM), ('AdamW', 'optimi:AdamW', ADAM),
                  ('SGD', 'optimi:SGD', {})],
    'fastai':    [('Adam', 'fastai.optimizer:Adam', dict(wd=0., **FASTAI_ADAM)),
                  ('AdamW', 'fastai.optimizer:Adam', dict(wd=.01, **FASTAI_ADAM)),
                  ('SGD', 'fastai.optimizer:SGD', {}), ('RMSprop', 'fastai.optimizer:RMSProp', {})],
    'optax':     [('Adam', 'optax:adam', OPTAX_ADAM), ('SGD', 'optax:sgd', {}),
                  ('AdamW', 'optax:adamw', dict(weight_decay=.01, **OPTAX_ADAM))]}


# -- tasks -----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Task:
    "A recipe, and what is given to it."
    name: str  # As it was written, for `find`
    recipe: Recipe
    options: dict[str, Any]


def task(text: str) -> Task:
    "A task as it is written: `Adam(amsgrad=True)`. Raises what `find` raises."
    return Task(text, *find(text).origin)


def names(text: str) -> list[str]:
    "Names with commas between; commas in brackets do not count."
    return [t.strip() for t in re.split(r',(?![^(]*\))', text) if t.strip()]


def installed(library: str) -> bool:
    "True if the library can be timed. Raises ValueError if the table has no such library."
    if library not in PEERS:
        raise ValueError(f'`{library}` is not in the benchmark: {did_you_mean(library, PEERS)}')
    return find_spec(library) is not None


# -- contenders ------------------------------------------------------------------------------------

class Contender:
    "An optimizer with its own copy of the parameters; or a limit that is timed beside them."
    def step(self) -> None: raise NotImplementedError
    def give(self, grads: list[Tensor]) -> None: "Sets the gradients of the next step."
    def values(self) -> list[Tensor]: raise NotImplementedError
    def state_bytes(self) -> int: return 0


Make: TypeAlias = Callable[[list[Tensor]], Contender]


class OfTorch(Contender):
    "An optimizer with torch's interface."
    def __init__(self, make: Callable[..., Any], arguments: dict[str, Any], params: list[Tensor]):
        self.params = [nn.Parameter(p.clone()) for p in params]
        self.opt = make(self.params, lr=LR, **arguments)

    def step(self) -> None: self.opt.step()

    def give(self, grads: list[Tensor]) -> None:
        for p, g in zip(self.params, grads): p.grad = g

    def values(self) -> list[Tensor]: return [p.detach() for p in self.params]
    def state_bytes(self) -> int: return sum(t.nbytes for t in _tensors(self.opt.state))


class Clipped(OfTorch):
    """torch's clip_grad_norm_ before each step. It multiplies every gradient, whatever the norm is;
    so the work stays the same, although the first step leaves them clipped."""
    def step(self) -> None:
        nn.utils.clip_grad_norm_(self.params, 1.)
        self.opt.step()


class Traced(OfTorch):
    "The step as `torch.compile` makes it."
    def __init__(self, make: Callable[..., Any], arguments: dict[str, Any], params: list[Tensor]):
        super().__init__(make, arguments, params)
        self.step = torch.compile(self.opt.step)  # type: ignore[method-assign]


class OfJax(Contender):
    "An optax optimizer in one compiled function, which may overwrite parameters and state."
    def __init__(self, make: Callable[..., Any], arguments: dict[str, Any], params: list[Tensor]):
        import jax
        import optax
        jax.config.update('jax_enable_x64', params[0].dtype == torch.float64)  # or all is float32
        rule = make(LR, **arguments)

        def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
            updates, state = rule.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self.jax, self.update = jax, jax.jit(update, donate_argnums=(0, 1))
        self.params, self.state = self._copies(params), rule.init(self._copies(params))
        self.given: list[Tensor] = []

    def _copies(self, tensors: list[Tensor]) -> list[Any]:
        return [self.jax.numpy.array(t.numpy(), copy=True) for t in tensors]

    def give(self, grads: list[Tensor]) -> None:
        if grads is not self.given: self.given, self.grads = grads, self._copies(grads)

    def step(self) -> None:
        result = self.update(self.params, self.state, self.grads)
        self.params, self.state = self.jax.block_until_ready(result)

    def values(self) -> list[Tensor]:
        return [torch.tensor(self.jax.device_get(p)) for p in self.params]

    def state_bytes(self) -> int: return sum(x.nbytes for x in self.jax.tree.leaves(self.state))


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor): yield state
    if isinstance(state, dict):
        for v in state.values(): yield from _tensors(v)


def contenders(task: Task, libraries: Iterable[str], on_gpu: bool=False) -> dict[str, Make]:
    """How to make each contender. All follow the same rule, with the same hyperparameters.

    On a GPU, `torch.compile` is one more way in torch.
    """
    res: dict[str, Make] = {}
    for label, compile in {'genopt compiled': True, 'genopt plain': False}.items():
        res[label] = partial(OfTorch, task.recipe, dict(compile=compile, **task.options))
    name, _, added = task.recipe.__name__.partition(' + ')
    if name in TWINS and added in ('', 'clip_by_global_norm'):
        way_of = Clipped if added else OfTorch
        cls, options = TWINS[name].cls, task.options
        if name == 'Momentum': options = dict(momentum=.9) | options
        takes = signature(cls).parameters
        loop = dict(foreach=False) if 'foreach' in takes else {}
        ways = dict(loop=loop, foreach=dict(foreach=True), fused=dict(fused=True))
        for way, flags in ways.items():
            if flags.keys() <= takes.keys():  # RMSprop has no fused
                res[f'torch {way}'] = partial(way_of, cls, {**flags, **options})
        if on_gpu and not added:
            res['torch compiled'] = partial(Traced, cls, {'foreach': True, **options})
    for library in libraries if not added else ():
        for recipe, place, arguments in PEERS[library]:
            if recipe == name and not task.options: res[library] = partial(_peer, place, arguments)
    return res


def _peer(place: str, arguments: dict[str, Any], params: list[Tensor]) -> Contender:
    "A contender from another library, which is imported now."
    module, name = place.split(':')
    make = getattr(import_module(module), name)
    return OfJax(make, arguments, params) if module == 'optax' else OfTorch(make, arguments, params)
