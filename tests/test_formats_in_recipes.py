"""Promise: every format goes with every recipe, in every engine, in a run that is resumed, and on
any number of threads; and what a group cannot say is answered before anything has changed.

`CASES` covers all pairs of a recipe, of what is said of weights, and of what is said of the state:
each recipe meets each way to keep weights and each way to keep state, and these meet each other.
Each case has a tensor that all threads share, one in several blocks, one without codes as it is
small, and one in channels_last; it runs in three engines, in one and in two threads, and resumed.
"""
from itertools import combinations, product

import genopt
import pytest
import torch
from genopt import Optimizer, PartError, SGD, AdamW, stat, step
from genopt.engines import eager
from genopt.formats import Compensated, Split
from genopt.kinds import Stat
from genopt.rehearsal import rehearse
from genopt.trial import Trial
from helpers import RECIPES, keeps_to_matrices, name_of, random, through_a_file
from test_errors import says

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
RULES = {'SGD': dict(mom=.9, nesterov=True), 'Adam': dict(amsgrad=True), 'Rprop': {}, 'LAMB': {},
         'Muon': dict(lr=.02), 'Prodigy': {}}
WEIGHTS = [(F32, {}), (BF16, {}), (BF16, dict(rounding='kahan')), (F16, dict(rounding='kahan')),
           (BF16, dict(rounding='stochastic')), (F16, dict(rounding='stochastic', rounding_seed=3)),
           (BF16, dict(master=24)), (BF16, dict(master=32))]
STATES = None, 'float32', 'bf16', 'fp16', '8bit', 'one'  # of its stats, see `ONE`
ONE = {'Adam': dict(grad_avg='bf16', max_sqr_avg='8bit'), 'Rprop': dict(step_size='8bit'),
       'LAMB': dict(grad_avg='8bit', sqr_avg='bf16'), 'Prodigy': dict(faded_sum='8bit')}
SHAPES = {'all threads': (520, 256), 'blocks': (50, 290), 'small': (40,), 'layers': (32, 24, 3, 3)}


def covering(*factors):
    "Some choices of a value of each factor, with every pair of values of two factors among them."
    left = {(i, a, j, b) for (i, x), (j, y) in combinations(enumerate(factors), 2)
            for a, b in product(range(len(x)), range(len(y)))}
    def pairs(case): return {(i, a, j, b) for (i, a), (j, b) in combinations(enumerate(case), 2)}
    every = [*product(*(range(len(x)) for x in factors))]
    while left:
        best = max(every, key=lambda case: len(pairs(case) & left))
        left -= pairs(best)
        yield tuple(x[i] for x, i in zip(factors, best))


CASES = [*covering([*RULES], WEIGHTS, STATES)]


def case_id(x):
    if isinstance(x, str) or x is None: return x
    return '-'.join(map(str, (x[0], *x[1].values()))).removeprefix('torch.')


def made(name, weights, state, engine=None):
    "An optimizer of such weights, the same ones for all."
    dtype, said = weights
    shapes = [s for s in SHAPES.values() if name != 'Muon' or s == (50, 290)]
    ps = [torch.nn.Parameter(random(i, s, F32).to(dtype)) for i, s in enumerate(shapes)]
    if len(ps) > 2: ps[3].data = ps[3].data.to(memory_format=torch.channels_last)
    if state == 'one': state = ONE.get(name, dict(grad_avg='8bit'))
    opt = genopt.recipe(name)(ps, compile=False if engine == 'plain' else None, **RULES[name],
                              **said, **dict(state=state) if state else {})
    if engine == 'eager': opt.engine = eager.run
    return opt


def steps(opt, some):
    for i in some:
        for j, p in enumerate(opt.param_groups[0]['params']):
            p.grad = (random(100 * i + j, p.shape, F32) / 10).to(p.dtype)
            if p.dim() == 4: p.grad = p.grad.to(memory_format=torch.channels_last)
        opt.step()
    return opt


def kept(opt):
    "All tensors by name, as they lie in memory."
    return {(i, k): v for i, p in enumerate(opt.param_groups[0]['params'])
            for k, v in {'param': p.detach(), **opt.state[p]}.items()}


def differ(a, b):
    return [k for k in a if a[k].dtype != b[k].dtype or not torch.equal(a[k], b[k])] + (
        [*({*a} ^ {*b})])


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name, weights, state', CASES, ids=case_id)
def test_a_case(name, weights, state, two_threads):
    whole = kept(steps(made(name, weights, state), range(3)))
    torch.set_num_threads(1)
    assert not differ(whole, kept(steps(made(name, weights, state), range(3))))
    first = steps(made(name, weights, state), range(2))
    saved, second = through_a_file(first.state_dict()), made(name, weights, state)
    with torch.no_grad():
        for p, q in zip(*[opt.param_groups[0]['params'] for opt in (second, first)]): p.copy_(q)
    second.load_state_dict(saved)
    assert not differ(whole, kept(steps(second, range(2, 3))))
    for engine in 'plain', 'eager':
        agree(whole, kept(steps(made(name, weights, state, engine), range(3))), weights)


def agree(ours, theirs, weights):
    """Weights, with what is kept beside them, and state are as near as 16 bits allow.

    C and torch round a root, an exponential or a sum differently now and then, by a unit in the
    last place of float32. So a few numbers that stand half-way between two codes, or two numbers
    of 16 bits, get the other one; all others differ by no more than float32 does.
    """
    ours, theirs = whole_weights(ours, weights), whole_weights(theirs, weights)
    assert {*ours} == {*theirs}
    for k, a in ours.items():
        b = theirs[k]
        assert a.dtype == b.dtype
        off = (a.double() - b.double()).abs()
        if a.dtype in (torch.int8, torch.uint8): assert off.max() <= 1, k
        else: off = off / b.double().abs().max().clamp(min=1e-30)
        assert (off > 1e-6).double().mean() <= .006, k
        assert a.dtype in (torch.int8, torch.uint8) or off.max() <= 2 * torch.finfo(
            torch.bfloat16).eps, k


def whole_weights(kept, weights):
    "Of a weight and what is kept beside it, the sum."
    res = {k: v for k, v in kept.items() if k[1] != 'param.rest'}
    for i, rest in [(k[0], v) for k, v in kept.items() if k[1] == 'param.rest']:
        form = Split(weights[1]['master']) if 'master' in weights[1] else Compensated(rest.dtype)
        res[i, 'param'] = form.value({'': kept[i, 'param'], 'rest': rest})
    return res


# -- small steps -----------------------------------------------------------------------------------

def walked(compile, dtype, **said):
    "Weights, and what is kept beside them, after 100 steps of 1e-3 down from 1.0."
    p = torch.nn.Parameter(torch.ones(64, 128, dtype=dtype))
    opt = SGD([p], lr=1e-3, compile=compile, **said)
    p.grad = torch.ones_like(p)
    for _ in range(100): opt.step()
    return p.detach().double(), opt.state[p]


@pytest.mark.parametrize('compile', [True, False])
def test_where_steps_are_small(compile):
    p = torch.nn.Parameter(torch.ones(2, dtype=BF16))
    theirs = torch.optim.SGD([p], lr=1e-3)
    p.grad = torch.ones_like(p)
    for _ in range(100): theirs.step()
    assert (p == 1).all() and (walked(compile, BF16)[0] == 1).all()  # both stall
    there = walked(compile, F32)[0]
    assert (there - .9).abs().max() < 1e-4
    for said in dict(rounding='kahan'), dict(master=24), dict(master=32):
        weights = walked(compile, BF16, **said)[0]
        assert (weights - there).abs().max() <= 2.**-9, said  # the nearest one of bfloat16, or so
    weights = walked(compile, BF16, rounding='stochastic')[0]
    # A step is rounded by at most 2^-8, and its variance is at most (2^-8)^2/4
    assert (weights.mean() - there.mean()).abs() < 4 * (100 * 2.**-18 / weights.numel())**.5
    assert weights.std() > 0 and (weights - there).abs().max() < 6 * (100 * 2.**-18)**.5


# -- sentences -------------------------------------------------------------------------------------

def P(dtype=F32): return torch.nn.Parameter(torch.ones(64, 128, dtype=dtype))

def it(dtype): return f'parameter 0 of group 0 (shape (64, 128), {dtype})'


@pytest.mark.parametrize('make, sentence', [
    (lambda: AdamW([P()], state='8bits'), "`state` = '8bits': did you mean `8bit`?"),
    (lambda: AdamW([P()], state='int4'),
     "`state` = 'int4': there are `float32`, `bf16`, `fp16`, `8bit`"),
    (lambda: AdamW([P()], state=dict(sqr_av='8bit')),
     "`state['sqr_av']` = '8bit': did you mean `sqr_avg`?"),
    (lambda: AdamW([P()], state=dict(sqr_avg='bf61')),
     "`state['sqr_avg']` = 'bf61': did you mean `bf16`?"),
    (lambda: AdamW([P()], state=dict(count='8bit')),
     "`state['count']` = '8bit': `count` is a number, which stays one"),
    (lambda: genopt.SOAP([P()], state=dict(left_avg='8bit')),
     f"`state['left_avg']` = '8bit': `left_avg` of {it('float32')} is a tensor of shape (64, 64), "
     'and only real ones that always have the shape of their parameter have a format: leave it '
     'out'),
    (lambda: AdamW([P()], rounding='kahn'), "`rounding` = 'kahn': did you mean `kahan`?"),
    (lambda: AdamW([P()], rounding='kahan'),
     f"rounding='kahan' is for weights of bfloat16 or float16, and {it('float32')} has more: "
     'leave it out'),
    (lambda: AdamW([P()], master=24),
     f"master=24 is for weights of bfloat16, and {it('float32')} has more: leave it out"),
    (lambda: AdamW([P(F16)], master=24),
     f"master=24 is for weights of bfloat16, and {it('float16')} has others: leave it out"),
    (lambda: AdamW([P(BF16)], master=16),
     '`master` = 16: give the bits of a whole weight, 24 or 32'),
    (lambda: AdamW([P(BF16)], master=24, rounding='kahan'),
     "`master` = 24 keeps what rounding='kahan' would round: give one of them"),
    (lambda: AdamW([P(BF16)], rounding_seed=3), "`rounding_seed` is for rounding='stochastic' "
     "and for state='8bit'")])
def test_what_a_group_cannot_say(make, sentence):
    with says(ValueError, sentence): make()


def test_a_square_weight_makes_no_stat_alike():
    p = torch.nn.Parameter(random(0, (80, 80), F32))
    for state in 'bf16', '8bit':
        opt = genopt.SOAP([p], state=state)
        p.grad = random(1, (80, 80), F32)
        opt.step()
        assert opt.state[p]['left_avg'].dtype == F32 and opt.state[p]['grad_avg'].dtype != F32
    with says(ValueError, "`state['left_avg']` = 'bf16': `left_avg` of parameter 0 of group 0 "
                          '(shape (80, 80), float32) is a tensor of shape (80, 80), and only real '
                          'ones that always have the shape of their parameter have a format: '
                          'leave it out'):
        genopt.SOAP([p], state=dict(left_avg='bf16'))


def two_rules(**said):
    return AdamW([dict(params=[P()], parts=genopt.Adagrad), dict(params=[P()], **said)],
                 state=dict(sqr_avg='8bit', sqr_sum='bf16'))


def test_a_format_said_for_all_goes_to_the_groups_that_have_the_stat():
    found = [str(g.storage) for g in two_rules().param_groups]
    assert found == ['state sqr_sum: bf16', 'state sqr_avg: 8bit']
    found = [str(g.storage) for g in two_rules(state='fp16').param_groups]
    assert found == ['state sqr_sum: bf16', 'state fp16']
    with says(ValueError, "`state['sqr_sum']` = 'bf16': there are `grad_avg`, `sqr_avg`, `count`"):
        two_rules(state=dict(sqr_sum='bf16'))  # said for this group alone
    with says(ValueError, "`state['sqr']` = 'bf16': there are `count`, `sqr_sum`, `grad_avg`, "
                          '`sqr_avg`'):
        AdamW([dict(params=[P()], parts=genopt.Adagrad), dict(params=[P()])],
              state=dict(sqr='bf16'))


@pytest.mark.parametrize('word, near', [('stat', 'state'), ('roundin', 'rounding')])
def test_a_slip_in_a_word(word, near):
    with says(TypeError, f'no part takes `{word}`: did you mean `{near}`?'):
        AdamW([P()], **{word: '8bit'})
    with says(TypeError, f'no part takes `{word}`: did you mean `{near}`?'):
        AdamW([dict(params=[P()], **{word: '8bit'})])
    AdamW([dict(params=[P()], status='my own')])  # a note


def test_a_seed_that_is_no_whole_number():
    with says(TypeError, '`rounding_seed` = 0.5: give a whole number'):
        AdamW([P(BF16)], rounding='stochastic', rounding_seed=.5)


@pytest.mark.parametrize('said, key, value', [
    (dict(state='8bit'), 'state', 'bf16'), ({}, 'master', 24),
    (dict(rounding='kahan'), 'rounding', 'nearest')])
def test_a_format_does_not_change_in_a_run(said, key, value):
    group = AdamW([P(BF16)], **said).param_groups[0]
    before = dict(group)
    with pytest.raises(KeyError) as e: group[key] = value
    assert e.value.args[0] == (f'the `{key}` of a group is chosen when it is made: add another '
                               'group, or make a new Optimizer')
    assert dict(group) == before


# -- stats that are never negative -----------------------------------------------------------------

@stat(nonnegative=True)
def newest(newest, grad): return grad

@step
def newest_step(newest, *, lr): return -lr * newest


def test_a_stat_that_goes_below_0_although_it_says_that_it_does_not():
    with says(PartError, '`newest` returned an element of `newest` below 0, and it says '
                         '`nonnegative=True`, so that 8 bits have none for a sign: leave that out'):
        Optimizer([P()], [newest, newest_step], lr=.1)
    Optimizer([P()], [stat(newest.fn), newest_step], lr=.1)


@pytest.mark.parametrize('recipe', RECIPES, ids=name_of)
def test_stats_of_the_library_that_are_never_negative(recipe, monkeypatch):
    "In every step of a trial, whatever it checks there."
    seen, run = {}, Trial._run
    def noted(self, part, env):
        result = run(self, part, env)
        if isinstance(part, Stat) and not part.is_number:
            seen.setdefault(part, []).append((result < 0).any().item())
        return result
    monkeypatch.setattr(Trial, '_run', noted)
    for shape in [(4, 6)] + [(7,)] * (not keeps_to_matrices(recipe)):
        p = torch.nn.Parameter(torch.ones(shape))
        group = recipe([p]).param_groups[0]
        c = group.composition
        c.tried.clear()
        rehearse(c, group.numbers(), [p])
    assert not [part for part, below in seen.items() if part.nonnegative and any(below)]
    assert {part.out for part in seen} >= {*group.composition.tensor_stats}
