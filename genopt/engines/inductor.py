"""Kernels by `torch.compile`: for a GPU, and for what the kernels of `native` have no C for.

A tape becomes a graph over one-dimensional tensors of any length, which are updated in place. Its numbers are worked
out beforehand, in float64, and go in as one small tensor, so that no value is ever part of the code.
"""
from __future__ import annotations

from collections.abc import Mapping
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx

from .native import FILLS, SAME, Column
from .tape import Op, Ref, Tape

__all__ = ['Fused']


class Fused:
    "A kernel that updates tensors in place, of any device."
    def __init__(self, tape: Tape, columns: Mapping[str, Column]):
        self.names, self.begin = [*columns], tape.numbers
        self.on_numbers = [op for op in tape.ops if op.out.is_number]
        on_tensors = [op for op in tape.ops if not op.out.is_number]
        read = [x for op in on_tensors for x in op.args] + [c.end for c in columns.values()]
        self.used = list(dict.fromkeys(x for x in read if isinstance(x, Ref) and x.is_number))
        self.graph = fx.GraphModule({}, _graph(on_tensors, columns, self.used))
        self.compiled = torch.compile(self.graph, dynamic=True, fullgraph=True)
        self.failed = ''  # why it does not compile

    def __call__(self,
        tensors: Mapping[str, Tensor],  # One-dimensional, of one length of at least 2, on one device
        numbers: Mapping[str, float]    # By name
    ) -> None:
        env: dict[Ref, Any] = {}
        for k, ref in self.begin.items(): env[ref] = torch.tensor(float(numbers[k]), dtype=torch.float64)
        for op in self.on_numbers: env[op.out] = _call(op, [env[x] if isinstance(x, Ref) else x for x in op.args])
        ordered = [tensors[k].detach() for k in self.names]
        values = torch.tensor([env[ref].item() for ref in self.used], dtype=torch.float64).to(ordered[0].device)
        self.compiled(values, *ordered)


def _graph(ops: list[Op], columns: Mapping[str, Column], numbers: list[Ref]) -> fx.Graph:
    graph, env = fx.Graph(), dict[Ref, Any]()
    call, to = graph.call_function, torch.ops.aten.to.dtype
    values, *tensors = [graph.placeholder(f'x{i}') for i in range(1 + len(columns))]
    for i, ref in enumerate(numbers): env[ref] = call(to, (call(getitem, (values, i)), ref.dtype))
    for t, c in zip(tensors, columns.values()):
        if c.begin: env[c.begin] = call(to, (t, c.begin.dtype))
    for op in ops: env[op.out] = _call(op, [env[x] if isinstance(x, Ref) else x for x in op.args], call, tensors[0])
    for t, c in zip(tensors, columns.values()):
        if c.end: call(torch.ops.aten.copy_.default, (t, env[c.end]))
    graph.output(None)
    return graph


def _call(op: Op, args: list[Any], call: Any=lambda f, args, kwargs=None: f(*args, **(kwargs or {})),
          like: Any=None) -> Any:
    "Plays back one operation: on numbers, or (then `call` writes it into a graph) on tensors like `like`."
    name, dtype = op.func._schema.name.removeprefix('aten::'), op.out.dtype
    if name in SAME.split(): return call(torch.ops.aten.to.dtype, (args[0], dtype))
    if name in FILLS:
        value = args[int(FILLS[name][1])] if FILLS[name].startswith('{') else int(FILLS[name])
        if like is None: return torch.tensor(value, dtype=dtype)
        return call(torch.ops.aten.full_like.default, (like, value), dict(dtype=dtype))
    schema = op.func._schema.arguments
    kwargs = {a.name: v for a, v in zip(schema, args) if a.kwarg_only}
    return call(op.func, tuple(v for a, v in zip(schema, args) if not a.kwarg_only), kwargs)
