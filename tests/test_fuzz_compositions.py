"""Promise: whatever parts are put together, the engines do what the parts do by hand; or a sentence
says what is wrong.

Each example is a random list of parts, of all that genopt has and of some that users might write,
or a recipe with random modifiers. The eager engine agrees bit for bit, the compiled one to
rounding. Far more:

    GENOPT_FUZZ=1000 python -m pytest tests/test_fuzz_compositions.py -n 0 [--hypothesis-seed=1]
"""
import random
import warnings

import genopt
import torch
from fuzzing import assert_near, fuzz, is_sentence
from genopt import Optimizer, gate, scalar, stat, step, total, transform
from genopt.catalogue import every_part, modifiers
from genopt.engines import plain
from genopt.engines.work import Work
from genopt.numbers import read
from genopt.contract import REQUIRED
from genopt.part import Part
from helpers import RECIPES
from helpers import random as noise
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

# -- parts that users might write ------------------------------------------------------------------

@stat(init=0)
def ticks(ticks): return ticks + 1
@stat(init=1.)
def faded(faded, *, mom=.9): return faded * mom
@stat(init=lambda *, lr: lr)
def peak_lr(peak_lr, ticks, *, lr): return max(peak_lr, lr / ticks)
@stat(init=lambda param: torch.zeros_like(param, dtype=torch.bool))
def was_up(was_up, grad): return (grad > 0) | (was_up & (grad == 0))
@stat(init=lambda param: param.float())
def trail(trail, new_param, *, ema=.9): return trail.lerp(new_param, 1 - ema)
@stat(whole=True)
def row_mean(row_mean, grad): return row_mean.lerp(grad.mean().expand_as(grad), .3)
@stat(init=lambda param: param.sum())
def whole_sum(whole_sum, grad): return whole_sum + grad.sum()
@stat
def last_update(last_update, update): return update
@stat
def grad_now(grad_now, raw_grad): return raw_grad
@scalar
def warm(ticks): return min(1., ticks / 3)
@scalar
def odd(ticks, faded): return faded if ticks % 2 else -faded
@scalar
def kept_apart(ticks, *, beta=.5): return 1 - beta**ticks
@total
def grad_size(grad): return grad.abs().sum()
@total
def moved(param, raw_grad): return (param * raw_grad).sum()
@scalar
def per_size(size=grad_size): return 1 / (1 + size)
@gate
def sometimes(ticks): return ticks % 3 != 2
@gate
def not_huge(size=grad_size): return size < 40
@stat(init=0)
def refused(refused, size=grad_size): return refused + (size > 40)
@transform
def squashed(grad): return grad.tanh()
@transform
def pulled(grad, param, *, wd=.1): return grad + wd * param
@transform(switch='wd')
def pulled_if(grad, param, *, wd=0.): return grad + wd * param.sign()
@transform
def by_size(grad, share=per_size): return grad * share
@transform
def masked(update, was_up): return torch.where(was_up, update, update * .5)
@transform
def returned(grad): return grad
@transform(whole=True)
def centred(update): return update - update.mean()
@step
def warmed(grad, share=warm, *, lr): return -lr * share * grad
@step
def both_ways(grad, turn=odd, *, lr): return -lr * turn * grad
@step
def along_last(prev_last_update, *, mom=.9): return mom * prev_last_update
@step
def back(param, trail, *, slow=.1): return slow * (trail - param)
@step
def by_rows(row_mean, *, lr): return -lr * row_mean
@step
def by_total(raw_grad, all_moved=moved, *, lr): return -lr * raw_grad / (1 + abs(all_moved))
@step
def looked_ahead(new_param, share=kept_apart, *, lr): return -lr * share * new_param
@transform
def undeclared(grad): return grad / (1 + grad.abs().max())  # wrong: it is not elementwise

OWN = [v for v in globals().values() if isinstance(v, Part)]
LIBRARY = [*every_part()]
POOL = [*OWN, *LIBRARY]
STEPS = [p for p in POOL if p.kind == 'step']


def composed(rng):
    """A list of parts: some at random, what they read before them, at times in disorder; where
    names clash, renamed."""
    found, made = [], {}
    def add(part, depth=0):
        for p in [part, *part.links.values()]:
            for name in p.reads:
                name = name.removeprefix('prev_')
                makers = [q for q in POOL if q.out == name
                          and q.kind in ('stat', 'scalar', 'total') and q != part]
                if name not in made and makers and depth < 4: add(rng.choice(makers), depth + 1)
        if part.kind == 'stat':
            if made.get(part.out, part) != part:
                part = part.rename(**{part.out: f'{part.out}_{len(found)}'})
            made[part.out] = part
        if part not in found: found.append(part)
    for part in rng.sample(POOL, rng.randint(1, 4)) + rng.sample(STEPS, rng.choice([1, 1, 2])):
        add(part)
    gates = [p for p in found if p.kind == 'gate']
    numbers = [p for p in found if p.kind == 'stat' and p.is_number]
    if rng.random() < .8:
        found = [*numbers, *gates, *(p for p in found if p not in numbers and p not in gates)]
    if rng.random() < .5: found.sort(key=lambda p: 'update' in p.reads or 'new_param' in p.reads)
    if rng.random() < .1: rng.shuffle(found)
    if rng.random() < .1: found.pop(rng.randrange(len(found)))
    if rng.random() < .1: i = rng.randrange(len(found)); found[i] = renamed(found[i], rng)
    return found


def renamed(part, rng):
    names = sorted(part.known_names)
    new = rng.choice(['other', 'grad_avg', 'lr', 'mom2', 'update'])
    return part.rename(**{rng.choice(names): new}) if names else part


def modified(rng):
    recipe = rng.choice(RECIPES)
    for name in rng.sample([*modifiers()], rng.randint(1, 3)): recipe = recipe + modifiers()[name]
    if rng.random() < .3:
        recipe = recipe + rng.choice([p for p in OWN if p.kind in ('transform', 'step')])
    return recipe


def params(dtype, matrices):
    shapes = [(5, 4), (7,), (), (0, 3), (3, 2, 2, 2), (7,), (6, 4), (120, 90)]
    if matrices: shapes = [(5, 4), (4, 6), (3, 3), (5, 4), (1, 2)]
    xs = [noise(i, s, dtype) for i, s in enumerate(shapes)]
    xs[4] = xs[4].to(memory_format=torch.channels_last) if xs[4].dim() == 4 else xs[4]
    xs[1] = torch.stack([xs[1], xs[1]], -1)[..., 0]
    xs[-1] = xs[-1].t().contiguous().t()
    return [nn.Parameter(x) for x in xs]


# -- by hand ---------------------------------------------------------------------------------------

def by_hand(c, hypers, ps, states):
    """One step of all parameters, as ARCHITECTURE.md has it: totals first, then each parameter in
    its own shape."""
    rows, given = [], dict(hypers)
    for i, (p, s) in enumerate(zip(ps, states)):
        dtypes = {t.dtype for t in (p, *s.values()) if isinstance(t, torch.Tensor)}
        wide = torch.float64 if torch.float64 in dtypes else torch.float32
        cast = {k: v.to(wide) if isinstance(v, torch.Tensor) and v.is_floating_point() else v
                for k, v in s.items()}
        rows.append((i, p.detach().to(wide), p.grad.to(wide), cast))
    waiting = [*c.totals]
    while waiting:
        k = next(k for k in waiting
                 if not any(q.kind == 'total' and q.out in waiting for q in c.before[k]))
        waiting.remove(k)
        shares = []
        for i, param, grad, cast in rows:
            numbers = c.numbers(cast, given, c.totals[k])
            if not c.is_closed(numbers):
                shares.append(c.total(c.totals[k], param, grad, cast, {**numbers, 'place': i}))
        given[k] = torch.stack(shares).double().sum().item() if shares else 0
    grads = [p.grad for p in ps]
    with torch.no_grad():
        plain.run(Work(c, given, ps, grads, states, str, places=range(len(ps))).gather())
    for s in states: s.update({k: read(s[k]) for k in c.number_stats})


def attempt(make):
    "What `make` returns; or None, if genopt refuses with a sentence."
    try: return make()
    except (TypeError, ValueError, genopt.PartError) as e:
        assert is_sentence(e), repr(e)
        return None


def check(seed, compile, dtype):
    "True if it could be made, and has agreed in three steps."
    rng = random.Random(seed)
    made = attempt(lambda: modified(rng) if rng.random() < .3
                   else genopt.Composition(composed(rng)))
    if made is None: return False
    c = made if isinstance(made, genopt.Composition) else made.rule().composition
    matrices = any(p.needs == 'matrix' for p in c.ordered) or rng.random() < .2
    ps, qs = params(dtype, matrices), params(dtype, matrices)
    hypers = {k: rng.choice([.05, .3]) for k, v in c.hypers.items() if v is REQUIRED}
    opt = attempt(lambda: Optimizer(ps, made, compile=compile, **hypers))
    if opt is None: return False
    values = opt.param_groups[0].hypers()
    states = [c.init(q, values) for q in qs]
    for t in range(3):
        for i, (p, q) in enumerate(zip(ps, qs)):
            p.grad = noise(100 * t + i, p.shape, dtype)
            q.grad = p.grad.clone()
        try: by_hand(c, values, qs, states)
        except Exception as e: failed = e
        else: failed = None
        try: opt.step()
        except Exception as e:
            assert failed and is_sentence(e), f'{c}: {e!r}, and by hand {failed!r}'
            return False
        assert not failed, f'{c}: {failed!r} by hand, and no error'
        for p, q, s in zip(ps, qs, states): assert_as_by_hand(c, opt, p, q, s, compile)
    return True


def by_table(c):
    "True if it has a function whose last bit depends on where in a vector an element stands."
    return any(p.__name__ in ('madgrad_step', 'squashed') for p in c.parts)


TOL = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: .05}


def assert_as_by_hand(c, opt, p, q, state, compile):
    "The compiled engine goes on from the plain result, so that only one step's rounding is seen."
    assert {*opt.state[p]} == {*state}
    exact = not compile and not c.totals and not by_table(c)
    for k, a, b in [('param', p, q), *[(k, opt.state[p][k], v) for k, v in state.items()]]:
        what = f'{c}: {k} of {tuple(p.shape)}'
        if not isinstance(b, torch.Tensor):
            near = abs(a.item() - b) <= 1e-12 * abs(b) and c.totals
            assert a.item() == b or near or b != b, f'{what}: {a} and {b}'
            continue
        assert_near(a, b, 0 if exact else TOL[p.dtype], what)
        if compile: a.detach().copy_(b.detach())


SEEDS = st.integers(0, 2**30)


@fuzz(200)
@given(SEEDS, st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_the_eager_engine_does_what_parts_do_by_hand(seed, dtype): check(seed, False, dtype)


@fuzz(60)
@given(SEEDS, st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_the_compiled_engine_does_what_parts_do_by_hand(seed, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # it may say that it is not compiled
        check(seed, True, dtype)
