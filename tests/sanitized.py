"""What `test_sanitizer.py` runs under the address sanitizer: `python sanitized.py WHAT`.

Steps of many rules on parameters of every kind; or, so that something is found, of one tensor whose
memory is an element short.
"""
import ctypes
import sys

import genopt
import torch
from helpers import RECIPES, keeps_to_matrices, params_of_every_kind, random_param, set_grads
from sampled import sampled

LARGE = (150, 200), (30_001,)  # which several threads share
DTYPES = torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64
MODIFIED = {f'{base.__name__} + {name}': base + parts
            for base in (genopt.SGD, genopt.AdamW) for name, parts in genopt.modifiers().items()}
RULES = {recipe.__name__: recipe for recipe in RECIPES} | MODIFIED


def two_steps(recipe, dtype):
    "By one thread and by two; some gradients are missing in the first step."
    of_matrices = keeps_to_matrices(recipe)
    for threads in 1, 2:
        torch.set_num_threads(threads)
        params = params_of_every_kind(dtype)
        params |= {str(shape): random_param(0, shape, dtype) for shape in LARGE}
        params = {k: p for k, p in params.items() if p.dim() == 2 or not of_matrices}
        opt = recipe(params.values(), compile=True)
        for i in 10, 11: set_grads(params, i); opt.step()


def all_of(names, dtypes=DTYPES[:1]):
    for name in names:
        for dtype in dtypes:
            needs = {part.needs for part in RULES[name].parts()}
            if dtype.is_complex and any(needs): continue
            print(name, dtype, flush=True)
            two_steps(RULES[name], dtype)


# -- what the sanitizer must see -------------------------------------------------------------------

def short(x):
    "A copy of a vector, whose memory ends before its last element."
    memory = ctypes.CDLL(None).malloc
    memory.restype, memory.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    place = (ctypes.c_char * x.nbytes).from_address(memory(x.nbytes - x.element_size()))
    copy = torch.frombuffer(place, dtype=x.dtype)
    copy[:-1] = x[:-1]
    return copy


def step_with_a_short(what):
    p = random_param(0, (1001,))
    opt = genopt.AdamW([p], compile=True)
    for i in 10, 11:
        p.grad = torch.ones_like(p)
        if i == 11 and what == 'parameter': p.data = short(p.detach())
        if i == 11 and what == 'gradient': p.grad = short(p.grad)
        if i == 11 and what == 'state': opt.state[p]['sqr_avg'] = short(opt.state[p]['sqr_avg'])
        opt.step()


def main(what):
    recipes = [recipe.__name__ for recipe in RECIPES]
    modified = [name for name in MODIFIED if name.startswith('SGD')]
    if what == 'recipes': all_of(sampled(recipes, 4))
    elif what == 'modifiers': all_of(sampled(modified, 3))
    elif what == 'dtypes': all_of(['AdamW', 'LAMB'], DTYPES[1:])
    elif what == 'everything': all_of(RULES, DTYPES)
    else: step_with_a_short(what)
    print('done')


if __name__ == '__main__': main(*sys.argv[1:])
