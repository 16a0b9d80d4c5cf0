"Promise: the benchmark compares the same work, and says in one sentence what it cannot do."
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import genopt
from genopt.bench import checking, figure, first, timing, watching
from genopt.bench.contenders import contenders, installed, task
from genopt.bench.goals import GOALS, Flat, Goal, measure
from genopt.bench.models import shapes
from genopt.bench.timing import differences
from genopt.cli import main


@pytest.mark.filterwarnings('ignore')  # torch's profiler
def test_a_short_one(tmp_path, capsys):
    assert main(['bench', '--recipes', 'Adam,SGD(momentum=0.9)', '--models', '20x8x8,1k',
                 '--rounds', '2', '--first', '', '--largest', '32000', '--out', str(tmp_path)]) == 0
    out, result = capsys.readouterr().out, json.loads((tmp_path / 'bench.json').read_text())
    assert 'genopt compiled' in out and 'torch fused' in out and 'wrote' in out
    contenders = {'genopt compiled', 'genopt plain', 'torch loop', 'torch foreach', 'torch fused',
                  'mul_'}
    assert [(s['recipe'], s['model'], s['tensors'], s['elements']) for s in result['steps']] == [
        ('Adam', '20x8x8', 20, 1280), ('Adam', '1k', 1, 1000),
        ('SGD(momentum=0.9)', '20x8x8', 20, 1280), ('SGD(momentum=0.9)', '1k', 1, 1000)]
    for s in result['steps']:
        rows = {r['contender']: r for r in s['rows']}
        assert {*rows} == contenders and not any('failed' in r for r in rows.values())
        assert rows['genopt compiled']['extra_memory'] == 0
        moved = 4 * s['elements'] * (7 if s['recipe'] == 'Adam' else 5)  # see below
        for label in contenders - {'mul_'}:
            r = rows[label]
            assert r['gb_per_s'] * r['ms'] * 1e6 == pytest.approx(moved)
        if s['recipe'] == 'Adam': assert rows['torch foreach']['extra_memory'] > .5
        best = rows['genopt compiled']['to']
        assert rows[best]['ratio'] == 1
        assert rows[best]['ms'] == min(r['ms'] for k, r in rows.items() if 'torch' in k)
    assert [(c['x'], c['n']) for c in result['curves']] == [
        *(('tensors', n) for n in (10, 30)),
        *(('elements', round(10**e)) for e in (3, 3.5, 4, 4.5))]
    assert (tmp_path / 'bench.png').stat().st_size > 10_000
    assert result['machine']['torch'] == torch.__version__


@pytest.mark.filterwarnings('ignore')
def test_first_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(first, 'contenders', lambda *args: ['genopt plain', 'nobody'])
    assert main(['bench', '--models', '', '--first', '3x5', '--no-curves', '--out',
                 str(tmp_path)]) == 0
    [found] = json.loads((tmp_path / 'bench.json').read_text())['first']
    ours, nobody = found['rows']
    assert 0 < ours['again'] < 60 and 0 < ours['cold'] < 60
    assert nobody == dict(contender='nobody', cold=None, again=None)


@pytest.mark.parametrize('recipe', ['Adam', 'AdamW', 'SGD', 'RMSprop', 'Momentum'])
@pytest.mark.filterwarnings('ignore')  # other libraries' own
def test_all_contenders_do_the_same_work(recipe):
    libraries = [name for name in ('optimi', 'fastai', 'optax') if installed(name)]
    for row in differences(task(recipe), libraries):
        assert row['float64'] < 1e-13 and row['float32'] < 1e-5, row['contender']


def test_a_contender_that_fails_is_named(tmp_path, monkeypatch, capsys):
    def broken(params): raise RuntimeError('out of luck')
    every = lambda *args: {**contenders(*args), 'torch broken': broken}
    monkeypatch.setattr(timing, 'contenders', every)
    rows = timing.compare(task('SGD'), [(2, 3)], torch.device('cpu'), 1, [])
    assert rows[-1] == dict(contender='torch broken', failed='RuntimeError: out of luck')


def test_every_recipe_is_checked_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checking, 'names_of_recipes', lambda: ['Lion', 'Muon', 'Adafactor'])
    monkeypatch.setattr(checking, 'FORMATS', dict([*checking.FORMATS.items()][:1]))
    options = ['bench', '--check', '--models', '3x5', '--rounds', '1', '--first', '', '--no-curves',
               '--out', str(tmp_path)]
    assert main(options) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith('ok')]
    assert [line[2].strip(',') for line in said] == ['Lion', 'Muon', 'Adafactor', 'AdamW']
    assert all(float(line[1]) <= 1e-12 and 'kernel:' in line for line in said)
    (tmp_path / 'bench.json').unlink()

    walk = checking._walk
    def worse(recipe, *args, compile=None, **said):
        opt, found = walk(recipe, *args, compile=compile, **said)
        if recipe is genopt.Lion and compile is None: found[0] += 1e-9
        return opt, found
    monkeypatch.setattr(checking, '_walk', worse)
    assert main(options) == 1 and not (tmp_path / 'bench.json').exists()
    assert '1 wrong: Lion' in capsys.readouterr().out
    def fails(*args, **said): raise ValueError('out of luck')
    monkeypatch.setattr(checking, '_walk', fails)
    assert main(options) == 1
    assert capsys.readouterr().out.count('ValueError: out of luck') == 4
    monkeypatch.setattr(checking, '_walk', walk)
    monkeypatch.setattr(checking, '_engine', lambda opt: 'eager engine')  # nothing was compared
    assert main(options) == 1 and '4 wrong' in capsys.readouterr().out


# -- goals -----------------------------------------------------------------------------------------

def test_goals_are_measured_by_name(tmp_path, capsys):
    threads = torch.get_num_threads()
    assert main(['bench', '--rows', 'compiled-50, per-tensor', '--rounds', '2', '--out',
                 str(tmp_path)]) == 0
    result = json.loads((tmp_path / 'goals.json').read_text())
    assert result['machine']['threads'] == 2 and torch.get_num_threads() == threads
    small, flat = result['goals']
    assert (small['name'], small['rounds'], small['limit']) == ('compiled-50', 2, .5)
    assert {*small['costs']} == {'ours', "torch's"} and small['unit'] == 'ms a step'
    assert [*flat['costs']] == ['100', '300', '1000', '3000'] and flat['unit'] == 'µs a tensor'
    assert flat['value'] >= 1
    lines = capsys.readouterr().out.splitlines()
    assert 'Lower is better' in lines[0]
    for row, line in zip(result['goals'], lines[4:]):
        name, _, measured, limit, met, _ = line.strip('| ').split(' | ')
        assert name == row['name'] and measured == f'{row["value"]:.2f}'
        assert limit == f'≤ {row["limit"]}'
        assert met == ('yes' if row['value'] <= row['limit'] else '**no**')


TRAINING = {'watch-residual', 'watch-transformer'}  # of networks of their own, which takes long


def lacks_muon(goal): return goal.name.startswith('muon') and not hasattr(torch.optim, 'Muon')


@pytest.mark.parametrize('goal', [g for g in GOALS if g.name not in TRAINING],
                         ids=lambda g: g.name)
def test_each_goal_can_be_measured(goal):
    small = replace(goal, work={k: (make, '3x4x4') for k, (make, _) in goal.work.items()})
    row = measure(small, torch.device('cpu'), 1)
    if lacks_muon(goal): assert 'Muon' in str(row['failed'])
    else: assert 'failed' not in row and row['value'] > 0


@pytest.mark.parametrize('model', watching.MODELS)
def test_what_is_trained_to_see_what_watching_costs(model):
    params, loss = watching.MODELS[model]()
    loss().backward()
    assert all(p.grad.isfinite().all() for p in params)


OTHER_RULES = {'lamb', 'stableadamw', 'cautious', 'trust-ratio', 'per-tensor', *TRAINING}


@pytest.mark.parametrize('goal', [g for g in GOALS if g.name not in OTHER_RULES],
                         ids=lambda g: g.name)
def test_both_of_a_goal_follow_one_rule(goal):
    if lacks_muon(goal): pytest.skip('this torch has no Muon')
    draw = torch.Generator().manual_seed(0)
    param, *grads = torch.randn(6, 32, 32, dtype=torch.float64, generator=draw)
    ends = []
    for make, _ in goal.work.values():
        contender = make([param])
        for grad in grads:
            contender.give([grad.clone()])
            contender.step()
        ends.append(contender.values()[0])
    for end in ends[1:]: torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-12)
    assert (ends[0] - param).abs().max() > 1e-5


def test_what_a_goal_measures():
    "The median of the ratios of pairs, and not the ratio of the medians."
    work = {'ours': (None, '2x3'), "torch's": (None, '4x3'), 'another': (None, '1x3')}
    times = {'ours': [1., 4., 9.], "torch's": [2., 2., 3.], 'another': [0., 0., 0.]}
    assert Goal('', '', 1., work).value(times) == 2.
    flat = Flat('', '', 1., work)
    assert flat.cost('ours', 1.) == 5e5 and flat.cost("torch's", 1.) == 2.5e5
    assert flat.value({'a': [1., 4.], 'b': [2., 2.], 'c': [8., 8.]}) == 5.


def test_a_goal_that_cannot_be_measured_says_why(tmp_path, capsys, monkeypatch):
    def broken(params): raise RuntimeError('out of luck')
    monkeypatch.setattr('genopt.bench.goals.GOALS', [Goal('a', 'A', 1., {'ours': (broken, '2x3')})])
    assert main(['bench', '--rows', 'all', '--out', str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert '| a | A | failed | ≤ 1 | – | ours: RuntimeError: out of luck |' in out


# -- what is kept, and what is refused -------------------------------------------------------------

KEPT = [*(Path(__file__).parents[1] / 'benchmarks').glob('*.json')]


@pytest.mark.parametrize('path', KEPT, ids=lambda p: p.stem)
def test_the_numbers_that_are_kept_are_in_this_form(path, tmp_path):
    kept = json.loads(path.read_text())
    if 'goals' in kept:
        assert {r['name'] for r in kept['goals']} <= {g.name for g in GOALS}
        return
    assert [*kept] == ['machine', 'libraries', 'rounds', 'steps', 'first', 'differences', 'curves']
    if kept['curves']: figure.draw(kept, 'Adam').savefig(tmp_path / 'a.png')
    for s in kept['steps']: assert {'recipe', 'model', 'tensors', 'rows', 'elements'} == {*s}


def test_shapes_are_those_of_the_models():
    assert len(shapes('resnet50')) == 161 and sum(map(math.prod, shapes('resnet50'))) == 25_557_032
    assert len(shapes('gpt2')) == 148 and sum(map(math.prod, shapes('gpt2'))) == 124_439_808
    assert shapes('100M') == [(100_000_000,)] and shapes('2x3x4') == [(3, 4)] * 2
    assert shapes('7') == [()] * 7
    assert len(shapes('transformer')) == 26
    assert sum(map(math.prod, shapes('transformer'))) == 10_153_344


def test_what_a_step_moves():
    """Adam reads the parameter, the gradient and two averages, and writes all but the gradient: 7.

    A clip reads gradients once more, and Adafactor's averages are a row and a column.
    """
    def moved(recipe):
        p = torch.nn.Parameter(torch.ones(5, 2)); p.grad = torch.ones(5, 2)
        opt = recipe([p]); opt.step()
        return timing.bytes_moved(opt)
    assert moved(genopt.Adam) == 4 * 7 * 10 and moved(genopt.SGD) == 4 * 3 * 10
    assert moved(genopt.AdamW + genopt.clip_by_global_norm) == 4 * 8 * 10
    assert moved(genopt.Adafactor) == 4 * (3 * 10 + 2 * (5 + 2))


@pytest.mark.parametrize('args, sentence', [
    (['--recipes', 'Adm'], 'bench: there is no recipe or part `Adm`: did you mean `Adam`?'),
    (['--recipes', 'Adam(amsgrad)'],
     "bench: 'Adam(amsgrad)': give its arguments by name, each once, with plain values"),
    (['--recipes', 'Adam(nesterov=True)'],
     'bench: `Adam(nesterov=True)`: no part takes `nesterov`'),
    (['--models', 'resnet'],
     'bench: `resnet` is not a model: give resnet50, gpt2, gpt2-medium, transformer, 500x32x32'),
    (['--models', '0x3'], 'bench: `0x3` is not a model'),
    (['--device', 'tpu'], 'bench: --device tpu: give cpu or cuda'),
    (['--device', 'meta'], 'bench: --device meta: give cpu or cuda'),
    (['--rounds', '0'], 'bench: --rounds 0: give at least 1'),
    (['--rows', 'clipp'], 'bench: `clipp` is not a row: did you mean `clip`?'),
    (['--rows', 'all', '--rounds', '0'], 'bench: --rounds 0: give at least 1'),
    (['--peers', 'optimus'], 'bench: `optimus` is not in the benchmark: did you mean `optimi`?'),
    (['--out', '/proc/none/such'], 'bench: cannot write /proc/none/such/bench.json: ')])
def test_what_it_cannot_do(args, sentence, capsys):
    assert main(['bench', *args]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_no_gpu(capsys):
    assert main(['bench', '--device', 'cuda']) == 1
    assert 'torch finds no CUDA here' in capsys.readouterr().err
