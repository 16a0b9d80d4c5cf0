"""Where the parts of a sum go: `recipe + parts` is a list in which each part works, and means what was given.

Each kind of part has its `Place`. A part goes there, but not before what it reads, nor after what reads it. Parts that
are added keep the order in which they were given, wherever one reads what the other makes. From that follows:

* A stat goes to the front with a change of the gradient that is given after it, and sees the gradient as it came. It
  does not if a part between the two reads it, as it then belongs to that one.
* A number that an early part reads, such as the recipe's own count of steps, moves forward. A part that reads what
  cannot move, such as an average of gradients, waits for it.
* A gate comes before what it stops: all that remembers, but for what it reads, and for numbers that were given before
  it and that nothing else reads. A change of the gradient that its totals see stays before it, if it needs no memory.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, auto
from itertools import combinations

from .part import ContractError, Part

__all__ = ['Place', 'placed']

CHANGES = 'transform', 'step'      # kinds that keep their places, in whatever order they were given
NAMED = 'stat', 'scalar', 'total'  # kinds whose result has a name of its own


class Place(IntEnum):
    "The places of a list of parts, from its beginning to its end."
    GATES = auto()         # may this step happen? With what that depends on
    NUMBERS = auto()       # counts, and numbers made of them
    GRADIENT = auto()      # changes of the gradient
    RULE = auto()          # the recipe's own parts; stats and steps that are added
    UPDATE = auto()        # changes of the update, which do not mean decay
    DECAY = auto()         # decay that reads nothing but the parameter
    SEEING_DECAY = auto()  # steps, such as a decay, that read the update
    DECAYED = auto()       # changes of the update that mean decay too
    WEIGHTS = auto()       # steps that read the new parameter, or a stat of it; and these stats
    AVERAGES = auto()      # stats of the new parameter that no step reads


def placed(parts: Sequence[Part], extra: Iterable[Part]) -> list[Part]:
    """A recipe's parts and those that are added, in order. Raises ContractError if there is none that works.

    What the recipe has already is left out, and a part with a `switch` replaces those with the same one.
    """
    extra = tuple(extra)
    switches = {p.switch: p for p in extra if p.switch}
    own = [p for p in parts if switches.get(p.switch, p) == p]
    new = [p for p in dict.fromkeys(extra) if p not in parts and switches.get(p.switch, p) == p]
    return _Sum(own, new).in_order() if new else own


class _Sum:
    "A recipe's own parts, and new ones. Parts are known by their index, as one may stand there twice."
    def __init__(self, own: Sequence[Part], new: Sequence[Part]):
        self.parts, self.old = [*own, *new], len(own)
        self.all = range(len(self.parts))
        self.reads = [_reads(p) for p in self.parts]
        self.late, self.asked = self._late(), self._asked()
        self.place = [self._own_place(i) for i in self.all]
        steps = [i for i in self.all if self.parts[i].kind == 'step']
        self.first_step = min(steps, key=self.place.__getitem__, default=-1)
        self.before = [set[int]() for _ in self.all]  # for each part, those that must come before it

    def in_order(self) -> list[Part]:
        "Always the part whose place comes first, of those that need not wait for another."
        self._find_what_comes_before()
        self._pull_forward()
        todo, order = [*self.all], list[int]()
        while todo:
            free = [i for i in todo if not self.before[i] & {*todo}]
            if not free: raise self._no_order(todo)
            order.append(min(free, key=self.place.__getitem__))
            todo.remove(order[-1])
        self._check_gates(order)
        self._check_changes(order)
        return [self.parts[i] for i in order]

    # -- places ----------------------------------------------------------------------------------------------

    def _late(self) -> set[str]:
        "The new parameter, and the stats of it."
        late, stats = {'new_param'}, [i for i in self.all if self.parts[i].kind == 'stat']
        while more := {self.parts[i].out for i in stats if self.reads[i] & late} - late: late |= more
        return late

    def _asked(self) -> set[str]:
        "What transforms and steps read, directly or through stats."
        asked = {r for p, reads in zip(self.parts, self.reads) if p.kind in CHANGES for r in reads}
        def through() -> set[str]:
            return {r for p, reads in zip(self.parts, self.reads) if p.out in asked for r in reads}
        while more := through() - asked: asked |= more
        return asked

    def _own_place(self, i: int) -> Place:
        "Where its kind goes, whatever it stands with."
        p, reads = self.parts[i], self.reads[i]
        if reads & self.late:
            return Place.AVERAGES if p.kind == 'stat' and p.out not in self.asked else Place.WEIGHTS
        if p.kind == 'gate': return Place.GATES
        if _is_decay(p): return Place.DECAY
        if p.decay: return Place.DECAYED
        if i < self.old:
            decayed = 'update' in reads and any(_is_decay(q) for q in self.parts[:i])
            return Place.DECAYED if decayed else Place.RULE
        if p.kind == 'transform': return Place.GRADIENT if p.out == 'grad' else Place.UPDATE
        if p.kind == 'step': return Place.SEEING_DECAY if 'update' in reads else Place.RULE
        return Place.GRADIENT if p.kind == 'total' else Place.NUMBERS if p.is_number else Place.RULE

    def _pull_forward(self) -> None:
        "What comes before a part goes to its place: new parts, but changes only to a gate's; the recipe's numbers."
        numbers, moved = {i for i in range(self.old) if self.parts[i].is_number}, True
        while moved:
            moved = False
            for j, to in enumerate(self.place):
                together = numbers if numbers & self.before[j] and to > Place.GATES else set[int]()
                for i in self.before[j] | together:
                    new = i >= self.old and (self.parts[i].kind not in CHANGES or to == Place.GATES)
                    if (new or i in numbers) and to < self.place[i]: self.place[i], moved = to, True

    # -- order -----------------------------------------------------------------------------------------------

    def _find_what_comes_before(self) -> None:
        "First what must be; then what gates stop, and what not; then, where that leaves a choice, the order given."
        for i in self.all:
            for j in self.all:
                if i != j and self._must_precede(i, j): self.before[j].add(i)
        gates = [i for i in self.all if self.parts[i].kind == 'gate']
        for gate in gates:
            self.before[gate] |= {i for i in range(self.old, gate) if self._goes_on(i, gate)}
        for gate in gates:
            for i in {*self.all} - self._all_before(gate):
                if self.parts[i].kind == 'stat' and max(i, gate) >= self.old: self.before[i].add(gate)
        for i, j in combinations(self.all[self.old:], 2):
            if self._was_meant(i, j) and j not in self._all_before(i): self.before[j].add(i)
        for gate in gates:
            self.before[gate] |= {i for i in range(self.old, gate) if self._is_seen(i, gate)}

    def _must_precede(self, i: int, j: int) -> bool:
        "Does part j need what part i makes, or would the recipe be another if it came first?"
        a, b = self.parts[i], self.parts[j]
        if max(i, j) < self.old:
            return i < j and (self._are_tied(i, j) or {a.kind, b.kind} == {'gate', 'stat'})
        if i == self.first_step and 'update' in self.reads[j]: return True
        if i < self.old and _totals(a) & _totals(b): return True  # it is taken where the recipe takes it
        return a.kind in NAMED and a.out in self.reads[j]

    def _was_meant(self, i: int, j: int) -> bool:
        "Of two new parts in the order in which they were given: would another order mean another thing?"
        a, b = self.parts[i], self.parts[j]
        if not self._are_tied(i, j) or b.kind == 'gate' or self.place[i] >= Place.WEIGHTS: return False
        if a.kind in CHANGES and b.kind in CHANGES: return self.place[i] == self.place[j]
        return a.kind not in NAMED or bool(self._names(i) & self.reads[j]) or not self._is_used(i, j)

    def _names(self, i: int) -> set[str]:
        "What is read by who reads what part i makes, now or from before this step."
        return {self.parts[i].out, f'prev_{self.parts[i].out}'}

    def _are_tied(self, i: int, j: int) -> bool:
        "Does one read what the other makes?"
        return self.parts[i].out in self.reads[j] or self.parts[j].out in self.reads[i]

    def _goes_on(self, i: int, gate: int) -> bool:
        "Is it a number that goes on where a gate is closed, as no part that the gate stops reads it?"
        p = self.parts[i]
        return p.kind == 'stat' and p.is_number and not self._is_used(i, gate) and self._is_free(i, gate)

    def _is_seen(self, i: int, gate: int) -> bool:
        "Is it a change of the gradient that a gate's totals see?"
        p = self.parts[i]
        return p.kind == 'transform' and p.out in self.reads[gate] and self._is_free(i, gate)

    def _is_free(self, i: int, gate: int) -> bool:
        "Does part i need nothing that a gate stops?"
        needed = self._all_before(i) - self._all_before(gate)
        return not any(self.parts[k].kind == 'stat' for k in needed)

    def _is_used(self, i: int, until: int) -> bool:
        "Does a change (or what a gate stops) that was given between two parts read what the first makes?"
        stops = self.parts[until].kind == 'gate'
        readers = [k for k in range(i + 1, until) if self._names(i) & self.reads[k]]
        return any(self.parts[k].kind in CHANGES or stops and not self.parts[k].is_number or
                   self._is_used(k, until) for k in readers)

    def _all_before(self, j: int) -> set[int]:
        "What must come before part j, directly or before others."
        found, todo = set[int](), [j]
        while todo:
            more = self.before[todo.pop()] - found
            todo += more
            found |= more
        return found

    # -- where nothing works ---------------------------------------------------------------------------------

    def _no_order(self, todo: Sequence[int]) -> ContractError:
        "The error for parts of which each has to come before another."
        ring = [todo[0]]
        while (i := min(self.before[ring[-1]] & {*todo})) not in ring: ring.append(i)
        parts = [self.parts[i] for i in sorted(ring[ring.index(i):])]
        names = [f'`{p.label}`' for p in parts]
        kept = [p.out for p in parts if p.kind == 'stat']
        advice = f'let one read `prev_{kept[0]}`, its value before this step' if kept else 'leave one out'
        for p, q in combinations(parts[::-1], 2):
            if shared := _totals(p) & _totals(q): advice = _own_total(p, shared)
        return ContractError(f'{", ".join(names[:-1])} and {names[-1]} need each other, so none can come first: '
                             + advice)

    def _check_gates(self, order: Sequence[int]) -> None:
        "A new gate that had to wait must come before what it stops."
        stopped: list[str] = []
        for i in order:
            p = self.parts[i]
            if p.kind == 'gate' and stopped and i >= self.old:
                raise self._too_late(i, order, 'is a gate', f'`{stopped[0]}` has already remembered this step')
            if p.kind == 'stat' and not p.is_number: stopped.append(p.label)

    def _check_changes(self, order: Sequence[int]) -> None:
        "A new change of the gradient that had to wait must come before a part that reads the gradient."
        is_read, vain = False, -1
        for i in reversed(order):
            if is_read or self.parts[i].out != 'grad': is_read |= 'grad' in self.reads[i]
            elif i >= self.old and self.before[i]: vain = i
        if vain >= 0: raise self._too_late(vain, order, 'changes `grad`', 'no part reads `grad` any more')

    def _too_late(self, i: int, order: Sequence[int], what: str, why: str) -> ContractError:
        p, q = self.parts[i], self.parts[max(self.before[i], key=order.index)]
        if q.kind == 'stat' and q.out in self.reads[i]: advice = f'read `prev_{q.out}`, its value before this step'
        elif shared := _totals(p) & _totals(q): advice = _own_total(p, shared)
        elif 'update' in self.reads[i]: advice = 'keep the update in a stat, and read `prev_` and the name of that'
        else: advice = f'give `{p.label}` before it'
        return ContractError(f'`{p.label}` {what}, and would stand after `{q.label}`, when {why}: {advice}')


def _own_total(p: Part, shared: set[Part]) -> str:
    return f'give one its own total, {p.with_another(min(t.__name__ for t in shared))}'


def _reads(p: Part) -> set[str]:
    "What a part reads, directly or through its scalars. Who reads the new parameter reads the update."
    names = {*p.reads}.union(*(_reads(link) for link in p.links.values()))
    return names | {'update'} if 'new_param' in names else names


def _totals(p: Part) -> set[Part]:
    "The totals that a part reads through its scalars, or is."
    return {p} if p.kind == 'total' else {t for link in p.links.values() for t in _totals(link)}


def _is_decay(p: Part) -> bool: return p.kind == 'step' and {*p.args} <= {'param'}
