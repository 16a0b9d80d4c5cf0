"""Parts: what an optimizer is made of, each a pure function whose signature says what it needs.

    >>> @stat
    ... def average_grad(grad_avg, grad, *, mom=0.9):
    ...     "m ← β₁·m + (1−β₁)·g"
    ...     return grad_avg.lerp(grad, 1 - mom)

Positional arguments name what the part reads. Keyword-only arguments are its hyperparameters, with their defaults
(none: the user must give it). The decorator says what the result means:

| decorator    | returns                                     | known afterwards as      |
|--------------|---------------------------------------------|--------------------------|
| `@stat`      | the new value of its first argument         | that argument's name     |
| `@transform` | the new `grad`, or the new `update`         | `grad`, `update`         |
| `@step`      | a change of the parameter, which is added   | `update`, the sum so far |
| `@scalar`    | a number, once for many parameters          | the function's own name  |
| `@total`     | a number, summed over all parameters        | the function's own name  |
| `@gate`      | may this step happen?                       | (only the engine asks)   |

Names with a meaning of their own: `param`, `grad`, `raw_grad` (the gradient as it came, whatever transforms made of
`grad`), `update`, `new_param` (the parameter with the update so far), and `prev_x` (the stat `x` as it was before this
step). `place` is the parameter's number among all of the optimizer's, for what differs from one to the next, such as
random numbers; its reader says `whole=True`. Every other positional argument is a stat or a scalar. One with a default
names the scalar (or total) it depends on, so those need not be listed:

    >>> @scalar
    ... def debias(count, *, mom): return 1 - mom**count
    >>> @step
    ... def debiased_step(grad_avg, bias=debias, *, lr): return -lr / bias * grad_avg
    >>> debiased_step
    debiased_step(grad_avg, bias=debias, *, lr): a step
    >>> debiased_step.rename(grad_avg='slow_avg', mom='slow_mom')      # its scalar follows
    debiased_step[grad_avg=slow_avg, mom=slow_mom](slow_avg, bias=debias[mom=slow_mom], *, lr): a step

A `@total` is taken of every parameter before any moves: a global norm is the root of one. A `@gate` reads only numbers;
while it says no, what stands before it in the list has happened, and nothing else.

A part stays a function: `average_grad(m, g, mom=.9)` is m·0.9 + g·0.1.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from keyword import iskeyword
from numbers import Real
from operator import attrgetter
from pathlib import Path
from pickle import PicklingError
from typing import Any, TypeAlias, overload

import torch
from torch import Tensor

from .hypers import did_you_mean
from .words import COMMON, is_note

__all__ = ['Part', 'PartError', 'ContractError', 'stat', 'scalar', 'transform', 'step', 'total', 'gate', 'REQUIRED']

RESERVED = ('param', 'grad', 'raw_grad', 'update', 'new_param', 'place')
GROUP_KEYS = ('params', 'param_names', 'parts', 'maximize')
CALL_WORDS = ('self', 'compile', 'closure', 'recipe')  # arguments of who makes or calls an optimizer
MARKS = 'do_wd', 'force_train'  # a state's entries that a fastai Learner makes: does it decay? is it never frozen?
SWAPPED = 'swapped_param'       # a state's entry while its parameter holds an average: the parameter itself
STATE_WORDS = (*MARKS, SWAPPED)


class ContractError(TypeError):
    "A function that cannot be a part, or parts that do not make an optimizer. Raised before the first step."


class PartError(RuntimeError):
    "A part failed while it ran, or did what it must not. Its `__cause__` is the original exception, if there was one."


class _Required:
    "The default of a hyperparameter that has none."
    def __repr__(self) -> str: return 'REQUIRED'
    def __reduce__(self) -> str: return 'REQUIRED'
REQUIRED = _Required()


class Part:
    """A pure function, and what its signature says: `out` (the name of its result), `reads` and `hypers`.

    Made by `@stat`, `@scalar`, `@transform`, `@step`, `@total` and `@gate`. Raises ContractError if the signature
    breaks the contract.
    """
    known_stats: dict[str, str] = {}  # the name of a stat -> the first part that keeps it: for errors' advice

    def __init__(self,
        fn: Callable[..., Any],  # The function
        kind: str,               # stat, scalar, transform, step, total or gate
        *,
        init: Any=None,          # A stat before its first step: None (zeros), a number, or a function: see `stat`
        whole: bool=False,       # Does it need the tensor's own shape, as a norm does?
        needs: str='',           # 'real' or 'matrix': what a parameter must be
        switch: str='',          # A hyperparameter: while it is 0, a transform or a step does nothing
        sparse: str='',          # What a sparse gradient becomes: 'rows' (only those that it touches) or 'dense'
        decay: bool=False,       # Does a transform of the update mean weight decay too?
        names: Mapping[str, str] | None=None  # New names of what it reads and of its hyperparameters
    ):
        for word, value, known in (('needs', needs, ('real', 'matrix')), ('sparse', sparse, ('rows', 'dense'))):
            if value and value not in known:
                raise ContractError(f'@{kind}({word}={value!r}): give {" or ".join(map(repr, known))}')
        if not inspect.isfunction(fn):
            raise ContractError(f'@{kind} decorates a function, made with `def`, and {fn!r} is not one')
        self.fn, self.kind, self.init, self.names = fn, kind, init, dict(names or {})
        self.whole, self.needs, self.sparse, self.decay = whole or needs == 'matrix', needs, sparse, decay
        self.given_switch, self.switch = switch, self.names.get(switch, switch)
        self.__name__, self.__doc__, self.__module__ = fn.__name__, fn.__doc__, fn.__module__
        self.__qualname__, self.__wrapped__ = fn.__qualname__, fn
        self._read_signature()
        if kind == 'stat' and not self.names: self.known_stats.setdefault(self.out, self.__name__)

    def _read_signature(self) -> None:
        args = list(inspect.signature(self.fn).parameters.values())
        def now(a: inspect.Parameter) -> str: return self.names.get(a.name, a.name)
        for a in args:
            if a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD):
                raise self._broken(f'`{a}` hides what it needs: name every argument')
        pos, kw = [a for a in args if a.kind != a.KEYWORD_ONLY], [a for a in args if a.kind == a.KEYWORD_ONLY]
        linked = {a.name: a.default for a in pos if a.default is not a.empty}
        for name, default in linked.items():
            if not (isinstance(default, Part) and default.kind in ('scalar', 'total')):
                raise self._broken(f'`{name}={default!r}` stands before the `*`, where a default must be a @scalar '
                                   f'part (or a @total)' + self._instead_of_default(name, default))
        # Names as they were defined: of what it reads, of its hyperparameters, those of its scalars, a scalar's own
        own = [a.name for a in args if a.name not in linked] + [self.__name__] * (self.kind in ('scalar', 'total'))
        own += [a.name for a in self._init_args() if a.kind == a.KEYWORD_ONLY]
        self._defined = {*own}.union(*(link.knows for link in linked.values()))
        self.links = {name: link.rename(**{k: v for k, v in self.names.items() if k in link.knows})
                      for name, link in linked.items()}
        self.args = [now(a) for a in pos if a.name not in linked]
        self.hypers = {now(a): REQUIRED if a.default is a.empty else a.default for a in kw}
        self.begins = {now(a): REQUIRED if a.default is a.empty else a.default for a in self._init_args()
                       if a.kind == a.KEYWORD_ONLY}  # hyperparameters of its `init`
        self.hypers |= {k: v for k, v in self.begins.items() if self.hypers.get(k, REQUIRED) is REQUIRED}
        self._check_hypers()
        self._check_reads()
        if len({*self.args, *self.hypers}) < len(self.args) + len(self.hypers):
            raise self._broken(f'{_pairs(self.names)} gives one name to two of its arguments')
        self.out = getattr(self, f'_out_of_{self.kind}')(self.args)
        # What to call the function with: the names of its arguments; and (its keyword, the name of the hyperparameter)
        self.reads = self.args + [link.out for link in self.links.values()]
        if self.kind == 'stat': self.reads[0] = f'prev_{self.out}'
        # What its result has the shape of
        self.like = 'param' if self.kind in ('step', 'total') else next(iter(self.reads), '')
        self.keywords = [(a.name, now(a)) for a in kw]

    def _init_args(self) -> list[inspect.Parameter]:
        "The arguments of a stat's `init`, if that is a function whose signature can be read."
        if not callable(self.init): return []
        try: return list(inspect.signature(self.init).parameters.values())
        except ValueError: return [inspect.Parameter('param', inspect.Parameter.POSITIONAL_ONLY)]  # one written in C

    def _check_hypers(self) -> None:
        for k, v in self.hypers.items():
            if k in COMMON:
                raise self._broken(f'`{k}` is how torch spells {_code(COMMON[k])}: say that, or choose another name')
            if k in GROUP_KEYS or is_note(k):
                raise self._broken(f'a group may have its own `{k}`: give the hyperparameter another name')
            if k in CALL_WORDS:
                raise self._broken(f'`{k}` means something else to who makes or calls an optimizer: give the '
                                   'hyperparameter another name')
            if _is_reserved(k):
                raise self._broken(f'`{k}` has a meaning of its own: give the hyperparameter another name')
            if v is not REQUIRED and not isinstance(v, Real):
                raise self._broken(f'the default of the hyperparameter `{k}` is {v!r}: make it a number')
        if self.switch and self.switch not in self.hypers:
            raise self._broken(f'switch={self.given_switch!r}: {did_you_mean(self.given_switch, self.hypers)}')

    def _check_reads(self) -> None:
        for a in self.args:
            if a == 'prev_': raise self._broken('`prev_` lacks the name of a stat, as in `prev_grad_avg`')
            if a.startswith('prev_prev_'):
                raise self._broken(f'`{a}` is from two steps before this one: keep `{a.removeprefix("prev_")}` in a '
                                   '@stat, and read `prev_` and the name of that')

    def _instead_of_default(self, name: str, default: Any) -> str:
        "What to write instead of a default before the `*`."
        if isinstance(default, Real): return f'; a hyperparameter stands after it: `*, {name}={default!r}`'
        if isinstance(default, Part) and default.kind == 'stat': return f': read what it keeps, `{default.out}`'
        return ': leave the default out'

    def _out_of_stat(self, args: list[str]) -> str:
        if not args or _is_reserved(args[0]):
            raise self._broken('a stat\'s first argument is the name of what it remembers, and it returns the new '
                               'value of that' + (f'; `{args[0]}` has a meaning of its own' if args else ''))
        if not (self.init is None or callable(self.init) or isinstance(self.init, Real)):
            raise self._broken(f'init={self.init!r}: give a number, or a function of `param` that returns a tensor')
        return args[0]

    def _out_of_total(self, args: list[str]) -> str:
        if 'update' in args or 'new_param' in args:
            raise self._broken('a total is taken before any parameter moves: it cannot read `update` or `new_param`')
        return self._out_of_named(args)

    def _out_of_gate(self, args: list[str]) -> str:
        for a in args:
            if a in RESERVED: raise self._broken(f'a gate runs on plain numbers and cannot read {_tensor(a)}')
        return f'gate {self.label}'

    def _out_of_transform(self, args: list[str]) -> str:
        if not args or args[0] not in ('grad', 'update'):
            raise self._broken('a transform\'s first argument is `grad` or `update`, and it returns the new one')
        return args[0]

    def _out_of_step(self, args: list[str]) -> str: return 'update'

    def _out_of_scalar(self, args: list[str]) -> str:
        for a in args:
            if a in RESERVED: raise self._broken(f'a scalar runs on plain numbers and cannot read {_tensor(a)}')
        return self._out_of_named(args)

    def _out_of_named(self, args: list[str]) -> str:
        name = self.names.get(self.__name__, self.__name__)
        if _is_reserved(name): raise self._broken(f'`{name}` has a meaning of its own: give it another name')
        return self.names.get(self.__name__, self.label)

    def _broken(self, why: str) -> ContractError:
        code = self.fn.__code__
        return ContractError(f'`{self.__name__}` cannot be a @{self.kind} '
                             f'({Path(code.co_filename).name}, line {code.co_firstlineno}): {why}')

    @property
    def is_number(self) -> bool:
        "Does it run in plain Python, once for all parameters that share the numbers?"
        return (self.kind in ('scalar', 'total', 'gate') or isinstance(self.init, Real) or
                callable(self.init) and all(a.kind == a.KEYWORD_ONLY for a in self._init_args()))

    @property
    def knows(self) -> set[str]:
        "The names that `rename` can change: its arguments, those of the scalars it depends on, and a scalar's own."
        return {self.names.get(n, n) for n in self._defined}

    @property
    def label(self) -> str: return self.__name__ + (f'[{_pairs(self.names)}]' if self.names else '')

    def rename(self, **names: str) -> Part:
        """The same part under other names: `average_grad.rename(grad_avg='slow_avg', mom='slow_mom')`.

        Reaches the scalars that the part depends on. Raises ContractError for a name that the part does not have.
        """
        for n, new in names.items():
            if not (isinstance(new, str) and new.isidentifier() and not iskeyword(new)):
                raise ContractError(f'`{self.label}` cannot call `{n}` {new!r}: give a name'
                                    + ' that is not a word of Python' * (isinstance(new, str) and iskeyword(new)))
            if n not in self.knows:
                raise ContractError(f'`{self.label}` has no `{n}` to rename: {did_you_mean(n, sorted(self.knows))}')
        now = {n: self.names.get(n, n) for n in sorted(self._defined)}
        changed = {n: new for n, old in now.items() if (new := names.get(old, old)) != n}
        return Part(self.fn, self.kind, **self._declared(), names=changed)

    def with_another(self, name: str) -> str:
        "For errors' advice: how one writes this part with another name for what is called `name` now."
        own = next((n for n in sorted(self._defined) if self.names.get(n, n) == name), name)
        new = {n: repr(new) for n, new in self.names.items()} | {own: '...'}
        return f'`{self.__name__}.rename({", ".join(f"{n}={new[n]}" for n in new)})`'

    def _declared(self) -> dict[str, Any]:
        "What the decorator was given."
        return dict(init=self.init, whole=self.whole, needs=self.needs, switch=self.given_switch, sparse=self.sparse,
                    decay=self.decay)

    def start(self,
        param: Tensor,
        hypers: Mapping[str, Any]={}  # Values of the hyperparameters in `begins`
    ) -> Any:
        """The value of a stat before its first step: a number, or a tensor, by default zeros like `param`.

        Raises PartError if its `init` fails. As every part, `init` sees a complex parameter as pairs of reals.
        """
        if self.init is None: return torch.zeros_like(param, memory_format=torch.preserve_format)
        if not callable(self.init): return self.init
        complex_, param = param.is_complex(), param.detach()
        if complex_: param = torch.view_as_real(param)
        back = {self.names.get(a.name, a.name): a.name for a in self._init_args() if a.kind == a.KEYWORD_ONLY}
        try: value = self.init(*[] if self.is_number else [param], **{back[k]: hypers[k] for k in back})
        except Exception as e: raise PartError(f'`{self.label}`: its init failed: {type(e).__name__}: {e}') from e
        if self.is_number:
            if not isinstance(value, Real): raise PartError(f'`{self.label}`: its init returned {value!r}: as it does '
                                                            'not read `param`, it returns a number')
            return value
        if not isinstance(value, Tensor):
            raise PartError(f'`{self.label}`: its init returned {value!r}, and not a tensor')
        value = value.clone()  # it may be the parameter itself
        return torch.view_as_complex(value) if complex_ and value.shape == param.shape else value

    def run(self, env: Mapping[str, Any]) -> Any:
        "Calls the function on what it reads from `env`. Raises PartError if it fails."
        try: return self.fn(*[env[n] for n in self.reads], **{k: env[n] for k, n in self.keywords})
        except Exception as e: raise PartError(f'`{self.label}` failed: {type(e).__name__}: {e}') from e

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        "The function itself, with the names that the part has now."
        back = {new: old for old, new in self.names.items()}
        kwargs = {back.get(k, k): v for k, v in kwargs.items()}
        if missing := [k for k in [*self.links][max(len(args) - len(self.args), 0):] if k not in kwargs]:
            raise TypeError(f'`{self.label}`, called alone, needs a number for {_code(missing)}')
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        args = [*self.args, *(f'{k}={s.label}' for k, s in self.links.items())]
        hypers = [k if v is REQUIRED else f'{k}={v:g}' for k, v in self.hypers.items()]
        return f'{self.label}({", ".join(args + ["*"] * bool(hypers) + hypers)}): a {self.kind}'

    def _key(self) -> tuple[Any, ...]:
        return self.fn, self.kind, *self._declared().values(), tuple(sorted(self.names.items()))
    def __eq__(self, other: object) -> bool: return isinstance(other, Part) and self._key() == other._key()
    def __hash__(self) -> int: return hash(self._key())
    def __copy__(self) -> Part: return self
    def __deepcopy__(self, memo: dict[int, Any]) -> Part: return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _find, (*where(self), self.names)


def _pairs(names: Mapping[str, str]) -> str: return ', '.join(f'{k}={v}' for k, v in sorted(names.items()))


def _is_reserved(name: str) -> bool: return name in RESERVED or name.startswith('prev_')


def _tensor(name: str) -> str:
    late = name in ('update', 'new_param')
    return f'`{name}`, which is a tensor' + ('' if late else ': read a @total of it')


def _code(names: Iterable[str]) -> str: return ' and '.join(f'`{n}`' for n in names)


def where(obj: Any) -> tuple[str, str]:
    "The module and the name under which another process finds a part or a recipe. Raises PicklingError if it cannot."
    try: found = attrgetter(obj.__qualname__)(import_module(obj.__module__))
    except (AttributeError, ImportError): found = None
    if type(found) is not type(obj) or found.fn is not obj.fn:
        raise PicklingError(f'`{obj.__name__}` cannot be found as {obj.__module__}.{obj.__qualname__} by another '
                            'process: define it at the top of a module, under its own name')
    return obj.__module__, obj.__qualname__


def _find(module: str, qualname: str, names: dict[str, str]) -> Part:
    "Unpickles a part by the name it was defined under."
    part: Part = attrgetter(qualname)(import_module(module))
    return Part(part.fn, part.kind, **part._declared(), names=names)


_Fn: TypeAlias = Callable[..., Any]
_Decorator: TypeAlias = Callable[[_Fn], Part]


def _decorator(fn: _Fn | None, kind: str, **kwargs: Any) -> Part | _Decorator:
    return (lambda f: Part(f, kind, **kwargs)) if fn is None else Part(fn, kind, **kwargs)


Init: TypeAlias = float | Callable[..., Any] | None


@overload
def stat(fn: _Fn) -> Part: ...
@overload
def stat(*, init: Init=None, whole: bool=False, needs: str='', sparse: str='') -> _Decorator: ...
def stat(fn: Any=None, *, init: Init=None, whole: bool=False, needs: str='', sparse: str='') -> Any:
    """A part that remembers: returns the new value of its first argument.

    Before a parameter's first step that is zeros of its shape and dtype; or the number `init`, which makes it a number
    that runs in plain Python; or the tensor `init(param)`. Behind a `*`, `init` may read hyperparameters too; without
    `param`, as in `lambda *, lr: lr`, it returns a number. `whole=True`: it needs the tensor's own shape.
    `needs='real'`, `needs='matrix'`: only for such parameters. `sparse='dense'`: it takes sparse gradients, made dense.
    """
    return _decorator(fn, 'stat', init=init, whole=whole, needs=needs, sparse=sparse)


@overload
def scalar(fn: _Fn) -> Part: ...
@overload
def scalar() -> _Decorator: ...
def scalar(fn: Any=None) -> Any:
    "A part that returns a number, made of numbers: computed in plain Python, once for all parameters that share them."
    return _decorator(fn, 'scalar')


@overload
def transform(fn: _Fn) -> Part: ...
@overload
def transform(*, whole: bool=False, needs: str='', switch: str='', sparse: str='', decay: bool=False) -> _Decorator: ...
def transform(fn: Any=None, *, whole: bool=False, needs: str='', switch: str='', sparse: str='',
              decay: bool=False) -> Any:
    """A part that returns the new `grad`, or the new `update`: whichever is its first argument.

    `whole=True`: it needs the tensor's own shape. `needs='real'`, `needs='matrix'`: only for such parameters.
    `switch='wd'`: while that hyperparameter is 0 it does nothing, so engines leave it out. `sparse='rows'`: of a sparse
    gradient, all parts see only the rows that it touches. `decay=True`: as a modifier of a recipe, it comes after
    weight decay, and so changes it too.
    """
    return _decorator(fn, 'transform', whole=whole, needs=needs, switch=switch, sparse=sparse, decay=decay)


@overload
def step(fn: _Fn) -> Part: ...
@overload
def step(*, whole: bool=False, needs: str='', switch: str='') -> _Decorator: ...
def step(fn: Any=None, *, whole: bool=False, needs: str='', switch: str='') -> Any:
    """A part that returns a change of the parameter. The update is the sum of the steps: θ ← θ + Σ steps.

    `switch='wd'`: while that hyperparameter is 0 the change is 0, so engines may leave it out.
    """
    return _decorator(fn, 'step', whole=whole, needs=needs, switch=switch)


@overload
def total(fn: _Fn) -> Part: ...
@overload
def total() -> _Decorator: ...
def total(fn: Any=None) -> Any:
    """A part that returns one number (a 0-dim tensor) of a parameter's tensors; known by its name is their sum.

    The sum is over all parameters, of all groups, whose parts read it and that have a gradient. Every parameter's is
    taken, in its own shape and after the parts before it, before any parameter moves.
    """
    return _decorator(fn, 'total', whole=True)


@overload
def gate(fn: _Fn) -> Part: ...
@overload
def gate() -> _Decorator: ...
def gate(fn: Any=None) -> Any:
    """A part that says whether a step may happen: true or false, made of numbers.

    If it is false, stats that are numbers and stand before it have their new values, and nothing else has changed.
    """
    return _decorator(fn, 'gate')
