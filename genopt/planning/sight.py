"""A model as a whole: which of its layers are outputs, blocks, experts, and who shares a tensor.

It is what a module's type alone does not say. A model is asked first (`get_output_embeddings()`,
the sizes in its `config`), and its structure second.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from .layers import is_embedding, is_layer, outputs

__all__ = ['Sight', 'join', 'prefixes']

CLASSES = 'vocab_size', 'num_labels', 'num_classes'
ASKED = 'get_output_embeddings', 'get_classifier'  # in transformers, and in timm


class Sight:
    "What has to be known of a whole model to say what one of its parameters is."
    def __init__(self, model: nn.Module):
        self.modules = dict(model.named_modules())
        self.layers = {path: m for path, m in self.modules.items() if is_layer(m)}
        self.first = next(iter(self.layers.values()), None)

    @cached_property
    def users(self) -> dict[int, list[tuple[str, nn.Module]]]:
        "The names of each tensor, by its id, and their modules: several, if it is shared."
        found: dict[int, list[tuple[str, nn.Module]]] = {}
        for path, m in self.modules.items():
            for k, p in m.named_parameters(recurse=False):
                found.setdefault(id(p), []).append((join(path, k), m))
        return found

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
            like = {join(path, k): _structure(c) for k, c in m.named_children() if [*c.children()]}
            alone, structures = isinstance(m, nn.ModuleList), [*like.values()]
            found |= {p for p, s in like.items() if alone or structures.count(s) > 1}
        return found

    @cached_property
    def heads(self) -> dict[nn.Module, str]:
        "The layers whose outputs are the model's, and how one knows."
        asked = [(k, getattr(m, k)) for m in self.modules.values() for k in ASKED
                 if callable(getattr(m, k, None))]
        found = {layer: f'by {k}()' for k, ask in asked if isinstance(layer := ask(), nn.Module)}
        outside = {path: m for path, m in self.layers.items()
                   if not self.blocks & {*prefixes(path)} and not is_embedding(m)}
        sizes = self.sizes(CLASSES)
        for m in outside.values():
            if word := sizes.get(outputs(m)): found.setdefault(m, f'{word} = {outputs(m)}')
        last = [*self.layers][-1:]
        if found or asked or not {*last} & {*outside}: return found
        return {self.layers[last[0]]: 'the last layer'}

    @cached_property
    def mixtures(self) -> dict[str, tuple[int, list[nn.Module]]]:
        "Paths of experts; how many they are, and their siblings with as many outputs."
        found = {}
        for path, m in self.modules.items():
            for k, child in m.named_children():
                n = _how_many(child)
                routers = [c for c in m.children() if c is not child and c not in self.heads
                           and n > 1 and _rows(c) == n]
                if routers: found[join(path, k)] = n, routers
        return found

    @cached_property
    def routers(self) -> dict[nn.Module, int]:
        "The modules that choose among experts, and among how many."
        return {r: n for n, routers in self.mixtures.values() for r in routers}

    @cached_property
    def unmoved(self) -> set[str]:
        "The names for which a model says, with `no_weight_decay()`, that they should not decay."
        said = {path: m.no_weight_decay() for path, m in self.modules.items()
                if callable(getattr(m, 'no_weight_decay', None))}
        return {join(path, name) for path, names in said.items() for name in names}


def join(path: str, name: str) -> str: return f'{path}.{name}' if path else name


def prefixes(path: str) -> Iterator[str]:
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
