"""Promise: no kernel reads or writes memory that is not its tensors', whatever was done to them
between two steps.

Tensors lie in a `Field`: one stretch of memory, NaN between them. So what is read beyond a tensor's
end shows in the result, and what is written there shows in the field. torch.optim says what is
right.
"""
import math

import genopt
import pytest
import torch
from helpers import random
from three_engines import SMALL, adam, each_engine, kinds, tensors, torchs_adam
from torch import Tensor, nn

LARGE = 366, 360  # cut into blocks by the eager engine


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

    def remember(self, writable: list[Tensor]) -> None:
        "From now on nothing may change but the elements of these."
        self.free = torch.zeros(len(self.memory), dtype=torch.bool)
        for t in writable:
            mine = t.untyped_storage().data_ptr() == self.memory.data_ptr()
            if mine and t.dtype == self.memory.dtype:
                self.free.as_strided(t.shape, t.stride(), t.storage_offset()).fill_(True)
        self.before = self.memory.clone()

    def check(self) -> None:
        still_nan = self.memory.isnan() & self.before.isnan()
        moved = (self.memory != self.before) & ~still_nan & ~self.free
        n = int(moved.sum())
        assert not n, f'{n} elements have changed that are not a parameter\'s, or its state\'s'


def put_state(opt, p, field: Field) -> None:
    for k, v in opt.state[p].items():
        if isinstance(v, Tensor) and v.dim(): opt.state[p][k] = field.put(v)


def tale(make, change, shape, dtype=torch.float32, begin=lambda x: x):
    """Two steps, a change of the parameter and its state, and two more. What became of them; or an
    exception."""
    n = math.prod(shape)
    field, grads = Field(dtype, 24 * n + 10**4), Field(dtype, 16 * n + 10**4)
    p = nn.Parameter(field.put(begin(random(0, shape, dtype))))
    opt = make([p])
    def step(i):
        p.grad = random(i, p.shape, p.dtype)
        if p.dtype == dtype: p.grad = grads.put(p.grad)
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
@each_engine
def test_whatever_is_done_to_a_parameter(change, kind, engine):
    want = tale(torchs_adam, CHANGES[change], SMALL)
    assert_alike(tale(adam(kind, engine), CHANGES[change], SMALL), want)


@pytest.mark.parametrize('change', LARGE_TOO)
@each_engine
def test_and_to_a_large_one(change, engine):
    want = tale(torchs_adam, CHANGES[change], LARGE)
    assert_alike(tale(adam('elementwise', engine), CHANGES[change], LARGE), want)


def channels_last(x): return x.to(memory_format=torch.channels_last)


ORDERS = {'channels last': channels_last, 'contiguous': torch.Tensor.contiguous,
          'turned': lambda x: x.transpose(2, 3), 'turned in front': lambda x: x.transpose(0, 1),
          'all turned': lambda x: x.permute(3, 2, 1, 0),
          'cut': lambda x: x[:, :, 1:], 'viewed': lambda x: x.view(3, 4, 6, 6)}


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('of', [of_all, of_param, of_state])
@pytest.mark.parametrize('begin', [lambda x: x, channels_last], ids=['contiguous', 'channels last'])
@each_engine
def test_four_dimensions_in_any_order(begin, of, order, engine):
    def safely(x):
        try: return ORDERS[order](x)
        except RuntimeError: return x  # a view that would take a copy
    want = tale(torchs_adam, of(safely), (4, 3, 6, 6), begin=begin)
    assert_alike(tale(adam('elementwise', engine), of(safely), (4, 3, 6, 6), begin=begin), want)


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
@each_engine
def test_complex_numbers_beside_real_ones(change, kind, engine):
    want = tale(torchs_adam, NO_PAIRS[change], SMALL, torch.complex64)
    assert_alike(tale(adam(kind, engine), NO_PAIRS[change], SMALL, torch.complex64), want)


@kinds
@each_engine
def test_a_complex_state_of_real_numbers(kind, engine):
    change = replaced(lambda v: v.to(torch.complex64), slice(1))
    assert isinstance(tale(adam(kind, engine), change, SMALL), genopt.PartError)
