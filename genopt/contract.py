"""The names in a part's contract: those with a meaning of their own, and those used elsewhere.

`param`, `grad` and `update` are the parameter, its gradient, and the change so far. `raw_grad` is
the gradient before any transform, and `new_param` the parameter with the update so far. `prev_x` is
the stat `x` as it was before this step.

Four are numbers that each parameter has: `rows` and `columns`, as of the matrix that its first
dimension and all others make (a vector is one column), `numel`, and `place`, its number among all
of the optimizer's parameters.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import isfunction
from keyword import iskeyword
from numbers import Real
from typing import Any

from .hypers import did_you_mean
from .words import COMMON, NOTES, is_note

__all__ = ['ContractError', 'PartError', 'REQUIRED', 'RESERVED']

OWN_NUMBERS = ('rows', 'columns', 'numel', 'place')
RESERVED = ('param', 'grad', 'raw_grad', 'update', 'new_param', *OWN_NUMBERS)
GROUP_KEYS = ('params', 'param_names', 'parts', 'maximize', *NOTES)
CALL_WORDS = ('self', 'compile', 'closure', 'recipe')  # arguments of an optimizer and its calls
MARKS = 'do_wd', 'force_train'  # a fastai Learner's entries in a state: it decays; is never frozen
SWAPPED = 'swapped_param'       # holds a parameter while an average stands in its place
STATE_WORDS = (*MARKS, SWAPPED)
EVALUATED = 'evaluated param'   # the name of an evaluation's result, which no part can read
OPTIONS = dict(needs=('real', 'matrix'), sparse=('rows', 'dense'),
               over=('model', 'group'))  # values of decorators' options


class ContractError(TypeError):
    "A function that cannot be a part, or parts that do not make an optimizer."


class PartError(RuntimeError):
    "A part failed or broke its contract. `__cause__` is the original exception, if there was one."


class _Required:
    "The default of a hyperparameter that has none."
    def __repr__(self) -> str: return 'REQUIRED'
    def __reduce__(self) -> str: return 'REQUIRED'
REQUIRED = _Required()


def is_reserved(name: str) -> bool:
    "True for a name with a meaning of its own."
    return name in RESERVED or name.startswith('prev_')


def why_no_hyper(name: str, default: Any) -> str:
    "The reason why a part cannot have such a hyperparameter, or ''."
    other = 'give the hyperparameter another name'
    if name in COMMON:
        ours = code(*COMMON[name])
        return f'`{name}` is how torch spells {ours}: say that, or choose another name'
    if name in GROUP_KEYS or is_note(name): return f'a group may have its own `{name}`: {other}'
    if name in CALL_WORDS:
        return f'`{name}` means something else to who makes or calls an optimizer: {other}'
    if is_reserved(name): return f'`{name}` has a meaning of its own: {other}'
    if default is REQUIRED or isinstance(default, Real): return ''
    return f'the default of the hyperparameter `{name}` is {default!r}: make it a number'


def why_no_argument(name: str) -> str:
    "The reason why a part cannot read this name, or ''."
    if name == 'prev_': return '`prev_` lacks the name of a stat, as in `prev_grad_avg`'
    if not name.startswith('prev_prev_'): return ''
    return (f'`{name}` is from two steps before this one: keep `{name.removeprefix("prev_")}` in a '
            '@stat, and read `prev_` and the name of that')


def why_no_name(name: Any) -> str:
    "The reason why nothing can be renamed to this, or ''."
    if not isinstance(name, str) or not name.isidentifier(): return 'give a name'
    return 'give a name that is not a word of Python' if iskeyword(name) else ''


def check_decorated(kind: str, fn: Any, given: Mapping[str, Any], known: Sequence[str]) -> None:
    "Raises ContractError if `@kind` cannot decorate `fn`, or does not have these options."
    if not isfunction(fn):
        raise ContractError(f'@{kind} decorates a function, made with `def`, and {fn!r} is not one')
    for word, value in given.items():
        if word not in known:
            raise ContractError(f'@{kind} has no option `{word}`: {did_you_mean(word, known)}')
        if value and word in OPTIONS and value not in OPTIONS[word]:
            raise ContractError(f'@{kind}({word}={value!r}): give '
                                + ' or '.join(map(repr, OPTIONS[word])))


def code(*names: str) -> str:
    "Names in a sentence."
    return ' and '.join(f'`{n}`' for n in names)
