"The same steps by the plain, the eager and the compiled engine, and by torch.optim."
from functools import partial

import genopt
import pytest
import torch
from genopt.engines import eager
from torch import nn
from torch.nn.utils import clip_grad_norm_

COMPILE = dict(plain=False, eager=None, compiled=True)  # see `run_by`
ENGINES = tuple(COMPILE)
each_engine = pytest.mark.parametrize('engine', ENGINES)
SMALL = 24, 30  # gathered by the eager engine

# How a recipe is run: by a kernel; by kernels before and after a part as it is; after a total
KINDS = 'elementwise', 'whole', 'total'
kinds = pytest.mark.parametrize('kind', KINDS)


@genopt.transform(whole=True)
def as_it_is(update): return update.roll(1).roll(-1)  # which has no place in a loop


def run_by(engine, recipe, ps, **kwargs):
    opt = recipe(ps, compile=COMPILE[engine], **kwargs)
    if engine == 'eager': opt.engine = eager.run
    return opt


def of_kind(kind, recipe, **kwargs):
    "The recipe with what makes it run so, and changes no number."
    if kind == 'whole': recipe = recipe + as_it_is
    if kind == 'total': recipe, kwargs['max_norm'] = recipe + genopt.clip_by_global_norm, 1e9
    return recipe, kwargs


def adam(kind, engine):
    recipe, kwargs = of_kind(kind, genopt.Adam, lr=.1)
    return lambda ps: run_by(engine, recipe, ps, **kwargs)


def sgd(kind, engine, p):
    recipe, kwargs = of_kind(kind, genopt.SGD, lr=.25)
    return run_by(engine, recipe, [p], **kwargs)


def torchs_adam(ps): return torch.optim.Adam(ps, lr=.1, foreach=False)


def tensors(opt, p):
    "What an optimizer remembers of a parameter, but for numbers: the same order in torch and here."
    return [v for v in opt.state[p].values() if isinstance(v, torch.Tensor) and v.dim()]


def halves(seed, shape, dtype=torch.float32):
    "Numbers that are exact in any dtype."
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).to(dtype) / 2


def half_params(n, shape): return [nn.Parameter(halves(i, shape)) for i in range(n)]


def as_torch(ours, twin, **kwargs):
    "Makes torch's, which takes parameters in order, and ours by every engine."
    return [partial(twin, foreach=False, **kwargs),
            *[partial(run_by, engine, ours, **kwargs) for engine in ENGINES]]


def assert_same_run(makes, begin, steps=4, change=lambda opt, i: None):
    "Each of `makes` does with parameters of `begin`, and the same gradients, what the first does."
    made = []
    for make in makes:
        ps = begin()
        opt = make(ps)
        for i in range(steps):
            change(opt, i)
            for j, p in enumerate(ps): p.grad = halves(10 * i + j, p.shape)
            opt.step()
        made.append([p.detach() for p in ps])
    for got in made[1:]: torch.testing.assert_close(got, made[0], rtol=5e-5, atol=1e-5)


# -- rules that depend on how much of a tensor, or of all tensors, they see ------------------------

class Clipped(torch.optim.AdamW):
    "torch's AdamW after its clip_grad_norm_: of each gradient alone, or of all together."
    def __init__(self, ps, alone):
        self.alone = alone
        super().__init__(ps, lr=.1, foreach=False)

    def step(self):
        ps = [p for g in self.param_groups for p in g['params'] if p.grad is not None]
        for p in ps: p.grad = p.grad.clone()
        for some in [[p] for p in ps] if self.alone else [ps]: clip_grad_norm_(some, 3.)
        super().step()


RULES = {
    'elementwise': (genopt.AdamW, {}, partial(torch.optim.AdamW, lr=.1, foreach=False)),
    'norm': (genopt.AdamW + genopt.clip_by_norm, dict(max_norm=3.), partial(Clipped, alone=True)),
    'total': (genopt.AdamW + genopt.clip_by_global_norm, dict(max_norm=3.),
              partial(Clipped, alone=False)),
    'trust ratio': (genopt.LAMB, {}, None),
}
each_rule = pytest.mark.parametrize('rule', RULES)
each_rule_and_engine = pytest.mark.parametrize('rule, engine', [
    (rule, engine) for rule in RULES for engine in ENGINES if RULES[rule][2] or engine != 'plain'])


def make_rule(rule, engine):
    "By an engine, or by torch. By the plain one, if torch has no such rule."
    recipe, kwargs, twin = RULES[rule]
    if engine == 'torch' and twin: return twin
    return partial(run_by, engine.replace('torch', 'plain'), recipe, lr=.1, **kwargs)
