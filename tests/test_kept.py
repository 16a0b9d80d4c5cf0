"""Promise: state and weights in formats are right wherever else they are touched than in a step."""
import copy

import genopt
import pytest
import torch
from genopt import converting
from genopt.converting import weight
from helpers import random
from torch import nn

F32, BF16 = torch.float32, torch.bfloat16


def weights(n=2, shape=(8, 600), dtype=BF16):
    return [nn.Parameter(random(i, shape, dtype)) for i in range(n)]


def steps(opt, n=3, start=0):
    for t in range(start, start + n):
        for i, p in enumerate(p for g in opt.param_groups for p in g['params']):
            p.grad = random(100 * t + i, p.shape, p.dtype)
        opt.step()
    return opt


def test_each_group_has_its_own_random_bits():
    "In one kernel, too: with equal seeds, weights and gradients the places alone differ."
    found = []
    for compile in (False, True):
        ps = weights()
        steps(genopt.AdamW([dict(params=[p], rounding='stochastic', rounding_seed=i)
                            for i, p in enumerate(ps)], lr=1e-3, compile=compile))
        found.append(ps)
    for a, b in zip(*found): assert torch.equal(a, b)


# -- surgery ---------------------------------------------------------------------------------------

ALL = dict(codes=dict(state='8bit'), some=dict(state=dict(sqr_avg='8bit', grad_avg='bf16')),
           whole=dict(state='8bit', master=32), part=dict(state='bf16', master=24),
           kahan=dict(rounding='kahan'), random=dict(rounding='stochastic', state='8bit'))
kept = pytest.mark.parametrize('hypers', ALL.values(), ids=ALL.keys())


def seen(opt, p):
    "The weight and its state in float32."
    group = opt.groups()[0]
    return {'param': weight(opt.state[p], p, group).float(),
            **{k: v.float() for k, v in converting.seen(opt.state[p], p).items() if k != 'count'}}


def equal(a, b):
    assert a.keys() == b.keys()
    for k in a: assert torch.equal(a[k], b[k]), k


@kept
def test_rows_that_stay_are_the_same(hypers):
    "Bit for bit, in memory too, and the next step of them; new ones begin with nothing."
    p = weights(1, (16, 600))[0]
    opt = steps(genopt.AdamW([p], lr=.01, **hypers))
    alone = copy.deepcopy(opt.state[p])
    before, order = seen(opt, p), [5, 1, 9, 0, 3, 3, 15]
    opt.select(p, order)
    equal(seen(opt, p), {k: v[order] for k, v in before.items()})
    for k, v in alone.items():
        if v.dim(): assert torch.equal(opt.state[p][k], v[order]), k
    rows = random(7, (3, 600), BF16)
    opt.append(p, rows, state=dict(sqr_avg=4.))
    now = seen(opt, p)
    assert torch.equal(now['param'][7:], rows.float())
    assert (now['sqr_avg'][7:] == 4).all() and not now['grad_avg'][7:].any()
    equal({k: v[:7] for k, v in now.items()}, {k: v[order] for k, v in before.items()})
    steps(opt)
    assert opt.state[p]['count'] == 6


def test_a_tensor_that_grows_gets_codes_and_a_small_one_loses_them():
    p = weights(1, (4, 600))[0]
    opt = steps(genopt.AdamW([p], state='8bit'))
    assert opt.state[p]['sqr_avg'].dtype == BF16
    old = seen(opt, p)
    opt.append(p, torch.zeros(12, 600))
    assert opt.state[p]['sqr_avg'].dtype == torch.uint8
    assert opt.state[p]['sqr_avg.scale'].shape == (16, 3)
    assert torch.allclose(seen(opt, p)['sqr_avg'][:4], old['sqr_avg'], rtol=.07, atol=1e-8)
    steps(opt)
    opt.prune(p, range(4, 16))
    assert {*opt.state[p]} == {'count', 'grad_avg', 'sqr_avg'}
    steps(opt)


@kept
def test_a_replaced_weight_is_what_it_says(hypers):
    "What stood beside the old one stays where both are the same."
    p = weights(1)[0]
    opt = steps(genopt.AdamW([p], lr=.01, **hypers))
    old, new = seen(opt, p), nn.Parameter(p.detach().clone())
    with torch.no_grad(): new[3] = 1.
    opt.replace(p, new)
    now = seen(opt, new)
    equal({k: v for k, v in now.items() if k != 'param'},
          {k: v for k, v in old.items() if k != 'param'})
    assert (now['param'][3] == 1).all()
    rest = [i for i in range(8) if i != 3]
    assert torch.equal(now['param'][rest], old['param'][rest])
    opt.replace(new, wide := nn.Parameter(new.detach().float()))
    assert not any('param' in k for k in opt.state[wide])
    for k in ('grad_avg', 'sqr_avg'): assert torch.equal(seen(opt, wide)[k], old[k])
    steps(opt)


@kept
def test_state_that_is_moved_or_cast_stays_in_its_formats(hypers):
    p = weights(1)[0]
    opt = steps(genopt.AdamW([p], lr=.01, **hypers))
    before, kinds = seen(opt, p), {k: v.dtype for k, v in opt.state[p].items()}
    opt.to('cpu')
    opt.to(torch.bfloat16)
    equal(seen(opt, p), before)
    assert {k: v.dtype for k, v in opt.state[p].items()} == kinds
    opt.to(torch.float32)  # the weight stays, and so does what is beside it
    assert torch.equal(seen(opt, p)['param'], before['param'])
    if 'state' in hypers: assert {k: v.dtype for k, v in opt.state[p].items()} == kinds


@kept
def test_loading_by_name(hypers):
    def made(names):
        ps = {n: nn.Parameter(random(i, (8, 600), BF16)) for i, n in enumerate(names)}
        return ps, genopt.AdamW(ps.items(), lr=.01, **hypers)
    theirs, old = made('ab')
    steps(old)
    ours, new = made('bca')
    loaded = new.load_by_name(old.state_dict())
    assert loaded.taken == ['b', 'a'] and loaded.fresh == ['c'] and not loaded.misfits
    with torch.no_grad():
        for n in 'ab': ours[n].copy_(theirs[n])
    for n in 'ab': equal(seen(new, ours[n]), seen(old, theirs[n]))
    other = genopt.AdamW(dict(a=nn.Parameter(random(0, (16, 600), BF16)),
                              b=nn.Parameter(random(1, (8, 600), BF16))).items(), **hypers)
    loaded = other.load_by_name(old.state_dict())
    assert loaded.taken == ['b'] and [*loaded.misfits] == ['a']


def test_notes_in_the_state_of_a_parameter_stay():
    "A dot in a name of somebody's own is no format."
    p = weights(1)[0]
    opt = steps(genopt.AdamW([p], state='8bit'))
    opt.state[p]['my.note'] = 3
    opt.load_state_dict(opt.state_dict())
    assert opt.state[p]['my.note'] == 3
    opt.select(p, range(8))
    assert opt.state[p]['my.note'] == 3
