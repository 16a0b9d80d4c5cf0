"Edits of parameters: other elements, their gradient, and a state for what takes their place."
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .carrying import Edit, followed, rest_of
from .contract import MARKS
from .converting import REST
from .group import Group
from .hypers import did_you_mean
from .params import several
from .rows import Rows
from .state import begun

__all__ = ['edit_by', 'found', 'grad_of', 'put', 'state_for']


def found(params: Any, groups: Sequence[Group]) -> dict[Any, tuple[Group, Tensor]]:
    """Each parameter and its group, under the key that it has in `params`.

    Raises ValueError for one that is in no group, or there twice.
    """
    where, names, res = dict[Tensor, Group](), dict[str, Tensor](), dict[Any, Any]()
    for g in groups:
        where.update(dict.fromkeys(g['params'], g))
        names.update(zip(g.get('param_names', ()), g['params']))
    for key, p in several(params).items():
        if isinstance(p, str) and p not in names:
            advice = did_you_mean(p, names) if names else 'it was made without names'
            raise ValueError(f'no parameter of this optimizer is called {p!r}: {advice}')
        p = names[p] if isinstance(p, str) else p
        if not isinstance(p, Tensor) or p not in where:
            it = f'a tensor of shape {tuple(p.shape)}' if isinstance(p, Tensor) else repr(p)
            raise ValueError(f'{it} is not a parameter of this optimizer: give one that is in a '
                             'group, or `add` it')
        if any(p is q for _, q in res.values()):
            raise ValueError(f'{where[p].describe(p)} is given twice')
        res[key] = where[p], p
    return res


def check_plain(p: Tensor, it: str) -> None:
    "Raises ValueError for a parameter that has no elements of its own."
    if is_traceable_wrapper_subclass(p):
        raise ValueError(f'{it} is a {type(p.data).__name__}, which cannot be edited: do it before '
                         'the parameter is sharded or quantised')


def edit_by(how: Callable[[Tensor, Any], Any], group: Group, p: Tensor, key: Any,
            dim: int) -> Edit:
    "The edit of a parameter, by the rows that `how` makes of it."
    it = group.describe(p)
    check_plain(p, it)
    if not -p.dim() <= dim < p.dim():
        raise ValueError(f'{it} has no dimension {dim} along which it could be edited')
    try: rows = how(p, key)
    except (ValueError, TypeError) as error: raise type(error)(f'{it}: {error}') from None
    edit = edit_of(group, p, dim % p.dim(), rows)
    if group.view and (why := group.view.why_not(edit.new.shape)):
        raise ValueError(f'{it} would no longer fit {group.view}: {why}')
    return edit


def edit_of(group: Group, p: Tensor, dim: int, rows: Rows | Tensor) -> Edit:
    "The edit that keeps these rows, or appends them. Raises ValueError for those of another shape."
    if isinstance(rows, Rows):
        rows = Rows(rows.source, dim)
        return Edit(group, p, rows.take(p.detach(), [dim]), rows)
    if rows.dim() != p.dim() or any(n != m for d, (n, m) in enumerate(zip(rows.shape, p.shape))
                                    if d != dim):
        raise ValueError(f'{group.describe(p)} cannot take rows of shape {tuple(rows.shape)} along '
                         f'dimension {dim}: all other dimensions must be the same')
    appended = Rows.appended(p.shape[dim], rows.shape[dim], dim)
    whole = torch.cat([p.detach(), rows], dim)
    return Edit(group, p, appended.take(p.detach(), [dim], whole), appended)


def grad_of(edit: Edit) -> Tensor | None:
    "The gradient's rows; new ones are 0."
    grad, rows, dim = edit.param.grad, edit.rows, edit.rows.dim
    if grad is None: return None
    if grad.layout == torch.strided: return rows.take(grad, [dim], torch.zeros_like(edit.new))
    inner = dim - grad.sparse_dim()  # below 0 for a dimension that has indices
    if inner < 0 and not len(rows.new):
        return grad.index_select(dim, rows.source.to(grad.device))
    values = grad._values()
    if inner >= 0:
        shape = [len(values), *edit.new.shape[grad.sparse_dim():]]
        values = rows.take(values, [inner + 1], values.new_zeros(shape))
    return torch.sparse_coo_tensor(grad._indices(), values, edit.new.shape, check_invariants=False)


def put(p: Tensor, data: Tensor, grad: Tensor | None) -> None:
    """Gives a parameter other elements.

    A graph that is still alive, say that of the last loss, keeps the shape for which autograd
    expects gradients. It lets go of it when the dtype changes.
    """
    p.grad = None
    other = torch.float32 if p.dtype == torch.float64 else torch.float64
    p.data = torch.empty(0, dtype=other, device=p.device)
    p.data = data
    p.grad = grad


def state_for(group: Group, old: Tensor, new: Tensor, entry: Mapping[str, Any],
              how: tuple[Any, int, bool]) -> dict[str, Any]:
    "The state of a parameter, for another one that takes its place."
    rows, dim, fresh = how
    if fresh or not begun(entry): return {k: v for k, v in entry.items() if k in MARKS}
    for p in (old, new): check_plain(p, group.describe(old))
    if old.is_complex() and not new.is_complex():
        raise ValueError(f'{group.describe(old)} cannot hand its state to a real tensor, as it is '
                         'complex: say fresh=True, and it begins anew')
    if rows is not None: entry = _state_by_rows(group, old, new, entry, (rows, dim))
    elif new.shape != old.shape:
        raise ValueError(f'{group.describe(old)} cannot hand its state to a tensor of shape '
                         f'{tuple(new.shape)}: say fresh=True, and it begins anew, or give `rows`')
    elif REST in entry:
        entry = {**entry, REST: rest_of(new.detach(), old.detach(), entry[REST])}
    return followed(entry, group, new, new.device, None if new.dtype == old.dtype else new.dtype)


def _state_by_rows(group: Group, old: Tensor, new: Tensor, entry: Mapping[str, Any],
                   how: tuple[Any, int]) -> dict[str, Any]:
    rows, dim = how
    same = old.dim() == new.dim() and -old.dim() <= dim < old.dim()
    if not same or any(n != m for d, (n, m) in enumerate(zip(old.shape, new.shape))
                       if d != dim % old.dim()):
        raise ValueError(f'{group.describe(old)} and a tensor of shape {tuple(new.shape)} differ '
                         f'in more than their rows along dimension {dim}: say fresh=True, and the '
                         'state begins anew')
    dim %= old.dim()
    found = Rows.of(rows, old.shape[dim], dim, True, new.shape[dim])
    if len(found.source) != new.shape[dim]:
        raise ValueError(f'`rows` names {len(found.source)} rows, and the new tensor has '
                         f'{new.shape[dim]}')
    return Edit(group, old, new.detach(), found).state(entry)
