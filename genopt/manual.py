"The manual of a recipe: its signature and help, written from its parts, so never out of date."
from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import Parameter, Signature
from typing import Any

from .contract import REQUIRED
from .hypers import TABLE
from .letters import letters, retyped
from .part import Part
from .words import Words

__all__ = ['equations', 'meanings', 'signature']


def signature(
    values: Mapping[str, Any]  # Hyperparameters and options, with their defaults
) -> Signature:
    "The signature of a recipe's call. Only the parameters and `lr` go by place."
    def argument(name: str, default: Any) -> Parameter:
        by_place, by_name = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
        return Parameter(name, by_place if name in ('params', 'lr') else by_name,
                         default=Parameter.empty if default is REQUIRED else default)
    values = {'params': REQUIRED, **values, 'maximize': False, 'compile': None}
    return Signature([argument(k, v) for k, v in values.items()])


def equations(parts: Iterable[Part]) -> str:
    "The equation of each part, from its documentation, in the letters that `explain` uses."
    names = letters(parts)
    rows = [(p.label, retyped(p, names)) for p in parts]
    width = max(len(label) for label, _ in rows)
    return '\n'.join(f'    {label:{width}}  {equation}'.rstrip() for label, equation in rows)


def meanings(values: Mapping[str, Any], words: Words) -> str:
    "The meaning of each hyperparameter and option, with its default and other words for it."
    others: dict[str, list[str]] = {k: [] for k in values}
    for word, names in {**words.means, **words.pairs}.items():
        for i, n in enumerate(names):
            if word != n: others[n].append(word if len(names) == 1 else f'{word}[{i}]')
    shown = {k: k if v is REQUIRED else f'{k}={v!r}' for k, v in values.items()}
    width = max(map(len, shown.values()), default=0)
    def line(k: str) -> str:
        is_choice = k not in TABLE and isinstance(values[k], (bool, str))
        doc = 'an option: it chooses parts' if is_choice else TABLE[k].doc if k in TABLE else ''
        theirs = f'(torch: {", ".join(others[k])})' if others[k] else ''
        return f'    {shown[k]:{width}}  {doc} {theirs}'.rstrip()
    return '\n'.join(map(line, values))
