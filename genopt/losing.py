"""`opt.lost_updates()`: which weights a step would leave where they are, as rounding takes it back.

    >>> opt = genopt.AdamW(model.bfloat16().parameters(), lr=1e-5)
    >>> opt.lost_updates().worst[0].share
    1.0
"""
from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from .engines.shield import shielded
from .engines.work import Work
from .feeding import asks_again
from .group import Group
from .state import work_of

__all__ = ['Losing']


class Losing:
    "The part of an Optimizer that says what rounding would take from a step."
    state: Any
    released: Any
    sharding: Any

    def groups(self) -> list[Group]: raise NotImplementedError
    def _fed(self) -> dict[str, Any]: raise NotImplementedError
    def _take_fed(self, works: Any) -> bool: raise NotImplementedError

    def lost_updates(self) -> Any:
        """What becomes of the update that is due, once it is rounded to the weight's precision.

        Call it between `backward()` and `step()`. It makes no step: weights, state, gradients, fed
        values and random generators stay as they are. The report has a row for each parameter with
        a gradient: the share of its elements that would not move though their update is not 0, and
        the size of the difference between what is stored and the update, relative to the update.
        Random rounding is judged by its average.

        Raises RuntimeError if no parameter has a gradient, has no values (on the meta device), lies
        on several processes, or is swapped with its average; and what `step` raises before
        anything has moved.
        """
        self._check_due()
        from .study.lost import lost_updates  # a door up: what is lost is a report
        with shielded(), torch.no_grad(): return lost_updates(self.groups(), self._due)

    def _check_due(self) -> None:
        "Raises RuntimeError unless there is a step to look at."
        if self.released:
            raise RuntimeError('lost_updates() looks at all gradients before a step, and with '
                               'release() they are let go: call `remove()` of its handle first')
        due = [(g, p) for g in self.groups() for p in g['params'] if p.grad is not None]
        if not due:
            raise RuntimeError('lost_updates() looks at the step that is due, and no parameter has '
                               'a gradient: call it between `backward()` and `step()`')
        for g, p in due:
            if p.is_meta:
                raise RuntimeError(f'lost_updates(): {g.describe(p)} is on the meta device, and has'
                                   ' no values to round: give it some with `to_empty` first')
            if g.spreads or hasattr(p, 'placements'):
                raise RuntimeError(f'lost_updates(): {g.describe(p)} lies on several processes: '
                                   'ask in a run in one process')

    def _due(self) -> list[Work]:
        "The work of the step that is due, on copies of what a step begins and uses up."
        state = defaultdict[Tensor, Any](dict, {p: dict(s) for p, s in self.state.items()})
        place, works, fed = 0, list[Work](), self._fed()
        for group in self.groups():
            works += work_of(group.copy(), state, place)
            place += len(group['params'])
        kept = dict(fed)
        try: again = self._take_fed(works)
        finally:
            fed.clear()
            fed.update(kept)
        return [w for w in works if asks_again(w.composition)] if again else works
