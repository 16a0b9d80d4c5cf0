"""A composition: an ordered list of parts, which together are one pure function.

    >>> adam = Composition([average_grad, average_sqr_grad, step_count, adam_step])
    >>> state = adam.init(param)                # {'grad_avg': zeros, 'sqr_avg': zeros, 'count': 0}
    >>> numbers = adam.numbers(state, dict(lr=1e-3, mom=.9, sqr_mom=.999, eps=1e-8))
    >>> change, state = adam.update(param, grad, state, numbers)        # nothing was written to
    >>> param = param + change

A step has two halves. `numbers` runs the scalars and the stats that are numbers, in plain Python,
once for all parameters that share their values. `update` runs the other parts on one parameter's
tensors. Both walk down the list; a part sees the results of the parts before it. A total (a sum
over all parameters) is given to `numbers`: `total` computes one parameter's share of it. After a
step, `evaluate` makes the weights to evaluate, if a part says what they are.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from torch import Tensor

from .contract import OWN_NUMBERS
from .env import Env, Run, walk, work_out
from .given import Given
from .kinds import Evaluation, Gate, Made, Stat, Total
from .links import with_links
from .numbers import own_numbers, read
from .order import checked, in_order, merged_hypers
from .part import Part

__all__ = ['Composition']


class Composition:
    """An ordered list of parts that make an optimizer. Raises ContractError, with advice, if not.

    `parts` are the parts as listed, `ordered` as they run, `stats` the stats by name, and `hypers`
    the hyperparameters with their defaults. `is_flat` says that no part sees a tensor's shape.
    """
    def __init__(self, parts: Iterable[Part]):
        self.parts = checked(parts)
        self.stats = {p.out: p for p in self.parts if isinstance(p, Stat)}
        self.number_stats = [k for k, p in self.stats.items() if p.is_number]
        self.tensor_stats = [k for k, p in self.stats.items() if not p.is_number]
        self.written = ['param', *self.tensor_stats]  # the tensors that a step changes
        self.fixed: list[str] = []  # stats in memory that nobody else can move
        self.ordered = in_order(self.parts, self.stats)
        made = [p for p in self.ordered if not isinstance(p, Given)]
        self.number_parts = [p for p in made if p.is_number and not isinstance(p, Total)]
        self.tensor_parts = [p for p in made if not p.is_number]
        # What the loop feeds, by name; and the tensors that a step reads and does not change
        self.given = {p.out: p for p in self.ordered if isinstance(p, Given)}
        self.fed = [k for k, p in self.given.items() if not p.is_number]
        self.read_only = ['grad', *self.fed]
        self.gates = {p.out: p for p in self.ordered if isinstance(p, Gate)}
        # The evaluation, after the scalars that it reads. No step runs them
        self.evaluation = [*with_links(p for p in self.parts if isinstance(p, Evaluation))]
        every = [*self.ordered, *self.evaluation]
        self._happenings: dict[Any, Composition | None] = {}  # by what does not happen
        self.elementwise = not any(p.whole for p in self.tensor_parts)
        self.is_flat = self.elementwise and not any(isinstance(p, Total) for p in self.ordered)
        self.returns = any(p.out == 'param' for p in self.tensor_parts)  # to another place
        self.kept = [*self.stats, *(['param'] if self.returns else [])]  # what an update may return
        # True if tensors of one shape may be stacked, and each part still treats each alone
        self.is_stackable = not self.elementwise and all(
            p.stacked or not p.whole for p in self.tensor_parts)
        self.needs = any(p.needs for p in self.ordered)
        # The numbers that each parameter has and parts read; whole parts get their place alone
        self.own_numbers = [k for k in OWN_NUMBERS if any(
            k in p.reads and (k != 'place' or p.is_number or not p.whole) for p in self.ordered)]
        self.reads_place = any('place' in p.reads for p in self.ordered)
        self.reads_new_param = any('new_param' in p.reads for p in self.ordered)
        # Totals by name; and for each, the parts before it, those of them on which it depends, and
        # the names that it and these read
        self.totals = {p.out: p for p in self.ordered if isinstance(p, Total)}
        self.before = {k: self.ordered[:self.ordered.index(p)] for k, p in self.totals.items()}
        self.sources = {k: self._sources(p) for k, p in self.totals.items()}
        self.source_reads = {k: {*p.reads}.union(*(q.reads for q in self.sources[k]))
                             for k, p in self.totals.items()}
        # The stats that are one number for all parameters: told so, or made of a total
        self.shared = self._shared()
        self.hypers, self._clashes = merged_hypers(every)
        # Numbers for a trial, in the place of those that only a step has
        self.stand_ins = {k: 1. for k in (*self.totals, *self.given) if k not in self.fed}
        self.number_args = [*self.hypers, *self.stand_ins, *self.own_numbers]
        # For each total, the number parts before it, and the names that these need
        self.numbers_before = {k: ([p for p in self.number_parts if p in before],
                                   [n for n in self.number_args if n not in self.totals
                                    or self.totals[n] in before])
                               for k, before in self.before.items()}
        self.init_hypers = {k: v for p in self.stats.values() for k, v in p.init_hypers.items()}
        # The name that a part's author gave each hyperparameter, by the name that it has now
        self.original_names = {k: k for k in self.init_hypers}
        self.original_names |= {new: old for p in every for old, new in p.keywords
                                if new in p.hypers}
        self.tried: set[Any] = set()  # the trials that it has passed
        # The dtype of parts that return another one than they are given, as seen in trials
        self.made_in: dict[Part, Any] = {}

    def _shared(self) -> list[str]:
        made, found = {*self.totals}, list[str]()
        own = {k for k, p in self.totals.items() if p.over == 'group'}  # a number for each group
        for p in self.number_parts:
            if own & {*p.inputs}: own |= {p.out, f'prev_{p.out}'}
            if not p.shared and (own & {*p.inputs} or not made & {*p.inputs}): continue
            made |= {p.out, f'prev_{p.out}'}
            if isinstance(p, Stat): found.append(p.out)
        return found

    def _sources(self, total: Part) -> list[Part]:
        "The tensor parts whose results a total needs, directly or through others, in order."
        needed, found = {*total.reads}, list[Part]()
        for p in reversed(self.before[total.out]):
            if p.is_number or isinstance(p, Given): continue
            if p.out in needed or p.out == 'update' and 'new_param' in needed:
                needed |= {*p.reads}
                found.insert(0, p)
        return found

    def why_required(self, name: str) -> str:
        "Why a hyperparameter has no default value."
        if name in self._clashes: return f'its parts disagree on the default, {self._clashes[name]}'
        return f'`{next(p.label for p in self.ordered if name in p.hypers)}` needs it'

    # -- the mathematics ---------------------------------------------------------------------------

    def init(self,
        param: Tensor,
        hypers: Mapping[str, Any]={}  # Values of those in `init_hypers`
    ) -> dict[str, Any]:
        "The state of a parameter before its first step."
        if missing := [k for k in self.init_hypers if k not in hypers]:
            raise TypeError(f'state begins with `{missing[0]}`: give it, init(param, hypers)')
        return {name: part.start(param, hypers) for name, part in self.stats.items()}

    def numbers(self,
        state: Mapping[str, Any],   # A parameter's state; only its numbers are read
        hypers: Mapping[str, Any],  # A value for each of `self.number_args`
        until: Part | None=None     # A total: only the parts before it run
    ) -> dict[str, Any]:  # Hyperparameters, scalars, stats that are numbers: `prev_count`, `count`
        """The half of a step that is plain numbers, for all parameters with equal numbers in state.

        Ends at the first gate that is closed: the numbers after it are missing.
        """
        parts, need = self.number_parts, self.number_args
        if until: parts, need = self.numbers_before[until.out]
        try: env = {k: hypers[k] for k in need}
        except KeyError as e:
            raise TypeError(f'`{e.args[0]}` is missing: give a number for each of '
                            f'{", ".join(need)}') from None
        for k in self.number_stats: env[f'prev_{k}'] = read(state[k])
        return work_out(parts, env)

    def numbers_of(self, param: Tensor, place: int=0) -> dict[str, int]:
        "The numbers that a parameter has and `numbers` takes, if parts read them: its sizes."
        return own_numbers(self.own_numbers, param, place) if self.own_numbers else {}

    def closed(self, numbers: Mapping[str, Any]) -> Part | None:
        "The first gate that is closed in a step with these numbers."
        return next((p for k, p in self.gates.items() if k in numbers and not numbers[k]), None)

    def happening(self, numbers: Mapping[str, Any]) -> Composition | None:
        """The parts that run in a step with these numbers. None without tensor parts among them.

        They stand before the first gate that is closed, and read no value that is not due.
        """
        if not self.gates and not self.fed: return self
        closed = self.closed(numbers)
        before = self.ordered[:self.ordered.index(closed)] if closed else self.ordered
        idle = *(k for k in self.fed
                 if (value := self.given[k]) in before and {*value.reads} <= {*numbers}
                 and not value.is_due(numbers)),
        if not closed and not idle: return self
        key = closed and closed.out, idle
        if key not in self._happenings:
            runs, absent = list[Part](), {*idle}
            for p in before:
                if not absent & {*p.reads}: runs.append(p)
                elif isinstance(p, Made): absent.add(p.out)  # nor do those that read it
            self._happenings[key] = self._only(runs, closed)
        return self._happenings[key]

    def _only(self, runs: Sequence[Part], gate: Part | None) -> Composition | None:
        "With these parts alone, and the gate that is closed. None without tensor parts."
        res = copy(self)
        res.tensor_parts = [p for p in self.tensor_parts if p in runs]
        res.parts = (*(p for p in self.parts if p in runs), *([gate] if gate else []))
        res.sources = {k: [p for p in found if p in runs] for k, found in self.sources.items()
                       if self.totals[k] in runs}
        return res if res.tensor_parts else None

    def total(self,
        total: Part,                 # One of `self.totals`
        param: Tensor,
        grad: Tensor,
        state: Mapping[str, Any],
        numbers: Mapping[str, Any],  # From `numbers`, until this total; and `fed` tensors
        run: Run=Part.run
    ) -> Tensor:                     # 0-dim
        "One parameter's share of a sum over all parameters."
        env = Env.of(param, grad, state, numbers)
        walk(self.sources[total.out], env, run, total.reads)
        share = run(total, env)
        if not isinstance(share, Tensor) or share.dim(): raise total.bad_result(share, env)
        return share

    def update(self,
        param: Tensor,
        grad: Tensor,                # Of `param`'s shape
        state: Mapping[str, Any],    # From `init`, or the last update
        numbers: Mapping[str, Any],  # From `numbers`, for the same state; and `fed` tensors
        run: Run=Part.run
    ) -> tuple[Tensor | None, dict[str, Any]]:  # The change of `param`, of its shape; new state
        """The half of a step that is tensors. It writes to nothing.

        If a gate is closed, `happening(numbers)` has the parts that run. Without a step among them,
        the change is None. If a part puts `param` elsewhere, the change is from there, and the new
        state has that `param` too. Raises PartError if a part breaks its contract.
        """
        env = Env.of(param, grad, state, numbers)
        walk(self.tensor_parts, env, run)
        return env.get('update'), {k: env[k] for k in self.kept if k in env}

    def evaluate(self,
        param: Tensor,
        state: Mapping[str, Any],   # As a step left it
        hypers: Mapping[str, Any],  # A number for each of `self.hypers`
        run: Run=Part.run
    ) -> Tensor:
        "The weights to evaluate, by the formula of the @evaluation among the parts."
        numbers = {k: read(state[k]) for k in self.number_stats}
        env = Env({**hypers, **state, **numbers, 'param': param})
        for part in self.evaluation: env[part.out] = run(part, env)
        weights: Tensor = env[part.out]
        if getattr(weights, 'shape', None) != param.shape: raise part.bad_result(weights, env)
        return weights

    def __repr__(self) -> str: return ' → '.join(p.label for p in self.parts)
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composition) and self.parts == other.parts
    def __hash__(self) -> int: return hash(self.parts)
    def __reduce__(self) -> tuple[Any, ...]: return Composition, (self.parts,)
    def __deepcopy__(self, memo: dict[int, Any]) -> Composition: return self
