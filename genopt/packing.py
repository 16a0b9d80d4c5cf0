"The form of checkpoints: how they are packed, opened, and refused."
from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from .contract import PartError
from .group import Group
from .state import begin, begun

__all__ = ['keys_in', 'opened', 'pack', 'refusal', 'refusing']


def pack(groups: Sequence[Group], state: MutableMapping[Any, Any]) -> dict[str, Any]:
    "A state_dict: see `Optimizer.state_dict`."
    index: dict[Tensor, int] = {}
    for group in groups:
        for p in group['params']:
            if p in state and begun(state[p]): begin(group, p, state)
            index.setdefault(p, len(index))
    entries: dict[Any, Any] = {index[p]: state[p] for p in state if p in index}
    entries = {i: entries.get(i, {}) for i in index.values()} if any(entries.values()) else {}
    entries |= {k: v for k, v in state.items() if not isinstance(k, Tensor)}
    return {'state': entries,
            'param_groups': [{**g, 'params': [index[p] for p in g['params']]} for g in groups]}


def refusal(why: str) -> ValueError: return ValueError(f'cannot load this state_dict: {why}')


@contextmanager
def refusing() -> Iterator[None]:
    "Turns any error inside into a ValueError: this state_dict cannot be loaded."
    try: yield
    except ValueError as e:
        if str(e).startswith('cannot load'): raise
        raise refusal(str(e)) from e
    except PartError as e: raise refusal(f'a step from it fails: {e}') from e
    except Exception as e: raise refusal(f'it is damaged ({type(e).__name__}: {e})') from e


def opened(saved: Mapping[str, Any]) -> tuple[dict[Any, Any], list[Any]]:
    "The state and the groups of a state_dict. Raises ValueError if it has none."
    if missing := {'state', 'param_groups'} - {*saved}:
        raise refusal(f'it has no {" and no ".join(map(repr, sorted(missing)))}')
    return dict(saved['state']), list(saved['param_groups'])


def keys_in(entries: Mapping[Any, Any], groups: Sequence[Mapping[str, Any]]) -> list[Any]:
    "What stands for each parameter, in order. Raises ValueError for another state in `entries`."
    keys = [k for g in groups for k in g['params']]
    if len({*keys}) < len(keys): raise refusal('it names a parameter twice')
    if extra := [k for k in entries if k not in keys and type(k) is int]:
        raise refusal(f'it has a state for `{extra[0]}`, which is in no group')
    return keys
