"Models, as the shapes of their parameters."
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Shapes: TypeAlias = 'list[tuple[int, ...]]'


def shapes(name: str) -> Shapes:
    "The shapes of `resnet50`, `500x32x32` or `100M`. Raises ValueError if it is not a model."
    if name in MODELS: return [*MODELS[name]()]
    if found := re.fullmatch(r'(\d+)([kMG])', name):
        return [(int(found[1]) * dict(k=10**3, M=10**6, G=10**9)[found[2]],)]
    if found := re.fullmatch(r'([1-9]\d*)((?:x\d+)*)', name):
        return [tuple(map(int, found[2].split('x')[1:]))] * int(found[1])
    raise ValueError(f'`{name}` is not a model: give {", ".join(MODELS)}, 500x32x32 (tensors of a '
                     'shape) or 100M (one tensor)')


def resnet50() -> Iterator[tuple[int, ...]]:
    "161 tensors, 25.6 million elements (He et al., arXiv:1512.03385, table 1)."
    def conv(n: int, m: int, k: int) -> Shapes: return [(n, m, k, k), (n,), (n,)]  # and batch norm
    yield from conv(64, 3, 7)
    before = 64
    for width, blocks in (64, 3), (128, 4), (256, 6), (512, 3):
        for i in range(blocks):
            yield from conv(width, before, 1) + conv(width, width, 3) + conv(4 * width, width, 1)
            if i == 0: yield from conv(4 * width, before, 1)
            before = 4 * width
    yield from [(1000, before), (1000,)]


def gpt2(d: int=768, layers: int=12) -> Iterator[tuple[int, ...]]:
    "148 tensors, 124 million elements: GPT-2 small (Radford et al., 2019)."
    yield from [(50257, d), (1024, d)]
    for _ in range(layers):
        yield from [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,),
                    (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    yield from [(d,), (d,)]


def gpt2_medium() -> Iterator[tuple[int, ...]]:
    "292 tensors, 355 million elements."
    return gpt2(1024, 24)


def transformer() -> Iterator[tuple[int, ...]]:
    "26 tensors, 10.2 million elements: four layers without biases."
    d = 384
    yield (8000, d)
    for _ in range(4): yield from [(d,), (3 * d, d), (d, d), (d,), (4 * d, d), (d, 4 * d)]
    yield (d,)


MODELS = {'resnet50': resnet50, 'gpt2': gpt2, 'gpt2-medium': gpt2_medium,
          'transformer': transformer}
