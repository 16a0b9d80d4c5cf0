"""Promise: an exported file needs nothing of genopt, and makes the steps of the plain engine bit for
bit."""
import ast
import math
import re
import subprocess
import sys
from functools import lru_cache
from itertools import count

import genopt
import numpy as np
import pytest
import steps_alone
import torch
from genopt import (AdamW, average_grad, gate, hyper, lookahead, recipe, scalar, sgd_step, stat,
                    step, total, transform)
from genopt.catalogue import choices
from genopt.cli import main
from genopt.exporting.file import File
from helpers import CASES, RECIPES, case_id, dtype_name, keeps_to_matrices
from pages import ROOT
from torch import Tensor, maximum

DTYPES = torch.float32, torch.float64, torch.bfloat16


# -- parts that are not genopt's -------------------------------------------------------------------

SCALE = .5
TABLE = {'a': (1., 2.), 'b': [math.inf]}


def _half(x): return _scaled(x, SCALE)
def _scaled(x, by=1.): return x * by


@torch.no_grad()
def decorated(x):  # a comment stays
    if x.dim() > 1: return x / TABLE['a'][1]
    return x


double = lambda x: 2 * x  # noqa: E731


@transform(whole=True)
def update(grad: Tensor, *, strength: float=1.): return double(decorated(_half(grad))) * strength


def powers(of, by=2):
    "A part that reads variables of the function around it."
    @transform
    def scale(grad, *, lr):
        """Lines of a string
    stay."""
        return grad * of**by * (1 + lr)
    return scale


@stat
def last_grad(last_grad, grad): return grad


@stat
def older(older, prev_last_grad): return prev_last_grad  # the other's memory


@stat(init=lambda param, *, lr: (param
                                 * lr))
def mix(mix, older, param): return maximum(mix, older) + param


@stat(init=lambda param: param.double())
def precise(precise, grad): return precise + grad


@stat(init=torch.ones_like)
def ones(ones, grad): return ones.lerp(grad, .1)


@stat(init=1)
def seen(seen): return seen + 1


@scalar
def state(seen, prev_seen, *, lr): return lr / (seen - prev_seen)


@transform
def late(grad, seen, rate=state): return grad if seen > 3 else rate * grad


@total
def strange(grad, prev_older, late_rate=state): return (grad * prev_older).abs().sum() * late_rate


@gate
def often(seen): return seen % 4 != 1


@step
def move(grad, update_size=strange, *, lr): return -lr * grad / (1 + update_size)


@step
def jump(prev_older): return prev_older  # memory that the step writes to


@stat
def reader(noise, new_param, place): return noise + torch.randn_like(noise) * place
reader = stat(whole=True)(reader.fn)


@transform
def with_numpy(grad): return grad * float(np.float64(.5))


def named(name, *parts, **defaults):
    def fn(): return parts
    fn.__name__ = name
    return recipe(**defaults)(fn)


OWN = [
    named('Carried', update, sgd_step, lr=.1, strength=2.),
    named('Twice', powers(2), powers(3), sgd_step, lr=.1),
    named('Aliases', last_grad, older, mix, sgd_step, jump, lr=.1),
    named('Double', precise, sgd_step, lr=.1),
    named('Ones', ones, sgd_step.rename(grad='ones'), lr=.1),
    named('Totals', seen, often, last_grad, older, late, move, lr=.1),
    named('Random', sgd_step, reader, lr=.1),
    named('WithNumpy', with_numpy, sgd_step, lr=.1)]


# -- what is exported ------------------------------------------------------------------------------

def each():
    "Recipes with every choice of their options, torch's words, sums, and parts of one's own."
    for r in RECIPES:
        for options, _ in choices(r):
            decays = dict(wd=.1) if 'wd' in r.rule(options).composition.hypers else {}
            yield r, {k: v for k, v in options.items() if v != r.options[k]} | decays
    for r, _, options in CASES: yield r, options
    for parts in genopt.modifiers().values(): yield AdamW + parts, {}
    yield genopt.SGD + genopt.skip_nonfinite + genopt.clip_by_global_norm + lookahead, dict(mom=.9)
    yield genopt.Lion + genopt.gradient_noise + genopt.cautious + genopt.average_param, dict(wd=.1)
    for r in OWN: yield r, {}


EACH = {f'{i:03}': case for i, case in enumerate(each())}


def class_name(text): return re.search(r'^class (\w+)', text, re.M)[1]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "All files, and what they did where there is no genopt."
    folder, cases = tmp_path_factory.mktemp('exported'), {}
    for key, (r, options) in EACH.items():
        options = dict(options)
        maximize = options.pop('maximize', False)
        text = genopt.export(r, **options)
        (folder/f'file_{key}.py').write_text(text, encoding='utf-8')
        for dtype in DTYPES:
            how = dtype, keeps_to_matrices(r), 'skip' in r.__name__
            cases[key, dtype] = f'file_{key}', class_name(text), maximize, *how
    torch.save(cases, folder/'cases.pt')
    subprocess.run([sys.executable, steps_alone.__file__, folder], check=True, cwd=folder)
    return folder
