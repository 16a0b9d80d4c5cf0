"""Promise: each format keeps what its docstring says, for every float32 number, and its two halves,
in torch and in C, keep the same bits.

The references are written in NumPy, in float64, from the description: as numbers, and not as bits.
"""
import numpy as np
import pytest
import torch

import genopt
from genopt import Optimizer, stat, step
from genopt.formats import Blocks, Compensated, Draw, Random, Split, block_of, drawn
from helpers import dtypes, random

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
halves = dtypes(BF16, F16)
LARGEST, TINY = torch.finfo(F32).max, torch.finfo(F32).tiny
SPECIAL = [0., -0., 1., -1., 1 + 2.**-9, 1 + 2.**-8, LARGEST, -LARGEST, TINY, -TINY, 2.**-149,
           -2.**-149, 2.**-133, 2.**-134, 2.**-24, 2.**-25, 65504., 65519., 65520., -65536.,
           float('inf'), -float('inf'), float('nan')]
# Of bits, with the one before the point: bf16, fp16, and the whole weight of master=24
DIGITS = {BF16: (8, -133), F16: (11, -24), 24: (16, -141)}  # and the power of 2 of the smallest


def mantissas(*exponents):
    "float32 numbers with every mantissa, in pieces; of these biased exponents, with a sign each."
    for e in exponents:
        for first in range(0, 2**23, 2**18):
            bits = np.arange(first, first + 2**18, dtype=np.uint32) + np.uint32(abs(e) << 23)
            yield torch.from_numpy(bits.view(np.float32) * np.float32(-1 if e < 0 else 1))


def spacing(x, digits):
    "The distance of neighbours with so many digits, around each number."
    n, least = DIGITS[digits]
    return np.ldexp(1., np.maximum(np.frexp(x)[1] - n, least))


def nearest(x, digits):
    "The nearest number with so many digits; away from 0 half-way. What is too large is infinite."
    q = spacing(x, digits)
    return limited(np.copysign(np.floor(np.abs(x) / q + .5) * q, x), digits)


def limited(x, digits):
    return np.where(np.abs(x) >= (2.**16 if digits == F16 else 2.**128), np.copysign(np.inf, x), x)


def as_numbers(x): return x.double().numpy()


def kept(form, x, dtype=BF16, draw=Draw(0)):
    return form.kept(x, torch.empty(0, dtype=form.dtype(dtype)), draw)


def same_bits(a, b):
    "But for those of what is no number."
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = [x.masked_fill(x.isnan(), 7).contiguous().view(kinds[x.element_size()]) for x in (a, b)]
    return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(*bits)


# -- weights of 16 bits ----------------------------------------------------------------------------

def test_master_32_is_the_float32_weight_and_its_top_is_the_nearest_bf16(one_thread):
    for x in mantissas(0, -127, 254):
        there = kept(Split(32), x)
        assert there['rest'].dtype == torch.int16 and same_bits(Split(32).value(there), x)
        assert (as_numbers(there['']) == nearest(as_numbers(x), BF16)).all()


def test_master_24_is_the_nearest_number_of_24_bits(one_thread):
    for x in mantissas(0, -127, 254):
        there = kept(Split(24), x)
        value, want = Split(24).value(there), nearest(as_numbers(x), 24)
        assert there['rest'].dtype == torch.int8
        assert (as_numbers(value) == want).all()
        assert (as_numbers(there['']) == nearest(want, BF16)).all()
        again = kept(Split(24), value)
        assert all(same_bits(again[k], there[k]) for k in there)


@halves
def test_kahan_keeps_twice_the_digits(dtype, one_thread):
    form, (digits, least) = Compensated(dtype), DIGITS[dtype]
    for x in mantissas(*((1, -127) if dtype == BF16 else (105, -141))):
        there = kept(form, x, dtype)
        assert [t.dtype for t in there.values()] == [dtype, dtype]
        value, want = as_numbers(form.value(there)), as_numbers(x)
        error, power = np.abs(value - want), np.frexp(want)[1]
        assert (error <= np.ldexp(1., power - 2 * digits - 2) + 2.**(least - 1)).all()
        near = as_numbers(there[''])
        assert (np.abs(near - want) <= spacing(want, dtype) / 2).all()  # the 16 bits alone


@halves
def test_random_rounding_gives_a_neighbour(dtype, one_thread):
    for i, x in enumerate(mantissas(*((0, -127, 254) if dtype == BF16 else
                                      (104, -113, 142)))):
        got, want = as_numbers(kept(Random(), x, dtype, Draw(i))['']), as_numbers(x)
        q = spacing(want, dtype)
        low, high = (limited(f(want / q) * q, dtype) for f in (np.floor, np.ceil))
        assert ((got == low) | (got == high)).all()  # an exact number is both


@halves
def test_random_rounding_is_right_on_average(dtype):
    n, powers = 2**15, [0, 5, -10] + ([-23, -17] if dtype == F16 else [-130, 100])
    x = torch.tensor([s * m * 2.**e for e in powers for s in (1, -1)
                      for m in (1 + 2.**-13, 1 + 2.**-9, 4 / 3, 1.70703125, 1.99951171875)])
    for i in range(3):
        draw = Draw(*drawn(i, [3], [7])[0].tolist())
        got = as_numbers(kept(Random(), x[:, None].expand(-1, n), dtype, draw)[''])
        want = as_numbers(x)
        q = spacing(want, dtype)
        share = want / q - np.floor(want / q)
        error = np.abs(got.mean(1) - want) / q
        assert (error <= 4 * np.sqrt(share * (1 - share) / n) + 2.**-13).all()
        assert (got.std(1) > 0)[(share > .01) & (share < .99)].all()


def test_bits_differ_by_place_step_parameter_and_seed():
    x = torch.full((4096,), 1 + 2.**-8)  # half-way
    def up(*args, first=0):
        seed = drawn(*args)[0][0].item()
        return kept(Random(), x, BF16, Draw(seed, first))[''] > 1
    one = up(0, [0], [0])
    assert torch.equal(one, up(0, [0], [0]))
    assert torch.equal(one[100:], up(0, [0], [0], first=100)[:-100])
    for other in up(1, [0], [0]), up(0, [1], [0]), up(0, [0], [1]):
        assert abs((one == other).float().mean().item() - .5) < 4 * .5 / 64


@pytest.mark.parametrize('form', [Split(24), Split(32), Compensated(BF16), Random()], ids=repr)
def test_weights_of_16_bits_are_kept_as_they_are(form):
    x = torch.arange(2**16).to(torch.uint16).view(BF16)
    x = x[x.isfinite()]
    there = kept(form, x.float())
    assert same_bits(there.pop(''), x) and all(not t.any() for t in there.values())


@pytest.mark.parametrize('form, dtype, digits', [
    (Split(24), BF16, 24), (Compensated(BF16), BF16, BF16), (Compensated(F16), F16, F16),
    (Random(), BF16, BF16), (Random(), F16, F16)], ids=str)
def test_what_is_no_number_infinite_or_zero(form, dtype, digits):
    x = torch.tensor([float('nan'), float('inf'), -float('inf'), 0.])
    there = kept(form, x, dtype)
    torch.testing.assert_close(form.value(there), x, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(there[''].float().signbit()[1:], x.signbit()[1:])
    assert kept(form, torch.tensor([-0.]), dtype)[''].signbit().all()


# -- blocks ----------------------------------------------------------------------------------------

both_signs = pytest.mark.parametrize('signed', [True, False], ids=['signed', 'unsigned'])
UNSIGNED = np.array([0.] + [(1 + (c + 1) % 8 / 8) * 2.**((c + 1) // 8 - 32)
                            for c in range(1, 256)])  # 5 bits of exponent, 3 after the point


def of_every_size(signed, scale=1., rows=64):
    "Blocks with numbers from the largest one down to a 2⁴⁰th of it, and zeros."
    sizes = 2.**(-40 * torch.rand(rows, 128, generator=torch.Generator().manual_seed(1)))
    x = random(0, (rows, 128), F32).sign() * sizes * scale
    x[:, 5] = 0.
    return x if signed else x.abs()


def round_trip(x, signed):
    there = kept(Blocks(signed), x)
    return Blocks(signed).value(there), there


@pytest.mark.parametrize('scale', [1., 3e-30, 7e30, 1.1])
@both_signs
def test_the_codes_of_blocks(signed, scale):
    x = of_every_size(signed, scale)
    value, there = round_trip(x, signed)
    most = as_numbers(x.abs().amax(1, keepdim=True))
    u, codes = as_numbers(x) / most, there[''].numpy().astype(int)
    np.testing.assert_array_equal(as_numbers(there['scale']), most)
    if signed:
        assert (np.abs(np.sqrt(np.abs(u)) * 127 - np.abs(codes)) <= .5 + 1e-4).all()
        assert (codes * u >= 0).all()
        table = np.sign(codes) * (codes / 127)**2
    else:
        table, more = UNSIGNED[codes], UNSIGNED[np.minimum(codes + 1, 255)]
        assert ((UNSIGNED[np.maximum(codes - 1, 0)] < u * (1 + 1e-6)) & (u <= more))[u > 0].all()
    np.testing.assert_allclose(as_numbers(value), table * most, rtol=1e-6, atol=2.**-149)


@both_signs
def test_errors_of_blocks(signed):
    x = of_every_size(signed)
    value, u = round_trip(x, signed)[0], x / x.abs().amax(1, keepdim=True)
    error = (value - x).abs() / x.abs().amax(1, keepdim=True)
    if signed: assert (error <= (2 * u.abs().sqrt() + 1 / 254) / 254 + 1e-6).all()
    else:
        assert (error < u / 8)[u > 2.**-31].all()
        assert (value > 0).equal(x > 0)
    assert ((value == x) | (u.abs() < 1)).all()     # the largest one
    assert (value[x == 0] == 0).all() and (value * x >= 0).all()


def test_codes_without_a_sign_are_right_on_average():
    "Within the standard error of 400 draws, from the share by which a number lies between codes."
    x = of_every_size(False, rows=8)
    x[:, 0] = 1.
    x = x.clamp(min=2.**-30)
    draws = [kept(Blocks(False), x, draw=Draw(*row))
             for row in drawn(0, [0] * 400, range(400)).tolist()]
    found = as_numbers(torch.stack([Blocks(False).value(there) for there in draws]))
    u = as_numbers(x)
    at = np.searchsorted(UNSIGNED, u, 'right') - 1
    low, high = UNSIGNED[at], UNSIGNED[np.minimum(at + 1, 255)]
    assert ((found == low) | (found == high)).all()
    error = np.sqrt((high - u) * (u - low) / len(draws))
    z = (found.mean(0) - u)[error > 0] / error[error > 0]
    assert abs(z).max() < 4.5 and .8 < (z**2).mean() < 1.2 and len(z) > 700


@pytest.mark.parametrize('compile', [False, True])
def test_an_average_of_squares_follows_its_gradients(compile):
    """Up and down by a thousandth in a step, which the nearest code would never show: gradients
    become a tenth, and ten times as large, but for a few that keep the block's scale."""
    def average(**said):
        p = torch.zeros(64, 128, requires_grad=True)
        opt = genopt.RMSprop([p], lr=0., sqr_mom=.99, compile=compile, **said)
        size = torch.ones_like(p)
        for t in range(600):
            if t == 100: size[:, 10:60], size[:, 60:] = .1, 10.
            p.grad = size * random(t, p.shape, F32)
            if t >= 100: p.grad[:, :10] = 30.
            opt.step()
        return opt.state[p], [slice(10, 60), slice(60, None)]
    codes, parts = average(state='8bit')
    exact, _ = average()
    found = Blocks(False).value({'': codes['sqr_avg'], 'scale': codes['sqr_avg.scale']})
    for part in parts:
        ratio = (found / exact['sqr_avg'])[:, part]
        assert .95 < ratio.mean() < 1.05 and ratio.std() < .4


@both_signs
def test_blocks_are_idempotent(signed):
    for scale in 1., 3e-24, 7e30, 1 / 3, LARGEST / 2:
        value, there = round_trip(of_every_size(signed, scale), signed)
        again, same = round_trip(value, signed)
        assert all(same_bits(there[k], same[k]) for k in there) and same_bits(value, again)


@both_signs
def test_every_code_comes_back(signed):
    codes = torch.arange(-127, 128).to(torch.int8) if signed else torch.arange(256).to(torch.uint8)
    for scale in random(0, (300,), F32).abs().tolist():
        there = {'': codes, 'scale': torch.tensor([scale])}
        assert same_bits(round_trip(Blocks(signed).value(there), signed)[1][''], codes)


@both_signs
def test_blocks_that_hold_what_is_infinite_or_no_number(signed):
    inf, nan = float('inf'), float('nan')
    x = torch.ones(5, 64)
    x[0, 3], x[1, 3], x[2], x[3] = inf, nan, 0., 2.**-149
    x[3, 0] = 0.
    if signed: x[0, 4] = -inf
    value = round_trip(x, signed)[0]
    assert value[0, 3] == LARGEST and (not signed or value[0, 4] == -LARGEST)
    assert value[1].isnan().all() and not value[[0, 2, 3, 4]].isnan().any()
    assert (value[2] == 0).all() and (value[4] == 1).all()
    assert (value[3] == 0).all()


@both_signs
@pytest.mark.parametrize('most', [LARGEST, 2.**127, TINY, 2.**-127, 2.**-130, 2.**-149])
def test_blocks_of_the_largest_and_the_smallest(signed, most):
    x = torch.tensor([most, most / 2, 0., most]).repeat(64).view(1, 256)
    value = round_trip(x, signed)[0]
    assert (value[x == 0] == 0).all()
    if most >= TINY: assert (value[x == most] == most).all()
    else: assert (value == 0).all()


@pytest.mark.parametrize('shape, block, scales', [
    ((1000,), 256, (4,)), ((256,), 256, (1,)), ((257,), 256, (2,)), ((), 256, (1,)),
    ((0,), 256, (0,)), ((3, 0), 256, (3, 0)), ((8, 4096), 256, (8, 16)), ((8, 256), 256, (8, 1)),
    ((8, 768), 256, (8, 3)), ((8, 50), 50, (8, 1)), ((8, 300), 150, (8, 2)),
    ((64, 3, 7, 7), 147, (64, 1)), ((8, 31), 256, (1,)), ((8, 32), 32, (8, 1)),
    ((50, 257), 256, (51,)), ((50, 509), 256, (100,)), ((4, 64, 16), 256, (4, 4)),
    ((9, 1, 33), 33, (9, 1)), ((5, 2 * 263), 256, (11,))], ids=str)
@both_signs
def test_the_shape_of_blocks(shape, block, scales, signed):
    assert block_of(shape) == block
    x = random(0, shape, F32)
    x = x if signed else x.abs()
    value, there = round_trip(x, signed)
    assert (tuple(there['scale'].shape), tuple(there[''].shape)) == (scales, shape)
    flat = np.zeros(np.prod(scales, dtype=int) * block, np.float32)
    flat[:x.numel()] = np.abs(x.numpy()).ravel()
    most = flat.reshape(*scales, block).max(-1, initial=0)
    np.testing.assert_array_equal(there['scale'].numpy(), most)
    most = (.05 if signed else .11) * x.abs().max() if x.numel() else 1.
    assert value.shape == shape and ((value - x).abs() < most).all()


def test_a_row_in_parts_has_the_same_blocks():
    x = random(0, (12, 300), F32)
    whole, parts = kept(Blocks(True), x), [kept(Blocks(True), part) for part in x.split(5)]
    for k in whole: assert same_bits(whole[k], torch.cat([part[k] for part in parts]))


# -- in C ------------------------------------------------------------------------------------------

@stat
def given(given): return given

@step
def put(given, *, lr): return lr * given

@stat
def any_sign(any_sign, grad): return grad

@stat(nonnegative=True)
def no_sign(no_sign, grad): return grad.abs()

@step
def stay(param, any_sign, no_sign, *, lr): return 0. * lr * param


def every_kind(n, special=True):
    "Random bits, numbers around those of 16 bits, and others of about one size."
    draw = torch.Generator().manual_seed(0)
    bits = torch.randint(-2**31, 2**31, (n,), generator=draw).to(torch.int32).view(F32)
    ulps = torch.randint(-2, 3, (n,), generator=draw) * 2.**-9
    there = [bits, random(1, (n,), BF16).float() * (1 + ulps), random(2, (n,), F32),
             1e-6 * random(3, (n,), F32)]
    return torch.cat([*there, torch.tensor(SPECIAL if special else [])])


@pytest.mark.parametrize('said', [dict(master=24), dict(master=32), dict(rounding='kahan'),
                                  dict(rounding='stochastic', rounding_seed=3)], ids=str)
@halves
def test_weights_have_the_same_bits_in_c_and_in_torch(dtype, said):
    if 'master' in said and dtype == F16: pytest.skip('master= is for bfloat16')
    x, found = every_kind(30_000), []
    for compile in True, False:
        ps = [torch.zeros(s, dtype=dtype, requires_grad=True) for s in (x.shape, (7,), x.shape)]
        opt = Optimizer(ps, [given, put], lr=1., state=dict(given='float32'), compile=compile,
                        **said)
        opt.init_state()
        for p in ps:
            p.grad = torch.zeros_like(p)
            opt.state[p]['given'].copy_(x[:p.numel()])
        opt.step()
        found.append([{'': p.detach(), **opt.state[p]} for p in ps])
    for ours, theirs in zip(*found):
        assert {*ours} == {*theirs} and all(same_bits(ours[k], theirs[k]) for k in ours)
    if 'rounding_seed' in said: assert not same_bits(found[0][0][''], found[0][2][''])


@pytest.mark.parametrize('shape', [(90_003,), (300, 300), (400, 256), (8, 64, 16, 9), (5, 2029)],
                         ids=str)
@pytest.mark.parametrize('kind', ['every kind', 'numbers', 'tiny'])
def test_blocks_have_the_same_bits_in_c_and_in_torch(shape, kind):
    n = int(np.prod(shape))
    if kind == 'every kind': x = every_kind(n // 4)[-n:]
    else: x = random(0, (n,), F32).pow(3) * (1. if kind == 'numbers' else 2.**-130)
    if x.numel() < n: x = torch.cat([x, x.new_zeros(n - x.numel())])
    found = []
    for compile in True, False:
        p = torch.zeros(shape, requires_grad=True)
        opt = Optimizer([p], [any_sign, no_sign, stay], lr=1., state='8bit', compile=compile)
        p.grad = x.view(shape).clone()
        opt.step()
        found.append(opt.state[p])
    assert {'any_sign.scale', 'no_sign.scale'} < {*found[0]} == {*found[1]}
    for k in found[0]: assert same_bits(found[0][k], found[1][k]), k


def test_a_seed_is_for_the_codes_of_float32_weights_too():
    def group(dtype): return dict(params=[torch.nn.Parameter(torch.ones(8, dtype=dtype))])
    opt = genopt.AdamW([group(BF16), group(torch.float32)], state='8bit', rounding='stochastic',
                       rounding_seed=5)
    assert [g.storage.seed for g in opt.param_groups] == [5, 5]
    opt = genopt.AdamW([group(BF16), group(torch.float32)], rounding='stochastic', rounding_seed=5)
    assert [g.storage.seed for g in opt.param_groups] == [5, 0]
