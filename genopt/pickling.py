"Parts and recipes are pickled by name, under which another process finds them."
from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from pickle import PicklingError
from typing import Any

__all__ = ['find', 'where']


def find(module: str, qualname: str) -> Any:
    "The object of this name in a module."
    return attrgetter(qualname)(import_module(module))


def where(obj: Any) -> tuple[str, str]:
    "The module and the name of a part or a recipe. Raises PicklingError if it is not found there."
    module, name = obj.__module__, obj.__qualname__
    try: found = find(module, name)
    except (AttributeError, ImportError): found = None
    if type(found) is not type(obj) or found.fn is not obj.fn:
        raise PicklingError(f'`{obj.__name__}` cannot be found as {module}.{name} by another '
                            'process: define it at the top of a module, under its own name')
    return module, name
