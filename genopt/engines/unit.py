"""A unit: parameters that one program updates, by the addresses of their tensors.

A part that runs as it is gets all small tensors of one shape as a stack, if it takes stacks. So the
products of many small matrices are one call. Large ones would only be copied.
"""
from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..env import Env
from ..contract import PartError
from ..kinds import Made
from .axes import OWN, Axes
from .launches import OnDevice
from .program import Program
from .recorder import Ref
from .table import Integers, Table
from .tape import Foreign

__all__ = ['Host', 'Stacks', 'Unit']

Shape: TypeAlias = tuple[int, ...]
# For each shape, the values of all parameters of that shape: a stack, or a list of what has a shape
# of its own, or a tuple of stacks
Stacks: TypeAlias = list[Any]


SMALL = 2**14  # elements of a tensor that is stacked with others
STACK = 2**20  # elements of a stack, about: a part's temporaries are as large


class Host(Protocol):
    "What parts that run as they are ask of the step that they are part of."
    row: Integers  # of numbers, of each parameter; -1 where nothing happens
    row_at: int    # its address
    there: OnDevice | None  # the numbers, if they are on a device already
    def numbers(self, i: int) -> Env: "All that a part may read of parameter `i` but tensors."
    def own(self, i: int, name: str) -> Tensor: "A stat with a shape of its own."
    def located(self, e: PartError, i: int) -> PartError: "The error, with the parameter's name."


class Unit:
    "Some parameters of a batch, and the tables that their kernels are given."
    def __init__(self,
        programs: Mapping[int, Program],    # By place in the batch; but for sizes they are one
        shapes: Sequence[tuple[int, ...]],  # Of all parameters of the batch, as parts see them
        addresses: Mapping[str, Integers],  # Of all tensors that are written to, by name
        blocks: Sequence[int]               # Elements of a block of each parameter
    ):
        self.program = program = next(iter(programs.values()))
        rows = sorted(programs, key=lambda i: shapes[i]) if program.foreign else [*programs]
        self.rows, self.is_all = np.array(rows), rows == [*range(len(shapes))]
        self.sizes = Table([[*programs[i].sizes(shapes[i]), *[blocks[i]] * program.has_blocks]
                            for i in rows])
        self.row = Table(rows)
        same = groupby(shapes[i] for i in rows)
        self.shapes = [(shape, len([*each])) for shape, each in same]
        # Numbers made of sizes: each set of them, and which of them a parameter has
        self.sized, self.which = np.unique([programs[i].sized for i in rows], axis=0,
                                           return_inverse=True)
        self.given_numbers = len(program.tape.numbers) - len(program.sized)
        self.tables = [Table(np.zeros((len(stage.names), len(rows)))) for stage in program.stages]
        for stage, table in zip(program.stages, self.tables):
            for column, name in zip(table.values, stage.names):
                if isinstance(name, str) and name in addresses:
                    column[:] = addresses[name][self.rows]
        # Functions; those of kernels for a GPU are a `launches.Call`
        self.calls: list[Any] = [stage.kernel.on(len(rows), self.sizes.at, table.at)
                      for stage, table in zip(program.stages, self.tables)]

    def run(self, given: Mapping[str, Integers], x: array[float], host: Host, launch: bool=True
            ) -> dict[Ref, Stacks]:
        """Runs the kernels, and the parts between them. Returns what parts made.

        `given` has the addresses of gradients, or of a total's shares; `x` the rows of numbers.
        Without `launch`, that is only sent to the device of the kernel.
        """
        made: dict[Ref, Stacks] = {}
        numbers = x.buffer_info()[0]
        if self.is_all: row = host.row_at
        else:
            np.take(host.row, self.rows, out=self.row.values)
            row = self.row.at
        if self.sized.size:
            rows, of = self._with_sizes(x, host.row[self.rows])
            numbers, row = rows.at, of.at
        for stage, table, call in zip(self.program.stages, self.tables, self.calls):
            made |= {ref: self._room(ref, axes) for ref, axes in stage.makes.items()}
            for name in stage.varying:
                column = table.values[stage.names.index(name)]
                if isinstance(name, Ref): column[:] = _addresses(made[name])
                else: column[:] = given[name] if self.is_all else given[name][self.rows]
            if self.program.is_launched: call.numbers = host.there
            call(numbers, row) if launch else call.send(numbers, row)
            if stage.then: made[stage.then.out] = self._as_it_is(stage.then, made, host)
        return made

    def _with_sizes(self, x: array[float], row: Integers) -> tuple[Table, Table]:
        "Rows for each set of numbers that sizes made, and the row of each parameter."
        sets, given = len(self.sized), np.frombuffer(x).reshape(-1, self.given_numbers)
        rows = np.hstack([np.repeat(given, sets, 0), np.tile(self.sized, (len(given), 1))])
        mine = np.where(row < 0, -1, row * sets + self.which.ravel())
        return Table(rows, np.float64), Table(mine)

    def each(self, stacks: Stacks) -> list[tuple[int, Tensor]]:
        "Each parameter's place in the batch, and its value."
        return [*zip(self.rows.tolist(), (t for stack in stacks for t in stack))]

    def _room(self, ref: Ref, axes: Axes) -> Stacks:
        order, back = in_memory(axes, self.program.order)
        sizes = [(n, *shape_along(axes, shape)) for shape, n in self.shapes]
        return [torch.empty([size[d] for d in order], dtype=ref.dtype,
                            device=self.program.device).permute(back) for size in sizes]

    def _as_it_is(self, foreign: Foreign, made: Mapping[Ref, Stacks], host: Host) -> Stacks:
        "The results of a part."
        res, begin = Stacks(), 0
        names = {k: self.program.in_state.get(ref, k) for k, ref in foreign.reads.items()}
        for i, (shape, n) in enumerate(self.shapes):
            rows = self.rows[begin:begin + n].tolist()
            values = {k: made[ref][i] if ref in made else [host.own(r, names[k]) for r in rows]
                      for k, ref in foreign.reads.items()}
            found, axes = _results(foreign, rows, values, shape, host), foreign.axes[foreign.out]
            if axes != OWN:
                order, back = in_memory(axes, self.program.order)
                found = found.permute(order).contiguous().permute(back)
            res.append(found)
            begin += n
        return res


def shape_along(axes: Axes, shape: Sequence[int]) -> tuple[int, ...]:
    "The shape of a tensor that runs along some axes of a parameter of this shape."
    return tuple(prod(shape[a] for a in dimension) for dimension in axes)


def in_memory(axes: Axes, order: Sequence[int]) -> tuple[list[int], list[int]]:
    "The dimensions of a stack of such tensors as parameters' axes lie in memory; and the way back."
    found = sorted(range(len(axes)), key=lambda d: order.index(axes[d][0]) if axes[d] else -1)
    dims = [0, *(1 + d for d in found)]
    return dims, [dims.index(d) for d in range(len(dims))]


def _results(foreign: Foreign, rows: list[int], values: Mapping[str, Any], shape: Shape,
             host: Host) -> Any:
    "What a part makes for parameters of one shape: at once, if it takes stacks."
    part, row, axes = foreign.part, host.row[rows], foreign.axes[foreign.out]
    wanted = () if axes == OWN else shape_along(axes, shape)
    def env(i: int, values: Mapping[str, Any], more: Shape=()) -> Env:
        res = Env({**host.numbers(i), **values})
        if part.template in res: return res
        res[part.template] = torch.empty((*more, *wanted), device='meta')
        return res
    stacks_them = part.stacked and (prod(shape) <= SMALL or isinstance(part, Made))
    stacks = {k: _stack(v) for k, v in values.items()} if stacks_them else {}
    if stacks_them and all(v is not None for v in stacks.values()) and (row == row[0]).all():
        most = len(rows) if isinstance(part, Made) else STACK // max(prod(shape), 1) or 1
        some = [env(rows[0], {k: _item(v, slice(at, at + most)) for k, v in stacks.items()},
                    (min(most, len(rows) - at),)) for at in range(0, len(rows), most)]
        if row[0] >= 0 and not (part.switch and part.is_off(some[0])):
            found = [_result(foreign, each, rows[0], host) for each in some]
            return torch.cat(found) if len(found) > 1 else found[0]
    each = []
    for at, i in enumerate(rows):
        one = env(i, {k: _item(v, at) for k, v in values.items()})
        is_off = host.row[i] < 0 or part.switch and part.is_off(one)
        each.append(torch.zeros(one[part.template].shape, dtype=foreign.out.dtype,
                                device=_device(values))
                    if is_off else _result(foreign, one, i, host))
    return each if axes == OWN else torch.stack(each)


def _result(foreign: Foreign, env: Env, i: int, host: Host) -> Any:
    try:
        out = foreign.part.run(env)
        if not foreign.part.fits(out, env): raise foreign.part.bad_result(out, env)
    except PartError as e: raise host.located(e, i) from e.__cause__
    if isinstance(foreign.part, Made) and foreign.part.whole: return out
    return out.to(foreign.out.dtype).contiguous()


def _device(values: Any) -> torch.device:
    "Where the first tensor in there is."
    found = (x.device for x in tree_leaves(values) if isinstance(x, Tensor))
    return next(found, torch.device('cpu'))


def _stack(values: Any) -> Any:
    "Values of several parameters as a stack, or a tuple of stacks. None if their shapes differ."
    if not isinstance(values, list): return values
    if isinstance(values[0], tuple):
        stacks = [_stack([*column]) for column in zip(*values)]
        return None if any(s is None for s in stacks) else (*stacks,)
    return torch.stack(values) if len({x.shape for x in values}) == 1 else None


def _item(values: Any, i: int | slice) -> Any:
    "The value of one parameter, or a stack of some."
    return tuple(x[i] for x in values) if isinstance(values, tuple) else values[i]


def _addresses(stacks: Stacks) -> Integers:
    "Of the tensors in stacks."
    return np.concatenate([
        t.data_ptr() + np.arange(len(t), dtype=np.uint64) * np.uint64(t[0].nbytes)
        for t in stacks])
