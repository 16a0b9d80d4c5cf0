"Parameters in every form that people give them in, as groups; and their names in errors."
from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = ['Params', 'as_groups', 'named', 'check_params', 'describe', 'several']

Params: TypeAlias = (Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]] |
                     Iterable[Iterable[Tensor]])


def as_groups(params: Any) -> list[dict[str, Any]]:
    """`params` as a list of dicts, one for each group.

    Tensors, or (name, tensor) pairs, are one group; of dicts or lists, each is a group. Raises
    TypeError for anything else, and ValueError if there are no parameters.
    """
    if isinstance(params, Tensor):
        raise TypeError('params is one tensor: give a list of them, [tensor]')
    if _is_module(params):
        raise TypeError(f'params is a module, {type(params).__name__}: give its parameters()')
    if isinstance(params, Mapping):
        raise TypeError('params is a dict: give a list of parameters, or of dicts with `params`')
    if isinstance(params, (set, frozenset)):
        raise TypeError('params is a set, which has no order: give a list')
    if not isinstance(params, Iterable):
        raise TypeError(f'params is of type {type(params).__name__}: give model.parameters(), for '
                        'example')
    items = list(params)
    if items and isinstance(items[0], Mapping):
        if others := [type(g).__name__ for g in items if not isinstance(g, Mapping)]:
            raise TypeError(f'the first group is a dict, and a later one is a {others[0]}')
        groups = [dict(g) for g in items]
    elif items and _is_list(items[0]): groups = [{'params': g} for g in items]
    else: groups = [{'params': items}]
    for g in groups:
        params = g.get('params')
        g['params'] = list(params) if _is_list(params) else params  # a generator is used up once
    empty = [i for i, g in enumerate(groups) if g['params'] == []]
    if len(empty) == len(groups):
        raise ValueError('optimizer got an empty parameter list: the model has no parameters, '
                         'or the generator is used up')
    if empty and not isinstance(items[0], Mapping):
        raise ValueError(f'group {empty[0]} is an empty list: leave it out, or correct the '
                         'splitter that found no parameters for it')
    return groups


def _is_pair(o: Any) -> bool: return isinstance(o, tuple) and len(o) == 2 and isinstance(o[0], str)


def _is_list(o: Any) -> bool:
    one = isinstance(o, (Tensor, str, set, Mapping)) or _is_module(o) or _is_pair(o)
    return isinstance(o, Iterable) and not one


def _is_module(o: Any) -> bool:
    return isinstance(o, torch.nn.Module) and not isinstance(o, torch.nn.ParameterList)


def named(group: Mapping[str, Any], index: int) -> tuple[list[str], list[Any]]:
    "The names (maybe none) and tensors of the group at `index`. Raises TypeError or ValueError."
    params = group.get('params')
    if isinstance(params, Tensor) or _is_pair(params): params = [params]
    if not _is_list(params):
        raise TypeError(f'group {index}: its `params` are of type {type(params).__name__}: give a '
                        'list of tensors')
    items = list(params)  # type: ignore[arg-type]
    names = [o[0] for o in items if _is_pair(o)]
    if names and len(names) < len(items):
        raise ValueError(f'group {index}: some of its parameters have names and some do not')
    names = names or list(group.get('param_names', ()))
    if names and len(names) != len(items):
        raise ValueError(f'group {index} has {len(names)} `param_names` for {len(items)} '
                         'parameters')
    return names, [o[1] if _is_pair(o) else o for o in items]


def several(params: Any) -> dict[Any, Any]:
    "One tensor or name, or several of a module, a dict or a list: each under a key of its own."
    if isinstance(params, torch.nn.Module): return dict(params.named_parameters())
    if isinstance(params, Mapping): return dict(params)
    if isinstance(params, (Tensor, str)) or not isinstance(params, Iterable): return {0: params}
    return dict(enumerate(params))


def check_params(
    params: Sequence[Any],     # Of one group
    group: int,                # Its index
    names: Sequence[str] | None,
    seen: set[Any]             # The parameters that are there already; these are added
) -> None:
    "Raises TypeError or ValueError for a parameter that cannot be optimized."
    for i, p in enumerate(params):
        if wrong := _what_is_wrong(p, seen):
            raise type(wrong)(f'{describe(p, i, group, names)}{wrong}')
        seen.add(p)


def _what_is_wrong(p: Any, seen: Container[Any]) -> Exception | None:
    "The error, without its subject, if `p` cannot be optimized."
    if not isinstance(p, Tensor):
        advice = ': give its parameters()' if isinstance(p, torch.nn.Module) else ''
        return TypeError(f': an optimizer takes tensors, and this is a {type(p).__name__}{advice}')
    if not (p.is_leaf or p.retains_grad):
        return ValueError(' can\'t be optimized, as it is a non-leaf tensor, computed from others: '
                          'give those, or its detach()')
    if p.layout != torch.strided:
        return ValueError(f' is of layout {p.layout}: a parameter must be dense')
    if p in seen:
        return ValueError(' is given twice: some parameters appear in more than one parameter '
                          'group, or place')
    return None


def describe(p: Any, i: int, group: int, names: Sequence[str] | None) -> str:
    "Parameter `i` of a group in errors: its name or its place, its shape and its dtype."
    name = f'`{names[i]}`' if names else f'parameter {i} of group {group}'
    if not isinstance(p, Tensor): return name
    return f'{name} (shape {tuple(p.shape)}, {str(p.dtype).removeprefix("torch.")})'
