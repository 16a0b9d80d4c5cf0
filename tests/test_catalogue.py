"Promise: the catalogue is read off the code, complete, and finds what one means."
import re
import subprocess
import sys
from pathlib import Path

import genopt
import pytest
import torch
from genopt import cli, parts
from genopt.catalogue import every_part, reach
from genopt.cli.list import page

DOCS = Path(__file__).parents[1] / 'docs'
ARXIV = re.compile(r'(?<!\d)\d{4}\.\d{4,5}(?!\d)')


def test_recipes():
    found = genopt.recipes()
    assert len(found) >= 34 and [e.name for e in found] == genopt.zoo.__all__
    assert len({e.name for e in found}) == len(found)
    for e in found:
        assert e.parts == getattr(genopt, e.name).parts() and e.idea.endswith('.')
        assert '\n' not in e.idea
        assert ARXIV.search(e.idea) or re.search(r'19\d\d|20\d\d',
                                                 e.idea), f'{e.name} cites no source'
    assert [e.name for e in genopt.recipes('friends')] == ['SGD', 'Momentum', 'RMSprop', 'Adam',
                                                           'AdamW']
    assert repr(found).splitlines()[4].split()[:3] == ['AdamW', 'friends', 'Adam']


def test_an_entry_does_what_its_recipe_does():
    for r in genopt.recipes(): assert r.recipe is genopt.recipe(r.name)
    lion = genopt.recipes('signs')[-1]
    assert lion.explain(wd=.1).text() == genopt.Lion.explain(wd=.1).text()
    assert isinstance(lion([torch.nn.Parameter(torch.ones(2))], lr=.1), genopt.Lion)


def test_all_of_torch_optim_is_here():
    theirs = {n for n, c in vars(torch.optim).items()
              if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)}
    assert theirs - {'Optimizer', 'LBFGS'} <= {e.name for e in genopt.recipes()}
    assert 'LBFGS' in genopt.zoo.__doc__ and 'LBFGS' in (DOCS / 'catalogue.md').read_text()


@pytest.mark.parametrize('name', ['adamw', 'AdamW', 'ADAMW', 'adam_w', 'Adam-W'])
def test_finds_one_by_name(name): assert genopt.recipe(name) is genopt.AdamW


@pytest.mark.parametrize('name, why', [
    ('adamv', 'there is no recipe or part `adamv`: did you mean `Adam'),
    ('sdg', 'there is no recipe or part `sdg`: did you mean `SGD`?'),
    ('xyzzy', 'there is no recipe or part `xyzzy`: `python -m genopt list` shows all; give '),
    ('lbfgs', 'there is no recipe or part `lbfgs`: use torch.optim.LBFGS, ')])
def test_suggests_the_nearest(name, why):
    with pytest.raises(KeyError) as e: genopt.recipe(name)
    assert e.value.args[0].startswith(why)


def test_what_is_no_name():
    with pytest.raises(TypeError, match=r'recipe\(3\): give a name, such as'): genopt.recipe(3)


def test_every_part_is_documented_and_used():
    several = [o for m in genopt.parts.MODULES for o in vars(m).values() if type(o) is tuple]
    modifying = {p for ps in (*genopt.modifiers().values(), *several) for p in ps
                 if isinstance(p, genopt.Part)}
    inner = reach(p for m in modifying for p in m.linked)
    for p in every_part():
        assert len(p.__doc__) > 8, p
        if p.kind == 'given': continue  # it is for parts of your own too
        assert genopt.users(p) or p in modifying or p.fn in inner, f'{p.label} is used by nothing'
    assert genopt.users(genopt.max_sqr_grad) == ['Adam', 'AdamW', 'AdaBound']  # by an option
    assert genopt.users(genopt.parts.match_adam_rms) == ['Muon']  # by another
    assert 'Adamax' in genopt.users(genopt.debias)  # through a step


def test_no_two_parts_do_the_same():
    "No part could have been another under other names: their bytecode differs, but for names."
    def key(p):
        code = p.fn.__code__
        return (p.kind, code.co_code, code.co_consts[1:], code.co_names, len(p.hypers), len(p.args),
                len(p.links),
                p.whole, str(p.init), p.switch and 'switch',
                tuple(link.fn for link in p.links.values()))
    seen = {}
    for p in every_part():
        other = seen.setdefault(key(p), p)
        assert other is p or {other.label, p.label} in ALIKE, f'{p.label} is {other.label}'


# Of one form on purpose: the names that they read tell them apart
ALIKE = [{'sgd_step', 'momentum_step'}, {'annealed_step', 'asgd_step'}, {'grown_weight', 'warm_lr'},
         {'scale_by_lr', 'scale_to_radius'}, {'weight_decay', 'late_decay'},
         {'sync', 'root_due'}, {'share_of_new', 'share_of_slow'},
         {'rate_of_d', 'eps_of_d'}, {'scale_by_lr', 'scale_by_rate'},
         {'sqr_sum_norm', 'sqr_param_norm'}]


def test_a_recipes_docstring_has_its_equations():
    doc = genopt.Lion.__doc__.splitlines()
    assert doc[0] == genopt.Lion.idea and doc[4].split(None, 1)[1] == 'm ← β₂·m + (1 − β₂)·g'
    for p in genopt.AdamW.parts(): assert p.__doc__.splitlines()[0] in genopt.AdamW.__doc__
    for e in genopt.recipes():
        for p in e.parts: assert f'\n    {p.label} ' in genopt.recipe(e.name).__doc__


def test_the_page_is_up_to_date():
    assert (DOCS / 'catalogue.md').read_text(encoding='utf-8') == page() + '\n', \
        'write it anew: python -m genopt list --markdown > docs/catalogue.md'


def test_the_table_of_what_was_verified_has_every_recipe():
    lines = (DOCS / 'verified.md').read_text(encoding='utf-8').splitlines()[5:]
    rows = [line.split(' | ')[0][2:] for line in lines]
    assert {*rows} - {'--'} >= {e.name for e in genopt.recipes()}


def test_the_command(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '100')
    assert cli.main(['list']) == 0
    out = capsys.readouterr().out
    assert re.search('AdamW +friends +Adam whose weight decay', out)
    assert max(map(len, out.splitlines())) <= 100
    assert cli.main(['list', '--family', 'signs']) == 0 and 'Adam ' not in capsys.readouterr().out
    assert cli.main(['list', '--parts']) == 0
    assert re.search(r'^scale_by_friction +transform +Δθ ← .*\n(.*\n)? +DiffGrad$',
                     capsys.readouterr().out, re.M)
    assert cli.main(['list', '--family', 'adam']) == 1
    why = ('list: there is no family `adam`: there are friends, memories, sums, adams, signs, '
           'layers, frugal, matrices, averages, rates, second\n')
    assert capsys.readouterr().err == why


def test_options_that_do_not_go_together(capsys):
    assert cli.main(['list', '--family', 'signs', '--parts']) == 1
    assert capsys.readouterr().err == 'list: --family and --parts do not go together: give one\n'


def test_a_reader_that_stops_reading():
    command = f'{sys.executable} -m genopt list | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith('SGD ') and not done.stderr


def test_every_name_is_public():
    for n in parts.__all__: assert getattr(genopt, n) is getattr(parts, n)
