"Promise: the loop of `examples/` trains, calls its callbacks, and is as short as it says."
import runpy
from pathlib import Path

import genopt
import torch
from torch import nn

LOOP = Path(__file__).parents[1] / 'examples/loop.py'


def test_the_loop(capsys):
    assert len(LOOP.read_text().splitlines()) <= 60
    torch.manual_seed(0)
    runpy.run_path(str(LOOP), run_name='__main__')
    lines = capsys.readouterr().out.splitlines()
    right = [float(line.split()[2].rstrip('%')) for line in lines]
    assert [line.split(':')[0] for line in lines] == [f'epoch {i}' for i in range(1, 6)]
    assert right[-1] > 80 and right[-1] > right[0]


def test_every_event():
    Loop, said = runpy.run_path(str(LOOP))['Loop'], []
    class Tell:
        def __getattr__(self, name): return lambda: said.append(name)
    data, model = [(torch.ones(2, 3), torch.zeros(2, 1))], nn.Linear(3, 1)
    Loop(model, data, data, nn.MSELoss(), genopt.SGD(model.parameters()), [Tell()]).fit(1)
    assert said == ['before_fit', 'before_step', 'after_batch', 'after_batch',
                    'after_epoch', 'after_fit']
