"""The kinds of parts whose results are known by the function's own name: tensors and numbers.

Other parts read them under that name. A number is made once for many parameters, a tensor for each.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .contract import OWN_NUMBERS, RESERVED, is_reserved
from .part import Part
from .places import Place

__all__ = ['Made', 'Number', 'Scalar', 'Total', 'Gate']


class Named(Part):
    "A part whose result is known by the function's own name."
    def result_name(self) -> str: return self.own_name()

    def own_name(self) -> str:
        "The function's name, with its renamed arguments."
        given = self.names.get(self.__name__)
        if is_reserved(name := given or self.__name__):
            raise self.broken(f'`{name}` has a meaning of its own: give it another name')
        return given or self.label


class Made(Named):
    """A part that makes a tensor, or a tuple of tensors, for other parts.

    It is made once, in a step in which a part that is not switched off reads it. `whole=True`: it
    needs the tensor's own shape, and then its result may have any shape; who reads that says
    `whole=True` too. `needs='real'`, `needs='matrix'`: only for such parameters. `stacked=True`: as
    for a transform.
    """
    kind, linkable, place, options = 'tensor', True, Place.RULE, ('whole', 'needs', 'stacked')

    def fits(self, out: Any, env: Mapping[str, Any]) -> bool:
        if not self.whole: return super().fits(out, env)
        return all(isinstance(x, Tensor) for x in (out if isinstance(out, tuple) else (out,)))

    def wanted(self, env: Mapping[str, Any]) -> str:
        if self.whole: return 'a tensor or a tuple of tensors'
        return f'a tensor of shape {tuple(env[self.template].shape)}'


class Number(Named):
    "A part that runs in plain Python and reads only numbers."
    is_number, place = True, Place.NUMBERS

    def result_name(self) -> str:
        for a in self.args:
            if a not in RESERVED or a in OWN_NUMBERS: continue
            more = '' if a in ('update', 'new_param') else ': read a @total of it'
            raise self.broken(f'a {self.kind} runs on plain numbers and cannot read `{a}`, which '
                              f'is a tensor{more}')
        return self.own_name()


class Scalar(Number):
    """A part that returns a number, made of numbers.

    It is computed in plain Python, once for all parameters that share those numbers.
    """
    kind, linkable = 'scalar', True


class Total(Number):
    """A part that returns one number (a 0-dim tensor) of a parameter; readers see the sum.

    The sum is over all parameters, of all groups, whose parts read it and that have a gradient;
    with `over='group'`, over those of the same group. Every parameter's is taken, in its own shape
    and after the parts before it, before any moves.
    """
    kind, linkable, whole, place = 'total', True, True, Place.GRADIENT
    options, template = ('over',), 'param'

    @property
    def note(self) -> str:  # type: ignore[override]
        return f'summed over all parameters{" of a group" * (self.over == "group")}'

    def result_name(self) -> str:
        if 'update' in self.args or 'new_param' in self.args:
            raise self.broken('a total is taken before any parameter moves: it cannot read '
                              '`update` or `new_param`')
        return self.own_name()

    def wanted(self, env: Mapping[str, Any]) -> str:
        return 'a tensor of one number, such as grad.sum()'


class Gate(Number):
    """A part that lets a step happen or not: true or false, made of numbers.

    If it is false, only what stands before it happens. `again=True`: `step(closure)` then calls the
    closure and runs the parts again, until it is open.
    """
    kind, note, place, options = 'gate', 'else nothing happens', Place.GATES, ('again',)

    def own_name(self) -> str: return f'gate {self.label}'
