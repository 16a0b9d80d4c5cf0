"""The usual suspects: mistakes that are made again and again, as changes of any rule.

A suspect is a function that is given a draft and yields it with one change, in words. None knows a
particular rule. They look for what parts have in common (a scalar, an ε, a decay, a stat that
averages), so a rule that is added tomorrow has its suspects too.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from ..contract import ContractError
from ..kinds import Scalar, Stat
from ..part import Part
from ..parts import debias
from .changes import exchanged
from .variant import Draft

__all__ = ['Suspect', 'replaced', 'scalar_name', 'scalars', 'stats', 'suspect', 'suspects']

Suspect: TypeAlias = 'Callable[[Draft], Iterator[Draft]]'

SUSPECTS = list[Suspect]()


def suspect(fn: Suspect) -> Suspect:
    "Adds a function to the suspects."
    SUSPECTS.append(fn)
    return fn


def suspects(draft: Draft) -> Iterator[Draft]:
    "The draft with each of the changes that can be made to it."
    for fn in SUSPECTS:
        found = fn(draft)
        while True:
            try: yield next(found)
            except StopIteration: break
            except (ContractError, ValueError): break  # it does not fit this rule


def replaced(draft: Draft, words: str, new: Mapping[Part, Part]) -> Draft:
    "The draft with some parts in the place of others."
    return draft.said(words, parts=exchanged(draft.parts, new))


def stats(draft: Draft) -> list[Stat]:
    "Its stats that are tensors."
    return [p for p in draft.parts if isinstance(p, Stat) and not p.is_number]


def scalars(draft: Draft) -> list[tuple[Part, str, Part]]:
    "Each part with an argument that is a scalar, the own name of that argument, and the scalar."
    return [(p, arg, link) for p in draft.parts for arg, link in p.links.items()
            if isinstance(link, Scalar)]


def scalar_name(draft: Draft, scalar: Part) -> str:
    "A bias correction is called by the stat that it corrects."
    if scalar.fn is not debias.fn: return f'`{scalar.__name__}`'
    of = [s.out for s in stats(draft) if {*s.hypers} & {*scalar.hypers}]
    return f'the bias correction of `{of[0]}`' if of else 'the bias correction'
