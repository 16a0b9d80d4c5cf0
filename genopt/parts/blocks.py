"""Parts that keep squares for many elements at once: of rows and columns, of blocks, of a cover.

So a matrix of n × m has n + m numbers for its squares, or n, or one, and not n·m.
"""
import torch

from ..kinds import scalar, stat, step, tensor, transform
from .algebra import least, maxima
from .scalars import debias
from .stats import average_sqr_columns, average_sqr_rows
from .transforms import SQR_DEBIAS


@scalar
def new_share(*, sqr_mom):
    "1 − β₂: the share of a new square in an average."
    return 1 - sqr_mom


AVERAGE_ROWS = average_sqr_rows.fed(share=new_share)
AVERAGE_COLUMNS = average_sqr_columns.fed(share=new_share)


# -- a matrix as rows times columns ----------------------------------------------------------------

def over_factors(x, rows, columns, eps):
    "x / √(R·C / column mean(R)), with ε in R and C."
    rows, columns = rows + eps, columns + eps
    return x * (rows / rows.mean(-2, keepdim=True)).rsqrt() * columns.rsqrt()


@transform(whole=True)
def scale_by_factors(grad, row_avg, column_avg, sqr_bias=SQR_DEBIAS, *, eps=1e-30):
    """g ← g / √(R·C / column mean(R)), where ε was added to each square, so ε·(1 − β₂ᵗ) to R and C;
    and g / √R of a vector (Luo et al., arXiv:2307.02047, algorithm 2)."""
    if grad.dim() < 2: return grad * (row_avg + eps * sqr_bias).rsqrt()
    return over_factors(grad, row_avg, column_avg, eps * sqr_bias)


@tensor
def surprise(grad, grad_avg):
    "s = g − m: what the average did not expect."
    return grad - grad_avg


def _rows_of_matrix(param):
    return param.new_zeros((*param.shape[:-1], 1) if param.dim() > 1 else (0,))


@stat(init=_rows_of_matrix, whole=True, needs='real')
def average_surprise_rows(surprise_rows, surprise=surprise, *, surprise_mom=0.9999):
    "Rₛ ← β₃·Rₛ + (1 − β₃)·row mean(s²); a vector has none (Luo et al., arXiv:2307.02047, alg. 2)."
    if surprise.dim() < 2: return surprise_rows
    return surprise_rows.lerp(surprise.square().mean(-1, keepdim=True), 1 - surprise_mom)


# Of the same surprise, by column
AVERAGE_SURPRISE_COLUMNS = AVERAGE_COLUMNS.rename(
    column_avg='surprise_columns', grad='surprise', sqr_mom='surprise_mom')


@transform(whole=True)
def use_confident_average(grad, grad_avg, surprise_rows, surprise_columns,
                          bias=debias.rename(mom='surprise_mom'), *, surprise_eps=1e-16):
    """g ← m / √(Rₛ·Cₛ / column mean(Rₛ)): a smaller step where gradients surprise; m of a vector.
    ε₂ was added to each square (Luo et al., arXiv:2307.02047, algorithm 2)."""
    if grad.dim() < 2: return grad_avg
    return over_factors(grad_avg, surprise_rows, surprise_columns, surprise_eps * bias)


# -- blocks ----------------------------------------------------------------------------------------

AVERAGE_BY_ROW = AVERAGE_ROWS.rename(row_avg='sqr_avg')


def _one_number(param):
    return param.new_zeros((), dtype=torch.promote_types(param.dtype, torch.float32))


@stat(init=_one_number, whole=True, needs='real')
def average_sqr_block(sqr_avg, grad, *, sqr_mom=0.999):
    "v ← β₂·v + (1 − β₂)·mean(g²): one number for all elements (Zhang et al., arXiv:2406.16793)."
    return sqr_mom * sqr_avg + (1 - sqr_mom) * grad.square().mean()


@step(whole=True, needs='real')
def adam_mini_step(grad_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS, *, lr, eps=1e-8):
    "Δθ = −η·m̂ / (√v̂ + ε), with one v for each block (Zhang et al., arXiv:2406.16793)."
    return -lr / bias * grad_avg / (sqr_avg.sqrt() / sqr_bias**0.5 + eps)


# -- a cover: all rows, all columns, and so on for each dimension ----------------------------------

@tensor(whole=True, needs='real')
def sqr_bound(grad, prev_cover_max):
    "v = least(A) + g²: of each element, at least its sum of squares (arXiv:1901.11150)."
    return least(prev_cover_max, grad) + grad.square()


@tensor(whole=True, needs='real')
def average_sqr_bound(grad, prev_cover_max, *, sqr_mom=0.999):
    "v = β₂·least(A) + (1 − β₂)·g² (`beta2` in the code of Anil et al., arXiv:1901.11150)."
    return sqr_mom * least(prev_cover_max, grad) + (1 - sqr_mom) * grad.square()


def _cover(param): return param.new_zeros(sum(param.shape) if param.shape else 1)


@stat(init=_cover, whole=True, needs='real')
def max_sqr_cover(cover_max, sqr_bound):
    """A ← maxima(v): the largest of each row, of each column, and so on
    (Anil et al., arXiv:1901.11150, algorithm SM3-II)."""
    return maxima(sqr_bound)


@transform(whole=True)
def scale_by_bound(grad, sqr_bound, *, eps=1e-30):
    "g ← g / √(v + ε) (Anil et al., arXiv:1901.11150, algorithm SM3-II, with ε as in their code)."
    return grad * (sqr_bound + eps).rsqrt()
