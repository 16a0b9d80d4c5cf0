"""The published optimizers written out from their papers in NumPy, one tensor at a time, with the
papers' letters.

Nothing here is genopt's: no parts, no shared pieces. Each takes the first parameter and the
gradients, and yields the parameter after each step.
"""
import numpy as np

norm = np.linalg.norm


def flat_norm(x): return norm(np.ravel(x))


def lion(x, grads, *, lr=1e-4, b1=.9, b2=.99, wd=0.):
    m = np.zeros_like(x)
    for g in grads:
        c = b1 * m + (1 - b1) * g
        x = x - lr * (np.sign(c) + wd * x)
        m = b2 * m + (1 - b2) * g
        yield x


def signum(x, grads, *, lr=1e-4, b=.9, wd=0.):
    m = np.zeros_like(x)
    for g in grads:
        m = b * m + (1 - b) * g
        x = x - lr * (np.sign(m) + wd * x)
        yield x


def tiger(x, grads, *, lr=1e-3, b=.965, wd=.01): yield from signum(x, grads, lr=lr, b=b, wd=wd)


def lamb(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-6, wd=.01):
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps) + wd * x
        a, b = flat_norm(x), flat_norm(r)
        x = x - lr * (a / b if a > 0 and b > 0 else 1.) * r
        yield x


def lars(x, grads, *, lr=.1, mom=.9, wd=0., trust=1e-3):
    v = np.zeros_like(x)
    for g in grads:
        a, b = flat_norm(x), flat_norm(g)
        local = trust * a / (b + wd * a) if a > 0 and b > 0 else 1.
        v = mom * v + lr * local * (g + wd * x)
        x = x - v
        yield x


def qhm(x, grads, *, lr=1e-3, b=.999, nu=.7, l2=0.):
    m = np.zeros_like(x)
    for g in grads:
        g = g + l2 * x
        m = b * m + (1 - b) * g
        x = x - lr * ((1 - nu) * g + nu * m)
        yield x


def qhadam(x, grads, *, lr=1e-3, b1=.995, b2=.999, nu1=.7, nu2=1., eps=1e-8, wd=0.):
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        top = (1 - nu1) * g + nu1 * m / (1 - b1**t)
        x = x - lr * wd * x - lr * top / (np.sqrt((1 - nu2) * g * g + nu2 * v / (1 - b2**t)) + eps)
        yield x


def adabelief(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-8, wd=0.):
    m, s = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m)**2 + eps
        x = x - lr * wd * x - lr * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + eps)
        yield x


def yogi(x, grads, *, lr=1e-2, b1=.9, b2=.999, eps=1e-3, l2=0.):
    m, v = np.zeros_like(x), np.full_like(x, 1e-6)
    for g in grads:
        g = g + l2 * x
        m = b1 * m + (1 - b1) * g
        v = v - (1 - b2) * np.sign(v - g**2) * g**2
        x = x - lr * m / (np.sqrt(v) + eps)
        yield x


def adan(x, grads, *, lr=1e-3, b1=.02, b2=.08, b3=.01, eps=1e-8, wd=.02):
    "With the paper's betas, which are 1 minus the code's."
    m, v, n, last = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), None
    for t, g in enumerate(grads, 1):
        d = np.zeros_like(g) if last is None else g - last
        m = (1 - b1) * m + b1 * g
        v = (1 - b2) * v + b2 * d
        n = (1 - b3) * n + b3 * (g + (1 - b2) * d)**2
        eta = lr / (np.sqrt(n / (1 - (1 - b3)**t)) + eps)
        x = (x - eta * (m / (1 - (1 - b1)**t) + (1 - b2) * v / (1 - (1 - b2)**t))) / (1 + lr * wd)
        last = g
        yield x


def ademamix(x, grads, *, lr=1e-3, b1=.9, b2=.999, b3=.9999, alpha=5., T=0, eps=1e-8, wd=0.):
    m1, m2, v = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        at, b3t = alpha, b3
        if T:
            at = min(t * alpha / T, alpha)
            low, high = np.log(b1), np.log(b3)
            b3t = min(np.exp(low * high / ((1 - t / T) * high + t / T * low)), b3) if t < T else b3
        m1 = b1 * m1 + (1 - b1) * g
        m2 = b3t * m2 + (1 - b3t) * g
        v = b2 * v + (1 - b2) * g**2
        x = x - lr * ((m1 / (1 - b1**t) + at * m2) / (np.sqrt(v / (1 - b2**t)) + eps) + wd * x)
        yield x


def adopt(x, grads, *, lr=1e-3, b1=.9, b2=.9999, eps=1e-6, wd=0.):
    m = np.zeros_like(x)
    grads = iter(grads)
    g0 = next(grads)
    v = g0**2
    yield x  # as in the authors' code, nothing moves on the first step
    for t, g in enumerate(grads, 1):
        c = t**.25
        m = b1 * m + (1 - b1) * np.clip(g / np.maximum(np.sqrt(v), eps), -c, c)
        x = x - lr * wd * x - lr * m
        v = b2 * v + (1 - b2) * g**2
        yield x


def laprop(x, grads, *, lr=4e-4, b1=.9, b2=.999, eps=1e-15, wd=0.):
    m, n = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        n = b2 * n + (1 - b2) * g**2
        m = b1 * m + (1 - b1) * g / (np.sqrt(n / (1 - b2**t)) + eps)
        x = x - lr * wd * x - lr * m / (1 - b1**t)
        yield x


def novograd(x, grads, *, lr=1e-2, b1=.95, b2=.98, eps=1e-8, wd=0.):
    m, v = None, None
    for g in grads:
        square = flat_norm(g)**2
        v = square if v is None else b2 * v + (1 - b2) * square
        part = g / (np.sqrt(v) + eps) + wd * x
        m = part if m is None else b1 * m + part
        x = x - lr * m
        yield x


def adabound(x, grads, *, lr=1e-3, b1=.9, b2=.999, final=.1,
             gamma=1e-3, eps=1e-8, l2=0., ams=False):
    m, v, top = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        g = g + l2 * x
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        top = np.maximum(top, v) if ams else v
        rate = lr * np.sqrt(1 - b2**t) / (1 - b1**t) / (np.sqrt(top) + eps)
        x = x - np.clip(rate, final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))) * m
        yield x


def diffgrad(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-8, l2=0.):
    m, v, last = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        g = g + l2 * x
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        xi = 1 / (1 + np.exp(-np.abs(last - g)))
        x = x - lr * xi * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        last = g
        yield x


def madgrad(x, grads, *, lr=1e-2, mom=.9, eps=1e-6, l2=0.):
    x0, s, v = x, np.zeros_like(x), np.zeros_like(x)
    for k, g in enumerate(grads):
        g = g + l2 * x
        lam = lr * np.sqrt(k + 1)
        s = s + lam * g
        v = v + lam * g**2
        z = x0 - s / (np.cbrt(v) + eps)
        x = mom * x + (1 - mom) * z
        yield x


def mars(x, grads, *, lr=3e-3, b1=.95, b2=.99, gamma=.025, eps=1e-8, wd=0.):
    m, v, last = np.zeros_like(x), np.zeros_like(x), None
    for t, g in enumerate(grads, 1):
        c = g + gamma * b1 / (1 - b1) * (g - (g if last is None else last))
        if flat_norm(c) > 1: c = c / flat_norm(c)
        m = b1 * m + (1 - b1) * c
        v = b2 * v + (1 - b2) * c**2
        x = x - lr * ((m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps) + wd * x)
        last = g
        yield x


def stableadamw(x, grads, *, lr=1e-3, b1=.9, b2=.99, eps=1e-6, wd=.01):
    v, u = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        h1, h2 = (b * (1 - b**(t - 1)) / (1 - b**t) for b in (b1, b2))  # the paper's debiased betas
        v = h1 * v + (1 - h1) * g
        u = h2 * u + (1 - h2) * g**2
        eta = lr / max(1., np.sqrt(np.mean(g**2 / np.maximum(u, eps**2))))
        x = x - eta * wd * x - eta * v / (np.sqrt(u) + eps)
        yield x


def nadamw(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-8, wd=.01):
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        ahead = (b1 * m + (1 - b1) * g) / (1 - b1**t)
        x = x - lr * wd * x - lr * ahead / (np.sqrt(v / (1 - b2**t)) + eps)
        yield x


def aggmo(x, grads, *, lr=1e-3, betas=(0., .9, .99), l2=0.):
    vs = [np.zeros_like(x) for _ in betas]
    for g in grads:
        g = g + l2 * x
        vs = [b * v - g for b, v in zip(betas, vs)]
        x = x + lr / len(betas) * sum(vs)
        yield x


def schedule_free(x, grads, step, *, lr, beta=.9, warmup=0, r=0., power=2., wd=0., at_z=False):
    "`step(t, g)` is what a step takes off z, over the learning rate."
    y = z = x
    total = largest = 0.
    for t, g in enumerate(grads, 1):
        rate = lr * min(1, t / warmup) if warmup else lr
        z = z - rate * (step(t, g) + wd * (z if at_z else y))
        largest = max(largest, rate)
        weight = t**r * largest**power
        total += weight
        c = weight / total if total else 0.
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x
        yield y


def schedule_free_sgd(x, grads, *, lr=1., **kwargs):
    yield from schedule_free(x, grads, lambda t, g: g, lr=lr, **kwargs)


def schedule_free_adamw(x, grads, *, lr=2.5e-3, b2=.999, eps=1e-8, **kwargs):
    v = np.zeros_like(x)
    def step(t, g):
        v[...] = b2 * v + (1 - b2) * g**2
        return g / (np.sqrt(v / (1 - b2**t)) + eps)
    yield from schedule_free(x, grads, step, lr=lr, **kwargs)
# -- of the whole model: x is all parameters as one vector -----------------------------------------

def prodigy(x, grads, *, lr=1., b1=.9, b2=.999, b3=None, eps=1e-8, wd=0., l2=0., d0=1e-6, c=1.,
            growth=np.inf, debias=False, safe=False):
    x0, d, top, r = x, d0, d0, 0.
    b3 = np.sqrt(b2) if b3 is None else b3
    m, v, s = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        g = g + l2 * x
        rate = d * lr * (np.sqrt(1 - b2**t) / (1 - b1**t) if debias else 1.)
        r = b3 * r + d / d0 * rate * (g @ (x0 - x))
        m = b1 * m + (1 - b1) * d * g
        v = b2 * v + (1 - b2) * d**2 * g**2
        s = b3 * s + d / d0 * (d if safe else rate) * g
        found = c * r / norm(s, 1)
        if d == d0: d = max(d, found)
        top = max(top, found)
        d = min(top, d * growth)
        x = x - rate * wd * x - rate * m / (np.sqrt(v) + d * eps)
        yield x


def dadaptadam(x, grads, *, lr=1., b1=.9, b2=.999, eps=1e-8, wd=0., l2=0., d0=1e-6,
               growth=np.inf, debias=False):
    d, r, b3 = d0, 0., np.sqrt(b2)
    m, v, s = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        g = g + l2 * x
        rate = d * lr * (np.sqrt(1 - b2**t) / (1 - b1**t) if debias else 1.)
        r = b3 * r + (1 - b3) * rate * (g @ (s / (np.sqrt(v) + eps)))
        m = b1 * m + (1 - b1) * rate * g
        v = b2 * v + (1 - b2) * g**2
        s = b3 * s + (1 - b3) * rate * g
        d = max(d, min(r / ((1 - b3) * norm(s, 1)), d * growth))
        x = x - rate * wd * x - m / (np.sqrt(v) + eps)
        yield x


def dadaptsgd(x, grads, *, lr=1., b=0., l2=0., d0=1e-6, growth=np.inf):
    x0, d, r, s, g0 = x, d0, 0., np.zeros_like(x), None
    for g in grads:
        if g0 is None: g0 = norm(g)
        g = g + l2 * x
        r = r + d * lr / g0 * (g @ s)
        s = s + d * lr / g0 * g
        d = max(d, min(2 * r / norm(s), d * growth))
        x = b * x + (1 - b) * (x0 - s)
        yield x


def dog(x, grads, *, lr=1., rel=1e-6, eps=1e-8, l2=0.):
    x0, G, far = x, 0., rel * (1 + norm(x))
    for g in grads:
        g = g + l2 * x
        G = G + g @ g
        far = max(far, norm(x - x0))
        x = x - lr * far / np.sqrt(G + eps) * g
        yield x


# -- matrices --------------------------------------------------------------------------------------

def newton_schulz(g, steps=5, eps=1e-7, plus=0.):
    "Jordan's, in the precision of g. His norm is ‖g‖ + 1e-7, and torch's max(‖g‖, 1e-7)."
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (max(norm(x), eps) + plus)
    for _ in range(steps):
        A = x @ x.T
        B = b * A + c * A @ A
        x = a * x + B @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon_grads(grads, b, nesterov=True):
    m = 0.
    for g in grads:
        m = m + (1 - b) * (g - m)
        yield g + b * (m - g) if nesterov else m


def muon(x, grads, *, lr=1e-3, b=.95, wd=.1, orthogonal=newton_schulz, size=None):
    size = size or (lambda m, n: max(1, m / n)**.5)
    for g in muon_grads(grads, b):
        x = x * (1 - lr * wd)
        x = x - lr * size(*x.shape) * orthogonal(g)
        yield x


def polar_express(g, coefficients, steps=5, eps=1e-7):
    "As in its authors' code: all coefficients but the last one have room of 1.01."
    safe = [(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in coefficients[:-1]]
    hs = [*safe, coefficients[-1]][:steps] + [coefficients[-1]] * (steps - len(coefficients))
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (norm(x) * 1.01 + eps)
    for a, b, c in hs:
        A = x @ x.T
        x = a * x + (b * A + c * A @ A) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def gram_newton_schulz(g, coefficients, resets=(2,), eps=1e-7):
    "As in its authors' code, with the five coefficients that they have, and room of 1.05."
    coefficients = [(a / 1.05, b / 1.05**3, c / 1.05**5) for a, b, c in coefficients[:5]]
    tall = g.shape[0] > g.shape[1]
    X = g / (norm(g) + eps)
    R, Q = X.T @ X if tall else X @ X.T, None
    for i, (a, b, c) in enumerate(coefficients):
        if i in resets and i != 0:
            X = X @ Q if tall else Q @ X
            R, Q = X.T @ X if tall else X @ X.T, None
        Z = b * R + c * R @ R
        Q = Z + a * np.eye(len(R)) if i == 0 or i in resets else a * Q + Q @ Z
        if i < len(coefficients) - 1 and i + 1 not in resets:
            RZ = a * R + R @ Z
            R = a * RZ + Z @ RZ
    return X @ Q if tall else Q @ X


def normuon(x, grads, *, lr=.02, b=.95, b2=.95, wd=0., nesterov=True, eps=1e-10, ns_eps=1e-7,
            plus=0., as_in='code'):
    "`as_in`: the authors' code, or their paper."
    v = np.zeros((len(x), 1))
    for g in muon_grads(grads, b, nesterov):
        o = newton_schulz(g, eps=ns_eps, plus=plus)
        v = b2 * v + (1 - b2) * np.mean(o * o, -1, keepdims=True)
        step = o / (np.sqrt(v) + eps)
        if as_in == 'code':
            step = step * (norm(o) / (norm(step) + eps)) * max(1, x.shape[0] / x.shape[1])**.5
        else: step = step * .2 * np.sqrt(x.size) / norm(step)
        x = x * (1 - lr * wd) - lr * step
        yield x


def scion(x, grads, *, lr=1e-3, momentum=.1, norm_='spectral', scale=1., unconstrained=False,
          eps=1e-8):
    "With the authors' `momentum`, 1 minus everybody's."
    d_out, d_in = x.shape if x.ndim > 1 else (len(x), 1)
    lmo = {'spectral': lambda g: newton_schulz(g) * (d_out / d_in)**.5,
           'sign': lambda g: np.sign(g) / d_in,
           'columns': lambda g: g / (np.sqrt(np.sum(g**2, 0, keepdims=True) / d_out) + eps),
           'rows': lambda g: g / (np.sqrt(np.sum(g**2, -1, keepdims=True)) * d_in**.5 + eps),
           'rms': lambda g: g / (np.sqrt(np.mean(g**2)) + eps)}[norm_]
    buf = np.zeros_like(x)
    for g in grads:
        buf = (1 - momentum) * buf + momentum * g
        if not unconstrained: x = x * (1 - lr)
        x = x - lr * scale * lmo(buf)
        yield x


# -- with less memory ------------------------------------------------------------------------------

def factored(rows, columns): return np.sqrt(rows / rows.mean(-1, keepdims=True))[..., None] * \
    np.sqrt(columns)[..., None, :]


def came(x, grads, *, lr=2e-4, b1=.9, b2=.999, b3=.9999, eps1=1e-30, eps2=1e-16, d=1., wd=0.):
    m, r, c, v, rs, cs = np.zeros_like(x), 0., 0., 0., 0., 0.
    for g in grads:
        square = g**2 + eps1
        if x.ndim > 1:
            r, c = b2 * r + (1 - b2) * square.mean(-1), b2 * c + (1 - b2) * square.mean(-2)
            u = g / factored(r, c)
        else:
            v = b2 * v + (1 - b2) * square
            u = g / np.sqrt(v)
        u = u / max(1., np.sqrt(np.mean(u**2)) / d)
        m = b1 * m + (1 - b1) * u
        s = (u - m)**2 + eps2
        step = m
        if x.ndim > 1:
            rs, cs = b3 * rs + (1 - b3) * s.mean(-1), b3 * cs + (1 - b3) * s.mean(-2)
            step = m / factored(rs, cs)
        x = x - lr * wd * x - lr * step
        yield x


def sm3(x, grads, *, lr=.1, b=.9, beta2=1., wd=0.):
    "SM3-II: one accumulator for each row, each column, and so on for all dimensions."
    shapes = [[n if i == d else 1 for i in range(x.ndim)] for d, n in enumerate(x.shape)] or [()]
    mus, m = [np.zeros(s) for s in shapes], np.zeros_like(x)
    for g in grads:
        least = mus[0]
        for mu in mus[1:]: least = np.minimum(least, mu)
        nu = least + g**2 if beta2 == 1 else beta2 * least + (1 - beta2) * g**2
        mus = [nu.max(tuple(i for i in range(x.ndim) if i != d), keepdims=True)
               for d in range(len(mus))]
        m = b * m + (1 - b) * g / np.sqrt(nu + 1e-30)
        x = x - lr * (m + wd * x)
        yield x


def adam_mini(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-8, wd=0., block='row'):
    "`block`: 'row' of a matrix, else an element; or 'tensor'."
    m, v = np.zeros_like(x), 0.
    for t, g in enumerate(grads, 1):
        square = g**2
        if block == 'tensor': square = square.mean()
        elif x.ndim > 1: square = square.mean(-1, keepdims=True)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * square
        x = x - lr * wd * x
        x = x - lr * m / (1 - b1**t) / (np.sqrt(v) / np.sqrt(1 - b2**t) + eps)
        yield x
