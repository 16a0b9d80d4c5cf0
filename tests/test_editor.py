"Promise: editors, `help` and type checkers see each recipe's real signature, and do not complain."
import inspect
import subprocess
import sys
from pathlib import Path

import genopt
import jedi
import pytest
from genopt.cli.stubs import texts
from genopt.hypers import TABLE

ROOT = Path(genopt.__file__).parents[1]
SCRIPT = '''\
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import genopt
from genopt import (AdamW, Composition, Optimizer, Schedule, average_grad, cautious,
                    clip_by_global_norm, l2_reg, layer_lrs, linear, momentum_step, no_decay,
                    one_cycle, recipe, route, scalar, stat, step, transform)


@stat
def sum_grad(grad_sum: Tensor, grad: Tensor, *, mom: float = .9) -> Tensor:
    return grad + mom * grad_sum

@stat(init=0)
def count(n: int) -> int: return n + 1

@scalar
def warmth(n: int, *, warmup: float = 100.) -> float: return min(1., n / warmup)

@transform
def warm_up(update: Tensor, warmth: Any = warmth) -> Tensor: return update.mul(warmth)

@step
def sum_step(grad_sum: Tensor, *, lr: float) -> Tensor: return -lr * grad_sum

@recipe(lr=.1)
def Summed(decay: bool = True) -> list[genopt.Part]:
    "A sum."
    return [*[l2_reg] * decay, sum_grad, count, sum_step, warm_up]


model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
opt: Optimizer = AdamW(model.parameters(), 1e-3, betas=(.9, .99), weight_decay=.1, compile=True)
fused: Optimizer = genopt.Adam(model.parameters(), lr=1e-3, amsgrad=True, fused=True, foreach=None)
made_of: tuple[genopt.Part, ...] = AdamW.parts()
composition = Composition(made_of)
other = Summed(model.named_parameters(), lr=.1, mom=.8)
more = [(AdamW + cautious + clip_by_global_norm)(no_decay(model), lr=1e-3),
        Optimizer(layer_lrs(model, lr=.1), [average_grad, momentum_step], mom=.5),
        Optimizer(route(model, {'matrices': dict(parts=genopt.Lion), 'rest': dict(parts=AdamW)}),
                  lr=1e-3),
        partial(genopt.Adam, eps=1e-5)(model.parameters(), lr=1e-3)]
Schedule(opt, 10, lr=one_cycle(.1), wd=linear(.1, 0.))
torch.optim.lr_scheduler.StepLR(other, 3)
for o in (opt, other, *more):
    assert isinstance(o, torch.optim.Optimizer)
    loss: Tensor = model(torch.randn(16, 4)).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    o.step()
    o.zero_grad()
    o.load_state_dict(o.state_dict())
lr: float = opt.hypers[-1]['lr']
moved: Tensor = sum_step(torch.ones(2), lr=.1)
'''


TYPOS = [('genopt.Adam(ps, momm=.9)', 'Unexpected keyword argument "momm"'),
         ('genopt.Adam(ps, betas=.9)', 'has incompatible type "float"'),
         ('genopt.Adam(ps, compile="yes")', 'has incompatible type "str"'),
         ('genopt.Adam(ps).stepp()', '"Optimizer" has no attribute "stepp"')]


def test_mypy_strict_passes_a_users_script_and_finds_typos(tmp_path):
    (tmp_path/'script.py').write_text(SCRIPT)
    typos = '\n'.join(line for line, _ in TYPOS)
    (tmp_path/'typos.py').write_text(f'import genopt, torch\nps = [torch.zeros(2)]\n{typos}\n')
    command = [sys.executable, '-m', 'mypy', '--strict', '--python-version', '3.10', '--cache-dir',
               ROOT/'.mypy_cache', 'script.py', 'typos.py']
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert 'script.py:' not in run.stdout, run.stdout
    lines = run.stdout.splitlines()
    for i, (_, error) in enumerate(TYPOS, 3):
        assert any(f'typos.py:{i}:' in line and error in line for line in lines), run.stdout


def test_a_users_script_prints_nothing(tmp_path):
    (tmp_path/'script.py').write_text(SCRIPT)
    run = subprocess.run([sys.executable, '-W', 'error', 'script.py'], cwd=tmp_path,
                         capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, '', '')


def test_the_stubs_are_up_to_date():
    for path, text in texts().items():
        assert path.read_text(encoding='utf-8') == text, 'run `python -m genopt stubs`'


@pytest.mark.parametrize('name', genopt.zoo.__all__)
def test_help_says_all_of_it(name):
    recipe = genopt.recipe(name)
    text, values = inspect.getdoc(recipe), inspect.signature(recipe).parameters
    assert text.startswith(recipe.idea) and f'{name}{inspect.signature(recipe)}' in text
    for p in recipe.parts(): assert f'\n    {p.label} ' in text
    for k, a in values.items():
        if k in TABLE: assert f'    {k}={a.default!r} ' in text and TABLE[k].doc in text
    if 'wd' in values: assert '(torch: weight_decay)' in text


def test_help_of_adam(capsys):
    help(genopt.Adam)
    out = capsys.readouterr().out
    for words in ('mom=0.9            decay of the average of gradients (torch: betas[0])',
                  'Kingma & Ba, arXiv:1412.6980', 'amsgrad=False',
                  'average_grad      m ← β₁·m + (1 − β₁)·g'):
        assert words in out


@pytest.mark.parametrize('name', ['Adam', 'SGD', 'Muon', 'AdEMAMix'])
def test_an_editor_sees_it(name):
    script = jedi.Script(f'import genopt\ngenopt.{name}(',
                         project=jedi.Project(ROOT, added_sys_path=[str(ROOT)]))
    [found] = script.get_signatures()
    shown = [p.name for p in found.params]
    assert shown[:2] == ['params', 'lr']
    assert {*inspect.signature(genopt.recipe(name)).parameters} <= {*shown}
    assert {'weight_decay', 'compile'} <= {*shown}
    assert genopt.recipe(name).idea in found.docstring()
    completed = jedi.Script(f'import genopt\ngenopt.{name}(ps, weight_d',
                            project=jedi.Project(ROOT)).complete()
    assert 'weight_decay=' in [c.name for c in completed]
    assert name in [c.name for c in jedi.Script(f'import genopt\ngenopt.{name[:3]}').complete()]


def test_what_completion_lists():
    "What people type, and nothing that the package itself imports."
    found = [c.name for c in jedi.Script('import genopt\ngenopt.', project=jedi.Project(
        ROOT, added_sys_path=[str(ROOT)])).complete()]
    for names in found, dir(genopt):
        wanted = {'explain', 'compare', 'descend', 'family', 'animate', 'identities', 'Adam'}
        assert wanted <= {*names} and not {'Any', 'import_module'} & {*names}
