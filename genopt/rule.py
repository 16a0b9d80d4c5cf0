"""A rule, which groups run: a composition, the options that chose it, the words it answers to.

    >>> rule, values = SGD.rule().bind(dict(momentum=.9, lr=.1))
    >>> rule.composition
    l2_reg → momentum_buffer → momentum_step
    >>> values
    {'lr': 0.1, 'mom': 0.9, 'wd': 0.0}

Words are translated here, at the border. Inside, everything has our names.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .composition import Composition
from .contract import REQUIRED
from .hypers import check
from .words import Words

__all__ = ['Rule', 'changed']


class Rule:
    "A composition, the options that chose it (a list of parts has none), and defaults. Immutable."
    def __init__(self,
        composition: Composition,
        recipe: Any=None,                      # A Recipe, where other options lead to other parts
        options: Mapping[str, Any] | None=None
    ):
        self.composition, self.recipe, self.options = composition, recipe, dict(options or {})
        self.words = Words([*composition.hypers, *self.options], recipe.words if recipe else None)
        usual = composition.hypers | dict.fromkeys(self.words.numbered, REQUIRED)
        defaults = {**usual, **(recipe.defaults if recipe else {}), **self.options}
        self.defaults = {k: defaults[k] for k in composition.hypers}

    @property
    def labels(self) -> list[str]:
        "The names of its parts, as a group keeps them."
        return [p.label for p in self.composition.parts]

    def entries(self, values: Mapping[str, Any]) -> dict[str, Any]:
        "What a group keeps in torch's words: these values, and defaults for the others."
        return self.words.torchs({**self.defaults, **self.options, **values})

    def choose(self, options: Mapping[str, Any]) -> Rule:
        "The rule with other options. Raises ValueError or TypeError if the recipe refuses them."
        if not self.recipe or not changed(self.options, options): return self
        return self.recipe.rule({**self.options, **options})  # type: ignore[no-any-return]

    def choose_in_a_run(self, values: Mapping[str, Any]) -> Rule:
        """As `choose`, for the options among values that are written into a running optimizer.

        An option that has no meaning now waits until it has one, as in torch: SGD's `nesterov`
        without momentum. Raises ValueError for options that contradict each other.
        """
        options = {n: v for n, v in values.items() if n in self.options}
        try: return self.choose(options)
        except ValueError:
            base, merged = self.recipe.options if self.recipe else {}, {**self.options, **options}
            if any(v != base[k] and self._works({**base, k: v}) for k, v in merged.items()): raise
            return Rule(self.choose(base).composition, self.recipe, merged)

    def _works(self, options: Mapping[str, Any]) -> bool:
        try: return bool(self.choose(options))
        except ValueError: return False

    def bind(self,
        given: Mapping[str, Any],        # Only words that the rule knows
        fallback: Mapping[str, Any]={}   # Values for the rest, before the defaults
    ) -> tuple[Rule, dict[str, Any]]:
        """The rule that these options choose, and a value for each hyperparameter, under our names.

        Raises TypeError for a word that means nothing here or a value that is missing, and
        ValueError for a value that is out of range.
        """
        rule = self.choose(self.options_in(fallback) | self.options_in(given))
        theirs = rule.words.ours({k: v for k, v in fallback.items() if k in rule.words.means})
        values = {**rule.defaults, **theirs, **rule.words.ours(given)}
        for k, v in rule.options.items():
            if type(v) in (int, float): check(k, v)
        values = {k: values[k] for k in rule.composition.hypers}
        for k, v in values.items():
            if v is REQUIRED:
                why = rule.composition.why_required(k)
                raise TypeError(f'`{k}` is missing: {why}, so give {k}=...')
        return rule, {k: check(k, v, rule.composition.original_names[k]) for k, v in values.items()}

    def options_in(self, given: Mapping[str, Any]) -> dict[str, Any]:
        "The options in `given`, under our names."
        means = self.words.means
        found = {w: v for w, v in given.items() if {*means.get(w, ' ')} & {*self.options}}
        return {n: v for n, v in self.words.ours(found).items() if n in self.options}

    def __reduce__(self) -> tuple[Any, ...]:
        return Rule, (self.composition, self.recipe, self.options)


def changed(options: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    "The values in `now` that differ from those in `options`. A number differs from True or False."
    return {k: v for k, v in now.items() if type(v) is not type(options[k]) or v != options[k]}
