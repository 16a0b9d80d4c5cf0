"Work: one step of some parameters under one rule. It is all that an engine is told."
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import PartError
from ..formats import DRAWN, Format, are_random, beside, drawn
from ..numbers import read, read_all, store
from ..part import Part
from ..view import View

__all__ = ['Tensors', 'Values', 'Work']

Values: TypeAlias = Mapping[str, Any]      # Numbers by name: what `Composition.numbers` returns
Tensors: TypeAlias = Mapping[str, Tensor]  # Those of one parameter by name


@dataclass(slots=True)
class Work:
    """Lists have an item for each parameter.

    An engine writes to `params` and to the tensors of `states`.
    """
    composition: Composition
    hypers: dict[str, Any]            # A plain number for each of the composition's `number_args`
    params: Sequence[Tensor]
    grads: Sequence[Tensor]
    states: Sequence[dict[str, Any]]  # From `Composition.init`; their numbers may be 0-dim tensors
    describe: Callable[[Tensor], str]  # A parameter's name, for errors
    climb: bool = False               # True to climb instead of descending
    places: Sequence[int] = ()        # Each parameter's place among all that the optimizer has
    group: int = 0            # The number of its group
    across: tuple[Any, ...] = ()  # Processes that each have a part of it: totals are their sums
    elsewhere: Work | None = None  # On parameters that other processes step: numbers change here
    columns: dict[str, list[Any]] = field(default_factory=dict)  # Each stat's values
    shared: dict[str, Any] = field(default_factory=dict)  # The numbers for all, before this step
    own: Sequence[dict[str, int]] = ()  # `Composition.numbers_of` each parameter, if it has any
    fed: dict[str, list[Tensor]] = field(default_factory=dict)  # Tensors from the training loop
    view: View | None = None  # How parts see parameters; None once they are cut, see `pieces.py`
    put_back: Sequence[Callable[[], None]] = ()  # Run after the step
    formats: Mapping[str, Format] = field(default_factory=dict)  # Where it is not just a tensor
    seed: int = 0  # Of random rounding
    firsts: Sequence[int] = ()  # Where what this process has of each parameter begins in the whole

    def gather(self) -> Work:
        "Looks up the stats. Raises KeyError if a state lacks one."
        names = [*self.composition.stats, *self.beside]
        self.columns = {k: [s[k] for s in self.states] for k in names}
        if self.composition.own_numbers and not self.own:
            self.own = [*map(self.composition.numbers_of, self.params, self.places)]
        if self.states: self.shared = {k: _now(self.states[0][k]) for k in self.composition.shared}
        return self

    @property
    def beside(self) -> list[str]:
        "The names of what formats keep beside tensors."
        return [beside(k, what) for k, f in self.formats.items() for what in f.besides]

    @property
    def is_random(self) -> bool: return are_random(self.formats)

    def draws(self) -> Tensor | None:
        "For each parameter, what decides the bits of random rounding: a row of numbers."
        if not self.is_random: return None
        res = drawn(self.seed, self.places, read_all([s[DRAWN] for s in self.states]))
        if self.firsts: res[:, 1] = torch.tensor(self.firsts)
        return res

    def bring_back(self) -> bool:
        "Puts the numbers in states where they are at home. True if some were on a device."
        away = [x for k in self.composition.number_stats for x in self.columns[k]
                if isinstance(x, Tensor) and x.device.type not in ('cpu', 'meta')]
        for x in away: x.data = x.data.cpu()
        return bool(away)

    def count_draws(self) -> None:
        "After a step, or a pass over gradients."
        if self.is_random: torch._foreach_add_([s[DRAWN] for s in self.states], 1)

    def subset(self, rows: Sequence[int]) -> Work:
        "The work on the parameters at these places of its lists."
        if len(rows) == len(self.params): return self
        def pick(xs: Sequence[Any]) -> list[Any]: return [xs[i] for i in rows] if xs else []
        return replace(self, params=pick(self.params), grads=pick(self.grads),
                       states=pick(self.states), places=pick(self.places), own=pick(self.own),
                       firsts=pick(self.firsts),
                       columns={k: pick(v) for k, v in self.columns.items()},
                       fed={k: pick(v) for k, v in self.fed.items()})

    def check_gradients(self) -> None:
        "Raises RuntimeError for a gradient of another shape than its parameter's."
        for p, g in zip(self.params, self.grads):
            if g.shape == p.shape: continue
            raise RuntimeError(f'{self.describe(p)} has a gradient of shape {tuple(g.shape)}: it '
                               'came from a graph made before the parameter was given this shape, '
                               'so run `backward()` before an edit, or `zero_grad()` after it')

    def tensors(self, row: int) -> dict[str, Tensor]:
        "A parameter's tensors by name: `param`, its stats, `grad`, and what was fed."
        stats = {k: self.columns[k][row] for k in self.composition.tensor_stats}
        fed = {k: self.fed[k][row] for k in self.composition.fed}
        return {'param': self.params[row], **stats, 'grad': self.grads[row], **fed}

    def inputs(self) -> dict[str, Sequence[Tensor]]:
        "The tensors that a step only reads, of all parameters: gradients, and what was fed."
        return {'grad': self.grads, **{k: self.fed[k] for k in self.composition.fed}}

    def numbers(self, row: int=0, until: Part | None=None) -> dict[str, Any]:
        """The half of a parameter's step that is plain numbers.

        With a total, only what comes before it. Raises PartError, with the parameter's name.
        """
        state = {k: self.columns[k][row] for k in self.composition.number_stats}
        return self.numbers_from(state | self.shared, row, until)

    def numbers_from(self, state: Values, row: int, until: Part | None) -> dict[str, Any]:
        "As `numbers`, if the numbers in the parameter's state have been read."
        hypers = {**self.hypers, **self.own[row]} if self.own else self.hypers
        try: return self.composition.numbers(state, hypers, until)
        except PartError as e: raise self.located(e, self.params[row]) from e.__cause__

    def store(self, numbers: Values) -> None:
        "Writes the stats that are numbers into all states. Those after a closed gate stay."
        for k in self.composition.number_stats:
            if k in numbers: store(self.states, k, read(numbers[k]))

    def located(self, e: PartError, param: Tensor) -> PartError:
        "The error with the name of the parameter that it is about."
        return PartError(f'{e} (on {self.describe(param)})')


def _now(x: Any) -> Any:
    "A number as it is now. One on a device is not waited for."
    return x.clone() if isinstance(x, Tensor) and x.device.type != 'cpu' else read(x)
