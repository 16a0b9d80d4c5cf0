"""A batch: the parameters of all groups that have one composition, stepped in one launch.

Each group has its own hyperparameters, and parameters may have counts of their own. So there is a
row of numbers for each group and each set of counts in it.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..composition import Composition
from ..formats import block_of
from ..numbers import kept, read_all
from ..part import Part
from .kernels import kind_of_tensors, program_for
from .late import Late, late_of
from .late_rows import LateRows
from .machines import is_launched_on
from .program import Kind, Program, numbers_of_kernel
from .table import Counts, Integers, Memory, Table, addresses_of, overlapping
from .toolchain import NoKernel
from .unit import Unit
from .watch import Inputs, Watch, check_storage, why_not, why_not_beside
from .work import Values, Work

__all__ = ['Batch']


class Batch:
    "What holds for these parameters in each step, until something but values changes."
    members: list[tuple[int, int]]  # the work of each parameter, and its row in that
    counts: Counts
    watch: Watch

    late: Late | None = None      # numbers that are made on a GPU; None: the host makes all
    rows: LateRows | None = None  # these, there
    sets: tuple[Tensor, ...] = ()  # and which parameters have equal ones: see `_count_sets`

    def __init__(self, works: Sequence[Work], strict: bool, may_be_late: bool=True):
        self.strict = strict  # is it an error if a part must be compiled and cannot
        self.composition: Composition = works[0].composition
        self.climb, self.places = works[0].climb, [w.places for w in works]
        self.formats = works[0].formats
        self.names = numbers_of_kernel(self.composition)
        self.groups, self.group_sizes = [w.group for w in works], [len(w.params) for w in works]
        self.why_not: dict[str, None] = {}  # reasons why parameters have no kernel
        self.no_kernel: NoKernel | None = None  # the first reason why none could be made
        self.units: dict[Any, list[Unit]] = {}
        self.drawn: dict[torch.device, Tensor] = {}
        self.versions = list[Any]()  # of the numbers in states
        self.number_stats = self.composition.number_stats  # those that the host has
        try: self._plan(works, may_be_late)
        except (ValueError, NoKernel) as e:
            self._no(str(e), e)
            self.members, self.is_all, self.late = [], False, None

    def _plan(self, works: Sequence[Work], may_be_late: bool) -> None:
        "Raises NoKernel without a compiler, ValueError if counts are not as states keep them."
        self.members = self._plannable(works)
        self.is_all = len(self.members) == sum(self.group_sizes)
        if not self.members: return
        own = [[kept(works[g].own[i][k]) for g, i in self.members]
               for k in self.composition.own_numbers]
        if may_be_late and self._may_be_late(works):
            self.late = late_of(self.composition)
        if self.late and self.late.stats: self._settle(works, self.late)
        work = self.pick(works)
        self.counts = Counts([work.columns[k] for k in self.number_stats],
                             [g for g, _ in self.members], own, self.sets)
        self.watch = Watch(work)
        self.kinds = [kind_of_tensors(self.composition, work.tensors(i), self.climb, self.formats)
                      for i in range(len(self.members))]
        self.blocks = [block_of(tuple(p.shape)) for p in work.params]
        self.shapes = [(p.numel() * (1 + p.is_complex()),) if self.composition.is_flat
                       else kind.shapes[0] for p, kind in zip(work.params, self.kinds)]

    def _may_be_late(self, works: Sequence[Work]) -> bool:
        "True if kernels on one GPU have all parameters, in all processes."
        devices = {works[g].params[i].device for g, i in self.members}
        return self.is_all and len(devices) == 1 and is_launched_on(*devices) and not any(
            w.across or w.elsewhere for w in works)

    def _settle(self, works: Sequence[Work], late: Late) -> None:
        "Puts late stats on the device, where a kernel writes them from now on."
        self.number_stats = [k for k in self.number_stats if k not in late.stats]
        self.sets = *(kept(0) for _ in self.members),
        for k in late.stats:
            dtype = torch.int64 if late.is_whole(k) else torch.float64
            for g, i in self.members:
                x = works[g].columns[k][i]  # in its place: others may have the same tensor
                x.data = x.data.to(works[g].params[i].device, dtype)

    def _count_sets(self, work: Work, is_next: bool) -> None:
        """Numbers the sets of parameters that have equal numbers in their states.

        A kernel keeps those equal that are: so the device is read only if somebody else has changed
        them, as a step of some of the parameters has.
        """
        columns = [work.columns[k] for k in self.composition.number_stats]
        versions = [object() if x.is_inference() else x._version for xs in columns for x in xs]
        if is_next and versions == self.versions: return
        self.versions, found = versions, dict[Any, int]()
        for row, x in zip(zip(*map(read_all, columns)), self.sets):
            x.fill_(found.setdefault(row, len(found)))

    def _plannable(self, works: Sequence[Work]) -> list[tuple[int, int]]:
        "Those that a kernel may step."
        found, written = list[tuple[int, int]](), list[tuple[int, Tensor]]()
        for g, work in enumerate(works):
            for i in range(len(work.params)):
                check_storage(work, i)
                tensors = work.tensors(i)
                beside = {k: work.columns[k][i] for k in work.beside}
                if why := (why_not(tensors, self.composition, work.formats.values())
                           or why_not_beside(tensors['param'], beside.values())): self._no(why)
                else:
                    tensors |= beside
                    written += [(len(found), t) for k, t in tensors.items()
                                if k not in self.composition.read_only]
                    found.append((g, i))
        shared = overlapping(written)
        if shared: self._no('they share memory')
        inputs = [column[i] for g, i in found for column in works[g].inputs().values()]
        memory = Memory(t for key, t in written if key not in shared)
        if not memory.is_apart(addresses_of(inputs), Table([t.nbytes for t in inputs])):
            # The step of another parameter may change them before they are read
            self._no('gradients lie in the memory of parameters or state')
            return []
        return [member for n, member in enumerate(found) if n not in shared]

    def pick(self, works: Sequence[Work]) -> Work:
        "These parameters as one work."
        if len(works) == 1 and self.is_all: return works[0]
        def picked(lists: Sequence[Sequence[Any]]) -> list[Any]:
            if self.is_all: return [x for xs in lists for x in xs]
            return [lists[g][i] for g, i in self.members]
        return Work(self.composition, {}, picked([w.params for w in works]),
                    picked([w.grads for w in works]), picked([w.states for w in works]),
                    works[0].describe, self.climb, picked([w.places for w in works]),
                    columns={k: picked([w.columns[k] for w in works])
                             for k in works[0].columns},
                    formats=self.formats, seed=works[0].seed,
                    fed={k: picked([w.fed[k] for w in works]) for k in self.composition.fed},
                    own=picked([w.own for w in works]) if works[0].own else (),
                    firsts=picked([w.firsts or [0] * len(w.params) for w in works])
                    if any(w.firsts for w in works) else ())

    def look(self, works: Sequence[Work], is_next: bool) -> tuple[Work, Inputs] | None:
        """These parameters and their gradients. None if anything but values has changed.

        `is_next`: the last step was one of this batch.
        """
        if [w.places for w in works] != self.places: return None
        if not self.is_all:  # the watch does not see the gradients of the others
            for w in works: w.check_gradients()
        work = self.pick(works)
        if not self.members: return work, Inputs([], {})
        inputs = self.watch.inputs_of(work) if self.watch.is_same(work) else None
        if inputs and self.sets: self._count_sets(work, is_next)
        return None if inputs is None else (work, inputs)

    def units_for(self, happening: Sequence[Composition | None], values: Sequence[Values],
                  rows: Integers, total: Part | None=None) -> list[Unit]:
        """The programs for these numbers, each with its parameters.

        `happening` are the parts that run with the numbers of each row, None where none does, and
        `rows` the row of each parameter.
        """
        # Where nothing happens, the units for a whole step will do: they leave the parameter out
        other = [0 if h in (None, self.composition) else id(h) for h in happening]
        name = total and total.out, np.array(other)[rows].tobytes() if any(other) else b''
        known = self.units.get(name)
        if known is not None and all(_fits(u, values, rows) for u in known): return known
        pairs = [*zip(self.kinds, rows.tolist())]
        chosen = {(kind, row): self._program(kind, happening[row], values[row], total)
                  for kind, row in dict.fromkeys(pairs)}
        key = name, *map(id, chosen.values())
        if key in self.units: made = self.units[key]
        else:
            found: dict[Any, dict[int, Program]] = {}
            for i, pair in enumerate(pairs):
                if program := chosen[pair]: found.setdefault(program.key, {})[i] = program
            made = [Unit(mine, self.shapes, self.watch.table, self.blocks)
                    for mine in found.values()]
        if None not in happening: self.units[key] = self.units[name] = made
        return made

    def on(self, device: torch.device, drawn: Tensor) -> Tensor:
        "What decides random bits, on a device: in the same memory in each step, for a CUDA graph."
        if device.type == 'cpu': return drawn
        there = self.drawn.get(device)
        if there is None: there = self.drawn[device] = torch.empty_like(drawn, device=device)
        pinned = torch.empty_like(drawn, device='cpu', pin_memory=True)
        return there.copy_(pinned.copy_(drawn), non_blocking=True)

    def _program(self, kind: Kind, happening: Composition | None, values: Values,
                 total: Part | None) -> Program | None:
        if not happening: return None
        try: program = program_for(happening, kind, values, total, self.strict)
        except NoKernel as e:
            self._no(str(e), e)
            return None
        if not program.has_blocks or program.fits_blocks(kind.shapes[0]): return program
        self._no('rows along which a part sums are not whole blocks of their 8-bit state')
        return None

    def _no(self, why: str, e: Exception | None=None) -> None:
        self.why_not[why] = None
        if isinstance(e, NoKernel): self.no_kernel = self.no_kernel or type(e)(why)

    def report(self, group: int) -> str:
        "How the parameters of a group were stepped the last time."
        units = self.units.get((None, b''), [])
        by_kernel = {i for u in units for i in u.rows.tolist()}
        mine = {i for i, (g, _) in enumerate(self.members) if self.groups[g] == group}
        count, n = self.group_sizes[self.groups.index(group)], len(mine & by_kernel)
        parts = len(self.composition.tensor_parts)
        foreign = {p: why for u in units for p, why in u.program.foreign.items()
                   if mine & {*u.rows.tolist()}}
        res = [f'kernel: {parts - len(foreign)} of {parts} parts'] if n else []
        res += [f'`{p.label}` runs as it is: {why}' for p, why in foreign.items()]
        which = f' for {count - n} of {count} parameters' if n else ''
        if n < count: res.append(f'eager engine{which}: {"; ".join(self.why_not)}')
        return '; '.join(res)


def _fits(unit: Unit, values: Sequence[Values], rows: Integers) -> bool:
    "True if the numbers of its parameters answer all questions as on its tape."
    if not unit.program.tape.questions: return True
    mine = {0} if len(values) == 1 else {*rows[unit.rows].tolist()}
    return all(unit.program.fits(values[row]) for row in mine)
