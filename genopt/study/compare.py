"""What optimizers share, and where they differ: read off their parts.

    >>> compare('adam', 'adamw').edits()
    ['AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0']
    >>> relatives('signum')
    ['Tiger is Signum in all its parts; lr = 0.001, not 0.0001; mom = 0.965, not 0.9; wd = 0.01, not 0']
"""
from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..catalogue import choices, recipes
from ..composition import Composition
from ..hypers import TABLE
from ..part import REQUIRED, Part
from ..recipe import Recipe, recipe
from .explain import STYLE, Section, _columns, _value, bound, mathml, table
from ..letters import letters

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['compare', 'Comparison', 'Member', 'relatives', 'edit']

What: TypeAlias = Recipe | str | Iterable[Part] | partial[Any]


class Member(NamedTuple):
    "An optimizer in a comparison."
    name: str
    parts: tuple[Part, ...]
    values: Mapping[str, Any]


def member(what: What | Member, number: int=0) -> Member:
    "A recipe, its name, a `partial` of it with options, or a list of parts. Raises KeyError if there is no such name."
    if isinstance(what, Member): return what
    if isinstance(what, str): what = recipe(what)
    rule, given = (what.func, what.keywords) if isinstance(what, partial) else (what, {})
    if isinstance(rule, Recipe):
        composition, values = bound(rule, given)
        return Member(rule.__name__ + _call(given), composition.parts, values)
    if not isinstance(rule, Iterable):
        raise TypeError('compare takes recipes, their names, `partial`s of them, or lists of parts, and this is a '
                        f'{type(rule).__name__}')
    composition = Composition(rule)
    return Member(f'list {number}', composition.parts, composition.hypers)


def edit(
    a: Member,
    b: Member
) -> str:  # A sentence without its end
    "What makes `b` of `a`: `AdamW is Adam without l2_reg, with weight_decay`."
    gone, new = _edits(a.parts, b.parts)
    words = [f'{word} {_names(ps)}' for word, ps in (('without', gone), ('with', new)) if ps]
    common = [[p for p in ps if p in {*a.parts} & {*b.parts}] for ps in (a.parts, b.parts)]
    if common[0] != common[1]: words.append('in another order')
    values = [f'{k} = {_value(v)}, not {_value(a.values[k])}' for k, v in b.values.items()
              if k in a.values and REQUIRED not in (v, a.values[k]) and v != a.values[k]]
    if not words: words = ['in all its parts']
    return f'{b.name} is {a.name} ' + ', '.join(words) + ('; ' + '; '.join(values) if values else '')


def relatives(
    what: What | Member  # A recipe, its name, a `partial` of it with options, or a list of parts
) -> list[str]:
    "The recipes that are one part away from it, added, left out or exchanged, each said as an edit."
    mine = member(what)
    found = list[tuple[int, str]]()
    for entry in recipes():
        r = recipe(entry.name)
        for options, parts in choices(r):
            gone, new = _edits(mine.parts, parts)
            other = member(partial(r, **{k: v for k, v in options.items() if v != r.options[k]}))
            if max(len(gone), len(new)) > 1 or other.name == mine.name: continue
            found.append((len(gone + new), edit(mine, other)))
    return [sentence for _, sentence in sorted(found, key=lambda f: f[0])]


class Comparison:
    """Optimizers side by side: a row for each part. `print` it, or leave it at the end of a notebook's cell.

    `text()`, `markdown()`, `latex()` and `html()` are its forms, `plot()` a picture.
    """
    def __init__(self, members: list[Member]):
        self.members = members
        self.parts = _merged([[p.fn for p in m.parts] for m in members])
        names = letters(p for m in members for p in m.parts)  # one letter has one meaning in all of them
        self.sections = [Section('', Composition(m.parts), m.values, names=names) for m in members]

    def cells(self, fn: Callable[..., Any]) -> list[str]:
        "For each optimizer: a dot if it has the part, or what it calls its arguments."
        def cell(p: Part) -> str: return ','.join(f'{k}={v}' for k, v in sorted(p.names.items())) or '●'
        return [', '.join(cell(p) for p in m.parts if p.fn is fn) for m in self.members]

    def shared(self) -> list[str]:
        "The parts that all have, under whatever names."
        return [fn.__name__ for fn in self.parts if all(self.cells(fn))]

    def edits(self) -> list[str]:
        "Each optimizer as an edit of the nearest one before it; of one alone, its relatives."
        if len(self.members) == 1: return relatives(self.members[0])
        res = []
        for i, m in enumerate(self.members[1:], 1):
            nearest = min(self.members[:i], key=lambda o: sum(map(len, _edits(o.parts, m.parts))))
            res.append(edit(nearest, m))
        return res

    def sentences(self) -> list[str]:
        "What is shared by all, and each edit."
        shared = f'Shared by all: {", ".join(self.shared())}.' if self.shared() else 'No part is shared by all.'
        return [shared] * (len(self.members) > 1) + [f'{e}.' for e in self.edits()]

    def hypers(self) -> list[tuple[str, list[str]]]:
        "Each hyperparameter's value in each optimizer."
        every = [k for m in self.members for k in m.values]
        names = sorted({*every}, key=[*TABLE, *every].index)
        return [(k, [_value(m.values[k]) if k in m.values else '' for m in self.members]) for k in names]

    def equation(self, fn: Callable[..., Any]) -> tuple[str, str]:
        "A part's equation where it first occurs, as text and as LaTeX."
        for s in self.sections:
            for line in s.equations.parts:
                if line.part and line.part.fn is fn and line.name == line.part.out: return s.equation(line)
        raise KeyError(fn.__name__)

    def text(self) -> str:
        "For a terminal."
        names = [m.name for m in self.members]
        rows = [('', *names, '')] + [(fn.__name__, *self.cells(fn), self.equation(fn)[0]) for fn in self.parts]
        rows += [('',) * len(rows[0]), *((k, *values, _meaning(k)) for k, values in self.hypers())]
        return '\n'.join([*_columns(rows), '', *(f'    {e}' for e in self.sentences())])

    def markdown(self) -> str:
        "With LaTeX between dollars."
        names = [m.name for m in self.members]
        lines = ['| | ' + ' | '.join(names) + ' | |', '|---|' + ':-:|' * len(names) + '---|']
        lines += [f'| `{fn.__name__}` | ' + ' | '.join(self.cells(fn)) + f' | ${self.equation(fn)[1]}$ |'
                  for fn in self.parts]
        lines += [f'| `{k}` | ' + ' | '.join(values) + f' | {_meaning(k)} |' for k, values in self.hypers()]
        return '\n'.join([*lines, '', *(f'* {e}' for e in self.sentences())])

    def latex(self) -> str:
        "A table (needs amsmath)."
        rows = [[fn.__name__.replace('_', r'\_'), *(r'$\bullet$' if c == '●' else c.replace('_', r'\_')
                                                    for c in self.cells(fn)), f'${self.equation(fn)[1]}$']
                for fn in self.parts]
        head = ' & '.join(['', *(m.name.replace('_', r'\_') for m in self.members), ''])
        return '\n'.join([rf'\begin{{tabular}}{{l{"c" * len(self.members)}l}}', rf'  {head} \\ \hline',
                          *(f'  {" & ".join(row)} \\\\' for row in rows), r'\end{tabular}'])

    def html(self) -> str:
        """A piece of HTML, with MathML.

        Raises ImportError if latex2mathml is not installed.
        """
        names = [html.escape(m.name) for m in self.members]
        rows = [(f'<code>{fn.__name__}</code>', *map(html.escape, self.cells(fn)), mathml(self.equation(fn)[1]))
                for fn in self.parts]
        rows += [(f'<code>{k}</code>', *values, _meaning(k)) for k, values in self.hypers()]
        edits = ''.join(f'<li>{html.escape(e)}</li>' for e in self.sentences())
        return STYLE + f'<div class="genopt">{table(rows, ("", *names, ""))}<ul>{edits}</ul></div>'

    def plot(self) -> Figure:
        """A picture: a dot for each part of each optimizer.

        Raises ImportError if matplotlib is not installed.
        """
        from .pictures import dots
        return dots([(m.name, m.parts) for m in self.members])

    def __repr__(self) -> str: return self.text()
    def _repr_html_(self) -> str | None:
        try: return self.html()
        except ImportError: return None
    def _repr_markdown_(self) -> str: return self.markdown()


def compare(*optimizers: What) -> Comparison:
    """Which parts optimizers share, and where they differ: recipes, their names, `partial`s of them, lists of parts.

    Of one alone, it says which recipes are one part away from it. Raises KeyError for an unknown name.
    """
    if not optimizers: raise TypeError('compare takes recipes: compare(RMSprop, Adam, AdamW)')
    return Comparison([member(o, i + 1) for i, o in enumerate(optimizers)])


def _edits(a: Iterable[Part], b: Iterable[Part]) -> tuple[list[Part], list[Part]]:
    "The parts of `a` alone, and of `b` alone."
    return [*(Counter(a) - Counter(b)).elements()], [*(Counter(b) - Counter(a)).elements()]


def _merged(lists: Iterable[list[Any]]) -> list[Any]:
    "All that is in the lists, each once, as nearly as possible in their order."
    res: list[Any] = []
    for items in lists:
        place = 0
        for x in items:
            if x not in res: res.insert(place, x)
            place = max(place, res.index(x) + 1)
    return res


def _meaning(hyper: str) -> str: return TABLE[hyper].doc if hyper in TABLE else ''
def _names(parts: Iterable[Part]) -> str:
    *some, last = (p.label for p in parts)
    return f'{", ".join(some)} and {last}' if some else last


def _call(options: Mapping[str, Any]) -> str:
    return f'({", ".join(f"{k}={v}" for k, v in options.items())})' if options else ''
