import gzip
import os
import stat
import subprocess
from pathlib import Path

import pytest
from clihelp import PYTHON, ROOT, Cli, run_ncdiag
from falling import make_falling_store

from ncdiag.cli.files import check_output, write_output
from ncdiag.errors import StoreError


@pytest.fixture
def store(here: Path) -> Path:
    return make_falling_store(here / "ncdiag.db")


@pytest.mark.parametrize("target", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_by_another_name_is_stdout(store: Path, cli: Cli, target: str) -> None:
    for form in ("csv", "table"):
        assert cli("export", "--format", form, "-o", target) == cli("export", "--format", form, "-o", "-")
    piped = run_ncdiag("export", "-o", target, cwd=store.parent)
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout.splitlines() == cli("export").out.splitlines()


@pytest.mark.parametrize("target", ["/dev/stdout", "/dev/fd/3"])
def test_a_file_that_the_shell_appends_to_keeps_what_it_had(store: Path, cli: Cli, target: str) -> None:
    Path("all.csv").write_text("before\n")
    command = f"'{PYTHON}' -m ncdiag export -o {target} >> all.csv 3>&1"
    subprocess.run(["sh", "-c", command], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert Path("all.csv").read_bytes().decode() == "before\n" + cli("export").out


def test_a_pipe_of_the_shell_is_written_to(store: Path, cli: Cli) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe, os.fdopen(writer, "wb"):
        answer = cli("export", "runs", "-o", f"/dev/fd/{writer}")
        assert (answer.code, answer.out) == (0, "")
        assert pipe.read1() == cli("export", "runs").out.encode()


def test_a_named_pipe_may_stand_behind_a_link(store: Path, cli: Cli) -> None:
    os.mkfifo("pipe")
    Path("out.csv.gz").symlink_to("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        assert cli("export", "runs", "-o", "out.csv.gz").code == 0
        assert gzip.decompress(reader.communicate()[0]).decode() == cli("export", "runs").out
    assert Path("out.csv.gz").is_symlink()


def test_what_is_not_open_or_not_for_writing_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"/dev/fd/99999 cannot be written \(Bad file descriptor\)"):
        check_output("/dev/fd/99999")
    (tmp_path / "old").write_text("precious")
    with (tmp_path / "old").open() as file, pytest.raises(StoreError, match=r"\(Bad file descriptor\).*\nCheck"):
        write_output(b"new", f"/dev/fd/{file.fileno()}")
    assert (tmp_path / "old").read_text() == "precious"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    target, written = tmp_path / "out.csv", []

    def watch(self: Path, content: bytes) -> int:
        written.append(stat.S_IMODE(self.stat().st_mode))
        with self.open("wb") as file:
            return file.write(content)

    monkeypatch.setattr(Path, "write_bytes", watch)
    target.write_text("before")
    target.chmod(mode)
    write_output(b"after", str(target))
    assert target.read_text() == "after"
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert written == [0o600]  # while it was being written nobody else could read it


def test_a_new_file_has_the_mode_that_the_shell_gives_its_own(tmp_path: Path) -> None:
    (tmp_path / "own").touch()
    write_output(b"new", str(tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "own").stat().st_mode
