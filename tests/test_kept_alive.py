"""Promise: what its owner has let go of is freed, and nothing grows with what a run does, however
long it is."""
from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from functools import partial

import genopt
import pytest
import torch
from genopt import Optimizer, sgd_step, stat, transform
from genopt.engines import compiled, plan
from helpers import engines, random, random_param, random_step
from three_engines import run_by

makers = pytest.mark.parametrize('make', [
    partial(run_by, 'eager', genopt.Adam, lr=.1), partial(genopt.Adam, lr=.1, compile=True),
    partial(genopt.Adam + genopt.clip_by_global_norm, lr=.1, compile=True),
    partial(genopt.LAMB, lr=.1, compile=True), partial(genopt.Muon, lr=.1, compile=True)],
    ids=['eager', 'compiled', 'total', 'norm', 'matrix'])


@pytest.fixture(scope='module', autouse=True)
def quick_collections():
    "What is there already is not looked at."
    gc.collect(); gc.freeze()
    yield
    gc.unfreeze()


param = partial(random_param, shape=(6, 4))


def tensors(opt):
    return [v for s in opt.state.values() for v in s.values() if isinstance(v, torch.Tensor)]


def alive(refs):
    gc.collect()
    return sum(r() is not None for r in refs)


# -- tensors ---------------------------------------------------------------------------------------

@makers
def test_parameters_that_are_replaced_are_freed(make):
    "By others, twenty times, as in densifying; their state goes with them, and their gradients."
    p = param(); opt = make([p]); old = []
    for i in range(20):
        random_step(opt, i)
        new = random_param(i, (6 + i, 4)); state = opt.state.pop(p)
        old += [weakref.ref(t)
                for t in (p, p.grad, *(v for v in state.values() if isinstance(v, torch.Tensor)))]
        opt.state[new] = {k: v.new_zeros(new.shape) if v.dim() else v.clone()
                          for k, v in state.items()}
        opt.param_groups[0]['params'][0] = p = new
    del state, new
    random_step(opt)
    assert len(old) >= 60 and alive(old) == 0


@makers
def test_and_without_a_garbage_collection(make):
    "No circle of references keeps them until then."
    p = param(); opt = make([p]); random_step(opt); random_step(opt, 1)
    refs = [weakref.ref(t) for t in (p, *tensors(opt))]
    gc.disable()
    try:
        opt.state.clear(); opt.param_groups[0]['params'] = []; p = None
        assert not [r for r in refs if r() is not None]
    finally: gc.enable()


@makers
def test_state_that_is_cleared_is_freed(make):
    p = param(); opt = make([p]); random_step(opt); random_step(opt, 1)
    refs = [weakref.ref(v) for v in tensors(opt)]; opt.state.clear()
    assert refs and alive(refs) == 0
    random_step(opt, 2)
    refs = [weakref.ref(v) for v in tensors(opt)]; opt.state[p] = {}
    assert alive(refs) == 0
    random_step(opt, 3)
    refs = [weakref.ref(v) for v in tensors(opt)]; opt.load_state_dict(opt.state_dict())
    assert alive(refs) == 0
    refs = [weakref.ref(p.grad)]; opt.zero_grad()
    assert alive(refs) == 0


def in_memory_of_its_own(x):
    "A copy, and a reference to its memory, which lives as long as any view of it."
    array = x.detach().numpy().copy()
    return torch.from_numpy(array), weakref.ref(array)


@makers
def test_memory_that_is_replaced_is_freed(make):
    "By other memory in the same tensors: nothing has kept a view of it."
    ps = [param(i) for i in range(3)]; opt = make(ps); random_step(opt); random_step(opt, 1)
    kept, grads = [], []
    for t in ps + tensors(opt): t.data, ref = in_memory_of_its_own(t); kept.append(ref)
    for i in range(3):
        for p in ps: p.grad, ref = in_memory_of_its_own(random_param(i, p.shape)); grads.append(ref)
        opt.step()
    assert alive(kept) == len(kept) >= 6 and alive(grads) == 3
    for t in ps + tensors(opt): t.data = t.data.clone()
    for p in ps: p.grad = None
    assert alive(kept + grads) == 0
    random_step(opt, 2)


@makers
def test_an_optimizer_that_is_deleted_frees_all_that_it_had(make):
    p = param(); opt = make([p]); random_step(opt); random_step(opt, 1)
    genopt.Schedule(opt, 10, lr=genopt.linear(.1, 0.)); random_step(opt, 2)
    opt.register_step_post_hook(lambda opt, args, kwargs: None)
    repr(opt); opt.state_dict()
    refs = [weakref.ref(x) for x in (opt, p, *tensors(opt))]
    del opt, p
    assert alive(refs) == 0


@makers
def test_a_closure_and_what_it_holds_is_freed(make):
    p = param(); opt = make([p])
    class Big: pass
    def closure(big):
        p.grad = torch.ones_like(p); return big
    big = Big(); ref = weakref.ref(big)
    opt.step(partial(closure, big)); del big
    assert alive([ref]) == 0


@makers
def test_a_failed_step_keeps_nothing(make):
    p = param(); opt = make([p]); random_step(opt)
    q = random_param(1, (6, 4)); opt.param_groups[0]['params'] = [q]
    opt.state[q] = {k: v[:2] if v.dim() else v for k, v in opt.state.pop(p).items()}
    q.grad = torch.ones_like(q)
    try: opt.step()
    except Exception as e: e.__traceback__ = None
    refs = [weakref.ref(x) for x in (p, q, *tensors(opt))]
    opt.param_groups[0]['params'] = []; opt.state.clear(); del p, q
    assert alive(refs) == 0


def test_rows_of_sparse_gradients_are_freed():
    p = param(); opt = genopt.SGD([p], lr=.1); refs = []
    for _ in range(3):
        p.grad = torch.sparse_coo_tensor([[1, 3]], torch.ones(2, 4), p.shape, check_invariants=True)
        opt.step(); refs.append(weakref.ref(p.grad)); p.grad = None
    assert alive(refs) == 0


# -- compositions, parts and kernels ---------------------------------------------------------------

def defined_here(k: float, whole: bool=False):
    "Parts that nobody else knows."
    @stat
    def average_here(here_avg, grad, *, mom=.9): return here_avg.lerp(grad, 1 - mom)
    @transform(whole=whole)
    def scale_here(grad, here_avg): return grad + k * here_avg
    return [average_here, scale_here, sgd_step]


@pytest.mark.parametrize('whole', [False, True], ids=['elementwise', 'whole'])
@engines
def test_parts_that_are_defined_in_a_function_are_freed(compile, whole):
    parts = defined_here(.5, whole); p = param()
    opt = Optimizer([p], parts, lr=.1, compile=compile); random_step(opt); random_step(opt, 1)
    refs = [weakref.ref(x) for x in (opt.param_groups[0].composition,
                                     *parts[:2], *(q.fn for q in parts[:2]))]
    del opt, parts
    assert alive(refs) == 0


@engines
def test_recipes_that_are_made_in_a_function_are_freed(compile):
    def made():
        @genopt.recipe(lr=.1)
        def Mine(): return defined_here(.5)
        recipe = Mine + genopt.clip_by_norm
        opt = recipe([param()], compile=compile); random_step(opt); repr(opt)
        return [weakref.ref(x) for x in (Mine, recipe, recipe.rule().composition, opt)]
    assert alive(made()) == 0


def test_an_equal_rule_keeps_the_programs_of_one_that_is_freed(no_kernels):
    parts = defined_here(.5, whole=True)
    first, second = (Optimizer([random_param(0, (5, 7)), random_param(1, (4, 2))], parts, lr=.1)
                     for _ in range(2))
    assert first.param_groups[0].composition is not second.param_groups[0].composition
    for opt in (first, second): random_step(opt)
    def programs(opt): return {u.program for u in opt.engine.last.batches[0][1].units[None, b'']}
    same = programs(first)
    assert same == programs(second) and len(same) == 1
    del opt, first; gc.collect()
    second.engine.plans.clear()
    random_step(second, 1)
    assert programs(second) == same


def caches() -> int:
    """The sizes of all dicts, sets, lists and lru_caches at the top of genopt's modules and in its
    classes."""
    total, seen = 0, set()
    for name, module in [*sys.modules.items()]:
        if not name.startswith('genopt'): continue
        for owner in (module, *(x for x in vars(module).values() if isinstance(x, type))):
            for x in vars(owner).values():
                if id(x) in seen: continue
                seen.add(id(x))
                if isinstance(x, (dict, set, list, weakref.WeakKeyDictionary)): total += len(x)
                if hasattr(x, 'cache_info'): total += x.cache_info().currsize
    return total


def count() -> int:
    gc.collect()
    return len(gc.get_objects())


def assert_no_growth(do, times):
    """After `times` more calls of `do` there are no more objects, but for a few of Python's own,
    and no more entries in genopt's caches."""
    seen = []
    for i in range(3 * times):
        do(i)
        if i % times == times - 1: seen.append((count(), caches()))
    assert min(b[0] - a[0] for a, b in zip(seen, seen[1:])) < 20
    assert seen[-1][1] == seen[-2][1]


@engines
def test_nothing_grows_with_parts_and_recipes_that_are_made(compile):
    def do(i):
        opt = Optimizer([param()], defined_here(.5), lr=.1, compile=compile); random_step(opt)
        opt = (genopt.Adam + defined_here(.5)[:2])([param()]); random_step(opt)
    assert_no_growth(do, 20)


@makers
def test_nothing_grows_with_optimizers(make):
    def do(i):
        opt = make([param(), param()]); random_step(opt); random_step(opt, 1)
        opt.load_state_dict(opt.state_dict())
        opt.add_param_group({'params': [param(2)]}); random_step(opt, 2)
    assert_no_growth(do, 20)


@engines
def test_nothing_grows_with_options_that_are_toggled(compile):
    opts = [genopt.SGD([param(), param()], lr=.1, compile=compile),
            genopt.Adam([param(), param()], compile=compile),
            genopt.RMSprop([param(), param()], compile=compile)]
    def do(i):
        for on in (True, False):
            opts[0].param_groups[0].update(momentum=.9 * on)
            opts[0].param_groups[0]['weight_decay'] = .1 * on
            opts[1].param_groups[0]['amsgrad'] = on
            opts[1].param_groups[0]['decoupled_weight_decay'] = on
            opts[2].param_groups[0]['momentum'] = .9 * on; opts[2].param_groups[0]['centered'] = on
            for opt in opts: opt.param_groups[0]['maximize'] = on; random_step(opt, i)
    assert_no_growth(do, 10)


@makers
def test_nothing_grows_with_steps_and_values(make):
    ps = [param(), param(1)]; opt = make(ps)
    def do(i):
        for j in range(20):
            opt.param_groups[0]['lr'] = .1 / (1 + 20 * i + j)
            if 'betas' in opt.param_groups[0]:
                opt.param_groups[0]['betas'] = 1 - 1 / (2 + 20 * i + j), .999
            opt.set_hyper('wd', 1e-4 * (20 * i + j))
            random_step(opt, j)
    assert_no_growth(do, 10)


@engines
def test_nothing_grows_with_the_values_of_a_momentum_that_is_an_option(compile):
    opt = genopt.SGD([param(), param()], lr=.1, momentum=.5, compile=compile)
    def do(i):
        for j in range(40):
            opt.param_groups[0]['momentum'] = 1 - 1 / (2 + 40 * i + j); random_step(opt, j)
    assert_no_growth(do, 5)


@makers
def test_nothing_grows_with_sets_of_gradients_shapes_and_places(make):
    """Which parameters have a gradient changes in every step; and where tensors lie, and their
    shapes."""
    ps = [random_param(i, (4 + i, 4)) for i in range(6)]; opt = make(ps)
    def do(i):
        for j in range(12):
            for k, p in enumerate(ps):
                p.grad = random(j, p.shape, p.dtype) if (i * 12 + j) * 7 % 64 >> k & 1 else None
            if j == 5:
                for p in ps: p.data = p.data.clone()
            opt.step()
    assert_no_growth(do, 8)


def grown_memory(do, steps):
    "Bytes of Python's own that have come to be in the second half of the steps."
    tracemalloc.start()
    try:
        for i in range(steps // 2): do(i)
        gc.collect(); before, _ = tracemalloc.get_traced_memory()
        for i in range(steps // 2, steps): do(i)
        gc.collect(); after, _ = tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    return after - before


@engines
def test_memory_stays_the_same_under_a_schedule(compile):
    p = param(); opt = genopt.AdamW([p], compile=compile)
    genopt.Schedule(opt, 2500, lr=genopt.one_cycle(.1),
                    mom=genopt.cosine(.95, .8), wd=genopt.linear(.1, 0.))
    p.grad = torch.ones_like(p)
    assert grown_memory(lambda i: opt.step(), 2400) < 30_000  # an object a step would be 60_000


@engines
def test_memory_stays_the_same_over_two_thousand_steps_with_sparse_gradients(compile):
    p = param(); opt = genopt.SGD([p], lr=.1, compile=compile)
    genopt.Schedule(opt, 2000, lr=genopt.one_cycle(.1))
    p.grad = torch.sparse_coo_tensor([[1, 3]], torch.ones(2, 4), p.shape, check_invariants=True)
    assert grown_memory(lambda i: opt.step(), 2000) < 10_000


# -- plans -----------------------------------------------------------------------------------------

@pytest.fixture
def made(monkeypatch):
    "An entry for each plan that is made from now on."
    found, make = [], plan.Plan.__init__
    def counted(self, *args): found.append(1); make(self, *args)
    monkeypatch.setattr(plan.Plan, '__init__', counted)
    return found


@pytest.mark.parametrize('groups', [1, 300])
def test_no_plan_is_made_anew_in_a_step_like_the_one_before(groups, made):
    ps = [random_param(i, (3,)) for i in range(groups)]
    opt = genopt.Adam([{'params': [p]} for p in ps], compile=True)
    random_step(opt); random_step(opt, 1)
    assert len(made) == 1  # for all groups
    for i in range(3): random_step(opt, i)
    assert len(made) == 1
    ps[-1].data = ps[-1].data.clone(); random_step(opt)
    assert len(made) == 2
    random_step(opt, 1)
    assert len(made) == 2


def test_plans_of_a_few_sets_of_gradients_are_remembered(made):
    ps = [random_param(i, (3,)) for i in range(4)]; opt = genopt.Adam(ps, compile=True)
    for i in range(12):
        for j, p in enumerate(ps): p.grad = torch.ones(3) if i % 3 == 2 or j % 2 == i % 3 else None
        opt.step()
        if i == 5: made.clear()
    assert not made and sum(map(len, opt.engine.plans.values())) == 3


def test_and_those_of_others_are_forgotten():
    ps = [random_param(i, (3,)) for i in range(6)]; opt = genopt.Adam(ps, compile=True)
    for i in range(1, 64):
        for j, p in enumerate(ps): p.grad = torch.ones(3) if i >> j & 1 else None
        opt.step()
    assert len(opt.engine.plans) == compiled.SETS
    assert max(map(len, opt.engine.plans.values())) <= compiled.PLANS
