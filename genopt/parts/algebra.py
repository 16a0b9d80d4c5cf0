"""What parts for matrices compute: functions of matrices, of which equations know the names.

Each takes stacks of matrices too. A matrix that stands for one side of a parameter may have another
form where that side is too long: with no elements it is the identity, and as a column it is a
diagonal.
"""
import torch


def between(left, x, right):
    "left·x·right"
    if left.numel(): x = left @ x
    return x @ right if right.numel() else x


def gram(x, like):
    "x·xᵀ, or its diagonal, if `like` is one."
    return x.square().sum(-1, keepdim=True) if like.shape[-1] == 1 else x @ x.mT


def times(q, x):
    "q·x"
    return q * x if q.shape[-1] == 1 else q @ x


def after(x, q):
    "x·qᵀ"
    return x * q.mT if q.shape[-1] == 1 else x @ q.mT


def over(x, q):
    "x·q⁻¹ of a triangular q."
    if q.shape[-1] == 1: return x / q.mT
    return torch.linalg.solve_triangular(q, x, upper=True, left=False)


def square_times(q, x):
    "qᵀ·q·x"
    return q * q * x if q.shape[-1] == 1 else q.mT @ (q @ x)


def after_square(x, q):
    "x·qᵀ·q"
    return x * (q * q).mT if q.shape[-1] == 1 else x @ q.mT @ q


def in_range(x):
    "True for a matrix of finite numbers: squares of large gradients may be infinite."
    return x.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)


def averaged(average, x, mom):
    "β·average + (1 − β)·x, without a matrix that is not finite."
    return torch.where(in_range(x), average.lerp(x, 1 - mom), average)


def eigenvectors(x):
    "Of a symmetric matrix, as columns; the identity if it is not finite."
    return torch.linalg.eigh(torch.where(in_range(x), x, 0.))[1]


def turned(x, basis):
    """The basis after one turn of power iteration: qr(x·basis), columns of large eigenvalues first.

    Each column is then put where the one was that it comes from. An x that is not finite turns
    nothing.
    """
    fits = in_range(x)
    product = torch.where(fits, x, 0.) @ basis
    order = (basis * product).sum(-2).argsort(-1, descending=True)
    found = torch.linalg.qr(product.take_along_dim(order.unsqueeze(-2), -1))[0]
    return torch.where(fits, found.take_along_dim(order.argsort(-1).unsqueeze(-2), -1), basis)


def inverse_root(x, eps, power):
    "(x + ε·I)^−power of a symmetric matrix without negative eigenvalues; 0 if it is not finite."
    if x.shape[-1] == 1: return (x + eps)**-power
    fits = in_range(x)
    values, vectors = torch.linalg.eigh(torch.where(fits, x, 0.))
    powers = (values.clamp(min=0) + eps).unsqueeze(-2)**-power
    return vectors * torch.where(fits, powers, 0.) @ vectors.mT


def orthonormal(x):
    "A basis of what its columns span."
    return torch.linalg.qr(x)[0]


def singular_vectors(x, rank):
    "The first ones of its shorter side, as columns; of zeros if it is not finite."
    u, _, v = torch.linalg.svd(torch.where(in_range(x), x, 0.), full_matrices=False)
    return (v.mT if x.shape[-2] >= x.shape[-1] else u)[..., :int(rank)]


def largest(x):
    "Its largest element, without sign; of no elements, 1."
    return x.abs().amax((-2, -1), keepdim=True) if x.numel() else x.new_ones((1, 1))


def bound(x):
    "A lower bound of the largest eigenvalue: of two turns of power iteration from a large column."
    tiny = torch.finfo(x.dtype).tiny
    size = largest(x).clamp(min=tiny)
    x = x / size
    place = x.square().sum(-2, keepdim=True).argmax(-1, keepdim=True)
    column = x.mT @ x.take_along_dim(place, -1)
    column = x @ (column / column.norm(dim=-2, keepdim=True).clamp(min=tiny))
    return size * column.norm(dim=-2, keepdim=True)


def row_maxima(x):
    "The largest element of each row: of all that has one index in the first dimension."
    return maxima(x, 0)


def column_maxima(x):
    "The largest element of each column: of all that has one index in the last dimension."
    return maxima(x, x.dim() - 1)


def maxima(x, dim):
    "The largest element of all that has one index in this dimension; of no elements, 0."
    others = [d for d in range(x.dim()) if d != dim]
    if not others: return x
    return x.amax(others, keepdim=True) if x.numel() else x.sum(others, keepdim=True)


def learned(q, a, b, rate):
    "q − rate·triu(a·aᵀ − b·bᵀ)·q, in units of the largest eigenvalue of a·aᵀ + b·bᵀ."
    if not a.numel(): return q
    tiny = torch.finfo(q.dtype).tiny
    size = torch.maximum(largest(a), largest(b)).clamp(min=tiny)  # whose square may be infinite
    a, b = gram(a / size, q), gram(b / size, q)
    if q.shape[-1] == 1: return q - rate * (a - b) * q / largest(a + b).clamp(min=tiny)
    return q - rate * (a - b).triu() / bound(a + b).clamp(min=tiny) @ q
