"""Promise: tensors may share memory, and counts may be of any kind and lie anywhere: a step does
what torch does then.
"""
from functools import partial

import genopt
import pytest
import torch
from three_engines import (ENGINES, SMALL, assert_same_run, each_engine, each_rule, half_params,
                           halves, make_rule, run_by)
from torch import nn


def in_all(rule): return [make_rule(rule, engine) for engine in ('torch', *ENGINES)]


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
@each_rule
def test_parameters_that_share_memory(how, n, rule):
    "Each moves it, as torch.optim has it."
    def begin(): return [nn.Parameter(x) for x in SHARED[how](halves(0, (2 * n,)), n)]
    assert_same_run(in_all(rule), begin)


@pytest.mark.parametrize('names', [['grad_avg'], ['sqr_avg'], ['grad_avg', 'sqr_avg']], ids=str)
@pytest.mark.parametrize('n', [700, 140_000])
@each_rule
def test_parameters_that_share_a_state(n, names, rule):
    "Each moves it, in the order of parameters."
    theirs = dict(grad_avg='exp_avg', sqr_avg='exp_avg_sq')
    def share(opt, i):
        if i != 1: return
        a, b = opt.param_groups[0]['params']
        for k in names:
            if k not in opt.state[a]: k = theirs[k]
            opt.state[b][k] = opt.state[a][k]
    assert_same_run(in_all(rule), partial(half_params, 2, (n,)), change=share)


@each_rule
def test_parameters_that_come_to_share_memory(rule):
    "A tie that is made in the middle of a run, and undone."
    def tie(opt, i):
        a, b = opt.param_groups[0]['params']
        if i == 1: b.data = a.data
        if i == 3: b.data = b.data.clone()
    assert_same_run(in_all(rule), partial(half_params, 2, SMALL), steps=5, change=tie)


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
@each_rule
def test_a_count_of_any_kind(kind, n, rule):
    "It is replaced by another, which may get the memory of the old one."
    def change(opt, i):
        if i != 2: return
        for p in opt.param_groups[0]['params']:
            k = 'count' if 'count' in opt.state[p] else 'step'
            count = int(opt.state[p].pop(k))
            opt.state[p][k] = COUNTS[kind](count) if k == 'count' else torch.tensor(float(count))
    assert_same_run(in_all(rule), partial(half_params, n, SMALL), change=change)


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


@each_engine
def test_counts_are_written_where_they_lie_and_nowhere_else(engine):
    memory = torch.full((9,), -7)
    ps = half_params(3, SMALL)
    opt = run_by(engine, genopt.Adam, ps, lr=.1)
    for i in range(4):
        for p in ps: p.grad = halves(i, SMALL)
        opt.step()
        if i == 1:
            for j, p in enumerate(ps): opt.state[p]['count'] = memory[3 * j + 1].fill_(2)
    assert memory.tolist() == [-7, 4, -7] * 3
