"""Promise: no kernel reads or writes an element beyond its tensors: the address sanitizer, with
which these kernels are built, would see it.

Some recipes and modifiers are run in float32, and two in other dtypes. All in all dtypes, and the
tests of memory, take some ten minutes:

    GENOPT_SANITIZE=all python -m pytest tests/test_sanitizer.py
"""
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS_OF_MEMORY = 'test_memory.py', 'test_gradients.py', 'test_shared_memory.py'


@cache
def libraries():
    "The sanitizer's, and that of C++, whose exceptions it sees: a process begins with them."
    def find(name):
        try:
            said = subprocess.run(['gcc', f'-print-file-name={name}'], capture_output=True,
                                  text=True)
        except FileNotFoundError: return ''
        return said.stdout.strip()
    found = find('libasan.so'), find('libstdc++.so')
    return ' '.join(found) if all(map(os.path.isabs, found)) else ''


class Sanitized:
    "A process whose kernels are built with the address sanitizer, and what the sanitizer says."
    def __init__(self, folder, *args):
        options = f'detect_leaks=0:log_path={folder}/report'
        self.cache = folder / 'cache'
        self.process = subprocess.run(
            [sys.executable, *args], cwd=HERE, capture_output=True, text=True,
            env={**os.environ, 'LD_PRELOAD': libraries(), 'ASAN_OPTIONS': options,
                 'PYTHONMALLOC': 'malloc', 'CC': 'gcc -fsanitize=address -g',
                 'GENOPT_CACHE': str(self.cache), 'PYTHONPATH': str(HERE.parent)})
        self.report = ''.join(p.read_text() for p in folder.glob('report.*'))

    def check(self):
        last = self.process.stdout[-300:]
        assert not self.report, f'{self.report[:3000]}\nafter {last}'
        assert not self.process.returncode, f'{self.process.stderr[-3000:]}\nafter {last}'


pytestmark = pytest.mark.skipif(not libraries(), reason='gcc has no library of the sanitizer')
full = pytest.mark.skipif(os.environ.get('GENOPT_SANITIZE') != 'all',
                          reason='takes minutes: GENOPT_SANITIZE=all')


@pytest.mark.parametrize('what', ['recipes', 'modifiers', 'dtypes',
                                  pytest.param('everything', marks=full)])
def test_kernels_stay_within_their_tensors(what, tmp_path):
    run = Sanitized(tmp_path, '-W', 'error', 'sanitized.py', what)
    run.check()
    kernels = [p.read_bytes() for p in run.cache.glob('*.so')]
    assert kernels and all(b'__asan_report' in kernel for kernel in kernels)


@full
@pytest.mark.parametrize('file', TESTS_OF_MEMORY)
def test_and_whatever_happens_between_two_steps(file, tmp_path):
    "Except for what is known to die."
    options = '-m', 'pytest', '-n', '0', '-p', 'no:cacheprovider', '-k', 'not storage_that'
    Sanitized(tmp_path, *options, file).check()


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize('what', ['parameter', 'gradient', 'state'])
def test_one_element_too_many_is_seen(what, tmp_path):
    run = Sanitized(tmp_path, 'sanitized.py', what)
    assert run.process.returncode and 'done' not in run.process.stdout
    assert re.search(r'heap-buffer-overflow.*\n.* of size \d+ .*\n *#0 .*/kernel\.c:', run.report)
