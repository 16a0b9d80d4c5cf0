"""The edges of a kernel: how it reads and writes tensors that a format keeps, in C.

Where a format has a scale for each block, the innermost loop runs along one block after another.
New values wait in an array of a block's length until the scale is known.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..formats import BLOCK, HASH
from .nest import bounds, index, loop_along
from .operations import TYPES, read, write
from .passes import Column, Pass
from .recorder import Ref

__all__ = ['Edges']

HALVES = {torch.bfloat16: ('bf16', 'from_bf16', 'to_bf16'),
          torch.float16: ('f16', 'from_f16', 'to_f16')}
SCALE = '''/* The bits of a number without its sign are in the order of the numbers. */
static inline uint32_t size_of(float v)
{
    uint32_t u; memcpy(&u, &v, 4);
    return u & 0x7fffffff;
}
static inline float scale_of(uint32_t most)
{
    float res; memcpy(&res, &most, 4);
    return res > FLT_MAX ? FLT_MAX : res < FLT_MIN ? 0 : res;
}'''


class Edges:
    "What a kernel's columns are in memory."
    restrict = ''  # said of pointers

    def __init__(self, columns: Sequence[Column]):
        self.columns = columns
        self.formats = {i: c.format for i, c in enumerate(columns) if c.format}
        self.has_blocks = any(f.in_blocks for f in self.formats.values())
        self.draws = next((c.besides['seed'] for i, c in enumerate(columns)
                           if i in self.formats and self.formats[i].is_random), None)

    def functions(self) -> Iterator[str]:
        "The C of the formats."
        if self.has_blocks: yield SCALE
        if self.draws is not None: yield HASH
        yield from dict.fromkeys(f.functions for f in self.formats.values())

    def defines(self, axes: int) -> Iterator[str]:
        "How many sizes a tensor has: along its axes, and that of a block."
        yield f'#define AXES {axes}\n#define SIZES {axes + self.has_blocks}'
        if self.has_blocks: yield f'#define block n[{axes}]'

    def pointers(self) -> Iterator[str]:
        "Where the tensors of a call are."
        written = {j for c in self.columns if c.end for j in c.besides.values()}
        for i, c in enumerate(self.columns):
            const = '' if c.end or i in written else 'const '
            C = f'{const}{TYPES[c.dtype]} *'
            yield f'    {C}{self.restrict}c{i} = ({C})T->table[{i} * T->count];'
        if self.draws is not None:
            yield f'    const uint32_t seed = (uint32_t)c{self.draws}[0];'
            yield f'    const int64_t first = c{self.draws}[1]; (void)seed; (void)first;'

    def read(self, i: int, at: str) -> str:
        "The value of an element."
        if i not in self.formats: return read(self.columns[i].dtype, f'c{i}[{at}]')
        if self.formats[i].in_blocks: return f'r{i}[({at}) - base]'
        return self.line(i, self.formats[i].read, at, '')

    def write(self, i: int, end: Ref, at: str) -> str:
        "The statement that keeps a new value."
        if i not in self.formats: return f'c{i}[{at}] = {write(self.columns[i].dtype, end)};'
        value = write(torch.float32, end)
        if self.formats[i].in_blocks:
            return (f'const float z{i} = {value}; const uint32_t u{i} = size_of(z{i});\n'
                    f'w{i}[({at}) - base] = z{i}; most{i} = u{i} > most{i} ? u{i} : most{i};')
        return f'{{ const float w = {value}; {self.line(i, self.formats[i].write, at, "w")} }}'

    def beside(self, i: int, j: int, at: str) -> str:
        "An element of column `j`, which keeps more of column `i`."
        return f'q{j}' if self.formats[i].in_blocks else f'c{j}[{at}]'

    def line(self, i: int, template: str, at: str, value: str) -> str:
        kind, load, store = HALVES.get(self.columns[i].dtype, ('', '', ''))
        besides = {k: self.beside(i, j, at) for k, j in self.columns[i].besides.items()}
        return template.format(**besides | dict(
            x=f'c{i}[{at}]', v=value, load=load, store=store, kind=kind, inverse='inverse',
            at=f'(uint32_t)({at} + first)', seed='seed'))

    # -- blocks ------------------------------------------------------------------------------------

    def _read(self, p: Pass) -> list[int]:
        used = {a for op in p.ops for a in op.args if isinstance(a, Ref)} | {*p.keeps}
        used |= {r.of for r in p.reduces} | {end for _, end in p.writes}
        return [i for i, f in self.formats.items() if f.in_blocks and self.columns[i].begin in used]

    def written(self, p: Pass) -> list[int]:
        return [i for i, _ in p.writes if i in self.formats and self.formats[i].in_blocks]

    def opened(self, p: Pass) -> Iterator[str]:
        "A loop along blocks, around that along elements."
        if not self._read(p) and not self.written(p): return
        axis = p.space[-1]
        low, high = bounds(axis)
        yield f'for (int64_t start = {low}; start < {high}; start += block) {{'
        yield f'const int64_t i{axis} = start, left = {high} - start;'
        yield f'const int64_t count = left < block ? left : block, base = {index(p.space)};'
        for i in self._read(p):
            scale = self.columns[i].besides['scale']
            yield f'float r{i}[{BLOCK}]; const float q{scale} = c{scale}[base / block];'
            yield '#pragma omp simd'
            value = self.line(i, self.formats[i].read, 'base + i', '')
            yield f'for (int64_t i = 0; i < count; i++) r{i}[i] = {value};'
        for i in self.written(p): yield f'float w{i}[{BLOCK}]; uint32_t most{i} = 0;'

    def sums(self, p: Pass) -> list[str]:
        "What a loop along the elements of a block finds out, for the compiler."
        return [f'reduction(max: most{i})' for i in self.written(p)]

    def along(self, axis: int, p: Pass) -> str:
        "The loop along the elements of a block, or along all."
        if not self._read(p) and not self.written(p): return loop_along(axis)
        return f'for (int64_t i{axis} = start; i{axis} < start + count; i{axis}++) {{'

    def closed(self, p: Pass) -> Iterator[str]:
        "The codes of a block, when its new values are known."
        if not self._read(p) and not self.written(p): return
        for i in self.written(p):
            scale = self.columns[i].besides['scale']
            yield f'{{ const float most = scale_of(most{i}), inverse = most > 0 ? 1 / most : 0;'
            yield f'c{scale}[base / block] = most;'
            yield self.line(i, self.formats[i].begin, 'base', '')
            yield '#pragma omp simd'
            line = self.line(i, self.formats[i].write, 'base + i', f'w{i}[i]')
            yield f'for (int32_t i = 0; i < (int32_t)count; i++) {{ {line} }} }}'
        yield '}'
