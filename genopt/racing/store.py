"""A folder's record of runs, so that a race that was interrupted goes on where it was.

A line of `runs.jsonl` is a run under a key. The key is made of all that the run depends on: the
versions of torch and genopt, the task's data and code, the optimizer's parts and their files (see
`sources`), the learning rate, the seed and the number of steps. What has changed has another key,
and is run anew.
"""
from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from .sources import digest, source
from .tasks import Task
from .training import Job, Run

__all__ = ['Store', 'plain']


class Store:
    "Runs by their keys, kept in a file if there is a folder. Raises OSError if it has no file."
    def __init__(self, folder: Path | None):
        self.path = folder and folder / 'runs.jsonl'
        self.runs: dict[str, Run] = {}
        if not self.path: return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        for line in self.path.read_text(encoding='utf-8').splitlines():
            try: found = json.loads(line)
            except ValueError: continue  # it was cut off
            key = found.pop('key')
            self.runs[key] = Run(**{k: _infinite(v) for k, v in found.items()})

    def add(self, job: Job, runs: Sequence[Run]) -> None:
        "Keeps runs, as they are made."
        new = {key(job, r.lr, r.seed): r for r in runs}
        self.runs |= new
        if not self.path: return
        lines = [json.dumps(plain({'key': k, **asdict(r)})) + '\n' for k, r in new.items()]
        with self.path.open('a', encoding='utf-8') as file: file.write('\n' + ''.join(lines))

    def get(self, job: Job, lr: float, seed: int) -> Run | None:
        return self.runs.get(key(job, lr, seed))


def key(job: Job, lr: float, seed: int) -> str:
    "A name for all that a run depends on."
    return _hash([_depends_on(job), repr(lr), seed])


def _hash(on: list[Any]) -> str: return sha256(json.dumps(on).encode()).hexdigest()[:24]


@lru_cache(64)
def _depends_on(job: Job) -> str:
    "What all runs of a job depend on."
    return _hash([__version__, torch.__version__, _task(job.task), job.entrant.depends_on(),
                  job.steps, job.sparse])


def _task(task: Task) -> list[Any]:
    data = [digest(t) for pair in task.sets for t in pair]
    return [task.name, data, task.batch, task.least, str(task.dtype),
            source(task.model, task.loss, task.data)]


def plain(value: Any) -> Any:
    "What JSON can say: it has no infinite numbers, so a loss that diverged is null."
    if isinstance(value, float): return value if math.isfinite(value) else None
    if isinstance(value, dict): return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _infinite(value: Any) -> Any:
    return [math.inf if v is None else v for v in value] if isinstance(value, list) else value
