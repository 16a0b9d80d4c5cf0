"""Kernels by `torch.compile`: for a GPU, and for operations that `operations` has no C for.

A tape becomes a graph over one-dimensional tensors of any length, which are updated in place. Its
numbers are worked out beforehand, in float64, and passed as one small tensor, so that no value is
ever part of the code.

torch.compile computes in float32 where the parts ask for 16 bits, unless told not to. So a tape
with any such number, or with whole numbers, is tried on random tensors before its first use: the
compiled graph must return the same as the uncompiled one.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx

from .loop import Column
from .operations import FILLS, SAME, TRUTH
from .tape import Op, Ref, Tape
from .toolchain import NoKernel

__all__ = ['GraphKernel']

aten = torch.ops.aten
USUAL = torch.float32, torch.float64, torch.bool
SMALL = torch.uint8, torch.int8, torch.int16
SCALED = 'add', 'sub', 'addcmul', 'addcdiv'


class GraphKernel:
    "A kernel that updates tensors in place, of any device."
    def __init__(self, tape: Tape, columns: Mapping[str, Column]):
        self.names, self.begin = [*columns], tape.numbers
        self.on_numbers = [op for op in tape.ops if op.out.is_number]
        on_tensors = [op for op in tape.ops if not op.out.is_number]
        read = [x for op in on_tensors for x in op.args] + [c.end for c in columns.values()]
        self.used = list(dict.fromkeys(x for x in read if isinstance(x, Ref) and x.is_number))
        self.is_tried = all(op.out.dtype in USUAL for op in on_tensors)
        self.why_not = next(filter(None, map(_why_not, on_tensors)), '')  # why it cannot run
        try: self.graph = fx.GraphModule({}, _graph(on_tensors, columns, self.used))
        except NoKernel as e: self.why_not = str(e)
        if not self.why_not:
            self.compiled = torch.compile(self.graph, dynamic=True, fullgraph=True,
                                          options={'emulate_precision_casts': True})

    def __call__(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Updates one-dimensional tensors of one length, at least 2, on one device.

        Raises NoKernel if it cannot run, now and from now on.
        """
        if not self.why_not:
            try: return self._run(tensors, numbers)
            except NoKernel as e: self.why_not = str(e)
            except Exception as e:  # whatever torch.compile may raise
                why = ' '.join(str(e).split())[:300]
                self.why_not = f'torch.compile failed: {type(e).__name__}: {why}'
        raise NoKernel(self.why_not)

    def _run(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        env: dict[Ref, Any] = {ref: torch.tensor(float(numbers[k]), dtype=torch.float64)
                               for k, ref in self.begin.items()}
        for op in self.on_numbers: env[op.out] = _on_numbers(op, env)
        ordered = [tensors[k].detach() for k in self.names]
        values = torch.tensor([env[ref].item() for ref in self.used], dtype=torch.float64)
        values = values.to(ordered[0].device)
        if not self.is_tried: self._try(values, ordered)
        self.compiled(values, *ordered)

    def _try(self, values: Tensor, like: list[Tensor]) -> None:
        "Raises NoKernel if the compiled graph differs from the plain one, on numbers of all sizes."
        draw = torch.Generator().manual_seed(0)
        def random(t: Tensor) -> Tensor:
            scale = 10 ** torch.randint(-4, 4, (1000,), generator=draw)
            return (torch.randn(1000, generator=draw) * scale).to(t.dtype).to(t.device)
        given = [random(t) for t in like]
        plain, fused = [t.clone() for t in given], [t.clone() for t in given]
        self.graph(values, *plain)
        self.compiled(values, *fused)
        for a, b in zip(plain, fused):  # a sum that is rounded once may differ, here and there
            if torch.isclose(a.double(), b.double(), 1e-5, 0, equal_nan=True).double().mean() < .99:
                raise NoKernel('torch.compile does not round its numbers as the parts ask')
        self.is_tried = True


def _why_not(op: Op) -> str:
    "Why compiled code may differ from torch on this operation, or ''."
    old = next((x.dtype for x in op.args if isinstance(x, Ref)), op.out.dtype)
    if op.name in ('_to_copy', 'copy') and op.out.dtype in SMALL and old.is_floating_point:
        return f'torch.compile may differ in converting {old} to {op.out.dtype} out of its range'
    if op.out.dtype.is_floating_point or op.out.dtype == torch.bool: return ''
    if 'shift' in op.name:
        by, bits = op.args[1], 8 * op.out.dtype.itemsize
        is_safe = type(by) is int and 0 <= by < bits
    else: is_safe = op.name not in ('floor_divide', 'remainder', 'fmod', 'div')
    if is_safe: return ''
    return f'torch.compile may differ in `{op.name}` of whole numbers where it has no result'


# -- playing a tape back ---------------------------------------------------------------------------

def _on_numbers(op: Op, env: Mapping[Ref, Tensor]) -> Any:
    "Plays back an operation on numbers alone, with plain ones where torch wants these."
    args = [env[x] if isinstance(x, Ref) else x for x in op.args]
    for i in _plain(op): args[i] = args[i].item()
    if op.name in FILLS: return torch.as_tensor(_filling(op, args)).to(op.out.dtype)
    return _call(op.func, args, op.out.dtype, lambda f, args, kwargs={}: f(*args, **kwargs))


def _graph(ops: list[Op], columns: Mapping[str, Column], numbers: list[Ref]) -> fx.Graph:
    graph, env = fx.Graph(), dict[Ref, Any]()
    call = graph.call_function
    values, *tensors = [graph.placeholder(f'x{i}') for i in range(1 + len(columns))]
    for i, ref in enumerate(numbers):
        env[ref] = call(aten.to.dtype, (call(getitem, (values, i)), ref.dtype))
    for t, c in zip(tensors, columns.values()):
        if c.begin: env[c.begin] = call(aten.to.dtype, (t, c.begin.dtype))
    for op in ops:
        func, args = op.func, [env[x] if isinstance(x, Ref) else x for x in op.args]
        if op.name in FILLS:
            fill, dtype = _filling(op, args), dict[str, Any](dtype=op.out.dtype)
            is_node = isinstance(fill, fx.Node)
            env[op.out] = call(aten.full_like.default, (tensors[0], 0 if is_node else fill), dtype)
            if is_node: env[op.out] = call(aten.copy.default, (env[op.out], fill))
            continue
        if _plain(op): func, args = _with_tensors(op, args, call)
        env[op.out] = _call(func, args, op.out.dtype, call)
    for t, c in zip(tensors, columns.values()):
        if c.end: call(aten.copy_.default, (t, env[c.end]))
    graph.output(None)
    return graph


def _call(func: Any, args: list[Any], dtype: torch.dtype, call: Callable[..., Any]) -> Any:
    "`func` on `args`, by the names of its schema; `call` writes it into a graph, or does it."
    name, schema = func._schema.name.removeprefix('aten::'), func._schema.arguments
    if name in SAME and func._overloadname != 'dtype': return call(aten.to.dtype, (args[0], dtype))
    kwargs = {a.name: v for a, v in zip(schema, args) if a.kwarg_only}
    return call(func, tuple(v for a, v in zip(schema, args) if not a.kwarg_only), kwargs)


def _filling(op: Op, args: list[Any]) -> Any:
    "The value that a factory fills a tensor with."
    return args[int(FILLS[op.name][1])] if FILLS[op.name].startswith('{') else int(FILLS[op.name])


def _plain(op: Op) -> list[int]:
    """Which arguments are numbers on the tape where torch takes only plain ones.

    Those would be part of a graph for ever.
    """
    schema = op.func._schema.arguments
    return [i for i, (x, a) in enumerate(zip(op.args, schema))
            if isinstance(x, Ref) and 'Tensor' not in str(a.type)]


def _with_tensors(op: Op, args: list[Any], call: Callable[..., Any]) -> tuple[Any, list[Any]]:
    "The operation in a form that takes tensors there."
    dtype, plain, args = op.among if op.name in TRUTH else op.out.dtype, _plain(op), [*args]
    for i in plain: args[i] = call(aten.to.dtype, (args[i], dtype))
    if op.name in SCALED:  # the last argument scales another one
        args[1] = call(aten.mul.Tensor, (args[1], args[-1]))
        return op.func, [*args[:-1], 1]
    packet = getattr(aten, op.name)
    for func in (getattr(packet, form) for form in packet.overloads()):
        types = [str(a.type) for a in func._schema.arguments]
        if func._schema.is_mutable or len(types) != len(args): continue
        if any('Tensor' not in types[i] for i in plain): continue
        for i, x in enumerate(args):
            if 'Tensor' in types[i] and isinstance(x, (int, float)):
                args[i] = call(aten.scalar_tensor.default, (x,), dict(dtype=dtype))
        return func, args
    raise NoKernel(f'torch.compile has no `{op.name}` by a number that changes')
