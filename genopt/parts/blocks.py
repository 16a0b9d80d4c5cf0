"""Parts that keep squares for many elements at once: of rows and columns, of blocks, of a cover.

So a matrix of n × m has n + m numbers for its squares, or n, or one, and not n·m.
"""
import torch

from ..kinds import scalar, stat, step, tensor, transform
from .algebra import column_maxima, maxima, row_maxima
from .scalars import debias
from .stats import average_sqr_columns, average_sqr_rows
from .transforms import SQR_DEBIAS


@scalar
def new_share(*, sqr_mom):
    "1 − β₂: the share of a new square in an average."
    return 1 - sqr_mom


AVERAGE_ROWS = average_sqr_rows.fed(share=new_share)
AVERAGE_COLUMNS = average_sqr_columns.fed(share=new_share)


@scalar
def eps_so_far(count, *, sqr_mom, eps=1e-30):
    "ε·(1 − β₂ᵗ): what an average of squares has of an ε that is added to each of them."
    return eps * (1 - sqr_mom**count)


# -- a matrix as rows times columns ----------------------------------------------------------------

def over_factors(x, rows, columns, eps):
    "x / √((R + ε)·(C + ε) / column mean(R + ε))"
    rows, columns = rows + eps, columns + eps
    return x * (rows / rows.mean(-2, keepdim=True)).rsqrt() * columns.rsqrt()


@transform(whole=True)
def scale_by_factors(grad, row_avg, column_avg, eps=eps_so_far):
    """g ← g / √((R + ε′)·(C + ε′) / column mean(R + ε′)), and g / √(R + ε′) of a vector
    (Luo et al., arXiv:2307.02047, algorithm 2)."""
    if grad.dim() < 2: return grad * (row_avg + eps).rsqrt()
    return over_factors(grad, row_avg, column_avg, eps)


@tensor
def surprise(grad, grad_avg):
    "s = g − m: what the average did not expect."
    return grad - grad_avg


def _rows_of_matrix(param):
    return param.new_zeros((*param.shape[:-1], 1) if param.dim() > 1 else (0,))


@stat(init=_rows_of_matrix, whole=True, needs='real', nonnegative=True)
def average_surprise_rows(surprise_rows, surprise=surprise, *, surprise_mom=0.9999):
    "Rₛ ← β₃·Rₛ + (1 − β₃)·row mean(s²); a vector has none (Luo et al., arXiv:2307.02047, alg. 2)."
    if surprise.dim() < 2: return surprise_rows
    return surprise_rows.lerp(surprise.square().mean(-1, keepdim=True), 1 - surprise_mom)


# Of the same surprise, by column
AVERAGE_SURPRISE_COLUMNS = AVERAGE_COLUMNS.rename(
    column_avg='surprise_columns', grad='surprise', sqr_mom='surprise_mom')


@transform(whole=True)
def use_confident_average(grad, grad_avg, surprise_rows, surprise_columns,
                          eps=eps_so_far.rename(sqr_mom='surprise_mom', eps='surprise_eps')):
    """g ← m / √((Rₛ + ε′)·(Cₛ + ε′) / column mean(Rₛ + ε′)): smaller where gradients surprise; m of
    a vector (Luo et al., arXiv:2307.02047, algorithm 2)."""
    if grad.dim() < 2: return grad_avg
    return over_factors(grad_avg, surprise_rows, surprise_columns, eps)


# -- blocks ----------------------------------------------------------------------------------------

@stat(init=AVERAGE_ROWS.init, whole=True, needs='real', nonnegative=True)
def average_sqr_by_row(sqr_avg, grad, *, sqr_mom=0.999):
    """v ← β₂·v + (1 − β₂)·row mean(g²), and of a vector g² itself
    (Zhang et al., arXiv:2406.16793)."""
    square = grad.square()
    new = square.mean(-1, keepdim=True) if grad.dim() > 1 else square
    return sqr_mom * sqr_avg + (1 - sqr_mom) * new  # lerp makes NaN of infinities


def _one_number(param):
    return param.new_zeros((), dtype=torch.promote_types(param.dtype, torch.float32))


@stat(init=_one_number, whole=True, needs='real', nonnegative=True)
def average_sqr_block(sqr_avg, grad, *, sqr_mom=0.999):
    "v ← β₂·v + (1 − β₂)·mean(g²): one number for all elements (Zhang et al., arXiv:2406.16793)."
    return sqr_mom * sqr_avg + (1 - sqr_mom) * grad.square().mean()


@step(whole=True, needs='real')
def adam_mini_step(grad_avg, sqr_avg, bias=debias, sqr_bias=SQR_DEBIAS, *, lr, eps=1e-8):
    "Δθ = −η·m̂ / (√v̂ + ε), with one v for each block (Zhang et al., arXiv:2406.16793)."
    return -lr / bias * grad_avg / (sqr_avg.sqrt() / sqr_bias**0.5 + eps)


# -- a cover: all rows, all columns, and so on for each dimension ----------------------------------

def least(x, rows, columns, inner):
    "For each element, the least of the numbers of its row, its column, and so on."
    if x.dim() < 2: return rows
    res = torch.minimum(rows, columns)
    if x.dim() == 2: return res
    for d, each in enumerate(inner.split(x.shape[1:-1]), 1):
        res = torch.minimum(res, each.view(-1, *[1] * (x.dim() - d - 1)))
    return res


@tensor(whole=True, needs='real')
def sqr_bound(grad, prev_row_max, prev_column_max, prev_inner_max):
    """v = min(Aₜ₋₁, Bₜ₋₁) + g²: of each element, at least its sum of squares; of a vector that sum
    itself (Anil et al., arXiv:1901.11150, algorithm SM3-II)."""
    return least(grad, prev_row_max, prev_column_max, prev_inner_max) + grad.square()


@tensor(whole=True, needs='real')
def average_sqr_bound(grad, prev_row_max, prev_column_max, prev_inner_max, *, sqr_mom=0.999):
    "v = β₂·min(Aₜ₋₁, Bₜ₋₁) + (1 − β₂)·g² (`beta2` in the code of Anil et al., arXiv:1901.11150)."
    bound = least(grad, prev_row_max, prev_column_max, prev_inner_max)
    return sqr_mom * bound + (1 - sqr_mom) * grad.square()


def _first(param): return param.new_zeros((*param.shape[:1], *[1] * (param.dim() - 1)))
def _last(param):
    return param.new_zeros((*[1] * (param.dim() - 1), param.shape[-1]) if param.dim() > 1 else (0,))
def _inner(param): return param.new_zeros(sum(param.shape[1:-1]) if param.dim() > 2 else (0,))


@stat(init=_first, whole=True, needs='real', nonnegative=True)
def max_sqr_row(row_max, sqr_bound):
    "A ← row_maxima(v) (Anil et al., arXiv:1901.11150, algorithm SM3-II)."
    return row_maxima(sqr_bound)


@stat(init=_last, whole=True, needs='real', nonnegative=True)
def max_sqr_column(column_max, sqr_bound):
    "B ← column_maxima(v); a vector has none."
    return column_maxima(sqr_bound) if sqr_bound.dim() > 1 else column_max


@stat(init=_inner, whole=True, needs='real', nonnegative=True)
def max_sqr_inner(inner_max, sqr_bound):
    "The same for each dimension between the first and the last, one after the other."
    dims = range(1, sqr_bound.dim() - 1)
    return torch.cat([maxima(sqr_bound, d).flatten() for d in dims]) if dims else inner_max


@transform(whole=True)
def scale_by_bound(grad, sqr_bound, *, eps=1e-30):
    "g ← g / √(v + ε) (Anil et al., arXiv:1901.11150, algorithm SM3-II, with ε as in their code)."
    return grad * (sqr_bound + eps).rsqrt()
