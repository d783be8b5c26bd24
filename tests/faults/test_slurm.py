"""The job script of docs/cluster.md, on a real cluster that preempts its tasks and cuts their time."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from slurm import CORES, running_cluster

from ncdiag.domain.records import EpochRecord
from ncdiag.errors import StoreError
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.runs import list_runs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OPTIONS = "--dataset digits --depth 2 --width 64 --phase ce:20 --phase mse:1480 --weight-decay 1e-4,2e-4 --device cpu"


def script() -> str:
    """Give the script of the page, for a sweep of some minutes, three quarters of one at a time."""
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"<!-- job script -->\n```sh\n(.*?)```", page, flags=re.DOTALL)
    changes = {
        "--preset study-depth": OPTIONS,
        "timeout 55m": "timeout 45s",
        "--array=0-4": "--array=0-2",
        "--cpus-per-task=4": "--cpus-per-task=1",
        " ncdiag ": f" {sys.executable} -m ncdiag ",
    }
    for old, new in changes.items():
        assert found.count(old) == 1, old
        found = found.replace(old, new)
    return str(found)


def rows(store: Path) -> dict[str, list[EpochRecord]]:
    """Give what was measured of each run, by its key, without the time it took."""
    try:
        with open_store(str(store)) as opened:
            found = {run.key: list_epochs(opened, run.id) for run in list_runs(opened)}
    except StoreError:  # not there yet
        return {}
    return {key: [replace(record, seconds=None) for record in records] for key, records in found.items()}


def test_an_array_that_is_preempted_and_cut_short_ends_as_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    store = tmp_path / "array.db"
    with running_cluster() as cluster:
        cluster.environment |= {"NCDIAG_STORE": str(store), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        job = cluster.submit(script())
        cluster.wait(lambda: len(list(filter(None, rows(store).values()))) == 6)  # all of them train
        cluster.submit("#!/bin/sh\nsleep 1\n", "--partition=high", f"--cpus-per-task={CORES}", "--job-name=first")
        cluster.wait(lambda: cluster.said().count("DUE TO PREEMPTION") == 3)

        def over() -> bool:
            for task in range(3):  # a task that was put back waits two minutes, unless told otherwise
                subprocess.run(
                    ["scontrol", "update", f"JobId={job}_{task}", "StartTime=now"],
                    env=cluster.environment,
                    capture_output=True,
                    check=False,  # it may be running, or have ended
                )
            return not cluster.states(job)

        cluster.wait(over, seconds=1800)
        said = cluster.said()
    assert said.count("stopped; every finished epoch is stored") >= 6  # preempted once, out of time at least once
    assert "Traceback" not in said

    whole = tmp_path / "whole.db"
    command = [sys.executable, "-m", "ncdiag", "sweep", *OPTIONS.split(), "--seed", "0:3", "--jobs", "1"]
    subprocess.run([*command, "--store", str(whole)], env=os.environ, capture_output=True, check=True)
    assert [len(records) for records in rows(whole).values()] == [1500] * 6
    assert rows(store) == rows(whole)
