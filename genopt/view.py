"""A view: how parts see each parameter of a group, as a pattern of its dimensions.

    o ... -> o (...)                a convolution as a matrix, a row for each output
    (n=3 d) i -> n d i              a fused q·k·v as three matrices
    (d=2048+512+512) i -> d i       the same, where k and v have fewer heads
    o (h=12 d) -> h o d             the columns of each head as a matrix
    e o i -> e o i                  experts: a stack of matrices
    i o -> o i                      a matrix that is stored with a row for each input

Left of the arrow stand the parameter's dimensions; one that is made of several, in brackets. `h=12`
gives a size, `d=2048+512+512` cuts along that dimension, and `...` is all dimensions that are not
named. On the right, the last two are the rows and the columns of a matrix, and those before them
count matrices. Each is a piece, which parts see as they would see a parameter.

Pieces share their parameter's memory, except where no matrix can lie in it as the pattern says: a
convolution in `channels_last` is copied.
"""
from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

__all__ = ['View', 'view_of']

Shape: TypeAlias = tuple[int, ...]
Dimension: TypeAlias = tuple[str, ...]  # the axes of which a dimension is made

FORM = "write it as in view='o ... -> o (...)' or view='(h=12 d) i -> h d i'"
TERM = re.compile(r'\(([^()]*)\)|([^()\s]+)')
AXIS = re.compile(r'([A-Za-z_]\w*)(?:=([1-9]\d*(?:\+[1-9]\d*)*))?|\.\.\.')


class Cut(NamedTuple):
    "Some of a parameter's elements, all of one matrix's shape."
    dim: int      # along which they are cut out
    begin: int
    length: int
    inner: Shape  # with a dimension for each axis
    order: Shape  # of the axes on the right
    outer: Shape  # of the stack of matrices


class View:
    "A pattern. Raises ValueError if it cannot be read."
    def __init__(self, text: str):
        self.text, self.sizes = text, dict[str, Shape]()
        if not isinstance(text, str):
            raise TypeError(f'view={text!r} is not a text: {FORM}')
        sides = text.split('->')
        if len(sides) != 2: raise self._wrong('it needs one arrow')
        self.left, self.right = map(self._side, sides)
        left, right = ([a for d in side for a in d] for side in (self.left, self.right))
        if odd := next((a for a in (*left, *right) if left.count(a) != 1 or right.count(a) != 1),
                       ''):
            raise self._wrong(f'`{odd}` must stand once on each side')
        if '...' in left and ('...',) not in self.left:
            raise self._wrong('on the left `...` stands for dimensions of their own')
        if len(self.right) < 2: raise self._wrong('the right needs rows and columns')
        sums = [a for a, sizes in self.sizes.items() if len(sizes) > 1]
        self.cut = (sums[0],) if sums else None
        if sums[1:] or self.cut and self.cut not in self.left:
            raise self._wrong('of all sizes one may be a sum, that of a whole dimension')

    def _side(self, text: str) -> list[Dimension]:
        "The dimensions on one side."
        if TERM.sub('', text).strip(): raise self._wrong('its brackets do not match')
        return [tuple(map(self._axis, (inside or one).split()))
                for inside, one in TERM.findall(text)]

    def _axis(self, text: str) -> str:
        found = AXIS.fullmatch(text)
        if not found: raise self._wrong(f'`{text}` is not the name of a dimension')
        name, sizes = found.groups()
        if sizes: self.sizes[name] = tuple(map(int, sizes.split('+')))
        return name or '...'

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f'view={self.text!r}: {why}: {FORM}')

    # -- of a shape --------------------------------------------------------------------------------

    def cuts(self, shape: Sequence[int]) -> tuple[Cut, ...]:
        "How it cuts a parameter of this shape. Raises ValueError if that does not fit."
        return _cuts(self, tuple(shape))

    def why_not(self, shape: Sequence[int]) -> str:
        "Why it does not fit a parameter of this shape, or ''."
        try: self.cuts(shape)
        except ValueError as e: return str(e)
        return ''

    def shapes(self, shape: Sequence[int]) -> list[Shape]:
        "The shape of each piece."
        return [cut.outer[-2:] for cut in self.cuts(shape)
                for _ in range(math.prod(cut.outer[:-2]))]

    def _found(self, shape: Shape) -> Iterator[Cut]:
        left = self._written_out(self.left, shape)
        axes = [a for d in left for a in d]
        at = left.index(self.cut) if self.cut else 0
        begin = 0
        for length in self.sizes[self.cut[0]] if self.cut else shape[:1]:
            sizes: dict[str, int] = {}
            for i, (dimension, n) in enumerate(zip(left, shape)):
                sizes |= self._sizes(dimension, length if i == at else n)
            right = self._written_out(self.right, shape)
            yield Cut(at, begin, length, tuple(sizes[a] for a in axes),
                      tuple(axes.index(a) for d in right for a in d),
                      tuple(math.prod(sizes[a] for a in d) for d in right))
            begin += length
        if begin != shape[at]:
            raise ValueError(f'dimension {at} has {shape[at]} elements, and not {begin}')

    def _written_out(self, side: Sequence[Dimension], shape: Shape) -> list[Dimension]:
        "One side, with names for the dimensions that `...` stands for."
        more = len(shape) - len(self.left) + (rest := ('...',) in self.left)
        if more < 0 or not rest and more:
            s, least = 's' * (len(shape) != 1), 'at least ' * rest
            raise ValueError(f'it has {len(shape)} dimension{s}, and the pattern {least}'
                             f'{len(self.left) - rest}')
        names = tuple(f'...{i}' for i in range(more))
        return [d for dimension in side for d in (
            [(n,) for n in names] if dimension == ('...',) and side is self.left else
            [tuple(b for a in dimension for b in (names if a == '...' else (a,)))])]

    def _sizes(self, dimension: Dimension, n: int) -> dict[str, int]:
        "The sizes of the axes of a dimension of n elements."
        if dimension == self.cut: return {self.cut[0]: n}
        known = {a: self.sizes[a][0] for a in dimension if a in self.sizes}
        unknown, product = [a for a in dimension if a not in known], math.prod(known.values())
        if len(unknown) > 1:
            raise ValueError(f'give the size of `{unknown[0]}` or of `{unknown[1]}`, as in '
                             f'{unknown[0]}=2')
        if n % product or not unknown and n != product:
            sizes = ' and '.join(f'{a} = {k}' for a, k in known.items())
            raise ValueError(f'a dimension of {n} cannot be ({" ".join(dimension)}) with {sizes}')
        return known | dict.fromkeys(unknown, n // product)

    # -- of a tensor -------------------------------------------------------------------------------

    def stacks(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Stacks of matrices, in a tensor of a parameter's shape, and the elements of each in `x`.

        A stack is a view of these elements where it can be one, and else a copy.
        """
        for cut in self.cuts(x.shape):
            part = x if cut.length == x.shape[cut.dim] else x.narrow(*cut[:3])
            inside = part.view(cut.inner) if cut.inner != part.shape else part
            if cut.order != (*range(len(cut.order)),): inside = inside.permute(cut.order)
            yield inside.reshape(cut.outer), inside

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.text == other.text
    def __hash__(self) -> int: return hash(self.text)
    def __repr__(self) -> str: return f'view={self.text!r}'


def view_of(text: Any) -> View | None:
    "The view that a group's entry says. None without one."
    if text is None or text == '': return None
    return _view(text) if isinstance(text, str) else View(text)


@lru_cache(256)
def _view(text: str) -> View: return View(text)


@lru_cache(4096)
def _cuts(view: View, shape: Shape) -> tuple[Cut, ...]: return tuple(view._found(shape))
