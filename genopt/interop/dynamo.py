"""A step in a function that `torch.compile` traces: the graph breaks, and the step runs as it is.

Tracing it would bake today's numbers into a graph, and be no faster: the compiled engine makes a
better kernel. This does what `torch.compiler.disable` does, without importing torch._dynamo,
which takes a second.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

try: from torch._C._dynamo.eval_frame import (
    _FrameAction, _FrameExecStrategy, set_code_exec_strategy)
except ImportError: set_code_exec_strategy = None  # type: ignore[assignment]

__all__ = ['outside_graphs']

F = TypeVar('F', bound=Callable[..., Any])


def outside_graphs(fn: F) -> F:
    "Keeps `fn`, and all that it calls, from being traced."
    if set_code_exec_strategy is None: return torch._disable_dynamo(fn)
    skip = _FrameAction.SKIP
    set_code_exec_strategy(fn.__code__, _FrameExecStrategy(skip, skip))
    fn._torchdynamo_disable = True  # type: ignore[attr-defined]  # and not inlined
    return fn
