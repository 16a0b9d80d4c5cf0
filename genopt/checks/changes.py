"""Changes of parts: each makes another part of one, which breaks one thing and keeps the rest.

They know nothing of a particular rule. A part's function is called with other arguments, or not at
all; an argument that was a scalar may become another one.

    >>> uncorrected = with_args(adam_step, bias=lambda args: 1.)
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..hypers import TABLE
from ..kinds import Scalar, Stat
from ..part import Part
from ..parts import step_count
from ..parts.scalars import past

__all__ = ['altered', 'call', 'decay_of', 'exchanged', 'on_first_step', 'own_name', 'parameters',
           'with_args', 'with_count', 'with_links', 'with_scalars']

Args: TypeAlias = 'dict[str, Any]'  # a function's arguments by name
Kind = inspect.Parameter


def parameters(part: Part) -> Mapping[str, inspect.Parameter]:
    "The arguments of a part's function, by the names that its author gave them."
    return inspect.signature(part.fn).parameters


def altered(
    part: Part,
    change: Callable[[Callable[..., Any], Args], Any],  # Given the function and its arguments
    links: Mapping[str, Part]={},                       # Scalars for some arguments, old and new
    hypers: Sequence[str]=()                            # Hyperparameters that it reads besides
) -> Part:
    "A part that calls another one's function in another way."
    args = [*parameters(part).values()]
    front = [a.replace(default=links.get(a.name, a.default)) for a in args
             if a.kind != Kind.KEYWORD_ONLY]
    known = [a.name for a in args]
    front += [Kind(k, Kind.POSITIONAL_OR_KEYWORD, default=v) for k, v in links.items()
              if k not in known]
    named = [a for a in args if a.kind == Kind.KEYWORD_ONLY]
    named += [Kind(k, Kind.KEYWORD_ONLY) for k in hypers if k not in known]
    places = [a.name for a in front]
    def fn(*values: Any, **given: Any) -> Any:
        return change(part.fn, {**dict(zip(places, values)), **given})
    mark = '′' if part.linkable else ''  # it may stand beside the scalar that it was made of
    fn.__name__ = fn.__qualname__ = part.fn.__name__ + mark
    fn.__doc__, fn.__module__ = part.fn.__doc__, part.fn.__module__
    fn.__signature__ = inspect.Signature([*front, *named])  # type: ignore[attr-defined]
    return type(part)(fn, part.names, **part.given)


def call(fn: Callable[..., Any], args: Mapping[str, Any]) -> Any:
    "What the function returns for those of the arguments that it takes."
    takes = inspect.signature(fn).parameters
    return fn(**{k: v for k, v in args.items() if k in takes})


def with_args(part: Part, **makers: Callable[[Args], Any]) -> Part:
    "A part with other values of some arguments, each made of all arguments."
    def change(fn: Callable[..., Any], args: Args) -> Any:
        return call(fn, {**args, **{k: make(args) for k, make in makers.items()}})
    return altered(part, change)


def with_links(part: Part, links: Mapping[str, Part]) -> Part:
    "A part that reads other scalars."
    return altered(part, call, links)


def on_first_step(part: Part, **makers: Callable[[Args], Any]) -> Part:
    "As `with_args`, but only on a parameter's first step. The list of parts needs a count."
    def change(fn: Callable[..., Any], args: Args) -> Any:
        if args['later']: return call(fn, args)
        return call(fn, {**args, **{k: make(args) for k, make in makers.items()}})
    return altered(part, change, dict(later=past))


def own_name(part: Part, name: str) -> str:
    "What the author of a part called the argument that is now called `name`."
    return next((own for own, new in part.names.items() if new == name), name)


def decay_of(part: Part) -> str:
    "The own name of the decay with which a stat remembers, or ''."
    return next((a.name for a in parameters(part).values() if a.kind == Kind.KEYWORD_ONLY
                 and a.name in TABLE and TABLE[a.name].high == 1), '')


# -- lists of parts --------------------------------------------------------------------------------

def exchanged(parts: Iterable[Part], new: Mapping[Part, Part]) -> tuple[Part, ...]:
    "The list with some parts in the place of others."
    return tuple(new.get(p, p) for p in parts)


def with_count(parts: Sequence[Part]) -> tuple[Part, ...]:
    "The list with a count of steps, if it has none."
    if any(isinstance(p, Stat) and p.out == 'count' for p in parts): return tuple(parts)
    return step_count, *parts


def with_scalars(parts: Iterable[Part], change: Callable[[Part], Part | None]) -> tuple[Part, ...]:
    "The list with other scalars, wherever parts read them. `change` gives None for one that stays."
    made = dict[Part, Part]()
    def new(link: Part) -> Part:
        if link not in made:
            inner = {k: new(v) for k, v in link.links.items()}
            moved = with_links(link, inner) if any(inner[k] is not link.links[k] for k in inner) \
                else link
            made[link] = (change(moved) if isinstance(link, Scalar) else None) or moved
        return made[link]
    def one(part: Part) -> Part:
        if isinstance(part, Scalar): return new(part)
        links = {k: new(v) for k, v in part.links.items()}
        if all(links[k] is part.links[k] for k in links): return part
        return with_links(part, links)
    return tuple(map(one, parts))
