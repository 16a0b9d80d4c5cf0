"""The methods that a fastai `Learner` needs of an optimizer, beside torch's.

An Optimizer has all of them, so it needs no wrapper:

    >>> learn = Learner(dls, model, opt_func=genopt.Adam, splitter=splitter)
    >>> learn.fine_tune(3, 1e-3)

A Learner's groups are lists of parameters, and `hypers` are dicts of their hyperparameters. For
each parameter it keeps two marks in the state: `do_wd=False` (no weight decay) and
`force_train=True` (not frozen with its group).
"""
from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from ..averages import refuse_swapped
from ..contract import MARKS
from ..group import Group, is_momentum, no_hyper, takes
from ..hypers import check
from ..per_group import per_group
from .dynamo import outside_graphs

__all__ = ['ForLearner', 'Values']


class Values(MutableMapping[str, Any]):
    "The hyperparameters of a group, as a dict; to write to it is to write to the group."
    def __init__(self, group: Group): self.group = group
    def __contains__(self, k: object) -> bool: return k in self.group.rule.words.means
    def __getitem__(self, k: str) -> Any:
        if k in self: return self.group[k]
        if is_momentum(k): return 0.  # a one-cycle schedule asks any optimizer for it
        raise no_hyper(k, [self.group])
    def __setitem__(self, k: str, v: Any) -> None:
        if k not in self: raise no_hyper(k, [self.group])
        self.group[k] = v
    def __delitem__(self, k: str) -> None: del self.group[k]
    def __iter__(self) -> Iterator[str]: return iter(self.group.composition.hypers)
    def __len__(self) -> int: return len(self.group.composition.hypers)
    def __repr__(self) -> str: return repr(self.group.hypers())


class ForLearner:
    "An Optimizer's methods for fastai."
    param_groups: list[Any]  # the Optimizer's own, as are the next two
    state: defaultdict[Any, Any]
    groups: Callable[[], list[Group]]
    frozen_idx = 0   # the first group that trains
    _warned = False  # True once it has been said that there is no momentum

    @property
    @outside_graphs
    def hypers(self) -> Any:
        "For each group, a dict of its hyperparameters under our names, which may be written to."
        return _fastais_list(map(Values, self.groups()))

    @outside_graphs
    def set_hyper(self,
        name: str,  # One of our names, or torch's
        value: Any  # A number; a list or an array, with one for each group; or a slice
    ) -> None:
        """Writes a hyperparameter into the groups whose parts take it.

        `slice(a, b)` goes from a in the first group to b in the last, in equal ratios; `slice(b)`
        is b in the last and b/10 in all others. Raises KeyError if no group takes it, ValueError
        for a wrong number of values or one out of range; then nothing has changed. An optimizer
        that was made without momentum stays without it, whatever a one-cycle schedule writes, and
        warns once.
        """
        if not (groups := takes(self.groups(), name)):
            if not self._warned:
                warnings.warn(f'`{name}` has no effect: this optimizer has no momentum (if its '
                              'recipe has an option for it, give mom=0.9 when it is made)',
                              UserWarning, 2)
            self._warned = True
            return
        words = groups[0].rule.words
        each = per_group(name, value, len(self.param_groups), len(words.names_of(name, value)))
        values = dict(zip(map(id, self.param_groups), each))
        for g in groups:
            for n, v in g.rule.words.split(name, values[id(g)]).items():
                if n in g.composition.hypers: check(n, v, g.composition.original_names[n])
        old = [g[name] for g in groups]
        try:
            for g in groups: g[name] = values[id(g)]
        except Exception:
            for g, v in zip(groups, old): g[name] = v
            raise

    def set_hypers(self, **values: Any) -> None:
        "As `set_hyper`, for several."
        for k, v in values.items(): self.set_hyper(k, v)

    @property
    def param_lists(self) -> Any:
        "The parameters of each group. Others may be put in their place; their state begins anew."
        return _fastais_list(_fastais_list(g['params']) for g in self.groups())

    @param_lists.setter
    def param_lists(self, lists: Any) -> None:
        lists = [list(ps) for ps in lists]
        if len(lists) != len(self.param_groups):
            n = len(self.param_groups)
            raise ValueError(f'{len(lists)} lists of parameters for {n} groups')
        for g, ps in zip(self.groups(), lists): g['params'] = ps

    @outside_graphs
    def freeze_to(self,
        n: int  # The first group to train; negative counts from the end
    ) -> None:
        "Freezes the groups before `n`, except what is marked `force_train`, and trains the others."
        groups = len(self.param_groups)
        self.frozen_idx = n if n >= 0 else groups + n
        if not 0 <= self.frozen_idx < groups:
            effect = 'nothing trains' if n > 0 else 'all are trained'
            warnings.warn(f'freeze_to({n}): there are {groups} groups, so {effect}', UserWarning, 2)
            self.frozen_idx = max(self.frozen_idx, 0)
        for i, g in enumerate(self.param_groups):
            for p in g['params']:
                marked = self.state.get(p, {}).get('force_train', False)
                p.requires_grad_(i >= self.frozen_idx or marked)
                if not p.requires_grad: p.grad = None  # or it would move once more

    def freeze(self) -> None:
        "Freezes all groups but the last. Raises ValueError if there is only one."
        if len(self.param_groups) < 2:
            raise ValueError('there is one group, so freezing all but the last freezes nothing: '
                             'give the parameters in several lists')
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        "Trains all groups."
        self.freeze_to(0)

    @outside_graphs
    def clear_state(self) -> None:
        "Forgets the state of all parameters, but for the marks `do_wd` and `force_train`."
        refuse_swapped(self.state.values(), 'clear_state')
        for p, s in [*self.state.items()]:
            marks = {k: s[k] for k in MARKS if k in s} if isinstance(s, dict) else {}
            if marks: self.state[p] = marks
            else: del self.state[p]


def _fastais_list(items: Iterable[Any]) -> Any:
    from fastcore.foundation import L  # only a Learner needs it
    return L(items)
