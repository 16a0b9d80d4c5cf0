"""Where the parts of a sum go: `recipe + parts` is a list in which each part works, and means what was given.

Each kind of part has its `Place`, and a part goes there, but not before what it reads, nor after what reads it. Of the
parts that are added, one that reads what another makes, or would read it if it came later, stays on the side of it on
which it was given. From that follows:

* A stat goes to the front with a change of the gradient that is given after it, and sees the gradient as it came; it
  stays if a part between the two reads it, as it then goes with that one.
* A number that an early part reads, such as the recipe's own count of steps, moves forward. A part that reads what
  cannot move, such as an average of gradients, waits for it.
* A gate comes before everything that remembers, but for what it reads, and for numbers given before it that count what
  it counts. A change of the gradient that its totals see, and that needs no memory, stays before it.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, auto
from itertools import combinations

from .part import RESERVED, ContractError, Part

__all__ = ['Place', 'placed']

CHANGES = 'transform', 'step'           # kinds that keep their places, in whatever order they were given
NAMED = 'stat', 'scalar', 'total'       # kinds whose result has a name of its own


class Place(IntEnum):
    "The places of a list of parts, from its beginning to its end."
    GATES = auto()        # may this step happen? With what that depends on
    NUMBERS = auto()      # counts, and numbers made of them
    GRADIENT = auto()     # changes of the gradient
    RULE = auto()         # the recipe's own parts; stats and steps that are added
    UPDATE = auto()       # changes of the update, which do not mean decay
    DECAY = auto()        # decay that reads nothing but the parameter
    SEEING_DECAY = auto() # steps, such as a decay, that read the update
    DECAYED = auto()      # changes of the update that mean decay too
    WEIGHTS = auto()      # steps that read the new parameter, or a stat of it; and these stats
    AVERAGES = auto()     # stats of the new parameter that no step reads


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
    "A recipe's own parts, and new ones. Parts are known by their index among `parts`, as one may stand there twice."
    def __init__(self, own: Sequence[Part], new: Sequence[Part]):
        self.parts, self.old = [*own, *new], len(own)
        self.all = range(len(self.parts))
        self.reads = [_reads(p) for p in self.parts]
        self.first_step = next((i for i in self.all if self.parts[i].kind == 'step'), -1)
        self.late, self.asked = self._late(), self._asked()
        self.place = [self._own_place(i) for i in self.all]
        self.before = [{i for i in self.all if i != j and self._must_precede(i, j)} for j in self.all]
        pairs = combinations(self.all[self.old:], 2)
        for i, j in sorted(pairs, key=lambda pair: self.parts[pair[1]].kind != 'gate'):  # what a gate needs, first
            if self._was_meant(i, j) and j not in self._all_before(i): self.before[j].add(i)
        self._pull_forward()

    def in_order(self) -> list[Part]:
        "Always the part whose place comes first, of those that need not wait for another."
        todo, order = [*self.all], list[int]()
        while todo:
            free = [i for i in todo if not self.before[i] & {*todo}]
            if not free: raise self._no_order(todo)
            order.append(min(free, key=self.place.__getitem__))
            todo.remove(order[-1])
        self._check_changes_something(order)
        return [self.parts[i] for i in order]

    # -- places ----------------------------------------------------------------------------------------------

    def _late(self) -> set[str]:
        "The new parameter, and the stats of it."
        late = {'new_param'}
        while more := {p.out for p, reads in zip(self.parts, self.reads) if p.kind == 'stat' and reads & late} - late:
            late |= more
        return late

    def _asked(self) -> set[str]:
        "What transforms and steps read, directly or through stats."
        asked = {*()}.union(*(r for p, r in zip(self.parts, self.reads) if p.kind in CHANGES))
        while more := {*()}.union(*(r for p, r in zip(self.parts, self.reads) if p.out in asked)) - asked:
            asked |= more
        return asked

    def _own_place(self, i: int) -> Place:
        "Where its kind goes, whatever the order."
        p, reads = self.parts[i], self.reads[i]
        if reads & self.late: return Place.AVERAGES if p.kind == 'stat' and p.out not in self.asked else Place.WEIGHTS
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
        "What comes before a part goes to its place: new parts, but changes only to a gate's; and the recipe's numbers."
        numbers, moved = {i for i in range(self.old) if self.parts[i].is_number}, True
        while moved:
            moved = False
            for j, to in enumerate(self.place):
                together = numbers if numbers & self.before[j] and to > Place.GATES else set[int]()
                for i in self.before[j] | together:
                    new = i >= self.old and (self.parts[i].kind not in CHANGES or to == Place.GATES)
                    if (new or i in numbers) and to < self.place[i]: self.place[i], moved = to, True

    # -- order -----------------------------------------------------------------------------------------------

    def _must_precede(self, i: int, j: int) -> bool:
        "Does part j need what part i makes, or would the recipe be another if it came first?"
        a, b = self.parts[i], self.parts[j]
        if max(i, j) < self.old: return i < j and (self._are_tied(i, j) or {a.kind, b.kind} == {'gate', 'stat'})
        if a.kind in NAMED and a.out in self.reads[j] or i == self.first_step and 'update' in self.reads[j]: return True
        if i < self.old and _totals(a) & _totals(b): return True  # it is taken where the recipe takes it
        counts = b.out in self.reads[i] or self._counts_for(j, i)
        return a.kind == 'gate' and b.kind == 'stat' and not counts  # which a gate stops

    def _was_meant(self, i: int, j: int) -> bool:
        "Of two new parts in the order in which they were given: would another order mean another thing?"
        a, b = self.parts[i], self.parts[j]
        if b.kind == 'gate': return self._counts_for(i, j) or self._is_seen(i, j)
        if not self._are_tied(i, j) or self.place[i] >= Place.WEIGHTS: return False
        if a.kind in CHANGES and b.kind in CHANGES: return self.place[i] == self.place[j]
        return a.kind not in NAMED or not self._is_used(i, j)

    def _are_tied(self, i: int, j: int) -> bool:
        "Does one read what the other makes?"
        return self.parts[i].out in self.reads[j] or self.parts[j].out in self.reads[i]

    def _is_used(self, i: int, until: int) -> bool:
        "Does a change that was given after part i, and before another, read what it makes, maybe through others?"
        names = {self.parts[i].out, f'prev_{self.parts[i].out}'}
        return any(names & self.reads[k] and (self.parts[k].kind not in NAMED or self._is_used(k, until))
                   for k in range(i + 1, until))

    def _counts_for(self, i: int, gate: int) -> bool:
        "Is a stat a number that was given before a gate, and that the gate reads, or that reads what the gate reads?"
        p, shared = self.parts[i], self.reads[gate] & (self.reads[i] | {f'prev_{self.parts[i].out}'}) - {*RESERVED}
        return self.old <= i < gate and p.kind == 'stat' and p.is_number and bool(shared)

    def _is_seen(self, i: int, gate: int) -> bool:
        "Is it a change of the gradient that a gate's totals see, and that needs nothing which the gate stops?"
        if self.parts[i].kind != 'transform' or self.parts[i].out not in self.reads[gate]: return False
        return not any(self.parts[k].kind == 'stat' for k in self._all_before(i) - self._all_before(gate))

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
        p, q = next(((p, q) for p, q in combinations(parts[::-1], 2) if _totals(p) & _totals(q)), (parts[0], parts[0]))
        kept = [f'`prev_{p.out}`, its value before this step' for p in parts if p.kind == 'stat']
        what = _own_total(p, q) if p is not q else f'let one read {[*kept, "less"][0]}'
        names = [f'`{p.label}`' for p in parts]
        return ContractError(f'{", ".join(names[:-1])} and {names[-1]} need each other, so none can come first: {what}')

    def _check_changes_something(self, order: Sequence[int]) -> None:
        "A change of the gradient that had to wait must come before a part that reads the gradient."
        for at, i in enumerate(order):
            p = self.parts[i]
            if i < self.old or p.out != 'grad' or not self.before[i]: continue
            if any('grad' in self.reads[k] for k in order[at + 1:]): continue
            q = self.parts[max(self.before[i], key=order.index)]
            if q.kind == 'stat' and q.out in self.reads[i]: what = f'read `prev_{q.out}`, its value before this step'
            elif _totals(p) & _totals(q):  what = _own_total(p, q)
            elif 'update' in self.reads[i]: what = 'keep the update in a stat, and read `prev_` and the name of that'
            else: what = f'give `{p.label}` before it'
            raise ContractError(f'`{p.label}` changes `grad`, and would stand after `{q.label}`, where no part reads '
                                f'`grad` any more: {what}')


def _own_total(p: Part, q: Part) -> str:
    "The advice for a part that has to take a total before another takes it."
    shared = min(t.out for t in _totals(p) & _totals(q))
    return f'give one its own total, `{p.label}.rename({shared}=...)`'


def _reads(p: Part) -> set[str]:
    "What a part reads, directly or through its scalars. Who reads the new parameter reads the update."
    names = {*p.reads}.union(*(_reads(link) for link in p.links.values()))
    return names | {'update'} if 'new_param' in names else names


def _totals(p: Part) -> set[Part]:
    return {p} if p.kind == 'total' else {*()}.union(*(_totals(link) for link in p.links.values()))


def _is_decay(p: Part) -> bool: return p.kind == 'step' and {*p.args} <= {'param'}
