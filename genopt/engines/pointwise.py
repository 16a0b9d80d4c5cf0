"""Torch operations that treat each element alone: those that torch tags so, copies, and a few
others.

With these alone, an element's new value depends only on the elements at its own place, so an
engine may cut tensors or join them. The decision is made per call, at torch's dispatcher.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

__all__ = ['FACTORIES', 'VIEWS', 'is_one_by_one', 'why_not_pointwise']

# Not tagged by torch, though each element stays alone; a final `_` (in place) is left off
COPIES = {*('alias alias_copy clone contiguous copy detach detach_copy fill lift lift_fresh '
            'lift_fresh_copy to _to_copy zero').split()}
FACTORIES = {*('empty empty_like empty_strided full full_like new_empty new_empty_strided new_full '
               'new_ones new_zeros ones ones_like scalar_tensor zeros zeros_like').split()}
VIEWS = {*('expand expand_copy reshape _reshape_alias squeeze _unsafe_view unsqueeze view '
           'view_copy').split()}  # of as many elements, in the same order
OTHERS = {'floor_divide', 'hardswish', 'log_sigmoid_forward', 'special_ndtr'}
UNTAGGED = COPIES | FACTORIES | VIEWS | OTHERS
SPELLED = dict(_local_scalar_dense='item', lift_fresh='tensor', linalg_vector_norm='norm')


def why_not_pointwise(func: Any, args: Any, out: Any) -> str:
    """The name of an operation that does not treat each element alone, for an error; else ''.

    `func` is the operation as the dispatcher sees it, such as torch.ops.aten.add.Tensor, `args`
    all that it was given, in lists, tuples and dicts, and `out` what it returned.

    A tensor of no dimensions is a number, the same for all elements. Operations on such numbers
    alone are free. Every other tensor must have as many elements as the result, or only one: it is
    neither summed nor broadcast. Random numbers are refused, as they depend on an element's place.
    """
    tensors = [t for t in tree_leaves(args) if isinstance(t, Tensor)]
    outs = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
    large = [t for t in tensors if t.dim()]
    aligned = all(t.numel() in (1, o.numel()) and o.dim() for t in large for o in outs)
    asks = large and not outs  # for one answer about them all, as `equal` does
    if is_one_by_one(func, tensors, outs) and aligned and not asks: return ''
    name = func._schema.name.partition('::')[2]
    return SPELLED.get(name) or str(name.strip('_'))


def is_one_by_one(func: Any, tensors: Sequence[Tensor], outs: Sequence[Tensor]) -> bool:
    "True if the operation treats each element alone, once its tensors have been broadcast."
    name = func._schema.name.partition('::')[2]
    constant = name == 'lift_fresh' and any(t.numel() > 1 for t in tensors)  # a list
    if constant or torch.Tag.nondeterministic_seeded in func.tags: return False
    return (_is_tagged(func) or name.removesuffix('_') in UNTAGGED
            or not any(t.dim() for t in (*tensors, *outs)))


def _is_tagged(func: Any) -> bool:
    "True if torch tags the operation, or any of its forms: some in-place ones lack the tag."
    if torch.Tag.pointwise in func.tags: return True
    name = func._schema.name.partition('::')[2].removesuffix('_')
    packet = getattr(torch.ops.aten, name, None) if func.namespace == 'aten' else None
    if packet is None or name in ('max', 'min'): return False  # of one tensor, they reduce it
    return any(torch.Tag.pointwise in getattr(packet, form).tags for form in packet.overloads())
