"""A machine with too little memory for one of the points of a sweep."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import SMALL_OPTIONS

from ncdiag.domain.records import RunStatus
from ncdiag.store.engine import open_store
from ncdiag.store.runs import list_runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs limits on the memory of a process"),
]

# The limit is for each process, and two billion bytes above what torch takes when it is loaded.
LITTLE_MEMORY = """
import re, resource, sys
if __name__ == "__main__":
    import torch
    taken = 1024 * int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * 10**9,) * 2)
    import ncdiag.training.footprint
    ncdiag.training.footprint.memory_of = lambda device: 10**12  # else a small machine refuses at once
    from ncdiag.cli.app import main
    main()
"""


def ncdiag(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    script = tmp_path / "little.py"  # a file, which the workers of a pool can import
    script.write_text(LITTLE_MEMORY)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(script), *arguments, "--store", str(tmp_path / "runs.db"), "--device", "cpu"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_point_that_is_too_large_fails_alone_and_says_what_would_help(tmp_path: Path, jobs: str) -> None:
    points = [*SMALL_OPTIONS[:2], "--width", "16,30000", *SMALL_OPTIONS[4:], "--seed", "0:2"]
    done = ncdiag(tmp_path, "sweep", *points, "--jobs", jobs, "--format", "json")
    assert done.returncode == 5, done.stderr
    assert "2 of 4 points failed:" in done.stderr
    assert done.stderr.count("out of memory: 3600000000 bytes more could not be had; fewer --jobs, a smaller") == 2
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)  # the points that were trained are there
    with open_store(str(tmp_path / "runs.db")) as store:
        runs = list_runs(store)
    assert {(run.width, run.status) for run in runs} == {(16, RunStatus.DONE), (30000, RunStatus.FAILED)}
    assert all("out of memory" in str(run.reason) for run in runs if run.width == 30000)
    assert {run.epochs_done for run in runs if run.width == 16} == {6}


def test_a_run_that_is_too_large_is_no_bug(tmp_path: Path) -> None:
    done = ncdiag(tmp_path, "train", *SMALL_OPTIONS[:2], "--width", "30000", *SMALL_OPTIONS[4:])
    assert done.returncode == 2, done.stderr
    assert "ncdiag: error: out of memory: 3600000000 bytes more could not be had" in done.stderr
    assert "bug" not in done.stderr
    assert done.stdout == "run-1\n"  # the name of a run comes before its training
