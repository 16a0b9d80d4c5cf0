"What a recorder was told to watch: which parameters, and which quantities of them."
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from glob import escape
from inspect import isfunction
from typing import Any
from weakref import ref

from torch import Tensor

from ..composition import Composition
from ..contract import ContractError, is_reserved
from ..group import Group
from ..hypers import did_you_mean
from .quantities import Column, own_column, usual_columns
from .writers import KEYS
from .watched import Watched

__all__ = ['Choice', 'names_of', 'patterns_of']


class Choice:
    """Chooses parameters and quantities. Raises TypeError, KeyError or ContractError.

    `params` are tensors, or patterns of names such as `layers.0.*`. `quantities` are patterns of
    the usual ones' names, and functions of one's own. Without a pattern, all usual ones are chosen.
    A parameter that `replace` gives another tensor is followed by its name, or else by its place.
    """
    def __init__(self, groups: Sequence[Group], params: Any=None, quantities: Any=None):
        self.params = None if params is None else _listed(params)
        given = [] if quantities is None else _listed(quantities)
        self.patterns = [q for q in given if isinstance(q, str)]
        self.own: list[Callable[..., Any]] = [q for q in given if not isinstance(q, str)]
        for q in self.own:
            if not isfunction(q) or q.__name__ == '<lambda>':
                raise TypeError(f'`quantities`: {q!r} is not a quantity: give the name of one, or '
                                'a function made with `def`, whose name is its own')
        self._watched: dict[Composition, Watched] = {}
        self._check(groups)
        self._last = dict[str, ref[Tensor]]()  # the parameters when they were last seen, by name
        self._follow(names_of(groups), [p for g in groups for p in g['params']])

    def _check(self, groups: Sequence[Group]) -> None:
        "Raises for what would choose nothing."
        names, tensors = names_of(groups), [p for g in groups for p in g['params']]
        for one in self.params or ():
            pattern = _pattern(one, names, tensors)
            if not any(fnmatchcase(n, pattern) for n in names):
                raise KeyError(f'`params`: no parameter is called `{one}`: '
                               f'{_advice(one, names)}')
        compositions = dict.fromkeys(g.composition for g in groups)
        usual = dict.fromkeys(c.name for g in compositions for c in usual_columns(g))
        for pattern in self.patterns:
            if not any(fnmatchcase(n, pattern) for n in usual):
                raise KeyError(f'`quantities`: none is called `{pattern}`: '
                               f'{did_you_mean(pattern, usual)}')
        for fn in self.own:
            taken = {*KEYS, *(n for c in compositions for n in (*c.hypers, *c.stats))}
            if fn.__name__ in taken or is_reserved(fn.__name__):
                raise ContractError(f'`{fn.__name__}` has a meaning already: give your function '
                                    'another name')
            if fn.__name__ in usual:
                raise ContractError(f'`{fn.__name__}` is one of the usual quantities: give your '
                                    'function another name')
            wrong = [e for c in compositions if isinstance(e := _own(c, fn), ContractError)]
            if len(wrong) == len(compositions): raise wrong[0]

    def columns(self, composition: Composition) -> Iterator[Column]:
        "Those that parameters of this composition have."
        for c in usual_columns(composition):
            if not self.patterns or any(fnmatchcase(c.name, p) for p in self.patterns): yield c
        for fn in self.own:
            if isinstance(own := _own(composition, fn), Column): yield own

    def watched(self, composition: Composition) -> Watched:
        if composition not in self._watched:
            self._watched[composition] = Watched(composition, [*self.columns(composition)])
        return self._watched[composition]

    def flags(self, groups: Sequence[Group], names: Sequence[str]) -> list[bool] | None:
        "For each parameter of the optimizer, if it is watched. None: all are."
        if self.params is None: return None
        patterns = [p for p in self.params if isinstance(p, str)]
        params = [p for g in groups for p in g['params']]
        self._follow(names, params)
        tensors = {id(p) for p in self.params if isinstance(p, Tensor)}
        return [id(p) in tensors or any(fnmatchcase(n, pattern) for pattern in patterns)
                for n, p in zip(names, params)]

    def _follow(self, names: Sequence[str], params: Sequence[Tensor]) -> None:
        "A tensor that is no parameter any more gives its place to a new one of its name."
        last, now, there = self._last, dict(zip(names, params)), {id(p) for p in params}
        self._last = {n: ref(p) for n, p in now.items()}
        before = {id(p): n for n, r in last.items() if (p := r()) is not None}
        def followed(one: Any) -> Any:
            if not isinstance(one, Tensor) or id(one) in there: return one
            new = now.get(before.get(id(one), ''))
            return one if new is None or id(new) in before else new
        if self.params: self.params = [followed(one) for one in self.params]


def names_of(groups: Sequence[Group]) -> list[str]:
    "The name of each parameter, or its place in its group."
    return [name for g in groups for name in g.get('param_names') or
            [f'parameter {i} of group {g.index}' for i in range(len(g['params']))]]


def patterns_of(params: Any, groups: Sequence[Group]) -> list[str]:
    "Patterns for parameters and patterns. Raises KeyError or TypeError for what is neither."
    names, tensors = names_of(groups), [p for g in groups for p in g['params']]
    return [_pattern(one, names, tensors) for one in _listed(params)]


def _pattern(one: Any, names: Sequence[str], tensors: Sequence[Tensor]) -> str:
    if isinstance(one, str): return one
    if not isinstance(one, Tensor):
        raise TypeError(f'`params`: {one!r} is a {type(one).__name__}: give parameters, or '
                        'patterns of their names')
    for name, p in zip(names, tensors):
        if one is p: return escape(name)
    raise KeyError(f'`params`: a tensor of shape {tuple(one.shape)} is not a parameter of this '
                   'optimizer: give one that is')


def _advice(name: str, names: Sequence[str]) -> str:
    "The nearest name, or a few of many."
    advice = did_you_mean(name, names)
    if advice.startswith('did') or len(names) < 9: return advice
    return f'there are {len(names)} names, such as ' + ', '.join(f'`{n}`' for n in names[:3])


def _own(composition: Composition, fn: Callable[..., Any]) -> Column | ContractError:
    "Its column, or the reason why parameters of this composition have none."
    try: return own_column(composition, fn)
    except ContractError as e: return e


def _listed(given: Any) -> list[Any]:
    "One or several."
    is_one = isinstance(given, (str, Tensor)) or not isinstance(given, Iterable)
    return [given] if is_one else [*given]
