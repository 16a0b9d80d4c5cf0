"""Rulings: the rule and the values that a parameter gets, by the policy of a recipe.

    >>> rulings = Rulings('muon', rest=dict(lr=1e-3), hypers=dict(lr=.02))
    >>> rulings.main.name, rulings.rest.name
    ('Muon', 'AdamW')
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from .. import zoo
from ..catalogue import find, rule_of
from ..policy import MATRICES, Policy, Role
from ..recipe import Recipe
from ..rule import Rule
from ..variants import added
from .roles import Found
from .views import view_as_matrix

__all__ = ['Ruling', 'Rulings']


@dataclass(frozen=True)
class Ruling:
    "A rule, with a value for each hyperparameter."
    root: Any  # The recipe without what was added to it; or a composition
    rule: Rule
    values: dict[str, Any]
    view: str = ''  # How its group sees tensors

    def but(self, given: Mapping[str, Any]) -> Ruling:
        "With other values. Raises TypeError or ValueError if they are wrong."
        usual = self.rule.defaults  # an option may bring parts with other ones
        own = {k: v for k, v in self.values.items() if v != usual[k]}
        rule, values = self.rule.bind(given, own)
        return replace(self, rule=rule, values=values)

    @property
    def name(self) -> str: return str(getattr(self.rule.recipe, '__name__', self.root))

    @property
    def shown(self) -> str:
        "The values that a table shows: the rate, the decay, and what is not as usual."
        rule = self.rule
        usual = {**rule.defaults, **(rule.recipe.options if rule.recipe else {})}
        shown = {k: v for k, v in {**rule.options, **self.values}.items()
                 if k in ('lr', 'wd') or usual[k] != v}
        return ', '.join(f'{k}={v!r}' if k in rule.options else f'{k}={float(v):g}'
                         for k, v in shown.items())

    @property
    def needs_matrix(self) -> bool:
        return any(p.needs == 'matrix' for p in self.rule.composition.ordered)

    @property
    def key(self) -> Any:
        "Equal for parameters that can be in one group."
        return self.rule.composition, *map(str, (self.rule.options, self.values, self.view))

    def entries(self) -> dict[str, Any]:
        "What a group of its parameters has."
        return dict(parts=self.rule, **self.values, **(dict(view=self.view) if self.view else {}))


class Rulings:
    """What the parameters of a model get: the main ruling, that of the rest, and exceptions.

    Raises KeyError, TypeError or ValueError for a recipe or values that are wrong.
    """
    def __init__(self, recipe: Any, rest: Any, hypers: Mapping[str, Any]):
        root, self.extras, given = _split(recipe)
        self.policy = policy = _policy_of(root)
        rule = rule_of(self._whole(root))
        options = {**rule.options, **rule.options_in(given), **rule.options_in(hypers)}
        one = policy.one_rate is not None and policy.one_rate.items() <= options.items()
        values = {} if one else policy.values
        self.main = Ruling(root, *rule.bind(hypers, {**values, **given}))
        told = {**given, **self.main.rule.words.said(hypers)}
        of_all = {*self.main.values} - {*rule_of(root).choose(self.main.rule.options).defaults}
        self.shared = {k: v for k, v in self.main.values.items()  # what all rules take over
                       if one and k in ('lr', 'wd') or k in told and (k == 'wd' or k in of_all)}
        self.rest = self.main
        if policy.rest: self.rest = self._rest(rest)
        elif rest is not None:
            raise ValueError(f'{self.main.name} is for all parameters, so nothing is left for '
                             '`rest`: leave it out, or use `overrule` for some')

    def _rest(self, given: Any) -> Ruling:
        root, _, values = _split(self.policy.rest)
        rule = rule_of(self._whole(root))
        self.rest = Ruling(root, *rule.bind({}, {**values, **self.shared}))
        with _told_of('rest'): return self.exception({} if given is None else given, self.rest)

    def _whole(self, root: Any, extras: Any=()) -> Any:
        "A recipe with all that was added to the main one. A list of parts stays as it is."
        if not isinstance(root, Recipe): return root
        for parts in (*self.extras, *extras): root = root + parts
        return root

    @property
    def takes(self) -> str:
        "What the main recipe is for, in words."
        *some, last = [r.word for r in Role if r in self.policy.takes]
        return f'{", ".join(some)} and {last}' if some else last

    @property
    def about(self) -> str:
        "Two lines, on what the recipe is for, and on what does not decay."
        what = 'all parameters'
        if self.policy.rest: what = f'{self.takes}, and {self.rest.name} for the rest'
        still = [r.word for r in Role if r not in self.policy.decays]
        end = f'{", ".join(still[:-1])} and {still[-1]} do not decay.' if still else ''
        return f'{self.main.name} is for {what}.\n{end.capitalize()}'.rstrip()

    def is_main(self, ruling: Ruling) -> bool: return ruling.root is self.main.root

    # -- one parameter -----------------------------------------------------------------------------

    def of(self, found: Found, key: str, given: Any) -> tuple[Ruling, str]:
        "What a parameter gets, and why. `key` is what overrules the policy, with what is `given`."
        ruling, why = self._by_policy(found)
        if scale := self.policy.scales.get(found.role):
            ruling = ruling.but(dict(lr=ruling.values['lr'] * scale(*found.matrix)))
        if key:
            with _told_of(f'overrule: `{key}`'): ruling = self.exception(given, ruling)
            why += f', overruled by `{key}`'
        told = dict(given) if isinstance(given, Mapping) else dict(parts=given) if key else {}
        if 'parts' in told: told = {**_split(told.pop('parts'))[2], **told}
        decays = found.role in self.policy.decays and not found.marked
        if not decays and ruling.values.get('wd') and 'wd' not in ruling.rule.words.said(told):
            ruling = ruling.but(dict(wd=0.))
        is_seen = ruling.needs_matrix or self.is_main(ruling) and found.role in self.policy.turned
        view = told.get('view', view_as_matrix(found) if is_seen else '')
        return replace(ruling, view=view), f'{why}, view={view!r}' if view else why

    def _by_policy(self, found: Found) -> tuple[Ruling, str]:
        own = self.policy.by_role.get(found.role)
        if own is not None: return self.exception(own, self.rest), found.why
        if found.role not in self.policy.takes: return self.rest, found.why
        no = self._why_no_matrix(found) if self.main.needs_matrix else ''
        return (self.rest, f'{found.why}, not a matrix: {no}') if no else (self.main, found.why)

    def _why_no_matrix(self, found: Found) -> str:
        dims = found.param.dim()
        if dims != 2 and not view_as_matrix(found): return f'{dims} dimensions'
        return 'one row or column' * (min(found.matrix) < 2)

    def exception(self, given: Any, base: Ruling) -> Ruling:
        """The ruling of a recipe, or of a dict of values and maybe `parts`.

        Values alone change `base`. A recipe that is there already keeps the values that it has.
        """
        if not isinstance(given, Mapping): given = dict(parts=given)
        values = {k: v for k, v in given.items() if k not in ('parts', 'view')}
        if 'parts' not in given: return base.but(values)
        root, extras, configured = _split(given['parts'])
        for known in (self.main, self.rest):
            if root is known.root and not extras: return known.but(configured).but(values)
        rule = rule_of(self._whole(root, extras))
        return Ruling(root, *rule.bind(values, {**self.shared, **configured}))


@contextmanager
def _told_of(subject: str) -> Iterator[None]:
    "Errors say what they are about."
    try: yield
    except (KeyError, TypeError, ValueError) as e:
        raise type(e)(f'{subject}: {e.args[0]}') from None


def _split(recipe: Any) -> tuple[Any, list[Any], dict[str, Any]]:
    "A recipe without what was added to it and its values; what was added; and the values."
    if isinstance(recipe, str): recipe = find(recipe)
    if not isinstance(recipe, Recipe): return rule_of(recipe).composition, [], {}
    given, extras = recipe.given, list[Any]()
    while recipe.made_of:
        how, recipe, change = recipe.made_of
        if how is added: extras = [*change, *extras]
    return recipe, extras, given


def _policy_of(root: Any) -> Policy:
    "The policy of a recipe: its own, or by what its parts need."
    if isinstance(root, Recipe) and root.policy is not None: return root.policy
    is_for_matrices = any(p.needs == 'matrix' for p in rule_of(root).composition.ordered)
    return Policy(MATRICES, zoo.AdamW) if is_for_matrices else Policy()
