"""The links between parts: who reads whom, directly or through scalars, totals and tensors."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .kinds import Gate, Stat, Step, Total, Transform
from .part import Part

__all__ = ['Links', 'reads', 'totals', 'with_links']


def with_links(parts: Iterable[Part]) -> Iterator[Part]:
    "The parts, each after those on which it depends."
    for p in parts:
        yield from with_links(p.linked)
        yield p


def reads(p: Part) -> set[str]:
    "The names that a part reads, directly or through its scalars. `new_param` includes `update`."
    names = {name for q in with_links([p]) for name in q.reads}
    return names | {'update'} if 'new_param' in names else names


def totals(p: Part) -> set[Part]:
    "The totals that a part reads through its scalars, or is."
    if isinstance(p, Total): return {p}
    return {t for link in p.linked for t in totals(link)}


class Links:
    "Who reads whom in a list of parts. They are known by index, as one may be listed twice."
    def __init__(self, parts: Sequence[Part]):
        self.parts, self.all = parts, range(len(parts))
        self.reads = [reads(p) for p in parts]
        self.stats, self.gates = self.of_kind(Stat), self.of_kind(Gate)
        self.changes = self.of_kind(Transform, Step)
        self.late, self.needed = self._late(), self._needed()

    def of_kind(self, *kinds: type[Part]) -> list[int]:
        return [i for i in self.all if isinstance(self.parts[i], kinds)]

    def names(self, i: int) -> set[str]:
        "The names of the result of part i, now and before this step."
        return {self.parts[i].out, f'prev_{self.parts[i].out}'}

    def are_tied(self, i: int, j: int) -> bool:
        "True if one reads the other's result."
        return self.parts[i].out in self.reads[j] or self.parts[j].out in self.reads[i]

    def _late(self) -> set[str]:
        "The new parameter, and the stats of it."
        late = {'new_param'}
        while more := {self.parts[i].out for i in self.stats if self.reads[i] & late} - late:
            late |= more
        return late

    def _needed(self) -> set[str]:
        "The names that transforms and steps read, directly or through stats."
        needed = {name for i in self.changes for name in self.reads[i]}
        def through() -> set[str]:
            return {r for p, reads in zip(self.parts, self.reads) if p.out in needed for r in reads}
        while more := through() - needed: needed |= more
        return needed
