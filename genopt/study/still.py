"""Weights that stay where they are at a learning rate: it is too small for their precision.

Most adaptive rules make steps of the size of the learning rate, whatever the gradients are. Then
half the distance to the next number is enough to know, and no gradient is needed.

    >>> group = genopt.Adam([torch.nn.Parameter(torch.ones(9).bfloat16())], lr=1e-3).groups()[0]
    >>> round(step_size(group.composition, group.numbers()), 4)
    0.001
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import PartError
from ..dispatch import Watch
from ..group import Group
from ..params import describe
from ..trial import apart
from .lost import advice, remedies

__all__ = ['step_size', 'still']

STEPS = 20      # of a trial, with the same gradient
SAMPLE = 2**14  # elements of a tensor, of which the median is taken
SHOWN = 4       # names in a sentence


def still(group: Group) -> Iterator[str]:
    """For each dtype of a group's weights, a sentence if it has parameters that do not move.

    Of each, the median of |θ| is looked at. A weight that is kept in a format is left alone, as
    that keeps what rounding takes.
    """
    found = dict[torch.dtype, list[tuple[str, float]]]()
    for i, p in enumerate(group['params']):
        if group.formats(p).get('param') or not (w := _typical(p)): continue
        name = describe(None, i, group.index, group.get('param_names')).strip('`')
        found.setdefault(p.dtype.to_real(), []).append((name, w))
    rough = step_size(group.composition, group.numbers(), False) if found else 0.
    if not any(w > _limit(rough, d) for d, params in found.items() for _, w in params): return
    size = step_size(group.composition, group.numbers())
    for dtype, params in found.items():
        names = [name for name, w in params if w > _limit(size, dtype)]
        if names: yield _sentence(group, dtype, size, names)


def step_size(
    composition: Composition,
    hypers: Mapping[str, Any],
    surely: bool=True  # Try it on other gradients too; else they are taken not to matter
) -> float:
    """The median of |Δθ| when gradients agree, or 0 if it depends on them, or is not known.

    It is tried on random gradients of several scales, and tensors of several sizes. A part that
    sees whole tensors, a place other than the parameter's, a number made of totals, and what a loop
    feeds make it depend on more than a trial has; and it must not change from step to step.
    """
    c = composition
    if not c.elementwise or c.returns or c.shared or c.given: return 0.
    trials = (15, 1.), (15, .01), (63, 100.)
    try: sizes = [x for t in trials[:None if surely else 1] for x in _tried(c, hypers, *t)]
    except PartError: return 0.
    is_same = all(0 < x < math.inf for x in sizes) and max(sizes) < 1.3 * min(sizes)
    return max(sizes) if is_same else 0.


def _tried(c: Composition, hypers: Mapping[str, Any], n: int, scale: float) -> tuple[float, float]:
    "The size of the update after a quarter of a trial, and at its end."
    with apart(), Watch():
        draw, sizes = torch.Generator('cpu').manual_seed(0), list[float]()
        param, grad = (torch.randn(n, generator=draw, device='cpu') for _ in range(2))
        state, grad = c.init(param, hypers), scale * grad
        for _ in range(STEPS):
            given = {**hypers, **c.stand_ins, **c.numbers_of(param)}
            for k, total in c.totals.items():
                numbers = c.numbers(state, given, total)
                given[k] = c.total(total, param, grad, state, numbers).item()
            numbers = c.numbers(state, given)
            happening = c.happening(numbers)
            change, new = happening.update(param, grad, state, numbers) if happening else (None, {})
            state |= {k: numbers[k] for k in c.number_stats if k in numbers} | new
            sizes.append(0. if change is None else change.abs().median().item())
    return sizes[STEPS // 4], sizes[-1]


def _typical(p: Any) -> float:
    "The median of |θ|, or 0 if it has no values here."
    if not isinstance(p, Tensor) or p.is_meta or hasattr(p, 'placements'): return 0.
    if not p.numel() or not (p.is_floating_point() or p.is_complex()): return 0.
    x = torch.view_as_real(p.detach()) if p.is_complex() else p.detach()
    some = x.reshape(-1)[::-(-x.numel() // SAMPLE)].double().abs()
    found = some.nanmedian().item()
    return found if math.isfinite(found) else 0.


def _limit(size: float, dtype: torch.dtype) -> float:
    "The power of 2 above which half the distance to the next number is larger than a step."
    if not size: return math.inf
    return 2. ** (math.floor(math.log2(2 * size / torch.finfo(dtype).eps)) + 1)


def _sentence(group: Group, dtype: torch.dtype, size: float, names: list[str]) -> str:
    values, many = group.hypers(), len(names) - SHOWN
    at = f' at lr {float(values["lr"]):g}' if 'lr' in values else ''
    listed = ', '.join(names[:SHOWN]) + (f' and {many} more' if many > 0 else '')
    return (f'In {str(dtype).removeprefix("torch.")} a weight above {_limit(size, dtype):g} does '
            f'not move{at}: half the distance to the next number is larger than the step, about '
            f'{size:.2g}. So most of {listed} would stay as it is. '
            f'{advice([*remedies(dtype, None)])}.')
