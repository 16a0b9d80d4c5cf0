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

from ..checkpoint import refusal
from ..composition import Composition
from ..hypers import ENGINE_WORDS, SPELLINGS, TABLE, Hypers, canonical, is_note

if TYPE_CHECKING: from ..optimizer import Optimizer

__all__ = ['made_by_torch', 'from_torch', 'to_torch', 'TWINS', 'twin']

# recipe -> its class in torch.optim, and the name of each stat there
_SGD, _RMSprop, _Adam = (dict(grad_avg='momentum_buffer'),
                         dict(count='step', sqr_avg='square_avg', grad_avg='grad_avg', scaled_avg='momentum_buffer'),
                         dict(count='step', grad_avg='exp_avg', sqr_avg='exp_avg_sq', max_sqr_avg='max_exp_avg_sq'))
TWINS = {'SGD':     (torch.optim.SGD,     _SGD),
         'Momentum': (torch.optim.SGD,    _SGD),
         'RMSprop': (torch.optim.RMSprop, _RMSprop),
         'Adam':    (torch.optim.Adam,    _Adam),
         'AdamW':   (torch.optim.AdamW,   _Adam)}


def twin(recipe: Any) -> tuple[type[torch.optim.Optimizer], dict[str, str]]:
    "A recipe's class in torch.optim, and what its stats are called there. Raises ValueError if it has none."
    name = getattr(recipe, '__name__', None)
    if name not in TWINS or not recipe.__module__.startswith('genopt.'):
        raise ValueError(f'{name or "a list of parts"} has no twin in torch.optim: only {", ".join(TWINS)} have one')
    return TWINS[name]


def made_by_torch(state_dict: Mapping[str, Any]) -> bool:
    "Does it speak torch's dialect, and not name its parts as ours do?"
    groups = state_dict.get('param_groups', ())
    return any({*g} & {*SPELLINGS, *ENGINE_WORDS} for g in groups) and not any('parts' in g for g in groups)


def _torch_group(cls: type[torch.optim.Optimizer], values: Mapping[str, Any]) -> dict[str, Any]:
    "The group that torch itself makes of `values`, which may hold more than its class takes."
    kwargs = {k: values[k] for k in inspect.signature(cls).parameters if k in values and k != 'params'}
    try: group = cls([torch.zeros(1, requires_grad=True)], **kwargs).state_dict()['param_groups'][0]
    except (TypeError, ValueError) as e:
        raise ValueError(f'torch.optim.{cls.__name__} does not take this: {e}') from None
    return {k: v for k, v in group.items() if k != 'params'}


def from_torch(state_dict: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """A genopt state_dict from that of the recipe's twin in torch.optim. It refers to the same tensors.

    Raises ValueError if the recipe has no twin, or another optimizer, or one with other options, made it.
    """
    cls, names = twin(recipe)
    groups, state = [], {}
    for i, saved in enumerate(state_dict['param_groups']):
        try: own = _torch_group(cls, saved)
        except ValueError as e: raise refusal(f'its group {i}: {e}') from None
        for k, v in saved.items():
            if k not in own and k in (*SPELLINGS, *TABLE):
                raise refusal(f'torch.optim.{cls.__name__} has no `{k}`, so another optimizer made its group {i}')
            if k in own and k not in ENGINE_WORDS and own[k] is not v and own[k] != v:
                raise refusal(f'`{k}` is {v} in its group {i}, and {own[k]} in {recipe.__name__}')
        values = canonical({k: v for k, v in saved.items() if k not in ENGINE_WORDS})
        composition = recipe.bind({}, values).composition
        rule = {k for k in canonical(own) if k not in composition.hypers and k != 'maximize'}
        values = {k: v for k, v in values.items() if k not in rule}
        groups.append({**values, 'parts': [p.label for p in composition.parts]})
        for key in saved['params']:
            if entry := {k: v for k, v in state_dict['state'].get(key, {}).items() if v is not None}:
                state[key] = _entry_from_torch(entry, names, composition)
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
    return {k: int(v) if k == 'count' else v for k, v in res.items()}


def to_torch(opt: Optimizer) -> dict[str, Any]:
    """A state_dict for the recipe's twin in torch.optim, which goes on where `opt` stopped. They share no tensors.

    Raises ValueError if the recipe has no twin, or if a group has parts of its own.
    """
    if not hasattr(opt, 'recipe'):
        raise TypeError(f'to_torch takes a genopt Optimizer, and this is a {type(opt).__name__}')
    recipe: Any = opt.recipe
    cls, names = twin(recipe)
    saved = opt.state_dict()
    for i, (group, g) in enumerate(zip(opt.param_groups, saved['param_groups'])):
        if {*group.options} != {*recipe.options} or group.composition.parts != recipe.parts(**group.options):
            raise ValueError(f'group {i} has parts of its own, which torch.optim.{cls.__name__} does not')
        taken = {name for k in inspect.signature(cls).parameters for name in SPELLINGS.get(k, (k,))}
        if lost := [k for k, v in group.options.items() if v != recipe.options[k] and k not in taken]:
            raise ValueError(f'group {i} has {lost[0]}={group.options[lost[0]]}, '
                             f'which this torch.optim.{cls.__name__} does not know')
        hypers = {k: v if isinstance(v, Tensor) else float(v) for k, v in group.hypers().items()}
        values = Hypers({**group.options, **hypers, 'maximize': group['maximize']})
        saved['param_groups'][i] = {**{k: v for k, v in g.items() if k in ('params', 'param_names') or is_note(k)},
                                    **_torch_group(cls, values)}
    begun = {k: entry for k, entry in saved['state'].items() if entry and entry.get('count', 1)}
    saved['state'] = {k: _entry_to_torch(entry, names) for k, entry in begun.items()}
    return saved


def _entry_to_torch(entry: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if 'count' in names: entry = {'count': 0, **entry}                     # RMSprop's, again
    def theirs(v: Any) -> Tensor: return v.clone() if isinstance(v, Tensor) else torch.tensor(float(v))
    return {names[k]: theirs(v) for k, v in entry.items() if k in names}
