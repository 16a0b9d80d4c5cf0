"Checkpoints: checked against the optimizer, and copied, before it changes."
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .composition import Composition
from .contract import MARKS, SWAPPED, code
from .converting import converted
from .group import Group, is_slip
from .hypers import TABLE, check, plain
from .numbers import kept, read
from .packing import keys_in, opened, refusal, refusing
from .part import Part
from .rehearsal import rehearse
from .rule import Rule
from .spread import meta
from .trial import Trial, apart
from .twins import torchs_names
from .warning import warn
from .words import STORAGE, unknown

__all__ = ['checked', 'kind_of', 'stats_like', 'values_of']

LARGEST = 2**53  # whole numbers below it are exact in double precision


@refusing()
def checked(
    saved: Mapping[str, Any],   # What `Optimizer.state_dict` returned, here or elsewhere
    groups: Sequence[Group],    # The groups that take it
    now: Mapping[Any, Any]      # Their state: its marks stay where `saved` has none
) -> tuple[list[Group], defaultdict[Any, Any]]:  # New groups, and the state: copies
    "Raises ValueError if `saved` is of other parts, groups or shapes, incomplete or damaged."
    entries, theirs = opened(saved)
    remedy = _remedy(theirs, groups)
    if len(theirs) != len(groups):
        raise refusal(f'it has {len(theirs)} parameter groups, and this optimizer has '
                      f'{len(groups)}: {remedy}')
    new = [_group(old, group, remedy) for old, group in zip(theirs, groups)]
    keys = keys_in(entries, theirs)
    by_name = any(isinstance(k, str) for k in keys)  # who made it has looked up each parameter
    state: defaultdict[Any, Any] = defaultdict(dict)
    changed = dict[str, None]()  # what came in another format
    begun_there = not {*keys}.isdisjoint(entries)
    for (group, p), key in zip([(g, p) for g in new for p in g['params']], keys):
        if begun_there and key not in entries and not by_name and p.requires_grad and p.numel():
            raise refusal(f'it has no state for {group.describe(p)}, so it was cut short (to begin '
                          f'that anew, give it an empty one: state_dict["state"][{key!r}] = {{}})')
        marks = {k: v for k, v in now.get(p, {}).items() if k in MARKS}
        if not isinstance(entry := entries.get(key, {}), Mapping):
            raise refusal(f'the state of {group.describe(p)} is a {type(entry).__name__}, and not '
                          'a dict')
        if entry := {**marks, **entry}:
            state[p], others = _entry(entry, group, p)
            changed |= dict.fromkeys(others)
    state.update({k: deepcopy(v) for k, v in entries.items() if k not in keys})
    for group in new: _try_counts(group, state)
    if changed: _tell([*changed])
    return new, state


def _tell(changed: Sequence[str]) -> None:
    stats = [k for k in changed if k != 'param']
    said = [f'{code(*stats)} came in another format, and {"is" if len(stats) == 1 else "are"} '
            'now kept as this optimizer keeps it'] * bool(stats)
    said += ['what was kept beside the weights came in another format, and is rounded or left out'
             ] * ('param' in changed)
    warn(f'load_state_dict: {"; ".join(said)}')


# -- groups ----------------------------------------------------------------------------------------

def _remedy(theirs: Sequence[Any], groups: Sequence[Group]) -> str:
    "What to do about a state_dict of other groups."
    load = 'call opt.load_by_name(state_dict), which takes what fits'
    if all(isinstance(g, Mapping) and 'param_names' in g for g in (*theirs, *groups)): return load
    more = len(theirs) - len(groups)
    first = 'make the same groups' if not more else (
        'add the others with opt.add_param_group first' if more > 0 else
        'load it before other groups are added')
    return f'{first}; or give names to both, with model.named_parameters(), and {load}'


def _group(old: Mapping[str, Any], group: Group, remedy: str) -> Group:
    "The group with what was saved of it. `remedy` is for one of other parameters."
    it = f'its group {group.index}'
    if not isinstance(old, Mapping):
        raise refusal(f'{it} is a {type(old).__name__}, and not a dict')
    for k, kind in dict(parts=list, params=list, maximize=bool).items():
        if k not in old: raise refusal(f'{it} lacks `{k}`')
        if not isinstance(old[k], kind):
            raise refusal(f'{it}: `{k}` = {old[k]!r}, and not a {kind.__name__}')
    new, old = group.copy(), {k: v if k == 'params' else deepcopy(v) for k, v in old.items()}
    try: given, rule = values_of(old, group)
    except (KeyError, ValueError, TypeError) as e: raise refusal(f'{it}: {e.args[0]}') from None
    if old['parts'] != rule.labels:
        raise refusal(f'{it} was made by {" → ".join(map(str, old["parts"]))}, and here it is '
                      f'{rule.composition}')
    n, here = len(old['params']), len(group['params'])
    if n != here:
        raise refusal(f'{it} has {n} parameter{"s" * (n != 1)}, and here it has {here}: {remedy}')
    for k, origin in rule.composition.original_names.items():
        if k not in given: raise refusal(f'{it} lacks `{k}`')
        row = TABLE.get(k) or TABLE.get(origin)
        try:
            if not math.isfinite(given[k]) or row and row.whole: check(k, given[k], origin)
        except ValueError as e: raise refusal(f'{it}: {e}') from None
    new.take_rule(given, rule)
    rehearse(rule.composition, new.numbers(), group.seen())
    _check_names(old, group, it, remedy)
    _check_view(old, group, it)
    taken = {*rule.words.means, 'params', 'parts', *STORAGE, *({'param_names'} & {*new})}
    for k, v in old.items():
        if k in taken: continue
        if is_slip(k, rule.words): raise refusal(f'{it}: {unknown(k, rule.words)}')
        if str(k).startswith('scheduled ') and not (type(v) is int and v >= 0):
            raise refusal(f'{it}: `{k}` = {v!r}, and not a number of steps')
        dict.__setitem__(new, k, v)
    return new


def values_of(old: Mapping[str, Any], group: Group) -> tuple[dict[str, Any], Rule]:
    "The values that were saved, under our names, and the rule that they choose."
    words = group.rule.words
    given = {n: group.value_of(n, v) for n, v in words.said(old).items()}
    rule = group.rule.choose_in_a_run(given)
    more = rule.words.said({k: v for k, v in old.items() if k not in words.means})
    return given | {n: plain(n, v) for n, v in more.items()}, rule


def _check_view(old: Mapping[str, Any], group: Group, it: str) -> None:
    "Raises ValueError if it was saved with another view. torch's optimizers have none."
    theirs, ours = old.get('view'), dict.get(group, 'view')
    if theirs is not None and theirs != ours:
        here = f'view={ours!r}' if ours else 'none'
        raise refusal(f'{it} was saved with view={theirs!r}, and here it has {here}: make the '
                      'group with the view that was saved')


def _check_names(old: Mapping[str, Any], group: Group, it: str, remedy: str) -> None:
    theirs, ours = old.get('param_names', ()), group.get('param_names', ())
    n, strings = len(group['params']), all(isinstance(name, str) for name in theirs)
    if 'param_names' in old and not (len(theirs) == n and strings):
        raise refusal(f'{it} has {len(theirs)} `param_names`, and here it has {n} parameters')
    for a, b in zip(theirs, ours) if {*theirs} == {*ours} else ():
        if a != b: raise refusal(f'{it} has its parameters in another order: `{a}` stands where '
                                 f'`{b}` is here: {remedy}')


# -- state -----------------------------------------------------------------------------------------

def _entry(entry: Mapping[str, Any], group: Group, p: Tensor) -> tuple[dict[str, Any], list[str]]:
    """A copy of a parameter's saved state, and the names of what came in another format.

    Entries that no stat keeps belong to others, and stay."""
    stats, res = group.composition.stats, dict[str, Any]()
    names = {theirs: ours for theirs, ours in torchs_names(group.rule).items() if theirs in entry}
    entry = {names.get(k, k): v for k, v in entry.items()}
    if {*stats} & {*entry} and not {*stats} <= {*entry}:
        raise refusal(f'it has {_list(entry)} for {group.describe(p)}, and here it has '
                      f'{_list(stats)}')
    try: entry, changed = converted(entry, p, group)
    except ValueError as e: raise refusal(str(e)) from None
    likes = stats_like(group, p) if {*stats} & {*entry} else {}
    if SWAPPED in entry: likes[SWAPPED] = p
    for k, v in entry.items():
        where = f'`{k}` of {group.describe(p)}'
        if k in MARKS:
            if v not in (False, True): raise refusal(f'{where} is {v!r}, and not True or False')
            res[k] = bool(v)
        elif k in stats and stats[k].is_number: res[k] = kept(_number(v, stats[k], where))
        elif k in likes and k not in group.formats(p) and kind_of(v) != kind_of(likes[k]):
            raise refusal(f'{where} is {kind_of(v)} in it, and {kind_of(likes[k])} here')
        else: res[k] = v.detach().to(p.device, copy=True) if isinstance(v, Tensor) else deepcopy(v)
    return res, changed


def stats_like(group: Group, p: Tensor) -> dict[str, Tensor]:
    "Tensors of the shapes that the stats have here."
    if p in group.spreads: p = meta(p)
    return {k: p if part.init is None else group.start(k, p)
            for k, part in group.composition.stats.items() if not part.is_number}


def _number(v: Any, part: Part, where: str) -> int | float:
    "The value of a stat that is a number. A count is whole, and not below its first value."
    x = read(v) if isinstance(v, Tensor) and v.numel() == 1 else v
    is_number = isinstance(x, Real) and not isinstance(x, bool) and math.isfinite(x)
    if not is_number or isinstance(x, int) and abs(x) >= LARGEST:
        there = kind_of(x) if isinstance(x, Tensor) else repr(x)
        raise refusal(f'{where} is {there} in it, and a number here')
    x = int(x) if isinstance(x, int) else float(x)
    reads_only_itself = part.reads == [f'prev_{part.out}'] and not part.keywords
    second = part.fn(part.init) if type(part.init) is int and reads_only_itself else None
    if type(second) is not int: return x
    if x != int(x) or abs(x) >= LARGEST or x < part.init < second:
        raise refusal(f'{where} is {x:g} in it, and a count is a whole number, at least '
                      f'{part.init}')
    return int(x)


def kind_of(x: Any) -> str:
    "What must be the same here and there: the type and the shape, but not the precision."
    if isinstance(x, Real): return 'a number'
    if not isinstance(x, Tensor): return f'a {type(x).__name__}'
    kind = f'{x.dtype} '.removeprefix('torch.')
    if x.is_complex() or x.is_floating_point(): kind = 'complex ' if x.is_complex() else ''
    if x.layout != torch.strided: kind += 'sparse '
    return f'a {kind}tensor of shape {tuple(x.shape)}'


def _try_counts(group: Group, state: Mapping[Any, Any]) -> None:
    "Makes small steps with a group's values and counts: each may be legal, but not all together."
    c = group.composition
    counts = [tuple(read(state[p][k]) for k in c.number_stats) for p in group['params']
              if p in state and {*c.stats} <= {*state[p]}]
    for numbers in {counts[0], min(counts), max(counts)} if counts else ():
        _try_step(c, group.numbers(), dict(zip(c.number_stats, numbers)))


def _try_step(c: Composition, hypers: Mapping[str, float], numbers: Mapping[str, Any]) -> None:
    with apart(), Trial(c).watch:
        param = torch.ones(2, device='cpu')
        state = {k: v if part.is_number else torch.ones_like(param) for k, part in c.stats.items()
                 for v in [numbers.get(k)]}
        made = c.numbers(state, {**hypers, **c.stand_ins, **c.numbers_of(param)})
        happening = c.happening(made)
        made |= dict.fromkeys(c.fed, param)
        if c.elementwise and happening: happening.update(param, param, state, made)


def _list(names: Iterable[Any]) -> str:
    return ', '.join(f'`{n}`' for n in sorted(map(str, names))) or 'nothing'
