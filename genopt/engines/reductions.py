"""Reductions: how one value is made of all elements along some axes.

Everything is added up in double precision and in a fixed order, chunk by chunk, so the result
does not depend on the number of threads.
"""
from __future__ import annotations

from typing import NamedTuple

__all__ = ['HOW', 'How']


class How(NamedTuple):
    "Code in C. The first element meets `begin`."
    begin: str
    take: str           # of an element {v}
    combine: str        # {a} and {b}
    result: str         # of {a}, made of {n} elements
    is_sum: bool = True


def _sum(take: str='{v}', result: str='{a}') -> How: return How('0', take, '{a} + {b}', result)


def _largest(take: str, sign: str='') -> How:  # NaN is the largest of all, as in torch
    return How('-INFINITY', take, '({b} > {a} || {b} != {b} ? {b} : {a})', sign + '{a}', False)


HOW = {
    'sum': _sum(), 'mean': _sum(result='{a} / {n}'), 'count_nonzero': _sum('({v} != 0 ? 1. : 0.)'),
    'any': _sum('({v} != 0 ? 1. : 0.)', '({a} != 0)'),
    'all': _sum('({v} == 0 ? 1. : 0.)', '({a} == 0)'),
    'norm': _sum('{v} * {v}', 'sqrt({a})'), 'norm1': _sum('fabs({v})'),
    'norm_inf': How('0', 'fabs({v})', '({b} > {a} || {b} != {b} ? {b} : {a})', '{a}', False),
    'max': _largest('{v}'), 'min': _largest('-{v}', '-')}
