"""The script that trains a sweep in slices, as a process; what it brings home is merged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clihelp import ROOT, Cli
from small import SMALL_OPTIONS

from ncdiag.domain.records import RunStatus
from ncdiag.store.engine import open_store
from ncdiag.store.runs import list_runs


def slice_of(store: Path, minutes: float) -> "subprocess.CompletedProcess[str]":
    command = ["sh", ROOT / "docs/study/slice.sh", store, str(minutes), *SMALL_OPTIONS, "--seed", "0:2", "--jobs", "1"]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, cwd=store.parent, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_slices_add_up_to_the_sweep_and_are_merged_at_home(tmp_path: Path, cli: Cli) -> None:
    away, home = tmp_path / "away.db", tmp_path / "home.db"
    first = slice_of(away, 0.01)  # 0.6 s: not even torch is loaded
    assert first.returncode in (0, 3), first.stderr  # 3: there was no time to make the store
    second = slice_of(away, 5)
    assert second.returncode == 0, second.stderr
    assert "all of the sweep is trained" in second.stderr
    assert cli("store", "merge", away, "--store", home).code == 0
    again = cli("sweep", *SMALL_OPTIONS, "--seed", "0:2", "--jobs", "1", "--store", home)
    assert "2 of 2 points are trained already" in again.err
    with open_store(str(home)) as opened:
        assert {run.status for run in list_runs(opened)} == {RunStatus.DONE}


def test_without_enough_words_it_says_how_it_is_used(tmp_path: Path) -> None:
    answer = subprocess.run(
        ["sh", ROOT / "docs/study/slice.sh"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert answer.returncode == 2
    assert "sh docs/study/slice.sh STORE MINUTES" in answer.stderr
