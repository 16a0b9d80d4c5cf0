"""An optimizer as an algorithm: what it begins with, and the statements of a step, in order.


from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ['Algorithm', 'Statement']


class Statement(NamedTuple):
    """A line of an algorithm. A line that is `deeper` than an `if` or a `repeat` belongs to it.

    `kind` is one of

    * 'grad': `name` becomes the gradient of the loss; `expr` is None
    * 'set': `name` ← `expr`, where `name` is a stat, `grad`, `update` or `param`
    * 'let': `name` = `expr`, a number or an array that this step alone needs
    * 'sum': `name` = Σ `expr`, over all parameters of the optimizer
    * 'if', 'elif': `expr` is a condition, the same for all elements of a tensor; 'else'
    * 'repeat': `expr` is a number of turns

    Cases that differ from element to element are a `Piecewise` in an expression.
    """
    kind: str
    name: str = ''   # a name from the code; `x hat` is x, debiased, and `prev_x` the last step's x
    expr: Any = None # of sympy's; its symbols have names from the code
    depth: int = 0   # how deep it stands, within what is the case or is repeated


@dataclass
class Algorithm:
    """The statements before the first step, and those of each step.

    `param` is the parameter. If `counts`, the number of the step, from 1, is `count`. `rows` and
    `columns` are a matrix's numbers of them, and `dim` is 2 for a matrix and 1 for a vector.
    """
    begin: list[Statement]
    step: list[Statement]
    counts: bool
    letters: dict[str, str]                             # of each name, as people write them
    tensors: set[str] = field(default_factory=set)      # the names that stand for tensors
    meanings: dict[str, str] = field(default_factory=dict)  # of the names that are used

    @property
    def names(self) -> list[str]:
        "Every name that is used, in order of its first use."
        found = dict[str, None]()
        for s in self.statements:
            if s.name: found[s.name] = None
            if s.expr is not None: found |= dict.fromkeys(names_in(s.expr))
        return [*found]

    @property
    def statements(self) -> Iterable[Statement]: return [*self.begin, *self.step]


def names_in(expr: Any) -> list[str]:
    "The names of an expression's symbols, in the order of the alphabet."
    return sorted(s.name for s in expr.free_symbols)
