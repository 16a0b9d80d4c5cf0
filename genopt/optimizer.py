"""The Optimizer: parts, parameters in groups, and their state. It is a `torch.optim.Optimizer`.

    >>> opt = Optimizer(model.parameters(), [average_grad, momentum_step], lr=.1)
    >>> opt.step()

The algorithm is the parts; what is here is bookkeeping. `step` hands each group to an engine, which runs the parts.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from . import averages
from .checkpoint import begun, checked, refusal, refusing
from .composition import Composition
from .engines import eager
from .engines.compiled import Compiled
from .engines.segments import segments
from .engines.shield import shielded
from .engines.sparse import dense_or_rows
from .engines.totals import totals
from .engines.work import Work
from .group import ENGINE_WORDS, OWN, Group, is_slip
from .hypers import TABLE, check_flag, is_per_group, per_group
from .interop.dynamo import outside_graphs
from .interop.fastai import ForLearner
from .interop.torch import from_torch, made_by_torch
from .numbers import kept
from .params import Params, as_groups, describe, named, what_is_wrong
from .part import REQUIRED, ContractError, Part, PartError
from .recipe import rule_of
from .rehearsal import rehearse
from .rule import Rule
from .twins import torchs_names
from .words import Words, unknown

if TYPE_CHECKING: from .study.explain import Explanation

__all__ = ['Optimizer']


class Optimizer(ForLearner, torch.optim.Optimizer):
    """Runs `parts` on `params`. Everything is checked here, before the first step.

    Raises ContractError if the parts do not make an optimizer, PartError if one breaks its contract on a trial run, and
    TypeError or ValueError for parameters and hyperparameters that are wrong.
    """
    param_groups: list[Any]
    state: defaultdict[Any, Any]
    recipe: Any = None             # What `parts` was: a recipe, or a Composition
    compiled = False
    _rule: Rule | None = None      # Of groups without parts of their own
    _given: dict[str, Any] = {}    # Hyperparameters and options as they were given, which hold for all groups
    _made: dict[str, Any] = {}     # The defaults as they were when it was made
    _rules: tuple[Rule, ...] = ()  # Of each group, for whoever puts a plain dictionary in its place

    def __init__(self,
        params: Params,        # Tensors, (name, tensor) pairs, dicts of a group each, or lists of a group each
        parts: Iterable[Part] | Any=None,  # In order; or a recipe, or its name. Or each group has `parts`
        *,
        maximize: bool=False,  # Climb instead of descending?
        compile: bool=False,   # Run the parts as one compiled kernel?
        **hypers: Any          # Hyperparameters, and a recipe's options: under our names or torch's. A list or a slice
    ):                         # of numbers has one for each group: see `set_hyper`
        check_flag('maximize', maximize)
        check_flag('compile', compile)
        compile = _engine_words(hypers) or compile
        self._rule = None if parts is None else rule_of(parts)
        self.recipe = self._rule and (self._rule.recipe or self._rule.composition)
        self._set_engine(compile)
        groups = as_groups(params)
        self._spread(hypers, groups)
        self._given, defaults = hypers, {**self._defaults(hypers), 'maximize': maximize}
        self._made = dict(defaults)
        super().__init__(groups, defaults)
        words = [g.rule.words for g in self.param_groups]
        for name in hypers:
            if not any(name in w.means for w in words): raise unknown(name, *words)
        first = self.param_groups[0]  # each group may have an lr of its own, for example
        self.defaults = {k: v for k, v in first.items() if k in first.rule.words.means} | defaults
        self._made = dict(self.defaults)

    def _spread(self, hypers: dict[str, Any], groups: list[dict[str, Any]]) -> None:
        "Where a value was given for each group, hands them out."
        rule = self._rule and self._rule.choose(self._rule.options_in(hypers))
        words, options = (rule.words, rule.options) if rule else (Words(TABLE), {})
        for k, v in hypers.items():
            names = words.means.get(k, ())
            if rule and not names: continue
            if any(not isinstance(options.get(n, 0.), float) for n in names): continue
            if not is_per_group(v, size := words.size(k, v)): continue
            each = per_group(k, v, len(groups), size)
            for g, one in zip(groups, each):
                if not any({*names} & {*words.means.get(w, ())} for w in g): g[k] = one
            hypers[k] = each[-1]

    def _defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        "What a group without values of its own has, in torch's words."
        if not self._rule: return dict(given)
        rule = self._rule.choose(self._rule.options_in(given))
        ours = rule.words.ours({k: v for k, v in given.items() if k in rule.words.means})  # others are a group's
        values = rule.words.torchs({**rule.options, **rule.defaults, **ours})
        return {k: v for k, v in values.items() if v is not REQUIRED and not (isinstance(v, tuple) and REQUIRED in v)}

    @property
    def name(self) -> str: return getattr(self.recipe, '__name__', type(self).__name__)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group: a dict with `params`, and with hyperparameters, options and `parts` where it has its own.

        What is none of these is a note. Raises what the constructor raises; then nothing has changed.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(f'a group is a dict with `params`, but this one is {param_group!r}')
        groups = self._groups()
        index = len(groups)
        names, params = named(param_group, index)
        seen = {p for g in groups for p in g['params']}
        for i, p in enumerate(params):
            if wrong := what_is_wrong(p, seen): raise type(wrong)(f'{describe(p, i, index, names)}{wrong}')
            seen.add(p)
        if index and bool(names) != ('param_names' in groups[0]):
            raise ValueError(f'group {index}: all groups should be given with names, or all without')
        check_flag('maximize', maximize := param_group.get('maximize', self.defaults.get('maximize', False)))
        base, labels = self._rule_for(param_group, index)
        own, notes = _sorted_out(param_group, base)
        rule, values = base.bind(own, self._fallback(base))
        composition = rule.composition
        if labels and labels != [p.label for p in composition.parts]:
            raise ContractError(f'group {index} is of {" → ".join(labels)}, and here it would be {composition}: leave '
                                'out its `parts`, or give parts that make it so')
        for part in composition.ordered if composition.needs else ():
            for i, p in enumerate(params):
                if why := _unfit(part, p): raise ValueError(f'{describe(p, i, index, names)}: `{part.label}` {why}')
        if composition.totals:
            for other in groups: _check_totals(composition, other.composition)
        plain = _plain(values)
        rehearse(composition, plain, params)
        if self.compiled: segments(composition, plain, params)
        self.param_groups.append(Group({
            'params': params, **({'param_names': names} if names else {}),
            **rule.words.torchs({**rule.options, **values}), **notes, 'maximize': maximize,
            'parts': [p.label for p in composition.parts]}, rule, index))
        self._rules = (*self._rules[:index], rule)

    def _rule_for(self, group: Mapping[str, Any], index: int) -> tuple[Rule, list[str]]:
        "The rule that a group asks for with its `parts`; and the labels, if those are names of parts."
        parts = group.get('parts')
        labels = _labels(parts)
        if parts is not None and not labels: return rule_of(parts), []
        if self._rule: return self._rule, labels
        if isinstance(group, Group): return group.rule, labels
        raise TypeError(f'group {index} has no parts: give them to the Optimizer, or to the group as `parts=`')

    def _fallback(self, rule: Rule) -> dict[str, Any]:
        "What a new group has of the optimizer: all of its defaults; under another rule, only values that were given."
        if self._rule and rule.recipe is self._rule.recipe and rule.composition is self._rule.composition:
            return self.defaults
        changed = {k: v for k, v in self.defaults.items() if k not in self._made or v is not self._made[k]}
        return {**self._given, **changed}

    def _groups(self) -> list[Group]:
        """The groups. A plain dictionary that somebody has put among them becomes a group again.

        Raises TypeError or ValueError if it has no `params`, or values that are not numbers.
        """
        groups = self.param_groups
        if all(type(g) is Group for g in groups): return groups
        groups = self.param_groups = groups if isinstance(groups, list) else list(groups)
        for i, g in enumerate(groups):
            if type(g) is Group: continue
            rule = self._known_rule(g, i)
            means = rule.words.means
            said = {n for k in g for n in means.get(k, ())}
            known = {k: v for k, v in self._fallback(rule).items() if k in means and not {*means[k]} & said}
            groups[i] = Group.adopt({**known, **g}, rule, i)
        seen = set[Any]()
        for group in groups:
            for i, p in enumerate(group['params']):
                if wrong := what_is_wrong(p, seen):
                    raise type(wrong)(f'{describe(p, i, group.index, group.get("param_names"))}{wrong}')
                seen.add(p)
        self._rules = tuple(g.rule for g in groups)
        return groups

    def _known_rule(self, group: Mapping[str, Any], index: int) -> Rule:
        "The rule of the group that a plain dictionary was: the one in its place, or else one of the same parts."
        if not isinstance(group, Mapping) or 'params' not in group:
            raise TypeError(f'group {index} is {group!r}: a group is a dict with `params`')
        parts, there = group.get('parts'), self._rules[index:index + 1]
        if parts is not None and not _labels(parts): return rule_of(parts)
        alike = [r for r in self._rules if [p.label for p in r.composition.parts] == parts]
        if parts and not alike:
            raise TypeError(f'group {index} is of {" → ".join(parts)}, and no group of this optimizer was')
        found = next((r for r in there if r in alike or 'parts' not in group), None) or next(iter(alike), None)
        rule = found or self._rule or next(iter(there), None)
        if rule is None: raise TypeError(f'group {index} is of none of the rules that this optimizer has')
        return rule

    # -- a step -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    @outside_graphs
    def step(self, closure: Callable[[], Any] | None=None) -> Any:
        """Moves each parameter that has a gradient. Returns what `closure` returns, if it is given.

        Raises TypeError for a sparse gradient that the parts do not take, before anything has moved, and PartError if a
        part fails. An interrupt (Ctrl-C) is put off until the step is done.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad(): loss = closure()
        found, place = [], 0
        for group in self._groups():
            found += [dense_or_rows(w) for w in self._work(group, place)]
            place += len(group['params'])
        work, sparse = [w for w, _ in found], [rows for _, rows in found if rows]
        sums = totals(work) if any(w.composition.totals for w in work) else {}
        with shielded():
            for w in work:
                if sums: w.hypers = w.hypers | sums
                self.engine(w)
            for rows in sparse: rows.step()
        return loss

    def _work(self, group: Group, place: int) -> list[Work]:
        "A group's work: one Work, or two if some parameters are marked as having no weight decay."
        params, grads = _with_gradients(group['params'])
        try: states = [self.state[p] for p in params]
        except KeyError: states = [self._entry(p) for p in params]  # somebody has put a plain dict there
        places = range(place, place + len(params)) if params is group['params'] else [
            place + i for i, p in enumerate(group['params']) if p.grad is not None]
        hypers, composition = _plain(group.hypers()), group.composition
        work = Work(composition, hypers, params, grads, states, group.describe, group['maximize'], places, group.plans)
        if group.settled and {*map(len, states)} <= {len(composition.stats)}:
            try: return [work.gather()]
            except KeyError: pass
        # Not each state is just its stats: it has marks too, waits for an option, or has not begun
        for p in params: self._state_of(group, p)
        if averages.is_swapped(states):
            raise RuntimeError('the parameters are swapped with their averages: call swap() again before step()')
        group.settled = True
        work.gather()
        decaying = [s.get('do_wd', True) for s in states]
        if all(decaying): return [work]
        decays = {k for k, origin in composition.original_names.items() if origin == 'wd'}
        off = {k: 0. if k in decays else v for k, v in hypers.items()}
        rest, without = (work.only([i for i, d in enumerate(decaying) if bool(d) == on]) for on in (True, False))
        without.hypers = off
        return [w for w in (rest, without) if w.params]

    def _entry(self, p: Tensor) -> dict[str, Any]:
        state = self.state.get(p)
        if state is None: state = self.state[p] = {}
        return cast('dict[str, Any]', state)

    def _state_of(self, group: Group, p: Tensor) -> dict[str, Any]:
        "A parameter's state, with every stat that its parts keep."
        state, stats = self._entry(p), group.composition.stats
        for theirs, ours in torchs_names(group.rule).items():  # somebody has written it in torch's words
            if theirs in state: state[ours] = state.pop(theirs)
        missing = [k for k in stats if k not in state]
        if missing:
            hypers = _plain(group.hypers())
            try: new = {k: stats[k].start(p, hypers) for k in missing}  # all of it, or what an option brings in
            except PartError as e: raise PartError(f'{e} (on {group.describe(p)})') from e.__cause__
            state.update({k: kept(v) if stats[k].is_number else v for k, v in new.items()})
        return state

    def init_state(self) -> None:
        "Makes the state of every parameter that has none now, instead of on its first step."
        for group in self._groups():
            for p in group['params']:
                if p.is_floating_point() or p.is_complex(): self._state_of(group, p)

    def explain(self) -> Explanation:
        "What it is: equations, hyperparameters, memory and sources, for each of its groups (those alike together)."
        from .study.explain import explain
        return explain(self)

    # -- averages of the weights ---------------------------------------------------------------------------------

    @torch.no_grad()
    @outside_graphs
    def swap(self, name: str='') -> None:
        """Puts a stat such as `param_avg` in the parameters' place, for evaluation; called again, puts them back.

        `name` is the stat; not needed if just one reads `new_param`. Parameters without a state stay. A checkpoint that
        is made in between knows of it. Raises ValueError if there is no such stat. While swapped, `step` raises
        RuntimeError.
        """
        with shielded(): averages.swap(self._groups(), self.state, name)

    @contextmanager
    def swapped(self, name: str='') -> Iterator[None]:
        "As `swap`, for the length of a `with`. Raises RuntimeError if they are swapped already."
        if self._is_swapped(): raise RuntimeError('the parameters are swapped with their averages already')
        try:
            try:
                self.swap(name)
                yield
            finally: self._put_back()
        finally: self._put_back()  # an interrupt may have come before that had begun

    def _put_back(self) -> None:
        with shielded():
            if self._is_swapped(): self.swap()

    def _is_swapped(self) -> bool: return averages.is_swapped(self.state.values())

    # -- checkpoints and copies ----------------------------------------------------------------------------------

    @outside_graphs
    def state_dict(self) -> dict[str, Any]:
        """State and groups in torch's shape: only tensors, numbers, strings, lists and dicts. It refers to live state.

        Each group names its `parts`. If any parameter has a state, each has an entry, so that one cut short is noticed.
        State of a tensor in no group is left out; entries under other keys are kept.
        """
        for before in self._optimizer_state_dict_pre_hooks.values(): before(self)
        groups, index = self._groups(), dict[int, int]()
        for group in groups:
            for p in group['params']:
                if p in self.state and begun(self.state[p]): self._state_of(group, p)
                index.setdefault(id(p), len(index))
        state: dict[Any, Any] = {index[id(p)]: self.state[p] for p in self.state
                                 if isinstance(p, Tensor) and id(p) in index}
        if any(state.values()): state = {i: state.get(i, {}) for i in range(len(index))}
        else: state = {}
        state |= {k: v for k, v in self.state.items() if not isinstance(k, Tensor)}
        saved: dict[str, Any] = {'state': state, 'param_groups': [
            {**g, 'params': [index[id(p)] for p in g['params']]} for g in groups]}
        for after in self._optimizer_state_dict_post_hooks.values():
            if (changed := after(self, saved)) is not None: saved = changed
        return saved

    @outside_graphs
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a copy of what `state_dict` returned here, or what a torch.optim twin of this recipe returned.

        Everything is checked first: raises ValueError if it is of other parts, groups or shapes, or incomplete, and
        RuntimeError while the parameters are swapped with their averages; then nothing has changed. State keeps the
        dtype that it was saved in, and goes to its parameter's device.
        """
        if not isinstance(state_dict, Mapping): raise refusal(f'it is a {type(state_dict).__name__}, and not a dict')
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            if (changed := hook(self, state_dict)) is not None: state_dict = changed
        if self._is_swapped():
            raise RuntimeError('the parameters are swapped with their averages: call swap() before load_state_dict()')
        with refusing():
            if made_by_torch(state_dict): state_dict = from_torch(state_dict, self.recipe)
        groups, state = checked(state_dict, self._groups(), self.state)
        with shielded():
            self.param_groups[:], self.state = groups, state
        self._rules = tuple(g.rule for g in groups)
        for done in self._optimizer_load_state_dict_post_hooks.values(): done(self)

    def __getstate__(self) -> dict[str, Any]:
        own = 'recipe', 'compiled', 'frozen_idx', '_rule', '_given', '_rules', '_made', '_told'
        return {**super().__getstate__(), **{k: self.__dict__[k] for k in own if k in self.__dict__}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        "Takes some of the attributes, or all. Those that it does not name stay."
        super().__setstate__(state)
        self.defaults.pop('differentiable', None)  # torch adds it, and no rule takes it
        for group in self.param_groups:
            if type(group) is Group: group.settled, group.plans = False, {}
        self._set_engine(self.compiled)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if type(self) is not getattr(self.recipe, 'optimizer_class', None): return super().__reduce_ex__(protocol)
        return _blank, (self.recipe,), self.__getstate__()  # its class is found through its recipe

    def _set_engine(self, compiled: bool) -> None:
        "Compiled kernels and addresses of tensors are of this process: they are neither pickled nor copied."
        self.compiled = compiled
        self.engine: Callable[[Work], None] = Compiled().run if compiled else eager.run

    def __repr__(self) -> str:
        res = f'{self.name}(\n' + '  compiled\n' * self.compiled
        for i, group in enumerate(self._groups()):
            hypers = [f'{k}={float(v):g}' for k, v in group.hypers().items()] + ['maximize'] * group['maximize']
            params = group['params']
            res += (f'  group {i}: {len(params)} parameter{"s" * (len(params) != 1)}, '
                    f'{sum(p.numel() for p in params):,} elements\n'
                    f'    {group.composition}\n    {", ".join(hypers)}\n')
        return res + ')'


# As torch would do with the first instance; but then in the class of a recipe, and not here
Optimizer.step = torch.optim.Optimizer.profile_hook_step(Optimizer.step)  # type: ignore[method-assign]
Optimizer.step.hooked = True  # type: ignore[attr-defined]


def _labels(parts: Any) -> list[str]:
    "`parts` as a group has them, by name; an empty list if it is a recipe, or parts."
    return [*parts] if isinstance(parts, list) and all(isinstance(p, str) for p in parts) else []


def _blank(recipe: Any) -> Any:
    "For unpickling: an optimizer that a recipe makes, before it has anything."
    cls = recipe.optimizer_class
    return cls.__new__(cls)


def _engine_words(hypers: dict[str, Any]) -> bool:
    "Takes torch's words for how a rule runs out of `hypers`. True if a kernel is asked for."
    given = {k: hypers.pop(k) for k in [*hypers] if k in ENGINE_WORDS}
    for k, v in given.items():
        if v not in (None, False, True): raise TypeError(f'`{k}` = {v!r}: give True, False or None')
    if given.get('capturable'):
        raise TypeError('`capturable`: a step reads its counts, so it cannot be captured in a CUDA graph: leave it out')
    if given.get('differentiable'):
        raise TypeError('`differentiable`: to differentiate through a step, call `Composition.update`, which is a pure '
                        'function, and leave this out')
    return bool(given.get('fused'))


def _sorted_out(group: Mapping[str, Any], rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
    "A group's hyperparameters and options, and its notes. Raises TypeError for what looks like a slip."
    group = {k: v for k, v in group.items() if k not in OWN}
    words = rule.choose(rule.options_in(group)).words
    notes = {k: v for k, v in group.items() if k not in words.means}
    for k in notes:
        if is_slip(k, words): raise unknown(k, words)
    _engine_words({k: v for k, v in notes.items() if k in ('capturable', 'differentiable')})
    return {k: v for k, v in group.items() if k not in notes}, notes


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
