"""Parameters and state that formats keep, as parts see them.

A kernel reads and writes what is kept, element by element. Whoever else runs the parts is given
float32 tensors, of one parameter after another, so that few of them are there at a time.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ..formats import Draw, kept_beside
from .work import Work

__all__ = ['unpack', 'unpacked']


def unpacked(work: Work, keep: bool=True) -> Iterator[Work]:
    """The work on each parameter, or all of it if no tensor has a format.

    When the next one is asked for, the new values are kept, unless they are only looked at.
    """
    if not work.formats:
        yield work
        return
    for i in range(len(work.params)):
        yield (one := unpack(work, [i]))
        for put_back in one.put_back if keep else (): put_back()


def unpack(work: Work, rows: Sequence[int]) -> Work:
    "The work on some parameters as parts see them. What it makes is kept when it is put back."
    some = work.subset(rows)
    draws = [None] * len(rows) if (found := some.draws()) is None else [*found]
    stored = [{**some.states[i], 'param': p, **{k: column[i] for k, column in some.columns.items()}}
              for i, p in enumerate(some.params)]
    seen = [{k: f.value(kept_beside(k, f, one)) for k, f in work.formats.items()} for one in stored]
    params = [new.pop('param', old['param']) for old, new in zip(stored, seen)]
    states = [{**old, **new} for old, new in zip(stored, seen)]
    names = {id(x): p for x, p in zip(params, some.params)}
    res = replace(some, params=params, states=states, formats={},
                  describe=lambda p: work.describe(names.get(id(p), p)))
    res.put_back = [partial(_keep, work, draw, state, old, {**new, 'param': p})
                    for draw, state, old, new, p in zip(draws, some.states, stored, states, params)]
    res.gather().shared = work.shared  # as they were before any of them was stepped
    return res


def _keep(work: Work, draw: Tensor | None, state: dict[str, Any], stored: Mapping[str, Any],
          new: Mapping[str, Any]) -> None:
    "Writes new values where they are kept, and new counts into the state."
    bits = Draw(0) if draw is None else Draw(*draw.tolist())
    for k, form in work.formats.items():
        places = kept_beside(k, form, stored)
        for what, x in form.kept(new[k], stored[k], bits).items(): places[what].copy_(x)
    state |= {k: new[k] for k in work.composition.number_stats}
