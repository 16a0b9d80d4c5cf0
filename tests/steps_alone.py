"""A few steps of an optimizer on given gradients, for test_export.py.

Run as a script, it is given a folder with exported files and `cases.pt`, and writes `results.pt`.
Then nothing of genopt can be imported.
"""
import copy
import importlib
import sys
from functools import partial
from pathlib import Path

import torch

STEPS, SAVED = 10, 6  # it is saved, and goes on in another optimizer, before this step
SHAPES = dict(matrix=(5, 3), tall=(4, 7), conv=(3, 2, 2, 2), vector=(6,), scalar=(), late=(2, 3),
              sometimes=(3, 4))


def draw(seed, shape, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def params_of(dtype, matrices):
    res = {k: draw(i, s, dtype) for i, (k, s) in enumerate(SHAPES.items())
           if len(s) == 2 or not matrices}
    if not matrices: res['conv'] = res['conv'].to(memory_format=torch.channels_last)
    return {k: torch.nn.Parameter(v) for k, v in res.items()}


def set_grads(params, step, bad):
    "Small and large gradients; with `bad`, one is infinite in the third step."
    for i, (k, p) in enumerate(params.items()):
        absent = k == 'late' and step < 4 or k == 'sometimes' and step % 3 == 1
        grad = draw(100 * step + i, p.shape, p.dtype) * (.01, .3, 10.)[step % 3]
        if bad and step == 2 and k == 'matrix': grad[0, 0] = torch.inf
        p.grad = None if absent else grad


def run(make, dtype, matrices=False, bad=False):
    "The parameters and the state after some steps of what `make` makes of two groups."
    torch.manual_seed(0)  # parts may be random
    params = params_of(dtype, matrices)
    def groups():
        names = [*params]
        return [dict(params=[params[n] for n in names[::2]]),
                dict(params=[params[n] for n in names[1::2]], lr=.003)]
    opt = make(groups())
    for step in range(STEPS):
        if step == SAVED:
            saved = copy.deepcopy(opt.state_dict())
            opt = make(groups())
            opt.load_state_dict(saved)
        set_grads(params, step, bad)
        opt.step()
    shared = opt.param_groups[0].get('shared', {})  # in a file; in genopt each state has them
    state = {k: {n: v.item() if isinstance(v, torch.Tensor) and not v.dim() and n in NUMBERS else v
                 for n, v in {**shared, **opt.state.get(p, {})}.items()}
             for k, p in params.items() if shared or p in opt.state}
    return {k: p.detach() for k, p in params.items()}, state


NUMBERS = {'count', 'waited', 'eta', 'mom_product', 'skipped', 'seen', 'lr_max', 'weight_sum',
           'gain', 'd', 'd_max', 'first_norm', 'sqr_norm_sum', 'climbs',
           'last_sqr_norm'}


class Blocked:
    "Finds no genopt."
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'genopt': raise ImportError(f'{name} is blocked')


def main(folder):
    torch.set_num_threads(1)
    results = {}
    for key, (file, cls, maximize, *how) in torch.load(folder/'cases.pt').items():
        made = partial(getattr(importlib.import_module(file), cls), maximize=maximize)
        results[key] = run(made, *how)
    assert not any(n.split('.')[0] == 'genopt' for n in sys.modules)
    torch.save(results, folder/'results.pt')


if __name__ == '__main__':
    sys.meta_path.insert(0, Blocked())
    sys.path.insert(0, sys.argv[1])
    main(Path(sys.argv[1]))
