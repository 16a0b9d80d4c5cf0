"""Promise: the page from an idea to an optimizer is true: its files are written, its commands and
its code run, from top to bottom in one folder, and what it shows is what is printed.
"""
import re
import shlex

import matplotlib
from genopt.cli import main
from genopt.hypers import TABLE
from pages import Page
from PIL import Image

STEP = re.compile(r'```(python|text)\n(.*?)```|^    python -m genopt ([^\n]*)$', re.S | re.M)
PAGE = Page('docs/workbench.md')


def test_from_an_idea_to_an_optimizer(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed, names, commands = '', {}, set()
    with matplotlib.rc_context():
        for kind, block, command in STEP.findall(PAGE.text):
            if command:
                assert main(shlex.split(command)) == 0, command
                printed, commands = capsys.readouterr().out, commands | {command.split()[0]}
                assert printed
            elif kind == 'text': assert block in printed
            elif block.startswith('# ') and '.py\n' in block:
                file, code = block[2:].split('\n', 1)
                (tmp_path / file).write_text(code)
            else: exec(compile(block, 'workbench.md', 'exec'), names)
    assert commands == {'explain', 'compare', 'identities', 'descend', 'check', 'race', 'export',
                        'new'}
    for picture in ('paths.png', 'race/leastsquares.png'):
        with Image.open(tmp_path / picture) as image: assert image.size > (400, 200)
    TABLE.pop('sharpness', None)
