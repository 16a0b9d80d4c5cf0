"Promise: the Python in docs/*.md runs, links lead somewhere, and a checkpoint saved as shown there survives a kill."
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_readme import run_session

from genopt.engines import cache, toolchain

DOCS = Path(__file__).parents[1] / 'docs'
PAGES = sorted(DOCS.glob('*.md'))


def blocks(page): return re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.S)


@pytest.mark.parametrize('page', [p for p in PAGES if blocks(p)], ids=lambda p: p.stem)
def test_the_code_in_docs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(page):
        if block.startswith('>>>'): run_session(block, names)
        else: exec(compile(block, page.name, 'exec'), names)


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.stem)
def test_the_links_in_docs(page):
    for link in re.findall(r'\]\(([^)#:]+)[^):]*\)', page.read_text(encoding='utf-8')):
        assert (DOCS / link).is_file(), link


KILLED = """
import os, signal
class Deadly:
    def __reduce__(self): os.kill(os.getpid(), signal.SIGKILL)
save({'step': 2, 'much': torch.ones(100_000), 'last': Deadly()}, 'run.pt')
"""


def test_a_kill_while_a_checkpoint_is_saved(tmp_path):
    show = blocks(DOCS / 'checkpoints.md')[0]
    script = show + "\nsave({'step': 1}, 'run.pt')\n" + KILLED
    done = subprocess.run([sys.executable, '-c', script], cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL and torch.load(tmp_path / 'run.pt') == {'step': 1}


def test_a_checkpoint_has_its_name_when_it_is_on_the_disk(tmp_path, monkeypatch):
    exec(blocks(DOCS / 'checkpoints.md')[0], names := {})
    happened, os = [], names['os']
    for name in 'fsync', 'replace':
        monkeypatch.setattr(os, name, lambda *args, f=getattr(os, name): (happened.append(f.__name__), f(*args)))
    names['save']({'step': 1}, tmp_path / 'run.pt')
    assert happened == ['fsync', 'replace', 'fsync'] and [p.name for p in tmp_path.iterdir()] == ['run.pt']


def test_the_numbers_that_docs_say_of_kernels():
    text = (DOCS / 'kernels.md').read_text(encoding='utf-8')
    assert f'{toolchain.TIME_LIMIT} seconds for a kernel' in text and cache.ABANDONED == 3600 and 'an hour' in text
    assert f'loaded them for {cache.UNUSED // 86400} days' in text
