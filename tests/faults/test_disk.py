"""A disk that is full, and one that is read-only."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clihelp import Cli
from small import SMALL_OPTIONS, ignore, small_spec

from ncdiag.domain.records import RunStatus
from ncdiag.execution.worker import TrainingOptions, train_run
from ncdiag.run_files import list_checkpoints
from ncdiag.store import handle
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.runs import add_run, get_run, list_runs
from ncdiag.training.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]


def test_a_full_disk_under_the_store_keeps_the_earlier_epochs(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "runs.db")
    options = [*SMALL_OPTIONS[:6], "--phase", "ce:80", "--device", "cpu", "--store", store]
    connect = handle.connect_sqlite

    def on_a_small_disk(path: Path, mode: str) -> sqlite3.Connection:
        connection = connect(path, mode)
        connection.execute("PRAGMA max_page_count = 20")  # a new store has 18 pages
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(handle, "connect_sqlite", on_a_small_disk)
        done = cli("train", *options)
    assert done.code == 3
    assert "disk full while writing to the store" in done.err
    assert done.err.count("\n") <= 12
    with open_store(store) as opened:
        (run,) = list_runs(opened)
        before = list_epochs(opened, run.id)
        assert run.status in (RunStatus.FAILED, RunStatus.LOST)
    assert 0 < len(before) < 80

    assert cli("train", *options).code == 0
    with open_store(store) as opened:
        after = list_epochs(opened, run.id)
    assert after[: len(before)] == before
    assert [record.epoch for record in after] == list(range(1, 81))


SMALL_FILES = """
import resource, signal, sys
from ncdiag.cli.app import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on the size of files")
def test_a_disk_without_room_for_a_checkpoint_keeps_the_one_before(tmp_path: Path) -> None:
    """The limit is for a file: the network's state is larger than the store."""
    path = tmp_path / "runs.db"
    spec = small_spec(width=256, depth=3)
    with open_store(str(path), write=True) as store:
        run, _ = add_run(store, spec)

        def stop(run: object, event: object) -> None:
            if getattr(getattr(event, "record", None), "epoch", None) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_run(store, run, TrainingOptions(checkpoint_every=1), stop)  # type: ignore[arg-type]
        folder = store.run_folder(run.id)
    earlier = list_checkpoints(folder)
    size = max(file.stat().st_size for file in folder.iterdir())
    assert size > 2 * path.stat().st_size
    command = [sys.executable, "-c", SMALL_FILES, str(size // 2), "train", "--resume", "run-1", "--store", str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 3, done.stderr
    assert f"cannot write the checkpoint {folder}" in done.stderr
    assert f"It takes {size / 1e6:.1f} MB" in done.stderr
    assert list_checkpoints(folder) == earlier
    assert [file.name for file in folder.iterdir() if file.name.endswith(".tmp")] == []
    assert load_checkpoint(folder, earlier[-1])["epoch"] == earlier[-1]
    with open_store(str(path), write=True) as store:
        assert get_run(store, "run-1").status is RunStatus.FAILED
        assert train_run(store, get_run(store, "run-1"), TrainingOptions(), ignore) is RunStatus.DONE


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on the size of files")
@pytest.mark.parametrize(
    ("limit", "line", "said"),
    [
        (40_000, ["store", "backup", "copy.db"], "store copy.db"),
        (100, ["export", "runs", "-o", "old.csv"], "old.csv cannot be written (File too large)"),
    ],
)
def test_a_disk_without_room_for_what_a_command_makes_keeps_what_was_there_and_no_leftovers(
    tmp_path: Path, limit: int, line: list[str], said: str
) -> None:
    with open_store(str(tmp_path / "ncdiag.db"), write=True) as store:
        add_run(store, small_spec())
        with store.write() as connection:  # larger than SQLite's cache, so that it begins to write before the end
            connection.exec_driver_sql("UPDATE runs SET environment = json_object('much', hex(zeroblob(2000000)))")
    (tmp_path / "old.csv").write_text("precious")
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, str(limit), *line],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (3, True, 2), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ncdiag.db", "old.csv"]
    assert (tmp_path / "old.csv").read_text() == "precious"


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that may be read by everybody and written by nobody."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to other users
        yield Path(name)
        Path(name).chmod(0o755)


UNPRIVILEGED = """
import contextlib, io, os, sys
from ncdiag.cli.app import run
sys.path.insert(0, sys.argv[3])
from small import SMALL_OPTIONS

def try_all(store):
    for command in (
        ["runs", "ls", "--store", store],
        ["export", "--store", store],
        ["store", "check", "--store", store],
        ["train", *SMALL_OPTIONS, "--seed", "7", "--store", store],
        ["train", *SMALL_OPTIONS, "--seed", "7", "--store", store.replace("runs.db", "new.db")],
        ["runs", "rm", "run-1", "--yes", "--store", store],
    ):
        said = io.StringIO()
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.redirect_stderr(said):
            code = run(command)
        yield code, (said.getvalue().splitlines() or [""])[0]

# as the one who may write, and to load what another user may not even read
tried = [*try_all(sys.argv[2])]
assert [code for code, _ in tried] == [0] * 6, tried
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
for code, line in try_all(sys.argv[1]):
    print(code, line)
"""


def test_a_read_only_folder_can_be_read_and_refuses_before_anything_is_trained(read_only: Path, tmp_path: Path) -> None:
    path = read_only / "runs.db"
    with open_store(str(path), write=True) as store:
        run, _ = add_run(store, small_spec())
        train_run(store, run, TrainingOptions(), ignore)
    writable = shutil.copytree(read_only, tmp_path / "writable") / "runs.db"
    read_only.chmod(0o555)
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(path), str(writable), str(ROOT / "tests")],
        capture_output=True,
        text=True,
        cwd="/tmp",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    codes = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [code for code, _ in codes] == ["0", "0", "0", "3", "3", "3"], done.stdout + done.stderr
    assert "is read-only here" in codes[3][1]
    assert path.read_bytes() == before
    assert sorted(file.name for file in read_only.iterdir()) == ["runs.db", "runs.db.runs"]
