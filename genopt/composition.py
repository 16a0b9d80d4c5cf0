"""A composition: an ordered list of parts that is checked when it is made, and the pure function that they are together.

    >>> adam = Composition([average_grad, average_sqr_grad, step_count, adam_step])
    >>> state = adam.init(param)                                             # {'grad_avg': zeros, 'sqr_avg': zeros, 'count': 0}
    >>> numbers = adam.numbers(state, dict(lr=1e-3, mom=.9, sqr_mom=.999, eps=1e-8))
    >>> change, state = adam.update(param, grad, state, numbers)             # nothing was written to
    >>> param = param + change

A step has two halves. `numbers` runs the scalars and the stats that are numbers, in plain Python, once for all parameters that
share their values. `update` runs the other parts on one parameter's tensors. Both walk down the list; a part sees what the parts
before it made.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .hypers import ENGINE_WORDS, SPELLINGS, TABLE, check, did_you_mean
from .part import REQUIRED, RESERVED, ContractError, Part, PartError

__all__ = ['Composition', 'Bound']


class Bound(NamedTuple):
    "A composition with a value for each of its hyperparameters, and the options that chose its parts."
    composition: Composition
    values: dict[str, Any]
    options: dict[str, Any]


class Composition:
    """An ordered list of parts that make an optimizer. Raises ContractError, saying what to write instead, if they do not.

    `parts` are the parts as listed, `stats` the stats by name, `hypers` the hyperparameters with their defaults.
    """
    def __init__(self, parts: Iterable[Part]):
        if isinstance(parts, Part) or not isinstance(parts, Iterable):
            raise ContractError(f'the parts of an optimizer are a list: [{getattr(parts, "label", type(parts).__name__)}]')
        if isinstance(parts, (set, frozenset)): raise ContractError('a set of parts has no order: give a list')
        self.parts = tuple(parts)
        for p in self.parts:
            if not isinstance(p, Part): raise ContractError(f'{_not_a_part(p)}')
        self.stats: dict[str, Part] = {}
        for p in self.parts:
            if p.kind == 'stat' and p.out in self.stats:
                raise ContractError(f'`{self.stats[p.out].label}` and `{p.label}` both keep `{p.out}`: leave one out, or give '
                                    f'one another name, `{p.__name__}.rename({p.out}=...)`')
            if p.kind == 'stat': self.stats[p.out] = p
        self.ordered = self._resolve()
        self.number_parts = [p for p in self.ordered if p.is_number]
        self.tensor_parts = [p for p in self.ordered if not p.is_number]
        self.number_stats = [n for n, p in self.stats.items() if p.is_number]
        self._clashes: dict[str, str] = {}  # hyperparameters whose parts have different defaults: the user must say which
        self.hypers = self._defaults()
        self.origins = {new: old for p in self.ordered for old, new in p.keywords}  # what a part calls a hyperparameter
        self._rehearsed: set[Any] = set()
        self._reads_new_param = any('new_param' in p.reads for p in self.ordered)

    # -- checks --------------------------------------------------------------------------------------------------------

    def _resolve(self) -> list[Part]:
        "The parts in the order they run, scalars before their first reader; each one's reads are there when it runs."
        if not any(p.kind == 'step' for p in self.parts):
            raise ContractError(f'[{", ".join(p.label for p in self.parts)}] has no step, so no parameter would move: '
                                'add one, such as `sgd_step`')
        ordered: list[Part] = []
        made: dict[str, Part | None] = {'param': None, 'grad': None}  # name -> the part that made it last

        def add(part: Part) -> None:
            for link in part.links.values():
                if made.get(link.out) != link: add(link)
            for name in part.reads: self._check_read(name, part, made)
            if part.kind == 'scalar' and made.get(part.out, part) != part:
                raise ContractError(f'`{made[part.out]}` and `{part}` are both known as `{part.out}`: '
                                    f'give one another name, `rename({part.out}=...)`')
            if part.out == 'update': made['new_param'] = part
            made[part.out] = part
            ordered.append(part)

        for part in self.parts:
            if part.kind == 'scalar' and part.out in self.stats:
                raise ContractError(f'`{part.label}` and `{self.stats[part.out].label}` are both known as `{part.out}`: '
                                    f'give one another name, `{part.__name__}.rename({part.out}=...)`')
            if part not in ordered or part.kind != 'scalar': add(part)
        self._check_new_param_is_last(ordered)
        return ordered

    def _check_read(self, name: str, part: Part, made: Mapping[str, Part | None]) -> None:
        reads, stat = f'`{part.label}` reads `{name}`', name.removeprefix('prev_')
        if name.startswith('prev_') and stat in self.stats: maker = self.stats[stat]
        elif name in made: maker = made[name]  # type: ignore[assignment]
        elif name in ('update', 'new_param'): raise ContractError(f'{reads}, and there is none before the first step: put it after one')
        elif name in self.stats:
            raise ContractError(f'{reads} before `{self.stats[name].label}` has updated it: put `{part.label}` later, '
                                f'or read `prev_{name}`, its value before this step')
        elif any(p.kind == 'scalar' and p.out == name for p in self.parts):
            raise ContractError(f'{reads} before it is computed: put `{part.label}` later')
        elif name in TABLE or name in SPELLINGS:
            raise ContractError(f'{reads}, a hyperparameter: those stand behind a `*`, as in `def {part.__name__}(..., *, {name})`')
        elif made_by := [k for k, p in Part.known_stats.items() if p == name]:
            raise ContractError(f'{reads}, which is a part: what it keeps is called `{made_by[0]}`')
        elif stat in Part.known_stats:
            raise ContractError(f'{reads}: add a stat that keeps it, such as `{Part.known_stats[stat]}`'
                                + (', before it' if stat == name else ''))
        elif stat in RESERVED: raise ContractError(f'{reads}, and only stats have a value before this step: keep `{stat}` in a stat')
        else:
            names = [*RESERVED, *self.stats, *Part.known_stats, *(p.out for p in self.parts if p.kind == 'scalar')]
            raise ContractError(f'{reads}, which no part keeps: add a @stat whose first argument is `{stat}` before it, '
                                f'or correct the name: {did_you_mean(stat, names)}')
        if part.is_number and not (maker and maker.is_number):
            raise ContractError(f'{reads}, a tensor, but a {part.kind} that is a number runs in plain Python and reads only '
                                'numbers' + (', so give it a tensor to begin with: init=torch.zeros_like' if part.kind == 'stat' else ''))

    def _check_new_param_is_last(self, ordered: list[Part]) -> None:
        "What reads the new parameter must see all of the update; only what it asks for itself (Lookahead) may come later."
        late: Part | None = None
        after: set[str] = {'new_param'}
        for p in ordered:
            if not after.isdisjoint(p.reads):
                late = late or p
                if p.kind == 'stat': after.add(p.out)
            elif late and p.out == 'update':
                raise ContractError(f'`{late.label}` reads `new_param` before `{p.label}` has changed the update: put it last')

    def _defaults(self) -> dict[str, Any]:
        res: dict[str, Any] = {}
        for p in self.ordered:
            for name, default in p.hypers.items():
                if name in self.stats or any(name == q.out for q in self.ordered):
                    raise ContractError(f'`{p.label}` calls a hyperparameter `{name}`, which is already a stat, a scalar or a tensor')
                known = res.setdefault(name, default)
                if known is REQUIRED: res[name] = default
                elif default is not REQUIRED and known != default: self._clashes[name] = f'{known:g} or {default:g}'
        res |= dict.fromkeys(self._clashes, REQUIRED)
        return {k: res[k] for k in sorted(res, key=[*TABLE, *res].index)}  # in the table's order, then a part's own

    # -- hyperparameters -----------------------------------------------------------------------------------------------

    def bind(self, given: Mapping[str, Any], fallback: Mapping[str, Any] | None=None) -> Bound:
        """Gives each hyperparameter its value: from `given`, which must all be taken, else `fallback`, else its default.

        Names are ours. Raises TypeError for one that no part takes or that is missing, ValueError for one out of range.
        """
        for name in given:
            if name not in self.hypers: raise unknown(name, self.hypers)
        values = self.hypers | {k: v for k, v in (fallback or {}).items() if k in self.hypers} | dict(given)
        for name, v in values.items():
            if v is REQUIRED:
                who = next(p.label for p in self.ordered if name in p.hypers)
                why = f'its parts disagree on the default, {self._clashes[name]}' if name in self._clashes else f'`{who}` needs it'
                raise TypeError(f'`{name}` is missing: {why}, so give {name}=...')
        return Bound(self, {k: check(k, v, self.origins[k]) for k, v in values.items()}, {})

    # -- the mathematics -----------------------------------------------------------------------------------------------

    def init(self, param: Tensor) -> dict[str, Any]:
        "The state of a parameter before its first step."
        return {name: part.start(param) for name, part in self.stats.items()}

    def numbers(self,
        state: Mapping[str, Any],   # A parameter's state; only its numbers are read
        hypers: Mapping[str, Any],  # A value for each of `self.hypers`
    ) -> dict[str, Any]:            # Hyperparameters, scalars, and the stats that are numbers: old (`prev_count`) and new (`count`)
        "The half of a step that is plain numbers: the same for all parameters with the same numbers in their state."
        if missing := [k for k in self.hypers if k not in hypers]: raise TypeError(f'`{missing[0]}` is missing: give all of {[*self.hypers]}')
        env = {**{k: hypers[k] for k in self.hypers}, **{f'prev_{k}': state[k] for k in self.number_stats}}
        for part in self.number_parts:
            env[part.out] = out = part.run(env)
            if not isinstance(out, (Real, Tensor)):
                raise PartError(f'`{part.label}` returned {_kind(out)}: a {part.kind} returns a number')
        return env

    def update(self,
        param: Tensor,
        grad: Tensor,                # Of `param`'s shape
        state: Mapping[str, Any],    # From `init`, or the last update
        numbers: Mapping[str, Any],  # From `numbers`, for the same state
        run: Callable[[Part, Mapping[str, Any]], Any]=Part.run
    ) -> tuple[Tensor, dict[str, Any]]:  # The change of `param`, of its shape; the new state
        "The half of a step that is tensors. Pure: it writes to nothing. Raises PartError if a part fails or breaks its contract."
        env = {**numbers, 'param': param, 'grad': grad, **{f'prev_{k}': v for k, v in state.items()}}
        for part in self.tensor_parts:
            out, like = run(part, env), env[part.reads[0]] if part.kind != 'step' else param
            if getattr(out, 'shape', None) != like.shape: raise _bad_result(part, out, like)
            env[part.out] = env['update'] + out if part.kind == 'step' and 'update' in env else out
            if part.out == 'update' and self._reads_new_param: env['new_param'] = param + env['update']
        return env['update'], {k: env[k] for k in self.stats}

    # -- the rehearsal -------------------------------------------------------------------------------------------------

    def rehearse(self,
        hypers: Mapping[str, Any],  # A value for each of `self.hypers`
        params: Sequence[Tensor]    # What it is for: only their shapes and dtypes are read
    ) -> None:
        """Runs every part on a few numbers, so that one which breaks the contract is named now and not at the first step.

        A part must return a tensor of the right shape, or a number; must not write to what it reads; and must give for a
        slice of a tensor the slice of what it gives for the whole, unless it says `whole=True`. If one does, the numbers
        have the shape of the smallest parameter. A hyperparameter that is 0 is tried as 0.1. Raises PartError.
        """
        whole = any(p.whole for p in self.parts)
        shape = min((p.shape for p in params if p.numel()), key=math.prod, default=(1,)) if whole else (5, 4)
        wide = any(p.dtype in (torch.float64, torch.complex128) for p in params)
        hypers = {k: v or .1 if k in TABLE else v for k, v in hypers.items()}
        if (key := (*hypers.items(), shape, wide)) in self._rehearsed: return
        with _disable_current_modes(), torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
            draw = torch.Generator().manual_seed(0)
            def random(scale: float) -> Tensor:
                return scale * torch.randn(shape, generator=draw, dtype=torch.float64 if wide else torch.float32, device='cpu')
            param = random(1.)
            state = self.init(param)
            for scale in (.1, 1000.):  # small and large, for parts that clip
                _, state = self.update(param, random(scale), state, self.numbers(state, hypers), _rehearsed)
        self._rehearsed.add(key)

    def __repr__(self) -> str: return ' → '.join(p.label for p in self.parts)
    def __eq__(self, other: object) -> bool: return isinstance(other, Composition) and self.parts == other.parts
    def __hash__(self) -> int: return hash(self.parts)
    def __reduce__(self) -> tuple[Any, ...]: return Composition, (self.parts,)
    def __deepcopy__(self, memo: dict[int, Any]) -> Composition: return self


def _not_a_part(x: Any) -> str:
    if hasattr(x, 'bind'): return f'{x.__name__} is a recipe, not a part: give its parts, *{x.__name__}.parts()'
    if isinstance(x, Tensor): return 'a tensor is not a part: the parameters come first, and then the list of parts'
    if isinstance(x, (list, tuple)): return 'a list is not a part: put a `*` before it, to have its parts in this list'
    return f'{getattr(x, "__name__", repr(x))} is not a part: decorate it with @stat, @scalar, @transform or @step'


def _rehearsed(part: Part, env: Mapping[str, Any]) -> Any:
    "Runs a part, and checks what it did."
    read = {k: v for k, v in env.items() if k in part.reads and isinstance(v, Tensor)}
    versions = {k: v._version for k, v in read.items()}
    out, like = part.run(env), env['param' if part.kind == 'step' else part.reads[0]]
    for k, v in read.items():
        if v._version != versions[k]:
            raise PartError(f'`{part.label}` writes into `{k}`: a part returns a new value and changes nothing it reads')
    if not (isinstance(out, Tensor) and out.is_floating_point() == like.is_floating_point()): raise _bad_result(part, out, like)
    for cut in () if part.whole or out.dim() == 0 or out.shape != env['param'].shape else (slice(1, 2), (..., slice(1, 2))):
        again = part.run({**env, **{k: v[cut] for k, v in read.items() if v.shape == out.shape}})
        near = 1e-5 * out.abs().max().item()  # vector and scalar instructions round differently
        if not (getattr(again, 'shape', None) == out[cut].shape and torch.allclose(again, out[cut], 1e-3, near, equal_nan=True)):
            raise PartError(f'`{part.label}` does not treat each element alone: for a part of a tensor it gives other values '
                            f'than for the whole. If it needs the tensor\'s own shape, or is random, say @{part.kind}(whole=True)')
    return out


def unknown(name: str, choices: Iterable[str]) -> TypeError:
    "The error for a hyperparameter that no part takes."
    if name in ENGINE_WORDS: return TypeError(f'`{name}`: {ENGINE_WORDS[name]}')
    also = f' (torch\'s {", ".join(f"`{s}`" for s in TABLE[name].torch)})' if name in TABLE and TABLE[name].torch else ''
    return TypeError(f'`{name}`{also}: no part takes it: {did_you_mean(name, choices)}')


def _kind(x: Any) -> str:
    if isinstance(x, Tensor): return f'a tensor of shape {tuple(x.shape)}' + ('' if x.is_floating_point() else f' and dtype {x.dtype}')
    return repr(x) if x is None or isinstance(x, Real) else f'a {type(x).__name__}'


def _bad_result(part: Part, out: Any, like: Tensor) -> PartError:
    what = {'stat': f'the new `{part.out}`', 'transform': f'the new `{part.out}`', 'step': 'the change of `param`'}[part.kind]
    return PartError(f'`{part.label}` returned {_kind(out)}: a {part.kind} returns {what}, a tensor of shape {tuple(like.shape)}')
