"""One line for a model: each parameter gets the rule that a recipe's authors give to its kind.

    >>> opt = create(model, 'muon', lr=.02)
    >>> opt = create(model, 'muon + cautious', overrule={'2.*': 'adamw'})
    >>> print(plan(model, 'muon'))  # the decisions alone
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import nn

from ..hypers import did_you_mean
from ..optimizer import Optimizer
from ..policy import Role
from ..words import STORAGE
from .decisions import Decision, Decisions
from .roles import Found, roles
from .rulings import Ruling, Rulings

__all__ = ['create', 'plan']


def create(
    model: nn.Module,
    recipe: Any,     # A recipe, its name, a sum such as 'muon + cautious', or a list of parts
    *,
    rest: Any=None,  # For what the recipe is not for: a recipe, or a dict of values and `parts`
    overrule: Mapping[str, Any] | None=None,  # From patterns of names, or words, to such values
    verbose: bool=True,  # False to print nothing, as on all ranks but one
    **hypers: Any    # The recipe's hyperparameters and options; also `compile`, `state` and so on
) -> Optimizer:
    """An optimizer for a whole model: each parameter gets the rule that it should have.

    It finds what each parameter is to the model, decides, and prints what it decided and why. The
    table is kept in `opt.decisions`, and `plan` returns it without making an optimizer. There is
    one `step`, one `state_dict`, and one scheduler for all rates.

    A recipe for matrices, such as Muon, gets the hidden ones. Embeddings, output head, norms,
    biases and the like get what the recipe's authors use beside it: for Muon (lr=0.02), AdamW with
    an lr of its own, 3e-4. `rest=dict(lr=1e-3)` and `rest='lion'` change that. With
    `adjust_lr_fn='match_rms_adamw'` Muon's steps are as large as AdamW's, so one lr and wd are for
    all (Liu et al., arXiv:2502.16982). Other recipes get all parameters.

    Biases, norms and others that are added or scale do not decay, nor does what a model marks
    with `no_weight_decay`. A `wd` is for everything else. What is added to the recipe, such as
    `clip_by_global_norm`, is added to all rules.

    `overrule` has the last word: from a name, a pattern such as '*.gate.weight', or the word for a
    role ('embeddings', 'heads', 'hidden matrices'), to a recipe or a dict of values, which may have
    a `view`. The first key that fits counts. Frozen parameters are left out.

    Raises KeyError, TypeError or ValueError for what is not a model, a recipe or one of its
    hyperparameters, if nothing trains, if the recipe is for nothing in the model, if a key fits
    nothing, and for parameters without a shape or values.
    """
    known = 'maximize', 'compile', 'fused', 'foreach', *STORAGE
    engine = {k: hypers.pop(k) for k in known if k in hypers}
    main = (rulings := Rulings(recipe, rest, hypers)).main
    decisions, groups = _decided(model, rulings, overrule)
    for name, p in (pair for g in groups for pair in g['params']):
        if p.is_meta:
            raise ValueError(f'`{name}` is on the meta device, so it has no values: call '
                             'model.to_empty(device=...) and load its weights first')
    opt = Optimizer(groups, main.rule, **main.values, **engine)
    opt.decisions = decisions
    if verbose: print(decisions)
    return opt


def plan(
    model: nn.Module,  # Its parameters may be on the meta device
    recipe: Any,
    *,
    rest: Any=None,
    overrule: Mapping[str, Any] | None=None,
    **hypers: Any
) -> Decisions:
    """What `create` would decide, with a reason for each parameter: printed, a table.

    Takes and raises what `create` does.
    """
    return _decided(model, Rulings(recipe, rest, hypers), overrule)[0]


Made: TypeAlias = tuple[Found, Ruling, str]  # what a parameter is, what it gets, and why


def _decided(
    model: nn.Module, rulings: Rulings, overrule: Mapping[str, Any] | None
) -> tuple[Decisions, list[dict[str, Any]]]:
    "The decisions, and groups of the parameters that train."
    found = roles(model)
    training = [f for f in found if f.param.requires_grad]
    if not training:
        raise ValueError(f'{type(model).__name__} has nothing to train, as all of its parameters '
                         'are frozen: call requires_grad_() on some')
    keys = _overruled(training, found, overrule or {})
    made = [(f, *rulings.of(f, key, given)) for f, (key, given) in zip(training, keys)]
    if not any(rulings.is_main(ruling) for _, ruling, _ in made):
        raise ValueError(f'{type(model).__name__} has nothing for {rulings.main.name}, which is '
                         f'for {rulings.takes}: take a recipe for all parameters, such as adamw, '
                         'or give it some by `overrule`')
    groups = _grouped(made, rulings)
    decisions = Decisions(_decision(*m) for members in groups for m in members)
    decisions += [_decision(f, None, f.why) for f in found if not f.param.requires_grad]
    decisions.about = rulings.about
    return decisions, [dict(ms[0][1].entries(), params=[(f.name, f.param) for f, *_ in ms])
                       for ms in groups]


def _grouped(made: list[Made], rulings: Rulings) -> list[list[Made]]:
    "Those with the same rule and values together: first the main rule, and first what decays."
    groups: dict[Any, list[Made]] = {}
    for found, ruling, why in made: groups.setdefault(ruling.key, []).append((found, ruling, why))
    def place(members: list[Made]) -> tuple[bool, bool]:
        _, ruling, _ = members[0]
        return not rulings.is_main(ruling), not ruling.values.get('wd')
    return sorted(groups.values(), key=place)


def _decision(found: Found, ruling: Ruling | None, why: str) -> Decision:
    rule, values = (ruling.name, ruling.shown) if ruling else ('', '')
    return Decision(found.name, tuple(found.param.shape), found.role.one, rule, values, why)


# -- overruling ------------------------------------------------------------------------------------

def _overruled(
    training: list[Found], found: list[Found], overrule: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    "The key that overrules each parameter, or '', and what it gives. Raises an error for others."
    if not isinstance(overrule, Mapping):
        raise TypeError('overrule is a dict, from patterns of names to what they get, and not a '
                        f'{type(overrule).__name__}')
    keys = [_first_fit(f, overrule) for f in training]
    for key in overrule:
        if key in keys: continue
        fits = [f for f in found if _first_fit(f, [key])]
        choices = [*(r.word for r in Role), *(f.name for f in found)]
        why = f'fits no parameter: {did_you_mean(str(key), choices)}'
        if fits: why = 'fits only frozen parameters: leave it out'
        if any(f in training for f in fits): why = 'fits only what another key has: put it first'
        raise ValueError(f'overrule: `{key}` {why}')
    return [(k, overrule.get(k)) for k in keys]


def _first_fit(found: Found, keys: Iterable[str]) -> str:
    return next((k for k in keys if k == found.role.word or fnmatchcase(found.name, k)), '')
