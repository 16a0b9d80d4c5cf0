"The memory that an optimizer's state takes, found by making it without its values."
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from ..composition import Composition
from ..contract import REQUIRED, PartError
from ..converting import stored
from ..group import Group
from ..kinds import Stat
from .lines import Fragment

__all__ = ['MATRIX', 'memory_kept', 'memory_of']

MATRIX = torch.Size([1024, 1024])  # the shape of a parameter, where none is known


def memory_of(
    composition: Composition | Fragment,
    values: Mapping[str, Any],
    params: Iterable[torch.Tensor]=()  # By default a matrix of 1024 × 1024
) -> dict[str, float]:                 # Without the stats whose `init` fails
    """Bytes of each stat for an element of a parameter in float32; on average over `params`.

    Numbers, such as step counts, are left out, in whatever form an engine keeps them.
    """
    shapes = [p.shape for p in params if p.numel()] or [MATRIX]
    hypers = {k: 0. if v is REQUIRED else float(v) for k, v in values.items()}
    res = {}
    for name in composition.tensor_stats:
        try: starts = [_start(composition.stats[name], s, hypers) for s in shapes]
        except PartError: continue
        res[name] = sum(t.nbytes for t in starts) / sum(s.numel() for s in shapes)
    return res


def memory_kept(groups: Sequence[Group]) -> dict[str, tuple[float, str]]:
    """Bytes of each stat for an element of the parameters, as these groups keep them, and how.

    `param` is what stands beside the weights. Without the stats whose `init` fails on no device.
    """
    total, how, elements = defaultdict[str, int](int), dict[str, set[str]](), 0
    for g, p in [(group, param) for group in groups for param in group['params']]:
        if is_lazy(p): continue
        elements += p.numel()
        meta, formats = torch.empty(p.shape, dtype=p.dtype, device='meta'), g.formats(p)
        for k in g.composition.tensor_stats:
            try: found = stored(k, g.start(k, meta), p, g)
            except (PartError, RuntimeError): continue
            total[k] += sum(x.nbytes for x in found.values())
            how.setdefault(k, set()).add('8 bits' if k in formats else _name(found[k].dtype))
        if (form := formats.get('param')) and form.besides:
            total['param'] += sum(p.numel() * d.itemsize for d in form.besides.values())
            how.setdefault('param', set()).update(map(_name, form.besides.values()))
    return {k: (n / max(elements, 1), ' and '.join(sorted(how[k]))) for k, n in total.items()}


def _name(dtype: torch.dtype) -> str: return str(dtype).removeprefix('torch.')


def _start(stat: Stat, shape: torch.Size, hypers: Mapping[str, float]) -> torch.Tensor:
    "The first value of a stat, on no device, unless its `init` asks for a parameter's values."
    meta = torch.empty(shape, dtype=torch.float32, device='meta')
    try: res: torch.Tensor = stat.start(meta, hypers)
    except PartError: res = stat.start(torch.ones(shape, dtype=torch.float32), hypers)
    return res
