"""What is asked of a store costs what the answer holds, not what the store holds: counted in steps of SQLite."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clihelp import Cli
from large import PAIR, make_large_store
from small import SMALL_OPTIONS, small_spec

from ncdiag.store.engine import open_store
from ncdiag.store.names import complete_run_names
from ncdiag.store.runs import add_run

SMALL, LARGE = 400, 6400


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("large")
    for runs in (SMALL, LARGE):
        make_large_store(folder / f"{runs}.db", runs)
    return {runs: folder / f"{runs}.db" for runs in (SMALL, LARGE)}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """Count the instructions that SQLite carries out, in tens."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_progress_handler(count, 10)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)

    def measure(work: Callable[[], Any]) -> int:
        nonlocal counted
        counted = 0
        work()
        return counted

    return measure


@pytest.mark.parametrize(
    "command",
    [
        ("runs", "ls"),
        ("runs", "ls", "--limit", "5"),
        ("runs", "ls", "--where", "arch=mlp"),
        ("runs", "show", "run-7"),
        ("predict", "run-3"),
    ],
    ids=" ".join,
)
def test_a_command_reads_what_it_shows(
    stores: dict[int, Path], steps: Callable[[Callable[[], Any]], int], cli: Cli, command: tuple[str, ...]
) -> None:
    answers = {}
    few = steps(lambda: answers.update(few=cli(*command, "--store", stores[SMALL])))
    many = steps(lambda: answers.update(many=cli(*command, "--store", stores[LARGE])))
    assert answers["few"].code == answers["many"].code == 0, answers["many"].err
    assert few > 0
    assert many <= 1.1 * few + 10  # the tree is a level deeper


def test_a_dry_run_looks_for_its_own_points_only(
    stores: dict[int, Path],
    steps: Callable[[Callable[[], Any]], int],
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("ncdiag.cli.sweep._say_how_long", lambda *asked: None)  # trains a few steps, to see
    command = ["sweep", *SMALL_OPTIONS, "--seed", "0:3", "--dry-run", "--format", "json", "--store"]
    few = steps(lambda: cli(*command, stores[SMALL]))
    many = steps(lambda: cli(*command, stores[LARGE]))
    assert few > 0
    assert many <= 1.1 * few + 10
    stored = shutil.copy(stores[SMALL], tmp_path / "with.db")
    with open_store(str(stored), write=True) as store:
        add_run(store, small_spec(seed=1))
    points = json.loads(cli(*command, stored).out)["points"]
    assert [point["status"] for point in points] == ["new", "pending", "new"]


def test_completing_a_name_reads_the_names_it_offers(
    stores: dict[int, Path], steps: Callable[[Callable[[], Any]], int]
) -> None:
    few = steps(lambda: complete_run_names(str(stores[SMALL]), "run-39"))
    many = steps(lambda: complete_run_names(str(stores[LARGE]), "run-639"))
    assert few > 0
    assert many <= 1.1 * few + 10


def test_a_full_scan_would_be_noticed(
    stores: dict[int, Path], steps: Callable[[Callable[[], Any]], int], cli: Cli
) -> None:
    few = steps(lambda: cli("runs", "ls", "--where", "arch=cnn", "--store", stores[SMALL]))
    many = steps(lambda: cli("runs", "ls", "--where", "arch=cnn", "--store", stores[LARGE]))
    assert many > 8 * few  # the runs of the CNN are the oldest


def test_ls_says_that_there_are_more_and_how_to_see_them(stores: dict[int, Path], cli: Cli) -> None:
    answer = cli("runs", "ls", "--store", stores[SMALL])
    names = [line.split()[0] for line in answer.out.splitlines()[1:]]
    assert names == [f"run-{number}" for number in range(301, 401)]
    assert answer.err == "ncdiag: note: only the newest 100 are shown; --limit 0 lists all, and --where narrows\n"
    everything = cli("runs", "ls", "--limit", "0", "--store", stores[SMALL])
    assert (len(everything.out.splitlines()), everything.err) == (SMALL + 1, "")
    assert len(cli("runs", "ls", "--format", "csv", "--store", stores[LARGE]).out.splitlines()) == LARGE + 1
    fits = cli("runs", "ls", "--where", "arch=cnn", "--store", stores[LARGE])
    assert (len(fits.out.splitlines()), fits.err) == (PAIR + 1, "")
    exactly = cli("runs", "ls", "--limit", str(PAIR), "--where", "arch=cnn", "--store", stores[SMALL])
    assert (len(exactly.out.splitlines()), exactly.err) == (PAIR + 1, "")
