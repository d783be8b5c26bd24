"""The job script of docs/cluster.md, on a real cluster that preempts its tasks and cuts their time."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clihelp import ROOT
from measured import rows_by_key
from slurm import CORES, Cluster, running_cluster

pytestmark = pytest.mark.slow

TASKS = 3
EPOCHS = 500
OPTIONS = f"--dataset digits --depth 2 --width 64 --phase ce:20 --phase mse:{EPOCHS - 20} --weight-decay 1e-4,2e-4"


def script() -> str:
    """Give the script of the page, for a sweep of some minutes of which a task may do a part at a time."""
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"<!-- job script -->\n```sh\n(.*?)```", page, flags=re.DOTALL)
    changes = {
        "--preset study-depth": OPTIONS,
        "timeout 55m": "timeout 45s",
        "--array=0-4": f"--array=0-{TASKS - 1}",
        "--cpus-per-task=4": "--cpus-per-task=1",
        " ncdiag ": f" {sys.executable} -m ncdiag ",
    }
    for old, new in changes.items():
        assert found.count(old) == 1, old
        found = found.replace(old, new)
    return str(found)


def hasten(cluster: Cluster, job: str, since: dict[int, float]) -> None:
    """Start tasks that were put back, which would wait for two minutes.

    Slurm's node refuses a job that it is given in the second in which it has let go of it.
    """
    for task, state in enumerate(cluster.states(job)):
        if state != "PENDING":
            since.pop(task, None)
        elif time.monotonic() - since.setdefault(task, time.monotonic()) > 3:
            command = ["scontrol", "update", f"JobId={job}_{task}", "StartTime=now"]
            subprocess.run(command, env=cluster.environment, capture_output=True, check=False)  # it may have started


def test_an_array_that_is_preempted_and_cut_short_ends_as_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    store = tmp_path / "array.db"
    waiting: dict[int, float] = {}
    with running_cluster(NCDIAG_STORE=str(store)) as cluster:
        job = cluster.submit(script())
        cluster.wait(lambda: len(list(filter(None, rows_by_key(store).values()))) == 2 * TASKS)  # all of them train
        cluster.submit("#!/bin/sh\nsleep 1\n", "--partition=high", f"--cpus-per-task={CORES}", "--job-name=first")
        cluster.wait(lambda: cluster.said().count("DUE TO PREEMPTION") == TASKS)

        def over() -> bool:
            hasten(cluster, job, waiting)
            return not {"PENDING", "RUNNING", "COMPLETING"} & set(cluster.states(job))

        cluster.wait(over, seconds=1800)
        said = cluster.said()
        assert cluster.states(job) == ["COMPLETED"] * TASKS, said
    assert said.count("DUE TO JOB REQUEUE") > 0  # out of time at least once
    assert "Traceback" not in said

    whole = tmp_path / "whole.db"
    command = [sys.executable, "-m", "ncdiag", "sweep", *OPTIONS.split(), "--seed", f"0:{TASKS}", "--jobs", "1"]
    subprocess.run([*command, "--store", str(whole)], capture_output=True, check=True)
    assert [len(records) for records in rows_by_key(whole).values()] == [EPOCHS] * 2 * TASKS
    assert rows_by_key(store) == rows_by_key(whole)
