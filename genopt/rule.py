"""A rule: what a parameter group runs. A composition, the options that chose its parts, and the words it answers to.

    >>> rule, values = SGD.rule().bind(dict(momentum=.9, lr=.1))
    >>> rule.composition
    l2_reg → momentum_buffer → momentum_step
    >>> values
    {'lr': 0.1, 'mom': 0.9, 'wd': 0.0}

Words are translated here, at the border; inside, everything has our names.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .composition import Composition
from .hypers import check
from .contract import REQUIRED
from .words import Words

if TYPE_CHECKING: from .recipe import Recipe

__all__ = ['Rule']


class Rule:
    "A composition, with the options that chose it (none for a list of parts) and default values. It never changes."
    def __init__(self,
        composition: Composition,
        recipe: Recipe | None=None,            # Where other options lead to other parts
        options: Mapping[str, Any] | None=None
    ):
        self.composition, self.recipe, self.options = composition, recipe, dict(options or {})
        self.words = Words([*composition.hypers, *self.options], recipe.words if recipe else None)
        own = recipe.defaults if recipe else {}
        self.defaults = {k: self.options.get(k, own.get(k, v)) for k, v in composition.hypers.items()}

    def choose(self, options: Mapping[str, Any]) -> Rule:
        "The rule with some options changed. Raises ValueError or TypeError for options that the recipe refuses."
        changed = {k: v for k, v in options.items() if type(v) is not type(self.options[k]) or v != self.options[k]}
        return self.recipe.rule(self.options | changed) if self.recipe and changed else self

    def choose_in_a_run(self, options: Mapping[str, Any]) -> Rule:
        """As `choose`, for options that are written into a running optimizer.

        Those that make no sense on their own wait until they do, as in torch: SGD's `nesterov` where there is no
        momentum now. Raises ValueError for options that contradict each other.
        """
        try: return self.choose(options)
        except ValueError:
            base, merged = self.recipe.options if self.recipe else {}, {**self.options, **options}
            if any(v != base[k] and self._works({**base, k: v}) for k, v in merged.items()): raise
            return Rule(self.choose(base).composition, self.recipe, merged)

    def _works(self, options: Mapping[str, Any]) -> bool:
        try: return bool(self.choose(options))
        except ValueError: return False

    def bind(self, given: Mapping[str, Any], fallback: Mapping[str, Any] | None=None) -> tuple[Rule, dict[str, Any]]:
        """The rule that these options choose, and a value for each of its hyperparameters, under our names.

        Every name in `given` must be one that the rule takes. A value comes from `given`, else from `fallback`, else it
        is the default. Raises
        TypeError for a word that means nothing here or a value that is missing, ValueError for one out of range.
        """
        fallback = fallback or {}
        rule = self.choose(self.options_in(fallback) | self.options_in(given))
        theirs = rule.words.ours({k: v for k, v in fallback.items() if k in rule.words.means})
        values = {**rule.defaults, **theirs, **rule.words.ours(given)}
        for k, v in rule.options.items():
            if type(v) in (int, float): check(k, v)
        values = {k: values[k] for k in rule.composition.hypers}
        for k, v in values.items():
            if v is REQUIRED: raise TypeError(f'`{k}` is missing: {rule.composition.why_required(k)}, so give {k}=...')
        return rule, {k: check(k, v, rule.composition.original_names[k]) for k, v in values.items()}

    def options_in(self, given: Mapping[str, Any]) -> dict[str, Any]:
        "The options among what was given, under our names."
        found = {w: v for w, v in given.items() if {*self.words.means.get(w, ' ')} <= {*self.options}}
        return self.words.ours(found)

    def __reduce__(self) -> tuple[Any, ...]: return Rule, (self.composition, self.recipe, self.options)

