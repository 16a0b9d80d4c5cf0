"""A step of AdamW in genopt, torch.optim, fastai, optax and HeavyBall: the same shapes, gradients and hyperparameters.

    python benchmarks/others.py > others.txt      # a table in Markdown, and JSON; 2 minutes on 2 quiet cores

All in one process, in rounds: a step of each, in a random order. A ratio is the median, over rounds, of a time by that
of torch's fused one in the same round. Of the rounds, 15 blocks are kept in which other processes took little. `first`
is import, making, and a step on the small tensors, in a new process that has torch (HeavyBall: three steps, in this
one). `off` is after 20 steps, from torch's loop in float64. What is not installed is left out, and said to be.
"""
import importlib.metadata, importlib.util, json, math, os, random, subprocess, sys, tempfile, time
from statistics import mean, median, quantiles

import torch

LR, MOM, SQR_MOM, EPS, WD = 1e-3, .9, .999, 1e-8, .01
SMALL, D = [(32, 32)] * 50, 384
LARGE = [(8000, D), *[(D,), (3 * D, D), (D, D), (D,), (4 * D, D), (D, 4 * D)] * 4, (D,)]  # a transformer without biases
TORCHS = dict(betas=(MOM, SQR_MOM), eps=EPS, weight_decay=WD)
CONTENDERS = {'torch fused':     ('torch.optim:AdamW', dict(fused=True, **TORCHS)),
              'torch foreach':   ('torch.optim:AdamW', dict(foreach=True, **TORCHS)),
              'torch loop':      ('torch.optim:AdamW', TORCHS),  # its default on a CPU
              'genopt compiled': ('genopt:AdamW', dict(compile=True, **TORCHS)),
              'genopt eager':    ('genopt:AdamW', TORCHS),
              'fastai':          ('fastai.optimizer:Adam', dict(mom=MOM, sqr_mom=SQR_MOM, eps=EPS, wd=WD)),
              'optax':           (),
              'heavyball':       ('heavyball:AdamW', TORCHS)}


class OfTorch:
    "An optimizer of torch's kind, on its own copies of the parameters."
    def __init__(self, params, place, hypers):
        self.params, (module, cls) = [torch.nn.Parameter(p.clone()) for p in params], place.split(':')
        self.opt = getattr(importlib.import_module(module), cls)(self.params, lr=LR, **hypers)
        self.step = self.opt.step
    def give(self, grads):
        for p, g in zip(self.params, grads): p.grad = g  # HeavyBall takes them away
    def values(self): return [p.detach() for p in self.params]
    def state_bytes(self, x=None):
        x = self.opt.state if x is None else x
        return sum(map(self.state_bytes, x.values())) if isinstance(x, dict) else getattr(x, 'nbytes', 0)


class OfJax:
    "optax's in one jitted function, which may write to the parameters and to the state."
    def __init__(self, params):
        import jax, optax
        jax.config.update('jax_enable_x64', params[0].dtype == torch.float64)  # else all becomes float32
        adamw = optax.adamw(LR, b1=MOM, b2=SQR_MOM, eps=EPS, weight_decay=WD)
        def step(params, state, grads):
            updates, state = adamw.update(grads, state, params)
            return optax.apply_updates(params, updates), state
        self.jax, self.jit, self.given = jax, jax.jit(step, donate_argnums=(0, 1)), None
        self.params, self.state = self.copies(params), adamw.init(self.copies(params))
    def copies(self, xs): return [self.jax.numpy.array(x.numpy(), copy=True) for x in xs]
    def give(self, grads):
        if grads is not self.given: self.given, self.grads = grads, self.copies(grads)
    def step(self): self.params, self.state = self.jax.block_until_ready(self.jit(self.params, self.state, self.grads))
    def values(self): return [torch.tensor(self.jax.device_get(p)) for p in self.params]
    def state_bytes(self): return sum(x.nbytes for x in self.jax.tree.leaves(self.state))


def run(label, shapes, steps=1, repeat=1, dtype=torch.float32):
    "An optimizer after steps along the same numbers for all; its last gradients; the seconds."
    torch.manual_seed(0)
    params, *grads = [[torch.randn(s).to(dtype) for s in shapes] for _ in range(steps + 1)]
    start = time.perf_counter()
    opt = (OfTorch if CONTENDERS[label] else OfJax)(params, *CONTENDERS[label])
    for g in grads * repeat: opt.give(g); opt.step()
    return opt, g, time.perf_counter() - start


def used():  # by other processes: seconds
    user, nice, system, _, _, *rest = map(int, open('/proc/stat').readline().split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf('SC_CLK_TCK') - time.process_time()


def compare(labels, shapes, rounds):
    opts, blocks = {label: run(label, shapes, repeat=3) for label in labels}, []
    while sum(b[0] < .1 for b in blocks) < 15 and len(blocks) < 75:
        start, before, block = time.perf_counter(), used(), [{} for _ in range(rounds)]
        for times in block:
            for label, (opt, grads, _) in random.sample([*opts.items()], len(opts)):
                opt.give(grads)
                times[label] = -time.perf_counter()
                opt.step()
                times[label] += time.perf_counter()
        blocks.append(((used() - before) / (time.perf_counter() - start), len(blocks), block))
        if blocks[-1][0] > .1: time.sleep(2)  # they may be done then
    kept, n = sorted(blocks)[:15], sum(map(math.prod, shapes))
    print(f'Others took {mean(b[0] for b in kept):.0%} of a core meanwhile ({len(blocks)} blocks, 15 kept).')
    for o, (opt, _, seconds) in opts.items():
        times, ratios = zip(*[(r[o], r[o] / r['torch fused']) for _, _, block in kept for r in block])
        yield o, dict(ms=1000 * median(times), ratios=quantiles(ratios), state=opt.state_bytes() / n, begun=seconds)


def off(label, dtype):
    a, b = (run(o, SMALL[:1], 20, 1, d)[0].values() for o, d in (('torch loop', torch.float64), (label, dtype)))
    return max(((x - y).abs().max() / x.abs().max()).item() for x, y in zip(a, b))


def main():
    labels = [o for o in CONTENDERS if importlib.util.find_spec(o.split()[0])]
    packages = {o.split()[0]: None for o in labels}
    print(*[f'{o} is left out: it is not installed.\n' for o in CONTENDERS if o not in labels],
          *[f'{p} {importlib.metadata.version(p)};' for p in packages], f'{torch.get_num_threads()} threads.')
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(TORCHINDUCTOR_CACHE_DIR=cache, GENOPT_CACHE=cache)
        new = {o: subprocess.check_output([sys.executable, __file__, o]) for o in labels if o != 'heavyball'}
        small, large = dict(compare(labels, SMALL, 12)), dict(compare(labels, LARGE, 2))
        offs = {o: [off(o, torch.float32), off(o, torch.float64)] for o in labels}
    print('\n| AdamW | 50 of 32×32: ms | over torch fused | transformer of 10.2 M: ms | over torch fused',
          '| state, bytes | first, s | off, float32 | float64 |\n' + '|---' * 9 + '|')
    for o, a, b in zip(labels, small.values(), large.values()):
        cells = a['ms'], a['ratios'][1], b['ms'], b['ratios'][1], b['state'], float(new.get(o, a['begun']))
        print('|', ' | '.join([o, *[f'{x:.2f}' for x in cells], *[f'{x:.0e}' for x in offs[o]]]), '|')
    print('', json.dumps(dict(small=small, large=large, off=offs)), sep='\n')


if __name__ == '__main__': print(run(sys.argv[1], SMALL)[-1]) if sys.argv[1:] else main()
