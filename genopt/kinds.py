"""The kinds of parts. A class gives the results of its parts their meaning; a decorator makes them.

| decorator    | returns                                     | known afterwards as      |
|--------------|---------------------------------------------|--------------------------|
| `@stat`      | the new value of its first argument         | that argument's name     |
| `@transform` | the new `grad`, `update`, `param`, `prev_x` | that name                |
| `@step`      | a change of the parameter, which is added   | `update`, the sum so far |
| `@scalar`    | a number, once for many parameters          | the function's own name  |
| `@total`     | a number, summed over all parameters        | the function's own name  |
| `@gate`      | True if this step may happen                | (only the engine asks)   |
| `@tensor`    | a tensor, or several, that nobody keeps     | the function's own name  |
| `@evaluation` | the weights to evaluate                    | (only `opt.eval()` asks) |

A total is taken of every parameter before any of them moves: a global norm is the root of one. A
gate reads only numbers. While it says no, only the parts before it in the list take effect. A
`@tensor` is made once in a step in which something reads it. No step runs an evaluation: it is made
when somebody asks for it. What the training loop provides is a `@given`, in `given.py`.
"""
from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Protocol, overload

import torch
from torch import Tensor

from .contract import EVALUATED, PartError, is_reserved
from .named import Gate, Made, Number, Scalar, Total
from .part import Part
from .places import Place

__all__ = ['Stat', 'Transform', 'Step', 'Number', 'Scalar', 'Total', 'Gate', 'Made', 'Evaluation',
           'Place', 'decorator', 'stat', 'transform', 'step', 'scalar', 'total', 'gate', 'tensor',
           'evaluation']


class Stat(Part):
    """A part that remembers: it returns the new value of its first argument.

    Before a parameter's first step that is zeros of its shape and dtype; or the number `init`,
    which makes it a number that runs in plain Python; or the tensor `init(param)`. Behind a `*`,
    `init` may read hyperparameters too; without `param`, as in `lambda *, lr: lr`, it returns a
    number. `whole=True`: it needs the tensor's own shape. `needs='real'`, `needs='matrix'`: only
    for such parameters. `switch='due'`: while that hyperparameter or scalar is 0 it stays as it is.
    `sparse='dense'`: it takes sparse gradients, made dense. `shared=True`: a number that is one for
    all parameters, as one that is made of a total is in any case. `decay=True`: as a modifier of a
    recipe, it comes after weight decay, and sees that too. `nonnegative=True`: no element is below
    0, so that 8 bits need none for a sign.
    """
    kind, remembers = 'stat', True
    options: ClassVar[tuple[str, ...]] = ('init', 'whole', 'needs', 'switch', 'sparse', 'stacked',
                                          'shared', 'decay', 'nonnegative')

    def __init__(self, fn: Callable[..., Any], names: Mapping[str, str]={}, **options: Any):
        super().__init__(fn, names, **options)
        self.reads[0] = self.template = f'prev_{self.out}'
        reads_nothing = all(a.kind == a.KEYWORD_ONLY for a in self._init_args())
        self.is_number = isinstance(self.init, Real) or callable(self.init) and reads_nothing
        if self.shared and not self.is_number:
            raise self.broken('shared=True is for a number, and this is a tensor: begin with a '
                              'number, as init=0')

    @property
    def place(self) -> Place:
        if self.decay: return Place.DECAYED
        return Place.NUMBERS if self.is_number else Place.RULE

    def result_name(self) -> str:
        if not self.args or is_reserved(self.args[0]):
            why = f'; `{self.args[0]}` has a meaning of its own' if self.args else ''
            raise self.broken("a stat's first argument is the name of what it remembers, and it "
                              f'returns the new value of that{why}')
        if not (self.init is None or callable(self.init) or isinstance(self.init, Real)):
            raise self.broken(f'init={self.init!r}: give a number, or a function of `param` that '
                              'returns a tensor')
        return self.args[0]

    def stay(self, env: MutableMapping[str, Any]) -> None: env[self.out] = env[f'prev_{self.out}']

    def _init_args(self) -> list[inspect.Parameter]:
        if not callable(self.init): return []
        try: return [*inspect.signature(self.init).parameters.values()]
        except ValueError:  # a function written in C
            return [inspect.Parameter('param', inspect.Parameter.POSITIONAL_ONLY)]

    def init_parameters(self) -> list[inspect.Parameter]:
        return [a for a in self._init_args() if a.kind == a.KEYWORD_ONLY]

    def start(self,
        param: Tensor,
        hypers: Mapping[str, Any]={}  # Values of the hyperparameters in `init_hypers`
    ) -> Any:
        """The value before the first step: a number, or a tensor, by default zeros like `param`.

        Raises PartError if its `init` fails. As every part, `init` sees a complex parameter as
        pairs of reals.
        """
        if self.init is None: return torch.zeros_like(param, memory_format=torch.preserve_format)
        if not callable(self.init): return self.init
        is_complex, param = param.is_complex(), param.detach()
        if is_complex: param = torch.view_as_real(param)
        given = {a.name: hypers[k] for a, k in zip(self.init_parameters(), self.init_hypers)}
        try: value = self.init(*[] if self.is_number else [param], **given)
        except Exception as e:
            raise PartError(f'`{self.label}`: its init failed: {type(e).__name__}: {e}') from e
        returned = f'`{self.label}`: its init returned {value!r}'
        if self.is_number:
            if isinstance(value, Real): return value
            raise PartError(f'{returned}: as it does not read `param`, it returns a number')
        if not isinstance(value, Tensor): raise PartError(f'{returned}, and not a tensor')
        value = value.clone()  # it may be the parameter itself
        same = is_complex and value.shape == param.shape
        return torch.view_as_complex(value) if same else value


class Transform(Part):
    """A part that returns the new `grad`, `update` or `param`: whichever is its first argument.

    With `prev_x` as the first one it changes what the stat `x` remembers, before it is updated.
    A new `param` is what later parts see, and from where the parameter moves.
    `whole=True`: it needs the tensor's own shape. `needs='real'`, `needs='matrix'`: only for such
    parameters. `switch='wd'`: while that hyperparameter (or scalar) is 0 it does nothing, so
    engines leave it out; `only_if='wd'`: the same of a hyperparameter that another part takes.
    `sparse='rows'`: of a sparse gradient, all parts see only the rows that it touches.
    `decay=True`: as a modifier of a recipe, it comes after weight decay, and so changes it too.
    `stacked=True`: its tensors may have one dimension more in front, and then it treats each alone,
    as a matrix product does: so all matrices of one shape are one call.
    """
    kind = 'transform'
    options = 'whole', 'needs', 'switch', 'only_if', 'sparse', 'decay', 'stacked'

    @property
    def place(self) -> Place:
        if self.out != 'update': return Place.GRADIENT
        return Place.DECAYED if self.decay else Place.UPDATE

    def result_name(self) -> str:
        first = self.args[0] if self.args else ''
        if first not in ('grad', 'update', 'param') and not first.startswith('prev_'):
            raise self.broken("a transform's first argument is `grad` or `update`, or `prev_` and "
                              'the name of a stat, and it returns the new one; or `param`, and it '
                              'returns where the parameter is')
        return self.args[0]


class Step(Part):
    """A part that returns a change of the parameter. The update is the sum: θ ← θ + Σ steps.

    `switch='wd'`: while that hyperparameter (or scalar) is 0 the change is 0, so engines may leave
    it out; `only_if='wd'`: the same of a hyperparameter that another part takes.
    """
    kind, options, template = 'step', ('whole', 'needs', 'switch', 'only_if', 'stacked'), 'param'

    @property
    def place(self) -> Place:
        if {*self.args} <= {'param'}: return Place.DECAY
        return Place.SEEING_DECAY if 'update' in self.reads else Place.RULE

    def result_name(self) -> str: return 'update'

    def is_off(self, env: Mapping[str, Any]) -> bool:
        begun = self.is_switched or 'update' in env  # the first step makes the update
        return begun and super().is_off(env)

    def stay(self, env: MutableMapping[str, Any]) -> None:
        if 'update' not in env: env['update'] = torch.zeros_like(env['param'])

    def put(self, env: MutableMapping[str, Any], out: Any) -> None:
        env['update'] = env['update'] + out if 'update' in env else out

    def nothing(self, env: Mapping[str, Any]) -> Tensor: return torch.zeros_like(env['param'])

    def wanted(self, env: Mapping[str, Any]) -> str:
        return f'the change of `param`, a tensor of shape {tuple(env["param"].shape)}'


class Evaluation(Part):
    """A part that returns the weights to evaluate, made of `param` and stats as a step leaves them.

    `Optimizer.eval` runs it, on a whole tensor. No step does.
    """
    kind, whole, template, place = 'evaluation', True, 'param', Place.DECAYED

    def result_name(self) -> str: return EVALUATED

    def wanted(self, env: Mapping[str, Any]) -> str:
        return f'the weights to evaluate, a tensor of shape {tuple(env["param"].shape)}'


# -- decorators ------------------------------------------------------------------------------------

class Decorator(Protocol):
    "Makes a part of a function, with options or without."
    @overload
    def __call__(self, fn: Callable[..., Any], /) -> Part: ...
    @overload
    def __call__(self, /, **options: Any) -> Callable[[Callable[..., Any]], Part]: ...


def decorator(kind: type[Part]) -> Decorator:
    "The decorator that makes parts of one kind. It takes the options of that class."
    def decorate(fn: Any=None, /, **options: Any) -> Any:
        return partial(kind, **options) if fn is None else kind(fn, **options)
    first = inspect.Parameter('fn', inspect.Parameter.POSITIONAL_ONLY, default=None)
    more = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=getattr(kind, k))
            for k in kind.options]
    decorate.__signature__ = inspect.Signature([first, *more])  # type: ignore[attr-defined]
    decorate.__name__ = decorate.__qualname__ = kind.kind
    decorate.__doc__ = kind.__doc__
    decorate.__module__ = sys._getframe(1).f_globals['__name__']  # where it is found by its name
    return decorate


stat, transform, step = decorator(Stat), decorator(Transform), decorator(Step)
scalar, total, gate, tensor = map(decorator, (Scalar, Total, Gate, Made))
evaluation = decorator(Evaluation)
