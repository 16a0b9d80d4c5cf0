"""A part: a pure function whose signature is its contract.

    >>> @stat
    ... def average_grad(grad_avg, grad, *, mom=0.9):
    ...     "m ← β₁·m + (1−β₁)·g"
    ...     return grad_avg.lerp(grad, 1 - mom)

Positional arguments name the values that the part reads: stats, scalars, and names with a meaning
of their own (see `contract.py`). Keyword-only arguments are its hyperparameters; without a default,
the user must give a value. The decorator gives the result its meaning: see `kinds.py`. A positional
argument with a default names the scalar (or total, or tensor) on which the part depends:

    >>> @scalar
    ... def debias(count, *, mom): return 1 - mom**count
    >>> @step
    ... def debiased_step(grad_avg, bias=debias, *, lr): return -lr / bias * grad_avg
    >>> debiased_step
    debiased_step(grad_avg, bias=debias, *, lr): a step
    >>> debiased_step.rename(grad_avg='m', mom='slow_mom')      # its scalar follows
    debiased_step[grad_avg=m, mom=slow_mom](m, bias=debias[mom=slow_mom], *, lr): a step

A part can still be called as a function: `average_grad(m, g, mom=.9)` is m·0.9 + g·0.1.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor

from .contract import (REQUIRED, ContractError, PartError, check_decorated, code, why_no_argument,
                       why_no_hyper)
from .hypers import did_you_mean
from .pickling import find, where
from .reuse import Reusable, again

__all__ = ['Part', 'PartError', 'ContractError', 'REQUIRED']


class Part(Reusable):
    "A pure function and its contract. Raises ContractError if the function cannot be a part."
    kind: ClassVar[str]                      # the word for it, as in `@stat`
    options: ClassVar[tuple[str, ...]] = ()  # its decorator's options: some of the next eleven
    init: Any = None         # a stat before its first step: None (zeros), a number or a function
    whole: bool = False      # True if it needs the tensor's own shape, as a norm does
    needs: str = ''          # 'real' or 'matrix': what a parameter must be
    switch: str = ''         # a hyperparameter or scalar: while it is 0, the part does nothing
    only_if: str = ''        # the same, of a hyperparameter that other parts take
    sparse: str = ''         # what a sparse gradient becomes: 'rows' (those it touches) or 'dense'
    stacked: bool = False    # True if it also takes a stack of tensors of one shape
    decay: bool = False      # True if a change of the update applies to weight decay too
    shared: bool = False     # True if a stat is one number for all parameters
    over: str = 'model'      # the parameters of a total: of the whole 'model', or of a 'group'
    nonnegative: bool = False  # True if a stat has no element below 0
    again: bool = False      # True if `step(closure)` is to run again while a gate is closed
    is_number: bool = False  # True if it runs in plain Python, once for many parameters
    linkable: bool = False  # True if it may be the default of another part's argument
    note: str = ''           # beside its equation
    inputs: list[str]        # all names that it reads, but for hyperparameters
    linked: list[Part]       # the scalars, totals and tensors on which it depends
    template: str = ''       # the name of the tensor whose shape its result has
    out: str                 # the name of its result

    def __init__(self,
        fn: Callable[..., Any],
        names: Mapping[str, str]={},  # New names of its arguments
        feeds: Mapping[str, Part]={},  # Scalars in the place of hyperparameters, or of others
        **options: Any                # Of those in the class's `options`
    ):
        check_decorated(self.kind, fn, options, self.options)
        self.fn, self.names, self.feeds = fn, dict(names), dict(feeds)
        self.origin, self.home = self, ()  # the part as it was defined, and how to find it
        self.given = {k: options.get(k, getattr(self, k)) for k in self.options}
        vars(self).update(self.given)
        self.whole |= self.needs == 'matrix'
        self.__name__, self.__doc__, self.__module__ = fn.__name__, fn.__doc__, fn.__module__
        self.__qualname__, self.__wrapped__ = fn.__qualname__, fn
        self._read_signature()
        self.template = self.template or next(iter(self.reads), '')

    # -- what kinds change -------------------------------------------------------------------------

    def result_name(self) -> str:
        "The name of its result. Raises ContractError if the signature does not fit the kind."
        raise NotImplementedError

    @property
    def place(self) -> int:
        "Its place in `recipe + part`, a `kinds.Place`."
        raise NotImplementedError

    def init_parameters(self) -> list[inspect.Parameter]:
        "The hyperparameters with which its state begins, as arguments."
        return []

    def is_off(self, env: Mapping[str, Any]) -> bool:
        "True if its switch is 0. A tensor never counts as 0, as it may have a derivative."
        return not isinstance(x := env.get(self.switch), Tensor) and bool(x == 0)

    def put(self, env: MutableMapping[str, Any], out: Any) -> None:
        "Enters its result `out` under its name."
        env[self.out] = out

    def stay(self, env: MutableMapping[str, Any]) -> None: "Enters what holds while it is off."

    def nothing(self, env: Mapping[str, Any]) -> Any:
        "The result that changes nothing, for a kernel, while it is off."
        return env[self.template]

    def fits(self, out: Any, env: Mapping[str, Any]) -> bool:
        "True if it may return `out`, as it is a tensor of the right shape."
        return isinstance(out, Tensor) and out.shape == env[self.template].shape

    def wanted(self, env: Mapping[str, Any]) -> str:
        "The result that it should return, in words."
        if self.is_number: return 'a number'
        return f'the new `{self.out}`, a tensor of shape {tuple(env[self.template].shape)}'

    # -- the signature -----------------------------------------------------------------------------

    def _read_signature(self) -> None:
        args = [*inspect.signature(self.fn).parameters.values()]
        for a in args:
            if a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD):
                raise self.broken(f'`{a}` hides what it needs: name every argument')
        keywords = [a for a in args if a.kind == a.KEYWORD_ONLY]
        defaults = {a.name: a.default for a in args
                    if a not in keywords and a.default is not a.empty}
        links = {name: self.feeds.get(name) or self._link(name, default)
                 for name, default in defaults.items()}
        # The names that can be changed, as their authors gave them
        linked = {**links, **self.feeds}
        self._defined = {a.name for a in (*args, *self.init_parameters()) if a.name not in linked}
        self._defined = self._defined.union(*(link.known_names for link in linked.values()),
                                            [self.__name__] if self.linkable else [])
        self.links = {name: self._following(link) for name, link in links.items()}
        link = self.links.get(self.switch)
        self.is_switched = bool(link and link.is_number)  # by a scalar or a total
        self.replaces = '' if link else self._now(self.switch)  # in a sum, parts with this switch
        self.switch = link.out if link else self.replaces or self.only_if
        self.args = [self._now(a.name) for a in args if a not in keywords and a.name not in links]
        self.reads = self.args + [link.out for link in self.links.values()]
        fed = {name: self._following(scalar) for name, scalar in self.feeds.items()
               if name not in links}
        self.linked = [*self.links.values(), *fed.values()]
        self.inputs = [*self.reads, *(p.out for p in fed.values())]
        self.keywords = [(a.name, fed[a.name].out if a.name in fed else self._now(a.name))
                         for a in keywords]  # the function's, and now
        own = [a for a in keywords if a.name not in self.feeds]
        self.hypers, self.init_hypers = map(self._defaults, (own, self.init_parameters()))
        self.hypers |= {k: v for k, v in self.init_hypers.items()
                        if self.hypers.get(k, REQUIRED) is REQUIRED}
        if self.only_if: self.hypers.setdefault(self.only_if, REQUIRED)
        self._check_names()
        self.out = self.result_name()

    def _following(self, scalar: Part) -> Part:
        "A scalar under the new names of this part."
        known = scalar.known_names
        return scalar.rename(**{k: v for k, v in self.names.items() if k in known})

    def _numbers(self) -> list[str]: return [*self.links, *(k for k, _ in self.keywords)]

    def _defaults(self, args: Iterable[inspect.Parameter]) -> dict[str, Any]:
        return {self._now(a.name): REQUIRED if a.default is a.empty else a.default for a in args}

    def _link(self, name: str, default: Any) -> Part:
        "The scalar, total or tensor that is the default of an argument."
        if isinstance(default, Part) and default.linkable: return default
        if isinstance(default, Real):
            instead = f'; a hyperparameter stands after it: `*, {name}={default!r}`'
        elif isinstance(default, Part) and f'prev_{default.out}' in default.reads:
            instead = f': read what it keeps, `{default.out}`'
        else: instead = ': leave the default out'
        raise self.broken(f'`{name}={default!r}` stands before the `*`, where a default must be a '
                          f'@scalar part (or a @total or @tensor){instead}')

    def _check_names(self) -> None:
        for k, v in self.hypers.items():
            if why := why_no_hyper(k, v): raise self.broken(why)
        if self.switch and not self.is_switched and self.switch not in self.hypers:
            switch = self.given['switch']
            raise self.broken(f'switch={switch!r}: {did_you_mean(switch, self.hypers)}')
        for a in self.args:
            if why := why_no_argument(a): raise self.broken(why)
        if len({*self.args, *self.hypers}) < len(self.args) + len(self.hypers):
            raise self.broken(f'{self._changes()} gives one name to two of its arguments')

    # -- running -----------------------------------------------------------------------------------

    @cached_property
    def _call(self) -> Callable[..., Any]:
        "Calls the function with its arguments from an environment: in half the time, as code."
        args = *(f'env[{n!r}]' for n in self.reads), *(f'{k}=env[{n!r}]' for k, n in self.keywords)
        code = f'lambda env: fn({", ".join(args)})'
        return cast('Callable[..., Any]', eval(code, {'fn': self.fn}))

    def run(self, env: Mapping[str, Any]) -> Any:
        "The function's result for its arguments in `env`. Raises PartError if it fails."
        try: return self._call(env)
        except Exception as e:
            raise PartError(f'`{self.label}` failed: {type(e).__name__}: {e}') from e

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        "The function itself, with the names that the part has now."
        back = {new: old for old, new in self.names.items()}
        kwargs = {back.get(k, k): v for k, v in kwargs.items()}
        links = [*self.links][max(len(args) - len(self.args), 0):]
        if missing := [k for k in links if k not in kwargs]:
            raise TypeError(f'`{self.label}`, called alone, needs a value for {code(*missing)}')
        return self.fn(*args, **kwargs)

    def broken(self, why: str) -> ContractError:
        "The error for a function that breaks the contract."
        at = self.fn.__code__
        return ContractError(f'`{self.__name__}` cannot be a @{self.kind} '
                             f'({Path(at.co_filename).name}, line {at.co_firstlineno}): {why}')

    def bad_result(self, out: Any, env: Mapping[str, Any]) -> PartError:
        "The error for a result of another type or shape than the kind wants."
        if isinstance(out, Tensor):
            dtype = '' if out.is_floating_point() else f' and dtype {out.dtype}'
            got = f'a tensor of shape {tuple(out.shape)}{dtype}'
        else: got = repr(out) if out is None or isinstance(out, Real) else f'a {type(out).__name__}'
        return PartError(f'`{self.label}` returned {got}: {self.a_kind} returns '
                         f'{self.wanted(env)}')

    def __repr__(self) -> str:
        args = [*self.args, *(f'{k}={s.label}' for k, s in self.links.items())]
        hypers = [k if v is REQUIRED else f'{k}={v:g}' for k, v in self.hypers.items()]
        return f'{self.label}({", ".join([*args, *"*"[:len(hypers)], *hypers])}): {self.a_kind}'
    def _key(self) -> tuple[Any, ...]:
        return (self.fn, type(self), *self.given.values(), *sorted(self.names.items()),
                *sorted(self.feeds.items()))
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self._key() == other._key()
    def __hash__(self) -> int: return hash(self._key())
    def __copy__(self) -> Part: return self
    def __deepcopy__(self, memo: dict[int, Any]) -> Part: return self
    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is self: return self.home or (find, where(self))
        changed = {k: v for k, v in self.given.items() if v is not self.origin.given[k]}
        return again, (self.origin, self.names, self.feeds, changed)
