"""The body of `step`: a loop that calls the parts by name, in order.

A total has a loop of its own before, with no more than it needs.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..composition import Composition
from ..feeding import asks_again, first_half
from ..kinds import Gate, Scalar, Stat, Step, Total
from ..part import Part
from .definitions import Definitions
from .names import Names, group_entry, stat_entry, state_entry
from .stats import Beginning
from .text import call

__all__ = ['Loop']

INSIDE = ' ' * 16  # of both loops
ANEW = '''
        for group in self.param_groups if again else ():  # what had no gradient was not there
            for p in group['params']:
                if p.grad is None and p in self.state:
                    state = self.state[p]
'''


class Loop:
    "Writes the loops of a composition."
    def __init__(self,
        composition: Composition,
        definitions: Definitions,            # Where its functions are added
        beginnings: Mapping[str, Beginning],  # Of its stats that are tensors
        copied: set[str],                    # Stats whose new value may be another's memory
        sparse: str                          # What a sparse gradient becomes: see `Part.sparse`
    ):
        self.composition, self.definitions = composition, definitions
        self.beginnings, self.copied, self.sparse = beginnings, copied, sparse
        self.functions = dict[Part, str]()
        self.begins, self.shared_begins = dict[str, str](), list[str]()
        for p in composition.ordered:
            if isinstance(p, Stat):
                if p.out in composition.shared: self.shared_begins.append(self._begin(p, ' ' * 12))
                else: self.begins[p.out] = self._begin(p, f'{INSIDE}    ')
            self.functions[p] = definitions.part(p)
        self.names = Names(composition, definitions, beginnings, sparse)
        self.has_begun = self.is_checked = False  # True once a loop has done it

    def lines(self) -> Iterator[str]:
        "The lines of all loops."
        c = self.composition
        yield from self._shared()
        for total in c.totals.values(): yield from self._loop_of(total)
        reads = {n for p in c.ordered for n in p.inputs} | {'param'}
        yield from self._head(reads, len(c.stats) > len(c.shared))
        yield ''
        yield from self._calls(_read(c.ordered))
        yield ''
        yield from self._writes(INSIDE, c.tensor_parts)
        if asks_again(c) and (early := first_half(c)):
            yield ANEW.rstrip()
            yield from map(self.begins.__getitem__, early)

    def _shared(self) -> Iterator[str]:
        "The numbers that are one for all parameters."
        if not self.shared_begins: return
        yield "        shared = self.param_groups[0].setdefault('shared', {})"
        yield '        if not shared:'
        yield from self.shared_begins
        yield '        last = dict(shared)'
        yield ''

    # -- statements --------------------------------------------------------------------------------

    def _call(self, part: Part, before: str='', tail: str=')') -> str:
        args = [*map(self.names.value, part.reads)]
        args += [f'{k}={self.names.variables.get(n) or group_entry(n)}' for k, n in part.keywords]
        return call(f'{before}{self.functions[part]}(', args, tail)

    def _calls(self, parts: list[Part], total: Part | None=None) -> Iterator[str]:
        """The parts, one after another; or those before a total.

        Numbers are remembered at once, as a gate may end the step; but not before a total.
        """
        names = self.names
        names.kept, names.changed = set[str](), set[str]()
        moved, end = False, [total] if total else []
        for i, p in enumerate(parts):
            later = {n for q in (*parts[i + 1:], *end) for n in q.inputs}
            stores = isinstance(p, Stat) and p.is_number and not total
            if stores and f'prev_{p.out}' in later and p.out not in self.composition.shared:
                yield f'{INSIDE}{names.variables[f"prev_{p.out}"]} = {state_entry(p.out)}'
                names.kept.add(p.out)
            if p.out == 'grad' and names.raw == 'grad' and 'raw_grad' in later:
                yield f'{INSIDE}raw_grad = grad'
                names.raw = 'raw_grad'
            into = f'{stat_entry(self.composition, p.out)} = ' if stores else ''
            if p.out in names.variables and (p.out in later or not stores):
                into = f'{names.variables[p.out]} = {into}'
            yield from self._statement(p, moved, into)
            if p.out.startswith('prev_'): names.changed.add(p.out)
            if isinstance(p, Gate):
                if not total: yield from self._writes(f'{INSIDE}    ', parts[:i])
                if p.again and not total: yield f'{INSIDE}    again = True'
                yield f'{INSIDE}    continue'
            moved |= isinstance(p, Step)

    def _statement(self, p: Part, moved: bool, into: str) -> Iterator[str]:
        "A call of one part. `moved`: there is an update that a step adds to."
        indent = INSIDE
        if p.is_switched and not moved and isinstance(p, Step):
            yield f'{INSIDE}update = torch.zeros_like(param)'
            moved = True
        if p.switch and (not isinstance(p, Step) or moved):
            if isinstance(p, Stat) and p.out in self.names.variables:
                yield f'{INSIDE}{self.names.variables[p.out]} = {self.names.value(f"prev_{p.out}")}'
            on = self.names.variables[p.switch] if p.is_switched else f"group['{p.switch}'] != 0"
            yield f'{INSIDE}if {on}:'
            indent += ' ' * 4
        if isinstance(p, Gate): yield self._call(p, f'{indent}if not ', '):')
        elif isinstance(p, Step): yield self._call(p, f'{indent}update = {"update + " * moved}')
        elif p.out in ('grad', 'update', 'param'): yield self._call(p, f'{indent}{p.out} = ')
        else: yield self._call(p, indent + into, ').clone()' if p.out in self.copied else ')')

    def _writes(self, indent: str, parts: Iterable[Part]) -> Iterator[str]:
        "What these parts have made is written."
        made = {p.out for p in parts}
        stats = [k for k in self.composition.tensor_stats if k in made]
        pairs = [('p', 'param + update' if 'update' in made else 'param')]
        pairs *= bool(made & {'update', 'param'})
        pairs += [(state_entry(k), self.names.variables[k]) for k in stats]
        for old, new in pairs:
            yield indent + (f'{self.names.at(old)} = {new}' if self.sparse == 'rows'
                            else f'{old}.copy_({new})')

    def _head(self, reads: set[str], has_state: bool) -> Iterator[str]:
        "The beginning of a loop, up to the first part."
        self.names.raw = 'grad'
        if 'place' in reads: yield '        places = count_from(0)'
        yield '        for group in self.param_groups:'
        yield "            for p in group['params']:"
        if 'place' in reads: yield f'{INSIDE}place = next(places)'
        yield from (f'{INSIDE}if p.grad is None:', f'{INSIDE}    continue')
        if not self.is_checked: yield from self._check()
        if has_state: yield from self._state()
        grad = 'p.grad.to_dense()' if self.sparse == 'dense' else 'p.grad'
        if self.sparse == 'rows':
            yield from (f'{INSIDE}rows: Any = ...',
                        f'{INSIDE}grad = p.grad',
                        f'{INSIDE}if grad.is_sparse:  # only the rows that have one',
                        f'{INSIDE}    grad = grad.coalesce()',
                        f'{INSIDE}    rows, grad = tuple(grad.indices()), grad.values()')
            grad = 'grad'
        values = {'param': f'wide({self.names.at("p")})', 'grad': f'wide({grad})'}
        if 'new_param' in reads: reads = reads | {'param'}
        if 'raw_grad' in reads: reads = reads | {'grad'}
        used = {k: v for k, v in values.items() if k in reads}
        if used: yield f'{INSIDE}{", ".join(used)} = {", ".join(used.values())}'
        if 'grad' in used:
            yield from (f"{INSIDE}if group['maximize']:", f'{INSIDE}    grad = -grad')

    def _check(self) -> Iterator[str]:
        "Refuses gradients that the loop cannot take."
        self.is_checked = True
        wrong, takes = 'p.is_complex()', 'real parameters'
        if not self.sparse:
            wrong, takes = f'p.grad.is_sparse or {wrong}', f'{takes} with dense gradients'
        yield f'{INSIDE}if {wrong}:'
        yield f"{INSIDE}    raise TypeError('this optimizer takes {takes}')"

    def _state(self) -> Iterator[str]:
        yield f'{INSIDE}state = self.state[p]'
        if self.has_begun: return
        self.has_begun = True
        yield f'{INSIDE}if not state:'
        yield from self.begins.values()

    def _begin(self, stat: Stat, indent: str) -> str:
        "The statement that makes the value before the first step."
        into = f'{indent}{stat_entry(self.composition, stat.out)} = '
        first = 'self.param_groups[0]' if stat.out in self.composition.shared else 'group'
        if stat.init is None: return f'{into}torch.zeros_like(p)'
        if not callable(stat.init): return f'{into}{stat.init!r}'
        names = {a.name: f"{first}['{k}']"
                 for a, k in zip(stat.init_parameters(), stat.init_hypers)}
        copied = not stat.is_number and not self.beginnings[stat.out].is_new
        if not stat.is_number: names = {_first_argument(stat): 'p', **names}
        said = f'the init of `{stat.__name__}`'
        return self.definitions.expression(stat.init, names, said, (into, '.clone()' * copied))

    # -- totals ------------------------------------------------------------------------------------

    def _loop_of(self, total: Part) -> Iterator[str]:
        "The loop in which a total is taken, before any parameter moves."
        needed = self._before(total)
        reads = {n for p in (*needed, total) for n in p.inputs}
        own = {*self.composition.stats} - {*self.composition.shared}
        has_state = any(n.removeprefix('prev_') in own for n in reads)
        name = self.names.variables[total.out]
        if total.over == 'group':
            begin, into = 'shares: dict[int, list[torch.Tensor]] = {}', '.setdefault(id(group), [])'
            end = f'{name} = {{k: total(some) for k, some in shares.items()}}'
            self.names.variables[total.out] = f'{name}[id(group)]'
        else: begin, into, end = 'shares = []', '', f'{name} = total(shares)'
        yield f'        {begin}'
        yield from self._head(reads, has_state)
        yield from self._calls(needed, total)
        yield self._call(total, f'{INSIDE}shares{into}.append(', '))')
        yield f'        {end}'
        yield ''

    def _before(self, total: Part) -> list[Part]:
        "What a total needs: the parts that make what it reads, and gates that may be closed."
        c, needed, found = self.composition, {*total.inputs}, list[Part]()
        for p in reversed(c.before[total.out]):
            alike = not p.keywords and {*p.inputs} <= {*c.totals}  # open for all, or for none
            makes = p.out in needed or p.out == 'update' and 'new_param' in needed
            if isinstance(p, Total) or not (makes or isinstance(p, Gate) and not alike): continue
            needed |= {*p.inputs}
            found.insert(0, p)
        return found


def _read(parts: Iterable[Part]) -> list[Part]:
    "The parts without totals, which are known, and without scalars that only those read."
    needed, found = set[str](), list[Part]()
    for p in reversed([*parts]):
        if isinstance(p, Total) or isinstance(p, Scalar) and p.out not in needed: continue
        needed |= {*p.inputs}
        found.insert(0, p)
    return found


def _first_argument(stat: Stat) -> str:
    code = getattr(stat.init, '__code__', None)
    return code.co_varnames[0] if code and code.co_argcount else 'param'
