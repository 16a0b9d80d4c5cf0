"""Promise: a damaged checkpoint is refused with a sentence, and then nothing has changed; or taken
whole, and goes on.

Each example damages the state_dict of a trained optimizer, genopt's or torch's, in one to three
places, and loads it into an optimizer that is new, or in the middle of a run. Far more:

    GENOPT_FUZZ=4500 python -m pytest tests/test_fuzz_checkpoints.py -n 0 [--hypothesis-seed=1]
"""
import copy
import random

import genopt
import pytest
import torch
from fuzzing import bits, fuzz, is_sentence
from genopt.averages import is_swapped
from helpers import random as noise
from helpers import random_param
from hypothesis import given
from hypothesis import strategies as st
from torch import nn, optim

SHAPES = (3, 2), (3,), (), (2, 3)
NOTES = dict(layer_id=3, initial_lr=.1, name='head')


def params(): return [random_param(i, s, torch.float64) for i, s in enumerate(SHAPES)]


def subject(make, *, twin=None, named=False, groups=False, schedule=False, swap=False, **kwargs):
    "How to make it, and how whoever saved it was made."
    def new(make=make, **engine):
        ps = params()
        items = [(f'p{i}', p) for i, p in enumerate(ps)] if named else ps
        if groups:
            items = [dict(params=items[:2], lr=.02, **NOTES),
                     dict(params=items[2:], weight_decay=0.)]
        opt = make(items, **kwargs, **engine)
        if schedule: genopt.Schedule(opt, 20, lr=genopt.linear(.1, 0.))
        return opt, ps
    def saved():
        opt, ps = new(twin or make)
        for t in range(3): go(opt, ps, t)
        if swap: opt.swap()
        return opt.state_dict()
    return new, saved


def go(opt, ps, t):
    for i, p in enumerate(ps):
        p.grad = None if i == 3 and t < 2 else noise(100 * t + i, p.shape, p.dtype)
    opt.step()


AVERAGED = genopt.Adam + genopt.average_param
SUBJECTS = {
    'Adam':     subject(genopt.Adam, amsgrad=True, named=True, groups=True, weight_decay=.1),
    'SGD':      subject(genopt.SGD, momentum=.9, dampening=.5),
    'plain':    subject(genopt.SGD, groups=True),
    'RMSprop':  subject(genopt.RMSprop, momentum=.9, centered=True, groups=True),
    'NAdam':    subject(genopt.NAdam, named=True),
    'ASGD':     subject(genopt.ASGD, groups=True),
    'Rprop':    subject(genopt.Rprop),
    'AdEMAMix': subject(genopt.AdEMAMix),
    'Adafactor': subject(genopt.Adafactor),
    'AdamW, scheduled': subject(genopt.AdamW, schedule=True, groups=True),
    'a total':  subject(genopt.SGD + genopt.clip_by_global_norm, lr=.1),
    'swapped':  subject(AVERAGED, swap=True),
    'averaged': subject(AVERAGED, groups=True),
    'lookahead': subject(genopt.SGD + genopt.lookahead, lr=.1),
    'noisy':    subject(genopt.SGD + genopt.gradient_noise, lr=.1),
    "torch's Adam":    subject(genopt.Adam, twin=optim.Adam, amsgrad=True, groups=True),
    "torch's SGD":     subject(genopt.SGD, twin=optim.SGD, momentum=.9, dampening=.5, lr=.1),
    "torch's RMSprop": subject(genopt.RMSprop, twin=optim.RMSprop, centered=True, momentum=.9),
    "torch's NAdam":   subject(genopt.NAdam, twin=optim.NAdam),
    "torch's ASGD":    subject(genopt.ASGD, twin=optim.ASGD),
    "torch's Adafactor": subject(genopt.Adafactor, twin=optim.Adafactor)}
T = torch.tensor
JUNK = ['None', 'True', 'False', '-1', '0', '1', '2.5',
        'float("nan")', 'float("inf")', '10**60', '2**60', '-10**400',
        '1 + 2j', '""', '"words"', 'b"x"', '[]', '{}', '()',
        'set()', 'object()', 'int', '[[1.]]', '{"a": {}}',
        '(.9, .99)', '[.9, "x"]', '[0, 0]', 'T(3.)', 'T(-2)',
        'T(True)', 'T(float("nan"))', 'T(1j)', 'torch.zeros(0)',
        'torch.zeros(3)', 'torch.zeros(2, 2)', 'torch.zeros(3, 2).to_sparse()',
        'torch.zeros(3, 2, device="meta")',
        'torch.zeros((), device="meta")', 'torch.zeros(2, requires_grad=True)',
        'torch.ones(3, 2, dtype=torch.long)']
JUNK = [eval(f'lambda: {code}') for code in JUNK]  # made anew each time
KEYS = [None, 0, 1, 9, -1, 2.5, '', 'words', b'x', (1, 2),
        True, 'lr', 'mom', 'momentum', 'betas', 'count', 'step', 'params', 'parts',
        'state', 'do_wd', 'swapped_param', 'grad_avg', 'exp_avg', 'scheduled lr', 'param_names']


def places(x):
    "Each container in a nested structure."
    items = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return [x] * isinstance(x, (dict, list)) + [place for v in items for place in places(v)]


def damage(saved, rng):
    place = rng.choice(places(saved))
    keys = [*place] if isinstance(place, dict) else [*range(len(place))]
    how = rng.choice(['junk', 'junk', 'junk', 'delete',
                      'rename', 'add', 'swap', 'cut', 'change', 'reshape'])
    if how == 'add' or not keys:
        junk = rng.choice(JUNK)()
        if isinstance(place, dict): place[rng.choice(KEYS)] = junk
        else: place.append(junk)
        return
    k, other = rng.choice(keys), rng.choice(keys)
    x = place[k]
    if how == 'junk': place[k] = rng.choice(JUNK)()
    if how == 'delete': del place[k]
    if how == 'rename' and isinstance(place, dict): place[rng.choice(KEYS)] = place.pop(k)
    if how == 'swap': place[k], place[other] = place[other], x
    if how == 'cut':
        for k in keys[rng.randrange(len(keys)):][::-1]: del place[k]
    if how == 'change' and isinstance(x, (int, float)):
        place[k] = rng.choice([-x, x + .5, str(x), [x], x * 10**20])
    if isinstance(x, torch.Tensor) and how in ('change', 'reshape'): place[k] = reshaped(x, rng)


def reshaped(x, rng):
    how = rng.choice(['half', 'bool', 'complex', 'flat',
                      'first', 'turned', 'list', 'sparse', 'negative', 'parameter', 'more'])
    if how == 'half' and not x.is_complex(): return x.half()
    if how == 'bool': return x.bool()
    if how == 'complex': return x + 1j
    if how == 'flat': return x.reshape(-1)
    if how == 'first' and x.numel(): return x.reshape(-1)[0]
    if how == 'turned': return x.mT if x.dim() > 1 else x.expand(2, *x.shape)
    if how == 'list': return x.tolist()
    if how == 'sparse': return x.to_sparse() if x.dim() else x
    if how == 'negative' and x.dtype != torch.bool: return -x
    if how == 'parameter': return nn.Parameter(x.double() * 1.)
    return torch.stack([x, x])


def parts_of(opt, ps):
    return bits([ps, opt.state, opt.param_groups, repr(opt.state_dict()['param_groups'])])

def run_on(opt, ps):
    go(opt, ps, 7)
    return bits([[*s.values()] for s in map(opt.state.get, ps)] + [p.detach() for p in ps])


def check(name, seed, started, compile):
    new, save = SUBJECTS[name]
    rng, saved = random.Random(seed), copy.deepcopy(save())
    for _ in range(rng.randint(1, 3)): damage(saved, rng)
    (opt, ps), (other, qs) = new(compile=compile), new(compile=compile)
    if started:
        for o, params in ((opt, ps), (other, qs)): go(o, params, 5)
    before = parts_of(opt, ps)
    try: opt.load_state_dict(saved)
    except Exception as e:
        assert is_sentence(e) and str(e).startswith('cannot load this state_dict'), repr(e)
        assert parts_of(opt, ps) == before, f'changed, after {e!r}'
        assert run_on(opt, ps) == run_on(other, qs), f'another step, after {e!r}'
        return False
    repr(opt)
    again = opt.state_dict()
    third, rs = new()
    third.load_state_dict(again)
    for o, params in ((opt, ps), (third, rs)):
        if is_swapped(o.state.values()): o.swap()
        go(o, params, 7)
    opt.load_state_dict(opt.state_dict())
    return True


@fuzz(400)
@given(st.sampled_from([*SUBJECTS]), st.integers(0, 2**30), st.booleans(), st.booleans())
def test_refused_whole_or_taken_whole(name, seed, started, compile):
    check(name, seed, started, compile)


# -- what it has found -----------------------------------------------------------------------------

def test_state_of_the_whole_optimizer_is_taken_where_no_parameter_has_any():
    (opt, _), (other, _) = SUBJECTS['plain'][0](), SUBJECTS['plain'][0]()
    opt.state['everywhere'] = {'round': 3}
    other.load_state_dict(opt.state_dict())
    assert other.state['everywhere'] == {'round': 3}


@pytest.mark.parametrize('groups', [3, torch.zeros(2), torch.zeros(())])
def test_groups_that_are_none_are_refused(groups):
    opt, _ = SUBJECTS['plain'][0]()
    with pytest.raises(ValueError, match='cannot load this state_dict: it is damaged'):
        opt.load_state_dict({'state': {}, 'param_groups': groups})


def test_a_number_of_torchs_that_is_a_matrix_is_refused():
    new, save = SUBJECTS["torch's NAdam"]
    saved = save(); saved['state'][0]['mu_product'] = torch.zeros(3, 2)
    with pytest.raises(ValueError, match='cannot load this state_dict: it is damaged'):
        new()[0].load_state_dict(saved)
