"""Hyperparameters: the one table of their names, and a dict that answers to all of them.

One hyperparameter has one name in every recipe, fastai's: `lr`, `mom`, `sqr_mom`, `eps`, `wd` ... torch's spellings are
accepted wherever ours are, and this file is the only place that knows them:

    >>> canonical(dict(lr=.1, betas=(.9, .99)))
    {'lr': 0.1, 'mom': 0.9, 'sqr_mom': 0.99}

    >>> group = Hypers(dict(lr=.1, mom=.9, sqr_mom=.99))
    >>> group['betas']
    (0.9, 0.99)
    >>> group['momentum'] = .8            # as a scheduler would
    >>> group['mom']
    0.8
"""
from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any, NamedTuple

import torch

__all__ = ['Hyper', 'TABLE', 'Hypers', 'canonical', 'check', 'did_you_mean', 'is_note', 'per_group', 'is_per_group']


class Hyper(NamedTuple):
    "One row of the table. Values lie in [`low`, `high`), are at most `most`, and finite."
    name: str                     # ours, fastai's
    symbol: str                   # in equations
    torch: tuple[str, ...] = ()   # torch's spellings; `betas[0]` is the first item of `betas`
    low: float = -math.inf        # the smallest value allowed
    high: float = math.inf        # the smallest value too large
    doc: str = ''
    most: float = math.inf        # the largest value allowed
    whole: bool = False           # is it a whole number?


TABLE = {h.name: h for h in (
    # what most recipes have
    Hyper('lr',        'η',  (),                       0.,    doc='learning rate'),
    Hyper('mom',       'β₁', ('momentum', 'betas[0]'), 0., 1., doc='decay of the average of gradients'),
    Hyper('sqr_mom',   'β₂', ('alpha', 'betas[1]', 'rho'), 0., 1., doc='decay of the average of squared gradients'),
    Hyper('eps',       'ε',  ('eps[0]',),              0.,    doc='keeps a denominator away from zero'),
    Hyper('wd',        'λ',  ('weight_decay',),        0.,    doc='weight decay'),
    Hyper('dampening', 'τ',                                   doc='what a momentum buffer takes off a new gradient'),
    # averages beside those two
    Hyper('avg_mom',   'β₂', ('betas[1]',),            0., 1., doc='decay of what Lion remembers'),
    Hyper('slow_mom',  'β₃', (),                       0., 1., doc='decay of a slower average of gradients'),
    Hyper('diff_mom',  'β₂', (),                       0., 1., doc='decay of the average of changes of the gradient'),
    Hyper('slow_weight', 'α', (),                      0.,    doc='weight of the slower average'),
    Hyper('nu',        'ν₁', (),                       0., most=1., doc='share of the average gradient in a step'),
    Hyper('sqr_nu',    'ν₂', (),                       0., most=1., doc='share of the average square in a step'),
    Hyper('momentum_decay', 'ψ', (),                   0.,    doc='how fast the decay of the average grows to its end'),
    Hyper('variance_scale', 'γ', (),                   0.,    doc='how much of the change of the gradient MARS adds'),
    # how the learning rate falls, and what it is bounded by
    Hyper('lr_decay',  'ζ',  (),                       0.,    doc='how fast the learning rate falls with the steps'),
    Hyper('initial_accumulator_value', 'v₀', (),       0.,    doc='what the sum of squares begins with'),
    Hyper('lambd',     'λ',  (),                              doc='decay of the parameter, and of the learning rate'),
    Hyper('power',     'α',  ('alpha',),                      doc='power at which the learning rate falls'),
    Hyper('t0',        't₀', (),                              doc='the step at which averaging begins'),
    Hyper('beta2_decay', 'c', (),                      most=0., doc='power of the step by which a new square counts'),
    Hyper('min_scale', 'ε₂', ('eps[1]',),              0.,    doc='smallest scale of a parameter, for its step'),
    Hyper('max_rms',   'd',  ('d',),                   1.,    doc='root mean square above which a step is scaled down'),
    Hyper('final_lr',  'η*', (),                       0.,    doc='where the bounds of the learning rate meet'),
    Hyper('bound_rate', 'γ', (),                       0.,    doc='how fast the bounds of the learning rate close in'),
    Hyper('eta_minus', 'η⁻', ('etas[0]',),             0., 1., doc='factor of a step size where the gradient turns'),
    Hyper('eta_plus',  'η⁺', ('etas[1]',),             1.,    doc='factor of a step size where the gradient goes on'),
    Hyper('min_step',  'Δ₋', ('step_sizes[0]',),       0.,    doc='smallest step size'),
    Hyper('max_step',  'Δ₊', ('step_sizes[1]',),       0.,    doc='largest step size'),
    # matrices and norms
    Hyper('ns_a',      'a',  ('ns_coefficients[0]',),         doc='coefficient of X in Newton–Schulz'),
    Hyper('ns_b',      'b',  ('ns_coefficients[1]',),         doc='coefficient of XXᵀX in Newton–Schulz'),
    Hyper('ns_c',      'c',  ('ns_coefficients[2]',),         doc='coefficient of (XXᵀ)²X in Newton–Schulz'),
    Hyper('ns_steps',  'k',  (),                       0., 100., doc='steps of Newton–Schulz', whole=True),
    Hyper('trust',     'κ',  (),                       0.,    doc='share of its own norm by which a tensor may move'),
    Hyper('max_value', 'c',  (),                       0.,    doc='largest element of a gradient'),
    Hyper('max_norm',  'c',  (),                       0.,    doc='largest norm of a gradient'),
    Hyper('max_ratio', 'c',  (),                       0.,    doc='largest norm of a gradient over its parameter\'s'),
    # what is put onto any recipe
    Hyper('noise',     'η₀', (),                       0.,    doc='variance of the noise at the first step'),
    Hyper('noise_decay', 'γ', (),                      0.,    doc='power at which the noise falls'),
    Hyper('seed',      's',  (),                       0.,    doc='seed of the noise', whole=True),
    Hyper('ema',       'β',  (),                       0., 1., doc='decay of the average of parameters'),
    Hyper('sync_every', 'k', (),                       1.,    doc='steps from one sync to the next', whole=True),
    Hyper('slow_step', 'α',  (),                       0., most=1., doc='how far the slow parameters go'))}

# torch's spelling -> our names: one for `momentum`, two for `betas`. A recipe's options are translated here as well.
SPELLINGS: dict[str, tuple[str, ...]] = {'decoupled_weight_decay': ('decouple_wd',)}
# Where torch means two things by one word (`alpha` is RMSprop's decay, and ASGD's power), what else it may be
ALSO = {'sqr_mom': ('power', 'avg_mom')}
for _h in TABLE.values():
    for _s in _h.torch:
        if _h.name not in {also for names in ALSO.values() for also in names}:
            SPELLINGS[_s.split('[')[0]] = (*SPELLINGS.get(_s.split('[')[0], ()), _h.name)
PAIRS = {'eps': SPELLINGS.pop('eps')}  # a word that is one number or two


def spelled(key: str, known: Container[str]) -> tuple[str, ...]:
    "Our names for `key`, where those in `known` are meant."
    names = SPELLINGS.get(key, (key,))
    return names if key not in SPELLINGS else tuple(own_name(n, known) for n in names)


def own_name(name: str, known: Container[str]) -> str:
    "`name`, or what else torch's spelling of it means, if only that is in `known`."
    return name if name in known else next((n for n in ALSO.get(name, ()) if n in known), name)


def own_names(key: str) -> tuple[str, ...]:
    "Our names for `key`, whatever takes them."
    return SPELLINGS.get(key, (key,))


def spellings_of(names: Container[str]) -> dict[str, tuple[str, ...]]:
    "torch's words for some of our `names`, and which each means: `betas` means two."
    found = {word: spelled(word, names) for word in SPELLINGS}
    return {word: ours for word, ours in found.items() if all(n in names for n in ours)}


# What other libraries say, for advice only.
SYNONYMS = {'learning_rate': 'lr', 'beta1': 'mom', 'beta2': 'sqr_mom', 'epsilon': 'eps', 'decay': 'wd', 'wdecay': 'wd'}

# Words that tell torch how to run a rule, not what the rule is.
ENGINE_WORDS = dict.fromkeys(('foreach', 'fused'), 'how a rule runs is the engine\'s business here: leave it out, or '
                             'say compile=True') | {
    'capturable': 'CUDA graph capture is the engine\'s business here: leave it out',
    'differentiable': 'to differentiate through a step, call `Composition.update`, which is a pure function'}


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    "The end of an error's sentence: the nearest of `choices`, in our spelling or torch's, or all of them."
    choices = list(dict.fromkeys(choices))
    spelled = choices + [s for s, ours in SPELLINGS.items() if {*ours} <= {*choices}]
    near = [s for s in (SYNONYMS.get(name.lower()),) if s in choices] or get_close_matches(name.lower(), spelled, 1, .7)
    if near: return f'did you mean `{near[0]}`?'
    if not choices: return 'there are none'
    return f'there {"is" if len(choices) == 1 else "are"} ' + ', '.join(f'`{c}`' for c in choices)


def _split(key: str, value: Any) -> list[tuple[str, Any]]:
    "What `key`, in either spelling, says of our names: `betas=(.9, .99)` speaks of two."
    names = SPELLINGS.get(key, (key,))
    if key in PAIRS and isinstance(value, (tuple, list)):  # torch's Adafactor, whose None is the dtype's own
        names, value = PAIRS[key], [0. if v is None else v for v in value]
    if len(names) == 1: return [(names[0], value)]
    if not isinstance(value, Iterable) or len(value := tuple(value)) != len(names):
        wanted = ' and '.join(f'`{n}`' for n in names)
        raise ValueError(f'`{key}` = {value!r}: give {len(names)} numbers, for {wanted}')
    if len({isinstance(v, torch.Tensor) for v in value}) > 1:
        raise ValueError(f'`{key}` = {value!r}: give {len(names)} numbers or {len(names)} tensors, not a mixture')
    return list(zip(names, value))


def canonical(values: Mapping[str, Any],
              known: Container[str]=frozenset(TABLE)  # Names that may be meant, where torch's word means two things
             ) -> dict[str, Any]:
    "`values` under our names. Raises TypeError where two spellings of one name meet."
    res: dict[str, Any] = {}
    for key, value in values.items():
        for name, v in _split(key, value):
            if key in SPELLINGS: name = own_name(name, known)
            if name in res: raise TypeError(f'`{name}` is given twice, once as `{key}`: give it once')
            res[name] = v
    return res


def check(name: str,       # One of our names, or a part's own
          value: Any,      # A number, or a tensor with one element
          origin: str='',  # What a part calls it, if it was renamed
          slack: float=0.  # How far below `low` still counts as rounding
         ) -> Any:         # `value`, as a plain number where it was NumPy's
    "Refuses a value that is no number, is not finite or lies out of the table's range, with TypeError or ValueError."
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex():
            raise ValueError(f'`{name}` is a tensor of shape {tuple(value.shape)}: give a number, or a tensor with one '
                             'element')
    elif getattr(value, 'shape', None) == (): value = value.item()  # NumPy's
    if not isinstance(value, (Real, torch.Tensor)):
        raise TypeError(f'`{name}` = {value!r}: give a number, not a {type(value).__name__}')
    row, x = TABLE.get(name) or TABLE.get(origin) or Hyper(name, name), float(value)
    if not (math.isfinite(x) and row.low - slack <= x < row.high and x <= row.most):
        bounds = [f'at least {row.low:g}'] * (row.low > -math.inf) + [f'below {row.high:g}'] * (row.high < math.inf)
        bounds += [f'at most {row.most:g}'] * (row.most < math.inf)
        raise ValueError(f'`{name}` = {x:g} is out of range: it must be ' + ' and '.join(bounds or ['a finite number']))
    if row.whole and x != int(x): raise ValueError(f'`{name}` = {x:g}: give a whole number')
    return value if x >= row.low else row.low


def per_group(
    name: str,
    value: Any,  # A number (a group's, or all groups'), a list or an array of numbers, or a slice
    groups: int, # How many there are
    known: Container[str]=frozenset(TABLE)  # The hyperparameters that may be meant
) -> list[Any]:  # A value for each group
    """`value` for each group. `slice(a, b)` goes from a to b in equal ratios; `slice(b)` is b/10, and b in the last.

    Raises ValueError for another number of values, or for a slice that is none of these; TypeError for a set.
    """
    if isinstance(value, (set, frozenset)): raise TypeError(f'`{name}` is a set, which has no order: give a list')
    if isinstance(value, slice):
        first, last = value.start, value.stop
        if value.step is not None or last is None or len(own_names(name)) > 1:
            raise ValueError(f'`{name}` = {value}: give slice(first, last), or a list with one number for each of the '
                             f'{groups} groups' + ', of one hyperparameter' * (len(own_names(name)) > 1))
        for v in (first or 0., last): check(name, v)
        if not first: return [last / 10] * (groups - 1) + [last]
        if not last: raise ValueError(f'`{name}` = {value}: equal ratios do not lead to 0')
        return [first * (last / first)**(i / (groups - 1)) for i in range(groups - 1)] + [last]
    if not is_per_group(name, value, known): return [value] * groups
    values = list(value)
    if len(values) == 1: return values * groups
    if len(values) != groups:
        there = 'is 1 group: give one number' if groups == 1 else f'are {groups} groups: give one for each'
        raise ValueError(f'`{name}` has {len(values)} values, and there {there}')
    return values


def is_per_group(name: str, value: Any, known: Container[str]=frozenset(TABLE)) -> bool:
    "Does it say a value for each group? Not one pair of `betas`, which are two numbers, nor Adafactor's pair of `eps`."
    if isinstance(value, (slice, set, frozenset)): return True
    if not isinstance(value, Iterable) or isinstance(value, (str, Mapping)): return False
    if getattr(value, 'shape', None) == () or isinstance(value, torch.Tensor) and value.numel() == 1: return False
    pair = len(own_names(name)) > 1 or name in PAIRS and isinstance(value, tuple) and all(n in known for n in
                                                                                         PAIRS[name])
    return not pair or all(isinstance(v, (tuple, list)) for v in value)


def is_note(key: str) -> bool:
    "Is it a note that schedulers and trainers make (`initial_lr`, `lr_scale`, `scheduled lr` ...), or a `name`?"
    found = re.fullmatch('(?:initial|max|min|base|swa)_(.+)|(.+)_(?:scale|mult)', key)
    known = found and (found[1] or found[2]) in {*TABLE, *SPELLINGS}
    return key == 'name' or key.startswith('scheduled ') or bool(known)


class Hypers(dict[str, Any]):
    """A dict of hyperparameters under our names that reads and writes torch's spellings too.

    Iteration shows our names only. A new value is checked against the table; schedulers' own notes (`initial_lr`,
    `max_momentum` ...) are taken as they come. Writing a hyperparameter that is not there, or removing one, is a
    KeyError.
    """
    rounding = 1e-9  # torch's LinearLR ends at -9e-18 where it means 0

    def is_hyper(self, name: str) -> bool: return name in TABLE

    def check(self, name: str, value: Any) -> Any: return check(name, value, slack=self.rounding)

    def hypers(self) -> dict[str, Any]:
        "Only the hyperparameters."
        return {n: v for n, v in self.items() if self.is_hyper(n)}

    def readable(self) -> Mapping[str, Any]:
        "What can be read, under our names."
        return {**self}

    def __getitem__(self, key: str) -> Any:
        known = self.readable()
        names = spelled(key, known)
        if not all(n in known for n in names): raise self._no(key)
        return tuple(known[n] for n in names) if len(names) > 1 else known[names[0]]

    def __setitem__(self, key: str, value: Any) -> None:
        given = canonical({key: value}, self)
        pairs = {n: self.check(n, v) if self.is_hyper(n) else v for n, v in given.items()}
        new = {*pairs} - {*self}
        if new & {*TABLE} or new and self._is_typo(key): raise self._no(key)
        dict.update(self, pairs)

    def __contains__(self, key: object) -> bool:
        known = self.readable()
        return all(n in known for n in spelled(key, known))  # type: ignore[arg-type]

    def get(self, key: str, default: Any = None) -> Any: return self[key] if key in self else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self: self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        if not len(self): return super().update(*args, **kwargs)  # torch empties a group to restore it
        for k, v in dict(*args, **kwargs).items(): self[k] = v

    def __ior__(self, other: Any) -> Hypers:  # type: ignore[override, misc]
        self.update(other)
        return self

    def __delitem__(self, key: str) -> None:
        if key in SPELLINGS or self.is_hyper(key):
            raise KeyError(f'`{key}` cannot be removed: the group\'s parts need it')
        super().__delitem__(key)

    def pop(self, key: str, *default: Any) -> Any:
        if key not in self and default: return default[0]
        value = self[key]
        del self[key]
        return value

    def __reduce__(self) -> tuple[Any, ...]: return type(self), (dict(self),)

    def _is_typo(self, key: str) -> bool:
        names = [*self.hypers(), *SPELLINGS, 'maximize']
        return not is_note(key) and (key.lower() in SYNONYMS or bool(get_close_matches(key.lower(), names, 1, .7)))

    def _no(self, key: str) -> KeyError:
        return KeyError(f'`{key}` is no hyperparameter of this group: {did_you_mean(key, self.hypers())}')
