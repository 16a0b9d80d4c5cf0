"""Promise: sparse gradients move only what they touch, and are refused by parts that would move the
rest too."""
import genopt
import pytest
import torch
from torch import nn
from genopt import Adam, Optimizer, SGD, Adagrad
from genopt.links import with_links
from helpers import RECIPES, name_of, random

ELEMENTWISE = [r for r in RECIPES if genopt.lazy not in r.parts() and
               not any(p.whole or p.kind == 'total' for p in with_links(r.parts()))]


def lookup(seed=0, n=12, d=3): return torch.nn.Parameter(random(seed, (n, d), torch.float64))


def sparse(rows, d=3, n=12, seed=0):
    return torch.sparse_coo_tensor(torch.tensor([rows]),
                                   random(seed, (len(rows), d), torch.float64),
                                   (n, d), is_coalesced=False, check_invariants=True)


@pytest.mark.parametrize('recipe', [SGD, Adagrad], ids=lambda r: r.__name__)
def test_as_the_same_gradient_dense(recipe):
    p, q = lookup(), lookup()
    opt, other = recipe([p], lr=.1), recipe([q], lr=.1)
    for t in range(8):
        # row 3 twice: they add up
        p.grad = sparse([t, 3, 3, 7], seed=t); q.grad = p.grad.to_dense()
        opt.step(); other.step()
        torch.testing.assert_close(p, q, rtol=1e-13, atol=0)


@pytest.mark.parametrize('recipe', ELEMENTWISE, ids=name_of)
def test_lazy_parts_leave_the_rest_alone(recipe):
    "What is touched moves as if it were all there is, in value and state; the rest is as it began."
    p, q = lookup(), torch.nn.Parameter(lookup().detach()[[2, 5]].clone())
    opt, small = (recipe + genopt.lazy)([p]), recipe([q])
    fresh = recipe([r := lookup()])
    fresh.init_state()
    for t in range(5):
        p.grad = sparse([2, 5], seed=t); q.grad = p.grad.coalesce().values()
        opt.step(); small.step()
    untouched = [i for i in range(12) if i not in (2, 5)]
    for mine, its, first in zip((p, *opt.state[p].values()), (q, *small.state[q].values()),
                                (r, *fresh.state[r].values()), strict=True):
        if not mine.dim(): assert torch.equal(mine, its)
        else:
            assert torch.equal(mine[[2, 5]], its)
            assert torch.equal(mine[untouched], first[untouched])


def test_dense_and_sparse_in_one_group_and_no_rows_at_all():
    p, q = lookup(), torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    opt = (Adam + genopt.lazy)([p, q], lr=.1)
    p.grad, q.grad = sparse([]), torch.ones_like(q)
    before = p.detach().clone()
    opt.step()
    assert torch.equal(p, before) and opt.state[p]['count'] == 1 and (q < 1).all()


def test_several_sparse_dimensions():
    p, q = (torch.nn.Parameter(random(1, (4, 5, 2), torch.float64)) for _ in 'pq')
    at = torch.tensor([[0, 3, 3], [4, 1, 2]])
    p.grad = torch.sparse_coo_tensor(at, random(2, (3, 2), torch.float64),
                                     p.shape, check_invariants=True)
    q.grad = p.grad.to_dense()
    for o in (Adagrad([p], lr=.1), Adagrad([q], lr=.1)): o.step()
    torch.testing.assert_close(p, q, rtol=1e-13, atol=0)


@pytest.mark.parametrize('make, parts', [
    (lambda ps: Adam(ps), 'l2_reg → average_grad → average_sqr_grad → step_count → adam_step'),
    (lambda ps: SGD(ps, lr=.1, wd=.1), 'l2_reg → sgd_step'),
    (lambda ps: (SGD + genopt.lookahead)(ps, lr=.1),
     'step_count → l2_reg → sgd_step → average_slow_param → lookahead_step')])
def test_what_takes_none(make, parts):
    p = lookup(); p.grad = sparse([1])
    before = p.detach().clone()
    with pytest.raises(TypeError) as e: make([('emb.weight', p)]).step()
    assert str(e.value) == (f'`emb.weight` (shape (12, 3), float64) has a sparse gradient, '
                            f'and {parts} takes dense '
                            'ones, as rows without a gradient would move too: make its layer with '
                            'sparse=False, or add `lazy`, which moves only the rows that have one')
    assert torch.equal(p, before)


@pytest.mark.parametrize('recipe, part', [(SGD + genopt.clip_by_global_norm, 'sqr_grad_norm'),
                                          (genopt.LAMB + genopt.lazy, 'scale_by_trust_ratio')])
def test_what_needs_all_of_a_tensor(recipe, part):
    p = lookup(); p.grad = sparse([1])
    with pytest.raises(TypeError, match=f'as `{part}` needs all of a tensor: make its layer'):
        recipe([p]).step()


def test_a_part_that_fails_names_the_parameter():
    @genopt.step
    def picky_step(grad, *, lr):
        if grad.shape[0] == 2: raise RuntimeError('two rows')
        return -lr * grad
    p = lookup(); p.grad = sparse([1, 4])
    with pytest.raises(genopt.PartError, match=r'`picky_step` failed: RuntimeError: two '
                                               r'rows \(on `emb` \(shape \(12, 3\)'):
        Optimizer([('emb', p)], [picky_step], lr=.1).step()


def test_print_tells_of_sparse_gradients():
    rows, weight = nn.Embedding(10, 4, sparse=True), nn.Linear(4, 1)
    opt = genopt.SGD([*rows.parameters(), *weight.parameters()], lr=.1)
    weight(rows(torch.tensor([1, 2]))).sum().backward()
    opt.step()
    assert 'kernel: 2 of 2 parts; eager engine for 1 sparse gradient\n' in str(opt)
    weight.zero_grad()
    opt.step()
    assert 'eager engine for 1 sparse gradient\n' in str(opt) and 'kernel' not in str(opt)
    rows.zero_grad()
    weight(torch.ones(1, 4)).sum().backward()
    opt.step()
    assert 'kernel: 2 of 2 parts\n' in str(opt) and 'sparse' not in str(opt)


def test_and_of_a_group_without_gradients_beside_them():
    @genopt.transform
    def none_at_all(grad): return grad
    rows, idle = nn.Embedding(10, 4, sparse=True), nn.Linear(4, 1)
    opt = (genopt.SGD + none_at_all)([dict(params=rows.parameters()),
                                      dict(params=idle.parameters())], lr=.1)
    rows(torch.tensor([1])).sum().backward()
    opt.step()
    said = [line.strip() for line in str(opt).splitlines()]
    assert 'eager engine for 1 sparse gradient' in said
    assert 'engine: none, as no parameter had a gradient' in said
