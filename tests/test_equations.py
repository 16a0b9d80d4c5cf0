"Promise: equations are made from the parts that run; evaluated in NumPy, they make the same steps."
import re
from random import Random

import genopt
import numpy as np
import pytest
import sympy as sp
import torch
from genopt import scalar, stat, step, transform
from genopt.catalogue import choices
from genopt.catalogue import every_part
from genopt.study import expressions
from genopt.study.algorithm import Algorithm
from genopt.study.equations import Equations
from genopt.study.explain import Section, explain
from genopt.study.expressions import Unsymbolic
from genopt.study.symbols import trace
from helpers import random
from interpreter import NUMPY, OPAQUE, Interpreter, function, read_back
from latex2mathml.converter import convert
from sympy.core import relational
from sympy.logic import boolalg
from torch import nn

STEPS = 6
NONZERO = dict(wd=.1, lr_decay=.1, initial_accumulator_value=.2, warmup=4, eps=1e-3, nu=.6,
               lambd=.1, t0=2.,
               dampening=.3, diff_mom=.8, max_norm=.5, max_value=.7, max_ratio=.1, clip_share=.1,
               sync_every=2)
OPTIONS = [(e.name, parts) for e in genopt.recipes()
           for parts in dict(map(reversed, choices(genopt.recipe(e.name))))]


@pytest.fixture(autouse=True)
def precise(monkeypatch):
    "Newton–Schulz in double precision, not in bfloat16."
    monkeypatch.setattr(torch.Tensor, 'bfloat16', lambda self: self)


def compiled(lines):
    "Each assignment as a function of arrays."
    for line in lines:
        yield line, *function(line.expr)


def in_numpy(lines, env):
    "Makes the assignments, in order, until a gate is closed."
    for line, names, f in lines:
        if 'update' in env: env['new_param'] = env['param'] + env['update']
        with np.errstate(all='ignore'):  # it computes all cases, and takes one
            env[line.name] = f(*[env[n] for n in names])
        if line.name == 'param' and not line.part: env['has moved'] = True
        if line.part and line.part.kind == 'gate' and not env[line.name]: break
    return env


def steps_agree(parts, given, tol=1e-11, shape=(5, 7)):
    "All three views, evaluated, make the steps that the plain engine makes."
    composition = genopt.Composition(parts)
    values = {k: given.get(k, v) for k, v in composition.hypers.items()}
    p = nn.Parameter(random(1, shape, torch.float64))
    opt = genopt.Optimizer([p], parts, compile=False, **values)
    algorithm = Interpreter(Algorithm.of(Equations(composition, values)), values,
                            p.detach().numpy().copy())
    equations = Equations(composition, values | dict(dim=p.dim()))  # without cases that do not fit
    views = {'part by part': [*compiled(equations.parts)], 'together': [*compiled(equations.whole)]}
    state = {k: v.numpy() if isinstance(v, torch.Tensor) else v
             for k, v in composition.init(p, values).items()}
    params, states = dict.fromkeys(views,
                                   p.detach().numpy().copy()), {k: dict(state) for k in views}
    for t in range(STEPS):
        p.grad = (.5 + t % 3) * random(t + 10, p.shape, torch.float64)
        fed = {k: random(t + 99, p.shape, torch.float64) for k in composition.fed}
        opt.feed(**{k: [v] for k, v in fed.items()})
        opt.step()
        fed = {k: v.numpy() for k, v in fed.items()}
        if not p.isfinite().all(): raise RuntimeError('these parts leave the numbers')
        for view, lines in views.items():
            g = p.grad.numpy()
            env = in_numpy(lines, {**values, 'param': params[view], 'grad': g, 'raw_grad': g,
                                   'place': 0, **fed, 'rows': p.shape[0],
                                   'columns': p.shape[-1], 'dim': p.dim(),
                                   **{f'prev_{k}': v for k, v in states[view].items()}})
            params[view] = env['param'] + (0 if env.get('has moved') else env.get('update', 0))
            states[view] = {k: env.get(k, v) for k, v in states[view].items()}
        algorithm.env |= fed
        params['as an algorithm'] = algorithm.step(p.grad.numpy())
        for view, x in params.items():
            difference = np.abs(x - p.detach().numpy()).max() / p.detach().abs().max().item()
            assert difference <= tol, f'step {t + 1}, {view}: {difference:.1e}'
        for name in composition.tensor_stats:
            want = opt.state[p][name].numpy()
            if name not in algorithm.env or not np.isfinite(want).all(): continue
            assert np.allclose(algorithm.env[name], want, 1e-8, 1e-11, equal_nan=True), name


def hypers_of(name, parts, nonzero):
    recipe = getattr(genopt, name)
    composition = genopt.Composition(parts)
    values = {k: recipe.defaults.get(k, v) for k, v in composition.hypers.items()}
    values = {k: .9 if v is genopt.contract.REQUIRED else v for k, v in values.items()}
    return {**values, **({k: v for k, v in NONZERO.items() if k in values} if nonzero else {}),
            'lr': .05}


@pytest.mark.exhaustive(5)
@pytest.mark.parametrize('nonzero', [False, True], ids=['defaults', 'nonzero'])
@pytest.mark.parametrize('name, parts', OPTIONS,
                         ids=[f'{n}-{i}' for i, (n, _) in enumerate(OPTIONS)])
def test_the_equations_of_every_recipe_make_its_steps(name, parts, nonzero):
    shape = (6, 6) if any(p.__name__ == 'left_basis' for p in parts) else (5, 7)  # of full rank
    steps_agree(parts, hypers_of(name, parts, nonzero), shape=shape)


@pytest.mark.parametrize('name', ['Adafactor', 'NovoGrad', 'LAMB', 'LARS', 'AdamW', 'Rprop'])
def test_the_equations_of_a_vector(name):
    "Adafactor keeps a full square of one."
    parts = genopt.recipe(name).parts()
    steps_agree(parts, hypers_of(name, parts, True), shape=(6,))


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('nonzero', [False, True], ids=['defaults', 'nonzero'])
@pytest.mark.parametrize('name', genopt.modifiers())
def test_the_equations_of_every_modifier(name, nonzero):
    for base in ('SGD', 'AdamW', 'Lion'):
        parts = (getattr(genopt, base) + genopt.modifiers()[name]).parts()
        steps_agree(parts, hypers_of(base, parts, nonzero))


# -- what is printed is what was evaluated ---------------------------------------------------------

@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name', [e.name for e in genopt.recipes()])
def test_the_text_says_what_was_evaluated(name):
    "Read back, it is the same expression: at random numbers, to what is printed of constants."
    composition = genopt.Composition(genopt.recipe(name).parts())
    section = Section('', composition, hypers_of(name, composition.parts, True))
    draw = np.random.default_rng(0)
    for line in section.equations.parts + section.equations.whole:
        text, tex = section.equation(line)
        convert(tex)
        products = line.expr.has(expressions.MatProd, expressions.Iterate)
        if ' if ' in text or 'Σ' in text or line.why_not or products: continue
        is_stat = line.name in composition.stats
        own = {f'prev_{line.name}': expressions.symbol(line.name)} if is_stat else {}
        expr = line.expr.subs({s: own[s.name] for s in line.expr.free_symbols if s.name in own})
        back = read_back(re.split(' [←=] (?:Σ )?', text, maxsplit=1)[1], section.equations.letters)
        back = back.subs(expressions.symbol('new_param'), expressions.symbol('param'))
        expr = expr.subs(expressions.symbol('new_param'), expressions.symbol('param'))
        free = sorted(expr.free_symbols | back.free_symbols, key=str)
        assert {s.name for s in back.free_symbols} == {s.name for s in expr.free_symbols}, text
        rows, columns = ('row_avg', 'surprise_rows', 'row_max'), (
            'column_avg', 'surprise_columns', 'column_max')  # whose product R·C is a matrix
        shapes = dict.fromkeys(rows, (4, 1)) | dict.fromkeys(columns, (1, 5))
        at = [draw.uniform(.1, .9, shapes.get(s.name.removeprefix('prev_'), (4, 5))) for s in free]
        a, b = (sp.lambdify(free, e, [NUMPY, 'numpy'])(*at) for e in (expr, back))
        assert np.allclose(a, b, rtol=1e-5, equal_nan=True), text


# -- what has no equation, and what users write ----------------------------------------------------

def test_only_these_parts_have_no_equation():
    opaque = set()
    for part in every_part():
        try: trace(part)
        except Unsymbolic as e: opaque.add((part.__name__, str(e)))
    where, whole = 'it asks where a tensor is', 'it needs the value of a number'
    assert opaque == {('add_noise', where), ('probe', where),
                      *((name, whole) for name in (*OPAQUE, 'random_projection'))}
    text = (genopt.SGD + genopt.gradient_noise).explain().text()
    assert 'g ← add_noise(g, place, t, σ, s)   (no equation: it asks where a' in text


def of(part, **values):
    "A user's part, in a recipe of its own, explained: its line."
    parts = [part, genopt.sgd_step] if part.kind != 'step' else [genopt.average_grad, part]
    section = explain(parts, **values).sections[0]
    return next(r for r in section.rows() if r.part == part.label)


def test_a_users_parts():
    @stat
    def jerk(jerk, grad, *, warmth=.5): return jerk * warmth + torch.where(grad > 0, grad,
                                                                           2 * grad).abs()
    assert of(jerk).text == ('jerk ← warmth·jerk + |g|     where g > 0\n'
                             '       warmth·jerk + 2·|g|   elsewhere')
    assert (of(jerk).kind, of(jerk).reads, of(jerk).makes) == ('stat', 'jerk, grad', 'jerk')

    @scalar
    def warmth(*, lr, cap=10): return lr if lr < cap and not lr == 3 else max(min(lr, 2.), abs(-lr),
                                                                              cap)
    @step
    def warm_step(grad, grad_avg, warmth=warmth): return -warmth * torch.softmax(grad, 0) * grad_avg
    row = of(warm_step)
    assert row.text == 'Δθ ← warm_step(g, m, warmth)'
    assert row.note == 'no equation: `softmax` is not an operation that equations know'

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
    ('torch.norm(grad) * torch.relu(grad)', 'g ← max(g, 0)·‖g‖'),
    ('grad - grad.mean(-2, keepdim=True)',
                                                                   'g ← g − column mean(g)'),
    ('np.sqrt(grad) ** 3', 'g ← g^(3/2)'), ('torch.sigmoid(grad)', 'g ← 1 / (1 + exp(−g))'),
    ('torch.addcdiv(grad, grad, grad + 1, value=-lr)', 'g ← g − η·g / (g + 1)'),
    ('grad.clamp(-1, 1)', 'g ← clip(g, ±1)'), ('grad.clamp(max=lr)', 'g ← min(g, η)'),
    ('grad if grad.dim() > 0 else 0', 'g ← g'),
    ('grad * (grad.shape[0] / grad.numel())', 'g ← g/columns'),
    ('grad * ((grad > 0) & (grad < 1))', 'g ← g·[g < 1 and g > 0]'),
    ('grad * (1 - .25 * lr) ** -.5', 'g ← g / √(1 − η/4)'),
    ('1 * grad.nan_to_num()', 'g ← g'),
    ('grad * ~((grad > 0) & (grad < 1))', 'g ← g·[not (g < 1 and g > 0)]'),
    ('grad // 2', 'g ← floor(g/2)'), ('grad * math.e', 'g ← 2.71828·g'),
    ('grad % 2', 'g ← g mod 2'),
    ('grad * ((grad > 0) & ((grad < 1) | (lr > grad)))', 'g ← g·[(g < 1 or η > g) and g > 0]'),
    ('torch.where(grad > 0, torch.where(grad < 1, 1, 2), grad)',
     'g ← 1 if g < 1 else 2   where g > 0\n'
     '    g                   elsewhere'),
    ('2.5 * grad', 'g ← 2.5·g'), ('torch.where(grad > 0, 2, torch.where(grad < 0, 3, grad))',
                                  'g ← 2   where g > 0\n'
                                  '    3   where g < 0\n    g   elsewhere')])
def test_what_an_operation_means(body, text):
    names = {}
    exec(f'import math, torch\nimport numpy as np\ndef odd(grad, *, lr=.5): return {body}', names)
    assert of(transform(names['odd'])).text == text


@pytest.mark.parametrize('body, why', [
    ('return grad.mul_(2)', 'it writes into a tensor (`mul_`)'),
    ('return grad * grad.tolist()[0]', '`tolist` is not an operation that equations know'),
    ('return grad * float(int(lr))', 'it needs the value of a number'),
    ('return grad.norm(1) * grad', 'it takes a norm of order 1'),
    ('return grad * torch.ones(3)', 'it reads a tensor that is not one of its arguments'),
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
    assert "α′ = α·min(t/T, 1)" in explain('ademamix', warmup=100).text()
    assert 'T' not in [t for t, _ in explain('ademamix').sections[0].together()][-1]


# -- never a word of sympy's -----------------------------------------------------------------------

OURS = {'floor', 'sign', 'exp', 'log', 'sin', 'cos', 'tanh'}  # also what people call them
SYMPYS = {n for module in (sp.functions, boolalg, relational,
                           expressions) for n, o in vars(module).items()
          if isinstance(o, type) and issubclass(o, sp.Basic)} - OURS | {'nan', 'zoo', 'oo', 'False',
                                                                        'True', 'Sym'}
WORD = re.compile(rf"(?<![A-Za-z_`\\])({'|'.join(sorted(SYMPYS, key=len, reverse=True))})"
                  r'(?![A-Za-z_`\\])')


def words(section):
    "sympy's words in a printed explanation, but for its name and its parts' documentation."
    said = [*section.together(), *((r.text + r.note, r.latex) for r in section.rows())]
    return {w for pair in said for text in pair for w in WORD.findall(text)}


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('name', [e.name for e in genopt.recipes()])
def test_no_recipe_is_explained_in_words_of_sympys(name):
    recipe = genopt.recipe(name)
    for options, _ in choices(recipe):
        assert not words(recipe.explain(lr=.1, **options).sections[0]), options


def test_no_modifier_is_explained_in_words_of_sympys():
    for modifier in genopt.modifiers().values():
        for base in genopt.SGD, genopt.RAdam:
            assert not words((base + modifier).explain().sections[0]), modifier


SCALARS = [
    'float(count > 1 and s > 1e-10)', 'float(count > 1 or s > 1)',
    'float(not (count > 1 and s > 1))',
    'float((count > 1) != (s > 1))', '(count > 1) ^ (s > 2)',
    '1. if 0 < s < 1 else (2. if count > 3 else 3.)',
    'float(bool(s))', 'max(s, 1) if min(s, 2) > 1 else abs(s - 1)', 'round(s)',
    'math.floor(s) + math.ceil(s)', 's % 2',
    's // 2', 'int(count > 3)', '(count > 1) * (s > 2)', '(count > 1) & (s > 2) | (s == 0)',
    's and 1', 's or cap',
    'math.exp(1) * s', 'float("inf")', '(1 if count > 2 else 2) > 1',
    'float(count == 1) + float(s == 0)',
    'any([s > 1, count > 2])', 'all([s > 1, count > 2])', '2 ** -s',
    '10 ** 400 * s if s > 1e300 else s',
    # without an equation, or not numbers
    'float("nan")', '1 / 0', 'math.log(0)', 's / (s - s)', '(-1) ** .5 * s', 'math.log(s - s)',
    'math.atan(s)',
    's < 1j', 's ** (0 * s) ** -1', 'divmod(s, 2)[0]', '0 ** 0 * s', '1 / zero', 'zero ** zero',
    'math.log(zero)']
READERS = ['x * grad', 'grad if x else 0 * grad', 'grad if x > 0 else 2 * grad', 'grad * (x == 1)',
           'grad / x',
           'torch.where(grad > x, grad, x)', 'grad if not x else grad.abs()',
           'torch.where(torch.where(grad > 0, x, 2) > 1, grad, torch.where(grad > x, x, 0))']


def two_parts(number, reader):
    "A scalar, and a part that reads it."
    names = dict(scalar=scalar, transform=transform, stat=stat, size=genopt.sqr_grad_norm)
    exec(f'''import math, torch
@scalar
def fresh_pair(count, s=size, *, cap=.5, zero=0.): return {number}
@transform
def odd(grad, x=fresh_pair): return {reader}
''', names)
    return [genopt.step_count, names['odd'], genopt.sgd_step]


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('number', SCALARS)
def test_a_condition_on_a_condition_has_no_word_of_sympys(number):
    for reader in READERS:
        for given in {}, dict(zero=1.):
            found = explain(two_parts(number, reader), lr=.1, **given)
            assert not words(found.sections[0]), reader
            found.text(), found.latex(), found.markdown()
            convert(found.sections[0].together()[-1][1])


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('number', SCALARS[:SCALARS.index('float("inf")')])
def test_a_condition_on_a_condition_is_what_runs(number):
    for reader in READERS[:4] + READERS[5:]: steps_agree(two_parts(number, reader), dict(lr=.05),
                                                         1e-9)


@pytest.mark.parametrize('body', [
    'grad * (grad > 0) * (grad < 1)', 'grad * ((grad > 0) != (grad < lr))',
    'grad * torch.logical_not(grad > lr)',
    'grad * torch.logical_xor(grad > 0, grad < lr)',
    'torch.where((grad > 0) & ~(grad > lr), 1, 0) * grad',
    'torch.where(grad > 0, torch.where(grad > 1, 1, 0), torch.where(grad < -1, 0, 1)) * grad',
    'torch.where((grad > 0) * (grad < 1), grad, 0)',
    'grad.round() + torch.ceil(grad) - grad.floor()',
    'grad.T.T + grad.mT.mT', 'grad @ grad.T @ grad',
    '(grad.t() @ grad).transpose(0, 1).mm(grad.mT).T',
    'torch.addmm(grad, grad @ grad.mT, grad, beta=lr, alpha=2)', 'torch.swapaxes(grad.T, -1, -2)',
    '(grad @ grad.T if grad.shape[0] > 2 * grad.shape[1] else grad.T @ grad).square().sum().sqrt() '
    '* grad'])
def test_of_conditions_and_matrices_the_equation_is_what_runs(body):
    names = {}
    exec(f'import math, torch\ndef odd(grad, *, lr=.5): return {body}', names)
    parts = [transform(whole=True)(names['odd']), genopt.sgd_step]
    section = explain(parts, lr=.05).sections[0]
    assert not words(section) and not any(q.why_not for q in section.equations.traced)
    steps_agree(parts, dict(lr=.05), 1e-9)


@pytest.mark.parametrize('body, text, latex', [
    ('grad.T', 'g ← gᵀ', r'g \leftarrow g^{\top}'),
    ('grad.mT ** 2', 'g ← (gᵀ)²', r'g \leftarrow {(g^{\top})}^{2}'),
    ('grad @ grad.t() @ grad', 'g ← g·gᵀ·g', r'g \leftarrow g g^{\top} g'),
    ('grad.transpose(0, 1) / lr', 'g ← gᵀ/η', r'g \leftarrow \frac{g^{\top}}{\eta}'),
    ('(grad + lr).transpose(-2, -1)', 'g ← (g + η)ᵀ', r'g \leftarrow (g + \eta)^{\top}')])
def test_a_transposed_matrix(body, text, latex):
    names = {}
    exec(f'def odd(grad, *, lr=.5): return {body}', names)
    row = of(transform(names['odd']))
    assert (row.text, row.latex) == (text, latex)


def test_no_equation_is_a_raw_error_of_sympys():
    def odd(grad, *, lr): return grad * (grad > 0 * lr if (grad + grad.norm() * 1j) < 2 else 1)
    row = of(transform(odd))
    assert (row.text, row.note) == ('g ← odd(g, η)',
                                    'no equation: its result is not always a number')


# -- loops -----------------------------------------------------------------------------------------

LOOPS = {
    'x = x / 2 + grad / (2 * x)': 'X ← (X + g/X) / 2',
    'x = (x @ x.T) @ x / x.norm()': 'X ← X·Xᵀ·X / ‖X‖',
    'y = x * x; x = (x - y + y * y) / 2': 'X ← X·(X³ + 1 − X) / 2'}


@pytest.mark.parametrize('body', LOOPS)
def test_a_loop_is_what_runs(body):
    names = dict(transform=transform)
    exec(f"""import torch
@transform(whole=True)
def looped(grad, *, ns_steps=3):
    x = grad / grad.norm()
    for _ in range(int(ns_steps)): {body}
    return (x - grad.sign()) / 2
""", names)
    parts = [names['looped'], genopt.sgd_step]
    text = explain(parts, lr=.1).box.text()
    assert f'    repeat k times:\n        {LOOPS[body]}\n' in text
    steps_agree(parts, dict(lr=.05), 1e-9)


@pytest.mark.parametrize('body, why', [
    ('for i in range(int(ns_steps)): grad = grad * (i + 2)', 'the turns of its loop differ'),
    ('for _ in range(int(ns_steps)): x, grad = grad * 2, x + grad', 'the turns of its loop differ'),
    ('for _ in range(1, int(ns_steps)): grad = grad * 2', 'its loop does not begin at 0'),
    ('for _ in range(int(ns_steps)): grad = grad * 2\n    '
     'for _ in range(int(ns_steps)): grad = grad + 1', 'it has two loops')])
def test_why_a_loop_has_no_equation(body, why):
    names = {}
    exec(f'def odd(grad, *, ns_steps=3):\n    x = grad / 3\n    {body}\n    return grad', names)
    with pytest.raises(Unsymbolic) as e: trace(transform(names['odd']))
    assert str(e.value) == why


# -- parts in any order ----------------------------------------------------------------------------

def test_a_number_that_is_written_out_reads_what_it_read():
    "Though what it reads has changed in between."
    @scalar
    def due(prev_waits, *, every=3): return float(prev_waits + 1 >= every)
    @stat(init=0.)
    def count_waits(waits, turn=due): return 0. if turn else waits + 1
    @transform
    def double(grad, turn=due): return 2 * grad if turn else grad
    steps_agree([count_waits, double, genopt.sgd_step], dict(lr=.05))


def test_what_is_off_makes_an_update_of_zero():
    for parts in [genopt.weight_decay], [genopt.weight_decay, genopt.cautious_decay,
                                         genopt.cautious], \
            [genopt.weight_decay, genopt.parts.proximal_decay, genopt.average_param]:
        values = dict(genopt.Composition(parts).hypers, lr=.1)
        section = explain(parts, **values | dict(wd=0.)).sections[0]
        assert 'θ ← θ' in [text for text, _ in section.together()]
        for wd in 0., .2: steps_agree(parts, values | dict(wd=wd))


def test_a_switch_may_be_the_learning_rate():
    @step(switch='lr')
    def turned(grad, *, lr): return -lr * grad
    notes = [r.note for r in explain([genopt.sgd_step, turned], lr=0.).sections[0].rows()]
    assert notes == ['', 'off, as η = 0']
    assert 'off' not in explain([genopt.sgd_step, turned], lr=torch.tensor(0.)).text()  # it runs


def test_a_part_may_stand_there_twice():
    rows = [*explain([genopt.sgd_step, genopt.sgd_step], lr=.1).sections[0].rows()]
    assert [(r.part, r.text) for r in rows] == [('sgd_step', 'Δθ ← −η·g'),
                                                ('sgd_step', 'Δθ ← Δθ − η·g')]
    parts = [genopt.average_grad, genopt.step_count, genopt.parts.debiased_step,
             genopt.parts.debiased_step.rename(mom='ema')]
    text = explain(parts, lr=.1, ema=.5).text()  # two hats for one m
    assert 'm̂ = m / (1 − β₁ᵗ)' in text and 'Δθ ← Δθ − η·m / (1 − βᵗ)' in text
    steps_agree(parts, dict(lr=.1, mom=.9, ema=.5))


@stat
def update_avg(update_avg, update): return .9 * update_avg + .1 * update * update
@stat
def reached(reached, new_param): return new_param
@transform
def grown(update, prev_update_avg,
          param): return update / 2 + update * prev_update_avg + .01 * param * update**2
@transform
def pulled(grad, update): return grad + .5 * update * update
@transform
def pushed(update, grad): return update - .01 * grad * grad
@step
def back(prev_grad_avg, update, *, lr): return lr * prev_grad_avg / 10 - update / 10
@step
def to_last(param, prev_reached): return (prev_reached - param) / 10

FEW = [update_avg, reached, grown, pulled, pushed, back, to_last, genopt.sgd_step,
       genopt.momentum_step, genopt.l2_reg,
       genopt.average_grad, genopt.weight_decay, genopt.parts.lookahead_step, genopt.average_param,
       genopt.parts.proximal_decay]
POOL = [p for p in every_part()
        if not p.linkable and p.needs != 'matrix' and p.__name__ != 'add_noise']
KEEPS = {p.out: p for p in [*POOL, *FEW] if p.kind == 'stat'}


def random_parts(draw):
    "Parts in any order that make an optimizer; stats that the others read are added."
    parts = [draw.choice(draw.choice([POOL, FEW])) for _ in range(draw.randint(2, 7))]
    for _ in range(20):
        try: return genopt.Composition(parts)
        except genopt.ContractError as e: needed = re.search(r'reads `(?:prev_)?(\w+)`[:,] '
                                                             r'(?:add|which)', str(e))
        if not needed or needed[1] not in KEEPS: return None
        parts = [KEEPS[needed[1]], *parts]
    return None


@pytest.mark.filterwarnings('ignore')
def test_the_equations_of_any_parts_in_any_order():
    draw, tried = Random(0), 0
    while tried < 100:
        composition = random_parts(draw)
        if composition is None: continue
        values = {k: NONZERO.get(k, .9 if v is genopt.contract.REQUIRED else v)
                  for k, v in composition.hypers.items()}
        values |= {k: 0. for k in {'wd', 'mom', 'nu', 'lr_decay'} & {*values} if draw.random() < .3}
        try: steps_agree(composition.parts, values | {k: .05 for k in {'lr'} & {*values}}, 1e-9)
        except (genopt.PartError, RuntimeError): continue  # it breaks its contract here
        tried += 1
