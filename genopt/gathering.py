"""A rule that takes the gradients of several backward passes into its state, one after another.

In a step of k passes, parameters move in the last one. There is no buffer: what a pass brings goes
into the stats that read the gradient, and is gone. With s for such a stat, θ for the parameter and
F for the parts up to s:

    s ← F(s, g₁, θ)             in the first pass, as in any step
    s ← s + F(0, gᵢ, 0)         in each later one: it adds what the rule makes of nothing but gᵢ

All other parts run once, after the last pass. So decay, counts, warm-ups and "every n steps" go by
steps. What is linear in the gradient (m ← β₁·m + (1 − β₁)·g) becomes what the sum of the gradients
would have made of it, up to rounding. What is not is a sum over passes: v has Σgᵢ² in the place of
(Σgᵢ)² (AdamA: Zhang et al., arXiv:2305.19982, section 3).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .composition import Composition
from .env import Env, walk
from .kinds import Made, Scalar, Stat
from .part import Part
from .shapes import SHAPE, shapes
from .trial import apart

__all__ = ['Forms', 'forms_of', 'why_not_gathered', 'why_not_released']

BUFFER = ('keep their sum in a buffer, by the four parts in docs/parts.md, and call release() '
          'without `accumulate`')


class Forms(NamedTuple):
    "A composition as it runs in the passes of one step. All have its stats."
    first: Composition  # takes the first gradient in, and moves nothing
    more: Composition   # takes another one in
    last: Composition   # takes the last one in, and makes the step


def forms_of(c: Composition) -> Forms:
    "Those of a composition that can gather."
    taking = _taking(c)
    adding = {p: _from_nothing(p) for p in taking}
    return Forms(_with(c, taking), _with(c, [*adding.values()]),
                 _with(c, [adding.get(p, p) for p in c.tensor_parts]))


def _taking(c: Composition) -> list[Part]:
    "The parts that read the gradient, or tensors that are made of it."
    found, read = list[Part](), {'grad', 'raw_grad'}
    for p in c.tensor_parts:
        if not read & {*p.reads}: continue
        found.append(p)
        if isinstance(p, Made): read.add(p.out)
    return found


def _with(c: Composition, parts: Sequence[Part]) -> Composition:
    "The composition with these tensor parts alone."
    res = copy(c)
    res.tensor_parts, res.parts = [*parts], (*c.number_parts, *parts)
    return res


def _from_nothing(part: Part) -> Part:
    "The part as it is where state and parameter are 0. A stat adds that to what it has."
    last = part.template if isinstance(part, Stat) else ''
    gone, fn = [n in ('param', last) for n in part.reads], part.fn

    def alone(*args: Any, **kwargs: Any) -> Any:
        out = fn(*[torch.zeros_like(x) if is_gone else x for x, is_gone in zip(args, gone)],
                 **kwargs)
        return args[0] + out if last else out

    res = object.__new__(type(part))
    vars(res).update({k: v for k, v in vars(part).items() if k != '_call'}, fn=alone)
    return res


# -- can it? ---------------------------------------------------------------------------------------

def why_not_released(c: Composition) -> str:
    """The part that needs all gradients at once, and what to do; or ''.

    A total may be there if only the next step reads it, as `prev_x` of a number that all share.
    """
    if gate := next((p for p in c.gates.values() if p.again), None):
        return (f'`{gate.label}` asks for a second gradient of all parameters before they move: '
                'leave it out')
    if c.given:
        return f'`{next(iter(c.given))}` is fed for a whole step: leave it out'
    made = {k: k for k in c.totals}  # what is made of a total in this step, and of which
    for p in c.ordered:
        total = next((made[n] for n in p.inputs if n in made), '')
        if not total: continue
        is_kept = isinstance(p, Stat) and p.out in c.shared
        if isinstance(p, Scalar) or is_kept: made[p.out] = total
        else:
            return (f'`{p.label}` reads `{total}`, a sum over all parameters, and gradients are '
                    'gone before the last one is there: leave it out, or read the sum of the last '
                    'step, as `clip_by_last_norm` does')
    return ''


def why_not_gathered(c: Composition, hypers: Mapping[str, Any], params: Sequence[Tensor]) -> str:
    "The part that cannot take several gradients into state, and why; or ''."
    taking = _taking(c)
    stats = {p.out for p in taking if isinstance(p, Stat)}
    before = {f'prev_{k}' for k in stats}
    for number in (*c.gates.values(), *c.totals.values()):
        return f'`{number.label}` is a @{number.kind}, and gradients come in passes: {BUFFER}'
    for p in c.tensor_parts:
        takes = p in taking
        if takes and not (isinstance(p, (Stat, Made)) or p.out == 'grad'):
            return f'`{p.label}` reads the gradient itself, and there is one in each pass: {BUFFER}'
        wrong = {*c.tensor_stats, *(f'prev_{k}' for k in c.tensor_stats), 'update', 'new_param'}
        if others := {*p.reads} & (wrong if takes else before) - {takes and p.template}:
            return f'`{p.label}` reads `{min(others)}`, which changes from pass to pass: {BUFFER}'
    if not stats: return f'no stat reads the gradient, so nothing would remember it: {BUFFER}'
    return next((why for shape in shapes(c, params).values() or [SHAPE]
                 if (why := _mixing(c, taking, hypers, shape))), '')


def _mixing(c: Composition, taking: Sequence[Part], hypers: Mapping[str, Any],
            shape: Sequence[int]) -> str:
    "The stat that mixes state and gradient, and why that is wrong; or ''. Tried on a few numbers."
    draw = torch.Generator().manual_seed(0)
    def some(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=draw, dtype=torch.float64)
    with apart():
        param = some(torch.empty(shape))
        state = c.init(param, hypers)
        given = {**hypers, **c.numbers_of(param)}
        for _ in range(3):
            state = {k: some(x) if isinstance(x, Tensor) and k in c.tensor_stats else x
                     for k, x in state.items()}
            grad, numbers = some(param), c.numbers(state, given)
            tensors = {k: state[k] for k in c.tensor_stats}
            nothing = {k: torch.zeros_like(x) for k, x in tensors.items()}
            whole = _made(taking, (param, grad, tensors), numbers)
            old = _made(taking, (param, 0 * grad, tensors), numbers)
            new = _made(taking, (0 * param, grad, nothing), numbers)
            for k, x in whole.items():
                if not torch.allclose(x, old[k] + new[k], rtol=1e-9, atol=1e-12):
                    return (f'`{c.stats[k].label}` does not add what it makes of the gradient to '
                            f'what it makes of the rest: {BUFFER}')
            state |= {k: numbers[k] for k in c.number_stats}
    return ''


def _made(parts: Sequence[Part], tensors: tuple[Tensor, Tensor, Mapping[str, Tensor]],
          numbers: Mapping[str, Any]) -> dict[str, Tensor]:
    "The stats after these parts."
    param, grad, state = tensors
    env = Env.of(param, grad, state, numbers)
    walk(parts, env)
    return {p.out: env[p.out] for p in parts if isinstance(p, Stat)}
