"Adam and Adagrad with less memory: squares are kept for rows, columns and blocks."
from typing import Literal

from ..declared import choose
from ..parts import (adam_mini_step, average_grad, average_sqr_block,
                     average_sqr_by_row, average_surprise_rows,
                     clip_by_rms, max_sqr_column, max_sqr_inner, max_sqr_row, momentum_step,
                     scale_by_bound, scale_by_factors, sgd_step, sqr_bound, step_count,
                     surprise, use_confident_average, weight_decay)
from ..parts.blocks import (AVERAGE_COLUMNS, AVERAGE_ROWS,
                            AVERAGE_SURPRISE_COLUMNS, average_sqr_bound)
from ..policy import LINEAR, Role, policy
from ..recipe import recipe

AVERAGE_BOUND = average_sqr_bound.rename(average_sqr_bound='sqr_bound')
COVER = max_sqr_row, max_sqr_column, max_sqr_inner
BLOCKS = dict(row=average_sqr_by_row, tensor=average_sqr_block)
Block = Literal['row', 'tensor']


@recipe(lr=2e-4, sqr_mom=0.999, surprise_mom=0.9999, eps=1e-30, surprise_eps=1e-16, wd=0.,
        betas='mom sqr_mom surprise_mom', clip_threshold='max_rms')
def CAME():
    """Adafactor with momentum, which is smaller where gradients surprise it
    (Luo et al., arXiv:2307.02047).

    Their code has no usual rate; 2e-4 is that of their example. Its `eps=(a, b)` are `eps` and
    `surprise_eps`. A tensor with more dimensions is a stack of matrices.
    """
    squares = step_count, AVERAGE_ROWS, AVERAGE_COLUMNS, scale_by_factors, clip_by_rms
    surprises = surprise, average_surprise_rows, AVERAGE_SURPRISE_COLUMNS
    return *squares, average_grad, *surprises, use_confident_average, sgd_step, weight_decay


@recipe(lr=0.1, mom=0.9, wd=0., beta2='sqr_mom')
def SM3(average=False):
    """Adagrad whose sums are bounded by one number for each row, each column, and so on
    (Anil et al., arXiv:1901.11150: SM3-II with momentum).

    Their code has no usual rate. `average=True` is its `beta2` below 1: an average for the sum.
    """
    bound = AVERAGE_BOUND if average else sqr_bound
    return bound, *COVER, scale_by_bound, average_grad, momentum_step, weight_decay


SINGLE = dict.fromkeys([Role.NORM, Role.OTHER, Role.CONV, Role.DEPTHWISE, Role.INPUT],
                       dict(block='tensor'))


@policy(by_role=SINGLE, turned=LINEAR)
@recipe(lr=1e-3, sqr_mom=0.999, wd=0.)
def AdamMini(block: Block='row'):
    """AdamW with one average square for each block of elements
    (Zhang et al., arXiv:2406.16793, as in their code).

    A block is a row of a matrix, so one output, and an element of a vector; or, with
    `block='tensor'`, all of a tensor, or of a piece of it, if its group has a `view`. The authors
    have 'tensor' for norms, and for each head of queries and keys, 'row' for all other matrices:
    `create(model, 'adammini', overrule={'*.[qk]_proj.weight': dict(block='tensor',
    view='(h=32 d) i -> h d i')})`. A convolution is one block, as with their code.
    """
    return average_grad, choose(BLOCKS, block=block), step_count, adam_mini_step, weight_decay
