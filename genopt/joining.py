"""How a group joins an optimizer: it is checked, and gets its rule and its values.

A plain dictionary that somebody has put among an optimizer's groups becomes a group again here,
too.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from .composition import Composition
from .contract import GROUP_KEYS, ContractError
from .engines.modes import take_engine_words
from .group import Group, is_slip
from .hypers import check_flag
from .params import check_params, named
from .part import Part
from .rehearsal import rehearse
from .rule import Rule
from .settings import Settings, labels_in
from .storage import check_storage_of, storage_of
from .view import view_of
from .words import unknown

__all__ = ['check_fit', 'new_group', 'restore_groups']


def new_group(
    given: Mapping[str, Any],    # `params`, and what the group has of its own
    groups: Sequence[Group],     # The optimizer's, so far
    settings: Settings,
    defaults: Mapping[str, Any]  # The optimizer's
) -> Group:
    "A group that may join these. Raises what `Optimizer` raises."
    if not isinstance(given, Mapping):
        raise TypeError(f'a group is a dict with `params`, but this one is {given!r}')
    index = len(groups)
    names, params = named(given, index)
    check_params(params, index, names, {p for g in groups for p in g['params']})
    if groups and bool(names) != ('param_names' in groups[0]):
        raise ValueError(f'group {index}: all groups should be given with names, or all without')
    maximize = given.get('maximize', defaults.get('maximize', False))
    check_flag('maximize', maximize)
    base = settings.rule_of_new(given, index)
    own, notes = _sorted_out(given, base)
    rule, values = base.bind(own, settings.values_for(base, defaults))
    notes |= settings.notes_for(given, rule)
    if view := view_of(notes.get('view')): notes['view'] = view.text
    storage_of(notes)
    group = Group({
        'params': params, **({'param_names': names} if names else {}),
        **rule.entries(values), **notes, 'maximize': maximize, 'parts': rule.labels}, rule, index)
    _check_parts(group, labels_in(given.get('parts')), groups)
    rehearse(rule.composition, group.numbers(), group.seen())
    check_storage_of(group)
    return group


def _sorted_out(given: Mapping[str, Any], rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
    "A group's hyperparameters and options, and its notes. Raises TypeError for a probable slip."
    given = {k: v for k, v in given.items() if k not in GROUP_KEYS}
    words = rule.choose(rule.options_in(given)).words
    notes = {k: v for k, v in given.items() if k not in words.means}
    for k in notes:
        if is_slip(k, words): raise unknown(k, words)
    take_engine_words(dict(notes))
    return {k: v for k, v in given.items() if k not in notes}, notes


def _check_parts(group: Group, labels: Sequence[str], groups: Sequence[Group]) -> None:
    "Raises an error if its parts are not those that it names, or do not take its parameters."
    c = group.composition
    if labels and labels != group['parts']:
        raise ContractError(f'group {group.index} names the parts {" → ".join(labels)}, but here '
                            f'they would be {c}: leave out its `parts`, or change its options')
    check_fit(group)
    if c.totals:
        others = {g.composition for g in groups if g.composition is not c}
        for other in others: _check_totals(c, other)


def check_fit(group: Group) -> None:
    "Raises ValueError if its view does not fit its parameters, or its parts do not take them."
    c, view, of = group.composition, group.view, f'group {group.index}: '
    if 'param_names' not in group: of = ''  # it is in the name
    for p in group['params'] if view or c.needs else ():
        if view and not is_lazy(p) and (why := view.why_not(p.shape)):
            raise ValueError(f'{of}{group.describe(p)} does not fit {view}: {why}: correct it, or '
                             'give this parameter to another group')
        for part in c.ordered:
            if part.needs and (why := _unfit(part, p, 2 if view else p.dim())):
                raise ValueError(f'{of}{group.describe(p)}: `{part.label}` {why}')


def _unfit(part: Part, p: Tensor, dim: int) -> str:
    "Why a part cannot take this parameter, of which it sees `dim` dimensions, or ''."
    if part.needs and p.is_complex(): return 'takes no complex numbers'
    if part.needs != 'matrix' or dim == 2: return ''
    view = "say how it is one, as in view='o ... -> o (...)' of a convolution, or " * (dim > 2)
    return (f'takes matrices, and this has {dim} dimension{"s" * (dim != 1)}: {view}give it to a '
            'group with other parts (see `create` and `route`)')


def _check_totals(a: Composition, b: Composition) -> None:
    "Totals of one name in two groups must be the same, and come in the same order."
    for k in {*a.totals} & {*b.totals}:
        if a.totals[k] != b.totals[k]:
            raise ContractError(f'two groups have different totals called `{k}`: rename one')
        if [p for p in a.before[k] if p.out in b.totals] != [
                p for p in b.before[k] if p.out in a.totals]:
            raise ContractError(f'two groups have `{k}` and other totals in different orders: give '
                                'both the same order')


def restore_groups(
    groups: list[Any],           # Changed in place
    settings: Settings,
    defaults: Mapping[str, Any]
) -> None:
    """Makes groups of the plain dictionaries among `groups`.

    Raises TypeError or ValueError if one has no `params`, or values that are not numbers.
    """
    for i, given in enumerate(groups):
        if type(given) is Group: continue
        rule = settings.rule_of_plain(given, i)
        means = rule.words.means
        said = {n for k in given for n in means.get(k, ())}
        values = {k: v for k, v in settings.values_for(rule, defaults).items()
                  if k in means and not {*means[k]} & said}
        groups[i] = Group.adopt({**values, **given}, rule, i)
    seen: set[Any] = set()
    for g in groups: check_params(g['params'], g.index, g.get('param_names'), seen)
    settings.rules = tuple(g.rule for g in groups)
