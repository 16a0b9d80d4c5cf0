"""The papers' letters for what parts read and make; hyperparameters have theirs in the one table, `hypers.TABLE`.

A letter is written as people write it, `β₁` or `vₘₐₓ`; LaTeX follows from that. A name without a letter is a word.
"""
from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ..hypers import TABLE
from ..part import Part

__all__ = ['LETTERS', 'letters', 'latex', 'hat']

LETTERS = dict(
    param='θ', grad='g', raw_grad='∇f', update='Δθ', new_param='θ', count='t', rows='rows', columns='columns',
    # stats; what ends in ₜ is the step's own value, and the one before it ends in ₜ₋₁
    grad_avg='m', sqr_avg='v', max_sqr_avg='vₘₐₓ', sqr_sum='v', grad_sum='s', grad_max='u', delta_avg='u', diff_avg='d',
    fast_avg='m₁', slow_avg='m₂', scaled_avg='b', sqr_norm='v', row_avg='R', column_avg='C', step_size='Δ',
    mom_product='Πμ', eta='ηₜ', first_param='θ₀', last_grad='gₜ', param_avg='w', slow_param='φ', skipped='skipped',
    # scalars and totals
    nadam_mom='μₜ', next_nadam_mom='μₜ₊₁', rectifier='r', longest='ρ∞', length='ρₜ', relative_lr='ρ', lower_lr='η₋',
    upper_lr='η₊', fresh='τ', grown_mom='β₃', grown_weight='α', sqr_grad_norm='S', share_of_mean='ω', keep='κ',
    in_sync='σ', nonfinite='bad', noise_size='σ')
SUBSCRIPTS = dict(zip('₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₒₓₕₖₗₘₙₚₛₜ', '0123456789+-aeoxhklmnpst'))
SUBSCRIPTS['∞'] = r'\infty'
SUPERSCRIPTS = dict(zip('⁺⁻*', '+-*'))
HAT = '\N{COMBINING CIRCUMFLEX ACCENT}'


def letters(parts: Iterable[Part]) -> dict[str, str]:
    "For each name that the parts read or make, a letter of its own: where two would be alike, one gets a prime."
    res: dict[str, str] = dict(param='θ', new_param='θ', update='Δθ')
    def add(name: str, letter: str) -> None:
        while letter in (v for k, v in res.items() if k != name): letter += '′'
        res.setdefault(name, letter)
    parts = [*parts]
    for k in sorted({k for p in parts for k in p.hypers}, key=[*TABLE, *(k for p in parts for k in p.hypers)].index):
        add(k, TABLE[k].symbol if k in TABLE else k)
    for p in parts:
        for n in (*p.reads, p.out):
            stat = n.removeprefix('prev_')
            add(stat, LETTERS.get(stat, LETTERS.get(p.__name__, stat) if n == p.out else stat))
    for n in {n for p in parts for n in p.reads if n.startswith('prev_')}:
        res[n] = res[n.removeprefix('prev_')].removesuffix('ₜ') + 'ₜ₋₁'
    return res


def hat(letter: str) -> str:
    "With a hat, on its first character."
    return letter[0] + HAT + letter[1:]


def latex(letter: str) -> str:
    "A letter, or a word, in LaTeX."
    if letter == '∇f': return r'\nabla f'
    if letter.startswith(('Δ', 'Π')) and letter[1:2] not in ('', *SUBSCRIPTS):
        return {'Δ': r'\Delta ', 'Π': r'\Pi '}[letter[0]] + latex(letter[1:])
    body, sub, sup, accent = '', '', '', False
    for c in letter:
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
    word = {'LAMDA': 'lambda', 'EPSILON': 'varepsilon', 'PHI': 'varphi'}.get(name[-1], name[-1].lower())
    return '\\' + (word.capitalize() if name[1] == 'CAPITAL' else word)
