"""State of torch.optim's optimizers, to genopt and back.

    >>> genopt.Adam(params).load_state_dict(torch_adam.state_dict())      # goes on where torch's Adam stopped
    >>> torch_adam.load_state_dict(to_torch(opt))                         # and back
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..checkpoint import begun, refusal
from ..composition import Composition
from ..hypers import ENGINE_WORDS, PAIRS, SPELLINGS, Hypers, canonical, is_note, own_name, spelled

if TYPE_CHECKING: from ..optimizer import Optimizer

__all__ = ['made_by_torch', 'from_torch', 'to_torch', 'TWINS', 'twin']

class Twin(NamedTuple):
    "A recipe's class in torch.optim, and the name of each stat there."
    cls: type[torch.optim.Optimizer]
    names: dict[str, str]
    extra: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]] | None=None  # what torch has beside these


def _asgd(entry: dict[str, Any], hypers: Mapping[str, Any]) -> dict[str, Any]:
    "torch also keeps the share of the mean, which here follows from the count."
    return {**entry, 'mu': torch.tensor(1 / max(1, float(entry['step']) - hypers['t0']))}


def _sparse_adam(entry: dict[str, Any], hypers: Mapping[str, Any]) -> dict[str, Any]:
    "torch's only count that is a plain number."
    return {**entry, 'step': int(entry['step'])}


def _adafactor(entry: dict[str, Any], hypers: Mapping[str, Any]) -> dict[str, Any]:
    "torch calls a vector's rows its variance, and keeps no columns of it."
    if entry['col_var'].dim() > 1: return entry
    return {'step': entry['step'], 'variance': entry['row_var']}


_AVERAGES = dict(count='step', grad_avg='exp_avg', sqr_avg='exp_avg_sq', max_sqr_avg='max_exp_avg_sq')
_BUFFER = dict(grad_avg='momentum_buffer')
TWINS = {name: Twin(getattr(torch.optim, cls), names, *extra) for name, cls, names, *extra in (
    ('SGD',        'SGD',        _BUFFER),
    ('Momentum',   'SGD',        _BUFFER),
    ('RMSprop',    'RMSprop',    dict(count='step', sqr_avg='square_avg', grad_avg='grad_avg',
                                      scaled_avg='momentum_buffer')),
    ('Adam',       'Adam',       _AVERAGES),
    ('AdamW',      'AdamW',      _AVERAGES),
    ('SparseAdam', 'SparseAdam', _AVERAGES, _sparse_adam),
    ('RAdam',      'RAdam',      _AVERAGES),
    ('NAdam',      'NAdam',      {**_AVERAGES, 'mom_product': 'mu_product'}),
    ('Adamax',     'Adamax',     dict(count='step', grad_avg='exp_avg', grad_max='exp_inf')),
    ('Adagrad',    'Adagrad',    dict(count='step', sqr_sum='sum')),
    ('Adadelta',   'Adadelta',   dict(count='step', sqr_avg='square_avg', delta_avg='acc_delta')),
    ('ASGD',       'ASGD',       dict(count='step', eta='eta', param_avg='ax'), _asgd),
    ('Rprop',      'Rprop',      dict(count='step', last_grad='prev', step_size='step_size')),
    ('Adafactor',  'Adafactor',  dict(count='step', row_avg='row_var', column_avg='col_var'), _adafactor),
    ('Muon',       'Muon',       _BUFFER)) if hasattr(torch.optim, cls)}  # older torch has fewer


# Every word that a class of torch.optim has for a group
THEIRS = {k for t in TWINS.values() for k in inspect.signature(t.cls).parameters} - {'params', 'maximize'}
THEIRS -= {*ENGINE_WORDS}


def twin(recipe: Any) -> Twin:
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
    asks = {k: a.default for k, a in inspect.signature(cls).parameters.items()}
    kwargs = {k: values[k] for k in asks if k in values and k != 'params'}
    for k in {*PAIRS} & {*kwargs}:  # 0 is the dtype's own, which torch calls None
        if isinstance(asks[k], tuple) and not isinstance(kwargs[k], (tuple, list)):
            kwargs[k] = tuple(values[n] or None if i == 0 else values[n] for i, n in enumerate(PAIRS[k]))
    try: group = cls([torch.zeros(1, 1, requires_grad=True)], **kwargs).state_dict()['param_groups'][0]
    except (TypeError, ValueError) as e:
        raise ValueError(f'torch.optim.{cls.__name__} does not take this: {e}') from None
    return {k: v for k, v in group.items() if k != 'params'}


def from_torch(state_dict: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """A genopt state_dict from that of the recipe's twin in torch.optim. It refers to the same tensors.

    Raises ValueError if the recipe has no twin, or another optimizer, or one with other options, made it.
    """
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
        values = canonical({k: v for k, v in saved.items() if k not in ENGINE_WORDS})
        composition = recipe.bind({}, values).composition
        values = {own_name(k, composition.hypers): v for k, v in values.items()}
        rule = {k for k in canonical(own, composition.hypers) if k not in composition.hypers and k != 'maximize'}
        values = {k: v for k, v in values.items() if k not in rule}
        groups.append({'maximize': False, **values, 'parts': [p.label for p in composition.parts]})
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
    if 'eta' in res: res.pop('mu', None)  # ASGD's, which follows from the count
    if 'variance' in res: res |= dict(row_avg=(v := res.pop('variance')), column_avg=v.new_zeros(0))
    kind = {k: int if k == 'count' else float for k in composition.number_stats}
    return {k: kind[k](v) if k in kind else v.to_dense() if v.is_sparse else v for k, v in res.items()}


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
        if {*group.options} != {*recipe.options} or group.composition.parts != recipe.parts(**group.options):
            raise ValueError(f'group {i} has parts of its own, which torch.optim.{cls.__name__} does not')
        taken = {name for k in inspect.signature(cls).parameters for name in spelled(k, group)}
        if lost := [k for k, v in group.options.items() if v != recipe.options[k] and k not in taken]:
            raise ValueError(f'group {i} has {lost[0]}={group.options[lost[0]]}, '
                             f'which this torch.optim.{cls.__name__} does not know')
        hypers = {k: v if isinstance(v, (int, Tensor)) else float(v) for k, v in group.hypers().items()}
        values = Hypers({**group.options, **hypers, 'maximize': group['maximize']})
        saved['param_groups'][i] = {**{k: v for k, v in g.items() if k in ('params', 'param_names') or is_note(k)},
                                    **_torch_group(cls, values)}
        for p in group['params'] if group.get('wd') else ():
            if not opt.state.get(p, {}).get('do_wd', True):
                raise ValueError(f'{group.describe(p)} is marked do_wd=False, which torch.optim.{cls.__name__} does '
                                 'not know: it would decay there')
    values_of = {k: group.hypers() for group, g in zip(opt.param_groups, saved['param_groups']) for k in g['params']}
    saved['state'] = {k: _entry_to_torch(entry, names) for k, entry in saved['state'].items()
                      if begun(entry) and entry.get('count', 1)}
    if extra: saved['state'] = {k: extra(entry, values_of[k]) for k, entry in saved['state'].items()}
    return saved


def _entry_to_torch(entry: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if 'count' in names: entry = {'count': 0, **entry}                     # RMSprop's, again
    def theirs(v: Any) -> Tensor: return v.clone() if isinstance(v, Tensor) else torch.tensor(float(v))
    return {names[k]: theirs(v) for k, v in entry.items() if k in names}
