"""Promise: a loop can feed what parts read, a tensor for each parameter or a number, for one step:
every engine sees it, and what is missing or does not fit is refused before anything has moved.
"""
import copy

import genopt
import pytest
import torch
from genopt import Adam, ContractError, Optimizer, given, scalar, stat, step, step_count, total
from genopt.parts import hess, loss, sqr_grad_norm
from helpers import engines, param, pickled, random, through_a_file
from test_equations import steps_agree

DOUBLE, SHAPES = torch.float64, ((5, 3), (7,), (5, 3), ())
EVERY = 3


@stat
def average_hess(hess_avg, hess=hess, *, hess_mom=.9):
    return hess_avg.lerp(hess, 1 - hess_mom)
@step
def newton_step(grad, hess_avg, *, lr): return -lr * grad / hess_avg.abs().clamp(min=.1)

NEWTON = step_count, average_hess, newton_step


@scalar
def polyak_lr(loss=loss, sqr_norm=sqr_grad_norm): return loss / sqr_norm
@step
def polyak_step(grad, rate=polyak_lr): return -rate * grad


@given
def clipped(): return True
@step
def clipped_step(clipped=clipped, *, lr): return -lr * clipped


def draw(i, j, dtype): return random(10 * i + j + 50, SHAPES[j], dtype)


def moved(parts, steps, compile, dtype=DOUBLE, begin=0, opt=None, **hypers):
    "Parameters and their optimizer after some steps, in which they are fed what is due."
    params = [torch.nn.Parameter(random(i, s, dtype)) for i, s in enumerate(SHAPES)]
    opt = opt or Optimizer(params, parts, lr=.1, hess_every=EVERY, compile=compile, **hypers)
    params = opt.param_groups[0]['params']
    for i in range(begin, begin + steps):
        for j, p in enumerate(params): p.grad = draw(i, j, dtype)
        assert opt.awaits('hess') == (i % EVERY == 0)
        if opt.awaits('hess'): opt.feed(hess=[draw(i + 1000, j, dtype) for j in range(len(params))])
        opt.step()
    return params, opt


@pytest.mark.parametrize('dtype', [DOUBLE, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('clip', [(), (genopt.clip_by_global_norm,)], ids=['', 'clipped'])
@engines
def test_every_third_step_reads_what_is_fed(clip, dtype, compile):
    given = dict(max_norm=1.) if clip else {}
    ours, opt = moved([*clip, *NEWTON], 8, compile, dtype, **given)
    if clip or dtype != DOUBLE:
        theirs, _ = moved([*clip, *NEWTON], 8, False, dtype, **given)
    else:
        theirs = [random(i, s, dtype) for i, s in enumerate(SHAPES)]
        for j, p in enumerate(theirs):
            h = torch.zeros_like(p)
            for i in range(8):
                if i % EVERY == 0: h = .9 * h + .1 * draw(i + 1000, j, dtype)
                p -= .1 * draw(i, j, dtype) / h.abs().clamp(min=.1)
    tol = {DOUBLE: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    for p, q in zip(ours, theirs): assert torch.allclose(p, q, tol, tol)


def test_it_is_one_kernel():
    _, opt = moved(NEWTON, 2, True)
    assert 'kernel: 2 of 2 parts' in repr(opt)


@engines
def test_a_per_sample_clip(compile):
    "A gradient of which each sample's part is clipped, in the place of the gradient."
    w, x = torch.nn.Parameter(random(0, (3,), DOUBLE)), random(1, (8, 3), DOUBLE)
    begin, opt = w.detach().clone(), Optimizer([w], [clipped_step], lr=.1, compile=compile)
    each = x * (x @ w).detach()[:, None]               # of (x·w)²/2
    mean = (each / each.norm(dim=1, keepdim=True).clamp(min=1.)).mean(0)
    w.grad = each.mean(0)
    opt.feed(clipped={w: mean})
    opt.step()
    assert torch.allclose(w, begin - .1 * mean, 1e-14, 1e-14)


@engines
def test_a_loss_from_the_closure_or_from_feed(compile):
    "Polyak's step size, f/‖g‖², halves the distance to the minimum of a parabola."
    ours, theirs = param(value=3.), param(value=3.)
    opt, other = (Optimizer([p], [polyak_step], compile=compile) for p in (ours, theirs))
    def closure():
        opt.zero_grad()
        value = (ours * ours).sum()
        value.backward()
        return value
    for i in range(4):
        assert opt.step(closure).item() == pytest.approx(18 / 4**i)
        value = (theirs * theirs).sum()
        theirs.grad = 2 * theirs.detach()
        other.feed(loss=value)
        other.step()
        assert torch.equal(ours, theirs) and ours[0].item() == pytest.approx(3 / 2**(i + 1))
    with pytest.raises(RuntimeError, match='`loss` was not fed, and this step reads it: before'):
        other.step()


def test_a_gate_that_depends_on_gradients_counts_as_open():
    p = param(value=1., grad=1.)
    opt = Optimizer([p], [*genopt.skip_nonfinite, *NEWTON], lr=.1)
    assert opt.awaits('hess')
    p.grad[0] = torch.nan
    opt.feed(hess=[torch.ones(2, dtype=DOUBLE)])
    opt.step()
    assert p[0] == 1 and opt.awaits('hess') and opt.state[p]['skipped'] == 1


def test_a_closed_gate_needs_no_feed():
    from test_gates import GATHER
    p = param(value=1., grad=1.)
    opt = Optimizer([p], [*GATHER, *NEWTON], lr=.1, gather=2)
    assert not opt.awaits('hess')
    opt.step()
    assert opt.awaits('hess')


@engines
def test_a_run_that_is_saved_between(compile):
    ours, opt = moved(NEWTON, 4, compile)
    again = Optimizer([torch.nn.Parameter(p.detach().clone()) for p in ours], NEWTON, lr=.1,
                      hess_every=EVERY, compile=compile)
    again.load_state_dict(through_a_file(opt.state_dict()))
    others = again, copy.deepcopy(opt), pickled(opt)
    for o in (opt, *others): moved(NEWTON, 4, compile, begin=4, opt=o)
    for o in others: assert all(map(torch.equal, ours, o.param_groups[0]['params']))


def test_equations(): steps_agree(NEWTON, dict(lr=.1, hess_every=EVERY))


def test_how_it_reads():
    assert '''
    if (t − 1) mod k = 0:
        hess_avg ←'''.replace('hess_avg', 'h') in str(genopt.explain(NEWTON).box)


def test_watched():
    _, opt = moved(NEWTON, 0, None)
    rec = opt.watch(every=1)
    moved(NEWTON, 4, None, opt=opt)
    assert len(rec.rows) == 16 and all(r['update_norm'] > 0 for r in rec.rows)


# -- wrong inputs ----------------------------------------------------------------------------------

def one(**kwargs):
    p = param(value=1., grad=1.)
    return p, Optimizer([('weight', p)], NEWTON, lr=.1, **kwargs)


def test_never_fed():
    p, opt = one()
    with pytest.raises(RuntimeError, match=r'`hess` was not fed, and this step reads it: before '
                       r'`step\(\)`, call `opt.feed\(hess=...\)` with a tensor for each parameter'):
        opt.step()
    assert p[0] == 1 and opt.awaits('hess')
    assert opt.state[p]['count'] == 0


def test_fed_for_another_parameter():
    p, q = param(grad=1.), param(grad=1.)
    opt = Optimizer([p, q], NEWTON, lr=.1)
    opt.feed(hess={p: torch.ones(2, dtype=DOUBLE)})
    with pytest.raises(RuntimeError, match='parameter 1 of group 0 .* was fed no `hess`, and'):
        opt.step()
    q.grad = None
    opt.feed(hess=[torch.ones(2, dtype=DOUBLE), None])
    opt.step()


def test_it_holds_for_one_step():
    p = param(grad=1.)
    opt = Optimizer([p], [clipped_step], lr=.1)
    opt.feed(clipped=[torch.ones(2, dtype=DOUBLE)])
    opt.step()
    with pytest.raises(RuntimeError, match='`clipped` was not fed'): opt.step()


ONES = torch.ones(2, dtype=DOUBLE)


@pytest.mark.parametrize('value, error, says', [
    ([torch.ones(3)], ValueError, r'the tensor for `weight` .* has shape \(3,\): make it \(2,\)'),
    ([torch.ones(2, dtype=torch.int64)], ValueError, 'has dtype torch.int64: make it torch.float'),
    ([torch.ones(2, dtype=torch.complex64)], ValueError, 'has dtype torch.complex64'),
    ([ONES.to_sparse()], ValueError, 'has layout torch.sparse_coo: make it torch.strided'),
    ([ONES.to('meta')], ValueError, 'has device meta: make it cpu'),
    ([3.], TypeError, 'is given a float: give a tensor'),
    ([ONES, ONES], ValueError, '2 tensors for 1 parameters: give one for each, in order, or'),
    (ONES, TypeError, 'is a Tensor: give a list with a tensor for each parameter, or a dict'),
    (None, TypeError, 'is a NoneType: give a list'),
    ({'wieght': ONES}, KeyError, "'wieght' is not a parameter of this optimizer: the keys are"),
    ({ONES: ONES}, KeyError, 'a tensor is not a parameter of this optimizer: the keys are')],
    ids=lambda x: '')
def test_a_tensor_that_does_not_fit(value, error, says):
    p, opt = one()
    with pytest.raises(error, match=says): opt.feed(hess=value)
    assert opt.awaits('hess')


def test_a_name_that_no_part_reads():
    _, opt = one()
    for call in (lambda: opt.feed(hes=[ONES]), lambda: opt.awaits('hes')):
        with pytest.raises(KeyError, match='no part reads a value `hes` from the loop: did you me'):
            call()
    with pytest.raises(KeyError, match='there are none'): Adam([param()]).feed(hess=[ONES])


def test_a_number_that_is_not_one():
    opt = Optimizer([param(grad=1.)], [polyak_step])
    with pytest.raises(ValueError, match='give a number'): opt.feed(loss=ONES)
    with pytest.raises(TypeError, match='give a number'): opt.feed(loss=None)


def test_a_sparse_gradient():
    p, opt = one()
    p.grad = ONES.to_sparse()
    opt.feed(hess=[ONES])
    with pytest.raises(TypeError, match='takes dense ones, as `hess` is fed for all rows'):
        opt.step()


def test_what_a_given_may_be():
    with pytest.raises(ContractError, match='cannot read `grad`, which is a tensor'):
        @given
        def wrong(grad): return True
    with pytest.raises(ContractError, match='a number is due in every step: leave its arg'):
        @given(number=True)
        def also_wrong(count): return True
    with pytest.raises(ContractError, match='reads `hess`, a tensor, but a scalar'):
        @scalar
        def size(hess=hess): return hess
        @step
        def size_step(grad, size=size): return size * grad
        Optimizer([param()], [step_count, size_step])
    @given
    def silent(): 'It forgets to say when.'
    @step
    def silent_step(silent=silent): return silent
    p = param(grad=1.)
    with pytest.raises(genopt.PartError, match='returned None: a given returns True if it is fed'):
        Optimizer([p], [silent_step]).awaits('silent')


def test_a_total_of_what_is_fed():
    @given
    def other(): return True
    @total
    def size(other=other): return other.sum()
    @step
    def along(grad, size=size): return -size * grad
    for compile in (None, False):
        p = param(value=1., grad=1.)
        opt = Optimizer([p], [along], compile=compile)
        opt.feed(other=[3 * ONES])
        opt.step()
        assert p[0] == -5
