"Promise: the benchmark compares the same work, in one process, and says in one sentence what it cannot do."
import json
import math

import pytest
import torch

from genopt.cli import bench, main
from genopt.cli.bench import _bytes_moved, _recipe, _shapes


@pytest.mark.filterwarnings('ignore')  # torch's profiler
def test_a_short_one(tmp_path, capsys):
    assert main(['bench', '--recipes', 'Adam,SGD(momentum=0.9)', '--models', '20x8x8,1k', '--rounds', '2',
                 '--peers', '', '--first', '', '--largest', '32000', '--out', str(tmp_path)]) == 0
    out, result = capsys.readouterr().out, json.loads((tmp_path / 'bench.json').read_text())
    assert 'genopt compiled' in out and 'torch fused' in out and 'wrote' in out
    contenders = {'genopt compiled', 'genopt eager', 'torch loop', 'torch foreach', 'torch fused', 'mul_'}
    assert [(s['recipe'], s['model'], s['tensors'], s['elements']) for s in result['steps']] == [
        ('Adam', '20x8x8', 20, 1280), ('Adam', '1k', 1, 1000),
        ('SGD(momentum=0.9)', '20x8x8', 20, 1280), ('SGD(momentum=0.9)', '1k', 1, 1000)]
    for s in result['steps']:
        rows = {r['contender']: r for r in s['rows']}
        assert {*rows} == contenders and not any('failed' in r for r in rows.values())
        assert rows['genopt compiled']['extra_memory'] == 0
        if s['recipe'] == 'Adam': assert rows['torch foreach']['extra_memory'] > .5
        best = rows['genopt compiled']['to']
        assert rows[best]['ratio'] == 1 and rows[best]['ms'] == min(r['ms'] for k, r in rows.items() if 'torch' in k)
    assert [(c['x'], c['n']) for c in result['curves']] == [
        *(('tensors', n) for n in (10, 30)), *(('elements', round(10**e)) for e in (3, 3.5, 4, 4.5))]
    assert (tmp_path / 'bench.png').stat().st_size > 10_000
    assert result['machine']['torch'] == torch.__version__


@pytest.mark.filterwarnings('ignore')
def test_first_steps(tmp_path, monkeypatch):
    every = bench._contenders  # torch.compile's take half a minute
    monkeypatch.setattr(bench, '_contenders', lambda *args: {k: v for k, v in every(*args).items() if 'eager' in k or
                                                             'fused' in k})
    assert main(['bench', '--recipes', 'Adam', '--models', '', '--peers', '', '--first', '3x5', '--no-curves', '--out',
                 str(tmp_path)]) == 0
    [first] = json.loads((tmp_path / 'bench.json').read_text())['first']
    for r in first['rows']: assert 0 < r['again'] < 60 and 0 < r['cold'] < 60


def test_shapes_are_those_of_the_models():
    assert len(_shapes('resnet50')) == 161 and sum(map(math.prod, _shapes('resnet50'))) == 25_557_032
    assert len(_shapes('gpt2')) == 148 and sum(map(math.prod, _shapes('gpt2'))) == 124_439_808
    assert _shapes('100M') == [(100_000_000,)] and _shapes('2x3x4') == [(3, 4)] * 2 and _shapes('7') == [()] * 7


def test_what_a_step_moves():
    "Adam reads the parameter, the gradient and two averages, and writes all but the gradient: seven in all."
    assert _bytes_moved(_recipe('Adam'), 10) == 4 * 7 * 10 and _bytes_moved(_recipe('SGD'), 10) == 4 * 3 * 10


@pytest.mark.parametrize('args, sentence', [
    (['--recipes', 'Adm'], 'bench: `Adm` is no recipe: there are `SGD`, `Momentum`'),
    (['--recipes', 'Adam(amsgrad)'], 'bench: `Adam(amsgrad)`: give options as in Adam(amsgrad=True)'),
    (['--recipes', 'Adam(nesterov=True)'], 'bench: `Adam(nesterov=True)`: no part takes `nesterov`'),
    (['--models', 'resnet'], 'bench: `resnet` is no model: give resnet50, gpt2, 500x32x32'),
    (['--models', '0x3'], 'bench: `0x3` is no model'),
    (['--device', 'tpu'], 'bench: --device tpu: give cpu or cuda'),
    (['--device', 'meta'], 'bench: --device meta: give cpu or cuda'),
    (['--rounds', '0'], 'bench: --rounds 0: give at least 1'),
    (['--peers', 'optimus'], 'bench: `optimus` is no library that this knows: did you mean `optimi`?'),
    (['--out', '/proc/none/such'], 'bench: cannot write /proc/none/such/bench.json: ')])
def test_what_it_cannot_do(args, sentence, capsys):
    assert main(['bench', *args]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_no_gpu(capsys):
    assert main(['bench', '--device', 'cuda']) == 1 and 'torch finds no CUDA here' in capsys.readouterr().err
