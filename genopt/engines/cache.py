"""Kernels on disk: where they are kept, how one is written, and what is checked before one is loaded.

A kernel's file is named `KEY-CHECKSUM.so`. The key says what it was made from; the checksum is that of the file itself
and is compared before the file is loaded, as loading a damaged library can kill the process. A file is written whole or
not at all. Nobody but this user can write to it or to its folder. See `docs/kernels.md`.

Nothing here raises anything but OSError.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

__all__ = ['find', 'folder', 'load', 'scratch', 'store']

ABANDONED = 60 * 60       # after so many seconds, a compilation's folder must be from a process that was killed
UNUSED = 90 * 24 * 60**2  # after so many seconds, a kernel that nobody has loaded is removed
SCRATCH = 'genopt-compiling-'  # how the name of a compilation's folder begins
KERNEL = re.compile(r'[0-9a-f]{32}-[0-9a-f]{64}\.so')
NOBODY = 65534            # owns root's folders, as seen in a user namespace


# -- files ---------------------------------------------------------------------------------------------------

def find(folder: Path, key: str) -> Callable[..., None] | None:
    "The kernel with this key. A file that is not what its name says is removed, and so is one that does not load."
    for path in sorted(folder.glob(f'{key}-*.so')):
        with suppress(OSError):
            if _is_intact(path, key):
                with suppress(OSError): os.utime(path)  # it is in use: see `_sweep`
                return load(path)
        _remove(path)
    return None


def store(content: bytes, scratch: Path, folder: Path, key: str) -> Path:
    "Writes a kernel's file in `scratch`, and moves it to its place when all of it is on the disk."
    beside, path = scratch / 'whole.so', folder / _name(key, content)
    beside.touch(0o600)
    with beside.open('r+b') as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    beside.replace(path)
    with suppress(OSError):  # not every system can do this to a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try: os.fsync(descriptor)
        finally: os.close(descriptor)
    return path


def load(path: Path) -> Callable[..., None]:
    "The function `run` of a library. If it cannot be loaded, the file is removed."
    try: run = ctypes.CDLL(str(path)).run
    except (OSError, AttributeError) as e:
        _remove(path)
        raise OSError(f'the compiled kernel does not load: {str(e).removeprefix(f"{path}: ")}') from None
    run.restype = None
    return run


def scratch(folder: Path | None) -> tempfile.TemporaryDirectory[str]:
    "A folder for one compilation that only this user can enter, in `folder` or where temporary files are."
    _sweep(folder or Path(tempfile.gettempdir()))
    return tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH, ignore_cleanup_errors=True)


def _name(key: str, content: bytes) -> str: return f'{key}-{hashlib.sha256(content).hexdigest()}.so'


def _is_intact(path: Path, key: str) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and _is_ours(status) and path.name == _name(key, path.read_bytes())


def _remove(path: Path) -> None:
    with suppress(OSError): shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@lru_cache
def _sweep(folder: Path) -> None:
    "Removes what killed compilations have left, and kernels that nobody uses any more. Once in a process."
    with suppress(OSError):
        for path in folder.iterdir():
            limit = ABANDONED if path.name.startswith(SCRATCH) else UNUSED if KERNEL.fullmatch(path.name) else None
            with suppress(OSError):
                if limit and time.time() - path.lstat().st_mtime > limit: _remove(path)


# -- the folder ----------------------------------------------------------------------------------------------

def folder() -> Path | None:
    "$GENOPT_CACHE, or `genopt` in the user's cache; made if it is missing. None if there is none that is private."
    xdg = os.environ.get('XDG_CACHE_HOME', '')
    given = os.environ.get('GENOPT_CACHE') or os.path.join(xdg if os.path.isabs(xdg) else '~/.cache', 'genopt')
    with suppress(OSError):
        place = os.path.expanduser(given)
        if place.startswith('~'): return None  # there is no home
        path = _absolute(place)
        for p in [*reversed(path.parents), path]:
            if not p.exists(): p.mkdir(0o700, exist_ok=True)
        found = Path(os.path.realpath(path, strict=True))
        if not _is_private(found): return None
        _sweep(found)
        return found
    return None


@lru_cache
def _absolute(path: str) -> Path: return Path(os.path.abspath(path))  # remembered, so that a chdir moves nothing


def _is_private(folder: Path) -> bool:
    "True if nobody else can write into the folder, or put another one in its place."
    if not hasattr(os, 'geteuid'): return True
    return _is_ours(folder.stat()) and all(_is_safe(parent.stat()) for parent in folder.parents)


def _is_ours(status: os.stat_result) -> bool:
    return not hasattr(os, 'geteuid') or status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _is_safe(parent: os.stat_result) -> bool:
    "True if nobody else can rename what this user has in the folder."
    others = 0o002 if parent.st_gid == parent.st_uid else 0o022  # a user's own group has the user's number
    is_shared = parent.st_mode & others and not parent.st_mode & stat.S_ISVTX
    return parent.st_uid in (os.geteuid(), 0, NOBODY) and not is_shared
