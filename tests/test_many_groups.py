"""Promise: there may be any number of groups, such as one for each tensor, each with values of its
own: a step does what torch does.
"""
import pytest
import torch
from three_engines import each_engine, half_params, halves, make_rule
from torch.nn.utils import parameters_to_vector


def a_run(make, n, steps=3):
    ps = half_params(n, (3, 2))
    opt = make([{'params': [p], 'lr': .1 / (1 + i % 100)} for i, p in enumerate(ps)])
    for i in range(steps):
        for j, p in enumerate(ps): p.grad = halves(n * i + j, p.shape)
        opt.step()
    return parameters_to_vector(ps)


@pytest.mark.parametrize('rule', ['elementwise', 'norm', 'total'])
@each_engine
def test_a_group_for_each_of_hundreds_of_parameters(rule, engine):
    torch.testing.assert_close(a_run(make_rule(rule, engine), 300),
                               a_run(make_rule(rule, 'torch'), 300), rtol=1e-5, atol=1e-6)


def test_thousands_of_groups():
    torch.testing.assert_close(a_run(make_rule('total', 'compiled'), 3000, 2),
                               a_run(make_rule('total', 'torch'), 3000, 2), rtol=1e-5, atol=1e-6)
