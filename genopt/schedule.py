"""Schedules: any hyperparameter as a function of the step, or of the fraction of the run.

    >>> opt = AdamW(model.parameters())
    >>> Schedule(opt, 1000, lr=one_cycle(3e-3), wd=linear(.1, 0.))  # each opt.step() moves it on
    >>> Schedule(SGD(model.parameters()), lr=lambda step: .1 / (1 + step)**.5)  # without a length

A function of the fraction is anything that takes a number from 0 to 1: these, a lambda, or one of
fastai's; and these go into fastai's ParamScheduler. Ends may be lists or arrays, with a number
for each group.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import torch

from .group import no_hyper, takes
from .interop.dynamo import outside_graphs
from .optimizer import Optimizer

__all__ = ['Schedule', 'Curve', 'constant', 'linear', 'cosine', 'exponential', 'polynomial',
           'combined', 'flat_cosine', 'one_cycle']

Ends: TypeAlias = 'float | Sequence[float] | np.ndarray[Any, Any]'


class Curve:
    "A value as a function of the fraction of the run, from 0 to 1. It can be pickled."
    def __init__(self,
        shape: Callable[..., Any],  # From fraction, start, end and `more` to the value
        start: Ends,
        end: Ends,
        *more: float
    ):
        self.shape, self.numbers = shape, (_array(start), _array(end), *more)

    def __call__(self, fraction: float) -> Any: return self.shape(fraction, *self.numbers)

    def __repr__(self) -> str:
        return f'{self.shape.__name__.strip("_")}({", ".join(map(str, self.numbers))})'


def _array(x: Any) -> Any: return np.asarray(x, dtype=float) if isinstance(x, Iterable) else x


def _constant(t: float, a: Any, b: Any) -> Any: return a
def _linear(t: float, a: Any, b: Any) -> Any: return a + t * (b - a)
def _cosine(t: float, a: Any, b: Any) -> Any: return a + (1 - math.cos(math.pi * t)) / 2 * (b - a)
def _exponential(t: float, a: Any, b: Any) -> Any: return a * (b / a)**t
def _polynomial(t: float, a: Any, b: Any, power: float) -> Any: return a + t**power * (b - a)


def constant(value: Ends) -> Curve:
    "The same value all the time."
    return Curve(_constant, value, value)


def linear(start: Ends, end: Ends) -> Curve:
    "A straight line."
    return Curve(_linear, start, end)


def cosine(start: Ends, end: Ends) -> Curve:
    "Half a wave, level at both ends (Loshchilov & Hutter, arXiv:1608.03983)."
    return Curve(_cosine, start, end)


def exponential(start: Ends, end: Ends) -> Curve:
    "In equal ratios. Raises ValueError if an end is not above 0."
    if np.any(np.asarray(start) <= 0) or np.any(np.asarray(end) <= 0):
        raise ValueError(f'exponential({start}, {end}): equal ratios need ends above 0')
    return Curve(_exponential, start, end)


def polynomial(start: Ends, end: Ends, power: float) -> Curve:
    "start + fractionᵖ·(end − start)."
    return Curve(_polynomial, start, end, power)


class combined:
    """Curves one after another, each over its share of the run.

    >>> up_and_down = combined((.25, cosine(0, 1)), (.75, cosine(1, 0)))

    Raises ValueError if the shares do not add up to 1.
    """
    def __init__(self, *pieces: tuple[float, Callable[[float], Any]]):
        for p in pieces:
            if not (isinstance(p, tuple) and len(p) == 2 and callable(p[1])):
                raise TypeError(f'combined: {p!r} is not a piece: give (share of the run, curve)')
        self.pieces = pieces
        shares = [share for share, _ in pieces]
        if any(share < 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f'combined: shares are at least 0 and add up to 1, not {shares}')

    def __call__(self, fraction: float) -> Any:
        begin = 0.
        for share, curve in self.pieces[:-1]:
            if fraction < begin + share: return curve((fraction - begin) / share)
            begin += share
        share, curve = self.pieces[-1]
        return curve(min(max((fraction - begin) / share, 0.), 1.) if share else 1.)

    def __repr__(self) -> str: return f'combined{self.pieces}'


def flat_cosine(value: Ends, flat: float=.75, end: Ends=0.) -> combined:
    "`value` for a share `flat` of the run, then a cosine down to `end`, as fastai's fit_flat_cos."
    return combined((flat, constant(value)), (1 - flat, cosine(value, end)))


def one_cycle(
    top: Ends,             # The largest value
    warm: float=.25,       # The share of the run that leads up to it
    div: float=25.,        # top / start
    div_final: float=1e5   # top / end
) -> combined:
    "Up and down along two cosines (Smith & Topin, arXiv:1708.07120), as fastai's fit_one_cycle."
    high: Any = _array(top)
    return combined((warm, cosine(high / div, high)), (1 - warm, cosine(high, high / div_final)))


class Schedule:
    """Writes hyperparameters of `opt` before each step, over whatever else has written them.

    Each `opt.step()` moves it on by one. Its position is kept in the optimizer's groups and saved
    with them: make the same Schedule again, before or after loading, and it goes on from there,
    or begins anew if it had ended. Several may run, for different hyperparameters. To copy a
    Schedule is to copy its optimizer too; a copy of the optimizer alone has no Schedule.

    Raises KeyError for a hyperparameter that no part takes, TypeError for a curve that is not a
    function, and ValueError for a hyperparameter that has a schedule already or whose values
    leave its range anywhere on the way.
    """
    def __init__(self,
        opt: Optimizer,
        steps: int | None=None,         # The length of the run; not needed by functions of the step
        **curves: Callable[[Any], Any]  # Hyperparameter -> function of i/steps; or of the step i
    ):
        if not hasattr(opt, 'set_hyper'):
            raise TypeError('a Schedule is for a genopt Optimizer, and this is a '
                            f'{type(opt).__name__}')
        whole = isinstance(steps, Integral) and not isinstance(steps, bool)
        if steps is not None and not (whole and steps >= 1):
            raise ValueError(f'steps = {steps!r}: give a whole number of at least 1, or none')
        if not curves:
            raise TypeError('a Schedule needs a hyperparameter, such as lr=linear(.1, 0)')
        self.opt, self.steps, self.curves = opt, steps and int(steps), curves
        self.names: dict[str, None] = {}  # what it writes, under our names
        for name, curve in curves.items():
            if not (groups := takes(opt.groups(), name)): raise no_hyper(name, opt.param_groups)
            ours = groups[0].rule.words.means[name]
            if {*ours} & {*self.names}.union(*(other.names for other in _running(opt))):
                raise ValueError(f'`{name}` has a schedule already: end that with its remove(), or '
                                 'leave this one out')
            if not callable(curve):
                raise TypeError(f'{name} = {curve!r}: give a function, such as linear(.1, 0)')
            self.names |= dict.fromkeys(ours)
        old = [{k: g[k] for k in self.names if k in g} for g in opt.param_groups]
        steps = self.steps or 0
        try:
            for i in [*range(0, steps, max(1, steps // 100)), steps]: self._write(i)
        except Exception:
            for g, values in zip(opt.param_groups, old): g.update(values)
            raise
        self._go_to(0 if self.steps and self.position >= self.steps else self.position)
        self._listen()

    def _listen(self) -> None:
        self._handles = [self.opt.register_step_pre_hook(self._before),
                         self.opt.register_step_post_hook(self._after),
                         self.opt.register_load_state_dict_post_hook(self._loaded)]

    @property
    def position(self) -> int:
        "How many steps have been done."
        return max(int(self.opt.param_groups[0].get(_note(n), 0)) for n in self.names)

    def remove(self) -> None:
        "Ends it: hyperparameters stay as they are now."
        for h in self._handles: h.remove()
        for g in self.opt.param_groups:
            for n in self.names: g.pop(_note(n), None)

    def _go_to(self, i: int) -> None:
        for g in self.opt.param_groups: g.update({_note(n): i for n in self.names})
        self._write(i)

    def _write(self, i: int) -> None:
        at = i if self.steps is None else min(i / self.steps, 1.)
        for name, curve in self.curves.items():
            try: value = curve(at)
            except Exception as e:
                raise ValueError(f'the schedule of `{name}` failed at {at:g}: {e}') from e
            try: self.opt.set_hyper(name, value)
            except (ValueError, TypeError) as e:
                raise ValueError(f'the schedule of `{name}` at {at:g}: {e}') from None

    @outside_graphs
    def _before(self, opt: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # torch's distributed checkpoints make a step at lr = 0, to have a state: it does not count
        def moves() -> bool: return any(g['lr'] for g in opt.param_groups if 'lr' in g)
        moved = 'lr' not in self.names or moves()
        self._write(self.position)
        self._counts = moved or not moves()
        if not self._counts: self.opt.set_hyper('lr', 0.)

    @outside_graphs
    def _after(self, opt: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self._counts: self._go_to(self.position + 1)

    @outside_graphs
    def _loaded(self, opt: torch.optim.Optimizer) -> None: self._go_to(self.position)

    def __getstate__(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ('opt', 'steps', 'curves', 'names')}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._listen()

    def __repr__(self) -> str:
        run = '' if self.steps is None else f' of {self.steps}'
        curves = ', '.join(f'{k}={c!r}' for k, c in self.curves.items())
        return f'Schedule(step {self.position}{run}: {curves})'


def _note(name: str) -> str: return f'scheduled {name}'


def _running(opt: Optimizer) -> Iterator[Schedule]:
    owners = (getattr(hook, '__self__', None) for hook in opt._optimizer_step_post_hooks.values())
    return (o for o in owners if isinstance(o, Schedule))
