"""Promise: replicas stay equal bit for bit, and a distributed checkpoint goes on, bit for bit, in
other processes."""
import os
import subprocess
import sys
from pathlib import Path


def two_processes(job, folder, recipe, compile):
    script = Path(__file__).parent / 'two_processes.py'
    run = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone',
                          '--nproc-per-node', '2', script, job, folder, recipe, str(compile)],
                         capture_output=True, text=True,
                         timeout=100, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert run.returncode == 0, run.stderr[-5000:]


def test_replicas_stay_equal(tmp_path): two_processes('ddp', tmp_path, 'AdamW', compile=True)


def test_a_distributed_checkpoint_goes_on(tmp_path):
    for job in ('save', 'resume'): two_processes(job, tmp_path, 'AdamW', compile=False)
