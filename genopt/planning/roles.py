"""What each parameter is to its model: a hidden matrix, an embedding, the output head, ...

    >>> for found in roles(model): print(found.name, found.role.one, found.why)

It is told from the types of modules, from shapes, from who shares a tensor, and from what a model
says of itself. Names decide only where a module of an unknown type holds a tensor of its own.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ..policy import Role
from .layers import fused, is_conv, is_embedding, is_layer, is_linear, is_norm, is_turned
from .sight import Sight, prefixes

__all__ = ['Found', 'roles']

CONVS = Role.CONV, Role.DEPTHWISE, Role.INPUT, Role.HEAD


@dataclass(frozen=True)
class Found:
    "A parameter, and what it is."
    name: str
    param: Tensor
    role: Role
    why: str                  # The evidence, in a few words
    pieces: int = 1           # How many matrices of one shape it has, side by side along outputs
    transposed: bool = False  # True if it is stored as inputs × outputs, and not the other way
    marked: bool = False      # True if its model asks that it does not decay

    @property
    def is_conv(self) -> bool:
        "True if it has axes for places in a window."
        return self.param.dim() > 2 and self.role in CONVS

    @property
    def matrix(self) -> tuple[int, int]:
        "The shape of one of its matrices: outputs, and inputs."
        first, last = self.param.shape[-2:]
        if self.is_conv:  # of what is stored first there are groups
            first, last = len(self.param) // self.pieces, prod(self.param.shape[1:])
            return (last, first) if self.transposed else (first, last)
        outputs, inputs = (last, first) if self.transposed else (first, last)
        return outputs // self.pieces, inputs


def roles(model: nn.Module) -> list[Found]:
    """What each parameter of a model is, in the order of `named_parameters`; frozen ones too.

    Raises TypeError if it is not a module, ValueError if it has no parameters, or some that have
    no shape yet.
    """
    if not isinstance(model, nn.Module):
        raise TypeError('give the model itself, an nn.Module with named parameters, and not a '
                        f'{type(model).__name__}')
    sight = Sight(model)
    found = [_of(name, p, sight) for name, p in model.named_parameters()]
    if not found: raise ValueError(f'{type(model).__name__} has no parameters')
    return found


def _of(name: str, p: Tensor, sight: Sight) -> Found:
    "What one parameter is. A shared one is what an embedding makes of it, or else the first."
    if isinstance(p, UninitializedParameter):
        raise ValueError(f'`{name}` has no shape yet, as its layer is lazy: run the model on one '
                         'batch first')
    users = sight.users[id(p)]
    found = _in_module(*next(((n, m) for n, m in users if is_embedding(m)), users[0]), p, sight)
    others = {n: m for n, m in users if n != name}
    heads = [n for n, m in others.items() if m in sight.heads]
    why = found.why
    if heads: why += f', also the output head {heads[0]}'
    elif others: why += f', shared with {[*others][0]}'
    marked = bool(getattr(p, '_no_weight_decay', False)) or name in sight.unmoved
    if marked: why += ', which its model asks not to decay'
    return replace(found, name=name, why=why, marked=marked)


def _in_module(name: str, m: nn.Module, p: Tensor, sight: Sight) -> Found:
    "What it is to one module that has it."
    own, kind = name.rsplit('.', 1)[-1], type(m).__name__
    def is_a(role: Role, why: str) -> Found: return Found(name, p, role, why)
    if is_norm(m): return is_a(Role.NORM, kind)
    if is_embedding(m) and sight.blocks & {*prefixes(name)}:
        return is_a(Role.POSITION, f'{m.num_embeddings} rows, inside a block')
    if is_embedding(m): return is_a(Role.EMBEDDING, _rows_of(m, sight))
    if re.search('(^|_)bias', own): return is_a(Role.BIAS, kind)
    if p.dim() < 2: return is_a(Role.OTHER, f'a vector of {kind}')
    if is_conv(m): return _conv(name, m, p, sight)
    if len(p) == 1 and not is_layer(m): return is_a(Role.POSITION, f'of {kind}, for all inputs')
    if is_linear(m) or re.search('weight|proj', own) and p.dim() < 4:
        return _linear(name, m, p, sight)
    return is_a(Role.OTHER, f'{kind} is not a known type of layer')


def _rows_of(m: Any, sight: Sight) -> str:
    rows = m.num_embeddings
    if rows in sight.sizes(['vocab_size']): return 'a row for each token'
    places = 'max_position_embeddings', 'n_positions', 'block_size'
    return 'a row for each position' if rows in sight.sizes(places) else f'{rows} rows'


def _conv(name: str, m: Any, p: Tensor, sight: Sight) -> Found:
    n, groups = m.in_channels, m.groups
    role, why = Role.CONV, type(m).__name__ + (f', {groups} groups' if groups > 1 else '')
    if groups > 1 and groups == n: role, why = Role.DEPTHWISE, 'a filter for each channel'
    elif m in sight.heads: role, why = Role.HEAD, sight.heads[m]
    elif n <= 4: role, why = Role.INPUT, f'reads {n} channel{"s" * (n != 1)}'
    elif m is sight.first: role, why = Role.INPUT, 'the first layer'
    return Found(name, p, role, why, groups, bool(getattr(m, 'transposed', False)))


def _linear(name: str, m: nn.Module, p: Tensor, sight: Sight) -> Found:
    turned = is_turned(m)
    pieces, what = fused(name, m, p.shape[:-3:-1] if turned else p.shape[-2:])
    more = [what] * bool(what) + ['stored as inputs × outputs'] * turned
    role, why = Role.MATRIX, ', '.join([type(m).__name__, *more])
    many = next((sight.mixtures[q][0] for q in prefixes(name) if q in sight.mixtures), 0)
    if m in sight.heads: role, why = Role.HEAD, sight.heads[m]
    elif p.dim() == 3: role, why = Role.EXPERTS, f'{why}, {len(p)} in a stack'
    elif many: role, why = Role.EXPERTS, f'{why}, of one of {many}'
    elif m in sight.routers: role, why = Role.ROUTER, f'{why}, to {sight.routers[m]} experts'
    return Found(name, p, role, why, pieces, turned)
