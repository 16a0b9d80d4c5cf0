"Expressions in NumPy, text read back as an expression, and an interpreter of statements."
import re

import genopt
import numpy as np
import sympy as sp
import torch
from genopt.letters import POWERS
from genopt.part import Part
from genopt.study import expressions, matrices, operations
from genopt.study.matrices import IN_TORCH
from sympy.printing.numpy import NumPyPrinter


def in_torch(f):
    "A function of torch's tensors, of arrays."
    def run(*args):
        return f(*(torch.as_tensor(a) if np.ndim(a) else float(a) for a in args)).numpy()
    return run


def product(a, b):
    "Of two matrices, one of which may be 0 for all of its elements."
    return a @ b if np.ndim(a) and np.ndim(b) else a * b


NUMPY = dict({k: in_torch(f) for k, f in IN_TORCH.items()},
             Inverted=np.linalg.inv, Triangle=np.triu,
             ColumnNorm=lambda x: np.linalg.norm(x, axis=-2, keepdims=True),
             Norm=np.linalg.norm, RowNorm=lambda x: np.linalg.norm(x, axis=-1, keepdims=True),
             Mean=np.mean, RowMean=lambda x: np.mean(x, axis=-1, keepdims=True),
             ColumnMean=lambda x: np.mean(x, axis=-2, keepdims=True), Total=np.sum, Largest=np.max,
             Smallest=np.min, MatProd=product, Clip=np.clip,
             Finite=np.isfinite, Nearest=np.round, Transposed=np.transpose,
             Truth=lambda x: np.where(x, 1., 0.))  # what equations have that sympy lacks

OPAQUE = 'polar_express', 'gram_newton_schulz'  # their loops are over a table


class Printer(NumPyPrinter):
    "Where conditions on numbers and on tensors stand together, which sympy's own cannot."
    def __init__(self, modules):
        super().__init__(dict(fully_qualified_modules=False, inline=True,
                              allow_unknown_functions=True,
                              user_functions={k: k for k in modules}))

    def _print_And(self, expr): return f"({' & '.join(map(self._print, expr.args))})"
    def _print_Iterate(self, expr):
        x, body, start, turns = expr.args
        inside = self._print(body.xreplace({x: sp.Symbol('x_')}))
        return f'iterate(lambda x_: {inside}, {self._print(start)}, {self._print(turns)})'

    def _print_Piecewise(self, expr):
        "Where only sizes decide, products of the other case may not exist."
        *some, (last, _) = expr.args
        asked = {s.name for _, c in some for s in c.free_symbols}
        if not asked or not asked <= {'rows', 'columns'}: return super()._print_Piecewise(expr)
        cases = ''.join(f'{self._print(x)} if {self._print(c)} else ' for x, c in some)
        return f'({cases}{self._print(last)})'

    def _print_Or(self, expr): return f"({' | '.join(map(self._print, expr.args))})"


def iterate(turn, x, turns):
    for _ in range(int(turns)): x = turn(x)
    return x


def as_it_is(part):
    "A part without an equation, called on arrays. Where it is off, it is not called."
    names = [n for n in part.reads if not part.is_switched or n != part.switch]
    def run(*args):
        given = {n: torch.as_tensor(a) if isinstance(a, np.ndarray) else a
                 for n, a in zip(names, args)}
        out = part.fn(*(given.get(n, 1.) for n in part.reads),
                      **dict(zip([k for k, _ in part.keywords], args[len(names):])))
        return out.numpy() if isinstance(out, torch.Tensor) else out
    return run


def function(expr):
    "The names that an expression reads, and it as a function of arrays."
    called = {f.func.__name__ for f in expr.atoms(sp.Function)}
    modules = NUMPY | dict(iterate=iterate)
    found = {name: getattr(genopt.parts, name, None) for name in called - {*modules}}
    modules |= {name: as_it_is(f) if isinstance(f, Part) else in_torch(f)
                for name, f in found.items() if f}
    symbols = sorted(expr.free_symbols, key=str)
    return [s.name for s in symbols], sp.lambdify(symbols, expr, [modules, 'numpy'],
                                                  Printer(modules))


class Interpreter:
    "Runs an algorithm, statement by statement, and knows nothing else of an optimizer."
    def __init__(self, algorithm, values, param):
        self.algorithm, self.functions = algorithm, {}
        shape = param.shape if param.ndim > 1 else (*param.shape, 1)
        self.env = {**values, 'param': param, 'place': 0, 'dim': param.ndim,
                    'rows': shape[0], 'columns': shape[1]}
        self.steps = 0
        self.run(algorithm.begin)

    def step(self, grad):
        self.steps += 1
        if self.algorithm.counts: self.env['count'] = self.steps
        self.env['raw_grad'] = grad
        self.run(self.algorithm.step)
        return self.env['param']

    def value(self, expr):
        if expr not in self.functions: self.functions[expr] = function(expr)
        names, f = self.functions[expr]
        with np.errstate(all='ignore'): return f(*[self.env[n] for n in names])

    def run(self, statements):
        "Statements of one depth, with those that stand deeper below them."
        statements, done = [*statements], False
        while statements:
            s, *statements = statements
            deeper = []
            while statements and statements[0].depth > s.depth: deeper.append(statements.pop(0))
            if s.kind == 'if': done = False
            match s.kind:
                case 'grad': self.env[s.name] = self.env['raw_grad']
                case 'if' | 'elif' if not done and self.value(s.expr): done = True
                case 'else' if not done: done = True
                case 'repeat':
                    for _ in range(int(self.value(s.expr))): self.run(deeper)
                    continue
                case 'set' | 'let' | 'sum':
                    self.env[s.name] = self.value(s.expr)
                    continue
                case _: continue
            self.run(deeper)


# -- text, read back -------------------------------------------------------------------------------

SIGNS = {', ±': ', within=', '−': '-', '·': '*', '≤': '<=', '≥': '>=', '^': '**', ' mod ': ' % '}
FUNCTIONS = dict(e=sp.E, sqrt=sp.sqrt, cbrt=sp.cbrt, abs=sp.Abs, sign=sp.sign, exp=sp.exp,
                 log=sp.log, cos=sp.cos, π=sp.pi, min=sp.Min,
                 clip=lambda x, low=None, high=None, within=None: expressions.Clip(
                     x, *((low, high) if within is None else (-within, within))),
                 max=lambda *xs: sp.Max(*xs) if xs[1:] else expressions.Largest(*xs),
                 eq=sp.Eq, ne=sp.Ne, truth=expressions.Truth,
                 finite=expressions.Finite,
                 **{f.written: f for f in vars(matrices).values()
                    if isinstance(f, type) and f.__module__ == matrices.__name__},
                 norm=expressions.Norm, sum=expressions.Total, mean=expressions.Mean,
                 row_mean=expressions.RowMean, column_mean=expressions.ColumnMean,
                 row_norm=expressions.RowNorm, column_norm=expressions.ColumnNorm,
                 RMS=lambda x: sp.sqrt(expressions.Mean(x**2)),
                 rows=operations.SIZES[0], columns=operations.SIZES[1])


def read_back(text, letters):
    "A right-hand side as it is printed, as an expression of sympy's."
    for b, a in {'2': '²', **POWERS}.items(): text = text.replace(a, '^' + b)
    names = {f'x{i}x': expressions.symbol(name) for i, name in enumerate(letters)}
    for letter, x in sorted(zip(letters.values(), names), key=lambda pair: -len(pair[0])):
        if letter.isascii(): text = re.sub(rf'(?<!\w){letter}(?![\w(])', x, text)
        else: text = text.replace(letter, x)
    for kind in 'mean', 'norm': text = re.sub(f'(row|column) {kind}', rf'\1_{kind}', text)
    for a, b in SIGNS.items(): text = text.replace(a, b)
    text = re.sub(r'‖([^‖]+)‖', r'norm(\1)', re.sub(r'\|([^|]+)\|', r'abs(\1)', text))
    for glyph, name in (('√', 'sqrt'), ('∛', 'cbrt')):
        text = re.sub(rf'{glyph}(x\d+x|rows\b|columns\b|\w+\()',
                      lambda m, name=name: f'{name}{m[1]}' if m[1][-1] == '(' else
                      f'{name}({m[1]})', text).replace(f'{glyph}(', f'{name}(')
    text = re.sub(r'sqrt(RMS|max|min)\(', r'_sqrt_\1(', text)
    text = re.sub(r'\[([^]]+) = ([^]]+)\]', r'truth(eq(\1, \2))', text)
    text = re.sub(r'\[([^]]+) ≠ ([^]]+)\]', r'truth(ne(\1, \2))', text)
    text = re.sub(r'\[([^]]+)\]', r'truth(\1)', text)
    roots = {f'_sqrt_{k}': lambda *a, k=k: sp.sqrt(FUNCTIONS[k](*a)) for k in ('RMS', 'max', 'min')}
    return sp.sympify(eval(text, {**FUNCTIONS, **roots, **names}))
