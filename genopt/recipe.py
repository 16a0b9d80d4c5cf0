"""Recipes: optimizers by name, each a function that returns its parts.

    >>> @recipe(lr=1e-3)
    ... def Adam(amsgrad=False):
    ...     "The average gradient over the root of the average square (arXiv:1412.6980)."
    ...     step = adam_step.rename(sqr_avg='max_sqr_avg') if amsgrad else adam_step
    ...     extra = [max_sqr_grad] if amsgrad else []
    ...     return l2_reg, average_grad, average_sqr_grad, step_count, *extra, step

The function's arguments are options: they choose parts. Numbers belong to the parts; the
decorator gives the recipe's own default values for them. `Adam(params, amsgrad=True, eps=1e-6)`
takes both, under our names or torch's, and makes an Optimizer.

A recipe and parts that modify it make another recipe, `AdamW + clip_by_global_norm + lookahead`.
The place of each part follows from the names that it reads: see `Recipe.__add__`.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from torch import Tensor

from .composition import Composition
from .contract import ContractError
from .declared import check_options, check_words, checked_defaults
from .hypers import check, check_flag
from .letters import idea
from .links import with_links
from .manual import equations, meanings, signature
from .params import Params
from .part import Part
from .pickling import where
from .policy import Policy
from .rule import Rule, changed
from .variants import added, configured, merged
from .words import Words

__all__ = ['Options', 'Recipe', 'recipe']

KEPT = 32  # how many rules and compositions a recipe remembers

Options: TypeAlias = Callable[..., Iterable[Part]]


class Recipe:
    """An optimizer by name: call it with parameters. Made by `@recipe`.

    `options` are the arguments of its function, `defaults` its own default values of
    hyperparameters, `words` its own words beside our names and torch's common ones, `policy` what
    its authors do with a whole model.
    """
    policy: Policy | None = None  # Without one, `create` goes by what its parts need

    def __init__(self,
        fn: Options,                          # From options to parts
        defaults: Mapping[str, float],        # Of hyperparameters, where the parts' own do not hold
        words: Mapping[str, tuple[str, ...]]  # Its own words for some of our names
    ):
        self.fn, self.words = fn, dict(words)
        self.made_of: tuple[Any, ...] = ()  # see `variants`: how, of which recipe, and what changes
        self._compositions: dict[tuple[Part, ...], Composition] = {}
        self._rule = lru_cache(KEPT, typed=True)(self._make_rule)
        self.__name__, self.__qualname__ = fn.__name__, fn.__qualname__
        self.__module__ = fn.__module__
        self.idea = idea(fn)
        self.options = {k: a.default for k, a in inspect.signature(fn).parameters.items()}
        self.defaults: dict[str, float] = {}
        self._checked(check_options, self.options)
        composition = self.rule().composition
        names = [*composition.hypers, *self.options]
        self._checked(check_words, self.words, names, self.options)
        self.defaults = self._checked(checked_defaults, defaults, self.words, names, self.options)
        self._rule.cache_clear()  # it was made without these defaults
        values = {k: self.defaults.get(k, v) for k, v in composition.hypers.items()} | self.options
        self.__signature__ = signature(values)
        self.__doc__ = '\n\n'.join([
            self.idea, *(inspect.getdoc(fn) or '').split('\n\n')[1:],
            f'{self.__name__}{self.__signature__}', equations(composition.parts),
            meanings(values, self.rule().words)])

    def _checked(self, check: Callable[..., Any], *declared: Any) -> Any:
        try: return check(*declared)
        except TypeError as e: raise self._wrong(str(e)) from None

    def _wrong(self, why: str) -> ContractError:
        return ContractError(f'recipe `{self.__name__}`: {why}')

    def parts(self, **options: Any) -> tuple[Part, ...]:
        "The parts that these options choose."
        options = Words(self.options, self.words).ours(options)
        for k, v in options.items():
            if type(self.options[k]) in (int, float): check(k, v)
        return self.rule(options).composition.parts

    def rule(self, options: Mapping[str, Any] | None=None) -> Rule:
        "The rule with these options, of which the last are remembered."
        options = changed(self.options, options or {})
        for k, v in options.items():
            if isinstance(self.options[k], bool): check_flag(k, v)
        try: return self._rule(**options)
        except TypeError as e:
            if 'unhashable' not in str(e): raise
            return self._make_rule(**options)

    def _make_rule(self, **options: Any) -> Rule:
        parts = self.fn(**options)
        if isinstance(parts, Part) or not isinstance(parts, Iterable):
            raise ContractError(f'recipe `{self.__name__}` returned {parts!r}: return its parts, '
                                'with commas between')
        parts = tuple(parts)
        try: composition = self._compositions.pop(parts, None) or Composition(parts)
        except ContractError as e: raise self._wrong(str(e)) from None
        self._compositions[parts] = composition  # the last used is the last to go
        if len(self._compositions) > KEPT: del self._compositions[next(iter(self._compositions))]
        return Rule(composition, self, self.options | options)

    def __add__(self, extra: Part | Iterable[Part]) -> Recipe:
        """A recipe with one more part, or several, each put where it works.

        From first to last there come gates, changes of the gradient, the recipe's own parts,
        changes of the update, decoupled weight decay, changes of the update that are declared
        with `decay=True`, and readers of the new parameter. No part comes before those whose
        results it reads. New parts that read each other's results keep the order in which they
        were added: a stat that is given before a change of the gradient sees the gradient before
        the change. Parts that the recipe has already are left out, and a part with a `switch`,
        such as `weight_decay`, replaces those with the same one. Raises ContractError if the parts
        do not make an optimizer.
        """
        parts: Any = [extra]
        if isinstance(extra, Iterable) and not isinstance(extra, str): parts = extra
        for p in (parts := tuple(parts)):
            if not isinstance(p, Part):
                what = f'{p.__name__}, which is a recipe' if isinstance(p, Recipe) else repr(p)
                raise ContractError(f'{self.__name__} + ... takes a part, or several in a list, '
                                    f'not {what}')
        base, before = self.made_of[1:] if self.made_of[:1] == (added,) else (self, ())
        if parts in before: return self
        return _varied(added, base, (*before, parts))

    def configured(self, **given: Any) -> Recipe:
        """The recipe with other default values of its options and hyperparameters.

            >>> Adam.configured(amsgrad=True, betas=(.9, .99)).__name__
            'Adam(amsgrad=True, betas=(0.9, 0.99))'

        Raises TypeError for a word that means nothing here, and ValueError for a value that is out
        of range.
        """
        base, before = self.origin
        return _varied(configured, base, merged(base, before, given))

    @property
    def origin(self) -> tuple[Recipe, dict[str, Any]]:
        "The recipe that was configured, and with what. For any other recipe, itself and nothing."
        return self.made_of[1:] if self.made_of[:1] == (configured,) else (self, {})

    @property
    def given(self) -> dict[str, Any]:
        "All values with which it, or the recipe in it, was configured, under our names."
        if not self.made_of: return {}
        how, base, change = self.made_of
        return {**base.given, **(base.rule().words.ours(change) if how is configured else {})}

    @cached_property
    def optimizer_class(self) -> Any:
        "The class of the optimizers that it makes, an Optimizer of its name. It can be subclassed."
        from .optimizer import Optimizer  # a door up: a recipe makes optimizers when it is called
        def __init__(opt: Any, params: Params, *lr: float | Tensor, **rest: Any) -> None:
            if len(lr) > 1:
                raise TypeError('only `params` and `lr` go by place: name the others, as in '
                                f'{self.__name__}(params, lr, wd=0.1)')
            if lr and 'lr' in rest:
                raise TypeError('`lr` is given twice, once by place: give it once')
            if lr: rest['lr'] = lr[0]
            Optimizer.__init__(opt, params, self, **rest)
        named = {k: getattr(self, k) for k in ('__module__', '__qualname__', '__doc__')}
        return type(self.__name__, (Optimizer,), {'__init__': __init__, **named})

    def __call__(self, params: Params, *lr: float | Tensor, **rest: Any) -> Any:
        return self.optimizer_class(params, *lr, **rest)

    def __instancecheck__(self, opt: Any) -> bool: return getattr(opt, 'recipe', None) is self
    def __subclasscheck__(self, cls: Any) -> bool:
        return cls is self or issubclass(cls, self.optimizer_class)
    def __mro_entries__(self, bases: Any) -> tuple[Any]:  # of `class Mine(Adam)`
        return self.optimizer_class,
    @property
    def __bases__(self) -> tuple[Any]: return self.optimizer_class.__base__,

    def explain(self, **options_and_hypers: Any) -> Any:
        """The equations of its parts and of them together, its hyperparameters, memory and sources.

        It takes the arguments of a call, without the parameters. Print it, or leave it at the end
        of a notebook's cell.
        """
        from .study.explain import explain  # a door up: a recipe can be explained
        return explain(self, **options_and_hypers)

    def __repr__(self) -> str:
        return f'{self.__name__}{self.__signature__}\n  {self.rule().composition}'
    def __reduce__(self) -> str | tuple[Any, ...]:
        return (_varied, self.made_of) if self.made_of else where(self)[1]
    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe: return self


def _varied(how: Callable[..., Any], base: Recipe, change: Any) -> Recipe:
    "A recipe that was made of another one."
    fn, defaults = how(base, change)
    new = [*with_links(p for parts in change for p in parts)] if how is added else []
    taken = {k for p in new for k in p.hypers}  # a name of a hyperparameter comes before a word
    res = Recipe(fn, defaults, {k: v for k, v in base.words.items() if k not in taken})
    res.made_of = how, base, change
    return res


def recipe(**declared: float | str) -> Callable[[Options], Recipe]:
    """A decorator that makes a recipe of a function that returns parts.

    It is given the recipe's own default values of hyperparameters. A string is another word for
    some of them, one that torch or the authors use: `@recipe(sqr_mom=.99, alpha='sqr_mom')`,
    `@recipe(betas='mom sqr_mom slow_mom')`.
    """
    words = {k: tuple(v.split()) for k, v in declared.items() if isinstance(v, str)}
    defaults: dict[str, Any] = {k: v for k, v in declared.items() if k not in words}
    return lambda fn: Recipe(fn, defaults, words)
