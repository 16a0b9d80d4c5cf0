"The time of a step: all contenders on the same work, interleaved in one process."
from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.benchmark import timer  # it waits for a GPU

from .contenders import Contender, Make, OfTorch, Task, contenders
from .models import Shapes

Row: TypeAlias = 'dict[str, Any]'
Times: TypeAlias = 'dict[str, list[float]]'  # of each contender, by its label
LIMIT = 'mul_'


class InPlace(Contender):
    "The limit: it reads and writes each element once, and no step can be faster."
    def __init__(self, x: Tensor): self.x = x
    def step(self) -> None: self.x.mul_(1.)


class Runner:
    "Makes timed steps of a contender, with these gradients."
    def __init__(self, contender: Contender, grads: list[Tensor]):
        self.contender, self.grads = contender, grads

    def __call__(self) -> float:
        "The seconds of one step. A GPU is waited for."
        self.contender.give(self.grads)  # before each step, as HeavyBall takes them away
        start = timer()
        self.contender.step()
        return timer() - start

    def on_gpu(self, rounds: int) -> dict[str, float]:
        """Median milliseconds of a step: on the GPU, and until `step()` returns.

        For the first, the GPU is kept busy until all has been launched, or it would wait for Python
        between two kernels, and that is no time of theirs.
        """
        of_host, of_kernels = [], []
        for _ in range(rounds):
            self.contender.give(self.grads)
            before = timer()
            self.contender.step()
            of_host.append(1e3 * (perf_counter() - before))
            torch.cuda.synchronize()
        busy = int(4e6 * median(of_host))  # cycles: twice as long, at 2 GHz
        for _ in range(rounds):
            self.contender.give(self.grads)
            begin, end = (_event() for _ in range(2))
            torch.cuda._sleep(busy)  # type: ignore[no-untyped-call]
            begin.record()
            self.contender.step()
            end.record()
            end.synchronize()
            of_kernels.append(begin.elapsed_time(end))
        return dict(gpu_ms=median(of_kernels), host_ms=median(of_host))


def _event() -> Any: return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


Run: TypeAlias = Callable[[], float]


def compare(task: Task, shapes: Shapes, device: torch.device, rounds: int,
            libraries: Sequence[str]) -> list[Row]:
    """A row for each contender: the median time of its steps, and the median of its ratios.

    A ratio is that of two steps of a round, its own and the one of the fastest way in torch.
    """
    on_gpu = device.type == 'cuda'
    runners, failed = start({label: (make, shapes) for label, make
                             in contenders(task, libraries, on_gpu).items()}, device)
    elements = sum(map(math.prod, shapes))
    runners[LIMIT] = Runner(InPlace(torch.ones(elements, device=device)), [])
    times = take_turns(runners, rounds)
    ours = next((r.contender for label, r in runners.items() if label.startswith('genopt')), None)
    least = bytes_moved(ours.opt) if isinstance(ours, OfTorch) else 0
    to = min((label for label in times if label.startswith('torch')),
             default='genopt compiled' if 'genopt compiled' in times else LIMIT,
             key=lambda label: median(times[label]))
    rows = []
    for label, run in runners.items():
        moved = 8 * elements if label == LIMIT else least
        ms = 1000 * median(times[label])
        row: Row = dict(contender=label, ms=ms, ratio=ratio(times[label], times[to]), to=to,
                        gb_per_s=moved / ms / 1e6)
        if label != LIMIT:
            row['of_mul'] = moved / (8 * elements) * ratio(times[LIMIT], times[label])
            row['extra_memory'] = extra_memory(run, device) / (4 * elements)
        if on_gpu: row |= run.on_gpu(rounds)
        rows.append(row)
    return rows + [dict(contender=label, failed=why) for label, why in failed.items()]


def start(work: Mapping[str, tuple[Make, Shapes]],
          device: torch.device) -> tuple[dict[str, Runner], dict[str, str]]:
    """A function for each contender that makes a timed step, after three; and why others failed.

    Each has parameters and gradients of its own, as some write to their gradients.
    """
    runners, failed = dict[str, Runner](), dict[str, str]()
    for label, (make, shapes) in work.items():
        try:
            params, grads = ([torch.full(s, v, device=device) for s in shapes] for v in (.5, .01))
            run = Runner(make(params), grads)
            for _ in range(3): run()
            runners[label] = run
        except Exception as e: failed[label] = f'{type(e).__name__}: {e}'.splitlines()[0]
    return runners, failed


def take_turns(runners: Mapping[str, Run], rounds: int) -> Times:
    """The seconds of each contender's steps.

    Each round draws another order, so a contender does not always follow the same one.
    """
    times: Times = {label: [] for label in runners}
    draw = Random(0)
    for _ in range(rounds):
        for label in draw.sample([*runners], len(runners)): times[label].append(runners[label]())
    return times


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    "The median of the ratios of pairs."
    return median(x / y for x, y in zip(a, b))


@contextmanager
def threads(n: int) -> Iterator[None]:
    "torch uses this many threads inside."
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try: yield
    finally: torch.set_num_threads(before)


def bytes_moved(opt: Any) -> int:
    """What a step must at least read (parameter, gradient, state) and write (parameter, state).

    A total needs all gradients before any parameter moves, so they are read once more.
    """
    weights: int = sum(p.nbytes for group in opt.param_groups for p in group['params'])
    state: int = sum(x.nbytes for s in opt.state.values() for x in s.values() if x.dim())
    has_totals = any(group.composition.totals for group in opt.param_groups)
    return (3 + has_totals) * weights + 2 * state


def extra_memory(run: Run, device: torch.device) -> int:
    "The bytes that torch allocates during a step, at their peak."
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # or the profiler's remarks stand in the tables
    from torch.profiler import ProfilerActivity, profile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof: run()
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == '[memory]']
    now = peak = 0
    for e in sorted(events, key=lambda e: e.start_ns()):
        now += e.nbytes()
        peak = max(peak, now)
    return peak


def curves(task: Task, device: torch.device, rounds: int, libraries: Sequence[str],
           largest: float) -> Iterator[Row]:
    "Times over the number of tensors of 32×32, and over the size of one; up to so many elements."
    for n in 10, 30, 100, 300, 1000, 3000:
        if n > 10 and n * 32 * 32 > largest: break
        yield dict(x='tensors', n=n, rows=compare(task, [(32, 32)] * n, device, rounds, libraries))
    for half_decade in range(6, 1 + int(2 * math.log10(largest))):
        n = round(10**(half_decade / 2))
        yield dict(x='elements', n=n, rows=compare(task, [(n,)], device, rounds, libraries))


# -- agreement -------------------------------------------------------------------------------------

def differences(task: Task, libraries: Sequence[str]) -> list[Row]:
    """How far each contender is from torch's loop in float64, after 20 steps of a 32×32 tensor.

    That is relative to the largest weight. Without a twin in torch, genopt's eager engine is the
    reference. `state` has the bytes for an element.
    """
    makers = contenders(task, libraries)
    reference = _walk(makers.get('torch loop', makers['genopt plain']), torch.float64).values()[0]
    rows = []
    for label, make in makers.items():
        row: Row = dict(contender=label)
        for dtype in torch.float64, torch.float32:
            walked = _walk(make, dtype)
            gap = (walked.values()[0] - reference).abs().max() / reference.abs().max()
            row[str(dtype).removeprefix('torch.')] = gap.item()
        rows.append(row | dict(state=walked.state_bytes() / reference.numel()))
    return rows


def _walk(make: Make, dtype: torch.dtype) -> Contender:
    numbers = torch.randn(21, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    contender = make([numbers[0]])
    for grad in numbers[1:]:
        contender.give([grad.clone()])
        contender.step()
    return contender
