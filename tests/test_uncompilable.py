"""Promise: with compile=True, a part that cannot be compiled is refused with its line. By default,
and if it is `whole`, it runs as it is. What no kernel takes goes to the eager engine.
"""
import warnings

import genopt
import pytest
import torch
from genopt import Optimizer, PartError, sgd_step, stat, step, transform
from helpers import assert_close, fast_engines, name_of, param, pickled, random
from torch import nn


# -- parts that cannot be compiled -----------------------------------------------------------------

TABLE = torch.ones(())

@step
def writes_through_out(grad, *, lr):
    return torch.mul(grad, -lr, out=torch.zeros_like(grad))

@step
def writes_into_a_view(grad, *, lr):
    x = grad * -1
    y = x.view(-1); y.mul_(lr)
    return x

@step
def takes_two(grad, *, lr):
    mantissa, _ = grad.frexp()
    return -lr * mantissa

@step
def reads_a_global(grad, *, lr):
    scale = -lr * TABLE
    return scale * grad

@step
def uses_numpy(grad, *, lr): return torch.from_numpy(grad.numpy() * -1.) * lr

UNKNOWN = 'a tensor that is not one of its arguments'
BROKEN = [(reads_a_global, UNKNOWN, 1),
          (uses_numpy, 'asks for the value of a tensor', 0),
          (writes_through_out, 'it writes into a tensor', 1),
          (writes_into_a_view,
           r'it writes into a tensor \(`mul_`\): return a new value, as `mul` does', 2),
          (takes_two, '`frexp` does not return one tensor of the same shape', 1)]


@pytest.mark.parametrize('part, why, line', BROKEN, ids=name_of)
def test_a_part_that_cannot_be_compiled_is_named_with_its_line(part, why, line):
    p = param(3)
    at = f', line {part.fn.__code__.co_firstlineno + 1 + line}'
    with pytest.raises(PartError, match=f'`{part.__name__}` cannot be compiled.*{at}.*{why}'):
        Optimizer([p], [part], lr=.1, compile=True)


@pytest.mark.parametrize('part, why', [case[:2] for case in BROKEN], ids=name_of)
@pytest.mark.parametrize('shape', [(3,), (500, 400)])
def test_by_default_it_runs_as_it_is(part, why, shape):
    "What stands before it and after it is in kernels."
    def moved(compile):
        ps = [param(*shape), param(2, 3)]
        opt = Optimizer(ps, [genopt.l2_reg, part, genopt.weight_decay], lr=.1, wd=.1,
                        compile=compile)
        for i in range(2):
            for j, p in enumerate(ps): p.grad = random(2 * i + j, p.shape, p.dtype)
            opt.step()
        return opt, ps
    opt, ps = moved(None)
    assert_close(ps, moved(False)[1])
    with pytest.raises(AssertionError): assert_close(ps, [param(*shape), param(2, 3)])
    assert f'kernel: 2 of 3 parts; `{part.__name__}` runs as it is: ' in str(opt)


def test_what_looks_at_other_elements_must_say_so_and_then_runs_as_it_is():
    def stacks(grad, *, lr): return -lr * torch.stack([grad, grad]).amax(0)
    p = param(3, grad=1.)
    with pytest.raises(PartError,
                       match='`stacks` does not treat each element alone: it calls `stack`'):
        Optimizer([p], [step(stacks)], lr=.1, compile=True)
    Optimizer([p], [step(whole=True)(stacks)], lr=.1, compile=True).step()
    assert torch.allclose(p, torch.full_like(p, .9))


def test_nothing_has_changed_when_an_option_brings_such_a_part():
    @genopt.recipe(lr=.1)
    def Switching(mom=0.): return [reads_a_global if mom else sgd_step]
    p = param(3, grad=1.)
    opt = Switching([p], compile=True); opt.step()
    before = p.detach().clone()
    opt.param_groups[0]['mom'] = .9
    with pytest.raises(PartError, match=UNKNOWN): opt.step()
    assert torch.equal(p, before)


# -- what no kernel takes --------------------------------------------------------------------------

def test_what_kernels_cannot_take_goes_to_the_eager_engine(no_kernels):
    "Without a warning: tensors with gaps, and a state of another shape."
    @stat(init=lambda p: torch.zeros((), dtype=p.dtype))
    def one_for_all(ticks): return ticks + 1
    @step
    def by_ticks(grad, ticks, *, lr): return -lr * grad / ticks
    gaps, dense = nn.Parameter(torch.ones(4, 6)[:, ::2]), param(4, grad=1.)
    gaps.grad = torch.ones(gaps.shape)
    opt = Optimizer([dense], [one_for_all, by_ticks], lr=.5, compile=True)
    other = genopt.SGD([gaps], .75, compile=True)
    opt.step(); other.step()
    assert (dense == .5).all() and (gaps == .25).all()
    assert 'eager engine: their state has another shape' in str(opt)
    assert 'eager engine: their elements lie in memory with gaps' in str(other)


@pytest.mark.parametrize('compile', [None, True, False])
def test_a_dtype_that_has_no_c(compile):
    p = nn.Parameter(torch.ones(4).to(torch.float8_e5m2))
    p.grad = torch.ones(4).to(p.dtype)
    opt = genopt.SGD([p], lr=.5, compile=compile)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        opt.step()
    assert p.float().eq(.5).all()
    said = ['l2_reg → sgd_step runs in the eager engine, not compiled: there is no C for '
            'torch.float8_e5m2'] if compile else []
    assert [str(w.message) for w in told] == said


# -- a part's switch -------------------------------------------------------------------------------

def test_the_switch_is_checked():
    with pytest.raises(genopt.ContractError, match='switch=\'wdd\': did you mean `wd`'):
        @transform(switch='wdd')
        def decay(grad, param, *, wd=0.): return grad + wd * param
    with pytest.raises(TypeError, match='`compile` = 1: give True, False or None'):
        genopt.Adam([param()], compile=1)


@fast_engines
def test_a_switch_follows_a_new_name_and_a_pickle(compile):
    part = genopt.l2_reg.rename(wd='decay')
    assert part.switch == 'decay' and pickled(part).switch == 'decay'
    inf = nn.Parameter(torch.tensor([float('inf')])); inf.grad = torch.ones(1)
    opt = genopt.SGD([inf], lr=.1, momentum=.9, compile=compile); opt.step()
    assert opt.state[inf]['grad_avg'] == 1  # with wd=0, the parameter is not looked at
