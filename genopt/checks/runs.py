"""Runs: what happened in a trial, and where two runs part."""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .trials import Maker, Stage, Trial

__all__ = ['Feed', 'Moment', 'Parting', 'TOLERANCE', 'first_parting', 'gap', 'in_float64',
           'record', 'sentence']

TOLERANCE = 1e-12


@contextmanager
def in_float64() -> Iterator[None]:
    """New tensors are float64 unless they say otherwise, numbers in torch's states too.

    Matrix products that Muon and its kin make of `grad.bfloat16()` are as precise as the gradient,
    since rounding would hide everything else. As the tensors are small, there is one thread.
    """
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    rounded = torch.Tensor.bfloat16
    torch.Tensor.bfloat16 = torch.Tensor.clone  # type: ignore[method-assign]
    try: yield
    finally:
        torch.Tensor.bfloat16 = rounded  # type: ignore[method-assign]
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


class Feed(NamedTuple):
    "What an optimizer takes: the names of shapes, and if gradients must be sparse."
    names: tuple[str, ...]
    sparse: bool = False


class Moment(NamedTuple):
    "The parameters after a step, and the state of each, by name."
    params: dict[str, Tensor]
    states: dict[str, dict[str, Any]]


class Parting(NamedTuple):
    "The first step after which two runs differ, and by how much, relative to the parameter."
    step: int = 0          # from 1; 0 if they never part
    param: str = ''
    size: float = 0.       # of the largest difference there, or in the whole run if they agree
    error: str = ''        # that ended a run, in this step or after it

    def __bool__(self) -> bool: return bool(self.step)


def record(trial: Trial, maker: Maker, feed: Feed) -> tuple[list[Moment], str]:
    "A whole run, and the error in which it ended, or ''."
    moments = list[Moment]()
    try:
        for params, stage in trial.steps(maker, *feed):
            moments.append(Moment(params, _states(stage)))
    except Exception as e: return moments, sentence(e)
    return moments, ''


def sentence(e: Exception) -> str:
    "An error in one line."
    first = (str(e).strip().split('\n') or [''])[0].split('. ')[0]
    return f'{type(e).__name__}: {first}' if first else type(e).__name__


def _states(stage: Stage) -> dict[str, dict[str, Any]]:
    "Copies of the states, by the names of their parameters."
    def copied(x: Any) -> Any: return torch.as_tensor(x).detach().clone()
    res = dict[str, dict[str, Any]]()
    for k, p in stage.params.items():
        state = stage.opt.state.get(p, {}) if hasattr(stage.opt, 'state') else {}
        res[k] = {n: copied(v) for n, v in state.items() if _is_value(v)}
    return res


def _is_value(x: Any) -> bool:
    return isinstance(x, (int, float, Tensor)) or hasattr(x, '__array__') and x.dtype != object


def gap(a: Tensor, b: Tensor) -> float:
    "The largest difference, relative to the largest number of `b`. NaN is as far from all else."
    if a.shape != b.shape: return math.inf
    if not a.numel(): return 0.
    far = torch.where(a == b, 0., (a - b).abs())
    far = torch.where(a.isnan() & b.isnan(), 0., far).nan_to_num(math.inf, math.inf)
    if not (most := far.max().item()): return 0.
    return most / max(b.abs().nan_to_num(0., 0.).max().item(), 1e-300)


def first_parting(run: Iterable[Mapping[str, Tensor]], reference: Sequence[Mapping[str, Tensor]],
                  tolerance: float=TOLERANCE) -> Parting:
    "Where a run parts from the reference. It is read only as far as that."
    worst, steps = 0., iter(run)
    for i, want in enumerate(reference, 1):
        got = next(steps, None)
        if got is None: return Parting(i, error='the run has ended')
        gaps = {k: gap(got[k], want[k]) for k in want}
        name = max(gaps, key=gaps.__getitem__)
        if gaps[name] > tolerance: return Parting(i, name, gaps[name])
        worst = max(worst, gaps[name])
    return Parting(size=worst)
