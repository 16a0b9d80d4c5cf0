"""The Optimizer: parts, parameters in groups, and their state. It is a `torch.optim.Optimizer`.

    >>> opt = Optimizer(model.parameters(), [average_grad, momentum_step], lr=.1)
    >>> opt.step()

The algorithm is the parts, and the rest is bookkeeping. `step` hands each group to an engine,
which runs the parts.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from .averages import Averaging
from .catalogue import rule_of
from .engines.compiled import Compiled
from .engines.kernels import check_parts
from .engines.modes import Engine, asked, engine_for, report, take_engine_words
from .engines.shield import shielded
from .engines.work import Work
from .feeding import Feeding, asks_again
from .group import Group
from .hypers import check_flag
from .interop.dynamo import outside_graphs
from .interop.fastai import ForLearner
from .interop.hooks import with_hooks
from .joining import new_group, restore_groups
from .loading import Loading
from .losing import Losing
from .params import Params, as_groups
from .part import Part
from .releasing import Releasing, unless_released
from .settings import Settings
from .sharding import Sharding
from .state import begin, in_order, work_of
from .storage import check_names, has_halves
from .surgery import Surgery
from .words import NOTES, unknown

__all__ = ['Optimizer']


class Optimizer(ForLearner, Surgery, Averaging, Feeding, Loading, Losing, Releasing,
                torch.optim.Optimizer):
    """Runs `parts` on `params`. Everything is checked here, before the first step.

    Raises ContractError if the parts do not make an optimizer, PartError if one breaks its
    contract on a trial run, and TypeError or ValueError for wrong parameters and hyperparameters.
    """
    param_groups: list[Any]
    _advancing: Engine | None = None  # in place of the engine
    state: defaultdict[Any, Any]
    recipe: Any = None  # What `parts` was: a recipe, or a Composition
    compile: bool | None = None
    recorders: tuple[Any, ...] = ()  # They look at each step before it is made
    decisions: Any = None  # What `create` decided for each parameter: see `planning`

    def __init__(self,
        params: Params,  # Tensors, (name, tensor) pairs, or a dict or a list for each group
        parts: Iterable[Part] | Any=None,  # A recipe, its name, or parts; None: each group has them
        *,
        maximize: bool=False,  # True to climb instead of descending
        compile: bool | None=None,  # True: an error if a part cannot be compiled; False: no kernel
        **hypers: Any  # Hyperparameters and options, by our names or torch's: see `set_hyper`;
                       # and the `view` of groups that have none: see `genopt.view`
    ):
        check_flag('maximize', maximize)
        fused = take_engine_words(hypers)
        self._set_engine(asked(fused if compile is None else compile))
        rule = None if parts is None else rule_of(parts)
        self.recipe = rule and (rule.recipe or rule.composition)
        groups = as_groups(params)
        notes = {k: hypers.pop(k) for k in NOTES if k in hypers}
        self._settings = Settings(rule, hypers, notes, any(map(has_halves, groups)))
        self._settings.spread(groups)
        defaults = self._settings.made = {**self._settings.defaults(), 'maximize': maximize}
        super().__init__(groups, dict(defaults))
        words = [g.rule.words for g in self.param_groups]
        for name in hypers:
            if not any(name in w.means for w in words): raise unknown(name, *words)
        check_names(notes.get('state'), [k for g in self.param_groups for k in g.composition.stats])
        first = self.param_groups[0]  # each group may have an lr of its own, for example
        self.defaults = {k: first[k] for k in first if k in first.rule.words.means} | defaults
        self._settings.made = dict(self.defaults)

    # -- groups ------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group: a dict with `params`, and hyperparameters, options and `parts` of its own.

        Other entries are notes. Raises what the constructor raises; then nothing has changed.
        """
        groups = self.groups()
        group = new_group(param_group, groups, self._settings, self.defaults)
        check_parts(group.composition, group.numbers(), group.seen(), bool(self.compile))
        if self.released: self.released.check(group)
        groups.append(group)
        if self.released: self.released.attach()
        self._settings.rules = (*self._settings.rules[:group.index], group.rule)

    def groups(self) -> list[Group]:
        """The groups. A plain dictionary that somebody has put among them becomes a group again.

        Raises TypeError or ValueError if it has no `params`, or values that are not numbers.
        """
        if not isinstance(self.param_groups, list): self.param_groups = list(self.param_groups)
        if not all(type(g) is Group for g in self.param_groups):
            restore_groups(self.param_groups, self._settings, self.defaults)
        return self.param_groups

    # -- a step ------------------------------------------------------------------------------------

    @outside_graphs
    @unless_released
    @with_hooks
    @outside_graphs
    def step(self, closure: Callable[[], Any] | None=None) -> Any:
        """Moves each parameter that has a gradient. Returns what `closure` returns, if it is given.

        While a gate that says `again=True` is closed, as in the first half of SAM, the closure is
        called again and the parts run again, for all parameters that took part; groups without such
        a gate wait for that. The first loss is returned. Raises TypeError for a
        sparse gradient that the parts do not take, RuntimeError for a value that is due and was not
        fed, before anything has moved, and PartError if a part fails. An interrupt (Ctrl-C) is put
        off until the step is done.
        """
        losses, there = list[Any](), list[torch.Tensor]()
        while True:
            if closure is not None:
                with torch.enable_grad(): losses.append(closure())
            for p in there:  # they go back, even if the loss does not depend on them this time
                if p.grad is None: p.grad = torch.zeros_like(p)
            again = self._pass(*losses[-1:])
            there = self._end_half() if again else []
            if not again or closure is None: return losses[0] if losses else None

    def advance(self) -> None:
        """All of a step but its kernels, before a CUDA graph that has `launch` in it is replayed.

        Counts go on, hooks are called, and the new numbers are sent to the device. Raises
        RuntimeError, with the reason, if the step is more than kernels on a GPU, as with a matrix
        product, or if it needs another graph: then no count has gone on.
        """
        if not isinstance(self.engine, Compiled):
            raise RuntimeError(f'advance() is for kernels on a GPU, and compile={self.compile}')
        if self.recorders or self.released:
            raise RuntimeError('advance() comes before the step, so it goes with neither watch() '
                               'nor release()')
        self._advancing = self.engine.advance
        try: self.step()
        finally: self._advancing = None

    def launch(self) -> None:
        "The kernels of a step alone, to be captured in a CUDA graph: see `advance`."
        if not isinstance(self.engine, Compiled):
            raise RuntimeError(f'launch() is for kernels on a GPU, and compile={self.compile}')
        self.engine.launch()

    def _pass(self, *loss: Any) -> bool:
        "One run of the parts. True if a gate asks for another one. `loss` is the closure's."
        with shielded(), torch.no_grad():  # in this order: what is put off finds gradients on again
            self.sharding.prepare(self.groups(), self.state)
            works = [*self._work()]
            again = self._take_fed(works, *loss)
            if again: works = [w for w in works if asks_again(w.composition)]
            self.sharding.run(works, self._advancing or self.engine, self.recorders)
            for w in works: w.count_draws()
        return again

    def _work(self) -> Iterator[Work]:
        place, groups = 0, self.groups()
        states = in_order(self.state, [p for g in groups for p in g['params']])
        for group in groups:
            end = place + len(group['params'])
            yield from work_of(group, self.state, place, states[place:end])
            place = end

    def init_state(self) -> None:
        "Begins the state of every parameter now, instead of on its first step."
        self.sharding.prepare(self.groups(), self.state)
        for group in self.groups():
            for p in group['params']:
                if p.is_floating_point() or p.is_complex(): begin(group, p, self.state)

    def share(self, processes: Any=None) -> None:
        """Spreads the work of a rule that looks at whole tensors over replicas, as DDP has them.

        Each parameter is stepped by one of them, which alone keeps its state. `processes` is the
        replicas' process group, by default all. Sharded parameters, as of `fully_shard`, need no
        call. From then on, each replica must call `step`, `state_dict` and `swap`. A copy or a
        pickled optimizer is not shared until it is told so. Raises RuntimeError in one process.
        """
        self.sharding.share(processes, self.groups(), self.state)

    def explain(self) -> Any:
        "Its equations, hyperparameters, memory and sources, for each kind of group."
        from .study.explain import explain  # a door up: an optimizer can be explained
        return explain(self)

    def watch(self, every: int=10, to: Any=None, *, params: Any=None, quantities: Any=None,
              first: int | None=None) -> Any:
        "Records what every k-th step does to each parameter: see `genopt.recording.Recorder`."
        if self.released:
            raise RuntimeError('watch() looks at all parameters before a step, and with release() '
                               'there is no such moment: call `remove()` of its handle first')
        from .recording.recorder import watch  # a door up: a recorder can be drawn
        return watch(self, every, to, dict(params=params, quantities=quantities), first)

    # -- copies ------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        mine, own = vars(self), ('recipe', 'compile', 'decisions', 'frozen_idx', '_settings',
                                '_warned')
        return {**super().__getstate__(), **{k: mine[k] for k in own if k in mine}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        "Takes some of the attributes, or all. Those that it does not name stay."
        super().__setstate__(state)
        self.defaults.pop('differentiable', None)  # torch adds it, and no rule takes it
        for group in self.param_groups:
            if type(group) is Group: group.settled = False
        self._set_engine(self.compile)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if type(self) is getattr(self.recipe, 'optimizer_class', None):  # found through its recipe
            return _blank, (self.recipe,), self.__getstate__()
        return super().__reduce_ex__(protocol)

    def _set_engine(self, compile: bool | None) -> None:
        "An engine's kernels, and process groups, belong to this process: they are not pickled."
        self.compile = compile
        self.engine: Engine = engine_for(compile)
        self.sharding = Sharding()

    def __repr__(self) -> str:
        name = getattr(self.recipe, '__name__', type(self).__name__)
        lines = [f'  group {g.index}: {g.summary()}\n    {report(self.engine, g.index)}'
                 for g in self.groups()]
        return '\n'.join([f'{name}(', *lines, ')'])


def _blank(recipe: Any) -> Any:
    "For unpickling: an optimizer that a recipe makes, before it has anything."
    cls = recipe.optimizer_class
    return cls.__new__(cls)
