"Promise: what README shows is what happens: its code runs, its printed results and its errors are the real ones."
import contextlib
import io
import re
from functools import partial
from pathlib import Path

import genopt
import learners
import pytest
from genopt.cli import main
from PIL import Image

README = (Path(__file__).parent.parent / 'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.S)


def run_session(block, names):
    "Runs a block of `>>>` lines, and checks what each one prints, or the error that it ends in."
    for code, want in re.findall(r'^>>> (.*\n(?:\.\.\. .*\n)*)((?:(?!>>>).*\n?)*)', block, re.M):
        code, printed = code.replace('\n... ', '\n'), io.StringIO()
        with contextlib.redirect_stdout(printed):
            try: exec(compile(code, 'README.md', 'exec'), names)
            except Exception as e: print(f'{type(e).__name__}: {e}')
        assert printed.getvalue().strip() == want.strip(), code


@pytest.mark.filterwarnings('ignore')  # fastai's
def test_the_code_in_readme(capsys):
    learn = learners.learner(genopt.Adam)
    names = dict(Learner=partial(learners.Learner, loss_func=learn.loss_func), dls=learn.dls, net=learn.model,
                 splitter=learners.split)
    for block in BLOCKS:
        if block.startswith('>>>'): run_session(block, names)
        else: exec(compile(block, 'README.md', 'exec'), names)
    assert len(BLOCKS) >= 7 and 'Lion' in names and names['change'][0].item() == pytest.approx(-.1)


def test_the_two_commands():
    commands = re.findall(r'^    (python3 .*)$', README, re.M)
    assert len(commands) == 2 and commands[0].endswith('-m genopt race') and commands[1].endswith('-m pytest')


COMMANDS = re.findall(r'^    python -m genopt (.*)$', README, re.M)


@pytest.mark.parametrize('command', COMMANDS)
def test_the_other_commands(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0 and capsys.readouterr().out
    for name in re.findall(r'\S+\.png', command):
        with Image.open(tmp_path / name) as picture: assert picture.size > (400, 200)


def test_the_links():
    for link in re.findall(r'\]\(([^)#:]+)\)', README): assert (Path(__file__).parent.parent / link).is_file(), link
    assert len(COMMANDS) >= 4
