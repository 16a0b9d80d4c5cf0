"""Promise: a kernel's file is loaded only if it is whole and nobody else could have written it; and
whatever goes wrong between C and a kernel ends in one warning and the plain engine.
"""
import ctypes
import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from weakref import WeakKeyDictionary

import pytest
import torch
from torch import nn

import genopt
from genopt.engines import cache, compiled, toolchain
from genopt.engines.toolchain import NoKernel

ROOT = Path(__file__).parents[1]


def source(n): return f'void run(int *x) {{ *x = {n}; }}'


def value(code, build=toolchain.build):
    "What the kernel writes."
    x = ctypes.c_int()
    build(code)(ctypes.byref(x))
    return x.value


def forget():
    "As a new process."
    toolchain._loaded.clear(); toolchain._hung.clear(); cache._sweep.cache_clear()


@pytest.fixture
def disk(tmp_path, monkeypatch):
    "A cache of its own, a compiler that counts its calls, and nothing loaded."
    monkeypatch.setattr(compiled, '_kernels', WeakKeyDictionary())
    monkeypatch.setattr(toolchain, '_loaded', {})
    monkeypatch.setattr(toolchain, '_hung', set())
    monkeypatch.setattr(toolchain, 'WAYS', [[]])
    cache._sweep.cache_clear()
    calls, folder = tmp_path / 'calls', tmp_path / 'cache'
    monkeypatch.setenv('GENOPT_CACHE', str(folder))

    def compiler(script):
        "Makes a shell script $CC. In it, `$out` is what the compiler must write."
        (cc := tmp_path / 'cc').write_text('#!/bin/sh\nfor a; do [ "$last" = -o ] && out="$a"; '
                                           'last="$a"; done\n'
                                           f'echo called >> {shlex.quote(str(calls))}\n{script}\n')
        cc.chmod(0o755)
        monkeypatch.setenv('CC', str(cc))
    compiler('exec cc "$@"')
    return SimpleNamespace(folder=folder, compiler=compiler, files=lambda: sorted(folder.glob('*')),
                           calls=lambda: calls.read_text().count('called') if calls.exists() else 0)


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


# -- what is loaded --------------------------------------------------------------------------------

def test_a_kernel_is_one_file_that_only_its_user_can_write(disk):
    old = os.umask(0)
    try: assert value(source(1)) == 1
    finally: os.umask(old)
    [file] = disk.files()
    assert cache.KERNEL.fullmatch(file.name) and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(disk.folder.stat().st_mode) == 0o700
    forget()
    assert value(source(1)) == 1 and disk.calls() == 1 and value(source(1)) == 1


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
    value(source(2))
    [file] = disk.files()
    content = file.read_bytes()
    file.unlink(); damage(file, content); forget()
    assert value(source(2)) == 2 and disk.calls() == 2
    assert not file.is_symlink() and file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert damage != link_to_a_folder or (file.parent / 'd/x').exists()



CHILD = """
import ctypes, sys
from genopt.engines import toolchain
toolchain.WAYS = [[]]
for n in sys.argv[1:]:
    x = ctypes.c_int()
    toolchain.build('void run(int *x) { *x = %s; }' % n)(ctypes.byref(x))
    print(x.value)
"""


def in_a_process(*arguments, **kwargs):
    return subprocess.Popen([sys.executable, '-c', CHILD, *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)}, **kwargs)


def test_a_file_that_was_cut_short_kills_no_process(disk):
    "Without the checksum, each of these ends a process by SIGBUS."
    lengths = 1000, 4097, 9000, 12000
    for n in lengths:
        before = {*disk.files()}
        value(source(n))
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
    value(source(3))
    [file] = disk.files()
    [(_, beside, before), (_, moved, to), (_, synced, after)] = happened
    assert beside == moved and (before, to, after) == ([], file.name, [file.name])
    assert synced == str(disk.folder)


def test_many_compile_the_same_at_once(disk):
    disk.compiler('sleep .2; exec cc "$@"')
    seen, barrier = [], threading.Barrier(4)
    threads = [threading.Thread(target=lambda: (barrier.wait(), seen.append(value(source(4)))))
               for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert seen == [4] * 4 and disk.calls() == 4 and len(disk.files()) == 1


def test_a_file_without_a_checksum_in_its_name_is_not_looked_at(disk):
    value(source(5))
    [file] = disk.files()
    file.unlink(); forget()
    (old := disk.folder / f'{file.name.split("-")[0]}.so').write_bytes(b'\x7fELF' + bytes(5000))
    assert value(source(5)) == 5 and disk.calls() == 2 and {*disk.files()} == {old, file}


# -- where it is kept ------------------------------------------------------------------------------

def no_entry(uid): raise KeyError('getpwuid(): uid not found')


@pytest.mark.parametrize('variables, place', [
    (dict(HOME='{}/home'), 'home/.cache/genopt'),
    (dict(HOME='{}/home', XDG_CACHE_HOME='{}/xdg'), 'xdg/genopt'),
    (dict(HOME='{}/home', XDG_CACHE_HOME='xdg'), 'home/.cache/genopt'),
    (dict(HOME='{}/home', XDG_CACHE_HOME='~/xdg'), 'home/.cache/genopt'),
    (dict(HOME='{}/home', GENOPT_CACHE=''), 'home/.cache/genopt'),
    (dict(HOME='{}/home', XDG_CACHE_HOME='{}/xdg', GENOPT_CACHE='{}/mine'), 'mine'),
    (dict(HOME='{}/home', GENOPT_CACHE='~/x'), 'home/x'),
    (dict(GENOPT_CACHE='some/where'), 'some/where'),
    (dict(), None), (dict(GENOPT_CACHE='~/x'), None),
    (dict(GENOPT_CACHE='~nobody-of-this-name/x'), None),
    (dict(GENOPT_CACHE='{}/mine'), 'mine'), (dict(XDG_CACHE_HOME='{}/xdg'), 'xdg/genopt'),
    (dict(HOME='/proc'), None), (dict(GENOPT_CACHE='{}/file'), None),
    (dict(GENOPT_CACHE='{}/file/x'), None),
    (dict(GENOPT_CACHE='{}/loop'), None), (dict(GENOPT_CACHE='{}/dangling'), None),
    (dict(GENOPT_CACHE='{}/' + 300 * 'x'), None)])
def test_where_kernels_are_kept(disk, tmp_path, monkeypatch, variables, place):
    "Without HOME, there is no home."
    monkeypatch.chdir(tmp_path); (tmp_path / 'file').touch()
    (tmp_path / 'loop').symlink_to('loop'); (tmp_path / 'dangling').symlink_to('nowhere')
    cache._absolute.cache_clear()
    for k in 'HOME', 'XDG_CACHE_HOME', 'GENOPT_CACHE': monkeypatch.delenv(k, raising=False)
    for k, v in variables.items(): monkeypatch.setenv(k, v.format(tmp_path))
    monkeypatch.setattr(pwd, 'getpwuid', no_entry)
    assert value(source(6)) == 6
    found = [str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob('*.so')]
    assert found == [place][:bool(place)] and not [*tmp_path.glob('~*')]
    for p in Path(place or '.').parents: assert stat.S_IMODE(p.stat().st_mode) & 0o022 == 0


def test_a_relative_folder_stays_where_it_is(disk, tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir(); (tmp_path / 'b').mkdir()
    monkeypatch.setenv('GENOPT_CACHE', 'a folder that nobody else asks for')
    monkeypatch.chdir(tmp_path / 'a'); value(source(7))
    monkeypatch.chdir(tmp_path / 'b'); value(source(8))
    assert len([*(tmp_path / 'a').rglob('*.so')]) == 2 and not [*(tmp_path / 'b').iterdir()]


def test_a_current_folder_that_was_removed(disk, tmp_path, monkeypatch):
    (gone := tmp_path / 'gone').mkdir(); monkeypatch.chdir(gone); gone.rmdir()
    monkeypatch.setenv('GENOPT_CACHE', 'relative to nothing')
    assert value(source(9)) == 9
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('mode, above, is_used', [
    (0o700, 0o755, True), (0o755, 0o1777, True), (0o777, 0o755, False),
    (0o775, 0o755, False), (0o1777, 0o755, False),
    (0o700, 0o777, False)])
@pytest.mark.parametrize('by_link', [False, True])
def test_a_folder_that_others_can_write_is_not_used(disk, tmp_path,
                                                    monkeypatch, mode, above, is_used, by_link):
    "Another user could put a library there; or could put another folder in its place."
    real = tmp_path / 'above' / 'cache'
    real.mkdir(parents=True)
    if by_link: (tmp_path / 'link').symlink_to(real)
    monkeypatch.setenv('GENOPT_CACHE', str(tmp_path / 'link' if by_link else real))
    value(source(10)); value(source(11)); forget()
    a, b = sorted(real.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    planted = cache._name(a.name.split('-')[0], b.read_bytes())
    a.unlink(); b.rename(real / planted)
    real.chmod(mode); real.parent.chmod(above)
    assert value(source(10)) == (11 if is_used else 10)
    assert [p.name for p in real.iterdir()] == [planted]


def test_who_may_own_the_folders_above():
    def is_safe(mode, owner, group):
        return cache._is_safe(SimpleNamespace(st_mode=mode, st_uid=owner, st_gid=group))
    me = os.geteuid()
    assert is_safe(0o755, me, me) and is_safe(0o755, 0, 0) and is_safe(0o1777, 0, 0)
    assert is_safe(0o755, 65534, 65534)
    assert is_safe(0o775, me, me) and not is_safe(0o775, me, me + 1), 'only a group of one\'s own'
    assert not is_safe(0o755, me + 1, me) and not is_safe(0o1777, me + 1, me)
    assert not is_safe(0o777, 0, 0)


def test_a_folder_of_another_user_is_not_used(disk, monkeypatch):
    value(source(12)); forget()
    monkeypatch.setattr(os, 'geteuid', lambda me=os.geteuid(): me + 1)
    assert value(source(12)) == 12 and disk.calls() == 2 and len(disk.files()) == 1


@pytest.mark.skipif(os.name != 'posix' or os.geteuid(), reason='only root gives files away')
def test_a_file_of_another_user_is_not_loaded(disk):
    value(source(13)); forget()
    [file] = disk.files()
    os.chown(file, 54321, -1)
    assert value(source(13)) == 13 and disk.calls() == 2 and file.stat().st_uid == 0


def test_where_files_have_no_owners(disk, monkeypatch):
    monkeypatch.delattr(os, 'geteuid')
    for _ in range(2): assert value(source(14)) == 14; forget()
    assert disk.calls() == 1


def test_a_cache_that_is_removed_meanwhile(disk):
    value(source(15)); shutil.rmtree(disk.folder)
    assert value(source(15)) == 15 and disk.calls() == 1, 'what a process has loaded, it has'
    assert value(source(16)) == 16 and len(disk.files()) == 1
    disk.compiler(f'[ -e {disk.folder} ] && rm -r {disk.folder}; exec cc "$@"')
    assert value(source(17)) == 17


def only_elsewhere(folder, monkeypatch, f=tempfile.TemporaryDirectory):
    "The cache is read-only. (To root, no folder is.)"
    def make(dir=None, **kwargs):
        if dir: raise OSError(30, 'Read-only file system')
        return f(dir=dir, **kwargs)
    monkeypatch.setattr(tempfile, 'TemporaryDirectory', make)


def test_a_cache_that_is_read_only_is_read(disk, monkeypatch):
    value(source(18)); forget(); only_elsewhere(disk.folder, monkeypatch)
    assert value(source(18)) == 18 and disk.calls() == 1
    assert value(source(19)) == 19 and disk.calls() == 2 and len(disk.files()) == 1


def test_a_cache_that_nothing_can_be_loaded_from(disk, monkeypatch):
    "It may be mounted so (noexec)."
    def load(path, f=ctypes.CDLL):
        if path.startswith(str(disk.folder)):
            raise OSError(f'{path}: failed to map segment from shared object')
        return f(path)
    monkeypatch.setattr(ctypes, 'CDLL', load)
    assert value(source(20)) == 20 and not disk.files()


def test_no_folder_at_all(disk, monkeypatch):
    def no(*args): raise FileNotFoundError(2, 'No usable temporary directory found in [...]')
    monkeypatch.setattr(tempfile, '_get_default_tempdir', no)
    monkeypatch.setattr(tempfile, 'tempdir', None)
    assert value(source(21)) == 21, 'the cache is enough'
    monkeypatch.setenv('GENOPT_CACHE', '/proc/x')
    with pytest.raises(NoKernel, match='^the temporary folder cannot be written: No usable '
                                       'temporary directory'):
        value(source(22))


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
    value(source(23))
    assert left in disk.files(), 'it could be at work'
    age(left, 2 * 60 * 60); forget()
    value(source(24))
    assert left not in disk.files() and len(disk.files()) == 2


def test_a_kernel_that_nobody_uses_is_removed_after_90_days(disk):
    value(source(25)); value(source(26)); forget()
    (disk.folder / 'notes.so').touch()
    old, used = sorted((p for p in disk.files() if cache.KERNEL.fullmatch(p.name)),
                       key=lambda p: p.stat().st_mtime_ns)
    for p in disk.files(): age(p, 89 * 24 * 60 * 60)
    value(source(26)); forget()
    for p in old, disk.folder / 'notes.so': age(p, 91 * 24 * 60 * 60)
    value(source(26))
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


# -- compilers that do not do what they should -----------------------------------------------------

def step_of(code=None):
    "A compiled optimizer's first step, and what it warns of."
    p = nn.Parameter(torch.ones(2)); p.grad = torch.ones(2)
    opt = genopt.SGD([p], lr=.5, compile=True)
    with pytest.warns(RuntimeWarning) as seen: opt.step(); opt.step()
    assert p.tolist() == [0, 0]
    [warning] = seen
    return str(warning.message)


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
    ('echo "int x;" > "$out".c; cc -shared -fPIC -o "$out" "$out".c',
     'does not load: undefined symbol: run$'),
    ('head -c 99 /dev/zero > "$out"', 'does not load: invalid ELF header$')])
def test_what_a_compiler_may_do(disk, script, why):
    disk.compiler(script)
    assert re.search(why, step_of())
    assert not disk.files()


def test_a_compiler_that_asks_gets_no_answer(disk):
    disk.compiler('read line || exec cc "$@"')
    (ours, theirs), before = os.pipe(), os.dup(0)
    os.write(theirs, b'something for somebody else\n'); os.dup2(ours, 0)
    try: assert value(source(45)) == 45
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
    assert re.search(why.format(tmp_path), step_of())


@pytest.mark.parametrize('cc', ['', '  '])
def test_an_empty_variable_names_the_usual_compiler(disk, monkeypatch, cc):
    monkeypatch.setenv('CC', cc)
    assert value(source(28)) == 28


def test_a_compiler_whose_name_is_not_text(disk, tmp_path, monkeypatch):
    (cc := tmp_path / 'cc\udcff').write_text('#!/bin/sh\nexec cc "$@"\n'); cc.chmod(0o755)
    monkeypatch.setenv('CC', str(cc))
    assert value(source(29)) == 29


def test_a_compiler_that_hangs_is_stopped_with_all_that_it_has_started(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, 'TIME_LIMIT', 2)
    disk.compiler(f'sleep 100 & echo $$ $! > {tmp_path}/pids; wait')
    assert 'was stopped, as it took more than 2 s' in step_of() and not disk.files()
    until(lambda: not any(map(is_alive, map(int, (tmp_path / 'pids').read_text().split()))))
    for n in range(30, 40):
        with pytest.raises(NoKernel, match='took more than'): value(source(n))
    assert disk.calls() == 1, 'one that has hung is not called again'


def test_the_time_is_for_all_ways_together(disk, monkeypatch):
    monkeypatch.setattr(toolchain, 'TIME_LIMIT', .5)
    monkeypatch.setattr(toolchain, 'WAYS', [[]] * 100)
    disk.compiler('sleep .2; exit 1')
    with pytest.raises(NoKernel, match='took more than 0.5 s'): value(source(41))
    assert disk.calls() <= 3


def test_a_compiler_that_leaves_a_server_running(disk, tmp_path):
    disk.compiler(f'sleep 100 & echo $! > {tmp_path}/pid; exec cc "$@"')
    start = time.monotonic()
    try: assert value(source(42)) == 42 and time.monotonic() - start < 90
    finally: os.kill(int((tmp_path / 'pid').read_text()), signal.SIGKILL)


def test_temporary_files_of_the_compiler_are_removed_with_it(disk):
    disk.compiler('case "$TMPDIR" in "$GENOPT_CACHE"/*) touch "$TMPDIR/left"; exec cc '
                  '"$@"; esac; exit 1')
    assert value(source(43)) == 43 and len(disk.files()) == 1


@pytest.mark.parametrize('content', [None, b'\xff\xfe', b'', b'model name : \xff\n'])
def test_a_processor_that_cannot_be_read(disk, tmp_path, monkeypatch, content):
    file = tmp_path / 'cpuinfo'
    if content is not None: file.write_bytes(content)
    monkeypatch.setattr(toolchain, 'Path', lambda p: file if str(p) == '/proc/cpuinfo' else Path(p))
    toolchain._machine.cache_clear()
    try:
        assert value(source(44)) == 44
        monkeypatch.setattr(toolchain.platform, 'node', lambda: 'another'); forget()
        toolchain._machine.cache_clear()
        value(source(44))
        assert disk.calls() == (1 if content and b'model' in content
                                else 2), 'unknown: only for this machine'
    finally: toolchain._machine.cache_clear()
