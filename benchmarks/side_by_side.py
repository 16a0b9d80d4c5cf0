"""How many times as fast a sweep is side by side as one run after another, on each task of a race.

    python benchmarks/side_by_side.py [OPTIMIZER] [TASK ...]

Both ways make the same runs, of seven learning rates and three seeds, in one process, in turns.
Printed is the median of the ratios of the rounds, and how far the last losses differ at most.
"""
import sys
from statistics import median
from time import perf_counter

import torch
from genopt.racing.entrants import Entrant
from genopt.racing.tasks import TASKS
from genopt.racing.training import Job, one_after_another
from genopt.racing.vmapped import side_by_side

STEPS, ROUNDS, SEEDS = 60, 5, 3


def in_turns(job, pairs):
    "The ratio of the two times in each round, and the differences of losses."
    for _ in range(ROUNDS):
        start = perf_counter()
        together = side_by_side(job, pairs)
        middle = perf_counter()
        alone = [one_after_another(job, *pair) for pair in pairs]
        gap = max(abs(a.test[-1] / b.test[-1] - 1) for a, b in zip(together, alone))
        yield (perf_counter() - middle) / (middle - start), gap


def main(optimizer='adamw', *names):
    print(f'{optimizer}, {torch.get_num_threads()} threads, {STEPS} steps: one after another over '
          'side by side, higher is better')
    for task in [TASKS[n] for n in names or TASKS]:
        entrant = Entrant(optimizer)
        job = Job(entrant, task, STEPS)
        pairs = [(entrant.lr * 10**(q / 4), s) for q in range(-6, 7, 2) for s in range(SEEDS)]
        one_after_another(Job(entrant, task, 1), *pairs[0])  # its kernel
        side_by_side(Job(entrant, task, 1), pairs)
        ratios, gaps = zip(*in_turns(job, pairs))
        print(f'{task.name:13} {median(ratios):5.2f}  ({min(ratios):.2f} to {max(ratios):.2f}), '
              f'losses differ by {max(gaps):.0e}', flush=True)


if __name__ == '__main__': main(*sys.argv[1:])
