"Promise: the JavaScript that is printed from the parts makes the steps that genopt makes."
import json
import random
import shutil
import subprocess
from pathlib import Path

import genopt
import pytest
import torch
from genopt import parts
from genopt.atlas import javascript
from genopt.atlas.data import labelled, scripts, still
from genopt.catalogue import choices
from genopt.contract import REQUIRED, ContractError
from genopt.links import with_links
from genopt.study.surfaces import SURFACES
from sampled import everything, one_in, sampled

pytestmark = pytest.mark.skipif(not shutil.which('node'), reason='node is not installed')
STATIC = Path(javascript.__file__).parent/'static'
STEPS = 8
NONZERO = dict(wd=.1, lr_decay=.1, initial_accumulator_value=.2, warmup=4, eps=1e-3, nu=.6,
               lambd=.1, t0=2., dampening=.3, diff_mom=.8, max_norm=.5, max_value=.7, max_ratio=.1,
               sync_every=2)
CHOICES = [(e.name, i, ps) for e in genopt.recipes() for i, ps in sampled(
           [(i, ps) for i, (_, ps) in enumerate(choices(genopt.recipe(e.name))) if not still(ps)],
           3, e.name)]
SUMS = [(base, name, (getattr(genopt, base) + ps).parts())
        for base in ('SGD', 'AdamW', 'Lion') for name, ps in genopt.modifiers().items()
        if not still(ps)]


@pytest.fixture(scope='module')
def node(tmp_path_factory):
    "Runs cases in node, with the scripts of the atlas."
    folder = tmp_path_factory.mktemp('scripts')
    for name, text in scripts().items(): (folder/name).write_text(text)
    paths = [STATIC/'runtime.js', STATIC/'by_hand.js', folder/'parts.js', folder/'facts.js',
             STATIC/'order.js']
    def run(cases):
        text = json.dumps(cases).replace('Infinity', '1e999')  # for which JSON has no word
        (folder/'cases.json').write_text(text)
        command = ['node', Path(__file__).parent/'javascript.js', folder/'cases.json', *paths]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)
    return run


def values_of(name, composition, nonzero):
    recipe = getattr(genopt, name)
    values = {k: recipe.defaults.get(k, v) for k, v in composition.hypers.items()}
    values = {k: .9 if v is REQUIRED else min(v, 1e300) for k, v in values.items()}  # JSON's
    return values | {k: v for k, v in NONZERO.items() if nonzero and k in values} | {'lr': .01}


def drawn_normals(values, count):
    "What `add_noise` draws."
    ones = torch.zeros(1, 2, dtype=torch.float64)
    return [parts.add_noise.fn(ones, 0, t + 1, 1., seed=values.get('seed', 0)).flatten().tolist()
            for t in range(count)]


def walked(ps, values, surface, start, shape):
    "genopt's own path."
    p = torch.tensor(start, dtype=torch.float64).reshape(shape).requires_grad_()
    opt, path = genopt.Optimizer([p], ps, compile=False, **values), []
    for _ in range(STEPS):
        p.grad, = torch.autograd.grad(surface(p.flatten()), p)
        opt.step()
        path.append(p.flatten().tolist())
    return path


def check(node, monkeypatch, cases):
    "Each (name, parts, values): the paths agree, on the valley, as a vector, a row or a column."
    monkeypatch.setattr(torch.Tensor, 'bfloat16', torch.Tensor.double)  # the one thing left out
    surface, asked, wanted = SURFACES['valley'], [], []
    start = [-2., 1.5]
    for i, (name, ps, values) in enumerate(cases):
        shapes = [(2,), (1, 2), (2, 1)][any(p.needs == 'matrix' for p in ps):]
        for shape in shapes if everything else shapes[i % len(shapes):][:1]:
            asked.append(dict(do='walk', parts=[p.label for p in ps], hypers=values,
                              surface='valley', start=start, shape=shape, steps=STEPS,
                              normals=drawn_normals(values, STEPS)))
            wanted.append((f'{name} {shape}', walked(ps, values, surface, start, shape)))
    worst = {}
    for (name, path), got in zip(wanted, node(asked)):
        assert 'error' not in got, (name, got)
        ours = torch.tensor([[*map(_number, p)] for p in got['path']], dtype=torch.float64)
        theirs = torch.tensor(path, dtype=torch.float64)
        worst[name] = ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1.)).item()
    bad = {k: v for k, v in worst.items() if not v <= 1e-9}
    assert not bad, bad
    return max(worst.values())


@pytest.mark.parametrize('nonzero', [False, True], ids=['defaults', 'nonzero'])
def test_the_javascript_of_every_recipe_makes_its_steps(node, monkeypatch, nonzero):
    check(node, monkeypatch, [(f'{name}-{i}', ps, values_of(name, genopt.Composition(ps), nonzero))
                              for name, i, ps in CHOICES])


@pytest.mark.parametrize('nonzero', [False, True], ids=['defaults', 'nonzero'])
def test_the_javascript_of_every_modifier(node, monkeypatch, nonzero):
    check(node, monkeypatch, [
        (f'{base} + {name}', ps, values_of(base, genopt.Composition(ps), nonzero))
        for base, name, ps in SUMS])


def test_a_list_runs_in_the_same_order(node):
    "With its scalars where Python has them."
    cases = [ps for _, _, ps in CHOICES] + [ps for *_, ps in SUMS]
    found = node([dict(do='order', parts=[p.label for p in ps]) for ps in cases])
    for ps, got in zip(cases, found):
        assert got['order'] == [p.label for p in genopt.Composition(ps).ordered]


def test_a_wrong_list_has_the_same_error(node):
    "Random lists of parts, most of them wrong: the sentence is Python's."
    draw = random.Random(0)
    known = [p for p in labelled().values() if p.kind != 'scalar' and not still([p])]
    lists = []
    for _ in range(3000):
        base = list(draw.choice(CHOICES)[2]) if draw.random() < .8 else []
        for _ in range(draw.randrange(1, 4)):
            if base and draw.random() < .4: base.pop(draw.randrange(len(base)))
            elif base and draw.random() < .3: draw.shuffle(base)
            else: base.insert(draw.randrange(len(base) + 1), draw.choice(known))
        lists.append(base)
    found = node([dict(do='errors', parts=[p.label for p in ps]) for ps in lists])
    for ps, got in zip(lists, found):
        wanted = error_of(ps).partition(', or correct the name: ')[0]
        assert got['error'] == wanted, [p.label for p in ps]
    assert 500 < sum(bool(got['error']) for got in found) < 3000


def _number(text): return float(text.replace('Infinity', 'inf'))


def error_of(ps):
    try: genopt.Composition(ps)
    except ContractError as e: return str(e)
    return ''


def totals_of(ps): return {p for p in with_links(ps) if p.kind == 'total'}


def test_a_part_goes_where_python_puts_it(node):
    "A modifier, added to a recipe; but for one that reads a total of the recipe's own."
    cases = []
    for entry in genopt.recipes():
        for name, ps in genopt.modifiers().items():
            if not one_in(3, entry.name, name): continue
            if still((*entry.parts, *ps)) or totals_of(entry.parts) & totals_of(ps): continue
            try: cases.append((entry.parts, ps, (genopt.recipe(entry.name) + ps).parts()))
            except ContractError: continue
    got = node([dict(do='place', parts=[p.label for p in base], add=[p.label for p in ps])
                for base, ps, _ in cases])
    for (base, ps, wanted), g in zip(cases, got):
        assert g['parts'] == [p.label for p in wanted], (base, ps)
