"Python text: where its nodes are, changes of it, and the names that it leaves to others to define."
from __future__ import annotations

import ast
import symtable
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from tokenize import OP, generate_tokens
from typing import TypeAlias

__all__ = ['Edit', 'assignment', 'call', 'edited', 'free_names', 'is_shadowed',
           'one_statement_a_line', 'spans', 'unindented', 'with_signature']

WIDTH = 100

Edit: TypeAlias = tuple[int, int, str]  # from, to, and the new text in between


def spans(text: str) -> Callable[[ast.AST], tuple[int, int]]:
    "A function from a node of the parsed text to where it begins and ends."
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines: starts.append(starts[-1] + len(line))
    def at(line: int, column: int) -> int:  # columns count bytes
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())
    def span(node: ast.AST) -> tuple[int, int]:
        n = node if isinstance(node, (ast.expr, ast.stmt, ast.arg)) else None
        assert n and n.end_lineno is not None and n.end_col_offset is not None
        return at(n.lineno, n.col_offset), at(n.end_lineno, n.end_col_offset)
    return span


def edited(text: str, edits: Iterable[Edit]) -> str:
    "The text with these changes, none of which is within another."
    for start, end, new in sorted(edits, reverse=True): text = text[:start] + new + text[end:]
    return text


def unindented(text: str) -> str:
    "Code that was nested, at the margin. Lines of a string that begin further left stay."
    margin = text[:len(text) - len(text.lstrip(' \t'))]
    return ''.join(line.removeprefix(margin) for line in text.splitlines(keepends=True))


def call(head: str, args: Sequence[str], tail: str=')') -> str:
    "`head`, which ends in a bracket, then arguments and `tail`, in lines of at most `WIDTH`."
    lines = [head]
    for i, arg in enumerate(args):
        end = tail if i == len(args) - 1 else ','
        if i and len(lines[-1]) + 1 + len(arg + end) > WIDTH: lines.append(' ' * (len(head) - 1))
        lines[-1] += ' ' * (i > 0) + arg + end
    return '\n'.join(lines) if args else head + tail


def assignment(name: str, value: str) -> str:
    "A constant, in several lines if it is a sequence that is too long for one."
    line, node = f'{name} = {value}', ast.parse(value, mode='eval').body
    if len(line) <= WIDTH or not isinstance(node, (ast.Tuple, ast.List)) or len(node.elts) < 2:
        return line
    return call(f'{name} = {value[0]}', [*map(ast.unparse, node.elts)], value[-1])


def with_signature(text: str, name: str, args: ast.arguments, returns: ast.expr | None) -> str:
    "A function's text, from `def` on, under another name or with other arguments."
    depth, lines = 0, text.splitlines(keepends=True)
    for token in generate_tokens(StringIO(text).readline):
        if token.type != OP: continue
        depth += (token.string in '([{') - (token.string in ')]}')
        if token.string == ':' and not depth:
            row, column = token.end
            break
    rest = lines[row - 1][column:] + ''.join(lines[row:])
    tail = f') -> {ast.unparse(returns)}:' if returns else '):'
    return call(f'def {name}(', _arguments(args), tail) + rest


def _arguments(args: ast.arguments) -> list[str]:
    "Each argument's text, with `*` among them."
    res, plain = [], [*args.posonlyargs, *args.args]
    missing = [None] * (len(plain) - len(args.defaults))
    for i, (a, default) in enumerate(zip(plain, [*missing, *args.defaults])):
        res.append(_argument(a, default))
        if i + 1 == len(args.posonlyargs): res.append('/')
    if args.vararg: res.append(f'*{_argument(args.vararg)}')
    elif args.kwonlyargs: res.append('*')
    res += map(_argument, args.kwonlyargs, args.kw_defaults)
    return [*res, f'**{_argument(args.kwarg)}'] if args.kwarg else res


def _argument(arg: ast.arg, default: ast.expr | None=None) -> str:
    text = f'{arg.arg}: {ast.unparse(arg.annotation)}' if arg.annotation else arg.arg
    equals = ' = ' if arg.annotation else '='
    return text if default is None else f'{text}{equals}{ast.unparse(default)}'


def one_statement_a_line(text: str) -> str:
    "The text with what follows `if x:` and the like on a line of its own, as linters want it."
    span, edits = spans(text), list[Edit]()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.stmt, ast.ExceptHandler)): continue
        if isinstance(node, ast.FunctionDef): continue
        for body in (getattr(node, k, []) for k in ('body', 'orelse', 'finalbody')):
            if not body: continue
            start, _ = span(body[0])
            before = text[:start].rstrip(' \t')
            if before.endswith(':'):
                edits.append((len(before), start, '\n' + ' ' * (node.col_offset + 4)))
    return edited(text, edits)


# -- names -----------------------------------------------------------------------------------------

def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children(): yield from _tables(child)


def free_names(text: str) -> list[str]:
    "The names that a text reads and does not define, as far as it is one function or expression."
    top, *inner = _tables(symtable.symtable(text, '<part>', 'exec'))
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned()}
    found = {s.get_name() for s in top.get_symbols() if s.is_referenced()} - defined
    found |= {s.get_name() for t in inner for s in t.get_symbols() if s.is_global()}
    return [n for n in dict.fromkeys(_in_order(text)) if n in found]


def is_shadowed(text: str, name: str) -> bool:
    "True if a function in the text has a variable of this name."
    _, *inner = _tables(symtable.symtable(text, '<part>', 'exec'))
    return any(s.get_name() == name and s.is_local() for t in inner for s in t.get_symbols())


def _in_order(text: str) -> Iterator[str]:
    names = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)]
    yield from (n.id for n in sorted(names, key=lambda n: (n.lineno, n.col_offset)))
