"""A part: a pure function whose signature is its contract.

    >>> @stat
    ... def average_grad(grad_avg, grad, *, mom=0.9):
    ...     "m ← β₁·m + (1−β₁)·g"
    ...     return grad_avg.lerp(grad, 1 - mom)

Positional arguments name the values that the part reads: stats, scalars, and names with a meaning
of their own (see `contract.py`). Keyword-only arguments are its hyperparameters; without a default,
the user must give a value. The decorator gives the result its meaning: see `kinds.py`. A positional
argument with a default names the scalar (or total) on which the part depends:

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
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor

from .contract import (REQUIRED, ContractError, PartError, check_decorated, code, why_no_argument,
                       why_no_hyper, why_no_name)
from .hypers import did_you_mean
from .pickling import find, where

__all__ = ['Part', 'PartError', 'ContractError', 'REQUIRED', 'with_links']


class Part:
    "A pure function and its contract. Raises ContractError if the function cannot be a part."
    kind: ClassVar[str]                      # the word for it, as in `@stat`
    options: ClassVar[tuple[str, ...]] = ()  # its decorator's options: some of the next nine
    init: Any = None         # a stat before its first step: None (zeros), a number or a function
    whole: bool = False      # True if it needs the tensor's own shape, as a norm does
    needs: str = ''          # 'real' or 'matrix': what a parameter must be
    switch: str = ''         # a hyperparameter: while it is 0, the part does nothing
    sparse: str = ''         # what a sparse gradient becomes: 'rows' (those it touches) or 'dense'
    stacked: bool = False    # True if it also takes a stack of tensors of one shape
    decay: bool = False      # True if a change of the update applies to weight decay too
    shared: bool = False     # True if a stat is one number for all parameters
    over: str = 'model'      # the parameters of a total: of the whole 'model', or of a 'group'
    is_number: bool = False  # True if it runs in plain Python, once for many parameters
    linkable: bool = False  # True if it may be the default of another part's argument
    note: str = ''           # beside its equation
    template: str = ''       # the name of the tensor whose shape its result has
    out: str                 # the name of its result

    def __init__(self,
        fn: Callable[..., Any],
        names: Mapping[str, str]={},  # New names of its arguments
        **options: Any                # Of those in the class's `options`
    ):
        check_decorated(self.kind, fn, options, self.options)
        self.fn, self.names = fn, dict(names)
        self.given = {k: options.get(k, getattr(self, k)) for k in self.options}
        vars(self).update(self.given)
        self.whole |= self.needs == 'matrix'
        self.switch = self._now(self.switch)
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

    def nothing(self, out: Any, env: Mapping[str, Any]) -> Any:
        "The result that changes nothing, which a kernel takes for `out` while the switch is 0."
        return env[self.template]

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
        links = {name: self._link(name, default) for name, default in defaults.items()}
        # The names that can be changed, as their authors gave them
        self._defined = {a.name for a in (*args, *self.init_parameters()) if a.name not in links}
        self._defined = self._defined.union(*(link.known_names for link in links.values()),
                                            [self.__name__] if self.linkable else [])
        self.links = {name: link.rename(**{k: v for k, v in self.names.items()
                                           if k in link.known_names})
                      for name, link in links.items()}
        self.args = [self._now(a.name) for a in args if a not in keywords and a.name not in links]
        self.reads = self.args + [link.out for link in self.links.values()]
        self.keywords = [(a.name, self._now(a.name)) for a in keywords]  # the function's, and now
        self.hypers, self.init_hypers = map(self._defaults, (keywords, self.init_parameters()))
        self.hypers |= {k: v for k, v in self.init_hypers.items()
                        if self.hypers.get(k, REQUIRED) is REQUIRED}
        self._check_names()
        self.out = self.result_name()

    def _now(self, name: str) -> str: return self.names.get(name, name)

    def _defaults(self, args: Iterable[inspect.Parameter]) -> dict[str, Any]:
        return {self._now(a.name): REQUIRED if a.default is a.empty else a.default for a in args}

    def _link(self, name: str, default: Any) -> Part:
        "The scalar or total that is the default of an argument."
        if isinstance(default, Part) and default.linkable: return default
        if isinstance(default, Real):
            instead = f'; a hyperparameter stands after it: `*, {name}={default!r}`'
        elif isinstance(default, Part) and f'prev_{default.out}' in default.reads:
            instead = f': read what it keeps, `{default.out}`'
        else: instead = ': leave the default out'
        raise self.broken(f'`{name}={default!r}` stands before the `*`, where a default must be a '
                          f'@scalar part (or a @total){instead}')

    def _check_names(self) -> None:
        for k, v in self.hypers.items():
            if why := why_no_hyper(k, v): raise self.broken(why)
        if self.switch and self.switch not in self.hypers:
            switch = self.given['switch']
            raise self.broken(f'switch={switch!r}: {did_you_mean(switch, self.hypers)}')
        for a in self.args:
            if why := why_no_argument(a): raise self.broken(why)
        if len({*self.args, *self.hypers}) < len(self.args) + len(self.hypers):
            raise self.broken(f'{self._changes()} gives one name to two of its arguments')

    @property
    def known_names(self) -> set[str]:
        "The names that `rename` can change: of its arguments and scalars, and a scalar's own."
        return {*map(self._now, self._defined)}

    @property
    def label(self) -> str: return self.__name__ + (f'[{self._changes()}]' if self.names else '')

    def _changes(self) -> str: return ', '.join(f'{k}={v}' for k, v in sorted(self.names.items()))

    def rename(self, **names: str) -> Part:
        """The part under other names: `average_grad.rename(grad_avg='slow_avg', mom='slow_mom')`.
        Its scalars follow. Raises ContractError for an unknown name."""
        known = sorted(self.known_names)
        for n, new in names.items():
            if why := why_no_name(new):
                raise ContractError(f'`{self.label}` cannot call `{n}` {new!r}: {why}')
            if n not in known:
                raise ContractError(f'`{self.label}` has no `{n}` to rename: '
                                    + did_you_mean(n, known))
        now = {n: names.get(self._now(n), self._now(n)) for n in sorted(self._defined)}
        return self.under({n: new for n, new in now.items() if new != n})

    def under(self, names: Mapping[str, str]) -> Part:
        "The part as it was defined, under these names."
        return type(self)(self.fn, names, **self.given)

    def with_another(self, name: str) -> str:
        "The code that renames `name` in this part, for the advice of errors."
        own = next((n for n in sorted(self._defined) if self._now(n) == name), name)
        new = {n: repr(new) for n, new in self.names.items()} | {own: '...'}
        return f'`{self.__name__}.rename({", ".join(f"{n}={new[n]}" for n in new)})`'

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
            raise TypeError(f'`{self.label}`, called alone, needs a number for {code(*missing)}')
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
        return PartError(f'`{self.label}` returned {got}: a {self.kind} returns {self.wanted(env)}')

    def __repr__(self) -> str:
        args = [*self.args, *(f'{k}={s.label}' for k, s in self.links.items())]
        hypers = [k if v is REQUIRED else f'{k}={v:g}' for k, v in self.hypers.items()]
        return f'{self.label}({", ".join([*args, *"*"[:len(hypers)], *hypers])}): a {self.kind}'
    def _key(self) -> tuple[Any, ...]:
        return self.fn, type(self), *self.given.values(), *sorted(self.names.items())
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self._key() == other._key()
    def __hash__(self) -> int: return hash(self._key())
    def __copy__(self) -> Part: return self
    def __deepcopy__(self, memo: dict[int, Any]) -> Part: return self
    def __reduce__(self) -> tuple[Any, ...]:
        return (Part.under, (self.under({}), self.names)) if self.names else (find, where(self))


def with_links(parts: Iterable[Part]) -> Iterator[Part]:
    "The parts, each after the scalars and totals that it depends on."
    for p in parts:
        yield from with_links(p.links.values())
        yield p
