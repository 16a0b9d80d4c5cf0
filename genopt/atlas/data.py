"""What the scripts of the pages know, printed once: parts, recipes, hyperparameters and surfaces.

    >>> facts()['recipes']['Adam']['choices'][0]['parts']
    ['l2_reg', 'average_grad', 'average_sqr_grad', 'step_count', 'adam_step']
"""
from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from .. import zoo
from ..catalogue import choices, every_part, find, modifiers, recipes
from ..contract import REQUIRED
from ..hypers import TABLE
from ..kinds import Place, Stat
from ..letters import latex as latex_letter
from ..links import with_links
from ..order import keepers
from ..part import Part
from ..recipe import Recipe
from ..study.family import likeness
from ..study.identities import Identity, idea_of, identities
from ..study.members import meaning, member
from ..study.surfaces import SURFACES
from . import javascript
from .formulas import lines, mathml, phrase

__all__ = ['facts', 'labelled', 'scripts', 'still']


def labelled() -> dict[str, Part]:
    "The parts that recipes have under any names, and all others, by label; and their scalars."
    found = [*every_part(), *(p for ps in modifiers().values() for p in ps)]
    for name in zoo.__all__:
        for _, parts in choices(find(name)): found += parts
    return {p.label: p for p in with_links(found)}


def scripts() -> dict[str, str]:
    "JavaScript files by name: the parts and the surfaces as functions, and the facts."
    return {'parts.js': _functions(), 'facts.js': f'genopt.facts = {_json(facts())};\n'}


def facts() -> dict[str, Any]:
    "All that is not a function."
    return dict(parts={label: dict(_part(p)) for label, p in labelled().items()},
                recipes={e.name: _recipe(find(e.name), e.family) for e in recipes()},
                identities=[_identity(i) for i in identities() if _is_shown(i)],
                ideas={f'{i.recipe} {i.is_}': phrase(i) for i in identities()
                       if i.kind != 'recipe' and not i.where}, likeness=_likeness(),
                modifiers={name: [p.label for p in ps] for name, ps in modifiers().items()},
                hypers={k: _hyper(k) for k in _hypers()},
                surfaces={s.name: dict(title=s.name.replace('_', ' '), about=s.function.__doc__,
                                       start=s.start, bounds=s.bounds, minima=s.minima,
                                       noise=s.noise) for s in SURFACES.values()},
                keepers=keepers(), places={p.name: p for p in Place})


def _part(p: Part) -> Iterator[tuple[str, Any]]:
    yield from dict(fn=p.__name__, kind=p.kind, out=p.out, args=[*javascript.arguments(p).values()],
                    reads=p.reads, links=[q.label for q in p.linked], place=p.place,
                    hypers={k: None if v is REQUIRED else v for k, v in p.hypers.items()},
                    math=''.join(f'<div>{mathml(m.latex)}</div>' for m in lines(p))).items()
    if javascript.why_not(p): yield 'isStill', True
    if p.switch: yield 'switch', p.switch
    if p.is_number: yield 'isNumber', True
    if idea_of(p) != p.__name__: yield 'idea', idea_of(p)
    if p.needs: yield 'needs', p.needs
    if p.names: yield 'names', p.names
    if isinstance(p, Stat): yield 'beginArgs', ['param', *p.init_hypers]


def _is_shown(i: Identity) -> bool:
    "True if two paths can show it. A point is no matrix: what needs one is of its own kind there."
    return i.kind == 'recipe' and _of_matrices(i.recipe) == _of_matrices(i.is_)


def _of_matrices(name: str) -> bool: return any(p.needs == 'matrix' for p in find(name).parts())


def _recipe(r: Recipe, family: str) -> dict[str, Any]:
    def choice(options: dict[str, Any], parts: Iterable[Part]) -> dict[str, Any]:
        values = r.rule(options).defaults
        return dict(options=options, parts=[p.label for p in parts],
                    values={k: None if v is REQUIRED else v for k, v in values.items()})
    made = [*choices(r)]
    runs = [c for c in made if not still(c[1])]
    return dict(family=family, options=r.options, choices=[choice(*c) for c in runs or made],
                **({} if runs else {'isStill': True}))


def still(parts: Iterable[Part]) -> str:
    "Why pages cannot run a list of parts, or ''."
    found = ((p.__name__, javascript.why_not(p)) for p in with_links(parts))
    return next((f'`{name}` {why}' for name, why in found if why), '')


def _likeness() -> dict[str, dict[str, float]]:
    "How much of each two recipes is alike, of the later one by the earlier one."
    members = [member(name) for name in zoo.__all__]
    return {b.name: {a.name: likeness(a, b) for a in members} for b in members}


def _identity(i: Identity) -> dict[str, Any]:
    given = {k: v for k, v in i.with_.items() if k != 'lr'}
    return dict(recipe=i.recipe, where=i.where, without=i.without, other=i.is_, given=given,
                itsWithout=i.its_without, html=phrase(i), factor=str(i.factor), isPlain=i.is_plain)


def _hypers() -> list[str]:
    found = {k for p in labelled().values() for k in p.hypers}
    return sorted(found, key=[*TABLE, *sorted(found)].index)


def _hyper(name: str) -> dict[str, Any]:
    row = TABLE.get(name)
    if not row: return dict(symbol=name, math=mathml(latex_letter(name)), doc=meaning(name))
    limits = dict(low=row.low, high=row.high, most=row.most)
    return dict(symbol=row.symbol, math=mathml(latex_letter(row.symbol)), doc=row.doc,
                **{k: v for k, v in limits.items() if math.isfinite(v)},
                **({'whole': True} if row.whole else {}))


# -- files -----------------------------------------------------------------------------------------

def _functions() -> str:
    tools = ', '.join(sorted({*javascript.REDUCTIONS.values(), 'each', 'nearest'}))
    lines = ['// Printed from the parts by genopt/atlas/javascript.py.',
             f'(function ({{parts, surfaces, scales, tools}}) {{ const {{{tools}}} = tools;']
    for p in every_part():
        if javascript.why_not(p) or p.__name__ == 'add_noise': continue
        printed = javascript.function(p)
        lines.append(f'parts.{p.__name__} = {{run: {printed.run}'
                     + (f', begin: {printed.begin}' if printed.begin else '') + '};')
    for s in SURFACES.values():
        height, slope = javascript.surface(s)
        lines.append(f'surfaces.{s.name} = {{height: {height}, slope: {slope}}};')
    for scale in dict.fromkeys(i.factor for i in identities() if i.kind == 'recipe'):
        lines.append(f"scales['{scale}'] = {javascript.scale(scale)};")
    return '\n'.join([*lines, '})(genopt);', ''])


def _json(x: Any) -> str: return json.dumps(x, ensure_ascii=False, separators=(',', ':'))
