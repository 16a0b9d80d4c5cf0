"""Loading by name: a state_dict whose parameters stand elsewhere, with some more or fewer of them.

    >>> opt = Adam(model.named_parameters())
    >>> opt.init_state()
    >>> saved = opt.state_dict()
    >>> extra = torch.nn.Parameter(torch.zeros(3))
    >>> Adam([('extra', extra), *model.named_parameters()]).load_by_name(saved)
    loaded by name: 6 of 7 parameters
      fresh    extra: its state begins anew, as none was saved

What fits is put into the order of this optimizer, and then checked as any state_dict. The rest is
listed. Names are those in `param_names`, as torch's optimizers have them too.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from .carrying import in_our_names
from .checkpoint import kind_of, stats_like, values_of
from .converting import REST, like_seen
from .group import Group
from .packing import keys_in, opened, refusal, refusing
from .state import begun

__all__ = ['Loaded', 'aligned']

SHOWN = 6  # names on a line


@dataclass
class Loaded:
    "What `load_by_name` has done, by the names of parameters."
    taken: list[str] = field(default_factory=list)        # Their state was loaded
    fresh: list[str] = field(default_factory=list)        # None was saved: begins anew
    empty: list[str] = field(default_factory=list)  # Saved without a state, which begins here
    misfits: dict[str, str] = field(default_factory=dict)  # Why it could not be: begins anew
    left: list[str] = field(default_factory=list)         # They were saved, and are not here
    groups: dict[int, str] = field(default_factory=dict)  # Why a group keeps its hyperparameters

    def __repr__(self) -> str:
        n = sum(map(len, (self.taken, self.fresh, self.empty, self.misfits)))
        lines = [f'loaded by name: {len(self.taken)} of {n} parameter{"s" * (n != 1)}']
        if self.fresh:
            its = 'its' if len(self.fresh) == 1 else 'their'
            lines.append(f'fresh    {_few(self.fresh)}: {its} state begins anew, as none was saved')
        if self.empty:
            lines.append(f'empty    {_few(self.empty)}: saved without a state, which begins on the '
                         'first step')
        lines += [f'misfit   {name}: {why}, so its state begins anew'
                  for name, why in self.misfits.items()]
        if self.left: lines.append(f'left     {_few(self.left)}: saved, and not in this optimizer')
        lines += [f'group {i}  keeps its hyperparameters: {why}' for i, why in self.groups.items()]
        return '\n  '.join(lines)


def _few(names: Sequence[str]) -> str:
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more


class _Saved(NamedTuple):
    "A parameter in a state_dict."
    group: int
    key: Any


@refusing()
def aligned(
    saved: Mapping[str, Any],  # In genopt's form
    groups: Sequence[Group]
) -> tuple[dict[str, Any], Loaded]:
    """The state_dict in the order of these groups, and what of it is in there.

    A group takes the hyperparameters and notes of the one there in which all of its parameters
    were, if that had no others of these groups. Where schedules stand is taken by all groups.
    Raises ValueError if there are no names, or if nothing fits.
    """
    found, here = _Found(saved), _names_here(groups)
    found.loaded.left = [n for n in found.names if n not in here]
    if len(found.loaded.left) == len(found.names):
        there = next(iter(found.names), 'nothing')
        raise refusal(f'it has no parameter that is here: there is `{there}` in it, for example, '
                      f'and `{here[0]}` here')
    partners = _partners(found.names, groups)
    packed = [found.group(g, *partner) for g, partner in zip(groups, partners)]
    if not (found.loaded.taken or found.loaded.empty):
        for name, why in found.loaded.misfits.items():
            raise refusal(f'none of its parameters fits: for `{name}`, {why}')
        raise refusal('it has no state of any parameter that is here')
    return {**saved, 'state': found.state, 'param_groups': packed}, found.loaded


class _Found:
    "What is found in a state_dict for one group after another, in `state` and `loaded`."
    def __init__(self, saved: Mapping[str, Any]):
        self.entries, self.groups = opened(saved)
        keys = keys_in(self.entries, self.groups)
        self.names, self.loaded = _saved_by_name(self.groups), Loaded()
        self.state: dict[Any, Any] = {k: v for k, v in self.entries.items() if k not in keys}
        self.has_begun = len(self.state) < len(self.entries)
        self.place = 0  # of the next parameter
        self.clock = {k: max(g.get(k, 0) for g in self.groups) for g in self.groups for k in g
                      if str(k).startswith('scheduled ')}

    def group(self, group: Group, partner: int, why: str) -> dict[str, Any]:
        "A group with the values of its partner, if `why` does not say that it has none."
        target, values, first = group, dict(group), self.place
        if not why:
            try: target, values = _with_values(group, self.groups[partner]), self.groups[partner]
            except ValueError as e: why = str(e)
        if why: self.loaded.groups[group.index] = why
        for name, p in zip(group['param_names'], group['params']):
            self.state[self.place] = self.entry(name, p, target)
            self.place += 1
        return {**values, **self.clock, 'params': [*range(first, self.place)],
                'param_names': [*group['param_names']]}

    def entry(self, name: str, p: Tensor, group: Group) -> Any:
        "The saved state of a parameter, or an empty one. It is listed."
        if name not in self.names or self.has_begun and self.names[name].key not in self.entries:
            self.loaded.fresh.append(name)
            return {}
        old = self.names[name]
        entry, why = self.entries.get(old.key, {}), ''
        if isinstance(entry, Mapping) and not begun(entry) and group.composition.stats:
            self.loaded.empty.append(name)
            return entry
        if isinstance(entry, Mapping) and begun(entry):
            entry = in_our_names(entry, group)
            why = _why_unfit(p, group, self.groups[old.group].get('parts') or [], entry)
        if why:
            self.loaded.misfits[name] = why
            return {}
        self.loaded.taken.append(name)
        return entry


def _saved_by_name(groups: Iterable[Any]) -> dict[str, _Saved]:
    "Each parameter in a state_dict. Raises ValueError if it has no names."
    res = dict[str, _Saved]()
    for i, g in enumerate(groups):
        keys = g['params']
        names = g.get('param_names', [k for k in keys if isinstance(k, str)])
        if len(names) != len(keys):
            raise refusal(f'its group {i} has {len(names)} `param_names` for {len(keys)} '
                          'parameters, so it cannot be loaded by name: load it into an optimizer '
                          'of the same groups, or write the names into it')
        for name, key in zip(names, keys):
            if not isinstance(name, str): raise refusal(f'{name!r} in its group {i} is not a name')
            if name in res: raise refusal(f'it has two parameters called `{name}`')
            res[name] = _Saved(i, key)
    return res


def _names_here(groups: Sequence[Group]) -> list[str]:
    "The names of all parameters. Raises ValueError if some have none, or the same one."
    if not any(g['params'] for g in groups):
        raise refusal('this optimizer has no parameters: `add` some first')
    names = [n for g in groups for n in g.get('param_names', ())]
    if len(names) < sum(len(g['params']) for g in groups):
        raise refusal('this optimizer has no names: make it with model.named_parameters()')
    if len({*names}) < len(names):
        raise refusal(f'two parameters here are called `{max(names, key=names.count)}`')
    return names


def _partners(there: Mapping[str, _Saved],
              groups: Sequence[Group]) -> list[tuple[int, str]]:
    "For each group, the one there that has its parameters; or why there is none."
    sources = [{there[n].group for n in g['param_names'] if n in there} for g in groups]
    res = []
    for mine in sources:
        if not mine: res.append((-1, 'none of its parameters was saved'))
        elif len(mine) > 1:
            res.append((-1, f'its parameters were in groups {_and(mine)}'))
        elif len(users := [j for j, other in enumerate(sources) if mine & other]) > 1:
            res.append((-1, f'the parameters of group {min(mine)} there are in groups '
                            f'{_and(users)} here'))
        else: res.append((min(mine), ''))
    return res


def _and(numbers: Iterable[int]) -> str:
    *first, last = map(str, sorted(numbers))
    return f'{", ".join(first)} and {last}'


def _with_values(group: Group, old: Mapping[str, Any]) -> Group:
    "The group with the rule that was saved. Raises ValueError if that has other parts."
    try: given, rule = values_of(old, group)
    except (KeyError, TypeError, ValueError) as e: raise ValueError(e.args[0]) from None
    if old.get('parts') != rule.labels: raise ValueError('it had other parts')
    if (view := old.get('view')) not in (None, dict.get(group, 'view')):
        raise ValueError(f'it had view={view!r}')
    target = group.copy()
    target.take_rule({**rule.defaults, **given}, rule)
    return target


def _why_unfit(p: Tensor, group: Group, parts: Sequence[str], entry: Mapping[str, Any]) -> str:
    "Why a state is not one for this parameter, or ''."
    stats = group.composition.stats
    if parts != group.rule.labels and not {*stats} & {*entry}:
        return f'it has {", ".join(f"`{k}`" for k in entry)}, and here no part keeps these'
    for part in stats.values():
        if part.label not in parts: return f'it was kept without `{part.label}`'
    for k, like in stats_like(group, p).items():
        if k in entry and (kind := kind_of(like_seen(entry, k))) != kind_of(like):
            return f'`{k}` is {kind} in it, and {kind_of(like)} here'
    if (rest := entry.get(REST)) is not None and getattr(rest, 'shape', None) != p.shape:
        return f'`{REST}` is {kind_of(rest)} in it, and of shape {tuple(p.shape)} here'
    return ''
