"Parts and recipes are pickled by name, under which another process finds them."
from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from importlib import import_module
from operator import attrgetter
from pickle import PicklingError
from typing import Any

__all__ = ['Factory', 'factory', 'find', 'where']


def find(module: str, qualname: str) -> Any:
    "The object of this name in a module."
    return attrgetter(qualname)(import_module(module))


def where(obj: Any) -> tuple[str, str]:
    "The module and the name of a part or a recipe. Raises PicklingError if it is not found there."
    module, name = obj.__module__, obj.__qualname__
    try: found = find(module, name)
    except (AttributeError, ImportError): found = None
    if type(found) is not type(obj) or found.fn is not obj.fn:
        instead = 'define it at the top of a module, under its own name'
        if '<locals>' in name: instead += ', or decorate the function that makes it with @factory'
        raise PicklingError(f'`{obj.__name__}` cannot be found as {module}.{name} by another '
                            f'process: {instead}')
    return module, name


class Factory:
    """A function that makes a part, or a tuple of parts: the same ones for the same arguments.

    So lists that are made of them are equal, and they can be pickled.
    """
    def __init__(self, fn: Callable[..., Any]):
        self.fn = fn
        self._made: dict[Any, Any] = {}
        update_wrapper(self, fn)

    def __call__(self, *args: Any) -> Any:
        "Raises TypeError for arguments that cannot be the key of a dictionary."
        if args not in self._made:
            self._made[args] = made = self.fn(*args)
            for i, part in enumerate(made if isinstance(made, tuple) else (made,)):
                part.origin.home = from_factory, (self, args, i)
        return self._made[args]

    def __reduce__(self) -> tuple[Any, ...]: return find, where(self)


def factory(fn: Callable[..., Any]) -> Factory:
    """Decorates a function that makes parts, such as one for each dimension.

    >>> @factory
    ... def sum_along(axis):
    ...     @stat(init=lambda param: param.new_zeros(param.shape[axis]), whole=True)
    ...     def axis_sum(axis_sum, grad): return axis_sum + grad.movedim(axis, 0).flatten(1).sum(1)
    ...     return axis_sum.rename(axis_sum=f'sum_{axis}')
    >>> sum_along(0), sum_along(1)
    """
    return Factory(fn)


def from_factory(made_by: Factory, args: tuple[Any, ...], i: int) -> Any:
    "A part as its factory made it, before it was given other names."
    made = made_by(*args)
    return (made if isinstance(made, tuple) else (made,))[i].origin
