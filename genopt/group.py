"""A parameter group: torch's dictionary, which knows the rule that its parameters are stepped by.

    >>> group = SGD(params, lr=.1).param_groups[0]
    >>> {k: v for k, v in group.items() if k not in ('params', 'parts', 'maximize')}
    {'lr': 0.1, 'weight_decay': 0.0, 'momentum': 0.0, 'dampening': 0.0, 'nesterov': False}
    >>> group['mom'] = .9       # an option: from now on it has a buffer, as in torch
    >>> group['momentum']
    0.9

It is kept in torch's words, so that a plain copy of it is what everybody's code expects, and it
answers to our names too. To read it is to read a dictionary; only a name that is not there is
looked up among the rule's words.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from .composition import Composition
from .contract import GROUP_KEYS, REQUIRED
from .formats import Format
from .hypers import SYNONYMS, TABLE, check_flag, did_you_mean, plain
from .numbers import read
from .params import describe, named
from .pieces import begin, pieces
from .rehearsal import rehearse
from .rule import Rule
from .storage import NOTHING, Storage, formats_for, storage_of
from .view import View, view_of
from .words import COMMON, NOTES, STORAGE, Words, is_note, unknown

__all__ = ['Group', 'ENGINE_WORDS', 'is_momentum', 'is_slip', 'no_hyper', 'takes']

ENGINE_WORDS = 'foreach', 'fused', 'capturable', 'differentiable', 'compile'  # notes, in a group


class Group(dict[str, Any]):
    """`params`, hyperparameters and options in torch's words, `maximize`, and the names of `parts`.

    It may have a `view` (see `view.py`). Other entries are notes. Values are taken as torch takes
    them, even out of range; what is not a number raises TypeError. A near miss of one of its names,
    or another rule's hyperparameter, raises KeyError.
    """
    def __init__(self, items: Mapping[str, Any], rule: Rule, index: int=0):
        super().__init__(items)
        self.rule, self.index = rule, index
        self.settled = False            # True once each state has been seen to have these stats
        self.spreads: dict[Any, Any] = {}  # of parameters that other processes have too: `owners`

    @classmethod
    def adopt(cls, items: Mapping[str, Any], rule: Rule, index: int) -> Group:
        """Makes a group from a plain dictionary. Of two spellings of a name, the last counts.

        Raises TypeError or ValueError for a value that is not a number or is missing, and for a
        near miss of a name.
        """
        for k in items:
            if k not in rule.words.means and is_slip(k, rule.words): raise unknown(k, rule.words)
        notes = {k: v for k, v in items.items() if k not in rule.words.means and k != 'parts'}
        group = cls(notes, rule, index)
        given = rule.words.said(items)
        group['params'], group['maximize'] = named(items, index)[1], items.get('maximize', False)
        group.take_rule({}, rule)
        group._write(given)
        for k in group.composition.hypers:
            if group[k] is REQUIRED: raise TypeError(f'group {index}: `{k}` is missing')
        return group

    @property
    def composition(self) -> Composition: return self.rule.composition

    @property
    def options(self) -> dict[str, Any]: return self.rule.options

    @property
    def view(self) -> View | None:
        "How parts see its parameters. None: as they are."
        return view_of(dict.get(self, 'view'))

    @property
    def storage(self) -> Storage: return storage_of(self)

    def formats(self, p: Any) -> dict[str, Format]:
        "How a parameter and its stats are kept, by name: those that are not just tensors."
        if (storage := self.storage) is NOTHING: return {}
        is_cut = hasattr(p, 'placements')
        return formats_for(storage, self.composition, p.dtype, tuple(p.shape), is_cut)

    def seen(self, params: Sequence[Tensor] | None=None) -> Sequence[Tensor]:
        "Parameters, by default its own, as parts see them, where their shapes are known."
        view, params = self.view, self['params'] if params is None else params
        if view is None: return params
        return [m for p in params if not is_lazy(p) for m in pieces(view, p.detach()).tensors]

    def start(self, name: str, p: Tensor) -> Any:
        "A stat before a parameter's first step. Raises PartError if its `init` fails."
        return begin(self.composition.stats[name], p, self.numbers(), self.view)

    def hypers(self) -> dict[str, Any]:
        "The hyperparameters under our names."
        return self.rule.words.values(self, self.rule.composition.hypers)

    def numbers(self) -> dict[str, Any]:
        "The hyperparameters under our names, as plain numbers."
        values = self.hypers()
        for n, v in values.items():
            if isinstance(v, Tensor): values[n] = v.item()
        return values

    # -- a dictionary that answers to all words ----------------------------------------------------

    def __missing__(self, key: str) -> Any:
        words = self.rule.words
        if key not in words.means: raise self._no(key)
        values = tuple(words.read(self, n) for n in words.means[key])
        return values if len(values) > 1 else values[0]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self.rule.words.means

    def get(self, key: str, default: Any=None) -> Any: return self[key] if key in self else default

    def setdefault(self, key: str, default: Any=None) -> Any:
        if key not in self: self[key] = default
        return self[key]

    def __setitem__(self, key: str, value: Any) -> None:
        words = self.rule.words
        if key in words.means: return self._write(words.split(key, value))
        if key == 'parts' and super().__contains__(key) and value != self[key]:
            raise KeyError('the `parts` of a group are chosen when it is made: add another group, '
                           'or make a new Optimizer')
        if key == 'view' and view_of(value) != self.view or (
                key in STORAGE and storage_of({**self, key: value}) != self.storage):
            raise KeyError(f'the `{key}` of a group is chosen when it is made: add another group, '
                           'or make a new Optimizer')
        if key == 'maximize': check_flag(key, value)
        if not super().__contains__(key) and is_slip(key, self.rule.words): raise self._no(key)
        super().__setitem__(key, value)

    def _write(self, given: Mapping[str, Any]) -> None:
        "Takes values under our names. If options choose other parts, unused state waits."
        given = {n: self.value_of(n, v) for n, v in given.items()}
        rule = self.rule.choose_in_a_run(given)
        if rule is self.rule:
            for n, v in given.items():
                word, i = rule.words.places[n]
                super().__setitem__(word, v if i < 0 else (*self[word][:i], v, *self[word][i + 1:]))
            return
        now = {**rule.defaults, **self.hypers(), **rule.options, **given}
        for k in rule.composition.hypers:
            if now[k] is REQUIRED:
                raise ValueError(f'`{k}` has no value: give `{rule.words.kept[k]}`')
        if rule.composition is not self.composition:
            values = {k: read(now[k]) for k in rule.composition.hypers}
            rehearse(rule.composition, values, self.seen())
            if new := {*rule.composition.number_stats} - {*self.composition.number_stats}:
                raise ValueError(f'`{min(new)}` would begin in the middle of a run: give this '
                                 'option when the optimizer is made')
        self.take_rule(now, rule)

    def take_rule(self, values: Mapping[str, Any], rule: Rule) -> None:
        "Takes another rule, with these values of its hyperparameters."
        old, new = ({*r.words.kept.values()} for r in (self.rule, rule))
        for word in old - new: dict.pop(self, word, None)
        self.rule, self.settled = rule, False
        dict.update(self, rule.entries(values), parts=rule.labels)

    def value_of(self, name: str, value: Any) -> Any:
        "`value` as a group keeps it. Raises TypeError or ValueError if it cannot be one."
        option = self.options.get(name, 0.)
        if isinstance(option, bool): check_flag(name, value)
        is_number = isinstance(option, (int, float)) and not isinstance(option, bool)
        return plain(name, value) if is_number else value

    def update(self, *args: Any, **kwargs: Any) -> None:
        if not len(self): return super().update(*args, **kwargs)  # torch empties it to restore it
        for k, v in dict(*args, **kwargs).items(): self[k] = v

    def __ior__(self, other: Any) -> Group:  # type: ignore[override, misc]
        self.update(other)
        return self

    def __delitem__(self, key: str) -> None:
        if key in self.rule.words.means or key in GROUP_KEYS and key != 'param_names':
            raise KeyError(f'`{key}` cannot be removed: the group needs it')
        super().__delitem__(key)

    def pop(self, key: str, *default: Any) -> Any:
        if key not in self and default: return default[0]
        value = self[key]
        del self[key]
        return value

    def copy(self) -> Group:
        res = Group(dict(self), self.rule, self.index)
        res.spreads = self.spreads
        return res

    def __reduce__(self) -> tuple[Any, ...]: return Group, (dict(self), self.rule, self.index)

    # -- sentences ---------------------------------------------------------------------------------

    def _no(self, key: str) -> KeyError:
        words = self.rule.words
        advice = did_you_mean(str(key), words.names, words.means)
        return KeyError(f'`{key}` is not a hyperparameter of this group: {advice}')

    def summary(self) -> str:
        "What a printed optimizer shows of it."
        hypers = [f'{k}={float(v):g}' for k, v in self.hypers().items()]
        if self['maximize']: hypers.append('maximize')
        hypers += [str(x) for x in (self.view, self.storage) if x]
        n, elements = len(self['params']), sum(p.numel() for p in self['params'])
        return (f'{n} parameter{"s" * (n != 1)}, {elements:,} elements\n'
                f'    {self.composition}\n    {", ".join(hypers)}')

    def describe(self, param: Tensor) -> str:
        "One of its parameters, as errors name it."
        i = next(i for i, p in enumerate(self['params']) if p is param)
        return describe(param, i, self.index, self.get('param_names'))


def is_slip(key: Any, words: Words) -> bool:
    "True for another rule's hyperparameter or a near miss of one of these words, False for a note."
    if not isinstance(key, str) or is_note(key) or key in (*ENGINE_WORDS, *GROUP_KEYS): return False
    known = [*words.means, 'maximize']
    near = get_close_matches(key.lower(), known, 1, .7) or get_close_matches(key, NOTES, 1, .85)
    return key in TABLE or key in COMMON or key.lower() in SYNONYMS or bool(near)


def takes(groups: Sequence[Group], name: str) -> list[Group]:
    "The groups whose parts take it. Raises KeyError if there are none, except for momentum."
    found = [g for g in groups if name in g.rule.words.means]
    if is_momentum(name): return [g for g in found if 'mom' in g.composition.hypers]
    if not found: raise no_hyper(name, groups)
    return found


def is_momentum(name: str) -> bool: return name in ('mom', 'momentum')


def no_hyper(name: str, groups: Sequence[Group]) -> KeyError:
    "The error for a hyperparameter that none of these groups takes."
    known = dict.fromkeys(k for g in groups for k in g.composition.hypers)
    return KeyError(f'no part of this optimizer takes `{name}`: {did_you_mean(str(name), known)}')
