"""The time of a step of Schedule-Free over that of its authors' package, and bytes of state.

    OMP_NUM_THREADS=2 python benchmarks/schedule_free.py [MODEL ...]

Both sides make the same steps on the same shapes, in float32, in turns in one process. Printed is
the median of the ratios of the rounds, of which lower is better, and below 1 genopt is faster.
"""
import sys
from functools import partial
from statistics import median

import genopt
import schedulefree
import torch
from genopt.bench.contenders import OfTorch
from genopt.bench.models import shapes
from genopt.bench.timing import start, take_turns

MODELS, ROUNDS = ('resnet50', 'transformer', '50x32x32', '500x32x32'), 60
PAIRS = {'AdamW': (genopt.ScheduleFreeAdamW, schedulefree.AdamWScheduleFree),
         'SGD': (genopt.ScheduleFreeSGD, schedulefree.SGDScheduleFree)}


class Theirs(OfTorch):
    "It divides gradients in place, so each step is given them anew."
    def __init__(self, *args):
        super().__init__(*args)
        self.opt.train()

    def give(self, grads): super().give([g.clone() for g in grads])


def bytes_an_element(make, model):
    ps = [torch.nn.Parameter(torch.ones(s)) for s in shapes(model)]
    contender = make(ps)
    contender.give([torch.ones_like(p) for p in ps])
    contender.step()
    return contender.state_bytes() / sum(p.numel() for p in ps)


def main(*models):
    print(f'{torch.get_num_threads()} threads, {ROUNDS} rounds: genopt over schedulefree, foreach')
    for model in models or MODELS:
        for name, (ours, theirs) in PAIRS.items():
            makes = {'ours': partial(OfTorch, ours, {}), 'theirs': partial(Theirs, theirs, {})}
            runners, failed = start({k: (m, shapes(model)) for k, m in makes.items()},
                                    torch.device('cpu'))
            if failed: raise SystemExit(failed)
            times = take_turns(runners, ROUNDS)
            ratios = sorted(a / b for a, b in zip(times['ours'], times['theirs']))
            kept = [bytes_an_element(m, model) for m in makes.values()]
            print(f'{name:6}{model:12} {median(ratios):5.2f}  ({ratios[ROUNDS // 4]:.2f} to '
                  f'{ratios[3 * ROUNDS // 4]:.2f} in half of the rounds), '
                  f'{1e3 * median(times["ours"]):.2f} and {1e3 * median(times["theirs"]):.2f} ms, '
                  f'{kept[0]:.2f} and {kept[1]:.2f} bytes', flush=True)


if __name__ == '__main__': main(*sys.argv[1:])
