"""Variants of a rule: other parts, other numbers, or another way to handle groups and state.

    >>> draft = Draft.of(Adam, dict(lr=.1))
    >>> opt = draft.maker().make(params)                    # does what Adam does
    >>> draft = draft.with_numbers('β₁ is left out', lambda numbers: {**numbers, 'mom': 0.})
    >>> opt = draft.maker().make(params)                    # does not

A variant is an optimizer that steps by the plain engine, on whatever groups and states its
`Handling` hands out. Its groups have our names.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..composition import Composition
from ..engines import plain
from ..engines.work import Work
from ..numbers import kept
from ..part import Part
from ..recipe import Recipe

__all__ = ['Draft', 'DraftMaker', 'Handling', 'Variant']

Numbers: TypeAlias = 'Callable[[dict[str, Any]], dict[str, Any]]'


class Handling:
    "How an optimizer uses its groups and states. A mistake is a subclass that does one thing else."
    name = ''

    def hypers(self, opt: Variant, group: dict[str, Any]) -> dict[str, Any]:
        "The numbers with which a group is stepped."
        return {**group['begun'], **{k: v for k, v in group.items() if k != 'begun'}}

    def grad(self, opt: Variant, param: Tensor) -> Tensor | None: return param.grad
    def state_of(self, opt: Variant, group: int, place: int, param: Tensor) -> Any: return param
    def ready(self, opt: Variant, group: int, state: dict[str, Any]) -> None:
        "Called before each parameter's step, with its state."
    def after(self, opt: Variant) -> None: "Called after each step."
    def loaded(self, opt: Variant) -> None: "Called when a state has been loaded."


class Draft(NamedTuple):
    "A rule on its way: its parts and values, and the changes that have been made to it so far."
    parts: tuple[Part, ...]
    values: dict[str, Any]
    numbers: tuple[Numbers, ...] = ()     # each changes the numbers of a group
    handling: Handling = Handling()
    words: tuple[str, ...] = ()           # what has been changed
    recipe: Recipe | None = None
    options: dict[str, Any] = {}

    @classmethod
    def of(cls, recipe: Recipe, values: Mapping[str, Any]) -> Draft:
        "The rule of a recipe with these values of its options and hyperparameters."
        words = recipe.rule().words.names
        options = {k: v for k, v in values.items() if k in recipe.options}
        options = {k: type(recipe.options[k])(v) if recipe.options[k] is not None else v
                   for k, v in options.items()}
        rule = recipe.rule(options)
        known = {**rule.defaults, **{k: v for k, v in values.items() if k in
                                     (*words, *rule.composition.hypers, 'maximize')}}
        return cls(rule.composition.parts, known, recipe=recipe, options=dict(rule.options))

    def said(self, words: str, **changes: Any) -> Draft:
        "With one more change, in words."
        return self._replace(words=(*self.words, words), **changes)

    def with_numbers(self, words: str, change: Numbers) -> Draft:
        return self.said(words, numbers=(*self.numbers, change))

    def maker(self) -> DraftMaker: return DraftMaker(self, Composition(self.parts))


class DraftMaker:
    "Makes the optimizers of a draft. Raises ContractError if its parts do not go together."
    def __init__(self, draft: Draft, composition: Composition):
        self.draft, self.composition = draft, composition

    def make(self, groups: Any, **changes: Any) -> Variant:
        return Variant(groups, self.draft, self.composition, changes)

    def word(self, name: str) -> str: return name


class Variant(torch.optim.Optimizer):
    "Steps each group by a draft's composition."
    def __init__(self, params: Any, draft: Draft, composition: Composition,
                 changes: Mapping[str, Any]):
        self.draft, self.composition = draft, composition
        self.counts = dict[int, int]()  # steps, of each group or of all, for mistaken ways to count
        super().__init__(params, {'maximize': False, **draft.values, **changes})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group['begun'] = {f'first_{k}': v for k, v in group.items() if k != 'params'}

    @torch.no_grad()
    def step(self, closure: Any=None) -> None:  # type: ignore[override]
        handling, works, place = self.draft.handling, list[Work](), 0
        for n, group in enumerate(self.param_groups):
            hypers = handling.hypers(self, group)
            for change in self.draft.numbers: hypers = change(hypers)
            own = {k: hypers.get(k, v) for k, v in self.composition.hypers.items()}
            grads = [handling.grad(self, p) for p in group['params']]
            moved = [(i, p, g) for i, (p, g) in enumerate(zip(group['params'], grads))
                     if g is not None]
            states = [self._state(handling.state_of(self, n, i, p), p, own) for i, p, _ in moved]
            for state in states: handling.ready(self, n, state)
            work = Work(self.composition, own, [p for _, p, _ in moved], [g for *_, g in moved],
                        states, lambda p: 'a parameter', bool(hypers['maximize']),
                        [place + i for i, *_ in moved], group=n)
            works.append(work.gather())
            place += len(group['params'])
        plain.run([w for w in works if w.params])
        handling.after(self)

    def _state(self, key: Any, param: Tensor, hypers: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = self.state[key]
        if not state:
            begun = self.composition.init(param, hypers)
            state |= {k: v if isinstance(v, Tensor) else kept(v) for k, v in begun.items()}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.draft.handling.loaded(self)
