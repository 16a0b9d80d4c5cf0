"Twins: each recipe's class in torch.optim, and its names for the state of a parameter."
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch

from .numbers import read
from .rule import Rule

__all__ = ['Twin', 'TWINS', 'torchs_names', 'twin']

Entry: TypeAlias = dict[str, Any]  # a parameter's state, in torch's words


class Twin(NamedTuple):
    "A recipe's class in torch.optim, and how to translate the state of a parameter."
    cls: type[torch.optim.Optimizer]
    names: dict[str, str]  # of each stat, there
    to: Callable[[Entry, Mapping[str, Any]], Entry] = lambda entry, hypers: entry  # after renaming
    fro: Callable[[Entry], Entry] = dict                                           # before renaming


def _asgd_to(entry: Entry, hypers: Mapping[str, Any]) -> Entry:
    "torch also keeps the share of the mean, which here follows from the count."
    return {**entry, 'mu': torch.tensor(1 / max(1, float(read(entry['step'])) - hypers['t0']))}


def _asgd_fro(entry: Entry) -> Entry: return {k: v for k, v in entry.items() if k != 'mu'}


def _sparse_adam_to(entry: Entry, hypers: Mapping[str, Any]) -> Entry:
    "torch's only count that is a plain number."
    return {**entry, 'step': int(read(entry['step']))}


def _adafactor_to(entry: Entry, hypers: Mapping[str, Any]) -> Entry:
    "torch calls a vector's rows its variance, and keeps no columns of it."
    if entry['col_var'].dim() > 1: return entry
    return {'step': entry['step'], 'variance': entry['row_var']}


def _adafactor_fro(entry: Entry) -> Entry:
    if 'variance' not in entry: return entry
    rest = {k: v for k, v in entry.items() if k != 'variance'}
    return {**rest, 'row_var': entry['variance'], 'col_var': entry['variance'].new_zeros(0)}


_AVERAGES = dict(count='step', grad_avg='exp_avg', sqr_avg='exp_avg_sq',
                 max_sqr_avg='max_exp_avg_sq')
_BUFFER = dict(grad_avg='momentum_buffer')
_RMSPROP = dict(count='step', sqr_avg='square_avg', grad_avg='grad_avg',
                scaled_avg='momentum_buffer')
TWINS = {name: Twin(getattr(torch.optim, cls), *rest) for name, cls, *rest in (
    ('SGD',        'SGD',        _BUFFER),
    ('Momentum',   'SGD',        _BUFFER),
    ('RMSprop',    'RMSprop',    _RMSPROP),
    ('Adam',       'Adam',       _AVERAGES),
    ('AdamW',      'AdamW',      _AVERAGES),
    ('SparseAdam', 'SparseAdam', _AVERAGES, _sparse_adam_to),
    ('RAdam',      'RAdam',      _AVERAGES),
    ('NAdam',      'NAdam',      {**_AVERAGES, 'mom_product': 'mu_product'}),
    ('Adamax',     'Adamax',     dict(count='step', grad_avg='exp_avg', grad_max='exp_inf')),
    ('Adagrad',    'Adagrad',    dict(count='step', sqr_sum='sum')),
    ('Adadelta',   'Adadelta',   dict(count='step', sqr_avg='square_avg', delta_avg='acc_delta')),
    ('ASGD',       'ASGD',       dict(count='step', eta='eta', param_avg='ax'),
                                 _asgd_to, _asgd_fro),
    ('Rprop',      'Rprop',      dict(count='step', last_grad='prev', step_size='step_size')),
    ('Adafactor',  'Adafactor',  dict(count='step', row_avg='row_var', column_avg='col_var'),
                                 _adafactor_to, _adafactor_fro),
    ('Muon',       'Muon',       _BUFFER)) if hasattr(torch.optim, cls)}  # older torch has fewer

# The stats that these names mean to a rule without a twin
COMMON = {theirs: ours for names in (_RMSPROP, _BUFFER, _AVERAGES)
          for ours, theirs in names.items()}


def twin(recipe: Any) -> Twin:
    "The twin of a recipe. Raises ValueError if it has none."
    name = getattr(recipe, '__name__', None)
    if name not in TWINS or not recipe.__module__.startswith('genopt.'):
        raise ValueError(f'{name or "a list of parts"} has no twin in torch.optim: only '
                         f'{", ".join(TWINS)} have one')
    return TWINS[name]


def torchs_names(rule: Rule) -> dict[str, str]:
    "The stat of a rule that each of torch's names means. A sum has the names of its first recipe."
    recipe = rule.recipe
    while recipe is not None and recipe.made_of: recipe = recipe.made_of[1]
    try: names = {theirs: ours for ours, theirs in twin(recipe).names.items()}
    except ValueError: names = COMMON
    stats = rule.composition.stats
    return {theirs: ours for theirs, ours in names.items() if ours in stats and theirs not in stats}
