"""What there is: the recipes by family, the parts, and which recipes use which part. All of it read off the code."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from types import ModuleType
from typing import Any, NamedTuple, get_args, get_type_hints

from . import parts, zoo
from .part import Part
from .recipe import Recipe

__all__ = ['Entry', 'every_part', 'modifiers', 'recipes', 'users']


class Entry(NamedTuple):
    "A recipe as the catalogue lists it."
    name: str
    family: str
    idea: str      # one line
    parts: tuple[Part, ...]


class Entries(list[Entry]):
    "Recipes; printed, a table."
    def __repr__(self) -> str:
        wide = [max((len(e[i]) for e in self), default=0) for i in (0, 1)]
        return '\n'.join(f'{e.name:{wide[0]}}  {e.family:{wide[1]}}  {e.idea}' for e in self)


def recipes(
    family: str=''  # Only of this one: friends, memories, sums, adams, signs, layers
) -> Entries:
    "genopt's recipes, with family, idea and parts. Raises KeyError if there is no such family."
    families = {f.__name__.rsplit('.', 1)[-1]: f for f in zoo.FAMILIES}
    if family and family not in families:
        raise KeyError(f'there is no family `{family}`: there are {", ".join(families)}')
    return Entries(Entry(name, key, recipe.idea, recipe.parts())
                   for key, module in families.items() if family in ('', key)
                   for name, recipe in vars(module).items()
                   if name in zoo.__all__ and recipe.__module__ == module.__name__)


def users(part: Part) -> list[str]:
    "The recipes that use a part, with any of their options, under whatever names it has there; by name."
    return [name for name in zoo.__all__ if any(part.fn in reach(ps) for _, ps in choices(getattr(zoo, name)))]


def reach(parts: Iterable[Part]) -> set[object]:
    "The functions of parts and of the scalars that they depend on."
    res: set[object] = set()
    for p in parts: res |= {p.fn} | reach(p.links.values())
    return res


def choices(recipe: Recipe) -> Iterator[tuple[dict[str, Any], tuple[Part, ...]]]:
    "Every choice of its options that it takes, and its parts then. A number is either 0 or not."
    hints = get_type_hints(recipe.fn)
    values = {k: (False, True) if isinstance(v, bool) else (0., .9) if isinstance(v, float) else
              [a for t in get_args(hints[k]) for a in get_args(t) or [None]] for k, v in recipe.options.items()}
    for chosen in product(*values.values()):
        options = dict(zip(values, chosen))
        try: yield options, recipe.parts(**options)
        except ValueError: pass  # options that do not go together


def every_part() -> Iterator[Part]:
    "Those that genopt has, in the order in which they are explained."
    for module in (parts.transforms, parts.stats, parts.scalars, parts.steps, parts.modifiers):
        yield from (o for o in vars(module).values() if _own(o, module))


def _own(obj: Any, module: ModuleType) -> bool: return isinstance(obj, Part) and obj.__module__ == module.__name__


DECAYS = 'l2_reg', 'weight_decay', 'independent_decay', 'cautious_decay'


def modifiers() -> dict[str, tuple[Part, ...]]:
    "What can be added to any recipe, by name: `Adam + cautious`. Some are several parts."
    names = {n: o for n, o in vars(parts.modifiers).items() if _own(o, parts.modifiers) or isinstance(o, tuple)}
    names |= {n: getattr(parts, n) for n in (*DECAYS, 'lazy')}
    groups = {n: o for n, o in names.items() if isinstance(o, tuple)}
    inner = {p for parts in groups.values() for p in parts}
    return {n: o if isinstance(o, tuple) else (o,) for n, o in names.items()
            if n in groups or not o.is_shared and o not in inner}
