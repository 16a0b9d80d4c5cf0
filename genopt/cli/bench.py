"The benchmark: the same step in genopt's engines, in torch.optim and in other libraries."
from __future__ import annotations

import json
import math
import platform
import re
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from . import REFUSED, Stop, print_table, require, write


RECIPES = dict(cpu='Adam', cuda='AdamW,Lion,LAMB,AdEMAMix,AdamW + clip_by_global_norm,Adafactor')
MODELS = dict(cpu='resnet50,gpt2,500x32x32,100M,3000x100',
              cuda='gpt2,gpt2-medium,resnet50,500x32x32')


def bench(
    recipes: str | None=None,  # With commas: adam(amsgrad=True), adamw + cautious
    models: str | None=None,  # resnet50,gpt2-medium,500x32x32,100M; '' for none
    device: str='cpu',  # cpu or cuda; a GPU has other recipes and models by default
    check: bool=False,  # First compare every recipe with the plain engine on that device
    rounds: int | None=None,  # Steps of each contender, after three to warm up; by default 20
    peers: str='',  # Other libraries, if they are installed: heavyball, optimi, fastai, optax
    first: str='500x32x32',  # Models whose first step is timed in a new process
    curves: bool=True,  # Leave out the times over the number of tensors and over their size
    largest: float=1e8,  # The curves end at this number of elements
    rows: str='',  # Instead of all this, goals by name, or all: steps over torch's
    out: Path=Path('bench')  # Folder for bench.json and bench.png, or for goals.json
) -> int:
    "Times a step of genopt's engines and of torch.optim, and of other libraries if you name them."
    from ..bench.contenders import installed, names, task
    from ..bench.models import shapes
    if rounds is not None and rounds < 1: raise Stop(f'--rounds {rounds}: give at least 1')
    where = _device(device)
    if check and not _check(where): return 1
    if rows: return _goals(rows, where, rounds, out)
    rounds = rounds or 20
    recipes = RECIPES[where.type] if recipes is None else recipes
    models = MODELS[where.type] if models is None else models
    try:
        tasks = [task(t) for t in names(recipes)]
        libraries = [p for p in names(peers) if installed(p)]
        works, firsts = ({m: shapes(m) for m in names(text)} for text in (models, first))
    except REFUSED as e: raise Stop(e.args[0]) from None
    require('bench', 'matplotlib', 'rich')
    write(out / 'bench.json', Path.touch)

    from ..bench import figure, timing
    from ..bench.first import first_steps
    result: dict[str, Any] = dict(machine=_machine(where), libraries=libraries, rounds=rounds,
                                  steps=[], first=[], differences=[], curves=[])
    for t in tasks:
        for model, s in works.items():
            result['steps'].append(dict(recipe=t.name, model=model, tensors=len(s),
                                        rows=timing.compare(t, s, where, rounds, libraries),
                                        elements=sum(map(math.prod, s))))
            _show_steps(result['steps'][-1])
            (out / 'bench.json').write_text(json.dumps(result, indent=1), encoding='utf-8')
        for model, s in firsts.items():
            result['first'].append(dict(recipe=t.name, model=model, tensors=len(s),
                                        rows=[*first_steps(t, model, device, libraries)]))
            _show_first(result['first'][-1])
        result['differences'].append(dict(recipe=t.name, rows=timing.differences(t, libraries)))
        _show_differences(result['differences'][-1])
    if curves:
        result['curves'] = [*timing.curves(tasks[0], where, rounds, libraries, largest)]
        figure.draw(result, tasks[0].name).savefig(out / 'bench.png', dpi=150)
        print(f'wrote {out / "bench.png"}')
    (out / 'bench.json').write_text(json.dumps(result, indent=1), encoding='utf-8')
    print(f'wrote {out / "bench.json"}')
    return 0


def _goals(rows: str, device: torch.device, rounds: int | None, out: Path) -> int:
    "Measures goals with two threads, and prints a table in Markdown, row after row."
    from ..bench.contenders import names
    from ..bench.goals import goals, measure
    from ..bench.timing import threads
    try: chosen = goals(names(rows))
    except ValueError as e: raise Stop(str(e)) from None
    write(out / 'goals.json', Path.touch)
    print(GOALS_HEAD)
    with threads(2):
        result: dict[str, Any] = dict(machine=_machine(device), goals=[])
        for goal in chosen:
            result['goals'].append(measure(goal, device, rounds))
            _show_goal(result['goals'][-1])
            (out / 'goals.json').write_text(json.dumps(result, indent=1), encoding='utf-8')
    print(f'\nwrote {out / "goals.json"}')
    return 0


def _check(device: torch.device) -> bool:
    "Compares every recipe with the plain engine. True if all are right."
    from ..bench.checking import GRAPHS, check_formats, check_recipe, names_of_recipes
    wrong = list[str]()
    print(f'On {device}: the largest difference from the plain engine in float64, after 5 steps; '
          'for formats, the\nlargest share of numbers that differ from the kernel of the CPU.\n')
    graphs = GRAPHS if device.type == 'cuda' else ()
    for row in chain((check_recipe(name, device) for name in names_of_recipes()),
                     (check_recipe(name, device, in_graph=True) for name in graphs),
                     check_formats(device)):
        said = f'{row.found:7.0e}  {row.name:36}  {row.engine.partition(";")[0]}'
        print(f'{"ok" if row.is_right else "WRONG":5}  {said}', flush=True)
        if not row.is_right: wrong.append(row.name)
    print(f'\n{len(wrong)} wrong: {", ".join(wrong)}' if wrong else '\nall are right')
    return not wrong


def _device(name: str) -> torch.device:
    if name.split(':')[0] not in ('cpu', 'cuda'): raise Stop(f'--device {name}: give cpu or cuda')
    if name.startswith('cuda') and not torch.cuda.is_available():
        raise Stop(f'--device {name}: torch finds no CUDA here')
    where = torch.device(name)
    if where.type == 'cuda': torch.cuda.set_device(where.index or 0)  # which timers wait for
    return where


def _machine(device: torch.device) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    try: cpu = re.findall('model name\\s*: (.*)', Path('/proc/cpuinfo').read_text())[0]
    except (OSError, IndexError): pass
    return dict(cpu=cpu, threads=torch.get_num_threads(),
                capability=torch.backends.cpu.get_cpu_capability(),
                gpu=torch.cuda.get_device_name(device) if device.type == 'cuda' else None,
                system=platform.platform(), python=platform.python_version(),
                torch=torch.__version__, genopt=__version__)


# -- tables ----------------------------------------------------------------------------------------

GOALS_HEAD = '''Time of a step over torch's: the median of pairs, with two threads. Lower is better.

| row | ours / torch's | measured | to reach | met? | median times |
|---|---|---|---|---|---|'''


def _show_goal(row: dict[str, Any]) -> None:
    if 'failed' in row:
        measured, met, times = 'failed', '–', '; '.join(map(': '.join, row['failed'].items()))
    else:
        measured, met = f'{row["value"]:.2f}', 'yes' if row['met'] else '**no**'
        times = ', '.join(f'{c:.3g}' for c in row['costs'].values()) + f' {row["unit"]}'
    print(f'| {row["name"]} | {row["pair"]} | {measured} | ≤ {row["limit"]:g} | {met} | {times} |',
          flush=True)


def _show_steps(result: dict[str, Any]) -> None:
    done = [r for r in result['rows'] if 'failed' not in r]
    rows = [[r['contender'], f'{r["ms"]:.3g}', f'{r["ratio"]:.2f}', f'{r["gb_per_s"]:.1f}',
             f'{r["of_mul"]:.2f}' if 'of_mul' in r else '',
             f'{r["extra_memory"]:.1%}' if 'extra_memory' in r else '',
             *(f'{r[k]:.3g}' for k in ('gpu_ms', 'host_ms') if k in r)] for r in done]
    of_gpu = ('ms between events', 'ms on the host') if 'gpu_ms' in done[0] else ()
    print_table('{recipe}, {model}: {tensors} tensors, {elements:,} elements'.format(**result),
                ('contender', 'ms a step', f'over {done[0]["to"]}', 'GB/s', "of mul_'s",
                 'extra memory', *of_gpu), rows)
    for r in result['rows']:
        if 'failed' in r: print(f'{r["contender"]} failed: {r["failed"]}')


def _show_first(result: dict[str, Any]) -> None:
    def seconds(value: float | None) -> str: return 'failed' if value is None else f'{value:.2f}'
    rows = [[r['contender'], seconds(r['cold']), seconds(r['again'])] for r in result['rows']]
    print_table('{recipe}, {model}: making the optimizer and its first step, in seconds'
                .format(**result), ('contender', 'no cache', 'again'), rows)


def _show_differences(result: dict[str, Any]) -> None:
    rows = [[r['contender'], f'{r["float64"]:.0e}', f'{r["float32"]:.0e}', f'{r["state"]:.3g}']
            for r in result['rows']]
    print_table(f'{result["recipe"]}: largest difference from the reference, after 20 steps',
                ('contender', 'in float64', 'in float32', 'state, bytes an element'), rows)
