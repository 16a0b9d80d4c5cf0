"""How a parameter's state follows it, to another shape, device or dtype.

A stat has the rows of its parameter in those of its dimensions that grow with it: its `init` is
asked for larger parameters, and the shapes are compared. An average of gradients has them in the
same dimension; of Adafactor's two, one has the rows of a matrix and one its columns; a matrix of
inner products has them in two dimensions. A stat that has them nowhere, such as a count or a norm,
stays as it is. New rows begin as the `init` begins them. So does all but numbers when a parameter
loses its last elements, or gets its first ones.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .converting import REST, seen, stored
from .formats import DRAWN, are_random
from .group import Group
from .hypers import did_you_mean
from .kinds import Stat
from .pieces import like
from .rows import Rows, tensor_of
from .storage import dtype_of
from .twins import torchs_names

__all__ = ['Edit', 'followed', 'in_our_names', 'rest_of']


def in_our_names(entry: Mapping[str, Any], group: Group) -> dict[str, Any]:
    "A parameter's state, where others may have written torch's names of its stats."
    names = torchs_names(group.rule)
    return {names.get(k, k): v for k, v in entry.items()}


@dataclass(frozen=True)
class Edit:
    "Another shape of a parameter."
    group: Group
    param: Tensor  # As it was
    new: Tensor    # With its new elements
    rows: Rows

    def state(self,
        entry: Mapping[str, Any],     # The parameter's state
        given: Mapping[str, Any]={}   # For some of its names, what new rows begin with
    ) -> dict[str, Any]:
        "The state for the new shape. Raises ValueError if some of it cannot follow."
        kept, stats = in_our_names(entry, self.group), self.group.composition.stats
        entry = seen(kept, self.param)
        for k in given:
            if k in entry: continue
            if k not in stats: raise ValueError(f'`{k}` is not in the state of {self.it}: '
                                                + did_you_mean(k, [*stats, *entry]))
            entry[k] = self.group.start(k, self.param)  # it has not begun
        res = {k: self._follow(k, v, given) for k, v in entry.items()}
        return in_formats(res, self.new, self.group) | self._beside(kept)

    def _beside(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        "What stands beside the weight."
        stays = (REST, DRAWN) if are_random(self.group.formats(self.new)) else (REST,)
        res, dims = {k: kept[k] for k in stays if k in kept}, [self.rows.dim]
        if REST not in res: return res
        old = self.rows.take(self.param.detach(), dims, self.new)
        rest = self.rows.take(res[REST], dims, torch.zeros_like(self.new, dtype=res[REST].dtype))
        return res | {REST: rest_of(self.new, old, rest)}

    @property
    def it(self) -> str: return self.group.describe(self.param)

    @property
    def hypers(self) -> dict[str, Any]: return self.group.numbers()

    def _follow(self, name: str, value: Any, given: Mapping[str, Any]) -> Any:
        part = self.group.composition.stats.get(name)
        is_void = not (self.param.numel() and self.new.numel())
        if part and not part.is_number and is_void and name not in given:
            return self.group.start(name, self.new)  # an average over no elements is NaN
        dims = self._dims(name, value)
        if not dims and name in given:
            raise ValueError(f'`{name}` of {self.it} has no rows, so none can be given: leave it '
                             'out of `state`')
        if not dims: return self._fitting(part, name, value)
        if not len(self.rows.new): new = None
        elif name not in given:
            if part is None:
                raise ValueError(f'`{name}` in the state of {self.it} is kept by no part, so say '
                                 f'what it begins with in new rows, as in state={{{name!r}: 0}}')
            new = self.group.start(name, self.new)
        else: new = self._given(name, value, dims, given[name])
        return self._fitting(part, name, self.rows.take(value, dims, new))

    def _fitting(self, part: Stat | None, name: str, value: Any) -> Any:
        "`value`, if it has the shape that the new parameter's has. Raises ValueError."
        is_tensor = part and not part.is_number and isinstance(value, Tensor)
        if part and is_tensor and value.shape != self._like(part, self.new.shape).shape:
            raise self._cannot(name)
        return value

    def _dims(self, name: str, value: Any) -> tuple[int, ...]:
        "The dimensions of an entry of the state that have the parameter's rows."
        part, shape, dim = self.group.composition.stats.get(name), self.param.shape, self.rows.dim
        if not isinstance(value, Tensor) or part is not None and part.is_number: return ()
        if part is None or part.init is None: return (dim,) if value.shape == shape else ()
        if self.group.view:  # it may not fit another size
            if self._like(part, shape).shape == value.shape == shape: return (dim,)
            raise self._cannot(name)
        sizes = shape[dim], shape[dim] + 1, 2 * shape[dim] + 3
        found = [self._like(part, (*shape[:dim], n, *shape[dim + 1:])).shape for n in sizes]
        if found[0] != value.shape or len({*map(len, found)}) > 1: raise self._cannot(name)
        dims = [d for d, each in enumerate(zip(*found)) if len({*each}) > 1]
        if any(tuple(s[d] for s in found) != sizes for d in dims): raise self._cannot(name)
        return tuple(dims)

    def _given(self, name: str, old: Tensor, dims: tuple[int, ...], value: Any) -> Tensor:
        "A tensor of the new shape that has `value` in the new rows."
        places = self.rows.new.to(old.device)
        if len(dims) > 1: raise self._cannot(name)
        shape = [len(self.rows.source) if d in dims else n for d, n in enumerate(old.shape)]
        wanted = [len(places) if d in dims else n for d, n in enumerate(old.shape)]
        if callable(value): value = value(self.new.index_select(self.rows.dim, places))
        try: value = tensor_of(value, dtype=old.dtype, device=old.device)
        except ValueError as e: raise ValueError(f'`{name}` of {self.it}: {e}') from None
        try: value = value.expand(wanted)
        except RuntimeError:
            raise ValueError(f'`{name}` of {self.it} is given in the shape {tuple(value.shape)}, '
                             f'and its new rows have the shape {tuple(wanted)}') from None
        return old.new_empty(shape).index_copy(dims[0], places, value)

    def _like(self, part: Stat, shape: Any) -> Tensor:
        "A stat as it would begin for this shape."
        return like(part, shape, self.param.dtype, self.hypers, self.group.view)  # type: ignore[no-any-return]

    def _cannot(self, name: str) -> ValueError:
        return ValueError(f'`{name}` of {self.it} does not have one row for each row of the '
                          'parameter, so it cannot follow: '
                          f'del opt.state[param][{name!r}], and it begins anew')


def followed(
    entry: Mapping[str, Any],   # A parameter's state
    group: Group,
    param: Tensor,
    device: Any,                # Where to; None: it stays
    dtype: torch.dtype | None   # That the parameter has, or will have; None: it stays
) -> dict[str, Any]:
    """The state on a device, with the dtypes with which it would begin for a parameter of `dtype`.

    Numbers, such as counts, keep their dtype, and are on the CPU. Raises ValueError for complex
    state that would become real.
    """
    kept, stats = in_our_names(entry, group), group.composition.stats
    kind = dtype.to_complex() if dtype and param.is_complex() else dtype
    lies = {'placements': param.placements} if hasattr(param, 'placements') else {}
    new = SimpleNamespace(dtype=kind, shape=param.shape, **lies)
    res, formats = (seen(kept, param), group.formats(new)) if dtype else ({**kept}, {})
    for k, v in res.items():
        part = stats.get(k)
        if not isinstance(v, Tensor): continue
        if part.is_number if part else not v.dim():
            res[k] = v.cpu() if device else v
            continue
        to = dtype and v.dtype
        if k in formats: to = v.dtype
        elif part and kind:
            now = like(part, param.shape, kind, group.numbers(), group.view)
            to = dtype_of(group.storage, part, now, param)
        elif dtype and v.is_floating_point(): to = dtype
        if to and v.is_complex() and not to.is_complex:
            raise ValueError(f'`{k}` is complex, and its parameter of shape {tuple(param.shape)} '
                             f'is real: del opt.state[param][{k!r}], and it begins anew')
        res[k] = v.to(device=device or v.device, dtype=to or v.dtype)
    if not dtype: return res  # in the formats that it had
    res = in_formats(res, new, group)
    form = group.formats(param).get('param')
    if REST in kept and form and form.besides.get('rest') == kept[REST].dtype:
        res[REST] = kept[REST].to(device or kept[REST].device)
    if DRAWN in kept and are_random(group.formats(param)): res[DRAWN] = kept[DRAWN]
    return res


def rest_of(new: Tensor, old: Tensor, rest: Tensor) -> Tensor:
    "What stands beside a new weight: it stays where the weight is the same."
    rest = rest.to(new.device)
    if new.dtype != old.dtype: return torch.zeros_like(rest)
    return torch.where(old.to(new.device) == new, rest, 0)


def in_formats(seen: Mapping[str, Any], p: Any, group: Group) -> dict[str, Any]:
    "A state, but for what stands beside the weight, as a group keeps it."
    res = dict(seen)
    for k in group.composition.tensor_stats if group.storage else ():
        if k in res: res |= stored(k, res[k], p, group)
    return res
