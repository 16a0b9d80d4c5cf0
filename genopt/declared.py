"Checks of a recipe's declarations beside its parts: its options, its own words, its defaults."
from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from .hypers import TABLE, check
from .words import COMMON, Words, unknown

__all__ = ['check_options', 'check_words', 'checked_defaults', 'choose']


def check_options(options: Mapping[str, Any]) -> None:
    "Raises TypeError for an option that has torch's name, or no default."
    for k, v in options.items():
        if k in COMMON:
            raise TypeError(f'`{k}` is torch\'s spelling: call its option `{COMMON[k][0]}`, or '
                            'choose another name')
        if v is Parameter.empty: raise TypeError(f'give its option `{k}` a default')


def check_words(words: Mapping[str, tuple[str, ...]], names: list[str], options: Any) -> None:
    "Raises TypeError for a word that has another meaning, or none among `names`."
    for k, ours in words.items():
        if not ours: raise TypeError(f'`{k}` is another word for nothing: name a hyperparameter')
        common = COMMON.get(k, ours)
        is_other = k not in ours and not {*ours} & {*common} and bool({*common} & {*names})
        if k in names and len(ours) < 2 or is_other:
            raise TypeError(f'`{k}` cannot be another word for `{ours[0]}`: it has a meaning '
                            'already')
        for n in ours:
            if n not in names and not options: raise unknown(n, Words(names))


def checked_defaults(
    defaults: Mapping[str, float],
    words: Mapping[str, tuple[str, ...]],
    names: list[str],  # Of the recipe's hyperparameters and options
    options: Any       # If it has any, they may bring in more hyperparameters
) -> dict[str, float]:
    "`defaults` under our names. Raises TypeError for an unknown name, ValueError for a bad value."
    known = Words([*names, *TABLE], words)
    for k in defaults:
        if k not in known.means: raise unknown(k, Words(names))
    checked = {k: check(k, v) for k, v in known.ours(defaults).items()}
    for k in checked:
        if k not in names and not (options and k in TABLE): raise unknown(k, Words(names))
    return checked


def choose(table: Mapping[Any, Any], **given: Any) -> Any:
    "The parts that an option stands for. Raises ValueError for one that it does not have."
    (name, value), = given.items()
    if value in table: return table[value]
    raise ValueError(f'`{name}` = {value!r}: give one of {[*table]}')
