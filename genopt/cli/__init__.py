"""The command line, `python -m genopt COMMAND`.

A command is a function of its own name in a module of its own name here: its docstring and its arguments' comments are
its help. It returns its exit status, and raises Stop with one sentence where it cannot go on.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from fastcore.script import anno_parser

from .. import __version__
from ..hypers import did_you_mean

__all__ = ['main', 'Stop', 'write', 'COMMANDS']

COMMANDS = ['list', 'explain', 'compare', 'family', 'descend', 'race', 'bench', 'stubs']


class Stop(Exception): "A command cannot go on; the message says why, and what to do."


def main(argv: Sequence[str] | None=None) -> int:
    "Runs the command that `argv` (the process's own arguments by default) names. Returns the exit status."
    name, *args = [*(sys.argv[1:] if argv is None else argv)] or ['--help']  # `list` is a command here
    if name in ('-h', '--help'): print(_help()); return 0
    if name == '--version': print(f'genopt {__version__}'); return 0
    if name not in COMMANDS: return _fail(f'genopt has no command `{name}`: {did_you_mean(name, COMMANDS)}', 2)
    command = _command(name)
    options = vars(anno_parser(command, prog=f'python -m genopt {name}').parse_args(args))
    for k in ('pdb', 'xtra'): options.pop(k, None)  # fastcore's own
    try:
        status = command(**options) or 0
        sys.stdout.flush()
        return status
    except Stop as e: return _fail(f'{name}: {e}')
    except BrokenPipeError:  # `genopt list | head`; the interpreter must not flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt: return _fail(f'{name}: interrupted', 130)


def write(path: Path, do: Callable[[Path], Any]) -> None:
    "Makes a file, and the folder that it is in; or says in one sentence why it cannot."
    try:
        if not path.parent.exists(): path.parent.mkdir(parents=True)
        do(path)
    except OSError as e: raise Stop(f'cannot write {path}: {e.strerror or e}') from None


def _command(name: str) -> Callable[..., Any]:
    command: Callable[..., Any] = getattr(import_module(f'{__name__}.{name}'), name)
    return command


def _help() -> str:
    lines = [f'  {n:8} {(_command(n).__doc__ or "").splitlines()[0]}' for n in COMMANDS]
    return '\n'.join(['usage: python -m genopt COMMAND [options]', '', 'commands:', *lines, '',
                      'python -m genopt COMMAND --help says more.'])


def _fail(sentence: str, status: int=1) -> int:
    print(sentence, file=sys.stderr)
    return status
