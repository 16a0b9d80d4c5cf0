"""Promise: groups and state are plain data, which other people's code may read, write, replace,
save and send away."""
from __future__ import annotations

import copy
import io
import pickle
from collections import defaultdict
from fractions import Fraction
from functools import partial

import genopt
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from genopt import Optimizer
from helpers import random
from torch import nn
from torch.distributed.checkpoint.state_dict import (StateDictOptions, get_optimizer_state_dict,
                                                     set_optimizer_state_dict)
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

engines = pytest.mark.parametrize('compile', [False, True], ids=['eager', 'compiled'])


def P(seed=0, shape=(3,)): return nn.Parameter(random(seed, shape, torch.float32))


def step(opt, i=0):
    for g in opt.param_groups:
        for p in g['params']: p.grad = random(10 + i, p.shape, p.dtype)
    opt.step()


def theirs(cls=torch.optim.Adam): return partial(cls, foreach=False)


def tell(story, *makes):
    "What a story makes of parameters, by each optimizer. The first one is right."
    want, *got = [[p.detach().clone() for p in story(make)] for make in makes]
    for g in got: torch.testing.assert_close(g, want, rtol=1e-5, atol=1e-6)


def all_three(story, ours=genopt.Adam, twin=torch.optim.Adam):
    tell(story, theirs(twin), ours, partial(ours, compile=True))


# -- groups ----------------------------------------------------------------------------------------

def as_dicts(opt): opt.param_groups = [dict(g) for g in opt.param_groups]
def as_tuple(opt): opt.param_groups = tuple(dict(g) for g in opt.param_groups)
def one_replaced(opt): opt.param_groups[1] = {**opt.param_groups[1], 'lr': .2}
def by_copies(opt): opt.param_groups = copy.copy([g.copy() for g in opt.param_groups])
def another_way_round(opt): opt.param_groups = opt.param_groups[::-1]
def by_json(opt):
    for i, g in enumerate(opt.param_groups):
        opt.param_groups[i] = {'params': g['params'], 'lr': .3, 'betas': [.8, .9],
                                'eps': 1e-8, 'weight_decay': .1, 'amsgrad': False,
                                'maximize': False, 'foreach': False,
                                'capturable': False, 'differentiable': False,
                                'fused': None, 'decoupled_weight_decay': False}


@pytest.mark.parametrize('change',
                         [as_dicts, as_tuple, one_replaced, by_copies, another_way_round, by_json])
def test_groups_that_are_replaced_by_plain_dictionaries(change):
    def story(make):
        a, b = P(0), P(1)
        opt = make([{'params': [a]}, {'params': [b], 'lr': .05}], lr=.1, weight_decay=.01)
        step(opt); change(opt); step(opt, 1)
        opt.load_state_dict(copy.deepcopy(opt.state_dict())); step(opt, 2)
        for g in opt.param_groups: g['lr'] = .3
        step(opt, 3)
        assert repr(opt)
        return a, b
    all_three(story)


def test_both_spellings_in_a_plain_dictionary_and_the_last_one_holds():
    opt = genopt.Adam([P()], lr=.1)
    group = dict(opt.param_groups[0])
    opt.param_groups[0] = {**group, 'mom': .5, 'wd': .3}
    opt.step()
    assert opt.param_groups[0]['betas'] == (.5, .999) and opt.param_groups[0]['weight_decay'] == .3
    opt.param_groups[0] = {'mom': .5, 'wd': .3, **group}
    opt.step()
    assert opt.param_groups[0]['betas'] == (.9, .999) and opt.param_groups[0]['wd'] == 0


def test_a_group_reads_as_a_dictionary_of_torchs():
    ours = genopt.Adam([P()], lr=.1).param_groups[0]
    twin = torch.optim.Adam([P()], lr=.1).param_groups[0]
    own = {'decoupled_weight_decay', 'parts'}
    assert {*ours} - own <= {*twin} and {**ours} == dict(ours) == {k: ours[k] for k in ours.keys()}
    assert {k: v for k, v in ours.items() if k in twin
            and k != 'params'} == {k: twin[k] for k in ours if k in twin and k != 'params'}
    # options are there when it is iterated
    assert 'amsgrad' in [*ours] and 'decoupled_weight_decay' in [*ours]
    assert {'momentum', 'dampening', 'nesterov'} <= {*genopt.SGD([P()], lr=.1).param_groups[0]}
    assert pickle.loads(pickle.dumps(dict(ours)))['lr'] == .1
    assert json_like({k: ours[k] for k in ours if k != 'params'})


def json_like(x):
    if isinstance(x, dict): return all(map(json_like, x.values()))
    if isinstance(x, (list, tuple)): return all(map(json_like, x))
    return x is None or type(x) in (int, float, bool, str)


def test_notes_in_groups():
    ps = [P(), P(1)]
    opt = genopt.AdamW([{'params': ps[:1], 'group_name': 'body',
                         'layer_id': 3, 'is_backbone': True, 'tags': ['a']},
                        {'params': ps[1:], 'group_name': 'head', 'layer_id': 4}])
    opt.param_groups[1]['note'] = {'deep': [1]}
    opt.param_groups[0]['layer_id'] = 7
    step(opt)
    other = genopt.AdamW([{'params': [P()]}, {'params': [P()], 'only_here': 1}])
    other.load_state_dict(opt.state_dict())
    for o in (opt, other, copy.deepcopy(opt)):
        assert [g['group_name'] for g in o.param_groups] == ['body', 'head']
        assert o.param_groups[0]['layer_id'] == 7
        assert o.param_groups[1]['note'] == {'deep': [1]} and o.param_groups[0]['tags'] == ['a']
    other.param_groups[1]['note']['deep'].append(2)
    assert opt.param_groups[1]['note'] == {'deep': [1]}  # a copy
    opt.add_param_group({'params': [P()], 'group_name': 'late'}); step(opt)
    assert opt.param_groups[2]['group_name'] == 'late'


@pytest.mark.parametrize('slip', ['momentun', 'weight_deacy', 'learning_rate', 'beta1'])
def test_but_slips_are_no_notes(slip):
    with pytest.raises(TypeError, match=slip): genopt.SGD([{'params': [P()], slip: .1}], lr=.1)
    with pytest.raises(KeyError, match=slip): genopt.SGD([P()], lr=.1).param_groups[0][slip] = .1


def test_defaults_that_are_changed_hold_for_groups_to_come():
    for make in (torch.optim.SGD, genopt.SGD, partial(genopt.SGD, compile=True)):
        opt = make([P()], lr=.1, momentum=.9)
        opt.defaults['lr'], opt.defaults['momentum'] = .001, .5
        opt.add_param_group({'params': [P()]})
        assert [(g['lr'], g['momentum']) for g in opt.param_groups] == [(.1, .9), (.001, .5)]
        opt.defaults.update(weight_decay=.25)
        opt.add_param_group({'params': [P()], 'lr': 3.})
        assert opt.param_groups[2]['weight_decay'] == .25 and opt.param_groups[2]['lr'] == 3


def test_groups_of_another_optimizer():
    def story(make):
        a, b = P(0), P(1)
        first = make([{'params': [a], 'lr': .3, 'amsgrad': True}, {'params': [b]}],
                     lr=.1, weight_decay=.01)
        opt = make(first.param_groups)
        step(opt); step(opt, 1)
        assert [g['lr'] for g in opt.param_groups] == [.3, .1]
        assert opt.param_groups[0]['amsgrad'] is True
        opt.param_groups[0]['lr'] = .5
        # torch's are the same dictionaries
        assert first.param_groups[0]['lr'] == .3 or make.func is not genopt.Adam
        return a, b
    tell(story, theirs(), partial(genopt.Adam), partial(genopt.Adam, compile=True))
    twin = torch.optim.Adam([P()], lr=.25, betas=(.5, .6))
    assert genopt.Adam(twin.param_groups).param_groups[0]['betas'] == (.5, .6)
    assert torch.optim.Adam(genopt.Adam([P()], lr=.25,
                                        mom=.5).param_groups).param_groups[0]['betas'] == (.5, .999)


def test_torchs_words_for_how_it_runs_are_taken():
    for words in (dict(foreach=True), dict(foreach=None, fused=False),
                  dict(capturable=False, differentiable=False)):
        assert not genopt.Adam([P()], lr=.1, **words).compiled
    assert genopt.Adam([P()], fused=True).compiled and not genopt.Adam([P()], fused=None).compiled
    for words in (dict(capturable=True), dict(differentiable=True), dict(fused='yes')):
        with pytest.raises(TypeError, match=next(iter(words))): genopt.Adam([P()], **words)
    p = P(); opt = genopt.Adam([{'params': [p], 'fused': None, 'foreach': True}]); step(opt)


# -- parameters ------------------------------------------------------------------------------------

def test_a_list_of_parameters_of_a_module():
    def story(make):
        ps = nn.ParameterList([P(0), P(1)]); opt = make(ps, lr=.1); step(opt)
        qs = nn.ParameterList([P(2)]); opt.add_param_group({'params': qs}); step(opt, 1)
        return [*ps, *qs]
    all_three(story)


def test_frozen_integers_are_only_carried_along():
    def story(make):
        p, codes = P(), nn.Parameter(torch.arange(3, dtype=torch.int8), requires_grad=False)
        opt = make([p, codes], lr=.1)
        for i in range(2): p.grad = random(i, (3,), torch.float32); opt.step()
        opt.load_state_dict(opt.state_dict())
        assert codes.tolist() == [0, 1, 2]
        p.grad = torch.ones(3); opt.step()
        return p,
    all_three(story)


def test_plain_tensors_whose_gradient_is_set_by_hand():
    def story(make):
        p = torch.ones(3); opt = make([p], lr=.1)
        for i in range(2): p.grad = random(i, (3,), torch.float32); opt.step()
        return p,
    all_three(story)


def test_muon_with_a_group_that_is_empty():
    p = P(shape=(4, 3)); q = P(shape=(4, 3))
    opt = genopt.Muon([{'params': [p]}, {'params': []}])
    twin = torch.optim.Muon([{'params': [q]}, {'params': []}])
    step(opt); step(twin)
    opt.load_state_dict(opt.state_dict()); step(opt, 1); step(twin, 1)
    torch.testing.assert_close(p, q)


# -- state -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('attributes', [['state'], ['param_groups'], ['state', 'param_groups'],
                                        ['state', 'param_groups', 'defaults'], []], ids=str)
def test_some_of_the_attributes_may_be_set(attributes):
    def story(make):
        p = P(); opt = make([p], lr=.1); step(opt); step(opt, 1)
        fresh = dict(state=defaultdict(dict), param_groups=[{**opt.param_groups[0], 'lr': .2}],
                     defaults={**opt.defaults, 'lr': .3})
        opt.__setstate__({k: fresh[k] for k in attributes})
        step(opt, 2)
        opt.add_param_group({'params': [q := P(1)]}); step(opt, 3)
        return p, q
    all_three(story)


def test_what_others_keep_in_a_state_is_saved_and_loaded():
    def story(make):
        p = P(); opt = make([p], lr=.1); step(opt)
        opt.state[p]['importance'] = torch.arange(3.); opt.state[p]['seen'] = 7
        opt.state['global_step'] = 5
        opt.state[p]['history'] = [1, {'a': torch.ones(2)}]
        step(opt, 1)
        file = io.BytesIO(); torch.save(opt.state_dict(), file); file.seek(0)
        q = nn.Parameter(p.detach().clone()); other = make([q], lr=.1)
        other.load_state_dict(torch.load(file, weights_only=True))
        for o, x in ((opt, p), (other, q)):
            assert o.state[x]['importance'].tolist() == [0, 1, 2] and o.state[x]['seen'] == 7
            assert o.state['global_step'] == 5 and o.state[x]['history'][1]['a'].tolist() == [1, 1]
        step(other, 2)
        return q,
    all_three(story)


def test_state_of_a_parameter_that_is_in_no_group_stays_and_is_not_saved():
    p, q = P(), P(1); opt = genopt.Adam([p, q], lr=.1); step(opt)
    opt.param_groups[0]['params'].pop()
    saved = opt.state_dict()
    assert {*saved['state']} == {0} and opt.state[q]['count'] == 1
    step(opt, 1)
    opt.param_groups[0]['params'].append(q); step(opt, 2)
    assert (opt.state[p]['count'], opt.state[q]['count']) == (3, 2)


NAMES = [(genopt.Adam, torch.optim.Adam, ('exp_avg', 'exp_avg_sq')),
         (genopt.SGD, torch.optim.SGD, ('momentum_buffer',)),
         (genopt.RMSprop, torch.optim.RMSprop, ('square_avg',)),
         (genopt.Adagrad, torch.optim.Adagrad, ('sum',)),
         (genopt.Adadelta, torch.optim.Adadelta, ('square_avg', 'acc_delta')),
         (genopt.Adamax, torch.optim.Adamax, ('exp_avg', 'exp_inf'))]


@pytest.mark.parametrize('ours, twin, names', NAMES, ids=lambda x: getattr(x, '__name__', None))
def test_state_may_be_written_in_torchs_words(ours, twin, names):
    "It is reset in the middle of a run; and another parameter gets rows of it."
    more = dict(momentum=.9) if ours is genopt.SGD else {}
    def story(make):
        p = P(shape=(4, 3)); opt = make([p], lr=.1, **more)
        for i in range(3): step(opt, i)
        for k in names: opt.state[p][k] = torch.full((4, 3), .5)
        step(opt, 3)
        q = nn.Parameter(p.detach()[[0, 2]].clone()); opt.param_groups[0]['params'][0] = q
        opt.state[q] = {k: torch.full((2, 3), .25) for k in names} | (
            {'step': torch.tensor(4.)} if 'step' in torch_state(twin, more) else {})
        step(opt, 4); step(opt, 5)
        return p, q
    all_three(story, ours, twin)


def torch_state(cls, more):
    p = P(); opt = cls([p], lr=.1, **more); step(opt)
    return {*opt.state[p]}


def test_state_that_waits_for_an_option_is_saved_and_loaded():
    def story(make):
        p = P(); opt = make([p], lr=.01, momentum=.9); step(opt); step(opt, 1)
        opt.param_groups[0]['momentum'] = 0.; step(opt, 2)
        opt.load_state_dict(copy.deepcopy(opt.state_dict())); step(opt, 3)
        opt.param_groups[0]['momentum'] = .9; step(opt, 4)
        return p,
    all_three(story, genopt.RMSprop, torch.optim.RMSprop)
    all_three(story, genopt.SGD, torch.optim.SGD)


def resized(opt, p, rows):
    "As tools do that prune and densify: what has dimensions is of the parameter's shape."
    q = nn.Parameter(p.detach()[rows].clone())
    state = opt.state.pop(p)
    opt.state[q] = {k: v[rows] if torch.is_tensor(v) and v.dim() else v for k, v in state.items()}
    opt.param_groups[0]['params'] = [q]
    return q


def test_a_tool_that_resizes_state_leaves_counts_alone():
    def story(make):
        p = P(shape=(6, 3)); opt = make([p], lr=.1); step(opt); step(opt, 1)
        q = resized(opt, p, [0, 3, 3]); step(opt, 2)
        q = resized(opt, q, [0, 1, 2, 0, 1, 2]); step(opt, 3)
        return q,
    all_three(story)
    all_three(story, genopt.NAdam, torch.optim.NAdam)


def work(opt, p, n):
    torch.set_num_threads(1)
    for i in range(n): p.grad = torch.full((3,), i - 1.5); opt.step()


def test_counts_are_shared_between_processes():
    p, q = P(), P(); opt, twin = genopt.Adam([p], lr=.1, compile=True), torch.optim.Adam([q], lr=.1)
    p.share_memory_(); step(opt); step(twin); p.grad = None
    for v in opt.state[p].values(): v.share_memory_()
    worker = torch.multiprocessing.get_context('spawn').Process(target=work, args=(opt, p, 4))
    worker.start(); work(twin, q, 4); worker.join()
    assert worker.exitcode == 0 and opt.state[p]['count'] == 5
    work(opt, p, 2); work(twin, q, 2)
    torch.testing.assert_close(p, q)


# -- numbers of strange types ----------------------------------------------------------------------

class Half(float): pass
class Three(int): pass


STRANGE = [Fraction(1, 4), np.float32(.25), np.float64(.25),
           np.longdouble(.25), np.array(.25), Half(.25), np.float16(.25)]
WHOLE = [1, True, Three(1), np.int64(1), np.bool_(True), np.uint8(1)]


@pytest.mark.parametrize('value', STRANGE + WHOLE, ids=lambda v: type(v).__name__)
def test_numbers_of_strange_types_become_plain_ones(value):
    def made(): return genopt.SGD([P()], lr=.5, momentum=.25)
    opts = [genopt.SGD([P()], lr=value), made(), made(), made(), made(), made()]
    opts[1].param_groups[0]['lr'] = value
    opts[2].set_hyper('lr', value)
    opts[3].param_groups[0] = {**opts[3].param_groups[0], 'lr': value}
    opts[4].param_groups[0].update(lr=value)
    opts[5].defaults['lr'] = value; opts[5].add_param_group({'params': [P()]})
    opts[5].param_groups.pop(0)
    for opt in opts:
        step(opt)
        for got in (opt.param_groups[0]['lr'], opt.state_dict()['param_groups'][0]['lr'],
                    opt.hypers[0]['lr']):
            assert type(got) in (int, float) and got == float(value)
        file = io.BytesIO(); torch.save(opt.state_dict(), file); file.seek(0)
        opt.load_state_dict(torch.load(file, weights_only=True))


def test_a_pair_of_strange_numbers():
    opt = genopt.Adam([P()], betas=(np.float32(.5), Fraction(1, 4)))
    opt.param_groups[0]['betas'] = [np.float32(.25), Half(.5)]
    assert opt.param_groups[0]['betas'] == (.25, .5)
    assert {*map(type, opt.param_groups[0]['betas'])} == {float}


@pytest.mark.parametrize('value', ['.1', None, 1j, [.1, .2], object(), {'a': 1}],
                         ids=lambda v: type(v).__name__)
def test_what_is_no_number_is_refused_and_changes_nothing(value):
    with pytest.raises((TypeError, ValueError)): genopt.SGD([P()], lr=value)
    opt = genopt.SGD([P()], lr=.5)
    with pytest.raises((TypeError, ValueError)): opt.param_groups[0]['lr'] = value
    with pytest.raises((TypeError, ValueError)): opt.set_hyper('lr', value)
    assert opt.param_groups[0]['lr'] == .5


def test_a_huge_whole_number():
    opt = genopt.SGD([P()], lr=10**30)
    assert type(opt.param_groups[0]['lr']) is float
    opt.param_groups[0]['lr'] = 10**30; opt.set_hyper('lr', 10**30)
    assert opt.param_groups[0]['lr'] == 1e30 and type(opt.param_groups[0]['lr']) is float
    step(opt)
    with pytest.raises(ValueError, match='lr'): genopt.SGD([P()], lr=10**400)
    with pytest.raises(ValueError, match='lr'): opt.param_groups[0]['lr'] = 10**400
    file = io.BytesIO(); torch.save(opt.state_dict(), file); file.seek(0)
    opt.load_state_dict(torch.load(file, weights_only=True))


# -- schedulers and wrappers -----------------------------------------------------------------------

@engines
def test_the_last_call_of_a_linear_cycle(compile):
    "It may write a rate a little below 0."
    def story(make):
        p = P(); opt = make([p], lr=.1, momentum=.9)
        sched = OneCycleLR(opt, .1, total_steps=5, anneal_strategy='linear')
        for i in range(5): step(opt, i); sched.step()
        opt.load_state_dict(copy.deepcopy(opt.state_dict())); step(opt, 6)
        return p,
    tell(story, theirs(torch.optim.SGD), partial(genopt.SGD, compile=compile))


@pytest.fixture
def alone(tmp_path):
    "A process group of one process."
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings('ignore')  # torch's own
def test_a_wrapper_that_shards_state(alone):
    "What a scheduler, or anybody, writes into the wrapper's groups holds in the optimizer within."
    from torch.distributed.optim import ZeroRedundancyOptimizer  # which warns
    def story(make):
        p, q = P(shape=(4, 3)), P(1)
        opt = ZeroRedundancyOptimizer([p, q], optimizer_class=make,
                                      lr=.1, betas=(.8, .95), weight_decay=.1)
        assert opt.param_groups[0]['betas'] == (.8, .95)
        sched = OneCycleLR(opt, .2, total_steps=12)
        for i in range(4):
            step(opt, i); sched.step()
            inner = opt.optim.param_groups[0]
            assert opt.param_groups[0]['lr'] == sched.get_last_lr()[0]
        opt.param_groups[0]['weight_decay'] = .5; step(opt, 5)
        assert inner['weight_decay'] == .5 and inner['lr'] == opt.param_groups[0]['lr']
        assert inner['betas'] == opt.param_groups[0]['betas'] != (.8, .95)
        opt.consolidate_state_dict(); opt.load_state_dict(opt.state_dict()); step(opt, 6)
        return p, q
    tell(story, torch.optim.Adam, genopt.Adam, partial(genopt.Adam, compile=True))
    p = P()
    opt = ZeroRedundancyOptimizer([p], optimizer_class=genopt.Adam,
                                  compile=True, lr=.1, betas=(.8, .95))
    step(opt); assert opt.optim.compiled
    def momentum(make):
        p = P(); opt = ZeroRedundancyOptimizer([p], optimizer_class=make, lr=.1, momentum=.9)
        sched = OneCycleLR(opt, .2, total_steps=12)
        for i in range(4):
            step(opt, i); sched.step()
        return p,
    tell(momentum, torch.optim.SGD, genopt.SGD, partial(genopt.SGD, compile=True))


# -- checkpoints -----------------------------------------------------------------------------------

def test_an_empty_parameter_needs_no_entry():
    opt = genopt.Adam([P(), nn.Parameter(torch.zeros(0, 3))], lr=.1)
    step(opt)
    saved = opt.state_dict(); saved['state'].pop(1)
    opt.load_state_dict(saved); step(opt, 1)


def test_an_entry_that_is_missing_and_how_to_begin_it_anew():
    p, q = P(), P(1); opt = genopt.Adam([p, q], lr=.1); step(opt)
    saved = copy.deepcopy(opt.state_dict()); saved['state'].pop(1)
    with pytest.raises(ValueError, match=r'no state for parameter 1 of group 0') as e:
        opt.load_state_dict(saved)
    advice = str(e.value)[str(e.value).index('state_dict["state"]'):].rstrip(')')
    exec(advice, {'state_dict': saved})
    opt.load_state_dict(saved)
    step(opt, 1)
    assert (opt.state[p]['count'], opt.state[q]['count']) == (2, 1)


@pytest.mark.filterwarnings('ignore')
def test_what_a_loader_leaves_out_begins_anew():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    opt = genopt.Adam(model.parameters(), lr=.1)
    step(opt); step(opt, 1)
    saved = get_optimizer_state_dict(model, opt)
    saved = copy.deepcopy(saved); saved['state'].pop('1.bias'); saved['state'].pop('1.weight')
    for g in saved['param_groups']: g['params'] = [n for n in g['params'] if not n.startswith('1.')]
    set_optimizer_state_dict(model, opt, saved, options=StateDictOptions(strict=False))
    step(opt, 2)
    assert [int(opt.state[p]['count']) for p in model.parameters()] == [3, 3, 1, 1]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('whole', [False, True], ids=['its state_dict', 'the optimizer itself'])
def test_a_distributed_checkpoint_in_one_process(whole, tmp_path):
    p = P(); opt = genopt.Adam([p], lr=.1, wd=.1); step(opt); step(opt, 1)
    dcp.save({'o': opt if whole else opt.state_dict()}, checkpoint_id=tmp_path)
    q = nn.Parameter(p.detach().clone()); other = genopt.Adam([q], lr=.3, wd=.1); step(other, 5)
    with torch.no_grad(): q.copy_(p)
    if whole: dcp.load({'o': other}, checkpoint_id=tmp_path)
    else:
        saved = other.state_dict(); dcp.load({'o': saved}, checkpoint_id=tmp_path)
        other.load_state_dict(saved)
    assert other.param_groups[0]['lr'] == .1 and other.state[q]['count'] == 2
    step(opt, 2); step(other, 2)
    assert torch.equal(p, q)


def test_a_checkpoint_with_names_in_an_optimizer_without():
    model = nn.Linear(2, 2); opt = genopt.Adam(model.named_parameters(), lr=.1); step(opt)
    other = genopt.Adam(nn.Linear(2, 2).parameters(), lr=.1)
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0]['param_names'] == ['weight', 'bias']
    step(other)
    with pytest.raises(ValueError, match='`weight`'):
        other.load_state_dict({**opt.state_dict(), 'state': {0: {'count': 1}, 1: {}}})


@pytest.mark.parametrize('note', [-1, 1.5, '3', None, True, [1], float('nan')], ids=str)
def test_a_damaged_note_of_a_schedule_is_refused_whole(note):
    opt = genopt.SGD([P()], lr=.1); genopt.Schedule(opt, 10, lr=genopt.linear(.1, 0))
    step(opt); step(opt)
    saved = copy.deepcopy(opt.state_dict()); saved['param_groups'][0]['scheduled lr'] = note
    saved['param_groups'][0]['weight_decay'] = .5
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError, match='scheduled lr'): opt.load_state_dict(saved)
    assert opt.state_dict() == before
    step(opt); assert opt.param_groups[0]['scheduled lr'] == 3


def test_nothing_is_loaded_while_averages_are_in_the_parameters_place():
    p = P(); opt = (genopt.SGD + genopt.average_param)([p], lr=.1)
    for i in range(3): step(opt, i)
    saved, weights = copy.deepcopy(opt.state_dict()), p.detach().clone()
    with opt.swapped():
        average = p.detach().clone(); assert not torch.equal(average, weights)
        with pytest.raises(RuntimeError, match='swap'): opt.load_state_dict(saved)
        assert torch.equal(p, average)
        inside = copy.deepcopy(opt.state_dict())
    assert torch.equal(p, weights)
    q = nn.Parameter(average.clone()); other = (genopt.SGD + genopt.average_param)([q], lr=.1)
    other.load_state_dict(inside); other.swap()
    assert torch.equal(q, weights)


# -- copies, classes, names ------------------------------------------------------------------------

@engines
@pytest.mark.parametrize('copier', [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))],
                         ids=['copy', 'pickle'])
def test_a_copy_has_the_same_attributes_and_goes_on_alike(copier, compile):
    model = nn.Linear(3, 2); opt = genopt.AdamW(model.parameters(), lr=.1, compile=compile)
    step(opt)
    both = copier({'model': model, 'opt': opt}); other = both['opt']
    twin = torch.optim.AdamW([P()])
    assert {*vars(other)} == {*vars(opt)} - ({*vars(twin)} - {*vars(copy.deepcopy(twin))})
    assert type(other) is type(opt)
    assert other.compiled == compile and other.defaults == opt.defaults
    for i in range(2): step(opt, i); step(other, i)
    torch.testing.assert_close([*both['model'].parameters()], [*model.parameters()], rtol=0, atol=0)
    other.add_param_group({'params': [P()]}); step(other)


def test_a_recipe_can_be_subclassed():
    class Mine(genopt.Adam):
        "Adam that counts."
        def __init__(self, params, lr=.5, **kwargs):
            super().__init__(params, lr, weight_decay=.1, **kwargs)
            self.steps = 0
        def step(self, closure=None):
            self.steps += 1
            return super().step(closure)
    def story(make):
        p = P(); opt = make([p]); step(opt); step(opt, 1); return p,
    tell(story, partial(torch.optim.Adam, lr=.5, weight_decay=.1),
         Mine, partial(Mine, compile=True))
    opt = Mine([P()], betas=(.5, .6)); step(opt)
    assert opt.steps == 1 and opt.param_groups[0]['betas'] == (.5, .6)
    assert type(opt).__name__ == 'Mine'
    assert isinstance(opt, genopt.Adam) and isinstance(opt, Optimizer)
    assert isinstance(opt, torch.optim.Optimizer)
    assert issubclass(Mine, genopt.Adam) and issubclass(Mine, torch.optim.Optimizer)
    assert not issubclass(Mine, genopt.SGD) and not isinstance(opt, genopt.SGD)
    sched = LambdaLR(opt, lambda i: 1 / (1 + i)); step(opt); sched.step()
    assert opt.param_groups[0]['lr'] == .25


def test_a_recipe_is_a_class_to_whoever_asks():
    opt = genopt.Adam([P()])
    assert isinstance(opt, genopt.Adam) and not isinstance(opt, genopt.AdamW)
    assert not isinstance(opt, genopt.SGD)
    assert not isinstance(torch.optim.Adam([P()]), genopt.Adam)
    assert issubclass(genopt.Adam, torch.optim.Optimizer) and issubclass(genopt.Adam, Optimizer)
    assert issubclass(type(opt), genopt.Adam) and not issubclass(torch.optim.Adam, genopt.Adam)


def test_the_profiler_calls_a_step_by_the_recipes_name():
    def names(opt):
        with torch.profiler.profile() as prof: step(opt)
        return {e.key for e in prof.key_averages() if e.key.startswith('Optimizer.step')}
    # before and after, as it patches classes
    assert names(torch.optim.Adam([P()])) == {'Optimizer.step#Adam.step'}
    assert names(genopt.Adam([P()])) == {'Optimizer.step#Adam.step'}
    assert names(genopt.SGD([P()], lr=.1, compile=True)) == {'Optimizer.step#SGD.step'}
    assert names(torch.optim.AdamW([P()])) == {'Optimizer.step#AdamW.step'}


def test_a_recipe_by_its_name():
    def story(make):
        p = P(); opt = make([p]); step(opt); return p,
    tell(story, theirs(torch.optim.AdamW), lambda ps: Optimizer(ps, 'adamw'),
         lambda ps: Optimizer(ps, genopt.AdamW))
