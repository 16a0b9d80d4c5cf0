"""Layers by their types: what has the attributes of a torch layer is one, whoever wrote it."""
from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

__all__ = ['fused', 'is_conv', 'is_embedding', 'is_layer', 'is_linear', 'is_norm', 'is_turned',
           'outputs']

NORMS = nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase


def is_norm(m: nn.Module) -> bool:
    return isinstance(m, NORMS) or 'norm' in type(m).__name__.lower() and not [*m.children()]


def is_embedding(m: nn.Module) -> bool:
    return hasattr(m, 'num_embeddings') and hasattr(m, 'embedding_dim')


def is_conv(m: nn.Module) -> bool:
    return hasattr(m, 'kernel_size') and hasattr(m, 'in_channels') and hasattr(m, 'groups')


def is_turned(m: nn.Module) -> bool:
    "True for the linear layer of GPT-2, which is stored as inputs × outputs."
    return type(m).__name__ == 'Conv1D' and hasattr(m, 'nf')


def is_linear(m: nn.Module) -> bool:
    return hasattr(m, 'in_features') and hasattr(m, 'out_features') or is_turned(m)


def outputs(m: nn.Module) -> int:
    "How many outputs a linear layer or a convolution has; 0 for another module."
    return int(next((getattr(m, k) for k in ('out_features', 'out_channels', 'nf')
                     if isinstance(getattr(m, k, None), int)), 0))


def is_layer(m: nn.Module) -> bool: return is_conv(m) or is_linear(m) or is_embedding(m)


# Names under which several matrices of one shape are stored as one, and how many
FUSED = {r'qkv|query_key_value|c_attn|in_proj_weight': (3, 'q·k·v in one'),
         r'gate_up|up_gate|w13': (2, 'gate and up in one')}


def fused(name: str, m: nn.Module, shape: Sequence[int]) -> tuple[int, str]:
    "How many matrices of one shape there are along the outputs of this shape, and which."
    rows, columns = shape
    if isinstance(m, nn.RNNBase) and (gates := rows // m.hidden_size) > 1:
        return gates, f'{gates} gates in one'
    for pattern, (n, what) in FUSED.items():
        if re.search(pattern, name) and rows == (n * columns if n == 3 else rows // n * n):
            return n, what
    return 1, ''
