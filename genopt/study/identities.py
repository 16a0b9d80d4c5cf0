"""Identities: an optimizer that is another one where a number has a special value. They are found.

    >>> identities('lion')[1]
    Lion with β₂ = β₁ is Signum

Every recipe and every part is run at every special value of its hyperparameters (0, 1, or equal to
another), also without one of its parts, on the same numbers. Those that do the same, but for a
constant factor, are candidates. A candidate is kept if both take the same path along other random
gradients, with other values, and `is_proved` says if the symbols show it.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any
from zlib import crc32

from ..composition import Composition
from ..letters import latex as latex_letter, letters
from ..part import Part
from .expressions import symbol
from .kept import kept
from .latex import Latex
from .members import Member, What, member
from .notation import Text
from .points import Point, Rule, every_rule
from .proofs import proved
from .report import Block, Cell, Code, Heading, Math, Report, Table
from .search import Found, defaults, is_plain, search

__all__ = ['Identities', 'Identity', 'among', 'idea_of', 'identities', 'rule_of',
           'same_ideas']


@dataclass(frozen=True, eq=False, repr=False)
class Identity:
    """A recipe or a part that, at special values, is another one.

    Numbers that it does not mention are the same on both sides, whatever they are.
    """
    recipe: str                  # A recipe's name, or a part's
    where: dict[str, Any]        # Options, and hyperparameters: 0, 1 or the name of another one
    without: tuple[str, ...]     # Parts: a transform is left out, and others give 1
    is_: str                     # The other one's name
    with_: dict[str, Any]        # Its options and hyperparameters
    its_without: tuple[str, ...]
    factor: Any                  # Of its learning rate, or a part's result: a sympy expression
    kind: str                    # 'recipe', or the parts' kind
    is_plain: bool               # True if the other one has its default values
    phrase: tuple[Cell, ...]     # In words
    condition: str               # What is special about the numbers: `β₁ = 0 and β₂ = 0`
    points: tuple[Point, Point]

    @property
    def text(self) -> str: return _text(self.phrase)

    @property
    def latex(self) -> str:
        "For a line of text in LaTeX."
        return ''.join(f'${c.latex}$' if isinstance(c, Math) else str(c).replace('_', r'\_')
                       for c in self.phrase)

    @cached_property
    def is_proved(self) -> bool:
        "True if the symbols show it, and not only numbers."
        def prove() -> bool: return proved(*self.points, self.factor)
        if not {p.rule for p in self.points} <= {*every_rule()}: return prove()
        return kept(f'proof-{crc32(self.text.encode()):x}', prove)

    def __repr__(self) -> str: return self.text


class Identities(Report, list[Identity]):
    "A list of identities; printed, a table."
    def blocks(self) -> Iterator[Block]:
        for title in 'Recipes', 'Parts':
            rows = [i for i in self if (i.kind == 'recipe') == (title == 'Recipes')]
            if not rows: continue
            if len(rows) < len(self): yield Heading(title, 2)
            yield Table([('symbols' if i.is_proved else 'numbers', i.phrase) for i in rows],
                        ('shown by', 'identity'))

    __repr__ = Report.__repr__


def identities(
    *whats: What  # Recipes, lists of parts, or names of recipes and parts; by default all
) -> Identities:
    """The identities in which one of these stands on either side.

    Raises KeyError for an unknown name.
    """
    every = every_rule()
    known = {r.name for r in every}
    asked = [w if isinstance(w, str) and w in known else member(w, i)
             for i, w in enumerate(whats, 1)]
    rules = [rule_of(m) for m in asked if isinstance(m, Member)]
    wanted = {m for m in asked if isinstance(m, str)} | {r.name for r in rules}
    found = _found((*every, *(r for r in rules if r not in every)))
    return Identities(i for i in found if not wanted or wanted & {i.recipe, i.is_})


def among(rules: Iterable[Rule]) -> Identities:
    "The identities of these rules with each other: quick, as it looks no further."
    return Identities(_found((*dict.fromkeys(rules),)))


def rule_of(m: Member) -> Rule:
    "The rule that has a member's parts."
    ordered = tuple(Composition(m.parts).ordered)
    name = m.name.split('(')[0]
    rule = Rule(m.name, 'recipe', (), ordered, 'update')
    return next((r for r in every_rule() if (r.name, r.parts) == (name, ordered)), rule)


def idea_of(part: Part) -> str:
    "The name of its idea: a part and its constant multiples, as a sum and an average, have one."
    return same_ideas().get(part.__name__, part.__name__)


@cache
def same_ideas() -> dict[str, str]:
    "Parts that are a constant times another one, with its name."
    found = search([r for r in every_rule() if r.kind != 'recipe'], most=0)
    return {f.a.rule.name: f.b.rule.name for f in found}


@lru_cache(64)
def _found(rules: tuple[Rule, ...]) -> tuple[Identity, ...]:
    def find() -> list[Found]:
        order = [r.name for r in rules]
        return sorted(search(rules), key=lambda f: order.index(f.a.rule.name))
    return tuple(map(_identity, kept('identities', find) if rules == every_rule() else find()))


# -- in words --------------------------------------------------------------------------------------

def _identity(f: Found) -> Identity:
    a, b, scale = f
    is_recipe = a.rule.kind == 'recipe'
    names = letters([*a.rule.parts, *b.rule.parts])
    scaled = {'lr': f'lr*({scale})'} if scale != 1 and is_recipe else {}
    mine, its = [*_side(a, names, {})], [*_side(b, names, defaults(b.rule))]
    if scale != 1:
        expr = scale * symbol('lr') if is_recipe else scale
        if is_recipe: its += [' and ' if ' with ' in its else ' with ', 'learning rate ']
        else: its += [' times ']
        its += [Math(Text(names, ())(expr), Latex(names, ())(expr))]
    phrase = *mine, ', is ' if a.without and a.where else ' is ', *its
    return Identity(a.rule.name, {**dict(a.rule.options), **dict(a.where)}, a.without,
                    b.rule.name, {**dict(b.rule.options), **dict(b.where), **scaled}, b.without,
                    scale, a.rule.kind, is_plain(b), phrase,
                    _text(_side(a._replace(without=()), names, {})).partition(' with ')[2], (a, b))


def _text(phrase: Iterable[Cell]) -> str:
    return ''.join(c.text if isinstance(c, Math) else str(c) for c in phrase)


def _side(p: Point, names: Mapping[str, str], hidden: Mapping[str, Any]) -> Iterator[Cell]:
    "A name, with its options and what is special; `hidden` are values that need no word."
    options = dict(p.rule.options)
    call = ', '.join(f'{k}={v!r}' for k, v in options.items() if k not in p.rule.hypers)
    name = f'{p.rule.name}({call})' if call else p.rule.name
    yield name if p.rule.kind == 'recipe' else Code(name)
    shown = [(k, '>', '0') for k in options if k in p.rule.hypers]
    shown += [(k, '=', names[v] if isinstance(v, str) else f'{v:g}')
              for k, v in p.where if hidden.get(k) != v]
    for i, (k, sign, value) in enumerate(shown):
        yield ' with ' if not i else ' and ' if i == len(shown) - 1 else ', '
        yield Math(f'{names[k]} {sign} {value}',
                   f'{latex_letter(names[k])} {sign} {latex_letter(value)}')
    for i, part in enumerate(p.without):
        yield ' and ' if i else ', without ' if shown else ' without '
        yield Code(part)
