"Suspects: mistakes with parts: decay, averages, what is read, the order, and the rule as a whole."
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..catalogue import modifiers, recipes
from ..contract import REQUIRED, ContractError
from ..kinds import Stat, Step, Transform, step, transform
from ..part import Part
from ..parts import independent_decay, l2_reg, proximal_decay, weight_decay
from ..placing import placed
from .changes import (Args, altered, call, decay_of, on_first_step, parameters, with_args,
                      with_count)
from .suspects import replaced, stats, suspect
from .variant import Draft

__all__: list[str] = []


# -- decay -----------------------------------------------------------------------------------------

@transform(switch='wd')
def l2_times_lr(grad, param, *, lr, wd=0.): return grad + lr * wd * param  # type: ignore[no-untyped-def]


@step(switch='wd')
def decay_after(new_param, *, lr, wd=.01): return -lr * wd * new_param  # type: ignore[no-untyped-def]


DECAYS = {
    'weight decay is coupled: it enters the gradient (L2)': l2_reg,
    'weight decay is decoupled from the gradient': weight_decay,
    'weight decay is not multiplied by the learning rate': independent_decay,
    'weight decay comes after the step': decay_after,
    'weight decay divides, after the step': proximal_decay,
    'weight decay enters the gradient times the learning rate': l2_times_lr}


@suspect
def decay(draft: Draft) -> Iterator[Draft]:
    own = [p for p in draft.parts if p.replaces == 'wd']
    if 'wd' not in draft.values: return
    rest = [p for p in draft.parts if p not in own]
    for words, other in DECAYS.items():
        if other not in own: yield draft.said(words, parts=tuple(placed(rest, [other])))
    for p in own:
        other = l2_reg if isinstance(p, Step) else weight_decay
        yield draft.said('weight decay is done twice: in the gradient, and apart from it',
                         parts=(other, *draft.parts) if other is l2_reg else (*draft.parts, other))


# -- averages --------------------------------------------------------------------------------------

@suspect
def conventions(draft: Draft) -> Iterator[Draft]:
    "An average where there is a sum, or a sum where there is an average."
    for s in stats(draft):
        decay = decay_of(s)
        if not decay or 'grad' not in parameters(s): continue
        root = .5 if 'sqr' in s.out else 1.
        def scaled(power: float, s: Part=s, decay: str=decay, root: float=root) -> Part:
            return with_args(s, grad=lambda a: a['grad'] * (1 - a[decay])**(power * root))
        yield replaced(draft, f'`{s.out}` is a sum: a gradient enters it whole, not times '
                              f'1 − `{decay}`', {s: scaled(-1.)})
        yield replaced(draft, f'`{s.out}` is an average: a gradient enters it times 1 − `{decay}`',
                       {s: scaled(1.)})


@suspect
def beginnings(draft: Draft) -> Iterator[Draft]:
    for s in stats(draft):
        if not (decay := decay_of(s)) or 'grad' not in parameters(s): continue
        base = draft._replace(parts=with_count(draft.parts))
        yield replaced(base, f'`{s.out}` begins with the first gradient',
                       {s: on_first_step(s, **{decay: lambda a: 0.})})
        root = .5 if 'sqr' in s.out else 1.
        def damped(a: Args, decay: str=decay, root: float=root) -> Any:
            return a['grad'] * (1 - a[decay])**root
        yield replaced(base, f'`{s.out}` begins with 1 − `{decay}` of the first gradient',
                       {s: on_first_step(s, grad=damped)})
        def doubled(a: Args, decay: str=decay) -> Any: return a['grad'] * (1 + a[decay])
        yield replaced(base, f'`{s.out}` holds the first gradient already when it is stepped',
                       {s: on_first_step(s, grad=doubled)})


@suspect
def rate_in_the_buffer(draft: Draft) -> Iterator[Draft]:
    "The learning rate enters what is remembered, and not the step."
    for s in stats(draft):
        if 'grad' not in parameters(s) or 'lr' in parameters(s): continue
        def enters(fn: Any, args: Args) -> Any:
            return call(fn, {**args, 'grad': args['lr'] * args['grad']})
        readers = [p for p in draft.parts if s.out in p.args and 'lr' in parameters(p)]
        if not readers: continue
        new = {p: with_args(p, lr=lambda a: 1.) for p in readers}
        if any('grad' in parameters(p) for p in readers):
            def both(fn: Any, args: Args) -> Any:
                return call(fn, {**args, 'grad': args['lr'] * args['grad'], 'lr': 1.})
            new = {p: altered(p, both) for p in readers}
        yield replaced(draft, f'the learning rate is inside `{s.out}`',
                       {s: altered(s, enters, hypers=['lr']), **new})


@suspect
def maxima_left_out(draft: Draft) -> Iterator[Draft]:
    "A stat that is made of another stat is left out: its readers read that one."
    names = {s.out for s in stats(draft)}
    for s in stats(draft):
        of = [n for n in s.args if n in names and n != s.out]
        if len(of) != 1: continue
        rest = [p.rename(**{s.out: of[0]}) if s.out in p.args else p
                for p in draft.parts if p is not s]
        yield draft.said(f'`{s.out}` is left out', parts=tuple(rest))


# -- what is read, and when ------------------------------------------------------------------------

@suspect
def old_and_new(draft: Draft) -> Iterator[Draft]:
    "A stat as it was before this step, where it should be as it is now; or the other way round."
    kept = {s.out for s in stats(draft)}
    for p in draft.parts:
        for name in p.args if not isinstance(p, Stat) else p.args[1:]:
            if name in kept:
                yield replaced(draft, f'`{p.__name__}` reads `{name}` before this step has '
                                      'updated it', {p: p.rename(**{name: f'prev_{name}'})})
            new = name.removeprefix('prev_')
            if new != name and new in kept:
                later = [*draft.parts]
                first = next(i for i, s in enumerate(later) if isinstance(s, Stat) and s.out == new)
                changed = p.rename(**{name: new})
                later = [changed if q is p else q for q in later]
                if later.index(changed) < first:
                    later.remove(changed)
                    later.insert(first, changed)
                yield draft.said(f'`{p.__name__}` reads `{new}` when this step has updated it',
                                 parts=tuple(later))


@suspect
def raw(draft: Draft) -> Iterator[Draft]:
    "A part reads the gradient as it came, and not what transforms have made of it."
    changed = False
    for p in draft.parts:
        if changed and 'grad' in p.args and not isinstance(p, Transform):
            yield replaced(draft, f'`{p.__name__}` reads the gradient as it came, without '
                                  'what is done to it first', {p: p.rename(grad='raw_grad')})
        changed |= isinstance(p, Transform) and p.out == 'grad'


@suspect
def one_less(draft: Draft) -> Iterator[Draft]:
    "Without one of its transforms, or one of several steps."
    several = sum(isinstance(p, Step) for p in draft.parts) > 1
    for p in draft.parts:
        if isinstance(p, Transform) and p.replaces != 'wd' or several and isinstance(p, Step) \
                and p.replaces != 'wd':
            rest = tuple(q for q in draft.parts if q is not p)
            yield draft.said(f'`{p.__name__}` is left out', parts=rest)


@suspect
def other_orders(draft: Draft) -> Iterator[Draft]:
    "A part in another place of the list."
    for i, p in enumerate(draft.parts):
        for j in range(len(draft.parts)):
            if i == j or i == j + 1: continue
            rest = [q for q in draft.parts if q is not p]
            rest.insert(j, p)
            where = f'before `{rest[1].__name__}`' if not j else f'after `{rest[j - 1].__name__}`'
            if not isinstance(p, Stat) or not p.is_number:
                yield draft.said(f'`{p.__name__}` comes {where}', parts=tuple(rest))


# -- the rule as a whole ---------------------------------------------------------------------------

@suspect
def one_more(draft: Draft) -> Iterator[Draft]:
    "With a part that modifies any rule, such as a clip of the gradient."
    for name, parts in modifiers().items():
        if any(p.replaces == 'wd' for p in parts): continue
        try: more = tuple(placed(draft.parts, parts))
        except ContractError: continue
        if more != draft.parts: yield draft.said(f'`{name}` is added', parts=more)


@suspect
def another_rule(draft: Draft) -> Iterator[Draft]:
    "Another recipe, with the same values."
    if not draft.recipe or draft.words: return
    for entry in recipes():
        if entry.recipe is draft.recipe: continue
        own = entry.recipe.rule()
        values = {k: v for k, v in draft.values.items() if k in (*own.composition.hypers,
                                                                 *own.options, 'maximize')}
        if 'mom' in own.options and not isinstance(own.options['mom'], bool):
            values.setdefault('mom', own.options['mom'])
        new = Draft.of(entry.recipe, values)
        if new.parts != draft.parts and not any(v is REQUIRED for v in new.values.values()):
            yield new.said(f'it is replaced by {entry.name}')
