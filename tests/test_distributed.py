"""Promise: several processes do what one does. Replicas stay equal bit for bit; each recipe agrees
on shards; and a distributed checkpoint goes on in other processes, of another number.

This tries a sample of the recipes. To try all, and all modifiers, on shards and on replicas:

    torchrun --nproc-per-node 4 tests/many_processes.py /tmp all_recipes all_replicas
"""
import os
import subprocess
import sys
from pathlib import Path

import genopt
import kept_processes
import many_processes
import pytest
import torch.distributed as dist
from helpers import param


def processes(count, script, *words):
    run = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone',
                          '--nproc-per-node', str(count), Path(__file__).parent / script, *words],
                         capture_output=True, text=True,
                         timeout=400, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert run.returncode == 0, run.stdout + run.stderr[:5000]


def test_replicas_stay_equal_and_a_distributed_checkpoint_goes_on(tmp_path):
    for jobs in (['replicas', 'save'], ['resume']):
        processes(2, 'two_processes.py', tmp_path, 'AdamW', *jobs)


JOBS = ('recipes', 'gates_and_bad_gradients', 'totals_that_do_not_add_up', 'numbers_of_the_whole',
        'state_has_one_owner', 'swapped', 'pickled', 'different_groups', 'gradients_of_some',
        'watched', 'training')


def test_several_processes_do_what_one_does(tmp_path):
    "Two processes save, and then four and one load."
    processes(2, 'many_processes.py', tmp_path, *JOBS, 'save')
    processes(4, 'many_processes.py', tmp_path, 'recipes', 'shards_of_columns_and_of_replicas',
              'load')
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try: many_processes.load(tmp_path)
    finally: dist.destroy_process_group()


def test_state_in_formats_on_several_processes(tmp_path):
    "What one process does, bit for bit if gradients are; two save, and three and one load."
    processes(2, 'kept_processes.py', tmp_path, 'elementwise', 'owned', 'owned_when_shared',
              'averaged', 'refused', 'training', 'save')
    processes(3, 'kept_processes.py', tmp_path, 'load')
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try: kept_processes.load(tmp_path)
    finally: dist.destroy_process_group()


def test_nothing_is_shared_in_one_process():
    opt = genopt.Muon([param(2, 3)])
    with pytest.raises(RuntimeError, match='there are no replicas to share with: call torch.dis'):
        opt.share()
