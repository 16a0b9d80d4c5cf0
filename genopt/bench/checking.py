"""Whether kernels on a device do what the plain engine does there, for every recipe.

Recipes are compared in float64. Formats of AdamW are compared with the kernel of the CPU. Both
compute the same bits where a device rounds as IEEE 754 says, but a power may differ in its last
one: so the largest share of a tensor's numbers that are not equal is told, but for one of them.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..catalogue import find, recipes
from ..composition import Composition
from ..recipe import Recipe

__all__ = ['Checked', 'GRAPHS', 'check_formats', 'check_recipe', 'names_of_recipes']

SHAPES = [(5, 7), (150, 130), (3, 300), (300, 3), (7,), (40_000,), (4, 3, 3, 3), (), (0, 3)]
STEPS, LIMIT, SHARE = 5, 1e-12, 1e-3
SUMS = 'AdamW + clip_by_global_norm', 'AdamW + skip_nonfinite'
GRAPHS = 'AdamW', SUMS[0], 'Prodigy'  # which are captured too
FORMATS: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "state='8bit'": (torch.float32, dict(state='8bit')),
    "state='bf16'": (torch.float32, dict(state='bf16')),
    "bf16, state='8bit', master=24": (torch.bfloat16, dict(state='8bit', master=24)),
    'bf16, master=32': (torch.bfloat16, dict(master=32)),
    "bf16, rounding='stochastic'": (torch.bfloat16, dict(rounding='stochastic')),
    "fp16, rounding='kahan'": (torch.float16, dict(rounding='kahan'))}


class Checked(NamedTuple):
    "One comparison."
    name: str
    found: float  # a difference relative to the largest number of a tensor, or a share
    limit: float
    engine: str   # what the optimizer says of it

    @property
    def is_right(self) -> bool:
        return self.found <= self.limit and self.engine.startswith('kernel')


def names_of_recipes() -> list[str]:
    "All that take a step with one gradient, and sums that have totals."
    return [*(e.name for e in recipes() if e.family != 'second'), *SUMS]


def check_recipe(name: str, device: torch.device, in_graph: bool=False) -> Checked:
    "A recipe's kernels on a device beside the plain engine there; or a CUDA graph of them."
    recipe = find(name)
    of_matrices = any(part.needs == 'matrix' for part in recipe.parts())
    # The host waits for the totals of a tensor without elements, which has no kernel
    has_totals = bool(Composition(recipe.parts()).totals)
    shapes = [s for s in SHAPES if (len(s) == 2 or not of_matrices)
              and not (has_totals and 0 in s)]
    def compare() -> tuple[float, Any]:
        opt, ours = _walk(recipe, shapes, device, torch.float64, in_graph)
        _, plain = _walk(recipe, shapes, device, torch.float64, compile=False)
        gaps = [_gap(x, y) for x, y in zip(ours, plain) if x.numel()]
        return torch.tensor(gaps).max().item(), opt  # NaN stays one
    return _checked(name + ' in a graph' * in_graph, LIMIT, compare)


def check_formats(device: torch.device) -> Iterator[Checked]:
    "AdamW's kernels beside those of the CPU, in each format."
    def compare(dtype: torch.dtype, said: dict[str, Any]) -> tuple[float, Any]:
        opt, ours = _walk(find('AdamW'), SHAPES, device, dtype, **said)
        _, theirs = _walk(find('AdamW'), SHAPES, torch.device('cpu'), dtype, **said)
        shares = [max(int((x.cpu() != y).sum()) - 1, 0) / y.numel()
                  for x, y in zip(ours, theirs) if y.numel()]
        return max(shares), opt
    for label, form in FORMATS.items():
        yield _checked(f'AdamW, {label}', SHARE, partial(compare, *form))


def _gap(ours: Tensor, plain: Tensor) -> float:
    "Relative to the largest number. A mean of nothing is NaN in both."
    alike = (ours == plain) | (ours.isnan() & plain.isnan())
    largest = plain.abs().nan_to_num(0.).max().clamp(min=1e-30)
    return float(((ours - plain).abs().masked_fill(alike, 0.).max() / largest).item())


def _checked(name: str, limit: float, compare: Callable[[], tuple[float, Any]]) -> Checked:
    "One comparison, or the error that it ended in."
    try: found, opt = compare()
    except Exception as e:
        return Checked(name, math.nan, limit, f'{type(e).__name__}: {e}'.splitlines()[0])
    return Checked(name, found, limit, _engine(opt))


def _walk(recipe: Recipe, shapes: Sequence[tuple[int, ...]], device: torch.device,
          dtype: torch.dtype, in_graph: bool=False, **said: Any) -> tuple[Any, list[Tensor]]:
    "An optimizer after some steps, its parameters and its state."
    draw = torch.Generator().manual_seed(0)
    def random(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64).to(device, dtype)
    params = [nn.Parameter(random(s)) for s in shapes]
    opt = recipe(params, **said)
    step = opt.step
    grads = [torch.zeros_like(p) for p in params]  # which stay where they are, for a graph
    for p, g in zip(params, grads): p.grad = g
    for n in range(STEPS):
        for g in grads: g.copy_(random(tuple(g.shape)))
        if in_graph and n == 2: step = _captured(opt)
        step()
    state = [t for p in params for t in opt.state.get(p, {}).values() if isinstance(t, Tensor)]
    return opt, [*(p.detach() for p in params), *(t.to(device) for t in state)]


def _captured(opt: Any) -> Callable[[], None]:
    "A step by a CUDA graph."
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph): opt.launch()
    def step() -> None:
        opt.advance()
        graph.replay()
    return step


def _engine(opt: Any) -> str:
    "The line that says it, of what it prints."
    said = [line.strip() for line in str(opt).splitlines()]
    return next((line for line in said if line.startswith(('kernel', 'eager', 'engine'))), '')
