"""Promise: a mistake with an optimizer is answered by one clear sentence, and nothing changes.

Each test quotes the sentence that a person sees. Mistakes with parts are in test_errors.py.
"""
import re

import genopt
import pytest
import torch
from genopt import Optimizer, sgd_step
from genopt.cli import main
from torch import nn


def p(*shape, **kw): return torch.zeros(*shape or (2,), **kw).requires_grad_()


def says(error, sentence): return pytest.raises(error, match='^' + re.escape(sentence) + '$')


# -- hyperparameters -------------------------------------------------------------------------------

@pytest.mark.parametrize('make, kwargs, error, sentence', [
    (genopt.Adam, dict(momm=.9), TypeError, 'no part takes `momm`: did you mean `mom`?'),
    (genopt.Adam, dict(amsgrd=True), TypeError, 'no part takes `amsgrd`: did you mean `amsgrad`?'),
    (genopt.SGD, dict(betas=(.9, .99)), TypeError,
     'no part takes `betas`: there are `lr`, `wd`, `mom`, `dampening`, `nesterov`'),
    (genopt.Adam, dict(lr=-1), ValueError, '`lr` = -1 is out of range: it must be at least 0'),
    (genopt.Adam, dict(lr=float('nan')), ValueError, '`lr` = nan: give a finite number'),
    (genopt.Adam, dict(lr=float('inf')), ValueError, '`lr` = inf: give a finite number'),
    (genopt.Adam, dict(lr='fast'), TypeError, "`lr` = 'fast': give a number, not a str"),
    (genopt.Adam, dict(lr=torch.ones(2)), ValueError,
     '`lr` has 2 values, and there is 1 group: give one number'),
    (genopt.Adam, dict(mom=1), ValueError,
     '`mom` = 1 is out of range: it must be at least 0 and below 1'),
    (genopt.Adam, dict(betas=(.9, 1.)), ValueError,
     '`sqr_mom` = 1 is out of range: it must be at least 0 and below 1'),
    (genopt.Adam, dict(betas=(.9,)), ValueError,
     '`betas` = (0.9,): give 2 numbers, for `mom` and `sqr_mom`'),
    (genopt.Adam, dict(betas=.9), ValueError,
     '`betas` = 0.9: give 2 numbers, for `mom` and `sqr_mom`'),
    (genopt.Adam, dict(betas=(.9, .99), mom=.9), TypeError,
     '`mom` is given twice, once as `mom`: give it once'),
    (genopt.Adam, dict(amsgrad=.9), TypeError, '`amsgrad` = 0.9: give True or False'),
    (genopt.Adam, dict(fused='yes'), TypeError, "`fused` = 'yes': give True, False or None"),
    (genopt.Adam, dict(capturable=True), TypeError,
     '`capturable`: leave it out; for a CUDA graph, call `launch()` in it, and `advance()` before '
     'each replay'),
    (genopt.Adam, dict(differentiable=True), TypeError,
     '`differentiable`: leave it out; to differentiate through a step, call `Composition.update`, '
     'which is a pure function'),
    (genopt.SGD, dict(nesterov=True), ValueError,
     '`nesterov` and `dampening` need momentum: give mom=0.9, for example'),
    (genopt.SGD, dict(mom=.9, nesterov=True, dampening=.1), ValueError,
     '`nesterov` looks along an undampened buffer: leave out `dampening`'),
    (genopt.RMSprop, dict(weight_decay=-.1), ValueError,
     '`wd` = -0.1 is out of range: it must be at least 0')])
def test_hyperparameters(make, kwargs, error, sentence):
    with says(error, sentence): make([p()], **kwargs)


def test_missing_lr():
    with says(TypeError,
              '`lr` is missing: `sgd_step` needs it, so give lr=...'): Optimizer([p()], [sgd_step])


def test_hyperparameters_of_groups():
    with says(TypeError, 'no part takes `momm`: did you mean `mom`?'):
        genopt.Adam([dict(params=[p()], momm=.9)])
    with says(ValueError, '`lr` = -1 is out of range: it must be at least 0'):
        genopt.Adam([dict(params=[p()], lr=-1)])
    opt = genopt.Adam([p()])
    with says(ValueError, '`lr` = -1 is out of range: it must be at least 0'):
        opt.add_param_group(dict(params=[p()], lr=-1))
    assert len(opt.param_groups) == 1


def test_writing_a_hyperparameter():
    group = genopt.SGD([p()], lr=.1).param_groups[0]
    for key, error, sentence in [
            ('sqr_mom', KeyError,
             "'`sqr_mom` is not a hyperparameter of this group: there are `lr`, `wd`, `mom`, "
             "`dampening`, `nesterov`'"),
            ('weight_decy', KeyError,
             "'`weight_decy` is not a hyperparameter of this group: did you mean `weight_decay`?'"),
            ('parts', KeyError,
             "'the `parts` of a group are chosen when it is made: add another group, or make a new "
             "Optimizer'")]:
        with says(error, sentence): group[key] = -1
    with pytest.raises(KeyError, match='`betas` is not a hyperparameter of this group: there are '
                                       '`lr`'): group['betas']
    assert group.hypers() == dict(lr=.1, wd=0.)


# -- parameters ------------------------------------------------------------------------------------

shared = p()
EMPTY = ('optimizer got an empty parameter list: the model has no parameters, or the generator is '
         'used up')

@pytest.mark.parametrize('params, error, sentence', [
    ([], ValueError, EMPTY), ([[]], ValueError, EMPTY),
    ([dict(params=[])], ValueError, EMPTY), (iter(()), ValueError, EMPTY),
    (p(), TypeError, 'params is one tensor: give a list of them, [tensor]'),
    (dict(w=p()), TypeError,
     'params is a dict: give a list of parameters, or of dicts with `params`'),
    ({p()}, TypeError, 'params is a set, which has no order: give a list'),
    (nn.Linear(2, 2), TypeError, 'params is a module, Linear: give its parameters()'),
    (nn.Sequential(nn.Tanh()), TypeError,
     'params is a module, Sequential: give its parameters()'),
    (3, TypeError, 'params is of type int: give model.parameters(), for example'),
    (['w'], TypeError, 'parameter 0 of group 0: an optimizer takes tensors, and this is a str'),
    ([p(), None], TypeError,
     'parameter 1 of group 0: an optimizer takes tensors, and this is a NoneType'),
    ([nn.Linear(2, 2)], TypeError,
     'parameter 0 of group 0: an optimizer takes tensors, and this is a Linear: give its '
     'parameters()'),
    ([('w', p() * 2)], ValueError,
     "`w` (shape (2,), float32) can't be optimized, as it is a non-leaf tensor, computed from "
     "others: give those, or its detach()"),
    ([('s', torch.zeros(2).to_sparse().requires_grad_())], ValueError,
     '`s` (shape (2,), float32) is of layout torch.sparse_coo: a parameter must be dense'),
    ([('w', shared), ('v', p()), ('tied', shared)], ValueError,
     '`tied` (shape (2,), float32) is given twice: some parameters appear in more than one '
     'parameter group, or place'),
    ([dict(params=[shared]), dict(params=[shared])], ValueError,
     'parameter 0 of group 1 (shape (2,), float32) is given twice: some '
     'parameters appear in more than one parameter group, or place'),
    ([('w', p()), p()], ValueError, 'group 0: some of its parameters have names and some do not'),
    ([[('w', p())], [p()]], ValueError,
     'group 1: all groups should be given with names, or all without'),
    ([dict(lr=.1)], TypeError,
     'group 0: its `params` are of type NoneType: give a list of tensors')])
def test_parameters(params, error, sentence):
    with says(error, sentence): genopt.SGD(params, lr=.1)


@pytest.mark.parametrize('params, error, beginning', [
    ([dict(params=[p()]), p()], TypeError, 'the first group is a dict, and a later one is a '),
    ([dict(params=[p(), p()], param_names=['a'])], ValueError,
     'group 0 has 1 `param_names` for 2 parameters')])
def test_groups(params, error, beginning):
    with pytest.raises(error, match='^' + re.escape(beginning)): genopt.Adam(params)


def test_a_list_for_a_group():
    opt = genopt.Adam([p()])
    with pytest.raises(TypeError, match='^a group is a dict with `params`, but this one is '):
        opt.add_param_group([p()])


def test_group_without_parts():
    with says(TypeError,
              'group 0 has no parts: give them to the Optimizer, or to the group as `parts=`'):
        Optimizer([p()], lr=.1)


def test_sparse_gradient():
    emb, w = torch.nn.Embedding(4, 2, sparse=True), p()
    opt = genopt.SGD([('w', w), *emb.named_parameters('emb')], lr=.1, wd=.1)
    (emb(torch.tensor([1])).sum() + w.sum()).backward()
    with says(TypeError, '`emb.weight` (shape (4, 2), float32) has a sparse gradient, and l2_reg → '
                         'sgd_step takes dense ones, as rows without a gradient would move too: '
                         'make its layer with sparse=False, or add `lazy`, which moves only the '
                         'rows that have one'): opt.step()
    assert not w.any()  # nothing has moved


# -- checkpoints: see also test_checkpoints.py -----------------------------------------------------

def trained(make, *shapes):
    ps = [p(*s) for s in shapes or [(2, 3), (3,)]]
    for q in ps: q.grad = torch.ones_like(q)
    opt = make(ps); opt.step()
    return opt


def broken(change):
    saved = trained(genopt.Adam).state_dict()
    saved = {'state': {k: dict(v) for k, v in saved['state'].items()},
             'param_groups': [dict(g) for g in saved['param_groups']]}
    change(saved)
    return saved


BY_NAME = ('; or give names to both, with model.named_parameters(), and call '
           'opt.load_by_name(state_dict), which takes what fits')
CHECKPOINTS = {
    'another recipe': (lambda: trained(genopt.SGD).state_dict(),
        'its group 0 was made by l2_reg → sgd_step, '
        'and here it is l2_reg → average_grad → average_sqr_grad → step_count → adam_step'),
    'other shapes': (lambda: trained(genopt.Adam, (2, 3), (4,)).state_dict(),
        '`grad_avg` of parameter 1 of group 0 (shape (3,), float32) is a tensor of shape (4,) in '
        'it, and a tensor of shape (3,) here'),
    'fewer parameters': (lambda: trained(genopt.Adam, (2, 3)).state_dict(),
        'its group 0 has 1 parameter, and here it has 2: make the same groups' + BY_NAME),
    'more groups': (lambda: trained(lambda ps: genopt.Adam([[q] for q in ps])).state_dict(),
        'it has 2 parameter groups, and this optimizer has 1: add the others with '
        'opt.add_param_group first' + BY_NAME),
    'no groups': (lambda: broken(lambda s: s.pop('param_groups')), "it has no 'param_groups'"),
    'nothing': (lambda: {}, "it has no 'param_groups' and no 'state'"),
    'a stat missing': (lambda: broken(lambda s: s['state'][0].pop('count')),
        'it has `grad_avg`, `sqr_avg` for parameter 0 of group 0 (shape (2, 3), float32), '
        'and here it has `count`, `grad_avg`, `sqr_avg`'),
    'a stat of another kind': (lambda: broken(lambda s: s['state'][0].update(count=None)),
        '`count` of parameter 0 of group 0 (shape (2, 3), float32) is None in it, and a number '
        'here'),
    'a hyperparameter missing': (lambda: broken(lambda s: s['param_groups'][0].pop('eps')),
                                 'its group 0 lacks `eps`'),
    'a hyperparameter that is not finite': (
        lambda: broken(lambda s: s['param_groups'][0].update(lr=float('nan'))),
        'its group 0: `lr` = nan: give a finite number'),
    'a hyperparameter too many': (
        lambda: broken(lambda s: s['param_groups'][0].update(dampening=.5)),
        'its group 0: no part takes `dampening`: there are `lr`, `mom`, `sqr_mom`, `eps`, `wd`, '
        '`amsgrad`, `decouple_wd`'),
    'cut short': (lambda: broken(lambda s: s['state'].pop(1)),
        'it has no state for parameter 1 of group 0 (shape (3,), float32), so it was cut short (to '
        'begin that anew, give it an empty one: state_dict["state"][1] = {})'),
    'a stranger': (lambda: broken(lambda s: s['state'].update({7: {}})),
        'it has a state for `7`, which is in no group')}

@pytest.mark.parametrize('make, why', CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoint(make, why):
    opt = trained(genopt.Adam)
    before = repr(opt.state_dict())
    with says(ValueError, f'cannot load this state_dict: {why}'): opt.load_state_dict(make())
    assert repr(opt.state_dict()) == before


def test_a_state_of_torchs_that_is_out_of_range():
    q = p()
    saved = torch.optim.Adam([q]).state_dict()
    saved['param_groups'][0]['lr'] = -1.
    with says(ValueError, 'cannot load this state_dict: its group 0: torch.optim.Adam does not '
                          'take this: Invalid learning rate: -1.0'):
        genopt.Adam([q]).load_state_dict(saved)


def test_an_option_that_torch_does_not_know(monkeypatch):
    class OlderAdam(torch.optim.Adam):
        def __init__(self, params, lr=1e-3, betas=(.9, .999), eps=1e-8, weight_decay=0.):
            super().__init__(params, lr)
    twins = genopt.twins.TWINS
    monkeypatch.setitem(twins, 'Adam', twins['Adam']._replace(cls=OlderAdam))
    with says(ValueError, 'group 0 has amsgrad=True, which this torch.optim.OlderAdam does not '
                          'know'):
        genopt.to_torch(genopt.Adam([p()], amsgrad=True))


# -- commands --------------------------------------------------------------------------------------

def test_interrupted_twins(monkeypatch, tmp_path, capsys):
    def interrupt(*args): raise KeyboardInterrupt
    monkeypatch.setattr('genopt.cli.twins.Pair.step', interrupt)
    assert main(['twins', '--out', str(tmp_path)]) == 130
    assert capsys.readouterr().err == 'twins: interrupted\n'
