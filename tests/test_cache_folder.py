"""Promise: kernels are kept where the user has said, or in the user's cache; and never in a folder
where somebody else could put one.
"""
import ctypes
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from genopt.engines import cache
from genopt.engines.toolchain import NoKernel
from kernel_files import forget, value


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
    forget()
    for k in 'HOME', 'XDG_CACHE_HOME', 'GENOPT_CACHE': monkeypatch.delenv(k, raising=False)
    for k, v in variables.items(): monkeypatch.setenv(k, v.format(tmp_path))
    monkeypatch.setattr(pwd, 'getpwuid', no_entry)
    assert value(6) == 6
    found = [str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob('*.so')]
    assert found == [place][:bool(place)] and not [*tmp_path.glob('~*')]
    for p in Path(place or '.').parents: assert stat.S_IMODE(p.stat().st_mode) & 0o022 == 0


def test_a_relative_folder_stays_where_it_is(disk, tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir(); (tmp_path / 'b').mkdir()
    monkeypatch.setenv('GENOPT_CACHE', 'a folder that nobody else asks for')
    monkeypatch.chdir(tmp_path / 'a'); value(7)
    monkeypatch.chdir(tmp_path / 'b'); value(8)
    assert len([*(tmp_path / 'a').rglob('*.so')]) == 2 and not [*(tmp_path / 'b').iterdir()]


def test_a_current_folder_that_was_removed(disk, tmp_path, monkeypatch):
    (gone := tmp_path / 'gone').mkdir(); monkeypatch.chdir(gone); gone.rmdir()
    monkeypatch.setenv('GENOPT_CACHE', 'relative to nothing')
    assert value(9) == 9
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('mode, above, is_used', [
    (0o700, 0o755, True), (0o755, 0o1777, True), (0o777, 0o755, False),
    (0o775, 0o755, False), (0o1777, 0o755, False),
    (0o700, 0o777, False)])
@pytest.mark.parametrize('by_link', [False, True])
def test_a_folder_that_others_can_write_is_not_used(disk, tmp_path, monkeypatch,
                                                    mode, above, is_used, by_link):
    "Another user could put a library there; or could put another folder in its place."
    real = tmp_path / 'above' / 'cache'
    real.mkdir(parents=True)
    if by_link: (tmp_path / 'link').symlink_to(real)
    monkeypatch.setenv('GENOPT_CACHE', str(tmp_path / 'link' if by_link else real))
    value(10); value(11); forget()
    a, b = sorted(real.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    planted = f'{a.name.split("-")[0]}-{b.name.split("-")[1]}'  # key and checksum
    a.unlink(); b.rename(real / planted)
    real.chmod(mode); real.parent.chmod(above)
    assert value(10) == (11 if is_used else 10)
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
    value(12); forget()
    monkeypatch.setattr(os, 'geteuid', lambda me=os.geteuid(): me + 1)
    assert value(12) == 12 and disk.calls() == 2 and len(disk.files()) == 1


@pytest.mark.skipif(os.name != 'posix' or os.geteuid(), reason='only root gives files away')
def test_a_file_of_another_user_is_not_loaded(disk):
    value(13); forget()
    [file] = disk.files()
    os.chown(file, 54321, -1)
    assert value(13) == 13 and disk.calls() == 2 and file.stat().st_uid == 0


def test_where_files_have_no_owners(disk, monkeypatch):
    monkeypatch.delattr(os, 'geteuid')
    for _ in range(2): assert value(14) == 14; forget()
    assert disk.calls() == 1


def test_a_cache_that_is_removed_meanwhile(disk):
    value(15); shutil.rmtree(disk.folder)
    assert value(15) == 15 and disk.calls() == 1, 'what a process has loaded, it has'
    assert value(16) == 16 and len(disk.files()) == 1
    disk.compiler(f'[ -e {disk.folder} ] && rm -r {disk.folder}; exec cc "$@"')
    assert value(17) == 17


def only_elsewhere(folder, monkeypatch, f=tempfile.TemporaryDirectory):
    "The cache is read-only. (To root, no folder is.)"
    def make(dir=None, **kwargs):
        if dir: raise OSError(30, 'Read-only file system')
        return f(dir=dir, **kwargs)
    monkeypatch.setattr(tempfile, 'TemporaryDirectory', make)


def test_a_cache_that_is_read_only_is_read(disk, monkeypatch):
    value(18); forget(); only_elsewhere(disk.folder, monkeypatch)
    assert value(18) == 18 and disk.calls() == 1
    assert value(19) == 19 and disk.calls() == 2 and len(disk.files()) == 1


def test_a_cache_that_nothing_can_be_loaded_from(disk, monkeypatch):
    "It may be mounted so (noexec)."
    def load(path, f=ctypes.CDLL):
        if path.startswith(str(disk.folder)):
            raise OSError(f'{path}: failed to map segment from shared object')
        return f(path)
    monkeypatch.setattr(ctypes, 'CDLL', load)
    assert value(20) == 20 and not disk.files()


def test_no_folder_at_all(disk, monkeypatch):
    def no(*args): raise FileNotFoundError(2, 'No usable temporary directory found in [...]')
    monkeypatch.setattr(tempfile, '_get_default_tempdir', no)
    monkeypatch.setattr(tempfile, 'tempdir', None)
    assert value(21) == 21, 'the cache is enough'
    monkeypatch.setenv('GENOPT_CACHE', '/proc/x')
    with pytest.raises(NoKernel, match='^the temporary folder cannot be written: No usable '
                                       'temporary directory'):
        value(22)
