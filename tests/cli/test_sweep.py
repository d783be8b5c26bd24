import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from clihelp import ROOT, Cli
from small import SMALL_OPTIONS

from ncdiag.cli.presets import PRESETS
from ncdiag.cli.training_options import read_axes
from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.spec import RunSpec
from ncdiag.execution.planning import make_plan
from ncdiag.execution.worker import Outcome
from ncdiag.store.engine import open_store
from ncdiag.store.runs import add_run, list_runs

GRID = [*SMALL_OPTIONS, "--weight-decay", "1e-4,1e-3", "--seed", "0:2", "--jobs", "1"]


pytestmark = pytest.mark.usefixtures("here")


def test_runs_that_were_exported_and_imported_are_not_trained_again(cli: Cli) -> None:
    half = [*SMALL_OPTIONS, "--weight-decay", "1e-4,1e-3", "--seed", "0", "--jobs", "1", "--store", "one.db"]
    assert cli("sweep", *half).code == 0
    cli("export", "--store", "one.db", "-o", "epochs.csv")
    cli("export", "runs", "--store", "one.db", "-o", "runs.csv")
    bring = ["import", "epochs.csv", "--manifest", "runs.csv"]
    assert cli(*bring).code == 0
    assert [
        row["status"] for row in json.loads(cli("sweep", *GRID, "--dry-run", "--format", "json").out)["points"]
    ] == [
        *("done", "new"),
        *("done", "new"),
    ]
    assert cli("sweep", *GRID).code == 0
    with open_store("ncdiag.db") as mine, open_store("one.db") as theirs:
        assert {run.key: run.origin for run in list_runs(theirs)}.keys() == {
            run.key for run in list_runs(mine) if run.origin == "imported"
        }
        assert len(list_runs(mine)) == 4
    assert cli(*bring).code == 0  # they are known
    assert cli(*bring, "--set", "note=x", "--prefix", "other-").code == 0  # now they are something else
    with open_store("ncdiag.db") as mine:
        assert len(list_runs(mine)) == 6


@pytest.mark.usefixtures("untried")
def test_the_list_of_points_shows_whatever_tells_them_apart(cli: Cli) -> None:
    varied = ["--momentum", "0,0.9", "--train-size", "200", "--subset-seed", "0,1"]
    heading, *points = cli("sweep", "--dataset", "digits", "--optimizer", "sgd", *varied, "--dry-run").out.splitlines()
    assert heading.split() == ["point", "status", "subset", "seed", "momentum"]
    assert {tuple(point.split()[2:]) for point in points} == {(s, m) for s in ("0", "1") for m in ("0", "0.9")}


def test_the_summary_tells_the_points_apart(cli: Cli) -> None:
    command = ["sweep", *SMALL_OPTIONS[2:], "--depth", "1,2", "--jobs", "1", "--scale-features", "none,0.5@1"]
    table = cli(*command)
    assert table.code == 0, table.err
    header, *rows = [line.split() for line in table.out.splitlines()]
    assert header[:6] == ["run", "status", "depth", "intervention", "wd", "seed"]
    assert [row[2:4] for row in rows] == [["1", "-"], ["1", "0.5@1"], ["2", "-"], ["2", "0.5@1"]]
    listed = list(csv.DictReader(io.StringIO(cli(*command, "--format", "csv").out)))
    assert [row["depth"] for row in listed] == ["1", "1", "2", "2"]
    assert "width" not in listed[0]


def test_an_import_does_not_take_the_place_of_a_run_that_was_begun(cli: Cli) -> None:
    assert cli("sweep", *GRID, "--store", "one.db").code == 0
    cli("export", "--store", "one.db", "-o", "epochs.csv")
    cli("export", "runs", "--store", "one.db", "-o", "runs.csv")
    with open_store("one.db") as theirs, open_store("ncdiag.db", write=True, create=True) as mine:
        for run in list_runs(theirs)[2:]:
            add_run(mine, RunSpec.from_dict(run.config))
    answer = cli("import", "epochs.csv", "--manifest", "runs.csv")
    assert answer.code == 2
    assert "run-1 is one of these runs, and is not at its end here; nothing was imported" in answer.err
    with open_store("ncdiag.db") as mine:
        assert len(list_runs(mine)) == 2


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


def test_an_option_that_is_given_twice_is_a_list(cli: Cli) -> None:
    grid = ("--phase", "ce:1", "--dry-run", "--format", "json")
    twice = cli("sweep", "--seed", "0", "--width", "8", "--seed", "2:4", *grid).out
    assert [point["seed"] for point in json.loads(twice)["points"]] == [0, 2, 3]
    assert twice == cli("sweep", "--seed", "0,2:4", "--width", "8", *grid).out


def test_dry_run_warns_of_a_network_that_is_too_large(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.training.footprint.memory_of", lambda device: 2**34)
    answer = cli("sweep", *SMALL_OPTIONS[:2], "--width", "16,65536", "--phase", "ce:1", "--dry-run")
    assert answer.code == 0
    assert "warning: this machine would refuse to begin. mlp of depth 2 and width 65536 takes 120 GB" in answer.err
    assert "would refuse" not in cli("sweep", *GRID, "--dry-run").err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "tf32", "--device", "cpu"), "--precision tf32 exists on NVIDIA GPUs only"),
        (("--train-size", "5"), "--train-size must be from 10"),
        (("--store", "missing/ncdiag.db"), "the folder missing does not exist"),
    ],
)
def test_dry_run_warns_of_what_the_sweep_would_be_refused_for(
    cli: Cli, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    command = ["sweep", "--depth", "1", "--width", "4", "--phase", "ce:1", "--seed", "0:2", *options]
    dry, real = cli(*command, "--dry-run"), cli(*command)
    assert (dry.code, real.code != 0) == (0, True)
    for answer, before in ((dry, "warning: this machine would refuse to begin. "), (real, "error: ")):
        assert f"ncdiag: {before}" in answer.err
        assert message in answer.err.replace(f"{tmp_path}/", "")


def test_a_point_that_diverges_is_named_each_time_and_the_others_are_trained(cli: Cli) -> None:
    points = (*SMALL_OPTIONS, "--optimizer", "sgd", "--lr", "0.01,1e20", "--seed", "0:2", "--jobs", "1")
    for answer in (cli("sweep", *points), cli("sweep", *points)):
        assert answer.code == 5
        assert [row.split()[1] for row in answer.out.splitlines()[1:]] == ["done", "done", "diverged", "diverged"]
        assert "2 of 4 points diverged (run-3, run-4)" in answer.err
        assert "analyze threshold" in answer.err


def test_what_was_measured_as_nan_is_told_from_what_was_not_measured(cli: Cli) -> None:
    points = (*SMALL_OPTIONS, "--optimizer", "sgd", "--lr", "0.01,1e20", "--jobs", "1")
    fine, diverged = json.loads(cli("sweep", *points, "--format", "json").out)["runs"]
    assert "nonfinite" not in fine or "nc1" not in fine["nonfinite"]
    assert (diverged["nc1"], diverged["nonfinite"]["nc1"]) == (None, "nan")
    rows = list(csv.DictReader(cli("sweep", *points, "--format", "csv").out.splitlines()))
    assert rows[1]["nc1"] == "nan"
    assert float(rows[0]["nc1"]) == fine["nc1"]


def test_one_failing_point_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ncdiag.db.runs").mkdir()
    (tmp_path / "ncdiag.db.runs" / "1").touch()  # in the way of the folder of the first run
    answer = cli("sweep", *SMALL_OPTIONS, "--seed", "0:3", "--jobs", "1")
    assert answer.code == 5
    assert "1 of 3 points failed" in answer.err
    assert "run-1" in answer.err
    with open_store("ncdiag.db") as store:
        assert [run.status for run in list_runs(store)] == [RunStatus.PENDING, RunStatus.DONE, RunStatus.DONE]
    (tmp_path / "ncdiag.db.runs" / "1").unlink()
    assert cli("sweep", *SMALL_OPTIONS, "--seed", "0:3", "--jobs", "1").code == 0
    with open_store("ncdiag.db") as store:
        assert {run.status for run in list_runs(store)} == {RunStatus.DONE}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "something to vary"),
        (["--seed", "5:5"], "the range 5:5 is empty"),
        (["--seed", "0:x"], "--seed: expected a whole number"),
        (["--seed", "0-4"], "--seed: 0-4 is no range; 0:5 gives 0 to 4"),
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


@pytest.mark.parametrize(("preset", "head"), [("intervention", ""), ("intervention-compensated", "+compensate-head")])
def test_intervention_presets_branch_five_seeds_three_ways(cli: Cli, preset: str, head: str) -> None:
    answer = cli("sweep", "--preset", preset, "--dry-run", "--format", "json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)["points"]
    assert len(rows) == 15
    assert {row["seed"] for row in rows} == set(range(5))
    assert {row["intervention"] for row in rows} == {None, f"0.3@10{head}", f"3.0@10{head}"}
    assert {row["phases"] for row in rows} == {"ce:10,mse:110"}


PAPER = {  # the protocol and the published values of arXiv 2604.00230
    "paper-depth": ("depth", {2, 3, 5, 7}, 12),
    "paper-width": ("width", {128, 256, 512, 1024}, 12),
    "paper-weight-decay": ("weight_decay", {1e-5, 5e-5, 1e-4, 5e-4}, 12),
    "paper-activation": ("activation", {"relu", "tanh", "gelu"}, 9),
    "paper-grid": ("dataset", {"mnist", "fashion_mnist", "cifar10"}, 18),
    "paper-intervention": ("intervention", {None, "0.3@200", "3.0@200"}, 9),
}


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("preset", PAPER)
def test_paper_presets_are_the_published_protocol(cli: Cli, preset: str) -> None:
    varied, values, points = PAPER[preset]
    rows = json.loads(cli("sweep", "--preset", preset, "--dry-run", "--format", "json").out)["points"]
    assert len(rows) == points
    assert {row[varied] for row in rows} == values
    assert {row["seed"] for row in rows} == {0, 1, 2}
    for row in rows:
        resnet = row["arch"] == "resnet20"
        assert (row["optimizer"], row["lr"]) == (("sgd", 0.1) if resnet else ("adam", 1e-3))
        assert row["schedule"] == ("multistep" if resnet else "cosine")
        assert row["phases"].startswith("ce:200")
        assert varied == "weight_decay" or row["weight_decay"] == (1e-3 if resnet else 1e-4)
    for spec in make_plan(read_axes(PRESETS[preset].options), data_dir=None).specs:
        assert (spec.eval_every, spec.stop and (spec.stop.eps, spec.stop.patience)) == (10, (0.01, 1))


STUDIES = [name for name in PRESETS if name.startswith(("study-", "digits-"))]


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("preset", STUDIES)
def test_studies_have_five_seeds_of_each_condition_and_one_budget(cli: Cli, preset: str) -> None:
    rows = json.loads(cli("sweep", "--preset", preset, "--dry-run", "--format", "json").out)["points"]
    assert len({row["phases"] for row in rows}) == 1
    seeds: dict[str, set[int]] = {}
    for row in rows:
        condition = {key: value for key, value in row.items() if key not in ("point", "status", "seed")}
        seeds.setdefault(json.dumps(condition), set()).add(row["seed"])
    assert min(map(len, seeds.values())) >= 5


def test_presets_are_listed(cli: Cli) -> None:
    answer = cli("sweep", "--preset", "list")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines() if not line.startswith(" ")] == list(PRESETS)
    assert max(map(len, answer.out.splitlines())) <= 80


def test_presets_are_listed_for_scripts_too(cli: Cli) -> None:
    listed = json.loads(cli("sweep", "--preset", "list", "--format", "json").out)["presets"]
    assert {row["preset"]: row["purpose"] for row in listed} == {name: one.purpose for name, one in PRESETS.items()}
    assert cli("sweep", "--preset", "list", "--format", "csv").out.splitlines()[0] == "preset,purpose"


def test_decimals_behind_a_comma_are_no_list(cli: Cli) -> None:
    answer = cli("sweep", "--weight-decay", "0,0001", "--dry-run")
    assert answer.code == 2
    assert "--weight-decay: expected a number such as 0.001 or 1e-3, not '0001'; decimals follow a point" in answer.err
    assert cli("sweep", "--weight-decay", "0,0.001", "--dry-run").code == 0


def test_dry_run_lists_what_varies_and_says_the_rest_once(cli: Cli) -> None:
    answer = cli("sweep", "--preset", "intervention", "--dry-run")
    assert answer.out.splitlines()[0].split() == ["point", "status", "intervention", "seed"]
    assert "width 128" in answer.err
    assert "Nothing was trained" in answer.err


def test_it_says_beforehand_roughly_how_long_it_takes(cli: Cli) -> None:
    long = cli("sweep", "--preset", "study-cell", "--dry-run", "--jobs", "1").err
    assert re.search(r"training takes \d+ days here, roughly and at most \(1 at a time\)", long)
    short = cli("sweep", *GRID, "--dry-run").err
    assert "training takes less than a minute here" in short


@pytest.mark.parametrize(("asked", "used"), [("100000", 3), ("4", 3), ("3", 3), ("2", 2)])
def test_there_are_no_more_processes_than_cores(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, asked: str, used: int
) -> None:
    jobs: list[int] = []

    def train_all(store: str, todo: list[Run], options: object, **how: Any) -> list[Outcome]:
        jobs.append(how["jobs"])
        return [Outcome(run=run, status=RunStatus.DONE) for run in todo]

    monkeypatch.setattr("ncdiag.execution.local.usable_cores", lambda: 3)
    monkeypatch.setattr("ncdiag.execution.local.train_all", train_all)
    answer = cli("sweep", *SMALL_OPTIONS, "--seed", "0:9", "--jobs", asked)
    assert answer.code == 0
    assert jobs == [used]
    assert answer.err.count(f"--jobs {asked} is more than") == (int(asked) > used)
    assert f"({used} at a time)" in answer.err


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
    assert "training takes" in process.stderr.readline()
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
