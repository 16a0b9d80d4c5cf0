"""Rules at special values of their numbers, told apart by what they do.

A rule is a recipe with its options, or a part alone. All rules are given the same gradients and
parameters, step by step, and one value for all hyperparameters of one name. So two rules are the
same, but for a constant factor, if what they return has the same direction in every step.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import torch
from torch import Tensor

from ..catalogue import choices, every_part, find, recipes
from ..composition import Composition
from ..env import Env
from ..contract import PartError
from ..hypers import TABLE, Hyper
from ..kinds import Gate, Scalar, Stat, Transform
from ..links import with_links
from ..part import Part
from ..recipe import Recipe

__all__ = ['Course', 'Point', 'Rule', 'SHAPE', 'drawn', 'every_rule', 'filled', 'points',
           'run', 'steps', 'values', 'walk', 'whole_numbers']

STEPS = 10
SHAPE = 4, 3
SIGNED = 'grad', 'raw_grad', 'param', 'update', 'new_param'  # all else is drawn above 0

Setting: TypeAlias = 'tuple[str, float | str]'  # a hyperparameter, and 0, 1 or another one's name


class Rule(NamedTuple):
    "A recipe with its options, or a part."
    name: str
    kind: str                            # 'recipe', or the part's kind
    options: tuple[tuple[str, Any], ...]  # those that are not the recipe's defaults
    parts: tuple[Part, ...]              # in the order in which they run, with their scalars
    out: str                             # the name of what is looked at

    @property
    def hypers(self) -> list[str]:
        return [*dict.fromkeys(k for p in self.parts for k in (*p.hypers, *p.init_hypers))]


class Point(NamedTuple):
    "A rule at special values."
    rule: Rule
    where: tuple[Setting, ...] = ()
    without: tuple[str, ...] = ()  # parts: a transform is left out, and others give 1

    @property
    def size(self) -> int: return len(self.where) + len(self.without)

    def within(self, other: Point) -> bool:
        "True if it has all that is special about another point of its rule."
        return {*other.where} <= {*self.where} and {*other.without} <= {*self.without}


@cache
def whole_numbers() -> dict[str, int]:
    "The options that are whole numbers, such as how many buffers there are: they stay as they are."
    every = [find(e.name).options for e in recipes()]
    return {k: v for options in every for k, v in options.items() if type(v) is int}


@cache
def every_rule() -> tuple[Rule, ...]:
    """All recipes, with each choice of their options, and all parts.

    A part that is on only where a hyperparameter is not 0 makes no rule of its own.
    """
    res = list[Rule]()
    for r in (find(e.name) for e in recipes()):
        found = dict[tuple[Part, ...], Rule]()
        def given(options: Mapping[str, Any], r: Recipe=r) -> tuple[tuple[str, Any], ...]:
            return tuple((k, v) for k, v in options.items() if v != r.options[k])
        for options, parts in sorted(choices(r), key=lambda choice: len(given(choice[0]))):
            if any(p.only_if for p in parts): continue
            if whole_numbers().keys() & dict(given(options)): continue
            ordered = tuple(Composition(parts).ordered)
            rule = Rule(r.__name__, 'recipe', given(options), ordered, 'update')
            found.setdefault(ordered, rule)
        res += found.values()
    for p in every_part():
        res.append(Rule(p.__name__, p.kind, (), (*dict.fromkeys(with_links([p])),), p.out))
    return tuple(res)


# -- special values --------------------------------------------------------------------------------

def values(names: Iterable[str], seed: int=0) -> dict[str, float]:
    "For each hyperparameter, a value that is special in no way."
    drawn = {k: _value(TABLE.get(k) or Hyper(k, k, low=2.), f'{k} {seed}') for k in names}
    return {k: whole_numbers().get(k, v) for k, v in drawn.items()}


def _value(row: Hyper, key: str) -> float:
    share = .2 + .7 * crc32(key.encode()) / 2**32
    if row.whole: return max(row.low, 2.)
    if row.high == 1: return .8 + .17 * share  # a decay
    if row.most <= 0: return -share
    return share if row.low < 1 else row.low + share


def settings(rule: Rule) -> list[Setting]:
    "Special values of hyperparameters: 0 or 1, where their range ends; or another one's."
    rows = {k: TABLE.get(k) or Hyper(k, k, 0., most=1.) for k in rule.hypers if k != 'lr'}
    rows = {k: row for k, row in rows.items() if not row.whole}
    shares = [k for k, row in rows.items() if 1 in (row.high, row.most)]
    res: list[Setting] = [(k, 0.) for k, row in rows.items() if row.low <= 0 < row.high]
    res += [(k, 1.) for k, row in rows.items() if 1 in (row.low, row.most)]
    return res + [(k, other) for k in shares for other in shares if k != other]


@cache
def removable(rule: Rule) -> tuple[str, ...]:
    """The parts that a recipe may do without: transforms, scalars that tensors meet, and what is
    kept of squares, as it is never negative."""
    if rule.kind != 'recipe': return ()
    met = {n for p in rule.parts if not p.is_number for n in p.reads}
    squares = {p.out for p in rule.parts if isinstance(p, Stat) and not p.is_number}
    try:
        for env in steps(Point(rule), values(rule.hypers)):
            squares = {k for k in squares if (env[k] >= 0).all()}
    except PartError: return ()  # it reads sizes, or takes no numbers but some
    names = [p.__name__ for p in rule.parts if not p.switch and (isinstance(p, Transform) or
             isinstance(p, Scalar) and p.out in met or p.out in squares)]
    return (*dict.fromkeys(names),)


def points(rule: Rule, size: int) -> Iterator[Point]:
    "Its points with so many special values, where it does without two parts at most."
    if any(isinstance(p, Gate) for p in rule.parts): return  # it is not a rule for every step
    for n in range(min(size, 2) + 1):
        for without in combinations(removable(rule), n):
            for where in combinations(settings(rule), size - n):
                names = {k for k, _ in where}
                if len(names) == len(where) and not names & {v for _, v in where}:
                    yield Point(rule, where, without)


def filled(point: Point, given: Mapping[str, float]) -> dict[str, float]:
    "The values of all hyperparameters at a point."
    res = {k: given[k] for k in point.rule.hypers}
    return res | {k: given[v] if isinstance(v, str) else v for k, v in point.where}


# -- what they do ----------------------------------------------------------------------------------

@cache
def drawn(name: str, t: int, seed: int=0, shape: tuple[int, ...]=SHAPE) -> Tensor:
    "What every rule is given under this name in step t. Some gradients are large, and some small."
    draw = torch.Generator().manual_seed(crc32(f'{name} {t} {seed}'.encode()))
    x, size = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    if name not in SIGNED: return x.abs() + .1
    return x * (2 * size[0, 0]).exp() if name == 'grad' else x


def steps(point: Point, given: Mapping[str, float], seed: int=0) -> Iterator[Env]:
    "The values by name after each step. The parameter is not moved: each step is given one."
    rule, hypers = point.rule, filled(point, given)
    state = {p.out: p.start(drawn('param', 0), hypers) for p in rule.parts if isinstance(p, Stat)}
    inner = {p.out for p in rule.parts} | {f'prev_{k}' for k in state}
    outer = {n for p in rule.parts for n in p.reads} - inner | {'param', 'grad'}
    if 'update' in inner: outer -= {'new_param'}  # an Env makes it
    for t in range(1, STEPS + 1):
        env = Env({f'prev_{k}': v for k, v in state.items()} | hypers)
        for n in outer: env[n] = drawn(n.removeprefix('raw_'), t, seed)
        env |= {n: t - (n != 'count') for n in outer & {'count', 'prev_count'}}
        step(point, env)
        state = {k: env[k] for k in state}
        yield env


def step(point: Point, env: Env) -> None:
    "Runs the parts, but for those that the point does without."
    for p in point.rule.parts:
        if p.switch and p.is_off(env): p.stay(env)
        elif p.__name__ not in point.without:
            p.put(env, out := p.run(env))
            if isinstance(p, Gate) and point.rule.kind == 'recipe' and not out: break
        elif not isinstance(p, Transform):
            env[p.out] = 1. if p.is_number else torch.ones_like(env[p.template])
    if point.rule.kind == 'recipe': env.setdefault('update', torch.zeros_like(env['param']))


def run(point: Point, given: Mapping[str, float], seed: int=0) -> Tensor | None:
    "The result in each step, or None if it never changes or is not always a number."
    try: res = [torch.as_tensor(env[point.rule.out]) for env in steps(point, given, seed)]
    except PartError: return None
    found = torch.stack(res)
    if found.is_complex() or (found == found[:1]).all() or not found.isfinite().all(): return None
    return found.double().flatten()


class Course(NamedTuple):
    "Random gradients, and a parameter to begin with."
    seed: int
    length: int
    size: float = 1.             # of all elements
    shape: tuple[int, ...] = SHAPE
    idle: int = 0                # so many gradients are 0, from the first on


def walk(point: Point, given: Mapping[str, float], course: Course) -> Tensor:
    "Where a recipe takes a parameter along some gradients: its places."
    hypers, places = filled(point, given), list[Tensor]()
    seed, length, size, shape, idle = course
    param = size * drawn('param', 0, shape=shape)
    state = {p.out: p.start(param, hypers) for p in point.rule.parts if isinstance(p, Stat)}
    for t in range(length):
        grad = size * (t >= idle) * drawn('grad', t, seed, shape)
        before = {f'prev_{k}': v for k, v in state.items()}
        env = Env({**before, **hypers, 'param': param, 'grad': grad, 'raw_grad': grad})
        step(point, env)
        param, state = param + env['update'], {k: env[k] for k in state}
        places.append(param)
    return torch.stack(places)
