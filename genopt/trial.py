"""A trial: a composition's parts run on a few numbers, one by one, and each is checked.

A part must return a tensor of the right shape, or a number, and must not write to what it reads.
Unless it says `whole=True`, it must treat each element alone. Then every operation of torch that it
calls does so too; and from a piece of its tensors it makes that piece of its result, which finds
the use of `grad.numel()` and of NumPy.

A trial runs outside of the modes that its caller is in. It leaves the global random generator
alone, as other threads may be drawing from it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes

from .composition import Composition
from .contract import PartError
from .dispatch import Watch
from .engines.shield import shielded, uncollected
from .kinds import Made, Step, Total
from .part import Part

__all__ = ['Trial', 'apart', 'cast']

Check: TypeAlias = Callable[[Part, Mapping[str, Any], Tensor], None]

# The last one is flat, as engines may flatten tensors. It has a few elements around the middle.
PIECES: list[Callable[[Tensor], Tensor]] = [
    lambda x: x[1:2], lambda x: x[..., 1:2],
    lambda x: x.reshape(-1)[max(x.numel() // 2 - 2, 0):x.numel() // 2 + 1]]


@contextmanager
def apart() -> Iterator[None]:
    """Leaves all modes: fake tensors, a default device, vmap, autocast, inference, users' own.

    An interrupt waits until they are back, as otherwise some of them might stay off. So does the
    garbage collector, as what finalizers do would be seen by a `Watch`.
    """
    with (shielded(), uncollected(), _disable_current_modes(),
          temporarily_clear_interpreter_stack(), torch._C.DisableTorchFunction(),
          torch.inference_mode(False), torch.no_grad(), torch.autocast('cpu', enabled=False)):
        yield


def cast(x: Any, dtype: torch.dtype) -> Any:
    "A floating-point tensor in `dtype`, and anything else as it is."
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


class Trial:
    "Steps of a composition in which each part is checked. Raises PartError."
    def __init__(self, composition: Composition):
        self.composition, self.watch = composition, Watch()
        self.dtype = torch.float32      # in which steps are computed
        self.checks: list[Check] = []   # made after each part, besides the usual ones

    def init(self, param: Tensor, hypers: Mapping[str, Any]) -> dict[str, Any]:
        "State before the first step."
        with self.watch: state = self.composition.init(param, hypers)
        dtypes = {x.dtype for x in (param, *state.values()) if isinstance(x, Tensor)}
        self.dtype = torch.float64 if torch.float64 in dtypes else torch.float32
        return state

    def step(self,
        param: Tensor,
        grad: Tensor,
        state: Mapping[str, Any],
        hypers: Mapping[str, Any]  # A number for each hyperparameter
    ) -> tuple[dict[str, Any], bool]:
        "The new state, and True if the step happened. If a gate was closed, only numbers are new."
        composition = self.composition
        given = {**hypers, **composition.numbers_of(param)}
        given |= {k: v for k, v in composition.stand_ins.items() if k not in composition.totals}
        param, grad = param.to(self.dtype), grad.to(self.dtype)
        fed = dict.fromkeys(composition.fed, grad.flip([*range(grad.dim())]))
        state = {k: cast(v, self.dtype) for k, v in state.items()}  # as an engine does
        for k, total in composition.totals.items():
            numbers = self._numbers_before(total, state, given)
            run = partial(self._run_before, total)
            before = self._happening(numbers)
            given[k] = 0. if not before or k not in before.sources else \
                before.total(total, param, grad, state, numbers | fed, run).item()
        with self.watch: numbers = composition.numbers(state, given)
        new = {k: numbers[k] for k in composition.number_stats if k in numbers}
        happening = self._happening(numbers)
        if happening: new |= happening.update(param, grad, state, numbers | fed, self._run)[1]
        if happening is composition and composition.evaluation:
            composition.evaluate(param, {**state, **new}, given, self._run)
        return {**state, **new}, happening is composition

    def _happening(self, numbers: Mapping[str, Any]) -> Composition | None:
        "As in a step, but all that a loop could feed is there."
        c = self.composition
        return c.happening(numbers) if c.closed(numbers) else c

    def _run(self, part: Part, env: Mapping[str, Any]) -> Any:
        "Runs a part and checks its result, and that it writes to nothing."
        env = {**env, **{k: env[k] for k in part.reads}}  # one `new_param`
        read = {k: v for k in part.reads if isinstance(v := env[k], Tensor)}
        before = {k: (v._version, v.clone()) for k, v in read.items()}
        looks = self.check_operations in self.checks and not part.whole
        with self.watch.begin(looks): result = part.run(env)
        for k, v in read.items():
            if v._version != before[k][0] or not _same(v, before[k][1]):
                raise PartError(f'`{part.label}` writes into `{k}`: a part returns a new value and '
                                'changes nothing it reads')
        if part.is_number: return result
        if not part.fits(result, env): raise part.bad_result(result, env)
        if isinstance(part, Made) and part.whole: return result
        if result.is_floating_point() != env[part.template].is_floating_point():
            raise part.bad_result(result, env)
        if result.is_floating_point() and result.dtype != self.dtype:
            self.composition.made_in[part] = result.dtype
        if part.stacked: self._check_stacks(part, env, result)
        for check in self.checks: check(part, env, result)
        return result

    # -- checks ------------------------------------------------------------------------------------

    def check_operations(self, part: Part, env: Mapping[str, Any], result: Tensor) -> None:
        "Raises PartError if an operation does not treat each element alone."
        if self.watch.crossed: raise _not_alone(part, f'it calls `{self.watch.crossed}`')

    def check_pieces(self, part: Part, env: Mapping[str, Any], result: Tensor) -> None:
        "Raises PartError unless the part makes each piece of its result from that piece alone."
        if part.whole or not result.dim() or result.shape != env['param'].shape: return
        tensors = {k: v for k in part.reads
                   if isinstance(v := env[k], Tensor) and v.shape == result.shape}
        for piece in PIECES:
            if not (want := piece(result)).numel(): continue
            less = {k: piece(v) for k, v in tensors.items()}
            try:
                with self.watch: got = part.run({**env, **less})
            except PartError: got = None
            if not (isinstance(got, Tensor) and got.shape == want.shape
                    and _near(got, want, result)):
                raise _not_alone(part, 'for a part of a tensor it gives other values than for the '
                                 'whole')

    def _check_stacks(self, part: Part, env: Mapping[str, Any], result: Tensor) -> None:
        "Raises PartError if it makes something else of two tensors in a stack than of each alone."
        read = {k: v for k in part.reads if isinstance(v := env[k], tuple)
                or isinstance(v, Tensor) and v.dim()}
        other = {k: _each(v, lambda x: x.flip(0)) for k, v in read.items()}
        with self.watch:
            want = torch.stack([result, part.run({**env, **other})])
            stacks = {k: _each(v, lambda x: torch.stack([x, x.flip(0)])) for k, v in read.items()}
            try: got = part.run({**env, **stacks})
            except PartError: got = None
        size = want.nan_to_num(0., 0., 0.).abs().max().item() if want.numel() else 0.
        if not (isinstance(got, Tensor) and got.shape == want.shape and
                torch.allclose(got, want, .05, .05 * size, equal_nan=True)):
            raise PartError(f'`{part.label}` does not take stacks: for two tensors at once it '
                            'gives other values than for each alone. Leave out `stacked=True`')

    def check_sign(self, part: Part, env: Mapping[str, Any], result: Tensor) -> None:
        "Raises PartError if a stat has an element below 0, and says that it has none."
        if not part.nonnegative or not (result < 0).any(): return
        raise PartError(f'`{part.label}` returned an element of `{part.out}` below 0, and it says '
                        '`nonnegative=True`, so that 8 bits have none for a sign: leave that out')

    def check_change(self, part: Part, env: Mapping[str, Any], result: Tensor) -> None:
        """Raises PartError for a step that returns the new parameter, and not its change.

        The trial must be one in which parameters hardly move.
        """
        if part.out != 'update': return
        param = env['new_param' if 'new_param' in part.reads else 'param']
        if param.numel() < 3 or result.shape != param.shape: return  # too few to tell
        if not ((result - param).abs() <= .1 * param.abs()).all(): return
        what = 'step' if isinstance(part, Step) else 'transform of `update`'
        raise PartError(f'`{part.label}` returns the new parameter: a {what} returns the change '
                        'that is added to it, such as `-lr * grad`')

    # -- before a total ----------------------------------------------------------------------------

    def _run_before(self, total: Part, part: Part, env: Mapping[str, Any]) -> Any:
        "Runs a part before a total twice: it must do the same again when the step is made."
        result = self._run(part, env)
        if isinstance(part, Total): return result
        with self.watch: again = part.run(env)
        if self.watch.random or not _same(result, again): raise _random(part, total)
        return result

    def _numbers_before(self, total: Part, state: Mapping[str, Any],
                        hypers: Mapping[str, Any]) -> dict[str, Any]:
        "The numbers that a total depends on, also computed twice."
        composition = self.composition
        with self.watch: a, b = (composition.numbers(state, hypers, total) for _ in range(2))
        for part in composition.before[total.out]:
            k, read = part.out, composition.source_reads[total.out]
            if part.is_number and k in read and repr(a.get(k)) != repr(b.get(k)):
                raise _random(part, total)
        return a


def _each(x: Any, f: Callable[[Tensor], Tensor]) -> Any:
    "Of a tensor, or of several."
    return tuple(map(f, x)) if isinstance(x, tuple) else f(x)


def _same(a: Any, b: Any) -> bool:
    "True for equal tensors, where NaN equals NaN; and for anything but two tensors."
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)): return True
    return (a.shape == b.shape and torch.equal(a.isnan(), b.isnan())
            and torch.equal(a.nan_to_num(), b.nan_to_num()))


def _near(got: Tensor, want: Tensor, of: Tensor) -> bool:
    "Equal but for rounding: vector and scalar instructions round differently."
    if torch.equal(got, want): return True
    size = of.nan_to_num(0., 0., 0.).abs().max().item()
    return torch.allclose(got.double(), want.double(), 1e-3, 1e-5 * size, equal_nan=True)


# -- sentences -------------------------------------------------------------------------------------

def _not_alone(part: Part, why: str) -> PartError:
    return PartError(f'`{part.label}` does not treat each element alone: {why}. If it needs the '
                     f'tensor\'s own shape, or is random, say @{part.kind}(whole=True)')


def _random(part: Part, total: Part) -> PartError:
    k = total.label
    return PartError(f'`{part.label}` is random, and the total `{k}` after it would be taken of '
                     f'other numbers than the step: put it after what reads `{k}`, or draw from a '
                     'generator seeded by the step, as `add_noise` does')
