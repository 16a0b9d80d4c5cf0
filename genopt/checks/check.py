"""`genopt.check` compares an optimizer with a reference, and tries it as training loops use it.

    >>> print(genopt.check('torch.optim:Adam', 'adam').verdict())
    It does what Adam does, and it meets all 26 demands of training loops.
    >>> genopt.assert_agrees(torch.optim.Adam, 'adam', lr=1e-2)     # in a test

The checked optimizer and a reference run the same trials in float64. Where they part, the usual
mistakes are tried on the reference's parts, and the one that makes it do the same is named.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..catalogue import find, named, recipes
from ..part import Part
from ..specs import function
from . import around, keeping  # noqa: F401  # they add demands
from .demands import DEMANDS, Subject
from .outcome import Met, Outcome, Ran
from .precision import low_precision, with_complex
from .runs import Feed, Moment, Parting, first_parting, in_float64, record, sentence
from .search import Clue, search
from .sides import Side, match
from .states import matches
from .trials import SHAPES, TRIALS, Stage, Trial
from .variant import Draft

__all__ = ['assert_agrees', 'check']


def check(
    checked: Any,      # A class, a `partial` of one, a recipe, or a text that names one of them
    against: Any='',   # The reference: the same, or a function of arrays; '': only the demands
    **hypers: Any      # Values for both sides, in the words of either
) -> Outcome:
    """Compares an optimizer with a reference, and tries what training loops ask of one.

    A function of arrays, `f(param, grad, state, lr, ...)`, returns the new parameter; `state` is a
    dict. Hyperparameters of one meaning have one value on both sides: what is given on either
    side, or the checked one's default. Raises TypeError or ValueError for what is not an
    optimizer, does not step, or lacks a value, and what `genopt.recipe` raises for a text.
    """
    mine = Side(_what(checked))
    reference = Side(_what(against)) if against else Side(_what(checked))
    if reference.is_recipe: reference.notes.setdefault('compile', False)
    match(mine, reference, hypers)
    with warnings.catch_warnings(), in_float64(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter('ignore')  # torch's, of optimizers that are new
        feed, refused = _feed(mine, reference)
        _check_it_steps(mine, feed)
        shared = {k: v for k, v in mine.values.items() if k in reference.values}
        res = Outcome(mine.name, reference.name if against else '', shared,
                      _notes(mine, reference) if against else [])
        if against: _compare(res, mine, reference, feed)
        res.demands = [*_refusals(refused), *_demands(mine, reference, feed)]
        if against: res.demands += with_complex(mine, reference, feed)
    return res


def assert_agrees(checked: Any, against: Any, **hypers: Any) -> None:
    "For tests: raises AssertionError with the report if `check` finds anything wrong."
    __tracebackhide__ = True
    found = check(checked, against, **hypers)
    if not found.ok: raise AssertionError('\n' + found.text(100))


def _what(x: Any) -> Any:
    "What a text names; anything else stays."
    if not isinstance(x, (str, list, tuple)) and not callable(x):
        raise TypeError(f'{x!r} is not an optimizer: give a class, a recipe, or a text that names '
                        'one')
    found = function(x) or named(x) if isinstance(x, str) else x
    if isinstance(found, Part) or isinstance(found, tuple) and isinstance(x, str):
        name = x if isinstance(x, str) else getattr(found, '__name__', '')
        raise TypeError(f'`{name}` is not an optimizer, but a part of one: add it to a recipe, as '
                        f'in adam+{name}')
    return found


# -- what the two sides take -----------------------------------------------------------------------

def _feed(mine: Side, reference: Side) -> tuple[Feed, dict[str, str]]:
    "The shapes that both take; and, of those that only the reference takes, why the other fails."
    error = ''
    for sparse in (False, True):
        takes = [k for k in SHAPES if not _failure(reference, k, sparse)]
        why = {k: _failure(mine, k, sparse) for k in takes}
        names = tuple(k for k in takes if not why[k])
        if names: return Feed(names, sparse), {k: w for k, w in why.items() if w}
        error = error or next(iter(why.values()), '')
    who = mine.name if error else reference.name
    error = error or _failure(reference, 'matrix', False)
    raise ValueError(f'{who} fails in its first step: {error}')


def _failure(side: Side, name: str, sparse: bool) -> str:
    "The error of two steps with one parameter, or ''."
    stage = Stage(side, [name], sparse)
    try:
        stage.make()
        for i in range(2): stage.step(i)
    except Exception as e: return sentence(e)
    return ''


def _check_it_steps(side: Side, feed: Feed) -> None:
    "Raises ValueError if one of four steps fails, or if they change nothing."
    stage = Stage(side, feed.names, feed.sparse)
    before = {k: p.detach().clone() for k, p in stage.params.items()}
    stage.make()
    for i in range(4):
        try: stage.step(i)
        except Exception as e:
            raise ValueError(f'{side.name} fails in step {i + 1}: {sentence(e)}') from e
    if all(torch.equal(p.detach(), before[k]) for k, p in stage.params.items()):
        zero = '' if side.values.get('lr', 1) else ', as its lr is 0'
        raise ValueError(f'{side.name} does not step: four steps with gradients have changed no '
                         f'parameter{zero or ", so see that its `step` writes to them"}')


def _refusals(refused: dict[str, str]) -> Iterator[Met]:
    for name, why in refused.items():
        yield Met(f'it steps {"an" if name[0] in "ae" else "a"} {name}', why)


def _demands(mine: Side, reference: Side, feed: Feed) -> Iterator[Met]:
    "A demand that the reference does not meet either is only noted."
    for d in DEMANDS:
        why = d.unmet(Subject(mine, feed))
        excused = why and reference.maker is not mine.maker and not reference.is_formula
        if excused and d.unmet(Subject(reference, feed)):
            yield Met(d.name, f'{why}, and so it is with {reference.name}', is_note=True)
        else: yield Met(d.name, why)
    yield from low_precision(mine, feed)


def _notes(mine: Side, reference: Side) -> list[str]:
    "The hyperparameters that only one of them has, and what to write."
    res = list[str]()
    for side, other in ((reference, mine), (mine, reference)):
        only = {k: v for k, v in side.values.items() if k not in other.values and k != 'maximize'
                and isinstance(v, (int, float)) and v and k not in side.given}
        if not only: continue
        have = ', '.join(f'{side.word(k)} = {v:g}' for k, v in only.items())
        name, word = side.name.split('(')[0], side.word(next(iter(only)))
        res.append(f'Only {side.name} has {have}: for another value, write {name}({word}=...).')
    return res


# -- the comparison --------------------------------------------------------------------------------

def _compare(res: Outcome, mine: Side, reference: Side, feed: Feed) -> None:
    "Fills in the trials, the states where they part, and the guesses."
    clues, theirs = list[Clue](), list[tuple[Trial, list[Moment]]]()
    for trial in TRIALS:
        if not all(mine.takes(k) and reference.takes(k) for k in trial.needs): continue
        (got, error), (want, wrong) = (record(trial, s, feed) for s in (mine, reference))
        both = min(len(got), len(want))
        moments = [m.params for m in got[:both]]
        parting = first_parting(moments, [m.params for m in want[:both]])
        if parting or not (error or wrong): clues.append(Clue(trial, moments, parting))
        if parting and not res.states: res.states = matches(got, want)
        if wrong: error = f'{error + ", and " if error else ""}an error of the reference, {wrong}'
        if error: parting = parting._replace(step=parting.step or both + 1, error=error)
        if not wrong: theirs.append((trial, want))
        res.trials.append(Ran(trial.name, parting))
    if not any(c.parting for c in clues): return
    if draft := _draft(reference, theirs, feed):
        found = search(draft, clues, feed)
        res.is_searched, res.guesses = True, [g.draft.words for g in found]
        res.complete = (all(g.agrees == len(clues) for g in found)
                        and not any(t.parting.error for t in res.trials))


def _draft(reference: Side, runs: Sequence[tuple[Trial, list[Moment]]], feed: Feed) -> Draft | None:
    "The reference as parts: its own, its twin's, or those of the recipe that does the same."
    if reference.is_recipe and reference.recipe:
        return Draft.of(reference.recipe, reference.values)
    clues = [Clue(t, [m.params for m in run], Parting()) for t, run in runs]
    twin = [reference.recipe.__name__] if reference.recipe else []
    for name in (*twin, *(e.name for e in recipes())):
        draft = _as(name, reference)
        if draft and not any(_parts_from(draft, c, feed) for c in clues): return draft
    return None


def _as(name: str, reference: Side) -> Draft | None:
    recipe = find(name)
    if not {*reference.values} - {'maximize'} <= {*recipe.rule().words.names}: return None
    try: return Draft.of(recipe, {**recipe.defaults, **reference.values})
    except (TypeError, ValueError): return None


def _parts_from(draft: Draft, clue: Clue, feed: Feed) -> bool:
    run = (params for params, _ in clue.trial.steps(draft.maker(), *feed))
    try: return bool(first_parting(run, clue.moments))
    except Exception: return True
