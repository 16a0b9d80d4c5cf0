"""Finds the state of the checked optimizer that is a stat of the reference, and where they part.

A name that both have, or that torch has for a stat, is one; otherwise values decide.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ..twins import COMMON, TWINS
from .runs import TOLERANCE, Moment, gap

__all__ = ['Match', 'matches']


class Match(NamedTuple):
    "A stat of the reference, what the checked side calls it, and where they part."
    theirs: str           # the reference's name
    ours: str             # '' if nothing has its values
    step: int = 0         # after which they differ; 0 if they never do
    size: float = 0.      # of the difference then
    param: str = ''


def matches(run: Sequence[Moment], reference: Sequence[Moment]) -> list[Match]:
    "Each stat of the reference, in the order in which it has them."
    theirs = _names(reference)
    free, found = _names(run), dict[str, Match]()
    for by_name in (True, False):
        for name in theirs:
            if name in found: continue
            same = [n for n in free if _means(n) & _means(name)] if by_name else free
            tried = [_match(name, n, run, reference) for n in same]
            good = [m for m in tried if by_name or not m.step]
            if not good: continue
            found[name] = min(good, key=lambda m: (m.step != 0, -m.step))
            free.remove(found[name].ours)
    return [found.get(name, Match(name, '')) for name in theirs]


def _means(name: str) -> set[str]:
    "The names that a state may have in genopt and in torch."
    names = [t.names for t in TWINS.values()]
    res = {name, *(ours for n in names for ours, theirs in n.items() if theirs == name)}
    return res | ({COMMON[name]} if name in COMMON else set())


def _names(run: Sequence[Moment]) -> list[str]:
    return [*dict.fromkeys(n for m in run for state in m.states.values() for n in state)]


def _match(theirs: str, ours: str, run: Sequence[Moment], reference: Sequence[Moment]) -> Match:
    for i, (got, want) in enumerate(zip(run, reference), 1):
        gaps = {k: _gap(got.states[k].get(ours), s[theirs]) for k, s in want.states.items()
                if theirs in s}
        worst = max(gaps, key=gaps.__getitem__, default='')
        if worst and gaps[worst] > 10 * TOLERANCE: return Match(theirs, ours, i, gaps[worst], worst)
    return Match(theirs, ours)


def _gap(got: Any, want: Tensor) -> float:
    if got is None: return float('inf')
    return gap(got.double().reshape(want.shape) if got.numel() == want.numel() else got.double(),
               want.double())
