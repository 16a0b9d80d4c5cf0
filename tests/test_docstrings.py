"Promise: every example in a docstring runs, and prints what it says."
import copy
import doctest
import importlib
import pkgutil
from functools import partial

import genopt
import learners
import numpy as np
import pytest
import torch
from torch import nn

MODULES = [m.name for m in pkgutil.walk_packages(genopt.__path__, 'genopt.')
           if m.name != 'genopt.__main__']
FINDER = doctest.DocTestFinder(exclude_empty=True)
EXAMPLES = [(m, t) for m in ['genopt', *MODULES]
            for t in FINDER.find(importlib.import_module(m), m, globs={}) if t.examples]


class Checker(doctest.OutputChecker):
    "An example that shows no output may have one."
    def check_output(self, want, got, flags):
        return not want or super().check_output(want, got, flags)


def of_fastai():
    learn = learners.learner(genopt.Adam)
    return dict(Learner=partial(learners.Learner, loss_func=learn.loss_func),
                dls=learn.dls, splitter=learners.split)


def world():
    "What examples take for granted."
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    model(torch.randn(3, 4)).sum().backward()
    params, param = [*model.parameters()], torch.randn(3)
    names = {n: getattr(genopt, n) for n in genopt.__all__}
    return {**names, **vars(genopt.hypers), **vars(genopt.study.symbols),
            **vars(genopt.study.paths), **of_fastai(), 'genopt': genopt, 'torch': torch, 'np': np,
            'model': model, 'params': params, 'param': param, 'grad': torch.randn(3),
            'm': torch.ones(3), 'g': torch.ones(3),
            'opt': genopt.Adam(params), 'torch_adam': torch.optim.Adam(params)}


@pytest.mark.parametrize('module, test', EXAMPLES, ids=[t.name for _, t in EXAMPLES])
@pytest.mark.filterwarnings('ignore')
def test_examples(module, test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    test = copy.copy(test)
    test.globs = {**world(), **vars(importlib.import_module(module))}
    if 'dls' in str(test.docstring): test.globs['model'] = learners.learner(genopt.Adam).model
    said = []
    runner = doctest.DocTestRunner(Checker(),
                                   optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    runner.run(test, out=said.append)
    assert not runner.failures, ''.join(said)


def test_there_are_examples(): assert len(EXAMPLES) >= 12
