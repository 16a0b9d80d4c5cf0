"Promise: equations are made from the parts that run, and are what runs: evaluated in NumPy, they make the same steps."
import re

import genopt
import numpy as np
import pytest
import sympy as sp
import torch
from genopt import scalar, stat, step, transform
from genopt.catalogue import choices
from genopt.cli.list import every_part
from genopt.study import symbols
from genopt.study.equations import Equations
from genopt.study.explain import Section, explain
from genopt.study.symbols import NUMPY, Unsymbolic, trace
from helpers import random
from latex2mathml.converter import convert
from torch import nn

STEPS = 6
NONZERO = dict(wd=.1, lr_decay=.1, initial_accumulator_value=.2, warmup=4, eps=1e-3, nu=.6, lambd=.1, t0=2.,
               dampening=.3, diff_mom=.8, max_norm=.5, max_value=.7, max_ratio=.1, clip_share=.1, sync_every=2)
OPTIONS = [(e.name, ps) for e in genopt.recipes() for ps in dict(map(reversed, choices(genopt.recipe(e.name))))]


def compiled(lines):
    "Each assignment as a function of arrays."
    for line in lines:
        opaque = {f.func.__name__ for f in line.expr.atoms(sp.Function)} & {'noise', 'orthogonalize'}
        modules = NUMPY | {name: as_it_is(getattr(genopt, name)) for name in opaque}
        symbols = sorted(line.expr.free_symbols, key=str)
        yield line, [s.name for s in symbols], sp.lambdify(symbols, line.expr, [modules, 'numpy'])


def in_numpy(lines, env):
    "Makes the assignments, in order, until a gate is closed."
    for line, names, f in lines:
        if 'update' in env: env['new_param'] = env['param'] + env['update']
        with np.errstate(invalid='ignore'): env[line.name] = f(*[env[n] for n in names])  # of all cases, it takes one
        if line.part and line.part.kind == 'gate' and not env[line.name]: break
    return env


def as_it_is(part):
    "A part without an equation, called on arrays."
    def run(*args):
        *tensors, = (torch.as_tensor(a) if isinstance(a, np.ndarray) else a for a in args[:len(part.reads)])
        return part.fn(*tensors, **dict(zip([k for k, _ in part.keywords], args[len(part.reads):]))).numpy()
    return run


def steps_agree(parts, given, tol=1e-11):
    "Both views, evaluated, make the steps that the eager engine makes."
    composition = genopt.Composition(parts)
    values = {k: given.get(k, v) for k, v in composition.hypers.items()}
    p = nn.Parameter(random(1, (5, 7), torch.float64))
    opt = genopt.Optimizer([p], parts, **values)
    equations = Equations(composition, values)
    views = {'part by part': [*compiled(equations.parts)], 'together': [*compiled(equations.whole)]}
    state = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in composition.init(p, values).items()}
    params, states = dict.fromkeys(views, p.detach().numpy().copy()), {k: dict(state) for k in views}
    for t in range(STEPS):
        p.grad = (.5 + t % 3) * random(t + 10, p.shape, torch.float64)
        opt.step()
        for view, lines in views.items():
            g = p.grad.numpy()
            env = in_numpy(lines, {**values, 'param': params[view], 'grad': g, 'raw_grad': g, 'rows': 5, 'columns': 7,
                                   **{f'prev_{k}': v for k, v in states[view].items()}})
            params[view] = env['param'] + (env['update'] if view == 'part by part' and 'update' in env else 0)
            states[view] = {k: env.get(k, v) for k, v in states[view].items()}
            difference = np.abs(params[view] - p.detach().numpy()).max() / p.detach().abs().max().item()
            assert difference <= tol, f'step {t + 1}, {view}: {difference:.1e}'


def hypers_of(name, parts, nonzero):
    recipe = getattr(genopt, name)
    composition = genopt.Composition(parts)
    values = {k: recipe.defaults.get(k, v) for k, v in composition.hypers.items()}
    values = {k: .9 if v is genopt.part.REQUIRED else v for k, v in values.items()}
    return {**values, **({k: v for k, v in NONZERO.items() if k in values} if nonzero else {}), 'lr': .05}


@pytest.mark.parametrize('nonzero', [False, True], ids=['defaults', 'nonzero'])
@pytest.mark.parametrize('name, parts', OPTIONS, ids=[f'{n}-{i}' for i, (n, _) in enumerate(OPTIONS)])
def test_the_equations_of_every_recipe_make_its_steps(name, parts, nonzero):
    steps_agree(parts, hypers_of(name, parts, nonzero))


@pytest.mark.parametrize('nonzero', [False, True], ids=['defaults', 'nonzero'])
@pytest.mark.parametrize('name', genopt.modifiers())
def test_the_equations_of_every_modifier(name, nonzero):
    for base in ('SGD', 'AdamW', 'Lion'):
        parts = (getattr(genopt, base) + genopt.modifiers()[name]).parts()
        steps_agree(parts, hypers_of(base, parts, nonzero))


# -- what is printed is what was evaluated -----------------------------------------------------------------------------

SIGNS = {'−': '-', '·': '*', '≤': '<=', '≥': '>=', '^': '**', ' mod ': ' % '}
FUNCTIONS = dict(nan_to_num=symbols.Nan_To_Num,
                 sqrt=sp.sqrt, cbrt=sp.cbrt, abs=sp.Abs, norm=symbols.Norm, clip=symbols.Clip, truth=symbols.Truth,
                 max=sp.Max, min=sp.Min, sign=sp.sign, exp=sp.exp, log=sp.log, mean=symbols.Mean, eq=sp.Eq, ne=sp.Ne,
                 mean_row=symbols.RowMean, mean_col=symbols.ColumnMean, sum=symbols.Total, finite=symbols.Finite,
                 RMS=lambda x: sp.sqrt(symbols.Mean(x**2)), rows=symbols.SIZES[0], columns=symbols.SIZES[1])


def read_back(text, letters):
    "A right-hand side as it is printed, as an expression of sympy's."
    for a, b in zip('²ᵗᶜᵅ', '2tcα'): text = text.replace(a, '^' + b)
    names = {f'x{i}x': symbols.symbol(name) for i, name in enumerate(letters)}
    for letter, x in sorted(zip(letters.values(), names), key=lambda pair: -len(pair[0])):
        if letter.isascii(): text = re.sub(rf'(?<!\w){letter}(?![\w(])', x, text)
        else: text = text.replace(letter, x)
    for a, b in SIGNS.items(): text = text.replace(a, b)
    text = re.sub(r'‖([^‖]+)‖', r'norm(\1)', re.sub(r'\|([^|]+)\|', r'abs(\1)', text))
    text = re.sub(r'clip\((.*), ±(.*)\)', r'clip(\1, -\2, \2)', text)
    for glyph, name in (('√', 'sqrt'), ('∛', 'cbrt')):
        text = re.sub(rf'{glyph}(x\d+x|\w+\()', lambda m, name=name: f'{name}{m[1]}' if m[1][-1] == '(' else
                      f'{name}({m[1]})', text).replace(f'{glyph}(', f'{name}(')
    text = re.sub(r'sqrt(RMS|max|min)\(', r'_sqrt_\1(', text)
    text = re.sub(r'\[([^]]+) = ([^]]+)\]', r'truth(eq(\1, \2))', text)
    text = re.sub(r'\[([^]]+) ≠ ([^]]+)\]', r'truth(ne(\1, \2))', text)
    text = re.sub(r'\[([^]]+)\]', r'truth(\1)', text)
    roots = {f'_sqrt_{k}': lambda *a, k=k: sp.sqrt(FUNCTIONS[k](*a)) for k in ('RMS', 'max', 'min')}
    return sp.sympify(eval(text, {**FUNCTIONS, **roots, **names}))


@pytest.mark.parametrize('name', [e.name for e in genopt.recipes()])
def test_the_text_says_what_was_evaluated(name):
    "Read back, it is the same expression: at random numbers, to what is printed of constants."
    composition = genopt.Composition(genopt.recipe(name).parts())
    section = Section('', composition, hypers_of(name, composition.parts, True))
    draw = np.random.default_rng(0)
    for line in section.equations.parts + section.equations.whole:
        text, tex = section.equation(line)
        convert(tex)
        if ' if ' in text or 'orthogonalize' in text: continue
        own = {f'prev_{line.name}': symbols.symbol(line.name)} if line.name in composition.stats else {}
        expr = line.expr.subs({s: own[s.name] for s in line.expr.free_symbols if s.name in own})
        back = read_back(re.split(' [←=] ', text, maxsplit=1)[1], section.equations.letters)
        back = back.subs(symbols.symbol('new_param'), symbols.symbol('param'))
        expr = expr.subs(symbols.symbol('new_param'), symbols.symbol('param'))
        free = sorted(expr.free_symbols | back.free_symbols, key=str)
        assert {s.name for s in back.free_symbols} == {s.name for s in expr.free_symbols}, text
        shapes = dict(row_avg=(4, 1), column_avg=(1, 5))  # whose product R·C is a matrix
        at = [draw.uniform(.1, .9, shapes.get(s.name.removeprefix('prev_'), (4, 5))) for s in free]
        a, b = (sp.lambdify(free, e, [NUMPY, 'numpy'])(*at) for e in (expr, back))
        assert np.allclose(a, b, rtol=1e-5, equal_nan=True), text


# -- what has no equation, and what users write ------------------------------------------------------------------------

def test_only_these_parts_have_no_equation():
    opaque = set()
    for part in every_part():
        try: trace(part)
        except Unsymbolic as e: opaque.add((part.__name__, str(e)))
    assert opaque == {('orthogonalize', '`bfloat16` is no operation that equations know'),
                      ('noise', 'it needs the value of a number')}
    text = genopt.Muon.explain().text()
    assert 'g ← orthogonalize(g, a, b, c, k, ε)   (no equation: `bfloat16` is no operation that equations know)' in text


def of(part, **values):
    "A user's part, in a recipe of its own, explained: its line."
    parts = [part, genopt.sgd_step] if part.kind != 'step' else [genopt.average_grad, part]
    section = explain(parts, **values).sections[0]
    return next(r for r in section.rows() if r.part == part.label)


def test_a_users_parts():
    @stat
    def jerk(jerk, grad, *, warmth=.5): return jerk * warmth + torch.where(grad > 0, grad, 2 * grad).abs()
    assert of(jerk).text == 'jerk ← warmth·jerk + |g if g > 0 else 2·g|'
    assert (of(jerk).kind, of(jerk).reads, of(jerk).makes) == ('stat', 'jerk, grad', 'jerk')

    @scalar
    def warmth(*, lr, cap=10): return lr if lr < cap and not lr == 3 else max(min(lr, 2.), abs(-lr), cap)
    @step
    def warm_step(grad, grad_avg, warmth=warmth): return -warmth * torch.softmax(grad, 0) * grad_avg
    row = of(warm_step)
    assert row.text == 'Δθ ← warm_step(g, m, warmth)'
    assert row.note == 'no equation: `softmax` is no operation that equations know'

    @step
    def plain_step(grad, *, lr):
        "It leaves its sign to nobody."
        x = grad
        for _ in range(3): x = x * grad
        return (-lr * x).clamp(min=-1)
    assert of(plain_step).text == 'Δθ ← max(−η·g⁴, −1)'


@pytest.mark.parametrize('body, text', [
    ('grad / grad.abs().max()', 'g ← g/max(|g|)'), ('grad.max(torch.zeros(()))', 'g ← max(g, 0)'),
    ('grad.max(lr * grad)', 'g ← max(g, η·g)'), ('max(grad, 0 * grad)', 'g ← max(g, 0)'),
    ('grad / (grad * grad).amin()', 'g ← g/min(g²)'), ('grad * math.pi', 'g ← π·g'),
    ('torch.norm(grad) * torch.relu(grad)', 'g ← max(g, 0)·‖g‖'), ('grad - grad.mean(-2, keepdim=True)',
                                                                   'g ← g − mean_col(g)'),
    ('np.sqrt(grad) ** 3', 'g ← g^(3/2)'), ('torch.sigmoid(grad)', 'g ← 1 / (1 + exp(−g))'),
    ('torch.addcdiv(grad, grad, grad + 1, value=-lr)', 'g ← g − η·g / (g + 1)'),
    ('grad.clamp(-1, 1)', 'g ← clip(g, ±1)'), ('grad.clamp(max=lr)', 'g ← min(g, η)'),
    ('grad if grad.dim() > 1 else 0', 'g ← g'), ('grad * (grad.shape[0] / grad.numel())', 'g ← g/columns'),
    ('grad * ((grad > 0) & (grad < 1))', 'g ← g·[g < 1 and g > 0]'),
    ('grad * (1 - .25 * lr) ** -.5', 'g ← g / √(1 − η/4)'),
    ('grad.nan_to_num()', 'g ← nan_to_num(g)'), ('grad * ~((grad > 0) & (grad < 1))', 'g ← g·[not (g < 1 and g > 0)]'),
    ('grad // 2', 'g ← floor(g/2)'), ('grad * math.e', 'g ← 2.71828·g'), ('grad % 2', 'g ← g mod 2'),
    ('grad * ((grad > 0) & ((grad < 1) | (lr > grad)))', 'g ← g·[(g < 1 or η > g) and g > 0]'),
    ('torch.where(grad > 0, torch.where(grad < 1, 1, 2), grad)', 'g ← (1 if g < 1 else 2) if g > 0 else g'),
    ('2.5 * grad', 'g ← 2.5·g'), ('torch.where(grad > 0, 2, torch.where(grad < 0, 3, grad))',
                                  'g ← 2 if g > 0 else 3 if g < 0 else g')])
def test_what_an_operation_means(body, text):
    names = {}
    exec(f'import math, torch\nimport numpy as np\ndef odd(grad, *, lr=.5): return {body}', names)
    assert of(transform(names['odd'])).text == text


@pytest.mark.parametrize('body, why', [
    ('return grad.mul_(2)', 'it writes into a tensor (`mul_`)'),
    ('return grad * grad.tolist()[0]', '`tolist` is no operation that equations know'),
    ('return grad * float(int(lr))', 'it needs the value of a number'),
    ('return grad.norm(1) * grad', 'it takes a norm of order 1'),
    ('return grad * torch.ones(3)', 'it reads a tensor that is none of its arguments'),
    ('return grad - grad.mean((0, 2), keepdim=True)', 'it reduces along (0, 2)'),
    ('return grad - grad.mean(1)', 'it reduces along 1 without keepdim'),
    ('return grad / grad.max(0)[0]', 'it reduces along 0'),
    ('grad + 1', 'it returned nothing'), ('return [grad]', 'it returned a list'),
    ('return grad + undefined', "NameError: name 'undefined' is not defined"),
    ('i = 0\n    while grad.sum() > i: i += 1\n    return i * grad',
     'it asks for the values of numbers, again and again'),
    ('return grad * sum(1 for i in range(9) if lr > i * .1)', 'it has too many cases')])
def test_why_a_part_has_no_equation(body, why, tmp_path):
    names = {}
    exec(f'import torch\ndef odd(grad, *, lr=.5):\n    {body}', names)
    with pytest.raises(Unsymbolic) as e: trace(transform(names['odd']))
    assert str(e.value) == why


def test_what_is_0_leaves_no_hat():
    assert explain('adam', mom=0.).sections[0].together()[-1][0] == 'θ ← θ − η·m / (√v̂ + ε)'
    steps_agree(genopt.AdamW.parts(), dict(lr=.05, mom=0., sqr_mom=.9, eps=1e-3, wd=.1))


def test_cases_are_flat():
    latex = genopt.Rprop.explain().sections[0].together()[0][1]
    assert latex.count(r'\begin{cases}') == 1 and latex.count(r' \\ ') == 2


def test_questions():
    "What only hyperparameters decide is decided; the rest becomes cases."
    assert str(trace(genopt.parts.grown_weight, dict(warmup=0., slow_weight=5.))) == 'slow_weight'
    assert 'Piecewise' in str(trace(genopt.parts.grown_weight))
    assert "α′ = α·min(t/warmup, 1)" in explain('ademamix', warmup=100).text()
    assert 'warmup' not in [t for t, _ in explain('ademamix').sections[0].together()][-1]
