"Where parameters go, step by step: by an optimizer, and by a formula (`references.py`)."
import math

import numpy as np
import torch
from helpers import random, random_param

SHAPES = [(5, 7), (7,), (), (3, 2, 2)]


def gradient(i, t, shape):
    "Of parameter `i` in step `t`: small and large ones."
    return (.5 + t % 7) * random(1000 * i + t + 1, shape, torch.float64)


def trajectory(make, steps, shapes=SHAPES, gradient=gradient):
    "Yields the parameters after each step."
    ps = [random_param(i, s, torch.float64) for i, s in enumerate(shapes)]
    opt = make(ps)
    if hasattr(opt, 'train'): opt.train()  # Schedule-Free's own begin in the other mode
    for t in range(steps):
        for i, p in enumerate(ps): p.grad = gradient(i, t, p.shape)
        opt.step()
        yield [p.detach().numpy().copy() for p in ps]


def by_formula(formula, steps, shapes=SHAPES, **letters):
    "The same by a formula for one parameter: `formula(x, gradients, **letters)` yields it."
    return zip(*[formula(random(i, s, torch.float64).numpy(),
                         [gradient(i, t, s).numpy() for t in range(steps)], **letters)
                 for i, s in enumerate(shapes)])


def by_formula_of_all(formula, steps, shapes=SHAPES, **letters):
    "The same by a formula for all parameters, as one vector."
    def joined(xs): return np.concatenate([x.ravel() for x in xs])
    ends = np.cumsum([math.prod(s) for s in shapes])[:-1]
    xs = formula(joined([random(i, s, torch.float64).numpy() for i, s in enumerate(shapes)]),
                 [joined([gradient(i, t, s).numpy() for i, s in enumerate(shapes)])
                  for t in range(steps)], **letters)
    for x in xs: yield [y.reshape(s) for y, s in zip(np.split(x, ends), shapes)]


def largest_difference(ours, theirs):
    "Of two lists of arrays, relative to the largest number of each; infinite if there is a NaN."
    worst = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in zip(ours, theirs))
    return worst if math.isfinite(worst) else math.inf


def assert_trajectories_agree(ours, theirs, tol=1e-10):
    "Returns the largest difference."
    worst = 0.
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        worst = max(worst, d := largest_difference(a, b))
        assert d <= tol, f'step {step + 1}: the largest relative difference is {d:.2g} > {tol:g}'
    return worst
