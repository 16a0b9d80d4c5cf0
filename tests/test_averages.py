"""Promise: averages of the weights are what their formulas say, and change places with the weights
and back.
"""
from functools import partial

import genopt
import pytest
import torch
from genopt import AdamW, ContractError, Optimizer, SGD
from helpers import dtypes, engines, random
from torch import nn
from trajectories import gradient


def run_with_average(recipe, steps=12, dtype=torch.float64, **kwargs):
    p = nn.Parameter(random(0, (4, 3), dtype))
    opt, path = recipe([p], **kwargs), [p.detach().clone()]
    for t in range(steps):
        p.grad = gradient(0, t, p.shape).to(dtype)
        opt.step(); path.append(p.detach().clone())
    return p, opt, path


@engines
def test_averages_of_the_weights(compile):
    p, opt, path = run_with_average(AdamW + genopt.average_param, lr=.1, ema=.8, compile=compile)
    ema = path[0]
    for x in path[1:]: ema = .8 * ema + .2 * x
    torch.testing.assert_close(opt.state[p]['param_avg'], ema, rtol=1e-12, atol=1e-12)
    p, opt, path = run_with_average(SGD + genopt.weight_mean, lr=.1, t0=4, compile=compile)
    for mean in torch.stack(path[5:]).mean(0), by_swa_utils(path[5:]):
        torch.testing.assert_close(opt.state[p]['param_avg'], mean, rtol=1e-12, atol=1e-12)


def by_swa_utils(path):
    model = torch.nn.Linear(3, 4, bias=False, dtype=torch.float64)
    avg = torch.optim.swa_utils.AveragedModel(model)
    for x in path:
        model.weight.data.copy_(x); avg.update_parameters(model)
    return avg.module.weight.data


@dtypes(torch.float32, torch.bfloat16)
def test_swap(dtype):
    p, opt, _ = run_with_average(AdamW + genopt.average_param, dtype=dtype, lr=.1, ema=.9)
    own, avg = p.detach().clone(), opt.state[p]['param_avg'].clone()
    assert avg.dtype == torch.float32
    with opt.swapped():
        assert torch.equal(p, avg.to(dtype)) and not torch.equal(p, own)
        with pytest.raises(RuntimeError, match=r'swapped with their averages: call train\(\) '
                                               r'before step\(\)'):
            opt.step()
    assert torch.equal(p, own) and torch.equal(opt.state[p]['param_avg'], avg)
    opt.step()


def test_a_checkpoint_made_while_swapped_goes_on_as_if_never_stopped():
    recipe = AdamW + genopt.average_param
    p, opt, _ = run_with_average(recipe, lr=.1)
    opt.swap()
    saved, weights = opt.state_dict(), p.detach().clone()
    q = nn.Parameter(weights.clone()); other = recipe([q], lr=.1)
    other.load_state_dict(saved)
    opt.swap(); other.swap()
    assert torch.equal(p, q)
    for param, o in ((p, opt), (q, other)): param.grad = torch.ones_like(param); o.step()
    assert torch.equal(p, q) and torch.equal(opt.state[p]['param_avg'], other.state[q]['param_avg'])


def test_a_complex_parameter_is_swapped_too():
    p, opt, path = run_with_average(SGD + genopt.average_param,
                                    dtype=torch.complex128, lr=.1, ema=.5)
    avg = path[0]
    for x in path[1:]: avg = .5 * avg + .5 * x
    with opt.swapped(): torch.testing.assert_close(p.detach(), avg, rtol=1e-12, atol=1e-12)
    assert torch.equal(p, path[-1])


def test_a_swap_in_a_swap_and_of_what_has_another_shape():
    p, opt, _ = run_with_average(genopt.Adafactor + genopt.average_param)
    with opt.swapped():
        with pytest.raises(RuntimeError, match='swapped with their averages already'):
            with opt.swapped(): pass
    with pytest.raises(ValueError,
                       match=r'`row_avg` has the shape \(4, 1\), so it cannot take its place'):
        opt.swap('row_avg')
    opt.step()


def test_an_average_is_of_what_lookahead_left():
    for recipe in (SGD + genopt.average_param + genopt.lookahead,
                   SGD + genopt.lookahead + genopt.average_param):
        p, opt, _ = run_with_average(recipe, lr=.1, ema=0.)
        torch.testing.assert_close(opt.state[p]['param_avg'], p.detach(), rtol=1e-12, atol=1e-12)
    parts = [genopt.step_count, genopt.sgd_step, genopt.average_param, *genopt.lookahead[1:]]
    with pytest.raises(ContractError, match='`average_param` reads `new_param` before '
                                            '`lookahead_step` has changed'):
        Optimizer([p], parts, lr=.1)


def test_swap_without_an_average():
    p = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError,
                       match='no stat reads `new_param`: add one .* such as `average_param`'):
        AdamW([p]).swap()
    with pytest.raises(ValueError, match='no part keeps `ema`'): AdamW([p]).swap('ema')
    both = AdamW + genopt.lookahead + genopt.average_param
    with pytest.raises(ValueError, match=r"`slow_param` and `param_avg` read `new_param`: "
                                         r"choose one, as in swap\('slow_param'\)"):
        both([p]).swap()
    both([p]).swap('param_avg')


# -- eval and train --------------------------------------------------------------------------------

@genopt.evaluation
def doubled(param, grad_avg, *, by=2.): return param + by * grad_avg
@genopt.evaluation
def wrong(param): return param.sum()
@genopt.scalar
def age(count): return 1 / count
@genopt.evaluation
def aged(new_param, grad_avg, age=age): return new_param + age * grad_avg


@engines
def test_an_average_is_evaluated_until_train(compile):
    p, opt, path = run_with_average(AdamW + genopt.average_param, lr=.1, ema=.8, compile=compile)
    opt.eval(); opt.eval()
    assert torch.equal(p, opt.state[p]['param_avg'])
    with pytest.raises(RuntimeError, match=r'call train\(\) before step\(\)'): opt.step()
    with pytest.raises(RuntimeError, match=r'call train\(\) before load_state_dict\(\)'):
        opt.load_state_dict(opt.state_dict())
    opt.train(); opt.train()
    assert torch.equal(p, path[-1]); opt.step()


@dtypes(torch.float64, torch.bfloat16, torch.complex128)
def test_what_a_formula_says(dtype):
    "It reads the state as a step left it, numbers of it too, and is rounded once."
    wide = torch.complex128 if dtype.is_complex else torch.float64
    for part, factor in ((doubled, 2.), (aged, 1 / 12)):
        parts = [genopt.average_grad, genopt.step_count, genopt.momentum_step, part]
        p, opt, path = run_with_average(partial(Optimizer, parts=parts), lr=.1, dtype=dtype)
        want = path[-1].to(wide) + factor * opt.state[p]['grad_avg'].to(wide)
        with opt.swapped():
            torch.testing.assert_close(p.detach(), want.to(dtype), rtol=.01, atol=.01)
            if dtype != torch.bfloat16: torch.testing.assert_close(p.detach(), want)
        assert torch.equal(p, path[-1])


def test_who_has_no_weights_to_evaluate_has_no_such_methods():
    p, why = nn.Parameter(torch.ones(2)), 'there are no other weights to evaluate, as no stat reads'
    for call in ('eval', 'train'):
        assert not hasattr(AdamW([p]), call)
        with pytest.raises(AttributeError, match=why): getattr(AdamW([p]), call)()
    both = (AdamW + genopt.lookahead + genopt.average_param)([p])
    assert not hasattr(both, 'eval')
    with pytest.raises(AttributeError, match='choose one, as in swap'): both.eval()


def test_a_group_without_an_average_stays_as_it_is():
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    opt = Optimizer([dict(params=[p], parts=genopt.ScheduleFreeSGD), dict(params=[q], parts=SGD)],
                    lr=.1)
    opt.eval(); opt.train()  # before a step there is nothing to evaluate
    for _ in range(3):
        for x in (p, q): x.grad = torch.ones_like(x)
        opt.step()
    before = p.detach().clone(), q.detach().clone()
    with opt.swapped(): assert torch.equal(q, before[1]) and not torch.equal(p, before[0])
    assert torch.equal(p, before[0])


@pytest.mark.parametrize('parts, why', [
    ([genopt.sgd_step, genopt.evaluation(lambda grad: grad)],
     'reads `grad`, and the weights to evaluate are made after a step, of `param` and of what is '
     'kept: keep `grad` in a @stat, and read that'),
    ([genopt.average_grad, genopt.momentum_step, doubled.rename(grad_avg='prev_grad_avg')],
     'reads `prev_grad_avg`, and the weights to evaluate are made after a step'),
    ([genopt.sgd_step, doubled], '`doubled` reads `grad_avg`: add a stat that keeps it'),
    ([genopt.average_grad, genopt.momentum_step, doubled, aged.rename(grad_avg='param')],
     'both say which weights to evaluate: leave one out'),
    ([genopt.average_grad, doubled, genopt.momentum_step],
     '`momentum_step` changes the update after `doubled`, which is only right for what'),
    ([doubled, genopt.average_grad], 'has no step')])
def test_a_formula_that_cannot_be(parts, why):
    with pytest.raises(ContractError, match=why): Optimizer([nn.Parameter(torch.ones(2))], parts,
                                                            lr=.1)


def test_a_formula_of_another_shape():
    with pytest.raises(genopt.PartError, match='`wrong` returned a tensor of shape .*: an '
                                               'evaluation returns the weights to evaluate'):
        Optimizer([nn.Parameter(torch.ones(2))], [genopt.sgd_step, wrong], lr=.1)
