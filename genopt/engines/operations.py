"""Torch operations as lines of C. The results are those of torch on a CPU, bit for bit where it
computes exactly.

Numbers of 16 bits are kept as floats, and rounded after every operation, as in torch. Whole
numbers wrap around. Where C leaves a result open (a float out of an integer's range), it is read
off torch. An operation that is not in the tables, or not for its dtype, raises Untranslatable, and
the part that calls it runs as it is.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from .recorder import Op, Ref
from .toolchain import NoKernel

__all__ = ['FILLS', 'OPS', 'SAME', 'TRUTH', 'TYPED', 'TYPES', 'Untranslatable', 'VECTOR', 'line',
           'read', 'type_of', 'write']


class Untranslatable(NoKernel): "An operation has no C, or none for this dtype."


FLOATS, HALVES = (torch.float32, torch.float64), (torch.bfloat16, torch.float16)
INTS = {torch.uint8: 'uint8_t', torch.int8: 'int8_t', torch.int16: 'int16_t',
        torch.int32: 'int32_t', torch.int64: 'int64_t'}
TYPES = {torch.float32: 'float', torch.float64: 'double', torch.bfloat16: 'bf16',
         torch.float16: 'f16', torch.bool: '_Bool', **INTS}  # in memory


# -- the tables: a line for each operation ---------------------------------------------------------
#
# {0} {1} {2} are its arguments, cast to the type of its result; {f} is the f of `sqrtf`. A function
# chooses the code by the arguments and the dtype.

POWERS: dict[Any, str] = {1: '{0}', 2: '{0} * {0}', 3: '{0} * {0} * {0}', .5: 'sqrt{f}({0})',
                          -.5: '1 / sqrt{f}({0})', -1: '1 / {0}'}
MOD = 'fmod{f}({0}, {1})'
AT_LEAST = '({0} < {1} || {1} != {1} ? {1} : {0})'
CLAMPS = {  # by: has it a `min`, has it a `max`
    (True, False): AT_LEAST, (False, True): '{0} > {2} || {2} != {2} ? {2} : {0}',
    (True, True): f'{AT_LEAST} > {{2}} || {{2}} != {{2}} ? {{2}} : {AT_LEAST}'}
SAME = {'clone', '_to_copy', 'view', 'expand'}
FILLS = {
    **dict.fromkeys('zeros_like zeros new_zeros zero empty_like'.split(), '0'),
    **dict.fromkeys('ones_like ones new_ones'.split(), '1'),
    **dict.fromkeys('scalar_tensor lift_fresh'.split(), '{0}'),
    **dict.fromkeys('full_like full fill copy'.split(), '{1}'), 'new_full': '{2}'}
COPIES = {**FILLS, **dict.fromkeys(SAME, '{0}'),
          'where': '{0} ? {1} : {2}', 'masked_fill': '{1} ? {2} : {0}'}
TRUTH = {  # of which the arguments meet in a type of their own
    'eq': '{0} == {1}', 'ne': '{0} != {1}', 'lt': '{0} < {1}', 'le': '{0} <= {1}',
    'gt': '{0} > {1}', 'ge': '{0} >= {1}', 'isnan': '{0} != {0}',
    'isinf': 'fabs{f}({0}) == INFINITY', 'signbit': 'signbit({0})',
    'logical_not': '!{0}', 'logical_and': '{0} && {1}',
    'logical_or': '{0} || {1}', 'logical_xor': '!{0} != !{1}'}
BITS = {
    'bitwise_not': lambda op: '!{0}' if op.out.dtype == torch.bool else '~{0}',
    'bitwise_and': '{0} & {1}', 'bitwise_or': '{0} | {1}', 'bitwise_xor': '{0} ^ {1}'}
SHIFTS = {'__lshift__': '{1} < 0 || {1} >= {bits} ? 0 : (uint64_t){0} << {1}',
          '__rshift__': '{0} >> ({1} < 0 || {1} > {most} ? {most} : {1})'}
WRAPPING = {  # whole numbers wrap around; a scaled sum of floats is rounded once, as in torch
    'add': lambda op: 'fma{f}({2}, {1}, {0})' if _is_scaled(op) else '{0} + {2} * {1}',
    'sub': lambda op: 'fma{f}(-{2}, {1}, {0})' if _is_scaled(op) else '{0} - {2} * {1}',
    'rsub': '{1} - {2} * {0}', 'neg': '-{0}',
    'mul': lambda op: '{0} & {1}' if op.out.dtype == torch.bool else '{0} * {1}'}
ORDERED = {
    'abs': lambda op: '{0} < 0 ? -({U}){0} : ({U}){0}' if op.out.dtype in INTS else 'fabs{f}({0})',
    'sign': '({0} > 0) - ({0} < 0)', 'sgn': '({0} > 0) - ({0} < 0)',
    'maximum': '{0} > {1} || {0} != {0} ? {0} : {1}',
    'minimum': '{0} < {1} || {0} != {0} ? {0} : {1}',
    'clamp_min': '{0} < {1} || {1} != {1} ? {1} : {0}',
    'clamp_max': '{0} > {1} || {1} != {1} ? {1} : {0}',
    'clamp': lambda op: CLAMPS[op.args[1] is not None, op.args[2] is not None]}
ROUNDED = {  # after which 16 bits are rounded, as in torch
    'div': '{0} / {1}', 'reciprocal': '1 / {0}', 'sqrt': 'sqrt{f}({0})', 'floor': 'floor{f}({0})',
    'ceil': 'ceil{f}({0})', 'trunc': 'trunc{f}({0})', 'round': 'rint{f}({0})',
    'relu': '{0} < 0 ? 0 : {0}'}
VECTOR = {  # which glibc has for whole vectors, and how many arguments they have
    **dict.fromkeys('exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh '
                    'asinh acosh atanh erf erfc'.split(), 1), 'pow': 2, 'atan2': 2, 'hypot': 2}
OTHERS = {
    'addcmul': 'fma{f}({3} * {1}, {2}, {0})', 'addcdiv': '{0} + {3} * {1} / {2}',
    'lerp': 'fma{f}(fabs{f}({2}) < 0.5{f} ? {2} : {2} - 1, {1} - {0}, '
            'fabs{f}({2}) < 0.5{f} ? {0} : {1})',
    'remainder': f'{MOD} != 0 && ({{1}} < 0) != ({MOD} < 0) ? {MOD} + {{1}} : {MOD}',
    'rsqrt': '1 / sqrt{f}({0})', 'frac': '{0} - trunc{f}({0})', 'sigmoid': '1 / (1 + exp{f}(-{0}))',
    **{name: name + '{f}({0})' for name, n in VECTOR.items() if n == 1},
    **{name: name + '{f}({0}, {1})' for name in 'atan2 hypot fmax fmin copysign fmod'.split()},
    'pow': lambda op: POWERS.get(None if op.out.is_number else op.args[1], 'pow{f}({0}, {1})')}

# Each table, and of which dtypes its results may be
TABLES: list[tuple[dict[str, Any], set[torch.dtype]]] = [
    (COPIES, {*TYPES}), (TRUTH, {torch.bool}), (BITS, {*INTS, torch.bool}), (SHIFTS, {*INTS}),
    (WRAPPING, {*FLOATS, *HALVES, *INTS}), (ORDERED, {*FLOATS, *HALVES, *INTS}),
    (ROUNDED, {*FLOATS, *HALVES}), (OTHERS, {*FLOATS})]
OPS: dict[str, str | Callable[[Op], str]] = {k: v for table, _ in TABLES for k, v in table.items()}
DTYPES = {k: dtypes for table, dtypes in TABLES for k in table}
DTYPES['mul'] = {*TYPES}  # of truth values too

IN_FLOAT = {'add', 'sub', 'rsub', 'mul', 'div'}  # of 16 bits: these do not round a number first


def _is_scaled(op: Op) -> bool: return op.out.dtype not in INTS and op.args[2] != 1


TYPED = '''
typedef uint16_t bf16;
static inline float from_bf16(bf16 x)
{
    uint32_t u = (uint32_t)x << 16; float f; memcpy(&f, &u, 4);
    return f;
}
static inline bf16 to_bf16(float f)
{
    uint32_t u; memcpy(&u, &f, 4);
    return f != f ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16;  /* to the nearest, ties to even */
}
'''


# -- from an operation to C ------------------------------------------------------------------------

def type_of(dtype: torch.dtype) -> str: return 'float' if dtype in HALVES else TYPES[dtype]


def line(op: Op) -> str:
    "One operation as a line of C. Raises Untranslatable."
    return f'const {type_of(op.out.dtype)} v{op.out.place} = {_expression(op)};'


def _expression(op: Op) -> str:
    name, out, form = op.name, op.out.dtype, op.func._overloadname
    is_rare = form in ('Tensor_mode', 'Scalar_mode', 'decimals')
    if is_rare or out not in DTYPES.get(name, ()):
        raise Untranslatable(f'there is no C for `{op.func}` of {_name(out)}')
    if name == 'view' and form == 'dtype': return _reinterpreted(op.args[0], out)
    dtype, code = _meeting_dtype(op), OPS[name]
    if not isinstance(code, str): code = code(op)
    values = [_value(x, dtype, name) for x in op.args]
    unsigned = 'uint64_t' if out == torch.int64 else 'uint32_t'  # these wrap around in C
    if out in INTS and name in WRAPPING: values = [f'({unsigned}){v}' if v else v for v in values]
    bits = 8 * out.itemsize
    code = code.format(*values, f='' if dtype == torch.float64 else 'f', U=unsigned, bits=bits,
                       most=bits - (out != torch.uint8))
    return _rounded(f'({code})', out) if out in HALVES else f'({TYPES[out]})({code})'


def _meeting_dtype(op: Op) -> torch.dtype | None:
    "The dtype that the arguments are cast to: the result's, but for comparisons. None: no cast."
    if op.name not in TRUTH: return op.out.dtype
    if op.name.startswith('logical'): return None
    is_float = op.among in (*FLOATS, *HALVES)
    if op.name in ('isinf', 'signbit') and not is_float: return torch.float64
    return op.among


def _value(x: Any, dtype: torch.dtype | None, name: str) -> str:
    "An argument in C, as a number of `dtype`. A truth value stays one."
    in_float = dtype in HALVES and name in IN_FLOAT
    if isinstance(x, Ref):
        if dtype is None or x.dtype == torch.bool and name not in SAME: return f'v{x.place}'
        return _cast(f'v{x.place}', x.dtype, torch.float32 if in_float and x.is_number else dtype)
    if not isinstance(x, (int, float)): return ''  # a shape, a device ...
    if dtype is None: dtype = torch.float64
    elif in_float: dtype = torch.float32
    if dtype in INTS:
        if x != x or not torch.iinfo(dtype).min <= x <= torch.iinfo(dtype).max:
            raise Untranslatable(f'there is no {_name(dtype)} that is {x}')
        return _whole_number(int(x), dtype)
    number = {'inf': 'INFINITY', '-inf': '-INFINITY', 'nan': 'NAN'}.get(str(x), str(+x))
    code = f'({type_of(dtype)})({float(number) if number.lstrip("-").isdigit() else number})'
    return _rounded(code, dtype) if dtype in HALVES else code


def _whole_number(x: int, dtype: torch.dtype) -> str:
    "In C, the smallest one has no name of its own."
    return f'({TYPES[dtype]})({x + 1}LL - 1)' if x < 0 else f'({TYPES[dtype]})({x}LL)'


# -- casts -----------------------------------------------------------------------------------------

def _cast(x: str, old: torch.dtype, new: torch.dtype) -> str:
    "`x`, which is a value of dtype `old`, as one of dtype `new`."
    if old == new: return x
    if new in HALVES: return _rounded(x, new)
    if new == torch.bool: return f'({x} != 0)'
    if old == torch.bool and new not in INTS: return f'({TYPES[new]})({x} ? 1 : 0)'  # as vectors
    if new not in INTS or old in INTS or old == torch.bool: return f'({TYPES[new]}){x}'
    if new not in (torch.int32, torch.int64):
        raise Untranslatable(f'there is no C for {_name(old)} to {_name(new)}')
    below, above, nan = _outside(new)
    limit = float(2**(8 * new.itemsize - 1))
    f = '' if old == torch.float64 else 'f'
    # Numbers near 0 apart: gcc would take a cast and the way back for `trunc`, which keeps -0
    return (f'({x} >= {limit}{f} ? {above} : {x} < -{limit}{f} ? {below} : {x} != {x} ? {nan} : '
            f'{x} > -1 && {x} < 1 ? 0 : ({TYPES[new]}){x})')


@lru_cache
def _outside(dtype: torch.dtype) -> list[str]:
    "The whole numbers to which torch converts floats out of range: too small, too large, NaN."
    special = torch.tensor([-torch.inf, torch.inf, torch.nan], device='cpu')
    values = special.repeat_interleave(64).to(dtype)[::64]  # as vectors are converted
    return [_whole_number(v, dtype) for v in values.tolist()]


def _rounded(x: str, dtype: torch.dtype) -> str:
    "A float that is a value of 16 bits."
    return read(dtype, _stored(dtype, f'(float){x}'))


def _stored(dtype: torch.dtype, x: str) -> str:
    "A value as it stands in memory."
    if dtype == torch.bfloat16: return f'to_bf16({x})'
    return f'to_f16({x})' if dtype == torch.float16 else x


def read(dtype: torch.dtype, x: str) -> str:
    "The value of an element in memory."
    if dtype == torch.bfloat16: return f'from_bf16({x})'
    return f'from_f16({x})' if dtype == torch.float16 else x


def write(dtype: torch.dtype, ref: Ref) -> str:
    "A value on the tape as it stands in the memory of a tensor of `dtype`."
    x = f'v{ref.place}'
    return _stored(dtype, f'(float){x}' if dtype in HALVES else _cast(x, ref.dtype, dtype))


def _reinterpreted(ref: Ref, dtype: torch.dtype) -> str:
    "The same bits, read as another dtype."
    if torch.bool in (ref.dtype, dtype) and ref.dtype != dtype:
        raise Untranslatable('there is no C for the bits of a bool')
    bits = f'BITS({TYPES[ref.dtype]}, {TYPES[dtype]}, {_stored(ref.dtype, f"v{ref.place}")})'
    return read(dtype, bits)


def _name(dtype: torch.dtype) -> str: return str(dtype).removeprefix('torch.')
