"""Promise: averages of the weights are what their formulas say, and change places with the weights
and back.
"""
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
