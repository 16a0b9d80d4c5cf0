"""Promise: a kernel is compiled once for all processes, and its file is loaded only if it is whole,
what its name says, and nobody else could have written it.
"""
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import genopt
import pytest
import torch
from genopt.engines import cache, toolchain
from kernel_files import forget, in_a_process, in_eight_processes, is_alive, until, value


# -- what is loaded --------------------------------------------------------------------------------

def test_a_kernel_is_one_file_that_only_its_user_can_write(disk):
    old = os.umask(0)
    try: assert value(1) == 1
    finally: os.umask(old)
    [file] = disk.files()
    assert cache.KERNEL.fullmatch(file.name) and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(disk.folder.stat().st_mode) == 0o700
    forget()
    assert value(1) == 1 and disk.calls() == 1 and value(1) == 1


def cut(file, content): file.write_bytes(content[:len(content) // 2])
def empty(file, content): file.touch()
def flip(file, content): file.write_bytes(content[:600] + bytes([content[600] ^ 1]) + content[601:])
def longer(file, content): file.write_bytes(content + b'\0')
def no_library(file, content): file.write_bytes(b'no library')
def folder(file, content): file.mkdir(); (file / 'x').touch()
def fifo(file, content): os.mkfifo(file)
def dangling(file, content): file.symlink_to(file.parent / 'nowhere')
def link(file, content): (file.parent / 'copy').write_bytes(content); file.symlink_to('copy')
def link_to_a_folder(file, content):
    (file.parent / 'd').mkdir(); (file.parent / 'd/x').touch(); file.symlink_to('d')
def open_to_all(file, content): file.write_bytes(content); file.chmod(0o666)
def another_library(file, content):
    (c := file.with_suffix('.c')).write_text('int other;')
    subprocess.run(['cc', '-shared', '-fPIC', c, '-o', file], check=True)

DAMAGES = [cut, empty, flip, longer, no_library, folder,
           fifo, dangling, link, link_to_a_folder, open_to_all, another_library]


@pytest.mark.parametrize('damage', DAMAGES, ids=lambda f: f.__name__)
def test_a_file_that_is_not_what_its_name_says_is_compiled_again(disk, damage):
    value(2)
    [file] = disk.files()
    content = file.read_bytes()
    file.unlink(); damage(file, content); forget()
    assert value(2) == 2 and disk.calls() == 2
    assert not file.is_symlink() and file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert damage != link_to_a_folder or (file.parent / 'd/x').exists()


def test_a_file_that_was_cut_short_kills_no_process(disk):
    "Without the checksum, each of these ends a process by SIGBUS."
    lengths = 1000, 4097, 9000, 12000
    for n in lengths:
        before = {*disk.files()}
        value(n)
        [file] = {*disk.files()} - before
        content = file.read_bytes()
        file.unlink(); file.write_bytes(content[:n])
    process = in_a_process(*lengths)
    said, errors = process.communicate()
    assert process.returncode == 0 and said.split() == [*map(str, lengths)], errors


def test_a_file_appears_whole(disk, monkeypatch):
    "It is on the disk before it has its name, and the name is on the disk too."
    happened = []
    def spy(module, name, what):
        def f(*args, f=getattr(module, name)): happened.append(what(*args)); return f(*args)
        monkeypatch.setattr(module, name, f)
    spy(os, 'fsync', lambda d: ('sync', os.readlink(f'/proc/self/fd/{d}'),
                                [p.name for p in disk.folder.glob('*.so')]))
    spy(Path, 'replace', lambda a, b: ('move', str(a), b.name))
    value(3)
    [file] = disk.files()
    [(_, beside, before), (_, moved, to), (_, synced, after)] = happened
    assert beside == moved and (before, to, after) == ([], file.name, [file.name])
    assert synced == str(disk.folder)


def test_many_compile_the_same_at_once(disk):
    disk.compiler('sleep .2; exec cc "$@"')
    seen, barrier = [], threading.Barrier(4)
    threads = [threading.Thread(target=lambda: (barrier.wait(), seen.append(value(4))))
               for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert seen == [4] * 4 and disk.calls() == 4 and len(disk.files()) == 1


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no fork')
def test_eight_processes_that_start_at_once(disk, tmp_path):
    "All of them compile, each in a folder of its own, and one file is left for each kernel."
    disk.compiler(f'for i in $(seq 100); do\n'
                  f'  [ $(wc -l < {tmp_path}/calls) -ge 8 ] && break; sleep .1\ndone\n'
                  'exec cc "$@"')
    said, errors = in_eight_processes(50, 51).communicate()
    assert said.split() == ['0'] * 8, errors
    assert disk.calls() >= 8 and len(disk.files()) == 2
    calls = disk.calls()
    assert value(50) == 50 and value(51) == 51 and disk.calls() == calls


def test_nobody_waits_for_a_compiler_of_another(disk, tmp_path, monkeypatch):
    "Neither another process, which compiles the same kernel, nor another thread."
    disk.compiler(f'if [ -n "$SLOW" ]; then touch {tmp_path}/begun\n'
                  f'  until [ -e {tmp_path}/go ]; do sleep .1; done\nfi; exec cc "$@"')
    monkeypatch.setenv('SLOW', 'yes')
    process, seen = in_a_process(52), []
    until((tmp_path / 'begun').exists)
    (tmp_path / 'begun').unlink()
    thread = threading.Thread(target=lambda: seen.append(value(53))); thread.start()
    until((tmp_path / 'begun').exists)
    monkeypatch.delenv('SLOW')
    assert value(52) == 52 and process.poll() is None
    assert value(54) == 54 and not seen
    (tmp_path / 'go').touch()
    thread.join()
    assert process.communicate() == ('52\n', '') and seen == [53] and len(disk.files()) == 3


def test_a_file_without_a_checksum_in_its_name_is_not_looked_at(disk):
    value(5)
    [file] = disk.files()
    file.unlink(); forget()
    (old := disk.folder / f'{file.name.split("-")[0]}.so').write_bytes(b'\x7fELF' + bytes(5000))
    assert value(5) == 5 and disk.calls() == 2 and {*disk.files()} == {old, file}


# -- what makes another kernel ---------------------------------------------------------------------

SCRIPT = """
import genopt, sys, torch
from genopt import adam_step, average_grad, average_sqr_grad, step, step_count
@step
def nudge(param, *, lr): return -lr * {factor} * param
p = torch.nn.Parameter(torch.ones(5)); p.grad = torch.ones(5)
parts = [average_grad, average_sqr_grad, step_count, adam_step, nudge]
opt = genopt.Optimizer([p], parts, lr=.1, compile=True); opt.step()
print('%.6f' % p[0].item(), 'torch._dynamo' in sys.modules, 'torch._inductor' in sys.modules)
"""


def run_script(factor):
    "In a new process, where a warning is an error."
    done = subprocess.run([sys.executable, '-W', 'error', '-c', SCRIPT.format(factor=factor)],
                          capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_a_second_process_compiles_nothing(disk):
    first, n = run_script(.5), disk.calls()
    assert n and run_script(.5) == first and disk.calls() == n
    assert first.endswith('False False'), 'torch\'s compiler was imported'


def test_a_part_that_changed_is_another_kernel(disk):
    first, n = run_script(.5), disk.calls()
    second, m = run_script(.25), disk.calls()
    assert m > n and first != second
    assert len([*disk.folder.glob('*.so')]) == 3  # and one that reads counts


CHANGES = {
    'torch': lambda disk, patch: patch.setattr(torch, '__version__', '99.0'),
    'genopt': lambda disk, patch: patch.setattr(genopt, '__version__', '99.0'),
    'flags': lambda disk, patch: patch.setattr(toolchain, 'FLAGS', ['-O0', '-fPIC', '-shared']),
    'processor': lambda disk, patch: patch.setattr(Path, 'read_text', lambda *a, **k: 'flags: no'),
    'compiler': lambda disk, patch: disk.compiler('exec cc -g "$@"')}


@pytest.mark.parametrize('change', CHANGES)
def test_a_change_of_what_matters_makes_another_kernel(disk, monkeypatch, change):
    value(46); forget(); value(46)
    assert disk.calls() == 1
    with monkeypatch.context() as patch:
        CHANGES[change](disk, patch)
        forget(); value(46)
    assert disk.calls() == 2 and len({file.name.split('-')[0] for file in disk.files()}) == 2


# -- what is left behind ---------------------------------------------------------------------------

def age(path, seconds): os.utime(path, (time.time() - seconds,) * 2)


def test_what_a_killed_process_has_left_is_removed_an_hour_later(disk, tmp_path):
    disk.compiler(f'echo $$ > {tmp_path}/pid; exec sleep 100')
    process = in_a_process(23)
    until(lambda: (tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text())
    process.kill(); process.communicate()
    os.kill(int((tmp_path / 'pid').read_text()), signal.SIGKILL)
    [left] = disk.files()
    disk.compiler('exec cc "$@"')
    value(23)
    assert left in disk.files(), 'it could be at work'
    age(left, 2 * 60 * 60); forget()
    value(24)
    assert left not in disk.files() and len(disk.files()) == 2


def test_a_kernel_that_nobody_uses_is_removed_after_90_days(disk):
    value(25); value(26); forget()
    (disk.folder / 'notes.so').touch()
    old, used = sorted((p for p in disk.files() if cache.KERNEL.fullmatch(p.name)),
                       key=lambda p: p.stat().st_mtime_ns)
    for p in disk.files(): age(p, 89 * 24 * 60 * 60)
    value(26); forget()
    for p in old, disk.folder / 'notes.so': age(p, 91 * 24 * 60 * 60)
    value(26)
    assert disk.files() == sorted([used, disk.folder / 'notes.so'])
    assert time.time() - used.stat().st_mtime < 60


def test_ctrl_c_ends_the_compiler_too(disk, tmp_path):
    """In a terminal it comes to the whole group of processes; the compiler must not be said to have
    failed."""
    disk.compiler(f'sleep 100 & echo $$ $! > {tmp_path}/pids; wait')
    process = in_a_process(27, start_new_session=True)
    until(lambda: (tmp_path / 'pids').exists() and (tmp_path / 'pids').read_text().endswith('\n'))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert errors.strip().endswith('KeyboardInterrupt') and 'NoKernel' not in errors
    assert not disk.files()
    until(lambda: not any(map(is_alive, map(int, (tmp_path / 'pids').read_text().split()))))
