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


def is_linear(m: nn.Module) -> bool:
    return hasattr(m, 'in_features') and hasattr(m, 'out_features') or _is_conv1d(m)


def _is_conv1d(m: nn.Module) -> bool:
    "True for the linear layer of GPT-2 in transformers."
    return type(m).__name__ == 'Conv1D' and hasattr(m, 'nf')


def is_turned(m: nn.Module) -> bool:
    "True if matrices are stored as inputs × outputs, of which transformers' experts have a note."
    return _is_conv1d(m) or getattr(m, 'is_transposed', None) is True


def outputs(m: nn.Module) -> int:
    "How many outputs a linear layer or a convolution has; 0 for another module."
    return int(next((getattr(m, k) for k in ('out_features', 'out_channels', 'nf')
                     if isinstance(getattr(m, k, None), int)), 0))


def is_layer(m: nn.Module) -> bool: return is_conv(m) or is_linear(m) or is_embedding(m)


def fused(name: str, m: nn.Module, shape: Sequence[int]) -> tuple[int, str]:
    """How many matrices of one shape lie one after the other in this shape, and which.

    Rows that take turns, head by head in GPT-NeoX's `query_key_value`, are left as they are.
    """
    rows, columns = shape
    if isinstance(m, nn.RNNBase) and (gates := rows // m.hidden_size) > 1:
        return gates, f'{gates} gates in one'
    if rows == 3 * columns and re.search('qkv|c_attn|in_proj_weight', name):
        return 3, 'q·k·v in one'
    takes_turns = getattr(m, 'is_concatenated', None) is False
    if rows % 2 == 0 and re.search('gate_up|up_gate|w13', name) and not takes_turns:
        return 2, 'gate and up in one'
    return 1, ''
