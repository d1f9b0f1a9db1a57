"""A SLURM cluster of one machine: munge, slurmctld and slurmd of Debian's packages, in a folder.

python -m tests.slurm.cluster FOLDER    starts one and says how to talk to it; Ctrl-C ends it
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

DAEMONS = ("munged", "slurmctld", "slurmd")
INSTALL = "apt-get install slurm-wlm munge"

CONFIGURATION = """
ClusterName=tests
FirstJobId={first_job}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=30 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no cluster on this machine, or None."""
    os.environ["PATH"] += ":/usr/sbin"
    absent = [name for name in (*DAEMONS, "sbatch") if shutil.which(name) is None]
    if absent:
        return f"there is no {absent[0]}: {INSTALL}"
    return None if os.geteuid() == 0 else "the daemons of SLURM are started as root"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Cluster:
    """Runs while it is entered.

    Args:
        folder: for its configuration, state and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Cluster":
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge" / "key").write_bytes(os.urandom(128))
        (self.folder / "munge" / "key").chmod(0o600)
        values = {"folder": self.folder, "host": socket.gethostname().partition(".")[0]}
        # Lightning makes the port that processes meet at of the job's number.
        values["first_job"] = free_port() % 9000 + 1
        ports = {"controller_port": free_port(), "node_port": free_port()}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**values, **ports))
        munge = self.folder / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        self._start("munged", "-F", "--force", *(f"--{k}={munge / v}" for k, v in files.items()))
        self._wait_for(lambda: (munge / "socket").exists())
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D")
        self._wait_for(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t"))
        return self

    def __exit__(self, *error: object) -> None:
        with_jobs = self.run("squeue", "-h", "-o", "%i").split()
        if with_jobs:
            self.run("scancel", "--signal=KILL", "--full", *with_jobs)
            self.run("scancel", *with_jobs)
            self._wait_for(lambda: not self.run("squeue", "-h", "-o", "%i"), seconds=60)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait(30)

    def run(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] = {}) -> str:
        """What a command of SLURM prints."""
        environment = self.environment | env
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        return done.stdout

    def submit(self, script: str, *options: str, cwd: Path) -> str:
        """The number of a job that runs ``script``; what it prints goes to ``NUMBER.out``."""
        command = ["sbatch", "--parsable", "--output=%j.out", "--open-mode=append", *options]
        done = subprocess.run(
            command,
            input=f"#!/bin/bash\n{script}\n",
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """RUNNING, PENDING, COMPLETED, …"""
        for word in self.run("scontrol", "show", "job", job).split():
            if word.startswith("JobState="):
                return word.removeprefix("JobState=")
        return "UNKNOWN"

    def wait_until(self, job: str, *states: str, seconds: float = 240) -> str:
        """The state of a job, when it is one of these."""
        self._wait_for(lambda: self.state(job) in states, seconds)
        return self.state(job)

    def start_now(self, job: str) -> None:
        """SLURM waits two minutes before a job that was queued again starts.

        It refuses one that starts within the second in which it was queued: its credential is as
        old as the one that was revoked then.
        """
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now+2")

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            self._daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)
            )

    def _wait_for(self, condition: Any, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"see the logs in {self.folder}")
            time.sleep(0.2)


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    with Cluster(Path(sys.argv[1]).absolute()) as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            time.sleep(1e9)
