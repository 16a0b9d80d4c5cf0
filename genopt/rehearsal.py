"""The rehearsal: parts are tried when an optimizer is made, so that one which breaks its contract is named now.

A part must return a tensor of the right shape, or a number; must not write to what it reads; and, unless it says
`whole=True`, must give for a slice of a tensor the slice of what it gives for the whole. That finds norms and means
which do not declare themselves, and would be silently wrong in an engine that cuts tensors, or joins them.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .composition import Composition, bad_result
from .hypers import TABLE
from .part import Part, PartError

__all__ = ['rehearse', 'stays_still', 'trial_shape']

SHAPE = 5, 4  # no slice of it is its own mirror image
GATED = 20  # how often a gate is tried, before it is taken to be closed for numbers like these
CUTS = slice(1, 2), (..., slice(1, 2))


def rehearse(
    composition: Composition,
    hypers: Mapping[str, Any],  # A number for each hyperparameter
    params: Sequence[Tensor]    # What it is for: only shapes and dtypes are read
) -> None:
    """Runs two steps on random numbers, with a small gradient and a large one, for parts that clip. Raises PartError.

    If a part says `whole=True`, the numbers have the shape of the smallest parameter. A hyperparameter that is 0 is
    tried as 0.1, so that it hides nothing. The same composition is tried once for the same hyperparameters.
    """
    shape = trial_shape(composition, params)
    dtype = torch.float64 if any(p.dtype in (torch.float64, torch.complex128) for p in params) else torch.float32
    switches = {p.switch for p in composition.parts}
    hypers = {k: v or .1 if k in TABLE or k in switches else v for k, v in hypers.items()}
    if (key := (*hypers.items(), shape, dtype)) in composition.tried: return
    draw = torch.Generator().manual_seed(0)
    def random(scale: float) -> Tensor: return scale * torch.randn(shape, generator=draw, dtype=dtype, device='cpu')
    # Whatever mode the caller is in (fake tensors, inference), and without using up random numbers
    with _disable_current_modes(), torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        param = random(1.)
        state = composition.init(param, hypers)
        if any(v.dtype == torch.float64 for v in state.values() if isinstance(v, Tensor)): dtype = torch.float64
        for scale in (.1, 1000.):
            state = {k: _cast(v, dtype) for k, v in state.items()}  # as an engine does
            given, p, g = dict(hypers), param.to(dtype), random(scale).to(dtype)
            for k, total in composition.totals.items():
                given[k] = composition.total(total, p, g, state, composition.numbers(state, given, total), _run).item()
            for _ in range(GATED):
                if not composition.is_closed(numbers := composition.numbers(state, given)): break
                state |= {k: numbers[k] for k in composition.number_stats if k in numbers}
            else: return
            _, state = composition.update(p, g, state, numbers, _run)
    composition.tried.add(key)


def stays_still(
    composition: Composition,
    hypers: Mapping[str, Any]  # A number for each hyperparameter and total
) -> bool:
    """Does a parameter without a gradient stay where it is, with all that is remembered of it? Tried on random numbers.

    Not if a part reads `new_param`: it may do so only in some steps, as Lookahead does.
    """
    if composition.reads_new_param: return False
    if (key := ('still', *hypers.items())) in composition.tried: return True
    with _disable_current_modes(), torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        draw = torch.Generator().manual_seed(0)
        param, *rest = torch.rand(2 + len(composition.stats), *SHAPE, generator=draw, dtype=torch.float64)
        state = {k: v if isinstance(v, Real) else (_cast(v, torch.float64) + rest[i] if v.shape == param.shape else v)
                 for i, (k, v) in enumerate(composition.init(param, hypers).items())}
        change, new = composition.update(param, 0 * param, state, composition.numbers(state, hypers))
    still = not change.any() and all(torch.equal(new[k], cast(Tensor, state[k])) for k in composition.tensor_stats)
    if still: composition.tried.add(key)
    return still


def trial_shape(composition: Composition, params: Sequence[Tensor]) -> tuple[int, ...]:
    "The shape of numbers that parts are tried on: of the smallest parameter, if a part says `whole=True`."
    if not any(p.whole for p in composition.parts): return SHAPE
    return min((tuple(p.shape) for p in params if p.numel()), key=math.prod, default=(1,))


def _cast(x: Any, dtype: torch.dtype) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def _run(part: Part, env: Mapping[str, Any]) -> Any:
    "Runs a part, and checks what it did."
    read = {k: v for k, v in env.items() if k in part.reads and isinstance(v, Tensor)}
    before = {k: (v._version, v.clone()) for k, v in read.items()}
    result, like = part.run(env), env[part.like]
    for k, v in read.items():
        if v._version != before[k][0] or not torch.equal(v.nan_to_num(), before[k][1].nan_to_num()):
            raise PartError(f'`{part.label}` writes into `{k}`: a part returns a new value and changes nothing it '
                            'reads')
    if part.kind == 'total': return result
    if not (isinstance(result, Tensor) and result.is_floating_point() == like.is_floating_point()):
        raise bad_result(part, result, like)
    if part.whole or not result.dim() or result.shape != env['param'].shape: return result
    out = result.to(torch.float64, copy=True)
    near = 1e-5 * out.nan_to_num(0., 0., 0.).abs().max().item()  # vector and scalar instructions round differently
    for cut in CUTS:
        again = part.run({**env, **{k: v[cut] for k, v in read.items() if v.shape == out.shape}})
        if not isinstance(again, Tensor) or again.shape != out[cut].shape or \
                not torch.allclose(again.double(), out[cut], 1e-3, near, equal_nan=True):
            raise PartError(f'`{part.label}` does not treat each element alone: for a part of a tensor it gives other '
                            'values than for the whole. If it needs the tensor\'s own shape, or is random, say '
                            f'@{part.kind}(whole=True)')
    return result
