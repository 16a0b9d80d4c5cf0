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
    "What decides the bits of random rounding, together with the position of an element."
    seed: int     # of this step and parameter, a number of 32 bits
    first: int=0  # the place of the first element in a parameter that lies on several processes


class Format:
    """How one tensor is kept.

    `begin` is C that runs once for each block, at its first element. `read` and `write` are for
    each element; in `write`, `i` is its number within the block. Names in braces are

    * {x}: the element in memory, and {v}: its value, a float
    * a name of `besides`: the element of that tensor, or with `in_blocks` that of the block
    * {inverse}: 1 over the block's scale, or 0
    * {at}: the position of the element in its parameter, and {seed}: what decides random bits
    * {load} and {store}: functions between memory and float, and {kind}: `bf16` or `f16`
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
        "The dtype of the stored tensor; without a format it would be `now`."
        return now

    def shape(self, name: str, x: Tensor) -> tuple[int, ...]:
        "The shape of the tensor `name` that is kept beside `x`."
        return tuple(x.shape)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)
    def __hash__(self) -> int: return hash((type(self), *vars(self).items()))
    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{k}={v!r}" for k, v in vars(self).items())})'


def hashed(x: Any) -> Any:
    "A hash of 32 bits of each number in a tensor or an array. It shows no pattern of theirs."
    x = (x ^ x >> 16) * 0x7feb352d & 0xffffffff
    x = (x ^ x >> 15) * 0x846ca68b & 0xffffffff
    return x ^ x >> 16


def are_random(formats: Mapping[str, Format]) -> bool:
    return any(f.is_random for f in formats.values())


def beside(name: str, what: str) -> str:
    "The name in the state of what a format keeps beside a tensor."
    return f'{name}.{what}' if what else name


def kept_beside(name: str, form: Format, tensors: Mapping[str, Any]) -> dict[str, Any]:
    "The tensors of one format, from a state by name."
    return {'': tensors[name], **{what: tensors[beside(name, what)] for what in form.besides}}
