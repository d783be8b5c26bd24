import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from clihelp import Cli

from ncdiag.cli.runs import _ask
from ncdiag.domain.records import EpochRecord
from ncdiag.errors import UnsafeError
from ncdiag.store.handle import Store
from ncdiag.store.latest import list_latest

NAMES = ["deep-0", "deep-1", "shallow-0", "shallow-1", "short"]


def names(cli: Cli, *arguments: str) -> list[str]:
    return [row["run"] for row in json.loads(cli("runs", "ls", "--format", "json", *arguments).out)["runs"]]


def test_ls_prints_a_line_per_run(cli: Cli, store: Path):
    lines = cli("runs", "ls").out.splitlines()
    assert lines[0].split() == ["run", "status", "network", "dataset", "wd", "seed", "epochs", "fn", "nc1"]
    assert lines[1].split() == ["deep-0", "done", "mlp", "5x128", "digits", "0.0001", "0", "150", "1.1", "6.184e-05"]
    assert len(lines) == 6
    assert max(map(len, lines)) <= 80


def test_ls_as_csv_has_the_columns_of_an_export_first(cli: Cli, store: Path):
    rows = list(csv.DictReader(io.StringIO(cli("runs", "ls", "--format", "csv").out)))
    assert [row["run"] for row in rows] == NAMES
    assert list(rows[0])[:18] == [
        "run",
        "status",
        "arch",
        "depth",
        "width",
        "activation",
        "dataset",
        "train_size",
        "optimizer",
        "lr",
        "weight_decay",
        "batch_size",
        "seed",
        "phases",
        "epochs_done",
        "device",
        "started_at",
        "seconds",
    ]
    assert float(rows[4]["nc1"]) == pytest.approx(math.exp(-((80 / 34) ** 1.5)))
    assert rows[0]["lr"] == ""


def test_where_narrows_the_list(cli: Cli, store: Path):
    assert names(cli, "--where", "depth=3 and seed in (0, 2)") == ["shallow-0", "short"]
    assert names(cli, "--where", "run=short or seed>0") == ["deep-1", "shallow-1", "short"]


def test_what_was_measured_is_read_of_the_runs_that_fit_alone(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []

    def listen(store: Store, run_ids: Sequence[int]) -> dict[int, EpochRecord]:
        read.extend(run_ids)
        return list_latest(store, run_ids)

    monkeypatch.setattr("ncdiag.store.latest.list_latest", listen)
    assert names(cli, "--where", "status=done and started_at=none and depth=3") == ["shallow-0", "shallow-1", "short"]
    assert len(read) == 3


def test_a_filter_that_nothing_fits_is_said_on_stderr(cli: Cli, store: Path):
    answer = cli("runs", "ls", "--where", "depth=99")
    assert (answer.code, answer.out) == (0, "")
    assert "none of the 5 runs fits --where" in answer.err


def test_a_mistake_in_a_filter_is_pointed_at(cli: Cli, store: Path):
    answer = cli("runs", "ls", "--where", "dpeth=3")
    assert answer.code == 2
    assert "did you mean depth?" in answer.err


def test_ls_as_csv_has_the_same_columns_without_a_run(cli: Cli, store: Path):
    some, none = (cli("runs", "ls", "--format", "csv", "--where", f"depth={depth}").out for depth in (5, 99))
    assert none.splitlines() == some.splitlines()[:1]


def test_ls_without_a_store_says_what_makes_one(cli: Cli, tmp_path: Path):
    answer = cli("runs", "ls", "--store", tmp_path / "none.db")
    assert (answer.code, answer.out) == (3, "")
    assert "ncdiag train" in answer.err
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("place", ["before", "group", "after", "environment"])
def test_the_store_is_found_wherever_it_is_named(
    place: str, cli: Cli, pristine_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    named = ["--store", pristine_store]
    if place == "environment":
        monkeypatch.setenv("NCDIAG_STORE", str(pristine_store))
    lines = {
        "before": [*named, "runs", "ls"],
        "group": ["runs", *named, "ls"],
        "after": ["runs", "ls", *named],
        "environment": ["runs", "ls"],
    }
    answer = cli(*lines[place])
    assert answer.code == 0
    assert "deep-0" in answer.out


def test_the_store_named_last_wins(cli: Cli, pristine_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NCDIAG_STORE", str(tmp_path / "environment.db"))
    answer = cli("--store", tmp_path / "root.db", "runs", "ls", "--store", pristine_store)
    assert answer.code == 0
    assert "root.db" in cli("--store", tmp_path / "root.db", "runs", "ls").err


def test_show_prints_what_is_known_and_nothing_else(cli: Cli, store: Path):
    page = cli("runs", "show", "deep-0").out
    assert page.startswith("deep-0\n  status  ")
    assert "\n  depth         5\n" in page
    assert "newest epoch, 150" in page
    assert "environment" not in page
    assert "None" not in page


def test_show_as_json_has_configuration_and_newest_metrics(cli: Cli, store: Path):
    shown = json.loads(cli("runs", "show", "deep-0", "--format", "json").out)
    assert (shown["run"], shown["status"], shown["config"]["depth"]) == ("deep-0", "done", 5)
    assert shown["latest"]["epoch"] == 150
    assert shown["latest"]["nc1"] == pytest.approx(math.exp(-((150 / 33) ** 1.5)))


def test_show_as_csv_is_the_row_of_ls(cli: Cli, store: Path):
    listed = cli("runs", "ls", "--where", "run=deep-0", "--format", "csv").out
    assert cli("runs", "show", "deep-0", "--format", "csv").out == listed


def test_a_run_whose_folder_is_another_users_is_shown(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    page = cli("runs", "show", "deep-0").out
    monkeypatch.setattr(Path, "read_bytes", refuse)
    answer = cli("runs", "show", "deep-0")
    said = " ".join(answer.err.split())
    where = store.with_name(f"{store.name}.runs") / "1" / "pending.jsonl"
    assert (answer.code, answer.out) == (0, page)
    assert f"whether records of deep-0 wait to be stored cannot be seen: {where} is another user's" in said
    assert json.loads(cli("runs", "show", "deep-0", "--format", "json").out)["pending"] is None


def test_an_unknown_run_has_exit_code_4_and_a_guess(cli: Cli, store: Path):
    answer = cli("runs", "show", "shrt")
    assert (answer.code, answer.out) == (4, "")
    assert "did you mean short?" in answer.err


def test_rm_with_yes_removes_the_runs(cli: Cli, store: Path):
    answer = cli("runs", "rm", "deep-0", "short", "--yes")
    assert (answer.code, answer.out) == (0, "")
    assert names(cli) == ["deep-1", "shallow-0", "shallow-1"]


@pytest.mark.parametrize("stays", [True, False])
def test_rm_says_which_folder_it_could_not_remove(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch, stays: bool):
    """Another user trained the run into a store that both may write to."""
    folder = store.with_name(f"{store.name}.runs") / "1"
    folder.mkdir(parents=True)
    if stays:
        monkeypatch.setattr("shutil.rmtree", lambda place, ignore_errors: None)
    answer = cli("runs", "rm", "deep-0", "--yes")
    assert (answer.code, f"its folder {folder} could not be removed" in answer.err.replace("\n", " ")) == (0, stays)


def test_rm_without_a_terminal_refuses(cli: Cli, store: Path):
    answer = cli("runs", "rm", "deep-0")
    assert answer.code == 6
    assert "--yes" in answer.err
    assert names(cli) == NAMES


def test_rm_of_an_unknown_run_removes_none(cli: Cli, store: Path):
    assert cli("runs", "rm", "deep-0", "deep-9", "--yes").code == 4
    assert names(cli) == NAMES


@pytest.mark.parametrize("answer", ["", "n", "perhaps"])
def test_anything_but_yes_is_a_no(answer: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(UnsafeError, match="nothing was removed"):
        _ask("Remove?")


def test_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    _ask("Remove?")
    assert capsys.readouterr() == ("", "Remove? [y/N] ")


def test_rename(cli: Cli, store: Path):
    assert cli("runs", "rename", "deep-0", "baseline").code == 0
    assert names(cli) == ["baseline", *NAMES[1:]]


@pytest.mark.parametrize(
    "new", ["deep-1", "x'; DROP TABLE runs;--", "../../etc", "=HYPERLINK(1)", "\U0001f600", "a" * 129]
)
def test_a_bad_new_name_is_refused(new: str, cli: Cli, store: Path):
    assert cli("runs", "rename", "deep-0", new).code == 2
    assert names(cli) == NAMES


@pytest.mark.parametrize("arguments", [("runs", "rm", "a", "--yes"), ("runs", "rename", "a", "b")])
def test_changing_runs_makes_no_store(arguments: tuple[str, ...], cli: Cli, tmp_path: Path):
    assert cli(*arguments, "--store", tmp_path / "none.db").code == 3
    assert not (tmp_path / "none.db").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_course_of_nc1_on_one_scale_for_all_runs(
    store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ncdiag.cli.runs.can_draw", lambda: True)
    heading, *rows = cli("runs", "ls").out.splitlines()
    assert heading.endswith("nc1 so far")
    curves = {row.split()[0]: row.split()[-1] for row in rows}
    # NC1 = exp(-(epoch / time)^1.5) falls all the time; the time is 31 for shallow-0, the least, and 36 for deep-1
    assert all(list(curve) == sorted(curve, reverse=True) for curve in curves.values())
    assert curves["shallow-0"].endswith("▁")
    assert curves["deep-1"][0] == "█"
    assert not any("▁" in curves[run] for run in ("deep-1", "short"))
    assert "▁" not in cli("runs", "ls", "--format", "csv").out
