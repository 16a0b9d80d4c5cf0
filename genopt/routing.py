"""Groups that people write by hand every time: no decay for biases and norms, rates that fall layer by layer, a router.

    >>> opt = AdamW(no_decay(model), lr=3e-4, wd=.1)
    >>> opt = AdamW(layer_lrs(model, lr=1e-3, factor=.8))
    >>> opt = Optimizer(route(model, {'hidden matrices': dict(parts=Muon, lr=.02), 'rest': dict(parts=AdamW)}), lr=3e-4)

Each returns a list of groups with the parameters' names, ready for an Optimizer; printed, it says what was decided for
each. One optimizer of many groups has one `step`, one `state_dict`, and one scheduler for all.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import Tensor, nn

from .hypers import check

__all__ = ['Groups', 'no_decay', 'layer_lrs', 'route', 'RULES']


class Groups(list[dict[str, Any]]):
    "Parameter groups, with their `params` as (name, tensor) pairs, and `labels`. Printed, it says who went where."
    def __init__(self, groups: Iterable[Mapping[str, Any]], labels: Iterable[str]):
        kept = [(dict(g), label) for g, label in zip(groups, labels, strict=True) if g['params']]
        super().__init__(g for g, _ in kept)
        self.labels = [label for _, label in kept]

    def __str__(self) -> str:
        lines = []
        for group, label in zip(self, self.labels):
            given = ', '.join(f'{k}={getattr(v, "__name__", v)}' for k, v in group.items() if k != 'params')
            lines.append(f'{label}: {given or "as the optimizer says"}')
            width = max(len(name) for name, _ in group['params'])
            lines += [f'  {name:{width}}  {tuple(p.shape)}' for name, p in group['params']]
        return '\n'.join(lines)


Rule: TypeAlias = 'str | Callable[[str, Tensor, nn.Module], bool]'  # see `route`
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase, nn.LocalResponseNorm)
EMBEDDINGS = nn.Embedding, nn.EmbeddingBag
HEADS = re.compile(r'(\w+\.)?(lm_head|heads?|classifier|score|output|fc_out|unembed\w*)(\.\w+)*')  # near the top


def _owned(model: nn.Module) -> Iterator[tuple[str, Tensor, nn.Module]]:
    "name, parameter and the module that has it, each parameter once, if it is to be trained."
    if not isinstance(model, nn.Module):
        raise TypeError(f'give the model itself, an nn.Module with named parameters, and not a {type(model).__name__}')
    owners: dict[int, nn.Module] = {}
    for m in model.modules():
        for p in m.parameters(recurse=False):  # one that is shared is an embedding's, or else the first's
            if id(p) not in owners or isinstance(m, EMBEDDINGS): owners[id(p)] = m
    found = [(n, p, owners[id(p)]) for n, p in model.named_parameters() if p.requires_grad]
    if not found: raise ValueError(f'{type(model).__name__} has no parameters that require a gradient')
    return iter(found)


# What `route` calls some kinds of parameters. The first three are never matrices in the middle of a network.
RULES: dict[str, Callable[[str, Tensor, nn.Module], bool]] = {
    'biases': lambda name, p, module: p.dim() < 2,
    'norms': lambda name, p, module: isinstance(module, NORMS),
    'embeddings': lambda name, p, module: isinstance(module, EMBEDDINGS),
    'heads': lambda name, p, module: bool(HEADS.fullmatch(name)) and p.dim() > 1,
    'matrices': lambda name, p, module: p.dim() == 2,
    'hidden matrices': lambda name, p, module: (p.dim() == 2 and not isinstance(module, (*NORMS, *EMBEDDINGS)) and
                                                not HEADS.fullmatch(name)),
    'rest': lambda name, p, module: True}


def no_decay(
    model: nn.Module,
    **hypers: Any  # For both groups
) -> Groups:
    """Two groups: what decays, and biases, norms and all with fewer than two dimensions, with wd=0.

    Raises TypeError if `model` is no module, ValueError if it has nothing to train.
    """
    hypers = {'wd' if k == 'weight_decay' else k: v for k, v in hypers.items()}
    split: dict[bool, list[tuple[str, Tensor]]] = {True: [], False: []}
    for name, p, module in _owned(model): split[p.dim() > 1 and not isinstance(module, NORMS)].append((name, p))
    return Groups([dict(hypers, params=split[True]), dict(hypers, params=split[False], wd=0.)], ['decay', 'no decay'])


def layer_lrs(
    model: nn.Module,
    lr: float,         # Of the last layer
    factor: float=.8,  # Of each layer's rate to that of the one after it
    layers: Iterable[str]=(),  # Their names' beginnings, from first to last; by default the model's children
    **hypers: Any      # For all groups
) -> Groups:
    """A group for each layer, at rates that fall from the last to the first: lr·factorⁿ, n layers before the last.

    A child that is a Sequential or a ModuleList is as many layers as it has children. Raises ValueError for a layer
    that has no parameters, and for parameters of no layer.
    """
    if isinstance(layers, str): raise TypeError(f'layers = {layers!r}: give a list of names, [{layers!r}]')
    check('lr', lr)
    check('factor', factor)
    if not 0 < factor <= 1: raise ValueError(f'`factor` = {factor!r} is out of range: it must be above 0 and at most 1')
    owned = list(_owned(model))
    names = list(layers) or list(dict.fromkeys(_layer_of(model, n) for n, *_ in owned))
    at: dict[str, list[tuple[str, Tensor]]] = {n: [] for n in names}
    for name, p, _ in owned:
        fits = [n for n in names if name == n or name.startswith(n + '.')]
        if not fits: raise ValueError(f'`{name}` is in none of the layers {", ".join(names)}')
        at[max(fits, key=len)].append((name, p))
    for n in names:
        if not at[n]: raise ValueError(f'layer `{n}` has no parameters that require a gradient')
    rates = [lr * factor**i for i in reversed(range(len(names)))]
    return Groups([dict(hypers, params=ps, lr=r) for ps, r in zip(at.values(), rates)], names)


def _layer_of(model: nn.Module, name: str) -> str:
    first, *rest = name.split('.')
    inner = isinstance(getattr(model, first, None), (nn.Sequential, nn.ModuleList)) and rest
    return f'{first}.{rest[0]}' if inner else first


def route(
    model: nn.Module,
    rules: Mapping[Rule, Mapping[str, Any]]  # Which parameters -> their `parts`, lr, ...; the first that fits decides
) -> Groups:
    """A group for each rule, so that different parameters get different parts in one optimizer.

    A rule is a word of `RULES` ('hidden matrices', 'embeddings', 'heads', 'norms', 'biases', 'matrices', 'rest'), a
    pattern for names such as 'blocks.*.weight', or a function of (name, parameter, its module). Raises ValueError for a
    rule that catches no parameter and for a parameter that no rule catches, and names it.
    """
    if not isinstance(rules, Mapping):
        raise TypeError(f'rules are a dict, from which parameters to their group, not {rules!r}')
    for r, given in rules.items():
        if not isinstance(r, str) and not callable(r):
            raise TypeError(f'a rule is a word, a pattern for names or a function, and {r!r} is none')
        if not isinstance(given, Mapping):
            called = getattr(given, '__name__', repr(given))
            raise TypeError(f'rule `{_called(r)}` gets {called}: give a dict, such as dict(parts={called})')
        if 'params' in given:
            raise TypeError(f'rule `{_called(r)}`: its `params` are those that it catches: leave them out')
    caught: dict[Rule, list[tuple[str, Tensor]]] = {r: [] for r in rules}
    for name, p, module in _owned(model):
        rule = next((r for r in rules if _fits(r, name, p, module)), None)
        if rule is None:
            raise ValueError(f'no rule catches `{name}` (shape {tuple(p.shape)}): add one, such as \'rest\', as the '
                             'last')
        caught[rule].append((name, p))
    for r, params in caught.items():
        if not params:
            near = get_close_matches(_called(r), RULES, 1, .8) if r not in RULES else []
            raise ValueError(f'rule `{_called(r)}` catches no parameter: ' + (f'did you mean `{near[0]}`?' if near else
                             'leave it out, or put it before those that catch its parameters'))
    return Groups([dict(given, params=caught[r]) for r, given in rules.items()], [_called(r) for r in rules])


def _fits(rule: Rule, name: str, p: Tensor, module: nn.Module) -> bool:
    if callable(rule): return rule(name, p, module)
    return RULES[rule](name, p, module) if rule in RULES else fnmatchcase(name, rule)


def _called(rule: Rule) -> str: return rule if isinstance(rule, str) else getattr(rule, '__name__', repr(rule))
