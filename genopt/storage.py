"""What a group says of how its numbers are kept: the state of its parameters, and their weights.

    >>> opt = genopt.AdamW(model.parameters(), state='8bit')
    >>> opt = genopt.AdamW(model.parameters(), state=dict(sqr_avg='8bit', grad_avg='bf16'))
    >>> opt = genopt.AdamW(model.bfloat16().parameters(), state='8bit', master=24)
    >>> opt = genopt.AdamW(model.bfloat16().parameters(), rounding='stochastic')
"""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .composition import Composition
from .contract import PartError
from .formats import STATES, Compensated, Format, Random, Split, block_of
from .hypers import did_you_mean
from .kinds import Stat
from .words import STORAGE

__all__ = ['NOTHING', 'Storage', 'check_names', 'check_storage_of', 'dtype_of', 'formats_for',
           'has_halves', 'storage_of', 'without_weights']

DTYPES = {'float32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
ROUNDINGS = 'nearest', 'stochastic', 'kahan'
MASTERS = 24, 32
SMALL = 4096  # elements of a tensor below which its state has no codes
HALVES = torch.bfloat16, torch.float16
PROBE = torch.arange(6., device='cpu').view(2, 3)  # a parameter, as no other shape is like its own


class Storage(NamedTuple):
    "What a group says."
    state: tuple[tuple[str, str], ...] = ()  # formats by stat; '' is the name of all others
    rounding: str = 'nearest'
    master: int | None = None
    seed: int = 0

    def of(self, stat: Stat) -> str:
        """The format of a stat, or ''.

        One that begins as the weights, such as an average of them, has one only if it is named:
        fewer bits would lose what steps add to it.
        """
        known = dict(self.state)
        return known.get(stat.out, '' if begins_as_weights(stat) else known.get('', ''))

    def __bool__(self) -> bool: return self != NOTHING

    def __str__(self) -> str:
        state = ', '.join(f'{k}: {v}' if k else v for k, v in self.state)
        said = [f'state {state}' * bool(state), f'{self.rounding} rounding' *
                (self.rounding != 'nearest'), f'{self.master}-bit weights' * bool(self.master)]
        return ', '.join(filter(None, said))


NOTHING = Storage()


def storage_of(group: Mapping[str, Any]) -> Storage:
    "What a group says. Raises TypeError or ValueError for what it cannot say."
    given = {k: v for k in STORAGE if (v := dict.get(group, k)) is not None}  # type: ignore[call-overload]
    if not given: return NOTHING
    state = given.get('state', ())
    items = tuple(state.items()) if isinstance(state, Mapping) else state and (('', state),)
    return _storage(items, *(given.get(k) for k in STORAGE[1:]))


@lru_cache
def _storage(state: tuple[tuple[str, str], ...], rounding: Any, master: Any, seed: Any) -> Storage:
    for k, v in state:
        if v in (known := (*DTYPES, *STATES)): continue
        what = f"state['{k}']" if k else 'state'
        raise ValueError(f'`{what}` = {v!r}: {did_you_mean(str(v), known)}')
    rounding = 'nearest' if rounding is None else rounding
    if rounding not in ROUNDINGS:
        raise ValueError(f'`rounding` = {rounding!r}: {did_you_mean(str(rounding), ROUNDINGS)}')
    if master not in (None, *MASTERS) or isinstance(master, bool):
        raise ValueError(f'`master` = {master!r}: give the bits of a whole weight, 24 or 32')
    if master and rounding != 'nearest':
        raise ValueError(f'`master` = {master} keeps what rounding={rounding!r} would round: give '
                         'one of them')
    if seed is not None and rounding != 'stochastic' and not any(v in STATES for _, v in state):
        raise ValueError("`rounding_seed` is for rounding='stochastic' and for state='8bit'")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise TypeError(f'`rounding_seed` = {seed!r}: give a whole number')
    return Storage(state, rounding, master, seed or 0)


def check_storage_of(group: Any) -> None:
    """Raises ValueError for a stat that the group's parts do not have, or have in another form.

    And for weights that are not of 16 bits, if that is asked for.
    """
    storage, c = group.storage, group.composition
    check_names(dict(storage.state), c.stats)
    for k, v in storage.state:
        if not k: continue
        it = f"`state['{k}']` = {v!r}"
        if c.stats[k].is_number: raise ValueError(f'{it}: `{k}` is a number, which stays one')
    params = [p for p in group['params'] if isinstance(p, Tensor)]
    for k, v in storage.state:
        for p in params if k else ():
            like = group.start(k, p)
            if has_its_shape(c.stats[k]) and not like.is_complex(): continue
            raise ValueError(f"`state['{k}']` = {v!r}: `{k}` of {group.describe(p)} is a tensor of "
                             f'shape {tuple(like.shape)}, and only real ones that always have the '
                             'shape of their parameter have a format: leave it out')
    if c.returns: _check_returned(group, params)
    wish = f'master={storage.master}' if storage.master else f'rounding={storage.rounding!r}'
    if wish == "rounding='nearest'": return
    takes = HALVES[:1] if storage.master else HALVES
    if any(p.dtype in takes for p in params) or not params: return
    names = ' or '.join(str(d).removeprefix('torch.') for d in takes)
    raise ValueError(f'{wish} is for weights of {names}, and {group.describe(params[0])} has '
                     f'{"more" if params[0].dtype not in HALVES else "others"}: leave it out')


def check_names(state: Any, stats: Collection[str]) -> None:
    "Raises ValueError for a format of a stat that is not there."
    for k, v in state.items() if isinstance(state, Mapping) else ():
        if not k or k in stats: continue
        raise ValueError(f"`state['{k}']` = {v!r}: {did_you_mean(k, stats)}")


def has_halves(group: Mapping[str, Any]) -> bool:
    "True if there are weights of 16 bits among its parameters, which may have names."
    params = group.get('params') if isinstance(group, Mapping) else None
    if not isinstance(params, (list, tuple)): params = ()
    found = [p[-1] if isinstance(p, tuple) else p for p in params]
    return any(getattr(p, 'dtype', None) in HALVES for p in found)


def without_weights(given: Mapping[str, Any]) -> dict[str, Any]:
    "What is said of state alone: for a group whose weights are of more bits than those of others."
    state = given.get('state')
    said = [*state.values()] if isinstance(state, Mapping) else [state]
    but = {'rounding', 'master'} if any(v in [*STATES] for v in said) else {
        'rounding', 'master', 'rounding_seed'}  # which codes need too
    return {k: v for k, v in given.items() if k not in but}


def _check_returned(group: Any, params: Sequence[Tensor]) -> None:
    "Raises ValueError if a part puts weights back from a stat that has not all of their bits."
    storage, c = group.storage, group.composition
    part = next(q for q in c.tensor_parts if q.out == 'param')
    for k in [n for n in part.reads if n in c.tensor_stats]:
        wish = storage.of(c.stats[k])
        others = ', '.join(f"{n}='8bit'" for n in c.tensor_stats if n != k)
        kept = DTYPES.get(wish)
        loses = wish in STATES or any(kept and torch.promote_types(kept, p.dtype) != kept
                                      for p in params)
        why = f'`{part.label}` puts the weights back from `{k}`, which must keep all of their bits'
        if loses: raise ValueError(f'`state` = {wish!r}: {why}: name the stats that it is for, as '
                                   f'in state=dict({others})')
        if storage.master or storage.rounding == 'kahan':
            said = f'master={storage.master}' if storage.master else "rounding='kahan'"
            raise ValueError(f'{said}: {why}, also those beside them: leave it out')


@lru_cache(maxsize=4096)
def formats_for(storage: Storage, composition: Composition, dtype: torch.dtype,
                shape: tuple[int, ...], is_cut: bool) -> dict[str, Format]:
    """The formats of a parameter and its stats, by name; without those that are just a dtype.

    `is_cut` is a parameter of which this process has a part.
    """
    res = dict[str, Format]()
    if storage.master and dtype == torch.bfloat16: res['param'] = Split(storage.master)
    elif storage.rounding == 'kahan' and dtype in HALVES: res['param'] = Compensated(dtype)
    elif storage.rounding == 'stochastic' and dtype in HALVES: res['param'] = Random()
    for k in composition.tensor_stats:
        stat = composition.stats[k]
        forms = STATES.get(storage.of(stat))
        if forms and has_codes(stat, dtype, shape, is_cut): res[k] = forms[stat.nonnegative]
    return res


def has_codes(stat: Stat, dtype: torch.dtype, shape: tuple[int, ...], is_cut: bool) -> bool:
    "Can a stat have codes? It must have the shape of a parameter that is not small."
    if prod(shape) < SMALL or dtype.is_complex or not has_its_shape(stat): return False
    return not is_cut or len(shape) > 1 and prod(shape[1:]) % block_of(shape) == 0


@lru_cache(maxsize=4096)
def has_its_shape(stat: Stat) -> bool:
    "True if it has the shape of its parameter, whatever that is."
    first = _first(stat)
    return not stat.whole and not stat.needs if first is None else first.shape == PROBE.shape


def begins_as_weights(stat: Stat) -> bool:
    "True if its first value is that of the parameter."
    return callable(stat.init) and (first := _first(stat)) is not None and torch.equal(first, PROBE)


@lru_cache(maxsize=4096)
def _first(stat: Stat) -> Tensor | None:
    "Its first value for `PROBE`, if that is all that it depends on."
    if stat.is_number or stat.init_hypers: return None
    try: return stat.start(PROBE)  # type: ignore[no-any-return]
    except PartError: return None


def dtype_of(storage: Storage, stat: Stat, now: Tensor, param: Tensor) -> torch.dtype:
    "The dtype of a stat without codes, which begins as `now`."
    wish = DTYPES.get(storage.of(stat))
    return wish if wish and has_its_shape(stat) and now.is_floating_point() else now.dtype
