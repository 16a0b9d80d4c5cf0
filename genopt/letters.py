"""The papers' letters for stats, scalars and tensors; `hypers.TABLE` has those of hyperparameters.

A letter is written as people write it, `β₁` or `vₘₐₓ`; LaTeX follows from that. A name without a
letter is a word.
"""
from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .contract import EVALUATED
from .hypers import TABLE
from .links import with_links
from .part import Part

__all__ = ['LETTERS', 'letters', 'idea', 'retyped', 'latex', 'hat']

LETTERS = dict(
    param='θ', grad='g', raw_grad='∇f', update='Δθ', new_param='θ', count='t', rows='rows',
    columns='columns',
    # stats; a letter that ends in ₜ is for this step's value, and ends in ₜ₋₁ for the last one
    grad_avg='m', sqr_avg='v', max_sqr_avg='vₘₐₓ', sqr_sum='v', grad_sum='s', grad_max='u',
    delta_avg='u', diff_avg='d', fast_avg='m₁', slow_avg='m₂', scaled_avg='b', sqr_norm='v',
    row_avg='R', column_avg='C', step_size='Δ', mom_product='Πμ', eta='ηₜ', first_param='θ₀',
    last_grad='gₜ', param_avg='w', slow_param='φ', skipped='skipped', base_param='z',
    lr_max='η₊', weight_sum='W',
    surprise='s', surprise_rows='Rₛ', surprise_columns='Cₛ', sqr_bound='v', row_max='A',
    column_max='B', inner_max='E', new_share='τ', eps_so_far='ε′', share_of_square='τ',
    left_avg='L', right_avg='R', left_sum='L', right_sum='R', left_root='A', right_root='B',
    left_basis='U', right_basis='V', left_factor='Q₁', right_factor='Q₂', column_factor='Q',
    projection='P', low_avg='m', low_sqr_avg='v', limited_norm='n',
    # tensors that are made once; of several, each has its number
    projected='l', scaled_low='u', power_turn='F', probe='Z', balanced='D', whitened='W',
    # scalars and totals
    nadam_mom='μₜ', next_nadam_mom='μₜ₊₁', rectifier='r', final_sma_length='ρ∞', sma_length='ρₜ',
    relative_lr='ρ', lower_lr='η₋', upper_lr='η₊', share_of_new='τ', grown_mom='β₃',
    grown_weight='α', sqr_grad_norm='S', last_sqr_norm='Sₜ', share_of_mean='ω',
    share_of_grad='κ', share_of_slow='κ', sync='σ',
    nonfinite_count='bad', noise_size='σ', update_share='p', learning='σ', balancing='κ',
    warm_lr='ηₜ', weight_of_base='w', share_of_base='c',
    # of long runs
    grok_avg='h', error='e', may_spike='σ', goes_on='σ', regrown='ω', warm_ema='βₜ', slow_ema='βₜ',
    power_ema='βₜ',
    # of rates
    d='d', prodigy_distance='d̂', adam_distance='d̂', sgd_distance='d̂', d_max='dₘₐₓ',
    faded_sum='s', gain='r', first_norm='G₀', sqr_norm_sum='G', rate_of_d='ρ', debiased_lr='η′',
    eps_of_d='ε′', prodigy_progress='P', adam_progress='P', sgd_progress='P',
    absolute_sum='S₁', sqr_sum_norm='S₂', sqr_distance='D', sqr_param_norm='N', dog_lr='ηₜ',
    # a second gradient
    hess='ĥ', hess_avg='h', loss='f', climbs='climbs', start_param='θ₀', sqr_slope='S',
    sqr_scaled_slope='S', climb_size='σ', scaled_climb_size='σ', **{EVALUATED: 'x'})
SUBSCRIPTS = dict(zip('₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₒₓₕₖₗₘₙₚᵣₛₜ', '0123456789+-aeoxhklmnprst'))
SUBSCRIPTS['∞'] = r'\infty'
SUPERSCRIPTS = dict(zip('⁺⁻*', '+-*'))
POWERS = dict(zip('tcαγrp', 'ᵗᶜᵅᵞʳᵖ'))
HAT = '\N{COMBINING CIRCUMFLEX ACCENT}'
NUMBERS = '₁₂₃₄₅₆₇₈₉'
LOWERED = str.maketrans('0123456789', '₀' + NUMBERS)
# Characters after a letter that make it another one
EXTENSIONS = ''.join(map(re.escape, (*SUBSCRIPTS, *SUPERSCRIPTS, HAT, '′')))
FIRST = ('diff_mom',)  # keeps its letter: so the decay of Adan's squares is β₃


def letters(parts: Iterable[Part]) -> dict[str, str]:
    """A letter of its own for each name that the parts, and their scalars, read or make.

    Where two would be alike, a numbered hyperparameter gets the next number, and anything else a
    prime.
    """
    parts = [*with_links(parts)]
    res: dict[str, str] = dict(param='θ', new_param='θ', update='Δθ')
    reserved = {n: LETTERS[n] for n in ('grad', 'raw_grad', 'count')}  # always theirs
    def add(name: str, letter: str) -> None:
        while letter in (v for k, v in {**reserved, **res}.items() if k != name): letter += '′'
        res.setdefault(name, letter)
    for k, letter in _numbered({k for p in parts for k in p.hypers}).items(): add(k, letter)
    for p in parts:
        for n in (*p.reads, p.out):
            stat = n.removeprefix('prev_')
            word = _of_series(stat)
            add(stat, LETTERS.get(stat, LETTERS.get(p.__name__, word) if n == p.out else word))
    for n in {n for p in parts for n in p.reads if n.startswith('prev_')}:
        res[n] = res[n.removeprefix('prev_')].removesuffix('ₜ') + 'ₜ₋₁'
    return res


def _of_series(name: str) -> str:
    "The letter of one of several averages, or of its decay, by its number: β₄ of `mom_4`."
    base, _, number = name.rpartition('_')
    letter = dict(mom='β', avg='m').get(base, '')
    return letter + number.translate(LOWERED) if letter and number.isdigit() else name


def _numbered(hypers: set[str]) -> dict[str, str]:
    "The table's letters; of two with one number, the later one gets the next that is free."
    order = [*TABLE, *sorted(hypers)]
    wanted = {k: TABLE[k].symbol if k in TABLE else _of_series(k)
              for k in sorted(hypers, key=order.index)}
    owners = {letter: k for k, letter in reversed(wanted.items())}
    owners |= {wanted[k]: k for k in FIRST if k in wanted}
    for k, letter in [*wanted.items()]:
        if owners[letter] == k or letter[-1] not in NUMBERS: continue
        others = (letter[:-1] + i for i in NUMBERS if i > letter[-1])
        if free := next((other for other in others if other not in owners), ''):
            wanted[k], owners[free] = free, k
    return wanted


# -- documentation ---------------------------------------------------------------------------------

def idea(fn: Callable[..., Any]) -> str:
    "The first paragraph of a function's documentation, as one line."
    return ' '.join((inspect.getdoc(fn) or '').split('\n\n')[0].split())


def retyped(part: Part, names: Mapping[str, str]) -> str:
    "The first sentence of a part's documentation, in the letters `names` of the list it is in."
    line = re.split(r'(?<=\.) (?=[A-ZΑ-Ωα-ω])', idea(part.fn))[0]
    new, several = dict[str, str](), {p.out for p in with_links([part]) if p.kind == 'tensor'}
    for letter, name in _typed(part):
        now = names[name]
        new |= {letter: now, hat(letter): hat(now)}
        if letter in POWERS and now != letter: new[POWERS[letter]] = f'^{now}'
        if letter[-1:] == '₁': new.setdefault(letter[:-1], now)  # ν, where there is no other
        for n in NUMBERS if name in several else '': new[letter + n] = now + n
    found = '|'.join(map(_pattern, sorted(new, key=len, reverse=True)))
    return re.sub(rf'(?:{found})(?![{EXTENSIONS}])', lambda m: new[m[0]], line)


def _pattern(letter: str) -> str:
    "A pattern for the letter, except in words and as one."
    if not letter.isascii(): return re.escape(letter)
    article = '(?! [a-z]{2})' if letter == 'a' else ''
    return rf"(?<![A-Za-z_'’-]){re.escape(letter)}(?![A-Za-z_'’]){article}"


def _typed(part: Part) -> Iterator[tuple[str, str]]:
    "The letters in a part's documentation, and the names for which they now stand."
    own = letters([part.origin])
    for a, b in _renamed(part.origin, part):
        yield own[a], b
        if a.startswith('prev_') and b.startswith('prev_'): yield own[a[5:]], b[5:]


def _renamed(old: Part, new: Part) -> Iterator[tuple[str, str]]:
    "The names that a part was defined with, and what stands in their place in one of its forms."
    yield from ((a, b) for (_, a), (_, b) in zip(old.keywords, new.keywords))
    yield from zip((*old.init_hypers, *old.args, old.out), (*new.init_hypers, *new.args, new.out))
    for a, b in zip(old.links.values(), new.links.values()):
        yield a.out, b.out
        if a.fn is b.fn: yield from _renamed(a, b)


# -- how a letter is written -----------------------------------------------------------------------

def hat(letter: str) -> str:
    "The letter with a hat on its first character."
    return letter[0] + HAT + letter[1:]


def latex(letter: str) -> str:
    "A letter, or a word, in LaTeX."
    if letter == '∇f': return r'\nabla f'
    if letter.startswith(('Δ', 'Π')) and letter[1:2] not in ('', *SUBSCRIPTS):
        return {'Δ': r'\Delta ', 'Π': r'\Pi '}[letter[0]] + latex(letter[1:])
    body, sub, sup, accent = '', '', '', False
    for c in unicodedata.normalize('NFD', letter):
        if c in SUBSCRIPTS: sub += SUBSCRIPTS[c]
        elif c in SUPERSCRIPTS: sup += SUPERSCRIPTS[c]
        elif c == '′': sup += r'\prime'
        elif c == HAT: accent = True
        else: body += c
    if len(body) == 1: body = _greek(body)
    elif body: body = r'\mathrm{' + body.replace('_', r'\_') + '}'
    if sub == 'max': sub = r'\max'
    if accent: body = rf'\hat{{{body}}}'
    return body + (f'_{{{sub}}}' if sub else '') + (f'^{{{sup}}}' if sup else '')


def _greek(c: str) -> str:
    "`\\beta` for β."
    name = unicodedata.name(c, '').split()
    if name[:1] != ['GREEK']: return c
    words = dict(LAMDA='lambda', EPSILON='varepsilon', PHI='varphi')
    word = words.get(name[-1], name[-1].lower())
    return '\\' + (word.capitalize() if name[1] == 'CAPITAL' else word)
