"The memory that an optimizer's state takes, found by making it without its values."
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ..composition import Composition
from ..contract import REQUIRED, PartError
from ..kinds import Stat
from .lines import Fragment

__all__ = ['MATRIX', 'memory_of']

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


def _start(stat: Stat, shape: torch.Size, hypers: Mapping[str, float]) -> torch.Tensor:
    "The first value of a stat, on no device, unless its `init` asks for a parameter's values."
    meta = torch.empty(shape, dtype=torch.float32, device='meta')
    try: res: torch.Tensor = stat.start(meta, hypers)
    except PartError: res = stat.start(torch.ones(shape, dtype=torch.float32), hypers)
    return res
