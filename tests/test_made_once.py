"""Promise: a `@tensor` is made once in a step that reads it, a scalar may switch parts off, sizes
are numbers, and parts that a function makes are parts: with every engine, explained, and in files.
"""
import math
import pickle

import genopt
import pytest
import torch
from genopt import (Adam, ContractError, Optimizer, PartError, factory, recipe, scalar, sgd_step,
                    stat, step, step_count, tensor, total, transform)
from helpers import random, through_a_file
from test_equations import steps_agree
from three_engines import each_engine, run_by

DOUBLE, SHAPES = torch.float64, ((5, 3), (4, 4), (5, 3), (2, 7))


def eye(param): return torch.diag(torch.arange(1., len(param) + 1, dtype=param.dtype))


@scalar
def due(count, *, every=3): return (count - 1) % every == 0
@stat(init=eye, needs='matrix', stacked=True)
def left(left, grad, *, sqr_mom=.9): return left.lerp(grad @ grad.mT, 1 - sqr_mom)
@stat(init=eye, needs='matrix', switch='due')
def basis(basis, left, due=due):
    return torch.linalg.eigh(left)[1]
@tensor(needs='matrix')
def turned(grad, basis): return basis.mT @ grad, basis
@stat(whole=True)
def turned_sqr(sqr, low=turned, *, sqr_mom=.9): return sqr.lerp(low[0]**2, 1 - sqr_mom)
@step(whole=True)
def turned_step(sqr, low=turned, *, lr):
    return -lr * (low[1] @ (low[0] / (sqr.sqrt() + 1e-8)))


@recipe(lr=.1)
def Turned(): return step_count, left, basis, turned_sqr, turned_step


def by_hand(params, steps, every=3, lr=.1, b=.9):
    "The same rule, written as a loop."
    params = [p.detach().clone() for p in params]
    lefts, sqrs, bases = [*map(eye, params)], [*map(torch.zeros_like, params)], [None] * len(params)
    for t in range(steps):
        for i, p in enumerate(params):
            g = random(10 * t + i, p.shape, DOUBLE)
            lefts[i] = b * lefts[i] + (1 - b) * g @ g.T
            if t % every == 0: bases[i] = torch.linalg.eigh(lefts[i])[1]
            low = bases[i].T @ g
            sqrs[i] = b * sqrs[i] + (1 - b) * low**2
            p -= lr * bases[i] @ (low / (sqrs[i].sqrt() + 1e-8))
    return params


def begin(shapes=SHAPES):
    return [torch.nn.Parameter(random(50 + i, s, DOUBLE)) for i, s in enumerate(shapes)]


def move(opt, params, steps, first=0):
    for t in range(first, first + steps):
        for i, p in enumerate(params): p.grad = random(10 * t + i, p.shape, DOUBLE)
        opt.step()


@each_engine
def test_a_rule_in_a_basis_that_turns_every_third_step(engine):
    params = begin()
    opt = run_by(engine, Turned, params)
    move(opt, params, 10)
    for p, q in zip(params, by_hand(begin(), 10)): assert torch.allclose(p, q, 1e-11, 1e-12)


@each_engine
def test_it_is_made_once_a_step_and_only_where_something_reads_it(engine):
    made = []
    @tensor(whole=True)
    def seen(grad):
        made.append(grad.shape)
        return grad.flip(0)
    @stat(whole=True, switch='due')
    def kept(kept, seen=seen, due=due): return kept + seen
    @transform(whole=True, switch='due')
    def added(grad, seen=seen, due=due): return grad + seen
    params = begin(SHAPES[:1])
    opt = run_by(engine, lambda ps, **kw: Optimizer(ps, [step_count, kept, added, sgd_step], lr=1.,
                                                    **kw), params)
    move(opt, params, 4)  # with every program
    made.clear()
    move(opt, params, 6, 4)
    assert len(made) == 2
    q = begin(SHAPES[:1])[0]
    for i in range(10):
        g = random(10 * i, q.shape, DOUBLE)
        q = q - g - g.flip(0) * (i % 3 == 0)
    assert torch.allclose(params[0], q, 1e-12, 1e-13)


def test_other_steps_have_a_program_without_it():
    params = begin()
    opt = Turned(params, compile=True)
    move(opt, params, 1)
    assert '`basis` runs as it is' in repr(opt)
    move(opt, params, 1)
    assert '`basis`' not in repr(opt) and '`left` runs as it is' in repr(opt)


@each_engine
def test_saved_between(engine):
    params = begin()
    opt = run_by(engine, Turned, params)
    move(opt, params, 5)
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    again = run_by(engine, Turned, others)
    again.load_state_dict(through_a_file(opt.state_dict()))
    for ps, o in ((params, opt), (others, again)): move(o, ps, 4, 5)
    assert all(map(torch.equal, params, others))


# -- who reads it ----------------------------------------------------------------------------------

@tensor
def twice(grad): return 2 * grad
@step
def twice_step(twice=twice, *, lr): return -lr * twice
@tensor(whole=True)
def row_sums(grad): return grad.sum(-1, keepdim=True)
@transform(whole=True)
def centered(grad, sums=row_sums): return grad - sums / grad.shape[-1]
@total
def twice_sum(twice=twice): return twice.sum()
@scalar
def size_of(s=twice_sum): return 1 / (1 + abs(s))
@step
def sized_step(grad, share=size_of, *, lr): return -lr * share * grad


@each_engine
def test_one_of_each_element_and_one_of_rows(engine):
    params = begin()
    move(run_by(engine, Both, params), params, 3)
    for i, (p, q) in enumerate(zip(params, begin())):
        for t in range(3):
            g = random(10 * t + i, q.shape, DOUBLE)
            q = q - .1 * 2 * (g - g.mean(-1, keepdim=True))
        assert torch.allclose(p, q, 1e-12, 1e-13)


@recipe(lr=.1)
def Both(): return centered, twice_step
@recipe(lr=.1)
def Totalled(): return (sized_step,)


def test_they_compile():
    params = begin()
    opt = Both(params, compile=True)
    move(opt, params, 1)
    assert 'kernel: 4 of 4 parts' in repr(opt)


@each_engine
def test_a_total_of_one(engine):
    params = begin()
    move(run_by(engine, Totalled, params), params, 1)
    grads = [random(i, q.shape, DOUBLE) for i, q in enumerate(params)]
    share = 1 / (1 + abs(sum(2 * g.sum() for g in grads)))
    for p, q, g in zip(params, begin(), grads): assert torch.allclose(p, q - .1 * share * g, 1e-12)


def test_what_is_refused():
    @step
    def elementwise(low=turned, *, lr): return -lr * low[0]
    with pytest.raises(ContractError, match='`elementwise` reads `turned`, a tensor of any shape: '
                                            r'say @step\(whole=True\)'):
        Optimizer(begin(), [step_count, left, basis, elementwise], lr=.1)
    @scalar
    def number(low=twice): return low.sum()
    with pytest.raises(ContractError, match='`number` reads `twice`, a tensor, but a scalar'):
        Optimizer(begin(), [number, sgd_step], lr=.1)
    @tensor(whole=True)
    def nothing(grad): return None
    @step(whole=True)
    def nothing_step(made=nothing, *, lr): return -lr
    with pytest.raises(PartError,
                       match='`nothing` returned None: a tensor returns a tensor or a tuple'):
        Optimizer(begin(), [nothing_step], lr=.1)
    @tensor
    def short(grad): return grad[:1]
    @step
    def short_step(short=short, *, lr): return -lr * short
    with pytest.raises(PartError, match=r'`short` returned a tensor of shape \(1, 4\): a tensor '
                                        r'returns a tensor of shape \(5, 4\)'):
        Optimizer(begin(), [short_step], lr=.1)
    with pytest.raises(ContractError, match='`sgd_step` has no hyperparameter|cannot take'):
        sgd_step.fed(lr=twice)
    with pytest.raises(ContractError, match="switch='dew'"):
        @stat(switch='dew')
        def kept(kept, due=due): return kept


# -- sizes -----------------------------------------------------------------------------------------

@scalar
def fan_in(columns, place, *, base=4): return base / columns + .01 * place
@step
def scaled_step(grad, share=fan_in, *, lr): return -lr * share * grad
@step
def rooted_step(param, rows, numel, *, lr): return -lr * param * rows / numel


@recipe(lr=.1)
def Sized(): return step_count, scaled_step, rooted_step


@each_engine
def test_sizes_are_numbers(engine):
    params = begin((*SHAPES, (6,), ()))
    opt = run_by(engine, Sized, params)
    move(opt, params, 3)
    for i, (p, q) in enumerate(zip(params, begin((*SHAPES, (6,), ())))):
        rows = q.shape[0] if q.dim() else 1
        for t in range(3):
            g = random(10 * t + i, q.shape, DOUBLE)
            q = q - .1 * (4 / (q.numel() / rows) + .01 * i) * g - .1 * q * rows / q.numel()
        assert torch.allclose(p, q, 1e-12, 1e-14)
    if engine == 'compiled': assert 'kernel: 2 of 2 parts' in repr(opt)


def test_rows_of_a_sparse_gradient_have_the_sizes_of_their_parameter():
    @step
    def by_rows(grad, rows, *, lr): return -lr * grad / rows
    p = torch.nn.Parameter(torch.zeros(10, 2, dtype=DOUBLE))
    opt = Optimizer([p], [by_rows], lr=1.)
    p.grad = torch.sparse_coo_tensor([[3]], torch.ones(1, 2, dtype=DOUBLE), (10, 2),
                                     check_invariants=True)
    opt.step()
    assert p[3].tolist() == [-.1, -.1] and p.abs().sum().item() == pytest.approx(.2)


def test_a_parameter_of_another_size_takes_its_place():
    p = torch.nn.Parameter(torch.zeros(4, 2, dtype=DOUBLE))
    opt = Sized([p], lr=1.)
    for _ in range(2):
        p.grad = torch.ones_like(p)
        opt.step()
    opt.param_groups[0]['params'][0] = q = torch.nn.Parameter(torch.zeros(4, 8, dtype=DOUBLE))
    q.grad = torch.ones_like(q)
    opt.step()
    assert torch.equal(q, torch.full_like(q, -.5))


# -- parts that a function makes -------------------------------------------------------------------

@factory
def sum_along(axis):
    @stat(init=lambda param: param.new_zeros(param.shape[axis]), needs='matrix')
    def axis_sum(axis_sum, grad): return axis_sum + (grad**2).sum(1 - axis)
    return axis_sum.rename(axis_sum=f'sum_{axis}')
@step(whole=True)
def least_step(grad, sum_0, sum_1, *, lr):
    return -lr * grad / torch.minimum(sum_0[:, None], sum_1).clamp(1e-30).sqrt()


@recipe(lr=.1)
def Covered(): return sum_along(0), sum_along(1), least_step


def test_parts_of_a_factory():
    again = pickle.loads(pickle.dumps(Covered.parts()))
    assert again == Covered.parts() and sum_along(0) == sum_along(0) != sum_along(1)
    params = begin()
    opt = Covered(params)
    move(opt, params, 3)
    for i, (p, q) in enumerate(zip(params, begin())):
        rows, columns = torch.zeros(q.shape[0]), torch.zeros(q.shape[1])
        for t in range(3):
            g = random(10 * t + i, q.shape, DOUBLE)
            rows, columns = rows + (g**2).sum(1), columns + (g**2).sum(0)
            q = q - .1 * g / torch.minimum(rows[:, None], columns).sqrt()
        assert torch.allclose(p, q, 1e-12)


def test_a_part_of_a_plain_function_says_how_to_pickle_it():
    def make():
        @step
        def inner(grad, *, lr): return -lr * grad
        return inner
    with pytest.raises(pickle.PicklingError, match='or decorate the function that makes it with '
                                                   '@factory'):
        pickle.dumps(make())


# -- explanations, watching, files -----------------------------------------------------------------

def test_how_it_reads():
    text = str(Turned.explain().box)
    assert '''
    if (t − 1) mod k = 0:
        basis ← basis(basis, left)
    turned₁ = basisᵀ·g
    turned₂ = basis
    sqr ← β₂·sqr + (1 − β₂)·turned₁²
    θ ← θ − η·(turned₂·(turned₁ / (√sqr + 1e-8)))''' in text


@pytest.mark.parametrize('parts', [Both.parts(), Sized.parts()], ids=['both', 'sized'])
def test_equations_and_algorithm(parts): steps_agree(parts, {'lr': .1})


@pytest.mark.parametrize('rule', [Turned, Both, Totalled, Sized, Covered], ids=lambda r: r.__name__)
def test_in_a_file_of_its_own(rule):
    names = {}
    exec(compile(genopt.export(rule), 'exported.py', 'exec'), names)
    ours, theirs = begin(), begin()
    move(rule(ours, compile=False), ours, 7)
    move(names[rule.__name__](theirs, lr=.1), theirs, 7)
    assert all(map(torch.equal, ours, theirs))


@each_engine
def test_watched(engine):
    params = begin()
    opt = run_by(engine, Turned, params)
    rec = opt.watch(every=1)
    move(opt, params, 4)
    plain = begin()
    move(Turned(plain, compile=False), plain, 4)
    assert all(torch.allclose(p, q, 1e-11) for p, q in zip(params, plain))
    assert all(math.isfinite(r['update_norm']) and r['update_norm'] > 0 for r in rec.rows)


# -- sums ------------------------------------------------------------------------------------------

def test_parts_with_one_scalar_for_a_switch_do_not_replace_each_other():
    @stat(switch='due')
    def old_grad(old, grad, due=due): return grad
    @transform(switch='due')
    def raised(grad, old, due=due): return grad + old
    made = Adam + (step_count, old_grad, raised)
    assert {old_grad, raised, *Adam.parts()} == {*made.parts()}
    params, (q,) = begin(SHAPES[:1]), begin(SHAPES[:1])
    move(made(params, lr=.1, every=2), params, 4)
    other = torch.optim.Adam([q], lr=.1)
    for t in range(4):
        q.grad = random(10 * t, q.shape, DOUBLE) * (1 + (t % 2 == 0))
        other.step()
    assert torch.allclose(params[0], q, 1e-12)


@pytest.mark.parametrize('as_it_is', [False, True])
@pytest.mark.parametrize('compile', [False, None])
def test_a_stat_of_its_own_shape_may_be_what_another_was(compile, as_it_is):
    def square(param): return param.new_zeros(param.shape[0], param.shape[0])
    @stat(init=square, whole=True)
    def left(left, grad): return left + grad @ grad.mT
    @stat(init=square, whole=True)
    def old(old, prev_left):
        return old if as_it_is and bool(prev_left.isnan().any()) else prev_left
    p = torch.nn.Parameter(torch.ones(2, 3))
    opt = genopt.Optimizer([p], [left, old, genopt.sgd_step], lr=.1, compile=compile)
    for _ in range(2):
        p.grad = torch.ones_like(p)
        opt.step()
    assert (opt.state[p]['old'] == 3).all() and (opt.state[p]['left'] == 6).all()
