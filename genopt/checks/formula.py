"""A reference in NumPy: a function that is called for each parameter in each step.

    >>> def sgd(param, grad, state, lr, momentum=0.):
    ...     state['m'] = momentum * state.get('m', 0.) + grad
    ...     return param - lr * state['m']

`param` and `grad` are arrays in float64. `state` is a dict, empty before the parameter's first
step. The other arguments are hyperparameters. It returns the new parameter.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ['Formula', 'formula', 'is_formula']

ARGUMENTS = ['param', 'grad', 'state']


def is_formula(x: Any) -> bool:
    "True for a function that begins with `param`, `grad` and `state`."
    return inspect.isfunction(x) and [*inspect.signature(x).parameters][:3] == ARGUMENTS


class Formula(torch.optim.Optimizer):
    "Steps each parameter that has a gradient by a function of arrays."
    fn: Callable[..., Any]

    def __init__(self, params: Any, **hypers: Any):
        given = [*inspect.signature(self.fn).parameters.values()][3:]
        defaults = {a.name: a.default for a in given if a.default is not a.empty} | hypers
        for a in given:
            if a.name not in defaults:
                raise TypeError(f'`{self.fn.__name__}` needs `{a.name}`, and the optimizer that is '
                                f'checked has no such hyperparameter: give `{a.name}` a default')
        for k in hypers:
            if k not in [a.name for a in given]:
                raise TypeError(f'`{self.fn.__name__}` does not take `{k}`')
        self.names = [*defaults]  # torch adds to `self.defaults` when a state is loaded
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any=None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad(): loss = closure()
        for group in self.param_groups:
            hypers = {k: group[k] for k in self.names}
            for p in group['params']:
                if p.grad is None: continue
                state = {k: _array(v) for k, v in self.state[p].items()}
                new = self.fn(_array(p).copy(), _array(p.grad).copy(), state, **hypers)
                self.state[p] = {k: torch.as_tensor(v) if isinstance(v, (np.ndarray, np.generic))
                                 else v for k, v in state.items()}
                p.copy_(torch.as_tensor(new).reshape(p.shape))
        return loss


def _array(x: Any) -> Any:
    "A tensor as an array, which NumPy has in float64 at the least."
    if not isinstance(x, torch.Tensor): return x
    return x.to(torch.promote_types(x.dtype, torch.float64)).numpy()


def formula(fn: Callable[..., Any]) -> type[Formula]:
    "The class of optimizers that a function of arrays makes."
    return type(fn.__name__, (Formula,), {'fn': staticmethod(fn)})
