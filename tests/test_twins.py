"""Promise: one command shows that the optimizers agree with torch's.

It fails when they do not, and says in one sentence what is wrong.
"""
import json
import sys
from pathlib import Path

import genopt
import pytest
from genopt import Optimizer
from genopt.bench import pairs
from genopt.cli import main
from genopt.cli.twins import NEXT


def fails(capsys, *argv):
    assert main(['twins', *map(str, argv)]) == 1
    err = capsys.readouterr().err
    assert err.startswith('twins: ') and err.count('\n') == 1  # one sentence, no traceback
    return err[len('twins: '):-1]


def test_the_twins(tmp_path, capsys):
    assert main(['twins', '--epochs', '2', '--out', str(tmp_path/'deep'/'er')]) == 0
    out = capsys.readouterr().out
    for name in ('SGD', 'Momentum', 'RMSprop', 'Adam'): assert f'\n {name} ' in out
    assert out.count('lower is better') == 2 and out.count('higher is better') == 3
    assert 'Above 1×, genopt is faster.' in out
    assert [line for line in out.splitlines() if line.startswith('–')] == [
        '–  torch.optim.RMSprop has no fused kernel.']
    result = json.loads((tmp_path/'deep'/'er'/'twins.json').read_text())
    assert [r['optimizer'] for r in result['optimizers']] == ['SGD', 'Momentum', 'RMSprop', 'Adam']
    for r in result['optimizers']:
        assert 0 <= r['weight_difference'] < 1e-10 and r['speed_over_torch'] > 0
        speeds = [r['speed_over_torch'], r['speed_over_fused']]
        if r['optimizer'] == 'RMSprop': assert speeds.pop() is None
        row = next(line for line in out.splitlines() if line.startswith(f' {r["optimizer"]} '))
        assert [f'{s:.2f}×' for s in speeds] == [w for w in row.split() if w.endswith('×')]
        assert len(r['step_ms']) == 1 + len(speeds)
        assert r['accuracy'][0] == pytest.approx(r['accuracy'][1])
        curve = result['curves'][r['optimizer']]
        assert len(curve['genopt']) == len(curve['torch']) == 2 * 23
        assert curve['genopt'] == pytest.approx(curve['torch'], rel=1e-10)
        assert curve['genopt'][-1] < curve['genopt'][0]
    assert (tmp_path/'deep'/'er'/'twins.png').read_bytes().startswith(b'\x89PNG')


def test_a_speed_is_the_median_of_pairs():
    pair = pairs.Pair('RMSprop', .1, pairs.net(0))
    pair.ours.seconds, pair.theirs.seconds = [1., 2., 10.], [2., 6., 5.]
    assert pair.speed_over(pair.theirs) == 2. and pair.speed_over(pair.fused) is None


def test_torchs_kernel_trains_too():
    pair = pairs.Pair('Adam', .01, pairs.net(0))
    for x, y in pairs.batches(pairs.digits(0)[0], 400, 2, 0): pair.step(x, y)
    assert pair.fused.opt.defaults['fused'] is True
    assert pair.fused.losses == pytest.approx(pair.ours.losses, rel=1e-10)
    assert all(len(r.seconds) == 8 for r in pair.racers) and len(pair.racers) == 3


def test_what_to_try_next_works(capsys):
    *commands, notebook = [line[4:].split('  ')[0] for line in NEXT.splitlines()[2:]]
    for command in commands:
        assert command.startswith('python -m genopt ') and main(command.split()[3:]) == 0
    assert len(commands) == 2 and (Path(__file__).parents[1] / notebook).exists()


def test_options(tmp_path, capsys):
    args = ['twins', '--epochs', '1', '--out', str(tmp_path),
            '--optimizers', 'adamw, sgd', '--lrs', '.01,.5', '--batch', '400']
    results = []
    for seed in (1, 1, 2):
        assert main([*args, '--seed', str(seed)]) == 0
        results.append(json.loads((tmp_path/'twins.json').read_text()))
    assert [(r['optimizer'], r['lr']) for r in results[0]['optimizers']] == [('AdamW', .01),
                                                                             ('SGD', .5)]
    assert results[0]['curves'] == results[1]['curves'] != results[2]['curves']
    assert len(results[0]['curves']['SGD']['torch']) == 4


def test_a_pair_that_drifts_apart_is_an_error(tmp_path, capsys, monkeypatch):
    def AlmostAdam(params, lr):
        return Optimizer(params, genopt.Adam.parts(), lr=lr, mom=.9, sqr_mom=.9991)
    AlmostAdam.parts = genopt.Adam.parts
    monkeypatch.setattr(pairs, 'find', {'Adam': AlmostAdam}.get)
    sentence = fails(capsys, '--epochs', 1, '--optimizers', 'Adam', '--out', tmp_path)
    assert sentence.startswith('Adam and torch.optim.Adam drifted apart: their weights differ by ')
    assert (tmp_path/'twins.png').exists()  # to see what went wrong


def test_help(capsys):
    assert main([]) == main(['--help']) == 0
    assert 'twins' in capsys.readouterr().out
    with pytest.raises(SystemExit) as e: main(['twins', '--help'])
    out = capsys.readouterr().out
    assert e.value.code == 0
    assert all(f'--{o} ' in out for o in ('epochs', 'seed', 'optimizers', 'lrs', 'batch', 'out'))
    assert main(['--version']) == 0 and capsys.readouterr().out == f'genopt {genopt.__version__}\n'
    assert main(['twin']) == 2
    assert capsys.readouterr().err == 'genopt has no command `twin`: did you mean `twins`?\n'
    with pytest.raises(SystemExit) as e: main(['twins', '--epochs', 'many'])
    assert e.value.code == 2 and "invalid int value: 'many'" in capsys.readouterr().err


@pytest.mark.parametrize('argv, sentence', [
    (['--optimizers', 'SGD,adm'],
     '`adm` is not among the twins: did you mean `Adam`?'),
    (['--optimizers', 'SGD,sgd'], '--optimizers SGD,sgd: name each one once'),
    (['--lrs', '.1,fast,.1,.1'], '--lrs .1,fast,.1,.1: give numbers, with commas between'),
    (['--lrs', '.1'], '--lrs .1: give 4 numbers'),
    (['--lrs', '.1,.1,.1,nan'], '--lrs .1,.1,.1,nan: nan is not a learning rate'),
    (['--epochs', 0], '--epochs 0: give at least 1'),
    (['--batch', -3], '--batch -3: give at least 1'),
    (['--optimizers', 'SGD', '--lrs', '1e200', '--epochs', 1],
     'SGD diverged in step 2 with lr=1e+200: give a smaller one with --lrs')])
def test_options_that_make_no_sense(argv, sentence, tmp_path, capsys):
    assert fails(capsys, *argv, '--out', tmp_path) == sentence


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path/'file').write_text('')
    folder = tmp_path/'file'/'folder'
    for out, why in (folder, 'Not a directory'), ('/proc/genopt', 'No such file or directory'):
        assert fails(capsys, '--out', out) == f'cannot write {out}/twins.json: {why}'


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /dev/full')
@pytest.mark.parametrize('file', ['twins.json', 'twins.png'])
def test_a_full_disk(file, tmp_path, capsys):
    (tmp_path/file).symlink_to('/dev/full')
    sentence = fails(capsys, '--epochs', 1, '--optimizers', 'SGD', '--out', tmp_path)
    assert sentence == f'cannot write {tmp_path/file}: No space left on device'


@pytest.mark.parametrize('package', ['sklearn', 'matplotlib', 'rich'])
def test_a_missing_extra(package, tmp_path, capsys, monkeypatch):
    for name in [n for n in sys.modules if n.split('.')[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    sentence = fails(capsys, '--out', tmp_path)
    assert sentence == (f'{package} is not installed, and the race needs it: '
                        'pip install "genopt-torch[race]"')
