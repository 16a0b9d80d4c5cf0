"""State of torch.optim's optimizers, to genopt and back.

    >>> opt = genopt.Adam(params)
    >>> opt.load_state_dict(torch_adam.state_dict())  # goes on where torch's Adam stopped
    >>> torch_adam.load_state_dict(to_torch(opt))     # and back
"""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..composition import Composition
from ..contract import GROUP_KEYS
from ..converting import seen
from ..group import ENGINE_WORDS, Group
from ..numbers import read
from ..packing import refusal, refusing
from ..state import begun
from ..twins import TWINS, Twin, twin
from ..words import COMMON, STORAGE

__all__ = ['from_torch', 'to_torch']

# Every hyperparameter of a class in torch.optim, by its name there
THEIRS = {k for t in TWINS.values() for k in inspect.signature(t.cls).parameters
          if k not in (*GROUP_KEYS, *ENGINE_WORDS)}


def _made_by_torch(state_dict: Mapping[str, Any]) -> bool:
    "True if its groups are in torch's words and, unlike ours, do not name their parts."
    groups = [g for g in state_dict.get('param_groups') or () if isinstance(g, Mapping)]
    words = {*COMMON, *ENGINE_WORDS}
    return any({*g} & words for g in groups) and not any('parts' in g for g in groups)


def _torch_group(cls: type[torch.optim.Optimizer], values: Mapping[str, Any]) -> dict[str, Any]:
    "The group that torch itself makes of `values`, which may hold more than its class takes."
    words = inspect.signature(cls).parameters
    kwargs = {k: v for k, v in values.items() if k in words and k != 'params'}
    param = torch.zeros(1, 1, requires_grad=True, device='cpu')
    try: group = cls([param], **kwargs).state_dict()['param_groups'][0]
    except (TypeError, ValueError) as e:
        raise ValueError(f'torch.optim.{cls.__name__} does not take this: {e}') from None
    return {k: v for k, v in group.items() if k != 'params'}


# -- from torch --------------------------------------------------------------------------------

@refusing()
def from_torch(state_dict: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """A genopt state_dict from that of the recipe's twin in torch.optim, with the same tensors.

    One that torch has not made is returned as it is. Raises ValueError if the recipe has no twin,
    or if another optimizer or other options made it.
    """
    if not _made_by_torch(state_dict): return dict(state_dict)
    its_twin, groups, entries = twin(recipe), [], {}
    for i, saved in enumerate(state_dict['param_groups']):
        group, composition = _group_from_torch(saved, i, recipe)
        groups.append(group)
        for key in saved['params']:
            entry = {k: v for k, v in state_dict['state'].get(key, {}).items() if v is not None}
            if entry: entries[key] = _entry_from_torch(entry, its_twin, composition)
    keys = [key for g in groups for key in g['params']]
    strangers = {k: v for k, v in state_dict['state'].items() if k not in keys}
    empty: dict[Any, Any] = {key: {} for key in keys} if entries else {}
    return {'state': {**empty, **entries, **strangers}, 'param_groups': groups}


def _group_from_torch(saved: Mapping[str, Any], i: int,
                      recipe: Any) -> tuple[dict[str, Any], Composition]:
    cls = twin(recipe).cls
    try: own = _torch_group(cls, saved)
    except ValueError as e: raise refusal(f'its group {i}: {e}') from None
    for k, v in saved.items():
        if k not in own and k in THEIRS:
            raise refusal(f'torch.optim.{cls.__name__} has no `{k}`, so another optimizer made its '
                          f'group {i}')
        if k in own and k not in ENGINE_WORDS and own[k] is not v and own[k] != v:
            raise refusal(f'`{k}` is {v} in its group {i}, and {own[k]} in {recipe.__name__}')
    means = recipe.rule().words.means
    given = {k: v for k, v in saved.items() if k in means}
    rule, _ = recipe.rule().bind({}, given)
    kept = {k: v for k, v in saved.items() if k not in own or k in means or k in GROUP_KEYS}
    return {'maximize': False, **kept, **rule.entries(rule.words.ours(given)),
            'parts': rule.labels}, rule.composition


def _entry_from_torch(entry: dict[str, Any], twin: Twin,
                      composition: Composition) -> dict[str, Any]:
    ours = {theirs: name for name, theirs in twin.names.items()}
    res = {ours.get(k, k): v for k, v in twin.fro(entry).items()}
    if 'count' not in composition.stats: res.pop('count', None)  # RMSprop's, never read by torch
    elif 'count' not in twin.names: res['count'] = 1             # dampened SGD's: it has begun
    for k in composition.number_stats:
        if k in res: res[k] = (int if k == 'count' else float)(read(res[k]))
    return {k: v.to_dense() if isinstance(v, Tensor) and v.is_sparse else v for k, v in res.items()}


# -- to torch ----------------------------------------------------------------------------------

def to_torch(
    opt: Any  # An Optimizer
) -> dict[str, Any]:
    """A state_dict for the recipe's twin in torch.optim, which goes on where `opt` stopped.

    Raises ValueError if the recipe has no twin, if a group has parts of its own, or if a
    parameter that is marked as exempt from weight decay would decay there.
    """
    if not hasattr(opt, 'recipe'):
        raise TypeError(f'to_torch takes a genopt Optimizer, and this is a {type(opt).__name__}')
    its_twin, saved = twin(opt.recipe), opt.state_dict()
    groups, entries = [], {}
    for group, packed in zip(opt.groups(), saved['param_groups']):
        groups.append(_group_to_torch(group, packed, opt.recipe))
        for p, key in zip(group['params'], packed['params']):
            entry = saved['state'].get(key, {})
            if group.get('wd') and not entry.get('do_wd', True):
                raise ValueError(f'{group.describe(p)} is marked do_wd=False, which torch.optim.'
                                 f'{its_twin.cls.__name__} does not know: it would decay there')
            if begun(entry) and read(entry.get('count', 1)):
                entries[key] = _entry_to_torch(seen(entry, p), its_twin, group)
    return {**saved, 'state': entries, 'param_groups': groups}


def _group_to_torch(group: Group, packed: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    cls, words, i = twin(recipe).cls, group.rule.words, group.index
    arguments = inspect.signature(cls).parameters
    if group.rule.recipe is not recipe:
        raise ValueError(f'group {i} has parts of its own, which torch.optim.{cls.__name__} does '
                         'not have')
    known = {n for k in arguments for n in words.means.get(k, ())}
    for k, v in group.options.items():
        if v != recipe.options[k] and k not in known:
            raise ValueError(f'group {i} has {k}={v}, which this torch.optim.{cls.__name__} does '
                             'not know')
    hypers = {k: v if isinstance(v, (int, Tensor)) else float(v) for k, v in group.hypers().items()}
    values = {**words.torchs({**group.options, **hypers}), 'maximize': group['maximize']}
    for k, pair in words.pairs.items():  # 0 is the dtype's own, which torch calls None
        if isinstance(arguments[k].default, tuple):
            values[k] = (hypers[pair[0]] or None, *(hypers[n] for n in pair[1:]))
    notes = {k: v for k, v in packed.items()
             if k not in words.means and k not in ('maximize', 'parts', *STORAGE)}
    return {**notes, **_torch_group(cls, values)}


def _entry_to_torch(entry: Mapping[str, Any], twin: Twin, group: Group) -> dict[str, Any]:
    numbers = {'count', *group.composition.number_stats}
    if 'count' in twin.names: entry = {'count': 0, **entry}  # RMSprop's, again
    res = {twin.names[k]: torch.tensor(float(read(v)), device='cpu') if k in numbers else v.clone()
           for k, v in entry.items() if k in twin.names}
    return twin.to(res, group.hypers())
