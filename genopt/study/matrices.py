"What the functions of `parts.algebra` mean: a table of functions of sympy's expressions."
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..parts import algebra
from .expressions import Function, Largest, MatProd, Transposed

__all__ = ['IN_TORCH', 'MATRIX_OPS']


class Eigenvectors(Function): written = 'eigenvectors'
class Turned(Function): written = 'turned'
class InverseRoot(Function): written = 'root'
class Orthonormal(Function): written = 'orthonormal'
class SingularVectors(Function): written = 'singular'
class Inverted(Function): written = 'inverse'
class Triangle(Function): written = 'triu'
class Bound(Function): written = 'bound'
class RowMaxima(Function): written = 'row_maxima'
class ColumnMaxima(Function): written = 'column_maxima'


def _gram(x: Any, like: Any=None) -> Any: return MatProd(x, Transposed(x))


def _learned(q: Any, a: Any, b: Any, rate: Any) -> Any:
    change = MatProd(Triangle(_gram(a) - _gram(b)), q)
    return q - rate * change / Bound(_gram(a) + _gram(b))


MATRIX_OPS: dict[str, Callable[..., Any]] = dict(
    between=lambda a, x, b: MatProd(MatProd(a, x), b), gram=_gram, times=MatProd,
    after=lambda x, q: MatProd(x, Transposed(q)), over=lambda x, q: MatProd(x, Inverted(q)),
    square_times=lambda q, x: MatProd(MatProd(Transposed(q), q), x), learned=_learned,
    after_square=lambda x, q: MatProd(MatProd(x, Transposed(q)), q),
    largest=lambda x: Largest(abs(x)),
    averaged=lambda average, x, mom: mom * average + (1 - mom) * x,
    eigenvectors=Eigenvectors, turned=Turned, inverse_root=InverseRoot,
    orthonormal=Orthonormal, singular_vectors=SingularVectors, bound=Bound, row_maxima=RowMaxima,
    column_maxima=ColumnMaxima)
# The functions that compute what equations only name
IN_TORCH: dict[str, Callable[..., Any]] = dict(
    Eigenvectors=algebra.eigenvectors, Turned=algebra.turned, InverseRoot=algebra.inverse_root,
    Orthonormal=algebra.orthonormal, SingularVectors=algebra.singular_vectors,
    Bound=algebra.bound, RowMaxima=algebra.row_maxima,
    ColumnMaxima=algebra.column_maxima)
