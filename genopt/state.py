"""The state of each parameter, which begins on its first step; and the work of a step.

A parameter's state is a dictionary of its stats. Other entries are a Learner's marks, the
parameter itself while an average is in its place, and what options that are off now have left
there.
"""
from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from operator import is_
from typing import Any

import torch
from torch import Tensor

from .averages import refuse_swapped
from .contract import MARKS, PartError
from .converting import stored
from .engines.work import Work
from .formats import DRAWN, Format, are_random, beside
from .group import Group
from .numbers import kept
from .spread import Spread, meta
from .twins import torchs_names

__all__ = ['begin', 'begun', 'in_order', 'work_of']


def begun(entry: Mapping[str, Any]) -> bool:
    "True if there is more in a parameter's state than marks."
    return not {*entry} <= {*MARKS}


def begin(group: Group, p: Tensor, state: MutableMapping[Any, Any]) -> dict[str, Any]:
    "A parameter's state, with every stat of its parts. Raises PartError if one cannot begin."
    entry: dict[str, Any] = state.setdefault(p, {})
    stats = group.composition.stats
    for theirs, ours in torchs_names(group.rule).items():  # as others may have written it
        if theirs in entry: entry[ours] = entry.pop(theirs)
    for k in group.composition.shared:  # the same tensor is in all states
        if (first := next((s[k] for s in state.values() if k in s), None)) is not None:
            entry[k] = first
    missing, formats = [k for k in stats if k not in entry], group.formats(p)
    spread = group.spreads.get(p)
    if 'param' in formats:
        entry |= _beside_param(formats['param'], spread.whole(p, False) if spread else p, entry)
    if are_random(formats) and DRAWN not in entry: entry[DRAWN] = kept(0)
    for k in formats:  # as others may have written it
        if k in entry and any(beside(k, what) not in entry for what in formats[k].besides):
            entry |= stored(k, entry[k], p, group)
    if not missing: return entry
    try:
        if spread: new = _begin_whole(group, missing, p, spread)
        else: new = {k: group.start(k, p) for k in missing}
    except PartError as e: raise PartError(f'{e} (on {group.describe(p)})') from e.__cause__
    for k, v in new.items():
        if stats[k].is_number: entry[k] = kept(v)
        else: entry |= stored(k, v, p, group)
    return entry


def _beside_param(form: Format, p: Tensor, entry: Mapping[str, Any]) -> dict[str, Any]:
    "What is missing beside a weight that is what it is."
    new = {beside('param', k): torch.zeros_like(p.detach(), dtype=dtype)
           for k, dtype in form.besides.items()}
    return {k: v for k, v in new.items() if k not in entry}


def _begin_whole(group: Group, stats: Sequence[str], p: Tensor, spread: Spread) -> dict[str, Any]:
    "The stats of a parameter at its owner. Elsewhere they have a shape, and no memory."
    parts = group.composition.stats
    whole = spread.whole(p, with_values=any(callable(parts[k].init) for k in stats))
    def start(name: str) -> Any:
        try: return group.start(name, whole)
        except PartError:
            if not whole.is_meta: raise
            return group.start(name, torch.zeros_like(whole, device='cpu'))
    new = {k: start(k) for k in stats}
    if spread.is_mine: return new
    return {k: meta(v) if isinstance(v, Tensor) else v for k, v in new.items()}


def in_order(state: Mapping[Any, Any], params: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The state of each parameter, if `state` has them in this order and no others, or else [].

    Most often it has, and to look up each one would take longer.
    """
    found = [*state.values()] if len(state) == len(params) else []
    return found if all(map(is_, state, params)) else []


def work_of(
    group: Group,
    state: MutableMapping[Any, Any],  # Of all parameters; what has not begun begins
    place: int,                       # The place of the group's first parameter in the optimizer
    states: Sequence[dict[str, Any]]=(),  # Of all of its parameters, or nothing
    only: Sequence[int] | None=None   # The numbers of some of its parameters; None: all
) -> list[Work]:
    """A group's work: one Work, or two if some parameters are exempt from weight decay.

    Raises RuntimeError while parameters are swapped with their averages.
    """
    params: list[Tensor] = group['params']
    places: Sequence[int] = range(place, place + len(params))
    if only is not None: params, places = [params[i] for i in only], [place + i for i in only]
    grads = [g for p in params if (g := p.grad) is not None]
    if len(grads) < len(params):
        places = [n for n, p in zip(places, params) if p.grad is not None]
        params = [p for p in params if p.grad is not None]
    if len(states) != len(params):
        try: states = [state[p] for p in params]
        except KeyError: states = [state.setdefault(p, {}) for p in params]  # of a plain dictionary
    work = Work(group.composition, group.numbers(), params, grads, states, group.describe,
                group['maximize'], places, group=group.index, view=group.view)
    if group.settled and not group.storage and (
            {*map(len, states)} <= {len(group.composition.stats)}):
        try: return [work.gather()]
        except KeyError: pass
    if group.storage: return _by_formats(group, work, state)
    # Some state is not just its stats: it has marks, waits for an option, or has not begun
    for p in params: begin(group, p, state)
    refuse_swapped(states, 'step')
    group.settled = True
    return _split_by_decay(work.gather())


def _by_formats(group: Group, work: Work, state: MutableMapping[Any, Any]) -> list[Work]:
    "The work on parameters that are kept alike, one after another."
    alike: dict[Any, list[int]] = {}
    for i, p in enumerate(work.params): alike.setdefault((p.dtype, p.shape, type(p)), []).append(i)
    kinds: dict[Any, list[int]] = {}
    is_plain, stats = group.settled, len(group.composition.stats)
    for rows in alike.values():
        formats = group.formats(work.params[rows[0]])
        more = sum(len(f.besides) + f.is_random for f in formats.values())
        is_plain &= all([len(work.states[i]) == stats + more for i in rows])
        kinds.setdefault(tuple(formats.items()), []).extend(rows)
    if not is_plain:  # a state has marks, or waits for an option, or has not begun
        for p in work.params: begin(group, p, state)
        refuse_swapped(work.states, 'step')
    group.settled, res = True, list[Work]()
    for formats, rows in kinds.items():
        some = work.subset(sorted(rows))
        if formats: some = replace(some, formats=dict(formats), seed=group.storage.seed)
        res += [some.gather()] if is_plain else _split_by_decay(some.gather())
    return res


def _split_by_decay(work: Work) -> list[Work]:
    "Takes apart the parameters that a Learner has marked as exempt from weight decay."
    marked: dict[bool, list[int]] = {True: [], False: []}
    for i, s in enumerate(work.states): marked[bool(s.get('do_wd', True))].append(i)
    if not marked[False]: return [work]
    exempt, names = work.subset(marked[False]), work.composition.original_names
    exempt.hypers = {k: 0. if names.get(k) == 'wd' else v for k, v in work.hypers.items()}
    return [work.subset(marked[True]), exempt] if marked[True] else [exempt]
