"""The places of parts in a sum: in the list that `recipe + parts` makes, each part has its effect.

Each kind of part has its `Place`. A part goes there, but never before a part whose result it reads,
or after a part that reads its own. New parts of which one reads the other's result keep the order
in which they were given. It follows that

* a stat that is given before a change of the gradient moves to the front with it, and sees the
  gradient as it came; unless a part between the two reads the stat, and so it belongs to that one;
* a number that an early part reads, such as the recipe's count of steps, moves forward. A part that
  reads something immovable, such as an average of gradients, waits for it;
* a gate comes before everything that remembers, except for the stats that it reads, and for two
  kinds that were given before it: numbers that only it reads, and stats that are only read by parts
  given behind it, as they gather what it waits for. A change of the gradient that its totals see
  stays before it, if that change needs no memory. So does what was given before it and reads the
  number that opens it, as SAM's climb does: it is the first half of what the gate divides;
* a sum of steps from which a part makes the weights to evaluate, as Schedule-Free's z, comes after
  all changes of the update, though not after what moves the new weights, as lookahead does.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations

from .contract import ContractError
from .kinds import Evaluation, Place, Stat, Step, Transform
from .links import Links, totals
from .part import Part

__all__ = ['placed']


def placed(parts: Sequence[Part], extra: Iterable[Part]) -> list[Part]:
    """A recipe's parts and those that are added, in order. Raises ContractError if no order works.

    Parts that the recipe has already are left out. A part with a hyperparameter for a `switch`
    replaces those with the same one.
    """
    extra = tuple(extra)
    switches = {p.replaces: p for p in extra if p.replaces}
    own = [p for p in parts if switches.get(p.replaces, p) == p]
    new = [p for p in dict.fromkeys(extra) if p not in parts
           and switches.get(p.replaces, p) == p]
    return _Sum(own, new).in_order() if new else own


class _Sum(Links):
    "A recipe's own parts and new ones."
    def __init__(self, own: Sequence[Part], new: Sequence[Part]):
        super().__init__([*own, *new])
        self.old = len(own)
        self.place = [self._own_place(i) for i in self.all]
        steps = self.of_kind(Step)
        self.first_step = min(steps, key=self.place.__getitem__, default=-1)
        evaluated = {n for p in self.parts if isinstance(p, Evaluation) for n in p.reads}
        self.bases = {i for i in self.stats  # they take the steps of the rule
                      if self.parts[i].out in evaluated and 'update' in self.reads[i]}
        self.before = [set[int]() for _ in self.all]  # for each part, those that must come first

    def in_order(self) -> list[Part]:
        "Takes, again and again, the part with the first place of those that need not wait."
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

    # -- places ------------------------------------------------------------------------------------

    def _own_place(self, i: int) -> int:
        "The place of a part for itself, before others pull it forward."
        p, reads = self.parts[i], self.reads[i]
        if any(self._is_first_half(i, gate) for gate in self.gates): return Place.GATES
        if reads & self.late:
            return Place.AVERAGES if i in self.stats and p.out not in self.needed else Place.WEIGHTS
        if i >= self.old or p.place in (Place.GATES, Place.DECAY, Place.DECAYED): return p.place
        after_decay = any(q.place == Place.DECAY for q in self.parts[:i])
        return Place.DECAYED if 'update' in reads and after_decay else Place.RULE

    def _pull_forward(self) -> None:
        """Moves parts to the place of a part that must come after them.

        New parts move, though changes only to a gate; and so do the recipe's numbers.
        """
        numbers, moved = {i for i in range(self.old) if self.parts[i].is_number}, True
        while moved:
            moved = False
            for j, to in enumerate(self.place):
                together = numbers if numbers & self.before[j] and to > Place.GATES else set[int]()
                for i in self.before[j] | together:
                    is_new = i >= self.old and (i not in self.changes or to == Place.GATES)
                    if (is_new or i in numbers) and to < self.place[i]:
                        self.place[i], moved = to, True

    # -- order -------------------------------------------------------------------------------------

    def _find_what_comes_before(self) -> None:
        """Fills `before`: by need, then by gates, and last by the order in which parts were given.

        That order decides only where the others leave a choice.
        """
        for i, j in permutations(self.all, 2):
            if self._must_precede(i, j): self.before[j].add(i)
        for gate in self.gates:
            self.before[gate] |= {i for i in range(self.old, gate) if self._is_unstopped(i, gate)
                                  or self._is_gathered(i, gate) or self._is_first_half(i, gate)}
        for gate in sorted(self.gates, key=self._turn):
            for i in {*self.stats} - self._all_before(gate):
                if max(i, gate) >= self.old: self.before[i].add(gate)
        for i, j in combinations(self.all[self.old:], 2):
            if self._was_meant(i, j) and j not in self._all_before(i): self.before[j].add(i)
        for gate in self.gates:
            self.before[gate] |= {i for i in range(self.old, gate) if self._is_seen(i, gate)}

    def _must_precede(self, i: int, j: int) -> bool:
        "True if part j needs the result of part i, or would change the recipe if it came first."
        a, b = self.parts[i], self.parts[j]
        if max(i, j) < self.old:
            stops = i in self.gates and j in self.stats or i in self.stats and j in self.gates
            return i < j and (self.are_tied(i, j) or stops)
        if i == self.first_step and 'update' in self.reads[j]: return True
        if i < self.old and totals(a) & totals(b): return True  # taken where the recipe takes it
        if j in self.bases and self._is_of_the_rule(i) and not self.names(j) & self.reads[i]:
            return True
        return i not in self.changes and a.out in self.reads[j]

    def _turn(self, gate: int) -> int:
        "A new gate comes before one of the recipe's that tensors gather for, else after it."
        if gate >= self.old: return 1
        return 2 * any(i < gate and not self.parts[i].is_number for i in self.stats)

    def _is_of_the_rule(self, i: int) -> bool:
        "True if part i changes the update, and not the weights that come of it."
        return self.parts[i].out == 'update' and (i < self.old or self.place[i] < Place.WEIGHTS)

    def _was_meant(self, i: int, j: int) -> bool:
        "True if two new parts mean something else in another order than the one given."
        if not self.are_tied(i, j) or j in self.gates: return False
        if self.place[i] >= Place.WEIGHTS: return False
        if i in self.changes: return j not in self.changes or self.place[i] == self.place[j]
        is_read = bool(self.names(i) & self.reads[j])
        return i in self.gates or is_read or not self._is_used(i, j)

    def _is_unstopped(self, i: int, gate: int) -> bool:
        "True for a number that changes even if the gate is closed, as nothing behind it reads it."
        is_number = i in self.stats and self.parts[i].is_number
        return is_number and not self._is_used(i, gate) and self._is_free(i, gate)

    def _is_gathered(self, i: int, gate: int) -> bool:
        "True for a stat that gathers what the gate waits for: it is only read behind it."
        readers = [k for k in self.all if k != i and self.names(i) & self.reads[k]]
        return i in self.stats and bool(readers) and min(readers) > gate and self._is_free(i, gate)

    def _is_first_half(self, i: int, gate: int) -> bool:
        "True for a new part, given before a new gate, that reads the number by which that opens."
        numbers = {self.parts[k].out for k in self.stats if self.parts[k].is_number}
        return self.old <= i < gate and bool(self.reads[i] & self.reads[gate] & numbers)

    def _is_seen(self, i: int, gate: int) -> bool:
        "True for a change of the gradient that the gate's totals see."
        p = self.parts[i]
        return isinstance(p, Transform) and p.out in self.reads[gate] and self._is_free(i, gate)

    def _is_free(self, i: int, gate: int) -> bool:
        "True if part i needs nothing that the gate stops."
        return not (self._all_before(i) - self._all_before(gate)) & {*self.stats}

    def _is_used(self, i: int, until: int) -> bool:
        """True if a change that was given between two parts reads the first one's result.

        If the second is a gate, so does any part that it stops.
        """
        readers = [k for k in range(i + 1, until) if self.names(i) & self.reads[k]]
        return any(k in self.changes or until in self.gates and not self.parts[k].is_number
                   or self._is_used(k, until) for k in readers)

    def _all_before(self, j: int) -> set[int]:
        "The parts that must come before part j, directly or through others."
        found, todo = set[int](), [j]
        while todo:
            more = self.before[todo.pop()] - found
            todo += more
            found |= more
        return found

    # -- where no order works ----------------------------------------------------------------------

    def _no_order(self, todo: Sequence[int]) -> ContractError:
        "The error for parts of which each has to come before another."
        ring = [todo[0]]
        while (i := min(self.before[ring[-1]] & {*todo})) not in ring: ring.append(i)
        parts = [self.parts[i] for i in sorted(ring[ring.index(i):])]
        names = [f'`{p.label}`' for p in parts]
        kept = [p.out for p in parts if isinstance(p, Stat)]
        advice = (f'let one read `prev_{kept[0]}`, its value before this step' if kept
                  else 'leave one out')
        for p, q in combinations(parts[::-1], 2):
            if shared := totals(p) & totals(q): advice = _own_total(p, shared)
        return ContractError(f'{", ".join(names[:-1])} and {names[-1]} need each other, so none '
                             f'can come first: {advice}')

    def _check_gates(self, order: Sequence[int]) -> None:
        "Raises ContractError for a new gate that comes after a stat that it should stop."
        stopped = ''
        for i in order:
            if i in self.gates and stopped and i >= self.old:
                raise self._too_late(i, order, 'is a gate',
                                     f'`{stopped}` has already remembered this step')
            gathered = any(self._is_gathered(i, gate) or self._is_first_half(i, gate)
                           for gate in self.gates)
            if i in self.stats and not (self.parts[i].is_number or gathered):
                stopped = stopped or self.parts[i].label

    def _check_changes(self, order: Sequence[int]) -> None:
        "Raises ContractError for a new change of the gradient that no later part would read."
        is_read, vain = False, -1
        for i in reversed(order):
            if is_read or self.parts[i].out != 'grad': is_read |= 'grad' in self.reads[i]
            elif i >= self.old and self.before[i]: vain = i
        if vain >= 0:
            raise self._too_late(vain, order, 'changes `grad`', 'no part reads `grad` any more')

    def _too_late(self, i: int, order: Sequence[int], what: str, why: str) -> ContractError:
        p, q = self.parts[i], self.parts[max(self.before[i], key=order.index)]
        if isinstance(q, Stat) and q.out in self.reads[i]:
            advice = f'read `prev_{q.out}`, its value before this step'
        elif shared := totals(p) & totals(q): advice = _own_total(p, shared)
        elif 'update' in self.reads[i]:
            advice = 'keep the update in a stat, and read `prev_` and the name of that'
        else: advice = f'give `{p.label}` before it'
        return ContractError(f'`{p.label}` {what}, and would stand after `{q.label}`, when {why}: '
                             + advice)


def _own_total(p: Part, shared: set[Part]) -> str:
    return f'give one its own total, {p.with_another(min(t.__name__ for t in shared))}'
