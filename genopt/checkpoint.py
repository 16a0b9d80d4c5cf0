"Checks a state_dict against the groups that are to take it, and copies it, before anything changes."
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from .part import Part

if TYPE_CHECKING: from .optimizer import Group

__all__ = ['checked', 'refusal', 'begun', 'SWAPPED', 'MARKS']


SWAPPED = 'swapped_param'  # a state's entry while its parameter holds an average: the parameter itself
MARKS = 'do_wd', 'force_train'  # a state's entries that a fastai Learner makes: does it decay? is it never frozen?


def begun(state: Mapping[str, Any]) -> bool:
    "Is there more in a parameter's state than marks?"
    return not {*state} <= {*MARKS}


def refusal(why: str) -> ValueError: return ValueError(f'cannot load this state_dict: {why}')


Loaded: TypeAlias = 'tuple[list[dict[str, Any]], defaultdict[Tensor, Any]]'  # each group but its `params`; the state


def checked(
    saved: Mapping[str, Any],  # What `Optimizer.state_dict` returned, here or elsewhere
    groups: Sequence[Group],   # What is to take it
    now: Mapping[Tensor, Any]  # Its state, whose marks stay where `saved` has none
) -> Loaded:                   # Copies
    "Raises ValueError if `saved` is of other parts, groups or shapes, or incomplete."
    if missing := {'state', 'param_groups'} - {*saved}:
        raise refusal(f'it has no {" and no ".join(map(repr, sorted(missing)))}')
    if len(saved['param_groups']) != len(groups):
        raise refusal(f'it has {len(saved["param_groups"])} parameter groups, and this optimizer has {len(groups)}')
    items = [_items(old, group) for old, group in zip(saved['param_groups'], groups)]
    keys = [k for old in saved['param_groups'] for k in old['params']]
    if extra := [k for k in saved['state'] if k not in keys]:
        raise refusal(f'it has a state for `{extra[0]}`, which is in no group')
    state: defaultdict[Tensor, Any] = defaultdict(dict)
    for (group, p), key in zip([(g, p) for g in groups for p in g['params']], keys):
        if saved['state'] and key not in saved['state'] and p.requires_grad:
            raise refusal(f'it has no state for {group.describe(p)}, so it was cut short')
        marks = {k: v for k, v in now.get(p, {}).items() if k in MARKS}
        if entry := marks | saved['state'].get(key, {}): state[p] = _entry(entry, group, p)
    return items, state


def _items(old: Mapping[str, Any], group: Group) -> dict[str, Any]:
    it = f'its group {group.index}'
    def need(*keys: str) -> None:
        for k in keys:
            if k not in old: raise refusal(f'{it} lacks `{k}`')
    need('parts', 'params', 'maximize')
    if old['parts'] != group['parts']:
        raise refusal(f'{it} was made by {" → ".join(old["parts"])}, and here it is {group.composition}')
    if len(old['params']) != len(group['params']):
        raise refusal(f'{it} has {len(old["params"])} parameters, and here it has {len(group["params"])}')
    need(*group.composition.hypers)
    theirs, ours = old.get('param_names', ()), group.get('param_names', ())
    if {*theirs} == {*ours} and (moved := [(a, b) for a, b in zip(theirs, ours) if a != b]):
        raise refusal(f'{it} has its parameters in another order: `{moved[0][0]}` stands where `{moved[0][1]}` is here')
    new = group.copy()
    try: new.update({k: deepcopy(v) for k, v in old.items() if k not in ('params', 'param_names', 'parts')})
    except (KeyError, ValueError, TypeError) as e: raise refusal(f'{it}: {e.args[0]}') from None
    return {k: v for k, v in new.items() if k != 'params'}


def _entry(entry: Mapping[str, Any], group: Group, p: Tensor) -> dict[str, Any]:
    stats = group.composition.stats
    marks = {k: v for k, v in entry.items() if k in MARKS}
    for k, v in marks.items():
        if v not in (False, True): raise refusal(f'`{k}` of {group.describe(p)} is {v!r}, and not True or False')
    marks = {k: bool(v) for k, v in marks.items()}
    if not begun(entry): return marks
    entry = {k: v for k, v in entry.items() if k not in MARKS}
    waiting = {*Part.known_stats} if group.options else set()  # for an option that was written, and may be again
    if {*stats} - {*entry} or {*entry} - {*stats} - waiting - {SWAPPED}:
        raise refusal(f'it has {_list(entry)} for {group.describe(p)}, and here it has {_list(stats)}')
    likes = {k: p if isinstance(v, Tensor) else 0 for k, v in entry.items()} | group.composition.init(p, group.hypers())
    for k, like in likes.items():
        if _kind(entry[k]) != _kind(like):
            raise refusal(f'`{k}` of {group.describe(p)} is {_kind(entry[k])} in it, and {_kind(like)} here')
    return {k: v.detach().to(p.device, copy=True) if isinstance(v, Tensor) else v
            for k, v in (entry | marks).items()}


def _kind(x: Any) -> str:
    "What must be the same here and there: not the precision of a tensor, and not the value of a number."
    if not isinstance(x, Tensor): return 'a number' if isinstance(x, Real) and math.isfinite(x) else repr(x)
    kind = 'complex ' if x.is_complex() else '' if x.is_floating_point() else f'{x.dtype} '.removeprefix('torch.')
    return f'a {kind}{"sparse " * (x.layout != torch.strided)}tensor of shape {tuple(x.shape)}'


def _list(names: Iterable[str]) -> str: return ', '.join(f'`{n}`' for n in sorted(names)) or 'nothing'
