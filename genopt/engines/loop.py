"""Loops in C: the passes of a tape written out, which `toolchain` compiles and keeps on disk.

One call runs them over any number of tensors of any sizes. It is given a table of addresses, so
tensors stay where they are and nothing is copied. Numbers are rows of another table, and each
tensor has one of these.
"""
from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from .dialect import Dialect
from .driver import DRIVER, HALF, PREAMBLE, vector_math
from .nest import Nest, Values, index, loop_along, product, result
from .operations import type_of
from .passes import Pass
from .recorder import Op, Reduction
from .reductions import HOW

__all__ = ['Loops']

CHUNK = 4096        # elements of a chunk, if a row is not longer
LONG_CHUNK = 16384  # the same, if a pass must add up
CHUNKS = 64         # at most, if each needs memory for sums along rows


class Loops(Dialect):
    "The C code of a tape's passes."
    def is_complete(self, p: Pass, r: Reduction) -> bool:
        nest = Nest(p, self.sizes)
        mine = tuple(a for a in nest.long if a in r.out.space)
        return not self.meets(p, r) and nest.depth(r) == len(mine)

    def meets(self, p: Pass, r: Reduction) -> bool:
        "True if the reduction runs along the first axis, which is cut into chunks."
        return 0 in p.space and 0 not in r.out.space

    @property
    def is_simple(self) -> bool: return not self.memory and len(self.passes) == 1

    def source(self) -> str:
        names = {op.name for op in self.tape.ops if isinstance(op, Op)}
        functions = [line for n, p in enumerate(self.passes) for line in self._function(n, p)]
        cases = [f'    case {n}: pass{n}(T, a, b, c); break;' for n in range(len(self.passes))]
        meets = [f'    case {n}: meet{n}(T); break;' for n, p in enumerate(self.passes)
                 if any(self.meets(p, r) for r in p.reduces)]
        wide = ''.join(str(int(0 in p.space)) for p in self.passes)
        code = '\n'.join([
            *vector_math(names), *self.edges.functions(), *self.defines(),
            f'#define PASSES {len(self.passes)}', f'#define SIMPLE {int(self.is_simple)}',
            f'static const char *const wide = "{wide}";  // may a pass be cut into chunks',
            *self._layout(), *functions,
            'static inline void pass(int n, const Tensor *T, int64_t a, int64_t b, int64_t c)',
            '{', '    switch (n) {', *cases, '    }', '}',
            'static inline void meet(int n, const Tensor *T)', '{', '    switch (n) {', *meets,
            '    default: break;', '    }', '}', *self.fits(), DRIVER])
        return PREAMBLE + HALF * bool(re.search(r'\b(?:from_|to_)?f16\b', code)) + code

    # -- memory ------------------------------------------------------------------------------------

    def _layout(self) -> Iterator[str]:
        "How many rows a chunk has, and where memory begins."
        inner = product(range(1, self.axes))
        sums = [ref for what, ref in self.memory if what == 'chunk' and ref.space]
        yield 'static inline int64_t rows_of(const int64_t *n)\n{'
        size = CHUNK if self.is_simple else LONG_CHUNK
        yield f'    int64_t inner = {inner}, rows = inner ? {size} / inner : 1;'
        if sums: yield (f'    const int64_t least = (n[0] + {CHUNKS - 1}) / {CHUNKS};\n'
                        '    rows = rows > least ? rows : least;')
        least = 'block' if self.edges.has_blocks and self.axes < 2 else '1'
        yield f'    return rows > {least} ? rows - rows % {least} : {least};\n}}'
        yield ('static inline int64_t layout(const int64_t *n, int64_t chunks, int64_t *at)\n{\n'
               '    int64_t end = 0;')
        for (what, ref), i in self.memory.items():
            length = product(ref.space) + (' * chunks' if what == 'chunk' else '')
            C = self.type_in_memory(what, ref)
            yield f'    at[{i}] = end; end += (sizeof({C}) * {length} + 63) / 64 * 64;'
        yield '    return end;\n}'

    # -- a pass ------------------------------------------------------------------------------------

    def _function(self, n: int, p: Pass) -> Iterator[str]:
        yield (f'static void pass{n}(const Tensor *T, int64_t a, int64_t b, int64_t c)\n{{\n'
               '    const int64_t *n = T->sizes; const double *x = T->numbers;\n'
               '    (void)n; (void)x; (void)a; (void)b; (void)c;')
        yield from self.edges.pointers()
        yield from self.numbers()
        used = self.memory_of(p)
        yield from (self.pointer(what, ref) for what, ref in used)
        for r in p.reduces:
            if not self.is_complete(p, r): yield from self._begin(p, r)
        yield from (f'    {code}' for code in self._loops(p))
        yield '}'
        if any(self.meets(p, r) for r in p.reduces): yield from self._meeting(n, p)

    def _begin(self, p: Pass, r: Reduction) -> Iterator[str]:
        inner = product(a for a in r.out.space if a)
        low, high = (f'a * {inner}', f'b * {inner}') if 0 in r.out.space else ('0', inner)
        yield (f'    for (int64_t i = {low}; i < {high}; i++) '
               f'{self.sums(p, r)}[i] = {HOW[r.how].begin};')

    def _loops(self, p: Pass) -> Iterator[str]:
        "Loops along all axes; the last long one is done in vectors, and what is in it is unrolled."
        nest = Nest(p, self.sizes)
        values, depth = Values(nest, self.load), len(nest.long)
        yield from self._opened(nest, 0)
        for d, axis in enumerate(nest.long, 1):
            if d == depth:
                yield from values.before
                yield from self.edges.opened(p)
                yield from nest.pragma(self.edges.sums(p))
            yield self.edges.along(axis, p) if d == depth else loop_along(axis)
            yield from self._opened(nest, d)
        yield from values.within if depth else [*values.before, *values.within]
        for axis in nest.short: yield loop_along(axis)
        yield from values.inside
        yield from self._ends(nest)
        for _ in nest.short: yield '}'
        for d in reversed(range(depth + 1)):
            for r in nest.at(d): yield from self._add(p, r, nest)
            if d: yield '}'
            if d and d == depth: yield from self.edges.closed(p)

    def _opened(self, nest: Nest, depth: int) -> Iterator[str]:
        "Variables for the sums that begin at some depth."
        for r in nest.at(depth):
            size, begin = product(nest.rest(r)), HOW[r.how].begin
            if not nest.rest(r): yield f'double s{r.out.place} = {begin};'
            else:
                yield f'double s{r.out.place}[{size}];'
                yield f'for (int i = 0; i < {size}; i++) s{r.out.place}[i] = {begin};'

    def _ends(self, nest: Nest) -> Iterator[str]:
        "What becomes of the values at one point of the loops."
        p = nest.p
        for r in p.reduces:
            how, x = HOW[r.how], f'v{r.of.place}' + ' ? 1 : 0' * (r.of.dtype == torch.bool)
            yield f'const double t{r.out.place} = (double)({x});'
            yield f'const double e{r.out.place} = {how.take.format(v=f"t{r.out.place}")};'
            yield f'{nest.sum(r)} = {how.combine.format(a=nest.sum(r), b=f"e{r.out.place}")};'
        for ref in p.keeps: yield f'm{self.memory["kept", ref]}[{index(p.space)}] = v{ref.place};'
        for i, end in p.writes: yield self.edges.write(i, end, index(p.space))

    def _add(self, p: Pass, r: Reduction, nest: Nest) -> Iterator[str]:
        "Adds a sum to its place in memory."
        for axis in nest.rest(r): yield loop_along(axis)
        at = index(r.out.space)
        if self.is_complete(p, r):
            value = f'({type_of(r.out.dtype)})({result(r, nest.sum(r))})'
            yield f'm{self.memory["kept", r.out]}[{at}] = {value};'
        else:
            total = f'{self.sums(p, r)}[{at}]'
            yield f'{total} = {HOW[r.how].combine.format(a=total, b=nest.sum(r))};'
        for _ in nest.rest(r): yield '}'

    def _meeting(self, n: int, p: Pass) -> Iterator[str]:
        "The sums of all chunks meet, in the chunks' order."
        yield f'static void meet{n}(const Tensor *T)\n{{\n    const int64_t *n = T->sizes; (void)n;'
        for r in p.reduces:
            if not self.meets(p, r): continue
            size, how = product(r.out.space), HOW[r.how]
            total, part = self.memory['sum', r.out], self.memory['chunk', r.out]
            yield self.pointer('sum', r.out)
            yield self.pointer('chunk', r.out)
            yield f'    for (int64_t i = 0; i < {size}; i++) m{total}[i] = {how.begin};'
            yield f'    for (int64_t k = 0; k < T->chunks; k++)\n        ' \
                  f'for (int64_t i = 0; i < {size}; i++) {{'
            yield f'            const double e = m{part}[k * {size} + i];'
            yield f'            m{total}[i] = {how.combine.format(a=f"m{total}[i]", b="e")};'
            yield '        }'
        yield '}'
