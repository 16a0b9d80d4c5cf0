"The loops of a pass, one inside the other, and at which depth each sum is added up."
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from .operations import line
from .passes import Pass
from .recorder import Reduction, Ref, Space
from .reductions import HOW

__all__ = ['Nest', 'Values', 'bounds', 'index', 'loop_along', 'product', 'result']


class Nest:
    "The loops of a pass: along long axes, and inside of these along those of a few elements."
    def __init__(self, p: Pass, sizes: Mapping[int, int]):
        short = len(p.space)
        while short and p.space[short - 1] in sizes: short -= 1
        self.p, self.long, self.short = p, p.space[:short], p.space[short:]

    def depth(self, r: Reduction) -> int:
        "How many loops are around the variable in which it is added up."
        mine = tuple(a for a in self.long if a in r.out.space)
        if mine == self.long[:len(mine)]: return len(mine)
        return len(self.long) - (self.long[-1] not in mine)

    def at(self, depth: int) -> list[Reduction]:
        return [r for r in self.p.reduces if self.depth(r) == depth]

    def rest(self, r: Reduction) -> Space:
        "The short axes along which it is still many."
        return tuple(a for a in self.short if a in r.out.space)

    def sum(self, r: Reduction) -> str:
        return f's{r.out.place}' + (f'[{index(self.rest(r))}]' if self.rest(r) else '')

    def pragma(self, more: Sequence[str]=()) -> Iterator[str]:
        across = [r for r in self.p.reduces if self.depth(r) < len(self.long)]
        if any(self.rest(r) or not HOW[r.how].is_sum for r in across): return
        names = ', '.join(f's{r.out.place}' for r in across)
        yield ' '.join(['#pragma omp simd', *[f'reduction(+: {names})'] * bool(across), *more])


class Values:
    """The code that makes the values of a pass.

    What is the same along its last long axis comes before that loop, what is the same along the
    short ones comes within it, and the rest comes inside of all.
    """
    def __init__(self, nest: Nest, load: Callable[[Ref, Space], str]):
        p = nest.p
        self.before, self.within, self.inside = list[str](), list[str](), list[str]()
        made = {op.out for op in p.ops}
        read = dict.fromkeys(a for op in p.ops for a in op.args if isinstance(a, Ref))
        read |= dict.fromkeys([*p.keeps, *(r.of for r in p.reduces), *(e for _, e in p.writes)])
        for ref in read:
            if ref.is_number or ref in made: continue
            space = {*ref.space}
            place = self.inside if space & {*nest.short} else self.before
            if place is self.before and space & {*nest.long[-1:]}: place = self.within
            place.append(load(ref, p.space))
        self.inside += [line(op) for op in p.ops]


def product(axes: Iterable[int]) -> str:
    return ' * '.join(f'n{a}' for a in axes) or '1'


def bounds(axis: int) -> tuple[str, str]: return ('a', 'b') if axis == 0 else ('0', f'n{axis}')


def loop_along(axis: int) -> str:
    low, high = bounds(axis)
    return f'for (int64_t i{axis} = {low}; i{axis} < {high}; i{axis}++) {{'


def index(space: Space) -> str:
    "The place in an array along some axes."
    res = ''
    for a in space: res = f'({res}) * n{a} + i{a}' if res else f'i{a}'
    return res or '0'


def result(r: Reduction, total: str) -> str:
    "A reduction's value, of what was added up."
    axes = sorted((r.of.along or frozenset()) - (r.out.along or frozenset()))
    return HOW[r.how].result.format(a=total, n=f'((double){product(axes)})')
