"Entrants: the optimizers of a race. A text, a recipe or a class says which."
from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from ..catalogue import named
from ..contract import REQUIRED
from ..optimizer import Optimizer
from ..links import with_links
from ..recipe import Recipe
from ..routing import route
from ..specs import FORMS
from ..zoo import AdamW
from .sources import source
from .tasks import Task

__all__ = ['Entrant', 'enter']

TRIED = 3  # steps before the race: some rules do not move on their first


class Entrant:
    """An optimizer by the words that name it. Only its learning rate is varied.

    Raises TypeError if it is not an optimizer, or one without a learning rate.
    """
    def __init__(self, spec: Any):
        found: Any = named(spec) if isinstance(spec, str) else spec
        self.recipe = found if isinstance(found, Recipe) else None
        self.cls: Any = found.func if isinstance(found, partial) else found
        self.words: dict[str, Any] = found.keywords if isinstance(found, partial) else {}
        is_class = inspect.isclass(self.cls) and issubclass(self.cls, torch.optim.Optimizer)
        if not self.recipe and not is_class:
            raise TypeError(f'`{spec}` is not an optimizer that can race: give {FORMS}')
        self.text = spec if isinstance(spec, str) else self.cls.__name__
        self.label = self.recipe.__name__ if self.recipe else self.text
        self.composition = self.recipe.rule().composition if self.recipe else None
        parts = self.composition.parts if self.composition else ()
        self.of_matrices = any(p.needs == 'matrix' for p in parts)
        if not self._takes_lr():
            raise TypeError(f'`{self.label}` does not take `lr`, and a race tries learning rates')

    def _takes_lr(self) -> bool:
        if self.composition: return 'lr' in self.composition.hypers
        args = inspect.signature(self.cls).parameters
        return 'lr' in args or any(a.kind == a.VAR_KEYWORD for a in args.values())

    @property
    def lr(self) -> float:
        "Its default learning rate, around which others are tried. Raises ValueError without one."
        if self.recipe: value: Any = self.recipe.rule().defaults['lr']
        else:
            arg = inspect.signature(self.cls).parameters.get('lr')
            value = self.words.get('lr', arg.default if arg else REQUIRED)
        if isinstance(value, (int, float)) and value > 0: return float(value)
        raise ValueError(f'`{self.label}` has no default learning rate around which to look: give '
                         'learning rates, with --lrs or lrs=')

    @property
    def trial_lr(self) -> float:
        "A learning rate for a few steps, if any will do."
        try: return self.lr
        except ValueError: return 1e-3

    def make(self, model: nn.Module, lr: float, compile: bool | None=None) -> Any:
        """The optimizer of a model. A recipe for matrices has the hidden ones.

        Then AdamW has the rest, with a learning rate that moves along. Raises what it raises.
        """
        if not self.recipe: return self.cls(model.parameters(), **{**self.words, 'lr': lr})
        params: Any = [*model.named_parameters()]
        if not self.of_matrices: return self.recipe(params, lr=lr, compile=compile)
        rest = dict(parts=AdamW, lr=lr * AdamW.rule().defaults['lr'] / self.trial_lr)
        hidden: dict[Any, Any] = {'hidden matrices': dict(parts=self.recipe, lr=lr)}
        try: groups = route(model, {**hidden, 'rest': rest})
        except ValueError:
            try: groups = route(model, hidden)  # there is no rest
            except ValueError:
                raise ValueError('it is for hidden matrices, and the model has none') from None
        return Optimizer(groups, compile=compile)

    def evaluated(self, opt: Any) -> AbstractContextManager[None]:
        "For the length of a `with`, the model has the weights that the rule says to evaluate."
        return opt.swapped() if self.composition and self.composition.evaluation else nullcontext()

    def tried(self, task: Task) -> bool:
        """Tries some steps. Returns True if it takes sparse gradients, where the task has some.

        Raises ValueError if it does not step, or if no parameter moves.
        """
        try: moved = task.sparse and self._moves(task, True)
        except Exception: moved = False  # whatever a foreign class raises
        if moved: return True
        try: moved = self._moves(task, False)
        except Exception as e:
            raise ValueError(f'`{self.label}` does not step on the task {task.name}: '
                             f'{type(e).__name__}: {e}'.splitlines()[0]) from e
        if moved: return False
        raise ValueError(f'`{self.label}` does not step on the task {task.name}: no parameter '
                         f'has moved in {TRIED} steps')

    def _moves(self, task: Task, sparse: bool) -> bool:
        model = task.build(0, sparse)
        before = [p.detach().clone() for p in model.parameters()]
        opt = self.make(model, self.trial_lr, compile=False)
        for rows in task.batches(TRIED, 0): task.step(model, opt, rows)
        return any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))

    def depends_on(self) -> list[Any]:
        "What its runs depend on, beside the versions of torch and genopt: it can be written."
        if not self.recipe:
            return [self.cls.__qualname__, source(self.cls, self.words)]
        rule = self.recipe.rule()
        parts = [*with_links(rule.composition.parts)]
        made_of = [(p.fn, p.names, p.given) for p in parts]
        return [[p.label for p in parts], source(rule.defaults, *made_of)]


def enter(specs: Iterable[Any]) -> list[Entrant]:
    "The entrants of a race. Raises ValueError if there are none, or one comes twice."
    entrants = [Entrant(s) for s in specs]
    if not entrants: raise ValueError('there are no optimizers to race: name some, as adamw lion')
    names = [(e.label, id(e.recipe)) for e in entrants]
    for e, (name, recipe) in zip(entrants, names):  # two files may have recipes of one name
        if any(n == name and r != recipe for n, r in names): e.label = e.text
    labels = [e.label for e in entrants]
    for label in labels:
        if labels.count(label) > 1: raise ValueError(f'`{label}` is there twice: name it once')
    return entrants
