'''An optimizer as one file that needs only torch.

    >>> text = export('adam + cautious')
    >>> 'class AdamCautious(torch.optim.Optimizer):' in text, 'import genopt' in text
    (True, False)

The file has a `torch.optim.Optimizer`, with the parts' own code, and a plain loop that calls them
in order. Its results are those of the plain engine, bit for bit.
'''
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..catalogue import named
from ..composition import Composition
from ..part import Part
from ..recipe import Recipe
from ..study.members import with_values
from .file import File

__all__ = ['export']


def export(
    recipe: Recipe | Composition | Iterable[Part] | str,  # A str is a name: see `genopt.specs`
    **options_and_hypers: Any  # Options choose parts; numbers are the file's default values
) -> str:
    """A file of Python that is this optimizer and needs only torch, as text. Write it in UTF-8.

    Raises TypeError for a part that reads a variable that cannot be written into a file, that has
    no source, or that is of a kind of your own; and what `genopt.explain` raises for a name, an
    option or a hyperparameter.
    """
    found: Any = named(recipe) if isinstance(recipe, str) else recipe
    name = ''
    if isinstance(found, Recipe): name = _name(found, options_and_hypers)
    elif not isinstance(found, Composition):
        if isinstance(found, Part) or not isinstance(found, Iterable):
            raise TypeError(f'export takes a recipe, its name, or a list of parts, not {recipe!r}')
        found = Composition(found)
    composition, values = with_values(found, options_and_hypers)
    with torch.random.fork_rng(devices=[]):
        return File(name, getattr(found, 'idea', ''), composition, values).text()


def _name(recipe: Recipe, given: dict[str, Any]) -> str:
    "What a recipe with these options is called."
    if not given: return recipe.__name__
    call = ', '.join(f'{k}={v!r}' for k, v in given.items())
    if ' + ' in recipe.__name__: return f'{recipe.__name__}, with {call}'
    return recipe.configured(**given).__name__
