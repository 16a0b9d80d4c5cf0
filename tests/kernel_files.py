"What tests of compilers and of kernels on disk share."
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import genopt
import pytest
from genopt.engines import cache, toolchain
from helpers import param

ROOT = Path(__file__).parents[1]


def source(n): return f'void run(int *x) {{ *x = {n}; }}'


def value(n):
    "What the kernel of `source(n)` writes: n."
    x = ctypes.c_int()
    toolchain.build(source(n)).run(ctypes.byref(x))
    return x.value


def forget():
    "As a new process, which has loaded nothing and looked at nothing."
    toolchain._loaded.clear(); toolchain._hung.clear()
    for remembered in toolchain._machine, cache._sweep, cache._absolute: remembered.cache_clear()


def an_empty_disk(tmp_path, monkeypatch):
    "A cache of its own, and a compiler that counts its calls."
    monkeypatch.setattr(toolchain, '_loaded', {})
    monkeypatch.setattr(toolchain, '_hung', set())
    monkeypatch.setattr(toolchain, 'WAYS', [[]])
    calls, folder, cc = tmp_path / 'calls', tmp_path / 'cache', tmp_path / 'cc'
    monkeypatch.setenv('GENOPT_CACHE', str(folder))
    monkeypatch.setenv('CC', str(cc))

    def compiler(script):
        "Makes a shell script $CC. In it, `$out` is what the compiler must write."
        cc.write_text('#!/bin/sh\n'
                      'for a; do [ "$last" = -o ] && out="$a"; last="$a"; done\n'
                      f'echo called >> {shlex.quote(str(calls))}\n{script}\n')
        cc.chmod(0o755)
    compiler('exec cc "$@"')
    forget()
    return SimpleNamespace(folder=folder, compiler=compiler, files=lambda: sorted(folder.glob('*')),
                           calls=lambda: calls.read_text().count('called') if calls.exists() else 0)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import kernel_files
kernel_files.toolchain.WAYS = [[]]
"""
PRINT = CHILD + 'for n in sys.argv[1:]: print(kernel_files.value(n))'
FORK = CHILD + """
import os

def child():
    if pid := os.fork(): return pid
    right = False
    try: right = all(kernel_files.value(n) == int(n) for n in sys.argv[1:])
    finally: os._exit(not right)

print(*[os.waitpid(pid, 0)[1] for pid in [child() for _ in range(8)]])
"""


def _heed():
    "A shell starts what runs in the background with interrupts ignored."
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def in_a_process(*numbers, code=PRINT, **kwargs):
    "A process that prints `value(n)` of these. Ctrl-C reaches it, even if this one ignores it."
    code = code.format(tests=str(ROOT / 'tests'))
    return subprocess.Popen([sys.executable, '-c', code, *map(str, numbers)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, 'PYTHONPATH': str(ROOT)}, preexec_fn=_heed, **kwargs)


def in_eight_processes(*numbers):
    "A process that prints how eight others have ended: 0, if `value(n)` was right."
    return in_a_process(*numbers, code=FORK)


def warning_of_a_step():
    "What a compiled optimizer says, once and where it is called, in two steps; which are right."
    p = param(value=1., grad=1.)
    opt = genopt.SGD([p], lr=.5, compile=True)
    with pytest.warns(RuntimeWarning) as seen: opt.step(); opt.step()
    assert p.tolist() == [0, 0]
    [warning] = seen
    assert warning.filename == __file__
    said = str(warning.message)
    assert said.startswith('l2_reg → sgd_step runs in the eager engine, not compiled: ')
    return said


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(.01)


def is_alive(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    # a dead one may wait for init
    try: return Path(f'/proc/{pid}/stat').read_text().rsplit(')')[-1].split()[0] != 'Z'
    except FileNotFoundError: return False
