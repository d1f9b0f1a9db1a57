"""Starts the train command as ``srun --kill-on-bad-exit`` does: so many tasks of one node, named by
variables.
"""

import os
import socket
import subprocess
import sys
import time

count = int(sys.argv[1])
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
job = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NAME": "alexnet",
    "SLURM_NTASKS": str(count),
    "SLURM_NTASKS_PER_NODE": str(count),
    "SLURM_NNODES": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": str(count),
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "127.0.0.1",
    "MASTER_PORT": str(port),
}
tasks = [
    subprocess.Popen(
        [sys.executable, "-m", "alexnet_repro.train", *sys.argv[2:]],
        env=os.environ | job | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
    )
    for task in range(count)
]
while any(task.poll() is None for task in tasks):
    if any(task.poll() for task in tasks):
        # A moment for the others to say what they have to.
        time.sleep(2)
        for task in tasks:
            task.terminate()
    time.sleep(0.05)
sys.exit(max(abs(task.wait()) for task in tasks))
