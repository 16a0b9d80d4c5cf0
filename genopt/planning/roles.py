"""What each parameter is to its model: a hidden matrix, an embedding, the output head, ...

    >>> for found in roles(model): print(found.name, found.role.one, found.why)

It is told from the types of modules, from shapes, from who shares a tensor, and from what a model
says of itself: `get_output_embeddings()`, `no_weight_decay()`, sizes in its `config`. Names decide
only where a module of an unknown type holds a tensor itself.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ..policy import Role
from .layers import (fused, is_conv, is_embedding, is_layer, is_linear, is_norm, is_turned,
                     outputs)

__all__ = ['Found', 'roles']


@dataclass(frozen=True)
class Found:
    "A parameter, and what it is."
    name: str
    param: Tensor
    role: Role
    why: str                  # The evidence, in a few words
    pieces: int = 1           # How many matrices of one shape it has, side by side along outputs
    transposed: bool = False  # True if it is stored as inputs × outputs, and not the other way
    decays: bool = True       # False if it should not, by its role or by its model's word

    @property
    def trains(self) -> bool: return self.param.requires_grad


def roles(model: nn.Module) -> list[Found]:
    """What each parameter of a model is, in the order of `named_parameters`; frozen ones too.

    Raises TypeError if it is not a module, ValueError if it has no parameters, or some that have
    no shape yet.
    """
    if not isinstance(model, nn.Module):
        raise TypeError('give the model itself, an nn.Module with named parameters, and not a '
                        f'{type(model).__name__}')
    sight = _Sight(model)
    found = [sight.of(name, p) for name, p in model.named_parameters()]
    if not found: raise ValueError(f'{type(model).__name__} has no parameters')
    return found


# -- the model as a whole --------------------------------------------------------------------------

VOCABULARY, CLASSES = ('vocab_size',), ('vocab_size', 'num_labels', 'num_classes')
PLACES = 'max_position_embeddings', 'n_positions', 'block_size'


class _Sight:
    "What has to be known of the whole model to say what one parameter is."
    def __init__(self, model: nn.Module):
        self.modules = dict(model.named_modules())
        self.users: dict[int, list[tuple[str, nn.Module]]] = {}  # a shared tensor has several
        for path, m in self.modules.items():
            for k, p in m.named_parameters(recurse=False):
                self.users.setdefault(id(p), []).append((_join(path, k), m))
        self.layers = {path: m for path, m in self.modules.items() if is_layer(m)}
        self.first = next(iter(self.layers.values()), None)

    def sizes(self, words: Iterable[str]) -> dict[int, str]:
        "Numbers that the model, or its config, gives under these words, and the words."
        holders = [h for m in self.modules.values() for h in (m, getattr(m, 'config', None))]
        said = [(getattr(h, w, None), w) for h in holders for w in words]
        return {n: w for n, w in reversed(said) if type(n) is int and n > 0}

    @cached_property
    def blocks(self) -> set[str]:
        "Paths of modules that stand in a row of their like."
        found = set[str]()
        for path, m in self.modules.items():
            if not isinstance(m, (nn.ModuleList, nn.Sequential)): continue
            like = {_join(path, k): _structure(c) for k, c in m.named_children() if [*c.children()]}
            alone, all_of_them = isinstance(m, nn.ModuleList), [*like.values()]
            found |= {p for p, s in like.items() if alone or all_of_them.count(s) > 1}
        return found

    @cached_property
    def heads(self) -> dict[nn.Module, str]:
        "The layers whose outputs are the model's, and how one knows."
        asked = [(k, getattr(m, k)) for m in self.modules.values()
                 for k in ('get_output_embeddings', 'get_classifier')
                 if callable(getattr(m, k, None))]
        found = {layer: f'by {k}()' for k, ask in asked if isinstance(layer := ask(), nn.Module)}
        outside = {path: m for path, m in self.layers.items()
                   if not self.blocks & {*_prefixes(path)} and not is_embedding(m)}
        sizes = self.sizes(CLASSES)
        for m in outside.values():
            if word := sizes.get(outputs(m)): found.setdefault(m, f'{word} = {outputs(m)}')
        last = [*self.layers][-1:]
        if found or asked or not {*last} & {*outside}: return found
        return {self.layers[last[0]]: 'the last layer'}

    @cached_property
    def mixtures(self) -> dict[str, tuple[int, list[nn.Module]]]:
        "Paths of experts; how many they are, and the siblings that have as many outputs."
        found = {}
        for path, m in self.modules.items():
            for k, child in m.named_children():
                n = _how_many(child)
                routers = [c for c in m.children() if c is not child and c not in self.heads
                           and n > 1 and _rows(c) == n]
                if routers: found[_join(path, k)] = n, routers
        return found

    @cached_property
    def routers(self) -> dict[nn.Module, int]:
        "The modules that choose among experts, and among how many."
        return {r: n for n, routers in self.mixtures.values() for r in routers}

    @cached_property
    def marked(self) -> set[str]:
        "The names for which the model itself says that they should not decay."
        said = {path: m.no_weight_decay() for path, m in self.modules.items()
                if callable(getattr(m, 'no_weight_decay', None))}
        return {_join(path, name) for path, names in said.items() for name in names}

    # -- one parameter -----------------------------------------------------------------------------

    def of(self, name: str, p: Tensor) -> Found:
        "What one parameter is. A shared one is what an embedding makes of it, or else the first."
        if isinstance(p, UninitializedParameter):
            raise ValueError(f'`{name}` has no shape yet, as its layer is lazy: run the model on '
                             'one batch first')
        users = self.users[id(p)]
        found = self._alone(*next(((n, m) for n, m in users if is_embedding(m)), users[0]), p)
        others = [n for n, m in users if n != name]
        heads = [n for n, m in users if m in self.heads and n in others]
        why = found.why
        if heads: why += f', also the output head {heads[0]}'
        elif others: why += f', shared with {others[0]}'
        decays = found.role.decays
        if decays and (getattr(p, '_no_weight_decay', False) or name in self.marked):
            decays, why = False, f'{why}, which its model asks not to decay'
        return replace(found, name=name, why=why, decays=decays)

    def _alone(self, name: str, m: nn.Module, p: Tensor) -> Found:
        "What it is to one module that has it."
        own, kind = name.rsplit('.', 1)[-1], type(m).__name__
        def is_a(role: Role, why: str) -> Found:
            return Found(name, p, role, why, transposed=is_turned(m) and p.dim() > 1)
        if is_norm(m): return is_a(Role.NORM, kind)
        if is_embedding(m): return is_a(Role.EMBEDDING, self._table(m))
        if re.search(r'(^|_)bias', own): return is_a(Role.BIAS, kind)
        if p.dim() < 2: return is_a(Role.OTHER, f'a vector of {kind}')
        if is_conv(m): return self._conv(name, m, p)
        if m in self.heads: return is_a(Role.HEAD, self.heads[m])
        if len(p) == 1 and not is_layer(m): return is_a(Role.POSITION, f'of {kind}, for all inputs')
        known = is_linear(m) or re.search('weight|proj', own) and p.dim() < 4
        if not known: return is_a(Role.OTHER, f'{kind} is not a type of layer that is known')
        turned = is_turned(m)
        pieces, what = fused(name, m, (p.shape[-1], p.shape[-2]) if turned else p.shape[-2:])
        why = ', '.join([kind, *[what] * bool(what), *['stored as inputs × outputs'] * turned])
        n = next((self.mixtures[q][0] for q in _prefixes(name) if q in self.mixtures), 0)
        if n or p.dim() == 3:
            return Found(name, p, Role.EXPERTS, f'{why}, one of {n or len(p)}' , pieces, turned)
        if m in self.routers:
            return Found(name, p, Role.ROUTER, f'{kind}, to {self.routers[m]} experts', 1, turned)
        return Found(name, p, Role.MATRIX, why, pieces, turned)

    def _table(self, m: Any) -> str:
        rows = m.num_embeddings
        for words, what in (VOCABULARY, 'token'), (PLACES, 'position'):
            if rows in self.sizes(words): return f'a row for each {what}'
        return f'{rows} rows'

    def _conv(self, name: str, m: Any, p: Tensor) -> Found:
        def is_a(role: Role, why: str) -> Found:
            return Found(name, p, role, why, transposed=bool(getattr(m, 'transposed', False)))
        kind, n = type(m).__name__, m.in_channels
        if m.groups > 1 and m.groups == n: return is_a(Role.DEPTHWISE, 'a filter for each channel')
        if m in self.heads: return is_a(Role.HEAD, self.heads[m])
        if n <= 4: return is_a(Role.INPUT, f'reads {n} channel{"s" * (n != 1)}')
        if m is self.first: return is_a(Role.INPUT, 'the first layer')
        return is_a(Role.CONV, kind + (f', {m.groups} groups' if m.groups > 1 else ''))


# -- helpers ---------------------------------------------------------------------------------------

def _join(path: str, name: str) -> str: return f'{path}.{name}' if path else name


def _prefixes(path: str) -> Iterator[str]:
    "The path, and those of the modules around it, but for the model's own."
    while path:
        yield path
        path = path.rpartition('.')[0]


def _structure(m: nn.Module) -> Any:
    "What modules in a row have in common: their type, or, of plain containers, what is in them."
    return repr(m) if type(m) in (nn.Sequential, nn.ModuleList) else type(m)


def _rows(m: nn.Module) -> int:
    "How many outputs a module has, if it has one matrix; or 0."
    w = getattr(m, 'weight', None)
    return len(w) if isinstance(w, Tensor) and w.dim() == 2 else 0


def _how_many(m: nn.Module) -> int:
    "How many experts a module may be: modules of one type in a list, or matrices in a stack; or 0."
    if isinstance(m, nn.ModuleList): return len(m) if len({type(c) for c in m}) == 1 else 0
    stacks = {len(p) for p in m.parameters() if p.dim() == 3}
    return stacks.pop() if len(stacks) == 1 and not is_layer(m) else 0
