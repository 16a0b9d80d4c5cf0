"""Tales: a few steps, a change of tensors, and more steps, in a `Field`: memory that shows what the
steps have read and written.
"""
from __future__ import annotations

import math

import torch
from helpers import random
from three_engines import ENGINES, make_rule, tensors
from torch import Tensor, nn

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their bytes


class Field:
    "Memory in which tensors lie, with NaN between them."
    def __init__(self, dtype, size, gap=300):
        self.memory, self.end, self.gap = torch.full((size,), torch.nan, dtype=dtype), gap, gap

    def put(self, x: Tensor) -> Tensor:
        """A copy of a dense tensor, in the same order of its dimensions. As much is kept free after
        it."""
        place = self.memory.as_strided(x.shape, x.stride(), self.end).copy_(x)
        self.end += 2 * x.numel() + self.gap
        assert self.end < len(self.memory)
        return place

    def remember(self, writable: list[Tensor]) -> None:
        "From now on nothing may change but the elements of these."
        self.free = torch.zeros(self.memory.nbytes, dtype=torch.int8)
        for t in writable:
            if t.untyped_storage().data_ptr() != self.memory.data_ptr(): continue
            bits = self.free.view(BITS[t.element_size()])
            bits.as_strided(t.shape, t.stride(), t.storage_offset()).fill_(-1)
        self.before = self.memory.view(torch.int8).clone()

    def check(self) -> None:
        moved = (self.memory.view(torch.int8) != self.before) & (self.free == 0)
        assert not moved.any(), 'something has changed that is not a parameter\'s, or its state\'s'


def put_state(opt, p, field: Field) -> None:
    for k, v in opt.state[p].items():
        if isinstance(v, Tensor) and v.dim(): opt.state[p][k] = field.put(v)


def some_parameters(shape, dtype, field, begin):
    "Three alike, and others: a scalar, an empty one, and one that is not contiguous."
    alike = [field.put(begin(random(i, shape, dtype))) for i in range(3)]
    others = [random(3, (), dtype), random(4, (0, 3), dtype), random(5, (3, 8), dtype)[:, ::2]]
    return [nn.Parameter(x) for x in alike + others]


def everything(opt, ps):
    "What an optimizer has of these parameters, and of those that it has besides."
    ps = {id(p): p for p in (*(p for g in opt.param_groups for p in g['params']), *ps)}.values()
    return [t for p in ps for t in (p, *(tensors(opt, p) if p in opt.state else ()))]


def tale(make, change, shape, dtype=torch.float32, make_grad=None, begin=torch.clone):
    """Two steps, a change, and three more. What became of all tensors; or an exception.

    `make_grad` makes the gradient of the second parameter, in the first and last of the three.
    """
    size = 20 * math.prod(shape) + 10**4
    field, grads = Field(dtype, size), Field(dtype, size)
    opt = make(ps := some_parameters(shape, dtype, field, begin))
    def step(i):
        params = [p for g in opt.param_groups for p in g['params']]
        for j, p in enumerate(params):
            p.grad = random(10 * i + j, p.shape, p.dtype)
            if p is ps[1] and p.dtype == dtype: p.grad = grads.put(p.grad)
        if make_grad and i in (2, 4): make_grad(params, opt)
        field.remember(everything(opt, ps)); grads.remember([])
        try: opt.step()
        finally: field.check(); grads.check()
    step(0)
    put_state(opt, ps[1], field)
    step(1)
    for p in ps: p.grad = None
    change(ps[1], opt, field)
    try:
        for i in range(2, 5): step(i)
    except (RuntimeError, KeyError) as e: return e
    return [t.detach().clone() for t in everything(opt, ps)]


def assert_alike(got, want):
    if isinstance(want, Exception):
        assert isinstance(got, Exception), f'it went on, where torch says: {want}'
    else:
        assert not isinstance(got, Exception), got
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a.as_subclass(Tensor), b.as_subclass(Tensor),
                                       rtol=2e-5, atol=1e-5, equal_nan=True)


def in_every_engine(rule, *args, **kwargs):
    "The plain one does it; and what all do is the same."
    want, *others = [tale(make_rule(rule, engine), *args, **kwargs) for engine in ENGINES]
    assert not isinstance(want, Exception), want
    for got in others: assert_alike(got, want)
