"""The command line, `python -m genopt COMMAND`.

A command is a function in a module of the same name. Its docstring and the comments on its
arguments are its help. It returns its exit status, and raises Stop if it cannot go on.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from fastcore.script import anno_parser

from .. import __version__
from ..contract import PartError
from ..extras import missing
from ..hypers import did_you_mean

__all__ = ['COMMANDS', 'REFUSED', 'Stop', 'check_suffix', 'main', 'numbers', 'one_of',
           'print_table', 'require', 'write']

COMMANDS = ['list', 'explain', 'compare', 'identities', 'family', 'descend', 'atlas', 'new',
            'plan', 'check', 'race', 'export', 'twins', 'bench', 'stubs']


REFUSED = KeyError, TypeError, ValueError, OverflowError, PartError  # what wrong input raises


class Stop(Exception): "A command cannot go on. The message gives the cause and a remedy."


def main(argv: Sequence[str] | None=None) -> int:
    "Runs the command in `argv`, by default the arguments of the process. Returns the exit status."
    name, *args = (sys.argv[1:] if argv is None else argv) or ['--help']
    if name in ('-h', '--help'):
        print(_help())
        return 0
    if name == '--version':
        print(f'genopt {__version__}')
        return 0
    if name not in COMMANDS:
        return _fail(f'genopt has no command `{name}`: {did_you_mean(name, COMMANDS)}', 2)
    command = _command(name)
    options = vars(anno_parser(command, prog=f'python -m genopt {name}').parse_args(args))
    for k in ('pdb', 'xtra'): options.pop(k, None)  # fastcore's own
    try:
        status = command(**options)
        sys.stdout.flush()
        return status
    except (Stop, ImportError) as e: return _fail(f'{name}: {e}')
    except BrokenPipeError:  # `genopt list | head`; the interpreter must not flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt: return _fail(f'{name}: interrupted', 130)


def write(path: Path, do: Callable[[Path], Any]) -> None:
    "Makes a file, and its folder if there is none. Raises Stop if it cannot."
    try:
        if not path.parent.exists(): path.parent.mkdir(parents=True)
        do(path)
    except OSError as e: raise Stop(f'cannot write {path}: {e.strerror or e}') from None


def check_suffix(path: Path | str, *suffixes: str) -> None:
    "Raises Stop if the name of a picture ends in none of these."
    if Path(path).suffix.lower() in suffixes: return
    *some, last = suffixes
    raise Stop(f'{path}: give a name that ends in {", ".join(some)} or {last}')


def require(command: str, *packages: str) -> None:
    "Raises Stop if a package is missing that the command needs."
    for package in packages:
        try: import_module(package)
        except ImportError:
            raise Stop(missing(package, f'the {command} needs', command)) from None


def one_of(**options: Any) -> None:
    "Raises Stop if more than one of these options was given."
    given = [f'--{name}' for name, value in options.items() if value]
    if len(given) > 1: raise Stop(f'{" and ".join(given)} do not go together: give one')


def numbers(option: str, text: str, *counts: int) -> list[float]:
    "The numbers in a text, none if it is empty. Raises Stop unless there are as many as a count."
    try: res = [float(t) for t in text.split(',')] if text else []
    except ValueError: raise Stop(f'--{option} {text}: give numbers, with commas between') from None
    if res and len(res) not in counts:
        few = ' or '.join(map(str, sorted({*counts})))
        raise Stop(f'--{option} {text}: give {few} {"number" if few == "1" else "numbers"}')
    return res


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    "Prints a table in a terminal: names on the left, and numbers."
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    table = Table(title=title, title_justify='left', box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  min_width=len(title) + 2)
    for i, column in enumerate(head): table.add_column(column, justify='right' if i else 'left')
    for row in rows: table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def _command(name: str) -> Callable[..., int]:
    command: Callable[..., int] = getattr(import_module(f'{__name__}.{name}'), name)
    return command


def _help() -> str:
    lines = [f'  {n:10} {(_command(n).__doc__ or "").splitlines()[0]}' for n in COMMANDS]
    return '\n'.join(['usage: python -m genopt COMMAND [options]', '', 'commands:', *lines, '',
                      'python -m genopt COMMAND --help describes its options.'])


def _fail(sentence: str, status: int=1) -> int:
    print(sentence, file=sys.stderr)
    return status
