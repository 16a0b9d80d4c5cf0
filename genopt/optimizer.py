"""The Optimizer: parts, parameters in groups, and their state. It is a `torch.optim.Optimizer`.

    >>> opt = Optimizer(model.parameters(), [average_grad, momentum_step], lr=.1)
    >>> opt.step()

The algorithm is the parts; what is here is bookkeeping. `step` hands each group to an engine, which runs the parts.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from .checkpoint import MARKS, SWAPPED, begun, checked, refusal
from .composition import Bound, Composition, unknown
from .engines import eager
from .engines.compiled import Compiled
from .engines.compiled import check as check_compiles
from .engines.sparse import dense_or_rows
from .engines.totals import Work, totals
from .hypers import Hypers, canonical, check, is_note, is_per_group, own_names, per_group
from .interop.dynamo import outside_graphs
from .interop.fastai import ForLearner
from .interop.torch import from_torch, made_by_torch
from .params import Params, as_groups, describe, named, what_is_wrong
from .part import ContractError, Part, PartError
from .rehearsal import rehearse

if TYPE_CHECKING: from .study.explain import Explanation

__all__ = ['Optimizer', 'Group']


class Source(Protocol):
    "Where a group's parts come from: a Composition, or a Recipe, which has options too."
    def bind(self, given: Mapping[str, Any], fallback: Mapping[str, Any] | None=None) -> Bound: ...


class Group(Hypers):
    """A parameter group: `params`, the hyperparameters, `maximize`, and the names of its `parts`. Knows torch's names.

    Options can be read and written too: `group['momentum'] = .9` gives SGD a buffer, as in torch.
    """
    def __init__(self,
        items: Mapping[str, Any],
        source: Source,            # Makes its composition
        composition: Composition,
        options: dict[str, Any],   # Those that chose its parts
        index: int                 # Its place among the groups
    ):
        super().__init__(items)
        self.source, self.composition, self.options, self.index = source, composition, options, index
        self.settled = False  # has each state been seen to have these stats?

    def is_hyper(self, name: str) -> bool: return name in self.composition.hypers

    def check(self, name: str, value: Any) -> Any:
        return check(name, value, self.composition.origins[name], self.rounding)

    def readable(self) -> Mapping[str, Any]: return {**self.options, **self}

    def __setitem__(self, key: str, value: Any) -> None:
        if key == 'parts' and value != self['parts']:
            raise KeyError('the `parts` of a group are chosen when it is made: add another group, or make a new '
                           'Optimizer')
        if key == 'maximize': _check_flag(key, value)
        values = canonical({key: value}, self.readable())
        options = {n: v for n, v in values.items() if n in self.options}
        for n, v in options.items():
            if type(self.options[n]) in (int, float): check(n, v, slack=self.rounding)
        if changed := {n: v for n, v in options.items() if self.options[n] != v}: self._choose(changed)
        if not {*values} & {*self.options}: return super().__setitem__(key, value)
        for n in {*values} & {*self}: super().__setitem__(n, values[n])

    def _choose(self, options: dict[str, Any]) -> None:
        "Takes other options. If they choose other parts, state stays; what no part needs now waits, as in torch."
        composition, values, options = self.source.bind(options, {**self.options, **self.hypers()})
        if composition is not self.composition: rehearse(composition, _plain(values), self['params'])
        if new := {*composition.number_stats} - {*self.composition.number_stats}:
            raise ValueError(f'`{min(new)}` would begin in the middle of a run: give this option when the optimizer is '
                             'made')
        for k in self.composition.hypers: dict.pop(self, k)
        self.composition, self.options, self.settled = composition, options, False
        dict.update(self, values, parts=[p.label for p in composition.parts])

    def describe(self, param: Tensor) -> str:
        "How errors call one of its parameters."
        i = next(i for i, p in enumerate(self['params']) if p is param)
        return describe(param, i, self.index, self.get('param_names'))

    def copy(self) -> Group: return Group(dict(self), self.source, self.composition, self.options, self.index)

    def __reduce__(self) -> tuple[Any, ...]:
        return Group, (dict(self), self.source, self.composition, self.options, self.index)


def _check_flag(key: str, value: Any) -> None:
    if not isinstance(value, bool): raise TypeError(f'`{key}` = {value!r}: give True or False')


class Optimizer(ForLearner, torch.optim.Optimizer):
    """Runs `parts` on `params`. Everything is checked here, before the first step.

    Raises ContractError if the parts do not make an optimizer, PartError if one breaks its contract on a trial run, and
    TypeError or ValueError for parameters and hyperparameters that are wrong.
    """
    param_groups: list[Any]

    def __init__(self,
        params: Params,        # Tensors, (name, tensor) pairs, dicts of a group each, or lists of a group each
        parts: Iterable[Part] | Source | None=None,  # In order; or a recipe. Or each group has `parts`
        *,
        maximize: bool=False,  # Climb instead of descending?
        compile: bool=False,   # Run the parts as one compiled kernel?
        **hypers: Any          # Hyperparameters, and a recipe's options: under our names or torch's. A list or a slice
    ):                         # of numbers has one for each group: see `set_hyper`
        self.recipe = None if parts is None else _as_source(parts)
        _check_flag('maximize', maximize)
        _check_flag('compile', compile)
        self._set_engine(compile)
        groups = as_groups(params)
        numbers = {k: v for k, v in hypers.items() if isinstance(getattr(self.recipe, 'options', {}).get(k, 0.), float)}
        for k in [k for k, v in numbers.items() if is_per_group(k, v)]:
            each = per_group(k, hypers[k], len(groups))
            for g, v in zip(groups, each):
                if not {*own_names(k)} & {n for key in g for n in own_names(key)}: g[k] = v
            hypers[k] = each[-1]
        self._given, self._maximize = hypers, maximize  # in the words that were given: see `bind`
        super().__init__(groups, {})
        taken = [k for g in self.param_groups for k in (*g.composition.hypers, *g.options)]
        given = canonical(self._given, taken)
        for name in given:
            if name not in taken: raise unknown(name, taken)
        try: _, values, options = (self.recipe or self.param_groups[0].source).bind({}, self._given)
        except TypeError:
            values, options = self.param_groups[0].hypers(), {}  # each group gives an lr of its own, for example
        self.defaults = Hypers({**options, **values, **given})

    @property
    def name(self) -> str: return getattr(self.recipe, '__name__', type(self).__name__)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group: a dict with `params`, and with hyperparameters, options and `parts` where it has its own.

        Raises what the constructor raises; then nothing has changed.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(f'a group is a dict with `params`, but this one is {param_group!r}')
        index = len(self.param_groups)
        names, params = named(param_group, index)
        seen = {p for g in self.param_groups for p in g['params']}
        for i, p in enumerate(params):
            if wrong := what_is_wrong(p, seen): raise type(wrong)(f'{describe(p, i, index, names)}{wrong}')
            seen.add(p)
        if index and bool(names) != ('param_names' in self.param_groups[0]):
            raise ValueError(f'group {index}: all groups should be given with names, or all without')
        own = {k: v for k, v in param_group.items() if k not in ('params', 'param_names', 'parts', 'maximize')}
        notes = {k: own.pop(k) for k in list(own) if is_note(k)}
        _check_flag('maximize', maximize := param_group.get('maximize', self._maximize))
        source = _as_source(param_group['parts']) if 'parts' in param_group else self.recipe
        if source is None:
            raise TypeError(f'group {index} has no parts: give them to the Optimizer, or to the group as `parts=`')
        composition, values, options = source.bind(own, self._given)
        for part in composition.ordered if composition.needs else ():
            for i, p in enumerate(params):
                if why := _unfit(part, p): raise ValueError(f'{describe(p, i, index, names)}: `{part.label}` {why}')
        for other in self.param_groups: _check_totals(composition, other.composition)
        rehearse(composition, _plain(values), params)
        if self.compiled: check_compiles(composition, _plain(values), params)
        items = {'params': params, **({'param_names': names} if names else {}), **values, **notes,
                 'maximize': maximize, 'parts': [p.label for p in composition.parts]}
        self.param_groups.append(Group(items, source, composition, options, index))

    @torch.no_grad()
    @outside_graphs
    def step(self, closure: Callable[[], Any] | None=None) -> Any:
        """Moves each parameter that has a gradient. Returns what `closure` returns, if it is given.

        Raises TypeError for a sparse gradient that the parts do not take, before anything has moved, and PartError if a
        part fails.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad(): loss = closure()
        found = [dense_or_rows(w) for group in self.param_groups for w in self._work(group)]
        work, sparse = [w for w, _ in found], [rows for _, rows in found if rows]
        sums = totals(work) if any(w.group.composition.totals for w in work) else {}
        for w in work:
            self._run(w.group.composition, w.hypers | sums, w.params, w.grads, w.states, w.group.describe,
                      w.group['maximize'])
        for rows in sparse: rows.step()
        return loss

    def _work(self, group: Group) -> list[Work]:
        "What there is to do in a group: for those with weight decay, and for those marked as without."
        params, grads = _with_gradients(group['params'])
        states, n = [self.state[p] for p in params], len(group.composition.stats)
        hypers, bare = _plain(group.hypers()), [False]
        # Usually each state is its stats. If not, it has marks too, waits for an option, or has not begun
        marked = n <= len(MARKS) and any('do_wd' in s or 'force_train' in s for s in states)
        if marked or not group.settled or {*map(len, states)} != {n}:
            states = [self._state_of(group, p) for p in params]
            if any(SWAPPED in s for s in states):
                raise RuntimeError('the parameters are swapped with their averages: call swap() again before step()')
            group.settled = True
            bare = [not s.get('do_wd', True) for s in states]
        if not any(bare): return [Work(group, hypers, params, grads, states)]
        origins = group.composition.origins
        return [Work(group, {k: 0. if off and origins[k] == 'wd' else v for k, v in hypers.items()},
                     *([x for x, b in zip(xs, bare) if b == off] for xs in (params, grads, states)))
                for off in (False, True)]

    def _state_of(self, group: Group, p: Tensor) -> dict[str, Any]:
        state = cast('dict[str, Any]', self.state[p])
        stats = group.composition.stats
        if state.keys() >= stats.keys(): return state
        hypers = _plain(group.hypers())
        try: state.update({k: part.start(p, hypers) for k, part in stats.items() if k not in state})  # an option's too
        except PartError as e: raise PartError(f'{e} (on {group.describe(p)})') from e.__cause__
        return state

    def init_state(self) -> None:
        "Makes the state of every parameter that has none now, instead of on its first step."
        for group in self.param_groups:
            for p in group['params']: self._state_of(group, p)

    def explain(self) -> Explanation:
        "What it is: equations, hyperparameters, memory and sources, for each of its groups (those alike together)."
        from .study.explain import explain
        return explain(self)

    @torch.no_grad()
    @outside_graphs
    def swap(self, name: str='') -> None:
        """Puts a stat such as `param_avg` in the parameters' place, for evaluation; called again, puts them back.

        `name` is the stat; not needed if just one reads `new_param`. Parameters without a state stay. A checkpoint that
        is made in between knows of it. Raises ValueError if there is no such stat, RuntimeError in `step` in between.
        """
        if self._is_swapped():
            for p, state in self.state.items():
                if SWAPPED in state: p.copy_(state.pop(SWAPPED))
            return
        chosen = [(group, _average_of(group, name)) for group in self.param_groups]
        if not any(stat for _, stat in chosen):
            raise ValueError(f'no part keeps `{name}`, of the shape of its parameter' if name else
                             'no stat reads `new_param`: add one that averages the parameters, such as `average_param`')
        todo = [(p, state, state[stat], group) for group, stat in chosen for p in group['params'] if stat
                and stat in (state := self.state.get(p, {}))]
        for p, _, new, group in todo:
            if new.shape != p.shape:
                raise ValueError(f'{group.describe(p)}: `{name}` has the shape {tuple(new.shape)}, so it cannot take '
                                 'its place')
        for p, state, new, _ in todo:
            state[SWAPPED] = p.detach().clone(memory_format=torch.preserve_format)
            p.copy_(new)

    @contextmanager
    def swapped(self, name: str='') -> Iterator[None]:
        "As `swap`, for the length of a `with`. Raises RuntimeError if they are swapped already."
        if self._is_swapped(): raise RuntimeError('the parameters are swapped with their averages already')
        self.swap(name)
        try: yield
        finally:
            if self._is_swapped(): self.swap()

    def _is_swapped(self) -> bool: return any(SWAPPED in s for s in self.state.values())

    @outside_graphs
    def state_dict(self) -> dict[str, Any]:
        """State and groups in torch's shape: only tensors, numbers, strings, lists and dicts. It refers to live state.

        Each group names its `parts`. If any parameter has a state, each has an entry, so that one cut short is noticed.
        """
        for group in self.param_groups if self.state else ():
            for p in group['params']:
                if begun(self.state[p]): self._state_of(group, p)
        here = {p for group in self.param_groups for p in group['params']}
        for p in [p for p in self.state if p not in here]: del self.state[p]  # see `param_lists`
        return super().state_dict()

    @outside_graphs
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a copy of what `state_dict` returned here, or what a torch.optim twin of this recipe returned.

        Everything is checked first: raises ValueError if it is of other parts, groups or shapes, or incomplete, and
        nothing has changed. State keeps the dtype that it was saved in, and goes to its parameter's device.
        """
        if not isinstance(state_dict, Mapping): raise refusal(f'it is a {type(state_dict).__name__}, and not a dict')
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            if (changed := hook(self, state_dict)) is not None: state_dict = changed
        try:
            if made_by_torch(state_dict): state_dict = from_torch(state_dict, self.recipe)
            groups, self.state = checked(state_dict, self.param_groups, self.state)
        except (TypeError, KeyError, AttributeError) as e:
            raise refusal(f'it is damaged ({type(e).__name__}: {e})') from e
        for group, items in zip(self.param_groups, groups): dict.update(group, items)
        if self._engine: self._engine.forget()
        for done in self._optimizer_load_state_dict_post_hooks.values(): done(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), 'recipe': self.recipe, '_given': self._given, '_maximize': self._maximize,
                'compiled': self.compiled, 'frozen_idx': self.frozen_idx}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._set_engine(state['compiled'])

    def _set_engine(self, compiled: bool) -> None:
        "Compiled kernels and addresses of tensors are of this process: they are neither pickled nor copied."
        self.compiled, self._engine = compiled, Compiled() if compiled else None
        self._run = self._engine.run if self._engine else eager.run

    def __repr__(self) -> str:
        res = f'{self.name}(\n' + '  compiled\n' * self.compiled
        for i, group in enumerate(self.param_groups):
            hypers = [f'{k}={float(v):g}' for k, v in group.hypers().items()] + ['maximize'] * group['maximize']
            params = group['params']
            res += (f'  group {i}: {len(params)} parameters, {sum(p.numel() for p in params):,} elements\n'
                    f'    {group.composition}\n    {", ".join(hypers)}\n')
        return res + ')'


def _average_of(group: Group, name: str) -> str:
    "The stat that `swap` means, in this group: '' if there is none. Raises ValueError if it might be several."
    stats = group.composition.stats
    found = [k for k, part in stats.items() if (k == name if name else 'new_param' in part.reads)]
    if len(found) > 1:
        names = ' and '.join(f'`{k}`' for k in found)
        raise ValueError(f'{names} read `new_param`: say which, as in swap({found[0]!r})')
    return found[0] if found and not stats[found[0]].is_number else ''


def _with_gradients(params: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    "The parameters that have a gradient, and these."
    grads = [g for p in params if (g := p.grad) is not None]
    return params if len(grads) == len(params) else [p for p in params if p.grad is not None], grads


def _plain(hypers: Mapping[str, Any]) -> dict[str, float]:
    return {k: v.item() if isinstance(v, Tensor) else v for k, v in hypers.items()}


def _check_totals(a: Composition, b: Composition) -> None:
    "Two groups' totals of one name must be the same, and come in the same order."
    for k in {*a.totals} & {*b.totals}:
        if a.totals[k] != b.totals[k]:
            raise ContractError(f'two groups have each a total `{k}`, and they are not the same: rename one')
        if [p for p in a.before[k] if p.out in b.totals] != [p for p in b.before[k] if p.out in a.totals]:
            raise ContractError(f'two groups have the total `{k}` and others in another order: give both the same')


def _unfit(part: Part, p: Tensor) -> str:
    "Why a part is not for this parameter, if so."
    if part.needs and p.is_complex(): return 'takes no complex numbers'
    if part.needs == 'matrix' and p.dim() != 2:
        return f'is for matrices, and this has {p.dim()} dimensions: give it to a group with other parts (see `route`)'
    return ''


def _as_source(parts: Any) -> Source: return cast(Source, parts) if hasattr(parts, 'bind') else Composition(parts)
