"Suspects: mistakes with options, bias corrections and other scalars, ε, and hyperparameters."
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import torch

from ..hypers import TABLE
from ..kinds import Stat
from ..part import Part
from ..parts import debias
from .changes import Args, altered, call, own_name, parameters, with_args, with_links, with_scalars
from .suspects import replaced, scalar_name, scalars, suspect
from .variant import Draft

__all__: list[str] = []


# -- options ---------------------------------------------------------------------------------------

@suspect
def options(draft: Draft) -> Iterator[Draft]:
    "The recipe with another value of one option."
    if not draft.recipe or draft.words: return
    for k, v in draft.options.items():
        other: Any = {bool: not v, float: 0. if v else .9}.get(type(v))
        if other is None: continue
        try: new = Draft.of(draft.recipe, {**draft.values, **draft.options, k: other})
        except ValueError: continue  # options that do not go together
        if new.parts == draft.parts: continue
        said = f'`{k}` is ignored' if v else f'`{k}` is always on'
        yield new.said(said)


# -- scalars ---------------------------------------------------------------------------------------

@suspect
def left_out(draft: Draft) -> Iterator[Draft]:
    for p in dict.fromkeys(p for p, *_ in scalars(draft)):
        every = [arg for q, arg, s in scalars(draft) if q is p and s.fn is debias.fn]
        if len(every) < 2: continue
        new = with_args(p, **dict.fromkeys(every, lambda args: 1.))
        yield replaced(draft, 'the bias corrections are left out', {p: new})
    for p, arg, s in scalars(draft):
        new = with_args(p, **{arg: lambda args: 1.})
        yield replaced(draft, f'{scalar_name(draft, s)} is left out', {p: new})


@suspect
def twice(draft: Draft) -> Iterator[Draft]:
    for p, arg, s in scalars(draft):
        for words, power in ('is done twice', 2), ('is only its root', .5):
            def raised(args: Args, arg: str=arg, power: float=power) -> Any:
                return args[arg]**power
            said = f'{scalar_name(draft, s)} {words}'
            yield replaced(draft, said, {p: with_args(p, **{arg: raised})})


@suspect
def for_another(draft: Draft) -> Iterator[Draft]:
    "Two scalars of one part in each other's place, or one of them for both."
    for (p, a, one), (q, b, other) in combinations(scalars(draft), 2):
        if p is not q: continue
        names = scalar_name(draft, one), scalar_name(draft, other)
        yield replaced(draft, f'{names[0]} and {names[1]} are swapped',
                       {p: with_links(p, {a: other, b: one})})
        for x, y, said in (a, other, names[::-1]), (b, one, names):
            yield replaced(draft, f'{said[0]} stands for {said[1]} too', {p: with_links(p, {x: y})})


@suspect
def no_first_step(draft: Draft) -> Iterator[Draft]:
    "A number that makes the first step special does not."
    for p, arg, s in scalars(draft):
        if s.fn is debias.fn or not (new := _recounted(s, lambda t: max(t, 2))): continue
        yield replaced(draft, f'`{s.__name__}` takes the first step for any other',
                       {p: with_links(p, {arg: new})})


@suspect
def counts(draft: Draft) -> Iterator[Draft]:
    "Every number that is made of the count sees another one."
    for words, change in (('the count is one ahead: it begins at 2', lambda t: t + 1),
                          ('the count is one behind: it begins at 0', lambda t: t - 1),
                          ('the count stays at 1', lambda t: 1)):
        parts = with_scalars(draft.parts, lambda s, change=change: _recounted(s, change))  # type: ignore[misc]
        if parts != draft.parts: yield draft.said(words, parts=parts)


def _recounted(scalar: Part, change: Callable[[Any], Any]) -> Part | None:
    if 'count' not in scalar.args: return None
    own = own_name(scalar, 'count')
    return with_args(scalar, **{own: lambda args: change(args[own])})


# -- ε ---------------------------------------------------------------------------------------------

@suspect
def epsilons(draft: Draft) -> Iterator[Draft]:
    "ε elsewhere in a denominator that is made of squares."
    for p in draft.parts:
        squares = [a for a in parameters(p) if 'sqr' in a and a not in p.links]
        if isinstance(p, Stat) or not squares or 'eps' not in parameters(p): continue
        for words, change in _places_of_eps(squares[-1], 'sqr_bias' in p.links):
            yield replaced(draft, words, {p: with_args(p, **change)})


def _places_of_eps(v: str, corrected: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """What v and ε must be for √v + ε to be something else.

    Where the squares are corrected, the part has √(v/b) + ε, with b for `sqr_bias`.
    """
    def bias(a: Args) -> Any: return a.get('sqr_bias', 1.)
    def zero(a: Args) -> float: return 0.
    yield 'eps is inside the root', {v: lambda a: a[v] + a['eps'] * bias(a), 'eps': zero}
    yield 'eps is outside the root', {v: lambda a: (a[v].sqrt() + a['eps'])**2 - a['eps']}
    if corrected:
        yield ('eps is added before the bias correction',
               {'eps': lambda a: a['eps'] / bias(a)**.5})
        yield ('eps is inside the root, before the bias correction',
               {v: lambda a: a[v] + a['eps'], 'eps': zero})
        yield ('eps is added after the bias correction', {'eps': lambda a: a['eps'] * bias(a)**.5})
    yield 'eps is a floor', {v: lambda a: torch.clamp(a[v], min=a['eps']**2 * bias(a)), 'eps': zero}
    yield ('eps is squared, inside the root',
           {v: lambda a: a[v] + a['eps']**2 * bias(a), 'eps': zero})


# -- hyperparameters -------------------------------------------------------------------------------

def decays(draft: Draft) -> list[str]:
    "The hyperparameters that are decays of averages."
    return [k for k in dict.fromkeys(k for p in draft.parts for k in (*p.hypers, *(
        n for s in p.links.values() for n in s.hypers))) if k in TABLE and TABLE[k].high == 1]


@suspect
def in_each_others_place(draft: Draft) -> Iterator[Draft]:
    for a, b in combinations(decays(draft), 2):
        yield draft.with_numbers(f'`{a}` and `{b}` are swapped',
                                 lambda h, a=a, b=b: {**h, a: h[b], b: h[a]})  # type: ignore[misc]
        for x, y in (a, b), (b, a):
            yield draft.with_numbers(f'`{y}` stands for `{x}` too',
                                     lambda h, x=x, y=y: {**h, x: h[y]})  # type: ignore[misc]


@suspect
def other_numbers(draft: Draft) -> Iterator[Draft]:
    changes: list[tuple[str, str, Callable[[float], float]]] = []
    for k in decays(draft):
        changes += [(k, f'`{k}` means 1 − `{k}`', lambda x: 1 - x),
                    (k, f'`{k}` is left out', lambda x: 0.)]
    changes += [('eps', 'eps is left out', lambda x: 0.),
                ('eps', 'eps is squared', lambda x: x * x),
                ('lr', 'the learning rate is applied twice', lambda x: x * x),
                ('lr', 'the learning rate is left out', lambda x: 1.),
                ('wd', 'weight decay is left out', lambda x: 0.),
                ('wd', 'weight decay is twice as large', lambda x: 2 * x),
                ('wd', 'weight decay is half as large', lambda x: x / 2),
                ('wd', 'weight decay has the wrong sign', lambda x: -x)]
    for name, words, change in changes:
        if name not in draft.values: continue
        yield draft.with_numbers(words, lambda h, name=name, change=change:  # type: ignore[misc]
                                 {**h, name: change(h[name])})


@suspect
def up_or_down(draft: Draft) -> Iterator[Draft]:
    yield draft.with_numbers('the sign is wrong: it climbs where it should descend',
                             lambda h: {**h, 'maximize': not h['maximize']})
    yield draft.with_numbers('`maximize` is ignored', lambda h: {**h, 'maximize': False})


@suspect
def rates_that_stay(draft: Draft) -> Iterator[Draft]:
    "A part that sees the first learning rate for ever, whatever a schedule does."
    def first(p: Part) -> Part:
        def change(fn: Any, args: Args) -> Any: return call(fn, {**args, 'lr': args['first_lr']})
        return altered(p, change, hypers=['first_lr'])
    users = [p for p in draft.parts if 'lr' in parameters(p)]
    for p in users if len(users) > 1 else ():
        yield replaced(draft, f'`{p.__name__}` does not follow a schedule of `lr`', {p: first(p)})
    for name in ('lr', 'wd'):
        if name not in draft.values: continue
        yield draft.with_numbers(f'a schedule of `{name}` is not followed', lambda h, name=name:  # type: ignore[misc]
                                 {**h, name: h[f'first_{name}']})
