"""Promise: whatever goes wrong between C and a kernel ends in one warning, which says why, and in
the eager engine.
"""
import os
import re
import signal
import tempfile
import time
from pathlib import Path

import pytest
from genopt.engines import toolchain
from genopt.engines.toolchain import NoKernel
from kernel_files import forget, is_alive, until, value, warning_of_a_step


@pytest.mark.parametrize('script, why', [
    ("printf '\\377\\376 error \\200' >&2; exit 1", 'failed: \ufffd\ufffd error \ufffd'),
    ('exit 1', 'failed: it does not say why'),
    ("printf '\\n  \\n' >&2; exit 3", 'failed: it does not say why'),
    ('echo "error: on stdout"; exit 1', 'failed: error: on stdout'),
    ('kill -9 $$', 'failed: it does not say why'),
    ('exit 0', 'says that it succeeded, but wrote no file'), ('mkdir "$out"', 'but wrote no file'),
    ('mkfifo "$out"', 'but wrote no file'),
    ('touch "$out"', 'not compiled: the compiled kernel does not load: file too short$'),
    ('cc "$@" && head -c 9000 "$out" > "$out"2 && mv "$out"2 "$out"',
     'wrote a file that is cut short'),
    ('head -c 99 /dev/zero > "$out"', 'does not load: invalid ELF header$')])
def test_what_a_compiler_may_do(disk, script, why):
    disk.compiler(script)
    assert re.search(why, warning_of_a_step())
    assert not disk.files()


def test_a_compiler_that_compiles_something_else(disk):
    disk.compiler('echo "int x;" > "$out".c; cc -shared -fPIC -o "$out" "$out".c')
    assert warning_of_a_step().endswith('the compiled kernel has no `rows`')


def test_a_compiler_that_asks_gets_no_answer(disk):
    disk.compiler('read line || exec cc "$@"')
    (ours, theirs), before = os.pipe(), os.dup(0)
    os.write(theirs, b'something for somebody else\n'); os.dup2(ours, 0)
    try: assert value(45) == 45
    finally:
        os.dup2(before, 0)
        for d in ours, theirs, before: os.close(d)


@pytest.mark.parametrize('cc, why', [
    ("cc 'x", "\\$CC is `cc 'x`, which is not a command: No closing quotation"),
    ('{}', 'is `{}`, and there is no such program, or it cannot be run'),
    ('{}/text', 'or it cannot be run'),
    ('""', 'there is no such program'), ('\udcff', 'there is no such program')])
def test_a_variable_that_names_no_compiler(disk, tmp_path, monkeypatch, cc, why):
    (tmp_path / 'text').write_text('text')
    monkeypatch.setenv('CC', cc.format(tmp_path))
    assert re.search(why.format(tmp_path), warning_of_a_step())


@pytest.mark.parametrize('cc', ['', '  '])
def test_an_empty_variable_names_the_usual_compiler(disk, monkeypatch, cc):
    monkeypatch.setenv('CC', cc)
    assert value(28) == 28


def test_a_compiler_whose_name_is_not_text(disk, tmp_path, monkeypatch):
    (cc := tmp_path / 'cc\udcff').write_text('#!/bin/sh\nexec cc "$@"\n'); cc.chmod(0o755)
    monkeypatch.setenv('CC', str(cc))
    assert value(29) == 29


def test_a_compiler_that_hangs_is_stopped_with_all_that_it_has_started(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, 'TIME_LIMIT', 2)
    disk.compiler(f'sleep 100 & echo $$ $! > {tmp_path}/pids; wait')
    assert 'was stopped, as it took more than 2 s' in warning_of_a_step() and not disk.files()
    until(lambda: not any(map(is_alive, map(int, (tmp_path / 'pids').read_text().split()))))
    for n in range(30, 40):
        with pytest.raises(NoKernel, match='took more than'): value(n)
    assert disk.calls() == 1, 'one that has hung is not called again'


def test_the_time_is_for_all_ways_together(disk, monkeypatch):
    monkeypatch.setattr(toolchain, 'TIME_LIMIT', .5)
    monkeypatch.setattr(toolchain, 'WAYS', [[]] * 100)
    disk.compiler('sleep .2; exit 1')
    with pytest.raises(NoKernel, match='took more than 0.5 s'): value(41)
    assert disk.calls() <= 3


def test_a_compiler_that_leaves_a_server_running(disk, tmp_path):
    disk.compiler(f'sleep 100 & echo $! > {tmp_path}/pid; exec cc "$@"')
    start = time.monotonic()
    try: assert value(42) == 42 and time.monotonic() - start < 90
    finally: os.kill(int((tmp_path / 'pid').read_text()), signal.SIGKILL)


def test_temporary_files_of_the_compiler_are_removed_with_it(disk):
    disk.compiler('case "$TMPDIR" in "$GENOPT_CACHE"/*) touch "$TMPDIR/left"; exec cc '
                  '"$@"; esac; exit 1')
    assert value(43) == 43 and len(disk.files()) == 1


def test_a_compiler_that_is_no_program(disk, tmp_path, monkeypatch):
    (cc := tmp_path / 'bytes').write_bytes(bytes(9)); cc.chmod(0o755)
    monkeypatch.setenv('CC', str(cc))
    assert f'the C compiler `{cc}` does not start: Exec format error' in warning_of_a_step()


def test_no_compiler_at_all(disk, monkeypatch):
    monkeypatch.delenv('CC')
    monkeypatch.setenv('PATH', '')
    assert 'there is no C compiler' in warning_of_a_step()


def test_a_disk_that_is_full(disk, monkeypatch):
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(tempfile, 'TemporaryDirectory', full)
    assert 'cannot be written: No space left on device' in warning_of_a_step()


def test_a_disk_that_fills_up(disk, monkeypatch):
    "A file that cannot be written whole is not left there, and the kernel is made elsewhere."
    def write(path, content, f=Path.write_bytes):
        if disk.folder not in path.parents: return f(path, content)
        f(path, content[:999])
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Path, 'write_bytes', write)
    assert value(47) == 47 and not disk.files()


@pytest.mark.parametrize('content', [None, b'\xff\xfe', b'', b'model name : \xff\n'])
def test_a_processor_that_cannot_be_read(disk, tmp_path, monkeypatch, content):
    file = tmp_path / 'cpuinfo'
    if content is not None: file.write_bytes(content)
    monkeypatch.setattr(toolchain, 'Path', lambda p: file if str(p) == '/proc/cpuinfo' else Path(p))
    forget()
    assert value(44) == 44
    monkeypatch.setattr(toolchain.platform, 'node', lambda: 'another')
    forget(); value(44)
    is_known = content and b'model' in content
    assert disk.calls() == (1 if is_known else 2)  # unknown: only for this machine
