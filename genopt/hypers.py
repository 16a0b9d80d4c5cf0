"""Hyperparameters: one table of their names, meanings and ranges, and the checks of values.

One hyperparameter has one name in every recipe, fastai's: `lr`, `mom`, `sqr_mom`, `eps`, `wd` ...
Other words for it, such as torch's `betas`, are in `words.py`.
"""
from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from keyword import iskeyword
from numbers import Real
from typing import Any, NamedTuple

import torch

__all__ = ['Hyper', 'TABLE', 'check', 'check_flag', 'did_you_mean', 'hyper', 'plain']


class Hyper(NamedTuple):
    "One row of the table. Values lie in [`low`, `high`), are at most `most`, and mostly finite."
    name: str                     # ours, fastai's
    symbol: str                   # in equations
    low: float = -math.inf        # the smallest value allowed
    high: float = math.inf        # the smallest value too large
    doc: str = ''
    most: float = math.inf        # the largest value allowed
    whole: bool = False           # True if it is a whole number
    endless: bool = False         # True if it may be infinite


TABLE = {h.name: h for h in (
    # in most recipes
    Hyper('lr',        'η', 0., doc='learning rate'),
    Hyper('mom',       'β₁', 0., 1., doc='decay of the average of gradients'),
    Hyper('sqr_mom',   'β₂', 0., 1., doc='decay of the average of squared gradients'),
    Hyper('eps',       'ε', 0., doc='keeps a denominator away from zero'),
    Hyper('wd',        'λ', 0., doc='weight decay'),
    Hyper('dampening', 'τ', doc='what a momentum buffer takes off a new gradient'),
    # averages beside those two
    Hyper('avg_mom',   'β₂', 0., 1., doc='decay of what Lion remembers'),
    Hyper('fast_mom',  'β₀', 0., 1., doc='decay of the fastest sum of gradients'),
    Hyper('slow_mom',  'β₃', 0., 1., doc='decay of a slower average of gradients'),
    Hyper('buffers',   'K', 2., doc='how many sums of gradients there are', whole=True),
    Hyper('surprise_mom', 'β₃', 0., 1., doc='decay of the average of squared surprises'),
    Hyper('surprise_eps', 'ε₂', 0., doc='added to each squared surprise'),
    Hyper('diff_mom',  'β₂', 0., 1., doc='decay of the average of changes of the gradient'),
    Hyper('slow_weight', 'α', 0., doc='weight of the slower average'),
    Hyper('warmup',    'T', 0., doc='steps of the warm-up'),
    Hyper('nu',        'ν₁', 0., most=1., doc='share of the average gradient in a step'),
    Hyper('sqr_nu',    'ν₂', 0., most=1., doc='share of the average square in a step'),
    Hyper('momentum_decay', 'ψ', 0., doc='how fast the decay of the average grows to its end'),
    Hyper('variance_scale', 'γ', 0., doc='how much of the change of the gradient MARS adds'),
    # falls and bounds of the learning rate
    Hyper('lr_decay',  'ζ', 0., doc='how fast the learning rate falls with the steps'),
    Hyper('initial_accumulator_value', 'v₀', 0., doc='what the sum of squares begins with'),
    Hyper('lambd',     'λ', doc='decay of the parameter, and of the learning rate'),
    Hyper('power',     'α', doc='power at which the learning rate falls'),
    Hyper('t0',        't₀', doc='the step at which averaging begins'),
    Hyper('beta2_decay', 'c', most=0., doc='power of the step by which a new square counts'),
    Hyper('min_scale', 'ε₂', 0., doc='smallest scale of a parameter, for its step'),
    Hyper('max_rms',   'd', 1., doc='root mean square above which a step is scaled down'),
    Hyper('final_lr',  'η*', 0., doc='where the bounds of the learning rate meet'),
    Hyper('bound_rate', 'γ', 0., doc='how fast the bounds of the learning rate close in'),
    Hyper('eta_minus', 'η⁻', 0., 1., doc='factor of a step size where the gradient turns'),
    Hyper('eta_plus',  'η⁺', 1., doc='factor of a step size where the gradient goes on'),
    Hyper('min_step',  'Δ₋', 0., doc='smallest step size'),
    Hyper('max_step',  'Δ₊', 0., doc='largest step size'),
    # rates that are found
    Hyper('d0',        'd₀', 1e-30, doc='distance to a solution that a run begins with'),
    Hyper('d_mom',     'β₃', 0., 1., doc='decay of the sums that find the distance'),
    Hyper('d_coef',    'c', 0., doc='factor of the distance that is found'),
    Hyper('growth_rate', 'γ', 1., doc='most by which the distance grows in a step', endless=True),
    Hyper('d_rel',     'ρ', 0., doc='first distance, over 1 and the norm of the parameters'),
    # matrices and norms
    Hyper('ns_a',      'a', doc='coefficient of X in Newton–Schulz'),
    Hyper('ns_b',      'b', doc='coefficient of XXᵀX in Newton–Schulz'),
    Hyper('ns_c',      'c', doc='coefficient of (XXᵀ)²X in Newton–Schulz'),
    Hyper('ns_steps',  'k', 0., 100., doc='steps of Newton–Schulz', whole=True),
    Hyper('ns_restart', 'r', 0., doc='steps after which Newton–Schulz begins anew', whole=True),
    Hyper('ns_eps',    'ε₂', 0., doc='least norm of a matrix before Newton–Schulz'),
    Hyper('safety',    's', 1.01, doc='room for singular values that rounding makes too large'),
    Hyper('radius',    'ρ', 0., doc='radius of the ball in which a step goes to the edge'),
    Hyper('target_rms', 'd', 0., doc='root mean square of a step, before the learning rate'),
    Hyper('trust',     'κ', 0., doc='share of its own norm by which a tensor may move'),
    Hyper('max_value', 'c', 0., doc='largest element of a gradient'),
    Hyper('max_norm',  'c', 0., doc='largest norm of a gradient'),
    Hyper('max_ratio', 'c', 0., doc='largest norm of a gradient over its parameter\'s'),
    # a second gradient
    Hyper('rho',       'ρ', 0., doc='length of the climb to where the gradient is taken'),
    Hyper('asam_eta',  'ηₐ', 0., doc='added to the size of a weight, by which a climb is scaled'),
    Hyper('hess_mom',  'β₂', 0., 1., doc="decay of the average of the Hessian's diagonal"),
    Hyper('hess_scale', 'γ', 0., doc='share of the average Hessian that divides a step'),
    Hyper('hess_every', 'k', 1., doc='steps from one estimate of the Hessian to the next',
          whole=True),
    # both sides of a matrix, and few of its directions
    Hyper('every',     'k', 1., doc='steps from one new basis, root or projection to the next',
          whole=True),
    Hyper('max_dim',   'd', 0., doc='longest side that gets a full matrix', whole=True),
    Hyper('root_power', 'p', 0., most=2., doc='power of the inverse root of a matrix'),
    Hyper('rank',      'r', 1., most=2**20, doc='number of directions', whole=True),
    Hyper('low_scale', 'α', 0., doc='scale of a step that is made in few directions'),
    Hyper('growth',    'γ', 0., doc='how much a norm may grow in a step'),
    Hyper('precond_lr', 'μ', 0., most=.9, doc='learning rate of the factors'),
    Hyper('init_scale', 'q₀', 1e-12, doc='what the product of both factors begins with'),
    Hyper('max_prob',  'p₁', 0., most=1., doc='share of steps in which factors learn, at first'),
    Hyper('min_prob',  'p₀', 0., most=1., doc='share of steps in which factors learn, in the end'),
    Hyper('prob_decay', 'ζ', 0., doc='how fast that share falls'),
    Hyper('flat_start', 'T', 0., doc='steps before that share falls'),
    Hyper('balance_prob', 'p₂', 0., most=1., doc='share of steps in which factors are balanced'),
    # of modifiers
    Hyper('noise',     'η₀', 0., doc='variance of the noise at the first step'),
    Hyper('noise_decay', 'γ', 0., doc='power at which the noise falls'),
    Hyper('seed',      's', 0., doc='seed of the noise', whole=True),
    Hyper('ema',       'β', 0., 1., doc='decay of the average of parameters'),
    Hyper('ema_gamma', 'γ', 0., doc='power of an average of parameters that grows with the run'),
    Hyper('ema_warmup', 'T', 1e-30, doc='steps in which the average of parameters slows down'),
    Hyper('ema_power', 'p', 0., doc='power at which the average of parameters slows down'),
    Hyper('spike_ratio', 'θₛ', 0., doc='largest square of a gradient, over its average'),
    Hyper('spike_delay', 'T₀', 0., doc='steps after a reset without clips', whole=True),
    Hyper('reset_every', 'k', 1., doc='steps from one reset of averages to the next', whole=True),
    Hyper('reset_warmup', 'N', 0., doc='steps of a warm-up after a reset', whole=True),
    Hyper('grok_mom',  'αₛ', 0., 1., doc='decay of the slow part of the gradient'),
    Hyper('grok_weight', 'λₛ', 0., doc='how much of the slow part of the gradient is added'),
    Hyper('sync_every', 'k', 1., doc='steps from one sync to the next', whole=True),
    Hyper('slow_step', 'α', 0., most=1., doc='how far the slow parameters go'),
    Hyper('interp',    'β', 1e-3, most=1., doc='share of the average in the weights that train'),
    Hyper('r',         'r', 0., most=10., doc='power of t by which a step counts in the average'),
    Hyper('weight_lr_power', 'p', 0., most=10.,
          doc='power of the learning rate by which it counts'))}

OURS = {*TABLE}
PLACES = dict[str, str]()  # the file or module of each that is not genopt's own


def hyper(
    name: str,         # Of a hyperparameter of your own, as your parts write it
    symbol: str='',    # Its letter in equations; the name by default
    doc: str='',       # What it is, in a few words
    **limits: Any      # `low`, `high`, `most` and `whole`, as in `Hyper`
) -> Hyper:
    """Adds a hyperparameter to the table, before the parts that have it are defined.

    From then on equations have its letter, `help` and `explain` its meaning, and values are checked
    as those of genopt's own. A file that is run again may change its own. Raises ValueError for a
    name of genopt's, for one that means something else in another file, for a name that no argument
    could have, and for limits between which there is no number; TypeError for other limits, and for
    a symbol or a meaning that is no text.
    """
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
        raise ValueError(f'hyper({name!r}): give the name of an argument')
    for key, text in dict(symbol=symbol, doc=doc).items():
        if not isinstance(text, str):
            raise TypeError(f'hyper({name!r}): `{key}` = {text!r} is not a text: give limits by '
                            'name, as in low=0.')
    row = Hyper(name, symbol or name, doc=doc, **limits)
    if name in OURS: raise ValueError(f'`{name}` is a hyperparameter of genopt\'s own, which is '
                                      f'{TABLE[name].doc}: give yours another name')
    first = math.ceil(row.low) if row.whole and math.isfinite(row.low) else row.low
    if not first < row.high or first > row.most:
        kind = 'whole number' if row.whole else 'number'
        raise ValueError(f'`{name}`: no {kind} lies between its limits')
    place = sys._getframe(1).f_globals
    here = str(place.get('__file__') or place.get('__name__'))
    if name not in TABLE: PLACES[name] = here
    elif TABLE[name] != row and PLACES.get(name, here) != here:
        raise ValueError(f'`{name}` has another meaning or other limits in {PLACES[name]}: give '
                         'yours another name')
    TABLE[name] = row
    return row


# Other libraries' words, for advice only
SYNONYMS = dict(learning_rate='lr', beta1='mom', beta2='sqr_mom', epsilon='eps', decay='wd',
                wdecay='wd')


def did_you_mean(name: str, choices: Iterable[str], spellings: Iterable[str]=()) -> str:
    "The end of an error: the nearest of `choices` and their other spellings, or all choices."
    choices = list(dict.fromkeys(choices))
    near = [s for s in (SYNONYMS.get(name.lower()),) if s in choices]
    lower = {c.lower(): c for c in [*spellings, *choices]}
    near = near or [lower[c] for c in get_close_matches(name.lower(), lower, 1, .7)]
    if near: return f'did you mean `{near[0]}`?'
    if not choices: return 'there are none'
    if len(choices) > 40: return f'there are {len(choices)}, such as `{choices[0]}`'
    return f'there {"is" if len(choices) == 1 else "are"} ' + ', '.join(f'`{c}`' for c in choices)


def plain(name: str, value: Any) -> Any:
    """`value` as a plain int or float, or as the tensor that it is.

    Raises TypeError unless it is a number, and ValueError if it is several numbers or too large.
    NumPy's numbers, fractions and subclasses of int and float become Python's own, as a checkpoint
    holds no others.
    """
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex():
            raise ValueError(f'`{name}` is a tensor of shape {tuple(value.shape)}: give a number, '
                             'or a tensor with one element')
        return value
    if getattr(value, 'shape', None) == (): value = value.item()  # NumPy's
    if type(value) is float or type(value) is int and abs(value) < 2**53: return value
    if not isinstance(value, Real):
        raise TypeError(f'`{name}` = {value!r}: give a number, not a {type(value).__name__}')
    try: return int(value) if isinstance(value, int) and abs(value) < 2**53 else float(value)
    except OverflowError:
        raise ValueError(f'`{name}` is out of range: it must be a finite number') from None


def check(name: str,       # One of our names, or a part's own
          value: Any,      # A number, or a tensor with one element
          origin: str=''   # The name that its part's author gave it
         ) -> Any:         # `value`, as `plain` returns it
    "`value`, if it is a number (else TypeError) in the table's range (else ValueError)."
    value = plain(name, value)
    row, x = TABLE.get(name) or TABLE.get(origin) or Hyper(name, name), float(value)
    if row.endless and x == math.inf: return value
    if not math.isfinite(x): raise ValueError(f'`{name}` = {x:g}: give a finite number')
    if not (row.low <= x < row.high and x <= row.most):
        bounds = (('at least', row.low), ('below', row.high), ('at most', row.most))
        said = ' and '.join(f'{word} {v:g}' for word, v in bounds if math.isfinite(v))
        raise ValueError(f'`{name}` = {x:g} is out of range: it must be {said}')
    if row.whole and x != int(x): raise ValueError(f'`{name}` = {x:g}: give a whole number')
    return value


def check_flag(key: str, value: Any) -> None:
    "Raises TypeError if `value` is neither True nor False."
    if not isinstance(value, bool): raise TypeError(f'`{key}` = {value!r}: give True or False')
