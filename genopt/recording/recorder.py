"""A recorder: it looks at every k-th step of an optimizer before it is made.

    >>> rec = opt.watch(every=10, to='run.csv')
    >>> opt.step()
    >>> rec.plot()
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines.compiled import Compiled
from ..engines.work import Work
from ..optimizer import Optimizer
from ..pieces import number_of, place_of
from .choice import Choice, names_of, patterns_of
from .looks import Look
from .quantities import Numbers
from .writers import KEYS, Writer, writer_for

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['Recorder', 'watch']


class Record(NamedTuple):
    "What was seen of some parameters in one step."
    step: int
    groups: list[int]
    names: list[str]
    columns: dict[str, Numbers]

    def rows(self) -> Iterator[dict[str, Any]]:
        values = [v.tolist() for v in self.columns.values()]
        for group, name, *row in zip(self.groups, self.names, *values):
            yield {'step': self.step, 'group': group, 'param': name, **dict(zip(self.columns, row))}


class Recorder:
    """Rows of an optimizer: one for each step that it looked at and each parameter with a gradient,
    or each of its pieces in a group with a `view`.

    `rows` are dicts: `step`, `group`, `param` (its name, or its place), and the quantities, which
    `quantities.usual_columns` explains. Steps are counted from 1, and it looks at 1, 1 + k, and so
    on. Nothing of it is in the optimizer's state: a copy of the optimizer is not watched.
    """
    def __init__(self,
        opt: Optimizer,
        every: int,
        choice: Choice,
        writer: Writer | None,
        first: int  # The number of the next step
    ):
        self.opt, self.every, self.choice, self.writer = opt, every, choice, writer
        self.next, self.records, self.seen = first, list[Record](), set[str]()
        self._look = Look()
        opt.recorders = (*opt.recorders, self)

    def __call__(self, works: Sequence[Work]) -> None:
        "Looks at the step that comes, if it is its turn."
        self.next = (step := self.next) + 1
        if not (step - 1) % self.every: self._record(step, works)

    def _record(self, step: int, works: Sequence[Work]) -> None:
        groups = self.opt.groups()
        names = names_of(groups)
        group_of = [g.index for g in groups for _ in g['params']]
        watched = {w.composition: self.choice.watched(w.composition) for w in works}
        found = self._look(works, watched, self.choice.flags(groups, names),
                           isinstance(self.opt.engine, Compiled))
        new = [Record(step, [group_of[place_of(i)] for i in seen.places],
                      [names[place_of(i)] + f', piece {number_of(i)}' * bool(number_of(i))
                       for i in seen.places], seen.columns()) for seen in found]
        self.records += new
        self.seen.update(names[place_of(i)] for seen in found for i in seen.places)
        if self.writer and new: self.writer.write([row for r in new for row in r.rows()])

    @property
    def rows(self) -> list[dict[str, Any]]: return [row for r in self.records for row in r.rows()]

    def table(self) -> Any:
        "The rows as pandas' DataFrame if pandas is installed, else as a list of dicts."
        try: from pandas import DataFrame
        except ImportError: return self.rows
        return DataFrame(self.rows)

    def plot(self,
        *quantities: str,  # By default a few that most runs have
        params: Any=None   # Patterns of names, or parameters; by default all that were seen
    ) -> Figure:
        """A small picture for each quantity over the steps.

        A few parameters are a line each. Of many, it shows the median, the middle half and the
        whole range. Raises KeyError for names that are not there, TypeError for what is no name,
        and ValueError if nothing was seen yet.
        """
        from .picture import draw, usual
        there = dict.fromkeys(k for r in self.rows for k in r if k not in KEYS)
        quantities = quantities or (*usual([*there], [f.__name__ for f in self.choice.own]),)
        patterns = None if params is None else [
            q for p in patterns_of(params, self.opt.groups()) for q in (p, f'{p}, piece *')]
        return draw(self.rows, quantities, patterns)

    def stop(self) -> None:
        "Looks at no more steps. What it has seen stays."
        self.opt.recorders = tuple(r for r in self.opt.recorders if r is not self)

    def __enter__(self) -> Recorder: return self
    def __exit__(self, *_: object) -> None: self.stop()

    def __repr__(self) -> str:
        groups = self.opt.groups()
        names = names_of(groups)
        flags = self.choice.flags(groups, names) or [True] * len(names)
        mine = [n for n, is_watched in zip(names, flags) if is_watched]
        silent = [n for n in mine if n not in self.seen]
        k = self.every
        lines = [f'Recorder of steps 1, {1 + k}, {1 + 2 * k}, …']
        lines.append(f'  {len(mine)} parameter{"s" * (len(mine) != 1)}, '
                     f'{sum(len(r.names) for r in self.records)} rows')
        if self.records: lines.append(f'  so far {self.records[0].step} to {self.records[-1].step}')
        if self.records and silent:
            more = f' and {len(silent) - 3} more' if len(silent) > 3 else ''
            lines.append(f'  no gradient so far: {", ".join(silent[:3])}{more}')
        return '\n'.join(lines)


def watch(opt: Optimizer, every: int, to: Any, choice: Mapping[str, Any],
          first: int | None) -> Recorder:
    """A recorder of every k-th step: see `Recorder`, and `Choice` for what it watches.

    `to` is a file that ends in .csv or .jsonl, to which rows are added as they come; an object with
    `add_scalar`, as TensorBoard's; or a function of a list of rows. `first` is the number of the
    next step. By default the optimizer's state tells it, if it has counts, or else the file. Raises
    TypeError, ValueError, KeyError, ContractError, or OSError for a file that cannot be written.
    """
    for name, value in dict(every=every, first=first).items():
        if value is None and name == 'first': continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f'`{name}` = {value!r}: give a whole number, at least 1')
    chosen = Choice(opt.groups(), **choice)
    writer = writer_for(to)
    return Recorder(opt, every, chosen, writer, first or 1 + (_steps(opt) or writer and writer.last
                                                              or 0))


def _steps(opt: Optimizer) -> int:
    "How many steps the optimizer has made, if its parameters count them, or else 0."
    return max((int(s['count']) for s in opt.state.values() if 'count' in s), default=0)
