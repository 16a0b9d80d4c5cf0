"""Loops in C: the passes of a tape written out, which `toolchain` compiles and keeps on disk.

One call runs them over any number of tensors of any sizes. It is given a table of addresses, so
tensors stay where they are and nothing is copied. Numbers are rows of another table, and each
tensor has one of these. What follows from numbers alone is computed before a loop, in the precision
that Python would have used.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from .driver import DRIVER, PREAMBLE, vector_math
from .edges import Edges
from .nest import Nest, Values, index, loop_along, product, result
from .operations import TYPES, Untranslatable, line, type_of
from .passes import Column, Pass, passes
from .recorder import Op, Reduction, Ref, Space
from .reductions import HOW
from .tape import Tape

__all__ = ['Column', 'source']

CHUNK = 4096        # elements of a chunk, if a row is not longer
LONG_CHUNK = 16384  # the same, if a pass must add up
CHUNKS = 64         # at most, if each needs memory for sums along rows


def source(tape: Tape, columns: Sequence[Column], sizes: Mapping[int, int]={}) -> str:
    """The kernel in C. Raises Untranslatable for an operation or a dtype that has no C.

    `sizes` has axes of a few elements, for which the compiler is told how many.
    """
    for c in columns:
        if c.dtype not in TYPES: raise Untranslatable(f'there is no C for {c.dtype}')
    return _Loops(tape, [op for op in tape.ops if isinstance(op, (Op, Reduction))], columns,
                  sizes).source()


class _Loops:
    "The C code of a tape's passes."
    def __init__(self, tape: Tape, ops: Sequence[Op | Reduction], columns: Sequence[Column],
                 sizes: Mapping[int, int]):
        self.tape, self.columns, self.sizes, found = tape, columns, sizes, passes(ops, columns)
        known = {r.out for p in found for r in p.reduces if self._is_complete(p, r)}
        for p in found: p.keeps = [ref for ref in p.keeps if ref not in known]
        self.passes = [p for p in found if p.keeps or p.reduces or p.writes]
        self.on_numbers = [op for op in ops if isinstance(op, Op) and op.out.is_number]
        self.axes = 1 + max((a for p in self.passes for a in p.space), default=-1)
        self.edges = Edges(columns)
        self.begins = {c.begin: i for i, c in enumerate(columns) if c.begin}
        self.reductions = {r.out: r for p in self.passes for r in p.reduces}
        # Memory: for what is kept, for sums, and for the sums of each chunk that meet in these
        self.memory: dict[tuple[str, Ref], int] = {}
        for p in self.passes:
            for ref in p.keeps: self._new('kept', ref)
            for r in p.reduces:
                self._new('kept' if self._is_complete(p, r) else 'sum', r.out)
                if self._meets(p, r): self._new('chunk', r.out)
        self.is_simple = not self.memory and len(self.passes) == 1

    def _new(self, *what: Any) -> None: self.memory.setdefault(what, len(self.memory))

    def _is_complete(self, p: Pass, r: Reduction) -> bool:
        "True if all that is added up meets in one variable, so that the result is known at once."
        nest = Nest(p, self.sizes)
        mine = tuple(a for a in nest.long if a in r.out.space)
        return not self._meets(p, r) and nest.depth(r) == len(mine)

    def _meets(self, p: Pass, r: Reduction) -> bool:
        "True if each chunk has sums of its own, as the reduction runs along the first axis."
        return 0 in p.space and 0 not in r.out.space

    def source(self) -> str:
        names = {op.name for op in self.tape.ops if isinstance(op, Op)}
        functions = [line for n, p in enumerate(self.passes) for line in self._function(n, p)]
        cases = [f'    case {n}: pass{n}(T, a, b, c); break;' for n in range(len(self.passes))]
        meets = [f'    case {n}: meet{n}(T); break;' for n, p in enumerate(self.passes)
                 if any(self._meets(p, r) for r in p.reduces)]
        wide = ''.join(str(int(0 in p.space)) for p in self.passes)
        return '\n'.join([
            PREAMBLE, *vector_math(names), *self.edges.functions(), *self._sizes(),
            f'#define PASSES {len(self.passes)}', f'#define NUMBERS {len(self.tape.numbers)}',
            f'#define MEMORY {len(self.memory)}', f'#define SIMPLE {int(self.is_simple)}',
            f'static const char *const wide = "{wide}";  // may a pass be cut into chunks',
            *self._layout(), *functions,
            'static inline void pass(int n, const Tensor *T, int64_t a, int64_t b, int64_t c)',
            '{', '    switch (n) {', *cases, '    }', '}',
            'static inline void meet(int n, const Tensor *T)', '{', '    switch (n) {', *meets,
            '    default: break;', '    }', '}', *self._fits(), DRIVER])

    def _sizes(self) -> Iterator[str]:
        axes = max(self.axes, 1)
        for a in range(axes): yield f'#define n{a} {self.sizes.get(a, f"n[{a}]")}'
        yield from self.edges.defines(axes)

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
            C = type_of(ref.dtype) if what == 'kept' else 'double'
            yield f'    at[{i}] = end; end += (sizeof({C}) * {length} + 63) / 64 * 64;'
        yield '    return end;\n}'

    def _pointer(self, what: str, ref: Ref) -> str:
        i = self.memory[what, ref]
        C = type_of(ref.dtype) if what == 'kept' else 'double'
        return f'    {C} *restrict m{i} = ({C} *)(T->memory + T->at[{i}]);'

    # -- a pass ------------------------------------------------------------------------------------

    def _function(self, n: int, p: Pass) -> Iterator[str]:
        yield (f'static void pass{n}(const Tensor *T, int64_t a, int64_t b, int64_t c)\n{{\n'
               '    const int64_t *n = T->sizes; const double *x = T->numbers;\n'
               '    (void)n; (void)x; (void)a; (void)b; (void)c;')
        yield from self.edges.pointers()
        yield from self._numbers()
        used = self._memory_of(p)
        yield from (self._pointer(what, ref) for what, ref in used)
        for r in p.reduces:
            if not self._is_complete(p, r): yield from self._begin(p, r)
        yield from (f'    {code}' for code in self._loops(p))
        yield '}'
        if any(self._meets(p, r) for r in p.reduces): yield from self._meeting(n, p)

    def _numbers(self) -> Iterator[str]:
        for i, (name, ref) in enumerate(self.tape.numbers.items()):
            yield f'    const double v{ref.place} = x[{i}];  // {name}'
        yield from (f'    {line(op)}' for op in self.on_numbers)

    def _memory_of(self, p: Pass) -> list[tuple[str, Ref]]:
        read = {a for op in p.ops for a in op.args if isinstance(a, Ref)}
        read |= {r.of for r in p.reduces} | {end for _, end in p.writes} | {*p.keeps}
        used = [k for k in self.memory if k[1] in read and k[0] != 'chunk']
        used += [('chunk' if self._meets(p, r) else 'kept' if self._is_complete(p, r) else 'sum',
                  r.out) for r in p.reduces]
        return [*dict.fromkeys(used)]

    def _sums(self, p: Pass, r: Reduction) -> str:
        "The array in which a pass adds up: its own, or that of this chunk."
        if not self._meets(p, r): return f'm{self.memory["sum", r.out]}'
        return f'(m{self.memory["chunk", r.out]} + c * {product(r.out.space)})'

    def _begin(self, p: Pass, r: Reduction) -> Iterator[str]:
        inner = product(a for a in r.out.space if a)
        low, high = (f'a * {inner}', f'b * {inner}') if 0 in r.out.space else ('0', inner)
        yield (f'    for (int64_t i = {low}; i < {high}; i++) '
               f'{self._sums(p, r)}[i] = {HOW[r.how].begin};')

    def _loops(self, p: Pass) -> Iterator[str]:
        "Loops along all axes; the last long one is done in vectors, and what is in it is unrolled."
        nest = Nest(p, self.sizes)
        values, depth = Values(nest, self._load), len(nest.long)
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
        if self._is_complete(p, r):
            value = f'({type_of(r.out.dtype)})({result(r, nest.sum(r))})'
            yield f'm{self.memory["kept", r.out]}[{at}] = {value};'
        else:
            total = f'{self._sums(p, r)}[{at}]'
            yield f'{total} = {HOW[r.how].combine.format(a=total, b=nest.sum(r))};'
        for _ in nest.rest(r): yield '}'

    def _meeting(self, n: int, p: Pass) -> Iterator[str]:
        "The sums of all chunks meet, in the chunks' order."
        yield f'static void meet{n}(const Tensor *T)\n{{\n    const int64_t *n = T->sizes; (void)n;'
        for r in p.reduces:
            if not self._meets(p, r): continue
            size, how = product(r.out.space), HOW[r.how]
            total, part = self.memory['sum', r.out], self.memory['chunk', r.out]
            yield self._pointer('sum', r.out)
            yield self._pointer('chunk', r.out)
            yield f'    for (int64_t i = 0; i < {size}; i++) m{total}[i] = {how.begin};'
            yield f'    for (int64_t k = 0; k < T->chunks; k++)\n        ' \
                  f'for (int64_t i = 0; i < {size}; i++) {{'
            yield f'            const double e = m{part}[k * {size} + i];'
            yield f'            m{total}[i] = {how.combine.format(a=f"m{total}[i]", b="e")};'
            yield '        }'
        yield '}'

    def _fits(self) -> Iterator[str]:
        "Whether a row of numbers answers all questions as on the tape."
        yield 'int fits(const double *x)\n{\n    (void)x;'
        yield from self._numbers()
        yield '    return 1' + ''.join(f' && (v{ref.place} != 0) == {int(answer)}'
                                       for ref, answer in self.tape.questions) + ';\n}'

    def _load(self, ref: Ref, inside: Space) -> str:
        "The line that takes a value from memory."
        space, C, at = ref.space, type_of(ref.dtype), index(ref.space)
        if ref in self.begins: value = self.edges.read(self.begins[ref], at)
        elif ('sum', ref) in self.memory and space == inside:
            value = result(self.reductions[ref], f'm{self.memory["sum", ref]}[{at}]')
        else: value = f'm{self.memory["kept", ref]}[{at}]'
        return f'const {C} v{ref.place} = ({C})({value});'
