import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import typer
from clihelp import PYTHON, ROOT, Cli, run_ncdiag
from small import SMALL_OPTIONS

from ncdiag import __version__, errors
from ncdiag.cli import app as app_module

RAISED = {
    "bug": lambda: KeyError("oops"),
    "spec": lambda: errors.SpecError("depth must be a whole number, not 'x'"),
    "store": lambda: errors.StoreError("the store is locked"),
    "unknown": lambda: errors.UnknownRunError("no run run-9"),
    "sweep": lambda: errors.SweepFailedError("2 of 3 points failed"),
    "unsafe": lambda: errors.UnsafeError("refused"),
    "unavailable": lambda: errors.UnavailableError("torchvision is not installed"),
    "diverged": lambda: errors.DivergedError("the loss is NaN"),
    "interrupt": KeyboardInterrupt,
    "pipe": BrokenPipeError,
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs.csv"),
    "missing": lambda: FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x"),
    "exit": lambda: typer.Exit(8),
    "unloaded": lambda: ImportError("libtorch_cpu.so: failed to map segment from shared object"),  # ulimit -v 2000000
    "unwritten": lambda: ImportError("cannot import name 'spec' from 'ncdiag.domain'"),
}


@pytest.fixture
def raising_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put in the place of the commands one that raises what it is asked to."""
    raising = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

    @raising.callback()
    def root(debug: bool = False) -> None:
        pass

    @raising.command("raise")
    def raise_(what: str) -> None:
        raise RAISED[what]()

    monkeypatch.setattr(app_module, "app", raising)
    monkeypatch.setattr(app_module, "_discard_output", lambda: None)  # it would close pytest's own stdout


@pytest.mark.usefixtures("raising_app")
@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("bug", 1),
        ("spec", 2),
        ("store", 3),
        ("full", 3),
        ("unknown", 4),
        ("sweep", 5),
        ("unsafe", 6),
        ("unavailable", 7),
        ("diverged", 8),
        ("exit", 8),
        ("missing", 1),
        ("unloaded", 2),
        ("unwritten", 1),
        ("interrupt", 130),
        ("pipe", 141),
    ],
)
def test_every_error_has_the_exit_code_of_the_contract(what: str, code: int):
    assert app_module.run(["raise", what]) == code


@pytest.mark.usefixtures("raising_app")
def test_an_error_is_one_message_on_stderr(capsys: pytest.CaptureFixture[str]):
    app_module.run(["raise", "unknown"])
    assert capsys.readouterr() == ("", "ncdiag: error: no run run-9\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyze", "threshold", "--rule", "frist"], ["'frist' is not one of 'sustained', 'first'", "ncdiag analyze"]),
        (["anlyze"], ["did you mean 'analyze'", "ncdiag"]),
        (["runs", "ls", "--formt", "csv"], ["--format", "ncdiag runs ls"]),
        (["plot"], ["KIND", "ncdiag plot"]),
        (["runs", "ls", "--limit"], ["option '--limit' requires an argument", "ncdiag"]),
    ],
)
def test_a_mistake_in_the_arguments_has_the_form_of_all_errors(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]
):
    assert app_module.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ncdiag: error: ")
    assert len(err.splitlines()) == 2
    assert said[0].lower() in err.lower()
    assert err.endswith(f"`{said[1]} --help` says what there is\n")
    assert "Value error" not in err


@pytest.mark.usefixtures("raising_app")
def test_a_full_disk_is_named_with_its_file(capsys: pytest.CaptureFixture[str]):
    app_module.run(["raise", "full"])
    assert capsys.readouterr().err == (
        "ncdiag: error: the system refused to read or write 'runs.csv': No space left on device.\n"
        "Check free space and permissions, then repeat the command\n"
    )


@pytest.mark.usefixtures("raising_app")
def test_a_limit_that_leaves_no_memory_for_a_library_is_no_bug(capsys: pytest.CaptureFixture[str]):
    app_module.run(["raise", "unloaded"])
    shown = capsys.readouterr().err
    assert "libtorch_cpu.so" in shown
    assert "ulimit -v" in shown
    assert "bug" not in shown


@pytest.mark.usefixtures("raising_app")
def test_a_bug_says_so_without_a_traceback(capsys: pytest.CaptureFixture[str]):
    app_module.run(["raise", "bug"])
    shown = capsys.readouterr().err
    assert shown.startswith("ncdiag: error: KeyError: 'oops'\n")
    assert "--debug" in shown
    assert "Traceback" not in shown


@pytest.mark.usefixtures("raising_app")
@pytest.mark.parametrize("arguments", [["--debug", "raise", "spec"], ["raise", "spec", "--debug"]])
def test_debug_before_or_after_the_command_shows_the_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
):
    assert app_module.run(arguments) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.usefixtures("raising_app")
def test_debug_after_a_double_dash_is_an_argument(capsys: pytest.CaptureFixture[str]):
    assert app_module.run(["raise", "--", "--debug"]) == 1  # there is no error of that name: a KeyError
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("raising_app")
@pytest.mark.parametrize("arguments", [["raise"], ["raise", "spec", "--no-such-option"], ["rise", "spec"]])
def test_a_usage_error_has_exit_code_2(arguments: list[str]):
    assert app_module.run(arguments) == 2


def test_version(capsys: pytest.CaptureFixture[str]):
    assert app_module.run(["--version"]) == 0
    assert capsys.readouterr().out == f"ncdiag {__version__}\n"


def test_python_dash_m_is_the_same_program():
    done = run_ncdiag("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ncdiag {__version__}\n", "")


PRINT_FOR_EVER = """
import sys, typer
from ncdiag.cli import app
app.app = typer.Typer()
@app.app.command()
def shout() -> None:
    while True:
        sys.stdout.write("line\\n" * 1000)
app.main()
"""


def test_a_closed_pipe_ends_in_silence_with_141(tmp_path: Path):
    line = f'set -o pipefail; "{PYTHON}" -c "$PROGRAM" | head -1'
    done = subprocess.run(
        ["bash", "-c", line], env=os.environ | {"PROGRAM": PRINT_FOR_EVER}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "line\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_has_exit_code_3():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [PYTHON, "-m", "ncdiag", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 3
    assert done.stderr.startswith("ncdiag: error: the system refused to read or write: No space left on device.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("line", "answer"),
    [(["runs", "ls"], (3, b"")), (["train", *SMALL_OPTIONS], (0, b"run-1\n"))],
    ids=["runs", "train"],
)
def test_what_cannot_be_said_on_stderr_stops_nothing_and_changes_no_exit_code(
    tmp_path: Path, line: list[str], answer: tuple[int, bytes], unbuffered: str
):
    command = [PYTHON, "-m", "ncdiag", *line, "--store", str(tmp_path / "new.db")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, env=environment, check=False)
    assert (done.returncode, done.stdout) == answer


SLOW_TO_LOAD = """
import sys, time
sys.stderr.write("loading\\n")
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""


def test_ctrl_c_is_heard_while_a_module_is_loading_that_would_swallow_it(tmp_path: Path):
    (tmp_path / "typer.py").write_text(SLOW_TO_LOAD)
    process = subprocess.Popen(
        [PYTHON, "-m", "ncdiag", "runs", "ls"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


WAIT_FOR_EVER = """
import sys, time, typer
from ncdiag.__main__ import main
from ncdiag.cli import app
app.app = typer.Typer()
@app.app.command()
def wait() -> None:
    try:
        sys.stderr.write("ready\\n")
        time.sleep(60)
    finally:
        print("put away")
main()
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_the_process_in_good_order_and_without_a_traceback(sent: signal.Signals, code: int):
    process = subprocess.Popen([PYTHON, "-c", WAIT_FOR_EVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(sent)
    started = time.monotonic()
    assert process.communicate(timeout=10) == ("put away\n", "")
    assert process.returncode == code
    assert time.monotonic() - started < 5


def test_a_closed_stdout_is_no_bug():
    done = subprocess.run(
        ["bash", "-c", f'"{PYTHON}" -m ncdiag --version >&-'], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdin_is_an_empty_one():
    done = subprocess.run(
        ["bash", "-c", f'"{PYTHON}" -m ncdiag import - <&-'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "line 1: the file is empty" in done.stderr


def test_a_folder_that_was_removed_is_said_to_be(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        answer = cli("runs", "ls")
    finally:
        os.chdir(tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert "the folder that this shell is in was removed" in answer.err
