"""What torch's operations mean: a table of functions of sympy's expressions, by torch's names.

A function of sympy's is written by its name in `OPS`, and one of our own as it says itself. So a
new operation is a row, as in `atan=sp.atan`.
"""
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import sympy as sp

from .expressions import (Clip, ColumnMean, ColumnNorm, Finite, Largest, MatProd, Mean, Nearest,
                          Norm, RowMean, RowNorm, Smallest, Total, Transposed, Truth, Unsymbolic,
                          cases, condition, truth)
from .matrices import MATRIX_OPS

__all__ = ['CONDITIONS', 'LOGIC', 'OPS', 'REDUCE', 'SIZES']

SIZES = sp.symbols('rows columns', positive=True, integer=True)

def _reduced(whole: Callable[..., Any], rows: Callable[..., Any] | None=None,
             columns: Callable[..., Any] | None=None) -> Callable[..., Any]:
    "A function of all elements, or along one dimension."
    def reduce(x: Any, dim: Any=None, keepdim: bool=False, dtype: Any=None) -> Any:
        dims = (dim,) if isinstance(dim, int) else dim
        if dims is None: return whole(x)
        kind = rows if (*dims,) in ((1,), (-1,)) else columns if (*dims,) in ((0,), (-2,)) else None
        if kind is None: raise Unsymbolic(f'it reduces along {dim}')
        if not keepdim: raise Unsymbolic(f'it reduces along {dim} without keepdim')
        return kind(x)
    return reduce


def _norm(x: Any, p: Any=2, *args: Any, **kwargs: Any) -> Any:
    if p not in (2, 'fro', None): raise Unsymbolic(f'it takes a norm of order {p}')
    return _reduced(Norm, RowNorm, ColumnNorm)(x, *args, **kwargs)


def _extreme(of_two: Any, of_all: Any) -> Callable[..., Any]:
    def extreme(x: Any, other: Any=None) -> Any:
        if isinstance(other, int): raise Unsymbolic(f'it reduces along {other}')
        return of_all(x) if other is None else of_two(x, other)
    return extreme


def _clamp(x: Any, min: Any=None, max: Any=None) -> Any:
    if min is None: return sp.Min(x, max)
    return sp.Max(x, min) if max is None else Clip(x, min, max)


def _transposed(x: Any, *dims: Any) -> Any:
    if dims and {d % 2 for d in dims} != {0, 1}: raise Unsymbolic(f'it turns the dimensions {dims}')
    return Transposed(x)


def _whole(x: Any) -> Any:
    if isinstance(x, Truth) or x.is_integer: return x
    raise Unsymbolic('it needs the value of a number')


def _same(x: Any, *args: Any, **kwargs: Any) -> Any: return x
def _full(x: Any, value: Any=0, **kwargs: Any) -> Any: return value


SIZES = sp.symbols('rows columns', positive=True, integer=True)
CONDITIONS = dict(lt=sp.Lt, le=sp.Le, gt=sp.Gt, ge=sp.Ge, eq=sp.Eq, ne=sp.Ne)
LOGIC: dict[str, Callable[..., Any]] = {
    'and': sp.And, 'or': sp.Or, 'xor': lambda a, b: sp.Ne(truth(a), truth(b)), 'not': sp.Not}
LOGIC |= {f'{prefix}_{name}': op for prefix in ('logical', 'bitwise') for name, op in LOGIC.items()}
OPS: dict[str, Callable[..., Any]] = CONDITIONS | MATRIX_OPS | dict(
    add=lambda a, b, alpha=1: a + alpha * b, sub=lambda a, b, alpha=1: a - alpha * b,
    mul=operator.mul, truediv=operator.truediv, div=operator.truediv, pow=operator.pow,
    neg=operator.neg, mod=sp.Mod, remainder=sp.Mod, floordiv=lambda a, b: sp.floor(a / b),
    matmul=MatProd, mm=MatProd, t=Transposed, adjoint=Transposed,
    addmm=lambda x, a, b, beta=1, alpha=1: beta * x + alpha * MatProd(a, b),
    transpose=_transposed, swapaxes=_transposed, swapdims=_transposed,
    lerp=lambda a, b, w: (1 - w) * a + w * b, addcmul=lambda a, b, c, value=1: a + value * b * c,
    addcdiv=lambda a, b, c, value=1: a + value * b / c,
    sqrt=sp.sqrt, rsqrt=lambda x: 1 / sp.sqrt(x), square=lambda x: x**2,
    reciprocal=lambda x: 1 / x, sigmoid=lambda x: 1 / (1 + sp.exp(-x)), exp=sp.exp, log=sp.log,
    log1p=lambda x: sp.log(1 + x), expm1=lambda x: sp.exp(x) - 1, abs=sp.Abs, sign=sp.sign,
    sin=sp.sin, cos=sp.cos, tanh=sp.tanh, floor=sp.floor, ceil=sp.ceiling, round=Nearest,
    maximum=sp.Max, minimum=sp.Min, clamp=_clamp, clip=_clamp, relu=lambda x: sp.Max(x, 0),
    clamp_min=sp.Max, clamp_max=sp.Min,
    where=lambda c, a, b: cases([(a, condition(c)), (b, sp.true)]),
    isfinite=Finite, int=_whole, nan_to_num=_same,  # letters are numbers
    to=_same, type=_same, float=_same, double=_same, bfloat16=_same,
    clone=_same, detach=_same, contiguous=_same,
    item=_same, zeros_like=_full, full_like=_full, ones_like=lambda x, **kw: sp.Integer(1),
    new_zeros=lambda x, *args, **kw: sp.Integer(0))
REDUCE: dict[str, Callable[..., Any]] = dict(
    norm=_norm, vector_norm=_norm,
    sum=_reduced(Total, lambda x: SIZES[1] * RowMean(x), lambda x: SIZES[0] * ColumnMean(x)),
    mean=_reduced(Mean, RowMean, ColumnMean),
    amax=_reduced(Largest), amin=_reduced(Smallest), max=_extreme(sp.Max, Largest),
    min=_extreme(sp.Min, Smallest))
