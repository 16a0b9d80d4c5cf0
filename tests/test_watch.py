"""Promise: a recorder says what each step does to each parameter, and changes nothing of it."""
import copy
import csv
import json
import math
import random as python_random
import sys
from functools import partial

import genopt
import numpy as np
import pytest
import torch
from genopt import (Adafactor, Adam, AdamW, LAMB, Lion, Muon, Optimizer, SGD, cautious,
                    clip_by_global_norm, clip_by_norm, gradient_noise, lookahead, scalar,
                    sgd_step, skip_nonfinite, transform)
from genopt.recording import quantities
from helpers import (by_engines, each_recipe, keeps_to_matrices, name_of, param,
                     params_of_every_kind, pickled, random, random_param, set_grads, two_groups)
from torch import nn


looks = by_engines('plain', 'compiled')  # the eager engine's are the plain one's


def some_params(recipe, dtype=torch.float64):
    shapes = dict(a=(4, 6), b=(5, 3)) if keeps_to_matrices(recipe) else dict(a=(4, 6), b=(7,), c=())
    return {k: nn.Parameter(random(i, s, dtype)) for i, (k, s) in enumerate(shapes.items())}


def walk(opt, params, steps=7, scale=1.):
    "Makes steps along gradients that are the same for every optimizer."
    for i in range(steps):
        set_grads(params, i, scale)
        opt.step()


def values(params): return [p.detach().clone() for p in params.values()]


def bits(opt, params):
    state = [v for s in opt.state.values() for v in s.values()]
    return [t.detach().clone() for t in (*params.values(), *state)]


# -- nothing changes -------------------------------------------------------------------------------

@pytest.mark.exhaustive(8)
@pytest.mark.parametrize('compile', [None, False], ids=['compiled', 'plain'])
@each_recipe
def test_a_watched_run_is_the_same_bit_for_bit(recipe, compile):
    runs = []
    for every in None, 2:
        params = some_params(recipe, torch.float32)
        opt = recipe(params.items(), compile=compile)
        if every: rec = opt.watch(every)
        walk(opt, params, 5)
        runs.append(bits(opt, params))
    assert len(rec.rows) == 3 * len(params)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@transform(whole=True)
def shaken(grad): return grad + torch.randn(grad.shape, dtype=grad.dtype)


@scalar
def luck(): return python_random.random() + float(np.random.rand())


@genopt.step
def lucky_step(grad, luck=luck, *, lr): return -lr * luck * grad


@looks
@pytest.mark.parametrize('parts', [
    [shaken, sgd_step], [lucky_step], [*gradient_noise, sgd_step],
    (AdamW + skip_nonfinite + clip_by_global_norm).parts(), (Adam + lookahead).parts()], ids=str)
def test_no_generator_is_advanced_and_no_total_changes(parts, compile):
    runs = []
    for names in None, '*', 'm*':
        params = params_of_every_kind(torch.float32)
        opt = Optimizer(two_groups(params), parts, lr=.1, compile=compile)
        torch.manual_seed(0); np.random.seed(0); python_random.seed(0)
        if names: opt.watch(1, params=names)
        for i in range(12):
            set_grads(params, i)
            if i == 4 and params['vector'].grad is not None: params['vector'].grad[2] = torch.nan
            opt.step()
        runs.append(bits(opt, params))
    for a, b, c in zip(*runs, strict=True):
        a, b, c = (t.nan_to_num() for t in (a, b, c))
        assert torch.equal(a, b) and torch.equal(a, c), opt


# -- the numbers -----------------------------------------------------------------------------------

def norm(x): return float(np.sqrt((np.asarray(x, np.float64)**2).sum()))


CASES = [(AdamW, dict(lr=.01, wd=.1)), (SGD, dict(lr=.1, mom=.9)),
         (Lion, dict(lr=.01)), (Muon, dict(lr=.02)), (LAMB, dict(lr=.01)),
         (Adafactor, dict(lr=.01)), (AdamW + cautious, dict(lr=.01)),
         (Adam + clip_by_global_norm, dict(lr=.01, max_norm=.5)),
         (SGD + clip_by_norm, dict(lr=.1, max_norm=1.)), (Adam + skip_nonfinite, {})]
each_case = pytest.mark.parametrize('recipe, options', CASES, ids=name_of)


@looks
@each_case
def test_each_quantity_is_what_the_trajectory_says(recipe, options, compile):
    params = some_params(recipe)
    opt = recipe(params.items(), compile=compile, **options)
    rec = opt.watch(1)
    for i in range(4):
        set_grads(params, i)
        before = {k: p.detach().numpy().copy() for k, p in params.items()}
        opt.step()
        rows = {r['param']: r for r in rec.rows if r['step'] == i + 1}
        assert {*rows} == {*params}
        for k, p in params.items():
            row, grad, moved = rows[k], p.grad.numpy(), p.detach().numpy() - before[k]
            angle = (moved * grad).sum() / norm(moved) / norm(grad)
            want = dict(grad_norm=norm(grad), update_norm=norm(moved), param_norm=norm(before[k]),
                        update_ratio=norm(moved) / norm(before[k]), nonfinite=0, cosine=angle,
                        effective_lr=norm(moved) / norm(grad))
            want |= {f'{n}_norm': norm(v) for n, v in opt.state[p].items()
                     if n in opt.param_groups[0].composition.tensor_stats}
            assert {n: row[n] for n in want} == pytest.approx(want, rel=1e-6, abs=1e-9)


@looks
def test_what_a_clip_and_a_mask_take(compile):
    params = some_params(Adam)
    opt = (AdamW + clip_by_global_norm + cautious)(params.items(), lr=.01, wd=.1, max_norm=.5,
                                                   compile=compile)
    rec = opt.watch(1)
    avg, sqr = ({k: np.zeros(p.shape) for k, p in params.items()} for _ in range(2))
    for t in range(1, 5):
        set_grads(params, t)
        whole = math.sqrt(sum(norm(p.grad)**2 for p in params.values()))
        share = min(1., .5 / (whole + 1e-6))
        theta = {k: p.detach().numpy().copy() for k, p in params.items()}
        opt.step()
        for row in rec.rows[-len(params):]:
            k = row['param']
            g = params[k].grad.numpy()
            avg[k], sqr[k] = .9 * avg[k] + .1 * share * g, .999 * sqr[k] + .001 * (share * g)**2
            step = -.01 * avg[k] / (1 - .9**t) / (np.sqrt(sqr[k] / (1 - .999**t)) + 1e-8)
            down = step * g < 0
            masked = step * down / max(down.mean(), 1e-3)
            end = masked - .01 * .1 * theta[k]
            want = {'clip_by_global_norm_kept': share, 'clip_by_global_norm_zeroed': 0,
                    'cautious_kept': norm(masked) / norm(step),
                    'cautious_zeroed': 1 - down.mean(),
                    'weight_decay_kept': norm(end) / norm(masked) if norm(masked) else math.inf,
                    'weight_decay_zeroed': -(1 - down.mean())}
            assert {n: row[n] for n in want} == pytest.approx(want, rel=1e-6, abs=1e-9)


def snr(grad_avg, sqr_avg, *, eps): return (grad_avg.abs() / (sqr_avg.sqrt() + eps)).mean()
def middle(update): return update.abs().median()
def rate(count, *, lr): return lr / count
def turned(grad, prev_grad_avg): return (grad * prev_grad_avg < 0).sum()
def ahead(new_param): return new_param.norm()


@looks
def test_own_quantities_read_what_parts_read(compile):
    p = random_param(0, (5, 4), torch.float64)
    opt = Adam([p], lr=.1, compile=compile)
    rec = opt.watch(1, quantities=[snr, middle, rate, turned, ahead])
    opt_avg = torch.zeros(5, 4, dtype=torch.float64)
    for i in range(3):
        p.grad, before = random(50 + i, (5, 4), torch.float64), p.detach().clone()
        opt.step()
        state, row = opt.state[p], rec.rows[-1]
        want = dict(snr=(state['grad_avg'].abs() / (state['sqr_avg'].sqrt() + 1e-8)).mean().item(),
                    middle=(p - before).abs().median().item(), rate=.1 / (i + 1),
                    turned=(p.grad * opt_avg < 0).sum().item(), ahead=p.norm().item())
        opt_avg = state['grad_avg'].clone()
        assert {k: row[k] for k in want} == pytest.approx(want, rel=1e-6)
        assert 'grad_norm' in row  # the usual ones too, as no name was given


@looks
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.complex64], ids=str)
def test_low_precision_and_complex_numbers(dtype, compile):
    p = random_param(1, (6, 5), dtype)
    opt = AdamW([p], lr=.01, compile=compile)
    rec = opt.watch(1)
    p.grad = random(2, (6, 5), dtype)
    before = p.detach().clone()
    opt.step()
    row = rec.rows[0]
    wide = torch.complex128 if dtype.is_complex else torch.float64
    assert row['param_norm'] == pytest.approx(before.to(wide).abs().norm().item(), rel=1e-6)
    assert row['grad_norm'] == pytest.approx(p.grad.to(wide).abs().norm().item(), rel=1e-6)
    moved = (p - before).to(wide).abs().norm().item()
    assert row['update_norm'] == pytest.approx(moved, rel=.2)  # the parameter is rounded


@looks
def test_closed_gate_nothing_moves_and_what_is_there_is_told(compile):
    params = dict(a=param(3, grad=1.), b=param(2, grad=1.))
    opt = (SGD + skip_nonfinite + clip_by_norm)(params.items(), lr=.1, mom=.9, max_norm=1.,
                                                compile=compile)
    rec = opt.watch(1, quantities=[turned_or_not, own_scalar])
    opt.step()
    params['a'].grad[1] = torch.inf
    opt.step()
    a, b = rec.rows[-2:]
    assert (a['nonfinite'], b['nonfinite']) == (1, 0)
    assert a['update_norm'] == b['update_norm'] == 0 and b['grad_norm'] == pytest.approx(2**.5)
    assert a['grad_norm'] == math.inf and math.isnan(a['clip_by_norm_kept'])
    assert b['grad_avg_norm'] == pytest.approx(norm(opt.state[params['b']]['grad_avg']))
    assert b['turned_or_not'] == 2 and math.isnan(b['own_scalar'])


@scalar
def third(*, lr): return lr / 3


def turned_or_not(raw_grad): return (raw_grad > 0).sum()
def own_scalar(grad_avg, third=third): return grad_avg.sum() * third


@pytest.mark.parametrize('recipe', [SGD, genopt.SparseAdam, Adam + genopt.lazy], ids=name_of)
def test_sparse_gradients(recipe):
    def run(watched):
        torch.manual_seed(0)
        layer = nn.Embedding(9, 3, sparse=True)
        opt = recipe([('table', layer.weight)], lr=.1)
        rec = opt.watch(1, quantities=[turned_or_not]) if watched else None
        befores = []
        for i in range(3):
            opt.zero_grad()
            befores.append(layer.weight.detach().clone())
            layer(torch.tensor([1, 4 + i, 1])).square().sum().backward()
            opt.step()
        return layer.weight.detach(), rec, befores, layer.weight.grad.to_dense(), opt
    weight, rec, befores, grad, opt = run(True)
    assert torch.equal(weight, run(False)[0])
    row, moved = rec.rows[-1], weight - befores[-1]
    want = dict(grad_norm=norm(grad), update_norm=norm(moved), param_norm=norm(befores[-1]),
                turned_or_not=(grad > 0).sum().item())
    state = next(iter(opt.state.values()), {})
    want |= {f'{k}_norm': norm(v) for k, v in state.items() if v.dim()}
    assert {k: row[k] for k in want} == pytest.approx(want, rel=1e-5)


@looks
def test_late_skipped_and_frozen_parameters(compile):
    params = params_of_every_kind()
    opt = AdamW(two_groups(params, lr=.5), lr=.1, compile=compile)
    rec = opt.watch(1)
    for i in range(12):
        set_grads(params, i)
        have = {k for k, p in params.items() if p.grad is not None}
        opt.step()
        assert {r['param'] for r in rec.rows if r['step'] == i + 1} == have
    assert 'no gradient so far: frozen' in repr(rec)
    assert {r['group'] for r in rec.rows} == {0, 1}


@looks
def test_groups_with_different_rules(compile):
    a, b = random_param(0, (3, 3)), random_param(1, (4,))
    opt = Optimizer([dict(params=[a], parts=Muon, lr=.02), dict(params=[b], parts=Adam, lr=.1)],
                    compile=compile)
    rec = opt.watch(1, quantities=[snr])
    for i in range(2):
        a.grad, b.grad = random(i, (3, 3), torch.float32), random(i, (4,), torch.float32)
        opt.step()
    first, second = rec.rows[:2]
    assert 'orthogonalize_kept' in first and 'snr' not in first
    assert 'sqr_avg_norm' in second and 'snr' in second
    assert (first['param'], second['param']) == ('parameter 0 of group 0', 'parameter 0 of group 1')


# -- which steps, which parameters, which quantities -----------------------------------------------

def test_every_kth_step_of_two_recorders():
    p = param(grad=1.)
    opt = SGD([p], lr=.1)
    slow, fast = opt.watch(every=3), opt.watch(every=2, quantities='grad_norm')
    for _ in range(7): opt.step()
    assert [r['step'] for r in slow.rows] == [1, 4, 7]
    assert [r['step'] for r in fast.rows] == [1, 3, 5, 7]
    assert {*fast.rows[0]} == {'step', 'group', 'param', 'grad_norm'}
    slow.stop()
    with fast: opt.step()
    opt.step()
    assert not opt.recorders and len(slow.rows) == 3 and len(fast.rows) == 4


def test_choosing_parameters():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    opt = AdamW(net.named_parameters())
    by_name, by_tensor = opt.watch(1, params='0.*'), opt.watch(1, params=[net[1].bias, '*.weight'])
    net(torch.ones(2)).sum().backward()
    opt.step()
    assert [r['param'] for r in by_name.rows] == ['0.weight', '0.bias']
    assert [r['param'] for r in by_tensor.rows] == ['0.weight', '1.weight', '1.bias']


@pytest.mark.parametrize('named', [True, False])
def test_a_replaced_parameter_stays_watched(named):
    a, b, c = (param(n, grad=1.) for n in (2, 3, 4))
    opt = SGD([*zip('abc', (a, b, c))] if named else [a, b, c], lr=.1)
    rec, gone = opt.watch(1, params=[b, 'c'] if named else b), opt.watch(1, params=[a])
    def step():
        for p in opt.param_groups[0]['params']: p.grad = torch.ones_like(p)
        opt.step()
    step()
    new = param(5)
    opt.replace(b, new, fresh=True)
    step()
    norms = [r['grad_norm'] for r in rec.rows if r['step'] == 2]
    assert norms == pytest.approx([5**.5, 2.] if named else [5**.5])
    opt.replace(new, param(6), fresh=True)
    step()
    assert 6**.5 in [pytest.approx(r['grad_norm']) for r in rec.rows if r['step'] == 3]
    opt.remove(a)
    step()
    assert len(gone.rows) == 3  # what comes to its place is another parameter
    assert 6**.5 in [pytest.approx(r['grad_norm']) for r in rec.rows if r['step'] == 4]


@looks
def test_with_maximize_the_gradient_is_the_one_that_parts_see(compile):
    def uphill(update, raw_grad): return (update * raw_grad).sum()
    p = param(2, grad=3.)
    before, opt = p.detach().clone(), SGD([p], lr=.1, maximize=True, compile=compile)
    rec = opt.watch(1, quantities=['cosine', uphill])
    opt.step()
    assert (p > before).all()
    assert rec.rows[0]['cosine'] == pytest.approx(-1) and rec.rows[0]['uphill'] < 0


def test_a_total_is_of_all_parameters_when_one_is_watched():
    a, b = param(3, grad=1.), param(4, grad=10.)
    opt = (SGD + clip_by_global_norm)([('a', a), ('b', b)], lr=.1, max_norm=1.)
    rec = opt.watch(1, params='a')
    opt.step()
    assert rec.rows[0]['clip_by_global_norm_kept'] == pytest.approx(1 / math.sqrt(403))


def test_of_many_names_a_few_are_told():
    opt = SGD([param() for _ in range(20)])
    with pytest.raises(KeyError, match='there are 20 names, such as `parameter 0 of group 0`, `p'):
        opt.watch(params='layer*')


@each_recipe
def test_every_recipe_has_all_usual_columns(recipe):
    columns = [c.name for c in quantities.usual_columns(recipe.rule().composition)]
    assert len({*columns}) == len(columns) >= 7


# -- where rows go ---------------------------------------------------------------------------------

def make(names='ab', **options):
    a, b = param(2, grad=1.), param(3, grad=2.)
    return Adam([*zip(names, (a, b))], lr=.1, **options)


def read_csv(path):
    with open(path, newline='') as file: return [*csv.DictReader(file)]


def test_a_csv_grows_while_the_run_goes_on_and_after_a_resume(tmp_path):
    path, opt = tmp_path / 'new' / 'run.csv', make()
    opt.watch(2, path)
    for i in range(3):
        opt.step()
        assert len(read_csv(path)) == 2 * (i // 2 + 1)  # no stop, no close
    saved, again = opt.state_dict(), make()
    again.load_state_dict(saved)
    with open(path, 'a') as file: file.write('5,0,a,1.2')  # and a kill
    rec = again.watch(2, path, quantities=middle)
    for _ in range(3): again.step()
    rows = read_csv(path)
    assert [int(r['step']) for r in rows] == [1, 1, 3, 3, 5, 5]
    assert [bool(r['middle']) for r in rows] == [False] * 4 + [True] * 2
    assert float(rows[-1]['grad_norm']) == pytest.approx(rec.rows[-1]['grad_norm'], rel=1e-7)


def test_names_that_csv_must_quote(tmp_path):
    names = 'layers,"0"', 'a 100% (b)'
    opt = make(names)
    opt.watch(1, tmp_path / 'run.csv')
    opt.step()
    assert [r['param'] for r in read_csv(tmp_path / 'run.csv')] == [*names]


def test_json_lines_and_what_is_not_finite(tmp_path):
    path, opt = tmp_path / 'run.jsonl', make()
    rec = opt.watch(1, str(path))
    opt.param_groups[0]['params'][0].grad[0] = torch.nan
    opt.step()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert math.isnan(rows[0]['grad_norm']) and rows[0]['nonfinite'] == 1
    assert rows[1] == rec.rows[1]


def test_a_file_without_counts_tells_the_next_step(tmp_path):
    for want in [1, 2], [3, 4]:
        opt = SGD([param(grad=1.)], lr=.1)
        with opt.watch(1, tmp_path / 'run.csv') as rec:
            for _ in want: opt.step()
        assert [r['step'] for r in rec.rows] == want


def test_functions_and_boards():
    class Board:
        def __init__(self): self.seen = []
        def add_scalar(self, tag, value, step): self.seen.append((tag, value, step))
    opt, board, calls = make(), Board(), []
    opt.watch(2, board, quantities='grad_norm')
    opt.watch(2, calls.append)
    for _ in range(3): opt.step()
    assert board.seen[:2] == [('grad_norm/a', pytest.approx(2**.5), 1),
                              ('grad_norm/b', pytest.approx(2 * 3**.5), 1)]
    assert len(board.seen) == 4 and [len(rows) for rows in calls] == [2, 2]


def test_a_table_and_a_picture(monkeypatch):
    pandas = pytest.importorskip('pandas')
    opt = make()
    rec = opt.watch(1)
    with pytest.raises(ValueError, match='the record is empty'): rec.plot()
    for _ in range(4): opt.step()
    table = rec.table()
    assert isinstance(table, pandas.DataFrame)
    assert table.groupby('param').size().to_dict() == dict(a=4, b=4)
    assert len(rec.plot().axes) == 4 and len(rec.plot('cosine', params='a').axes[0].lines) == 1
    a, b = opt.param_groups[0]['params']
    for params, n in (a, 1), ([a], 1), (['b', a], 2), ((a, b), 2):
        assert len(rec.plot('cosine', params=params).axes[0].lines) == n
    with pytest.raises(KeyError, match='is not a parameter of this optimizer'):
        rec.plot(params=torch.ones(2))
    with pytest.raises(TypeError, match='1 is a int: give parameters'): rec.plot(params=[1])
    monkeypatch.setitem(sys.modules, 'pandas', None)
    assert rec.table() == rec.rows
    with pytest.raises(KeyError, match='has no `cosin`: did you mean `cosine`'): rec.plot('cosin')


def test_a_picture_of_many_parameters():
    opt = SGD([param(grad=i + 1.) for i in range(20)], lr=.1)
    rec = opt.watch(1)
    for _ in range(3): opt.step()
    [ax] = rec.plot('grad_norm').axes
    assert len(ax.lines) == 1 and len(ax.collections) == 2
    assert ax.lines[0].get_ydata() == pytest.approx(np.median(np.arange(1, 21)) * 2**.5)


# -- not part of the state -------------------------------------------------------------------------

def test_copies_and_checkpoints_are_not_watched(tmp_path):
    opt = make()
    rec = opt.watch(1, tmp_path / 'run.csv')
    opt.step()
    for other in copy.deepcopy(opt), pickled(opt):
        other.step()
        assert not other.recorders
    assert len(rec.rows) == 2 and opt.state_dict().keys() == make().state_dict().keys()
    opt.load_state_dict(opt.state_dict())
    opt.step()
    assert len(rec.rows) == 4


def test_swapped_weights_refuse_a_step_as_ever():
    p = param(grad=1.)
    opt = (SGD + genopt.average_param)([p], lr=.1)
    rec = opt.watch(1)
    opt.step()
    with opt.swapped(), pytest.raises(RuntimeError, match='call train'): opt.step()
    opt.step()
    assert [r['step'] for r in rec.rows] == [1, 2] and 'param_avg_norm' in rec.rows[0]


def test_new_groups_and_options_in_a_run(tmp_path):
    a, b = param(grad=1.), param(3, grad=1.)
    opt = SGD([('a', a)], lr=.1)
    opt.watch(1, tmp_path / 'run.csv')
    opt.step()
    opt.param_groups[0]['momentum'] = .9
    opt.step()
    opt.add_param_group(dict(params=[('b', b)]))
    opt.step()
    rows = read_csv(tmp_path / 'run.csv')
    assert [r['param'] for r in rows] == ['a', 'a', 'a', 'b'] and rows[0]['grad_avg_norm'] == ''
    assert float(rows[1]['grad_avg_norm']) == pytest.approx(2**.5)


def test_a_closure_and_a_learner(monkeypatch):
    p = param(2)
    opt = SGD([p], lr=.1)
    rec = opt.watch(1)
    def closure():
        opt.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss
    opt.step(closure)
    assert rec.rows[0]['grad_norm'] == pytest.approx(2 * 2**.5)
    import learners
    learn = learners.learner(partial(AdamW, lr=.01))
    learn.create_opt()
    rec = learn.opt.watch(2)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert rec.rows and all(math.isfinite(r['update_norm']) for r in rec.rows)


# -- errors ----------------------------------------------------------------------------------------

def called(name):
    def fn(raw_grad): return raw_grad.norm()
    fn.__name__ = name
    return fn


def nothing(momm): return momm.norm()
def cosine(grad): return grad.norm()
def shaped(grad): return grad * 2
def bound(grad, *, max_norm): return grad.norm() / max_norm


@pytest.mark.parametrize('call, error, says', [
    (dict(every=0), ValueError, '`every` = 0: give a whole number, at least 1'),
    (dict(every=2.5), ValueError, '`every` = 2.5: give a whole number'),
    (dict(first=0), ValueError, '`first` = 0'),
    (dict(to='run.txt'), ValueError, 'a name that ends in .csv or .jsonl'),
    (dict(to=3), TypeError, '`to` = 3: give the name of a file'),
    (dict(quantities='cosin'), KeyError, 'none is called `cosin`: did you mean `cosine`'),
    (dict(quantities=[lambda grad: 1]), TypeError, 'a function made with `def`'),
    (dict(quantities=nothing), genopt.ContractError, '`nothing` reads `momm`'),
    (dict(quantities=cosine), genopt.ContractError, 'one of the usual quantities'),
    (dict(quantities=called('step')), genopt.ContractError, '`step` has a meaning already: '),
    (dict(quantities=called('lr')), genopt.ContractError, '`lr` has a meaning already: '),
    (dict(quantities=called('grad')), genopt.ContractError, '`grad` has a meaning already: '),
    (dict(quantities=bound), genopt.ContractError, '`bound` reads `max_norm`, which is not'),
    (dict(params='c*'), KeyError, 'no parameter is called `c*`: there are `a`, `b`'),
    (dict(params=[torch.ones(2)]), KeyError, 'is not a parameter of this optimizer'),
    (dict(params=[1]), TypeError, '1 is a int')], ids=lambda x: x if isinstance(x, str) else '')
def test_what_a_mistake_says(call, error, says):
    opt = make()
    with pytest.raises(error) as e: opt.watch(**call)
    assert says in str(e.value) and not opt.recorders


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / 'dir.csv').mkdir()
    with pytest.raises(OSError, match=r'dir.csv cannot be written: Is a directory'):
        make().watch(1, tmp_path / 'dir.csv')
    (tmp_path / 'other.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='other.csv is not a record of an optimizer'):
        make().watch(1, tmp_path / 'other.csv')


@looks
def test_a_quantity_that_is_not_one_number(compile):
    opt = make(compile=compile)
    opt.watch(1, quantities=shaped)
    before = [p.detach().clone() for p in opt.param_groups[0]['params']]
    with pytest.raises(genopt.PartError, match='a quantity returns one number, such as grad.norm'):
        opt.step()
    assert all(map(torch.equal, before, opt.param_groups[0]['params']))  # nothing has moved
