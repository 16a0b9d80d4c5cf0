"""Promise: state is plain data, which other people's code may read, write, replace, save and share.
"""
import copy
from collections import defaultdict

import genopt
import pytest
import torch
import torch.distributed.checkpoint as dcp
from genopt.twins import TWINS
from helpers import copy_values, param, random_param, random_step, through_a_file
from stories import tell_in_three
from torch import nn
from torch.distributed.checkpoint.state_dict import (StateDictOptions, get_optimizer_state_dict,
                                                     set_optimizer_state_dict)


# -- state -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('attributes', [['state'], ['param_groups'], ['state', 'param_groups'],
                                        ['state', 'param_groups', 'defaults'], []], ids=str)
def test_some_of_the_attributes_may_be_set(attributes):
    def story(make):
        p = random_param(); opt = make([p], lr=.1); random_step(opt); random_step(opt, 1)
        fresh = dict(state=defaultdict(dict), param_groups=[{**opt.param_groups[0], 'lr': .2}],
                     defaults={**opt.defaults, 'lr': .3})
        opt.__setstate__({k: fresh[k] for k in attributes})
        random_step(opt, 2)
        opt.add_param_group({'params': [q := random_param(1)]}); random_step(opt, 3)
        return p, q
    tell_in_three(story)


def test_what_others_keep_in_a_state_is_saved_and_loaded():
    def story(make):
        p = random_param(); opt = make([p], lr=.1); random_step(opt)
        opt.state[p]['importance'] = torch.arange(3.); opt.state[p]['seen'] = 7
        opt.state['global_step'] = 5
        opt.state[p]['history'] = [1, {'a': torch.ones(2)}]
        random_step(opt, 1)
        q = nn.Parameter(p.detach().clone()); other = make([q], lr=.1)
        other.load_state_dict(through_a_file(opt.state_dict()))
        for o, x in ((opt, p), (other, q)):
            assert o.state[x]['importance'].tolist() == [0, 1, 2] and o.state[x]['seen'] == 7
            assert o.state['global_step'] == 5 and o.state[x]['history'][1]['a'].tolist() == [1, 1]
        random_step(other, 2)
        return q,
    tell_in_three(story)


def test_state_of_a_parameter_that_is_in_no_group_stays_and_is_not_saved():
    p, q = random_param(), random_param(1); opt = genopt.Adam([p, q], lr=.1); random_step(opt)
    opt.param_groups[0]['params'].pop()
    saved = opt.state_dict()
    assert {*saved['state']} == {0} and opt.state[q]['count'] == 1
    random_step(opt, 1)
    opt.param_groups[0]['params'].append(q); random_step(opt, 2)
    assert (opt.state[p]['count'], opt.state[q]['count']) == (3, 2)


# With a dense state, of the parameter's shape, that torch lets one write
DENSE = [name for name in TWINS if name not in ('Momentum', 'SparseAdam', 'Adafactor', 'Muon')]


@pytest.mark.parametrize('name', DENSE)
def test_state_may_be_written_in_torchs_words(name):
    "It is reset in the middle of a run; and another parameter gets rows of it."
    twin, kwargs = TWINS[name], dict(lr=.1, **(dict(momentum=.9) if name == 'SGD' else {}))
    def tensors(opt, p): return {twin.names.get(k, k): v for k, v in opt.state[p].items()}
    def story(make):
        p = random_param(shape=(4, 3)); opt = make([p], **kwargs)
        for i in range(3): random_step(opt, i)
        for k, v in tensors(opt, p).items():
            if v.dim(): opt.state[p][k] = torch.full((4, 3), .5)
        random_step(opt, 3)
        q = nn.Parameter(p.detach()[[0, 2]].clone()); opt.param_groups[0]['params'][0] = q
        opt.state[q] = {k: torch.full((2, 3), .25) if v.dim() else v.clone()
                        for k, v in tensors(opt, p).items()}
        random_step(opt, 4); random_step(opt, 5)
        return p, q
    tell_in_three(story, genopt.recipe(name), twin.cls)


def test_state_that_waits_for_an_option_is_saved_and_loaded():
    def story(make):
        p = random_param(); opt = make([p], lr=.01, momentum=.9); random_step(opt)
        random_step(opt, 1)
        opt.param_groups[0]['momentum'] = 0.; random_step(opt, 2)
        opt.load_state_dict(copy.deepcopy(opt.state_dict())); random_step(opt, 3)
        opt.param_groups[0]['momentum'] = .9; random_step(opt, 4)
        return p,
    tell_in_three(story, genopt.RMSprop, torch.optim.RMSprop)
    tell_in_three(story, genopt.SGD, torch.optim.SGD)


def resized(opt, p, rows):
    "As tools do that prune and densify: what has dimensions is of the parameter's shape."
    q = nn.Parameter(p.detach()[rows].clone())
    state = opt.state.pop(p)
    opt.state[q] = {k: v[rows] if torch.is_tensor(v) and v.dim() else v for k, v in state.items()}
    opt.param_groups[0]['params'] = [q]
    return q


def test_a_tool_that_resizes_state_leaves_counts_alone():
    def story(make):
        p = random_param(shape=(6, 3)); opt = make([p], lr=.1); random_step(opt)
        random_step(opt, 1)
        q = resized(opt, p, [0, 3, 3]); random_step(opt, 2)
        q = resized(opt, q, [0, 1, 2, 0, 1, 2]); random_step(opt, 3)
        return q,
    tell_in_three(story)
    tell_in_three(story, genopt.NAdam, torch.optim.NAdam)


def work(opt, p, n):
    torch.set_num_threads(1)
    for i in range(n): p.grad = torch.full((3,), i - 1.5); opt.step()


def test_counts_are_shared_between_processes():
    p, q = random_param(), random_param()
    opt, twin = genopt.Adam([p], lr=.1, compile=True), torch.optim.Adam([q], lr=.1)
    p.share_memory_(); random_step(opt); random_step(twin); p.grad = None
    for v in opt.state[p].values(): v.share_memory_()
    worker = torch.multiprocessing.get_context('spawn').Process(target=work, args=(opt, p, 4))
    worker.start(); work(twin, q, 4); worker.join()
    assert worker.exitcode == 0 and opt.state[p]['count'] == 5
    work(opt, p, 2); work(twin, q, 2)
    torch.testing.assert_close(p, q)


# -- checkpoints -----------------------------------------------------------------------------------

def test_an_empty_parameter_needs_no_entry():
    opt = genopt.Adam([p := param(), nn.Parameter(torch.zeros(0, 3))], lr=.1)
    random_step(opt)
    saved = opt.state_dict(); saved['state'].pop(1)
    opt.load_state_dict(saved); random_step(opt, 1)
    assert opt.state[p]['count'] == 2


def test_an_entry_that_is_missing_and_how_to_begin_it_anew():
    p, q = random_param(), random_param(1); opt = genopt.Adam([p, q], lr=.1); random_step(opt)
    saved = copy.deepcopy(opt.state_dict()); saved['state'].pop(1)
    with pytest.raises(ValueError, match=r'no state for parameter 1 of group 0') as e:
        opt.load_state_dict(saved)
    advice = str(e.value)[str(e.value).index('state_dict["state"]'):].rstrip(')')
    exec(advice, {'state_dict': saved})
    opt.load_state_dict(saved)
    random_step(opt, 1)
    assert (opt.state[p]['count'], opt.state[q]['count']) == (2, 1)


@pytest.mark.filterwarnings('ignore')
def test_what_a_loader_leaves_out_begins_anew():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    opt = genopt.Adam(model.parameters(), lr=.1)
    random_step(opt); random_step(opt, 1)
    saved = get_optimizer_state_dict(model, opt)
    saved = copy.deepcopy(saved); saved['state'].pop('1.bias'); saved['state'].pop('1.weight')
    for g in saved['param_groups']: g['params'] = [n for n in g['params'] if not n.startswith('1.')]
    set_optimizer_state_dict(model, opt, saved, options=StateDictOptions(strict=False))
    random_step(opt, 2)
    assert [int(opt.state[p]['count']) for p in model.parameters()] == [3, 3, 1, 1]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('whole', [False, True], ids=['its state_dict', 'the optimizer itself'])
def test_a_distributed_checkpoint_in_one_process(whole, tmp_path):
    p = random_param(); opt = genopt.Adam([p], lr=.1, wd=.1); random_step(opt); random_step(opt, 1)
    dcp.save({'o': opt if whole else opt.state_dict()}, checkpoint_id=tmp_path)
    q = nn.Parameter(p.detach().clone()); other = genopt.Adam([q], lr=.3, wd=.1)
    random_step(other, 5)
    copy_values([p], [q])
    if whole: dcp.load({'o': other}, checkpoint_id=tmp_path)
    else:
        saved = other.state_dict(); dcp.load({'o': saved}, checkpoint_id=tmp_path)
        other.load_state_dict(saved)
    assert other.param_groups[0]['lr'] == .1 and other.state[q]['count'] == 2
    random_step(opt, 2); random_step(other, 2)
    assert torch.equal(p, q)


def test_a_checkpoint_with_names_in_an_optimizer_without():
    model = nn.Linear(2, 2); opt = genopt.Adam(model.named_parameters(), lr=.1); random_step(opt)
    other = genopt.Adam(nn.Linear(2, 2).parameters(), lr=.1)
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0]['param_names'] == ['weight', 'bias']
    random_step(other)
    with pytest.raises(ValueError, match='`weight`'):
        other.load_state_dict({**opt.state_dict(), 'state': {0: {'count': 1}, 1: {}}})


@pytest.mark.parametrize('note', [-1, 1.5, '3', None, True, [1], float('nan')], ids=str)
def test_a_damaged_note_of_a_schedule_is_refused_whole(note):
    opt = genopt.SGD([param()], lr=.1); genopt.Schedule(opt, 10, lr=genopt.linear(.1, 0))
    random_step(opt); random_step(opt)
    saved = copy.deepcopy(opt.state_dict()); saved['param_groups'][0]['scheduled lr'] = note
    saved['param_groups'][0]['weight_decay'] = .5
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError, match='scheduled lr'): opt.load_state_dict(saved)
    assert opt.state_dict() == before
    random_step(opt); assert opt.param_groups[0]['scheduled lr'] == 3


def test_nothing_is_loaded_while_averages_are_in_the_parameters_place():
    p = random_param(); opt = (genopt.SGD + genopt.average_param)([p], lr=.1)
    for i in range(3): random_step(opt, i)
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
