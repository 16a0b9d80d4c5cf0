"""Promise: a state_dict that is loaded by name gives each parameter its own state, wherever it
stands now; what does not fit is listed, and a wrong one is refused before anything changes.
"""
import re

import genopt
import pytest
import torch
from helpers import engines, random, through_a_file
from test_surgery import F64, snapshot
from torch import nn


def named(*names, shape=(4, 3)):
    return {n: nn.Parameter(random(ord(n[0]), shape, F64)) for n in names}


def go(opt, params, steps):
    "Steps whose gradients go by the name."
    for i in steps:
        for n, p in params.items(): p.grad = random(1000 * i + ord(n[0]), tuple(p.shape), F64)
        opt.step()


def trained(recipe, params, steps=3, **kwargs):
    opt = recipe(params.items(), **kwargs)
    go(opt, params, range(steps))
    return opt


def copied(params, *names):
    return {n: nn.Parameter(params[n].detach().clone()) for n in names or params}


def refuses(opt, saved, why):
    before, values = snapshot(opt)
    sentence = f'^{re.escape(f"cannot load this state_dict: {why}")}$'
    with pytest.raises(ValueError, match=sentence): opt.load_by_name(saved)
    after, now = snapshot(opt)
    assert before == after and all(map(torch.equal, values, now))


# -- each gets its own -----------------------------------------------------------------------------

@pytest.mark.parametrize('recipe', [genopt.AdamW, genopt.Momentum, genopt.Rprop, genopt.Adafactor])
@engines
def test_another_order_goes_on_as_the_run_did(recipe, compile):
    ps = named('a', 'b', 'c'); opt = trained(recipe, ps, compile=compile, lr=.02)
    qs = copied(ps, 'c', 'a', 'b'); other = recipe(qs.items(), compile=compile)
    loaded = other.load_by_name(through_a_file(opt.state_dict()))
    assert loaded.taken == ['c', 'a', 'b'] and repr(loaded) == 'loaded by name: 3 of 3 parameters'
    assert other.param_groups[0]['lr'] == .02
    assert other.param_groups[0]['param_names'] == ['c', 'a', 'b']
    go(opt, ps, range(3, 6)); go(other, qs, range(3, 6))
    for n in ps: assert torch.equal(ps[n], qs[n])


@pytest.mark.parametrize('cls, recipe, options', [
    (torch.optim.AdamW, genopt.AdamW, dict(amsgrad=True)),
    (torch.optim.SGD, genopt.SGD, dict(lr=.1, momentum=.9)),
    (torch.optim.NAdam, genopt.NAdam, {})])
def test_torchs_with_names(cls, recipe, options):
    ps = named('a', 'b', 'c'); opt = trained(cls, ps, **options)
    qs = copied(ps, 'c', 'a'); more = named('d'); begun = copied(more)
    other = recipe([*more.items(), *qs.items()], **({'lr': 1.} if 'lr' in options else {}))
    loaded = other.load_by_name(through_a_file(opt.state_dict()))
    assert (loaded.taken, loaded.fresh, loaded.left) == (['c', 'a'], ['d'], ['b'])
    assert other.param_groups[0]['lr'] == opt.param_groups[0]['lr']
    go(opt, ps, range(3, 6)); go(other, qs | more, range(3, 6))
    for n in qs: torch.testing.assert_close(qs[n], ps[n], rtol=1e-7, atol=0)  # its NAdam: float32
    go(cls(begun.items(), **options), begun, range(3, 6))  # `d` has a state of its own
    torch.testing.assert_close(more['d'], begun['d'], rtol=1e-7, atol=0)


def test_torch_can_load_ours_by_its_own_hook():
    "The names are where torch has them, and its documented hook finds them."
    ps = named('a', 'b'); opt = trained(genopt.Adam, ps)
    qs = copied(ps, 'b', 'a'); other = torch.optim.Adam(qs.items())
    saved = genopt.to_torch(opt)
    def by_name(theirs, saved):
        group, = saved['param_groups']
        ids = dict(zip(group['param_names'], group['params']))
        mine = theirs.param_groups[0]['param_names']
        return {'state': {i: saved['state'][ids[n]] for i, n in enumerate(mine)},
                'param_groups': [{**group, 'param_names': mine}]}
    other.register_load_state_dict_pre_hook(by_name)
    other.load_state_dict(saved)
    go(opt, ps, range(3, 5)); go(other, qs, range(3, 5))
    for n in ps: torch.testing.assert_close(qs[n], ps[n], rtol=1e-12, atol=0)


def test_a_state_of_keys_that_are_names():
    "As torch.distributed.checkpoint keeps them."
    ps = named('a', 'b'); saved = trained(genopt.Adam, ps).state_dict()
    group = {**saved['param_groups'][0], 'params': ['a', 'b']}; del group['param_names']
    saved = {'state': {n: saved['state'][i] for i, n in enumerate('ab')}, 'param_groups': [group]}
    other = genopt.Adam(copied(ps, 'b', 'a').items())
    assert other.load_by_name(saved).taken == ['b', 'a']


# -- what does not fit -----------------------------------------------------------------------------

def test_what_does_not_fit_is_listed():
    ps = {**named('body', 'gone'), **named('embed', shape=(5, 2))}
    saved = trained(genopt.AdamW, ps, lr=.02).state_dict()
    qs = {**copied(ps, 'body'), **named('embed', shape=(6, 2)), **named('head')}
    opt = trained(genopt.AdamW, qs); opt.state[qs['head']]['do_wd'] = False
    loaded = opt.load_by_name(saved)
    assert repr(loaded) == '''loaded by name: 1 of 3 parameters
  fresh    head: its state begins anew, as none was saved
  misfit   embed: `grad_avg` is a tensor of shape (5, 2) in it, and a tensor of shape (6, 2) here, \
so its state begins anew
  left     gone: saved, and not in this optimizer'''
    assert opt.state[qs['body']]['count'] == 3 and qs['embed'] not in opt.state
    assert opt.state[qs['head']] == {'do_wd': False}
    go(opt, qs, range(1))
    assert [int(opt.state[p]['count']) for p in qs.values()] == [4, 1, 1]


def test_an_entry_that_was_taken_out_begins_anew():
    ps = named('a', 'b'); saved = trained(genopt.Adam, ps).state_dict(); del saved['state'][1]
    assert genopt.Adam(copied(ps).items()).load_by_name(saved).fresh == ['b']


def test_what_was_saved_before_it_began():
    "Of some parameters, or of all: the hyperparameters are taken, and no state is."
    ps = named('a', 'b'); opt = genopt.Adam(ps.items(), lr=.02)
    other = genopt.Adam(copied(ps).items()); loaded = other.load_by_name(opt.state_dict())
    assert repr(loaded) == '''loaded by name: 0 of 2 parameters
  empty    a, b: saved without a state, which begins on the first step'''
    assert other.param_groups[0]['lr'] == .02
    opt.state[ps['b']]['do_wd'] = False
    ps['a'].grad = torch.ones_like(ps['a']); opt.step()
    qs = copied(ps); other = genopt.Adam(qs.items()); loaded = other.load_by_name(opt.state_dict())
    assert (loaded.taken, loaded.empty) == (['a'], ['b'])
    assert other.state[qs['b']] == {'do_wd': False}
    plain = genopt.SGD(ps.items(), lr=.1)  # keeps no state, so nothing is missing
    assert genopt.SGD(qs.items(), lr=.2).load_by_name(plain.state_dict()).taken == ['a', 'b']


def test_an_optimizer_without_parameters():
    ps = named('a'); opt = genopt.Adam(ps.items()); saved = through_a_file(opt.state_dict())
    opt.remove('a')
    refuses(opt, saved, 'this optimizer has no parameters: `add` some first')


def test_stats_are_taken_by_what_keeps_them():
    "Adam's averages are AdamW's, and nobody else's."
    ps = named('a', 'b'); saved = trained(genopt.Adam, ps, lr=.02).state_dict()
    opt = genopt.AdamW(copied(ps).items())
    assert repr(opt.load_by_name(saved)) == '''loaded by name: 2 of 2 parameters
  group 0  keeps its hyperparameters: it had other parts'''
    assert opt.param_groups[0]['lr'] == 1e-3
    refuses(genopt.Rprop(copied(ps).items()), saved, 'none of its parameters fits: for `a`, it '
            'has `grad_avg`, `sqr_avg`, `count`, and here no part keeps these')
    refuses(genopt.SGD(copied(ps).items(), momentum=.9), saved, 'none of its parameters fits: for '
            '`a`, it was kept without `momentum_buffer`')


def test_parameters_that_have_moved_between_groups():
    "Only a group with the parameters of one there takes the hyperparameters of that."
    ps = named('a', 'b', 'c', 'd')
    def make(params, *groups):
        opt = genopt.AdamW([dict(params=[(n, params[n]) for n in names], **own)
                            for names, own in groups])
        genopt.Schedule(opt, 20, wd=genopt.linear(.2, 0.))
        return opt
    opt = make(ps, ('ab', dict(lr=.1, wd=.3, layer_id=1)), ('cd', dict(lr=.2, layer_id=2)))
    go(opt, ps, range(3)); saved = opt.state_dict()
    other = make(copied(ps), ('d', dict(lr=.5)), ('a', dict(lr=.6)), ('b', dict(lr=.7)))
    loaded = other.load_by_name(saved)
    assert loaded.groups == {1: 'the parameters of group 0 there are in groups 1 and 2 here',
                             2: 'the parameters of group 0 there are in groups 1 and 2 here'}
    assert [g['lr'] for g in other.param_groups] == [.2, .6, .7]
    assert [g.get('layer_id') for g in other.param_groups] == [2, None, None]
    assert [g['scheduled wd'] for g in other.param_groups] == [3, 3, 3]
    merged = make(copied(ps), ('abc', dict(lr=.5)))
    assert merged.load_by_name(saved).groups == {0: 'its parameters were in groups 0 and 1'}
    assert merged.param_groups[0]['lr'] == .5
    head = make({**copied(ps), **named('h')}, ('cd', {}), ('h', dict(lr=.9, layer_id=7)))
    assert head.load_by_name(saved).groups == {1: 'none of its parameters was saved'}
    assert [(g['lr'], g['layer_id']) for g in head.param_groups] == [(.2, 2), (.9, 7)]


def test_groups_of_other_parts():
    ps = named('a', 'b')
    def make(params, *groups):
        return genopt.Optimizer([dict(params=[(n, params[n])], parts=recipe, lr=.1)
                                 for n, recipe in groups])
    opt = make(ps, ('a', genopt.Muon), ('b', genopt.AdamW)); go(opt, ps, range(2))
    other = make(qs := copied(ps), ('b', genopt.AdamW), ('a', genopt.Muon))
    assert repr(other.load_by_name(opt.state_dict())) == 'loaded by name: 2 of 2 parameters'
    go(opt, ps, range(2, 4)); go(other, qs, range(2, 4))
    for n in ps: assert torch.equal(ps[n], qs[n])


def test_averages_options_and_what_others_keep():
    ps = named('a', 'b'); opt = trained(genopt.Adam + genopt.average_param, ps, amsgrad=True)
    opt.state[ps['a']]['do_wd'] = False; opt.state['global_step'] = 3
    opt.swap(); saved = opt.state_dict()
    qs = copied(ps, 'b', 'a'); other = (genopt.Adam + genopt.average_param)(qs.items())
    other.load_by_name(saved)
    assert other.param_groups[0]['amsgrad'] and 'max_sqr_avg' in other.state[qs['a']]
    assert other.state['global_step'] == 3 and other.state[qs['a']]['do_wd'] is False
    opt.swap(); other.swap()  # a checkpoint of swapped parameters has both
    for n in ps: assert torch.equal(ps[n], qs[n])


def test_hooks_are_called():
    ps = named('a'); opt, other = trained(genopt.Adam, ps), genopt.Adam(copied(ps).items())
    seen = []
    other.register_load_state_dict_pre_hook(lambda o, saved: saved['optimizer'])
    other.register_load_state_dict_post_hook(seen.append)
    assert other.load_by_name({'optimizer': opt.state_dict()}).taken == ['a'] and seen == [other]


# -- what is refused -------------------------------------------------------------------------------

def saved_with(change):
    saved = trained(genopt.Adam, named('a', 'b')).state_dict()
    change(saved)
    return saved


def set_of(group, **values): return lambda s: s['param_groups'][group].update(values)


@pytest.mark.parametrize('change, why', [
    (lambda s: s['param_groups'][0].pop('param_names'),
     'its group 0 has 0 `param_names` for 2 parameters, so it cannot be loaded by name: load it '
     'into an optimizer of the same groups, or write the names into it'),
    (set_of(0, param_names=['a', 'a']), 'it has two parameters called `a`'),
    (set_of(0, param_names=['x', 'y']), 'it has no parameter that is here: there is `x` in it, for '
     'example, and `a` here'),
    (lambda s: s['state'][0].update(count=torch.tensor(float('nan'))),
     '`count` of `a` (shape (4, 3), float64) is nan in it, and a number here'),
    (lambda s: s['state'].update({9: {}}), 'it has a state for `9`, which is in no group'),
    (set_of(0, lr=float('inf')), 'its group 0: `lr` = inf: give a finite number'),
    (lambda s: s.pop('state'), "it has no 'state'"),
    (lambda s: s['param_groups'].append(3),
     "it is damaged (TypeError: 'int' object is not subscriptable)")])
def test_wrong_ones_are_refused(change, why):
    opt = trained(genopt.Adam, named('a', 'b'), 1)
    refuses(opt, saved_with(change), why)


def test_an_optimizer_without_names():
    opt = genopt.Adam([nn.Parameter(torch.ones(4, 3))])
    refuses(opt, saved_with(lambda s: None), 'this optimizer has no names: make it with '
            'model.named_parameters()')
    opt = genopt.Adam([dict(params=list(named('a').items())) for _ in range(2)])
    refuses(opt, saved_with(lambda s: None), 'two parameters here are called `a`')


# -- what load_state_dict says ---------------------------------------------------------------------

LOAD = 'call opt.load_by_name(state_dict), which takes what fits'
NAMES = f'; or give names to both, with model.named_parameters(), and {LOAD}'


@pytest.mark.parametrize('there, here, why', [
    ('a b', 'ab', f'it has 2 parameter groups, and this optimizer has 1: {LOAD}'),
    ('a', 'ab', f'its group 0 has 1 parameter, and here it has 2: {LOAD}'),
    ('ba', 'ab', f'its group 0 has its parameters in another order: `b` stands where `a` is here: '
     f'{LOAD}')])
def test_loading_says_what_to_write(there, here, why):
    make = lambda names: genopt.Adam([dict(params=list(named(*g).items())) for g in names.split()])
    with pytest.raises(ValueError, match=f'{re.escape(why)}$'):
        make(here).load_state_dict(make(there).state_dict())


@pytest.mark.parametrize('there, here, why', [
    (2, 1, '2 parameter groups, and this optimizer has 1: add the others with opt.add_param_group '
     'first'),
    (1, 2, '1 parameter groups, and this optimizer has 2: load it before other groups are added')])
def test_loading_other_groups_without_names(there, here, why):
    make = lambda n: genopt.Adam([[nn.Parameter(torch.ones(2))] for _ in range(n)])
    with pytest.raises(ValueError, match=f'{re.escape(why + NAMES)}$'):
        make(here).load_state_dict(make(there).state_dict())
