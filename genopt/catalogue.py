"The catalogue: recipes by name and family, parts, modifiers, and the recipes that use a part."
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from inspect import isfunction
from itertools import product
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints, overload

from . import parts, zoo
from .composition import Composition
from .contract import RESERVED
from .links import with_links
from .part import Part
from .recipe import Options, Recipe, recipe as make
from .rule import Rule
from .specs import FORMS, Named, look_up

__all__ = ['Entry', 'every_part', 'find', 'modifiers', 'named', 'recipe', 'recipes', 'rule_of',
           'users']


class Entry(NamedTuple):
    "A recipe as the catalogue lists it. It can be called and explained as the recipe can."
    name: str
    family: str
    idea: str      # one line
    parts: tuple[Part, ...]

    @property
    def recipe(self) -> Recipe: return find(self.name)
    def explain(self, **options_and_hypers: Any) -> Any:
        return self.recipe.explain(**options_and_hypers)
    def __call__(self, params: Any, *lr: Any, **rest: Any) -> Any:
        return self.recipe(params, *lr, **rest)


class Entries(list[Entry]):
    "Recipes; printed, a table."
    def __repr__(self) -> str:
        wide = [max((len(e[i]) for e in self), default=0) for i in (0, 1)]
        return '\n'.join(f'{e.name:{wide[0]}}  {e.family:{wide[1]}}  {e.idea}' for e in self)


def recipes(
    family: str=''  # Only of this one: friends, memories, sums, adams, signs, layers, matrices ...
) -> Entries:
    "genopt's recipes, with family, idea and parts. Raises KeyError if there is no such family."
    families = {f.__name__.rsplit('.', 1)[-1]: f for f in zoo.FAMILIES}
    if family and family not in families:
        raise KeyError(f'there is no family `{family}`: there are {", ".join(families)}')
    return Entries(Entry(name, key, r.idea, r.parts())
                   for key, module in families.items() if family in ('', key)
                   for name, r in vars(module).items()
                   if name in zoo.__all__ and r.__module__ == module.__name__)


def find(text: str) -> Recipe:
    """The recipe that a text names: see `specs` for its forms.

    Raises KeyError with the nearest name, TypeError if it is no recipe, ValueError if the text
    cannot be read or a value is out of range, and ImportError if a file or a module fails.
    """
    found = named(text)
    if isinstance(found, Recipe): return found
    raise TypeError(f'`{text}` is not a recipe: give {FORMS}')


def named(text: str) -> Named:
    "As `find`, but it may also name a part, several parts, or a class that is not genopt's."
    return look_up(text, {n: getattr(zoo, n) for n in zoo.__all__}, _parts())


@cache
def _parts() -> dict[str, Any]:
    "Parts, and modifiers that are several of them, by name."
    return {p.__name__: p for p in every_part()} | _several()


def rule_of(parts: Any) -> Rule:
    "The rule of a recipe with its default options, of the recipe of a name, or of a list of parts."
    if isinstance(parts, str): parts = find(parts)
    if isinstance(parts, Recipe): return parts.rule()
    if isinstance(parts, Rule): return parts
    return Rule(parts if isinstance(parts, Composition) else Composition(parts))


@overload
def recipe(name: str, /) -> Recipe: ...
@overload
def recipe(fn: Options, /) -> Recipe: ...
@overload
def recipe(**defaults: float | str) -> Callable[[Options], Recipe]: ...
def recipe(fn: Any=None, /, **defaults: float | str) -> Recipe | Callable[[Options], Recipe]:
    """Makes a recipe from a function that returns parts, or finds one by name: `recipe('adamw')`.

    `defaults` are the recipe's own default values of hyperparameters. A string is another word
    for some of them: `@recipe(sqr_mom=.99, alpha='sqr_mom')`. Raises KeyError with the nearest
    name if there is no recipe of that name.
    """
    if isinstance(fn, str): return find(fn)
    if fn is None: return make(**defaults)
    if isfunction(fn): return make(**defaults)(fn)
    raise TypeError(f'recipe({fn!r}): give a name, such as recipe("adam"), or decorate a function')


def users(part: Part) -> list[str]:
    "The names of the recipes that use a part, with any options and under any names."
    return [name for name, reached in _reached().items() if part.fn in reached]


@cache
def _reached() -> dict[str, set[object]]:
    "The functions that each recipe uses, with any options."
    return {name: set().union(*(reach(ps) for _, ps in choices(getattr(zoo, name))))
            for name in zoo.__all__}


def reach(parts: Iterable[Part]) -> set[object]:
    "The functions of parts and of the scalars that they depend on."
    return {p.fn for p in with_links(parts)}


def choices(recipe: Recipe) -> Iterator[tuple[dict[str, Any], tuple[Part, ...]]]:
    """Every choice of its options that it takes, and its parts then.

    A number is either 0 or not, and a whole number is its default or one less.
    """
    hints = get_type_hints(recipe.fn)
    def values(name: str, default: Any) -> Sequence[Any]:
        if isinstance(default, bool): return default, not default
        if isinstance(default, float): return 0., .9
        if isinstance(default, int): return default, default - 1
        hint = hints[name]
        kinds = [hint] if get_origin(hint) is Literal else get_args(hint)
        return [a for t in kinds for a in get_args(t) or [None]]
    for chosen in product(*[values(k, v) for k, v in recipe.options.items()]):
        options = dict(zip(recipe.options, chosen))
        try: yield options, recipe.parts(**options)
        except ValueError: pass  # options that do not go together


def every_part() -> Iterator[Part]:
    "Those that genopt has, in the order in which they are explained."
    for module in parts.MODULES:
        yield from (o for o in vars(module).values() if _own(o, module))


def _own(obj: Any, module: ModuleType) -> bool:
    return isinstance(obj, Part) and obj.__module__ == module.__name__


MODIFIERS = parts.modifiers, parts.longruns
DECAYS = 'l2_reg', 'weight_decay', 'independent_decay', 'cautious_decay'


def modifiers() -> dict[str, tuple[Part, ...]]:
    "The parts that can be added to any recipe, by name: `Adam + cautious`. Some are several parts."
    several = _several()
    inner = {p for ps in several.values() for p in ps}
    alone = {n: o for module in MODIFIERS for n, o in vars(module).items() if _own(o, module)}
    alone |= {n: getattr(parts, n) for n in (*DECAYS, 'lazy')}
    found = {n: (o,) for n, o in alone.items() if not o.linkable and o not in inner} | several
    return {n: ps for n, ps in found.items() if not _reads_others(ps)}


def _several() -> dict[str, tuple[Part, ...]]:
    "Modifiers that are several parts, also those for recipes that keep what they read."
    return {n: o for module in (*MODIFIERS, parts.interpolation, parts.second)
            for n, o in vars(module).items() if isinstance(o, tuple) and n.islower()}


def _reads_others(parts: tuple[Part, ...]) -> bool:
    "True if parts read what only some recipes keep."
    return any(name not in RESERVED and name.removeprefix('prev_') not in {q.out for q in parts}
               for p in parts for name in p.args if not p.is_number)
