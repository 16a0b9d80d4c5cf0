"""Promise: one way to name an optimizer, in every command and in Python: by name, with options, as
a sum, in a file, in a module; and a sentence for what is not one.
"""
import copy
import pickle
from functools import partial

import genopt
import pytest
import torch
from genopt import Adam, AdamW, Optimizer, catalogue, explain
from genopt.cli import main
from genopt.hypers import TABLE
from helpers import param, random_step

MINE = '''
from genopt import average_grad, hyper, recipe, step
hyper('squash', 'σ', 'how hard the average is squashed', low=0., high=10.)

@step
def squash_step(grad_avg, *, lr, squash=1.):
    "The average gradient, squashed."
    return -lr * (squash * grad_avg).tanh()

@recipe(lr=1e-2)
def Squash():
    "Momentum whose step is squashed."
    return average_grad, squash_step

Listed = [average_grad, squash_step]
begin = [average_grad]
number = 3
'''


@pytest.fixture
def mine(tmp_path):
    (tmp_path / 'mine.py').write_text(MINE)
    yield f'{tmp_path}/mine.py'
    TABLE.pop('squash', None)


def moved(opt, p, steps=4):
    for i in range(steps): random_step(opt, i)
    return p


@pytest.mark.parametrize('text, recipe', [
    ('adam', Adam), ('ADAM', Adam), ('Ada_Max', genopt.Adamax),
    ('adam(amsgrad=True, lr=1e-2)', partial(Adam, amsgrad=True, lr=1e-2)),
    ('adam(betas=(.8, .99), weight_decay=.1)', partial(Adam, mom=.8, sqr_mom=.99, wd=.1)),
    ('adamw + cautious + lookahead', AdamW + genopt.cautious + genopt.lookahead),
    ('adamw(lr=1e-2)+cautious', partial(AdamW + genopt.cautious, lr=1e-2)),
    ('genopt.zoo:Lion', genopt.Lion), ('genopt:Lion(lr=.1)', partial(genopt.Lion, lr=.1)),
    ('sgd + genopt.parts:cautious', genopt.SGD + genopt.cautious)])
def test_what_a_text_means(text, recipe):
    ps = param(3, 3), param(3, 3)
    given = {} if 'lr' in text or text[0] not in 's' else dict(lr=.1)
    ours, theirs = Optimizer([ps[0]], text, **given), recipe([ps[1]], **given)
    for _ in range(4):
        random_step(ours, 1); random_step(theirs, 1)
    assert torch.equal(*ps) and not torch.equal(ps[0], param(3, 3))


def test_own_files(mine):
    squash = catalogue.find(f'{mine}:Squash')
    assert squash.__name__ == 'Squash' and catalogue.find(mine) is squash
    assert catalogue.find(f'{mine}:Listed').parts() == squash.parts()
    assert catalogue.named(f'{mine}:begin') == (genopt.average_grad,)
    assert catalogue.named(f'{mine}:squash_step') is squash.parts()[1]
    assert catalogue.find(f'adam + {mine}:squash_step').parts()[-1] is squash.parts()[1]
    p = param(3)
    opt = Optimizer([p], f'{mine}(squash=2.) + cautious')
    assert opt.recipe.__name__ == 'Squash(squash=2.0) + cautious'
    assert 'Squash(squash=2.0) + cautious' in repr(opt)
    assert opt.param_groups[0]['squash'] == 2. and moved(opt, p).isfinite().all()


def test_a_path_may_have_plus_signs_and_spaces(tmp_path):
    (tmp_path / 'c++ and+').mkdir()
    path = tmp_path / 'c++ and+/mine+.py'
    path.write_text(MINE)
    squash = catalogue.find(str(path))
    assert catalogue.find(f'{path}:Squash') is squash
    assert catalogue.find(f'{path}:Squash(lr=.1)+cautious').__name__ == 'Squash(lr=0.1) + cautious'
    found = catalogue.find(f'adam+{path}:squash_step+ {path}:begin + cautious')
    assert found.__name__.startswith('Adam + squash_step') and 'cautious' in found.__name__
    TABLE.pop('squash', None)


def test_a_changed_file_is_read_again(mine):
    before = catalogue.find(mine)
    with open(mine, 'a') as f: f.write('\n')
    assert catalogue.find(mine) is not before


def test_classes_that_are_not_genopts():
    assert catalogue.named('torch.optim:AdamW') is torch.optim.AdamW
    found = catalogue.named('torch.optim:AdamW(betas=(.8, .9))')
    assert found.func is torch.optim.AdamW and found.keywords == dict(betas=(.8, .9))


# -- names, copies ---------------------------------------------------------------------------------

@pytest.mark.parametrize('text, name', [
    ('adamw+cautious + lookahead', 'AdamW + cautious + lookahead'),
    ('adam(amsgrad=True,betas=(.9, .99))', 'Adam(amsgrad=True, betas=(0.9, 0.99))'),
    ('adam(lr=.1) + skip_nonfinite', 'Adam(lr=0.1) + skip_nonfinite')])
def test_it_is_called_by_the_words_that_were_written(text, name):
    found = catalogue.find(text)
    assert found.__name__ == name and catalogue.find(name).parts() == found.parts()
    assert repr(found).startswith(name) and explain(text).text().startswith(f'{name}: ')
    assert name in str(genopt.compare('adamw', text))
    again = pickle.loads(pickle.dumps(found))
    assert again.__name__ == name and again.parts() == found.parts()
    assert again.given == found.given and copy.deepcopy(found) is found
    assert again.rule().defaults == found.rule().defaults


def test_what_was_given():
    found = catalogue.find('adam(lr=.1, betas=(.8, .9)) + cautious')
    assert found.given == dict(lr=.1, mom=.8, sqr_mom=.9)
    assert catalogue.find('adam(lr=.1)').origin == (Adam, dict(lr=.1))
    assert found.origin == (found, {}) and not Adam.given


def test_defaults_that_are_configured_can_be_overruled():
    opt = Optimizer([param(3)], 'adam(lr=.1, amsgrad=True)', lr=.2, amsgrad=False)
    assert opt.param_groups[0]['lr'] == .2 and not opt.param_groups[0]['amsgrad']
    p = catalogue.find('adam(lr=.1, amsgrad=True)')
    assert p.__signature__.parameters['lr'].default == .1
    assert p.configured(lr=.3).__signature__.parameters['amsgrad'].default is True


def test_configured_twice_is_configured_once():
    twice = Adam.configured(lr=.1, betas=(.8, .9)).configured(lr=.2)
    assert twice.__name__ == 'Adam(betas=(0.8, 0.9), lr=0.2)' and twice.origin[0] is Adam
    one = Adam.configured(betas=(.8, .9)).configured(mom=.7)
    assert one.given == dict(sqr_mom=.9, mom=.7) and one.rule().defaults['sqr_mom'] == .9


def test_a_decay_that_was_given_stays():
    for text in ('adam(wd=.3) + cautious_decay', 'adamw(weight_decay=.3) + independent_decay'):
        opt = Optimizer([param(3)], text)
        assert opt.param_groups[0]['weight_decay'] == .3, text
    assert Optimizer([param(3)], 'adam + cautious_decay').param_groups[0]['weight_decay'] == .01


def test_a_part_is_added_once():
    twice = Adam + genopt.cautious + genopt.cautious
    assert twice.__name__ == 'Adam + cautious' and twice.parts() == (Adam + genopt.cautious).parts()


# -- commands --------------------------------------------------------------------------------------

@pytest.mark.parametrize('command', [
    ['explain', 'MINE:Squash'], ['explain', 'MINE:squash_step'], ['explain', 'MINE', 'squash=2'],
    ['compare', 'adamw(wd=.1) + cautious', 'MINE'], ['identities', 'MINE', 'sgd'],
    ['descend', 'MINE', 'adamw + cautious', 'adam(lr=.1)', '--steps=3', '--out=OUT.png']])
def test_commands_take_all_forms(command, mine, tmp_path, capsys):
    args = [a.replace('MINE', mine).replace('OUT', str(tmp_path / 'out')) for a in command]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert 'squash' in out.lower() or command[0] == 'identities'
    if command[0] == 'descend': assert 'AdamW + cautious (lr=' in out and 'Adam(lr=0.1)   ' in out


def test_a_benchmark_of_ones_own(mine, tmp_path, capsys):
    from genopt.bench.contenders import contenders, names, task
    tasks = [task(t) for t in names(f'adam(amsgrad=True), adamw + cautious,{mine}:Squash')]
    assert [t.recipe.__name__ for t in tasks] == ['Adam', 'AdamW + cautious', 'Squash']
    assert [len(contenders(t, [])) for t in tasks] == [5, 2, 2]


# -- what is refused -------------------------------------------------------------------------------

@pytest.mark.parametrize('text, error, why', [
    ('adamm', KeyError, 'there is no recipe or part `adamm`: did you mean `Adam`? Or give a name'),
    ('xyzzy', KeyError, 'there is no recipe or part `xyzzy`: `python -m genopt list` shows all'),
    ('adam + cautius', KeyError, 'there is no recipe or part `cautius`: did you mean `cautious`?'),
    ('', ValueError, "'' does not name an optimizer: give a name (adam), options (adam(am"),
    ('adam +', ValueError, "'' does not name an optimizer: give a name"),
    ('adam(', ValueError, "'adam(' does not name an optimizer: give a name"),
    ('adam(1)', ValueError, "'adam(1)': give its arguments by name, each once, with plain "),
    ('adam(lr=x)', ValueError, "'adam(lr=x)': give its arguments by name, each once, with plain"),
    ('adam(**{"lr": .5})', ValueError, "'adam(**{\"lr\": .5})': give its arguments by name, each"),
    ('adam(lr=1, lr=2)', ValueError, "'adam(lr=1, lr=2)': give its arguments by name, each once"),
    ('adam(lr=1)(eps=2)', ValueError, "'adam(lr=1)(eps=2)': give its arguments by name, each once"),
    ('adam(maximize=True)', TypeError, '`adam(maximize=True)`: `maximize` belongs to the '
     'optimizer, not to a recipe: give it when the optimizer is made'),
    ('adam(compile=False)', TypeError, '`adam(compile=False)`: `compile` belongs to the opt'),
    ('adam(momm=.9)', TypeError, '`adam(momm=.9)`: no part takes `momm`: did you mean `mom`?'),
    ('adam(lr=-1)', ValueError, '`adam(lr=-1)`: `lr` = -1 is out of range: it must be at least 0'),
    ('cautious', TypeError, '`cautious` is not a recipe: give a name (adam), options'),
    ('cautious + adam', TypeError, '`cautious` + ... : a sum begins with a recipe, and this is a '),
    ('adam + adamw', TypeError, '`adam + adamw`: only parts can be added to a recipe, and `ada'),
    ('cautious(lr=1)', TypeError, "'cautious(lr=1)': only a recipe or a class takes arguments"),
    ('torch.optim:AdamW', TypeError, '`torch.optim:AdamW` is not a recipe: give a name (adam)'),
    ('nowhere.py:X', ImportError, 'nowhere.py cannot be read: No such file or directory'),
    ('nowhere_at_all:X', ImportError, 'the module `nowhere_at_all` cannot be imported: Module'),
    ('genopt.zoo:Adamm', KeyError, 'genopt.zoo has no `Adamm`: did you mean `Adam`?'),
    ('MINE:Sqash', KeyError, 'MINE has no `Sqash`: did you mean `Squash`?'),
    ('MINE:number', TypeError, '`MINE:number` is a value of type int: name a recipe, a list of ')])
def test_what_is_no_optimizer(text, error, why, mine):
    with pytest.raises(error) as e: Optimizer([param(3)], text.replace('MINE', mine), lr=1.)
    assert e.value.args[0].startswith(why.replace('MINE', mine))


@pytest.mark.parametrize('code, error, why', [
    ('', KeyError, 'FILE defines no recipe, and no parts'),
    ('from genopt import Adam', KeyError, 'FILE defines no recipe, and no parts'),
    ('from genopt import step\n@step\ndef up(grad, *, lr): return lr * grad', KeyError,
     'FILE has no recipe: name one of up, as in FILE:up'),
    ('from genopt import momentum_step, average_grad\nMine = [average_grad, momentum_step]',
     KeyError, 'FILE has no recipe: name one of Mine, as in FILE:Mine'),
    (MINE + 'Other = recipe()(lambda: Listed)', KeyError, 'FILE has 2 recipes: name one of '),
    ('1 / 0', ImportError, 'FILE fails: ZeroDivisionError: division by zero'),
    ('def', ImportError, 'FILE fails: SyntaxError: ')])
def test_files_without_a_recipe(code, error, why, tmp_path):
    path = tmp_path / 'other.py'
    path.write_text(code)
    with pytest.raises(error) as e: catalogue.find(str(path))
    assert e.value.args[0].startswith(why.replace('FILE', str(path)))
    TABLE.pop('squash', None)


def test_a_file_may_import_its_neighbours(tmp_path):
    import sys
    (tmp_path / 'neighbour_of_mine.py').write_text('from genopt import Lion as base')
    (tmp_path / 'mine2.py').write_text('from neighbour_of_mine import base\n'
                                       'from genopt import cautious\nMine = base + cautious')
    before = [*sys.path]
    assert catalogue.find(f'{tmp_path}/mine2.py:Mine').__name__ == 'Lion + cautious'
    assert sys.path == before


def test_a_file_may_exit(tmp_path):
    (tmp_path / 'exits.py').write_text('raise SystemExit(3)')
    with pytest.raises(SystemExit): catalogue.find(f'{tmp_path}/exits.py')


# -- own hyperparameters ---------------------------------------------------------------------------

def test_an_own_hyperparameter(mine):
    text = explain(mine).text()
    assert 'σ   squash = 1  how hard the average is squashed' in text and 'tanh(σ·g)' not in text
    assert 'how hard the average is squashed' in catalogue.find(mine).__doc__
    with pytest.raises(ValueError, match='`squash` = 20 is out of range: .* below 10'):
        Optimizer([param(3)], mine, squash=20)


@pytest.mark.parametrize('given, error, why', [
    (dict(name='lr'), ValueError, '`lr` is a hyperparameter of genopt\'s own, which is learning'),
    (dict(name='a b'), ValueError, "hyper('a b'): give the name of an argument"),
    (dict(name='if'), ValueError, "hyper('if'): give the name of an argument"),
    (dict(name='own', low=1., high=1.), ValueError, '`own`: no number lies between its limits'),
    (dict(name='own', whole=True, low=.2, high=.8), ValueError, '`own`: no whole number lies '),
    (dict(name='own', whole=True, low=.2, most=.8), ValueError, '`own`: no whole number lies '),
    (dict(name='own', symbol=5), TypeError, "hyper('own'): `symbol` = 5 is not a text: give "),
    (dict(name='own', doc=5), TypeError, "hyper('own'): `doc` = 5 is not a text: give "),
    (dict(name='own', lower=1.), TypeError, '')])
def test_hyperparameters_that_are_refused(given, error, why):
    with pytest.raises(error) as e: genopt.hyper(**given)
    assert e.value.args[0].startswith(why) and 'own' not in TABLE


def test_two_files_cannot_mean_different_things_by_one_name(mine, tmp_path):
    catalogue.find(mine)
    other = tmp_path / 'other.py'
    other.write_text(MINE)
    assert catalogue.find(str(other)).__name__ == 'Squash'  # it means the same
    other.write_text(MINE.replace('high=10.', 'high=20.'))
    with pytest.raises(ImportError, match='`squash` has another meaning or other limits in '):
        catalogue.find(str(other))
    assert TABLE['squash'].high == 10.


def test_a_file_may_change_its_own_hyperparameter(mine):
    catalogue.find(mine)
    with open(mine, 'w') as f: f.write(MINE.replace('high=10.', 'high=20.'))
    catalogue.find(mine)
    assert TABLE['squash'].high == 20.
    assert genopt.hyper('squash_count', whole=True, low=.5, high=1.5).high == 1.5
    TABLE.pop('squash_count')
