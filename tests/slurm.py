"""A Slurm cluster of the tests alone: a controller and one node, on this machine."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CORES = 8  # of the node, as the controller is told: jobs here hardly compute
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 State=UP
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF State=UP
"""


class Cluster:
    """What a user of the cluster does; jobs run in `folder`."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Submit a job script, and give the number of the job."""
        path = self.folder / "job.sh"
        path.write_text(script)
        return self.run("sbatch", "--parsable", "--output=%x-%a.txt", *options, str(path))

    def states(self, job: str) -> list[str]:
        """Give the states of the tasks of a job in their order, such as RUNNING or COMPLETED."""
        shown = ("--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%K %T")
        return [line.split()[1] for line in sorted(self.run("squeue", *shown).splitlines())]

    def said(self) -> str:
        """Give what jobs have written."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.txt")))

    def wait(self, until: Callable[[], bool], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)


@contextmanager
def running_cluster(**environment: str) -> Iterator[Cluster]:
    """Start a cluster in a folder of its own, and stop it at the end; skips where Slurm is not installed."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    if missing := [program for program in PROGRAMS if not shutil.which(program, path=path)]:
        pytest.skip(f"needs Slurm and munge ({', '.join(missing)})")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # a path of a socket is short
        folder = Path(name)
        for part in ("state", "spool", "jobs"):
            (folder / part).mkdir()
        configuration = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], user=os.getuid(), folder=folder, ports=_free_ports(2), cores=CORES
        )
        (folder / "slurm.conf").write_text(configuration)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)
        environment = {**os.environ, **environment, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": path}
        cluster = Cluster(folder / "jobs", environment)
        munge = [f"--{what}={folder}/munge.{end}" for what, end in MUNGE.items()]
        daemons: list[subprocess.Popen[bytes]] = []
        try:
            for command in (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D"]):
                daemons.append(
                    subprocess.Popen(
                        command, env=cluster.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )
                )
                time.sleep(1)
            cluster.wait(lambda: "idle" in _nodes(cluster), seconds=60)
            try:
                yield cluster
            finally:  # what runs would outlive the cluster
                cluster.run("scancel", "--full", f"--user={os.getuid()}")
                cluster.wait(lambda: not cluster.run("squeue", "--noheader"), seconds=60)
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in daemons:
                daemon.wait(30)


MUNGE = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


def _nodes(cluster: Cluster) -> str:
    done = subprocess.run(["sinfo", "--noheader"], env=cluster.environment, capture_output=True, text=True, check=False)
    return done.stdout


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
