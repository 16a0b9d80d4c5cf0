"""Does a run in low precision end where float32 ends? Two networks, seven formats, five seeds.

    python benchmarks/low_precision.py [STEPS]

The networks are those of the race: digits, with small convolutions; and letters of what Python's
own help says, with a transformer of two layers, 64 wide. AdamW's rate falls to 0 by a cosine, so
that the last steps are small. Weights, gradients and activations are of the dtype that is named;
the loss is taken in float32 of data that were held out. Here state has codes however small a tensor
is, which is harsher than in use. Written are a table and `low-precision.png`.
"""
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import genopt.storage
import torch
from genopt import AdamW, Schedule, cosine
from genopt.racing.models import Transformer
from genopt.racing.tasks import LETTERS, WINDOW, digits, text

F32, BF16 = torch.float32, torch.bfloat16
SEEDS = 5
RATES = dict(digits=3e-3, text=3e-3)
TASKS = [digits, replace(text, model=partial(Transformer, len(LETTERS), WINDOW, 64), steps=300)]
RUNS = {'float32': (F32, {}), "state='8bit'": (F32, dict(state='8bit')), 'bf16': (BF16, {}),
        'bf16, master=24': (BF16, dict(master=24)), 'bf16, kahan': (BF16, dict(rounding='kahan')),
        'bf16, stochastic': (BF16, dict(rounding='stochastic')),
        "bf16, master=24,\nstate='8bit'": (BF16, dict(master=24, state='8bit'))}


def final_loss(task, seed, dtype, said, steps):
    "Of the data that were held out, in float32, after a run."
    in_dtype = replace(task, dtype=dtype)
    model = in_dtype.build(seed)
    opt = AdamW(model.parameters(), lr=RATES[task.name], wd=.01, **said)
    Schedule(opt, steps, lr=cosine(RATES[task.name], 0.))
    for rows in in_dtype.batches(steps, seed): in_dtype.step(model, opt, rows)
    x, y = task.sets[2]
    with torch.no_grad(): return task.loss(model.float()(x), y).item()


def losses(task, steps):
    "Of each format, by seed."
    res = {}
    for label, (dtype, said) in RUNS.items():
        res[label] = [final_loss(task, s, dtype, said, steps or task.steps) for s in range(SEEDS)]
        print(task.name, label.replace('\n', ' '), *(f'{x:.4f}' for x in res[label]), flush=True)
    return res


def table(found):
    "Means; how far seeds are apart; and the mean of what a seed loses or gains by its format."
    heads = ' | '.join(f'{k}: loss ± spread | minus float32, same seed' for k in found)
    print(f'\n| AdamW | {heads} |\n|---|{"---|---|" * len(found)}')
    for label in RUNS:
        cells = []
        for runs in found.values():
            gaps = [a - b for a, b in zip(runs[label], runs['float32'])]
            cells.append(f'{mean(runs[label]):.4f} ± {stdev(runs[label]):.4f} | {mean(gaps):+.4f}')
        print(f'| {label} | {" | ".join(cells)} |'.replace('\n', ' '))


def draw(found, path):
    "A row for each format; a dot for each seed; grey is where float32's are."
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    plt.rcParams['font.size'] = 12
    figure, axes = plt.subplots(1, len(found), figsize=(11, 4.6), sharey=True)
    for ax, (name, runs) in zip(axes, found.items()):
        base = runs['float32']
        ax.axvspan(min(base), max(base), color='.88', zorder=0)
        for i, label in enumerate(RUNS):
            ax.plot(runs[label], [i] * SEEDS, 'o', color='C0' if i else 'black', alpha=.6, ms=7)
            ax.plot([mean(runs[label])] * 2, [i - .3, i + .3], color='black', lw=2)
        ax.set(xlabel='loss of held-out data, lower is better', title=name)
        ax.xaxis.set_major_locator(plt.MaxNLocator(5))
        ax.spines[['top', 'right']].set_visible(False)
    axes[0].set_yticks(range(len(RUNS)), [*RUNS])
    axes[0].invert_yaxis()
    figure.suptitle('Final loss of AdamW by format: a dot is a seed, a line their mean, '
                    "grey float32's range", fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(steps=0):
    torch.set_num_threads(1)
    genopt.storage.SMALL = 1
    found = {task.name: losses(task, int(steps)) for task in TASKS}
    table(found)
    draw(found, Path(__file__).with_name('low-precision.png'))


if __name__ == '__main__': main(*sys.argv[1:])
