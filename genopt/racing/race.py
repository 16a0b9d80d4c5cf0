"""The race: optimizers on tasks, each at the best of the same number of learning rates.

    >>> from genopt import race
    >>> result = race(['adamw', 'lion', 'adamw + cautious'], ['leastsquares'], out='race')
    >>> print(result.table)
    >>> result.plot('leastsquares')
"""
from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import torch

from .. import __version__
from ..hypers import did_you_mean
from .entrants import enter
from .store import Store, plain
from .sweep import Sweep, sweep
from .tasks import TASKS, Task
from .training import TOGETHER, Job

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['Race', 'find_task', 'race']

QUICK = 'digits', 'leastsquares'


def race(
    optimizers: Iterable[Any],           # Texts as on the command line, recipes or classes
    tasks: Iterable[str | Task]=QUICK,   # Names in TASKS, or tasks of your own
    *,
    seeds: int=3,
    lrs: str | Iterable[float]='auto',   # The learning rates to try, the same for each optimizer
    steps: int | None=None,              # Of each run; by default as many as the task says
    out: Path | str | None=None          # Keeps runs in this folder; those that are there are taken
) -> Race:
    """Trains each optimizer on each task, with several learning rates and seeds.

    The learning rate of an optimizer is the best on the set to validate, and its loss that on the
    set to test. `lrs='auto'` looks around its default: see `sweep`. Runs go side by side where they
    can. Raises KeyError for an unknown task or optimizer, ValueError for numbers that make no
    sense or an optimizer that does not step, and what naming an optimizer raises.
    """
    if seeds < 1: raise ValueError(f'seeds = {seeds}: give at least 1')
    if steps is not None and steps < 1: raise ValueError(f'steps = {steps}: give at least 1')
    rates = _rates(lrs)
    entrants = enter(optimizers)
    chosen = [t if isinstance(t, Task) else find_task(t) for t in tasks]
    if not chosen: raise ValueError(f'there are no tasks: name some of {", ".join(TASKS)}')
    names = [t.name for t in chosen]
    for n in names:
        if names.count(n) > 1: raise ValueError(f'the task {n} is there twice: name it once')
    if not rates:
        for e in entrants: e.lr  # noqa: B018  (raises if there is none)
    jobs = [[Job(e, t, steps or t.steps, e.tried(t)) for e in entrants] for t in chosen]
    store, done = Store(Path(out) if out else None), Race([])
    for on_task in jobs:
        with _progress(on_task) as (planned, told):
            sweeps = [Sweep(j.telling(told), range(seeds), rates) for j in on_task]
            sweep(sweeps, store, planned)
        done.sweeps.append(sweeps)
    return done


def find_task(name: str) -> Task:
    "A task by its name. Raises KeyError with the nearest one."
    if name not in TASKS:
        raise KeyError(f'there is no task `{name}`: {did_you_mean(name, TASKS)}')
    return TASKS[name]


def _rates(lrs: str | Iterable[float]) -> list[float]:
    if lrs == 'auto': return []
    rates = [] if isinstance(lrs, str) else sorted({*map(float, lrs)})
    if not rates: raise ValueError(f'lrs = {lrs!r}: give "auto", or some learning rates')
    for r in rates:
        if not 0 < r < float('inf'): raise ValueError(f'{r:g} is not a learning rate')
    return rates


@contextmanager
def _progress(jobs: Sequence[Job]) -> Iterator[Any]:
    "A progress bar with the time left, if rich is installed. Its steps are those of all runs."
    try: from rich.console import Console
    except ImportError:
        yield (lambda n: None), (lambda n: None)
        return
    from rich import progress
    columns = (progress.TextColumn('{task.description}'), progress.BarColumn(),
               progress.TaskProgressColumn(), progress.TimeRemainingColumn())
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        line, total = bar.add_task(jobs[0].task.name, total=0.), [0]
        def planned(n: int) -> None:
            total[0] += n
            bar.update(line, total=total[0])
        yield planned, lambda n: bar.advance(line, n)


class Race:
    "What came of a race: `table`, `plot()`, `save(folder)`, and `data()` for everything."
    def __init__(self, sweeps: list[list[Sweep]]):
        self.sweeps = sweeps  # those of each task, in the order of the optimizers

    def results(self) -> Iterator[list[dict[str, Any]]]:
        "For each task a row for each optimizer, at its learning rate."
        for sweeps in self.sweeps:
            rows = [_row(s) for s in sweeps]
            for r in rows: r['rank'] = _rank(r['loss'], [q['loss'] for q in rows])
            yield rows

    @property
    def table(self) -> str:
        "A table for each task, and the ranks in all of them."
        found = [*self.results()]
        text = [_task_table(sweeps[0].job, rows) for sweeps, rows in zip(self.sweeps, found)]
        if len(found) > 1: text.append(_rank_table(self.sweeps, found))
        if any(r['at_edge'] for rows in found for r in rows):
            text.append('* is the best learning rate of those tried, and lies at their edge.')
        return '\n\n'.join(text)

    def __repr__(self) -> str: return self.table

    def plot(self, *tasks: str) -> Figure:
        "Curves and learning rates of these tasks, by default all. Raises KeyError for another one."
        from .figures import draw
        by_name = {sweeps[0].job.task.name: sweeps for sweeps in self.sweeps}
        for t in tasks:
            if t not in by_name: raise KeyError(f'`{t}` was not raced: {did_you_mean(t, by_name)}')
        return draw([by_name[t] for t in tasks or by_name])

    def data(self) -> dict[str, Any]:
        "Everything, for JSON. A loss that diverged is null."
        tasks = [dict(task=s[0].job.task.name, about=s[0].job.task.about,
                      measure=s[0].job.task.measure, steps=s[0].job.steps, seeds=len(s[0].seeds),
                      optimum=s[0].job.task.least if s[0].job.task.optimum else None,
                      optimizers=[{**r, 'runs': _runs(q)} for r, q in zip(rows, s)])
                 for s, rows in zip(self.sweeps, self.results())]
        found: dict[str, Any] = plain(dict(
            genopt=__version__, torch=torch.__version__, python=platform.python_version(),
            tasks=tasks))
        return found

    def save(self, folder: Path | str) -> list[Path]:
        "Writes race.json, and a picture for each task. Returns their paths."
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        numbers = folder / 'race.json'
        numbers.write_text(json.dumps(self.data(), indent=1), encoding='utf-8')
        names = [sweeps[0].job.task.name for sweeps in self.sweeps]
        pictures = [folder / f'{name}.png' for name in names]
        for name, path in zip(names, pictures): self.plot(name).savefig(path, dpi=150)
        return [numbers, *pictures]


def _row(s: Sweep) -> dict[str, Any]:
    runs = s.runs[s.best]
    losses = [r.test[-1] for r in runs]
    spread = stdev(losses) if len(losses) > 1 and max(losses) < float('inf') else 0.
    return dict(optimizer=s.job.entrant.label, lr=s.best, tries=len(s.runs), at_edge=s.at_edge,
                loss=mean(losses), spread=spread, diverged=sum(r.diverged for r in runs),
                sparse=s.job.sparse, how=runs[0].how)


def _runs(s: Sweep) -> list[dict[str, Any]]:
    return [vars(r) for lr in sorted(s.runs) for r in s.runs[lr]]


def _rank(loss: float, losses: Sequence[float]) -> float:
    "1 for the smallest; of equal ones, the mean of their places."
    return 1 + sum(v < loss for v in losses) + (losses.count(loss) - 1) / 2


# -- tables ----------------------------------------------------------------------------------------

def _task_table(job: Job, rows: Sequence[dict[str, Any]]) -> str:
    what = f'{job.steps} steps, {job.task.measure}, lower is better'
    lines = [['optimizer', 'learning rate', 'tries', 'loss', '±', 'rank', 'runs']]
    for r in rows:
        how = r['how'] if r['how'] == TOGETHER else f'one by one: {r["how"]}'
        lines.append([r['optimizer'], f'{r["lr"]:.2g}' + '*' * r['at_edge'], str(r['tries']),
                      'diverged' if r['diverged'] else f'{r["loss"]:.4g}', f'{r["spread"]:.1g}',
                      f'{r["rank"]:g}', how])
    return f'{job.task.name}: {what}\n{_aligned(lines)}'


def _rank_table(sweeps: Sequence[Sequence[Sweep]], found: Sequence[Any]) -> str:
    lines = [['optimizer', *(s[0].job.task.name for s in sweeps), 'mean rank']]
    of_each = [[rows[i]['rank'] for rows in found] for i in range(len(found[0]))]
    for rows, ranks in sorted(zip(found[0], of_each), key=lambda x: mean(x[1])):
        lines.append([rows['optimizer'], *(f'{r:g}' for r in ranks), f'{mean(ranks):.2g}'])
    return f'ranks, lower is better\n{_aligned(lines)}'


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    wide = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  ' + '  '.join(f'{t:{w}}' for t, w in zip(line, wide)).rstrip()
                     for line in lines)
