"""Quantities: numbers that are measured of a parameter in a step.

Functions measure them, which read as parts do:

    >>> def noise(grad_avg, sqr_avg): return (sqr_avg - grad_avg**2).mean()
    >>> Quantity(noise)
    noise(grad_avg, sqr_avg): a quantity

Those that every recorder has are made of a few measures (norms, counts) of the values that the
parts pass on. A measure stands in the list of parts where it is taken. So the size of the gradient
before and after a clip is what the list says, whatever the clip is called.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch

from ..composition import Composition
from ..contract import ContractError
from ..hypers import did_you_mean
from ..kinds import Stat
from ..part import Part

__all__ = ['Column', 'Numbers', 'Quantity', 'own_column', 'usual_columns']

Numbers: TypeAlias = np.ndarray[Any, Any]


class Quantity(Stat):
    """A part that measures: it returns one number of a parameter, a 0-dim tensor or a plain number.

    Unlike a stat's, its name is the function's, or `called`, and it does not read its last value.
    """
    kind, whole, remembers = 'quantity', True, False
    options: ClassVar[tuple[str, ...]] = 'called',
    called: str = ''

    def __init__(self, fn: Callable[..., Any], names: Mapping[str, str]={}, **options: Any):
        super(Stat, self).__init__(fn, names, **options)
        self.template = f'prev_{self.out}'

    def result_name(self) -> str: return self.called or self.__name__

    def wanted(self, env: Mapping[str, Any]) -> str: return 'one number, such as grad.norm()'

    def run(self, env: Mapping[str, Any]) -> Any:
        out = super().run(env)
        is_plain = isinstance(out, (bool, int, float))
        return torch.tensor(out, dtype=torch.float64) if is_plain else out


# -- measures --------------------------------------------------------------------------------------

def norm(x: Any) -> Any: return torch.linalg.vector_norm(x, dtype=torch.float64)
def filled(x: Any) -> Any: return torch.count_nonzero(x)
def broken(x: Any) -> Any: return torch.count_nonzero(0 * x)  # 0·∞ is not a number
def product(x: Any, y: Any) -> Any: return (x.double() * y.double()).sum()


def measure(fn: Callable[..., Any], called: str, *reads: str) -> Quantity:
    "What a function makes of the values of these names."
    return Quantity(fn, dict(zip('xy', reads)), called=f'watched_{called}')


# -- columns ---------------------------------------------------------------------------------------

class Column(NamedTuple):
    """A column of the record: a formula of measures, each an array with a value for each parameter.

    `needs` are the measures, and how many of the composition's parts run before each.
    """
    name: str
    needs: tuple[tuple[int, Quantity], ...]
    formula: Callable[..., Numbers]

    def values(self,
        measured: Mapping[str, Numbers],  # By the measures' names
        sizes: Numbers                    # How many elements each parameter has
    ) -> Numbers:
        with np.errstate(all='ignore'):
            return self.formula(*[measured[q.out] for _, q in self.needs], sizes)


def _same(x: Numbers, sizes: Numbers) -> Numbers: return x
def _count(x: Numbers, sizes: Numbers) -> Numbers: return x.astype(np.int64)
def _ratio(x: Numbers, y: Numbers, sizes: Numbers) -> Numbers: return x / y
def _cosine(dot: Numbers, x: Numbers, y: Numbers, sizes: Numbers) -> Numbers: return dot / x / y
def _zeroed(before: Numbers, after: Numbers, sizes: Numbers) -> Numbers:
    return (before - after) / sizes


def usual_columns(composition: Composition) -> Iterator[Column]:
    """What every recorder measures of a parameter θ with a gradient g and an update Δθ.

    With `maximize`, g is −∇f, as the parts see it: then a cosine of −1 is straight uphill.

    `grad_norm`, `update_norm`, `param_norm`: ‖g‖ before any transform; ‖Δθ‖ as the parts want it,
    before it is rounded to a low precision; ‖θ‖ before the step.
    `update_ratio`: ‖Δθ‖/‖θ‖. `cosine`: of the angle between Δθ and g, −1 straight downhill.
    `effective_lr`: ‖Δθ‖/‖g‖, the learning rate with which plain SGD would have moved as far. So it
    has the unit of a learning rate, whatever the rule is. A median of |Δθᵢ|/|gᵢ| would have no
    value where most gradients are 0.
    `nonfinite`: how many elements of g are infinite or not a number.
    `x_norm`: of each stat x that is a tensor, after the step.
    `part_kept`, `part_zeroed`: of each part that changes a gradient or an update that is there, the
    norm after it over the norm before it, and the share of all elements that it made 0. A clip that
    took a third kept 0.67, and a mask that closed on half of the elements zeroed 0.5.
    """
    end = len(composition.ordered)
    grad, param = ((0, measure(norm, f'{k}_norm', k)) for k in ('raw_grad', 'param'))
    update = end, measure(norm, 'update_norm', 'update')
    along = end, measure(product, 'product', 'update', 'raw_grad')
    yield Column('grad_norm', (grad,), _same)
    yield Column('update_norm', (update,), _same)
    yield Column('param_norm', (param,), _same)
    yield Column('update_ratio', (update, param), _ratio)
    yield Column('cosine', (along, update, grad), _cosine)
    yield Column('effective_lr', (update, grad), _ratio)
    yield Column('nonfinite', ((0, measure(broken, 'nonfinite', 'raw_grad')),), _count)
    for k in composition.tensor_stats:
        yield Column(f'{k}_norm', ((end, measure(norm, f'{k}_norm', k)),), _same)
    for i, part in _changes(composition):
        before, after = ((at, measure(norm, f'norm_{at}', part.out)) for at in (i, i + 1))
        yield Column(f'{part.label}_kept', (after, before), _ratio)
        before, after = ((at, measure(filled, f'filled_{at}', part.out)) for at in (i, i + 1))
        yield Column(f'{part.label}_zeroed', (before, after), _zeroed)


def own_column(composition: Composition, fn: Callable[..., Any]) -> Column:
    "What a function of one's own measures after the step. Raises ContractError if it cannot."
    quantity = Quantity(fn)
    together = Composition([*composition.ordered, quantity])
    if more := [k for k in together.hypers if k not in composition.hypers]:
        raise ContractError(f'`{quantity.label}` reads `{more[0]}`, which is not a hyperparameter '
                            f'here: {did_you_mean(more[0], composition.hypers)}')
    return Column(quantity.out, ((len(composition.ordered), quantity),), _same)


def _changes(composition: Composition) -> Iterator[tuple[int, Part]]:
    "The parts that change a gradient or an update that is there already, and their places."
    there = {'grad'}
    for i, part in enumerate(composition.ordered):
        if part.out in there: yield i, part
        if part.out == 'update': there.add('update')
