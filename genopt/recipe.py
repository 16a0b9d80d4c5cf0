"""Recipes: optimizers by name, each a function that returns its parts.

    >>> @recipe(lr=1e-3)
    ... def Adam(amsgrad=False):
    ...     "The average gradient over the root of the average squared gradient (Kingma & Ba, arXiv:1412.6980)."
    ...     last = [max_sqr_grad, adam_step.rename(sqr_avg='max_sqr_avg')] if amsgrad else [adam_step]
    ...     return l2_reg, average_grad, average_sqr_grad, step_count, *last

The function's arguments are options: they choose parts. Numbers belong to the parts; the decorator gives the recipe's
own default values for them. `Adam(params, amsgrad=True, eps=1e-6)` takes both, under our names or torch's, and makes an
Optimizer.

A recipe and parts that modify it make another recipe: `Adam + cautious`, `AdamW + clip_global_norm + lookahead`. Where
each part stands in the list follows from what it reads: see `Recipe.__add__`. `recipe('adamw')` finds one by name.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from torch import Tensor

from .composition import Bound, Composition, unknown
from .hypers import SPELLINGS, TABLE, canonical, check, spellings_of
from .optimizer import Optimizer
from .params import Params
from .part import REQUIRED, ContractError, Part, where
from .placing import placed

if TYPE_CHECKING: from .study.explain import Explanation

__all__ = ['Recipe', 'recipe']

Options: TypeAlias = Callable[..., Iterable[Part]]


class Recipe:
    "An optimizer by name: call it with parameters. Made by `@recipe`."
    def __init__(self,
        fn: Options,                   # From options to parts
        defaults: Mapping[str, float]  # Default values of hyperparameters, where they are not the parts'
    ):
        self.fn, self.defaults = fn, {k: check(k, v) for k, v in canonical(defaults).items()}
        self.made_of: tuple[Recipe, tuple[Part, ...]] | None = None  # a recipe, and what was added to it
        self._compositions: dict[tuple[Part, ...], Composition] = {}
        self.__name__, self.__qualname__, self.__module__ = fn.__name__, fn.__qualname__, fn.__module__
        self.idea = inspect.getdoc(fn) or ''
        self.options = {k: a.default for k, a in inspect.signature(fn).parameters.items()}
        for k, v in self.options.items():
            if k in SPELLINGS:
                raise ContractError(f'recipe `{self.__name__}`: `{k}` is torch\'s spelling: call its option '
                                                   f'`{SPELLINGS[k][0]}`, or choose another name')
            if v is inspect.Parameter.empty:
                raise ContractError(f'recipe `{self.__name__}`: give its option `{k}` a default')
        composition = self._compose({})
        hypers = composition.hypers
        for k in self.defaults:
            if k not in hypers and not (self.options and k in TABLE):
                raise ContractError(f'recipe `{self.__name__}`: {unknown(k, hypers)}')
        kw, empty, own = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty, self.defaults
        values = {k: own.get(k, v) for k, v in hypers.items()} | self.options
        by_place = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter('params', by_place),
            *(inspect.Parameter(k, by_place if k == 'lr' else kw, default=empty if v is REQUIRED else v)
              for k, v in values.items()),
            *(inspect.Parameter(k, kw, default=False) for k in ('maximize', 'compile'))])
        self.__doc__ = '\n\n'.join([self.idea, f'{self.__name__}{self.__signature__}', _equations(composition.parts),
                                    _meanings(values)])  # never out of date

    def parts(self, **options: Any) -> tuple[Part, ...]:
        "The parts that these options choose."
        options = canonical(options)
        for k, v in options.items():
            if k not in self.options: raise unknown(k, self.options)
            default = self.options[k]
            if isinstance(default, bool) and not isinstance(v, bool):
                raise TypeError(f'`{k}` = {v!r}: give True or False')
            if isinstance(default, Real) and not isinstance(default, bool): check(k, v)
        parts = self.fn(**options)
        if isinstance(parts, Part) or not isinstance(parts, Iterable):
            raise ContractError(f'recipe `{self.__name__}` returned {parts!r}: return its parts, with commas between')
        return tuple(parts)

    def _compose(self, options: Mapping[str, Any]) -> Composition:
        parts = self.parts(**options)
        try: return self._compositions.get(parts) or self._compositions.setdefault(parts, Composition(parts))
        except ContractError as e: raise ContractError(f'recipe `{self.__name__}`: {e}') from None

    def bind(self, given: Mapping[str, Any], fallback: Mapping[str, Any] | None=None) -> Bound:
        "As `Composition.bind`, for options and hyperparameters. An option such as SGD's `mom` may be both."
        known = [*self._compose({}).hypers, *self.options]
        given, fallback = (canonical(d or {}, known) for d in (given, fallback))
        chosen = self.options | {k: v for k, v in {**fallback, **given}.items() if k in self.options}
        composition = self._compose(chosen)
        for k in given:
            if k not in composition.hypers and k not in self.options:
                raise unknown(k, [*composition.hypers, *self.options])
        values = self.defaults | self.options | fallback | given
        return composition.bind({}, values)._replace(options=chosen)

    def __call__(self, params: Params, *lr: float | Tensor, **options_and_hypers: Any) -> Optimizer:
        if len(lr) > 1:
            raise TypeError('only `params` and `lr` go by place: name the others, as in '
                            f'{self.__name__}(params, lr, wd=0.1)')
        if lr: options_and_hypers = {'lr': lr[0], **options_and_hypers}
        return Optimizer(params, self, **options_and_hypers)

    def explain(self, **options_and_hypers: Any) -> Explanation:
        """What it is: the equations of its parts and of them together, hyperparameters, memory, sources.

        Takes what a call takes, but for the parameters. Print it, or leave it at the end of a notebook's cell.
        """
        from .study.explain import explain  # not before it is asked for: sympy takes its time
        return explain(self, **options_and_hypers)

    def __add__(self, extra: Part | Iterable[Part]) -> Recipe:
        """A recipe with one more part, or several (those that are there already are left out), put where they work.

        What keeps a step from happening comes first, and what changes the gradient; what changes the update comes after
        the steps, but before decoupled weight decay, unless it is declared with `decay=True`; decay comes next; and
        what reads the new parameter comes last. No part stands before what it reads, or after what reads it; and parts
        that read what others make keep the order in which they were added, so a stat that is given before a change of
        the gradient sees the gradient before the change. A part with a `switch`, such as `weight_decay`, takes the
        place of those with the same one. Raises ContractError if that makes no optimizer.
        """
        if isinstance(extra, (str, Recipe)) or not isinstance(extra, (Part, Iterable)): raise _no_sum(self, extra)
        parts = (extra,) if isinstance(extra, Part) else tuple(extra)
        for p in parts:
            if not isinstance(p, Part): raise _no_sum(self, p)
        base, before = self.made_of or (self, ())
        return _sum(base, (*before, *parts))

    def __instancecheck__(self, opt: Any) -> bool: return isinstance(opt, Optimizer) and opt.recipe is self

    def __repr__(self) -> str: return f'{self.__name__}{self.__signature__}\n  {self._compose({})}'
    def __reduce__(self) -> str | tuple[Any, ...]: return (_sum, self.made_of) if self.made_of else where(self)[1]
    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe: return self


def _equations(parts: Iterable[Part]) -> str:
    "The first line of each part's documentation, which is its equation, under one another."
    rows = [(p.label, (inspect.getdoc(p.fn) or '').split('\n')[0]) for p in parts]
    return '\n'.join(f'    {name:{max(len(n) for n, _ in rows)}}  {equation}'.rstrip() for name, equation in rows)


def _meanings(values: Mapping[str, Any]) -> str:
    "What each hyperparameter and option is, with its default and torch's words for it."
    words: dict[str, list[str]] = {k: [] for k in values}
    for word, names in spellings_of(values).items():
        for i, n in enumerate(names): words[n].append(word if len(names) == 1 else f'{word}[{i}]')
    rows = [(k if v is REQUIRED else f'{k}={v!r}', TABLE[k].doc if k in TABLE else 'an option: it chooses parts'
             if isinstance(v, (bool, str)) else '', words[k]) for k, v in values.items()]
    width = max((len(name) for name, *_ in rows), default=0)
    lines = (f'    {name:{width}}  {doc} ' + f'(torch: {", ".join(theirs)})' * bool(theirs)
             for name, doc, theirs in rows)
    return '\n'.join(line.rstrip() for line in lines)


def _no_sum(base: Recipe, extra: Any) -> ContractError:
    what = f'{extra.__name__} is a recipe' if isinstance(extra, Recipe) else f'{extra!r} is none'
    return ContractError(f'{base.__name__} + ... takes a part, or several in a list, and {what}')


def _sum(base: Recipe, extra: tuple[Part, ...]) -> Recipe:
    "`base` with `extra` put where they work."
    def fn(**options: Any) -> Iterable[Part]: return placed(base.parts(**options), extra)
    fn.__name__ = fn.__qualname__ = ' + '.join([base.__name__, *(p.label for p in extra if p.kind != 'scalar')])
    fn.__doc__, fn.__module__ = base.idea, base.__module__
    fn.__signature__ = inspect.signature(base.fn)  # type: ignore[attr-defined]
    own = {k: v for k, v in base._compose({}).hypers.items() if v is not REQUIRED} | base.defaults
    own |= {p.switch: v for p in extra if p.switch and (v := p.hypers[p.switch]) is not REQUIRED}
    res = Recipe(fn, own)  # where defaults differ, those of the recipe hold; but a decay that is added has its own
    res.made_of = base, extra
    return res


@overload
def recipe(fn: Options, /) -> Recipe: ...
@overload
def recipe(name: str, /) -> Recipe: ...
@overload
def recipe(**defaults: float) -> Callable[[Options], Recipe]: ...
def recipe(fn: Any=None, /, **defaults: float) -> Recipe | Callable[[Options], Recipe]:
    """Makes a recipe from a function that returns parts. `defaults` are its own default values of hyperparameters.

    Or finds one of genopt's by name, whatever its case: `recipe('adamw')`. Raises KeyError with the nearest name.
    """
    if isinstance(fn, str): return _find(fn)
    if not (fn is None or inspect.isfunction(fn)):
        raise TypeError(f'recipe({fn!r}): give a name, such as recipe("adam"), or decorate a function')
    return Recipe(fn, defaults) if fn else lambda fn: Recipe(fn, defaults)


def _find(name: str) -> Recipe:
    from . import zoo
    names = {n.lower(): n for n in zoo.__all__}
    plain = name.lower().replace('_', '').replace('-', '')
    if plain == 'lbfgs':
        raise KeyError(f'there is no recipe `{name}`: use torch.optim.LBFGS, as it is not made of parts that see one '
                       'parameter')
    if plain not in names:
        near = get_close_matches(plain, names, 1, .5)
        advice = f'did you mean `{names[near[0]]}`?' if near else f'there are {", ".join(zoo.__all__)}'
        raise KeyError(f'there is no recipe `{name}`: {advice}')
    found: Recipe = getattr(zoo, names[plain])
    return found
