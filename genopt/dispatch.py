"""What torch does while a part runs: which operations it calls, and from where they draw.

A random operation draws from a generator of the watch's own, as other threads may be using torch's.
"""
from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .engines.pointwise import why_not_pointwise

__all__ = ['Watch', 'undrawn']

# Random operations that take no generator, and the methods of a tensor that do the same with one
FILLS = {'rand_like': 'uniform_', 'randn_like': 'normal_', 'randint_like': 'random_'}

FROM_NUMPY = torch.ops.aten.lift_fresh.default  # only `Trial.check_pieces` can judge NumPy


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    "Sees every operation of torch. Random ones draw from a generator of its own."
    @classmethod
    def _should_skip_dynamo(cls) -> bool: return False  # or torch would import its compiler

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generators: dict[torch.device, torch.Generator] = {}
        self.begin(False)

    def begin(self, looks: bool) -> Watch:
        "Forgets what it saw. If it `looks`, it finds operations that are not pointwise too."
        self.crossed = self.random = ''  # the first operation of each kind
        self.looks = looks
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        kwargs = kwargs or {}
        if is_random := _uses_global_generator(func, args, kwargs):
            self.random = self.random or func._schema.name
        out = self._draw(func, args, kwargs) if is_random else func(*args, **kwargs)
        if self.looks and not self.crossed and func is not FROM_NUMPY:
            self.crossed = why_not_pointwise(func, (args, kwargs), out)
        return out

    def _draw(self, func: Any, args: Any, kwargs: Any) -> Any:
        "Calls the form of a random operation that takes a generator, with one of ours."
        devices = [kwargs.get('device'), *(x.device for x in args if isinstance(x, Tensor)), 'cpu']
        device, packet = torch.device(next(d for d in devices if d)), func.overloadpacket
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(0)
        ours = dict(generator=self._generators[device])
        if fill := FILLS.get(packet.__name__):
            limits = (0, args[1]) if len(args) == 2 else args[1:]  # of randint_like
            return getattr(torch.empty_like(args[0], **kwargs), fill)(*limits, **ours)
        for form in (func, *(getattr(packet, name) for name in packet.overloads())):
            takes_one = any(a.name == 'generator' for a in form._schema.arguments)
            if takes_one and _arguments(form) == _arguments(func):
                return form(*args, **{**kwargs, **ours})
        return func(*args, **kwargs)  # a few that only networks have


def _uses_global_generator(func: Any, args: Any, kwargs: Any) -> bool:
    if torch.Tag.nondeterministic_seeded not in func.tags: return False
    given = {**dict(zip((a.name for a in func._schema.arguments), args)), **kwargs}
    generator: Any = given.get('generator')
    usual: Any = torch.default_generator
    return generator is None or generator._cdata == usual._cdata


def _arguments(func: Any) -> list[tuple[str, str]]:
    return [(a.name, str(a.type)) for a in func._schema.arguments if a.name != 'generator']


@contextmanager
def undrawn(params: Sequence[Tensor]) -> Iterator[None]:
    "Puts all random generators back to where they were, in case parts draw from them."
    devices = {p.device for p in params if p.is_cuda}
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([*devices]): yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
