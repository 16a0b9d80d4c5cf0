"""State of torch.optim's optimizers, to genopt and back.

    >>> genopt.Adam(params).load_state_dict(torch_adam.state_dict())      # goes on where torch's Adam stopped
    >>> torch_adam.load_state_dict(to_torch(opt))                         # and back
"""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checkpoint import begun, refusal
from ..composition import Composition
from ..group import ENGINE_WORDS, OWN
from ..numbers import read
from ..twins import TWINS, twin
from ..words import COMMON

if TYPE_CHECKING: from ..optimizer import Optimizer

__all__ = ['made_by_torch', 'from_torch', 'to_torch']

# Every word that a class of torch.optim has for a group
THEIRS = {k for t in TWINS.values() for k in inspect.signature(t.cls).parameters} - {*OWN, *ENGINE_WORDS}


def made_by_torch(state_dict: Mapping[str, Any]) -> bool:
    "True if it speaks torch's dialect, and does not name its parts as ours does."
    groups = [g for g in state_dict.get('param_groups') or () if isinstance(g, Mapping)]
    return any({*g} & {*COMMON, *ENGINE_WORDS} for g in groups) and not any('parts' in g for g in groups)


def _torch_group(cls: type[torch.optim.Optimizer], values: Mapping[str, Any]) -> dict[str, Any]:
    "The group that torch itself makes of `values`, which may hold more than its class takes."
    kwargs = {k: values[k] for k in inspect.signature(cls).parameters if k in values and k != 'params'}
    try: group = cls([torch.zeros(1, 1, requires_grad=True, device='cpu')], **kwargs).state_dict()['param_groups'][0]
    except (TypeError, ValueError) as e:
        raise ValueError(f'torch.optim.{cls.__name__} does not take this: {e}') from None
    return {k: v for k, v in group.items() if k != 'params'}


def from_torch(state_dict: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """A genopt state_dict from that of the recipe's twin in torch.optim. It refers to the same tensors.

    Raises ValueError if the recipe has no twin, or another optimizer, or one with other options, made it.
    """
    try: return _from_torch(state_dict, recipe)
    except (TypeError, KeyError, AttributeError, IndexError) as e:
        raise refusal(f'it is damaged ({type(e).__name__}: {e})') from e


def _from_torch(state_dict: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    cls, names, _ = twin(recipe)
    groups, state = [], {}
    for i, saved in enumerate(state_dict['param_groups']):
        try: own = _torch_group(cls, saved)
        except ValueError as e: raise refusal(f'its group {i}: {e}') from None
        for k, v in saved.items():
            if k not in own and k in THEIRS:
                raise refusal(f'torch.optim.{cls.__name__} has no `{k}`, so another optimizer made its group {i}')
            if k in own and k not in ENGINE_WORDS and own[k] is not v and own[k] != v:
                raise refusal(f'`{k}` is {v} in its group {i}, and {own[k]} in {recipe.__name__}')
        words = recipe.rule().words
        given = {k: v for k, v in saved.items() if k in words.means}
        rule, _ = recipe.rule().bind({}, given)
        kept = {k: v for k, v in saved.items() if k not in own or k in words.means or k in OWN}
        groups.append({'maximize': False, **kept, **rule.words.torchs({**rule.options, **rule.defaults,
            **rule.words.ours(given)}), 'parts': [p.label for p in rule.composition.parts]})
        for key in saved['params']:
            if entry := {k: v for k, v in state_dict['state'].get(key, {}).items() if v is not None}:
                state[key] = _entry_from_torch(entry, names, rule.composition)
    keys = [key for g in groups for key in g['params']]
    strangers = {k: v for k, v in state_dict['state'].items() if k not in keys}
    return {'state': {**dict.fromkeys(keys if state else (), {}), **state, **strangers}, 'param_groups': groups}


def _entry_from_torch(entry: Mapping[str, Any], names: Mapping[str, str], composition: Composition) -> dict[str, Any]:
    ours = {theirs: name for name, theirs in names.items()}
    res = {ours.get(k, k): v for k, v in entry.items()}
    if 'count' in names and 'count' not in composition.stats:
        res.pop('count', None)  # torch counts RMSprop's steps, and never looks
    if 'count' in composition.stats and 'count' not in names:
        res['count'] = 1        # ... but not dampened SGD's, only its first one
    if 'eta' in res: res.pop('mu', None)  # ASGD's, which follows from the count
    if 'variance' in res: res |= dict(row_avg=(v := res.pop('variance')), column_avg=v.new_zeros(0))
    kind = {k: int if k == 'count' else float for k in composition.number_stats}
    return {k: kind[k](read(v)) if k in kind else v.to_dense() if isinstance(v, Tensor) and v.is_sparse else v
            for k, v in res.items()}


def to_torch(opt: Optimizer) -> dict[str, Any]:
    """A state_dict for the recipe's twin in torch.optim, which goes on where `opt` stopped. They share no tensors.

    Raises ValueError if the recipe has no twin, if a group has parts of its own, or if a parameter that is marked as
    without weight decay would decay there.
    """
    if not hasattr(opt, 'recipe'):
        raise TypeError(f'to_torch takes a genopt Optimizer, and this is a {type(opt).__name__}')
    recipe: Any = opt.recipe
    cls, names, extra = twin(recipe)
    saved = opt.state_dict()
    for i, (group, g) in enumerate(zip(opt.param_groups, saved['param_groups'])):
        if group.rule.recipe is not recipe:
            raise ValueError(f'group {i} has parts of its own, which torch.optim.{cls.__name__} does not')
        taken = {n for k in inspect.signature(cls).parameters for n in group.rule.words.means.get(k, ())}
        if lost := [k for k, v in group.options.items() if v != recipe.options[k] and k not in taken]:
            raise ValueError(f'group {i} has {lost[0]}={group.options[lost[0]]}, '
                             f'which this torch.optim.{cls.__name__} does not know')
        hypers = {k: v if isinstance(v, (int, Tensor)) else float(v) for k, v in group.hypers().items()}
        words = group.rule.words
        values = {**words.torchs({**group.options, **hypers}), 'maximize': group['maximize']}
        for k, pair in words.pairs.items():  # 0 is the dtype's own, which torch calls None
            if isinstance(inspect.signature(cls).parameters[k].default, tuple):
                values[k] = (hypers[pair[0]] or None, *(hypers[n] for n in pair[1:]))
        notes = {k: v for k, v in g.items() if k not in words.means and k not in ('maximize', 'parts')}
        saved['param_groups'][i] = {**notes, **_torch_group(cls, values)}
        for p in group['params'] if group.get('wd') else ():
            if not opt.state.get(p, {}).get('do_wd', True):
                raise ValueError(f'{group.describe(p)} is marked do_wd=False, which torch.optim.{cls.__name__} does '
                                 'not know: it would decay there')
    group_of = {k: group for group, g in zip(opt.param_groups, saved['param_groups']) for k in g['params']}
    saved['state'] = {k: _entry_to_torch(entry, names, group_of[k].composition)
                      for k, entry in saved['state'].items()
                      if k in group_of and begun(entry) and read(entry.get('count', 1))}
    if extra: saved['state'] = {k: extra(entry, group_of[k].hypers()) for k, entry in saved['state'].items()}
    return saved


def _entry_to_torch(entry: Mapping[str, Any], names: Mapping[str, str], composition: Composition) -> dict[str, Any]:
    if 'count' in names: entry = {'count': 0, **entry}                     # RMSprop's, again
    numbers = {'count', *composition.number_stats}
    return {names[k]: torch.tensor(float(read(v)), device='cpu') if k in numbers else v.clone()
            for k, v in entry.items() if k in names}
