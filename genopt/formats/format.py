"What all formats have in common, and the names of what they keep."
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

__all__ = ['DRAWN', 'Draw', 'Format', 'GOLDEN', 'HASH', 'Tensors', 'are_random', 'beside', 'hashed',
           'kept_beside']

Tensors: TypeAlias = Mapping[str, Tensor]  # '' is the tensor itself, and others have names

GOLDEN = 0x9e3779b9  # 2³² over the golden ratio: its multiples are spread evenly
DRAWN = 'param.drawn'  # in the state: how often it was rounded at random, or its weight

HASH = '''
static inline uint32_t random_bits(uint32_t at, uint32_t seed)
{
    uint32_t x = at ^ seed;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}
'''


class Draw(NamedTuple):
    "What decides the bits of random rounding, beside the place of an element."
    seed: int     # of this step and parameter, a number of 32 bits
    first: int=0  # the place of the first element in a parameter that lies on several processes


class Format:
    """How one tensor is kept.

    In C, {x} is an element in memory, {v} a float, and a name of `besides` in braces its element
    or, with `in_blocks`, that of the block; {inverse} is 1 over the block's scale, or 0; {at} is
    the place of the element; {load} and {store} convert between memory and float. `begin` is what
    a block begins with, at its first element, before `write` for each, whose number in it is `i`.
    """
    besides: Mapping[str, torch.dtype] = {}
    in_blocks, is_random = False, False
    @property
    def in_order(self) -> bool:
        "True if elements must lie in memory in the order of their indices."
        return self.in_blocks or self.is_random
    functions = begin = read = write = ''  # in C

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


def hashed(x: Any) -> Any:
    "32 bits of each number that no pattern of the numbers shows: of a tensor, or of an array."
    x = (x ^ x >> 16) * 0x7feb352d & 0xffffffff
    x = (x ^ x >> 15) * 0x846ca68b & 0xffffffff
    return x ^ x >> 16


def are_random(formats: Mapping[str, Format]) -> bool:
    return any(f.is_random for f in formats.values())


def beside(name: str, what: str) -> str:
    "The name in the state of what a format keeps beside a tensor."
    return f'{name}.{what}' if what else name


def kept_beside(name: str, form: Format, tensors: Mapping[str, Any]) -> dict[str, Any]:
    "All tensors of a format, of those that are there by name."
    return {'': tensors[name], **{what: tensors[beside(name, what)] for what in form.besides}}
