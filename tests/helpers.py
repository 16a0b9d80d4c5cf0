"""What the tests share: parameters of every kind, streams of gradients for them, and a check that
two optimizers agree."""
from __future__ import annotations

import inspect
import math
from importlib.metadata import version

import torch
from torch import nn, optim

import genopt

# Every recipe with every option, as torch's class takes them: (recipe, twin, options)
CASES = [(genopt.SGD,      optim.SGD,     dict(lr=.05)),
         (genopt.SGD,      optim.SGD,     dict(lr=.05, weight_decay=.1)),
         (genopt.SGD,      optim.SGD,     dict(lr=.05, momentum=.9)),
         (genopt.SGD,      optim.SGD,
          dict(lr=.05, momentum=.9, nesterov=True, weight_decay=.1)),
         (genopt.SGD,      optim.SGD,     dict(lr=.05, momentum=.8, dampening=.5)),
         (genopt.SGD,      optim.SGD,
          dict(lr=.05, momentum=.8, dampening=.5, weight_decay=.1, maximize=True)),
         (genopt.Momentum, optim.SGD,     dict(lr=.05, momentum=.9)),
         (genopt.Momentum, optim.SGD,     dict(lr=.05, momentum=.7, nesterov=True)),
         (genopt.RMSprop,  optim.RMSprop, dict()),
         (genopt.RMSprop,  optim.RMSprop, dict(lr=.001, alpha=.95, eps=1e-3, weight_decay=.1)),
         (genopt.RMSprop,  optim.RMSprop, dict(centered=True)),
         (genopt.RMSprop,  optim.RMSprop, dict(momentum=.9)),
         (genopt.RMSprop,  optim.RMSprop,
          dict(lr=.001, momentum=.8, centered=True, weight_decay=.1, maximize=True)),
         (genopt.Adam,     optim.Adam,    dict()),
         (genopt.Adam,     optim.Adam,    dict(lr=.01, betas=(.8, .95), eps=1e-4, weight_decay=.1)),
         (genopt.Adam,     optim.Adam,    dict(lr=.01, betas=(0., .99))),
         (genopt.Adam,     optim.Adam,    dict(lr=.01, amsgrad=True)),
         (genopt.Adam,     optim.Adam,
          dict(lr=.01, weight_decay=.1, decoupled_weight_decay=True)),
         (genopt.Adam,     optim.Adam,
          dict(lr=.01, amsgrad=True, weight_decay=.1, maximize=True)),
         (genopt.AdamW,    optim.AdamW,   dict()),
         (genopt.AdamW,    optim.AdamW,
          dict(lr=.01, weight_decay=.1, amsgrad=True, maximize=True))]

# older torch has fewer options
CASES = [c for c in CASES if {*c[2]} <= {*inspect.signature(c[1]).parameters}]


def case_id(case):
    return case[0].__name__ + '(' + ', '.join(f'{k}={v}' for k, v in case[2].items()) + ')'


def make_twin(cls, params, **kwargs): return cls(params, foreach=False, **kwargs)


def random(seed, shape, dtype):
    "The same numbers for every dtype, up to rounding."
    real = torch.zeros((), dtype=dtype).real.dtype
    gen = torch.Generator().manual_seed(seed)
    draw = lambda s: torch.randn(s, generator=gen, dtype=torch.float64).to(real)
    return torch.complex(draw(shape), draw(shape)) if dtype.is_complex else draw(shape)


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
    return {k: nn.Parameter(v.detach() if k == 'strided' else v, requires_grad=k != 'frozen')
            for k, v in res.items()}


def set_grads(params, step, scale=1.):
    "The gradients of step number `step`, the same for every model."
    for i, (name, p) in enumerate(params.items()):
        skip = name == 'frozen' or name == 'sometimes' and step % 3 == 1 or name == 'late' and step < 10
        p.grad = None if skip else scale * random(1000 * step + i, p.shape, p.dtype)


def two_groups(params, **second):
    names = list(params)
    return [{'params': [(n, params[n]) for n in names[::2]]},
            {'params': [(n, params[n]) for n in names[1::2]], **second}]


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
        assert d <= tol, f'step {step + 1}: the largest relative difference is {d:.2g}, more than {tol:g}'
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
