"""A search for rules that are one at special values of their numbers.

First all are run on the same numbers, with more and more that is special. What has the same
direction in every step is then run along other gradients, with other values.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..catalogue import find
from ..contract import PartError
from ..kinds import Scalar, Total
from ..part import Part
from .points import SHAPE, Course, Point, Rule, drawn, every_rule, points, run, steps, values, walk
from .proofs import factor

__all__ = ['Found', 'defaults', 'is_plain', 'search']

LENGTH = 25   # steps of the path by which a candidate is confirmed
FEW = 8       # and of the others
NEAR = 1e-10  # how far apart they may be, as a share of the path's length


class _Seen(NamedTuple):
    "A point, with the direction and the size of what it does."
    point: Point
    direction: Tensor
    size: float


class Found(NamedTuple):
    "A point that does what another one does, times a factor."
    a: Point
    b: Point
    scale: Any


def search(
    rules: Sequence[Rule],
    most: int=3  # Special values at a time
) -> list[Found]:
    """What one rule is of another at special values, without what follows from the rest.

    Recipes with sums over the whole model are left out: one tensor does not show what they do.
    """
    rules = [r for r in rules if r.kind != 'recipe' or not any(map(is_total, r.parts))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small
    try: return [*_worth_telling(_alike(rules, most), rules)]
    finally: torch.set_num_threads(threads)


def is_total(p: Part) -> bool: return isinstance(p, Total)


def _alike(rules: Sequence[Rule], most: int) -> list[Found]:
    "Each point that does what an earlier one does. Earlier are those with less that is special."
    given = values({k for r in rules for k in r.hypers})
    places, library = {r: i for i, r in enumerate(rules)}, _library()
    def rank(p: Point) -> tuple[float, ...]:
        return p.size + len(p.without) / 2, len(p.rule.options), places[p.rule]
    first, found = defaultdict[Any, list[_Seen]](list), list[Found]()
    done = defaultdict[Rule, list[Point]](list)  # points whose own special cases need no look
    for size in range(most + 1):
        new = [p for r in rules for p in points(r, size) if not any(map(p.within, done[r]))]
        for p in sorted(new, key=rank):
            if (out := _known(p) if p.rule in library else run(p, given)) is None: continue
            seen = _Seen(p, out / out.norm(), out.norm().item())
            kind, at = (p.rule.kind, len(out)), round(1e6 * seen.direction[::7].sum().item())
            near = [s for d in (-1, 0, 1) for s in first[kind, at + d]]
            same = next(filter(None, (_same(seen, s, given) for s in near)), None)
            if same is None: first[kind, at].append(seen)
            elif same.b.rule == p.rule or is_plain(same.b): done[p.rule].append(p)
            if same and same.b.rule != p.rule: found.append(same)
    return found


@cache
def _library() -> frozenset[Rule]: return frozenset(every_rule())


@cache
def _known(p: Point) -> Tensor | None:
    "What a rule of the library does, whatever it is compared with."
    return run(p, values(p.rule.hypers))


def _same(a: _Seen, b: _Seen, given: Mapping[str, float]) -> Found | None:
    "`a` as a factor of `b`, if it is one."
    if (a.direction - b.direction).abs().max() > NEAR: return None
    hypers = {*a.point.rule.hypers, *b.point.rule.hypers}
    scale = factor(a.size / b.size, {k: given[k] for k in hypers})
    if scale is None: return None
    found = Found(a.point, b.point, scale)
    return found if a.point.rule == b.point.rule or _is_confirmed(found) else None


def _is_confirmed(f: Found) -> bool:
    "Of two rules of the library it is known once."
    ours = {f.a.rule, f.b.rule} <= _library()
    return _confirmed_once(f) if ours else _confirmed(f)


def _confirmed(f: Found) -> bool:
    """True if both do the same along other gradients and with other values, closely: where all is
    large and where all is small, where a matrix is tall and where it is wide, and after a gradient
    of 0; and if `a` does something else along others again, so it is not a decay alone."""
    a, b, scale = f
    given = values({*a.rule.hypers, *b.rule.hypers}, seed=1)
    c = float(scale.subs({s: given[s.name] for s in scale.free_symbols}))
    if a.rule.kind != 'recipe':
        x, y = run(a, given, seed=1), run(b, given, seed=1)
        return x is not None and y is not None and bool((x - c * y).norm() < NEAR * x.norm())
    def agree(course: Course) -> bool:
        mine, its = _path(a, 1., course), _path(b, c, course)
        if course.idle and not mine.isfinite().all(): return not its.isfinite().all()  # as 0/0
        return bool((mine - its).norm() <= NEAR * (mine - mine[0]).norm())
    def differ() -> bool:
        mine, other = _path(a, 1., Course(1, LENGTH)), _path(a, 1., Course(2, LENGTH))
        return bool(NEAR * (mine - mine[0]).norm() < (mine - other).norm())
    others = [Course(1, FEW, size=.01), Course(1, FEW, shape=SHAPE[::-1]), Course(1, FEW, idle=1)]
    try: return agree(Course(1, LENGTH)) and differ() and all(map(agree, others))
    except PartError: return False


_confirmed_once = cache(_confirmed)


@lru_cache(2**13)
def _path(p: Point, factor: float, course: Course) -> Tensor:
    "Where a recipe takes a parameter, with a factor of its learning rate."
    given = values(p.rule.hypers, seed=1)
    return walk(p, {k: factor * v if k == 'lr' else v for k, v in given.items()}, course)


def is_plain(p: Point) -> bool:
    "True if nothing is special about it but default values."
    return not p.without and all(v == defaults(p.rule).get(k) for k, v in p.where)


@cache
def defaults(rule: Rule) -> Mapping[str, Any]:
    if rule not in every_rule() or rule.kind != 'recipe': return {}
    return find(rule.name).rule(dict(rule.options)).defaults


def _worth_telling(found: Iterable[Found], rules: Sequence[Rule]) -> Iterator[Found]:
    "Without what is odd, and without what follows from others."
    told = defaultdict[Rule, list[Found]](list)
    for f in found:
        f = _turned(f, rules)
        if _is_odd(f) or _follows(f, told[f.a.rule]): continue
        told[f.a.rule].append(f)
        yield f


def _turned(f: Found, rules: Sequence[Rule]) -> Found:
    "The later rule as the earlier one, if that came after it only by its default values."
    def special(p: Point) -> int: return sum(v != defaults(p.rule).get(k) for k, v in p.where)
    is_later = f.b.size and rules.index(f.b.rule) > rules.index(f.a.rule)
    if not is_later or f.a.without or special(f.a) > special(f.b): return f
    return Found(f.b, f.a, 1 / f.scale)


def _is_odd(f: Found) -> bool:
    "True if an option's own number is 0, or if parts are missing that are not worth a sentence."
    if {k for k, _ in f.a.where} & {k for k, _ in f.a.rule.options} or _is_nothing(f.b):
        return True
    if not (f.a.without or f.b.without): return False
    scalars = {p.__name__ for p in f.a.rule.parts if isinstance(p, Scalar)}
    alike = f.a.without == f.b.without and {*f.a.without} <= scalars
    return bool(f.a.rule.options) or f.a.rule.name == f.b.rule.name or not (
        is_plain(f.b) or alike)


def _is_nothing(p: Point) -> bool:
    "True for a transform that returns what it is given."
    if p.rule.kind != 'transform': return False
    out, envs = p.rule.out, steps(p, values(p.rule.hypers))
    return all(env[out] is drawn(out, t, 0) for t, env in enumerate(envs, 1))


def _follows(f: Found, told: Iterable[Found]) -> bool:
    "True if one of those that were told implies it, or says it with fewer parts missing."
    for a, b, _ in told:
        if f.a.within(a) and (is_plain(b) or not is_plain(f.b)): return True
        if b == f.b and f.a.without and len(a.without) <= len(f.a.without): return True
    return False
