"""Promise: a modifier does to any recipe what its paper says, on every engine, and stands where it
works.

The references are the formulas in NumPy, put around plain SGD and AdamW by hand.
"""
import genopt
import numpy as np
import pytest
import references as ref
import torch
from genopt import AdamW, ContractError, Optimizer, SGD, average_grad, momentum_step
from helpers import random

ENGINES = pytest.mark.parametrize('compile', [False, True], ids=['eager', 'compiled'])
SHAPES = [(5, 7), (7,), (3, 2, 2)]


def gradient(i, t, shape): return (.2 + t % 5) * random(100 * i + t + 1, shape, torch.float64)


def train(recipe, steps=30, shapes=SHAPES, grad=gradient, **kwargs):
    "Yields the parameters (as arrays) after each step."
    ps = [torch.nn.Parameter(random(i, s, torch.float64)) for i, s in enumerate(shapes)]
    opt = recipe(ps, **kwargs)
    for t in range(steps):
        for i, p in enumerate(ps): p.grad = grad(i, t, p.shape)
        opt.step()
        yield [p.detach().numpy().copy() for p in ps]


def assert_same(ours, theirs, tol=1e-10):
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for x, y in zip(a, b):
            np.testing.assert_allclose(x, y, rtol=tol, atol=tol, err_msg=f'step {step + 1}')


def sgd_of(change, steps=30, lr=.1, shapes=SHAPES):
    "SGD in NumPy, along `change(gradients, parameters, step)`."
    xs = [random(i, s, torch.float64).numpy() for i, s in enumerate(shapes)]
    for t in range(steps):
        gs = change([gradient(i, t, s).numpy() for i, s in enumerate(shapes)], xs, t + 1)
        xs = [x - lr * g for x, g in zip(xs, gs)]
        yield xs


# -- of the gradient -------------------------------------------------------------------------------

def centralized(gs, xs, t):
    return [g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g
            for g in gs]
def by_value(gs, xs, t): return [np.clip(g, -.7, .7) for g in gs]
def by_norm(gs, xs, t): return [g * min(1, 2. / ref.flat_norm(g)) for g in gs]
def by_rms(gs, xs, t): return [g / max(1, np.sqrt(np.mean(g**2)) / 1.2) for g in gs]


def by_global_norm(gs, xs, t):
    size = np.sqrt(sum(ref.flat_norm(g)**2 for g in gs))
    return [g * min(1, 3. / (size + 1e-6)) for g in gs]


def adaptively(gs, xs, t):
    def clipped(g, x):
        axes = tuple(range(1, g.ndim)) or None
        size = lambda a: np.sqrt((a**2).sum(axis=axes, keepdims=True))
        return g * np.minimum(1, .1 * np.maximum(size(x), 1e-3) / size(g))
    return [clipped(g, x) for g, x in zip(gs, xs)]


@ENGINES
@pytest.mark.parametrize('modifier, kwargs, formula', [
    (genopt.centralize, {}, centralized), (genopt.clip_by_value, dict(max_value=.7), by_value),
    (genopt.clip_by_norm, dict(max_norm=2.), by_norm),
    (genopt.clip_by_rms, dict(max_rms=1.2), by_rms),
    (genopt.clip_update_by_rms, dict(max_rms=1.2),
     by_rms),  # of SGD's update over its lr, which is the gradient
    (genopt.clip_by_global_norm, dict(max_norm=3.), by_global_norm),
    (genopt.clip_by_param_norm, dict(max_ratio=.1), adaptively)],
                         ids=lambda o: getattr(o, '__name__', ''))
def test_of_the_gradient(modifier, kwargs, formula, compile):
    assert_same(train(SGD + modifier, lr=.1, compile=compile, **kwargs), sgd_of(formula))


@pytest.mark.parametrize('grouped', [False, True])
def test_the_global_norm_is_torchs(grouped):
    "Over all groups, before any parameter moves; a parameter without a gradient has no part in it."
    shapes = [*SHAPES, (4,)]
    ours, theirs = ([torch.nn.Parameter(random(i, s, torch.float64)) for i, s in enumerate(shapes)]
                    for _ in 'ab')
    groups = lambda ps: [dict(params=ps[:2], lr=.2), dict(params=ps[2:])] if grouped else ps
    opt = (AdamW + genopt.clip_by_global_norm)(groups(ours), lr=.01, max_norm=.5)
    other = torch.optim.AdamW(groups(theirs), lr=.01)
    for t in range(20):
        for i, (p, q) in enumerate(zip(ours, theirs)):
            p.grad, q.grad = (None if (i + t) % 4 == 0 else gradient(i, t, p.shape) for _ in 'ab')
        torch.nn.utils.clip_grad_norm_([q for q in theirs if q.grad is not None], .5)
        opt.step(); other.step()
        for p, q in zip(ours, theirs): torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)


def test_a_norm_over_two_rules_in_one_optimizer():
    ps = [torch.nn.Parameter(torch.zeros(2)) for _ in 'abc']
    clipped = (SGD + genopt.clip_by_global_norm)
    opt = Optimizer([dict(params=ps[:1], parts=clipped),
                     dict(params=ps[1:2], parts=AdamW + genopt.clip_by_global_norm),
                     dict(params=ps[2:], parts=SGD)], lr=1.)
    for p, g in zip(ps, (3., 4., 100.)): p.grad = torch.tensor([g, 0.])
    opt.step()
    # not part of the norm
    assert ps[0][0].item() == pytest.approx(-3 / 5, rel=1e-6) and ps[2][0].item() == -100


@ENGINES
def test_a_total_sees_what_the_parts_before_it_made(compile):
    recipe = SGD + genopt.centralize + genopt.clip_by_global_norm
    assert_same(train(recipe, lr=.1, max_norm=3., compile=compile),
                sgd_of(lambda gs, xs, t: by_global_norm(centralized(gs, xs, t), xs, t)))


@pytest.mark.parametrize('shape', [(6, 6), (4, 9), (9, 4)])
def test_orthogonalize(shape):
    g = random(3, shape, torch.float64)
    o = genopt.orthogonalize(g, ns_a=3.4445, ns_b=-4.775, ns_c=2.0315, ns_steps=5, eps=1e-7)
    s = torch.linalg.svdvals(o)
    # as Newton-Schulz leaves them
    assert o.dtype == torch.float64 and .5 < s.min() and s.max() < 1.3
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    aligned = u.T @ o @ v.T
    # the same singular vectors, to bfloat16
    assert (aligned - aligned.diag().diag()).abs().max() < .05


@ENGINES
def test_noise(compile):
    recipe, shape = SGD + genopt.gradient_noise, (200, 50)
    def run(**kw):
        return [xs[0] for xs in train(recipe, 3, [shape],
                                      lambda i, t, s: torch.full(s, t + 1., dtype=torch.float64),
                                      lr=1., compile=compile, **kw)]
    a, b, other = run(noise=.04, seed=1), run(noise=.04, seed=1), run(noise=.04, seed=2)
    assert all(np.array_equal(x, y) for x, y in zip(a, b)) and not np.allclose(a[0], other[0])
    begin = random(0, shape, torch.float64).numpy()
    for t, (old, new) in enumerate(zip([begin, *a], a), 1):
        noise = old - new - t
        assert abs(noise.std() / (.2 / t**.275) - 1) < .03 and abs(noise.mean()) < .01
    two = [xs for xs in train(recipe, 1, [(50,), (50,)], lr=1., noise=1., compile=compile)][0]
    # parameters of one shape do not share their noise
    assert abs(np.corrcoef(two[0], two[1])[0, 1]) < .5


def test_noise_goes_on_as_if_never_stopped():
    def make(): return torch.nn.Parameter(torch.ones(5))
    def go(opt, p, steps):
        for t in steps: p.grad = torch.full((5,), float(t)); opt.step()
    p, q = make(), make()
    recipe = AdamW + genopt.gradient_noise
    a = recipe([p]); go(a, p, range(6))
    b = recipe([q]); go(b, q, range(3))
    r = torch.nn.Parameter(q.detach().clone()); c = recipe([r]); c.load_state_dict(b.state_dict())
    go(c, r, range(3, 6))
    assert torch.equal(p, r)


@ENGINES
@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_steps_with_a_gradient_that_is_not_finite_do_not_happen(bad, compile):
    recipe = AdamW + genopt.skip_nonfinite + genopt.lookahead
    ps = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 2))]
    opt = recipe([dict(params=ps[:1]), dict(params=ps[1:], lr=.1)], compile=compile)
    for t in range(3):
        for p in ps: p.grad = torch.full_like(p, t + 1.)
        opt.step()
    def state(): return {k: torch.as_tensor(v).clone() for p in ps for k, v in opt.state[p].items()}
    before = [p.detach().clone() for p in ps], state()
    ps[1].grad[0, 1] = bad
    opt.step(); opt.step()
    assert all(torch.equal(p, b) for p, b in zip(ps, before[0]))
    after = state()
    assert after.pop('skipped') == 2 and before[1].pop('skipped') == 0
    assert all(torch.equal(after[k], before[1][k]) for k in after) and after['count'] == 3
    for p in ps: p.grad = torch.ones_like(p)
    opt.step()
    assert opt.state[ps[0]]['count'] == 4 and not torch.equal(ps[0], before[0][0])


@pytest.mark.parametrize('make', [lambda ps: (SGD + genopt.clip_by_value + genopt.skip_nonfinite)(
    ps, lr=.1), lambda ps: Optimizer(ps, [genopt.clip_by_value, *genopt.skip_nonfinite,
                                          genopt.sgd_step], lr=.1)], ids=['sum', 'list'])
def test_what_is_not_finite_is_seen_in_the_gradient_as_it_came(make):
    p = torch.nn.Parameter(torch.ones(2)); opt = make([p])
    p.grad = torch.tensor([1., float('inf')]); opt.step()
    assert torch.equal(p, torch.ones(2)) and opt.state[p]['skipped'] == 1


def test_what_comes_after_a_closed_gate_is_not_asked():
    p = torch.nn.Parameter(torch.ones(3, 2)); p.grad = torch.full_like(p, float('nan'))
    recipe = AdamW + genopt.gradient_noise + genopt.skip_nonfinite + genopt.centralize + genopt.clip_by_global_norm
    opt = recipe([p])
    opt.step()
    assert torch.equal(p, torch.ones(3, 2)) and opt.state[p]['skipped'] == 1
    assert opt.state[p]['count'] == 0
    p.grad = torch.ones_like(p); p.grad[0] = 3.
    opt.step()
    assert opt.state[p]['count'] == 1 and not torch.equal(p, torch.ones(3, 2))


# -- of the update ---------------------------------------------------------------------------------

@ENGINES
def test_cautious_goes_by_the_gradient_as_it_came(compile):
    """Lion's parts put a blend in the gradient's place; the mask is of the gradient itself, as in
    the paper's C-Lion."""
    def formula(x, grads):
        m = np.zeros_like(x)
        for g in grads:
            u = -.01 * np.sign(.9 * m + .1 * g)
            m = .99 * m + .01 * g
            x = x + cautious(u, g, x)
            yield x
    runs = [formula(random(i, s, torch.float64).numpy(),
                    [gradient(i, t, s).numpy() for t in range(30)]) for i, s in enumerate(SHAPES)]
    assert_same(train(genopt.Lion + genopt.cautious, lr=.01, compile=compile),
                (list(xs) for xs in zip(*runs)))


def adamw(x, grads, change, *, lr=.01, wd=.1, inside=True):
    "AdamW in NumPy whose update is changed, with its decay or before it."
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m, v = .9 * m + .1 * g, .999 * v + .001 * g**2
        u = -lr * (m / (1 - .9**t)) / (np.sqrt(v / (1 - .999**t)) + 1e-8)
        x = x + (change(u - lr * wd * x, g, x) if inside else change(u, g, x) - lr * wd * x)
        yield x


def cautious(u, g, x):
    mask = (u * g < 0).astype(float)
    return u * mask / max(mask.mean(), 1e-3)


def cautiously_decayed(u, g, x): return u - .01 * .1 * x * (u * x <= 0)


@ENGINES
@pytest.mark.parametrize('recipe, change, kw', [
    (AdamW + genopt.cautious, cautious, dict(inside=False)),
    (genopt.Adam + genopt.cautious + genopt.weight_decay, cautious, dict(inside=False)),
    (AdamW + genopt.scale_by_trust_ratio,
     lambda u, g, x: u * .01 * ref.flat_norm(x) / ref.flat_norm(u), {}),
    (genopt.Adam + genopt.independent_decay, lambda u, g, x: u - .1 * x, dict(wd=0.)),
    (genopt.Adam + genopt.cautious_decay, cautiously_decayed, dict(wd=0.))],
                         ids=lambda o: getattr(o, '__name__', ''))
def test_of_the_update(recipe, change, kw, compile):
    ours = train(recipe, lr=.01, wd=.1, compile=compile)
    runs = [adamw(random(i, s, torch.float64).numpy(),
                  [gradient(i, t, s).numpy() for t in range(30)], change, **kw)
            for i, s in enumerate(SHAPES)]
    assert_same(ours, (list(xs) for xs in zip(*runs)))


def test_a_decay_takes_the_place_of_another():
    assert (genopt.Adam + genopt.weight_decay).parts() == AdamW.parts()
    assert (AdamW + genopt.l2_reg).parts() == genopt.Adam.parts()
    assert (AdamW + genopt.cautious_decay
            + genopt.independent_decay).parts()[-1] == genopt.independent_decay


def test_lamb_is_adamw_and_a_trust_ratio():
    assert genopt.LAMB.parts() == (AdamW + genopt.scale_by_trust_ratio).parts()


# -- of the weights --------------------------------------------------------------------------------

@ENGINES
def test_lookahead(compile):
    def formula():
        xs = [random(i, s, torch.float64).numpy() for i, s in enumerate(SHAPES)]
        slow = xs
        for t in range(30):
            xs = [x - .1 * gradient(i, t, x.shape).numpy() for i, x in enumerate(xs)]
            if (t + 1) % 4 == 0: slow = xs = [s + .3 * (x - s) for s, x in zip(slow, xs)]
            yield xs
    assert_same(train(SGD + genopt.lookahead, lr=.1, sync_every=4, slow_step=.3, compile=compile),
                formula())


def run_with_average(recipe, steps=12, dtype=torch.float64, **kwargs):
    p = torch.nn.Parameter(random(0, (4, 3), dtype))
    opt, path = recipe([p], **kwargs), [p.detach().clone()]
    for t in range(steps):
        p.grad = gradient(0, t, p.shape).to(dtype)
        opt.step(); path.append(p.detach().clone())
    return p, opt, path


@ENGINES
def test_averages_of_the_weights(compile):
    p, opt, path = run_with_average(AdamW + genopt.average_param, lr=.1, ema=.8, compile=compile)
    ema = path[0]
    for x in path[1:]: ema = .8 * ema + .2 * x
    torch.testing.assert_close(opt.state[p]['param_avg'], ema, rtol=1e-12, atol=1e-12)
    p, opt, path = run_with_average(SGD + genopt.weight_mean, lr=.1, t0=4, compile=compile)
    torch.testing.assert_close(opt.state[p]['param_avg'],
                               torch.stack(path[5:]).mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(opt.state[p]['param_avg'],
                               _swa_utils(path[5:]), rtol=1e-12, atol=1e-12)


def _swa_utils(path):
    model = torch.nn.Linear(3, 4, bias=False, dtype=torch.float64)
    avg = torch.optim.swa_utils.AveragedModel(model)
    for x in path:
        model.weight.data.copy_(x); avg.update_parameters(model)
    return avg.module.weight.data


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_swap(dtype):
    p, opt, _ = run_with_average(AdamW + genopt.average_param, dtype=dtype, lr=.1, ema=.9)
    own, avg = p.detach().clone(), opt.state[p]['param_avg'].clone()
    assert avg.dtype == torch.float32
    with opt.swapped():
        assert torch.equal(p, avg.to(dtype)) and not torch.equal(p, own)
        with pytest.raises(RuntimeError, match=r'swapped with their averages: call swap\(\) '
                                               r'again before step\(\)'):
            opt.step()
    assert torch.equal(p, own) and torch.equal(opt.state[p]['param_avg'], avg)
    opt.step()


def test_a_checkpoint_made_while_swapped_goes_on_as_if_never_stopped():
    recipe = AdamW + genopt.average_param
    p, opt, _ = run_with_average(recipe, lr=.1)
    opt.swap()
    saved, weights = opt.state_dict(), p.detach().clone()
    q = torch.nn.Parameter(weights.clone()); other = recipe([q], lr=.1)
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
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError,
                       match='no stat reads `new_param`: add one .* such as `average_param`'):
        AdamW([p]).swap()
    with pytest.raises(ValueError, match='no part keeps `ema`'): AdamW([p]).swap('ema')
    both = AdamW + genopt.lookahead + genopt.average_param
    with pytest.raises(ValueError, match=r"`slow_param` and `param_avg` read `new_param`: "
                                         r"choose one, as in swap\('slow_param'\)"):
        both([p]).swap()
    both([p]).swap('param_avg')


# -- where they go ---------------------------------------------------------------------------------

@pytest.mark.parametrize('recipe', genopt.recipes(), ids=lambda e: e.name)
def test_every_modifier_goes_with_every_recipe(recipe):
    base = getattr(genopt, recipe.name)
    for name, parts in genopt.modifiers().items():
        new_names = {p.out for p in parts if p not in base.parts()}
        if new_names & {*base.rule().composition.stats}: continue  # ASGD has an average
        new = base + parts
        p = torch.nn.Parameter(torch.ones(3, 3)); p.grad = random(1, (3, 3), torch.float32)
        opt = new([p])
        opt.step(); opt.step()
        assert p.isfinite().all() and not torch.equal(p, torch.ones(3, 3)), name
        replaced = {q for q in base.parts() if q.switch
                    and any(q.switch == p.switch for p in parts)}
        assert {*new.parts()} == {*base.parts(), *parts} - replaced | {*parts}


def test_order():
    many = AdamW + genopt.average_param + genopt.scale_by_trust_ratio + genopt.cautious
    many = many + genopt.clip_by_global_norm + genopt.centralize
    names = [p.__name__ for p in many.parts()]
    assert names == ['clip_by_global_norm', 'centralize',
                     'average_grad', 'average_sqr_grad', 'step_count', 'adam_step',
                     'cautious', 'weight_decay', 'scale_by_trust_ratio', 'average_param']
    lamb = genopt.LAMB + genopt.lazy + genopt.cautious
    assert lamb.parts()[-3:] == (genopt.cautious, genopt.weight_decay, genopt.scale_by_trust_ratio)
    guarded = AdamW + genopt.gradient_noise + genopt.skip_nonfinite
    assert [p.__name__ for p in guarded.parts()][:4] == ['skip_count',
                                                         'finite_only', 'step_count', 'add_noise']


def test_a_sum_is_a_recipe():
    import pickle
    new = genopt.Adam + genopt.cautious
    assert new.__name__ == 'Adam + cautious'
    assert isinstance(new([torch.nn.Parameter(torch.ones(2))]), genopt.Optimizer)
    assert 'amsgrad' in new.options
    assert genopt.average_param in (new + genopt.average_param).parts(amsgrad=True)
    assert pickle.loads(pickle.dumps(new)).parts() == new.parts()
    assert repr(new([torch.nn.Parameter(torch.ones(2))],
                    amsgrad=True)).startswith('Adam + cautious(')


@pytest.mark.parametrize(
    'extra, why', [(AdamW, 'Adam + ... takes a part, or several in a list, and AdamW is a recipe'),
                   (3, 'Adam + ... takes a part, or several in a list, and 3 is none'),
                   ([genopt.cautious, 'x'],
                    "Adam + ... takes a part, or several in a list, and 'x' is none"),
                   (genopt.parts.max_grad.rename(grad_max='sqr_avg'),
                    'recipe `Adam + max_grad[grad_max=sqr_avg]`: `average_sqr_grad` and '
                    '`max_grad[grad_max=sqr_avg]` both keep `sqr_avg`: leave one out, '
                    'or give one another name, `max_grad.rename(grad_max=...)`')])
def test_what_cannot_be_added(extra, why):
    with pytest.raises(ContractError) as e: genopt.Adam + extra
    assert str(e.value) == why


@pytest.mark.parametrize('parts, why', [
    ([genopt.cautious, average_grad, momentum_step],
     '`cautious` reads `update`, and there is none before the first step: put it after one'),
    ([average_grad, momentum_step, *genopt.skip_nonfinite],
     '`finite_only` is a gate, and `average_grad` before it has already remembered this '
     'step: put the gate before `average_grad`, and what it reads before the gate'),
    ([genopt.average_param, average_grad, momentum_step],
     '`average_param` reads `new_param`, and there is none before the first step: put '
     'it after one'),
    ([average_grad, momentum_step, genopt.average_param, genopt.weight_decay],
     '`average_param` reads `new_param` before `weight_decay` has changed the update: '
     'put it last')])
def test_a_place_where_it_cannot_work(parts, why):
    with pytest.raises(ContractError) as e:
        Optimizer([torch.nn.Parameter(torch.ones(2))], parts, lr=.1)
    assert str(e.value) == why


def test_matrix_parts_on_what_is_no_matrix():
    model = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r'`bias` \(shape \(2,\), float32\): `orthogonalize` '
                                         r'is for matrices, and this has 1 dimensions'):
        genopt.Muon(model.named_parameters())
    with pytest.raises(ValueError,
                       match='parameter 0 of group 0 .*: `orthogonalize` takes no complex numbers'):
        genopt.Muon([torch.zeros(2, 2, dtype=torch.complex64, requires_grad=True)])
