"A new project, for an optimizer of your own."
from __future__ import annotations

import re
import sys
from keyword import iskeyword
from pathlib import Path

from jinja2 import Environment, StrictUndefined  # torch needs it too

from .. import parts, zoo
from ..specs import module_of
from ..study.explain import explain
from . import Stop, write

IMPORTS = {'torch', 'numpy', 'genopt', 'fastcore', 'pytest', 'reference'}  # of the project's files
TEMPLATE = Path(__file__).parent.parent / 'template'
NEXT = '''
What to try next:
    cd {folder}
    python -m pytest              {pad}  see that the rule follows the formulas in NumPy
    python -m genopt explain {module}       see its equations
    python -m genopt race {module} adamw    train real models with both
Then write your own rule into {module}, and its formulas into tests/reference.py.'''


def new(
    folder: Path,  # A folder that is new or empty
    name: str=''  # The name of the recipe, such as Squash; by default the folder's
) -> int:
    "Writes a small project: a recipe, its test against formulas in NumPy, a notebook, a README."
    recipe = name or re.sub(r'[\W_]+(.?)', lambda m: m[1].upper(), f'_{folder.resolve().name}')
    name = re.sub('(?<=[a-z0-9])(?=[A-Z])', '_', recipe).lower()
    _check(folder, recipe, name)
    about, module = dict(recipe=recipe, module=name), f'{name}.py'
    _write('NAME.py.jinja', folder, about)
    made = getattr(module_of(str(folder / module)), recipe)
    about |= dict(idea=made.idea, equations=explain(made).markdown().rstrip())
    for path in sorted(p for p in TEMPLATE.rglob('*') if p.is_file()):
        print('wrote', _write(str(path.relative_to(TEMPLATE)), folder, about))
    print(NEXT.format(folder=folder, module=module, pad=' ' * len(module)))
    return 0


def _check(folder: Path, recipe: str, module: str) -> None:
    if not recipe.isidentifier() or recipe[0] == '_' or iskeyword(recipe) or iskeyword(module):
        raise Stop(f'{recipe!r} cannot be the name of a recipe: give one with --name, as in '
                   '--name Squash')
    if recipe.lower() in {n.lower() for n in zoo.__all__}:
        raise Stop(f'genopt has a recipe called {recipe}: give yours another name with --name')
    if recipe in parts.__all__:
        raise Stop(f'genopt has a part called {recipe}: give yours another name with --name')
    if module in sys.stdlib_module_names:
        raise Stop(f'Python has a module called {module}: give another name with --name')
    if module in IMPORTS:
        raise Stop(f'the project imports a module called {module}: give another name with --name')
    if folder.is_file(): raise Stop(f'{folder} is a file: give a folder')
    if folder.is_dir() and any(folder.iterdir()):
        raise Stop(f'{folder} has files in it: give a new folder, or an empty one')


def _write(name: str, folder: Path, about: dict[str, str]) -> Path:
    "Writes one file of the template with its names filled in."
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        (TEMPLATE / name).read_text(encoding='utf-8'))
    path = folder / name.replace('NAME', about['module']).removesuffix('.jinja')
    write(path, lambda p: p.write_text(template.render(about), encoding='utf-8'))
    return path
