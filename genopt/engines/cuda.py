"""Kernels for a GPU: the passes of a tape in CUDA C++, each for all tensors at once.

A block of threads has a *piece* of one tensor, which it looks up in a table. Its threads go over
the piece side by side. What they add up meets in a tree, and the sums of pieces in a kernel of
their own, in the pieces' order. Only sizes decide where pieces begin, so results do not depend on
timing.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from .cuda_driver import ARGUMENTS, BEGIN, LANES, NUMBERS, PREAMBLE, TREE
from .dialect import Dialect
from .driver import TENSOR
from .edges import Edges
from .nest import index, product
from .operations import TYPED, line, type_of
from .passes import Pass, needed
from .recorder import Reduction, Ref, Space
from .reductions import HOW

__all__ = ['Cuda', 'Launch']


class Launch(NamedTuple):
    "A kernel, and how its tensors are cut: what a piece's numbers count."
    name: str
    how: str      # 'elements', 'rows' (in elements, but no row is cut), or 'sums' that meet
    space: Space  # the axes along which it runs
    p: Pass


class _Edges(Edges):
    "All threads read codes where they are. A block's new values wait in shared memory."
    restrict = 'restrict '

    def read(self, i: int, at: str) -> str:
        if i not in self.formats or not self.formats[i].in_blocks: return super().read(i, at)
        return self.line(i, self.formats[i].read, at, '')

    def beside(self, i: int, j: int, at: str) -> str:
        return f'c{j}[({at}) / block]' if self.formats[i].in_blocks else f'c{j}[{at}]'

    def codes(self, i: int) -> Iterator[str]:
        "The codes of a block, when its new values are known."
        scale, f = self.columns[i].besides['scale'], self.formats[i]
        yield f'found[t] = most{i}; __syncthreads();'
        yield 'for (uint32_t k = THREADS / 2; k; k /= 2) {'
        yield '    if (t < k && found[t + k] > found[t]) found[t] = found[t + k];'
        yield '    __syncthreads();\n}'
        yield '{ const float most = scale_of(found[0]), inverse = most > 0 ? 1 / most : 0;'
        yield f'__syncthreads();\nif (!t) c{scale}[base / block] = most;'
        yield self.line(i, f.begin, 'base', '')
        yield 'for (uint32_t i = t; i < length; i += THREADS) {'
        yield f'{self.line(i, f.write, "base + i", f"w{i}[i]")} }} }}'


class Cuda(Dialect):
    "The CUDA C++ of a tape's passes."
    edges_of = _Edges
    edges: _Edges

    def is_complete(self, p: Pass, r: Reduction) -> bool: return False

    def meets(self, p: Pass, r: Reduction) -> bool:
        return 0 not in r.out.space and (0 in p.space or self._cuts_rows(p))

    def _cuts_rows(self, p: Pass) -> bool: return not any(r.out.space for r in p.reduces)

    def place(self, space: Space, inside: Space) -> str:
        return 'e' if space == inside else super().place(space, inside)

    def launches(self) -> list[Launch]:
        "The kernels of a step, in order."
        res = []
        for n, p in enumerate(self.passes):
            how = 'elements' if self._cuts_rows(p) else 'rows'
            res.append(Launch(f'pass{n}', how, p.space, p))
            meeting = dict.fromkeys(r.out.space for r in p.reduces if self.meets(p, r))
            res += [Launch(f'meet{n}_{i}', 'sums', space, p) for i, space in enumerate(meeting)]
        return res

    @property
    def values(self) -> list[Ref]:
        "All numbers of a row: those that are given, and what follows from them."
        return [*self.tape.numbers.values(), *(op.out for op in self.on_numbers)]

    def source(self) -> str:
        kernels = [line for launch in self.launches() for line in self._kernel(launch)]
        return '\n'.join([PREAMBLE, TYPED, TENSOR, *self.edges.functions(), *self.defines(),
                          f'#define VALUES {len(self.values)}', *self._rows(), *kernels])

    def _rows(self) -> Iterator[str]:
        "A kernel that makes the numbers of each row, before all others."
        yield NUMBERS
        yield from self.worked_out()
        yield from (f'    y[{i}] = v{ref.place};' for i, ref in enumerate(self.values))
        yield '} }'

    def numbers(self) -> Iterator[str]:
        for i, ref in enumerate(self.values):
            C = type_of(ref.dtype)
            yield f'    const {C} v{ref.place} = ({C})x[{i}];'

    def _kernel(self, launch: Launch) -> Iterator[str]:
        p = launch.p
        yield f'KERNEL {launch.name}({ARGUMENTS})\n{{\n{BEGIN}'
        if launch.how == 'sums':
            rs = [r for r in p.reduces if self.meets(p, r) and r.out.space == launch.space]
            yield '    __shared__ double fold[THREADS];'
            yield from (self.pointer(what, r.out) for r in rs for what in ('sum', 'chunk'))
            yield from self._meeting(rs)
        else:
            yield from self.edges.pointers()
            yield from self.numbers()
            yield from (self.pointer(what, ref) for what, ref in self.memory_of(p))
            yield from self._digits(p.space)
            if p.reduces: yield '    __shared__ double fold[THREADS];'
            for out in dict.fromkeys(r.out.space for r in p.reduces): yield from self._sums(p, out)
            if p.keeps or p.writes: yield from self._elements(p)
        yield '}'

    # -- places ------------------------------------------------------------------------------------

    def _digits(self, space: Space) -> Iterator[str]:
        "Where a piece begins, along each axis."
        yield '    int64_t left = a; (void)left;'
        for axis in reversed(space[1:]):
            yield f'    const int64_t d{axis} = left % n{axis}; left /= n{axis};'
        if space: yield f'    const int64_t d{space[0]} = left;'

    def _places(self, of: str, space: Space) -> Iterator[str]:
        "The place along each axis of the element that is `of` behind the first one."
        rest = of
        for axis in reversed(space[1:]):
            yield f'const uint32_t h{axis} = {rest} + (uint32_t)d{axis};'
            yield f'const int64_t i{axis} = h{axis} % (uint32_t)n{axis};'
            rest = f'h{axis} / (uint32_t)n{axis}'
        if space: yield f'const int64_t i{space[0]} = d{space[0]} + {rest};'

    def _values(self, p: Pass, wanted: Iterable[Ref]) -> Iterator[str]:
        "What makes some values of one element."
        wanted = [ref for ref in dict.fromkeys(wanted) if not ref.is_number]
        ops: Any = needed(wanted, {op.out: op for op in p.ops})
        read = dict.fromkeys([*wanted, *(x for op in ops for x in op.args if isinstance(x, Ref))])
        made = {op.out for op in ops}
        yield from (self.load(x, p.space) for x in read if not x.is_number and x not in made)
        yield from map(line, ops)

    # -- elements ----------------------------------------------------------------------------------

    def _elements(self, p: Pass) -> Iterator[str]:
        "Values that are kept and written."
        coded = [i for i, _ in p.writes if i in self.edges.formats
                 and self.edges.formats[i].in_blocks]
        length = 'block' if coded else '(b - a)'
        for i in coded: yield f'    __shared__ float w{i}[256];'
        if coded: yield '    __shared__ uint32_t found[THREADS];'
        yield f'for (int64_t base = a; base < b; base += {length}) {{'
        yield f'const uint32_t length = b - base < {length} ? b - base : {length};'
        for i in coded: yield f'uint32_t most{i} = 0;'
        yield '#pragma unroll 4\nfor (uint32_t l = t; l < length; l += THREADS) {'
        yield 'const int64_t e = base + l; (void)e;'
        yield from self._places('(uint32_t)(e - a)', p.space)
        yield from self._values(p, [*p.keeps, *(end for _, end in p.writes)])
        for ref in p.keeps: yield f'm{self.memory["kept", ref]}[e] = v{ref.place};'
        for i, end in p.writes: yield self.edges.write(i, end, 'e')
        yield '}'
        for i in coded: yield from self.edges.codes(i)
        yield '}'

    # -- sums --------------------------------------------------------------------------------------

    def _sums(self, p: Pass, out: Space) -> Iterator[str]:
        "Sums along all axes but some, of a piece."
        rs = [r for r in p.reduces if r.out.space == out]
        inner = product(p.space[1:]) if p.space[0] == 0 else '1'
        def count(axes: Space) -> str:
            if axes == p.space: return '(b - a)'
            return product(axes).replace('n0', f'((b - a) / ({inner}))')
        rest = tuple(a for a in p.space if a not in out)
        yield f'{{\n    const uint32_t outs = {count(out)}, rest = {count(rest)};'
        yield from self._lanes(is_beside=p.space[-1] in rest)
        yield from self._places('o', out)
        for r in rs: yield f'double s{r.out.place} = {HOW[r.how].begin};'
        yield 'if (o < outs) {\n#pragma unroll 4\nfor (uint32_t q = lane; q < rest; q += lanes) {'
        yield from self._places('q', rest)
        at = index(p.space) if out else 'a + q'
        yield f'const int64_t e = {at}; (void)e;'
        yield from self._values(p, [r.of for r in rs])
        for r in rs:
            x = f'v{r.of.place}' + ' ? 1 : 0' * (r.of.dtype == torch.bool)
            yield f'const double t{r.out.place} = (double)({x});'
            yield from self._combined(r, HOW[r.how].take.format(v=f't{r.out.place}'))
        yield '} }'
        yield from self._trees(rs, lambda r: f'{self.sums(p, r)}[{index(out)}]')

    def _meeting(self, rs: Sequence[Reduction]) -> Iterator[str]:
        "The sums of all pieces."
        yield '{\n    const uint32_t outs = b - a, rest = c;'
        yield from self._lanes(is_beside=not rs[0].out.space)
        for r in rs: yield f'double s{r.out.place} = {HOW[r.how].begin};'
        yield 'if (o < outs) for (uint32_t q = lane; q < rest; q += lanes) {'
        for r in rs:
            part = self.memory['chunk', r.out]
            yield from self._combined(r, f'm{part}[q * ({product(r.out.space)}) + a + o]')
        yield '}'
        yield from self._trees(rs, lambda r: f'm{self.memory["sum", r.out]}[a + o]')

    def _lanes(self, is_beside: bool) -> Iterator[str]:
        """Threads that work on one sum: side by side if its elements lie so, or else far apart,
        and those of neighbouring sums side by side."""
        many, of = ('lanes', 'rest') if is_beside else ('sums', 'outs')
        few = 'sums' if is_beside else 'lanes'
        yield LANES.format(small=many, large=few, of=of)
        places = ('t / lanes', 't % lanes', '1') if is_beside else ('t % sums', 't / sums', 'sums')
        yield '    const uint32_t me = {}, lane = {}, step = {};'.format(*places)
        yield '    for (uint32_t begin = 0; begin < outs; begin += sums) {'
        yield '    const uint32_t o = begin + me;'

    def _combined(self, r: Reduction, new: str) -> Iterator[str]:
        total, e = f's{r.out.place}', f'e{r.out.place}'
        yield f'const double {e} = {new};'
        yield f'{total} = {HOW[r.how].combine.format(a=total, b=e)};'

    def _trees(self, rs: Sequence[Reduction], place: Any) -> Iterator[str]:
        for r in rs:
            yield TREE.format(i=r.out.place, combine=HOW[r.how].combine.format(a='a', b='b'))
            yield f'if (o < outs && !lane) {place(r)} = s{r.out.place};'
        yield '} }'
