"""Promise: at the edges of what is legal, a formula makes a number; and where torch.optim has it,
the same one.

Every hyperparameter is set to the ends of its range in `hypers.TABLE`, alone and in pairs;
gradients and parameters to the largest, the smallest and no numbers of a dtype. In 16 bits ours
computes in float32 and rounds once, and so is finite where torch overflows halfway: those dtypes
are not compared, but for bfloat16, which has float32's range.
"""
import inspect
import itertools
import math
import random

import genopt
import pytest
import torch
from genopt.catalogue import choices
from genopt.hypers import check
from genopt.twins import TWINS
from genopt.contract import REQUIRED
from helpers import dtypes
from sampled import sampled
from torch import nn

BELOW_1 = {torch.float64: math.nextafter(1, 0), torch.float32: 1 - 2**-24}
LARGE = {torch.float64: 1e30, torch.float32: 1e4}  # what stays a number when multiplied a few times
SMALL = {torch.float64: 1e-300, torch.float32: 1e-30}
pytestmark = pytest.mark.usefixtures('one_thread')  # six numbers gain nothing by more
GRADS = {'zeros': [0.] * 6, 'ones': [1.] * 6, 'mixed': [1., 0., -1., 0., 2., -3.],
         'tiny': [1e-30] * 6, 'large': [1e15] * 6}


def gradients(kind, dtype):
    "Four of them: as they are, turned around, zeros, and as they are."
    g = torch.tensor(GRADS[kind], dtype=dtype).view(2, 3)
    return g, -g.flip(0), 0 * g, g


# -- hyperparameters -------------------------------------------------------------------------------

def edges(name, dtype):
    "Values at the ends of a hyperparameter's range, and 0, 1 and very small and large ones within."
    large = LARGE[dtype]
    for value in (0., 1e-300, .5, BELOW_1[torch.float64], 1., 3., large, -1., -large):
        try: yield name, check(name, value)
        except ValueError: pass  # out of its range


def composed():
    "label -> parts: every recipe with every option, and every modifier on SGD."
    for e in genopt.recipes():
        options = dict(map(reversed, choices(genopt.recipe(e.name))))
        yield from ((f'{e.name}-{i}', parts) for i, parts in enumerate(options))
    for name, parts in genopt.modifiers().items():
        yield f'SGD + {name}', (genopt.SGD + parts).parts()


COMPOSED = dict(composed())


def settings(composition, dtype, n):
    """Each set of `n` hyperparameters, at each of their edges; of Muon's polynomial, only one at a
    time."""
    each = [[*edges(name, dtype)] for name in composition.hypers
            if n == 1 or not name.startswith('ns_')]
    for chosen in itertools.combinations(each, n): yield from map(dict, itertools.product(*chosen))


def numbers_in_a_run(composition, hypers, dtype, kind):
    "The numbers that four steps make: parameters, state and scalars."
    p = torch.tensor([[1., -2., 0.], [.5, 3., -1.]], dtype=dtype)
    state = composition.init(p, hypers)
    for g in gradients(kind, dtype):
        known = {**hypers, **composition.numbers_of(p)}
        fed = dict.fromkeys(composition.fed, g.abs())
        for name, part in composition.totals.items():
            numbers = {**composition.numbers(state, known, part), **fed}
            known[name] = composition.total(part, p, g, state, numbers).item()
        numbers = {**composition.numbers(state, known), **fed}
        if composition.happening(numbers) is not composition: return
        change, state = composition.update(p, g, state, numbers)
        p = p + change
        yield from (p, *state.values(),
                    *(v for v in numbers.values() if not isinstance(v, torch.Tensor)))


def is_number(x): return not x.isnan().any() if isinstance(x, torch.Tensor) else not math.isnan(x)


GUARDED = 'MADGRAD', 'ADOPT-0'  # whose authors' code clips what 1/0 and 0/0 make
GROWS = 'lr', 'wd', 'trust'


def without_a_number(label, given, dtype, kind):
    """What has no number, in the papers' code and in torch.optim too.

    Without ε, 0/0 is what an element has whose gradients were all 0. Nor has the root of a variance
    that rounds below 0, centered RMSprop's of one gradient. Muon's polynomial diverges with other
    coefficients; and with large rates or decays, a parameter grows beyond all numbers. Decay is at
    a large rate in Prodigy, which debiases that by 1 − β₁ᵗ, and in DAdaptSGD, which divides it by
    the norm of a first gradient that may be tiny. Without a memory of squares, APOLLO divides an
    average by ε where a gradient is 0. CAME adds ε to squares before it averages them, and so a
    share of ε as small as 1 − β₂, which may be 0 too.
    """
    least = min(given.get(k, 1.) for k in ('eps', 'ns_eps', 'surprise_eps'))
    if least**2 < torch.finfo(dtype).tiny and not label.startswith(GUARDED):
        return True
    if given.get('wd', .1):
        if label.startswith('Prodigy') and given.get('mom', 0.) == BELOW_1[torch.float64]:
            return True
        if label.startswith('DAdaptSGD') and kind == 'tiny': return True
    if given.get('sqr_mom', 1.) < 1e-16 and label.startswith(('RMSprop', 'APOLLO')): return True
    moms = [given.get(k, 0.) for k in ('sqr_mom', 'surprise_mom')]
    if label.startswith('CAME') and 1 - max(moms) < 1e-7: return True
    if {'ns_a', 'ns_b', 'ns_c'} & {*given}: return True
    return any(given.get(k) == LARGE[dtype] for k in GROWS)


@pytest.mark.exhaustive(4)
@pytest.mark.parametrize('label', COMPOSED)
@pytest.mark.parametrize('n', [1, 2], ids=['each alone', 'in pairs'])
def test_legal_hyperparameters_make_numbers(label, n):
    "No step fails or is complex, and finite numbers make no NaN. A sample of them."
    composition = genopt.Composition(COMPOSED[label])
    defaults = {k: .1 if v is REQUIRED else v for k, v in composition.hypers.items()}
    for dtype, kind in itertools.product(LARGE, GRADS) if n == 1 else [(torch.float64, 'mixed')]:
        found = settings(composition, dtype, n)
        for given in sampled(found, 40 if n > 1 else 8, kind):
            for x in numbers_in_a_run(composition, defaults | given, dtype, kind):
                assert not isinstance(x, complex), (given, dtype, kind)
                assert is_number(x) or without_a_number(label, given, dtype, kind), \
                    (given, dtype, kind)


# -- and where torch has them ----------------------------------------------------------------------

def numbers_of(cls):
    "torch's own words for what is a number, or some of them, and their default values."
    for name, a in inspect.signature(cls).parameters.items():
        if isinstance(a.default, (float, int)) and not isinstance(a.default, bool):
            yield name, a.default
        if isinstance(a.default, tuple) and None not in a.default: yield name, a.default


def with_edges(cls, dtype):
    """Arguments of torch's class, one of them at an edge; but not those of Muon's polynomial, which
    then diverges."""
    for name, default in numbers_of(cls):
        if name == 'ns_coefficients': continue
        for edge in (0., SMALL[dtype], .5, BELOW_1[dtype], 1., 3., 1e4):
            if not isinstance(default, tuple): yield {name: type(default)(edge)}
            else:
                yield from ({name: (*default[:i], edge, *default[i + 1:])}
                            for i in range(len(default)))


def for_loop(cls):
    return {k: False for k in ('foreach', 'fused') if k in inspect.signature(cls).parameters}


def ours_and_torchs(name, kwargs, params, stream):
    """Our parameters and torch's, after each step of the gradients in `stream`; nothing, if one
    refuses the arguments."""
    cls, pairs = TWINS[name].cls, [[nn.Parameter(p.clone()) for p in params] for _ in 'ab']
    try: opts = getattr(genopt, name)(pairs[0], **kwargs), cls(pairs[1], **for_loop(cls), **kwargs)
    except (ValueError, TypeError): return
    for grads in stream:
        for ps, opt in zip(pairs, opts):
            for p, g in zip(ps, grads):
                p.grad = g.to_sparse(1) if name == 'SparseAdam' else g.clone()
            opt.step()
        yield [[p.detach().clone() for p in ps] for ps in pairs]


# NaN, ±∞, or a number
def kinds(x): return torch.where(x.isnan(), 2, torch.where(x.isinf(), x.sign(), 0))


TORCHS = [n for n in TWINS if n != 'Momentum']  # which has SGD's class


@pytest.mark.exhaustive(3)
@dtypes(*LARGE)
@pytest.mark.parametrize('name', TORCHS)
def test_hyperparameters_at_their_edges_make_torchs_numbers(name, dtype):
    "Torch's own spellings; and torch's NaN too, as without ε."
    if (name, dtype) == ('SparseAdam', torch.float32):
        pytest.skip('torch subtracts squares there, which rounds')
    tol = {torch.float64: 1e-6, torch.float32: 1e-3}[dtype]
    p, seen = torch.tensor([[1., -2., 0.], [.5, 3., -1.]], dtype=dtype), 0
    for kwargs, kind in itertools.product(with_edges(TWINS[name].cls, dtype), GRADS):
        largest = 1.
        for (x,), (y,) in ours_and_torchs(name, kwargs, [p], [[g] for g in gradients(kind, dtype)]):
            assert torch.equal(kinds(x), kinds(y)), (kwargs, kind, x, y)
            largest = max(largest, y.nan_to_num(0., 0., 0.).abs().max())
            assert ((x - y)[y.isfinite()].abs() <= tol * largest).all(), (kwargs, kind, x, y)
            seen += 1
    assert seen > 100


# -- numbers at the edges of a dtype ---------------------------------------------------------------

EDGE_DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def extremes(dtype):
    """The largest and smallest numbers of a dtype, those whose square is at its edge, and what is
    no number."""
    info = torch.finfo(dtype)
    return [0., 1., -1., info.tiny, info.tiny * info.eps,
            info.tiny**.5, info.max**.5, 3 * info.max**.5, info.max / 3,
            -info.max / 3, .9 * info.max, info.max, -info.max, math.inf, -math.inf, math.nan]


def elementwise_stream(dtype):
    "One parameter and three gradients, of all combinations."
    numbers, largest = extremes(dtype), torch.finfo(dtype).max
    rows = itertools.product([0., 1., largest / 3, -.9 * largest], *[numbers] * 3)
    param, *grads = torch.tensor([*rows], dtype=torch.float64).to(dtype).T
    return [param], [[g] for g in grads]


def whole_stream(dtype, shapes):
    "Tensors of a few numbers each, drawn from the edges."
    numbers, draw = extremes(dtype), random.Random(0)
    def tensor(among, shape):
        few = draw.sample(among, 2)
        return torch.tensor([draw.choice(few) for _ in range(math.prod(shape))],
                            dtype=dtype).view(shape)
    shapes = shapes * 60
    return ([tensor([0., 1., 10.], s) for s in shapes],
            [[tensor(numbers, s) for s in shapes] for _ in range(3)])


@dtypes(*EDGE_DTYPES)
@pytest.mark.parametrize('name', TORCHS)
def test_numbers_at_the_edges_of_a_dtype_go_where_torchs_go(name, dtype):
    """NaN, infinity and numbers are where torch's for-loop has them.

    But torch's SparseAdam forgets by v ← v + (1 − β₂)·(g² − v), which makes NaN of an average that
    has overflowed. Ours, which is Adam's, stays infinite, and the step is 0. And torch's Adafactor
    adds up squares in float32, which overflows where a kernel, which adds in float64, does not.
    """
    shapes = {'Adafactor': [(2, 3), (3,)], 'Muon': [(2, 3)]}.get(name)
    params, stream = whole_stream(dtype, shapes) if shapes else elementwise_stream(dtype)
    for xs, ys in ours_and_torchs(name, {}, params, stream):
        for x, y in zip(xs, ys):
            same = kinds(x) == kinds(y)
            if name in ('SparseAdam', 'Adafactor'): same |= y.isnan() & x.isfinite()
            assert same.all(), (x[~same][:3], y[~same][:3])


# -- the right values ------------------------------------------------------------------------------

def after_a_step(recipe, grad, start=1., **hypers):
    p = nn.Parameter(torch.full((len(grad),), start, dtype=torch.float64))
    opt = recipe([p], **hypers)
    p.grad = torch.tensor(grad, dtype=torch.float64)
    opt.step()
    return p.tolist(), opt.state[p]


@pytest.mark.parametrize('mom, slow_mom, wanted',
                         [(0., .9999, .9999**40), (0., 0., 0.), (.9, 0., 0.),
                          (1e-12, .9999, .99602)])
def test_a_slow_average_grows_from_a_decay_of_0(mom, slow_mom, wanted):
    "As from any other: its half-life grows evenly, so β₃ = β₃^(T/t), the limit of the formula."
    state = after_a_step(genopt.AdEMAMix, [1.], lr=.1, mom=mom, slow_mom=slow_mom, warmup=40)[1]
    near = 1e-4 if mom == 1e-12 else 1e-12
    assert 1 - state['slow_avg'].item() == pytest.approx(wanted, abs=near)


def test_madgrad_without_eps_leaves_an_element_that_has_seen_nothing():
    (a, b, c), _ = after_a_step(genopt.MADGRAD, [1., 0., 1e-200], lr=.1, eps=0.)
    assert math.isfinite(a) and a != 1 and b == c == 1


def test_madgrad_without_eps_keeps_what_is_not_a_number():
    assert math.isnan(after_a_step(genopt.MADGRAD, [math.nan], lr=.1, eps=0.)[0][0])
    assert math.isnan(after_a_step(genopt.ADOPT, [math.nan], lr=.1, eps=0.)[0][0])


def test_radam_without_eps_is_momentum_first():
    "While the average square is not trusted, torch does not divide by it."
    assert after_a_step(genopt.RAdam, [0., 1.], lr=.1, eps=0.)[0] == [1., pytest.approx(.9)]


@pytest.mark.parametrize('max_norm', [0., 1e-300, 1e-45])
@pytest.mark.parametrize('grad', [0., 1e-30, 1.])
def test_clipping_to_almost_nothing_leaves_almost_nothing(max_norm, grad):
    clipped = genopt.clip_by_norm(torch.full((3,), grad), max_norm=max_norm)
    assert clipped.isfinite().all() and clipped.abs().max() <= 1e-30


def test_asgd_rests_where_its_rate_is_not_a_real_number():
    "1 + λ·η·t below 0, to the power ¾; or a power too large for a number."
    for hypers in dict(lambd=-1e30), dict(power=-1e30), dict(power=1e30):
        p, state = after_a_step(genopt.ASGD, [0.], start=0., lr=.1, **hypers)
        assert p == [0.] and state['eta'] == 0


@pytest.mark.parametrize('t0', [0., 1e6])
def test_asgds_mean_goes_where_torchs_goes(t0):
    "Far parameters, infinite and opposite ones too: before t₀ the mean is the parameter."
    params, stream = elementwise_stream(torch.float32)
    p, q = (nn.Parameter(params[0].clone()) for _ in 'ab')
    ours, theirs = genopt.ASGD([p], t0=t0), torch.optim.ASGD([q], t0=t0, foreach=False)
    for grad, in stream * 2:
        p.grad = q.grad = grad.clone()
        ours.step(); theirs.step()
        assert torch.equal(kinds(ours.state[p]['param_avg']), kinds(theirs.state[q]['ax']))
