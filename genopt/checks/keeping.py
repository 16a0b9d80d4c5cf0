"Demands: what is kept: checkpoints, copies, and other dtypes."
from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..optimizer import Optimizer
from .demands import Subject, demand, differ, must, state_tensors, values
from .trials import Stage, through_a_file

__all__: list[str] = []

PLAIN = int, float, bool, str, type(None), Tensor


def _go_on(stage: Stage, steps: int=2) -> list[Tensor]:
    for i in range(steps): stage.step(5 + i)
    return values(stage)


def _resumed(subject: Subject, stage: Stage, saved: Any) -> Stage:
    "The same parameters in a new optimizer, which has loaded a state."
    other = subject.stage(stage.dtype)
    with torch.no_grad():
        for k, p in other.params.items(): p.copy_(stage.params[k])
    other.make().load_state_dict(saved)
    return other


@demand('a state_dict holds only tensors, numbers, strings, lists and dicts')
def plain(s: Subject) -> None:
    saved = s.run().opt.state_dict()
    must({*saved} >= {'state', 'param_groups'}, 'it lacks `state` or `param_groups`')
    strange = next(_strange(saved, 'state_dict'), '')
    must(not strange, f'{strange}, which torch.load(weights_only=True) refuses')
    through_a_file(saved)


def _strange(x: Any, place: str) -> Any:
    "Where there is something that is not plain."
    if isinstance(x, Mapping):
        for k, v in x.items(): yield from _strange(v, f'{place}[{k!r}]')
    elif isinstance(x, (list, tuple)):
        for i, v in enumerate(x): yield from _strange(v, f'{place}[{i}]')
    elif not isinstance(x, PLAIN): yield f'{place} is a {type(x).__name__}'


@demand('a state_dict is complete, so that a run can be resumed')
def complete(s: Subject) -> None:
    stage = s.run()
    other = _resumed(s, stage, through_a_file(stage.opt.state_dict()))
    must(not differ(_go_on(other), _go_on(stage), 1e-12),
         'a resumed run goes elsewhere: something that a step needs is neither in `state` nor in '
         '`param_groups`')


@demand('a state_dict can be loaded before the first step')
def early(s: Subject) -> None:
    stage = s.stage()
    saved = through_a_file(stage.make().state_dict())
    other = _resumed(s, stage, saved)
    must(not differ(_go_on(other), _go_on(stage), 1e-12), 'a run that is resumed at its beginning '
         'goes elsewhere')


@demand('a state_dict in float32 can be loaded for parameters in float64')
def other_dtype(s: Subject) -> None:
    low, high = s.run(dtype=torch.float32), s.stage()
    with torch.no_grad():
        for k, p in high.params.items(): p.copy_(low.params[k])
    high.make().load_state_dict(through_a_file(low.opt.state_dict()))
    must(not differ([v.float() for v in _go_on(high)], _go_on(low), 1e-4),
         'it goes elsewhere than in float32')
    for p in high.params.values(): must(p.dtype == torch.float64, 'a parameter is rounded')


def _copied(s: Subject, copier: Any, how: str) -> None:
    stage = s.run()
    opt, params = copier((stage.opt, stage.params))
    other = s.stage()
    other.params, other.opt = params, opt
    mine = {id(t) for t in state_tensors(stage.opt)}
    must(not mine & {id(t) for t in state_tensors(opt)}, f'{how} shares its state')
    before = values(stage)
    ahead = _go_on(other)
    must(not differ(values(stage), before), f'a step of {how} moves the parameters of the original')
    must(not differ(ahead, _go_on(stage), 1e-12), f'{how} goes elsewhere than the original')


@demand('a deep copy goes on alone')
def deepcopied(s: Subject) -> None: _copied(s, copy.deepcopy, 'the copy')


@demand('it can be pickled, and goes on')
def pickled(s: Subject) -> None:
    "A class that is not found by its name, such as one in a function, cannot be."
    cls = type(s.run(0).opt)
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split('.'): found = getattr(found, name, None)
    if found is not cls and not issubclass(cls, Optimizer): return
    _copied(s, lambda x: pickle.loads(pickle.dumps(x)), 'the unpickled one')


@demand('print() shows it')
def shown(s: Subject) -> None: must(repr(s.run(1).opt), 'its repr is empty')
