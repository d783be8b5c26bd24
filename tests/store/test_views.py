"""What others read: the views keep the columns of the contract, and the examples of docs/store.md run."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from recorded import append

from ncdiag.domain.records import EPOCH_COLUMNS, InterventionRecord, RunStatus
from ncdiag.store.frames import EPOCH_FRAME_COLUMNS, RUN_COLUMNS
from ncdiag.store.runs import finish_run
from ncdiag.store.sweeps import plan_sweep

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```(sql|python)\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def filled(store, url, make_spec, running, owner, record):
    records = [record(epoch, nc1=0.5 / epoch) for epoch in range(1, 80)]
    append(store, running, *records, record(80, nc1=float("inf")), owner=owner)
    append(store, running, InterventionRecord(epoch=20, alpha=0.3, compensate_head=False), owner=owner)
    finish_run(store, running.id, owner=owner, status=RunStatus.DONE)
    plan_sweep(store, specs=[make_spec(seed=seed) for seed in range(2)])
    return url


def columns(url, view):
    connection = sqlite3.connect(url)
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({view})")]
    connection.close()
    return names


def test_the_views_have_the_columns_of_the_frames_and_more(store, url):
    runs, epochs = columns(url, "public_runs"), columns(url, "public_epochs")
    assert runs[:18] == list(RUN_COLUMNS[:18])  # the contract, checked for the frames
    assert set(runs) == {*RUN_COLUMNS, "config", "data", "environment", "fingerprint"}
    assert epochs == list(EPOCH_FRAME_COLUMNS)
    assert set(epochs) == {*EPOCH_COLUMNS, "run", "run_id", "nonfinite"}


@pytest.mark.parametrize("view", ["public_runs", "public_epochs"])
def test_every_column_is_documented(store, url, view):
    section = GUIDE.partition(f"## {view}")[2].partition("\n## ")[0]
    table = "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(columns(url, view))


@pytest.mark.parametrize("view", ["public_runs", "public_epochs"])
def test_a_view_is_read_only(store, url, view):
    connection = sqlite3.connect(url)
    with pytest.raises(sqlite3.OperationalError, match="cannot modify"):
        connection.execute(f"DELETE FROM {view}")
    connection.close()


def test_the_sql_examples_run_and_find_something(filled):
    connection = sqlite3.connect(filled)
    found = [connection.execute(code).fetchall() for kind, code in EXAMPLES if kind == "sql"]
    connection.close()
    assert len(found) == 5
    assert found[0] == [("run-1", 51, 51 + 8 / 7)]  # the place of feature_norm among the fields, over 7
    assert found[1] == [("mlp", "digits", "done", 1, 80), ("mlp", "digits", "pending", 1, 0)]
    assert found[2] == [("run-1", 0), ("run-2", 0)]
    assert found[3] == [("sweep-1", 0, "run-1", "done"), ("sweep-1", 1, "run-2", "pending")]
    assert found[4] == [("run-1", 20, 0.3, None, None)]


def test_the_python_examples_run_and_find_something(filled):
    said = []
    for code in (code for kind, code in EXAMPLES if kind == "python"):
        command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(filled).parent)
        said.append(done.stdout)
    assert len(said) == 2
    assert re.search(rf"digits +{0.5 / 79:.6f}", said[0])
    assert re.search(r"run-1 +80 .* inf", said[1])
