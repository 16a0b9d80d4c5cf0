"""What rounding takes from a step: updates that are smaller than the distance between two weights.

    >>> p = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    >>> p.grad = torch.ones_like(p)
    >>> opt.add_param_group(dict(params=[p], lr=1e-3))
    >>> [(row.name, row.share) for row in opt.lost_updates().worst]
    [('parameter 0 of group 1', 1.0)]
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..contract import PartError
from ..dispatch import undrawn
from ..engines.layout import cohorts, single_blocks
from ..engines.sparse import dense_or_rows
from ..engines.totals import eager_total, totals
from ..engines.unpacked import unpacked
from ..engines.work import Work
from ..formats import Compensated, Draw, Format, Random, Split
from ..group import Group
from ..params import describe
from ..pieces import in_pieces, place_of
from ..storage import HALVES
from .report import Block, Code, Report, Sentences, Table

__all__ = ['Lost', 'LostUpdates', 'lost_updates', 'remedies', 'stored']

FEW, SMALL = .01, .1  # the share of elements, and the error, that are not worth a word


@dataclass
class Lost:
    "What one parameter's update loses. An update of 0 counts as none, and so does one of NaN."
    name: str
    group: int
    dtype: torch.dtype  # of the weight
    form: Format | None
    moved: int=0        # elements with an update
    lost: int=0         # of these, those that would stay where they are
    update_norm: float=0.
    error_norm: float=0.  # of what is stored, from the update
    instead: dict[str, float]=field(default_factory=dict)  # the same in other forms

    @property
    def share(self) -> float: return self.lost / self.moved if self.moved else 0.

    @property
    def error(self) -> float: return _ratio(self.error_norm, self.update_norm)

    @property
    def enough(self) -> list[str]:
        "What a group could say, so that the update is not lost."
        return [k for k, norm in self.instead.items() if _ratio(norm, self.update_norm) < SMALL]

    def add(self, start: Tensor, change: Tensor) -> None:
        "Looks at the update of some elements, as it is computed."
        there = start.isfinite() & change.isfinite()
        start, change = start[there], change[there]
        def norm_of(form: Format | None, dtype: torch.dtype) -> float:
            at = torch.promote_types(start.dtype, dtype)
            x, by = start.to(at), change.to(at)
            return _norm(stored(x + by, form, dtype) - x - by)
        moves = change != 0
        self.moved += int(moves.sum())
        self.lost += int((moves & (stored(start + change, self.form, self.dtype) == start)).sum())
        self.update_norm = math.hypot(self.update_norm, _norm(change))
        self.error_norm = math.hypot(self.error_norm, norm_of(self.form, self.dtype))
        for wish, (form, dtype) in remedies(self.dtype, self.form).items():
            self.instead[wish] = math.hypot(self.instead.get(wish, 0.), norm_of(form, dtype))


class LostUpdates(Report):
    """What rounding takes from the step that is due. `print` it, or leave it at a cell's end.

    `rows` are all parameters with a gradient, those that lose the largest share first. It shows the
    `worst`: those where more than 1 % of the elements do not move, and more than 10 % of the update
    is lost. `text()`, `markdown()` and `html()` are its forms.
    """
    def __init__(self, rows: Sequence[Lost]):
        self.rows = sorted(rows, key=lambda r: (-r.share, -r.error))
        self.worst = [r for r in self.rows if r.share > FEW and r.error > SMALL]

    def blocks(self) -> Iterator[Block]:
        if self.worst:
            yield Table([(Code(r.name), said(r.dtype, r.form), f'{100 * r.share:.3g} %',
                          f'{100 * r.error:.3g} %') for r in self.worst],
                        ('parameter', 'kept in', 'does not move', 'error'))
        yield Sentences([*self.sentences()])

    def sentences(self) -> Iterator[str]:
        "What to do, for each group; or that there is nothing to do."
        if not any(r.moved for r in self.rows):
            yield 'No parameter has an update in this step.'
            return
        if not self.worst: yield 'Rounding takes nothing from this step that matters.'
        for group in dict.fromkeys(r.group for r in self.worst):
            mine = [r for r in self.worst if r.group == group]
            found = [w for w in mine[0].instead if all(w in r.enough for r in mine)]
            yield (f'Group {group}: these updates are smaller than half the distance between '
                   f'two weights. {advice(found)}.')
        if self.worst and (others := len(self.rows) - len(self.worst)):
            said = 'parameters lose' if others > 1 else 'parameter loses'
            yield f'The other {said} nothing that matters.'
        for group in dict.fromkeys(r.group for r in self.rows if isinstance(r.form, Random)):
            yield (f"Group {group}, by rounding='stochastic': nothing is lost on average, though a "
                   'step may leave most weights where they are.')


def lost_updates(
    groups: Sequence[Group],
    due: Callable[[], Sequence[Work]]  # The work of the step that is due, which begins state
) -> LostUpdates:
    "Runs the parts, writes nothing, and looks at what would be stored."
    params = [(g, i, p) for g in groups for i, p in enumerate(g['params'])]
    rows = {place: Lost(describe(None, i, g.index, g.get('param_names')).strip('`'), g.index,
                        p.dtype.to_real(), g.formats(p).get('param'))
            for place, (g, i, p) in enumerate(params) if p.grad is not None}
    with undrawn([p for *_, p in params]):
        split = [dense_or_rows(in_pieces(w)) for w in due()]
        totals([work for work, _ in split], eager_total)
        for work in [*(w for w, _ in split), *(touched.work for _, touched in split if touched)]:
            for some in unpacked(work, keep=False): _look(some, rows)
    return LostUpdates([*rows.values()])


def _look(work: Work, rows: Mapping[int, Lost]) -> None:
    "Adds what each parameter's update loses to its row. A step that is not due has none."
    for cohort in cohorts(work):
        numbers = cohort.work.numbers()
        if not (happening := work.composition.happening(numbers)): continue
        for block in single_blocks(cohort):
            old = cohort.as_computed(block.tensors)
            given = {**numbers, **{k: old[k] for k in happening.fed}, 'place': block.place}
            state = {k: old[k] for k in happening.tensor_stats}
            try: change, new = happening.update(old['param'], old['grad'], state, given)
            except PartError as e: raise work.located(e, block.params[0]) from e.__cause__
            if change is not None: rows[place_of(block.place)].add(new.get('param', old['param']),
                                                                   change)


# -- what is stored --------------------------------------------------------------------------------

def stored(x: Tensor, form: Format | None, dtype: torch.dtype) -> Tensor:
    "What becomes of a weight that is kept; on average, if it is rounded at random."
    if isinstance(form, Random): return x
    if form is None: return x.to(dtype).to(x.dtype)
    return form.value(form.kept(x, x.new_empty(0, dtype=dtype), Draw(0)))


def remedies(dtype: torch.dtype, form: Format | None
             ) -> dict[str, tuple[Format | None, torch.dtype]]:
    "What could be said of weights of this dtype instead, and how they would be kept."
    res = dict[str, tuple[Format | None, torch.dtype]]()
    if dtype == torch.bfloat16: res |= {f'master={n}': (Split(n), dtype) for n in (24, 32)}
    if dtype in HALVES: res |= {"rounding='kahan'": (Compensated(dtype), dtype),
                                "rounding='stochastic'": (Random(), dtype),
                                'weights in float32': (None, torch.float32)}
    if dtype == torch.float32: res['weights in float64'] = None, torch.float64
    return {k: how for k, how in res.items() if how[0] is None or how[0] != form}


def said(dtype: torch.dtype, form: Format | None) -> str:
    "How a weight is kept, in a group's words."
    wishes = {how: k for k, how in remedies(dtype, None).items() if how[0]}
    return ', '.join(filter(None, (str(dtype).removeprefix('torch.'), wishes.get((form, dtype)))))


def advice(wishes: Sequence[str]) -> str:
    "What to give instead."
    if 'master=24' in wishes: wishes = [w for w in wishes if w != 'master=32']
    if not wishes: return 'Give a larger lr'
    *first, last = [*wishes, 'a larger lr']
    return f'Give {", ".join(first)} or {last}'


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, dtype=torch.float64))


def _ratio(x: float, y: float) -> float: return x / y if y else 0.
