"""Words: the names for hyperparameters and options that a rule takes, and that a group keeps.

A rule knows its hyperparameters and options by our names (`mom`, `sqr_mom`, `wd`). It answers to
torch's words for them too: `betas`, `momentum`, `weight_decay`. A recipe may have words of its
own, from its twin in torch.optim or from its authors: RMSprop's `alpha` is `sqr_mom`, ASGD's is
`power`, and Adam has none. No other word means anything.

    >>> words = Words(['lr', 'mom', 'sqr_mom', 'wd'])
    >>> words.ours(dict(lr=.1, betas=(.9, .99), wd=.01))
    {'lr': 0.1, 'mom': 0.9, 'sqr_mom': 0.99, 'wd': 0.01}
    >>> words.torchs(dict(lr=.1, mom=.9, sqr_mom=.99, wd=.01))
    {'lr': 0.1, 'betas': (0.9, 0.99), 'weight_decay': 0.01}

A parameter group is kept in torch's words, so a plain copy of it looks like a group of torch's.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .hypers import TABLE, did_you_mean

__all__ = ['Words', 'COMMON', 'is_note', 'unknown']

# torch's words that any rule answers to, if its recipe has no other word with their meaning
COMMON = {'betas': ('mom', 'sqr_mom'), 'momentum': ('mom',), 'weight_decay': ('wd',),
          'decoupled_weight_decay': ('decouple_wd',)}

OTHERS = 'maximize', 'compile', 'fused', 'foreach', 'params'  # an optimizer's other arguments
STORAGE = 'state', 'rounding', 'master', 'rounding_seed'  # how a group keeps its numbers
NOTES = ('view', *STORAGE)  # words of a group that are no hyperparameters


class Series:
    """Names of which an option says how many there are, declared as 'fast_mom mom mom_*buffers':
    `fast_mom`, `mom`, `mom_3`, `mom_4` and so on, as many as `buffers`."""
    def __init__(self, *declared: str):
        self.first = declared[:-1]
        self.base, self.option = declared[-1].split('*')

    def names(self, number: int) -> tuple[str, ...]:
        more = (f'{self.base}{i}' for i in range(len(self.first) + 1, number + 1))
        return (*self.first, *more)[:number]

    def among(self, names: list[str]) -> tuple[str, ...]:
        "Those of them that are in `names`."
        return tuple(n for n in self.names(len(names)) if n in names)


class Words:
    "The words that a rule answers to. `means` has our names for each; several take a value each."
    def __init__(self,
        names: Iterable[str],                         # Hyperparameters and options, by our names
        own: Mapping[str, tuple[str, ...]] | None=None  # A recipe's own words for some of them
    ):
        self.names, self.own = list(dict.fromkeys(names)), dict(own or {})
        self.means: dict[str, tuple[str, ...]] = {n: (n,) for n in self.names}
        self.pairs: dict[str, tuple[str, ...]] = {}  # names that mean several, given a pair
        self.kept = {n: n for n in self.names}       # the word under which a group keeps each
        covered = {n for ours in self.own.values() for n in ours}
        common = [(w, ours) for w, ours in COMMON.items() if w not in self.own]
        self.series: dict[str, Series] = {}          # words for as many as an option says
        self.counts: dict[str, str] = {}             # such words, by that option
        for i, (word, ours) in enumerate([*self.own.items(), *common]):
            if '*' in ours[-1]:
                series = self.series[word] = Series(*ours)
                ours, self.counts[series.option] = series.among(self.names), word
            if not {*ours} <= {*self.names} or i >= len(self.own) and {*ours} & covered: continue
            if word in self.names:
                if len(ours) > 1: self.pairs[word] = ours
                continue
            self.means[word] = ours
            self.kept |= dict.fromkeys(ours, word)
            covered |= {*ours}
        self.places = {n: (w, self.means[w].index(n) if len(self.means[w]) > 1 else -1)
                       for n, w in self.kept.items()}

    @property
    def numbered(self) -> list[str]:
        "The names of series that are known by their number alone."
        return [n for w, s in self.series.items() for n in self.means[w] if n not in s.first]

    def names_of(self, word: str, value: Any=None) -> tuple[str, ...]:
        "Our names for what the word means, with this value."
        if word in self.series and isinstance(value, (tuple, list)):
            return self.series[word].names(len(value))
        is_pair = word in self.pairs and isinstance(value, (tuple, list))
        return self.pairs[word] if is_pair else self.means.get(word, (word,))

    def split(self, word: str, value: Any) -> dict[str, Any]:
        "The values of the names that `word` means. Raises ValueError if `value` is not as many."
        names = self.names_of(word, value)
        if len(names) == 1 and word not in self.series: return {names[0]: value}
        if word in self.pairs:  # torch's Adafactor has None for the dtype's own
            value = [0. if v is None else v for v in value]
        if not isinstance(value, Iterable) or len(value := tuple(value)) != len(names):
            wanted = ' and '.join(f'`{n}`' for n in names)
            raise ValueError(f'`{word}` = {value!r}: give {len(names)} numbers, for {wanted}')
        if len({isinstance(v, Tensor) for v in value}) > 1:
            n = len(names)
            raise ValueError(f'`{word}` = {value!r}: give {n} numbers or {n} tensors, not a '
                             'mixture')
        number = {self.series[word].option: len(names)} if word in self.series else {}
        return dict(zip(names, value)) | number

    def said(self, items: Mapping[str, Any]) -> dict[str, Any]:
        "The values in `items`, under our names. Of two words for a name, the last counts."
        found = [self.split(k, v) for k, v in items.items() if k in self.means]
        return {n: v for values in found for n, v in values.items()}

    def ours(self, given: Mapping[str, Any]) -> dict[str, Any]:
        "`given` under our names. Raises TypeError for an unknown word, or two that mean one name."
        res: dict[str, Any] = {}
        for word, value in given.items():
            if word not in self.means: raise unknown(word, self)
            for name, v in self.split(word, value).items():
                if name in res and (name not in self.counts or res[name] != v):
                    what = self.counts.get(name, word)
                    raise TypeError(f'`{name}` is given twice, once as `{what}`: give it once')
                res[name] = v
        return res

    def torchs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        "`values`, which have all of our names, as a group keeps them."
        res: dict[str, Any] = {}
        for word in self.kept.values():
            first, *more = self.means[word]
            res[word] = (values[first], *[values[n] for n in more]) if more else values[first]
        return res

    def read(self, group: Mapping[str, Any], name: str) -> Any:
        "The value of one of our names in a group. Raises KeyError or TypeError if it is not there."
        return self.values(group, [name])[name]

    def values(self, group: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
        "The values of several of our names, as `read`."
        places = self.places
        return {n: group[places[n][0]] if places[n][1] < 0 else group[places[n][0]][places[n][1]]
                for n in names}


def is_note(key: str) -> bool:
    "True for keys that schedulers and trainers add to a group: `initial_lr`, `lr_scale`, `name`."
    found = re.fullmatch('(?:initial|max|min|base|swa)_(.+)|(.+)_(?:scale|mult)', key)
    known = found and (found[1] or found[2]) in {*TABLE, *COMMON}
    return key == 'name' or key.startswith('scheduled ') or bool(known)


def unknown(name: str, *words: Words) -> TypeError:
    "The error for a hyperparameter that no part takes."
    if name in OTHERS:
        return TypeError(f'`{name}` belongs to the optimizer, not to a recipe: give it when '
                         'the optimizer is made')
    choices = [n for w in words for n in w.names]
    spellings = [*[n for w in words for n in w.means], *OTHERS, *NOTES]
    return TypeError(f'no part takes `{name}`: {did_you_mean(name, choices, spellings)}')
