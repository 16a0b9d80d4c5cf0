"Promise: a module imports only what is below it on ARCHITECTURE's map, and loads no more."
import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import genopt
import pytest

PACKAGE = Path(genopt.__file__).parent
FILES = {p.relative_to(PACKAGE).as_posix(): p.read_text(encoding='utf-8')
         for p in PACKAGE.rglob('*.py')}
MODULES = [f for f, text in FILES.items() if f != '__main__.py' and text.count('\n') > 1]
TEXT = (PACKAGE.parent/'ARCHITECTURE.md').read_text(encoding='utf-8')
MAP = re.findall(r'^    ([\w/]+(?:\.py|/)) ', TEXT, re.M)
DOORS = {('recipe.py', 'optimizer.py', 'optimizer_class'),
         ('recipe.py', 'study/explain.py', 'explain'),
         ('optimizer.py', 'study/explain.py', 'explain'),
         ('losing.py', 'study/lost.py', 'lost_updates'),
         ('optimizer.py', 'recording/recorder.py', 'watch')}


class Import(NamedTuple):
    other: str        # the module that is imported, or from which a name is
    name: str         # that name, or '' if it is the module itself
    local: str        # what it is called here
    where: str | None  # the function that imports it


def imports(file):
    "Each import of another module of genopt, wherever it stands."
    tree, inside = ast.parse(FILES[file]), {}
    for node in ast.walk(tree):  # outer functions first
        if isinstance(node, ast.FunctionDef): inside |= dict.fromkeys(ast.walk(node), node.name)
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)): continue
        for a in node.names:
            whole, one = origin(file, node, a)
            where, local = inside.get(node), a.asname or a.name
            if module(one): yield Import(module(one), '', local, where)
            elif module(whole) and a.name != '__version__':
                yield Import(module(whole), a.name, local, where)


def origin(file, node, alias):
    "The full name of the module that an import names, and of what it takes from there."
    if isinstance(node, ast.Import): return alias.name, alias.name
    folder = ['genopt', *Path(file).parts[:-1]]
    base = folder[:len(folder) + 1 - node.level] if node.level else []
    whole = '.'.join([*base, *([node.module] if node.module else [])])
    return whole, f'{whole}.{alias.name}'


def module(name):
    "Its file, if it is one of genopt's."
    path = f'{name}.'.removeprefix('genopt.').rstrip('.').replace('.', '/')
    found = [f for f in (f'{path}.py', f'{path}/__init__.py'.lstrip('/')) if f in FILES]
    return found[0] if found and name.split('.')[0] == 'genopt' else None


def layer(file):
    "The number of its line on the map: its own line, or its folder's."
    return MAP.index(file if file in MAP else file.split('/')[0] + '/')


def imports_up(file):
    return {(file, i.other, i.where) for i in imports(file) if layer(i.other) < layer(file)}


@pytest.mark.parametrize('file', MODULES)
def test_a_module_imports_only_what_is_below_it(file): assert imports_up(file) <= DOORS


def test_each_door_is_used(): assert {*DOORS} == {door for f in MODULES for door in imports_up(f)}


def test_the_map_has_no_line_twice_or_for_what_is_not_there():
    assert len({*MAP}) == len(MAP) > 20
    for line in MAP: assert (PACKAGE/line).exists(), line


def test_there_are_no_circles():
    doors = {door[:2] for door in DOORS}
    graph = {f: {i.other for i in imports(f) if (f, i.other) not in doors} for f in MODULES}
    assert {*TopologicalSorter(graph).static_order()} >= {*MODULES}


@pytest.mark.parametrize('file', MODULES)
def test_nobody_takes_another_modules_private_names(file):
    found = [*imports(file)]
    others = {i.local for i in found if not i.name}
    taken = [i.name for i in found]
    taken += [node.attr for node in ast.walk(ast.parse(FILES[file]))
              if isinstance(node, ast.Attribute) and getattr(node.value, 'id', '') in others]
    assert not [n for n in taken if n.startswith('_') and not n.startswith('__')]


LOADS = '''
import sys, torch
before = {*sys.modules}
%s
print(*sorted(n for n in {*sys.modules} - before if n.startswith(%r) or n.split('.')[0] in %r))
'''
STEP = '''import genopt
p = torch.nn.Parameter(torch.ones(3))
p.grad = torch.ones(3)
opt = genopt.Adam([p])
opt.step()
opt.load_state_dict(opt.state_dict())'''


@pytest.mark.parametrize('code, ours, theirs', [
    ('import genopt.zoo', ('genopt.engines', 'genopt.optimizer', 'genopt.study', 'genopt.cli'),
     ('fastcore', 'sympy', 'matplotlib')),
    (STEP, ('genopt.study', 'genopt.recording', 'genopt.cli'),
     ('fastcore', 'sympy', 'matplotlib'))])
def test_what_is_not_loaded(code, ours, theirs):
    run = subprocess.run([sys.executable, '-c', LOADS % (code, ours, theirs)], cwd=PACKAGE.parent,
                         capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ''
