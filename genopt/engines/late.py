"""Late numbers: those that follow from a total, and are worked out on a GPU, so that nothing waits
for it.

A total is known on the device alone, after its kernels have run there. What Python would compute
from it (a factor that clips, a distance, whether a step may happen) is computed by a kernel too:
see `written`. The stats among these numbers live on the device, and so do all that stand after a
gate which may close there.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..composition import Composition
from ..contract import PartError
from ..env import work_out
from ..kinds import Gate, Stat
from ..part import Part
from .cuda_driver import CLOSE, EACH, PREAMBLE, TOTAL
from .program import Program, numbers_of_kernel
from .recorder import Op, Ref
from .work import Values
from .written import Unwritable, Writer, Written

__all__ = ['Late', 'late_of']


def late_of(composition: Composition) -> Late | None:
    "The late numbers of a composition. None if it has no totals, or they must be read by the host."
    try: return Late(composition) if composition.totals else None
    except Unwritable: return None


class Late:
    "The late numbers of a composition. Raises Unwritable if one cannot be computed in C."
    def __init__(self, composition: Composition):
        self.composition, self.names = composition, numbers_of_kernel(composition)
        self.parts = self._found()
        self.early_parts = [p for p in composition.number_parts if p not in self.parts]
        self.stats = [p.out for p in self.parts if isinstance(p, Stat)]
        self.gates = [p for p in self.parts if isinstance(p, Gate)]
        self.made = {*composition.totals, *(p.out for p in self.parts),
                     *(f'prev_{k}' for k in self.stats)}  # all names that the host does not know
        self._check()
        self.totals, self.stages = self._stages()
        self.whole = {f'prev_{k}' for k in self.stats if self.is_whole(k)}  # ints in Python
        self.begins_later = not (self.stats or self.gates or self.stages[0])  # at the first total
        self.source = '\n'.join(self._source())
        self.suited = dict[Program, bool]()
        self.kernels = ['total', 'store', 'close', *(f'late{n}' for n in range(len(self.stages)))]

    def _found(self) -> list[Part]:
        "The parts that make them, in order."
        c, names, res = self.composition, {*self.composition.totals}, list[Part]()
        while True:
            before, res, is_closed = len(names), [], False
            for p in c.number_parts:
                if not is_closed and not names & {*self._read(p)}: continue
                res.append(p)
                names |= {p.out, f'prev_{p.out}'} if isinstance(p, Stat) else {p.out}
                is_closed |= isinstance(p, Gate)
            if len(names) == before: return res

    def _check(self) -> None:
        "Raises Unwritable for what only the host can do."
        c = self.composition
        early = [p for p in c.gates.values() if p not in self.parts]
        if early and (self.stats or self.gates): raise Unwritable('a gate of the host is before it')
        if any(c.ordered.index(g) > c.ordered.index(p) for g in self.gates for p in c.tensor_parts):
            raise Unwritable('a part stands before a gate')
        if any(self.made & {*p.reads} for p in c.given.values()):
            raise Unwritable('what is fed waits for it')

    def _stages(self) -> tuple[list[str], list[list[Part]]]:
        "The totals in order; and the parts before each of them, and after the last."
        c = self.composition
        totals = [p.out for p in c.ordered if p.out in c.totals]
        stages, left = list[list[Part]](), self.parts
        for name in totals:
            before, _ = c.numbers_before[name]
            stages.append([p for p in left if p in before])
            left = [p for p in left if p not in before]
        return totals, [*stages, left]

    # -- on the host -------------------------------------------------------------------------------

    def early(self, state: Values, hypers: Mapping[str, Any]) -> dict[str, Any]:
        "All numbers that the host knows. Raises PartError."
        c = self.composition
        env = {k: hypers[k] for k in c.number_args if k not in self.made}
        env |= {f'prev_{k}': state[k] for k in c.number_stats if k not in self.stats}
        return work_out(self.early_parts, env)

    def suits(self, program: Program) -> bool:
        "True if the host need not know late numbers to run it."
        if program not in self.suited: self.suited[program] = self._suits(program)
        return self.suited[program]

    def _suits(self, program: Program) -> bool:
        if not program.is_launched or len(program.sized): return False
        asked = {ref for ref, _ in program.tape.questions}
        for op in reversed(program.tape.ops):
            if isinstance(op, Op) and op.out in asked:
                asked |= {a for a in op.args if isinstance(a, Ref)}
        read = {n for p in program.foreign for n in self._read(p)}
        read |= {k for k, ref in program.tape.numbers.items() if ref in asked}
        return not read & self.made and not (self.gates and program.foreign)

    def is_of_group(self, total: str) -> bool:
        return bool(self.composition.totals[total].over == 'group')

    # -- on the device -----------------------------------------------------------------------------

    def _source(self) -> Iterator[str]:
        yield f'{PREAMBLE}#define NUMBERS {len(self.names)}\n{TOTAL}\n{CLOSE}'
        yield from self._store()
        for n, parts in enumerate(self.stages): yield from self._stage(n, parts)

    def _store(self) -> Iterator[str]:
        "A kernel that gives each tensor's stats the values of its row."
        yield EACH.format(name='store')
        yield from self._stored(k for k in self.stats if k not in self.composition.shared)
        yield '    }\n    if (mine + threadIdx.x) return;'
        yield '    for (int64_t k = 0; k < count; k++) {  /* one for all: the last new one */'
        yield from self._stored(k for k in self.stats if k in self.composition.shared)
        yield '} }'

    def _stored(self, names: Iterable[str]) -> Iterator[str]:
        yield '    if (row[k] < 0) continue;\n    const double *const x = rows + row[k] * NUMBERS;'
        for name in names:
            new, before, C = self._place(name), self._place(f'prev_{name}'), self._type(name)
            at = f'table[{self.stats.index(name)} * (int64_t)count + k]'
            yield f'    if ({new} != {before}) *({C} *){at} = ({C}){new};'
        yield '    (void)x;'

    def _stage(self, n: int, parts: Sequence[Part]) -> Iterator[str]:
        "A kernel that works out what follows from totals, up to the next one, in each row."
        yield EACH.format(name=f'late{n}')
        yield '    double *const x = (double *)rows + k * NUMBERS; (void)x;'
        yield '    int64_t *const open = (int64_t *)at + k; (void)open;'
        if n:
            total = f'((const double *)memory)[pieces[{n - 1} * (int64_t)count + k]]'
            yield f'    {self._place(self.totals[n - 1])} = {total};'
        else:
            yield '    *open = 1;'
            for i, name in enumerate(self.stats):
                at = f'table[{i} * (int64_t)count + k]'
                yield f'    {self._place(f"prev_{name}")} = (double)*({self._type(name)} *){at};'
        writer = Writer()
        for part in parts: yield from self._part(part, writer)
        yield '} }'

    def _part(self, part: Part, writer: Writer) -> Iterator[str]:
        "The lines of one part."
        begun = len(writer.lines)
        env = {k: Written(writer, self._place(k), k in self.whole) for k in self._read(part)}
        found = self._run(part, env, writer)
        value = found.name
        if found.is_whole: self.whole.add(part.out)
        elif f'prev_{part.out}' in self.whole: raise Unwritable('a whole number becomes another')
        yield from (f'    {line}' for line in writer.lines[begun:])
        if isinstance(part, Gate):
            yield f'    *open = *open && {value} != 0;'
            return
        if isinstance(part, Stat): value = f'*open ? {value} : {self._place(f"prev_{part.out}")}'
        yield f'    {self._place(part.out)} = {value};'

    def _run(self, part: Part, env: Mapping[str, Written], writer: Writer) -> Written:
        try: return writer.explored(lambda: part.run(env))
        except PartError as e: raise Unwritable(str(e)) from None

    def _read(self, part: Part) -> list[str]: return [*part.reads, *(k for _, k in part.keywords)]
    def _place(self, name: str) -> str: return f'x[{self.names.index(name)}]'

    def _type(self, name: str) -> str: return 'int64_t' if self.is_whole(name) else 'double'

    def is_whole(self, name: str) -> bool:
        "True if a stat is an int in Python: then it is one in the state."
        return isinstance(self.composition.stats[name].init, int)
