"""Promise: a part may decide by numbers. Where it only asks (`if count > 1`, `min`), each way that
the answers lead is a kernel; where it takes a number out (`float(count)`), it runs as it is.

A part that decides by elements must say that it is `whole`, and then runs as it is.
"""
import genopt
import pytest
import torch
from genopt import Optimizer, PartError, scalar, stat, step, step_count, total, transform
from genopt.engines import kernels
from genopt.engines.kernels import kind_of_tensors
from genopt.engines.program import tape_of
from genopt.engines.tape import Foreign
from helpers import assert_close, random, random_param
from torch import nn

RATES = .1, .1, .05, .2, .1, 0.
modes = pytest.mark.parametrize('compile', [None, True])


def part_of(code, **options):
    scope = dict(torch=torch)
    exec(f'def decides(grad, count, *, lr): return {code}', scope)
    return step(**options)(scope['decides'])


def walked(parts, compile, each=lambda opt: None, shapes=((5,), (60, 50), ())):
    "Where some steps lead, of parameters that have other counts from the second step on."
    ps = [random_param(i, s, torch.float64) for i, s in enumerate(shapes)]
    opt = Optimizer(ps, parts, lr=RATES[0], compile=compile)
    for i, lr in enumerate(RATES):
        opt.param_groups[0]['lr'] = lr
        for j, p in enumerate(ps): p.grad = random(10 * i + j, p.shape, p.dtype)
        opt.step()
        each(opt)
        if not i and 'count' in opt.state[ps[1]]: opt.state[ps[1]]['count'] += 1
    return [*ps, *[v for p in ps for v in opt.state[p].values()]]


def assert_as_plain(parts, compile, each=lambda opt: None):
    assert_close(walked(parts, compile, each), walked(parts, False), rtol=1e-13)


def is_in_kernel(part):
    "True if it is recorded, False if it runs as it is, and PartError if that is refused."
    c, p = genopt.Composition([step_count, part]), torch.zeros(5)
    tape = tape_of(c, kind_of_tensors(c, dict(param=p, grad=p)), dict(lr=.1, count=3, prev_count=2),
                   strict=True)
    return not any(isinstance(op, Foreign) for op in tape.ops)


# -- questions -------------------------------------------------------------------------------------

QUESTIONS = {  # and how many ways there are for the numbers above
    'grad if count > 1 else -grad': 2,
    'grad * min(1., count / 3)': 2,
    'grad * max(lr, .07, 1 / count)': 3,
    'grad if (lr > 0) & (count > 2) else 2 * grad': 2,
    'grad * count if lr > .07 and count > 2 else grad * lr': 3,
    'grad / 3 if 1 < count <= 3 else grad': 3,
    'grad * (2. if count % 2 else 1.)': 2,
    'grad if lr else -grad': 2,
    'grad if not lr > .15 else -grad': 2,
    'grad / 2 if count in (2, 4) else grad': 3,
    'grad * (count if count == 3 else lr) + (lr if count == 3 else grad)': 2}


@pytest.mark.parametrize('code', QUESTIONS)
def test_each_way_that_answers_lead_is_a_kernel(code, builds):
    part = part_of(code)
    assert is_in_kernel(part)
    def each(opt): assert 'kernel: 1 of 1 parts' in str(opt)
    assert_as_plain([step_count, part], None, each)
    assert len({*builds}) == QUESTIONS[code]


def test_a_question_in_a_whole_part_in_a_stat_and_in_a_total(builds):
    @total
    def grad_size(grad, *, lr): return grad.abs().sum() if lr > .07 else grad.square().sum()
    @stat
    def slow(slow, grad, count): return grad if count == 1 else slow.lerp(grad, .1)
    @step(whole=True)
    def by_norm(slow, grad, grad_size, count, *, lr):
        return -lr * slow / (grad.norm() if count > 2 else grad_size)
    def each(opt): assert 'kernel: 2 of 2 parts' in str(opt)
    assert_as_plain([grad_size, step_count, slow, by_norm], True, each)


def test_a_question_behind_a_switch():
    @transform(switch='wd')
    def pulled(grad, param, count, *, wd=0.): return grad + (wd if count > 1 else .5) * param
    assert_as_plain([step_count, pulled, genopt.sgd_step], True)


def test_where_numbers_choose_too_many_ways_the_part_runs_as_it_is(monkeypatch, builds):
    monkeypatch.setattr(kernels, 'ANSWERS', 3)
    told = []
    part = part_of('grad * len([i for i in range(9) if count > i])')
    assert_as_plain([step_count, part], None, lambda opt: told.append(str(opt)))
    assert 'kernel: 1 of 1 parts' in told[0] and 'kernel: 0 of 1 parts' in told[-1]
    assert '`decides` runs as it is: it asks for the value of a number' in told[-1]
    assert len({*builds}) == 5  # one before the part, and one after it


# -- numbers that are taken out --------------------------------------------------------------------

AS_IT_IS = ['grad * __import__("math").sqrt(count)', 'grad * float(count)', 'grad * int(count)',
            'grad * [1, 2][count > 1]', '(10 * grad).int() * count + grad',
            'grad * torch.ones(()).item()', 'grad * f"{count}".count("1")',
            'grad * __import__("numpy").sqrt(count)', 'grad * sum(range(count))',
            'grad * (count // 2)', 'grad + 1 // count']


@pytest.mark.parametrize('code', AS_IT_IS)
def test_a_part_that_takes_a_number_out_runs_as_it_is(code):
    part = part_of(code)
    assert not is_in_kernel(part)
    def each(opt): assert 'kernel: 1 of 2 parts; `decides` runs as it is: ' in str(opt)
    assert_as_plain([step_count, genopt.l2_reg, part], True, each)


@pytest.mark.parametrize('code', ['grad * round(count / 3)', 'grad * count.bit_length()'])
def test_what_no_tensor_can_runs_as_it_is_by_default(code):
    def each(opt): assert 'kernel: 0 of 1 parts; `decides` runs as it is: ' in str(opt)
    assert_as_plain([step_count, part_of(code)], None, each)


@pytest.mark.parametrize('code', ['grad if count in {1, 3} else -grad',
                                  'grad * {1: 2., 2: 3.}.get(count, 4.)',
                                  'grad * (3. if isinstance(count, int) else 4.)'])
def test_what_a_tensor_would_do_otherwise(code): assert_as_plain([step_count, part_of(code)], None)


# -- elements --------------------------------------------------------------------------------------

BY_ELEMENTS = ['grad if grad[0] > 0 else -grad', 'grad * float(grad[0])',
               'grad * grad.tolist()[0]', 'grad * grad.sum()', 'grad if grad.any() else grad',
               'torch.from_numpy(grad.numpy())', 'grad * grad.sum().item()']


@pytest.mark.parametrize('code', BY_ELEMENTS)
def test_a_part_that_decides_by_elements_is_refused(code):
    with pytest.raises(PartError, match=r'`decides` cannot be compiled \(<string>, line 1\): '):
        is_in_kernel(part_of(code))


@pytest.mark.parametrize('code', ['grad if grad.sum() > 0 else -grad', 'grad * grad.sum().item()',
                                  'grad * float(grad.norm())', 'grad.cumsum(0) * count',
                                  'torch.from_numpy(grad.numpy() * 2)'])
@modes
def test_but_if_it_is_whole_it_runs_as_it_is(code, compile):
    part = part_of(code, whole=True)
    assert not is_in_kernel(part)
    shapes = (5,), (6, 5), (6, 5)
    ours, plain = (walked([step_count, part], c, shapes=shapes) for c in (compile, False))
    assert_close(ours, plain, rtol=1e-13)


@pytest.mark.parametrize('test', ['grad.isfinite().all()', 'grad.norm() < 1e9'])
def test_one_that_asks_about_all_elements_without_saying_so_is_refused_in_every_mode(test):
    "Its answer for a block of a large tensor need not be that for all of it."
    part = part_of(f'-lr * grad if {test} else torch.zeros_like(grad)')
    for compile in None, True, False:
        with pytest.raises(PartError, match='`decides` does not treat each element alone'):
            Optimizer([nn.Parameter(torch.ones(5))], [step_count, part], lr=.1, compile=compile)


# -- what the errors advise ------------------------------------------------------------------------

@scalar
def later(count): return float(count > 1)

@stat
def as_advised(slow, grad, count, later=later):
    return later * slow.lerp(grad, .1) + (1 - later) * grad

@stat
def by_condition(slow, grad): return torch.where(grad > .5, slow.lerp(grad, .1), grad)

@stat
def by_float(slow, grad, *, gain=2): return slow + (grad > 0).int().float() * gain


@pytest.mark.parametrize('part', [as_advised, by_condition, by_float], ids=lambda p: p.__name__)
def test_what_the_errors_advise_is_in_the_kernel(part):
    use = step(lambda grad, slow, *, lr: -lr * slow)
    def each(opt): assert 'kernel: 2 of 2 parts' in str(opt)
    assert_as_plain([step_count, part, use], True, each)
