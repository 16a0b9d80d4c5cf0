"""Settings: what an optimizer was told when it was made, and what each of its groups gets of that.

    >>> settings = Settings(rule_of('sgd'), dict(lr=[.1, .2], momentum=.9))
    >>> groups = [dict(params=params[:2]), dict(params=params[2:])]
    >>> settings.spread(groups)
    >>> [g['lr'] for g in groups]
    [0.1, 0.2]
    >>> settings.defaults()
    {'lr': 0.2, 'momentum': 0.9, 'weight_decay': 0.0, 'dampening': 0.0, 'nesterov': False}
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .catalogue import rule_of
from .contract import REQUIRED
from .hypers import TABLE
from .per_group import is_per_group, per_group
from .rule import Rule
from .storage import has_halves, without_weights
from .words import NOTES, Words

__all__ = ['Settings', 'labels_in']


class Settings:
    "The rule and the values that an optimizer was made with, and the rule of each of its groups."
    def __init__(self,
        rule: Rule | None,        # The rule of groups that have no parts of their own
        given: Mapping[str, Any],  # Hyperparameters and options as they were given, for all groups
        notes: Mapping[str, Any]={},  # As they were given: `view`, and how numbers are kept
        halves: bool=False        # True if some of the weights have 16 bits
    ):
        self.rule, self.given, self.notes, self.halves = rule, dict(given), dict(notes), halves
        self.made: dict[str, Any] = {}  # the optimizer's defaults when it was made
        self.rules: tuple[Rule, ...] = ()

    def spread(self, groups: Sequence[dict[str, Any]]) -> None:
        "Hands out the items of a list or a slice. The last one holds for groups that come later."
        lists = {w: v for w, v in self.given.items() if is_per_group(v)}
        if not lists: return
        rule = self.rule and self.rule.choose(self.rule.options_in(self.given))
        words, options = (rule.words, rule.options) if rule else (Words(TABLE), {})
        for word, value in lists.items():
            names, size = {*words.means.get(word, ())}, len(words.names_of(word, value))
            if rule and not names or not is_per_group(value, size): continue
            if not all(isinstance(options.get(n, 0.), float) for n in names): continue
            each = per_group(word, value, len(groups), size)
            for group, one in zip(groups, each):
                if not any(names & {*words.means.get(w, ())} for w in group): group[word] = one
            self.given[word] = each[-1]

    def defaults(self) -> dict[str, Any]:
        "The values of a group that has none of its own, in torch's words."
        if not self.rule: return dict(self.given)
        rule = self.rule.choose(self.rule.options_in(self.given))
        ours = rule.words.ours({k: v for k, v in self.given.items() if k in rule.words.means})
        return {k: v for k, v in rule.entries(ours).items()
                if v is not REQUIRED and not (isinstance(v, tuple) and REQUIRED in v)}

    def values_for(self, rule: Rule, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        "The optimizer's values for a group: its defaults, or those given, if the rule is another."
        mine = self.rule
        if mine and rule.recipe is mine.recipe and rule.composition is mine.composition:
            return defaults
        made = self.made
        return {**self.given,
                **{k: v for k, v in defaults.items() if k not in made or v is not made[k]}}

    def notes_for(self, group: Mapping[str, Any], rule: Rule) -> dict[str, Any]:
        "What a group says of its view and of how its numbers are kept, or the optimizer for all."
        shared = dict(self.notes)
        if self.halves and not has_halves(group): shared = without_weights(shared)
        if isinstance(state := shared.get('state'), Mapping):
            there = ('', *rule.composition.stats)
            shared['state'] = {k: v for k, v in state.items() if k in there} or None
        found = {**shared, **{k: v for k, v in group.items() if k in NOTES}}
        return {k: v for k, v in found.items() if v is not None}

    def rule_of_new(self, group: Mapping[str, Any], index: int) -> Rule:
        "The rule that a group asks for with its `parts`. Raises TypeError if there is none."
        rule = _own_rule(group) or self.rule or getattr(group, 'rule', None)
        if rule: return rule
        raise TypeError(f'group {index} has no parts: give them to the Optimizer, or to the group '
                        'as `parts=`')

    def rule_of_plain(self, group: Any, index: int) -> Rule:
        "The rule of the group that a plain dictionary was: by its place, or by its parts."
        if not isinstance(group, Mapping) or 'params' not in group:
            raise TypeError(f'group {index} is {group!r}: a group is a dict with `params`')
        if rule := _own_rule(group): return rule
        there, labels = self.rules[index:index + 1], group.get('parts')
        if not labels: found = [r for r in (*there, self.rule) if r]
        else: found = [r for r in (*there, *self.rules) if _labels_with(r, group) == labels]
        if found: return found[0]
        what = f'the parts {" → ".join(labels)}, which' if labels else 'no `parts`, and'
        raise TypeError(f'group {index} has {what} no group of this optimizer had')


def _own_rule(group: Mapping[str, Any]) -> Rule | None:
    "The rule of the parts that were given for a group; None if it has only the names of parts."
    parts = group.get('parts')
    return None if parts is None or labels_in(parts) else rule_of(parts)


def _labels_with(rule: Rule, group: Mapping[str, Any]) -> list[str]:
    "The names of a rule's parts with the options that a group has now, which may be others."
    return rule.choose_in_a_run(rule.words.said(group)).labels


def labels_in(parts: Any) -> list[str]:
    "The names of parts, as a group keeps them; an empty list if these are parts, or a recipe."
    named = isinstance(parts, list) and all(isinstance(p, str) for p in parts)
    return [*parts] if named else []

