"""The compiled engine: kernels in C or CUDA, which are called once a step for all tensors.

Tensors stay where they are: a kernel is given their addresses, which a `Plan` remembers. Parts
that have no place in a kernel run as they are, between two of them. The eager engine steps the
other parameters: those that share memory or have gaps in it, those on other devices, and all of
them if there is no compiler.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from ..composition import Composition
from ..warning import warn
from . import eager
from .plan import OTHER, Plan as _Plan
from .sparse import dense_or_rows, has_sparse
from .toolchain import NoKernel, TooSlow
from .work import Work

__all__ = ['Compiled']

SETS = 8   # of parameters that had gradients, for which plans are kept
PLANS = 4  # for each of these


class Compiled:
    """The compiled engine of one optimizer.

    If it is `strict`, it warns once about what is not compiled, and a part that must be compiled
    and cannot is an error.
    """
    def __init__(self, strict: bool=False):
        self.strict, self.told, self.sets = strict, False, SETS
        self.may_be_late = True  # may totals stay on a GPU
        self.plans: dict[Any, list[_Plan]] = {}
        self.last: _Plan | None = None  # the plan of the last step
        self.launched = list[Any]()  # in a graph: its calls, and where their tables are
        self.sparse: Counter[int] = Counter()  # the sparse gradients that each group had in it

    def __call__(self, works: Sequence[Work]) -> None:
        "One step of each parameter, as `eager.run`."
        is_there: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if is_there and torch.cuda.is_current_stream_capturing():
            raise RuntimeError('a CUDA graph would make each step with the numbers of this one: '
                               'call `launch()` in the graph, and `advance()` before each replay')
        self.sparse.clear()
        self._step(works)

    def _step(self, works: Sequence[Work]) -> None:
        works = [w for w in works if w.params or w.across and w.composition.totals]
        if not works: return
        if torch._C._len_torch_dispatch_stack(): return eager.run(works)  # a mode watches it
        key = _key(works)
        plans = self.plans.pop(key, [])
        self.plans[key] = plans  # the last used is the last to go
        while len(self.plans) > self.sets: del self.plans[next(iter(self.plans))]
        self.last = next((p for p in plans if p.step(works, is_next=p is self.last)), None)
        if self.last: plans.remove(self.last)
        else:
            for w in works: w.check_gradients()  # a plan holds only for gradients of these shapes
            if any(map(has_sparse, works)): return self._sparse(works)
            self.last = _Plan(works, self.strict, self.may_be_late)
            if not self.last.step(works): eager.run(works)
            if why := self.last.without_kernel: self._tell(*why)
        plans.insert(0, self.last)
        del plans[PLANS:]

    def _sparse(self, works: Sequence[Work]) -> None:
        "The step of dense gradients here. The rows of sparse ones are others in each step."
        split = [dense_or_rows(work) for work in works]
        self.last = None
        self._step([work for work, _ in split])
        for _, rows in split:
            if not rows: continue
            self.sparse[rows.work.group] += len(rows.work.params)
            eager.step(rows.work)
            rows.put_back()

    # -- in a CUDA graph ---------------------------------------------------------------------------

    def advance(self, works: Sequence[Work]) -> None:
        """All that a step does before its kernels are launched: new numbers, sent to the device.

        Raises RuntimeError, with the reason, if a step is more than that, or if it would launch
        other kernels than `launch` did, or at other addresses.
        """
        works = [w for w in works if w.params]
        if not self.last: raise RuntimeError('take one step first: it makes state and kernels')
        if any(w.put_back for w in works) or not self.last.is_launched:
            why = dict.fromkeys(self.report(w.group) for w in works)
            raise RuntimeError('a part of the step is not in a kernel on a GPU, so it cannot be '
                               f'launched alone: {"; ".join(why)}')
        if all(plan is not self.last for plan in self.plans.get(_key(works), ())):
            raise RuntimeError('other parameters have gradients, or a group has another rule: take '
                               'a step, and capture it again')
        if any(g.stride() != p.stride() for w in works for p, g in zip(w.params, w.grads)):
            raise RuntimeError('a gradient does not lie in memory as its parameter does, so a copy '
                               'of it would be in the graph')
        if not self.last.step(works, True, self._check):
            raise RuntimeError('parameters, state or gradients are not where they were: take a '
                               'step, and capture it again')

    def _check(self) -> None:
        "Raises RuntimeError if the graph does not hold what is about to be launched."
        if self.launched and self.last and self.launched != self.last.places:
            raise RuntimeError(OTHER)

    def launch(self) -> None:
        "Launches the kernels of the last step again, on the numbers that were sent last."
        if not self.last or not self.last.is_launched:
            raise RuntimeError('there are no kernels on a GPU to launch: take one step first')
        self.launched = self.last.places
        for launch in self.last.launches: launch()

    def report(self, group: int) -> str:
        "How the last step of a group was done."
        if not (self.last or self.sparse): return 'engine: chosen in the first step'
        plans = [self.last] if self.last else []
        if self.sets > SETS: plans = [p for ps in reversed(self.plans.values()) for p in ps[:1]]
        found = [next(filter(None, (p.report(group) for p in plans)), '')]
        if n := self.sparse[group]:
            found.append(f'eager engine for {n} sparse gradient{"s" * (n > 1)}')
        return '; '.join(filter(None, found)) or 'engine: none, as no parameter had a gradient'

    def _tell(self, composition: Composition, why: NoKernel) -> None:
        "Warns once, if that was asked for, or somebody has waited for a compiler."
        if not self.strict and not isinstance(why, TooSlow) or self.told: return
        self.told = True
        text = f'{composition} runs in the eager engine, not compiled: {why}'
        warn(text, RuntimeWarning)


def _key(works: Sequence[Work]) -> tuple[Any, ...]:
    "What plans are kept by."
    return tuple([(id(w.composition), w.climb, *w.places[:1], *w.places[-1:], len(w.params))
                  for w in works])
