"A race: optimizers on several real tasks, each at the best of the same number of learning rates."
from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from ..contract import ContractError, PartError
from ..racing.race import QUICK, find_task, race as run
from ..racing.tasks import TASKS, Task
from ..specs import module_of
from . import Stop, numbers, require, write

USUAL = 'momentum', 'adamw', 'lion'
OPTIMIZERS = f'''names, sums, files and classes, as in: adamw "adamw + cautious" mine.py:Squash
torch.optim:AdamW. By default {" ".join(USUAL)}'''
CHOICE = f'''with commas between: {", ".join(TASKS)}; or all; or mine.py:TASK, a task in a
file. By default {",".join(QUICK)}'''


def race(
    optimizers: Annotated[list[str], dict(nargs='*', type=str, help=OPTIMIZERS)],
    tasks: Annotated[str, dict(help=CHOICE)]=','.join(QUICK),
    seeds: int=3,  # Runs of each learning rate, with other first weights and batches
    lrs: str='auto',  # Learning rates to try, with commas between; auto looks around each default
    steps: int | None=None,  # Steps of a run; by default as many as the task says
    out: Path=Path('race')  # Folder for race.json, a picture of each task, and all runs
) -> int:
    "Races optimizers on real tasks, each at the best of the same number of learning rates."
    require('race', 'sklearn', 'matplotlib', 'rich')
    rates = 'auto' if lrs == 'auto' else numbers('lrs', lrs, *range(1, 1000))
    write(out / 'runs.jsonl', Path.touch)
    try:
        names = [*TASKS] if tasks == 'all' else [t.strip() for t in tasks.split(',') if t.strip()]
        result = run(optimizers or USUAL, [_task(n) for n in names], seeds=seeds, lrs=rates,
                     steps=steps, out=out)
        for path in result.save(out): print(f'wrote {path}')
    except (KeyError, TypeError, ValueError, ContractError, PartError) as e:
        raise Stop(e.args[0]) from None
    except OSError as e: raise Stop(f'cannot write {out}: {e.strerror or e}') from None
    except KeyboardInterrupt:
        print(f'What is done is in {out / "runs.jsonl"}: the same command goes on from there.',
              file=sys.stderr)
        raise
    print(f'\n{result.table}')
    return 0


def _task(name: str) -> Task:
    "A task by its name, or one that a file or a module defines."
    where, _, attribute = name.rpartition(':')
    if not where: return find_task(name)
    module = module_of(where)
    found = getattr(module, attribute, None)
    if isinstance(found, Task): return found
    has = [k for k, v in vars(module).items() if isinstance(v, Task)]
    raise KeyError(f'{where} has no task `{attribute}`: ' + (
        f'name {" or ".join(has)}' if has else 'define one, a genopt.Task'))
