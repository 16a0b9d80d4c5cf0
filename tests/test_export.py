"""Promise: an exported file needs nothing of genopt, and makes the steps of the plain engine bit
for bit."""
import ast
import functools
import math
import re
import subprocess
import sys

import genopt
import numpy as np
import pytest
import steps_alone
import torch
from genopt import (AdamW, average_grad, gate, hyper, lookahead, recipe, scalar, sgd_step, stat,
                    step, total, transform)
from genopt.catalogue import choices
from genopt.cli import main
from helpers import CASES, RECIPES, case_id, dtype_name, keeps_to_matrices
from pages import ROOT
from torch import Tensor, maximum

DTYPES = torch.float32, torch.bfloat16


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


def negated(f):
    def negative(x): return -f(x)
    return negative


def twice(f):
    @functools.wraps(f)
    def twofold(x): return 2 * f(x)
    return twofold


@negated
@negated
@negated
def turned(x): return .2 * x


@twice
@twice
def fourfold(x): return x + .1


@transform
def turns(grad): return fourfold(turned(grad))


@twice
@negated
def hidden(x): return x


@negated
@twice
def covered(x): return x


@step
def reads_hidden(grad, *, lr): return lr * hidden(grad)


@step
def reads_covered(grad, *, lr): return lr * covered(grad)


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


@scalar
def only_there(seen): return 1 / seen


@scalar
def weight(only_there=only_there): return only_there**2


@total
def strange(grad, raw_grad, prev_older, late_rate=state, weight=weight):
    return (grad * prev_older - raw_grad).abs().sum() * late_rate * weight


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
    named('Turned', turns, sgd_step, lr=.1),
    named('Double', precise, sgd_step, lr=.1),
    named('Ones', ones, sgd_step.rename(grad='ones'), lr=.1),
    named('Totals', seen, often, last_grad, older, late, move, lr=.1),
    named('Random', sgd_step, reader, lr=.1),
    named('WithNumpy', with_numpy, sgd_step, lr=.1)]


# -- what is exported ------------------------------------------------------------------------------

def each():
    "Recipes with every choice of their options, torch's words, sums, and parts of one's own."
    for r in RECIPES:
        known = [r.parts(**r.rule().options_in(options)) for x, _, options in CASES if x is r]
        for options, parts in choices(r):
            if parts in known: continue
            decays = dict(wd=.1) if 'wd' in r.rule(options).composition.hypers else {}
            yield r, {k: v for k, v in options.items() if v != r.options[k]} | decays
    for r, _, options in CASES: yield r, options
    for parts in genopt.modifiers().values(): yield AdamW + parts, {}
    yield genopt.SGD + genopt.skip_nonfinite + genopt.clip_by_global_norm + lookahead, dict(mom=.9)
    yield genopt.Lion + genopt.gradient_noise + genopt.cautious + genopt.average_param, dict(wd=.1)
    for r in OWN: yield r, {}


DTYPES = torch.float32, torch.bfloat16, torch.float64, torch.float16


def dtypes_of(i, recipe, options):
    "One for each, two without options, and all for parts of one's own."
    if recipe in OWN: return DTYPES
    return [DTYPES[i % 4]] if options else [torch.float32, DTYPES[1 + i % 3]]


EACH = [(f'file_{i}', r, options, dtype) for i, (r, options) in enumerate(each())
        for dtype in dtypes_of(i, r, options)]


def how(recipe, dtype): return dtype, keeps_to_matrices(recipe), 'skip' in recipe.__name__


def class_name(text): return re.search(r'^class (\w+)', text, re.M)[1]


def exported(recipe, options):
    return genopt.export(recipe, **{k: v for k, v in options.items() if k != 'maximize'})


@pytest.fixture(scope='module')
def chosen(request):
    "The cases that are tried in this run, or all."
    tried = [item.callspec.params for item in request.session.items
             if item.function is test_a_file_makes_the_steps_of_the_plain_engine]
    found = {(params['file'], params['dtype']) for params in tried}
    return [case for case in EACH if not found or (case[0], case[3]) in found]


@pytest.fixture(scope='module')
def folder(tmp_path_factory, chosen):
    "A folder with their files."
    folder = tmp_path_factory.mktemp('exported')
    for file, r, options, _ in chosen:
        if not (folder/f'{file}.py').exists():
            (folder/f'{file}.py').write_text(exported(r, options), encoding='utf-8')
    return folder


@pytest.fixture(scope='module')
def results(folder, chosen):
    "What the files did where there is no genopt: parameters, and state."
    cases = {}
    for file, r, options, dtype in chosen:
        name = class_name((folder/f'{file}.py').read_text(encoding='utf-8'))
        cases[file, dtype] = file, name, options.get('maximize', False), *how(r, dtype)
    torch.save(cases, folder/'cases.pt')
    subprocess.run([sys.executable, '-W', 'error', steps_alone.__file__, folder], check=True,
                   cwd=folder)
    return torch.load(folder/'results.pt')


def bits(x):
    "What two values must have in common."
    if not isinstance(x, Tensor): return type(x), x
    return x.dtype, x.shape, x.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.exhaustive(16)
@pytest.mark.parametrize('file, recipe, options, dtype', EACH, ids=[
    f'{case_id((r, None, options))}-{dtype_name(dtype)}' for _, r, options, dtype in EACH])
def test_a_file_makes_the_steps_of_the_plain_engine(results, file, recipe, options, dtype,
                                                    monkeypatch, one_thread):
    "Each with one thread, as torch's products of matrices depend on their number."
    monkeypatch.setattr('genopt.joining.rehearse', lambda *args: None)  # the parts are all right
    params, state = results[file, dtype]
    def make(groups): return recipe(groups, compile=False, **options)
    ours, our_state = steps_alone.run(make, *how(recipe, dtype))
    for k, p in ours.items(): assert bits(params[k]) == bits(p), k
    for k, stats in our_state.items():
        assert {n: bits(v) for n, v in state.get(k, {}).items()} == {
            n: bits(v) for n, v in stats.items()}, k


MYPY = f"""
[mypy]
strict = true
python_version = 3.10
cache_dir = {ROOT/'.mypy_cache'}
[mypy-{{files}}]
disallow_untyped_defs = false
disallow_incomplete_defs = false
disallow_untyped_calls = false
"""  # for parts, as in pyproject.toml


def test_linters_pass_on_the_files(folder):
    files = [*folder.glob('file_*.py')]
    for file in files:
        text = file.read_text(encoding='utf-8')
        ast.parse(text, feature_version=(3, 10))
        assert not re.search(r'^\s*(from|import) genopt', text, re.M)
    ruff = [sys.executable, '-m', 'ruff', 'check', '--isolated', '--line-length', '100',
            '--extend-select', 'E4,E5,E7,E9,F,B', '--ignore', 'PLR0124', folder]  # x == x: not NaN
    (folder/'mypy.ini').write_text(MYPY.format(files=','.join(f.stem for f in files)))
    mypy = [sys.executable, '-m', 'mypy', *files]
    for command in (ruff, mypy):
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


# -- what a file does ------------------------------------------------------------------------------

def made(recipe, *args, **options):
    "The class in an exported file, with the names around it."
    exec(compile(genopt.export(recipe, *args, **options), 'exported', 'exec'), names := {})
    return next(v for v in names.values() if isinstance(v, type)
                and v.__module__ == 'builtins' and issubclass(v, torch.optim.Optimizer))


def params(*shapes): return [torch.nn.Parameter(torch.randn(s)) for s in shapes]


def test_a_closure_and_groups():
    p, q = params((2,), (2,))
    opt = made('sgd')([dict(params=[p]), dict(params=[q], lr=0.)], lr=.1)
    before = [x.detach().clone() for x in (p, q)]
    def closure():
        opt.zero_grad()
        loss = (p + q).sum()
        loss.backward()
        return loss
    assert opt.step(closure) == sum(before).sum()
    assert torch.equal(p.detach(), before[0] - .1) and torch.equal(q.detach(), before[1])


def sparse_model():
    torch.manual_seed(0)
    layer = torch.nn.Embedding(6, 3, sparse=True)
    def loss(i): return layer(torch.tensor([i, 2, 2])).square().sum()
    return layer, loss


@pytest.mark.parametrize('name', ['sgd', 'momentum', 'sparseadam', 'adam + lazy', 'adagrad'])
def test_sparse_gradients_as_genopt_takes_them(name):
    ends = []
    for make in (made(name), genopt.recipe(name).optimizer_class):
        layer, loss = sparse_model()
        opt = make(layer.parameters(), lr=.1)
        for i in range(4):
            opt.zero_grad()
            loss(i).backward()
            opt.step()
        ends.append(layer.weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


@scalar
def doubled(*, lr): return 2 * lr


@step
def rows_step(grad, rows=doubled, tuple=doubled, *, lr): return -lr * grad * rows * tuple


def test_a_scalar_has_no_name_of_the_loop():
    ends, rule = [], named('Rows', genopt.lazy, average_grad, rows_step, lr=.1)
    for make in made(rule), rule.optimizer_class:
        layer, loss = sparse_model()
        opt = make(layer.parameters())
        loss(1).backward()
        opt.step()
        ends.append(layer.weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('make, error, sentence', [
    (lambda: made('adam')(params((2,)), mom=1.), ValueError,
     'mom = 1.0: it must be at least 0 and below 1'),
    (lambda: made('adam')(params((2,)), lr=math.nan), ValueError,
     'lr = nan: it must be at least 0'),
    (lambda: made('qhm')(params((2,)), nu=2), ValueError,
     'nu = 2: it must be at least 0 and at most 1'),
    (lambda: made([wants])(params((2,)), .1), TypeError, 'other'),
    (lambda: made('muon')(params((2,))), ValueError, 'this optimizer is for matrices: give a '
     'parameter of shape (2,) to another one')])
def test_wrong_values(make, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)): make()


@step
def wants(grad, *, lr, other): return -lr * other * grad


def test_a_hyperparameter_without_a_default_must_be_given():
    p, = params((2,))
    opt = made([wants], other=2.)([p], .1)
    assert (opt.defaults['lr'], opt.defaults['other']) == (.1, 2.)
    assert 'lr: float, *' in genopt.export([wants]) and 'must be given' in genopt.export([wants])


@pytest.mark.parametrize('name, sentence', [
    ('adam', 'takes real parameters with dense gradients'), ('sgd', 'takes real parameters')])
def test_gradients_that_it_does_not_take(name, sentence):
    layer, loss = sparse_model()
    loss(1).backward()
    p = layer.weight if name == 'adam' else torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    if name == 'sgd': p.grad = p.detach()
    with pytest.raises(TypeError, match=sentence): made(name)([p]).step()


def test_hyperparameters_of_ones_own_keep_their_range():
    hyper('own_share', 'σ', 'a share', low=0., most=1.)
    @step
    def own_step(grad, *, lr, own_share=.5): return -lr * own_share * grad
    with pytest.raises(ValueError, match='own_share = 2: it must be at least 0 and at most 1'):
        made([own_step])(params((2,)), .1, own_share=2)
    assert 'σ  own_share = 0.5' in genopt.export([own_step])


def test_options_become_the_composition_and_the_defaults():
    text = genopt.export('adam', amsgrad=True, betas=(.8, .9))
    assert text.startswith('# Adam(amsgrad=True, betas=(0.8, 0.9)), written by genopt')
    assert 'max_sqr_grad' in text and 'mom: float = 0.8,' in text
    assert text == genopt.export('adam(amsgrad=True, betas=(.8, .9))')


@pytest.mark.parametrize('what, options, name, header', [
    ('adamw + cautious', dict(lr=.1), 'AdamWCautious', 'AdamW + cautious, with lr=0.1, written'),
    ('adam(betas=(.9, .99))', {}, 'Adam', 'Adam(betas=(0.9, 0.99)), written by genopt'),
    ('sgd + clip_by_value', {}, 'SGDClipByValue', 'SGD + clip_by_value, written by genopt'),
    ([sgd_step.rename(grad='param')], {}, 'MyOptimizer', 'An optimizer, written by genopt')])
def test_what_a_file_and_its_class_are_called(what, options, name, header):
    text = genopt.export(what, **options)
    assert class_name(text) == name and text.startswith(f'# {header}')


def test_export_is_the_same_every_time_and_draws_no_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = genopt.export(OWN[6])
    assert first == genopt.export(OWN[6]) and torch.equal(before, torch.get_rng_state())


def test_what_a_file_needs_is_said():
    assert 'It needs torch and numpy, and nothing of genopt.' in genopt.export(
        next(r for r in OWN if r.__name__ == 'WithNumpy'))
    assert 'Apache' in genopt.export('adam') and 'Apache' not in genopt.export([wants])


# -- what cannot be exported -----------------------------------------------------------------------

TENSOR = torch.ones(2)


@step
def reads_tensor(grad, *, lr): return -lr * grad * TENSOR


def _helper(x): return x * TENSOR


@step
def calls_helper(grad, *, lr): return -lr * _helper(grad)


def of_model(model):
    @step
    def model_step(grad, *, lr): return -lr * grad * model.weight.sum()
    return model_step


@step
def reads_module(grad, *, lr): return genopt.parts.sgd_step(grad, lr=lr)


@step
def imports_inside(grad, *, lr):
    from genopt.parts import sgd_step as inner
    return inner(grad, lr=lr)


@step
def reads_nothing_there(grad, *, lr): return -lr * grad * not_there  # noqa: F821


@stat(init=lambda param: param * TENSOR)
def begins_oddly(oddly, grad): return oddly + grad


exec("""
from genopt import step
@step
def without_source(grad, *, lr): return -lr * grad
""", UNSEEN := {})


class Third(type(sgd_step)):
    kind = 'third'


@pytest.mark.parametrize('what, error, sentence', [
    ([reads_tensor], TypeError, '`reads_tensor` reads `TENSOR`, a torch.Tensor outside of it, '
     'which cannot be written into a file as a number, a string or a tuple can: compute it '
     'inside, or make it a hyperparameter'),
    ([calls_helper], TypeError, '`_helper`, which is called by `calls_helper`, reads `TENSOR`, a '
     'torch.Tensor outside of it'),
    ([of_model(torch.nn.Linear(2, 2))], TypeError, '`model_step` reads `model`, a '
     'torch.nn.modules.linear.Linear outside of it'),
    ([begins_oddly, sgd_step], TypeError, 'the init of `begins_oddly` reads `TENSOR`'),
    ([reads_module], TypeError, '`reads_module` reads the module `genopt` of genopt, which the '
     'file will not have: import the function itself'),
    ([imports_inside], TypeError, '`imports_inside` imports from `genopt.parts`, which the file '
     'will not have: import it outside of the part'),
    ([reads_hidden], TypeError, '`hidden`, which is called by `reads_hidden`, has decorators '
     'that do not all say what they wrap: use `functools.wraps` in each'),
    ([reads_covered], TypeError, '`covered`, which is called by'),
    ([reads_nothing_there], TypeError, '`reads_nothing_there` reads `not_there`, which is not '
     'defined: define it, or make it an argument'),
    ([UNSEEN['without_source']], TypeError, '`without_source` has no source that can be read: '
     'define it in a file or in a cell of a notebook'),
    ([Third(sgd_step.fn)], TypeError, '`sgd_step` is a third, and export knows only the kinds of '
     'parts that genopt has: write it as one of those'),
    ('adamm', KeyError, 'there is no recipe or part `adamm`: did you mean `Adam`?'),
    ('average_grad', TypeError, "export takes a recipe, its name, or a list of parts, not "
     "'average_grad'"),
    ('torch.optim:AdamW', TypeError, 'export takes a recipe, its name, or a list of parts'),
    ([average_grad], TypeError, '[average_grad] has no step')])
def test_what_cannot_be_exported(what, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)): genopt.export(what)


def test_an_option_that_nothing_takes():
    with pytest.raises(TypeError, match='no part takes `momm`: did you mean `mom`?'):
        genopt.export('adam', momm=.9)


# -- the command -----------------------------------------------------------------------------------

def test_the_command(tmp_path, capsys):
    assert main(['export', 'adamw + cautious', 'lr=3e-4']) == 0
    printed = capsys.readouterr().out
    assert printed == genopt.export('adamw + cautious', lr=3e-4)
    assert main(['export', 'adamw + cautious', 'lr=3e-4', '--out', f'{tmp_path}/new/mine.py']) == 0
    assert (tmp_path/'new/mine.py').read_text(encoding='utf-8') == printed
    assert main(['export', 'adamm']) == 1
    assert 'did you mean `Adam`?' in capsys.readouterr().err
