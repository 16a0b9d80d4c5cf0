"""Kernels on disk: they are written whole, and checked before they are loaded.

A kernel's file is named `KEY-CHECKSUM.so`. The key stands for all that it was made from. The
checksum is that of the file, and is compared before the file is loaded, as loading a damaged
library can kill the process. Nobody but this user can write to the file or to its folder. See
`docs/kernels.md`.

All functions raise OSError, and nothing else.
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
from typing import Any

__all__ = ['FOUND', 'find', 'folder', 'is_ours', 'load', 'scratch', 'store']

ABANDONED = 60 * 60       # seconds after which the process that compiles in a folder must be dead
UNUSED = 90 * 24 * 60**2  # seconds after which a kernel that no process has loaded is removed
SCRATCH = 'genopt-compiling-'  # how the name of a compilation's folder begins
KERNEL = re.compile(r'[0-9a-f]{32}-[0-9a-f]{64}\.(so|cubin)')
FOUND = 'genopt-found-'    # how the names of other files begin: see `genopt.study.kept`
NOBODY = 65534            # owns root's folders, as seen in a user namespace


# -- files -----------------------------------------------------------------------------------------

def load(path: Path) -> ctypes.CDLL:
    "A library. If it cannot be loaded, the file is removed."
    try: return ctypes.CDLL(str(path))
    except OSError as e:
        _remove(path)
        why = str(e).removeprefix(f'{path}: ')
        raise OSError(f'the compiled kernel does not load: {why}') from None


def find(folder: Path, key: str, load: Callable[[Path], Any]=load, suffix: str='.so') -> Any:
    """The kernel with this key, or None.

    A file that does not match its name is removed, and so is one that does not load.
    """
    for path in sorted(folder.glob(f'{key}-*{suffix}')):
        with suppress(OSError):
            status = path.lstat()
            is_safe = stat.S_ISREG(status.st_mode) and is_ours(status)
            if is_safe and path.name == _name(key, path.read_bytes(), suffix):
                with suppress(OSError): os.utime(path)  # it is in use: see `_sweep`
                return load(path)
        _remove(path)
    return None


def store(content: bytes, scratch: Path, folder: Path, key: str, suffix: str='.so') -> Path:
    "Writes a kernel's file in `scratch`, and moves it to its place when all of it is on the disk."
    beside, path = scratch / f'whole{suffix}', folder / _name(key, content, suffix)
    beside.touch(0o600)
    beside.write_bytes(content)
    _sync(beside)
    beside.replace(path)
    with suppress(OSError): _sync(folder)  # not every system can do this to a folder
    return path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try: os.fsync(descriptor)
    finally: os.close(descriptor)


def scratch(folder: Path | None) -> tempfile.TemporaryDirectory[str]:
    "A private folder for one compilation: in `folder`, or where temporary files are."
    _sweep(folder or Path(tempfile.gettempdir()))
    return tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH, ignore_cleanup_errors=True)


def _name(key: str, content: bytes, suffix: str) -> str:
    return f'{key}-{hashlib.sha256(content).hexdigest()}{suffix}'


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink(): shutil.rmtree(path)
        else: path.unlink()


@lru_cache
def _sweep(folder: Path) -> None:
    "Removes the folders of killed compilations, and unused kernels. Once in a process."
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(SCRATCH): limit = ABANDONED
            elif KERNEL.fullmatch(path.name) or path.name.startswith(FOUND): limit = UNUSED
            else: continue
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > limit: _remove(path)


# -- the folder ------------------------------------------------------------------------------------

def folder() -> Path | None:
    """$GENOPT_CACHE, or `genopt` in the user's cache. It is made if it is missing.

    None if it cannot be made, or others could write to it.
    """
    xdg = os.environ.get('XDG_CACHE_HOME', '')
    caches = xdg if os.path.isabs(xdg) else '~/.cache'
    given = os.environ.get('GENOPT_CACHE') or os.path.join(caches, 'genopt')
    place = os.path.expanduser(given)
    if place.startswith('~'): return None  # there is no home
    with suppress(OSError):
        path = _absolute(place)
        for p in [*reversed(path.parents), path]:
            if not p.exists(): p.mkdir(0o700, exist_ok=True)
        found = Path(os.path.realpath(path, strict=True))
        if is_ours(found.stat()) and all(_is_safe(parent.stat()) for parent in found.parents):
            _sweep(found)
            return found
    return None


@lru_cache  # so that a chdir moves nothing
def _absolute(path: str) -> Path: return Path(os.path.abspath(path))


def is_ours(status: os.stat_result) -> bool:
    "True if nobody else can write to the file or folder."
    if not hasattr(os, 'geteuid'): return True
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _is_safe(parent: os.stat_result) -> bool:
    "True if nobody else can put another file or folder in the place of this user's."
    if not hasattr(os, 'geteuid'): return True
    has_own_group = parent.st_gid == parent.st_uid  # a group of this user alone
    others = 0o002 if has_own_group else 0o022
    is_shared = parent.st_mode & others and not parent.st_mode & stat.S_ISVTX
    return parent.st_uid in (os.geteuid(), 0, NOBODY) and not is_shared
