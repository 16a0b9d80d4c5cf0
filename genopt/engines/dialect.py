"""What kernels in every language have in common: the passes of a tape, the memory between them, and
how a value is named and loaded.

What follows from numbers alone is computed before a loop, in the precision that Python would have
used.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .edges import Edges
from .nest import index, product, result
from .operations import TYPES, Untranslatable, line, type_of
from .passes import Column, Pass, passes
from .recorder import Op, Reduction, Ref, Space
from .tape import Tape

__all__ = ['Dialect']


class Dialect:
    """A tape's passes, about to be written out.

    `sizes` has axes of a few elements, for which the compiler is told how many. Raises
    Untranslatable for an operation or a dtype that has no C.
    """
    edges_of = Edges

    def __init__(self, tape: Tape, columns: Sequence[Column], sizes: Mapping[int, int]={}):
        for c in columns:
            if c.dtype not in TYPES: raise Untranslatable(f'there is no C for {c.dtype}')
        ops = [op for op in tape.ops if isinstance(op, (Op, Reduction))]
        self.tape, self.columns, self.sizes, found = tape, columns, sizes, passes(ops, columns)
        known = {r.out for p in found for r in p.reduces if self.is_complete(p, r)}
        for p in found: p.keeps = [ref for ref in p.keeps if ref not in known]
        self.passes = [p for p in found if p.keeps or p.reduces or p.writes]
        self.on_numbers = [op for op in ops if isinstance(op, Op) and op.out.is_number]
        self.axes = 1 + max((a for p in self.passes for a in p.space), default=-1)
        self.edges = self.edges_of(columns)
        self.begins = {c.begin: i for i, c in enumerate(columns) if c.begin}
        self.reductions = {r.out: r for p in self.passes for r in p.reduces}
        # Memory: for what is kept, for sums, and for the sums of each chunk that meet in these
        self.memory: dict[tuple[str, Ref], int] = {}
        for p in self.passes:
            for ref in p.keeps: self._new('kept', ref)
            for r in p.reduces:
                self._new('kept' if self.is_complete(p, r) else 'sum', r.out)
                if self.meets(p, r): self._new('chunk', r.out)

    def _new(self, *what: Any) -> None: self.memory.setdefault(what, len(self.memory))

    def is_complete(self, p: Pass, r: Reduction) -> bool:
        "True if all that is added up meets in one variable, so that the result is known at once."
        raise NotImplementedError

    def meets(self, p: Pass, r: Reduction) -> bool:
        "True if each chunk has sums of its own."
        raise NotImplementedError

    def defines(self) -> Iterator[str]:
        axes = max(self.axes, 1)
        for a in range(axes): yield f'#define n{a} {self.sizes.get(a, f"n[{a}]")}'
        yield from self.edges.defines(axes)
        yield f'#define NUMBERS {len(self.tape.numbers)}\n#define MEMORY {len(self.memory)}'

    def type_in_memory(self, what: str, ref: Ref) -> str:
        return type_of(ref.dtype) if what == 'kept' else 'double'

    def pointer(self, what: str, ref: Ref) -> str:
        "The line that says where memory begins."
        i, C = self.memory[what, ref], self.type_in_memory(what, ref)
        return f'    {C} *restrict m{i} = ({C} *)(T->memory + T->at[{i}]);'

    def numbers(self) -> Iterator[str]:
        "The lines that make all numbers known to a pass."
        return self.worked_out()

    def worked_out(self) -> Iterator[str]:
        "The lines that make all numbers from those that are given."
        for i, (name, ref) in enumerate(self.tape.numbers.items()):
            yield f'    const double v{ref.place} = x[{i}];  // {name}'
        yield from (f'    {line(op)}' for op in self.on_numbers)

    def memory_of(self, p: Pass) -> list[tuple[str, Ref]]:
        "What a pass reads and writes of it."
        read = {a for op in p.ops for a in op.args if isinstance(a, Ref)}
        read |= {r.of for r in p.reduces} | {end for _, end in p.writes} | {*p.keeps}
        used = [k for k in self.memory if k[1] in read and k[0] != 'chunk']
        used += [('chunk' if self.meets(p, r) else 'kept' if self.is_complete(p, r) else 'sum',
                  r.out) for r in p.reduces]
        return [*dict.fromkeys(used)]

    def sums(self, p: Pass, r: Reduction) -> str:
        "The array in which a pass adds up: its own, or that of this chunk."
        if not self.meets(p, r): return f'm{self.memory["sum", r.out]}'
        return f'(m{self.memory["chunk", r.out]} + c * {product(r.out.space)})'

    def load(self, ref: Ref, inside: Space) -> str:
        "The line that takes a value from memory, in a loop along the axes `inside`."
        space, C, at = ref.space, type_of(ref.dtype), self.place(ref.space, inside)
        if ref in self.begins: value = self.edges.read(self.begins[ref], at)
        elif ('sum', ref) in self.memory and space == inside:
            value = result(self.reductions[ref], f'm{self.memory["sum", ref]}[{at}]')
        else: value = f'm{self.memory["kept", ref]}[{at}]'
        return f'const {C} v{ref.place} = ({C})({value});'

    def place(self, space: Space, inside: Space) -> str:
        "The place of an element in an array along some axes."
        return index(space)

    def fits(self) -> Iterator[str]:
        "Whether a row of numbers answers all questions as on the tape."
        yield 'int fits(const double *x)\n{\n    (void)x;'
        yield from self.worked_out()
        yield '    return 1' + ''.join(f' && (v{ref.place} != 0) == {int(answer)}'
                                       for ref, answer in self.tape.questions) + ';\n}'
