"""An optimizer in its own words: its algorithm, hyperparameters, memory, engine and sources.

All of it is found by running the parts.

    >>> lion = explain('lion').sections[0]
    >>> for statement in lion.algorithm.step: print(lion.script.line(statement)[0].text)
    g ← ∇f(θ)
    θ ← θ − η·sign(β₁·m + (1 − β₁)·g)
    m ← β₂·m + (1 − β₂)·g
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from ..catalogue import modifiers, named, users
from ..composition import Composition
from ..contract import ContractError
from ..engines.modes import report
from ..group import Group
from ..hypers import did_you_mean
from ..letters import idea
from ..optimizer import Optimizer
from ..order import checked
from ..part import Part
from ..recipe import Recipe
from ..storage import Storage
from ..view import View
from .lines import Fragment
from .members import with_values
from .memory import memory_kept
from .report import Block, Entry, Heading, Procedure, Report, aligned
from .section import Section
from .still import still

__all__ = ['explain', 'Explanation', 'Section']

class Explanation(Report):
    """An optimizer or a part, explained. `print` it, or leave it at the end of a notebook's cell.

    `text()`, `markdown()`, `latex()` and `html()` are its forms. `sections` has an `algorithm` as
    data for each set of groups that run the same: one for a recipe.
    """
    def __init__(self, name: str, idea: str, sections: list[Section], more: Sequence[Block]=()):
        self.name, self.idea, self.sections, self.more = name, idea, sections, more

    def blocks(self) -> Iterator[Block]:
        yield Heading(self.name, 3, self.idea)
        for section in self.sections: yield from section.blocks()
        yield from self.more

    @property
    def box(self) -> Box:
        "The algorithm alone."
        return Box([s.procedure() for s in self.sections])

    def latex(self) -> str:
        "The algorithms as displayed formulas, for a document that uses the package amsmath."
        return '\n'.join(f'\\[\n{aligned(s.procedure())}\n\\]' for s in self.sections)

    def _repr_latex_(self) -> str:
        return '\n'.join(f'$${aligned(s.procedure())}$$' for s in self.sections)


class Box(Report):
    "An algorithm, or one for each set of groups that run the same. It has a report's forms."
    def __init__(self, procedures: Sequence[Procedure]): self.procedures = procedures
    def blocks(self) -> Iterator[Block]: return iter(self.procedures)


def explain(
    what: Recipe | Optimizer | Composition | Part | Iterable[Part] | str,  # A str is a name
    **options_and_hypers: Any                                       # For a recipe, or for parts
) -> Explanation:
    """An optimizer as an algorithm, found by running its parts, with its memory and its sources.

    It also explains a part, and parts that do not make an optimizer yet. A name may be a sum, such
    as 'adam + cautious'. Raises KeyError for an unknown name, and the errors of the recipe for
    wrong options and hyperparameters.
    """
    if isinstance(what, str): what = cast(Any, named(what))
    if isinstance(what, Optimizer):
        if options_and_hypers:
            raise TypeError('an optimizer has its hyperparameters: explain(opt) takes no others')
        return _explained(what.recipe, [*_sections(what)])
    if isinstance(what, Part): return _of_parts([what], options_and_hypers)
    if isinstance(what, (Recipe, Composition)): rule = what
    elif isinstance(what, Iterable):
        parts = checked([*cast(Any, what)])
        try: rule = Composition(parts)
        except ContractError: return _of_parts(parts, options_and_hypers)
    else:
        given = getattr(what, '__qualname__', '') or type(what).__name__
        raise TypeError('explain takes a recipe, its name, an optimizer from genopt, a part, or a '
                        f'list of parts, not {given}')
    return _explained(rule, [Section('', *with_values(rule, options_and_hypers))])


def _explained(rule: Any, sections: list[Section]) -> Explanation:
    name = getattr(rule, '__name__', 'An optimizer')
    return Explanation(name, getattr(rule, 'idea', ''), sections)


def _of_parts(parts: Iterable[Part], given: dict[str, Any]) -> Explanation:
    "Parts that do not make an optimizer."
    fragment = Fragment(parts)
    for k in given:
        if k in fragment.hypers: continue
        raise TypeError(f'no part takes `{k}`: {did_you_mean(k, fragment.hypers)}')
    section = Section('', fragment, fragment.hypers | given, decided=given)
    names = [n for n, ps in modifiers().items() if ps == fragment.parts]
    used = [n for n in users(fragment.parts[0]) if all(n in users(p) for p in fragment.parts)]
    used += [f'any recipe, as in Adam + {n}' for n in names]
    return Explanation(', '.join(p.label for p in parts), ' '.join(idea(p.fn) for p in parts),
                       [section],
                       [Entry('used by', [(', '.join(used) or "no recipe of genopt's",)])])


def _sections(opt: Optimizer) -> Iterator[Section]:
    "A section for each set of groups that run the same."
    alike: list[list[Group]] = []
    for group in opt.groups():
        same = next((groups for groups in alike if _kind(groups[0]) == _kind(group)), None)
        if same: same.append(group)
        else: alike.append([group])
    for groups in alike:
        composition, values, climbs, view, storage = _kind(groups[0])
        names = ', '.join(str(g.index) for g in groups)
        titles = [f'groups {names}' if len(groups) > 1 else f'group {names}']
        if len(alike) == 1: titles = []
        if climbs: titles.append('climbing: g is the gradient with its sign turned')
        titles += [str(x) for x in (view, storage) if x]
        params = [p for g in groups for p in g.seen()]
        section = Section(', '.join(titles), composition, values, params)
        if storage: section.kept = memory_kept(groups)
        section.engines = _engines(opt, groups)
        said = [(f'group {g.index}', text) for g in groups for text in still(g)]
        section.precision = said if len(groups) > 1 else [(text,) for _, text in said]
        yield section


def _engines(opt: Optimizer, groups: Sequence[Group]) -> list[tuple[str, ...]]:
    "How the last step of these groups was done: a row, or one for each group if they differ."
    said = {g.index: report(opt.engine, g.index).removeprefix('engine: ') for g in groups}
    if len({*said.values()}) == 1: return [(said[groups[0].index],)]
    return [(f'group {i}', how) for i, how in said.items()]


def _kind(group: Group) -> tuple[Composition, dict[str, Any], bool, View | None, Storage]:
    return (group.composition, group.hypers(), group['maximize'], group.view, group.storage)
