"""Surgery: parameters are edited in the middle of a run, and their state follows.

    >>> opt.append(model[2].weight, torch.zeros(3, 8))       # a wider vocabulary
    >>> opt.prune([model[0].weight, model[0].bias], [2, 5])  # fewer units
    >>> opt.replace(model[1], torch.nn.LayerNorm(6), fresh=True)

An edited parameter stays the object that it is, so modules, tied weights and hooks need nothing;
so do its group, name, gradient and marks. All is checked before anything changes.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from .averages import refuse_swapped
from .carrying import followed
from .edits import edit_by, found, grad_of, put, state_for
from .engines.kernels import check_parts
from .engines.shield import shielded
from .group import Group
from .interop.dynamo import outside_graphs
from .joining import check_fit
from .params import check_params, named, several
from .rehearsal import rehearse
from .rows import Rows, tensor_of

__all__ = ['Surgery']

Self = TypeVar('Self', bound='Surgery')


class Surgery:
    """An Optimizer's methods that edit parameters.

    `params` is a parameter, its name if the optimizer has names, several of these in a list or a
    dict, or a module. All methods raise ValueError for a parameter that is in no group and for a
    state that cannot follow, and RuntimeError while parameters are swapped with their averages;
    then nothing has changed.
    """
    state: defaultdict[Any, Any]  # the Optimizer's own, as are the next two
    groups: Callable[[], list[Group]]
    compile: bool | None

    # -- rows --------------------------------------------------------------------------------------

    @outside_graphs
    def select(self,
        params: Any,
        index: Any,  # A mask (True: stays), or the places of rows in their new order
        dim: int=0
    ) -> None:
        "Keeps these rows of parameters, in this order. A row that is named twice is copied."
        def edit(p: Tensor, key: Any) -> Rows: return Rows.of(index, p.shape[dim], dim)
        self._edit('select', params, dim, edit)

    @outside_graphs
    def prune(self,
        params: Any,
        gone: Any,  # A mask (True: goes), or the places of rows
        dim: int=0
    ) -> None:
        "Takes rows out of parameters."
        def edit(p: Tensor, key: Any) -> Rows:
            stays = torch.ones(p.shape[dim], dtype=torch.bool)
            stays[Rows.of(gone, p.shape[dim], dim).source.cpu()] = False
            return Rows.of(stays, p.shape[dim], dim)
        self._edit('prune', params, dim, edit)

    @outside_graphs
    def permute(self,
        params: Any,
        order: Any,  # The places of all rows in their new order
        dim: int=0
    ) -> None:
        "Puts the rows of parameters in another order."
        def edit(p: Tensor, key: Any) -> Rows:
            rows = Rows.of(order, n := p.shape[dim], dim)
            if rows.source.sort().values.tolist() == [*range(n)]: return rows
            raise ValueError(f'permute takes each of the {n} rows along dimension {dim} once: to '
                             'leave rows out or repeat them, use select')
        self._edit('permute', params, dim, edit)

    @outside_graphs
    def append(self,
        params: Any,
        rows: Any,     # Values of the new rows: a tensor for each parameter, in the same form
        dim: int=0,
        state: Mapping[str, Any]={}  # What stats begin with there: a tensor, or a function of rows
    ) -> None:
        """Puts new rows behind those of parameters.

        Their state begins as on a first step, but for stats in `state`. Counts stay.
        """
        keys = [*several(params)]
        is_one = isinstance(params, (Tensor, str)) or isinstance(rows, Tensor) and len(keys) == 1
        more = {keys[0]: rows} if is_one else several(rows)
        if {*more} != {*keys}:
            raise ValueError(f'append: there are rows for {[*more]}, and parameters {keys}: give a '
                             'tensor of rows for each')
        def edit(p: Tensor, key: Any) -> Tensor:
            return tensor_of(more[key], dtype=p.dtype, device=p.device).detach()
        self._edit('append', params, dim, edit, state)

    def _edit(self, call: str, params: Any, dim: int, how: Callable[[Tensor, Any], Any],
              given: Mapping[str, Any]={}) -> None:
        "Edits each parameter by what `how` makes of it: rows to keep, or new rows."
        refuse_swapped(self.state.values(), call)
        with torch.no_grad():
            edits = [edit_by(how, g, p, key, dim)
                     for key, (g, p) in found(params, self.groups()).items()]
            for e in edits: rehearse(e.group.composition, e.hypers, e.group.seen([e.new]))
            states = [e.state(self.state.get(e.param, {}), given) for e in edits]
            grads = [grad_of(e) for e in edits]
            with shielded():
                for e, entry, grad in zip(edits, states, grads):
                    put(e.param, e.new, grad)
                    if entry: self.state[e.param] = entry
                    e.group.settled = False

    # -- whole parameters --------------------------------------------------------------------------

    @outside_graphs
    def replace(self,
        old: Any,  # A parameter, its name, or a module; or a dict from these to new ones
        new: Any=None,
        rows: Any=None,     # For each row of `new`, its place in `old`, or -1; the rest are new
        dim: int=0,
        fresh: bool=False   # True: the state begins anew, whatever the shape is
    ) -> None:
        """Puts other tensors in the place of parameters: their group, name, marks and state.

        Of modules, the parameters of the same name replace each other. The state goes to the
        device of the new parameter, and to its dtype if that is another. Gradients stay with the
        tensors that have them. Raises ValueError for a new shape without `rows` or `fresh`.
        """
        refuse_swapped(self.state.values(), 'replace')
        pairs = _pairs(old, new, self.groups())
        goes = {p for _, p, _ in pairs}
        stay = {p for g in self.groups() for p in g['params']} - goes
        for group, _, q in pairs:
            check_params([q], group.index, None, stay)
            self._check_new(group, [q])
        with torch.no_grad():
            states = [state_for(group, p, q, self.state.get(p, {}), (rows, dim, fresh))
                      for group, p, q in pairs]
        now = {p: (group, q, entry) for (group, p, q), entry in zip(pairs, states)}
        with shielded():
            for group in self.groups():
                group['params'][:] = [now[p][1] if p in now else p for p in group['params']]
                group.settled = False
            items = [(now[k][1:] if k in now else (k, v)) for k, v in self.state.items()]
            self.state.clear()
            self.state.update({k: v for k, v in items if v or not isinstance(k, Tensor)})

    @outside_graphs
    def add(self,
        params: Any,   # As everywhere; or (name, tensor) pairs, if the optimizer has names
        group: int=-1  # The place of the group that they join
    ) -> None:
        "Lets parameters join a group, those of a module by their names in it, and begin there."
        groups = self.groups()
        if not -len(groups) <= group < len(groups):
            raise ValueError(f'there is no group {group}: there are {len(groups)} (to make one, '
                             'use add_param_group)')
        joined = groups[group]
        if isinstance(params, (torch.nn.Module, Mapping)):
            its = several(params)
            params = [*(its.items() if 'param_names' in joined else its.values())]
        names, new = named({'params': params}, joined.index)
        if bool(names) != ('param_names' in joined):
            asked = 'has names: give (name, parameter) pairs' if not names else 'has no names'
            raise ValueError(f'group {joined.index} {asked}')
        if twice := {*names} & {n for g in groups for n in g.get('param_names', ())}:
            raise ValueError(f'a parameter of this optimizer is called {min(twice)!r} already')
        check_params(new, joined.index, names, {p for g in groups for p in g['params']})
        self._check_new(joined, new)
        with shielded():
            joined['params'] += new
            if names: joined['param_names'] = [*joined['param_names'], *names]
            joined.settled = False

    @outside_graphs
    def remove(self, params: Any) -> None:
        "Takes parameters out of their groups, with their state. A group may become empty."
        refuse_swapped(self.state.values(), 'remove')
        gone = [*found(params, self.groups()).values()]
        with shielded():
            for group, p in gone:
                i = next(i for i, q in enumerate(group['params']) if q is p)
                for k in {'params', 'param_names'} & {*group}: del group[k][i]
                self.state.pop(p, None)

    def _check_new(self, group: Group, params: Sequence[Tensor]) -> None:
        "Raises ValueError or PartError if a group's parts do not take these parameters."
        trial = group.copy()
        dict.update(trial, params=[*params])
        trial.pop('param_names', None)
        check_fit(trial)
        rehearse(group.composition, group.numbers(), trial.seen())
        check_parts(group.composition, group.numbers(), trial.seen(), bool(self.compile))

    # -- device and dtype --------------------------------------------------------------------------

    @outside_graphs
    def to(self: Self, *where: Any, **kwargs: Any) -> Self:
        """Moves the state to a device, casts it to a dtype, or both, as `Module.to`.

        Without arguments it goes where each parameter is now. Each stat gets the dtype with which
        it would begin for a parameter of that dtype: what a part keeps in float32 stays so.
        Numbers such as counts stay as they are, on the CPU. Parameters are not touched.
        """
        refuse_swapped(self.state.values(), 'to')
        device, dtype, *_ = torch._C._nn._parse_to(*where, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f'opt.to({dtype}): give a floating-point dtype')
        follow = device is None and dtype is None
        with torch.no_grad():
            new = {p: followed(self.state[p], g, p, *((p.device, p.dtype) if follow else
                                                      (device, dtype)))
                   for g in self.groups() for p in g['params'] if p in self.state}
        with shielded(): self.state.update(new)
        return self


def _pairs(old: Any, new: Any, groups: Sequence[Group]) -> list[tuple[Group, Tensor, Any]]:
    "Each parameter that goes, with its group and the tensor that comes."
    if new is None and not isinstance(old, Mapping):
        raise TypeError('replace takes an old parameter and a new one, or a dict of them')
    if isinstance(old, Mapping): olds, news = several([*old]), several([*old.values()])
    else: olds, news = several(old), several(new)
    if odd := sorted(map(str, {*olds} ^ {*news})):
        raise ValueError(f'`{odd[0]}` is only in one of the two modules: `add` or `remove` it, and '
                         'replace the others in a dict')
    return [(group, p, news[k]) for k, (group, p) in found(olds, groups).items()]
