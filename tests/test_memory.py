"""Promise: no kernel reads or writes memory that is not its tensors', whatever was done to them
between two steps.

Tensors lie in a `Field`: one stretch of memory, NaN between them. So what is read beyond a tensor's
end shows in the result, and what is written there shows in the field. torch.optim says what is
right.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import genopt
import pytest
import torch
from genopt import clip_by_global_norm, transform
from genopt.engines import plain
from helpers import random
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

SMALL, LARGE = (24, 30), (366, 360)  # gathered by the eager engine; cut into blocks


@transform(whole=True)
def as_it_is(update): return update * 1


# Each does what torch's Adam does: by a kernel, by a kernel before and after a whole part, after a
# total
RULES = {'elementwise': genopt.Adam, 'whole': genopt.Adam + as_it_is,
         'total': genopt.Adam + clip_by_global_norm.rename(max_norm='most')}
kinds = pytest.mark.parametrize('kind', RULES)


class Field:
    "Memory in which tensors lie, with NaN between them."
    def __init__(self, dtype=torch.float32, size=2**15, gap=300):
        self.memory, self.end, self.gap = torch.full((size,), torch.nan, dtype=dtype), gap, gap

    def put(self, x: Tensor) -> Tensor:
        """A copy of a dense tensor, in the same order of its dimensions. As much is kept free after
        it."""
        place = self.memory.as_strided(x.shape, x.stride(), self.end).copy_(x)
        self.end += 2 * x.numel() + self.gap
        assert self.end < len(self.memory)
        return place

    def remember(self, mine: list[Tensor]) -> None:
        "From now on nothing may change but the elements of these."
        self.free = torch.zeros(len(self.memory), dtype=torch.bool)
        for t in mine:
            if t.untyped_storage().data_ptr() == self.memory.data_ptr() and t.dtype == self.memory.dtype:
                self.free.as_strided(t.shape, t.stride(), t.storage_offset()).fill_(True)
        self.before = self.memory.clone()

    def check(self) -> None:
        moved = (self.memory != self.before) & ~(self.memory.isnan()
                                                 & self.before.isnan()) & ~self.free
        assert not moved.any(), f'{int(moved.sum())} elements have changed that are not a parameter\'s, or its state\'s'


def tensors(opt, p) -> list[Tensor]:
    "What an optimizer remembers of a parameter, but for numbers: the same order in torch and here."
    return [v for v in opt.state[p].values() if isinstance(v, Tensor) and v.dim()]


def put_state(opt, p, field: Field) -> None:
    for k, v in opt.state[p].items():
        if isinstance(v, Tensor) and v.dim(): opt.state[p][k] = field.put(v)


ENGINES = 'plain', 'eager', 'compiled'


def run_by(engine, recipe, ps, **kwargs):
    opt = recipe(ps, compile=engine == 'compiled', **kwargs)
    if engine == 'plain': opt.engine = plain.run
    return opt


def ours(kind: str, engine: str) -> Callable:
    return lambda ps: run_by(engine, RULES[kind], ps, lr=.1,
                             **({'most': 1e9} if kind == 'total' else {}))


def theirs(ps): return torch.optim.Adam(ps, lr=.1, foreach=False)


def tale(make, change, shape, dtype=torch.float32, begin=lambda x: x):
    """Two steps, a change of the parameter and its state, and two more. What became of them; or an
    exception."""
    n = math.prod(shape)
    field, grads = Field(dtype, 24 * n + 10**4), Field(dtype, 16 * n + 10**4)
    p = nn.Parameter(field.put(begin(random(0, shape, dtype))))
    opt = make([p])
    def step(i):
        p.grad = grads.put(random(i, p.shape,
                                  p.dtype)) if p.dtype == dtype else random(i, p.shape, p.dtype)
        field.remember([p, *tensors(opt, p)])
        try: opt.step()
        finally: field.check()
    step(0)
    put_state(opt, p, field)
    step(1)
    p.grad = None
    change(p, opt, field)
    try: step(2); step(3)
    except RuntimeError as e: return e
    return [t.detach().clone() for t in (p, *tensors(opt, p))]


def assert_alike(got, want):
    if isinstance(want, Exception):
        assert isinstance(got, Exception), f'it went on, where torch says: {want}'
    else:
        assert not isinstance(got, Exception), got
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=2e-5, atol=1e-6)


# -- cut, grown, turned, viewed --------------------------------------------------------------------

def of_all(fn):
    "The same done to a parameter and its state."
    def change(p, opt, field):
        p.data = fn(p.data)
        for v in tensors(opt, p): v.data = fn(v.data)
    return change


def of_param(fn):
    def change(p, opt, field): p.data = fn(p.data)
    return change


def of_state(fn, which=slice(None)):
    def change(p, opt, field):
        for v in tensors(opt, p)[which]: v.data = fn(v.data)
    return change


def replaced(fn, which=slice(None)):
    def change(p, opt, field):
        names = [k for k, v in opt.state[p].items() if isinstance(v, Tensor) and v.dim()]
        for k in names[which]: opt.state[p][k] = fn(opt.state[p][k])
    return change


def in_new_memory(p, opt, field):
    put_state(opt, p, field)
    p.data = field.put(p.data)


def emptied_and_filled(p, opt, field):
    saved = p.detach().clone()
    p.data = saved.clone()
    p.untyped_storage().resize_(0)
    p.untyped_storage().resize_(saved.nbytes)
    p.data.copy_(saved)


def grown(x):
    "Twice as many rows, from the same address on: what comes in was free."
    res = x.as_strided((2 * x.shape[0], x.shape[1]), x.stride(), x.storage_offset())
    res[x.shape[0]:] = .5
    return res


CHANGES = {
    'rows are cut, in place': of_all(lambda x: x[:5]),
    'rows are cut off in front': of_all(lambda x: x[5:]),
    'columns are cut': of_all(lambda x: x[:, :7]),
    'every second row is left': of_all(lambda x: x[::2]),
    'one row is left': of_all(lambda x: x[:1]),
    'nothing is left': of_all(lambda x: x[:0]),
    'rows are cut, and not in the state': of_param(lambda x: x[:5]),
    'rows are cut, in the state alone': of_state(lambda x: x[:5]),
    'rows are cut, in one state alone': of_state(lambda x: x[:5], slice(1)),
    'one row is left, and not in the state': of_param(lambda x: x[:1]),
    'rows are picked': of_all(lambda x: x[torch.tensor([3, 1, 4, 1, 5])]),
    'grown, in new memory': of_all(lambda x: torch.cat([x, x])),
    'grown, in place': of_all(grown),
    'grown, and not in the state': of_param(grown),
    'turned': of_all(lambda x: x.t()),
    'turned, and not in the state': of_param(lambda x: x.t()),
    'turned in memory alone': of_all(lambda x: x.t().contiguous().t()),
    'the parameter alone is turned in memory': of_param(lambda x: x.t().contiguous().t()),
    'the state alone is turned in memory': of_state(lambda x: x.t().contiguous().t()),
    'flattened': of_all(lambda x: x.view(-1)),
    'flattened, and not in the state': of_param(lambda x: x.view(-1)),
    'viewed to another shape': of_all(lambda x: x.view(x.shape[1], x.shape[0])),
    'viewed, and not in the state': of_param(lambda x: x.view(x.shape[1], x.shape[0])),
    'one more dimension': of_all(lambda x: x.unsqueeze(1)),
    'doubled precision': of_all(lambda x: x.double()),
    'in new memory': in_new_memory,
    'storage emptied and filled': emptied_and_filled,
    'a state with other strides': replaced(lambda v: torch.stack([v, v], -1)[..., 0]),
    'a state of another shape': replaced(lambda v: v.new_zeros(7, 3)),
    'a state of fewer elements': replaced(lambda v: v[:1, :1].clone(), slice(1)),
    'a state that is expanded': replaced(lambda v: v[:1].clone().expand_as(v), slice(1)),
    'state that is removed': lambda p, opt, field: opt.state.clear(),
}


LARGE_TOO = ('rows are cut, in place', 'columns are cut', 'grown, in place',
             'turned', 'turned in memory alone', 'the state alone is turned in memory',
             'viewed to another shape', 'a state with other strides')


@kinds
@pytest.mark.parametrize('change', CHANGES)
def test_whatever_is_done_to_a_parameter(change, kind):
    want = tale(theirs, CHANGES[change], SMALL)
    for engine in ENGINES: assert_alike(tale(ours(kind, engine), CHANGES[change], SMALL), want)


@pytest.mark.parametrize('change', LARGE_TOO)
def test_and_to_a_large_one(change):
    want = tale(theirs, CHANGES[change], LARGE)
    for engine in ENGINES:
        assert_alike(tale(ours('elementwise', engine), CHANGES[change], LARGE), want)


def channels_last(x): return x.to(memory_format=torch.channels_last)


ORDERS = {'channels last': channels_last, 'contiguous': torch.Tensor.contiguous,
          'turned': lambda x: x.transpose(2, 3), 'turned in front': lambda x: x.transpose(0, 1),
          'all turned': lambda x: x.permute(3, 2, 1, 0),
          'cut': lambda x: x[:, :, 1:], 'viewed': lambda x: x.view(3, 4, 6, 6)}


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('of', [of_all, of_param, of_state])
@pytest.mark.parametrize('begin', [lambda x: x, channels_last], ids=['contiguous', 'channels last'])
def test_four_dimensions_in_any_order(begin, of, order):
    def safely(x):
        try: return ORDERS[order](x)
        except RuntimeError: return x  # a view that would take a copy
    want = tale(theirs, of(safely), (4, 3, 6, 6), begin=begin)
    for engine in ENGINES:
        assert_alike(tale(ours('elementwise', engine), of(safely), (4, 3, 6, 6), begin=begin), want)


def halves(seed, shape, dtype=torch.float32):
    "Numbers that are exact in any dtype."
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).to(dtype) / 2


def same_run(makes, begin, steps=4, change=lambda opt, i: None):
    "What each of `makes` does with parameters of `begin`, and the same gradients."
    made = []
    for make in makes:
        ps = begin()
        opt = make(ps)
        for i in range(steps):
            change(opt, i)
            for j, p in enumerate(ps): p.grad = halves(10 * i + j, p.shape)
            opt.step()
        made.append([p.detach() for p in ps])
    return made


def three(ours, theirs, **kwargs):
    "Torch's, which takes parameters in order, and ours by every engine."
    return [partial(theirs, foreach=False, **kwargs),
            *[partial(run_by, engine, ours, **kwargs) for engine in ENGINES]]


# -- counts ----------------------------------------------------------------------------------------

COUNTS = {
    'a whole number': int, 'a number': float,
    'a tensor of another kind': lambda n: torch.tensor(float(n)),
    'a smaller tensor': lambda n: torch.tensor(n, dtype=torch.int32),
    'half precision': lambda n: torch.tensor(n, dtype=torch.float16),
    'a tensor of one element': lambda n: torch.tensor([n]),
    'one of many': lambda n: torch.tensor([-1, n, -1])[1],
    'expanded': lambda n: torch.tensor(n).expand(2)[0],
}


@pytest.mark.parametrize('n', [1, 3])
@pytest.mark.parametrize('kind', COUNTS)
def test_a_count_of_any_kind(kind, n):
    "It is replaced by another, which may get the memory of the old one."
    def change(opt, i):
        if i != 2: return
        for p in opt.param_groups[0]['params']:
            k = 'count' if 'count' in opt.state[p] else 'step'
            count = int(opt.state[p].pop(k))
            opt.state[p][k] = COUNTS[kind](count) if k == 'count' else torch.tensor(float(count))
    want, *got = same_run(three(genopt.Adam, torch.optim.Adam, lr=.1),
                          lambda: [nn.Parameter(halves(i, SMALL)) for i in range(n)], change=change)
    for g in got: torch.testing.assert_close(g, want)


def test_a_number_of_another_kind_in_the_memory_of_the_old_one():
    made = []
    for engine in ENGINES:
        p = nn.Parameter(halves(0, SMALL)); opt = run_by(engine, genopt.NAdam, [p], lr=.1)
        for i in range(4):
            p.grad = halves(i, SMALL)
            if i == 2:
                old = opt.state[p]['mom_product']
                new = torch.zeros(0).set_(old.untyped_storage(), 0, (), ())
                opt.state[p]['mom_product'] = new.fill_(old.item())
            opt.step()
        made.append((p.detach(), opt.state[p]['mom_product'].double()))
    for got in made[1:]: torch.testing.assert_close(got, made[0])


def test_counts_are_written_where_they_lie_and_nowhere_else():
    for engine in ENGINES:
        memory = torch.full((9,), -7)
        ps = [nn.Parameter(halves(i, SMALL)) for i in range(3)]
        opt = run_by(engine, genopt.Adam, ps, lr=.1)
        for i in range(4):
            for p in ps: p.grad = halves(i, SMALL)
            opt.step()
            if i == 1:
                for j, p in enumerate(ps): opt.state[p]['count'] = memory[3 * j + 1].fill_(2)
        assert memory.tolist() == [-7, 4, -7] * 3


# -- a parameter's numbers may be pairs ------------------------------------------------------------

NO_PAIRS = {
    'a real state': replaced(lambda v: v.real.clone(), slice(1)),
    'a real state that is a view': replaced(lambda v: v.real, slice(1)),
    'real states': replaced(lambda v: v.abs()),
    'rows are cut': of_all(lambda x: x[:5]),
    'conjugate': of_param(lambda x: x.conj()),
    'a conjugate state': replaced(lambda v: v.conj(), slice(1)),
}


@kinds
@pytest.mark.parametrize('change', NO_PAIRS)
def test_complex_numbers_beside_real_ones(change, kind):
    want = tale(theirs, NO_PAIRS[change], SMALL, torch.complex64)
    for engine in ENGINES:
        assert_alike(tale(ours(kind, engine), NO_PAIRS[change], SMALL, torch.complex64), want)


@kinds
def test_a_complex_state_of_real_numbers(kind):
    change = replaced(lambda v: v.to(torch.complex64), slice(1))
    for engine in ENGINES:
        assert isinstance(tale(ours(kind, engine), change, SMALL), genopt.PartError)


# -- gradients of every kind -----------------------------------------------------------------------

# Numbers that are exact in any dtype; SGD that is plain, has a whole part, or a total
SUMS = {'elementwise': genopt.SGD, 'whole': genopt.SGD + as_it_is,
        'total': genopt.SGD + clip_by_global_norm.rename(max_norm='most')}


def sgd(kind, p, engine):
    return run_by(engine, SUMS[kind], [p], lr=.25, **({'most': 1e9} if kind == 'total' else {}))


def apart_by_nan(g): return torch.stack([g, torch.full_like(g, torch.nan)], -1)[..., 0]


LAYOUTS = {
    'turned in memory': lambda g: g.t().contiguous().t(),
    'with gaps': apart_by_nan,
    'expanded': lambda g: g[:1].expand_as(g),
    'one number, expanded': lambda g: g[:1, :1].expand_as(g),
    'negated by a mark': torch._neg_view,
    'negated, with gaps': lambda g: torch._neg_view(apart_by_nan(g)),
    'part of a graph': lambda g: g.clone().requires_grad_() * 1,
    'a parameter itself': lambda g: nn.Parameter(g),
}


@pytest.mark.parametrize('order', ['plain first', 'plain last'])
@kinds
@pytest.mark.parametrize('layout', LAYOUTS)
def test_gradients_in_any_layout(layout, kind, order):
    for engine in ENGINES:
        p = nn.Parameter(halves(0, SMALL)); want = p.detach().clone(); opt = sgd(kind, p, engine)
        for i in range(4):
            g = halves(i, SMALL)
            p.grad = LAYOUTS[layout](g) if (i < 2) == (order == 'plain last') else g
            want -= .25 * p.grad.detach()
            opt.step()
        torch.testing.assert_close(p.detach(), want, rtol=0, atol=0)


@pytest.mark.parametrize('dtypes',
                         [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16),
                          (torch.float32, torch.float64), (torch.float64, torch.float32),
                          (torch.float32, torch.float16)], ids=str)
@kinds
def test_gradients_whose_dtype_changes(kind, dtypes):
    for engine in ENGINES:
        for order in (dtypes, dtypes[::-1]):
            p = nn.Parameter(halves(0, SMALL, dtypes[0])); want = p.detach().clone()
            opt = sgd(kind, p, engine)
            for i, dtype in enumerate([order[0], order[0], order[1], order[1], order[0]]):
                g = halves(i, SMALL, dtypes[0])
                want -= .25 * g
                p.grad = g
                if dtype != g.dtype: p.grad.data = g.to(dtype)
                opt.step()
            torch.testing.assert_close(p.detach(), want, rtol=0, atol=0)


@kinds
def test_a_real_gradient_of_complex_numbers(kind):
    "It raises, or does what is meant; it never reads pairs where there are none."
    for engine in ENGINES:
        p = nn.Parameter(torch.ones(SMALL, dtype=torch.complex64)); opt = sgd(kind, p, engine)
        for _ in range(2):
            p.grad = torch.ones_like(p); p.grad.data = torch.ones(SMALL)
            try: opt.step()
            except genopt.PartError: assert (p == 1).all()
            else: assert ((p - 1).imag == 0).all()


@pytest.mark.parametrize('n', [700, 140_000])
@pytest.mark.parametrize('shift', [0, 1, -1])
@kinds
def test_gradients_in_the_memory_of_their_parameter(kind, shift, n):
    "A step is that of a copy of the gradient."
    for engine in ENGINES:
        memory = halves(0, (n + 2,)); p = nn.Parameter(memory[1:-1]); opt = sgd(kind, p, engine)
        for i in range(3):
            p.grad = memory[1 + shift:1 + shift + n] if i else torch.ones(n)
            want = memory.clone(); want[1:-1] -= .25 * p.grad
            opt.step()
            torch.testing.assert_close(memory, want, rtol=0, atol=0)


@kinds
def test_gradients_that_are_the_parameter_turned(kind):
    for engine in ENGINES:
        p = nn.Parameter(halves(0, (24, 24))); opt = sgd(kind, p, engine)
        for i in range(3):
            p.grad = p.data.t() if i else torch.ones(24, 24)
            want = p.detach() - .25 * p.grad
            opt.step()
            assert torch.equal(p.detach(), want)


@kinds
def test_gradients_in_the_memory_of_a_state(kind):
    results = []
    for make in (theirs, *[ours(kind, engine) for engine in ENGINES]):
        p = nn.Parameter(random(0, SMALL, torch.float32)); opt = make([p])
        for i in range(4):
            p.grad = random(i, SMALL, torch.float32) if i < 2 else tensors(opt, p)[1]
            if make is theirs: p.grad = p.grad.clone()  # its squares would change under its hands
            opt.step()
        results.append(p.detach())
    for got in results[1:]: torch.testing.assert_close(got, results[0])


@pytest.mark.parametrize('n', [700, 140_000])
@pytest.mark.parametrize('shift', [0, 1, 100])
def test_gradients_in_the_memory_of_another_parameter(shift, n):
    """Parameters move in order, as in torch: the second one sees what the first one has become, and
    all of it."""
    made = []
    for make in three(genopt.SGD, torch.optim.SGD, lr=.25):
        memory = halves(0, (2 * n,)); a, b = nn.Parameter(memory[:n]), nn.Parameter(halves(1, (n,)))
        opt = make([a, b])
        for i in range(4):
            a.grad, b.grad = halves(i, (n,)), memory[shift:shift + n] if i else torch.ones(n)
            opt.step()
        made.append(torch.cat([memory, b.detach()]))
    for got in made[1:]: torch.testing.assert_close(got, made[0], rtol=0, atol=0)


def test_parameters_may_have_the_same_gradient():
    made = []
    for make in three(genopt.SGD, torch.optim.SGD, lr=.25, momentum=.5):
        ps = [nn.Parameter(halves(i, SMALL)) for i in range(3)]; opt = make(ps)
        for i in range(3):
            ps[0].grad = ps[1].grad = halves(i, SMALL); ps[2].grad = ps[0].grad[:1].expand(SMALL)
            opt.step()
        made.append([p.detach() for p in ps])
    for got in made[1:]: torch.testing.assert_close(got, made[0], rtol=0, atol=0)


# -- tensors that share memory ---------------------------------------------------------------------

SHARED = {
    'the same': lambda m, n: (m[:n], m[:n]),
    'the same, in another shape': lambda m, n: (m[:n], m[:n].view(7, -1)),
    'tied and turned': lambda m, n: (m[:n].view(7, -1), m[:n].view(7, -1).t()),
    'a part of it': lambda m, n: (m[:n], m[n // 2:n]),
    'overlapping': lambda m, n: (m[:n], m[n // 2:n // 2 + n]),
    'a row and a column': lambda m, n: (m[:n].view(7, -1)[2], m[:n].view(7, -1)[:, 3]),
    'three of them': lambda m, n: (m[:n], m[:n], m[:n]),
    'interleaved, and apart': lambda m, n: (m[:2 * n:2], m[1:2 * n:2]),
    'one after another': lambda m, n: (m[:n], m[n:2 * n]),
}


@pytest.mark.parametrize('n', [700, 140_000])
@pytest.mark.parametrize('how', SHARED)
def test_parameters_that_share_memory(how, n):
    "Each moves it, as torch.optim has it."
    makes = three(genopt.SGD, torch.optim.SGD, lr=.25, momentum=.5)
    want, *got = same_run(makes,
                          lambda: [nn.Parameter(x) for x in SHARED[how](halves(0, (2 * n,)), n)])
    for g in got: torch.testing.assert_close(g, want)


@pytest.mark.parametrize('names', [['grad_avg'], ['sqr_avg'], ['grad_avg', 'sqr_avg']], ids=str)
@pytest.mark.parametrize('n', [700, 140_000])
def test_parameters_that_share_a_state(n, names):
    "Each moves it, in the order of parameters."
    theirs = dict(grad_avg='exp_avg', sqr_avg='exp_avg_sq')
    def share(opt, i):
        if i != 1: return
        a, b = opt.param_groups[0]['params']
        for k in names:
            if k not in opt.state[a]: k = theirs[k]
            opt.state[b][k] = opt.state[a][k]
    want, *got = same_run(three(genopt.Adam, torch.optim.Adam, lr=.1),
                          lambda: [nn.Parameter(halves(i, (n,))) for i in range(2)], change=share)
    for g in got: torch.testing.assert_close(g, want)


def test_parameters_that_change_places():
    "Two parameters get each other's data, and keep their state."
    def swap(opt, i):
        a, b = opt.param_groups[0]['params']
        a.data, b.data = b.data, a.data
    want, *got = same_run(three(genopt.Adam, torch.optim.Adam, lr=.1),
                          lambda: [nn.Parameter(halves(i, SMALL)) for i in range(2)], change=swap)
    for g in got: torch.testing.assert_close(g, want)


def test_parameters_that_come_to_share_memory():
    "A tie that is made in the middle of a run, and undone."
    def tie(opt, i):
        a, b = opt.param_groups[0]['params']
        if i == 1: b.data = a.data
        if i == 3: b.data = b.data.clone()
    want, *got = same_run(three(genopt.Adam, torch.optim.Adam, lr=.1),
                          lambda: [nn.Parameter(halves(i, SMALL)) for i in range(2)],
                          steps=5, change=tie)
    for g in got: torch.testing.assert_close(g, want)


# -- the modes that a step is made in --------------------------------------------------------------

START = [random(i, (6, 8), torch.float32) for i in range(2)]
GRADS = [[random(10 * i + j, (6, 8), torch.float32) for j in range(2)] for i in range(3)]


def steps_of(make, steps=3, sparse=False):
    "Where some steps lead from START along GRADS."
    ps = [nn.Parameter(x.clone()) for x in START]
    opt = make(ps)
    for grads in GRADS[:steps]:
        for p, g in zip(ps, grads): p.grad = g.to_sparse(1) if sparse else g.clone()
        opt.step()
    return [p.detach() for p in ps]


@pytest.fixture
def on_meta():
    torch.set_default_device('meta')
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize('engine', ENGINES)
@kinds
def test_a_default_device_is_not_for_what_a_step_needs(kind, engine, on_meta):
    torch.testing.assert_close(steps_of(ours(kind, engine)), steps_of(theirs), rtol=2e-5, atol=1e-6)


@pytest.mark.filterwarnings('ignore:Sparse invariant')  # torch's Adagrad
@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('ours, theirs',
                         [(genopt.Adam + genopt.lazy, torch.optim.SparseAdam),
                          (genopt.SparseAdam, torch.optim.SparseAdam),
                          (genopt.SGD, torch.optim.SGD), (genopt.Adagrad, torch.optim.Adagrad)])
def test_nor_for_sparse_gradients(ours, theirs, engine, on_meta):
    with torch.device('cpu'): want = steps_of(lambda ps: theirs(ps, lr=.1), sparse=True)
    got = steps_of(partial(run_by, engine, ours, lr=.1), sparse=True)
    torch.testing.assert_close(got, want, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize('name', genopt.zoo.__all__)
def test_nor_for_any_recipe(name):
    recipe = getattr(genopt, name)
    makes = [partial(run_by, engine, recipe, lr=.01)
             for engine in ENGINES[:3 if name in WHOLE else 2]]
    want = [steps_of(make) for make in makes]
    with torch.device('meta'): got = [steps_of(make) for make in makes]
    torch.testing.assert_close(got, want, rtol=0, atol=0)


WHOLE = 'Muon', 'Adafactor', 'LAMB'


class Watch(TorchDispatchMode):
    "Writes down which operations there are."
    def __init__(self): super().__init__(); self.seen = []
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func._schema.name.removeprefix('aten::'))
        return func(*args, **(kwargs or {}))


@kinds
def test_who_watches_operations_sees_a_compiled_step(kind):
    make, watched = ours(kind, 'compiled'), []
    def begin(ps):
        opt = make(ps); step = opt.step
        def look():
            with Watch() as mode: step()
            watched.append(mode.seen)
        opt.step = look
        return opt
    torch.testing.assert_close(steps_of(begin), steps_of(make), rtol=2e-5, atol=1e-6)
    assert all({'add_', 'copy_'} & {*seen} or '_foreach_copy_' in seen for seen in watched)


# a total is a number of its graph, which torch refuses
@pytest.mark.parametrize('kind', ['elementwise', 'whole'])
def test_a_graph_of_compiled_steps_has_them_all(kind):
    "Counts go on while it is made, so its second step is a second step."
    def two_steps(make):
        def steps(x, g):
            p = x.clone().requires_grad_()
            opt = make([p])
            for _ in range(2): p.grad = g; opt.step()
            return p.detach()
        return steps
    x, g = START
    for engine in ENGINES:
        graph = make_fx(two_steps(ours(kind, engine)))(x, g)
        torch.testing.assert_close(graph(-2 * g, x), two_steps(theirs)(-2 * g, x),
                                   rtol=2e-5, atol=1e-6)
