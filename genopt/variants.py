"""Recipes made of other recipes: with more parts, or with other default values.

Each function returns a recipe's function and its default values. It takes a recipe as an argument,
as recipes are made above this module.
"""
from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from .contract import REQUIRED
from .kinds import Scalar
from .part import Part
from .placing import placed

__all__ = ['added', 'configured', 'merged']

Variant: TypeAlias = 'tuple[Callable[..., Iterable[Part]], dict[str, Any]]'


def added(base: Any, extra: tuple[tuple[Part, ...], ...]) -> Variant:
    "`base` with parts put where they work. Those that were added together have one name."
    parts = [p for together in extra for p in together]
    def fn(**options: Any) -> Any: return placed(base.parts(**options), parts)
    _dress(fn, ' + '.join([base.__name__, *map(_name, extra)]), base)
    # Where defaults differ, the recipe's hold, except for a decay that is added to one not given
    hypers = base.rule().composition.hypers
    own = {k: v for k, v in hypers.items() if v is not REQUIRED} | base.defaults
    own |= {p.switch: v for p in parts if p.switch not in base.given
            and (v := p.hypers.get(p.switch, REQUIRED)) is not REQUIRED}
    return fn, own


def _name(parts: tuple[Part, ...]) -> str:
    "What parts are called together: as where they are defined, or by their labels."
    for p in parts if len(parts) > 1 else ():
        for k, v in vars(sys.modules.get(p.__module__, object)).items():
            if type(v) is tuple and v == parts: return k
    return ' + '.join(p.label for p in parts if not isinstance(p, Scalar))


def configured(base: Any, given: Mapping[str, Any]) -> Variant:
    "`base` with other default values of options and hyperparameters, which are checked."
    rule = base.rule()
    options = rule.options_in(given)
    chosen = rule.choose(options)
    chosen.bind(given, {k: 0. for k, v in chosen.defaults.items() if v is REQUIRED})
    own = {k: v for k, v in chosen.words.ours(given).items() if k not in options}
    def fn(**others: Any) -> Any: return base.parts(**{**options, **others})
    call = ', '.join(f'{k}={v!r}' for k, v in given.items())
    _dress(fn, f'{base.__name__}({call})' if call else base.__name__, base, options)
    return fn, {**base.defaults, **own}


def merged(base: Any, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    "What was given before, but for values that are given now; and these."
    rule = base.rule()
    words, res = rule.choose(rule.options_in({**before, **given})).words, dict[str, Any]()
    now = words.ours(given)
    for word, value in before.items():
        ours = words.ours({word: value})
        again = ours.keys() & now.keys()
        res |= {n: v for n, v in ours.items() if n not in again} if again else {word: value}
    return res | dict(given)


def _dress(fn: Any, name: str, base: Any, options: Mapping[str, Any]={}) -> None:
    "Gives the function a name, and the documentation and signature of the recipe's."
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__, fn.__module__ = base.idea, base.__module__
    theirs = inspect.signature(base.fn)
    fn.__signature__ = theirs.replace(parameters=[
        a.replace(default=options.get(k, a.default)) for k, a in theirs.parameters.items()])
