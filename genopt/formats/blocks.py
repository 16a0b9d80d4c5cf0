"State in 8 bits: a code for each element, and a scale for each block of them."
from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from .format import GOLDEN, Draw, Format, Tensors, hashed

__all__ = ['BLOCK', 'Blocks', 'block_of']

LARGEST, SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny
SALT = GOLDEN  # other bits than those of a weight in the same place
BLOCK, LEAST = 256, 32  # elements of a block: at most, and at least if it is to divide a row


def block_of(shape: tuple[int, ...]) -> int:
    """Elements of a block of a tensor of this shape.

    Its rows are cut evenly, if that gives blocks of 32 to 256 elements: then blocks are the same
    in a tensor whose rows lie on several processes. Otherwise blocks run across rows.
    """
    row = prod(shape[1:])
    if len(shape) < 2 or row < LEAST: return BLOCK
    return next((n for n in range(min(BLOCK, row), LEAST - 1, -1) if row % n == 0), BLOCK)


class Blocks(Format):
    """8 bits for each element, and for each block the largest number in it, in float32.

    Signed numbers have 127 codes on each side of 0, evenly spaced in the square root of the
    magnitude, so codes are closer to each other near 0. Numbers that are never negative are small
    floats of 5 bits for the exponent and 3 for the mantissa, down to 2⁻³¹ of the largest one. They
    are rounded at random to one of the two codes next to them, and are right on average: an average
    of squares changes by a thousandth in a step, which the nearest code would never show. A
    positive number never becomes 0, unless all of its block is below the smallest normal number of
    float32 (1.2e-38): such a block is kept as zeros. The largest number is exact. Infinity becomes
    the largest number of float32; one NaN makes all of its block NaN.
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
static inline uint8_t unsigned_code(float v, float inverse, uint32_t bits)
{
    const float x = fabsf(v * inverse);
    uint32_t u; memcpy(&u, &x, 4);
    const int32_t next = (int32_t)((u + (bits >> 12 | 1)) >> 20) - 761, least = v > 0;
    const int32_t c = next > least ? next : least;
    return (uint8_t)(c < 255 ? c : 255);
}
'''

    def __init__(self, signed: bool): self.signed = signed

    @property
    def read(self) -> str:  # type: ignore[override]
        return f'{self._kind}_value({{x}}, {{scale}})'

    @property
    def begin(self) -> str:  # type: ignore[override]
        if self.signed: return ''
        return f'const uint32_t bits = random_bits({{at}}, {{seed}} ^ {SALT:#x}u);'

    @property
    def write(self) -> str:  # type: ignore[override]
        bits = '' if self.signed else f', bits + (uint32_t)i * {GOLDEN:#x}u'
        return f'{{x}} = {self._kind}_code({{v}}, {{inverse}}{bits});'

    @property
    def is_random(self) -> bool: return not self.signed  # type: ignore[override]

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
            bits = _random_bits(rows, draw)
            codes = (u.view(torch.int32).long() + (bits >> 12 | 1) >> 20) - 761
            codes = codes.maximum((rows > 0).int()).clamp(max=255)
        codes = codes.to(like.dtype).reshape(-1)[:x.numel()].view(x.shape)
        return {'': codes, 'scale': scale.view(self.shape('scale', x))}


def _random_bits(rows: Tensor, draw: Draw) -> Tensor:
    "32 bits for each element: those of its block, and a multiple of the golden ratio."
    count, n = rows.shape
    at, i = (torch.arange(size, device=rows.device) for size in (count, n))
    of_block: Tensor = hashed(draw.first + n * at & 0xffffffff ^ draw.seed ^ SALT)
    return of_block.view(-1, 1) + GOLDEN * i & 0xffffffff


def _rows(x: Tensor) -> Tensor:
    "The blocks of a tensor as rows, the last one filled up with zeros."
    n = block_of(tuple(x.shape))
    return torch.nn.functional.pad(x.reshape(-1), (0, -x.numel() % n)).view(-1, n)
