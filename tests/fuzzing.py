"""How many random examples the fuzz tests try: a fixed few; or GENOPT_FUZZ of them, new ones each
time."""
import os
import traceback
from pathlib import Path

import genopt
import torch
from hypothesis import HealthCheck, settings

HOME = str(Path(genopt.__file__).parent)


def fuzz(few):
    n = int(os.environ.get('GENOPT_FUZZ', 0))
    return settings(max_examples=n or few, derandomize=not n, deadline=None,
                    database=None, print_blob=True, suppress_health_check=[*HealthCheck])


def is_sentence(e):
    """True if genopt raised this error itself, with a sentence: it is not one that merely passed
    through."""
    last = traceback.extract_tb(e.__traceback__)[-1]
    words = str(e.args[0] if e.args else '').split()
    return last.filename.startswith(HOME) and 'raise' in (last.line or '') and len(words) > 3


def bits(x):
    """A copy of nested state that compares by `==`: parameters by identity too, tensors by value
    and layout."""
    if isinstance(x, dict):
        return {id(k) if isinstance(k, torch.Tensor) else k: bits(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)): return [bits(v) for v in x]
    if isinstance(x, torch.nn.Parameter): return 'param', id(x), *bits(x.detach())
    if isinstance(x, torch.Tensor):
        return x.dtype, x.shape, x.stride(), repr(x.detach().reshape(-1).tolist())
    return repr(x)


def assert_near(a, b, tol, what, least=0.):
    """Of one shape and dtype, and equal up to `tol` of the largest number in sight, or of `least`
    if that is larger: what cancels out is not 0."""
    assert isinstance(a, torch.Tensor) and a.shape == b.shape and a.dtype == b.dtype, what
    a, b = a.detach(), b.detach()
    numbers = b.nan_to_num(0, 0, 0).abs() if b.numel() and b.dtype != torch.bool else torch.zeros(1)
    size = max(numbers.max().item(), least)
    torch.testing.assert_close(a, b, rtol=tol, atol=tol * size, equal_nan=True,
                               msg=lambda m: f'{what}: {m}')
