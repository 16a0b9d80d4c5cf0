"""Formats: how values are stored between steps. Parts see only float32 numbers.

A format has the two halves of that edge in torch, `value` and `kept`, and the same as lines of C
for kernels, which give the same bits. Beside the tensor itself it may keep others, in the state: a
scale for each block, or what a weight of 16 bits cannot hold. They are plain tensors, under names
such as `grad_avg.scale` and `param.rest`.
"""
from .blocks import BLOCK, Blocks, block_of
from .format import DRAWN, HASH, Draw, Format, are_random, beside, kept_beside
from .weights import Compensated, Random, Split, drawn

__all__ = ['BLOCK', 'Blocks', 'Compensated', 'DRAWN', 'Draw', 'Format', 'HASH', 'Random', 'STATES',
           'Split', 'are_random', 'beside', 'block_of', 'drawn', 'kept_beside']

# The formats that `state=` takes by name, besides plain dtypes: for any numbers, and for those that
# are never negative. In a checkpoint, one is known by its dtype and by what it keeps beside.
STATES: dict[str, tuple[Format, Format]] = {'8bit': (Blocks(True), Blocks(False))}
