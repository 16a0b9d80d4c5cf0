"Promise: as in test_errors.py, for rarer slips; each sentence is quoted from its beginning."
import functools

import genopt
import pytest
import torch
from genopt import ContractError, Optimizer, PartError, average_grad, recipe, scalar, sgd_step, stat, transform
from genopt.cli import main
from torch import nn


def P(*shape): return nn.Parameter(torch.ones(*shape or (2,)))


def _named_update():
    def update(count): return 1.
    return scalar(update)


def _recipe_in_torchs_spelling():
    @recipe(lr=.1)
    def Other(momentum=0.): return [sgd_step]


def _recipe_of_a_bare_part():
    @recipe
    def Bare(): return sgd_step


def _init_that_fails_on_the_second():
    @stat(init=lambda param: torch.zeros_like(param) if len(param) < 3 else 1 / 0, whole=True)
    def memory(memory, grad): return grad
    ps = [P(2), P(3)]
    for p in ps: p.grad = torch.ones_like(p)
    Optimizer(ps, [memory, sgd_step], lr=.1).step()


def _torch_state_out_of_range():
    p = P(); saved = torch.optim.Adam([p]).state_dict()
    saved['param_groups'][0]['lr'] = -1.
    genopt.Adam([p]).load_state_dict(saved)


SLIPS = {
    'a class': (lambda: transform(nn.Tanh), ContractError, '@transform decorates a function, made with `def`, and'),
    'a partial': (lambda: transform(functools.partial(abs)), ContractError, '@transform decorates a function'),
    'a scalar of a reserved name': (_named_update, ContractError, '`update` cannot be a @scalar'),
    'a name that is none': (lambda: average_grad.rename(mom='slow mom'), ContractError,
        "`average_grad` cannot call `mom` 'slow mom': give a name"),
    'a number for a name': (lambda: average_grad.rename(mom=.5), ContractError,
        '`average_grad` cannot call `mom` 0.5: give a name'),
    'an option in torch\'s spelling': (_recipe_in_torchs_spelling, ContractError,
        'recipe `Other`: `momentum` is torch\'s spelling: call its option `mom`, or choose another name'),
    'a recipe of a bare part': (_recipe_of_a_bare_part, ContractError,
        'recipe `Bare` returned sgd_step(grad, *, lr): a step: return its parts, with commas between'),
    'a model': (lambda: genopt.Adam(nn.Linear(2, 2)), TypeError, 'params is a module, Linear: give its parameters()'),
    'a model of layers': (lambda: genopt.Adam(nn.Sequential(nn.Tanh())), TypeError,
        'params is a module, Sequential: give its parameters()'),
    'a model in a list': (lambda: genopt.Adam([nn.Linear(2, 2)]), TypeError,
        'parameter 0 of group 0: an optimizer takes tensors, and this is a Linear: give its parameters()'),
    'a tensor among dicts': (lambda: genopt.Adam([dict(params=[P()]), P()]), TypeError,
        'the first group is a dict, and a later one is a Parameter'),
    'names for some': (lambda: genopt.Adam([dict(params=[P(), P()], param_names=['a'])]), ValueError,
        'group 0 has 1 `param_names` for 2 parameters'),
    'a group that is none': (lambda: genopt.Adam([P()]).add_param_group([P()]), TypeError,
        'a group is a dict with `params`, but this one is '),
    'an init that fails in a step': (_init_that_fails_on_the_second, PartError,
        '`memory`: its init failed: ZeroDivisionError: division by zero (on parameter 1 of group 0 (shape (3,), '),
    'torch\'s state out of range': (_torch_state_out_of_range, ValueError,
        'cannot load this state_dict: its group 0: torch.optim.Adam does not take this: Invalid learning rate: -1.0')}

@pytest.mark.parametrize('slip, error, sentence', SLIPS.values(), ids=SLIPS)
def test_slip(slip, error, sentence):
    with pytest.raises(error) as e: slip()
    assert str(e.value).startswith(sentence)


def test_an_option_that_torch_does_not_know(monkeypatch):
    class OlderAdam(torch.optim.Adam):
        def __init__(self, params, lr=1e-3, betas=(.9, .999), eps=1e-8, weight_decay=0.): super().__init__(params, lr)
    monkeypatch.setitem(genopt.twins.TWINS, 'Adam', genopt.twins.TWINS['Adam']._replace(cls=OlderAdam))
    with pytest.raises(ValueError, match='^group 0 has amsgrad=True, which this torch.optim.OlderAdam does not know$'):
        genopt.to_torch(genopt.Adam([P()], amsgrad=True))


def test_an_interrupted_race(monkeypatch, tmp_path, capsys):
    def interrupt(*args): raise KeyboardInterrupt
    monkeypatch.setattr('genopt.cli.race.Pair.step', interrupt)
    assert main(['race', '--out', str(tmp_path)]) == 130 and capsys.readouterr().err == 'race: interrupted\n'
