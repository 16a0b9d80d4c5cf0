"""A part in other forms: under other names, with another beginning, with scalars for numbers.

    >>> average_grad.rename(grad_avg='slow_avg', mom='slow_mom')
    >>> average_grad.begin(lambda param: torch.zeros_like(param, dtype=torch.float64))
    >>> average_param.fed(ema=genopt.parts.warm_ema)  # a scalar part for a hyperparameter
    >>> scale_by_trust_ratio.on('wd')          # only where there is decay

Each form is a part like any other: it has a label of its own, and can be pickled.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from .contract import ContractError, why_no_name
from .hypers import did_you_mean

__all__ = ['Reusable']

Self = TypeVar('Self', bound='Reusable')


class Reusable:
    "What a part can do with its own definition."
    kind: ClassVar[str]     # a part's own, as are the next eight
    fn: Callable[..., Any]
    names: dict[str, str]
    feeds: dict[str, Any]
    given: dict[str, Any]
    origin: Any
    linkable: bool
    _defined: set[str]
    __name__: str

    def _now(self, name: str) -> str: return self.names.get(name, name)

    @property
    def a_kind(self) -> str: return f'a{"n" * (self.kind[0] in "aeiou")} {self.kind}'

    @property
    def known_names(self) -> set[str]:
        "The names that `rename` can change: of its arguments and scalars, and a scalar's own."
        return {*map(self._now, self._defined)}

    @property
    def label(self) -> str:
        "Its name, and what is not as it was defined."
        changes = self._changes()
        return self.__name__ + (f'[{changes}]' if changes else '')

    def _changes(self) -> str:
        changes = [f'{k}={v}' for k, v in sorted(self.names.items())]
        changes += [f'{k}={v.label}' for k, v in sorted(self.feeds.items())]
        begin = self.given.get('init')
        if self.origin is not self and begin != self.origin.given.get('init'):
            changes.append(f'init={getattr(begin, "__name__", begin)}')
        if switch := self.given.get('only_if'): changes.append(f'on={switch}')
        return ', '.join(changes)

    def rename(self: Self, **names: str) -> Self:
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

    def under(self: Self, names: Mapping[str, str]) -> Self:
        "The part as it was defined, under these names."
        return self._form(names, self.feeds, self.given)

    def begin(self: Self, init: Any) -> Self:
        "A stat that begins otherwise: with zeros (None), a number, or a function of `param`."
        if 'init' not in self.given:
            raise ContractError(f'`{self.label}` is {self.a_kind}: only a @stat has a beginning')
        return self._form(self.names, self.feeds, {**self.given, 'init': init})

    def fed(self: Self, **scalars: Any) -> Self:
        """The part with scalars in the place of hyperparameters or of its own scalars, by argument.

        Raises ContractError for a name that is neither, and for another value than a @scalar or a
        @total.
        """
        own = {self._now(k): k for k in self._numbers()}
        for name, scalar in scalars.items():
            if name not in own:
                raise ContractError(f'`{self.label}` has no number `{name}`: '
                                    + did_you_mean(name, own))
            if not (getattr(scalar, 'linkable', False) and scalar.is_number):
                raise ContractError(f'`{self.label}` cannot take {scalar!r} for `{name}`: give a '
                                    '@scalar part (or a @total)')
        feeds = self.feeds | {own[name]: scalar for name, scalar in scalars.items()}
        usual = self.origin.links  # of its arguments, as it was defined
        feeds = {k: scalar for k, scalar in feeds.items() if usual.get(k) != scalar}
        return self._form(self.names, feeds, self.given)

    def on(self: Self, hyper: str) -> Self:
        "The transform or step, which does nothing while this hyperparameter of another part is 0."
        if 'only_if' not in self.given or self.given['switch']:
            raise ContractError(f'`{self.label}` cannot follow `{hyper}`: only a @transform or a '
                                '@step without a switch of its own can')
        return self._form(self.names, self.feeds, {**self.given, 'only_if': hyper})

    def _numbers(self) -> list[str]:
        "The names of its hyperparameters and scalars, as its author wrote them."
        raise NotImplementedError

    def _form(self: Self, names: Mapping[str, str], feeds: Mapping[str, Any],
              given: Mapping[str, Any]) -> Self:
        res = type(self)(self.fn, names, feeds=feeds, **given)  # type: ignore[call-arg]
        res.origin = self.origin
        return res

    def with_another(self, name: str) -> str:
        "The code that renames `name` in this part, for the advice of errors."
        own = next((n for n in sorted(self._defined) if self._now(n) == name), name)
        new = {n: repr(new) for n, new in self.names.items()} | {own: '...'}
        return f'`{self.__name__}.rename({", ".join(f"{n}={new[n]}" for n in new)})`'


def again(origin: Reusable, names: Mapping[str, str], feeds: Mapping[str, Any],
          changed: Mapping[str, Any]) -> Any:
    "A form of a part, from its pickle."
    return origin._form(names, feeds, {**origin.given, **changed})
