"""The recorder writes down every operation of torch that happens while it is on.

Each tensor stands for a value on the tape, a `Ref`, and has its `Axes`. Views are not operations:
they are the same value, seen along other dimensions.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from .axes import OWN, Axes, Misfit, along, broadcast, of_param, reduced, viewed
from .numbers import ASKS, ASKS_NUMBER, Crosses, Decides, Numbers, Unrecordable
from .results import of_one, reduced_dtype, result
from .pointwise import FACTORIES, VIEWS, is_one_by_one, why_not_pointwise

__all__ = ['Op', 'Recorder', 'Reduction', 'Ref', 'Space']

Space: TypeAlias = tuple[int, ...]  # axes, the outermost first


class Ref(NamedTuple):
    "A value on the tape."
    place: int
    dtype: torch.dtype
    along: frozenset[int] | None  # the parameter's axes; None for a number, one for all tensors

    @property
    def is_number(self) -> bool: return self.along is None

    @property
    def space(self) -> Space: return tuple(sorted(self.along or ()))


class Op(NamedTuple):
    "A recorded call: `func` with `args` (by place, the defaults filled in), which made `out`."
    func: Any
    args: tuple[Any, ...]
    out: Ref
    among: torch.dtype  # for comparisons: its first two arguments are promoted to it

    @property
    def name(self) -> str: return str(self.func._schema.name.removeprefix('aten::'))


class Reduction(NamedTuple):
    "One value made of all elements of `of` along the axes that `out` lacks."
    how: str  # a key of `reductions.HOW`
    of: Ref
    out: Ref


REDUCTIONS = {'sum', 'mean', 'amax', 'amin', 'max', 'min', 'any', 'all', 'linalg_vector_norm',
              'count_nonzero'}
NORMS = {2.: 'norm', 1.: 'norm1', math.inf: 'norm_inf'}
PERMUTED = {'t', 'transpose', 'permute'}
WHOLE = {False: 'does not treat each element alone: say `whole=True`, and the part runs on '
                'whole tensors', True: 'has no place in a loop'}


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    "Writes down every operation that happens while it is on."
    @classmethod
    def _should_skip_dynamo(cls) -> bool: return False  # or torch would import its compiler

    def __init__(self, numbers: Numbers, shape: Sequence[int], check: Callable[[Op], None]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers, self.shape, self.check = numbers, tuple(shape), check
        self.ops: list[Any] = []
        self.whole = False              # may the part that runs look at other elements
        self.fixed: set[int] = set()    # tensors that were given or share memory, by id
        self._refs: dict[int, Ref] = {}
        self._axes: dict[int, Axes | None] = {}  # None of numbers
        self._alive: list[Tensor] = []  # so that no id is used twice

    def add(self, x: Tensor, axes: Axes | None, ref: Ref | None=None) -> Ref:
        "Makes a tensor stand for a new value, or for that of `ref`."
        self._alive.append(x)
        runs = None if axes is None else along(axes)
        self._refs[id(x)] = ref = ref or Ref(len(self._alive), x.dtype, runs)
        self._axes[id(x)] = axes
        return ref

    def ref(self, x: Tensor) -> Ref:
        if id(x) not in self._refs:
            raise Unrecordable('it reads a tensor that is not one of its arguments: make that a '
                               'stat or a hyperparameter')
        return self._refs[id(x)]

    def axes(self, x: Tensor) -> Axes | None: return self._axes[self.ref(x) and id(x)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        name, kwargs = func._schema.name.removeprefix('aten::'), kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        try:
            if name == '_local_scalar_dense':
                raise Unrecordable(ASKS) if tensors[0].is_meta else Decides(ASKS_NUMBER)
            if name != 'lift_fresh': [*map(self.ref, tensors)]
            if any(self._axes.get(id(x)) == OWN for x in tensors):
                raise Unrecordable('it reads a tensor of another shape than its parameter')
            if self.whole and (out := self._of_whole(name, func, args, kwargs)) is not None:
                return out
            return self._one_by_one(func, args, kwargs, tensors)
        except Misfit as e: raise Unrecordable(f'{e} (`{name}`)') from None

    def _one_by_one(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        "An operation on each element."
        schema, name = func._schema, func._schema.name.removeprefix('aten::')
        is_known = is_one_by_one(func, tensors, tensors)
        out: Any = result(func, args, kwargs, tensors) if is_known else None
        if is_known and not isinstance(out, Tensor):
            raise Unrecordable(f'`{name}` does not return one tensor of the same shape')
        why = '' if is_known and self.whole else why_not_pointwise(func, (args, kwargs), out)
        if why: raise (Unrecordable if self.whole else Crosses)(self._no(why))
        axes = self._axes_of_result(name, out, tensors)
        if schema.is_mutable: func = self._pure(func, args, out, tensors)
        elif tensors and id(args[0]) in self._refs and (
                name in VIEWS or any(r.alias_info for r in schema.returns)):
            self._alive.append(args[0])
            self.fixed |= {id(args[0]), id(out)}
            ref = self.ref(args[0])
            if out.dtype == ref.dtype and (axes is None or along(axes) == ref.along):
                self.add(out, axes, ref)
                return out
        self._append(func, args, kwargs, out, axes)
        return out

    def _append(self, func: Any, args: Any, kwargs: Any, out: Tensor, axes: Axes | None) -> None:
        by_name = {**dict(zip((a.name for a in func._schema.arguments), args)), **kwargs}
        given = [by_name.get(a.name, a.default_value if a.has_default_value() else None)
                 for a in func._schema.arguments]
        if 'lift_fresh' in str(func) and id(given[0]) not in self._refs: given = [out.item()]
        refs = tuple(map(self._written, given))
        op = Op(func, refs, self.add(out, axes), _meet(given, out.dtype))
        self.check(op)
        self.ops.append(op)

    def _axes_of_result(self, name: str, out: Tensor, tensors: list[Tensor]) -> Axes | None:
        known = [a for x in tensors if (a := self._axes.get(id(x))) is not None]
        if name in VIEWS and known:
            old = tensors[0]
            if name in ('expand', 'expand_copy') and out.shape != old.shape:
                return self._filled(out)
            return viewed(known[0], self.shape, out.shape)
        if name in FACTORIES or not known:
            alike = [a for x in tensors
                     if x.shape == out.shape and (a := self._axes.get(id(x))) is not None]
            return alike[0] if alike else self._filled(out)
        axes = broadcast(known)
        if len(axes) != out.dim(): raise Unrecordable(self._no(name))
        return axes

    def _filled(self, out: Tensor) -> Axes | None:
        "Of a tensor that is made by its shape alone."
        if not out.dim(): return None
        if tuple(out.shape) != self.shape: raise Unrecordable('it makes a tensor of another shape')
        return of_param(self.shape)

    def _pure(self, func: Any, args: Any, out: Tensor, tensors: list[Tensor]) -> Any:
        "The operation that makes a new value, for one that writes into a tensor of the part's own."
        name = func._schema.name.removeprefix('aten::')
        pure = getattr(getattr(torch.ops.aten, new := name.removesuffix('_'), None),
                       func._overloadname, None)
        if new == name or id(out) in self.fixed or pure is None:  # `out=`, if there is no `_`
            raise Unrecordable(f'it writes into a tensor (`{name}`): return a new value, as '
                               f'`{new}` does')
        if name != 'copy_' and any(x.dim() and x.is_floating_point() and x.dtype != out.dtype
                                   for x in tensors):
            raise Unrecordable(f'it mixes dtypes in place (`{name}`): return a new value')
        return pure

    def _written(self, x: Any) -> Any:
        "An argument as it stands on the tape."
        if isinstance(x, Tensor): return self.ref(x)
        if type(x) is not float or x not in self.numbers.tokens: return x
        self.numbers.seen.add(x)
        return self.ref(self.numbers.tokens[x])

    def _no(self, name: str) -> str: return f'`{name}` {WHOLE[self.whole]}'

    # -- operations on whole tensors ---------------------------------------------------------------

    def _of_whole(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        "The result of a reduction, or of what is as much as a few simpler operations; or None."
        if not args or not isinstance(x := args[0], Tensor) or self._axes.get(id(x)) is None:
            return None
        if name in REDUCTIONS: return self._reduce(name, func, args, kwargs)
        if name in PERMUTED: return self._permuted(func, args, kwargs)
        with self:
            y = cast(Tensor, args[1]) if len(args) > 1 else x
            if name in ('mm', 'bmm') and x.shape[-1] == y.shape[-2] == 1:
                return x * y  # an outer product
            if name in ('dot', 'vdot'): return (x * y).sum()
            if name in ('var', 'std') and func._overloadname == 'correction':
                return self._spread(name, *args, **kwargs)
        return None

    def _permuted(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        x, axes = args[0], self.axes(args[0]) or ()
        with _disable_current_modes():
            order = func(torch.empty([*range(2, 2 + x.dim())], device='cpu'), *args[1:], **kwargs)
            out = torch.empty([x.shape[n - 2] for n in order.shape], dtype=x.dtype, device='meta')
        self._alive.append(x)
        self.fixed |= {id(x), id(out)}
        self.add(out, tuple(axes[n - 2] for n in order.shape), self.ref(x))
        return out

    def _spread(self, name: str, x: Tensor, dim: Any=None, correction: Any=None,
                keepdim: bool=False) -> Tensor:
        dims = [*(dim or range(x.dim()))] if x.dim() else []
        off = x - x.mean(dims, keepdim=True)
        self.numbers.asked_sizes = True
        n = math.prod(x.shape[d] for d in dims)
        degrees = max(n - (1 if correction is None else correction), 0)
        variance = (off * off).sum(dims, keepdim=keepdim) / degrees
        return cast(Tensor, variance.sqrt() if name == 'std' else variance)

    def _reduce(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        given = {**dict(zip((a.name for a in func._schema.arguments), args)), **kwargs}
        how, x = dict(amax='max', amin='min').get(name, name), args[0]
        if not {*given} <= {'self', 'dim', 'keepdim', 'dtype', 'ord'}:
            raise Unrecordable(self._no(name))
        if how == 'linalg_vector_norm' and not (how := NORMS.get(float(given.get('ord', 2)), '')):
            raise Unrecordable('only norms of order 1, 2 and infinity are in kernels')
        if how in ('max', 'min') and 'dim' in given and name in ('max', 'min'):
            raise Unrecordable(self._no(name))
        dim, keepdim = given.get('dim'), given.get('keepdim', False)
        dims = [dim] if isinstance(dim, int) else [*(dim or ())]
        axes = reduced(self.axes(x) or (), dims, keepdim)
        gone = {d % x.dim() for d in dims or range(x.dim())} if x.dim() else set[int]()
        shape = [1 if i in gone else n for i, n in enumerate(x.shape) if keepdim or i not in gone]
        if along(axes) == self.ref(x).along:
            with self: return of_one(how, x, given.get('dtype')).view(shape)
        with _disable_current_modes():
            out = torch.empty(shape, dtype=reduced_dtype(how, x.dtype, given.get('dtype')),
                              device='meta')
        self.ops.append(Reduction(how, self.ref(x), self.add(out, axes)))
        return out


def _meet(given: Sequence[Any], otherwise: torch.dtype) -> torch.dtype:
    "The dtype to which torch promotes the first two arguments."
    values = [x for x in given[:2] if isinstance(x, (Tensor, bool, int, float))]
    if not any(isinstance(x, Tensor) for x in values): return otherwise
    return torch.result_type(values[0], values[-1])
