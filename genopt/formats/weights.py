"Weights of 16 bits: with a rest beside them, or rounded at random."
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .format import GOLDEN, Draw, Format, Tensors, hashed

__all__ = ['Compensated', 'Random', 'Split', 'drawn']


class Split(Format):
    """A weight in bfloat16 and, beside it, 8 or 16 of the bits that bfloat16 cannot hold.

    With 16, the two together are exactly the float32 weight. A weight half-way between two of
    bfloat16 is rounded away from 0.
    """
    functions = '''
static inline uint32_t bits_of(float v) { uint32_t u; memcpy(&u, &v, 4); return u; }
static inline bf16 split_top(float v, int low)
{
    const uint32_t u = low ? (bits_of(v) + 0x80) & ~0xffu : bits_of(v);
    return v != v ? 0x7fc0 : (u + 0x8000) >> 16;
}
static inline int32_t split_rest(float v, int low)
{
    const uint32_t u = low ? (bits_of(v) + 0x80) & ~0xffu : bits_of(v);
    const int32_t rest = (int32_t)(u - ((u + 0x8000) & ~0xffffu));
    return v != v ? 0 : low ? rest >> 8 : rest;
}
static inline float joined(bf16 x, int32_t rest)
{
    const uint32_t u = ((uint32_t)x << 16) + (uint32_t)rest; float v;
    memcpy(&v, &u, 4);
    return v;
}
'''

    def __init__(self, bits: int):
        self.bits = bits  # of the whole weight

    @property
    def besides(self) -> Mapping[str, torch.dtype]:  # type: ignore[override]
        return {'rest': torch.int8 if self.bits == 24 else torch.int16}

    @property
    def read(self) -> str:  # type: ignore[override]
        return f'joined({{x}}, {{rest}}{" * 256" * (self.bits == 24)})'

    @property
    def write(self) -> str:  # type: ignore[override]
        low = int(self.bits == 24)
        return f'{{x}} = split_top({{v}}, {low}); {{rest}} = split_rest({{v}}, {low});'

    def value(self, tensors: Tensors) -> Tensor:
        top = tensors[''].view(torch.int16).int() << 16
        return (top + tensors['rest'].int() * (256 if self.bits == 24 else 1)).view(torch.float32)

    def kept(self, x: Tensor, like: Tensor, draw: Draw) -> dict[str, Tensor]:
        x = x.float().contiguous()
        u = x.view(torch.int32).long() & 0xffffffff
        if self.bits == 24: u = u + 0x80 & ~0xff
        top = u + 0x8000 & ~0xffff
        rest = torch.where(x.isnan(), 0, u - top) // (256 if self.bits == 24 else 1)
        top = torch.where(x.isnan(), 0x7fc0, top >> 16 & 0xffff).to(torch.uint16)
        return {'': top.view(torch.bfloat16), 'rest': rest.to(self.besides['rest'])}


class Compensated(Format):
    """A weight of 16 bits and, beside it, its rounding error: a second number of its dtype.

    The two are added before the next step (Kahan, "Further remarks on reducing truncation errors",
    1965).
    """
    functions = '''
static inline float if_finite(float v) { return fabsf(v) < INFINITY ? v : 0; }
static inline bf16 bf16_rest(float v)
{
    const float f = if_finite(v);
    uint32_t u; memcpy(&u, &f, 4);
    return (u + 0x7fff + (u >> 16 & 1)) >> 16;  /* `to_bf16`, but for NaN */
}
static inline f16 f16_rest(float v) { return to_f16(if_finite(v)); }
'''
    read = '({load}({x}) + {load}({rest}))'
    write = '{x} = {store}({v}); {rest} = {kind}_rest({v} - {load}({store}({v})));'

    def __init__(self, dtype: torch.dtype): self.besides = {'rest': dtype}

    def __hash__(self) -> int: return hash((type(self), self.besides['rest']))

    def value(self, tensors: Tensors) -> Tensor:
        return tensors[''].float() + tensors['rest'].float()

    def kept(self, x: Tensor, like: Tensor, draw: Draw) -> dict[str, Tensor]:
        near = x.float().to(like.dtype)
        rest = x.float() - near.float()
        return {'': near, 'rest': torch.where(rest.isfinite(), rest, 0.).to(like.dtype)}


class Random(Format):
    """A weight of 16 bits, rounded up or down at random, so that it is right on average.

    Bits come from a hash of the seed, the step and the parameter, and from the place of the
    element, so they are the same in a run that is resumed, on any number of threads and of
    processes.
    """
    is_random = True
    functions = '''
static inline uint32_t bits_at(uint32_t at, uint32_t seed)
{
    const uint32_t x = (at ^ seed) * 0x9e3779b9u;
    return (x ^ x >> 16) * 0x85ebca6bu >> 16;
}
static inline bf16 random_bf16(float v, uint32_t bits)
{
    uint32_t u; memcpy(&u, &v, 4);
    return v != v ? 0x7fc0 : (u + bits) >> 16;
}
static inline f16 random_f16(float v, uint32_t bits)
{
    uint32_t u; memcpy(&u, &v, 4);
    u = (u + (bits & 0x1fff)) & ~0x1fffu;
    float near; memcpy(&near, &u, 4);
    const float small = floorf(fabsf(v) * 0x1p24f + (bits & 0x1fff) * 0x1p-13f) * 0x1p-24f;
    return to_f16(fabsf(v) < 0x1p-14f ? copysignf(small, v) : v != v ? v : near);
}
'''
    read, write = '{load}({x})', '{x} = random_{kind}({v}, bits_at({at}, {seed}));'

    def value(self, tensors: Tensors) -> Tensor: return tensors[''].float()

    def kept(self, x: Tensor, like: Tensor, draw: Draw) -> dict[str, Tensor]:
        x = x.float().contiguous()
        bits, u = _bits(x, draw), x.view(torch.int32).long() & 0xffffffff
        if like.dtype == torch.bfloat16:
            top = torch.where(x.isnan(), 0x7fc0, u + bits >> 16)
            return {'': top.to(torch.uint16).view(torch.bfloat16)}
        near = (u + (bits & 0x1fff) & ~0x1fff).to(torch.uint32).view(torch.float32)
        small = (x.abs() * 2.**24 + (bits & 0x1fff).float() * 2.**-13).floor() * 2.**-24
        near = torch.where(x.abs() < 2.**-14, small.copysign(x), near)
        return {'': torch.where(x.isnan(), x, near).to(torch.float16)}


def _bits(like: Tensor, draw: Draw) -> Tensor:
    "16 random bits for each element: what `bits_at` does in C."
    at = torch.arange(draw.first, draw.first + like.numel(), device=like.device).view(like.shape)
    x = (at & 0xffffffff ^ draw.seed) * GOLDEN & 0xffffffff
    return (x ^ x >> 16) * 0x85ebca6b >> 16 & 0xffff


def drawn(seed: int, places: Sequence[int], counts: Sequence[int]) -> Tensor:
    "A `Draw` for each parameter, as a row: of its place, and how often it was rounded before."
    res = np.zeros((len(places), 2), np.int64)
    steps = hashed(np.array(counts, np.uint32) * GOLDEN + (seed & 0xffffffff))
    res[:, 0] = hashed(steps + np.array(places, np.uint32) * 0x85ebca6b)
    return torch.from_numpy(res)
