"""Promise: after parameters were edited, the run goes on as one that was made in another way.

Of rules that treat each element alone, rows that stay are those of a run on them alone, and new
ones are those of a run that begins with their count. What cannot follow is refused, and then
nothing has changed.
"""
import random as pyrandom
import re

import genopt
import pytest
import torch
from genopt import Optimizer, SparseAdam, stat
from helpers import (RECIPES, assert_close, by_engines, each_recipe, engines, fast_engines,
                     keeps_to_matrices, name_of, param, random)
from torch import nn

F64 = torch.float64
ELEMENTWISE = [r for r in RECIPES if r.rule().composition.is_flat]
GONE = torch.tensor([False, True, False, False, True])
ORDER = [2, 0, 3, 1, 4, 5]


def weight(seed=0, shape=(5, 4)): return nn.Parameter(random(seed, shape, F64))


def step(opt, p, grad):
    p.grad = grad.clone()
    opt.step()


def snapshot(opt):
    return repr(opt.state_dict()), [p.detach().clone() for g in opt.param_groups
                                    for p in g['params']]


def refused(opt, error, sentence, call):
    "The call raises this, and the optimizer and its parameters are as they were."
    before, values = snapshot(opt)
    with pytest.raises(error, match='^' + re.escape(sentence) + '$'): call()
    after, now = snapshot(opt)
    assert before == after and all(map(torch.equal, values, now))


# -- each element alone ----------------------------------------------------------------------------

def edited_and_made(recipe, compile):
    "The parameter after each step of an edited run, and of one made of two runs that were not."
    rng = iter(range(10, 100))
    grads = lambda *shape: random(next(rng), shape, F64)
    w, kept, more = weight(), weight(), weight(1, (3, 4))
    kept.data = kept.data[~GONE].clone()
    opt, alone = (recipe([p], compile=compile) for p in (w, kept))
    for _ in range(3):
        g = grads(5, 4)
        step(opt, w, g); step(alone, kept, g[~GONE])
        yield w.detach()[~GONE], kept.detach()
    opt.prune(w, GONE)
    late = recipe([more], compile=compile)
    late.init_state()
    numbers = recipe.rule().composition.number_stats
    for k in numbers: late.state[more][k] = alone.state[kept][k].clone()
    opt.append(w, more.detach().clone())
    for _ in range(3):
        g = grads(6, 4)
        step(opt, w, g); step(alone, kept, g[:3]); step(late, more, g[3:])
        yield w.detach(), torch.cat([kept, more]).detach()
    opt.permute(w, ORDER)
    opt.permute(w, [3, 1, 0, 2], dim=-1)
    for _ in range(2):
        g = grads(6, 4)
        step(opt, w, g[ORDER][:, [3, 1, 0, 2]]); step(alone, kept, g[:3]); step(late, more, g[3:])
        yield w.detach(), torch.cat([kept, more]).detach()[ORDER][:, [3, 1, 0, 2]]


@pytest.mark.parametrize('recipe', ELEMENTWISE, ids=name_of)
@by_engines('plain')
def test_an_edited_run_is_the_runs_of_its_rows(recipe, compile):
    for a, b in edited_and_made(recipe, compile): assert_close([a], [b])


@pytest.mark.parametrize('recipe', [genopt.Adam + genopt.lookahead, genopt.Rprop, genopt.ASGD,
                                    genopt.Momentum], ids=name_of)
@fast_engines
def test_so_it_is_in_the_other_engines(recipe, compile):
    for a, b in edited_and_made(recipe, compile): assert_close([a], [b])


@engines
def test_a_row_that_is_named_twice_is_copied_with_its_state(compile):
    w = weight(); opt = genopt.AdamW([w], compile=compile)
    step(opt, w, random(1, (5, 4), F64))
    old = {k: v.clone() for k, v in opt.state[w].items()}
    opt.select(w, [0, 1, 2, 3, 4, 1, 1])
    for k in ('grad_avg', 'sqr_avg'): assert torch.equal(opt.state[w][k][5], old[k][1])
    assert opt.state[w]['count'] == 1
    step(opt, w, torch.ones(7, 4, dtype=F64))
    assert torch.equal(w[5], w[1]) and torch.equal(w[6], w[1])


@engines
def test_the_gradient_is_edited_too(compile):
    w = weight(); opt = genopt.SGD([w], lr=1., compile=compile)
    w.grad = random(1, (5, 4), F64); grad = w.grad.clone()
    opt.prune(w, [0]); assert torch.equal(w.grad, grad[1:])
    opt.append(w, torch.ones(1, 4)); assert torch.equal(w.grad[:4], grad[1:])
    assert not w.grad[4].any()
    opt.step()
    assert torch.equal(w[4], torch.ones(4, dtype=F64))


@pytest.mark.parametrize('recipe', [genopt.SGD, genopt.Adam, genopt.Adafactor, genopt.LAMB],
                         ids=name_of)
@pytest.mark.parametrize('call', [lambda o, w: o.append(w, torch.ones(2, 4)),
                                  lambda o, w: o.prune(w, [0])], ids=['append', 'prune'])
@engines
def test_an_old_graph_is_refused(recipe, call, compile):
    "It delivers gradients of the shape that the parameter had."
    w = weight(); opt = recipe([w], lr=.1, compile=compile)
    step(opt, w, torch.ones_like(w))
    loss = (w * 2).sum()
    call(opt, w); w.grad = None
    loss.backward()
    sentence = (f'parameter 0 of group 0 (shape {tuple(w.shape)}, float64) has a gradient of shape '
                '(5, 4): it came from a graph made before the parameter was given this shape, so '
                'run `backward()` before an edit, or `zero_grad()` after it')
    refused(opt, RuntimeError, sentence, opt.step)
    opt.zero_grad(); w.sum().backward(); opt.step()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.complex64])
def test_other_dtypes(dtype):
    w = nn.Parameter(random(0, (4, 3), dtype)); opt = (genopt.Adam + genopt.average_param)([w])
    step(opt, w, random(1, (4, 3), dtype))
    old = {k: v.clone() for k, v in opt.state[w].items()}
    opt.append(w, w.detach()[:1])
    assert torch.equal(opt.state[w]['param_avg'][4], w.detach()[4].to(old['param_avg'].dtype))
    opt.select(w, range(4))
    for k, v in old.items(): assert torch.equal(opt.state[w][k], v) and v.dtype == old[k].dtype
    step(opt, w, random(2, (4, 3), dtype))


def test_the_layout_stays():
    w = nn.Parameter(random(0, (6, 3, 2, 2), F64).to(memory_format=torch.channels_last))
    opt = genopt.Adam([w]); step(opt, w, random(1, w.shape, F64))
    opt.prune(w, [0]); opt.append(w, torch.ones(2, 3, 2, 2))
    for t in (w, opt.state[w]['grad_avg']):
        assert t.is_contiguous(memory_format=torch.channels_last)


# -- rules that see a whole tensor -----------------------------------------------------------------

WHOLE = [genopt.Adafactor, genopt.Muon, genopt.LAMB, genopt.NovoGrad]


@pytest.mark.parametrize('recipe', WHOLE, ids=name_of)
@engines
def test_a_rule_that_sees_no_order_goes_on_in_another(recipe, compile):
    w, v, rows, columns = weight(), weight(), [4, 2, 0, 1, 3], [1, 3, 2, 0]
    opt, other = (recipe([p], compile=compile) for p in (w, v))
    for i in range(3): [step(o, p, random(i, (5, 4), F64)) for o, p in ((opt, w), (other, v))]
    opt.permute(w, rows); opt.permute(w, columns, 1)
    for i in range(3, 6):
        g = random(i, (5, 4), F64)
        step(opt, w, g[rows][:, columns]); step(other, v, g)
    assert_close([w], [v[rows][:, columns]], rtol=1e-10)


@pytest.mark.parametrize('dim', [0, 1])
@engines
def test_adafactors_rows_and_columns(dim, compile):
    "What has the edited dimension is cut; what has not, stays."
    w = weight(); opt = genopt.Adafactor([w], compile=compile); step(opt, w, random(1, (5, 4), F64))
    row, column = (opt.state[w][k].clone() for k in ('row_avg', 'column_avg'))
    value = w.detach().clone()
    opt.prune(w, [1], dim)
    stay = [i for i in range(w.shape[dim] + 1) if i != 1]
    if dim: column = column[:, stay]
    else: row = row[stay]
    made = nn.Parameter(value.index_select(dim, torch.tensor(stay)))
    other = genopt.Adafactor([made], compile=compile)
    count = torch.tensor(1)
    other.load_state_dict({**other.state_dict(), 'state': {
        0: dict(row_avg=row, column_avg=column, count=count)}})
    for i in range(3):
        g = random(i, tuple(w.shape), F64); step(opt, w, g); step(other, made, g)
    assert torch.equal(w, made)
    opt.append(w, torch.ones(2, w.shape[1]))
    assert opt.state[w]['row_avg'].shape == (len(w), 1) and not opt.state[w]['row_avg'][-2:].any()
    step(opt, w, torch.ones_like(w))


def gram(param): return param.new_zeros(len(param), len(param))


@stat(init=gram, whole=True)
def products(gram, grad): return gram + grad @ grad.T


@stat(init=lambda param: param.new_zeros((param.numel() + 7) // 8), whole=True)
def blocks(block, grad): return block + grad.sum()


def test_a_matrix_of_products_follows_in_both_dimensions():
    w = weight(); opt = Optimizer([w], [products, genopt.sgd_step], lr=.1)
    step(opt, w, random(1, (5, 4), F64)); old = opt.state[w]['gram'].clone()
    opt.permute(w, [4, 3, 2, 1, 0]); assert torch.equal(opt.state[w]['gram'], old.flip(0, 1))
    opt.append(w, torch.ones(1, 4)); now = opt.state[w]['gram']
    assert torch.equal(now[:5, :5], old.flip(0, 1)) and not now[5].any() and not now[:, 5].any()
    opt.prune(w, [0], 1); assert torch.equal(opt.state[w]['gram'], now)
    step(opt, w, torch.ones(6, 3, dtype=F64))


def test_a_state_without_rows_is_refused_or_begins_anew():
    w = weight(0, (8, 2)); opt = Optimizer([('w', w)], [blocks, genopt.sgd_step], lr=.1)
    step(opt, w, torch.ones_like(w))
    sentence = ('`block` of `w` (shape (8, 2), float64) does not have one row for '
                'each row of the parameter, so it cannot follow: '
                'del opt.state[param][\'block\'], and it begins anew')
    for call in (lambda: opt.prune(w, [0]), lambda: opt.append(w, torch.ones(8, 2))):
        refused(opt, ValueError, sentence, call)
    del opt.state[w]['block']
    opt.prune(w, [0])
    step(opt, w, torch.ones_like(w))
    assert opt.state[w]['block'].shape == (2,)


def test_an_init_that_looks_at_numbers():
    "It cannot run without any, so it is asked on the CPU."
    @stat(init=lambda param: torch.full_like(param, float(param.sum())), whole=True)
    def mine(kept, grad): return kept + grad
    w = weight(); opt = Optimizer([w], [mine, genopt.sgd_step], lr=.1)
    step(opt, w, torch.ones_like(w)); opt.prune(w, [0])
    assert opt.state[w]['kept'].shape == (4, 4)


# -- what stays as it is ---------------------------------------------------------------------------

def test_the_parameter_stays_the_same_object_for_all_who_hold_it():
    emb, head, seen = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False), []
    head.weight = emb.weight
    model = nn.Sequential(emb, head)
    emb.weight.register_hook(lambda g: seen.append(g.shape))
    opt = genopt.Adam(model.named_parameters())
    loss = model(torch.arange(6)).sum(); loss.backward(); opt.step()  # its graph lives on
    with pytest.raises(ValueError, match='did you mean `0.weight`'):
        opt.prune('weight', [0])
    opt.append(emb, torch.zeros(1, 4)); opt.append('0.weight', torch.zeros(1, 4))
    assert head.weight is emb.weight and opt.param_groups[0]['params'][0] is emb.weight
    opt.zero_grad(); model(torch.arange(8)).sum().backward(); opt.step()
    assert seen == [(6, 4), (8, 4)] and loss.grad_fn is not None


def test_marks_groups_and_frozen_parameters():
    a, b, c = weight(), weight(1), weight(2).requires_grad_(False)
    opt = genopt.AdamW([dict(params=[('a', a), ('c', c)], lr=.5), dict(params=[('b', b)])], wd=.1)
    genopt.Schedule(opt, 10, lr=genopt.linear(.1, 0.))
    opt.state[b]['do_wd'] = False
    a.grad = b.grad = torch.ones(5, 4, dtype=F64); opt.step()
    opt.prune(['a', b, c], [0, 1])
    assert [p.shape for p in (a, b, c)] == [(3, 4)] * 3 and not c.requires_grad
    assert [g['param_names'] for g in opt.param_groups] == [['a', 'c'], ['b']]
    assert opt.state[b]['do_wd'] is False and c not in opt.state
    value = b.detach().clone()
    b.grad.zero_(); opt.state[b]['grad_avg'].zero_(); opt.step()
    assert torch.equal(b, value)  # exempt from decay
    assert opt.param_groups[0]['lr'] == pytest.approx(.08)


@pytest.mark.parametrize('call, shape', [
    (lambda o, w: o.prune(w, [1]), (5, 3)), (lambda o, w: o.append(w, torch.ones(1, 3)), (7, 3)),
    (lambda o, w: o.select(w, [0, 2, 3]), (3, 3)), (lambda o, w: o.prune(w, [1], 1), (6, 2)),
    (lambda o, w: o.append(w, torch.ones(6, 1), 1), (6, 4))])
def test_sparse_gradients(call, shape):
    "The run goes on as one with dense gradients of the same rows."
    def run(opt, w, steps, sparse):
        for i in steps:
            values = random(i, (2, w.shape[1]), F64)
            w.grad = torch.sparse_coo_tensor([[0, 2]], values, w.shape, check_invariants=True)
            if not sparse: w.grad = w.grad.to_dense()
            opt.step()
    results = []
    for sparse in (True, False):
        w = weight(0, (6, 3)); opt = genopt.SGD([w], lr=.1); run(opt, w, range(3), sparse)
        call(opt, w)
        assert w.grad.is_sparse == sparse and w.grad.shape == w.shape == shape
        opt.step(); run(opt, w, range(3, 5), sparse)
        results.append(w.detach())
    assert torch.equal(*results)
    w = weight(0, (6, 3)); opt = SparseAdam([w]); run(opt, w, range(3), True)
    call(opt, w); run(opt, w, range(3), True)
    assert opt.state[w]['sqr_avg'].shape == shape


def test_what_others_keep_in_a_state():
    w = weight(); opt = genopt.Adam([w]); step(opt, w, torch.ones_like(w))
    opt.state[w].update(ema=w.detach().clone(), note='x', size=torch.tensor(3.))
    old = opt.state[w]['ema'].clone()
    opt.prune(w, [0]); assert torch.equal(opt.state[w]['ema'], old[1:])
    refused(opt, ValueError, '`ema` in the state of parameter 0 of group 0 (shape (4, 4), float64) '
            'is kept by no part, so say what it begins with in new rows, as in '
            "state={'ema': 0}", lambda: opt.append(w, torch.ones(2, 4)))
    opt.append(w, torch.ones(2, 4), state={'ema': lambda rows: 2 * rows, 'sqr_avg': .5})
    assert torch.equal(opt.state[w]['ema'][4:], torch.full((2, 4), 2., dtype=F64))
    assert torch.equal(opt.state[w]['sqr_avg'][4:], torch.full((2, 4), .5, dtype=F64))
    assert not opt.state[w]['grad_avg'][4:].any() and opt.state[w]['note'] == 'x'


def test_a_state_that_is_given_before_the_first_step():
    w = weight(); opt = genopt.Adam([w]); opt.append(w, torch.ones(1, 4), state={'sqr_avg': 2.})
    assert opt.state[w].keys() == {'sqr_avg'} and opt.state[w]['sqr_avg'][5:].eq(2).all()
    step(opt, w, torch.zeros_like(w))
    assert torch.allclose(opt.state[w]['sqr_avg'].sum(), torch.tensor(4 * 2. * .999, dtype=F64))
    assert opt.state[w]['count'] == 1 and 'kernel: 4 of 4' in repr(opt)


@pytest.mark.parametrize('recipe', [r for r in RECIPES if not keeps_to_matrices(r)], ids=name_of)
def test_before_the_first_step_and_down_to_nothing(recipe):
    w = weight(0, (3,)); opt = recipe([w])
    opt.append(w, torch.ones(1)); step(opt, w, torch.ones_like(w))
    opt.prune(w, slice(None)); assert w.shape == (0,)
    step(opt, w, torch.ones_like(w))
    opt.append(w, torch.ones(2)); step(opt, w, torch.ones_like(w))
    assert w.shape == (2,) and w.isfinite().all()


@each_recipe
@pytest.mark.parametrize('dim', [0, 1])
def test_a_matrix_down_to_nothing(recipe, dim):
    "Averages over no elements are NaN: none of them is left when there are elements again."
    w = weight(); opt = recipe([w]); step(opt, w, random(1, (5, 4), F64))
    opt.prune(w, slice(None), dim); step(opt, w, torch.ones_like(w))
    opt.append(w, random(2, (2, 4) if dim == 0 else (5, 2), F64), dim)
    numbers = opt.param_groups[0].composition.number_stats
    entry, begun = opt.state[w], recipe([q := nn.Parameter(w.detach().clone())])
    begun.init_state()
    for k, v in begun.state[q].items(): assert k in numbers or torch.equal(entry[k], v)
    for i in range(2): step(opt, w, random(i, w.shape, F64))
    assert w.isfinite().all()


# -- what is refused -------------------------------------------------------------------------------

@pytest.mark.parametrize('recipe, name', [
    (genopt.Dion, 'column_factor'), (genopt.GaLore, 'projection'), (genopt.APOLLO, 'projection')])
def test_directions_that_other_sizes_do_not_have(recipe, name):
    "The first of 5 × 4 are 4 of the columns, and those of 3 × 4 are 3 of the rows."
    w = weight(); opt = recipe([w]); step(opt, w, torch.ones_like(w))
    refused(opt, ValueError, f'`{name}` of {W} does not have one row for each row of the '
            'parameter, so it cannot follow: '
            f'del opt.state[param][{name!r}], and it begins anew', lambda: opt.prune(w, [0, 1]))
    opt.state[w] = {'count': opt.state[w]['count']} if 'count' in opt.state[w] else {}
    opt.prune(w, [0, 1])
    step(opt, w, torch.ones_like(w))
    assert w.shape == (3, 4) and w.isfinite().all()


W = 'parameter 0 of group 0 (shape (5, 4), float64)'


@pytest.mark.parametrize('error, sentence, call', [
    (ValueError, 'a tensor of shape (2,) is not a parameter of this optimizer: give one that is in '
     'a group, or `add` it', lambda o, w: o.prune(param(), [0])),
    (ValueError, "no parameter of this optimizer is called 'w': it was made without names",
     lambda o, w: o.prune('w', [0])),
    (ValueError, f'{W} is given twice', lambda o, w: o.prune([w, w], [0])),
    (ValueError, f'{W} has no dimension 2 along which it could be edited',
     lambda o, w: o.prune(w, [0], 2)),
    (ValueError, f'{W}: the mask has 4 elements, and there are 5 rows along dimension 0',
     lambda o, w: o.select(w, [True] * 4)),
    (ValueError, f'{W}: the index has numbers from -1 to 5, and the 5 rows along dimension 0 have '
     'the numbers 0 to 4', lambda o, w: o.select(w, [-1, 5])),
    (TypeError, f'{W}: an index of shape (1,) and dtype torch.float32 does not name rows: give a '
     'mask, or whole numbers, in one dimension', lambda o, w: o.select(w, [1.])),
    (TypeError, f"{W}: 'abc' is not a tensor, nor a list of numbers: give one",
     lambda o, w: o.select(w, 'abc')),
    (TypeError, f"{W}: 'x' is not a tensor, nor a list of numbers: give one",
     lambda o, w: o.append(w, 'x')),
    (ValueError, f'{W}: complex numbers cannot stand in a real tensor: give their real part',
     lambda o, w: o.append(w, torch.ones(2, 4, dtype=torch.complex64))),
    (ValueError, f'{W}: complex numbers cannot stand in a real tensor: give their real part',
     lambda o, w: o.append(w, [[1j] * 4])),
    (ValueError, f'`sqr_avg` of {W}: complex numbers cannot stand in a real tensor: give their '
     'real part', lambda o, w: o.append(w, torch.ones(2, 4), state={'sqr_avg': 1j})),
    (ValueError, f'{W}: permute takes each of the 5 rows along dimension 0 once: to leave rows out '
     'or repeat them, use select', lambda o, w: o.permute(w, [0, 1, 2, 3, 3])),
    (ValueError, f'{W} cannot take rows of shape (2, 3) along dimension 0: all other dimensions '
     'must be the same', lambda o, w: o.append(w, torch.ones(2, 3))),
    (ValueError, 'append: there are rows for [\'b\'], and parameters [\'a\']: give a tensor of '
     'rows for each', lambda o, w: o.append({'a': w}, {'b': torch.ones(2, 4)})),
    (ValueError, f'`sqr_av` is not in the state of {W}: did you mean `sqr_avg`?',
     lambda o, w: o.append(w, torch.ones(2, 4), state={'sqr_av': 0})),
    (ValueError, f'`count` of {W} has no rows, so none can be given: leave it out of `state`',
     lambda o, w: o.append(w, torch.ones(2, 4), state={'count': 0})),
    (ValueError, f'`sqr_avg` of {W} is given in the shape (3,), and its new rows have the shape '
     '(2, 4)', lambda o, w: o.append(w, torch.ones(2, 4), state={'sqr_avg': [1, 2, 3]}))])
def test_refusals(error, sentence, call):
    w = weight(); opt = genopt.Adam([w]); step(opt, w, torch.ones_like(w))
    refused(opt, error, sentence, lambda: call(opt, w))


@pytest.mark.parametrize('call', ['select', 'prune', 'permute', 'append', 'replace', 'remove',
                                  'to'])
def test_swapped_parameters_are_refused(call):
    w = weight(); opt = (genopt.Adam + genopt.average_param)([w]); step(opt, w, torch.ones_like(w))
    arguments = dict(replace=(w, weight(1)), remove=(w,), to=('cpu',)).get(call, (w, [0]))
    with opt.swapped():
        refused(opt, RuntimeError, 'the parameters are swapped with their averages: call train() '
                f'before {call}()', lambda: getattr(opt, call)(*arguments))


def test_all_are_checked_before_one_is_edited():
    a, b = weight(), weight(1, (3, 4)); opt = genopt.Adam([a, b])
    refused(opt, ValueError, 'parameter 1 of group 0 (shape (3, 4), float64): the index has numbers'
            ' from 4 to 4, and the 3 rows along dimension 0 have the numbers 0 to 2',
            lambda: opt.select([a, b], [4]))


def test_a_wrapper_around_other_tensors():
    from torch.testing._internal.two_tensor import TwoTensor
    p = nn.Parameter(TwoTensor(torch.ones(3, 2), torch.ones(3, 2)))
    with pytest.raises(ValueError, match='is a TwoTensor, which cannot be edited: do it before the '
                                         'parameter is sharded or quantised'):
        genopt.SGD([p], lr=.1).prune(p, [0])


# -- any edits, in any order -----------------------------------------------------------------------

def any_edit(opt, p, rng):
    "One of the edits along a dimension, the same for the same random numbers."
    dim = rng.randrange(p.dim()); n = p.shape[dim]
    some = [i for i in range(n) if rng.random() < .7]
    shape = [rng.randint(0, 3) if d == dim else m for d, m in enumerate(p.shape)]
    how = rng.randrange(5)
    if how == 0 and some: opt.select(p, rng.choices(some, k=len(some)), dim)
    if how == 1: opt.prune(p, [i for i in range(n) if i not in some][:n - 1], dim)
    if how == 2: opt.permute(p, rng.sample(range(n), n), dim)
    if how == 3: opt.append(p, random(rng.randrange(99), tuple(shape), F64), dim)
    if how == 4:
        new = nn.Parameter(p.detach().clone()); opt.replace(p, new)
        return new
    return p


@pytest.mark.parametrize('seed', range(6))
def test_the_compiled_engine_never_reads_where_something_was(seed):
    "Edits free memory and use it again: in the same steps it does what the plain engine does."
    ends = []
    recipe = [genopt.AdamW, genopt.Adafactor, genopt.Adam + genopt.average_param][seed % 3]
    for compile in (False, None):
        rng = pyrandom.Random(seed)
        params = [weight(i, shape) for i, shape in enumerate([(5, 4), (64, 3), (3, 3)])]
        opt = recipe(params, compile=compile)
        for i in range(40):
            j = rng.randrange(3)
            params[j] = any_edit(opt, params[j], rng)
            for k, p in enumerate(params): p.grad = random(10 * i + k, tuple(p.shape), F64)
            opt.step()
        ends.append([p.detach() for p in params])
    assert_close(*ends, rtol=1e-9, atol=1e-12)
