"""Promise: what docs/*.md show is what happens, and links lead somewhere.

A checkpoint saved as shown survives a kill.
"""
import re
import signal
import socket
import subprocess
import sys
from functools import partial
from unittest.mock import patch

import genopt
import matplotlib
import pytest
import torch
from genopt.cli import main
from genopt.engines import cache, toolchain
from genopt.extras import DISTRIBUTION
from genopt.formats import STATES
from pages import DOCS, README, ROOT, Page
from PIL import Image

CHECKPOINTS = Page('docs/checkpoints.md')
ALONE = [p for p in DOCS if p.path.stem != 'workbench']  # that is one story: see its own test


def names_for(page):
    "What a page says are the reader's own: data and a network for a fastai Learner."
    if page.path.stem != 'training': return {}
    import learners
    learn = learners.learner(genopt.Adam)
    return dict(Learner=partial(learners.Learner, loss_func=learn.loss_func), dls=learn.dls,
                net=learn.model, splitter=learners.split)


@pytest.mark.filterwarnings('ignore')  # those of the trainers
@pytest.mark.parametrize('page', [p for p in ALONE if p.blocks], ids=repr)
def test_the_code_in_docs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    alone = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)  # torchrun's
    for name, value in alone.items(): monkeypatch.setenv(name, value)
    with matplotlib.rc_context(), patch.dict(STATES): page.run(names_for(page))


@pytest.mark.parametrize('page, command', [(p, c) for p in ALONE for c in p.commands
                                           if not c.startswith('atlas')], ids=repr)
def test_the_commands_in_docs(page, command, tmp_path, monkeypatch, capsys):
    "All but the one that builds the atlas, which has tests of its own."
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0 and capsys.readouterr().out
    for name in re.findall(r'\S+\.png', command):
        with Image.open(tmp_path / name) as picture: assert picture.size > (400, 200)


@pytest.mark.parametrize('page', DOCS, ids=repr)
def test_the_links_in_docs(page):
    for link in page.links: assert (page.path.parent / link).is_file(), link


def test_every_page_can_be_found():
    pages = [README, *DOCS]
    linked = {(page.path.parent / link).resolve() for page in pages for link in page.links}
    assert {page.path for page in DOCS} <= linked


def test_the_distribution_has_one_name():
    project = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    assert f'[project]\nname = "{DISTRIBUTION}"\n' in project
    told = ['pyproject.toml', '*.md', 'docs/*.md', 'nbs/*.ipynb', 'genopt/**/*.py']
    for path in [path for pattern in told for path in ROOT.glob(pattern)]:
        wrong = re.findall(r'install \W*genopt\b(?!-)|"genopt\[', path.read_text(encoding='utf-8'))
        assert not wrong, path


KILLED = """
import os, signal
class Deadly:
    def __reduce__(self): os.kill(os.getpid(), signal.SIGKILL)
save({'step': 2, 'much': torch.ones(100_000), 'last': Deadly()}, 'run.pt')
"""


def test_a_kill_while_a_checkpoint_is_saved(tmp_path):
    script = CHECKPOINTS.blocks[0] + "\nsave({'step': 1}, 'run.pt')\n" + KILLED
    done = subprocess.run([sys.executable, '-c', script], cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL and torch.load(tmp_path / 'run.pt') == {'step': 1}


def test_a_checkpoint_has_its_name_when_it_is_on_the_disk(tmp_path, monkeypatch):
    exec(CHECKPOINTS.blocks[0], names := {})
    happened, os = [], names['os']
    for name in 'fsync', 'replace':
        def noted(*args, f=getattr(os, name)): happened.append(f.__name__); return f(*args)
        monkeypatch.setattr(os, name, noted)
    names['save']({'step': 1}, tmp_path / 'run.pt')
    assert happened == ['fsync', 'replace', 'fsync']
    assert [p.name for p in tmp_path.iterdir()] == ['run.pt']


def test_the_numbers_that_docs_say_of_kernels():
    text = Page('docs/kernels.md').text
    assert f'{toolchain.TIME_LIMIT} seconds for a kernel' in text
    assert cache.ABANDONED == 3600 and 'an hour' in text
    assert f'loaded them for {cache.UNUSED // 86400} days' in text


def test_pages_of_notebooks_show_mathematics_without_a_network(tmp_path):
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
    shown = new_output('display_data', {'text/markdown': '$$\n\\frac{g}{2}\n$$'})
    cells = [new_markdown_cell('the rate $\\eta$, not `$x$`'), new_code_cell(outputs=[shown])]
    nbformat.write(new_notebook(cells=cells), tmp_path / 'a.ipynb')
    subprocess.run([sys.executable, '-m', 'nbconvert', '--to', 'html', '--config',
                    ROOT / 'nbs' / 'nbconvert_config.py', tmp_path / 'a.ipynb'], check=True,
                   capture_output=True)
    page = (tmp_path / 'a.html').read_text(encoding='utf-8')
    assert page.count('<math ') == 2 and '$x$' in page and '<mfrac>' in page
    assert not re.search(r'<(?:script|link)[^>]+(?:src|href)="https?:', page)
