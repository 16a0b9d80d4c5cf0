"""Options of the published optimizers, and what their authors' code does otherwise than the paper,
written out in NumPy, one tensor at a time.

As in `references.py`, nothing here is genopt's. Each takes the first parameter and the gradients,
and yields the parameter after each step.
"""
import numpy as np
from references import flat_norm


def lamb(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-6, wd=.01, always_adapt=False,
         trust_clip=False):
    "timm's Lamb, without its clip by the global norm."
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        update = (m / (1 - b1**t)) / (np.sqrt(v) / np.sqrt(1 - b2**t) + eps)
        if wd: update = update + wd * x
        if wd or always_adapt:
            size, length = flat_norm(x), flat_norm(update)
            trust = size / length if size > 0 and length > 0 else 1.
            if trust_clip: trust = min(trust, 1.)
            update = trust * update
        x = x - lr * update
        yield x


def lars(x, grads, *, lr=.1, mom=.9, wd=0., trust=1e-3, nesterov=False, always_adapt=False,
         trust_clip=False):
    "timm's Lars, without its ε: its buffer remembers no η."
    buf = np.zeros_like(x)
    for g in grads:
        if wd or always_adapt:
            size, slope = flat_norm(x), flat_norm(g)
            ratio = trust * size / (slope + size * wd) if size > 0 and slope > 0 else 1.
            if trust_clip: ratio = min(ratio / lr, 1.)
            g = ratio * (g + wd * x)
        buf = mom * buf + g
        x = x - lr * (g + mom * buf if nesterov else buf)
        yield x


def adabelief(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-16, wd=0.):
    "adabelief_pytorch, with its defaults: rectified, decoupled."
    m, s = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        x = x * (1 - lr * wd)
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m)**2 + eps
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * t * b2**t / (1 - b2**t)
        if length >= 5:
            size = (1 - b2**t) * (length - 4) / (longest - 4) * (length - 2) / length
            size = np.sqrt(size * longest / (longest - 2)) / (1 - b1**t)
            x = x - lr * size * m / (np.sqrt(s) + eps)
        else: x = x - lr / (1 - b1**t) * m
        yield x


def mars(x, grads, *, lr=3e-3, b1=.95, b2=.99, gamma=.025, eps=1e-8, wd=0., kind='mars-adamw',
         optimize_1d=False, lr_1d=3e-3, betas_1d=(.9, .95), wd_1d=.1):
    "The code of AGI-Arena/MARS, approximate."
    m, v, last = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        if optimize_1d or x.ndim == 2:
            c = (g - last) * (gamma * (b1 / (1 - b1))) + g
            if flat_norm(c) > 1: c = c / flat_norm(c)
        else: c, (b1, b2), lr, wd, kind = g, betas_1d, lr_1d, wd_1d, 'mars-adamw'
        m = b1 * m + (1 - b1) * c
        v = b2 * v + (1 - b2) * c**2
        if kind == 'mars-lion': along = np.sign(m)
        else: along = m / ((np.sqrt(v) / np.sqrt(1 - b2**t) + eps) * (1 - b1**t))
        x = x - lr * (wd * x + along)
        last = g
        yield x


def mars_lion(x, grads, *, lr=1e-3, b1=.95, gamma=.025, wd=0.):
    "The paper's MARS-Lion; the first gradient is no change."
    m, last = np.zeros_like(x), None
    for g in grads:
        c = g + gamma * b1 / (1 - b1) * (g - (g if last is None else last))
        if flat_norm(c) > 1: c = c / flat_norm(c)
        m = b1 * m + (1 - b1) * c
        x = x - lr * (np.sign(m) + wd * x)
        last = g
        yield x


def yogi(x, grads, *, lr=1e-2, b1=.9, b2=.999, eps=1e-3, first=1e-6):
    m, v = np.zeros_like(x), np.full_like(x, first)
    for g in grads:
        m = b1 * m + (1 - b1) * g
        v = v - (1 - b2) * np.sign(v - g**2) * g**2
        x = x - lr * m / (np.sqrt(v) + eps)
        yield x


def adopt(x, grads, *, lr=1e-3, b1=.9, b2=.9999, eps=1e-6, wd=0.):
    "The authors' code with `clip_lambda=None` and `decouple=True`."
    m, v = np.zeros_like(x), np.zeros_like(x)
    for step, g in enumerate(grads):
        if step == 0: v = g**2
        else:
            x = x - lr * wd * x
            m = m + (1 - b1) * (g / np.maximum(np.sqrt(v), eps) - m)
            x = x - lr * m
            v = b2 * v + (1 - b2) * g**2
        yield x


def tiger(x, grads, *, lr=1e-3, b=.965, wd=.01):
    "The author's code, for what is neither a bias nor a gain nor an embedding."
    m = np.zeros_like(x)
    for g in grads:
        m = b * m + (1 - b) * g
        x = x - (np.sign(m) + wd * x) * lr * np.sqrt(np.mean(x**2))
        yield x


def laprop(x, grads, *, lr=4e-4, b1=.9, b2=.999, eps=1e-15, wd=0.):
    "The authors' code: the average of scaled gradients has η in it, and decay has not."
    m, n, lrs, ones = np.zeros_like(x), np.zeros_like(x), 0., 0.
    for g in grads:
        n = b2 * n + (1 - b2) * g**2
        lrs, ones = lrs * b1 + (1 - b1) * lr, ones * b2 + (1 - b2)
        m = b1 * m + (1 - b1) * lr * g / (np.sqrt(n / ones) + eps)
        x = x - m / (lrs / lr)
        x = x - wd * x
        yield x


def novograd(x, grads, *, lr=1e-2, b1=.95, b2=.98, eps=1e-8, wd=0.):
    "The authors' code."
    m, v = np.zeros_like(x), 0.
    for g in grads:
        square = flat_norm(g)**2
        v = square if v == 0 else b2 * v + (1 - b2) * square
        m = b1 * m + g / (np.sqrt(v) + eps) + wd * x
        x = x - lr * m
        yield x


def diffgrad(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-8, l2=0.):
    "The authors' code, its second version."
    m, v, last = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        g = g + l2 * x
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        friction = 1 / (1 + np.exp(-np.abs(last - g)))
        x = x - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * m * friction / (np.sqrt(v) + eps)
        last = g
        yield x


def centralized(x, grads, *, lr=1e-3, mom=.9, l2=0., first=False):
    "SGD_GC of the authors of centralization; or with L2 after it."
    buf = np.zeros_like(x)
    for g in grads:
        if not first: g = g + l2 * x
        if g.ndim > 1: g = g - g.mean(tuple(range(1, g.ndim)), keepdims=True)
        if first: g = g + l2 * x
        buf = mom * buf + g
        x = x - lr * buf
        yield x


def cautious_momentum(x, grads, *, lr=1e-3, mom=.9, by_count=False):
    "The mask's scale as in the authors' code; or as in their paper, by a count of elements and 1."
    buf = np.zeros_like(x)
    for g in grads:
        buf = mom * buf + g
        mask = (buf * g > 0).astype(x.dtype)
        scale = mask.size / (mask.sum() + 1) if by_count else 1 / max(mask.mean(), 1e-3)
        x = x - lr * buf * mask * scale
        yield x
