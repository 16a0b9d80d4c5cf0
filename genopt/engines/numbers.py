"""Numbers on a tape: 0-dim tensors of float64 that stand where the parts have Python's plain
numbers.

Among themselves they follow Python's arithmetic. Where one meets a tensor, torch is called with a
plain number in its place, a token that the recorder recognizes. So torch does the same as in the
plain engine, with the same promotions and errors.
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ['ASKS', 'ASKS_NUMBER', 'Crosses', 'Decides', 'Numbers', 'Unrecordable']


class Unrecordable(RuntimeError): "Says what a part did, and what to write instead."
class Decides(Unrecordable): "A part asks for the value of a plain number."
class Crosses(Unrecordable): "A part that must treat each element alone does not."


ASKS = ('it asks for the value of a tensor (`if`, `.item()`, `float` ...), '
        'and a kernel has one code for all values: '
        'write `torch.where(condition, a, b)` or another function of torch')
ASKS_NUMBER = ('it asks for the value of a number (`if`, `min`, `float`, `math` ...), and a kernel '
               'has one code for all values. A @scalar may do so, as it runs in plain Python: make '
               'one of what needs only numbers, such as `def later(count): return '
               'float(count > 1)`, and write `later * a + (1 - later) * b`')
WHOLE_NUMBERS = ('it computes with whole numbers and a hyperparameter or scalar, and the dtype of '
                 'the result depends on whether that is 1 or 1.0: convert the tensor first, as in '
                 '`x.float() * number`')
OPERATORS: dict[str, Any] = {'div': operator.truediv, 'remainder': operator.mod}
OPERATORS |= {name: getattr(operator, name) for name in
              'add sub mul truediv pow floordiv mod neg abs eq ne lt le gt ge'.split()}
LOGICAL = {'and': operator.and_, 'or': operator.or_, 'xor': operator.xor}  # on truth values
ASKING = {*('__bool__ __float__ __int__ __index__ __format__ __repr__ __array__ __iter__ '
            'item tolist numpy').split()}
SIZES = {*'shape size numel nelement __len__ stride nbytes itemsize'.split()}


class Number(Tensor):
    "A 0-dim tensor that stands for a plain number, and says that it is of this `kind`."
    __torch_function__: Any = torch._C._disabled_torch_function_impl
    kind: type = float

    def __hash__(self) -> int: raise Decides(ASKS_NUMBER)

    @property  # type: ignore[misc]
    def __class__(self) -> type: return self.kind  # that `isinstance(count, int)` reads


class Numbers(TorchFunctionMode):
    "Lets 0-dim tensors stand where the parts have plain numbers."
    def __init__(self, answers: Sequence[bool] | None=()) -> None:
        super().__init__()
        # To the first questions whether a number is 0; None: no such question is answered
        self.answers = answers
        self.plain: set[int] = set()           # tensors that stand for plain numbers, by id
        self.tokens: dict[float, Tensor] = {}  # the tensor that a plain number stands for in a call
        self.seen: set[float] = set()          # tokens that reached an operation
        self.questions: list[tuple[Tensor, bool]] = []  # numbers that were asked if they are 0
        self.asked_sizes = False               # a part has looked at a tensor's sizes

    def __torch_function__(self, func: Any, types: Any, args: Any=(), kwargs: Any=None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, '__name__', '')
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        others = [x for x in tensors if not self._is_plain(x)]
        if name == '__bool__' and not others and self.answers is not None:
            with _disable_current_modes(): answer = bool(tensors[0].item())
            n = len(self.questions)
            if n < len(self.answers): answer = self.answers[n]
            self.questions.append((tensors[0], answer))
            return answer
        self.asked_sizes |= (func.__self__.__name__ if name == '__get__' else name) in SIZES
        if name in ASKING and tensors:
            raise Unrecordable(ASKS) if any(x.dim() for x in tensors) else Decides(ASKS_NUMBER)
        has_number = len(others) < len(tensors)
        if not has_number or name == '__get__': return func(*args, **kwargs)  # such as `.dtype`
        operate, swap = _operator(name)
        if operate and self._is_plain(args[0]) and len(args) < 3 and not kwargs:
            args = args[::-1] if swap else args
            if not others: return self._among_numbers(operate, *args)
            func = operate  # `number * x` is a method of x, and `number += x` writes to nothing
        if name in ('tensor', 'as_tensor', 'asarray') and len(args) == 1: func = torch.scalar_tensor
        return self._with_tokens(func, args, kwargs, others)

    def _is_plain(self, x: Any) -> bool: return id(x) in self.plain

    def _among_numbers(self, operate: Any, *args: Any) -> Tensor:
        "Python's arithmetic, in float64."
        kind = type(operate(*[_kind(x)(1) for x in args]))
        if operate not in LOGICAL.values():  # True + True is 2
            args = tuple(x.double() if isinstance(x, Tensor) and x.dtype == torch.bool else x
                         for x in args)
        if operate is operator.truediv and not isinstance(args[0], Tensor):  # torch: 1 / x * number
            args = torch.scalar_tensor(args[0], dtype=torch.float64), args[1]
        return self.stand(operate(*args), kind)

    def stand(self, x: Any, kind: type) -> Tensor:
        "Lets this very object stand for a number of Python, for the recorder knows it."
        x.__class__, x.kind = Number, kind
        self.plain.add(id(x))
        return cast(Tensor, x)

    def _with_tokens(self, func: Any, args: Any, kwargs: Any, others: Sequence[Tensor]) -> Any:
        "The call with a plain number for each tensor that stands for one."
        if any(not x.is_floating_point() and x.dtype != torch.bool for x in others):
            raise Decides(WHOLE_NUMBERS)
        first = len(self.tokens)
        def token(x: Any) -> Any:
            if not self._is_plain(x): return x
            number = .7310585786300049 + 1e-7 * len(self.tokens)
            self.tokens[number] = x.double() if x.dtype == torch.bool else x
            return number
        out = func(*tree_map(token, args), **tree_map(token, kwargs))
        if not self.seen.issuperset([*self.tokens][first:]): raise Decides(ASKS_NUMBER)
        return out


def _kind(x: Any) -> type: return x.kind if type(x) is Number else type(x)


def _operator(name: str) -> tuple[Any, bool]:
    "Python's operator for a method such as `mul_` or `__rsub__`; True if that swaps its arguments."
    word, known = name.strip('_'), OPERATORS | LOGICAL
    if word in known: return known[word], False
    return known.get(word[1:]) if word[:1] in ('r', 'i') else None, word[:1] == 'r'
