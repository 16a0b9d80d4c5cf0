"""The order of a list of parts: each part finds everything that it reads, or an error says why.

A scalar or a total that is not listed comes before the first part that reads it.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isfunction
from typing import Any

from torch import Tensor

from .contract import OWN_NUMBERS, REQUIRED, RESERVED, STATE_WORDS, ContractError
from .hypers import TABLE, did_you_mean
from .kinds import Evaluation, Made, Number, Stat, Step, Total, Transform
from .links import with_links
from .part import Part
from .parts import MODULES
from .words import COMMON

__all__ = ['checked', 'in_order', 'keepers', 'merged_hypers']


def checked(parts: Any) -> tuple[Part, ...]:
    "`parts`, if they are a list of parts whose stats have different names. Raises ContractError."
    if isinstance(parts, Part):
        raise ContractError(f'the parts of an optimizer are a list: [{parts.label}]')
    if isinstance(parts, str):
        raise ContractError(f'{parts!r} is a str: give a recipe, such as recipe({parts!r}), or a '
                            'list of parts')
    if not isinstance(parts, Iterable):
        raise ContractError(f"{parts!r} is not a list of parts, and not a recipe of genopt's")
    if isinstance(parts, (set, frozenset)):
        raise ContractError('a set of parts has no order: give a list')
    listed, kept = tuple(parts), dict[str, Part]()
    for p in listed:
        if not isinstance(p, Part): raise ContractError(_not_a_part(p))
        for word in STATE_WORDS:
            if word in (p.out, *p.reads):
                raise ContractError(f"`{p.label}` reads or keeps `{word}`, an entry of a "
                                    "parameter's state that is not a stat: give it another name, "
                                    + p.with_another(word))
        if not isinstance(p, Stat): continue
        if p.out in kept: raise _both(kept[p.out], p, 'keep', p.out)
        kept[p.out] = p
    return listed


def in_order(parts: Iterable[Part], stats: Mapping[str, Part]) -> list[Part]:
    "The parts as they run, and the scalars and totals that they depend on. Raises ContractError."
    listed = [*parts]
    order = _Order([p for p in listed if not isinstance(p, Evaluation)], stats)
    if not any(isinstance(p, Step) for p in order.parts):
        raise ContractError(f'[{", ".join(p.label for p in order.parts)}] has no step, so no '
                            'parameter would move: add one, such as `sgd_step`')
    for part in order.parts:
        if not (part.linkable and part in order.done): order.add(part, part)
    _check_new_param_is_last(order.done)
    for i, part in enumerate(listed):
        if isinstance(part, Evaluation): _check_evaluation(part, order, listed[i + 1:])
    return order.done


def merged_hypers(ordered: Iterable[Part]) -> tuple[dict[str, Any], dict[str, str]]:
    "The default of each hyperparameter; and, for those on which parts disagree, both defaults."
    made, merged, clashes = {p.out for p in ordered}, dict[str, Any](), dict[str, str]()
    for p in ordered:
        for name, default in p.hypers.items():
            if name in made:
                raise ContractError(f'`{p.label}` calls a hyperparameter `{name}`, which is '
                                    'already a stat, a scalar or a tensor: give it another name, '
                                    + p.with_another(name))
            first = merged.setdefault(name, default)
            if first is REQUIRED: merged[name] = default
            elif default not in (REQUIRED, first): clashes[name] = f'{first:g} or {default:g}'
    merged |= dict.fromkeys(clashes, REQUIRED)
    return {k: merged[k] for k in sorted(merged, key=[*TABLE, *merged].index)}, clashes


def keepers() -> dict[str, str]:
    "genopt's own stats: their names, and the first part that keeps each."
    found = [p for m in MODULES for p in vars(m).values() if isinstance(p, Stat)]
    return {p.out: p.__name__ for p in reversed(found)}


class _Order:
    "Parts in the order they run, as far as they are `done`."
    def __init__(self, parts: list[Part], stats: Mapping[str, Part]):
        self.parts, self.stats, self.done = parts, stats, list[Part]()
        # The part that made each name last
        self.makers: dict[str, Part | None] = dict.fromkeys(
            ('param', 'grad', 'raw_grad', *OWN_NUMBERS))

    def add(self, part: Part, listed: Part) -> None:
        "Adds a part, which is `listed` or one of its scalars, after the scalars that it reads."
        for link in part.linked:
            if self.makers.get(link.out) != link: self.add(link, listed)
        for name in part.reads: self._check_read(name, part, listed)
        if isinstance(part, Transform) and part.out.startswith('prev_'): self._check_last(part)
        other = self.stats.get(part.out) or self.makers.get(part.out)
        if part.linkable and other and other != part:
            raise _both(other, part, 'make', part.__name__)
        if part.out == 'update': self.makers['new_param'] = part
        if part.out == 'param' and 'update' in self.makers:
            raise ContractError(f'`{part.label}` changes `param` after a step: put it before the '
                                'first one')
        self.makers[part.out] = part
        self.done.append(part)

    def _check_read(self, name: str, part: Part, listed: Part) -> None:
        "Raises ContractError unless `part` may read `name`, and it is there."
        reads, stat = f'`{part.label}` reads `{name}`', name.removeprefix('prev_')
        if name.startswith('prev_') and stat in self.stats: maker: Part | None = self.stats[stat]
        elif name in self.makers: maker = self.makers[name]
        else: raise ContractError(reads + self._why_unread(name, part, listed))
        if isinstance(maker, Made) and maker.whole and not part.whole:
            raise ContractError(f'{reads}, a tensor of any shape: say @{part.kind}(whole=True)')
        is_number = name in OWN_NUMBERS or maker and maker.is_number
        runs_plain = (part.is_number or isinstance(part, Number)) and not isinstance(part, Total)
        if runs_plain and not is_number:
            instead = (', so begin with a tensor: init=torch.zeros_like' if isinstance(part, Stat)
                       else ': read a @total of it')
            raise ContractError(f'{reads}, a tensor, but a {part.kind} that is a number runs in '
                                f'plain Python and reads only numbers{instead}')

    def _check_last(self, part: Part) -> None:
        "Raises ContractError unless `part` may change what a stat remembers, and it is not late."
        stat = self.stats[part.out.removeprefix('prev_')]
        if stat.is_number:
            raise ContractError(f'`{part.label}` changes `{part.out}`, which is a number: it can '
                                'only change a stat that is a tensor')
        if stat in self.done:
            raise ContractError(f'`{part.label}` changes `{part.out}` when `{stat.label}` has read '
                                f'it: put it before `{stat.label}`')

    def _why_unread(self, name: str, part: Part, listed: Part) -> str:
        "The reason why `name` does not exist when `part` runs, and a remedy."
        stat, later = name.removeprefix('prev_'), f'put `{listed.label}` later'
        if name in ('update', 'new_param'):
            others = any(isinstance(p, Step) and p != part for p in self.parts)
            return (', and there is none before the first step: put it after one'
                    + ('' if others else ', such as `sgd_step`'))
        if name in self.stats:
            circle = part.out in self.stats[name].reads
            return (f' before `{self.stats[name].label}` has updated it: '
                    + ('' if circle else f'{later}, or ')
                    + f'read `prev_{name}`, its value before this step')
        shared = {q.out: q for p in self.parts for q in (p, *p.linked) if q.linkable}
        hypers = {*TABLE, *COMMON}.union(*(p.hypers for p in (*self.parts, *shared.values())))
        if stat != name and (stat in RESERVED or stat in shared or stat in hypers):
            return f', and only a stat has a value from before this step: keep `{stat}` in one'
        if name in shared: return f' before it is computed: {later}'
        if name in hypers:
            ours = ', '.join(COMMON.get(name, (name,)))
            return (', a hyperparameter: those stand behind a `*`, as in '
                    f'`def {part.__name__}(..., *, {ours})`')
        known = keepers()
        if stat in known:
            before = ', before it' if stat == name else ''
            return f': add a stat that keeps it, such as `{known[stat]}`{before}'
        if keeps := [k for k, by in known.items() if by == stat]:
            now = name.replace(stat, keeps[0])
            return f', which is a part: what it keeps is called `{now}`'
        names = [*RESERVED, *self.stats, *known, *shared]
        return (f', which no part keeps: add a @stat whose first argument is `{stat}` before it, '
                f'or correct the name: {did_you_mean(stat, names)}')


def _check_new_param_is_last(ordered: list[Part]) -> None:
    """Raises ContractError if the update changes after a part has read the new parameter.

    A step that reads the results of such parts may follow them, as in Lookahead.
    """
    late: list[Part] = []
    for p in ordered:
        early = [q for q in late if q.out not in p.reads]
        if p.out == 'update' and early:
            is_last = not any(early[0].out in q.reads for q in ordered)
            raise ContractError(f'`{early[0].label}` reads `new_param` before `{p.label}` has '
                                'changed the update: put it '
                                + ('last' if is_last else f'after `{p.label}`'))
        if {'new_param', *(q.out for q in late if isinstance(q, Stat))} & {*p.reads}: late.append(p)
        if p.out == 'update': late.clear()  # this step has read their results


def _check_evaluation(part: Part, order: _Order, later: Iterable[Part]) -> None:
    """Raises ContractError unless it finds what it reads after a step.

    Nor may another part say what to evaluate, or change the update after it.
    """
    there = {'param', 'new_param', *order.stats}
    for p in with_links([part]):
        for name in p.reads:
            if name in there: continue
            if name not in order.makers and not name.startswith('prev_'):
                order._check_read(name, p, part)
            raise ContractError(f'`{part.label}` reads `{name}`, and the weights to evaluate are '
                                'made after a step, of `param` and of what is kept: keep '
                                f'`{name.removeprefix("prev_")}` in a @stat, and read that')
        there.add(p.out)
    for q in later:
        if isinstance(q, Evaluation):
            raise ContractError(f'`{part.label}` and `{q.label}` both say which weights to '
                                'evaluate: leave one out')
        if q.out == 'update':
            raise ContractError(f'`{q.label}` changes the update after `{part.label}`, which is '
                                'only right for what the parts before it leave: put '
                                f'`{q.label}` before them, or leave one of the two out')


# -- sentences -------------------------------------------------------------------------------------

def _both(first: Part, second: Part, verb: str, name: str) -> ContractError:
    return ContractError(f'`{first.label}` and `{second.label}` both {verb} `{second.out}`: leave '
                         f'one out, or give one another name, {second.with_another(name)}')


def _not_a_part(x: Any) -> str:
    kinds = '@stat, @scalar, @transform, @step, @total, @tensor, @gate or @evaluation'
    if hasattr(x, 'ordered'):
        return 'a Composition is not a part: give its parts, with a `*` before `.parts`'
    if hasattr(x, 'made_of'):
        name = f'({x.__name__})' if ' ' in x.__name__ else x.__name__
        return f'{x.__name__} is a recipe, not a part: give its parts, *{name}.parts()'
    if isinstance(x, Tensor):
        return ('a tensor is not a part: the parameters come first, and then the list of parts')
    if isinstance(x, (list, tuple)):
        return 'a list is not a part: put a `*` before it, to have its parts in this list'
    if isinstance(x, str): return f'{x!r} is not a part, but a str: give the part itself'
    if isfunction(x): return f'{x.__name__} is not a part: decorate it with {kinds}'
    name = getattr(x, '__name__', repr(x))
    return f'{name} is not a part, which is a function, made with `def`, under {kinds}'
