"""Recipes: optimizers by name, each a function that returns its parts.

    >>> @recipe(lr=1e-3)
    ... def Adam(amsgrad=False):
    ...     "The average gradient over the root of the average squared gradient (Kingma & Ba, arXiv:1412.6980)."
    ...     last = [max_sqr_grad, adam_step.rename(sqr_avg='max_sqr_avg')] if amsgrad else [adam_step]
    ...     return l2_reg, average_grad, average_sqr_grad, step_count, *last

The function's arguments are options: they choose parts. Numbers belong to the parts; the decorator gives the recipe's
own default values for them. `Adam(params, amsgrad=True, eps=1e-6)` takes both, under our names or torch's, and makes an
Optimizer.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, TypeAlias, overload

from torch import Tensor

from .composition import Bound, Composition, unknown
from .hypers import SPELLINGS, TABLE, canonical, check
from .optimizer import Optimizer
from .params import Params
from .part import REQUIRED, ContractError, Part, where

__all__ = ['Recipe', 'recipe']

Options: TypeAlias = Callable[..., Iterable[Part]]


class Recipe:
    "An optimizer by name: call it with parameters. Made by `@recipe`."
    def __init__(self,
        fn: Options,                   # From options to parts
        defaults: Mapping[str, float]  # Default values of hyperparameters, where they are not the parts'
    ):
        self.fn, self.defaults = fn, {k: check(k, v) for k, v in canonical(defaults).items()}
        self._compositions: dict[tuple[Part, ...], Composition] = {}
        self.__name__, self.__qualname__, self.__module__ = fn.__name__, fn.__qualname__, fn.__module__
        self.__doc__ = fn.__doc__
        self.options = {k: a.default for k, a in inspect.signature(fn).parameters.items()}
        for k, v in self.options.items():
            if k in SPELLINGS:
                raise ContractError(f'recipe `{self.__name__}`: `{k}` is torch\'s spelling: call its option '
                                                   f'`{SPELLINGS[k][0]}`, or choose another name')
            if v is inspect.Parameter.empty:
                raise ContractError(f'recipe `{self.__name__}`: give its option `{k}` a default')
        hypers = self._compose({}).hypers
        for k in self.defaults:
            if k not in hypers and not (self.options and k in TABLE):
                raise ContractError(f'recipe `{self.__name__}`: {unknown(k, hypers)}')
        kw, empty, own = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty, self.defaults
        values = {k: own.get(k, v) for k, v in hypers.items()} | self.options
        self.__signature__ = inspect.Signature([inspect.Parameter('params', inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(inspect.Parameter(k, kw, default=empty if v is REQUIRED else v) for k, v in values.items()),
            *(inspect.Parameter(k, kw, default=False) for k in ('maximize', 'compile'))])

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
        chosen = self.options | {k: v for k, v in {**(fallback or {}), **given}.items() if k in self.options}
        composition = self._compose(chosen)
        for k in given:
            if k not in composition.hypers and k not in self.options:
                raise unknown(k, [*composition.hypers, *self.options])
        values = self.defaults | self.options | dict(fallback or {}) | dict(given)
        return composition.bind({}, values)._replace(options=chosen)

    def __call__(self, params: Params, *lr: float | Tensor, **options_and_hypers: Any) -> Optimizer:
        if len(lr) > 1:
            raise TypeError('only `params` and `lr` go by place: name the others, as in '
                            f'{self.__name__}(params, lr, wd=0.1)')
        if lr: options_and_hypers = {'lr': lr[0], **options_and_hypers}
        return Optimizer(params, self, **options_and_hypers)

    def __instancecheck__(self, opt: Any) -> bool: return isinstance(opt, Optimizer) and opt.recipe is self

    def __repr__(self) -> str: return f'{self.__name__}{self.__signature__}\n  {self._compose({})}'
    def __reduce__(self) -> str: return where(self)[1]
    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe: return self


@overload
def recipe(fn: Options, /) -> Recipe: ...
@overload
def recipe(**defaults: float) -> Callable[[Options], Recipe]: ...
def recipe(fn: Options | None=None, /, **defaults: float) -> Recipe | Callable[[Options], Recipe]:
    "Makes a recipe from a function that returns parts. `defaults` are its own default values of hyperparameters."
    return Recipe(fn, defaults) if fn else lambda fn: Recipe(fn, defaults)
