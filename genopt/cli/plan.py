"What each parameter of a model would get from an optimizer, and why."
from __future__ import annotations

from typing import Annotated

from torch import nn

from ..specs import module_of
from . import REFUSED, Stop
from .explain import given_values


def plan(
    model: str,  # A model in a file or a module, or what makes one, as mine.py:model
    recipe: str,  # Such as muon, or a sum: 'muon + cautious'
    given: Annotated[list[str], dict(nargs='*', type=str)]  # As in lr=0.02 rest=lion
) -> int:
    "Shows what each parameter of a model is, and the rule and decay that it would get."
    from ..planning.create import plan as planned
    try: print(planned(_model(model), recipe, **given_values(given)))
    except REFUSED as e: raise Stop(e.args[0]) from None
    return 0


def _model(place: str) -> nn.Module:
    "The model that a text names. A class or a function is called without arguments."
    where, _, name = place.rpartition(':')
    if not where: raise Stop(f'{place}: give a file or a module and a name in it, as mine.py:model')
    found = getattr(module_of(where), name, None)
    if found is None: raise Stop(f'{where} has no `{name}`: name a model, or what makes one')
    if callable(found) and not isinstance(found, nn.Module):
        try: found = found()
        except Exception as e:
            raise Stop(f'{place}() fails, so name a function without arguments that makes the '
                       f'model: {type(e).__name__}: {e}') from None
    if isinstance(found, nn.Module): return found
    raise Stop(f'{place} is a {type(found).__name__}: name a model, or what makes one')
