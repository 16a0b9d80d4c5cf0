"What the pages of recipes and parts say, found by running the code; templates give it form."
from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from markupsafe import Markup

from ..catalogue import choices, every_part, find, modifiers, recipes, users
from ..letters import idea, latex as latex_letter
from ..links import with_links
from ..part import Part
from ..recipe import Recipe
from ..study.compare import relatives
from ..study.identities import identities
from ..study.members import meaning, written
from ..study.section import CITED
from .data import still
from .formulas import Page, lines, mathml, phrase

__all__ = ['PartPage', 'RecipePage', 'file_of', 'part_pages', 'recipe_pages']

ARXIV = re.compile(r'(?:arXiv:|(?<![\w.:/]))(\d{4}\.\d{4,5})')
CODE = re.compile('`([^`]+)`')
DOI = re.compile(r'doi:(10\.\S+?)(?=[,;.)]*(?:\s|$))')


def cited(text: str) -> Markup:
    "Text with links to the papers that it names."
    found = ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', html.escape(text, False))
    return Markup(DOI.sub(r'<a href="https://doi.org/\1">doi:\1</a>', found))


def file_of(name: str) -> str: return name.lower()


@dataclass
class RecipePage:
    "A recipe's page."
    name: str
    family: str

    def __post_init__(self) -> None:
        self.recipe: Recipe = find(self.name)
        self.explanation = self.recipe.explain()
        self.section = self.explanation.sections[0]
        self.parts = self.section.composition.parts

    @property
    def file(self) -> str: return file_of(self.name)
    @property
    def moves(self) -> bool: return not self.why_still
    @cached_property
    def why_still(self) -> Markup:
        "Why it has no playground, or ''."
        found = [still(parts) for _, parts in choices(self.recipe)]
        return Markup(CODE.sub(r'<code>\1</code>', found[0]) if all(found) else '')
    @property
    def idea(self) -> Markup: return cited(self.recipe.idea)
    @property
    def plain_idea(self) -> str: return re.sub(r'\s*\([^()]*\)|`', '', self.recipe.idea)
    @property
    def algorithm(self) -> Markup: return Markup(Page().procedure(self.section.procedure()))
    @property
    def legend(self) -> list[tuple[Markup, Markup]]:
        "The letters, with what they are."
        write = Page().cell
        return [(Markup(write(a)), Markup(write(b))) for a, b in self.section.legend()]
    @property
    def memory(self) -> str: return str(self.section.remembers())
    @property
    def source(self) -> str: return inspect.getsource(self.recipe.fn)

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        "Each part, with its lines."
        found: list[dict[str, Any]] = []
        for row in self.section.rows():
            if row.part: found.append(dict(label=row.part, kind=row.kind, math=[]))
            found[-1]['math'].append(Markup(mathml(row.latex)))
            found[-1]['note'] = row.note
        yield from found

    @property
    def hypers(self) -> Iterator[dict[str, Any]]:
        letters, means = self.section.equations.letters, self.recipe.rule().words.means
        for k, v in self.section.values.items():
            words = [w for w, ours in means.items() if ours == (k,) and w != k]
            yield dict(name=k, value=written(v), meaning=meaning(k), words=words,
                       math=Markup(mathml(latex_letter(letters.get(k, k)))))

    @property
    def options(self) -> dict[str, list[str]]:
        "Each option, and the parts that it brings in, beyond those without it."
        base, res = {p.label for p in self.parts}, {}
        for given, parts in choices(self.recipe):
            other = {k: v for k, v in given.items() if v != self.recipe.options[k]}
            if len(other) != 1: continue
            (k, v), = other.items()
            res[f'{k}={v!r}'] = [p.label for p in parts if p.label not in base]
        return res

    @property
    def identities(self) -> list[Markup]:
        return [Markup(phrase(i)) for i in identities() if self.name in (i.recipe, i.is_)]

    @cached_property
    def relatives(self) -> list[str]: return relatives(self.recipe)

    @property
    def sources(self) -> list[tuple[str, Markup]]:
        "Whose idea it is, and those of its parts."
        own = CITED.findall(self.recipe.idea)
        rest = [(name, '; '.join(found)) for name, found in
                ((p.__name__, CITED.findall(inspect.getdoc(p) or ''))
                 for p in dict.fromkeys(with_links(self.parts))) if found]
        return [(name, cited(text)) for name, text in
                [*((self.name, t) for t in own), *dict.fromkeys(rest)]]


@dataclass
class PartPage:
    "A part's page."
    part: Part
    labels: list[str] = field(default_factory=list)

    @property
    def name(self) -> str: return self.part.__name__
    @property
    def kind(self) -> str: return self.part.kind
    @property
    def idea(self) -> Markup: return cited(idea(self.part.fn))
    @property
    def plain_idea(self) -> str: return idea(self.part.fn)
    @property
    def lines(self) -> list[Markup]: return [Markup(mathml(m.latex)) for m in lines(self.part)]
    @property
    def text(self) -> str: return '; '.join(m.text.strip() for m in lines(self.part))
    @property
    def source(self) -> str: return inspect.getsource(self.part.fn)
    @property
    def users(self) -> list[str]: return users(self.part)
    @property
    def reads(self) -> list[str]: return self.part.reads
    @property
    def links(self) -> list[str]: return [p.__name__ for p in self.part.linked]

    @property
    def hypers(self) -> Iterator[dict[str, Any]]:
        for k, v in self.part.hypers.items():
            yield dict(name=k, value=written(v), meaning=meaning(k))

    @property
    def identities(self) -> list[Markup]:
        return [Markup(phrase(i)) for i in identities() if self.name in (i.recipe, i.is_)]

    @property
    def dependents(self) -> list[str]:
        "The parts that depend on it."
        return [p.__name__ for p in every_part()
                if any(q.fn is self.part.fn for q in with_links(p.linked))]

    @property
    def modifier(self) -> str:
        "The name under which it can be added to any recipe, or ''."
        return next((n for n, ps in modifiers().items() if self.part in ps), '')


def recipe_pages() -> list[RecipePage]: return [RecipePage(e.name, e.family) for e in recipes()]
def part_pages() -> list[PartPage]: return [PartPage(p) for p in every_part()]
