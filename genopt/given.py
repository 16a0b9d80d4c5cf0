"""Values that a training loop provides: a second gradient, as a Hessian's diagonal; or a number.

    >>> @given
    ... def hess(count, *, hess_every=10):
    ...     "The Hessian's diagonal, or an estimate of it, on every k-th step from the first on."
    ...     return (count - 1) % hess_every == 0
    >>> @stat
    ... def average_hess(hess_avg, hess=hess, *, hess_mom=.99):
    ...     return hess_avg.lerp(hess, 1 - hess_mom)
    >>> average_hess
    average_hess(hess_avg, hess=hess, *, hess_mom=0.99): a stat

The function says when the value is due, and has the name that parts read. `opt.feed(hess=...)`
gives it for one step. In a step in which it is not due, parts that read it do nothing.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .kinds import Number, decorator

__all__ = ['Given', 'given']


class Given(Number):
    """A value that the loop feeds before a step: a tensor for each parameter, of its shape.

    The function reads numbers, and returns True if the value is due in this step: `return True` if
    it always is. With `number=True` it is one number for all parameters, which scalars and gates
    may read too. It is due in every step, so the function takes no arguments and is not called.
    """
    kind, linkable = 'given', True
    options: ClassVar[tuple[str, ...]] = ('number',)
    number: bool = False

    def __init__(self, fn: Any, names: Mapping[str, str]={}, **options: Any):
        super().__init__(fn, names, **options)
        self.is_number = self.number
        if self.number and (self.reads or self.hypers):
            raise self.broken('a number is due in every step: leave its arguments out')

    @property
    def note(self) -> str:  # type: ignore[override]
        return 'fed by the training loop'

    def is_due(self, numbers: Mapping[str, Any]) -> bool:
        "True if the loop feeds it in a step with these numbers. Raises PartError."
        if self.number: return True
        if (due := self.run(numbers)) is None: raise self.bad_result(due, numbers)
        return bool(due)

    def wanted(self, env: Mapping[str, Any]) -> str: return 'True if it is fed in this step'


given = decorator(Given)
