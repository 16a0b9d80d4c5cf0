"""The first step of a contender in a new process, with the imports of compilers.

`python -m genopt.bench.first RECIPE MODEL DEVICE CONTENDER LIBRARIES` prints its seconds.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.benchmark import timer

from .contenders import Task, contenders, names, task
from .models import shapes

PATIENCE = 300  # seconds


def first_steps(task: Task, model: str, device: str,
                libraries: Sequence[str]) -> Iterator[dict[str, Any]]:
    "Seconds for making each contender and its first step, without compilers' caches and with."
    for label in contenders(task, libraries):
        with tempfile.TemporaryDirectory() as cache:
            caches = 'GENOPT_CACHE', 'TORCHINDUCTOR_CACHE_DIR', 'TRITON_CACHE_DIR'
            env = {**os.environ, **dict.fromkeys(caches, cache)}
            arguments = task.name, model, device, label, ','.join(libraries)
            command = [sys.executable, '-m', __name__, *arguments]
            cold, again = _seconds(command, env), _seconds(command, env)
        yield dict(contender=label, cold=cold, again=again)


def _seconds(command: Sequence[str], env: dict[str, str]) -> float | None:
    "What the program prints, or None if it fails or takes too long."
    try:
        said = subprocess.check_output(command, env=env, stderr=subprocess.PIPE, timeout=PATIENCE)
        return float(said.split()[-1])
    except (subprocess.SubprocessError, ValueError): return None


def main(recipe: str, model: str, device: str, label: str, libraries: str) -> None:
    tensors = [torch.full(s, .01, device=device) for s in shapes(model)]
    make = contenders(task(recipe), names(libraries))[label]
    start = timer()
    contender = make(tensors)
    contender.give(tensors)
    contender.step()
    print(timer() - start)


if __name__ == '__main__': main(*sys.argv[1:])
