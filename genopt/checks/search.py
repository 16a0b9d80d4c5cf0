"""The guess at why: which change of the reference, or which two, does what the checked side does."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..contract import ContractError
from . import in_handling, in_numbers, in_parts  # noqa: F401  # they add their suspects
from .runs import TOLERANCE, Feed, Parting, first_parting
from .suspects import suspects
from .trials import Trial
from .variant import Draft

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
    "Each draft, if it can be run, after as many trials as are needed to judge it."
    for draft in drafts:
        try: maker = draft.maker()
        except ContractError: continue
        partings = list[Parting]()
        for i, clue in enumerate(clues):
            run = (params for params, _ in clue.trial.steps(maker, *feed))
            try: partings.append(first_parting(run, clue.moments))
            except Exception: partings.append(Parting(1, size=float('inf')))  # it cannot be run
            if i == 0 and partings[0]: break
        yield Guess(draft, sum(not p for p in partings), partings[0])
