"""A composition: an ordered list of parts, checked when it is made, and the pure function that they are together.

    >>> adam = Composition([average_grad, average_sqr_grad, step_count, adam_step])
    >>> state = adam.init(param)                        # {'grad_avg': zeros, 'sqr_avg': zeros, 'count': 0}
    >>> numbers = adam.numbers(state, dict(lr=1e-3, mom=.9, sqr_mom=.999, eps=1e-8))
    >>> change, state = adam.update(param, grad, state, numbers)             # nothing was written to
    >>> param = param + change

A step has two halves. `numbers` runs the scalars and the stats that are numbers, in plain Python, once for all
parameters that share their values. `update` runs the other parts on one parameter's tensors. Both walk down the list;
a part sees what the parts before it made. A total (a sum over all parameters) is a number that `numbers` is given:
`total` computes one parameter's share of it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import isfunction
from numbers import Real
from typing import Any

from torch import Tensor

from .hypers import TABLE, did_you_mean
from .numbers import read
from .part import REQUIRED, RESERVED, STATE_WORDS, ContractError, Part, PartError
from .words import COMMON

__all__ = ['Composition', 'bad_result']


class Composition:
    """An ordered list of parts that make an optimizer. If they do not, ContractError says what to write instead.

    `parts` are the parts as listed, `stats` the stats by name, `hypers` the hyperparameters with their defaults.
    """
    def __init__(self, parts: Iterable[Part]):
        if isinstance(parts, Part): raise ContractError(f'the parts of an optimizer are a list: [{parts.label}]')
        if isinstance(parts, str):
            raise ContractError(f'{parts!r} is a str: give a recipe, such as recipe({parts!r}), or a list of parts')
        if not isinstance(parts, Iterable):
            raise ContractError(f'{parts!r} is not a list of parts, and not a recipe of genopt\'s')
        if isinstance(parts, (set, frozenset)): raise ContractError('a set of parts has no order: give a list')
        self.parts = tuple(parts)
        for p in self.parts:
            if not isinstance(p, Part): raise ContractError(_not_a_part(p))
        self.stats: dict[str, Part] = {}
        for p in self.parts:
            self._check_is_no_mark(p)
            if p.kind == 'stat': self._claim(p, self.stats.get(p.out), 'keep'); self.stats[p.out] = p
        self.ordered = self._resolve()
        self.totals = {p.out: p for p in self.ordered if p.kind == 'total'}
        self.number_parts = [p for p in self.ordered if p.is_number and p.kind != 'total']
        self.tensor_parts = [p for p in self.ordered if not p.is_number]
        self.number_stats = [n for n, p in self.stats.items() if p.is_number]
        self.tensor_stats = [n for n, p in self.stats.items() if not p.is_number]
        self.elementwise = not any(p.whole for p in self.tensor_parts)
        # For each total: the parts before it, and of these the tensor parts that it needs
        self.before = {k: self.ordered[:self.ordered.index(p)] for k, p in self.totals.items()}
        self.leads_to = {k: self._leads_to(p) for k, p in self.totals.items()}
        self.read_before = {k: {*p.reads}.union(*(q.reads for q in self.leads_to[k])) for k, p in self.totals.items()}
        self.needs = any(p.needs for p in self.ordered)
        self.has_gates = any(p.kind == 'gate' for p in self.ordered)
        self.origins = {n: n for n in self.hypers_of_inits()}
        self.origins |= {new: old for p in self.ordered for old, new in p.keywords}  # what a part itself calls it
        self._clashes: dict[str, str] = {}  # hyperparameters on whose default the parts disagree: the user must say
        self.hypers = self._defaults()
        self.tried: set[Any] = set()  # what it was rehearsed on
        self.reads_place = any('place' in p.reads for p in self.ordered)
        self.reads_new_param = any('new_param' in p.reads for p in self.ordered)

    # -- checks ----------------------------------------------------------------------------------------------

    def _check_is_no_mark(self, part: Part) -> None:
        for word in STATE_WORDS:
            if word in (part.out, *part.reads):
                raise ContractError(f'`{part.label}` reads or keeps `{word}`, an entry of a parameter\'s state that is '
                                    f'not a stat: give it another name, {part.with_another(word)}')

    def _claim(self, part: Part, other: Part | None, verb: str) -> None:
        if other is None: return
        own = part.out if part.kind == 'stat' else part.__name__
        raise ContractError(f'`{other.label}` and `{part.label}` both {verb} `{part.out}`: leave one out, or give one '
                            f'another name, {part.with_another(own)}')

    def _resolve(self) -> list[Part]:
        "The parts in the order they run, scalars before their first reader; each one's reads are there when it runs."
        if not any(p.kind == 'step' for p in self.parts):
            raise ContractError(f'[{", ".join(p.label for p in self.parts)}] has no step, so no parameter would move: '
                                'add one, such as `sgd_step`')
        ordered: list[Part] = []
        # name -> what made it last
        made: dict[str, Part | None] = dict.fromkeys(('param', 'grad', 'raw_grad', 'place'))

        def add(part: Part, listed: Part) -> None:
            for link in part.links.values():
                if made.get(link.out) != link: add(link, listed)
            for name in part.reads: self._check_read(name, part, listed, made)
            if part.kind in ('scalar', 'total') and (other := self.stats.get(part.out) or made.get(part.out)) != part:
                self._claim(part, other, 'make')
            if part.kind == 'gate' and (late := [p for p in ordered if p.kind == 'stat' and not p.is_number]):
                raise ContractError(f'`{part.label}` is a gate, and `{late[0].label}` before it has already remembered '
                                    f'this step: put the gate before `{late[0].label}`, and what it reads before the '
                                    'gate')
            if part.out == 'update': made['new_param'] = part
            made[part.out] = part
            ordered.append(part)

        for part in self.parts:
            if part not in ordered or part.kind not in ('scalar', 'total'): add(part, part)
        self._check_new_param_is_last(ordered)
        return ordered

    def _check_read(self, name: str, part: Part, listed: Part, made: Mapping[str, Part | None]) -> None:
        "Is `name` there when `part` runs, which is `listed` or one of its scalars?"
        reads, stat = f'`{part.label}` reads `{name}`', name.removeprefix('prev_')
        if name.startswith('prev_') and stat in self.stats: maker: Part | None = self.stats[stat]
        elif name in made: maker = made[name]
        else: raise ContractError(reads + self._why_unread(name, part, listed))
        if name == 'place' and not part.whole:
            raise ContractError(f'{reads}, which differs from parameter to parameter: say @{part.kind}(whole=True)')
        if part.is_number and part.kind != 'total' and not (maker and maker.is_number):
            instead = (', so begin with a tensor: init=torch.zeros_like' if part.kind == 'stat' else
                       ': read a @total of it')
            raise ContractError(f'{reads}, a tensor, but a {part.kind} that is a number runs in plain Python and reads '
                                f'only numbers{instead}')

    def _why_unread(self, name: str, part: Part, listed: Part) -> str:
        "Why there is nothing called `name` when `part` runs, and what to do."
        stat, later = name.removeprefix('prev_'), f'put `{listed.label}` later'
        if name in ('update', 'new_param'):
            others = any(p.kind == 'step' and p != part for p in self.parts)
            return ', and there is none before the first step: put it after one' + ', such as `sgd_step`' * (not others)
        if name in self.stats:
            in_time = '' if part.out in self.stats[name].reads else f'{later}, or '
            return (f' before `{self.stats[name].label}` has updated it: {in_time}read `prev_{name}`, its value before '
                    'this step')
        scalars = {q.out: q for p in self.parts for q in (p, *p.links.values()) if q.kind in ('scalar', 'total')}
        hypers = {*TABLE, *COMMON}.union(*(p.hypers for p in (*self.parts, *scalars.values())))
        if stat != name and (stat in RESERVED or stat in scalars or stat in hypers):
            return f', and only a stat has a value from before this step: keep `{stat}` in one'
        if name in scalars: return f' before it is computed: {later}'
        if name in hypers:
            ours = ', '.join(COMMON.get(name, (name,)))
            return f', a hyperparameter: those stand behind a `*`, as in `def {part.__name__}(..., *, {ours})`'
        if stat in Part.known_stats:
            return f': add a stat that keeps it, such as `{Part.known_stats[stat]}`' + ', before it' * (stat == name)
        if keeps := [k for k, by in Part.known_stats.items() if by == stat]:
            return f', which is a part: what it keeps is called `{name.replace(stat, keeps[0])}`'
        names = [*RESERVED, *self.stats, *Part.known_stats, *scalars]
        return (f', which no part keeps: add a @stat whose first argument is `{stat}` before it, or correct the name: '
                + did_you_mean(stat, names))

    def _check_new_param_is_last(self, ordered: list[Part]) -> None:
        "What reads the new parameter must see all of the update, up to what it asks for itself (Lookahead)."
        late: list[Part] = []
        for p in ordered:
            early = [q for q in late if q.out not in p.reads]
            if p.out == 'update' and early:
                last = not any(early[0].out in q.reads for q in ordered)
                raise ContractError(f'`{early[0].label}` reads `new_param` before `{p.label}` has changed the update: '
                                    'put it ' + ('last' if last else f'after `{p.label}`'))
            if {'new_param', *(q.out for q in late if q.kind == 'stat')} & {*p.reads}: late.append(p)
            if p.out == 'update': late.clear()  # this one has seen them, and asks for what it adds itself

    def _leads_to(self, total: Part) -> list[Part]:
        "The tensor parts before a total whose results it needs, directly or through others, in order."
        needed, res = {*total.reads}, list[Part]()
        for p in reversed(self.before[total.out]):
            if not p.is_number and (p.out in needed or p.out == 'update' and 'new_param' in needed):
                needed |= {*p.reads}
                res.insert(0, p)
        return res

    def _defaults(self) -> dict[str, Any]:
        res: dict[str, Any] = {}
        for p in self.ordered:
            for name, default in p.hypers.items():
                if name in self.stats or any(name == q.out for q in self.ordered):
                    raise ContractError(f'`{p.label}` calls a hyperparameter `{name}`, which is already a stat, a '
                                        f'scalar or a tensor: give it another name, {p.with_another(name)}')
                known = res.setdefault(name, default)
                if known is REQUIRED: res[name] = default
                elif default is not REQUIRED and known != default: self._clashes[name] = f'{known:g} or {default:g}'
        res |= dict.fromkeys(self._clashes, REQUIRED)
        return {k: res[k] for k in sorted(res, key=[*TABLE, *res].index)}  # in the table's order, then a part's own

    # -- hyperparameters -------------------------------------------------------------------------------------

    def why_required(self, name: str) -> str:
        "Why a hyperparameter has no default value."
        needy = next(p.label for p in self.ordered if name in p.hypers)
        clash = self._clashes.get(name)
        return f'its parts disagree on the default, {clash}' if clash else f'`{needy}` needs it'

    def hypers_of_inits(self) -> dict[str, Any]:
        "The hyperparameters that state begins with, and their defaults."
        return {k: v for p in self.stats.values() for k, v in p.begins.items()}

    # -- the mathematics -------------------------------------------------------------------------------------

    def init(self,
        param: Tensor,
        hypers: Mapping[str, Any]={}  # Values of those that the parts' `init` read, if any does
    ) -> dict[str, Any]:
        "The state of a parameter before its first step."
        for k in self.hypers_of_inits():
            if k not in hypers: raise TypeError(f'`{k}` is missing: state begins with it, so give init(param, hypers)')
        return {name: part.start(param, hypers) for name, part in self.stats.items()}

    def numbers(self,
        state: Mapping[str, Any],   # A parameter's state; only its numbers are read
        hypers: Mapping[str, Any],  # A value for each of `self.hypers` and `self.totals`
        until: Part | None=None     # Only what comes before this one
    ) -> dict[str, Any]:            # Hyperparameters, scalars, and stats that are numbers, as `prev_count` and `count`
        """The half of a step that is plain numbers: the same for all parameters with the same numbers in their state.

        Where a gate is closed it ends: what comes after it is not there.
        """
        before = self.before[until.out] if until else self.ordered
        need = [*self.hypers, *(p.out for p in before if p.kind == 'total')]
        for k in need:
            if k not in hypers: raise TypeError(f'`{k}` is missing: give a number for each of {", ".join(need)}')
        env = {**{k: hypers[k] for k in need}, **{f'prev_{k}': read(state[k]) for k in self.number_stats}}
        for part in self.number_parts if until is None else [p for p in before if p.is_number and p.kind != 'total']:
            env[part.out] = out = part.run(env)
            if not isinstance(out, (Real, Tensor)): raise bad_result(part, out)
            if part.kind == 'gate' and not out: break
        return env

    def is_closed(self,
        numbers: Mapping[str, Any],  # From `numbers`
        until: Part | None=None      # The same
    ) -> bool:
        "Has a gate closed, so that this step does not happen?"
        if not self.has_gates: return False
        reached = self.before[until.out] if until else self.ordered
        return not all(numbers.get(p.out) for p in reached if p.kind == 'gate')

    def total(self,
        total: Part,                 # One of `self.totals`
        param: Tensor,
        grad: Tensor,
        state: Mapping[str, Any],
        numbers: Mapping[str, Any],  # From `numbers`, until this total
        run: Callable[[Part, Mapping[str, Any]], Any]=Part.run
    ) -> Tensor:                     # 0-dim
        "One parameter's share of a sum over all parameters."
        env = {**{f'prev_{k}': v for k, v in state.items()}, 'place': 0, **numbers, 'param': param,
               'grad': grad, 'raw_grad': grad}
        self.walk(self.leads_to[total.out], env, run)
        share = run(total, env)
        if not isinstance(share, Tensor) or share.dim(): raise bad_result(total, share)
        return share

    def update(self,
        param: Tensor,
        grad: Tensor,                # Of `param`'s shape
        state: Mapping[str, Any],    # From `init`, or the last update
        numbers: Mapping[str, Any],  # From `numbers`, for the same state
        run: Callable[[Part, Mapping[str, Any]], Any]=Part.run
    ) -> tuple[Tensor, dict[str, Any]]:  # The change of `param`, of its shape; the new state
        "The half of a step that is tensors. It writes to nothing. Raises PartError if a part breaks its contract."
        env = {**{f'prev_{k}': v for k, v in state.items()}, 'place': 0, **numbers, 'param': param,
               'grad': grad, 'raw_grad': grad}
        self.walk(self.tensor_parts, env, run)
        return env['update'], {k: env[k] for k in self.stats}

    def walk(self,
        parts: Iterable[Part],  # Some of `tensor_parts`, in order
        env: dict[str, Any],    # Tensors and numbers by name; what the parts make is added
        run: Callable[[Part, Mapping[str, Any]], Any]=Part.run
    ) -> None:
        "Runs tensor parts in order: each finds what it reads in `env`, and leaves there what it makes."
        for part in parts:
            if part.switch and _is_zero(env[part.switch]) and (part.kind != 'step' or 'update' in env): continue
            out, like = run(part, env), env[part.like]
            if getattr(out, 'shape', None) != like.shape: raise bad_result(part, out, like)
            env[part.out] = env['update'] + out if part.kind == 'step' and 'update' in env else out
            if part.out == 'update' and self.reads_new_param: env['new_param'] = env['param'] + env['update']

    def __repr__(self) -> str: return ' → '.join(p.label for p in self.parts)
    def __eq__(self, other: object) -> bool: return isinstance(other, Composition) and self.parts == other.parts
    def __hash__(self) -> int: return hash(self.parts)
    def __reduce__(self) -> tuple[Any, ...]: return Composition, (self.parts,)
    def __deepcopy__(self, memo: dict[int, Any]) -> Composition: return self


def _is_zero(x: Any) -> bool:
    "Not if it is a tensor: one may want its derivative."
    return not isinstance(x, Tensor) and x == 0


# -- sentences -----------------------------------------------------------------------------------------------

def _not_a_part(x: Any) -> str:
    if isinstance(x, Composition): return 'a Composition is not a part: give its parts, with a `*` before `.parts`'
    if hasattr(x, 'made_of'):
        name = f'({x.__name__})' if ' ' in x.__name__ else x.__name__
        return f'{x.__name__} is a recipe, not a part: give its parts, *{name}.parts()'
    if isinstance(x, Tensor): return 'a tensor is not a part: the parameters come first, and then the list of parts'
    if isinstance(x, (list, tuple)): return 'a list is not a part: put a `*` before it, to have its parts in this list'
    if isinstance(x, str): return f'{x!r} is not a part, but a str: give the part itself'
    kinds = '@stat, @scalar, @transform, @step, @total or @gate'
    if isfunction(x): return f'{x.__name__} is not a part: decorate it with {kinds}'
    return f'{getattr(x, "__name__", repr(x))} is not a part, which is a function, made with `def`, under {kinds}'


def bad_result(part: Part, out: Any, like: Tensor | None=None) -> PartError:
    "The error for what a part returned, where it should have been a number, or a tensor like `like`."
    if isinstance(out, Tensor):
        got = f'a tensor of shape {tuple(out.shape)}' + ('' if out.is_floating_point() else f' and dtype {out.dtype}')
    else: got = repr(out) if out is None or isinstance(out, Real) else f'a {type(out).__name__}'
    if part.kind == 'total':
        return PartError(f'`{part.label}` returned {got}: a total returns a tensor of one number, such as grad.sum()')
    if like is None: return PartError(f'`{part.label}` returned {got}: a {part.kind} returns a number')
    what = 'the change of `param`' if part.kind == 'step' else f'the new `{part.out}`'
    return PartError(f'`{part.label}` returned {got}: a {part.kind} returns {what}, '
                     f'a tensor of shape {tuple(like.shape)}')
