"""The rehearsal: parts are tried when an optimizer is made, so that mistakes show at once.

`trial` checks a part; this module chooses the numbers that it is tried on. Gradients are small and
large (for parts that clip), with a spike, with an element that is not finite, and 0.
Hyperparameters are tried with other numbers for their zeros, which might hide a mistake; as they
were given; and with a learning rate of 0, where a warm-up begins. If a part says `whole=True`,
shapes are of each kind that the parameters have, but small.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .composition import Composition
from .contract import PartError
from .hypers import TABLE, Hyper
from .part import Part
from .shapes import SHAPE, Shape, shapes
from .trial import Trial, apart, cast

__all__ = ['adds_up', 'rehearse', 'stays_still']

GATED = 20   # steps to wait for a gate to open
KEPT = 1000  # how many trials a composition remembers


def rehearse(
    composition: Composition,
    hypers: Mapping[str, Any],  # A number for each hyperparameter
    params: Sequence[Tensor]    # Only their shapes and dtypes are read
) -> None:
    """Tries the parts on random numbers. Raises PartError.

    A composition is tried once for shapes and hyperparameters of a kind. The kinds of a number are
    0, 1 and any other. A small shape may be too small, say for a part that needs the 8 largest
    elements. So a failure there is an error only if the part also fails in a parameter's own shape,
    or in a large one of its kind.
    """
    double = any(p.dtype in (torch.float64, torch.complex128) for p in params)
    dtype = torch.float64 if double else torch.float32
    kinds = dtype, *_kinds(composition, hypers)
    for shape, own in shapes(composition, params).items():
        if (shape, kinds) in composition.tried: continue
        more = kinds not in composition.tried
        try: _try(composition, hypers, shape, dtype, more)
        except PartError:
            if own == shape: raise
            _try(composition, hypers, own, dtype, more)
        else: _remember(composition, (shape, kinds), kinds)


def stays_still(
    composition: Composition,
    hypers: Mapping[str, Any]  # A number for each hyperparameter
) -> bool:
    """True if a parameter without a gradient stays where it is, with all that is remembered of it.

    Tried on random numbers, in a first step and in later ones; once for hyperparameters of a kind,
    as in `rehearse`. False if a part reads `new_param`: it may do so only in some steps, as
    Lookahead does.
    """
    if composition.reads_new_param or composition.fed: return False
    kinds = _kinds(composition, hypers)
    for known in (True, False):
        if (known, kinds) in composition.tried: return known
    with apart():
        trial, draw = Trial(composition), torch.Generator('cpu').manual_seed(0)
        param = _uniform(SHAPE, draw)
        state = _under_way(trial.init(param, hypers), draw)
        with trial.watch: still = all([_stays(composition, hypers, param, state) for _ in range(3)])
    _remember(composition, (still, kinds))
    return still


def _stays(composition: Composition, hypers: Mapping[str, Any], param: Tensor,
           state: dict[str, Any]) -> bool:
    "True if one step moves nothing. It leaves its numbers in `state`."
    numbers = composition.numbers(state, {**hypers, **composition.stand_ins,
                                          **composition.numbers_of(param)})
    still = True
    if happening := composition.happening(numbers):
        change, new = happening.update(param, 0 * param, state, numbers)
        still = all(torch.equal(new[k], state[k]) for k in composition.tensor_stats if k in new)
        if change is not None: still = still and not change.any().item()
    state |= {k: numbers[k] for k in composition.number_stats if k in numbers}
    return still


def adds_up(
    composition: Composition,
    hypers: Mapping[str, Any]  # A number for each hyperparameter
) -> bool:
    """True if each total of a tensor is the sum over its pieces, as Σg² is, and max |g| is not.

    Tried once, on random numbers, with some that are not finite, and hyperparameters that are not
    0: so it does not change in a run.
    """
    for known in (True, False):
        if (known, 'adds up') in composition.tried: return known
    with apart():
        trial, draw = Trial(composition), torch.Generator('cpu').manual_seed(0)
        param, grad = (_uniform((20,), draw) - .5 for _ in range(2))
        hypers = _without_zeros(composition, hypers)
        state = _under_way(trial.init(param, hypers), draw)
        given = {**hypers, **dict.fromkeys(composition.totals, 1.),
                 **composition.numbers_of(param)}
        with trial.watch:
            adds = all(_adds_up(composition, total, {**state, 'param': param, 'grad': g}, given)
                       for g in (grad, torch.where(param > 0, math.inf, grad))
                       for total in composition.totals.values())
    _remember(composition, (adds, 'adds up'))
    return adds


def _adds_up(composition: Composition, total: Part, values: Mapping[str, Any],
             hypers: Mapping[str, Any]) -> bool:
    numbers = composition.numbers(values, hypers, total)
    def share(piece: slice) -> Tensor:
        state = {k: v[piece] if isinstance(v, Tensor) and v.dim() else v for k, v in values.items()}
        return composition.total(total, state['param'], state['grad'], state, numbers).double()
    parts = share(slice(7)) + share(slice(7, None))
    return torch.allclose(share(slice(None)), parts, 1e-6, 1e-12, equal_nan=True)


# -- kinds of hyperparameters ----------------------------------------------------------------------

def _kinds(composition: Composition, hypers: Mapping[str, Any]) -> tuple[Any, ...]:
    "The kinds of the hyperparameters. A schedule makes other values in every step, but few kinds."
    return tuple(v if (v := hypers[k]) in (0, 1) else 2 for k in composition.hypers)


def _without_zeros(composition: Composition, hypers: Mapping[str, Any]) -> dict[str, Any]:
    "The hyperparameters with 0.1 for 0, or 1 for a whole number, as zeros hide mistakes."
    rows = {**{p.switch: Hyper('', '') for p in composition.parts}, **TABLE}
    zeros = {k: rows[k] for k, v in hypers.items() if not v and k in rows}
    return {**hypers, **{k: 1 if row.whole else min(.1, row.most) for k, row in zeros.items()}}


def _remember(composition: Composition, *keys: tuple[Any, ...]) -> None:
    if len(composition.tried) >= KEPT: composition.tried.clear()
    composition.tried.update(keys)


# -- steps -----------------------------------------------------------------------------------------

def _try(composition: Composition, hypers: Mapping[str, Any], shape: Shape, dtype: torch.dtype,
         more: bool) -> None:
    "Two steps; and `more` steps for the first shape, as they do not depend on it."
    with apart():
        trial, draw = Trial(composition), torch.Generator('cpu').manual_seed(0)
        def random(scale: float) -> Tensor:
            return scale * torch.randn(shape, generator=draw, dtype=dtype, device='cpu')
        param, full = random(1.), _without_zeros(composition, hypers)
        state = trial.init(param, full)
        trial.checks = [trial.check_operations, trial.check_pieces, trial.check_sign]
        for scale in (.1, 1000.):
            for _ in range(GATED):
                state, happened = trial.step(param, random(scale), state, full)
                if happened: break
            else: return
        if not more: return
        trial.checks = [trial.check_pieces, trial.check_sign]
        for grad in _extremes(random(1.)): _may_fail(trial, param, grad, state, full)
        trial.checks = []
        rates = [k for k in hypers if composition.original_names.get(k) == 'lr']
        no_rate = {**hypers, **dict.fromkeys(rates, 0.)}
        if hypers not in (full, no_rate): _begin(trial, param, random, hypers)
        try: state = _begin(trial, param, random, no_rate)
        except PartError as e:
            if not rates: raise
            where = f'(with `{rates[0]}` = 0, where a warm-up begins)'
            raise PartError(f'{e} {where}') from e.__cause__
        trial.checks = [trial.check_change]
        _check_changes(trial, shape, state, full | dict.fromkeys(rates, 0.))


def _begin(trial: Trial, param: Tensor, random: Callable[[float], Tensor],
           hypers: Mapping[str, Any]) -> dict[str, Any]:
    "The state after the first two steps."
    state = trial.init(param, hypers)
    for _ in range(2): state, _ = trial.step(param, random(.1), state, hypers)
    return state


def _may_fail(trial: Trial, *args: Any) -> None:
    "A step in which a part may raise an error, such as 1/‖g‖ of 0, but may not break its contract."
    try: trial.step(*args)
    except PartError as e:
        if e.__cause__ is None: raise


def _extremes(grad: Tensor) -> list[Tensor]:
    "Gradients with a spike, which reveals a look at other elements; NaN or infinity; and 0."
    middle = torch.arange(grad.numel(), device='cpu').view(grad.shape) == grad.numel() // 2
    return [torch.where(middle, x, grad) for x in (1e4, math.nan, math.inf)] + [0 * grad]


def _check_changes(trial: Trial, shape: Shape, state: Mapping[str, Any],
                   hypers: Mapping[str, Any]) -> None:
    """Finds a step that returns the new parameter, in a step that hardly moves it.

    The parameter is larger than its stats, so that neither a fixed rate nor decay hides it; but not
    by so much that θ − θₜ₋₁, which is a change, looks like θ. It is tried small too, for steps that
    keep it within bounds.
    """
    composition, draw = trial.composition, torch.Generator('cpu').manual_seed(1)
    decays = {k for k, name in composition.original_names.items() if name == 'wd'}
    hypers = {**hypers, **dict.fromkeys(decays & {*hypers}, 1e-3)}
    counts = {k: state[k] for k in composition.number_stats}
    for scale in (1., 1e-3):
        sign = (_uniform(shape, draw) - .5).sign()
        param = (scale * sign * (4 + 4 * _uniform(shape, draw))).to(trial.dtype)  # bits may be read
        begin = _under_way(trial.init(param, hypers), draw, scale)
        _may_fail(trial, param, 1e-3 * scale * _uniform(shape, draw), {**begin, **counts}, hypers)


def _under_way(state: Mapping[str, Any], draw: torch.Generator,
               scale: float=1.) -> dict[str, Any]:
    "State in the middle of a run: zeros become numbers of this scale, and others move a little."
    def moved(x: Tensor) -> Tensor:
        noise = 1 + _uniform(x.shape, draw)
        return torch.where(x == 0, scale * noise, x * (1 + .02 * noise))
    return {k: moved(v) if isinstance(v := cast(x, torch.float64), Tensor) and v.is_floating_point()
            else x for k, x in state.items()}


def _uniform(shape: Sequence[int], draw: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=draw, dtype=torch.float64, device='cpu')
