"Promise: what README shows is what happens. Its code runs and prints what it says."
import re

import genopt
from pages import README, ROOT


def test_the_code_in_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = README.run({})
    assert len(README.blocks) >= 6 and 'MyLion' in names


def test_how_many_recipes_there_are():
    least = re.search(r'more than (\d+) recipes', README.text)[1]
    assert int(least) < len(genopt.recipes()) <= int(least) + 20


def test_the_two_commands():
    twins, test = re.findall(r'^    (python3 .*)$', README.text, re.M)
    assert twins.endswith('-m genopt twins') and test.endswith('-m pytest')


def test_the_links():
    for link in README.links: assert (ROOT / link).is_file(), link


def test_its_length(): assert len(README.text.splitlines()) <= 150
