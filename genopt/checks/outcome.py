"The outcome of a check, as a report: what agrees, what does not, and why."
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..study.report import Block, Code, Heading, Report, Sentences, Table
from .runs import Parting
from .states import Match

__all__ = ['Met', 'Outcome', 'Ran']

YES, NO, NOTE = '✓', '✗', '–'


class Ran(NamedTuple):
    "A trial, and where the two sides parted in it."
    name: str
    parting: Parting

    @property
    def ok(self) -> bool: return not self.parting and not self.parting.error

    def said(self) -> str:
        "A clause of a sentence."
        p = self.parting
        if p.error and not p.param: return f'step {p.step} fails with {p.error}'
        if not p: return f'they agree to {p.size:.0e}'
        return f'they part after step {p.step}, in the {p.param}, by {_size(p.size)}{self._later()}'

    def cells(self) -> Sequence[str]:
        p = self.parting
        if p.error and not p.param: return NO, self.name, str(p.step), '', p.error
        if not p: return YES, self.name, '', '', _size(p.size)
        return NO, self.name, str(p.step), p.param, _size(p.size) + self._later()

    def _later(self) -> str:
        "The error of a run that had parted before."
        return f', and a later step fails with {self.parting.error}' if self.parting.error else ''


class Met(NamedTuple):
    "A demand, and why it is not met, or ''. A mere note does not count."
    name: str
    why: str = ''
    is_note: bool = False


@dataclass(repr=False)
class Outcome(Report):
    """What a check has found. `print` it; `ok` says if all is right.

    `guesses` are changes of the reference, each in one or several sentences, that make it do what
    the checked one does. If `complete` is false, they explain only some of the trials.
    """
    checked: str
    reference: str                       # '' if there is none
    hypers: dict[str, Any]
    notes: list[str]                     # on hyperparameters that only one side has
    trials: list[Ran] = field(default_factory=list)
    states: list[Match] = field(default_factory=list)
    guesses: list[tuple[str, ...]] = field(default_factory=list)
    complete: bool = True                # False if the guesses do not explain all trials
    is_searched: bool = False            # True if the usual mistakes were tried
    demands: list[Met] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        "True if the two sides do the same in every trial, and there is one."
        return all(t.ok for t in self.trials) and bool(self.trials or not self.reference)

    @property
    def unmet(self) -> list[Met]: return [d for d in self.demands if d.why and not d.is_note]

    @property
    def ok(self) -> bool: return self.agrees and not self.unmet

    def verdict(self) -> str:
        if not self.agrees:
            if not self.trials: return 'Nothing was compared: there is no trial that both can run.'
            first = next(t for t in self.trials if not t.ok)
            return f'In the trial of {first.name}, {first.said()}.'
        found = [f'It does what {self.reference} does'] if self.reference else []
        met = f'it meets all {len(self.demands)} demands of training loops'
        if self.unmet:
            n = len(self.unmet)
            met = f'it does not meet {n} of {len(self.demands)} demands of training loops'
        return _capital(f'{", and " if not self.unmet else ", but "}'.join([*found, met])) + '.'

    def why(self) -> list[str]:
        "The guesses, as sentences."
        if self.agrees or not self.reference: return []
        if not self.is_searched:
            if all(t.parting.error or t.ok for t in self.trials): return []
            return [f'No guess is made: {self.reference} is not made of parts, and no recipe does '
                    'the same. Compare with a recipe, such as your own, to have the mistake named.']
        if not self.guesses:
            return ['None of the usual mistakes, and no two of those that help, make the reference '
                    'do the same.']
        begin = f'{self.reference} does exactly this if'
        if not self.complete: begin = f'{self.reference} does some of this, but not all, if'
        first, *more = (' and '.join(g) for g in self.guesses)
        return [f'{begin} {first}.', *(f'Or, which comes to the same here, if {m}.'
                                       for m in more[:3])]

    # -- forms -------------------------------------------------------------------------------------

    def blocks(self) -> Iterator[Block]:
        title = f'{self.checked} against {self.reference}' if self.reference else self.checked
        yield Heading(title, 1, self.verdict())
        if self.why(): yield Sentences(self.why())
        if self.reference:
            given = ', '.join(f'{k} = {_plain(v)}' for k, v in self.hypers.items()
                              if v is not False and v is not None)
            yield Sentences([f'Both have {given}.' if given else 'They share no hyperparameter.',
                             *self.notes])
            yield Table([t.cells() for t in self.trials],
                        ('', 'trial, in float64', 'parts at', 'first in', 'largest difference'))
        if self.states:
            yield Table([*map(_state, self.states)],
                        ('', 'state', 'parts at', 'first in', 'largest difference'))
        yield Table([*map(_demand, self.demands)], ('', 'what training loops ask of it'))

    def data(self) -> dict[str, Any]:
        "All of it, as JSON can hold it."
        return dict(
            checked=self.checked, reference=self.reference, ok=self.ok, verdict=self.verdict(),
            hypers={k: _plain(v) for k, v in self.hypers.items()}, notes=self.notes,
            trials=[dict(name=t.name, ok=t.ok, said=t.said(), step=t.parting.step,
                         parameter=t.parting.param, difference=_finite(t.parting.size))
                    for t in self.trials],
            states=[dict(reference=m.theirs, checked=m.ours, step=m.step, parameter=m.param,
                         difference=_finite(m.size)) for m in self.states],
            guesses=[[*g] for g in self.guesses], explains_all=self.complete,
            demands=[dict(name=d.name, ok=not d.why, why=d.why, counts=not d.is_note)
                     for d in self.demands])


def _state(m: Match) -> Sequence[Any]:
    name = [Code(m.ours), ' is ', Code(m.theirs)] if m.ours != m.theirs else [Code(m.theirs)]
    if not m.ours: return NO, [Code(m.theirs)], '', '', 'no state has its values'
    if not m.step: return YES, name, '', '', '0'
    return NO, name, str(m.step), m.param, _size(m.size)


def _demand(d: Met) -> Sequence[str]:
    if not d.why: return YES, d.name
    return (NOTE if d.is_note else NO), f'{d.name}: {d.why}'


def _size(size: float) -> str:
    "A difference, relative to the largest element."
    if size == float('inf'): return 'only one is a number'
    return f'{size:.1e}' if size else '0'


def _plain(x: Any) -> Any: return f'{x:g}' if type(x) is float else x
def _finite(x: float) -> float | None: return x if x < float('inf') else None
def _capital(text: str) -> str: return text[:1].upper() + text[1:]
