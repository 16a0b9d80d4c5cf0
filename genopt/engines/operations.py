"""Operations of torch's as lines of C, which compute what torch computes on a CPU, to the bit where it is exact.

Numbers of 16 bits are kept as floats, and rounded after every operation, as torch does. Whole numbers wrap around. What
C leaves open (a float that is out of an integer's range) is asked of torch. An operation on a dtype that is not in
these tables raises Untranslatable, and goes another way.
"""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from .tape import Op, Ref
from .toolchain import NoKernel

__all__ = ['FILLS', 'OPS', 'SAME', 'TRUTH', 'TYPED', 'TYPES', 'Untranslatable', 'VECTOR', 'line', 'read', 'store', 'type_of', 'write']


class Untranslatable(NoKernel): "There is no C for an operation, or not for this dtype."


FLOATS, HALVES = (torch.float32, torch.float64), (torch.bfloat16, torch.float16)
INTS = {torch.uint8: 'uint8_t', torch.int8: 'int8_t', torch.int16: 'int16_t', torch.int32: 'int32_t',
        torch.int64: 'int64_t'}
TYPES = {torch.float32: 'float', torch.float64: 'double', torch.bfloat16: 'bf16', torch.float16: '_Float16',
         torch.bool: '_Bool', **INTS}  # in memory

# An operation of torch's in C: {0} {1} {2} are its arguments, cast to the type of its result; {f} is the f of `sqrtf`.
SAME = {'clone', 'detach', '_to_copy', 'view', 'expand', 'alias'}
FILLS = {'scalar_tensor': '{0}', 'lift_fresh': '{0}', 'full_like': '{1}', 'full': '{1}', 'new_full': '{2}',
         'zeros_like': '0', 'zeros': '0', 'new_zeros': '0', 'ones_like': '1', 'ones': '1', 'new_ones': '1',
         'empty_like': '0', 'zero': '0', 'fill': '{1}', 'copy': '{1}'}
COPIES = {**FILLS, **dict.fromkeys(SAME, '{0}'), 'where': '{0} ? {1} : {2}', 'masked_fill': '{1} ? {2} : {0}'}
# Comparisons: the result is a truth value, and the arguments meet in a type of their own
TRUTH = {'eq': '{0} == {1}', 'ne': '{0} != {1}', 'lt': '{0} < {1}', 'le': '{0} <= {1}', 'gt': '{0} > {1}',
         'ge': '{0} >= {1}', 'isnan': '{0} != {0}', 'isinf': 'fabs{f}({0}) == INFINITY', 'signbit': 'signbit({0})',
         'logical_not': '!{0}', 'logical_and': '{0} && {1}', 'logical_or': '{0} || {1}', 'logical_xor': '!{0} != !{1}'}
ALPHA = {'add': 'fma{f}({2}, {1}, {0})', 'sub': 'fma{f}(-{2}, {1}, {0})'}  # rounded once, as in torch
BITS = {'bitwise_not': '~{0}', 'bitwise_and': '{0} & {1}', 'bitwise_or': '{0} | {1}', 'bitwise_xor': '{0} ^ {1}',
        '__lshift__': '{1} < 0 || {1} >= {bits} ? 0 : (uint64_t){0} << {1}',
        '__rshift__': '{0} >> ({1} < 0 || {1} > {most} ? {most} : {1})'}
ORDERED = {'sign': '({0} > 0) - ({0} < 0)', 'sgn': '({0} > 0) - ({0} < 0)',
           'maximum': '{0} > {1} || {0} != {0} ? {0} : {1}', 'minimum': '{0} < {1} || {0} != {0} ? {0} : {1}',
           'clamp_min': '{0} < {1} || {1} != {1} ? {1} : {0}', 'clamp_max': '{0} > {1} || {1} != {1} ? {1} : {0}'}
WRAPPING = {'add': '{0} + {2} * {1}', 'sub': '{0} - {2} * {1}', 'rsub': '{1} - {2} * {0}', 'mul': '{0} * {1}',
            'neg': '-{0}'}
SIMPLE = {'div': '{0} / {1}', 'reciprocal': '1 / {0}', 'abs': 'fabs{f}({0})', 'sqrt': 'sqrt{f}({0})',
          'floor': 'floor{f}({0})', 'ceil': 'ceil{f}({0})', 'trunc': 'trunc{f}({0})', 'round': 'rint{f}({0})',
          'relu': '{0} < 0 ? 0 : {0}'}
# Functions that glibc has for whole vectors, and how many arguments they have
VECTOR = dict.fromkeys('exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh '
                       'asinh acosh atanh erf erfc'.split(), 1) | dict(pow=2, atan2=2, hypot=2)
OTHERS = {
    'addcmul': 'fma{f}({3} * {1}, {2}, {0})', 'addcdiv': '{0} + {3} * {1} / {2}',  # both rounded as in torch
    'lerp': 'fma{f}(fabs{f}({2}) < 0.5{f} ? {2} : {2} - 1, {1} - {0}, fabs{f}({2}) < 0.5{f} ? {0} : {1})',
    'rsqrt': '1 / sqrt{f}({0})',
    **{name: f'{name}{{f}}({{0}})' for name, n in VECTOR.items() if n == 1},
    **{name: f'{name}{{f}}({{0}}, {{1}})' for name, n in VECTOR.items() if n == 2},
    **{name: f'{name}{{f}}({{0}}, {{1}})' for name in 'fmax fmin copysign fmod'.split()},
    'frac': '{0} - trunc{f}({0})', 'sigmoid': '1 / (1 + exp{f}(-{0}))'}
OPS = COPIES | TRUTH | BITS | ORDERED | WRAPPING | SIMPLE | OTHERS
POWERS = {1: '{0}', 2: '{0} * {0}', 3: '{0} * {0} * {0}', .5: 'sqrt{f}({0})', -.5: '1 / sqrt{f}({0})', -1: '1 / {0}'}
AT_LEAST = '({0} < {1} || {1} != {1} ? {1} : {0})'
CLAMPS = {(True, False): AT_LEAST, (False, True): '{0} > {2} || {2} != {2} ? {2} : {0}',  # by: has it a `min`, a `max`?
          (True, True): f'{AT_LEAST} > {{2}} || {{2}} != {{2}} ? {{2}} : {AT_LEAST}'}
IN_FLOAT = {'add', 'sub', 'rsub', 'mul', 'div'}  # of 16 bits: a number that they meet is a float, not rounded first

TYPED = '''
typedef uint16_t bf16;
static inline float from_bf16(bf16 x) { uint32_t u = (uint32_t)x << 16; float f; memcpy(&f, &u, 4); return f; }
static inline bf16 to_bf16(float f)
{
    uint32_t u; memcpy(&u, &f, 4);
    return f != f ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16;  /* to the nearest, ties to even */
}
#define BITS(S, T, x) (((union { S from; T to; }){ .from = (x) }).to)
'''


def type_of(dtype: torch.dtype) -> str: return 'float' if dtype in HALVES else TYPES[dtype]


def line(op: Op) -> str:
    "One operation as a line of C. Raises Untranslatable."
    return f'const {type_of(op.out.dtype)} v{op.out.place} = {_expression(op)};'


def _expression(op: Op) -> str:
    name, out, args = op.name, op.out.dtype, op.args
    if op.func._overloadname in ('Tensor_mode', 'Scalar_mode', 'decimals') or not _is_known(name, out):
        raise Untranslatable(f'there is no C for `{op.func}` of {_name(out)}')
    if name == 'view' and op.func._overloadname == 'dtype': return _reinterpreted(args[0], out)
    template = OPS.get(name, '')
    if name == 'pow' and isinstance(args[1], (int, float)) and not op.out.is_number:
        template = POWERS.get(args[1], template)
    if name in ALPHA and out not in INTS and args[2] != 1: template = ALPHA[name]
    if name == 'clamp': template = CLAMPS[args[1] is not None, args[2] is not None]
    dtype = _meeting_dtype(op)
    if out == torch.bool and name == 'bitwise_not': template = '!{0}'
    if out in INTS and name == 'abs': template = '{0} < 0 ? -{0} : {0}'
    values = [_value(x, dtype, name) for x in args]
    if out in INTS and (name in WRAPPING or name == 'abs'):
        wide = 'uint64_t' if out == torch.int64 else 'uint32_t'  # it wraps around, where C leaves it open
        if name != 'abs': values = [f'({wide}){v}' if v else v for v in values]
        else: template = f'{{0}} < 0 ? -({wide}){{0}} : ({wide}){{0}}'
    bits = 8 * out.itemsize
    most = bits - (out != torch.uint8)
    code = template.format(*values, f='' if dtype == torch.float64 else 'f', bits=bits, most=most)
    return _rounded(f'({code})', out) if out in HALVES else f'({TYPES[out]})({code})'


def _is_known(name: str, out: torch.dtype) -> bool:
    "True if this operation is in C for results of this dtype."
    if name in COPIES: return out in TYPES
    if name in TRUTH: return out == torch.bool
    if name in BITS: return out in INTS or out == torch.bool and 'shift' not in name
    if out == torch.bool: return name == 'mul'
    if name in ORDERED or name in WRAPPING or name in ('clamp', 'abs'): return out in TYPES
    return out in FLOATS and name in OPS or out in HALVES and name in SIMPLE


def _meeting_dtype(op: Op) -> torch.dtype | None:
    "What the arguments are cast to: the dtype of the result, but for comparisons. None: nothing."
    if op.name not in TRUTH: return op.out.dtype
    if op.name.startswith('logical'): return None
    if op.name in ('isinf', 'signbit') and op.among not in (*FLOATS, *HALVES): return torch.float64
    return op.among


def _value(x: Any, dtype: torch.dtype | None, name: str) -> str:
    "An argument in C, as a number of `dtype`. A truth value stays one."
    if isinstance(x, Ref):
        if dtype is None or x.dtype == torch.bool and name not in SAME: return f'v{x.place}'
        if dtype in HALVES and x.is_number and name in IN_FLOAT: dtype = torch.float32
        return _cast(f'v{x.place}', x.dtype, dtype)
    if not isinstance(x, (int, float)): return ''  # a shape, a device ...
    if dtype in HALVES and name in IN_FLOAT or dtype is None: dtype = torch.float32 if dtype else torch.float64
    if dtype in INTS:
        if x != x or not torch.iinfo(dtype).min <= x <= torch.iinfo(dtype).max:
            raise Untranslatable(f'there is no {_name(dtype)} that is {x}')
        return f'({INTS[dtype]})({int(x) + 1}LL - 1)' if int(x) < 0 else f'({INTS[dtype]})({int(x)}LL)'
    number = {'inf': 'INFINITY', '-inf': '-INFINITY', 'nan': 'NAN'}.get(str(x), str(+x))
    code = f'({type_of(dtype)})({float(number) if number.lstrip("-").isdigit() else number})'
    return _rounded(code, dtype) if dtype in HALVES else code


# -- casts ---------------------------------------------------------------------------------------------------

def _cast(x: str, old: torch.dtype, new: torch.dtype) -> str:
    "`x`, which is a value of dtype `old`, as one of dtype `new`."
    if old == new: return x
    if new in HALVES: return _rounded(x, new)
    if new == torch.bool: return f'({x} != 0)'
    if new not in INTS or old in INTS or old == torch.bool: return f'({TYPES[new]}){x}'
    if new not in (torch.int32, torch.int64): raise Untranslatable(f'there is no C for {_name(old)} to {_name(new)}')
    below, above, nan = outside(new)
    limit = float(2**(8 * new.itemsize - 1))
    f = '' if old == torch.float64 else 'f'
    return (f'({x} >= {limit}{f} ? {above} : {x} < -{limit}{f} ? {below} : {x} != {x} ? {nan} : '
            f'{x} > -1 && {x} < 1 ? 0 : ({TYPES[new]}){x})')  # else gcc takes the way back as `trunc`, which keeps -0


@lru_cache
def outside(dtype: torch.dtype) -> list[str]:
    "What torch makes of a float that is too small for an integer's dtype, of one that is too large, and of NaN."
    values = torch.tensor([-torch.inf, torch.inf, torch.nan]).repeat_interleave(64).to(dtype)[::64].tolist()
    return [f'({TYPES[dtype]})({v + 1}LL - 1)' if v < 0 else f'({TYPES[dtype]})({v}LL)' for v in values]


def _rounded(x: str, dtype: torch.dtype) -> str:
    "A float that is a value of 16 bits."
    return read(dtype, store(dtype, f'(float){x}'))


def store(dtype: torch.dtype, x: str) -> str:
    "A value as it stands in memory."
    if dtype == torch.bfloat16: return f'to_bf16({x})'
    return f'(_Float16)({x})' if dtype == torch.float16 else x


def read(dtype: torch.dtype, x: str) -> str:
    "The value of what stands in memory."
    return f'from_bf16({x})' if dtype == torch.bfloat16 else f'(float)({x})' if dtype == torch.float16 else x


def write(dtype: torch.dtype, ref: Ref) -> str:
    "A value on the tape as it stands in the memory of a tensor of `dtype`."
    return store(dtype, _cast(f'v{ref.place}', ref.dtype, dtype))


def _reinterpreted(ref: Ref, dtype: torch.dtype) -> str:
    "The same bits, read as another dtype."
    if torch.bool in (ref.dtype, dtype) and ref.dtype != dtype: raise Untranslatable('there is no C for the bits of a bool')
    bits = f'BITS({TYPES[ref.dtype]}, {TYPES[dtype]}, {store(ref.dtype, f"v{ref.place}")})'
    return read(dtype, bits)


def _name(dtype: torch.dtype) -> str: return str(dtype).removeprefix('torch.')
