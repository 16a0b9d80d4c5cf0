"""What the tests share: recipes and engines to try, parameters and gradients of every kind, and
checks that two optimizers agree."""
from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
from importlib.metadata import version

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import genopt
from genopt.twins import TWINS

# What has a twin in torch.optim that is tried with every option, as torch's class takes them
OPTIONS = {
    'SGD': [dict(lr=.05),
            dict(lr=.05, weight_decay=.1),
            dict(lr=.05, momentum=.9),
            dict(lr=.05, momentum=.9, nesterov=True, weight_decay=.1),
            dict(lr=.05, momentum=.8, dampening=.5),
            dict(lr=.05, momentum=.8, dampening=.5, weight_decay=.1, maximize=True)],
    'Momentum': [dict(lr=.05, momentum=.9),
                 dict(lr=.05, momentum=.7, nesterov=True)],
    'RMSprop': [dict(),
                dict(lr=.001, alpha=.95, eps=1e-3, weight_decay=.1),
                dict(centered=True),
                dict(momentum=.9),
                dict(lr=.001, momentum=.8, centered=True, weight_decay=.1, maximize=True)],
    'Adam': [dict(),
             dict(lr=.01, betas=(.8, .95), eps=1e-4, weight_decay=.1),
             dict(lr=.01, betas=(0., .99)),
             dict(lr=.01, amsgrad=True),
             dict(lr=.01, weight_decay=.1, decoupled_weight_decay=True),
             dict(lr=.01, amsgrad=True, weight_decay=.1, maximize=True)],
    'AdamW': [dict(),
              dict(lr=.01, weight_decay=.1, amsgrad=True, maximize=True)]}

# (recipe, twin, options); older torch has fewer options
CASES = [(genopt.recipe(name), TWINS[name].cls, options)
         for name, choices in OPTIONS.items() for options in choices
         if {*options} <= {*inspect.signature(TWINS[name].cls).parameters}]


def case_id(case):
    return case[0].__name__ + '(' + ', '.join(f'{k}={v}' for k, v in case[2].items()) + ')'


def name_of(x): return getattr(x, '__name__', None)


def dtype_name(dtype): return str(dtype).removeprefix('torch.')


# Those with a second gradient have tests of their own, as a loop feeds them, or makes two passes
SECOND = [genopt.recipe(e.name) for e in genopt.recipes() if e.family == 'second']
RECIPES = [r for r in map(genopt.recipe, genopt.zoo.__all__) if r not in SECOND]


def keeps_to_matrices(recipe): return any(part.needs == 'matrix' for part in recipe.parts())


# -- what tests are parametrised over --------------------------------------------------------------

def by_engines(*names): return pytest.mark.parametrize('compile', names, indirect=True)


engines = by_engines('plain', 'eager', 'compiled')
fast_engines = by_engines('eager', 'compiled')
each_recipe = pytest.mark.parametrize('recipe', RECIPES, ids=name_of)
each_case = pytest.mark.parametrize('recipe, twin, kwargs', CASES, ids=[*map(case_id, CASES)])


def dtypes(*some): return pytest.mark.parametrize('dtype', some, ids=dtype_name)


def pickled(x): return pickle.loads(pickle.dumps(x))


copiers = pytest.mark.parametrize('copier', [copy.deepcopy, pickled], ids=['deepcopy', 'pickle'])


def through_a_file(saved):
    "What torch.load makes of what torch.save has written of it."
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# -- parameters and gradients ----------------------------------------------------------------------

def make_twin(cls, params, **kwargs): return cls(params, foreach=False, **kwargs)


def random(seed, shape, dtype):
    "The same numbers for every dtype, up to rounding."
    real = torch.zeros((), dtype=dtype).real.dtype
    gen = torch.Generator().manual_seed(seed)
    draw = lambda s: torch.randn(s, generator=gen, dtype=torch.float64).to(real)
    return torch.complex(draw(shape), draw(shape)) if dtype.is_complex else draw(shape)


def param(*shape, value=1., grad=None, dtype=torch.float64):
    "A parameter of equal numbers; of two, if no shape is given. Its gradient may be of equal ones."
    res = nn.Parameter(torch.full(shape or (2,), value, dtype=dtype))
    if grad is not None: res.grad = torch.full_like(res, grad)
    return res


def random_param(seed=0, shape=(3,), dtype=torch.float32):
    return nn.Parameter(random(seed, shape, dtype))


def random_step(opt, i=0):
    "A step along the random gradients of number `i`, the same for every optimizer."
    params = [p for g in opt.param_groups for p in g['params']]
    for j, p in enumerate(params): p.grad = random(100 * i + j, p.shape, p.dtype)
    opt.step()


def copy_values(source, target):
    "Parameters get the values of others."
    with torch.no_grad():
        for p, q in zip(source, target, strict=True): q.copy_(p)


KINDS = {'matrix': (5, 7), 'vector': (7,), 'scalar': (),
         'empty': (0, 3), 'conv': (4, 3, 3, 3), 'transposed': (6, 4),
         'frozen': (3, 3), 'sometimes': (4, 2), 'late': (6,), 'strided': (3, 4)}


def params_of_every_kind(dtype=torch.float64):
    """name -> parameter: dense in several layouts, 0-dim, empty, frozen, at times without a
    gradient, and late to begin."""
    res = {k: random(i, s, dtype) for i, (k, s) in enumerate(KINDS.items())}
    res['conv'] = res['conv'].to(memory_format=torch.channels_last)
    res['transposed'] = res['transposed'].t()
    res['strided'] = random(99, (3, 8), dtype)[:, ::2]
    return {k: nn.Parameter(v.detach(), requires_grad=k != 'frozen') for k, v in res.items()}


def set_grads(params, step, scale=1.):
    "The gradients of step number `step`, the same for every model."
    for i, (name, p) in enumerate(params.items()):
        absent = dict(frozen=True, sometimes=step % 3 == 1, late=step < 10).get(name)
        p.grad = None if absent else scale * random(1000 * step + i, p.shape, p.dtype)


def two_groups(params, **second):
    names = list(params)
    return [{'params': [(n, params[n]) for n in names[::2]]},
            {'params': [(n, params[n]) for n in names[1::2]], **second}]


# -- agreement -------------------------------------------------------------------------------------

def assert_close(a, b, rtol=1e-12, atol=1e-14):
    "Two collections of tensors are equal, one by one, up to rounding."
    torch.testing.assert_close([*a], [*b], rtol=rtol, atol=atol)


def difference(a, b):
    "The largest difference of two lists of tensors, relative to each tensor's scale."
    return max((((x - y).abs().max() / y.abs().max().clamp(min=1e-30)).item()
                for x, y in zip(a, b) if x.numel()), default=0.)


def ulps(a, b, before):
    """The largest difference of two tensors, in units of the last place (of their dtype) of the
    largest number in sight."""
    if not a.numel(): return 0.
    size = max(t.abs().max().item() for t in (b, before))
    unit = torch.finfo(a.dtype).eps * 2. ** math.floor(math.log2(size))
    return (a.to(torch.complex128) - b.to(torch.complex128)).abs().max().item() / unit


def assert_agree(make, make_other, steps=100, tol=1e-12, groups=two_groups):
    """Both optimizers, given the same gradients, are within `tol` after every step. Returns the
    largest difference."""
    ours, theirs = params_of_every_kind(), params_of_every_kind()
    opt, other, worst = make(groups(ours)), make_other(groups(theirs)), 0.
    for step in range(steps):
        set_grads(ours, step); set_grads(theirs, step)
        opt.step(); other.step()
        worst = max(worst, d := difference(ours.values(), theirs.values()))
        assert d <= tol, f'step {step + 1}: the largest relative difference is {d:.2g} > {tol:g}'
    return worst


def net(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(),
                         nn.Linear(48, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def closed_loop(make, steps=100):
    """Trains a small net, each gradient taken at the parameters the optimizer reached. Yields the
    model after each step."""
    model, x, y = net(), random(7, (32, 1, 4, 4), torch.float64), torch.arange(32) % 3
    opt = make(model.named_parameters())
    for _ in range(steps):
        opt.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        opt.step()
        yield model


class Watch(TorchDispatchMode):
    "Writes down which operations there are."
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func._schema.name.removeprefix('aten::'))
        return func(*args, **(kwargs or {}))


# -- what was verified -----------------------------------------------------------------------------

VERIFIED = {}  # (recipe, reference) -> steps, largest relative difference: for docs/verified.md


def verified(name, reference, steps, worst, but=''):
    """Notes what a test has seen. `reference` is a class, or words; `but`, how it is called to do
    the same."""
    if isinstance(reference, type):
        package = reference.__module__.split('.')[0]
        installed = {'optimi': 'torch-optimi'}.get(package, package)
        where = 'torch.optim' if package == 'torch' else package
        reference = f'{where}.{reference.__name__} {version(installed).split("+")[0]}'
    if but: reference += f' ({but})'
    old = VERIFIED.get((name, reference), (0, 0.))
    VERIFIED[name, reference] = max(steps, old[0]), max(worst, old[1])
