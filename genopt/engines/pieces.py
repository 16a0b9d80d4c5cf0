"""The tables of a kernel for a GPU: which piece of which tensor each block of threads has, and
where the memory for each tensor's sums and kept values begins.
"""
from __future__ import annotations

import numpy as np

from .cuda import Cuda, Launch
from .cuda_driver import THREADS
from .operations import TYPES
from .passes import Pass
from .recorder import Space
from .table import Integers

__all__ = ['Pieces']

PIECE = 4096         # elements of a piece
LONG_PIECE = 16384   # the same, if it must be added up
PIECES = 512         # at most, if each needs memory for sums along rows


class Pieces:
    "Those of tensors of these sizes: a row for each tensor, as `Program.sizes` gives them."
    def __init__(self, cuda: Cuda, sizes: Integers):
        self.cuda, self.sizes = cuda, sizes

    def of(self, launch: Launch) -> Integers:
        "A row for each block: the tensor, its first element and the one after its last, a number."
        whole = self._count(launch.space)
        if launch.how == 'sums': long = np.full_like(whole, THREADS)
        else: long = self._long(launch)
        counts = -(-whole // long)
        k = np.repeat(np.arange(len(self.sizes)), counts)
        number = np.arange(len(k)) - np.repeat(counts.cumsum() - counts, counts)
        first = number * long[k]
        if launch.how == 'sums': number = self._chunks(launch.p)[k]
        return np.stack([k, first, np.minimum(first + long[k], whole[k]), number], 1)

    def layout(self) -> tuple[Integers, int]:
        "Where each tensor's memory begins, in bytes: a row for each tensor. And how much there is."
        lengths = []
        for what, ref in self.cuda.memory:
            n, C = self._count(ref.space), self.cuda.type_in_memory(what, ref)
            item = 8 if what != 'kept' else next(d.itemsize for d, T in TYPES.items() if T == C)
            if what == 'chunk':
                p = next(p for p in self.cuda.passes if any(r.out == ref for r in p.reduces))
                n = n * self._chunks(p)
            lengths.append(-(-n * item // 64) * 64)
        count = len(self.sizes)
        ends = np.array(lengths, np.int64).reshape(len(lengths), count).T.ravel().cumsum()
        at = np.concatenate([[0], ends])
        return at[:-1].reshape(count, len(lengths)), int(at[-1])

    def _long(self, launch: Launch) -> Integers:
        "The elements of a piece, of each tensor."
        least = LONG_PIECE if launch.p.reduces else PIECE
        whole = self._count(launch.space)
        if launch.how == 'elements':
            block = self.sizes[:, -1] if self.cuda.edges.has_blocks else np.ones_like(whole)
            elements: Integers = np.maximum(least // block, 1) * block
            return elements
        if 0 not in launch.space: return np.maximum(whole, 1)
        inner = np.maximum(self._count(launch.space[1:]), 1)
        rows: Integers = np.maximum(least // inner, 1)
        if any(self.cuda.meets(launch.p, r) for r in launch.p.reduces):
            rows = np.maximum(rows, -(-self.sizes[:, 0] // PIECES))
        elements = rows * inner
        return elements

    def _chunks(self, p: Pass) -> Integers:
        "How many pieces each tensor has in a pass."
        launch = next(x for x in self.cuda.launches() if x.p is p)
        chunks: Integers = -(-self._count(p.space) // self._long(launch))
        return chunks

    def _count(self, axes: Space) -> Integers:
        found: Integers = self.sizes[:, list(axes)].prod(1, dtype=np.int64)
        return found
