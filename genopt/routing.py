"""Groups that people write by hand every time: decay, rates by layer, a rule by kind of parameter.

    >>> opt = AdamW(no_decay(model), lr=3e-4, wd=.1)
    >>> opt = AdamW(layer_lrs(model, lr=1e-3, factor=.8))
    >>> opt = Optimizer(route(model, {'hidden matrices': dict(parts=Muon, lr=.02),
    ...                               'rest': dict(parts=AdamW)}), lr=3e-4)

Each returns a list of groups with the parameters' names, ready for an Optimizer. Printed, the
list shows which parameters are in each group. One optimizer with many groups has one `step`, one
`state_dict`, and one scheduler for all.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import Tensor, nn

from .hypers import check

__all__ = ['Groups', 'no_decay', 'layer_lrs', 'route', 'KINDS']


class Groups(list[dict[str, Any]]):
    "Parameter groups, whose `params` are (name, tensor) pairs, and their `labels`."
    def __init__(self, groups: Iterable[Mapping[str, Any]], labels: Iterable[str]):
        kept = [(dict(g), label) for g, label in zip(groups, labels, strict=True) if g['params']]
        super().__init__(g for g, _ in kept)
        self.labels = [label for _, label in kept]

    def __str__(self) -> str:
        lines = []
        for group, label in zip(self, self.labels):
            given = ', '.join(f'{k}={_name(v)}' for k, v in group.items() if k != 'params')
            width = max(len(name) for name, _ in group['params'])
            lines += [f'{label}: {given or "as the optimizer says"}',
                      *(f'  {name:{width}}  {tuple(p.shape)}' for name, p in group['params'])]
        return '\n'.join(lines)


Test: TypeAlias = Callable[[str, Tensor, nn.Module], bool]  # of name, parameter, its module
Selector: TypeAlias = str | Test
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase,
         nn.LocalResponseNorm)
EMBEDDINGS = nn.Embedding, nn.EmbeddingBag
HEADS = re.compile(r'(\w+\.)?(lm_head|heads?|classifier|score|output|fc_out|unembed\w*)(\.\w+)*')


def _is_hidden(name: str, p: Tensor, module: nn.Module) -> bool:
    at_an_end = isinstance(module, (*NORMS, *EMBEDDINGS)) or HEADS.fullmatch(name)
    return p.dim() == 2 and not at_an_end


def _is_convolution(name: str, p: Tensor, module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd) and not module.transposed and p.dim() > 2


# The words of `route` for some kinds of parameters
KINDS: dict[str, Test] = {
    'biases': lambda name, p, module: p.dim() < 2,
    'norms': lambda name, p, module: isinstance(module, NORMS),
    'embeddings': lambda name, p, module: isinstance(module, EMBEDDINGS),
    'heads': lambda name, p, module: bool(HEADS.fullmatch(name)) and p.dim() > 1,
    'matrices': lambda name, p, module: p.dim() == 2,
    'hidden matrices': _is_hidden,
    'convolutions': _is_convolution,
    'experts': lambda name, p, module: p.dim() == 3 and not isinstance(
        module, (nn.modules.conv._ConvNd, *NORMS, *EMBEDDINGS)),
    'rest': lambda name, p, module: True}
VIEWS = {'convolutions': 'o ... -> o (...)', 'experts': 'e o i -> e o i'}  # as matrices


def _owned(model: nn.Module) -> list[tuple[str, Tensor, nn.Module]]:
    "Name, parameter and its module, for each parameter that is to be trained, once."
    if not isinstance(model, nn.Module):
        raise TypeError('give the model itself, an nn.Module with named parameters, and not a '
                        f'{type(model).__name__}')
    owners: dict[int, nn.Module] = {}
    for m in model.modules():
        for p in m.parameters(recurse=False):  # a shared one is an embedding's, or else the first's
            if id(p) not in owners or isinstance(m, EMBEDDINGS): owners[id(p)] = m
    found: list[tuple[str, Tensor, nn.Module]] = [
        (n, p, owners[id(p)]) for n, p in model.named_parameters() if p.requires_grad]
    if not found:
        raise ValueError(f'{type(model).__name__} has no parameters that require a gradient')
    return found


def no_decay(
    model: nn.Module,
    **hypers: Any  # For both groups
) -> Groups:
    """Two groups. The second has wd=0, for biases, norms and all with fewer than two dimensions.

    Raises TypeError if `model` is not a module, ValueError if it has nothing to train.
    """
    hypers = {'wd' if k == 'weight_decay' else k: v for k, v in hypers.items()}
    decay, rest = dict(hypers, params=[]), dict(hypers, params=[], wd=0.)
    for name, p, module in _owned(model):
        group = decay if p.dim() > 1 and not isinstance(module, NORMS) else rest
        group['params'].append((name, p))
    return Groups([decay, rest], ['decay', 'no decay'])


def layer_lrs(
    model: nn.Module,
    lr: float,         # Of the last layer
    factor: float=.8,  # Each layer's rate over that of the one after it
    layers: Iterable[str]=(),  # Prefixes of names, from first to last; or the model's children
    **hypers: Any      # For all groups
) -> Groups:
    """A group for each layer, with a rate that falls from the last to the first.

    The rate is lr·factorⁿ, n layers before the last.

    A child that is a Sequential or a ModuleList is as many layers as it has children. Raises
    ValueError for a layer that has no parameters, and for parameters that are in no layer.
    """
    if isinstance(layers, str):
        raise TypeError(f'layers = {layers!r}: give a list of names, [{layers!r}]')
    check('lr', lr)
    check('factor', factor)
    if not 0 < factor <= 1:
        raise ValueError(f'`factor` = {factor!r} is out of range: it must be above 0 and at most 1')
    owned = _owned(model)
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
    rules: Mapping[Selector, Mapping[str, Any]]  # Selector -> `parts`, lr, ...; the first that fits
) -> Groups:
    """A group for each rule, so that different parameters get different parts in one optimizer.

    A rule selects parameters by a word of `KINDS` ('hidden matrices', 'convolutions', 'experts',
    'embeddings', 'heads', 'norms', 'biases', 'matrices', 'rest'), a pattern for names such as
    'blocks.*.weight', or a function of (name, parameter, its module). Convolutions and experts get
    the `view` that makes matrices of them, if the rule has none. Raises ValueError for a rule that
    catches no parameter, and for a parameter that no rule catches.
    """
    _check_rules(rules)
    caught: dict[Selector, list[tuple[str, Tensor]]] = {r: [] for r in rules}
    for name, p, module in _owned(model):
        rule = next((r for r in rules if _selects(r, name, p, module)), None)
        if rule is None:
            raise ValueError(f'no rule catches `{name}` (shape {tuple(p.shape)}): add one, such as '
                             '\'rest\', as the last')
        caught[rule].append((name, p))
    for r, params in caught.items():
        if params: continue
        near = get_close_matches(_name(r), KINDS, 1, .8) if r not in KINDS else []
        advice = (f'did you mean `{near[0]}`?' if near else
                  'leave it out, or put it before those that catch its parameters')
        raise ValueError(f'rule `{_name(r)}` catches no parameter: {advice}')
    views = {r: {'view': VIEWS[r]} if isinstance(r, str) and r in VIEWS else {} for r in rules}
    return Groups([{**views[r], **given, 'params': caught[r]}
                   for r, given in rules.items()], map(_name, rules))


def _check_rules(rules: Any) -> None:
    if not isinstance(rules, Mapping):
        raise TypeError(f'rules are a dict, from which parameters to their group, not {rules!r}')
    for r, given in rules.items():
        if not isinstance(r, str) and not callable(r):
            raise TypeError(f'a rule is a word, a pattern for names or a function, not {r!r}')
        if not isinstance(given, Mapping):
            raise TypeError(f'rule `{_name(r)}` gets {_name(given)}: give a dict, such as '
                            f'dict(parts={_name(given)})')
        if 'params' in given:
            raise TypeError(f'rule `{_name(r)}`: its `params` are those that it catches: leave '
                            'them out')


def _selects(selector: Selector, name: str, p: Tensor, module: nn.Module) -> bool:
    if callable(selector): return selector(name, p, module)
    return KINDS[selector](name, p, module) if selector in KINDS else fnmatchcase(name, selector)


def _name(x: Any) -> str: return x if isinstance(x, str) else getattr(x, '__name__', repr(x))
