"""Estimates of the Hessian's diagonal, to feed an optimizer that reads it.

    >>> opt = genopt.Sophia(model.parameters())
    >>> logits = model(torch.ones(3, 4))
    >>> if opt.awaits('hess'): opt.feed(hess=gauss_newton_bartlett(logits, params))
    >>> torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1])).backward()
    >>> opt.step()

Both leave the graph of the loss as it is, so that `backward()` may follow, and touch no `.grad`.
"""
from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ['gauss_newton_bartlett', 'hutchinson']


def hutchinson(
    loss: Tensor,
    params: Iterable[Tensor],                # Those that do not take part in the loss are left out
    *,
    samples: int=1,                          # The mean of so many estimates
    generator: torch.Generator | None=None,  # On the parameters' device
    gaussian: bool=False                     # Draws from N(0, 1), and not from ±1
) -> dict[Tensor, Tensor]:
    """z·(Hz) with random z: the Hessian's diagonal on average (Hutchinson, 1990).

    With z = ±1 it has less variance. It costs two more backward passes, and one more for each
    further sample. Raises ValueError for a loss that is not one number or has no graph.
    """
    found, grads = _gradients(loss, params, graph=True)
    res = {p: torch.zeros_like(p) for p in found}
    for _ in range(samples):
        zs = [_random(p, generator, gaussian) for p in found]
        pairs = [(g, z) for g, z in zip(grads, zs) if g.requires_grad]  # else it is constant
        if not pairs: break
        products = torch.autograd.grad([g for g, _ in pairs], found, [z for _, z in pairs],
                                       retain_graph=True, allow_unused=True)
        for p, z, hz in zip(found, zs, products):
            if hz is not None: res[p] += z * hz / samples
    return res


def gauss_newton_bartlett(
    logits: Tensor,            # Of classes or tokens, which are along the last dimension
    params: Iterable[Tensor],  # Those that do not take part in it are left out
    *,
    generator: torch.Generator | None=None  # On the logits' device
) -> dict[Tensor, Tensor]:
    """B·∇L̂², with L̂ the mean cross-entropy of B labels drawn from the model's own predictions.

    On average it is the diagonal of the Gauss–Newton matrix of the mean cross-entropy, and never
    negative (Liu et al., arXiv:2305.14342, algorithm 2). It costs one more backward pass. Raises
    ValueError for logits without a graph.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    with torch.no_grad():
        drawn = torch.multinomial(rows.softmax(-1), 1, generator=generator).squeeze(1)
    found, grads = _gradients(torch.nn.functional.cross_entropy(rows, drawn), params)
    return {p: len(rows) * g.square() for p, g in zip(found, grads)}


def _gradients(loss: Tensor, params: Iterable[Tensor], graph: bool=False
               ) -> tuple[list[Tensor], list[Tensor]]:
    "The parameters that take part in a loss, and their gradients."
    if loss.numel() != 1:
        raise ValueError(f'the loss has shape {tuple(loss.shape)}: give its mean or sum')
    if not loss.requires_grad:
        raise ValueError('the loss has no graph: compute it with gradients on, and call this '
                         'before `backward()`')
    params = [p for p in params if p.requires_grad]
    grads = torch.autograd.grad(loss, params, retain_graph=True, create_graph=graph,
                                allow_unused=True)
    pairs = [(p, g) for p, g in zip(params, grads) if g is not None]
    return [p for p, _ in pairs], [g for _, g in pairs]


def _random(p: Tensor, generator: torch.Generator | None, gaussian: bool) -> Tensor:
    z = torch.empty_like(p, memory_format=torch.contiguous_format)
    if gaussian: return z.normal_(generator=generator)
    return z.bernoulli_(.5, generator=generator).mul_(2).sub_(1)
