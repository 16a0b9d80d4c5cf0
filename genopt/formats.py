"""Formats: how values are kept between steps. Parts see float32 numbers, and never a format.

A format has the two halves of that edge in torch, `value` and `kept`, and the same as lines of C for
kernels, which give the same bits. Beside the tensor itself it may keep others, in the state: a
scale for each block, or what a weight of 16 bits cannot hold. They are plain tensors, under names
such as `grad_avg.scale` and `param.rest`.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

__all__ = ['Blocks', 'Compensated', 'DRAWN', 'Draw', 'Format', 'Random', 'Split', 'beside', 'block_of',
           'drawn', 'kept_beside']

Tensors: TypeAlias = Mapping[str, Tensor]  # '' is the tensor itself, and others have names

DRAWN = 'param.drawn'  # in the state: how often a weight was rounded at random
LARGEST, SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny
BLOCK, LEAST = 256, 32  # elements of a block: at most, and at least if it is to divide a row


class Draw(NamedTuple):
    "What decides the bits of random rounding, beside the place of an element."
    seed: int     # of this step and parameter, a number of 32 bits
    first: int=0  # the place of the first element in a parameter that lies on several processes


class Format:
    """How one tensor is kept.

    In C, {x} is an element in memory, {v} a float, and a name of `besides` in braces its element
    or, with `in_blocks`, that of the block; {inverse} is 1 over the block's scale, or 0; {at} is the
    place of the element; {load} and {store} convert between memory and float.
    """
    besides: Mapping[str, torch.dtype] = {}
    in_blocks, is_random = False, False
    @property
    def in_order(self) -> bool:
        "True if elements must lie in memory in the order of their indices."
        return self.in_blocks or self.is_random
    functions = read = write = ''  # in C

    def value(self, tensors: Tensors) -> Tensor:
        "What parts see, in float32."
        raise NotImplementedError

    def kept(self, x: Tensor, like: Tensor, draw: Draw) -> dict[str, Tensor]:
        "All tensors that keep `x`; the first one in the dtype and the shape of `like`."
        raise NotImplementedError

    def dtype(self, now: torch.dtype) -> torch.dtype:
        "Of the tensor itself, which would be `now`."
        return now

    def shape(self, name: str, x: Tensor) -> tuple[int, ...]:
        "Of the tensor `name` that is kept beside `x`."
        return tuple(x.shape)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)
    def __hash__(self) -> int: return hash((type(self), *vars(self).items()))
    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{k}={v!r}" for k, v in vars(self).items())})'


def beside(name: str, what: str) -> str:
    "The name in the state of what a format keeps beside a tensor."
    return f'{name}.{what}' if what else name


def kept_beside(name: str, form: Format, tensors: Mapping[str, Any]) -> dict[str, Any]:
    "All tensors of a format, of those that are there by name."
    return {'': tensors[name], **{what: tensors[beside(name, what)] for what in form.besides}}


# -- state in 8 bits -------------------------------------------------------------------------------

def block_of(shape: tuple[int, ...]) -> int:
    """Elements of a block of a tensor of this shape.

    Its rows are cut evenly, if that gives blocks of 32 to 256 elements: then blocks are the same
    in a tensor whose rows lie on several processes. Else blocks do not mind rows.
    """
    row = prod(shape[1:])
    if len(shape) < 2 or row < LEAST: return BLOCK
    return next((n for n in range(min(BLOCK, row), LEAST - 1, -1) if row % n == 0), BLOCK)


class Blocks(Format):
    """8 bits for each element, and for each block the largest number in it, in float32.

    Numbers of either sign have 127 codes for each, even in the square root of a number: so those
    near 0 are closer to each other. If no number is negative, a code is a float without a sign, of
    5 bits for the exponent and 3 for the rest: each number down to a 2³¹th of the largest one is
    kept to 6 % of itself, and what is above 0 stays so. The largest one is kept exactly. A block
    whose numbers are all below the smallest normal one of float32 (1.2e-38) is kept as zeros. What
    is infinite is kept as the largest number of float32; a block with a number that is none has no
    others.
    """
    besides, in_blocks = {'scale': torch.float32}, True
    functions = '''
static inline float signed_value(int8_t c, float scale)
{
    const float x = c * (1 / 127.0f);
    return x * fabsf(x) * scale;
}
static inline int8_t signed_code(float v, float inverse)
{
    const float u = fabsf(v) * inverse, most = u < 1 ? u : 1;
    return (int8_t)(int)copysignf(rintf(sqrtf(most) * 127), v);
}
static inline float unsigned_value(uint8_t c, float scale)
{
    const uint32_t u = (c + 761u) << 20;  /* 255 is 1 */
    float x; memcpy(&x, &u, 4);
    return (c ? x : 0) * scale;
}
static inline uint8_t unsigned_code(float v, float inverse)
{
    const float x = fabsf(v * inverse);
    uint32_t u; memcpy(&u, &x, 4);
    const int32_t near = (int32_t)((u + 0x80000) >> 20) - 761, least = v > 0;
    const int32_t c = near > least ? near : least;
    return (uint8_t)(c < 255 ? c : 255);
}
'''

    def __init__(self, signed: bool): self.signed = signed

    @property
    def read(self) -> str:  # type: ignore[override]
        return f'{self._kind}_value({{x}}, {{scale}})'

    @property
    def write(self) -> str:  # type: ignore[override]
        return f'{{x}} = {self._kind}_code({{v}}, {{inverse}});'

    @property
    def _kind(self) -> str: return 'signed' if self.signed else 'unsigned'

    def dtype(self, now: torch.dtype) -> torch.dtype:
        return torch.int8 if self.signed else torch.uint8

    def shape(self, name: str, x: Tensor) -> tuple[int, ...]:
        n, row = block_of(tuple(x.shape)), prod(x.shape[1:])
        if x.dim() > 1 and row % n == 0: return x.shape[0], row // n
        return -(-x.numel() // n),

    def value(self, tensors: Tensors) -> Tensor:
        codes, scale = tensors[''], tensors['scale']
        if self.signed:
            x = codes.float() * (1 / 127.)
            x = x * x.abs()
        else: x = torch.where(codes > 0, (codes.int() + 761 << 20).view(torch.float32), 0.)
        return (_rows(x) * scale.reshape(-1, 1)).reshape(-1)[:x.numel()].view(x.shape)

    def kept(self, x: Tensor, like: Tensor, draw: Draw) -> dict[str, Tensor]:
        rows = _rows(x.float())
        scale = rows.abs().amax(1, keepdim=True) if rows.numel() else rows.new_zeros(len(rows), 1)
        scale = torch.where(scale < SMALLEST, 0., scale.clamp(max=LARGEST))
        u = (rows * torch.where(scale > 0, 1 / scale, 0.)).abs()
        if self.signed:  # in float32, torch's root may be off by a bit
            root = torch.where(u < 1, u, 1.).double().sqrt().float()
            codes = (root * 127).round().copysign(rows)
        else:
            codes = ((u.view(torch.int32) >> 4) + 0x8000 >> 16) - 761
            codes = codes.maximum((rows > 0).int()).clamp(max=255)
        codes = codes.to(like.dtype).reshape(-1)[:x.numel()].view(x.shape)
        return {'': codes, 'scale': scale.view(self.shape('scale', x))}


def _rows(x: Tensor) -> Tensor:
    "The blocks of a tensor as rows, the last one filled up with zeros."
    n = block_of(tuple(x.shape))
    return torch.nn.functional.pad(x.reshape(-1), (0, -x.numel() % n)).view(-1, n)


# -- weights of 16 bits ----------------------------------------------------------------------------

class Split(Format):
    """A weight in bfloat16 and, beside it, 8 or 16 bits of what that cannot hold.

    With 16, these two are the float32 weight. A weight half-way between two of bfloat16 is rounded
    away from 0.
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
    return v != v ? 0 : low ? rest / 256 : rest;
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
    """A weight of 16 bits and, beside it, a second number of its dtype: what it was rounded by.

    Both are added up before the next step (Kahan, "Further remarks on reducing truncation errors",
    1965).
    """
    functions = '''
static inline float if_finite(float v) { return fabsf(v) < INFINITY ? v : 0; }
'''
    read = '({load}({x}) + {load}({rest}))'
    write = '{x} = {store}({v}); {rest} = {store}(if_finite({v} - {load}({x})));'

    def __init__(self, dtype: torch.dtype): self.besides = {'rest': dtype}

    def __hash__(self) -> int: return hash((type(self), self.besides['rest']))

    def value(self, tensors: Tensors) -> Tensor:
        return tensors[''].float() + tensors['rest'].float()

    def kept(self, x: Tensor, like: Tensor, draw: Draw) -> dict[str, Tensor]:
        near = x.float().to(like.dtype)
        rest = x.float() - near.float()
        return {'': near, 'rest': torch.where(rest.isfinite(), rest, 0.).to(like.dtype)}


class Random(Format):
    """A weight of 16 bits, rounded up or down at random: on average, it is what it should be.

    Bits are a hash of the seed, the step, the parameter and the place of the element, so they are
    the same in a run that is resumed, on any number of threads and of processes.
    """
    is_random = True
    functions = '''
static inline uint32_t random_bits(uint32_t at, uint32_t seed)
{
    uint32_t x = at ^ seed;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}
static inline bf16 random_bf16(float v, uint32_t bits)
{
    uint32_t u; memcpy(&u, &v, 4);
    return v != v ? 0x7fc0 : (u + (bits & 0xffff)) >> 16;
}
static inline _Float16 random_f16(float v, uint32_t bits)
{
    uint32_t u; memcpy(&u, &v, 4);
    u = (u + (bits & 0x1fff)) & ~0x1fffu;
    float near; memcpy(&near, &u, 4);
    const float small = floorf(fabsf(v) * 0x1p24f + (bits & 0x1fff) * 0x1p-13f) * 0x1p-24f;
    return (_Float16)(fabsf(v) < 0x1p-14f ? copysignf(small, v) : v != v ? v : near);
}
'''
    read, write = '{load}({x})', '{x} = random_{kind}({v}, random_bits((uint32_t){at}, {seed}));'

    def value(self, tensors: Tensors) -> Tensor: return tensors[''].float()

    def kept(self, x: Tensor, like: Tensor, draw: Draw) -> dict[str, Tensor]:
        x = x.float().contiguous()
        at = torch.arange(draw.first, draw.first + x.numel(), device=x.device).view(x.shape)
        bits, u = _hashed(at & 0xffffffff ^ draw.seed), x.view(torch.int32).long() & 0xffffffff
        if like.dtype == torch.bfloat16:
            top = torch.where(x.isnan(), 0x7fc0, u + (bits & 0xffff) >> 16)
            return {'': top.to(torch.uint16).view(torch.bfloat16)}
        near = (u + (bits & 0x1fff) & ~0x1fff).to(torch.uint32).view(torch.float32)
        small = (x.abs() * 2.**24 + (bits & 0x1fff).float() * 2.**-13).floor() * 2.**-24
        near = torch.where(x.abs() < 2.**-14, small.copysign(x), near)
        return {'': torch.where(x.isnan(), x, near).to(torch.float16)}


def _hashed(x: Tensor) -> Tensor:
    "32 bits of each number that no pattern of the numbers shows."
    x = (x ^ x >> 16) * 0x7feb352d & 0xffffffff
    x = (x ^ x >> 15) * 0x846ca68b & 0xffffffff
    return x ^ x >> 16


def drawn(seed: int, places: Sequence[int], counts: Sequence[int]) -> Tensor:
    "A `Draw` for each parameter, as a row: of its place, and how often it was rounded before."
    steps = _hashed(torch.tensor(counts) * 0x9e3779b9 + seed & 0xffffffff)
    seeds = _hashed(steps + torch.tensor(places) * 0x85ebca6b & 0xffffffff)
    return torch.stack([seeds, torch.zeros_like(seeds)], 1)
