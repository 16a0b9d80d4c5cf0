"""The rules for matrices written out in NumPy, from their papers and their authors' code, as in
`references.py`. Singular vectors and random numbers are torch's, as their signs and values count.
"""
import numpy as np
import torch
from numpy.linalg import eigh, norm, qr, solve


def rms(x): return np.sqrt(np.mean(x**2))


def shampoo(x, grads, *, lr=1., mom=0., every=1, eps=.1, power=.25, longest=768, graft=False,
            wd=0.):
    "As in the authors' code: a side that is too long has a diagonal."
    sides, sums, roots, m = x.shape, [], [], np.zeros_like(x)
    for n in sides:
        sums.append(np.zeros((n, n) if n <= longest else n))
        roots.append(np.eye(n) if n <= longest else np.ones(n))
    for t, g in enumerate(grads, 1):
        m = mom * m + g
        change = m
        for i, mat in enumerate((g, g.T)):
            sums[i] = sums[i] + (mat @ mat.T if sums[i].ndim > 1 else (mat**2).sum(1))
            if t % every == 0:
                if sums[i].ndim == 1: roots[i] = (sums[i] + eps)**-power
                else:
                    d, u = eigh(sums[i] + eps * np.eye(sides[i]))
                    roots[i] = u @ np.diag(np.maximum(d, eps)**-power) @ u.T
            root = roots[i] if roots[i].ndim > 1 else np.diag(roots[i])
            change = (change.T @ root)  # each turn brings the next side to the front
        if graft: change = change * norm(m) / (norm(change) + 1e-16)
        x = x - lr * change - lr * wd * x
        yield x


def soap(x, grads, *, lr=3e-3, b1=.95, b2=.95, shampoo_beta=None, eps=1e-8, wd=.01, freq=10,
         longest=10000, correct=True, normalize=False):
    "As in the authors' code, with the first average among the turned gradients, and turned on."
    beta = b2 if shampoo_beta is None else shampoo_beta
    used = [n <= longest for n in x.shape]
    gg, q = [np.zeros((n, n)) for n in x.shape], None
    m, v, step = np.zeros_like(x), np.zeros_like(x), 0
    def forth(a): return (q[0].T @ a if used[0] else a) @ (q[1] if used[1] else np.eye(x.shape[1]))
    def back(a): return (q[0] @ a if used[0] else a) @ (q[1].T if used[1] else np.eye(x.shape[1]))
    for g in grads:
        if q is not None:
            step += 1
            low = forth(g)
            m, v = b1 * m + (1 - b1) * low, b2 * v + (1 - b2) * low**2
            change = back(m / (np.sqrt(v) + eps))
            if normalize: change = change / (1e-30 + rms(change))
            size = lr * (np.sqrt(1 - b2**step) / (1 - b1**step) if correct else 1.)
            x = x - size * change
            x = x - lr * wd * x
            m = back(m)
        for i, a in enumerate((g, g.T)): gg[i] = beta * gg[i] + (1 - beta) * a @ a.T
        if q is None: q = [eigh(a)[1][:, ::-1] for a in gg]
        elif step % freq == 0:
            for i in (0, 1):
                if not used[i]: continue
                order = np.argsort(-np.diag(q[i].T @ gg[i] @ q[i]))
                v = np.take(v, order, axis=i)
                q[i] = qr(gg[i] @ q[i][:, order])[0]
        if step: m = forth(m)
        yield x


def psgd_kron(x, grads, *, noises, balances, lr=3e-4, b=.9, wd=0., rate=.1, scale=1., longest=8192,
              most=1., least=.03, fall=1e-3, flat=500, into=True):
    """As in kron_torch. `noises` and `balances` have the random numbers of each step: a matrix, and
    whether the factors are balanced."""
    tiny, damping = np.finfo(float).tiny, np.sqrt(np.finfo(np.float32).eps)
    def full(n): return 1 < n <= longest
    qs = [np.sqrt(scale) * (np.eye(n) if full(n) else np.ones(n)) for n in x.shape]
    dense = lambda q: q if q.ndim > 1 else np.diag(q)
    m, waited = np.zeros_like(x), 0
    for t, g in enumerate(grads):
        m = b * m + (1 - b) * g
        along = m / (1 - b**(t + 1))
        waited += 1
        if waited >= 1 / np.clip(most * np.exp(-fall * (t - flat)), least, most):
            waited, noise = 0, noises[t]
            if balances[t]:
                sizes = [np.abs(q).max() for q in qs]
                qs = [q * np.sqrt(sizes[0] * sizes[1]) / s for q, s in zip(qs, sizes)]
            seen = along if into else g
            seen = seen + damping * np.abs(seen).mean() * noise
            if into: along = seen
            a = dense(qs[0]) @ seen @ dense(qs[1]).T
            c = solve(dense(qs[1]).T, solve(dense(qs[0]).T, noise).T).T
            new = []
            for q, p, r in zip(qs, (a, a.T), (c, c.T)):
                up, down = p @ p.T, r @ r.T
                if q.ndim == 1:
                    up, down = np.diag(up), np.diag(down)
                    new.append(q - rate * (up - down) * q / max(np.abs(up + down).max(), tiny))
                else:
                    new.append(q - rate * np.triu(up - down) / largest_eigenvalue(up + down) @ q)
            qs = new
        one, two = map(dense, qs)
        change = one.T @ one @ along @ two.T @ two
        change = change * min(1., 1.1 / (rms(change) + 1e-12))
        x = x - lr * (change + wd * x)
        yield x


def largest_eigenvalue(a):
    "Its lower bound in kron_torch."
    size = np.abs(a).max()
    a = a / size
    u = a[:, np.argmax((a**2).sum(0))] @ a
    return norm(a @ (u / norm(u))) * size


def dion(x, grads, *, q, lr=.01, mu=.95, eps=1e-8, wd=.01):
    "As in the authors' simple version, from a first factor `q`."
    m = np.zeros_like(x)
    for g in grads:
        m = m + g
        p = qr(m @ q)[0]
        r = m.T @ p
        m = m - (1 - mu) * p @ r.T
        q = r / (norm(r, axis=0, keepdims=True) + eps)
        x = (1 - wd * lr) * x - lr * np.sqrt(x.shape[0] / x.shape[1]) * p @ q.T
        yield x


def in_few(x, grads, project, rank, gap, b1, b2, eps):
    "Adam among few directions: each gradient, its low form, its step there, the directions, t."
    tall, m, v = x.shape[0] >= x.shape[1], 0., 0.
    for t, g in enumerate(grads, 1):
        if (t - 1) % gap == 0: p = project(g, rank)
        low = g @ p.T if tall else p.T @ g
        m, v = b1 * m + (1 - b1) * low, b2 * v + (1 - b2) * low**2
        yield g, low, m / (np.sqrt(v) + eps), p, np.sqrt(1 - b2**t) / (1 - b1**t)


def galore(x, grads, *, lr=1e-3, b1=.9, b2=.999, eps=1e-6, wd=0., rank=128, gap=200, scale=.25):
    tall = x.shape[0] >= x.shape[1]
    def first(g, rank):
        u, _, v = (a.numpy() for a in torch.linalg.svd(torch.from_numpy(g), full_matrices=False))
        return v[:rank] if tall else u[:, :rank]
    for _, _, u, p, bias in in_few(x, grads, first, rank, gap, b1, b2, eps):
        x = x - lr * bias * scale * (u @ p if tall else p @ u)
        x = x - lr * wd * x
        yield x


def apollo(x, grads, *, place, lr=1e-3, b1=.9, b2=.999, eps=1e-6, wd=0., rank=256, gap=200,
           scale=1., channel=True, limit=True):
    tall, seed, last = x.shape[0] >= x.shape[1], place + 1, None
    def drawn(g, rank):
        nonlocal seed
        draw = torch.Generator().manual_seed(seed)
        shape = (rank, g.shape[1]) if tall else (g.shape[0], rank)
        p = torch.randn(shape, generator=draw) / np.sqrt(rank)
        again = torch.Generator().manual_seed(seed)
        seed = torch.randint(0, torch.iinfo(torch.int64).max, (15,), generator=again).tolist()[-1]
        return p.double().numpy()
    for g, low, u, _, bias in in_few(x, grads, drawn, rank, gap, b1, b2, eps):
        axis = dict(axis=1 if tall else 0, keepdims=True) if channel else {}
        change = g * norm(u, **axis) / (norm(low, **axis) + 1e-8)
        if limit:
            over = 1. if last is None else max(norm(change) / (last + 1e-8), 1.01) / 1.01
            change = change / over
            last = norm(change)
        x = x - lr * bias * np.sqrt(scale) * change
        x = x - lr * wd * x
        yield x
