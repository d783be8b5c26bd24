import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clihelp import ROOT, Cli
from small import SMALL_OPTIONS

from ncdiag.domain.records import RunStatus
from ncdiag.store.engine import open_store
from ncdiag.store.runs import list_runs

GRID = [*SMALL_OPTIONS, "--weight-decay", "1e-4,1e-3", "--seed", "0:2", "--jobs", "1"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NCDIAG_STORE", raising=False)


def test_every_point_of_the_grid_is_trained_once(cli: Cli) -> None:
    answer = cli("sweep", *GRID, "--format", "json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)["runs"]
    assert [(row["weight_decay"], row["seed"], row["status"], row["epochs_done"]) for row in rows] == [
        (1e-4, 0, "done", 6),
        (1e-4, 1, "done", 6),
        (1e-3, 0, "done", 6),
        (1e-3, 1, "done", 6),
    ]
    again = cli("sweep", *GRID)
    assert again.code == 0
    assert "4 of 4 points are trained already" in again.err
    assert "epoch" not in again.err
    with open_store("ncdiag.db") as store:
        assert len(list_runs(store)) == 4


def test_a_wider_grid_trains_only_what_is_new(cli: Cli) -> None:
    cli("sweep", *GRID)
    answer = cli("sweep", *SMALL_OPTIONS, "--weight-decay", "1e-4", "--seed", "0:3")
    assert "2 of 3 points are trained already" in answer.err
    assert "run-5" in answer.out


def test_dry_run_lists_the_points_and_makes_no_store(cli: Cli) -> None:
    answer = cli("sweep", *GRID, "--dry-run", "--format", "csv")
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [(row["point"], row["status"], float(row["weight_decay"]), row["seed"]) for row in rows] == [
        ("1", "new", 1e-4, "0"),
        ("2", "new", 1e-4, "1"),
        ("3", "new", 1e-3, "0"),
        ("4", "new", 1e-3, "1"),
    ]
    assert not Path("ncdiag.db").exists()


def test_one_failing_point_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ncdiag.db.runs" / "1" / "epoch-000003.pt").mkdir(parents=True)  # in the way of a checkpoint
    answer = cli("sweep", *SMALL_OPTIONS, "--seed", "0:3", "--jobs", "1")
    assert answer.code == 5
    assert "1 of 3 points failed" in answer.err
    assert "run-1" in answer.err
    with open_store("ncdiag.db") as store:
        assert [run.status for run in list_runs(store)] == [RunStatus.PENDING, RunStatus.DONE, RunStatus.DONE]
    (tmp_path / "ncdiag.db.runs" / "1" / "epoch-000003.pt").rmdir()
    assert cli("sweep", *SMALL_OPTIONS, "--seed", "0:3", "--jobs", "1").code == 0
    with open_store("ncdiag.db") as store:
        assert {run.status for run in list_runs(store)} == {RunStatus.DONE}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "something to vary"),
        (["--seed", "5:5"], "the range 5:5 is empty"),
        (["--seed", "0:x"], "--seed: expected a whole number"),
        (["--arch", "mlp,resnet20", "--width", "512"], "multiplies 16/32/64"),
        (["--jobs", "0", "--seed", "0:2"], "--jobs"),
    ],
)
def test_mistake_is_named_before_anything_is_stored(cli: Cli, options: list[str], message: str) -> None:
    answer = cli("sweep", *options)
    assert answer.code == 2, answer.err
    assert message in answer.err
    assert not Path("ncdiag.db").exists()


def test_quickstart_preset_is_three_conditions_of_three_seeds(cli: Cli) -> None:
    rows = json.loads(cli("sweep", "--preset", "quickstart", "--dry-run", "--format", "json").out)["points"]
    assert len(rows) == 9
    assert {row["dataset"] for row in rows} == {"digits"}
    assert len({row["weight_decay"] for row in rows}) == 3
    assert [row["seed"] for row in rows] == [0, 1, 2] * 3


@pytest.mark.parametrize(("preset", "points"), [("intervention", 15), ("intervention-compensated", 15)])
def test_intervention_presets_branch_five_seeds_three_ways(cli: Cli, preset: str, points: int) -> None:
    answer = cli("sweep", "--preset", preset, "--dry-run", "--format", "json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)["points"]
    assert len(rows) == points
    assert {row["seed"] for row in rows} == set(range(5))
    assert {row["phases"] for row in rows} == {"ce:10,mse:110"}


def test_ctrl_c_leaves_the_run_interrupted_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ncdiag",
        "sweep",
        *SMALL_OPTIONS[:6],
        "--phase",
        "ce:400",
        "--seed",
        "0",
        "--jobs",
        "1",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    assert "epoch 1/400" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "The same command again continues" in err
    with open_store(str(tmp_path / "ncdiag.db")) as store:
        (run,) = list_runs(store)
        assert run.status is RunStatus.INTERRUPTED
        assert 0 < run.epochs_done < 400
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    with open_store(str(tmp_path / "ncdiag.db")) as store:
        (run,) = list_runs(store)
        assert (run.status, run.epochs_done) == (RunStatus.DONE, 400)
