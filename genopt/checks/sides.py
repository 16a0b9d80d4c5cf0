"""The two sides of a check: what makes optimizers, and what their hyperparameters mean.

Both sides answer to genopt's names (`lr`, `mom`, `sqr_mom`, `wd`). A class that is not genopt's has
words of its own, which mean what they mean to the other side, or to torch, or only themselves.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from ..catalogue import find
from ..group import ENGINE_WORDS
from ..hypers import SYNONYMS, did_you_mean
from ..recipe import Recipe, recipe
from ..twins import TWINS
from ..words import COMMON
from .formula import Formula, formula, is_formula

__all__ = ['Side', 'match']

NOTES = {*ENGINE_WORDS, 'params', 'param_names', 'parts', 'self'}
EMPTY = inspect.Parameter.empty


class Side:
    """Makes optimizers. Values of hyperparameters go in and out under our names.

    `recipe` is the recipe that it is, or whose twin it is, or None; `given` are the values that
    were asked for, and `values` all of them, once the sides are matched.
    """
    def __init__(self, what: Any):
        self.keywords: dict[str, Any] = {}  # as its maker takes them
        if isinstance(what, partial): what, self.keywords = what.func, dict(what.keywords)
        if isinstance(what, (list, tuple)): what = _recipe_of(what)
        self.name = str(getattr(what, '__name__', type(what).__name__))
        self.is_recipe = isinstance(what, Recipe)
        twins = [find(n) for n, t in TWINS.items() if t.cls is what]
        self.recipe: Recipe | None = what if self.is_recipe else twins[0] if twins else None
        self.maker: Callable[..., Any] = formula(what) if is_formula(what) else what
        args = [*inspect.signature(what).parameters.items()][3 if self.is_formula else 1:]
        self.engine = {k for k, _ in args if k in ENGINE_WORDS}  # such as `foreach`
        if self.is_recipe: self.engine = {'compile', 'fused', 'foreach'}
        self.defaults = {k: a.default for k, a in args
                         if k not in NOTES and a.kind not in (a.VAR_KEYWORD, a.VAR_POSITIONAL)}
        self.means = dict[str, tuple[str, ...]]()  # our names for each of its words
        self.values, self.given = dict[str, Any](), dict[str, Any]()
        if self.is_recipe: self.keywords = {**what.given, **self.keywords}
        self.notes = {k: self.keywords.pop(k) for k in [*self.keywords] if k in NOTES}

    # -- words -------------------------------------------------------------------------------------

    @property
    def pairs(self) -> Mapping[str, tuple[str, ...]]:
        "Words that mean several names where they have several values, as Adafactor's `eps`."
        return self.recipe.rule().words.pairs if self.recipe else {}

    @property
    def is_formula(self) -> bool:
        return inspect.isclass(self.maker) and issubclass(self.maker, Formula)

    def learn(self, known: Mapping[str, tuple[str, ...]]) -> None:
        "Takes the meanings of its words from what is known, and its own recipe."
        if self.recipe: known = {**known, **self.recipe.rule().words.means}
        if self.opens: self.defaults = {**self._hidden(), **self.defaults}
        words = [*self.defaults, *self.keywords, *(known if self.is_recipe else [])]
        self.means = {w: known.get(w, (w,)) for w in words}
        self.given = self.named(self.keywords)

    def named(self, items: Mapping[str, Any]) -> dict[str, Any]:
        "Values under our names, from its own words."
        return _named(items, self.means, self.pairs)

    @property
    def missing(self) -> list[str]:
        "Our names for the arguments that it needs, and that have no value."
        return [n for w, v in self.defaults.items() if v is EMPTY for n in self.means[w]
                if n not in self.given]

    def worded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        "Values under its own words, from our names. Those that it does not take are left out."
        if self.is_recipe: return {k: v for k, v in values.items() if self.takes(k)}
        res, every = dict[str, Any](), {**self.values, **values}
        for word, names in self.means.items():
            names = self.pairs.get(word, names)
            if not {*names} & {*values}: continue
            found = [every[n] for n in names if n in every]
            if word in self.pairs: found[0] = found[0] or None
            res[word] = tuple(found) if len(names) > 1 else found[0]
        return res

    def takes(self, name: str) -> bool:
        "True if it has a hyperparameter or an option that means this."
        names = {n for w in self.means for n in (*self.means[w], *self.pairs.get(w, ()))}
        if self.is_recipe and self.recipe: names = {*self.recipe.rule().words.names, 'maximize',
                                                    *self.values}
        return name in names

    @property
    def own_words(self) -> list[str]:
        "The words that its maker takes, for advice."
        if self.recipe and self.is_recipe: return [*self.recipe.rule().words.means]
        return [*dict.fromkeys([*self.defaults, *self.keywords])]

    def word(self, name: str) -> str:
        "Its word for one of our names, alone; the name itself if it has none."
        if self.is_recipe: return name
        return next((w for w, names in self.means.items() if names == (name,)), name)

    # -- optimizers --------------------------------------------------------------------------------

    def make(self, groups: Iterable[Any], **changes: Any) -> Any:
        "An optimizer of parameters or of groups, with other values where `changes` has them."
        def own(group: Any) -> Any:
            if not isinstance(group, dict): return group
            rest = self.worded({k: v for k, v in group.items() if k != 'params'})
            return {'params': group['params'], **rest}
        words = {**self.notes, **self.keywords, **self.worded(changes)}
        opt = self.maker([own(g) for g in groups], **words)
        if not hasattr(opt, 'param_groups'):
            raise TypeError(f'{self.name} makes no optimizer, but a {type(opt).__name__}: a '
                            'function of arrays begins with `param, grad, state`')
        return opt

    def settle(self, values: Mapping[str, Any], other: Side) -> None:
        """Asks for values, by our names, and finds out all that it then has.

        Raises TypeError if a value is missing, or whatever its maker raises.
        """
        self.values |= self.named({k: v for k, v in self.defaults.items() if v is not EMPTY})
        self.values |= {**self.given, **values}
        self.given |= {k: v for k, v in values.items() if self.takes(k)}
        if self.missing:
            word = self.word(self.missing[0])
            raise TypeError(f'{self.name} needs `{word}`, which {other.name} does not have: give '
                            f'its value, as in {self.name}({word}=...)')
        self.keywords = {**({} if self.is_recipe else self.keywords), **self.worded(self.given)}
        try: opt = self.make([nn.Parameter(torch.zeros(2, 2))])
        except (TypeError, ValueError) as e:
            raise type(e)(f'{self.name} cannot be made: {e}') from e
        group = opt.param_groups[0]
        words = {k: group[k] for k in group if k in self.means}
        found = self.named(words)
        if hasattr(group, 'rule'): found = {**group.hypers(), **group.options}
        self.values |= found | {'maximize': group.get('maximize', False)}

    def _hidden(self) -> dict[str, Any]:
        "What groups tell of the words behind `**kwargs`."
        try: group = self.make([nn.Parameter(torch.zeros(2, 2))]).param_groups[0]
        except (TypeError, ValueError): return {}
        return {k: v for k, v in group.items() if k not in NOTES}

    @property
    def opens(self) -> bool:
        "True if its maker has `**kwargs`, so that a group tells more than the signature."
        if self.is_recipe or self.is_formula: return False
        args = inspect.signature(self.maker).parameters.values()
        return any(a.kind == a.VAR_KEYWORD for a in args)


def match(checked: Side, reference: Side, given: Mapping[str, Any]) -> None:
    """Gives both sides the same values of the hyperparameters that they share.

    What is asked for on one side, or for both (`given`), holds for both. Everything else has the
    checked side's default value. Raises TypeError for a word that neither takes, or a value that is
    missing.
    """
    engine = {k: v for k, v in given.items() if k in checked.engine | reference.engine}
    for side in (checked, reference):
        side.notes |= {k: v for k, v in engine.items() if k in side.engine}
    given = {k: v for k, v in given.items() if k not in engine}
    known = {**COMMON, **{w: (n,) for w, n in SYNONYMS.items()}}
    for side in (checked, reference):
        if side.recipe: known = {**side.recipe.rule().words.means, **known}
    for side, other in ((checked, reference), (reference, checked)):
        theirs = other.recipe.rule().words.means if other.recipe else {}
        side.learn({**known, **theirs})
    pairs = {**checked.pairs, **reference.pairs}
    asked = _named(given, {**known, **reference.means, **checked.means}, pairs)
    for k in asked:
        if checked.takes(k) or reference.takes(k): continue
        names = [w for s in (checked, reference) for w in s.own_words]
        raise TypeError(f'neither {checked.name} nor {reference.name} takes `{k}`: '
                        f'{did_you_mean(k, names)}')
    theirs = reference.named({k: v for k, v in reference.defaults.items() if v is not EMPTY})
    checked.settle({k: v for k, v in theirs.items() if k in checked.missing}
                   | {k: v for k, v in {**reference.given, **asked}.items()
                      if k not in checked.given and checked.takes(k)}, reference)
    shared = {**checked.values, **asked}
    reference.settle({k: v for k, v in shared.items() if reference.takes(k)
                      and k not in reference.given}, checked)


def _named(items: Mapping[str, Any], means: Mapping[str, tuple[str, ...]],
           pairs: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    "Values under our names, from words. None stands for 0, as in Adafactor's `eps`."
    res = dict[str, Any]()
    for word, value in items.items():
        names, several = means.get(word, (word,)), isinstance(value, (tuple, list))
        if several: names = pairs.get(word, names)
        if several and len(names) == len(value):
            res |= {n: 0. if v is None else v for n, v in zip(names, value)}
        else: res[names[0]] = value
    return res


def _recipe_of(parts: Iterable[Any]) -> Recipe:
    "A list of parts, as a recipe."
    listed = tuple(parts)
    def Listed() -> Iterable[Any]: return listed
    return recipe()(Listed)
