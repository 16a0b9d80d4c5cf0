"The benchmark: the same step in genopt's engines, in torch.optim and in other libraries."
from __future__ import annotations

import json
import math
import platform
import re
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from . import Stop, print_table, require, write


def bench(
    recipes: str='Adam',  # Names with commas between, and options as in Adam(amsgrad=True)
    models: str='resnet50,gpt2,500x32x32,100M,3000x100',  # Or transformer, and other such shapes
    device: str='cpu',  # cpu or cuda
    rounds: int=20,  # Steps of each contender, after three to warm up
    peers: str='',  # Other libraries, if they are installed: heavyball, optimi, fastai, optax
    first: str='500x32x32',  # Models whose first step is timed in a new process
    curves: bool=True,  # Leave out the times over the number of tensors and over their size
    largest: float=1e8,  # The curves end at this number of elements
    out: Path=Path('bench')  # Folder for bench.json and bench.png
) -> int:
    "Times a step of genopt's engines and of torch.optim, and of other libraries if you name them."
    from ..bench.contenders import installed, names, task
    from ..bench.models import shapes
    if rounds < 1: raise Stop(f'--rounds {rounds}: give at least 1')
    where = _device(device)
    try:
        tasks = [task(t) for t in names(recipes)]
        libraries = [p for p in names(peers) if installed(p)]
        works, firsts = ({m: shapes(m) for m in names(text)} for text in (models, first))
    except ValueError as e: raise Stop(str(e)) from None
    require('bench', 'matplotlib', 'rich')
    write(out / 'bench.json', Path.touch)

    from ..bench import figure, timing
    from ..bench.first import first_steps
    result: dict[str, Any] = dict(machine=_machine(where), libraries=libraries, rounds=rounds,
                                  steps=[], first=[], differences=[], curves=[])
    for t in tasks:
        for model, s in works.items():
            rows = timing.compare(t, s, where, rounds, libraries)
            result['steps'].append(dict(recipe=t.name, model=model, tensors=len(s), rows=rows,
                                        elements=sum(map(math.prod, s))))
            _show_steps(result['steps'][-1])
        for model, s in firsts.items():
            rows = [*first_steps(t, model, device, libraries)]
            result['first'].append(dict(recipe=t.name, model=model, tensors=len(s), rows=rows))
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


def _device(name: str) -> torch.device:
    if name.split(':')[0] not in ('cpu', 'cuda'): raise Stop(f'--device {name}: give cpu or cuda')
    if name.startswith('cuda') and not torch.cuda.is_available():
        raise Stop(f'--device {name}: torch finds no CUDA here')
    return torch.device(name)


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

def _show_steps(result: dict[str, Any]) -> None:
    done = [r for r in result['rows'] if 'failed' not in r]
    rows = [[r['contender'], f'{r["ms"]:.3g}', f'{r["ratio"]:.2f}', f'{r["gb_per_s"]:.1f}',
             f'{r["of_mul"]:.2f}' if 'of_mul' in r else '',
             f'{r["extra_memory"]:.1%}' if 'extra_memory' in r else ''] for r in done]
    print_table('{recipe}, {model}: {tensors} tensors, {elements:,} elements'.format(**result),
                ('contender', 'ms a step', f'over {done[0]["to"]}', 'GB/s', "of mul_'s",
                 'extra memory'), rows)
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
