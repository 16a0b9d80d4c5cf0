"""Promise: a race is fair, goes on after an interruption, and runs many models as it runs one."""
import json
import math
import os
import re
import sys
from dataclasses import replace
from functools import partial

import genopt
import numpy as np
import pytest
import torch
from genopt import Task, race
from genopt.cli import main
from genopt.racing import sweep as sweeping
from genopt.racing.entrants import Entrant
from genopt.racing.models import MLP
from genopt.racing.race import find_task
from genopt.racing.sources import source
from genopt.racing.sweep import EIGHTHS, MORE, ROUNDS, Sweep, sweep
from genopt.racing.tasks import TASKS, split
from genopt.racing.training import TOGETHER, Job, Run, marks, one_after_another
from genopt.racing.vmapped import disagreement, side_by_side, why_not
from PIL import Image


def products():
    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    return split(x, x.prod(1), 30, 30)


TINY = Task('products', products, partial(MLP, 4, 6), torch.nn.functional.mse_loss, 12, 20)
EXACT = replace(TINY, dtype=torch.float64)
MINE = '''
import torch
from genopt import recipe, step, average_grad

@step
def squash_step(grad_avg, *, lr): return -lr * torch.tanh(grad_avg)

@recipe(lr=.1)
def Squash(): return average_grad, squash_step

@recipe()
def Bare(): return average_grad, squash_step

class Slow(torch.optim.SGD):
    def step(self, closure=None): pass

class Fixed(torch.optim.Optimizer):
    def __init__(self, params): super().__init__(params, {})
    def step(self, closure=None): pass
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(MINE)
    return tmp_path


@pytest.fixture
def made(monkeypatch):
    "The pairs of learning rate and seed of the runs that are made, for each optimizer."
    calls = []
    def noted(job, pairs):
        calls.append((job.entrant.label, [*pairs]))
        return side_by_side(job, pairs)
    monkeypatch.setattr(sweeping, 'side_by_side', noted)
    return calls


def losses(result): return [[r['runs'] for r in t['optimizers']] for t in result.data()['tasks']]


# -- tasks -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', TASKS)
def test_a_task(name):
    task = TASKS[name]
    (x, y), (xv, yv), (xt, yt) = task.sets
    assert len(x) == len(y) >= task.batch and len(xv) == len(yv) and len(xt) == len(yt)
    again = replace(task).sets
    assert all(torch.equal(a, b) for p, q in zip(task.sets, again) for a, b in zip(p, q))
    run = one_after_another(Job(Entrant('adamw'), task, 40), .01, 0)
    assert run.steps == marks(40) and 0 < run.test[-1] < .98 * run.test[0]
    assert run.validation[-1] < run.validation[0] and not run.diverged


def test_the_data_of_tasks():
    from sklearn import datasets
    for name, task in (('digits', TASKS['digits']), ('diabetes', TASKS['diabetes'])):
        theirs = getattr(datasets, f'load_{name}')()
        y = torch.cat([y for _, y in task.sets]).double().numpy()
        known = (theirs.target - theirs.target.mean()) / theirs.target.std(ddof=1)
        if name == 'digits': known = theirs.target
        np.testing.assert_allclose(np.sort(y), np.sort(known), rtol=1e-5)
    rows = torch.cat([x.flatten(1) for x, _ in TASKS['digits'].sets])
    assert rows.shape == (1797, 64) and rows.max() == 1
    from pydoc_data.topics import topics
    x, y = TASKS['text'].sets[0]
    from genopt.racing.tasks import LETTERS
    words = ''.join(LETTERS[i] for i in [*x[0], y[0, -1]])
    everything = ''.join(c for k in sorted(topics) for c in topics[k] if c in LETTERS)
    assert words in everything and torch.equal(x[:, 1:], y[:, :-1])


def test_the_optimum_of_least_squares():
    task = TASKS['leastsquares']
    x, y = (t.numpy() for t in task.sets[0])
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    assert task.least == pytest.approx(np.square(x @ best - y).mean(), rel=1e-12)
    assert np.linalg.cond(x) == pytest.approx(100)
    model = task.build(0)
    with torch.no_grad(): model.weight.copy_(torch.as_tensor(best))
    assert task.loss(model(task.sets[0][0]), task.sets[0][1]).item() - task.least < 1e-12


def test_batches_take_every_example_once():
    rows = TINY.batches(5, seed=3)  # of 20 of 30 rows
    assert rows.shape == (5, 20) and all(len({*r.tolist()}) == 20 for r in rows)
    assert torch.equal(rows, TINY.batches(5, 3)) and not torch.equal(rows, TINY.batches(5, 4))
    few = replace(TINY, batch=8).batches(3, 0)
    assert len({*few.flatten().tolist()}) == 24
    assert torch.equal(replace(TINY, batch=99).batches(2, 0)[1], torch.arange(30))


# -- side by side ----------------------------------------------------------------------------------

OTHERS = 'other weights to evaluate'

@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('spec', [
    *genopt.zoo.__all__, 'adam(amsgrad=True)', 'sgd(mom=.9, nesterov=True)',
    *(f'adamw + {m}' for m in genopt.modifiers()), 'lion + clip_by_global_norm + lookahead'])
def test_side_by_side_is_one_after_another(spec):
    job = Job(Entrant(spec), EXACT, 8)
    drawn = 'vmap: RuntimeError: vmap: called random operation'
    alone = {'gradient_noise': drawn, 'PSGDKron': drawn, 'APOLLO': drawn,
             'skip_nonfinite': 'a gate', 'SOAP': 'a gate', 'SAM': 'a gate', 'sam': 'a gate',
             'Sophia': 'fed values', 'AdaHessian': 'fed values',
             'ScheduleFree': OTHERS, 'schedule_free': OTHERS,
             'clip_update_by_rms': 'data-dependent control flow'}
    reason, found = next((why for part, why in alone.items() if part in spec), ''), why_not(job)
    if spec in ('Muon', 'adamw + orthogonalize'):  # many products in bfloat16 may be rounded
        reason = found                             # otherwise than one, which is then seen
        assert not found or found.startswith('side by side differs by')
    assert reason in found and bool(reason) == bool(found)
    if reason: return
    pairs = [(f * job.entrant.lr, seed) for f in (.3, 1, 3) for seed in (0, 1)]
    assert max(disagreement(job, pairs, 8)) < 1e-10


def test_a_rule_that_evaluates_other_weights_is_judged_by_these():
    job = Job(Entrant('schedulefreesgd'), EXACT, 8)
    run = one_after_another(job, .1, 0)
    model = EXACT.build(0)
    opt = genopt.ScheduleFreeSGD(model.parameters(), lr=.1)
    for rows in EXACT.batches(8, 0): EXACT.step(model, opt, rows)
    def loss(): return EXACT.loss(model(EXACT.sets[2][0]), EXACT.sets[2][1]).item()
    trained = loss()
    opt.eval()
    assert run.test[-1] == pytest.approx(loss(), rel=1e-10) != trained


def test_a_step_gives_a_rule_what_it_asks_for():
    "SAM calls the closure twice; Sophia gets a diagonal where it is due."
    for name in ('sam', 'sophia', 'adahessian', 'adamw + sam'):
        model, before = EXACT.build(0), EXACT.build(0)
        opt = genopt.recipe(name)(model.parameters(), lr=.01)
        for rows in EXACT.batches(2, 0): EXACT.step(model, opt, rows)
        assert all(not torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters()))
        counts = [s['count'] for s in opt.state.values() if 'count' in s]
        assert all(c == 2 for c in counts)  # two whole steps


@pytest.mark.parametrize('name', TASKS)
def test_side_by_side_on_each_task(name):
    task = replace(TASKS[name], dtype=torch.float64, batch=8)
    job = Job(Entrant('adamw + clip_by_global_norm'), task, 4)
    pairs = [(.01, 0), (.03, 1), (1e-3, 1)]
    together, alone = side_by_side(job, pairs), [one_after_another(job, *pair) for pair in pairs]
    for a, b in zip(together, alone):
        assert (a.lr, a.seed, a.steps, a.how) == (b.lr, b.seed, b.steps, TOGETHER)
        np.testing.assert_allclose(a.test, b.test, rtol=1e-10)
        np.testing.assert_allclose(a.validation, b.validation, rtol=1e-10)


def test_what_is_not_side_by_side():
    assert why_not(Job(Entrant('torch.optim:AdamW'), TINY, 3)) == "not genopt's"
    sparse = {spec: Entrant(spec).tried(TASKS['factors'])
              for spec in ('sgd', 'adagrad', 'adamw', 'adam + lazy', 'torch.optim:SparseAdam')}
    assert sparse == {'sgd': True, 'adagrad': True, 'adamw': False, 'adam + lazy': True,
                      'torch.optim:SparseAdam': True}
    assert why_not(Job(Entrant('sgd'), TASKS['factors'], 3, sparse=True)) == 'sparse gradients'


def test_a_part_that_vmap_gets_wrong_runs_alone():
    @genopt.step
    def odd_step(grad, *, lr): return -lr * grad * (1 + torch._C._functorch.is_batchedtensor(grad))
    odd = genopt.recipe(lr=.1)(lambda: [odd_step])
    assert re.fullmatch('side by side differs by .*', why_not(Job(Entrant(odd), TINY, 3)))


def test_a_model_that_vmap_does_not_take():
    noisy = replace(TINY, model=lambda: torch.nn.Sequential(torch.nn.Dropout(.5), MLP(4, 6)))
    assert 'random' in why_not(Job(Entrant('sgd'), noisy, 3))


def test_a_recipe_for_matrices_has_the_hidden_ones():
    entrant, model = Entrant('muon'), TINY.build(0)
    groups = entrant.make(model, .02).param_groups
    assert [sorted(g['param_names']) for g in groups] == [
        ['layers.0.weight', 'layers.2.weight'],
        ['head.bias', 'head.weight', 'layers.0.bias', 'layers.2.bias']]
    assert [g['lr'] for g in groups] == [.02, .02]
    with pytest.raises(ValueError, match='it is for hidden matrices, and the model has none'):
        entrant.tried(TASKS['factors'])


# -- sweeps ----------------------------------------------------------------------------------------

def ended(lr, loss): return [Run(lr, 0, [0, 1], [1., loss], [1., loss])]


def test_the_next_learning_rates():
    s = Sweep(Job(Entrant('adam'), TINY, 1), [0], [])
    first = s.next_lrs()
    assert first == pytest.approx([1e-3 * 10**(e / 8) for e in EIGHTHS]) and len(first) == 7
    s.runs = {lr: ended(lr, lr) for lr in first}
    assert s.at_edge and s.best == first[0]
    assert s.next_lrs() == pytest.approx([first[0] * 10**-.5, first[0] * .1])
    s.runs = {lr: ended(lr, -lr) for lr in first}
    assert s.at_edge and s.next_lrs() == pytest.approx([first[-1] * 10**.5, first[-1] * 10])
    s.runs = {lr: ended(lr, abs(math.log(lr / 1e-3))) for lr in first}
    assert not s.at_edge and s.next_lrs() == pytest.approx([1e-3 * 10**-.25, 1e-3 * 10**.25])
    s.runs = {lr: ended(lr, math.inf) for lr in first}
    assert s.best == first[0] and s.at_edge  # all diverged: smaller ones come next


def test_all_have_the_same_tries(made):
    result = race(['sgd', 'lion', 'adamw'], [TINY], seeds=2)
    rows = result.data()['tasks'][0]['optimizers']
    tries = {r['tries'] for r in rows}
    assert len(tries) == 1 and tries <= {7 + MORE * i for i in range(ROUNDS + 1)}
    assert not any(r['at_edge'] for r in rows) or tries == {7 + MORE * ROUNDS}
    for r in rows:
        by_lr = {}
        for run in r['runs']: by_lr.setdefault(run['lr'], []).append(run)
        assert len(by_lr) == r['tries'] and all(len(v) == 2 for v in by_lr.values())
        means = {lr: np.mean([v['validation'][-1] for v in runs]) for lr, runs in by_lr.items()}
        assert r['lr'] == min(means, key=means.get)
        assert r['loss'] == pytest.approx(np.mean([v['test'][-1] for v in by_lr[r['lr']]]))
    assert sorted(r['rank'] for r in rows) == [1, 2, 3]


def test_a_run_that_diverges_is_a_result(tmp_path):
    result = race(['sgd', 'torch.optim:SGD'], [replace(TINY, name='wild')], seeds=1,
                  lrs=[.1, 1e20], out=tmp_path)
    for row in result.data()['tasks'][0]['optimizers']:
        tame, wild = row['runs']
        assert wild['test'][-1] is wild['validation'][-1] is None and tame['test'][-1] < 2
        assert row['lr'] == .1 and row['diverged'] == 0 and row['tries'] == 2
    again = race(['sgd'], [replace(TINY, name='wild')], seeds=1, lrs=[.1, 1e20], out=tmp_path)
    assert again.sweeps[0][0].runs[1e20][0].test[-1] == math.inf
    gone = race(['sgd'], [TINY], seeds=1, lrs=[1e20])
    assert 'diverged' in gone.table and gone.data()['tasks'][0]['optimizers'][0]['loss'] is None
    gone.save(tmp_path)


class OfFormula:
    "Runs whose loss is a formula of the learning rate."
    def __init__(self, loss): self.loss = loss
    def get(self, job, lr, seed): return ended(lr, self.loss(job, lr))[0]


def test_all_have_the_same_tries_when_gaps_run_out():
    near = [Sweep(Job(Entrant(s), TINY, 1), [0], []) for s in ('adam', 'sgd', 'lion')]
    def loss(job, lr): return -lr if job.entrant.label == 'SGD' else abs(math.log(lr / 1e-3))
    sweep(near, OfFormula(loss), lambda n: None)
    assert [len(s.runs) for s in near] == [7 + MORE * ROUNDS] * 3
    assert max(near[0].runs) == pytest.approx(1e-3 * 10**1.5)


class Mode(MLP):
    "Its outputs say in which mode it is."
    def forward(self, x): return super().forward(x) + 100 * self.training


def dropping(): return torch.nn.Sequential(torch.nn.Dropout(.5), MLP(4, 6))


def test_held_out_losses_are_those_of_eval():
    job = Job(Entrant('sgd'), replace(TINY, model=partial(Mode, 4, 6)), 2)
    alone, [together] = one_after_another(job, 1e-9, 0), side_by_side(job, [(1e-9, 0)])
    for run in alone, together: assert max(run.validation + run.test) < 10
    np.testing.assert_allclose(alone.test, together.test, rtol=1e-5)
    model = dropping()
    model[0].eval()
    from genopt.racing.training import held_out
    held_out(TINY, model)
    assert [m.training for m in model] == [False, True]  # as it was


def test_a_seed_decides_what_a_model_draws():
    job = Job(Entrant('sgd'), replace(TINY, model=dropping), 6)
    state, runs = torch.get_rng_state(), [one_after_another(job, .1, s) for s in (0, 0, 1)]
    assert runs[0] == runs[1] and runs[0].test != runs[2].test
    assert torch.equal(state, torch.get_rng_state())


def test_a_task_in_half_precision(tmp_path):
    task = replace(TINY, dtype=torch.bfloat16)
    settings = dict(seeds=1, lrs=[.03], out=tmp_path)
    row, = race(['adamw'], [task], **settings).data()['tasks'][0]['optimizers']
    assert row['how'] == 'low precision' and row['loss'] < 3
    assert losses(race(['adamw'], [task], **settings)) == [[row['runs']]]


# -- interruptions ---------------------------------------------------------------------------------

def test_an_interrupted_race_goes_on(tmp_path, monkeypatch, made):
    settings = dict(optimizers=['sgd', 'adamw + skip_nonfinite', 'lion'], tasks=[TINY], seeds=2)
    whole = race(**settings)
    calls, one = [], one_after_another
    def interrupted(*args):
        calls.append(args)
        if len(calls) == 4: raise KeyboardInterrupt
        return one(*args)
    monkeypatch.setattr(sweeping, 'one_after_another', interrupted)
    with pytest.raises(KeyboardInterrupt): race(**settings, out=tmp_path)
    before = (tmp_path / 'runs.jsonl').read_text()
    assert len(before.split()) > 7 and '"how": "a gate"' in before
    (tmp_path / 'runs.jsonl').write_text(before + '{"key": "cut of')
    made.clear()
    again = race(**settings, out=tmp_path)
    assert losses(again) == losses(whole) and again.table == whole.table
    assert len(calls) == 4 + len(again.sweeps[0][1].runs) * 2 - 3
    assert not [pairs for label, pairs in made if label == 'SGD' and len(pairs) > 13]
    made.clear()
    assert losses(race(**settings, out=tmp_path)) == losses(whole) and not made


def test_what_has_changed_is_run_anew(here, made):
    def labels(*specs, **more):
        made.clear()
        race(specs, [TINY], lrs=[.1, .2], out=here, **{'seeds': 2, **more})
        return [(label, len(pairs)) for label, pairs in made]
    both = 'mine.py:Squash', 'sgd'
    assert labels(*both) == [('Squash', 4), ('SGD', 4)]
    assert labels(*both) == []
    (here / 'mine.py').write_text(MINE.replace('tanh', 'sin'))
    assert labels(*both) == [('Squash', 4)]
    assert labels(*both, seeds=3) == [('Squash', 2), ('SGD', 2)]  # those that are new
    assert labels('adamw', *both, seeds=3) == [('AdamW', 6)]
    assert labels(*both, steps=5) == [('Squash', 4), ('SGD', 4)]
    assert labels('sgd(mom=.5)') == [('SGD(mom=0.5)', 4)]
    (here / 'mine.py').write_text(MINE)
    assert labels(*both) == []


WIDE = """
from functools import partial
import torch
from genopt import Task, recipe, sgd_step, transform
from genopt.racing.models import MLP
from genopt.racing.tasks import split
def data():
    x = torch.arange(120.).view(30, 4) / 100
    return split(x, x[:, 0], 5, 5)
def mean(outputs, targets, power): return (outputs - targets).abs().pow(power).mean()
WIDTH = 4
def closed(width): return lambda: MLP(4, width)
TASK = Task('wide', data, {model}, partial(mean, power={power}), steps=5)
def scaled(by):
    @transform
    def scale(grad): return by * grad
    return recipe(lr=.1)(lambda: [scale, sgd_step])
Mine = scaled({by})
"""


@pytest.mark.parametrize('model', ['partial(MLP, 4, {})', 'closed({})', 'lambda: MLP(4, {})'])
@pytest.mark.parametrize('in_file', [True, False], ids=['file', 'notebook'])
def test_values_that_functions_carry_are_in_the_key(model, in_file, tmp_path, made):
    def runs(width, power=2, by=1.):
        text = WIDE.format(model=model.format(width), power=power, by=by)
        if not in_file: path = f'<cell {width} {power} {by}>'
        else:  # the same text for all, so that only values tell
            (path := tmp_path / 'wide.py').write_text(WIDE)
        exec(compile(text, path, 'exec'), names := {'__name__': '__main__'})
        made.clear()
        race([names['Mine']], [names['TASK']], seeds=1, lrs=[.1], out=tmp_path)
        return len(made)
    assert [runs(4), runs(4), runs(64), runs(4)] == [1, 0, 1, 0]
    assert [runs(4, power=3), runs(4, by=2.), runs(4, 3)] == [1, 1, 0]


def test_what_a_cell_of_a_notebook_reads_is_in_its_key():
    def made(body):
        text = f"""
class Net:
    def forward(self): return helper(1)
def helper(x): return {body}
def part(x): return [helper(y) for y in x], lambda: other
other = {{'a': [helper]}}
"""
        exec(compile(text, '<cell>', 'exec'), names := {'__name__': '__main__'})
        return source(names['part']), source(names['Net'])
    for one, same, other in zip(made('2 * x'), made('2 * x'), made('3 * x')):
        assert one == same != other
        assert ' at 0x' not in ''.join(one)  # it is the same in another process


# -- results and commands --------------------------------------------------------------------------

def test_a_race_of_ones_own(tmp_path):
    result = race([genopt.Lion, torch.optim.Adam, 'adamw'], [TINY, 'leastsquares'], seeds=1,
                  steps=6, lrs=[.01, .1])
    assert repr(result) == result.table
    assert re.findall(r'^  (\S+) .* (?:side by side|one by one: .*)$', result.table, re.M) == [
        'Lion', 'Adam', 'AdamW'] * 2
    assert "one by one: not genopt's" in result.table and 'mean rank' in result.table
    assert len(result.plot().axes) == 4 and len(result.plot('products').axes) == 2
    paths = result.save(tmp_path)
    assert [p.name for p in paths] == ['race.json', 'products.png', 'leastsquares.png']
    with pytest.raises(KeyError, match='`digits` was not raced: there are `products`, `least'):
        result.plot('digits')


def run(capsys, *argv):
    status = main(['race', *map(str, argv)])
    return status, *capsys.readouterr()


def test_the_command(here, capsys):
    argv = ('adamw', 'adamw + cautious', 'mine.py:Squash', 'torch.optim:SGD', '--tasks',
            'leastsquares', '--seeds', 2, '--steps', 10, '--lrs', '.03,.1', '--out', 'deep/er')
    status, out, _ = run(capsys, *argv)
    assert status == 0 and 'leastsquares: 10 steps, gap to the optimum, lower is better' in out
    for name in ('AdamW ', 'AdamW + cautious', 'Squash', 'torch.optim:SGD'): assert name in out
    folder = here / 'deep' / 'er'
    with Image.open(folder / 'leastsquares.png') as picture: assert picture.size == (750, 900)
    found = json.loads((folder / 'race.json').read_text())
    assert {*found} == {'genopt', 'torch', 'python', 'tasks'}
    task, = found['tasks']
    assert {*task} == {'task', 'about', 'measure', 'steps', 'seeds', 'optimum', 'optimizers'}
    assert task['steps'] == 10 and task['seeds'] == 2 and task['optimum'] > 0
    for row in task['optimizers']:
        assert {*row} == {'optimizer', 'lr', 'tries', 'at_edge', 'loss', 'spread', 'diverged',
                          'sparse', 'how', 'rank', 'runs'}
        for r in row['runs']:
            assert {*r} == {'lr', 'seed', 'steps', 'validation', 'test', 'how'}
            assert len(r['steps']) == len(r['test']) == len(r['validation']) == 11
    assert run(capsys, *argv)[1] == out  # from the runs that are there


def test_a_task_in_a_file(here, capsys):
    (here / 'task.py').write_text('''
import torch
from functools import partial
from genopt import Task
from genopt.racing.models import MLP
from genopt.racing.tasks import split
def data():
    x = torch.ones(30, 4)
    return split(x, x[:, 0], 5, 5)
ONES = Task('ones', data, partial(MLP, 4, 3), torch.nn.functional.mse_loss, steps=5)
''')
    status, out, _ = run(capsys, 'sgd', '--tasks', 'task.py:ONES', '--seeds', 1, '--lrs', '.1')
    assert status == 0 and 'ones: 5 steps, loss' in out and (here / 'race/ones.png').exists()


def test_help(capsys):
    with pytest.raises(SystemExit) as e: main(['race', '--help'])
    out = ' '.join(capsys.readouterr().out.split())
    assert e.value.code == 0 and 'momentum adamw lion' in out
    assert all(f'--{o} ' in out for o in ('tasks', 'seeds', 'lrs', 'steps', 'out'))
    assert all(t in out for t in TASKS)


@pytest.mark.parametrize('argv, sentence', [
    (['adm'], 'there is no recipe or part `adm`: did you mean `'),
    (['cautious'], '`cautious` is not an optimizer that can race: give a name (adam)'),
    (['sgd', 'SGD'], '`SGD` is there twice: name it once'),
    (['mine.py:Slow'], '`mine.py:Slow` does not step on the task digits: no parameter has moved '
                       'in 3 steps'),
    (['mine.py:Fixed'], '`mine.py:Fixed` does not take `lr`, and a race tries learning rates'),
    (['mine.py:Bare'], '`Bare` has no default learning rate around which to look: give learning '
                       'rates, with --lrs or lrs='),
    (['torch.optim:SparseAdam'], '`torch.optim:SparseAdam` does not step on the task digits: '),
    (['muon', '--tasks', 'factors'], '`Muon` does not step on the task factors: ValueError: it is '
                                     'for hidden matrices, and the model has none'),
    (['--tasks', 'digit'], 'there is no task `digit`: did you mean `digits`?'),
    (['--tasks', 'text,text'], 'the task text is there twice: name it once'),
    (['--tasks', ','], 'there are no tasks: name some of digits, diabetes, text, leastsquares, '),
    (['--tasks', 'mine.py:TASK'], 'mine.py has no task `TASK`: define one, a genopt.Task'),
    (['--tasks', 'none.py:TASK'], 'none.py cannot be read: No such file or directory'),
    (['--lrs', ''], 'lrs = []: give "auto", or some learning rates'),
    (['--lrs', 'fast'], '--lrs fast: give numbers, with commas between'),
    (['--lrs', '.1,-1'], '-1 is not a learning rate'),
    (['--seeds', 0], 'seeds = 0: give at least 1'),
    (['--steps', 0], 'steps = 0: give at least 1')])
def test_options_that_make_no_sense(argv, sentence, here, capsys):
    status, out, err = run(capsys, *argv)
    assert status == 1 and err.startswith(f'race: {sentence}') and err.count('\n') == 1


def test_an_interrupted_command(here, capsys, monkeypatch):
    def interrupt(*args): raise KeyboardInterrupt
    monkeypatch.setattr(sweeping, 'side_by_side', interrupt)
    status, _, err = run(capsys, 'sgd', '--tasks', 'leastsquares', '--steps', 3)
    assert status == 130 and err.endswith(
        f'What is done is in {os.path.join("race", "runs.jsonl")}: the same command goes on from '
        'there.\nrace: interrupted\n')


@pytest.mark.parametrize('package', ['sklearn', 'matplotlib', 'rich'])
def test_a_missing_extra(package, here, capsys, monkeypatch):
    for name in [n for n in sys.modules if n.split('.')[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert run(capsys, 'sgd')[2] == (f'race: {package} is not installed, and the race needs it: '
                                     'pip install "genopt-torch[race]"\n')


def test_a_folder_that_cannot_be_written(here, capsys):
    (here / 'file').write_text('')
    status, _, err = run(capsys, 'sgd', '--out', 'file/folder')
    assert status == 1 and err == 'race: cannot write file/folder/runs.jsonl: Not a directory\n'


def test_the_names_of_tasks():
    assert find_task('text') is TASKS['text']
    assert all(t.name == name and t.about for name, t in TASKS.items())


def test_two_recipes_of_one_name_are_told_apart(tmp_path):
    from genopt.racing.entrants import enter
    paths = [tmp_path / name for name in ('a.py', 'b.py')]
    for p, cautious in zip(paths, ('', ' + genopt.cautious')):
        p.write_text('import genopt\n@genopt.recipe(lr=.1)\ndef Mine(): return '
                     f'(genopt.SGD{cautious}).parts()\n')
    assert [e.label for e in enter([*map(str, paths), 'adam'])] == [*map(str, paths), 'Adam']
    with pytest.raises(ValueError, match='is there twice: name it once'): enter(['adam', 'adam'])
