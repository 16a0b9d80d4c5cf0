"""Recipes: optimizers by name, each a function that returns its parts.

    >>> @recipe(lr=1e-3)
    ... def Adam(amsgrad=False):
    ...     "The average gradient over the root of the average squared gradient (Kingma & Ba, arXiv:1412.6980)."
    ...     last = [max_sqr_grad, adam_step.rename(sqr_avg='max_sqr_avg')] if amsgrad else [adam_step]
    ...     return l2_reg, average_grad, average_sqr_grad, step_count, *last

The function's arguments are options: they choose parts. Numbers belong to the parts; the decorator gives the recipe's
own default values for them. `Adam(params, amsgrad=True, eps=1e-6)` takes both, under our names or torch's, and makes an
Optimizer.

A recipe and parts that modify it make another recipe: `Adam + cautious`, `AdamW + clip_by_global_norm + lookahead`. Where
each part stands in the list follows from what it reads: see `Recipe.__add__`. `recipe('adamw')` finds one by name.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property, lru_cache
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from torch import Tensor

from .composition import Composition
from .hypers import TABLE, check, check_flag
from .kinds import Scalar
from .letters import idea, letters, retyped
from .params import Params
from .part import REQUIRED, ContractError, Part
from .pickling import where
from .placing import placed
from .rule import Rule
from .words import COMMON, Words, unknown

if TYPE_CHECKING:
    from .optimizer import Optimizer
    from .study.explain import Explanation

__all__ = ['Recipe', 'recipe', 'rule_of']

KEPT = 32  # how many rules and compositions a recipe remembers

Options: TypeAlias = Callable[..., Iterable[Part]]


class Recipe:
    """An optimizer by name: call it with parameters. Made by `@recipe`.

    `options` are the arguments of its function with their defaults, `defaults` its own default values of
    hyperparameters, `words` what it answers to beside our names and torch's common ones.
    """
    def __init__(self,
        fn: Options,                        # From options to parts
        defaults: Mapping[str, float],      # Default values of hyperparameters, where they are not the parts'
        words: Mapping[str, tuple[str, ...]]  # Its own words for some of our names
    ):
        self.fn, self.words = fn, dict(words)
        self.made_of: tuple[Recipe, tuple[Part, ...]] | None = None  # a recipe, and what was added to it
        self._compositions: dict[tuple[Part, ...], Composition] = {}
        self._rule = lru_cache(KEPT, typed=True)(self._make_rule)
        self.__name__, self.__qualname__, self.__module__ = fn.__name__, fn.__qualname__, fn.__module__
        self.idea = idea(fn)
        self.options = {k: a.default for k, a in inspect.signature(fn).parameters.items()}
        self.defaults: dict[str, float] = {}
        for k, v in self.options.items():
            if k in COMMON: raise self._wrong(f'`{k}` is torch\'s spelling: call its option `{COMMON[k][0]}`, or '
                                              'choose another name')
            if v is inspect.Parameter.empty: raise self._wrong(f'give its option `{k}` a default')
        composition = self.rule().composition
        names = [*composition.hypers, *self.options]
        for k, ours in self.words.items():
            if k in names and len(ours) < 2 or k in COMMON and k not in ours and not {*ours} & {*COMMON[k]}:
                raise self._wrong(f'`{k}` cannot be another word for `{ours[0]}`: it has a meaning already')
            if not ours: raise self._wrong(f'`{k}` is another word for nothing: name a hyperparameter')
            for n in ours:
                if n not in names and not self.options: raise self._wrong(str(unknown(n, Words(names))))
        known = Words([*names, *TABLE], self.words)
        for k in defaults:
            if k not in known.means: raise self._wrong(str(unknown(k, Words(names))))
        self.defaults = {k: check(k, v) for k, v in known.ours(defaults).items()}
        for k in self.defaults:
            if k not in names and not (self.options and k in TABLE): raise self._wrong(str(unknown(k, Words(names))))
        self._rule.cache_clear()  # it was made without these defaults
        self._describe(composition)

    def _describe(self, composition: Composition) -> None:
        "Writes its signature and its documentation, which are never out of date."
        kw, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
        values = {k: self.defaults.get(k, v) for k, v in composition.hypers.items()} | self.options
        by_place = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter('params', by_place),
            *(inspect.Parameter(k, by_place if k == 'lr' else kw, default=empty if v is REQUIRED else v)
              for k, v in values.items()),
            *(inspect.Parameter(k, kw, default=False) for k in ('maximize', 'compile'))])
        self.__doc__ = '\n\n'.join([self.idea, *(inspect.getdoc(self.fn) or '').split('\n\n')[1:], f'{self.__name__}{self.__signature__}', _equations(composition.parts),
                                    _meanings(values, self.rule().words)])

    def _wrong(self, why: str) -> ContractError: return ContractError(f'recipe `{self.__name__}`: {why}')

    def parts(self, **options: Any) -> tuple[Part, ...]:
        "The parts that these options choose."
        options = Words(self.options, self.words).ours(options)
        for k, v in options.items():
            if isinstance(self.options[k], Real) and not isinstance(self.options[k], bool): check(k, v)
        return self.rule(options).composition.parts

    def rule(self, options: Mapping[str, Any] | None=None) -> Rule:
        "The rule with these options. Those made last are remembered, so one choice has one composition."
        options = {k: v for k, v in (options or {}).items() if not _same(v, self.options[k])}
        for k, v in options.items():
            if isinstance(self.options[k], bool): check_flag(k, v)
        try: return self._rule(**options)
        except TypeError as e:
            if 'unhashable' not in str(e): raise
            return self._make_rule(**options)

    def _make_rule(self, **options: Any) -> Rule:
        parts = self.fn(**options)
        if isinstance(parts, Part) or not isinstance(parts, Iterable):
            raise ContractError(f'recipe `{self.__name__}` returned {parts!r}: return its parts, with commas between')
        try: composition = self._compositions.get(parts := tuple(parts)) or Composition(parts)
        except ContractError as e: raise self._wrong(str(e)) from None
        self._compositions.pop(parts, None)
        self._compositions[parts] = composition  # the last used is the last to go
        if len(self._compositions) > KEPT: del self._compositions[next(iter(self._compositions))]
        return Rule(composition, self, self.options | options)

    @cached_property
    def optimizer_class(self) -> type[Optimizer]:
        "The class of the optimizers that it makes: an Optimizer of its name, which can be subclassed."
        from .optimizer import Optimizer  # the one door up: a recipe makes optimizers when it is called
        def __init__(opt: Any, params: Params, *lr: float | Tensor, **options_and_hypers: Any) -> None:
            if len(lr) > 1:
                raise TypeError('only `params` and `lr` go by place: name the others, as in '
                                f'{self.__name__}(params, lr, wd=0.1)')
            if lr and 'lr' in options_and_hypers: raise TypeError('`lr` is given twice, once by place: give it once')
            if lr: options_and_hypers['lr'] = lr[0]
            Optimizer.__init__(opt, params, self, **options_and_hypers)
        return type(self.__name__, (Optimizer,), dict(
            __init__=__init__, __module__=self.__module__, __qualname__=self.__qualname__, __doc__=self.__doc__))

    def __call__(self, params: Params, *lr: float | Tensor, **options_and_hypers: Any) -> Optimizer:
        return self.optimizer_class(params, *lr, **options_and_hypers)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type[Optimizer]]:
        return self.optimizer_class,  # of `class Mine(Adam)`

    @property
    def __bases__(self) -> tuple[type[Optimizer]]: return self.optimizer_class.__base__,  # type: ignore[return-value]

    def __subclasscheck__(self, cls: Any) -> bool: return cls is self or issubclass(cls, self.optimizer_class)

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

    def __instancecheck__(self, opt: Any) -> bool: return getattr(opt, 'recipe', None) is self

    def __repr__(self) -> str: return f'{self.__name__}{self.__signature__}\n  {self.rule().composition}'
    def __reduce__(self) -> str | tuple[Any, ...]: return (_sum, self.made_of) if self.made_of else where(self)[1]
    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe: return self


def _equations(parts: Iterable[Part]) -> str:
    "The equation of each part, from its documentation, under one another; in the letters that `explain` has."
    names = letters(parts)
    rows = [(p.label, retyped(p, names)) for p in parts]
    return '\n'.join(f'    {name:{max(len(n) for n, _ in rows)}}  {equation}'.rstrip() for name, equation in rows)


def _meanings(values: Mapping[str, Any], words: Words) -> str:
    "What each hyperparameter and option is, with its default and other words for it."
    others: dict[str, list[str]] = {k: [] for k in values}
    for word, names in {**words.means, **words.pairs}.items():
        for i, n in enumerate(names):
            if word != n: others[n].append(word if len(names) == 1 else f'{word}[{i}]')
    rows = [(k if v is REQUIRED else f'{k}={v!r}', TABLE[k].doc if k in TABLE else 'an option: it chooses parts'
             if isinstance(v, (bool, str)) else '', others[k]) for k, v in values.items()]
    width = max((len(name) for name, *_ in rows), default=0)
    lines = (f'    {name:{width}}  {doc} ' + f'(torch: {", ".join(theirs)})' * bool(theirs)
             for name, doc, theirs in rows)
    return '\n'.join(line.rstrip() for line in lines)


def _same(a: Any, b: Any) -> bool: return type(a) is type(b) and a == b


def _no_sum(base: Recipe, extra: Any) -> ContractError:
    what = f'{extra.__name__} is a recipe' if isinstance(extra, Recipe) else f'{extra!r} is none'
    return ContractError(f'{base.__name__} + ... takes a part, or several in a list, and {what}')


def _sum(base: Recipe, extra: tuple[Part, ...]) -> Recipe:
    "`base` with `extra` put where they work."
    def fn(**options: Any) -> Iterable[Part]: return placed(base.parts(**options), extra)
    fn.__name__ = fn.__qualname__ = ' + '.join([base.__name__, *(p.label for p in extra if not isinstance(p, Scalar))])
    fn.__doc__, fn.__module__ = base.idea, base.__module__
    fn.__signature__ = inspect.signature(base.fn)  # type: ignore[attr-defined]
    hypers = base.rule().composition.hypers
    own: dict[str, Any] = {k: v for k, v in hypers.items() if v is not REQUIRED} | base.defaults
    own |= {p.switch: v for p in extra if p.switch and (v := p.hypers[p.switch]) is not REQUIRED}
    # where defaults differ, those of the recipe hold; but a decay that is added has its own
    res = Recipe(fn, own, base.words)
    res.made_of = base, extra
    return res


@overload
def recipe(fn: Options, /) -> Recipe: ...
@overload
def recipe(name: str, /) -> Recipe: ...
@overload
def recipe(**defaults: float | str) -> Callable[[Options], Recipe]: ...
def recipe(fn: Any=None, /, **defaults: float | str) -> Recipe | Callable[[Options], Recipe]:
    """Makes a recipe from a function that returns parts. `defaults` are its own default values of hyperparameters.

    A string is another word for some of them, as torch or the authors have it: `@recipe(sqr_mom=.99, alpha='sqr_mom')`,
    `@recipe(betas='mom sqr_mom slow_mom')`.

    Or finds one of genopt's by name, whatever its case: `recipe('adamw')`. Raises KeyError with the nearest name.
    """
    if isinstance(fn, str): return _find(fn)
    if not (fn is None or inspect.isfunction(fn)):
        raise TypeError(f'recipe({fn!r}): give a name, such as recipe("adam"), or decorate a function')
    words = {k: tuple(v.split()) for k, v in defaults.items() if isinstance(v, str)}
    numbers: dict[str, Any] = {k: v for k, v in defaults.items() if k not in words}
    return Recipe(fn, numbers, words) if fn else lambda fn: Recipe(fn, numbers, words)


def rule_of(parts: Any) -> Rule:
    "The rule of a recipe with its default options, of the recipe of that name, or of a list of parts."
    if isinstance(parts, str): parts = recipe(parts)
    if isinstance(parts, Recipe): return parts.rule()
    return parts if isinstance(parts, Rule) else Rule(parts if isinstance(parts, Composition) else Composition(parts))


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
