"""`opt.release()`: the backward pass makes the steps, and lets gradients go.

    >>> opt = genopt.AdamW(model.parameters())
    >>> with opt.release():
    ...     model(torch.ones(2, 4)).square().mean().backward()  # there is nothing more to call
"""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch.distributed as dist

from .backward import Release
from .owners import is_sharded, on_several

__all__ = ['Releasing', 'unless_released']

F = TypeVar('F', bound=Callable[..., Any])


class Releasing:
    "The part of an Optimizer that lets gradients go."
    released: Release | None = None
    param_groups: list[Any]
    recorders: tuple[Any, ...]

    def release(self, accumulate: int=1) -> Release:
        """From now on each `backward()` makes a step: of each parameter once its gradient is there,
        which is then let go (`p.grad = None`). Returns a handle: its `remove()`, or the end of a
        `with`, ends that.

        Results are those of `step()` after `backward()`. Hooks and schedules see one step for a
        pass: hooks before a step are called before the first parameter moves, those after it when
        all have moved. `step()` then steps what has a gradient all the same, mostly nothing, so
        loops may keep their lines. A copy or a pickled optimizer is not released.

        With `accumulate=k`, a step takes k passes, and their gradients go into the state one by
        one, without a buffer: s ← F(s, g₁), then s ← s + F(0, gᵢ), for the stats that read the
        gradient. What is linear in it is as with the sum of the k gradients, up to rounding; a
        square is Σgᵢ² in the place of (Σgᵢ)² (AdamA: Zhang et al., arXiv:2305.19982, section 3).
        All else happens once, in the k-th pass. Save checkpoints between steps, not between passes.

        Raises ValueError, with the part, for a rule that needs all gradients at once, or for
        `accumulate` one that has nowhere to gather them; RuntimeError if it is released already, is
        watched, or works with other processes.
        """
        if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
            raise ValueError(f'accumulate = {accumulate!r}: give a whole number, at least 1')
        if self.released:
            raise RuntimeError('release(): gradients are let go already: call `remove()` of the '
                               'handle first')
        if self.recorders:
            raise RuntimeError('release(): a recorder looks at all parameters before a step, and '
                               'there is no such moment: call its `stop()` first')
        params = [p for g in self.param_groups for p in g['params']]
        if on_several() and (dist.get_world_size() > 1 or any(map(is_sharded, params))):
            raise RuntimeError('release() is for one process: DDP and FSDP send gradients after '
                               'they are there, so leave it out')
        self.released = Release(self, accumulate)
        return self.released


def unless_released(step: F) -> F:
    "`step`, but while gradients are let go, that of those that are there."
    @wraps(step)
    def wrapped(self: Any, closure: Any=None) -> Any:
        released = self.released
        return step(self, closure) if released is None else released.step(closure)
    return wrapped  # type: ignore[return-value]
