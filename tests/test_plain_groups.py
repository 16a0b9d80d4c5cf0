"""Promise: groups are plain data, which other people's code may read, write, replace and send
away.
"""
import copy
from functools import partial

import genopt
import pytest
import torch
from helpers import param, pickled, random, random_param, random_step
from stories import tell, tell_in_three, torchs
from torch import nn


# -- groups ----------------------------------------------------------------------------------------

def as_dicts(opt): opt.param_groups = [dict(g) for g in opt.param_groups]
def as_tuple(opt): opt.param_groups = tuple(dict(g) for g in opt.param_groups)
def one_replaced(opt): opt.param_groups[1] = {**opt.param_groups[1], 'lr': .2}
def by_copies(opt): opt.param_groups = copy.copy([g.copy() for g in opt.param_groups])
def another_way_round(opt): opt.param_groups = opt.param_groups[::-1]
def by_json(opt):
    for i, g in enumerate(opt.param_groups):
        opt.param_groups[i] = {
            'params': g['params'], 'lr': .3, 'betas': [.8, .9], 'eps': 1e-8, 'weight_decay': .1,
            'amsgrad': False, 'decoupled_weight_decay': False, 'maximize': False, 'foreach': False,
            'capturable': False, 'differentiable': False, 'fused': None}


@pytest.mark.parametrize('change',
                         [as_dicts, as_tuple, one_replaced, by_copies, another_way_round, by_json])
def test_groups_that_are_replaced_by_plain_dictionaries(change):
    def story(make):
        a, b = random_param(0), random_param(1)
        opt = make([{'params': [a]}, {'params': [b], 'lr': .05}], lr=.1, weight_decay=.01)
        random_step(opt); change(opt); random_step(opt, 1)
        opt.load_state_dict(copy.deepcopy(opt.state_dict())); random_step(opt, 2)
        for g in opt.param_groups: g['lr'] = .3
        random_step(opt, 3)
        assert repr(opt)
        return a, b
    tell_in_three(story)


def test_both_spellings_in_a_plain_dictionary_and_the_last_one_holds():
    opt = genopt.Adam([param()], lr=.1)
    group = dict(opt.param_groups[0])
    opt.param_groups[0] = {**group, 'mom': .5, 'wd': .3}
    opt.step()
    assert opt.param_groups[0]['betas'] == (.5, .999) and opt.param_groups[0]['weight_decay'] == .3
    opt.param_groups[0] = {'mom': .5, 'wd': .3, **group}
    opt.step()
    assert opt.param_groups[0]['betas'] == (.9, .999) and opt.param_groups[0]['wd'] == 0


def test_a_group_reads_as_a_dictionary_of_torchs():
    ours = genopt.Adam([param()], lr=.1).param_groups[0]
    twin = torch.optim.Adam([param()], lr=.1).param_groups[0]
    own = {'decoupled_weight_decay', 'parts'}
    assert {*ours} - own <= {*twin} and {**ours} == dict(ours) == {k: ours[k] for k in ours.keys()}
    shared = {*ours} & {*twin} - {'params'}
    assert {k: ours[k] for k in shared} == {k: twin[k] for k in shared}
    # options are there when it is iterated
    assert 'amsgrad' in [*ours] and 'decoupled_weight_decay' in [*ours]
    assert {'momentum', 'dampening', 'nesterov'} <= {*genopt.SGD([param()], lr=.1).param_groups[0]}
    assert pickled(dict(ours))['lr'] == .1
    assert json_like({k: ours[k] for k in ours if k != 'params'})


def json_like(x):
    if isinstance(x, dict): return all(map(json_like, x.values()))
    if isinstance(x, (list, tuple)): return all(map(json_like, x))
    return x is None or type(x) in (int, float, bool, str)


def test_notes_in_groups():
    ps = [param(), param()]
    opt = genopt.AdamW([{'params': ps[:1], 'group_name': 'body',
                         'layer_id': 3, 'is_backbone': True, 'tags': ['a']},
                        {'params': ps[1:], 'group_name': 'head', 'layer_id': 4}])
    opt.param_groups[1]['note'] = {'deep': [1]}
    opt.param_groups[0]['layer_id'] = 7
    random_step(opt)
    other = genopt.AdamW([{'params': [param()]}, {'params': [param()], 'only_here': 1}])
    other.load_state_dict(opt.state_dict())
    for o in (opt, other, copy.deepcopy(opt)):
        assert [g['group_name'] for g in o.param_groups] == ['body', 'head']
        assert o.param_groups[0]['layer_id'] == 7
        assert o.param_groups[1]['note'] == {'deep': [1]} and o.param_groups[0]['tags'] == ['a']
    other.param_groups[1]['note']['deep'].append(2)
    assert opt.param_groups[1]['note'] == {'deep': [1]}  # a copy
    opt.add_param_group({'params': [param()], 'group_name': 'late'}); random_step(opt)
    assert opt.param_groups[2]['group_name'] == 'late'


@pytest.mark.parametrize('slip', ['momentun', 'weight_deacy', 'learning_rate', 'beta1'])
def test_but_slips_are_no_notes(slip):
    with pytest.raises(TypeError, match=slip): genopt.SGD([{'params': [param()], slip: .1}], lr=.1)
    with pytest.raises(KeyError, match=slip):
        genopt.SGD([param()], lr=.1).param_groups[0][slip] = .1


def test_defaults_that_are_changed_hold_for_groups_to_come():
    for make in (torch.optim.SGD, genopt.SGD, partial(genopt.SGD, compile=True)):
        opt = make([param()], lr=.1, momentum=.9)
        opt.defaults['lr'], opt.defaults['momentum'] = .001, .5
        opt.add_param_group({'params': [param()]})
        assert [(g['lr'], g['momentum']) for g in opt.param_groups] == [(.1, .9), (.001, .5)]
        opt.defaults.update(weight_decay=.25)
        opt.add_param_group({'params': [param()], 'lr': 3.})
        assert opt.param_groups[2]['weight_decay'] == .25 and opt.param_groups[2]['lr'] == 3


def test_groups_of_another_optimizer():
    def story(make):
        a, b = random_param(0), random_param(1)
        first = make([{'params': [a], 'lr': .3, 'amsgrad': True}, {'params': [b]}],
                     lr=.1, weight_decay=.01)
        opt = make(first.param_groups)
        random_step(opt); random_step(opt, 1)
        assert [g['lr'] for g in opt.param_groups] == [.3, .1]
        assert opt.param_groups[0]['amsgrad'] is True
        opt.param_groups[0]['lr'] = .5
        # torch's are the same dictionaries
        assert first.param_groups[0]['lr'] == .3 or make.func is not genopt.Adam
        return a, b
    tell(story, torchs(), partial(genopt.Adam), partial(genopt.Adam, compile=True))
    twin = torch.optim.Adam([param()], lr=.25, betas=(.5, .6))
    assert genopt.Adam(twin.param_groups).param_groups[0]['betas'] == (.5, .6)
    back = torch.optim.Adam(genopt.Adam([param()], lr=.25, mom=.5).param_groups)
    assert back.param_groups[0]['betas'] == (.5, .999)


def test_torchs_words_for_how_it_runs_are_taken():
    for words in (dict(foreach=True), dict(foreach=None, fused=False),
                  dict(capturable=False, differentiable=False)):
        assert genopt.Adam([param()], lr=.1, **words).compile is words.get('fused')
    assert genopt.Adam([param()], fused=True).compile is True
    assert genopt.Adam([param()], fused=None).compile is None
    for words in (dict(capturable=True), dict(differentiable=True), dict(fused='yes')):
        with pytest.raises(TypeError, match=next(iter(words))): genopt.Adam([param()], **words)
    assert genopt.Adam([{'params': [param()], 'fused': True, 'foreach': True}]).compile is None


# -- parameters ------------------------------------------------------------------------------------

def test_a_list_of_parameters_of_a_module():
    def story(make):
        ps = nn.ParameterList([random_param(0), random_param(1)]); opt = make(ps, lr=.1)
        random_step(opt)
        qs = nn.ParameterList([random_param(2)]); opt.add_param_group({'params': qs})
        random_step(opt, 1)
        return [*ps, *qs]
    tell_in_three(story)


def test_frozen_integers_are_only_carried_along():
    def story(make):
        p = random_param()
        codes = nn.Parameter(torch.arange(3, dtype=torch.int8), requires_grad=False)
        opt = make([p, codes], lr=.1)
        for i in range(2): p.grad = random(i, (3,), torch.float32); opt.step()
        opt.load_state_dict(opt.state_dict())
        assert codes.tolist() == [0, 1, 2]
        p.grad = torch.ones(3); opt.step()
        return p,
    tell_in_three(story)


def test_plain_tensors_whose_gradient_is_set_by_hand():
    def story(make):
        p = torch.ones(3); opt = make([p], lr=.1)
        for i in range(2): p.grad = random(i, (3,), torch.float32); opt.step()
        return p,
    tell_in_three(story)


@pytest.mark.skipif(not hasattr(torch.optim, 'Muon'), reason='this torch has no Muon')
def test_muon_with_a_group_that_is_empty():
    p = random_param(shape=(4, 3)); q = random_param(shape=(4, 3))
    opt = genopt.Muon([{'params': [p]}, {'params': []}])
    twin = torch.optim.Muon([{'params': [q]}, {'params': []}])
    random_step(opt); random_step(twin)
    opt.load_state_dict(opt.state_dict()); random_step(opt, 1); random_step(twin, 1)
    torch.testing.assert_close(p, q)
