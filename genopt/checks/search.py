"The guess at why: which change of the reference, or which two, does what the checked one does."
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..contract import ContractError
from . import in_numbers, in_parts, in_handling  # noqa: F401  # they add suspects, in this order
from .runs import Feed, Parting, first_parting
from .suspects import suspects
from .trials import Trial
from .variant import Draft, DraftMaker

__all__ = ['Clue', 'search']

HELPFUL = 10  # so many changes are combined with every other one


class Clue(NamedTuple):
    "What the checked side did in a trial, and where the reference parts from it."
    trial: Trial
    moments: Sequence[Mapping[str, Tensor]]
    parting: Parting


class Guess(NamedTuple):
    "A changed reference, and how many trials agree with it."
    draft: Draft
    agrees: int
    parting: Parting   # in the trial that is looked at first


def search(draft: Draft, clues: Sequence[Clue], feed: Feed) -> list[Guess]:
    """The changes that make all trials agree; or, if there are none, those that explain the most.

    At first single changes, then two at once: of those that help, each with every other one.
    """
    parted = [c for c in clues if c.parting]
    if not parted: return []
    order = [*parted, *(c for c in clues if not c.parting)]
    singles = [*_tried(suspects(draft), order, feed)]
    if found := _complete(singles, order): return found
    helpful = [g for g in singles if _helps(g.parting, order[0].parting)]
    helpful.sort(key=lambda g: (-g.agrees, -(g.parting.step or 99), g.parting.size))
    doubles = list[Guess]()
    for guess in helpful[:HELPFUL]:
        doubles += _tried(suspects(guess.draft), order, feed)
        if found := _complete(doubles, order): return found
    most = max([g.agrees for g in (*singles, *doubles)], default=0)
    if most <= sum(not c.parting for c in clues): return []
    return [g for g in (*singles, *doubles) if g.agrees == most][:1]


def _complete(guesses: Sequence[Guess], clues: Sequence[Clue]) -> list[Guess]:
    return [g for g in guesses if g.agrees == len(clues)]


def _helps(now: Parting, before: Parting) -> bool:
    if not now or now.step > before.step: return True
    return now.step == before.step and now.size < before.size / 2


def _tried(drafts: Iterator[Draft], clues: Sequence[Clue], feed: Feed) -> Iterator[Guess]:
    "Each draft that can be run, after as many trials as are needed to judge it."
    first = clues[0]
    alone = first.trial.is_of_each and first.parting.param  # most drafts are refuted by this alone
    for draft in drafts:
        try: maker = draft.maker()
        except ContractError: continue
        if alone and not maker.composition.totals:
            parting = _parting(maker, first, Feed((alone,), feed.sparse))
            if parting:
                yield Guess(draft, 0, parting)
                continue
        partings = [_parting(maker, first, feed)]
        if not partings[0]: partings += [_parting(maker, c, feed) for c in clues[1:]]
        yield Guess(draft, sum(not p for p in partings), partings[0])


def _parting(maker: DraftMaker, clue: Clue, feed: Feed) -> Parting:
    "Where a changed reference parts from what the checked side did."
    run = (params for params, _ in clue.trial.steps(maker, *feed))
    try: return first_parting(run, [{k: m[k] for k in feed.names} for m in clue.moments])
    except Exception: return Parting(1, size=math.inf)  # it cannot be run
