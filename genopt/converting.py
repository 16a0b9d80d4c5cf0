"""A parameter's state in the formats of its group, whatever format it came in.

A state tells its own format: `grad_avg.scale` stands beside codes, and `param.rest` beside a weight
of 16 bits. What is kept as it is here stays as it is, bit for bit.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .formats import DRAWN, STATES, Draw, Format, Split, are_random, beside, kept_beside
from .group import Group
from .spread import first_of, whole
from .storage import dtype_of

__all__ = ['REST', 'converted', 'in_rows', 'is_beside', 'like_seen', 'seen', 'stored', 'tensors_in',
           'weight']

REST = beside('param', 'rest')


def tensors_in(group: Group, p: Any) -> list[str]:
    "The names of all tensors in a parameter's state: its stats, and what is kept beside."
    more = [beside(k, what) for k, f in group.formats(p).items() for what in f.besides]
    return [*group.composition.tensor_stats, *more]


def is_beside(name: Any, entry: Mapping[str, Any]) -> bool:
    "True for what a format keeps beside a tensor. Other entries belong to stats, or to others."
    first, _, what = str(name).rpartition('.')
    return name in (REST, DRAWN) or first in entry and any(what in f.besides for f in _formats())


def stored(name: str, value: Any, p: Any, group: Group) -> dict[str, Any]:
    "A stat as a group keeps it, and what is kept beside it."
    form, storage = group.formats(p).get(name), group.storage
    if form is None:
        stat = group.composition.stats[name]
        dtype = dtype_of(storage, stat, value, p) if storage else value.dtype
        return {name: value if value.dtype == dtype else value.to(dtype)}
    like = torch.empty((0,), dtype=form.dtype(value.dtype), device='cpu')
    return {beside(name, k): x for k, x in _in_parts(form.kept, value, like).items()}


def seen(entry: Mapping[str, Any], p: Any) -> dict[str, Any]:
    "A state as parts see it, but for what is kept beside the weight itself."
    res = {k: v for k, v in entry.items() if not is_beside(k, entry)}
    for k in res:
        if form := _format_in(entry, k): res[k] = _value(form, k, entry)
    return res


def like_seen(entry: Mapping[str, Any], name: str) -> Any:
    "A stat as parts see it, but without values if it has a format."
    form, value = _format_in(entry, name), entry[name]
    return value if form is None else torch.empty(value.shape, device='meta')


def weight(entry: Mapping[str, Any], p: Any, group: Group) -> Any:
    "A parameter as parts see it."
    form = group.formats(p).get('param')
    there = {**entry, 'param': p.detach()}
    if form is None or not all(beside('param', k) in entry for k in form.besides): return p.detach()
    return _value(form, 'param', there)


def converted(entry: Mapping[str, Any], p: Any, group: Group) -> tuple[dict[str, Any], list[str]]:
    """A state in the formats that it has here, and the names of what came in another one.

    Raises ValueError for what no format keeps."""
    if wrong := _wrong(entry, p, group): raise ValueError(wrong)
    formats, changed, res = group.formats(p), list[str](), dict[str, Any]()
    for k, v in entry.items():
        if is_beside(k, entry): continue
        res[k] = v
        if k not in group.composition.tensor_stats or not isinstance(v, Tensor): continue
        theirs, ours = _format_in(entry, k), formats.get(k)
        if theirs == ours and (theirs or not group.storage):
            res |= {beside(k, what): entry[beside(k, what)]
                    for what in (theirs.besides if theirs else ())}
            continue
        value = _value(theirs, k, entry) if theirs else v
        new = stored(k, value, p, group)
        if theirs or ours or new[k].dtype != value.dtype: changed.append(k)
        res |= new
    form = formats.get('param')
    if DRAWN in entry and are_random(formats): res[DRAWN] = entry[DRAWN]
    res |= _rest(entry, form, changed)
    return res, changed


def _rest(entry: Mapping[str, Any], ours: Format | None, changed: list[str]) -> dict[str, Any]:
    "What is kept beside the weight: it stays, or is cut to fewer bits, or is no longer there."
    if (rest := entry.get(REST)) is None: return {}
    wanted = dict(ours.besides).get('rest') if ours else None
    if rest.dtype == wanted: return {REST: rest}
    changed.append('param')
    if isinstance(ours, Split) and rest.dtype == torch.int8: return {REST: rest.short() * 256}
    if isinstance(ours, Split) and rest.dtype == torch.int16:
        return {REST: ((rest.int() + 128) // 256).clamp(max=127).to(torch.int8)}
    return {}


def _wrong(entry: Mapping[str, Any], p: Any, group: Group) -> str:
    "What is wrong with codes, or with what is kept beside a tensor; or ''."
    for k in group.composition.tensor_stats:
        form = _format_in(entry, k)
        more = [what for f in _formats() for what in f.besides if beside(k, what) in entry]
        if more and form is None or form and entry[k].shape != p.shape:
            said = f' has a {more[0]} in it, and' if more else ''
            return f'`{k}` of {group.describe(p)}{said} is not codes of shape {tuple(p.shape)}'
        if form is None: continue
        for what in form.besides:
            name, wanted = beside(k, what), form.shape(what, entry[k])
            if isinstance(x := entry[name], Tensor) and tuple(x.shape) == wanted: continue
            return f'`{name}` of {group.describe(p)} is not a tensor of shape {wanted} in it'
    rest = entry.get(REST)
    if rest is None or isinstance(rest, Tensor) and rest.shape == p.shape: return ''
    return f'`{REST}` of {group.describe(p)} is not a tensor of shape {tuple(p.shape)} in it'


def _formats() -> Iterator[Format]:
    for pair in STATES.values(): yield from pair


def _format_in(entry: Mapping[str, Any], name: str) -> Format | None:
    "The format in which a stat came."
    if not isinstance(x := entry.get(name), Tensor): return None
    there = [f for f in _formats() if f.dtype(torch.float32) == x.dtype
             and all(beside(name, k) in entry for k in f.besides)]
    return max(there, key=lambda f: len(f.besides), default=None)


def _value(form: Format, name: str, tensors: Mapping[str, Any]) -> Any:
    found = kept_beside(name, form, tensors)
    if not hasattr(found[''], 'to_local'): return form.value(found)
    if all(map(in_rows, found.values())) or not form.in_blocks:
        return _like(form.value({k: x.to_local() for k, x in found.items()}), found[''])
    return form.value({k: whole(x) for k, x in found.items()})


def in_rows(x: Any) -> bool:
    "True for a sharded tensor of which each process has some rows, or all of it."
    from torch.distributed.tensor import Shard
    return all(q.is_replicate() or type(q) is Shard and q.dim == 0 for q in x.placements)


def _in_parts(kept: Any, value: Any, like: Tensor) -> dict[str, Any]:
    """What a format keeps: of a tensor that is sharded in rows, of each process's part, sharded as
    that is. Of another one it is whole, as blocks go along rows."""
    if not hasattr(value, 'to_local'): return kept(value, like, Draw(0))  # type: ignore[no-any-return]
    if not in_rows(value): return kept(whole(value), like, Draw(0))  # type: ignore[no-any-return]
    found = kept(value.to_local(), like, Draw(0, first_of(value)))
    return {k: _like(x, value) for k, x in found.items()}


def _like(local: Tensor, x: Any) -> Any:
    "A part of a tensor that is sharded as another one is: of its shape, or with as many rows."
    from torch.distributed.tensor import DTensor
    shape = x.shape if local.shape == x.to_local().shape else x.shape[:1] + local.shape[1:]
    stride = torch.empty(shape, device='meta').stride()
    return DTensor.from_local(local, x.device_mesh, x.placements, shape=shape, stride=stride)
