"How a group sees its tensors as matrices, where they are not stored as such."
from __future__ import annotations

from .roles import Found

__all__ = ['view_as_matrix']


def view_as_matrix(found: Found) -> str:
    "The `view` with which a group sees a row for each output; '' for what is stored like that."
    n, stack = found.pieces, 'e ' * (found.param.dim() == 3)
    each = 'n ' * (n > 1)
    def pieces(axis: str) -> str: return f'(n={n} {axis})' if n > 1 else axis
    if found.is_conv and found.transposed: return f'{pieces("i")} o ... -> {each}(o ...) i'
    if found.is_conv: return f'{pieces("o")} ... -> {each}o (...)'
    if not (stack or each or found.transposed): return ''
    stored = f'i {pieces("o")}' if found.transposed else f'{pieces("o")} i'
    return f'{stack}{stored} -> {stack}{each}o i'
