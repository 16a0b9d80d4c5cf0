"""Promise: state and weights in formats are right wherever else they are touched than in a step."""
import copy
import pickle

import genopt
import pytest
import torch
from genopt import converting
from genopt.converting import weight
from genopt.formats import STATES, Format
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
    assert torch.allclose(seen(opt, p)['sqr_avg'][:4], old['sqr_avg'], rtol=.13, atol=1e-8)
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
    assert 'param.rest' not in opt.state[wide]
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


class Upper(Format):
    "16 bits of a float32 number, cut off: another format with a dtype of its own."
    functions = '''
static inline float upper_value(int16_t x)
{ uint32_t u = (uint32_t)(uint16_t)x << 16; float v; memcpy(&v, &u, 4); return v; }
static inline int16_t upper_code(float v)
{ uint32_t u; memcpy(&u, &v, 4); return (int16_t)(u >> 16); }
'''
    read, write = 'upper_value({x})', '{x} = upper_code({v});'
    def dtype(self, now): return torch.int16
    def value(self, tensors): return (tensors[''].int() << 16).view(F32)
    def kept(self, x, like, draw):
        return {'': (x.float().contiguous().view(torch.int32) >> 16).to(torch.int16)}


@pytest.mark.parametrize('compile', [False, True])
def test_a_format_of_ones_own_goes_wherever_others_go(compile, monkeypatch):
    monkeypatch.setitem(STATES, 'upper', (Upper(), Upper()))
    def made(state, start=random(0, (8, 600), F32)):
        return genopt.AdamW([nn.Parameter(start.clone())], lr=.01, compile=compile, state=state)
    def load(opt, other):
        with pytest.warns(UserWarning, match='grad_avg') as told:
            opt.load_state_dict(other.state_dict())
        assert told[0].filename == __file__
    opt = steps(made('upper'))
    p, sqr_avg = opt.param_groups[0]['params'][0], torch.zeros(8, 600)
    for t in range(3):
        sqr_avg = sqr_avg * .999 + (1 - .999) * random(100 * t, p.shape, F32)**2
        sqr_avg = (sqr_avg.view(torch.int32) >> 16 << 16).view(F32)
    assert opt.state[p]['sqr_avg'].dtype == torch.int16
    torch.testing.assert_close(seen(opt, p)['sqr_avg'], sqr_avg, rtol=2**-7, atol=0)

    again = made('upper', p.detach())  # bit for bit the run that never stopped
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    load(whole := made('float32'), opt)
    found, = whole.state.values()
    assert torch.equal(found['sqr_avg'], seen(opt, p)['sqr_avg'])
    load(codes := made('8bit'), opt), load(made('upper'), codes)
    steps(opt, 2, 3), steps(again, 2, 3)
    assert same(opt, again)
    with pytest.raises(ValueError, match="did you mean `upper`"): made('uper')


@pytest.mark.parametrize('said, exact', [(dict(master=32), True), (dict(master=24), False),
                                         (dict(rounding='kahan'), False), ({}, False)], ids=str)
def test_the_weights_with_all_of_their_bits(said, exact):
    "As those of a run in float32 from the same start; of bfloat16 alone, as they are."
    p, = weights(1)
    q = nn.Parameter(p.detach().float())
    opt, other = genopt.AdamW([p], lr=1e-4, state='float32', **said), genopt.AdamW([q], lr=1e-4)
    assert torch.equal(opt.master_weights()[p], q)  # before the first step
    for t in range(4):
        p.grad = random(t, p.shape, BF16)
        q.grad = p.grad.float()
        opt.step(), other.step()
    found = opt.master_weights()[p]
    assert found.dtype == F32 and torch.equal(other.master_weights()[q], q)
    if not said: assert torch.equal(found, p.float())
    elif exact: assert torch.equal(found, q)
    else: torch.testing.assert_close(found, q, rtol=2**-14, atol=1e-6)


# -- watching, averages, sparse gradients ----------------------------------------------------------

def all_tensors(opt):
    return [x for p in opt.state for x in (p.detach(), *(opt.state[p][k] for k in
                                                         sorted(opt.state[p])))]


def same(a, b): return all(map(torch.equal, all_tensors(a), all_tensors(b)))


@kept
@pytest.mark.parametrize('compile', [False, None])
def test_watching_sees_numbers_and_changes_nothing(hypers, compile):
    runs = [genopt.AdamW(weights(), lr=.01, compile=compile, **hypers) for _ in range(2)]
    for opt in runs: steps(opt, 2)
    with runs[0].watch(every=1) as recorder:
        before = [seen(runs[0], p) for p in runs[0].state]
        for opt in runs: steps(opt, 1, 2)
    assert same(*runs)
    row, after = recorder.rows[1], seen(runs[0], [*runs[0].state][1])
    for k in ('grad_avg', 'sqr_avg'):  # measured before they are kept again
        assert row[f'{k}_norm'] == pytest.approx(after[k].norm().item(), rel=.03)
    assert row['param_norm'] == pytest.approx(before[1]['param'].norm().item(), rel=1e-5)


@kept
def test_averages_stand_in_and_go_back(hypers):
    runs = [genopt.AdamW + genopt.average_param, genopt.ScheduleFreeAdamW]
    for recipe in runs:
        if recipe is not runs[0] and isinstance(hypers.get('state'), dict): return  # no `grad_avg`
        a, b = (steps(recipe(weights(), lr=.01, **hypers)) for _ in range(2))
        if recipe is runs[0]:
            wanted = [seen(a, p)['param_avg'].to(BF16) for p in a.state]
        a.swap()
        if recipe is runs[0]:
            for p, w in zip(a.state, wanted): assert torch.equal(p, w)
        c = recipe(ps := weights(), lr=.01, **hypers)
        c.load_state_dict(copy.deepcopy(a.state_dict()))
        for p, q in zip(ps, a.state): p.data.copy_(q)
        for opt in (a, c): opt.train()
        for opt in (a, b, c): steps(opt, 2, 5)
        assert same(a, b) and same(b, c)


@kept
def test_sparse_gradients_do_what_dense_ones_do(hypers):
    "And rows without a gradient stay as they are, in memory too."
    if isinstance(hypers.get('state'), dict): hypers = dict(state='8bit')
    def run(sparse, recipe, **more):
        p = weights(1, (40, 192))[0]
        opt = recipe([p], lr=.01, **hypers, **more)
        for t in range(3):
            grad = torch.zeros(40, 192, dtype=BF16)
            grad[[2, 9, 9 + t]] = random(t, (3, 192), BF16)
            p.grad = grad.to_sparse(1) if sparse else grad
            opt.step()
        return opt
    dense, opt = (run(sparse, genopt.Adagrad, compile=False) for sparse in (False, True))
    assert same(dense, opt)
    for a, b in zip(all_tensors(opt), all_tensors(run(True, genopt.Adagrad)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1)  # a code, or a bit beside a weight
    lazy, start = run(True, genopt.SparseAdam), weights(1, (40, 192))[0]
    p, = lazy.state
    rows = (p != start).any(1).nonzero()[:, 0].tolist()
    assert rows == [2, 9, 10, 11]
    moved = seen(lazy, p)['sqr_avg'].any(1).nonzero()[:, 0].tolist()
    assert moved == rows


# -- copies ----------------------------------------------------------------------------------------

@kept
def test_copies_go_on_in_the_same_bits(hypers):
    opt = genopt.AdamW(weights(), lr=.01, **hypers)
    opt.init_state()
    opt.share_memory() if hasattr(opt, 'share_memory') else None
    steps(opt)
    for other in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert same(opt, other)
        again = copy.deepcopy(opt)
        for one in (again, other): steps(one, 2, 3)
        assert same(again, other)


@genopt.stat(init=0)
def half(half): return 1 - half


@genopt.stat(init=lambda param: param + 1)
def gathered(gathered, grad): return gathered + grad


@genopt.gate(again=True)
def second_half(half): return half == 0


@genopt.step
def gathered_step(gathered, *, lr): return -lr * gathered


def test_what_begins_anew_in_half_a_step_does_so_in_its_format():
    "A parameter that took no part in the first half: what stands before the gate is as at first."
    ps = weights()
    opt = genopt.Optimizer(ps, [half, gathered, second_half, gathered_step], lr=.1, state='8bit')
    def both():
        for i, p in enumerate(ps): p.grad = random(5 + i, p.shape, BF16)
    def one():
        ps[0].grad, ps[1].grad = random(5, ps[0].shape, BF16), None
    for closure in (both, one): opt.step(closure)
    now, start = seen(opt, ps[1])['gathered'], ps[1].detach().float() + 1
    assert (now - start).abs().max() < start.abs().max() / 100
    assert (seen(opt, ps[0])['gathered'] - ps[0].detach().float() - 1).abs().max() > 1


def test_weights_that_are_put_back_keep_their_bits():
    "SAM climbs, and goes back: the way back must not round."
    for hypers, said in ((dict(state=dict(start_param='8bit')),
                          "in state=dict(grad_avg='8bit', sqr_avg='8bit')"),
                         (dict(rounding='kahan'), "rounding='kahan': `return_to_start` puts the"),
                         (dict(master=24), 'also those beside them: leave it out')):
        with pytest.raises(ValueError) as e: (genopt.AdamW + genopt.sam)(weights(), **hypers)
        assert said in str(e.value), e.value
    with pytest.raises(ValueError, match='must keep all of their bits'):
        (genopt.AdamW + genopt.sam)(weights(dtype=F32), state=dict(start_param='bf16'))
    ps = weights(dtype=F32)
    opt = (genopt.AdamW + genopt.sam)(ps, lr=0., wd=0., state='8bit')
    start = [p.detach().clone() for p in ps]
    def closure():
        for i, p in enumerate(ps): p.grad = random(5 + i, p.shape, F32)
    for _ in range(3): opt.step(closure)
    assert opt.state[ps[0]]['sqr_avg'].dtype == torch.uint8
    for p, q in zip(ps, start): assert torch.equal(p, q)


def test_gradients_that_a_scaler_unscales():
    "A step that it skips changes nothing, and what it makes of the others is right."
    a, b = (genopt.AdamW(weights(), lr=.01, state='8bit', master=24) for _ in range(2))
    scaler = torch.amp.GradScaler('cpu', init_scale=8.)
    scaler.scale(torch.ones(()))
    for t in range(4):
        for i, (p, q) in enumerate(zip(*(o.param_groups[0]['params'] for o in (a, b)))):
            grad = random(10 * t + i, p.shape, BF16)
            p.grad, q.grad = grad * scaler.get_scale(), grad
            if t == 2: p.grad[0, 0], q.grad = torch.inf, None
        scaler.step(a)
        scaler.update()
        b.step()
    assert same(a, b)


# -- what is said of it ----------------------------------------------------------------------------

@pytest.mark.parametrize('hypers, said', [
    (dict(state='8bit'), 'm 1.02 (8 bits) + v 1.02 (8 bits)'),
    (dict(state=dict(sqr_avg='8bit', grad_avg='float32'), master=24),
     'm 4 (float32) + v 1.02 (8 bits) + beside θ 1 (int8)'),
    (dict(rounding='kahan'), 'm 2 (bfloat16) + v 2 (bfloat16) + beside θ 2 (bfloat16)')])
def test_explain_says_how_much_memory_it_takes(hypers, said):
    "As much as the state has."
    opt = steps(genopt.AdamW(ps := weights(2, (16, 320)), **hypers))
    text = ' '.join(opt.explain().text().split())
    assert said in text, text
    taken = sum(v.nbytes for s in opt.state.values() for v in s.values() if v.dim())
    assert f'{taken / sum(p.numel() for p in ps):.3g} bytes for each element' in text
    assert 'memory in float32' not in text


def test_groups_that_are_kept_in_two_ways_are_explained_apart():
    ps = weights()
    opt = genopt.AdamW([dict(params=[ps[0]], state='8bit'), dict(params=[ps[1]])])
    text = ' '.join(opt.explain().text().split())
    assert 'group 0, state 8bit' in text and 'memory in float32' in text
