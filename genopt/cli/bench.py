"The benchmark: a step of genopt's engines, of torch.optim's, and of other libraries, on the same work in one process."
from __future__ import annotations

import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from .. import __version__, zoo
from ..extras import missing
from ..hypers import did_you_mean
from ..twins import TWINS
from ..recipe import Recipe
from ..study.figures import COLORS, MARKS
from . import Stop, write

__all__ = ['bench']

Shapes: TypeAlias = 'list[tuple[int, ...]]'


def bench(
    recipes: str='Adam',  # Which, with commas between: any of genopt's recipes, with options: Adam(amsgrad=True)
    models: str='resnet50,gpt2,500x32x32,100M,3000x100',  # resnet50, gpt2, tensors of a shape (500x32x32), one of 100M
    device: str='cpu',  # Where: cpu, cuda
    rounds: int=20,  # Steps of each contender, after three to warm up
    peers: str='heavyball,optimi,fastai',  # Other libraries to compare with, where they are installed
    first: str='500x32x32',  # Models whose first step is timed, each in a new process: without a cache, and with one
    curves: bool=True,  # Draw time over the number of tensors and over their size?
    largest: float=1e8,  # Elements, at most, of what the figure times
    patience: int=150,  # Seconds after which a contender that still compiles is left out
    threads: int=0,  # Of torch; its own choice by default
    out: Path=Path('bench')  # Folder for bench.json and bench.png
) -> int:
    "Times a step of genopt's engines, torch's and other libraries': the same work, interleaved in one process."
    chosen, shapes, device_ = _recipes(recipes), {m: _shapes(m) for m in _names(models)}, _device(device)
    if rounds < 1: raise Stop(f'--rounds {rounds}: give at least 1')
    libraries = [p for p in _names(peers) if _is_library(p)]
    firsts = {m: _shapes(m) for m in _names(first)}
    try:
        import matplotlib  # noqa: F401
        import rich  # noqa: F401
    except ImportError as e:
        raise Stop(missing(str(e.name), 'the benchmark needs', 'bench')) from None
    write(out / 'bench.json', Path.touch)
    if threads: torch.set_num_threads(threads)
    result: dict[str, Any] = dict(machine=_machine(device_), libraries=libraries, rounds=rounds, steps=[], first=[],
                                  curves=[])
    for work in chosen:
        for model, s in shapes.items():
            rows = _compare(work, s, device_, rounds, libraries, patience)
            result['steps'].append(dict(recipe=work.name, model=model, tensors=len(s), rows=rows,
                                        elements=sum(map(math.prod, s))))
            _print_steps(result['steps'][-1])
        for model, s in firsts.items():
            rows = list(_first_steps(work, model, device, libraries, patience))
            result['first'].append(dict(recipe=work.name, model=model, tensors=len(s), rows=rows))
            _print_first(result['first'][-1])
    if curves:
        result['curves'] = list(_curves(chosen[0], device_, rounds, libraries, patience, largest))
        _plot(result, chosen[0].name, out / 'bench.png')
    (out / 'bench.json').write_text(json.dumps(result, indent=1), encoding='utf-8')
    print(f'wrote {out / "bench.json"}' + f' and {out / "bench.png"}' * curves)
    return 0


# -- what people ask for -------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Work:
    "A recipe with options."
    name: str
    recipe: Recipe
    options: dict[str, Any]


def _names(text: str) -> list[str]: return [t.strip() for t in re.split(r',(?![^(]*\))', text) if t.strip()]


def _recipes(text: str) -> list[Work]: return [_recipe(t) for t in _names(text)]


def _recipe(text: str) -> Work:
    name, _, options = text.removesuffix(')').partition('(')
    if name not in zoo.__all__: raise Stop(f'`{name}` is no recipe: {did_you_mean(name, zoo.__all__)}')
    try: kwargs = {k.strip(): json.loads(v.lower()) for k, v in (o.split('=') for o in _names(options))}
    except ValueError: raise Stop(f'`{text}`: give options as in Adam(amsgrad=True)') from None
    recipe: Recipe = getattr(zoo, name)
    try: recipe([nn.Parameter(torch.zeros(1))], **kwargs)
    except (TypeError, ValueError) as e: raise Stop(f'`{text}`: {e}') from None
    return Work(text, recipe, kwargs)


def _shapes(name: str) -> Shapes:
    "The shapes of a model's parameters."
    if name == 'resnet50': return list(_resnet50())
    if name == 'gpt2': return list(_gpt2())
    if found := re.fullmatch(r'(\d+)([kMG])', name): return [(int(found[1]) * 1000**' kMG'.index(found[2]),)]
    if re.fullmatch(r'\d+(x\d+)*', name):
        count, *shape = map(int, name.split('x'))
        if count: return [tuple(shape)] * count
    raise Stop(f'`{name}` is no model: give resnet50, gpt2, 500x32x32 (tensors of a shape) or 100M (one tensor)')


def _resnet50() -> Iterator[tuple[int, ...]]:
    "161 tensors, 25.6 million elements (He et al., arXiv:1512.03385, table 1)."
    def conv(n: int, m: int, k: int) -> Shapes: return [(n, m, k, k), (n,), (n,)]  # and its batch norm
    yield from conv(64, 3, 7)
    before = 64
    for width, blocks in (64, 3), (128, 4), (256, 6), (512, 3):
        for i in range(blocks):
            yield from [*conv(width, before, 1), *conv(width, width, 3), *conv(4 * width, width, 1)]
            if not i: yield from conv(4 * width, before, 1)
            before = 4 * width
    yield from [(1000, before), (1000,)]


def _gpt2() -> Iterator[tuple[int, ...]]:
    "148 tensors, 124 million elements: GPT-2 small (Radford et al., 2019)."
    d = 768
    yield from [(50257, d), (1024, d)]
    for _ in range(12):
        yield from [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    yield from [(d,), (d,)]


def _device(name: str) -> torch.device:
    try: device = torch.device(name)
    except RuntimeError: raise Stop(f'--device {name}: give cpu or cuda') from None
    if device.type == 'cuda' and not torch.cuda.is_available(): raise Stop(f'--device {name}: torch finds no CUDA here')
    if device.type not in ('cpu', 'cuda'): raise Stop(f'--device {name}: give cpu or cuda')
    return device


def _machine(device: torch.device) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    try: cpu = re.findall('model name\\s*: (.*)', Path('/proc/cpuinfo').read_text())[0]
    except (OSError, IndexError): pass
    gpu = torch.cuda.get_device_name(device) if device.type == 'cuda' else None
    return dict(cpu=cpu, threads=torch.get_num_threads(), capability=torch.backends.cpu.get_cpu_capability(), gpu=gpu,
                system=platform.platform(), python=platform.python_version(), torch=torch.__version__,
                genopt=__version__)


# -- contenders ----------------------------------------------------------------------------------------------

PEERS = {'heavyball': dict(Adam='heavyball:AdamW', AdamW='heavyball:AdamW', SGD='heavyball:SGD'),
         'optimi': dict(Adam='optimi:Adam', AdamW='optimi:AdamW', SGD='optimi:SGD'),
         'fastai': dict(Adam='fastai.optimizer:Adam', SGD='fastai.optimizer:SGD', RMSprop='fastai.optimizer:RMSProp')}


def _is_library(name: str) -> bool:
    if name not in PEERS: raise Stop(f'`{name}` is no library that this knows: {did_you_mean(name, PEERS)}')
    return find_spec(name) is not None


def _contenders(work: Work, libraries: list[str], device: torch.device) -> dict[str, Callable[[list[Tensor]], Any]]:
    "label -> a function that makes an optimizer of parameters. All do the same work: the same rule, without decay."
    lr, options = 1e-4, work.options
    def ours(compile: bool) -> Callable[[list[Tensor]], Any]:
        return lambda ps: work.recipe(ps, lr, compile=compile, **options)
    res: dict[str, Any] = {'genopt compiled': ours(True), 'genopt eager': ours(False)}
    if (name := work.recipe.__name__) in TWINS:
        cls = TWINS[name].cls
        asks = signature(cls).parameters
        if name == 'Momentum': options = dict(momentum=.9) | options
        for how in ('loop', 'foreach', 'fused'):
            def theirs(ps: list[Tensor], how: str=how) -> Any:
                kwargs: dict[str, Any] = {how: True} if how != 'loop' else dict.fromkeys({'foreach'} & {*asks}, False)
                return cast(Any, cls)(ps, lr=lr, **kwargs, **options)
            if how == 'loop' or how in asks: res[f'torch {how}'] = theirs  # RMSprop has no fused
    for library in libraries:
        if (place := PEERS[library].get(name)) and not options:
            def peer(ps: list[Tensor], place: str=place) -> Any:
                module, cls = place.split(':')
                wd = dict(wd=0.) if module.startswith('fastai') else {}
                return getattr(import_module(module), cls)(ps, lr=lr, **wd)
            res[library] = peer
    return res


def _params(shapes: Shapes, device: torch.device, grads: list[Tensor] | None=None) -> list[Tensor]:
    "Parameters with gradients: the given ones, or their own where an optimizer may write into them."
    res: list[Tensor] = [nn.Parameter(torch.full(s, .5, device=device)) for s in shapes]
    for p, g in zip(res, grads or [torch.full_like(p, .01) for p in res]): p.grad = g
    return res


def _give(params: list[Tensor], grads: list[Tensor | None]) -> None:
    "HeavyBall takes the gradients away."
    for p, g in zip(params, grads): p.grad = g


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    "Raises TimeoutError in what takes longer, where the system can."
    def stop(*args: Any) -> None: raise TimeoutError(f'not done after {seconds} s')
    if not hasattr(signal, 'SIGALRM'): yield; return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Clock:
    "Seconds of a call, by the processor's clock or the GPU's."
    def __init__(self, device: torch.device): self.cuda = device.type == 'cuda'

    def __call__(self, do: Callable[[], Any]) -> float:
        if not self.cuda:
            start = time.perf_counter()
            do()
            return time.perf_counter() - start
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        events[0].record()
        do()
        events[1].record()
        torch.cuda.synchronize()
        return float(events[0].elapsed_time(events[1])) / 1000


def _compare(work: Work, shapes: Shapes, device: torch.device, rounds: int, libraries: list[str],
             patience: int, extras: bool=True) -> list[dict[str, Any]]:
    "A row for each contender: what its steps took, all of them interleaved."
    clock, steps, times = Clock(device), dict[str, Callable[[], Any]](), dict[str, list[float]]()
    prepare, failed, grads = dict[str, Any](), {}, [torch.full(s, .01, device=device) for s in shapes]
    for label, make in _contenders(work, libraries, device).items():
        try:
            params = _params(shapes, device, None if label in libraries else grads)
            prepare[label] = partial(_give, params, [p.grad for p in params])
            with _limit(patience):
                opt = make(params)
                for _ in range(3): prepare[label](); opt.step()
            steps[label] = opt.step
        except Exception as e: failed[label] = f'{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ""}'
    elements = sum(map(math.prod, shapes))
    limit = torch.ones(elements, device=device)
    steps['mul_'] = lambda: limit.mul_(1.)
    labels = [*steps]
    for i in range(rounds):
        for label in labels[i % len(labels):] + labels[:i % len(labels)]:  # nobody always comes after the same one
            if label in prepare: prepare[label]()
            times.setdefault(label, []).append(clock(steps[label]))
    moved = _bytes_moved(work, elements)
    speeds = {label: (8 * elements if label == 'mul_' else moved) / median(t) for label, t in times.items()}
    torchs = {label: median(t) for label, t in times.items() if label.startswith('torch')}
    best = min(torchs, key=lambda label: torchs[label], default='genopt compiled')
    rows = []
    for label in labels:
        ratios = [a / b for a, b in zip(times[label], times[best])]
        of_limit = [speeds['mul_'] and (moved / a) / (8 * elements / b) for a, b in zip(times[label], times['mul_'])]
        row = dict(contender=label, ms=1000 * median(times[label]), ratio=median(ratios), to=best,
                   gb_per_s=speeds[label] / 1e9)
        if label != 'mul_': row |= dict(of_mul=median(of_limit))
        if extras and label != 'mul_':
            prepare[label]()
            row |= dict(extra_memory=_extra_memory(steps[label], device) / (4 * elements))
        rows.append(row)
    return rows + [dict(contender=label, failed=why) for label, why in failed.items()]


def _bytes_moved(work: Work, elements: int) -> int:
    "What a step must read (parameter, gradient, state) and write (parameter, state), at least."
    composition = work.recipe.rule().bind({}, work.options)[0].composition
    return 4 * elements * (3 + 2 * len(composition.tensor_stats))


def _extra_memory(step: Callable[[], Any], device: torch.device) -> int:
    "The bytes that torch allocates during a step, at their peak."
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # the profiler's own remarks would stand in the tables
    from torch.profiler import ProfilerActivity, profile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof: step()
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == '[memory]']
    now = peak = 0
    for e in sorted(events, key=lambda e: e.start_ns()):
        now += e.nbytes()
        peak = max(peak, now)
    return peak


# -- the first step ------------------------------------------------------------------------------------------

FIRST = """
import sys, time
from genopt.cli.bench import _contenders, _params, _recipe, _shapes, torch
work, model, device, label, library = sys.argv[1:]
device = torch.device(device)
params = _params(_shapes(model), device)
make = _contenders(_recipe(work), [library] if library else [], device)[label]
start = time.perf_counter()
opt = make(params)
opt.step()
if device.type == 'cuda': torch.cuda.synchronize()
print('took', time.perf_counter() - start)
"""


def _first_steps(work: Work, model: str, device: str, libraries: list[str],
                 patience: int) -> Iterator[dict[str, Any]]:
    "Making an optimizer and its first step, imports of compilers included: in a new process with no cache, then again."
    for label in _contenders(work, libraries, torch.device(device)):
        library = label if label in libraries else ''
        with tempfile.TemporaryDirectory() as cache:
            env = {**os.environ, 'GENOPT_CACHE': cache, 'TORCHINDUCTOR_CACHE_DIR': cache, 'TRITON_CACHE_DIR': cache}
            command = [sys.executable, '-c', FIRST, work.name, model, device, label, library]
            times = []
            for _ in range(2):
                try: out = subprocess.run(command, env=env, capture_output=True, text=True, timeout=patience).stdout
                except subprocess.TimeoutExpired: out = ''
                times.append(float(found[1]) if (found := re.search('^took (.*)$', out, re.M)) else None)
        yield dict(contender=label, cold=times[0], again=times[1])


# -- curves --------------------------------------------------------------------------------------------------

def _curves(work: Work, device: torch.device, rounds: int, libraries: list[str], patience: int,
            largest: float) -> Iterator[dict[str, Any]]:
    for n in [n for n in (10, 30, 100, 300, 1000, 3000) if n == 10 or n * 32 * 32 <= largest]:
        rows = _compare(work, [(32, 32)] * n, device, rounds, libraries, patience, extras=False)
        yield dict(x='tensors', n=n, rows=rows)
    for i in range(6, 1 + int(2 * math.log10(largest))):
        n = round(10**(i / 2))
        yield dict(x='elements', n=n, rows=_compare(work, [(n,)], device, rounds, libraries, patience, extras=False))


# -- what people see -----------------------------------------------------------------------------------------

def _table(title: str, *columns: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    table = Table(title=title, title_justify='left', box=SIMPLE_HEAD, padding=(0, 1, 0, 0), min_width=len(title) + 2)
    for i, c in enumerate(columns): table.add_column(c, justify='right' if i else 'left')
    return table


def _show(table: Any) -> None:
    from rich.console import Console
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def _print_steps(result: dict[str, Any]) -> None:
    title = f'{result["recipe"]}, {result["model"]}: {result["tensors"]} tensors, {result["elements"]:,} elements'
    to = next((r['to'] for r in result['rows'] if 'to' in r), '')
    table = _table(title, 'contender', 'ms a step', f'over {to}', 'GB/s', 'of mul_\'s', 'extra memory')
    for r in result['rows']:
        if 'failed' not in r:
            more = [f'{r["of_mul"]:.2f}', f'{r["extra_memory"]:.1%}'] if 'extra_memory' in r else ['', '']
            table.add_row(r['contender'], f'{r["ms"]:.3g}', f'{r["ratio"]:.2f}', f'{r["gb_per_s"]:.1f}', *more)
    _show(table)
    for r in result['rows']:
        if 'failed' in r: print(f'{r["contender"]} failed: {r["failed"]}')


def _print_first(result: dict[str, Any]) -> None:
    table = _table(f'{result["recipe"]}, {result["model"]}: making the optimizer and its first step, in seconds',
                   'contender', 'no cache', 'again')
    for r in result['rows']:
        table.add_row(r['contender'], *[f'{r[k]:.2f}' if r[k] else 'none' for k in ('cold', 'again')])
    _show(table)


def _plot(result: dict[str, Any], name: str, path: Path) -> None:
    "Time of a step over the number of tensors, and over the size of one: a line for each contender."
    import matplotlib
    from matplotlib.figure import Figure
    with matplotlib.rc_context({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}):
        fig = Figure(figsize=(11, 4.5), layout='constrained')
        axes = fig.subplots(1, 2)
        labels = list(dict.fromkeys(r['contender'] for c in result['curves'] for r in c['rows'] if 'ms' in r))
        for ax, x, title in zip(axes, ('tensors', 'elements'), ('tensors of 32×32', 'elements in one tensor')):
            for i, label in enumerate(labels):
                points = [(c['n'], r['ms']) for c in result['curves'] if c['x'] == x
                          for r in c['rows'] if r['contender'] == label and 'ms' in r]
                style = dict(color='black', ls=':', lw=1) if label == 'mul_' else dict(
                    color=COLORS[i % len(COLORS)], marker=MARKS[i % len(MARKS)], ms=4,
                    lw=2.4 if label.startswith('genopt') else 1)
                ax.plot(*zip(*points), label='in-place mul_ (a limit)' if label == 'mul_' else label, **style)
            ax.set(xscale='log', yscale='log', xlabel=title, ylabel='ms a step')
            ax.grid(alpha=.25)
        fig.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc='outside right center')
        machine = result['machine']
        where = machine['gpu'] or f'{machine["cpu"]}, {machine["threads"]} threads'
        fig.suptitle(f'A step of {name}: {where}, torch {machine["torch"]}')
        fig.savefig(path, dpi=150)
