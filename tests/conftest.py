import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from clihelp import Answer, Cli
from hypothesis import settings

from ncdiag.cli.app import run

# How long an example takes says how busy the machine is, not whether the code is right. On CI the parent is hypothesis'
# own profile for it, whose examples are the same in every run.
settings.register_profile("ncdiag", parent=settings(), deadline=None)
settings.load_profile("ncdiag")

# A shell starts what it runs in the background deaf to Ctrl-C, and so would be every command that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """What the command line leaves behind at its end, deaf handlers among it, is not for the next test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder, and be in it: the store of commands that name none is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NCDIAG_STORE", raising=False)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process, errors and exit code included."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Answer(code=code, out=out, err=err)

    return call
