"Promise: `genopt new` writes a project whose tests pass, and fail if the rule or README is wrong."
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import genopt
import pytest
from genopt import catalogue
from genopt.cli import main
from genopt.hypers import TABLE


@pytest.fixture
def project(tmp_path, capsys):
    assert main(['new', str(tmp_path / 'mine'), '--name', 'Squash']) == 0
    yield tmp_path / 'mine'
    TABLE.pop('sharpness', None)


def run(folder, *command):
    here = Path(genopt.__file__).parents[1]
    return subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True,
                          env=os.environ | dict(PYTHONPATH=str(here)))


def test_its_tests_pass_and_see_a_mistake(project):
    tests = '-m', 'pytest', '-q', '-p', 'no:cacheprovider'
    done = run(project, *tests)
    assert done.returncode == 0 and '2 passed' in done.stdout, done.stdout + done.stderr
    rule = project / 'squash.py'
    rule.write_text(rule.read_text().replace('(sharpness * grad_avg)', '(grad_avg / sharpness)'))
    done = run(project, *tests)
    assert done.returncode == 1 and '2 failed' in done.stdout


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('folder, name', [('squash', 'squash'), ('c++ (1)', 'Path')])
def test_any_name_and_folder_will_do(folder, name, tmp_path):
    project = tmp_path / folder
    assert main(['new', str(project), '--name', name]) == 0
    rule = project / f'{name.lower()}.py'
    rule.write_text(rule.read_text().replace('(sharpness * grad_avg)', '(grad_avg / sharpness)'))
    done = run(project, '-m', 'pytest', '-q', '-p', 'no:cacheprovider')
    assert done.returncode == 1 and '2 failed' in done.stdout and 'NameError' not in done.stdout
    TABLE.pop('sharpness', None)


def test_what_is_in_it(project):
    names = {str(p.relative_to(project)) for p in project.rglob('*') if p.is_file()}
    assert names == {'squash.py', 'squash.ipynb', 'README.md', 'pyproject.toml', '.gitignore',
                     'tests/reference.py', 'tests/test_squash.py'}
    for p in names: assert not {'{{', 'NAME'} & {*(project / p).read_text()}
    about = tomllib.loads((project / 'pyproject.toml').read_text())
    assert about['project']['name'] == 'squash'
    assert catalogue.find(f'{project}/squash.py').__name__ == 'Squash'


def test_its_notebook(project):
    cells = json.loads((project / 'squash.ipynb').read_text())['cells']
    code = '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'code')
    done = run(project, '-c', f'import matplotlib; matplotlib.use("agg")\n{code}')
    assert done.returncode == 0, done.stderr


def test_it_is_clean_and_makes_a_wheel(project, tmp_path):
    assert run(project, '-m', 'ruff', 'check', '.').returncode == 0
    wheel = ['-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', str(tmp_path)]
    done = run(project, *wheel, '.')
    if 'hatchling' in done.stderr: pytest.skip('hatchling is not installed')
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob('squash-0.1.0-*.whl'))) as made:
        assert 'squash.py' in made.namelist()


@pytest.mark.parametrize('folder, recipe, module', [
    ('my-own_rule', 'MyOwnRule', 'my_own_rule'), ('mine', 'Mine', 'mine')])
def test_the_folders_name_is_the_recipes(folder, recipe, module, tmp_path, capsys):
    assert main(['new', str(tmp_path / folder)]) == 0
    assert f'explain {module}.py ' in capsys.readouterr().out
    found = catalogue.find(f'{tmp_path / folder / module}.py')
    assert found.__name__ == recipe
    TABLE.pop('sharpness', None)


@pytest.mark.parametrize('args, why', [
    (['full'], 'FOLDER/full has files in it: give a new folder, or an empty one'),
    (['full/file'], 'FOLDER/full/file is a file: give a folder'),
    (['1a'], "'1a' cannot be the name of a recipe: give one with --name, as in --name Squash"),
    (['x', '--name', 'a b'], "'a b' cannot be the name of a recipe: give one with --name"),
    (['class'], "'Class' cannot be the name of a recipe: give one with --name"),
    (['json'], 'Python has a module called json: give another name with --name'),
    (['x', '--name', 'Json'], 'Python has a module called json: give another name'),
    (['x', '--name', 'Genopt'], 'the project imports a module called genopt: give another name'),
    (['x', '--name', 'Reference'], 'the project imports a module called reference: give another'),
    (['x', '--name', 'torch'], 'the project imports a module called torch: give another name'),
    (['x', '--name', 'weight_decay'], 'genopt has a part called weight_decay: give yours another'),
    (['x', '--name', '_Mine'], "'_Mine' cannot be the name of a recipe: give one with --name"),
    (['x', '--name', 'None'], "'None' cannot be the name of a recipe: give one with --name"),
    (['adam'], 'genopt has a recipe called Adam: give yours another name with --name')])
def test_what_is_refused(args, why, tmp_path, capsys):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/file').touch()
    assert main(['new', str(tmp_path / args[0]), *args[1:]]) == 1
    assert capsys.readouterr().err.startswith('new: ' + why.replace('FOLDER', str(tmp_path)))
    assert not [p for p in tmp_path.iterdir() if p.name != 'full']
